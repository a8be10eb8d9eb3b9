// SPDX-License-Identifier: MIT
/*
 * Draws routings.  Tokens are drawn first and laid out in the order of a run:
 * the prompt layer by layer, the reply token by token.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "routing.h"

struct layer_state {
	uint32_t *order; /* [nr_experts] expert of each rank */
	uint32_t *took; /* [nr_used] by the token before */
};

static double uniform(uint64_t *rng)
{
	return (double)(pst_rng_next(rng) >> 11) * 0x1p-53;
}

static void deal(const struct routing *r, uint32_t *order, uint64_t *rng)
{
	for (uint32_t i = 0; i < r->nr_experts; i++)
		order[i] = i;
	for (uint32_t i = r->nr_experts; i > 1; i--) {
		uint32_t j = (uint32_t)(pst_rng_next(rng) % i);
		uint32_t e = order[i - 1];

		order[i - 1] = order[j];
		order[j] = e;
	}
}

static uint32_t draw(const struct routing *r, const double *below,
		     const uint32_t *order, uint64_t *rng)
{
	double u = uniform(rng) * below[r->nr_experts - 1];
	uint32_t rank = 0;

	while (rank + 1 < r->nr_experts && below[rank] < u)
		rank++;
	return order[rank];
}

static bool among(const uint32_t *ids, uint32_t nr, uint32_t id)
{
	for (uint32_t i = 0; i < nr; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* Rows of one token in one layer. */
static void draw_token(const struct routing *r, const double *below,
		       struct layer_state *l, uint64_t *rng, bool first,
		       uint32_t *out)
{
	for (uint32_t i = 0; i < r->nr_used; i++) {
		uint32_t e = l->took[i];

		if (first || uniform(rng) >= r->repeat || among(out, i, e))
			do
				e = draw(r, below, l->order, rng);
			while (among(out, i, e));
		out[i] = e;
	}
	memcpy(l->took, out, r->nr_used * sizeof(*out));
}

/* The row at which a token's choice in a layer stands. */
static size_t row_of(const struct routing *r, uint32_t token, uint32_t layer)
{
	size_t group = token < r->nr_prefill
			       ? (size_t)layer * r->nr_prefill + token
			       : (size_t)token * r->nr_layers + layer;

	return group * r->nr_used;
}

static void draw_layer(const struct routing *r, const double *below,
		       uint32_t layer, uint64_t *rng, struct pst_trace *t)
{
	struct layer_state l = {
		.order = pst_calloc(r->nr_experts, sizeof(*l.order)),
		.took = pst_calloc(r->nr_used, sizeof(*l.took)),
	};

	assert_true(l.order && l.took);
	for (uint32_t k = 0; k < r->nr_prefill + r->nr_decode; k++) {
		uint32_t *out = t->key + row_of(r, k, layer);

		if (!k || (r->drift && k % r->drift == 0))
			deal(r, l.order, rng);
		draw_token(r, below, &l, rng, !k, out);
		for (uint32_t i = 0; i < r->nr_used; i++)
			out[i] += layer * r->nr_experts;
	}
	free(l.order);
	free(l.took);
}

void routing_make(const struct routing *r, struct pst_trace *out)
{
	double *below = pst_calloc(r->nr_experts, sizeof(*below)), sum = 0.0;
	uint64_t rng = r->seed;
	struct pst_trace t = {
		.model = "drawn",
		.nr_layers = r->nr_layers,
		.nr_experts = r->nr_experts,
		.nr_used = r->nr_used,
		.nr_moe_layers = r->nr_layers,
		.nr_rows = (r->nr_prefill + r->nr_decode) * r->nr_layers *
			   r->nr_used,
		.first_decode = r->nr_prefill * r->nr_layers * r->nr_used,
	};

	t.key = pst_calloc(t.nr_rows, sizeof(*t.key));
	t.expert_bytes = pst_calloc(t.nr_layers, sizeof(*t.expert_bytes));
	assert_true(below && t.key && t.expert_bytes);
	for (uint32_t i = 0; i < r->nr_experts; i++)
		below[i] = sum += pow(i + 1.0, -r->skew);
	for (uint32_t l = 0; l < r->nr_layers; l++) {
		t.expert_bytes[l] = 1000 + l;
		draw_layer(r, below, l, &rng, &t);
	}
	free(below);
	*out = t;
}
