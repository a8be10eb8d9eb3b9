// SPDX-License-Identifier: MIT
/*
 * Forced routing: a table of rows by token and layer, looked up for each
 * choice.  Must not know what reads the experts.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forced.h"

struct pst_forced {
	const struct pst_trace *t;
	uint32_t nr_tokens, nr_prefill;
	float recall;
	uint32_t *moe; /* [nr_moe_layers] layers that have experts */
	uint32_t *row; /* [nr_tokens][nr_layers] first row, UINT32_MAX: none */
};

/* A token is known by its place among the groups of its layer, not by the
 * number that the trace gives it.
 */
static uint32_t place_rows(struct pst_forced *f, uint32_t *seen, bool write)
{
	const struct pst_trace *t = f->t;
	uint32_t most = 0;

	memset(seen, 0, t->nr_layers * sizeof(*seen));
	for (uint32_t i = 0; i < t->nr_rows; i += t->nr_used) {
		uint32_t l = t->key[i] / t->nr_experts, at;

		/* A prompt of the same length in all layers. */
		if (i >= t->first_decode && seen[l] < f->nr_prefill)
			seen[l] = f->nr_prefill;
		at = seen[l]++;
		if (write)
			f->row[(size_t)at * t->nr_layers + l] = i;
		most = PST_MAX(most, seen[l]);
		if (i < t->first_decode)
			f->nr_prefill = PST_MAX(f->nr_prefill, seen[l]);
	}
	return most;
}

int pst_forced_create(const struct pst_trace *t, struct pst_forced **out)
{
	struct pst_forced *f = calloc(1, sizeof(*f));
	uint32_t *seen = pst_calloc(t->nr_layers, sizeof(*seen));
	uint32_t nr = 0;
	uint64_t cells = 0;

	if (!f || !seen)
		goto no_memory;
	f->t = t;
	f->moe = pst_calloc(t->nr_layers, sizeof(*f->moe));
	f->nr_tokens = place_rows(f, seen, false);
	/* A trace may claim tokens in few of its layers: cells are not rows. */
	if (!pst_mul_u64(f->nr_tokens, t->nr_layers, &cells) ||
	    cells > PST_TRACE_MAX_ROWS)
		goto no_memory;
	f->row = pst_calloc(cells, sizeof(*f->row));
	if (!f->moe || !f->row)
		goto no_memory;
	memset(f->row, 0xff, cells * sizeof(*f->row));
	place_rows(f, seen, true);
	for (uint32_t l = 0; l < t->nr_layers; l++)
		if (t->expert_bytes[l])
			f->moe[nr++] = l;
	free(seen);
	*out = f;
	return 0;
no_memory:
	free(seen);
	pst_forced_destroy(f);
	return -ENOMEM;
}

void pst_forced_destroy(struct pst_forced *f)
{
	if (!f)
		return;
	free(f->moe);
	free(f->row);
	free(f);
}

void pst_forced_shape(const struct pst_forced *f, struct pst_forced_shape *out)
{
	*out = (struct pst_forced_shape){ .nr_tokens = f->nr_tokens,
					  .nr_prefill = f->nr_prefill,
					  .nr_used = f->t->nr_used };
}

/* The trace's row for a position, UINT32_MAX where it has none. */
static uint32_t find_row(const struct pst_forced *f, uint32_t layer,
			 uint32_t pos)
{
	const struct pst_trace *t = f->t;
	uint32_t decode = f->nr_tokens - f->nr_prefill;

	if (layer >= t->nr_layers || !t->expert_bytes[layer])
		layer = f->moe[layer % t->nr_moe_layers];
	if (pos >= f->nr_tokens)
		pos = decode ? f->nr_prefill + (pos - f->nr_prefill) % decode
			     : pos % f->nr_tokens;
	return f->row[(size_t)pos * t->nr_layers + layer];
}

static bool taken(const uint32_t *ids, uint32_t nr, uint32_t id)
{
	for (uint32_t i = 0; i < nr; i++)
		if (ids[i] == id)
			return true;
	return false;
}

/* One token's experts of the trace, made distinct in the model's number. */
static void overwrite(const struct pst_forced *f, uint32_t row, uint32_t nr,
		      uint32_t nr_experts, uint32_t *ids, float *weights)
{
	const struct pst_trace *t = f->t;

	for (uint32_t i = 0; i < nr; i++) {
		uint32_t id = t->key[row + i] % t->nr_experts % nr_experts;

		while (taken(ids, i, id))
			id = (id + 1) % nr_experts;
		ids[i] = id;
		if (!weights)
			continue;
		weights[i] = t->weight ? t->weight[row + i]
				       : 1.0f / (float)t->nr_used;
	}
}

uint32_t pst_forced_choose(void *ctx, const struct pst_route_choice *c)
{
	const struct pst_forced *f = ctx;
	uint32_t nr = PST_MIN(c->nr_used, f->t->nr_used);

	/* In place: the packed row of a token never lies behind its own. */
	for (uint32_t i = 0; i < c->nr_tokens; i++) {
		uint32_t row = find_row(f, c->layer, c->first_pos + i);
		uint32_t *ids = c->ids + (size_t)i * nr;
		float *w = c->weights + (size_t)i * nr;

		if (row != UINT32_MAX) {
			overwrite(f, row, nr, c->nr_experts, ids, w);
			continue;
		}
		memmove(ids, c->ids + (size_t)i * c->nr_used,
			nr * sizeof(*ids));
		memmove(w, c->weights + (size_t)i * c->nr_used,
			nr * sizeof(*w));
	}
	return nr;
}

void pst_forced_set_recall(struct pst_forced *f, float recall)
{
	f->recall = recall;
}

uint32_t pst_forced_foresee(void *ctx, const struct pst_route_choice *c)
{
	const struct pst_forced *f = ctx;
	uint32_t nr = PST_MIN(c->nr_used, f->t->nr_used);
	uint32_t row = find_row(f, c->layer, c->first_pos);
	uint64_t rng = ((uint64_t)c->first_pos << 20) + c->layer + 1;

	if (row == UINT32_MAX || !(f->recall > 0.0f))
		return 0;
	overwrite(f, row, nr, c->nr_experts, c->ids, NULL);
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t r = pst_rng_next(&rng);
		uint32_t id = (uint32_t)((r >> 32) % c->nr_experts);

		/* 24 bits: exact in a float.  Who takes all cannot be wrong. */
		if ((float)(r & 0xffffff) < f->recall * 16777216.0f ||
		    nr == c->nr_experts)
			continue;
		while (taken(c->ids, nr, id))
			id = (id + 1) % c->nr_experts;
		c->ids[i] = id;
	}
	return nr;
}
