// SPDX-License-Identifier: MIT
/*
 * S3-FIFO (Yang et al., "FIFO queues are all you need for cache eviction",
 * 2023): newcomers pass through a small queue; those that are wanted again
 * there, or soon after they left it, live in the main queue, which gives each
 * as many more rounds as it was wanted, up to three.
 */
#include <stdlib.h>

#include "policy.h"

/* The paper's: a tenth for the small queue, counters of two bits. */
#define SMALL_SHARE 10
#define MAX_WANTED  3

enum queue {
	SMALL,
	MAIN,
	GHOST, /* names of keys that left the small queue */
	NR_QUEUES,
	ABSENT = NR_QUEUES
};

struct pst_policy {
	uint32_t nr_keys;
	uint32_t nr_slots;
	uint32_t len[NR_QUEUES];
	/* Rings, head newest; the heads follow the keys. */
	uint32_t *prev; /* [nr_keys + NR_QUEUES] */
	uint32_t *next;
	uint8_t *where; /* [nr_keys] enum queue */
	uint8_t *wanted; /* [nr_keys] since it was queued */
};

static void s3_destroy(struct pst_policy *p)
{
	if (!p)
		return;
	free(p->prev);
	free(p->next);
	free(p->where);
	free(p->wanted);
	free(p);
}

static struct pst_policy *s3_create(const struct pst_policy_geometry *geo)
{
	struct pst_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->nr_keys = geo->nr_layers * geo->nr_experts;
	p->nr_slots = geo->nr_slots;
	p->prev =
		pst_calloc((uint64_t)p->nr_keys + NR_QUEUES, sizeof(*p->prev));
	p->next =
		pst_calloc((uint64_t)p->nr_keys + NR_QUEUES, sizeof(*p->next));
	p->where = pst_calloc(p->nr_keys, 1);
	p->wanted = pst_calloc(p->nr_keys, 1);
	if (!p->prev || !p->next || !p->where || !p->wanted) {
		s3_destroy(p);
		return NULL;
	}
	for (uint32_t q = 0; q < NR_QUEUES; q++) {
		p->prev[p->nr_keys + q] = p->nr_keys + q;
		p->next[p->nr_keys + q] = p->nr_keys + q;
	}
	for (uint32_t k = 0; k < p->nr_keys; k++)
		p->where[k] = ABSENT;
	return p;
}

static void leave(struct pst_policy *p, uint32_t key)
{
	p->next[p->prev[key]] = p->next[key];
	p->prev[p->next[key]] = p->prev[key];
	p->len[p->where[key]]--;
	p->where[key] = ABSENT;
}

static void enter(struct pst_policy *p, uint32_t key, enum queue q)
{
	uint32_t head = p->nr_keys + q;

	p->next[key] = p->next[head];
	p->prev[key] = head;
	p->prev[p->next[head]] = key;
	p->next[head] = key;
	p->where[key] = q;
	p->len[q]++;
}

static void s3_insert(struct pst_policy *p, uint32_t key)
{
	enum queue q = p->where[key] == GHOST ? MAIN : SMALL;

	if (q == MAIN)
		leave(p, key);
	p->wanted[key] = 0;
	enter(p, key, q);
}

static void s3_touch(struct pst_policy *p, uint32_t key)
{
	if (p->wanted[key] < MAX_WANTED)
		p->wanted[key]++;
}

/* The oldest of a queue that is not pinned. */
static uint32_t oldest(const struct pst_policy *p, enum queue q,
		       bool (*pinned)(const void *ctx, uint32_t key),
		       const void *ctx)
{
	uint32_t head = p->nr_keys + q;

	for (uint32_t k = p->prev[head]; k != head; k = p->prev[k])
		if (!pinned(ctx, k))
			return k;
	return PST_POLICY_NONE;
}

static void remember(struct pst_policy *p, uint32_t key)
{
	if (p->len[GHOST] >= p->nr_slots)
		leave(p, p->prev[p->nr_keys + GHOST]);
	enter(p, key, GHOST);
}

/* Each round lowers a counter or moves a key to main: it ends. */
static uint32_t s3_victim(struct pst_policy *p,
			  bool (*pinned)(const void *ctx, uint32_t key),
			  const void *ctx)
{
	for (;;) {
		bool small = p->len[SMALL] * SMALL_SHARE >= p->nr_slots;
		uint32_t key = oldest(p, small ? SMALL : MAIN, pinned, ctx);
		enum queue q;

		if (key == PST_POLICY_NONE)
			key = oldest(p, small ? MAIN : SMALL, pinned, ctx);
		if (key == PST_POLICY_NONE)
			return key;
		q = p->where[key];
		leave(p, key);
		if (!p->wanted[key]) {
			if (q == SMALL)
				remember(p, key);
			return key;
		}
		p->wanted[key] = q == SMALL ? 0 : p->wanted[key] - 1;
		enter(p, key, MAIN);
	}
}

const struct pst_policy_ops pst_policy_s3fifo = {
	.name = "s3fifo",
	.create = s3_create,
	.destroy = s3_destroy,
	.insert = s3_insert,
	.touch = s3_touch,
	.remove = leave,
	.victim = s3_victim,
};
