// SPDX-License-Identifier: MIT
/*
 * Least frequently used, with decay: a use counts half as much after each
 * HALF_LIFE turns of its layer.
 *
 * Counts are kept as logarithms on a clock that runs forward: a use at turn t
 * weighs 2^(t / HALF_LIFE) and nothing that is stored ever changes with time.
 * Keys that left keep their count.
 */
#include <math.h>
#include <stdlib.h>

#include "policy.h"

/* Turns: some times as many tokens as a useful cache holds. */
#define HALF_LIFE 32.0

struct pst_policy {
	struct pst_policy_geometry geo;
	double *log2_count; /* [nr_keys] on the clock; -INFINITY: never used */
	double *rank; /* [nr_keys] log2_count of a resident key, else INFINITY */
	uint32_t layer; /* whose turn it is */
	uint64_t turns; /* layers that had their turn, all together */
};

static void lfu_destroy(struct pst_policy *p)
{
	if (!p)
		return;
	free(p->log2_count);
	free(p->rank);
	free(p);
}

static struct pst_policy *lfu_create(const struct pst_policy_geometry *geo)
{
	uint64_t nr_keys = (uint64_t)geo->nr_layers * geo->nr_experts;
	struct pst_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->geo = *geo;
	p->log2_count = pst_calloc(nr_keys, sizeof(*p->log2_count));
	p->rank = pst_calloc(nr_keys, sizeof(*p->rank));
	if (!p->log2_count || !p->rank) {
		lfu_destroy(p);
		return NULL;
	}
	for (uint64_t k = 0; k < nr_keys; k++) {
		p->log2_count[k] = -INFINITY;
		p->rank[k] = INFINITY;
	}
	return p;
}

static double clock_of(const struct pst_policy *p)
{
	return (double)p->turns / (p->geo.nr_layers * HALF_LIFE);
}

static void use(struct pst_policy *p, uint32_t key)
{
	uint32_t layer = key / p->geo.nr_experts;
	double now, *c = &p->log2_count[key];

	p->turns += layer != p->layer;
	p->layer = layer;
	now = clock_of(p);
	/* log2(2^c + 2^now), where now is never less than what c grew from. */
	*c = *c > now ? *c + log2(1.0 + exp2(now - *c))
		      : now + log2(1.0 + exp2(*c - now));
	p->rank[key] = *c;
}

/* Not a use yet: it is worth what it was. */
static void lfu_ahead(struct pst_policy *p, uint32_t key)
{
	p->rank[key] = p->log2_count[key];
}

static void lfu_remove(struct pst_policy *p, uint32_t key)
{
	p->rank[key] = INFINITY;
}

/* Uses, decayed to the present: 2^-inf is none. */
static float lfu_worth(const struct pst_policy *p, uint32_t key)
{
	return (float)exp2(p->log2_count[key] - clock_of(p));
}

static void lfu_seed(struct pst_policy *p, uint32_t key, float worth)
{
	p->log2_count[key] = clock_of(p) + log2((double)worth);
}

static uint32_t lfu_victim(struct pst_policy *p,
			   bool (*pinned)(const void *ctx, uint32_t key),
			   const void *ctx)
{
	uint32_t nr_keys = p->geo.nr_layers * p->geo.nr_experts;
	uint32_t best = PST_POLICY_NONE;
	double low = INFINITY;

	for (uint32_t k = 0; k < nr_keys; k++) {
		if (p->rank[k] >= low || pinned(ctx, k))
			continue;
		low = p->rank[k];
		best = k;
	}
	if (best != PST_POLICY_NONE)
		lfu_remove(p, best);
	return best;
}

const struct pst_policy_ops pst_policy_lfu = {
	.name = "lfu",
	.create = lfu_create,
	.destroy = lfu_destroy,
	.insert = use,
	.ahead = lfu_ahead,
	.touch = use,
	.remove = lfu_remove,
	.worth = lfu_worth,
	.seed = lfu_seed,
	.victim = lfu_victim,
};
