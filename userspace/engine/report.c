// SPDX-License-Identifier: MIT
/*
 * The collector: sums by phase, by layer and by pass, and the routing, all in
 * one block that is taken before the first token.  What does not fit any more
 * is counted and left out.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "report_priv.h"

/* Of the block, for the time line; the routing takes the rest. */
#define PASSES_SHARE 4

int pst_engine_moe_shape(const struct pst_engine *e, struct pst_moe_shape *out)
{
	const struct pst_model *m = e->model;

	if (!m->hp.n_expert)
		return -ENOTSUP;
	if (m->hp.n_layers > PST_ARRAY_SIZE(out->expert_bytes))
		return -E2BIG;
	*out = (struct pst_moe_shape){ .nr_layers = m->hp.n_layers,
				       .nr_experts = m->hp.n_expert,
				       .nr_used = m->hp.n_expert_used };
	for (uint32_t l = 0; l < m->hp.n_layers; l++)
		out->expert_bytes[l] = pst_report_expert_bytes(e, l);
	return 0;
}

uint64_t pst_report_expert_bytes(const struct pst_engine *e, uint32_t layer)
{
	const struct pst_store_layer *l = &e->model->experts[layer];
	uint64_t sum = 0;

	for (uint32_t p = 0; p < l->nr_parts; p++)
		sum += l->part[p].size_bytes;
	return sum;
}

int pst_report_create(uint64_t max_bytes, struct pst_report **out)
{
	struct pst_report *r = calloc(1, sizeof(*r));

	if (!r)
		return -ENOMEM;
	r->max_bytes = max_bytes;
	*out = r;
	return 0;
}

void pst_report_destroy(struct pst_report *r)
{
	if (!r)
		return;
	free(r->passes);
	free(r->layers);
	free(r->guesses);
	free(r->guesses_before);
	free(r->use);
	free(r->keys);
	free(r->expert_bytes);
	free(r);
}

int pst_report_start(struct pst_report *r, const struct pst_engine *e)
{
	const struct pst_hparams *hp = &e->model->hp;

	r->e = e;
	r->nr_layers = hp->n_layers;
	r->nr_experts = hp->n_expert;
	r->cap_passes =
		(uint32_t)(r->max_bytes / PASSES_SHARE / sizeof(*r->passes));
	r->cap_keys = (uint32_t)((r->max_bytes - r->max_bytes / PASSES_SHARE) /
				 sizeof(*r->keys));
	r->passes = pst_calloc(r->cap_passes, sizeof(*r->passes));
	r->layers = pst_calloc(r->nr_layers, sizeof(*r->layers));
	r->expert_bytes = pst_calloc(r->nr_layers, sizeof(*r->expert_bytes));
	r->guesses = pst_calloc(r->nr_layers, sizeof(*r->guesses));
	r->guesses_before =
		pst_calloc(r->nr_layers, sizeof(*r->guesses_before));
	if (!r->passes || !r->layers || !r->expert_bytes || !r->guesses ||
	    !r->guesses_before)
		return -ENOMEM;
	for (uint32_t l = 0; l < r->nr_layers; l++)
		r->expert_bytes[l] = pst_report_expert_bytes(e, l);
	if (hp->n_expert) {
		r->keys = pst_calloc(r->cap_keys, sizeof(*r->keys));
		r->use = pst_calloc((uint64_t)r->nr_layers * r->nr_experts,
				    sizeof(*r->use));
		if (!r->keys || !r->use)
			return -ENOMEM;
	}
	pst_report_phase(r, false);
	return 0;
}

static struct pst_report_guess guess_now(const struct pst_report *r, uint32_t l)
{
	struct pst_predict_stats ps;
	struct pst_store_ahead sa = { 0 };

	pst_fwd_predict_stats(r->e->fwd, l, &ps);
	if (r->e->store)
		pst_store_ahead_read(r->e->store, l, &sa);
	return (struct pst_report_guess){ .guessed = ps.trusted,
					  .right = ps.trusted_right,
					  .wanted = ps.wanted,
					  .read = sa.reads,
					  .used = sa.used };
}

/* What the prompt has read ahead and left to the reply is in neither. */
static void charge_guesses(struct pst_report *r, bool decode)
{
	for (uint32_t l = 0; l < r->nr_layers; l++) {
		struct pst_report_guess now = guess_now(r, l);
		struct pst_report_guess *b = &r->guesses_before[l];
		struct pst_report_guess *sum = &r->guesses[l];
		uint64_t read = now.read - b->read;

		if (decode) {
			sum->guessed += now.guessed - b->guessed;
			sum->right += now.right - b->right;
			sum->wanted += now.wanted - b->wanted;
			sum->read += read;
			sum->used += PST_MIN(now.used - b->used, read);
		}
		*b = now;
	}
}

