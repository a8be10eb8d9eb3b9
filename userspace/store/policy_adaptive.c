// SPDX-License-Identifier: MIT
/*
 * The adaptive policy: drops the expert that is expected to be wanted last.
 *
 * A layer's experts come up exactly once per token.  policy_learn.c estimates
 * discount^k for an expert that its layer's next turn but k takes; the discount
 * follows from the size of the cache: how long a slot is held.  The time until
 * that turn is known and has its price: another expert could have the slot
 * meanwhile.  This file keeps what is resident and finds the lowest.
 */
#include <math.h>
#include <stdlib.h>

#include "policy_learn.h"

/* What a slot would gain in one token's time, where it is one of the last that
 * a token's experts have room in.
 */
#define TOKEN_PRICE 0.2f

struct pst_policy {
	struct pst_policy_geometry geo;
	struct pst_learn *learn;
	bool *resident; /* [nr_keys] */
	uint32_t *lowest; /* [nr_layers] resident key of least value, or NONE */
	bool *stale; /* [nr_layers]: lowest is to be found again */
	float price; /* of waiting for one layer */
	uint32_t layer; /* whose turn it is */
};

static void adaptive_destroy(struct pst_policy *p)
{
	if (!p)
		return;
	pst_learn_destroy(p->learn);
	free(p->resident);
	free(p->lowest);
	free(p->stale);
	free(p);
}

/* A cache that holds the experts of some tokens keeps one for about twice as
 * many, as about half of them are hits.
 */
static float discount_of(const struct pst_policy_geometry *geo)
{
	float tokens = (float)PST_MAX(geo->nr_slots, 1u) /
		       (float)PST_MAX(geo->nr_per_token, 1u);

	return 2.0f * tokens / (1.0f + 2.0f * tokens);
}

/* In hits: the larger the cache, the less another slot would gain.  A cache that
 * is smaller than one token's experts holds what is taken nearly always, which
 * is to leave no sooner because its turn has just been.
 */
static void set_price(struct pst_policy *p)
{
	float tokens = (float)p->geo.nr_slots /
		       (float)PST_MAX(p->geo.nr_per_token, 1u);

	p->price = TOKEN_PRICE / fmaxf(tokens, 1.0f) / (float)p->geo.nr_layers;
}

static struct pst_policy *adaptive_create(const struct pst_policy_geometry *geo)
{
	struct pst_policy *p = calloc(1, sizeof(*p));

	if (!p)
		return NULL;
	p->geo = *geo;
	p->learn = pst_learn_create(geo->nr_layers, geo->nr_experts,
				    discount_of(geo));
	p->resident = pst_calloc((uint64_t)geo->nr_layers * geo->nr_experts,
				 sizeof(*p->resident));
	p->lowest = pst_calloc(geo->nr_layers, sizeof(*p->lowest));
	p->stale = pst_calloc(geo->nr_layers, sizeof(*p->stale));
	if (!p->learn || !p->resident || !p->lowest || !p->stale) {
		adaptive_destroy(p);
		return NULL;
	}
	for (uint32_t l = 0; l < geo->nr_layers; l++)
		p->lowest[l] = PST_POLICY_NONE;
	set_price(p);
	return p;
}

static void adaptive_route(struct pst_policy *p,
			   const struct pst_policy_route *r)
{
	pst_learn_route(p->learn, r);
	p->layer = r->layer;
	p->stale[r->layer] = true;
}

static void adaptive_touch(struct pst_policy *p, uint32_t key)
{
	p->layer = key / p->geo.nr_experts;
}

/* The turn is still another layer's. */
static void adaptive_ahead(struct pst_policy *p, uint32_t key)
{
	p->resident[key] = true;
	p->stale[key / p->geo.nr_experts] = true;
}

static void adaptive_insert(struct pst_policy *p, uint32_t key)
{
	p->layer = key / p->geo.nr_experts;
	adaptive_ahead(p, key);
}

static void adaptive_done(struct pst_policy *p, uint32_t key)
{
	pst_learn_done(p->learn, key);
	p->stale[key / p->geo.nr_experts] = true;
}

static void adaptive_remove(struct pst_policy *p, uint32_t key)
{
	p->resident[key] = false;
	p->stale[key / p->geo.nr_experts] = true;
}

