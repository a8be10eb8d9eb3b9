// SPDX-License-Identifier: MIT
/*
 * LRU without its cliff.
 *
 * The layers of a model take turns, so the expert that is needed last again
 * belongs to the layer that has just been.  While a cache holds at least the
 * experts of one token, plain LRU is right and is used.  Below that, LRU drops
 * each expert shortly before its layer's next turn and hits exactly nothing:
 * there this policy drops from the layer whose turn is furthest away.
 */
#include <stdlib.h>

#include "policy.h"

struct pst_policy {
	struct pst_policy *lru; /* not NULL: the cache is large enough */
	struct pst_policy_geometry geo;
	uint32_t layer; /* whose turn it is */
	/* A ring per layer, newest first; ring heads follow the keys. */
	uint32_t *prev; /* [nr_layers * nr_experts + nr_layers] */
	uint32_t *next;
};

static uint32_t head_of(const struct pst_policy *p, uint32_t layer)
{
	return p->geo.nr_layers * p->geo.nr_experts + layer;
}

static void cycle_destroy(struct pst_policy *p)
{
	if (!p)
		return;
	pst_policy_lru.destroy(p->lru);
	free(p->prev);
	free(p->next);
	free(p);
}

static int make_rings(struct pst_policy *p)
{
	uint64_t nr = (uint64_t)p->geo.nr_layers * (p->geo.nr_experts + 1ULL);

	p->prev = pst_calloc(nr, sizeof(*p->prev));
	p->next = pst_calloc(nr, sizeof(*p->next));
	if (!p->prev || !p->next)
		return -1;
	for (uint32_t l = 0; l < p->geo.nr_layers; l++) {
		p->prev[head_of(p, l)] = head_of(p, l);
		p->next[head_of(p, l)] = head_of(p, l);
	}
	return 0;
}

static struct pst_policy *cycle_create(const struct pst_policy_geometry *geo)
{
	struct pst_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->geo = *geo;
	if (geo->nr_slots >= geo->nr_per_token)
		p->lru = pst_policy_lru.create(geo);
	if (p->lru ? 0 : geo->nr_slots >= geo->nr_per_token || make_rings(p)) {
		cycle_destroy(p);
		return NULL;
	}
	return p;
}

/* The turn is still another layer's. */
static void cycle_ahead(struct pst_policy *p, uint32_t key)
{
	uint32_t head = head_of(p, key / p->geo.nr_experts);

	if (p->lru) {
		pst_policy_lru.insert(p->lru, key);
		return;
	}
	p->next[key] = p->next[head];
	p->prev[key] = head;
	p->prev[p->next[head]] = key;
	p->next[head] = key;
}

static void cycle_insert(struct pst_policy *p, uint32_t key)
{
	p->layer = key / p->geo.nr_experts;
	cycle_ahead(p, key);
}

static void cycle_remove(struct pst_policy *p, uint32_t key)
{
	if (p->lru) {
		pst_policy_lru.remove(p->lru, key);
		return;
	}
	p->next[p->prev[key]] = p->next[key];
	p->prev[p->next[key]] = p->prev[key];
}

static void cycle_touch(struct pst_policy *p, uint32_t key)
{
	if (p->lru) {
		pst_policy_lru.touch(p->lru, key);
		return;
	}
	cycle_remove(p, key);
	cycle_insert(p, key);
}

static uint32_t cycle_victim(struct pst_policy *p,
			     bool (*pinned)(const void *ctx, uint32_t key),
			     const void *ctx)
{
	uint32_t layer = p->layer;

	if (p->lru)
		return pst_policy_lru.victim(p->lru, pinned, ctx);
	for (uint32_t i = 0; i < p->geo.nr_layers; i++) {
		uint32_t head = head_of(p, layer);

		for (uint32_t k = p->prev[head]; k != head; k = p->prev[k]) {
			if (pinned(ctx, k))
				continue;
			cycle_remove(p, k);
			return k;
		}
		layer = layer ? layer - 1 : p->geo.nr_layers - 1;
	}
	return PST_POLICY_NONE;
}

const struct pst_policy_ops pst_policy_cycle = {
	.name = "cycle",
	.create = cycle_create,
	.destroy = cycle_destroy,
	.insert = cycle_insert,
	.ahead = cycle_ahead,
	.touch = cycle_touch,
	.remove = cycle_remove,
	.victim = cycle_victim,
};
