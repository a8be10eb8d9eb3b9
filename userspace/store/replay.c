// SPDX-License-Identifier: MIT
/*
 * Replay of a routing trace.  Rows are wanted one after the other in the order
 * of the trace, so that a hit rate does not depend on how a run batches; must
 * not know any policy.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "replay.h"

static void count(const struct pst_trace *t, uint32_t row, bool hit,
		  struct pst_replay_result *r)
{
	if (row < t->first_decode)
		return;
	r->hits += hit;
	r->misses += !hit;
	if (!hit)
		r->bytes_read += t->expert_bytes[t->key[row] / t->nr_experts];
}

struct player {
	const struct pst_trace *t;
	const struct pst_policy_ops *ops;
	struct pst_policy *policy;
	uint32_t nr_slots, nr_resident;
	bool *resident; /* [nr_keys] */
	uint32_t *group; /* [nr_keys] 1 + group that wanted the key last */
	uint32_t *ids; /* [nr_rows] experts, for route() */
	float *probs; /* [tokens of a call][nr_experts], NULL without */
	uint32_t now; /* 1 + the present group */
	void (*seen)(void *ctx, uint32_t row, bool hit); /* may be NULL */
	void *ctx;
};

/* What the present token has wanted is in use. */
static bool in_use(const void *ctx, uint32_t key)
{
	const struct player *p = ctx;

	return p->group[key] == p->now;
}

static bool never(const void *ctx, uint32_t key)
{
	return false;
}

static void make_room(struct player *p)
{
	uint32_t key = p->ops->victim(p->policy, in_use, p);

	/* Fewer slots than a token's experts: in a run it would wait. */
	if (key == PST_POLICY_NONE)
		key = p->ops->victim(p->policy, never, p);
	p->resident[key] = false;
	p->nr_resident--;
}

static bool want(struct player *p, uint32_t key)
{
	bool hit = p->resident[key];

	if (hit) {
		p->ops->touch(p->policy, key);
	} else {
		if (p->nr_resident == p->nr_slots)
			make_room(p);
		p->ops->insert(p->policy, key);
		p->resident[key] = true;
		p->nr_resident++;
	}
	p->group[key] = p->now;
	return hit;
}

/* Rows that one call of the model routes: a token in a layer, or in prefill
 * all tokens that follow each other in a layer.
 */
static uint32_t chunk_end(const struct pst_trace *t, uint32_t row)
{
	uint32_t layer = t->key[row] / t->nr_experts;
	uint32_t end = row + t->nr_used;

	while (end < t->first_decode && t->key[end] / t->nr_experts == layer)
		end += t->nr_used;
	return end;
}

static void decode_probs(struct player *p, uint32_t group, uint32_t nr)
{
	const uint16_t *codes = p->t->prob + (size_t)group * p->t->nr_experts;

	for (size_t i = 0; i < (size_t)nr * p->t->nr_experts; i++)
		p->probs[i] = pst_trace_prob(codes[i]);
}

/* Tokens of the longest call, so that one buffer serves all. */
static uint32_t longest_call(const struct pst_trace *t)
{
	uint32_t most = 0;

	for (uint32_t i = 0, end; i < t->nr_rows; i = end) {
		end = chunk_end(t, i);
		most = PST_MAX(most, (end - i) / t->nr_used);
	}
	return most;
}

static void announce(struct player *p, uint32_t row, uint32_t end)
{
	struct pst_policy_route r = { .layer =
					      p->t->key[row] / p->t->nr_experts,
				      .ids = p->ids,
				      .nr_tokens = (end - row) / p->t->nr_used,
				      .nr_used = p->t->nr_used };

	if (!p->ops->route)
		return;
	for (uint32_t i = row; i < end; i++)
		p->ids[i - row] = p->t->key[i] % p->t->nr_experts;
	if (p->t->weight)
		r.weights = p->t->weight + row;
	if (p->probs) {
		decode_probs(p, row / p->t->nr_used, r.nr_tokens);
		r.probs = p->probs;
	}
	p->ops->route(p->policy, &r);
}

static void play(struct player *p, struct pst_replay_result *r)
{
	uint32_t end = 0;
	bool hit;

	for (uint32_t i = 0; i < p->t->nr_rows; i++) {
		if (i == end) {
			end = chunk_end(p->t, i);
			announce(p, i, end);
		}
		p->now = 1 + i / p->t->nr_used;
		hit = want(p, p->t->key[i]);
		count(p->t, i, hit, r);
		if (p->seen)
			p->seen(p->ctx, i, hit);
	}
}

int pst_replay_policy(const struct pst_trace *t,
		      const struct pst_policy_ops *ops, uint32_t nr_slots,
		      struct pst_replay_result *out)
{
	return pst_replay_watch(t, ops, nr_slots, NULL, NULL, out);
}

