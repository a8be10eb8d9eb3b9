// SPDX-License-Identifier: MIT
/*
 * What a pass tells its observer: clocks around the parts of a layer, and the
 * store's counters before and after.  Without an observer every function
 * returns at once; with one, a layer costs five looks at the clock.
 */
#include <assert.h>
#include <string.h>

#include "fwd_priv.h"
#include "probe.h"

static struct pst_store_stats counters(const struct pst_fwd *f)
{
	struct pst_store_stats s = { 0 };

	if (f->store)
		pst_store_stats_read(f->store, &s);
	return s;
}

/* Bytes of one expert of a layer in the files. */
static uint64_t expert_bytes(const struct pst_store_layer *l)
{
	uint64_t sum = 0;

	for (uint32_t p = 0; p < l->nr_parts; p++)
		sum += l->part[p].size_bytes;
	return sum;
}

void pst_observe_begin(struct pst_fwd *f, uint32_t first_pos)
{
	f->w.first_pos = first_pos;
	f->n_used = f->m->hp.n_expert_used;
	if (f->observer)
		f->w.pass_ns = pst_now_ns();
}

void pst_observe_layer_begin(struct pst_fwd *f, uint32_t layer)
{
	PST_PROBE2(layer, layer, f->w.first_pos);
	if (!f->observer || !f->observer->layer)
		return;
	f->w.sample = (struct pst_layer_sample){ 0 };
	f->w.before = counters(f);
	f->w.layer_ns = pst_now_ns();
}

void pst_observe_attention_end(struct pst_fwd *f)
{
	if (f->observer && f->observer->layer)
		f->w.sample.attention_ns = pst_now_ns() - f->w.layer_ns;
}

void pst_observe_experts_begin(struct pst_fwd *f)
{
	if (f->observer && f->observer->layer)
		f->w.experts_ns = pst_now_ns();
}

void pst_observe_experts_end(struct pst_fwd *f)
{
	if (f->observer && f->observer->layer)
		f->w.sample.experts_ns = pst_now_ns() - f->w.experts_ns;
}

void pst_observe_layer_end(struct pst_fwd *f, uint32_t layer)
{
	struct pst_layer_sample *s = &f->w.sample;
	struct pst_store_stats now;

	if (!f->observer || !f->observer->layer)
		return;
	now = counters(f);
	s->total_ns = pst_now_ns() - f->w.layer_ns;
	s->wait_ns = now.wait_ns - f->w.before.wait_ns;
	/* All waiting is for experts, between the two looks at the clock. */
	s->experts_ns -= PST_MIN(s->wait_ns, s->experts_ns);
	s->hits = now.hits - f->w.before.hits;
	s->misses = now.misses - f->w.before.misses;
	s->demand_bytes = s->misses * expert_bytes(&f->m->experts[layer]);
	/* Read for other layers, counted with the size of this one's. */
	s->idle_bytes = (now.prefetch_reads - f->w.before.prefetch_reads) *
			expert_bytes(&f->m->experts[layer]);
	f->observer->layer(f->observer->ctx, layer, s);
}

void pst_observe_logits_begin(struct pst_fwd *f)
{
	if (f->observer)
		f->w.logits_ns = pst_now_ns();
}

void pst_observe_end(struct pst_fwd *f, uint32_t nr_tokens)
{
	struct pst_pass_sample p = { .first_pos = f->w.first_pos,
				     .nr_tokens = nr_tokens };
	uint64_t now;

	PST_PROBE2(token, p.first_pos, nr_tokens);
	if (!f->observer || !f->observer->pass)
		return;
	now = pst_now_ns();
	p.total_ns = now - f->w.pass_ns;
	p.logits_ns = now - f->w.logits_ns;
	f->observer->pass(f->observer->ctx, &p);
}

/* Where only the chosen are weighed, the router leaves logits.  The scores of
 * the choice have served and make room.
 */
static const float *all_probs(struct pst_fwd *f, uint32_t nr_tokens)
{
	uint32_t n = f->m->hp.n_expert;

	memcpy(f->choice, f->router,
	       (size_t)nr_tokens * n * sizeof(*f->choice));
	for (uint32_t t = 0; t < nr_tokens; t++)
		f->k->softmax(f->choice + (size_t)t * n, n);
	return f->choice;
}

void pst_observe_route(struct pst_fwd *f, uint32_t layer, uint32_t nr_tokens)
{
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_observer *o = f->observer;
	struct pst_route_choice c = { .layer = layer,
				      .first_pos = f->w.first_pos,
				      .nr_tokens = nr_tokens,
				      .nr_used = hp->n_expert_used,
				      .nr_experts = hp->n_expert,
				      .ids = f->sel,
				      .weights = f->sel_w };
	struct pst_route_sample r = { .layer = layer,
				      .first_pos = f->w.first_pos,
				      .nr_tokens = nr_tokens,
				      .nr_experts = hp->n_expert,
				      .ids = f->sel,
				      .weights = f->sel_w,
				      .probs = f->router };

	f->n_used = hp->n_expert_used;
	PST_PROBE3(route, layer, nr_tokens, f->n_used);
	if (!o)
		return;
	if (o->choose)
		f->n_used = o->choose(o->ctx, &c);
	assert(f->n_used && f->n_used <= hp->n_expert_used);
	r.nr_used = f->n_used;
	if (!o->route)
		return;
	if (hp->router.gating == PST_GATING_SOFTMAX_CHOSEN ||
	    hp->router.gating == PST_GATING_SPARSEMIXER)
		r.probs = all_probs(f, nr_tokens);
	o->route(o->ctx, &r);
}