static void adaptive_resize(struct pst_policy *p, uint32_t nr_slots)
{
	p->geo.nr_slots = nr_slots;
	pst_learn_discount(p->learn, discount_of(&p->geo));
	set_price(p);
}

static float adaptive_worth(const struct pst_policy *p, uint32_t key)
{
	return pst_learn_rate(p->learn, key);
}

static bool adaptive_likely(const struct pst_policy *p, uint32_t layer,
			    float *share)
{
	return pst_learn_ahead(p->learn, layer, share);
}

static void adaptive_seed(struct pst_policy *p, uint32_t key, float worth)
{
	pst_learn_seed(p->learn, key, worth);
	p->stale[key / p->geo.nr_experts] = true;
}

/* Layers until a layer's next turn: a whole token's for the present one. */
static uint32_t wait_of(const struct pst_policy *p, uint32_t layer)
{
	uint32_t nr = p->geo.nr_layers;
	uint32_t ahead = (layer + nr - p->layer) % nr;

	return ahead ? ahead : nr;
}

static bool nothing_pinned(const void *ctx, uint32_t key)
{
	(void)ctx;
	(void)key;
	return false;
}

/* The resident key of least value in a layer.  What the present turn takes is
 * left out until it is done: it may not have been wanted yet.
 */
static uint32_t lowest_of(const struct pst_policy *p, uint32_t layer,
			  bool (*pinned)(const void *ctx, uint32_t key),
			  const void *ctx)
{
	uint32_t key = layer * p->geo.nr_experts, best = PST_POLICY_NONE;
	float low = INFINITY;

	for (uint32_t e = 0; e < p->geo.nr_experts; e++, key++) {
		float q;

		if (!p->resident[key])
			continue;
		q = pst_learn_value(p->learn, key);
		if (q >= low || pinned(ctx, key) ||
		    pst_learn_in_turn(p->learn, key))
			continue;
		low = q;
		best = key;
	}
	return best;
}

static uint32_t pick(struct pst_policy *p,
		     bool (*pinned)(const void *ctx, uint32_t key),
		     const void *ctx, bool cached)
{
	uint32_t best = PST_POLICY_NONE;
	float low = INFINITY;

	for (uint32_t l = 0; l < p->geo.nr_layers; l++) {
		uint32_t key;
		float worth;

		if (cached && p->stale[l]) {
			p->lowest[l] = lowest_of(p, l, nothing_pinned, NULL);
			p->stale[l] = false;
		}
		key = cached ? p->lowest[l] : lowest_of(p, l, pinned, ctx);
		if (key == PST_POLICY_NONE)
			continue;
		worth = pst_learn_value(p->learn, key) -
			p->price * (float)wait_of(p, l);
		if (worth >= low)
			continue;
		low = worth;
		best = key;
	}
	return best;
}

/* When every other key is pinned: what the present turn takes, too. */
static uint32_t any(const struct pst_policy *p,
		    bool (*pinned)(const void *ctx, uint32_t key),
		    const void *ctx)
{
	uint32_t nr_keys = p->geo.nr_layers * p->geo.nr_experts;

	for (uint32_t k = 0; k < nr_keys; k++)
		if (p->resident[k] && !pinned(ctx, k))
			return k;
	return PST_POLICY_NONE;
}

static uint32_t adaptive_victim(struct pst_policy *p,
				bool (*pinned)(const void *ctx, uint32_t key),
				const void *ctx)
{
	uint32_t key = pick(p, pinned, ctx, true);

	if (key != PST_POLICY_NONE && pinned(ctx, key))
		key = pick(p, pinned, ctx, false);
	if (key == PST_POLICY_NONE)
		key = any(p, pinned, ctx);
	if (key != PST_POLICY_NONE)
		adaptive_remove(p, key);
	return key;
}

const struct pst_policy_ops pst_policy_adaptive = {
	.name = "adaptive",
	.create = adaptive_create,
	.destroy = adaptive_destroy,
	.insert = adaptive_insert,
	.ahead = adaptive_ahead,
	.touch = adaptive_touch,
	.done = adaptive_done,
	.route = adaptive_route,
	.resize = adaptive_resize,
	.remove = adaptive_remove,
	.worth = adaptive_worth,
	.likely = adaptive_likely,
	.seed = adaptive_seed,
	.victim = adaptive_victim,
};