/* The counters of engine and store, charged to the phase that ends. */
static void charge(struct pst_report *r, struct pst_report_phase *p)
{
	struct pst_store_stats ss = { 0 };
	struct pst_io_stats is = { 0 };
	uint64_t all = r->e->plan.nr_experts, mean;
	struct pst_store_stats *b = &r->store_before;

	if (r->e->store)
		pst_store_stats_read(r->e->store, &ss);
	pst_io_stats_read(r->e->io, &is);
	mean = all ? r->e->plan.expert_file / all : 0;
	if (p) {
		p->read_bytes += is.read_bytes - r->io_before.read_bytes;
		p->busy_ns += is.busy_ns - r->io_before.busy_ns;
		p->prefetch_used_bytes +=
			(ss.prefetch_used - b->prefetch_used) * mean;
		p->prefetch_wasted_bytes +=
			(ss.prefetch_wasted - b->prefetch_wasted) * mean;
	}
	*b = ss;
	r->io_before = is;
	charge_guesses(r, p == &r->decode);
}

void pst_report_phase(struct pst_report *r, bool decode)
{
	charge(r, r->phase);
	r->phase = decode ? &r->decode : &r->prefill;
}

static void add(struct pst_report_times *to, const struct pst_report_times *t)
{
	to->passes += t->passes;
	to->tokens += t->tokens;
	to->total_ns += t->total_ns;
	to->wait_ns += t->wait_ns;
	to->attention_ns += t->attention_ns;
	to->experts_ns += t->experts_ns;
	to->logits_ns += t->logits_ns;
	to->hits += t->hits;
	to->misses += t->misses;
	to->hit_bytes += t->hit_bytes;
	to->demand_bytes += t->demand_bytes;
	to->idle_bytes += t->idle_bytes;
}

/* Routing is kept from the start, whole layers at a time, without a gap. */
void pst_report_route(struct pst_report *r, const struct pst_route_sample *s)
{
	uint32_t nr = s->nr_tokens * s->nr_used;
	uint32_t *use = r->use + (size_t)s->layer * r->nr_experts;

	for (uint32_t i = 0; i < nr; i++)
		use[s->ids[i]]++;
	if (!r->nr_keys)
		r->nr_used = s->nr_used;
	if (s->nr_used != r->nr_used || nr > r->cap_keys - r->nr_keys)
		r->keys_full = true;
	if (r->keys_full)
		return;
	if (r->phase == &r->decode && !r->first_decode)
		r->first_decode = r->nr_keys;
	for (uint32_t i = 0; i < nr; i++)
		r->keys[r->nr_keys++] = s->layer * r->nr_experts + s->ids[i];
}

void pst_report_layer(struct pst_report *r, uint32_t layer,
		      const struct pst_layer_sample *s)
{
	struct pst_report_times t = {
		.passes = 1,
		.total_ns = s->total_ns,
		.wait_ns = s->wait_ns,
		.attention_ns = s->attention_ns,
		.experts_ns = s->experts_ns,
		.hits = s->hits,
		.misses = s->misses,
		.hit_bytes = s->hits * r->expert_bytes[layer],
		.demand_bytes = s->demand_bytes,
		.idle_bytes = s->idle_bytes,
	};

	if (r->phase == &r->decode)
		add(&r->layers[layer], &t);
	/* The pass has a clock of its own. */
	t.passes = 0;
	t.total_ns = 0;
	add(&r->now, &t);
}

void pst_report_pass(struct pst_report *r, const struct pst_pass_sample *s)
{
	r->now.passes = 1;
	r->now.tokens = s->nr_tokens;
	r->now.total_ns = s->total_ns;
	r->now.logits_ns = s->logits_ns;
	add(&r->phase->t, &r->now);
	if (r->nr_passes < r->cap_passes)
		r->passes[r->nr_passes++] = (struct pst_report_pass){
			.first_pos = s->first_pos,
			.decode = r->phase == &r->decode,
			.t = r->now,
		};
	else
		r->nr_dropped++;
	r->now = (struct pst_report_times){ 0 };
}

const char *pst_report_limit_name(enum pst_report_limit l)
{
	static const char *const names[] = {
		[PST_LIMIT_NONE] = "unknown",
		[PST_LIMIT_DRIVE] = "drive",
		[PST_LIMIT_MEMORY] = "memory bandwidth",
		[PST_LIMIT_CORES] = "cores",
	};

	return names[l];
}