int pst_replay_watch(const struct pst_trace *t,
		     const struct pst_policy_ops *ops, uint32_t nr_slots,
		     void (*seen)(void *ctx, uint32_t row, bool hit), void *ctx,
		     struct pst_replay_result *out)
{
	uint64_t nr_keys = (uint64_t)t->nr_layers * t->nr_experts;
	struct player p = { .t = t,
			    .ops = ops,
			    .nr_slots = nr_slots,
			    .seen = seen,
			    .ctx = ctx };
	struct pst_replay_result r = { .hits = 0 };
	int rc = -ENOMEM;

	if (!nr_slots)
		return -EINVAL;
	p.resident = pst_calloc(nr_keys, sizeof(*p.resident));
	p.group = pst_calloc(nr_keys, sizeof(*p.group));
	p.ids = pst_calloc(t->nr_rows, sizeof(*p.ids));
	if (t->prob && ops->route) {
		p.probs = pst_calloc((uint64_t)longest_call(t) * t->nr_experts,
				     sizeof(*p.probs));
		if (!p.probs)
			goto out;
	}
	p.policy = ops->create(&(struct pst_policy_geometry){
		.nr_layers = t->nr_layers,
		.nr_experts = t->nr_experts,
		.nr_slots = nr_slots,
		.nr_per_token = t->nr_moe_layers * t->nr_used });
	if (p.resident && p.group && p.ids && p.policy) {
		play(&p, &r);
		*out = r;
		rc = 0;
	}
out:
	if (p.policy)
		ops->destroy(p.policy);
	free(p.probs);
	free(p.resident);
	free(p.group);
	free(p.ids);
	return rc;
}

/* A heap of (next use, key), the latest use on top.  Entries are not removed
 * when a key is wanted again: they no longer agree with next[] then.
 */
struct use {
	uint32_t row, key;
};

static void heap_push(struct use *h, uint32_t *nr, struct use u)
{
	uint32_t i = (*nr)++;

	for (; i && h[(i - 1) / 2].row < u.row; i = (i - 1) / 2)
		h[i] = h[(i - 1) / 2];
	h[i] = u;
}

static struct use heap_pop(struct use *h, uint32_t *nr)
{
	struct use top = h[0], last = h[--*nr];
	uint32_t i = 0;

	for (uint32_t c = 1; c < *nr; c = 2 * i + 1) {
		if (c + 1 < *nr && h[c + 1].row > h[c].row)
			c++;
		if (h[c].row <= last.row)
			break;
		h[i] = h[c];
		i = c;
	}
	h[i] = last;
	return top;
}

/* next_row[i]: the row after i that wants the same key. */
static void find_next(const struct pst_trace *t, uint32_t *next_row,
		      uint32_t *by_key, uint64_t nr_keys)
{
	memset(by_key, 0xff, nr_keys * sizeof(*by_key));
	for (uint32_t i = t->nr_rows; i--;) {
		next_row[i] = by_key[t->key[i]];
		by_key[t->key[i]] = i;
	}
	/* From here on: the next use of a resident key, 0 for an absent one. */
	memset(by_key, 0, nr_keys * sizeof(*by_key));
}

static void play_min(const struct pst_trace *t, uint32_t nr_slots,
		     const uint32_t *next_row, uint32_t *next, struct use *heap,
		     struct pst_replay_result *r)
{
	uint32_t nr_heap = 0, nr_resident = 0;

	for (uint32_t i = 0; i < t->nr_rows; i++) {
		uint32_t key = t->key[i];

		count(t, i, next[key], r);
		if (!next[key] && nr_resident == nr_slots) {
			struct use u;

			do
				u = heap_pop(heap, &nr_heap);
			while (next[u.key] != u.row);
			next[u.key] = 0;
			nr_resident--;
		}
		nr_resident += !next[key];
		next[key] = next_row[i];
		heap_push(heap, &nr_heap,
			  (struct use){ .row = next_row[i], .key = key });
	}
}

int pst_replay_min(const struct pst_trace *t, uint32_t nr_slots,
		   struct pst_replay_result *out)
{
	uint64_t nr_keys = (uint64_t)t->nr_layers * t->nr_experts;
	uint32_t *next_row = pst_calloc(t->nr_rows, sizeof(*next_row));
	uint32_t *next = pst_calloc(nr_keys, sizeof(*next));
	struct use *heap = pst_calloc(t->nr_rows, sizeof(*heap));
	struct pst_replay_result r = { .hits = 0 };
	int rc = nr_slots ? -ENOMEM : -EINVAL;

	if (nr_slots && next_row && next && heap) {
		find_next(t, next_row, next, nr_keys);
		play_min(t, nr_slots, next_row, next, heap, &r);
		*out = r;
		rc = 0;
	}
	free(next_row);
	free(next);
	free(heap);
	return rc;
}
