// SPDX-License-Identifier: MIT
/*
 * Least recently used: a doubly linked list in two arrays, head newest.
 */
#include <stdlib.h>

#include "policy.h"

struct pst_policy {
	uint32_t *prev; /* [nr_keys + 1], the last entry is the list's head */
	uint32_t *next;
	uint64_t *when; /* [nr_keys] uses of all keys by then, 0: never */
	uint64_t nr_uses;
	uint32_t head;
};

static void unlink_key(struct pst_policy *p, uint32_t key)
{
	p->next[p->prev[key]] = p->next[key];
	p->prev[p->next[key]] = p->prev[key];
}

static void push_front(struct pst_policy *p, uint32_t key)
{
	p->next[key] = p->next[p->head];
	p->prev[key] = p->head;
	p->prev[p->next[p->head]] = key;
	p->next[p->head] = key;
	p->when[key] = ++p->nr_uses;
}

static void lru_destroy(struct pst_policy *p)
{
	if (!p)
		return;
	free(p->prev);
	free(p->next);
	free(p->when);
	free(p);
}

static struct pst_policy *lru_create(const struct pst_policy_geometry *geo)
{
	uint32_t nr_keys = geo->nr_layers * geo->nr_experts;
	struct pst_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->head = nr_keys;
	p->prev = pst_calloc((uint64_t)nr_keys + 1, sizeof(*p->prev));
	p->next = pst_calloc((uint64_t)nr_keys + 1, sizeof(*p->next));
	p->when = pst_calloc(nr_keys, sizeof(*p->when));
	if (!p->prev || !p->next || !p->when) {
		lru_destroy(p);
		return NULL;
	}
	p->prev[p->head] = p->head;
	p->next[p->head] = p->head;
	return p;
}

static void lru_touch(struct pst_policy *p, uint32_t key)
{
	unlink_key(p, key);
	push_front(p, key);
}

static uint32_t lru_victim(struct pst_policy *p,
			   bool (*pinned)(const void *ctx, uint32_t key),
			   const void *ctx)
{
	for (uint32_t k = p->prev[p->head]; k != p->head; k = p->prev[k]) {
		if (pinned(ctx, k))
			continue;
		unlink_key(p, k);
		return k;
	}
	return PST_POLICY_NONE;
}

/* The last one is worth 1, the first one next to nothing. */
static float lru_worth(const struct pst_policy *p, uint32_t key)
{
	return p->nr_uses ? (float)p->when[key] / (float)p->nr_uses : 0.0f;
}

const struct pst_policy_ops pst_policy_lru = {
	.name = "lru",
	.create = lru_create,
	.destroy = lru_destroy,
	.insert = push_front,
	.touch = lru_touch,
	.remove = unlink_key,
	.worth = lru_worth,
	.victim = lru_victim,
};
