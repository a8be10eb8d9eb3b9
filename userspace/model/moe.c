// SPDX-License-Identifier: MIT
/*
 * The mixture-of-experts block over a batch: the union of the batch's experts
 * is wanted once from the store; each expert is computed for all its tokens as
 * soon as it is there; contributions are summed by rank, so that the order of
 * arrival leaves no trace in the result.  A shared expert, which every token
 * takes, is computed while the others come.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "fwd_priv.h"

/* Gate rows, then up rows, of each expert in one tensor.  A scale or bias of
 * such a tensor would have to be split as well; no family has one.
 */
static bool bind_fused(struct pst_binder *b, struct pst_layer *l)
{
	static const char *const extras[] = { "ffn_gate_up_exps.scale",
					      "ffn_gate_up_exps.bias" };
	const struct pst_hparams *hp = &b->m->hp;

	for (size_t i = 0; i < PST_ARRAY_SIZE(extras); i++)
		if (pst_bind_has(b, extras[i]))
			pst_bind_fail(b, -ENOTSUP, "is not supported");
	if (!pst_bind_experts(b, "ffn_gate_up_exps", pst_expert_width(hp),
			      2 * hp->n_ff_exp, false, &l->gate))
		return false;
	l->moe.fused_gate_up = true;
	l->gate.n_out = hp->n_ff_exp;
	l->up = l->gate;
	return true;
}

static void bind_shared(struct pst_binder *b, struct pst_moe *m)
{
	uint32_t n = b->m->hp.n_embd, ff = b->m->hp.n_ff_shexp;

	if (!ff)
		return;
	if (b->m->arch->dense_beside) {
		pst_bind_mat(b, "ffn_gate", n, ff, &m->sh_gate);
		pst_bind_mat(b, "ffn_up", n, ff, &m->sh_up);
		pst_bind_mat(b, "ffn_down", ff, n, &m->sh_down);
		return;
	}
	pst_bind_mat(b, "ffn_gate_shexp", n, ff, &m->sh_gate);
	pst_bind_mat(b, "ffn_up_shexp", n, ff, &m->sh_up);
	pst_bind_mat(b, "ffn_down_shexp", ff, n, &m->sh_down);
	if (b->m->arch->shared_gated)
		pst_bind_vec(b, "ffn_gate_inp_shexp.weight", n, true,
			     &m->sh_router);
}

/* The router; the scale of one with a norm of its own is that norm's weight. */
static void bind_router(struct pst_binder *b, struct pst_moe *m)
{
	uint32_t n = b->m->hp.n_embd;

	if (!b->m->arch->dense_beside) {
		pst_bind_mat(b, "ffn_gate_inp", n, b->m->hp.n_expert,
			     &m->router);
		return;
	}
	pst_bind_bare(b, "ffn_gate_inp", n, b->m->hp.n_expert, &m->router);
	pst_bind_vec(b, "ffn_gate_inp.scale", n, true, &m->router_norm);
	pst_bind_vec(b, "pre_ffw_norm_2.weight", n, true, &m->expert_norm);
	pst_bind_vec(b, "post_ffw_norm_1.weight", n, true, &m->sh_post_norm);
	pst_bind_vec(b, "post_ffw_norm_2.weight", n, true,
		     &m->expert_post_norm);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;
	uint32_t n = pst_expert_width(hp);

	bind_router(b, &l->moe);
	if (hp->layer[b->layer].by_token)
		pst_bind_ids(b, "ffn_gate_tid2eid.weight", hp->n_expert_used,
			     hp->n_vocab, &l->moe.by_token);
	else if (hp->router.bias != PST_NEVER)
		pst_bind_vec(b, "exp_probs_b.bias", hp->n_expert,
			     hp->router.bias == PST_REQUIRED,
			     &l->moe.choice_bias);
	if (!bind_fused(b, l)) {
		pst_bind_experts(b, "ffn_gate_exps", n, hp->n_ff_exp, true,
				 &l->gate);
		pst_bind_experts(b, "ffn_up_exps", n, hp->n_ff_exp, true,
				 &l->up);
	}
	pst_bind_experts(b, "ffn_down_exps", hp->n_ff_exp, n, true, &l->down);
	pst_latent_bind(b, &l->moe);
	bind_shared(b, &l->moe);
	b->m->nr_moe_layers++;
}

/* Sort (token, rank) pairs by expert: rows of one expert are neighbours. */
static uint32_t group_by_expert(struct pst_fwd *f, uint32_t n)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t nr_pairs = n * f->n_used, nr_ids = 0;
	uint32_t *first = f->first;

	memset(first, 0, (hp->n_expert + 1) * sizeof(*first));
	for (uint32_t i = 0; i < nr_pairs; i++)
		first[f->sel[i] + 1]++;
	for (uint32_t e = 0; e < hp->n_expert; e++) {
		if (first[e + 1])
			f->ids[nr_ids++] = e;
		first[e + 1] += first[e];
	}
	for (uint32_t i = 0; i < nr_pairs; i++) {
		uint32_t row = first[f->sel[i]]++;

		f->pair_of[i] = row;
		f->tok_of[row] = i / f->n_used;
	}
	/* first[e] has advanced to the end of e: shift back. */
	memmove(first + 1, first, hp->n_expert * sizeof(*first));
	first[0] = 0;
	return nr_ids;
}

/* One expert's scale and bias out of all experts'. */
static void pick_expert(struct pst_weight *w, uint32_t expert,
			const uint8_t *data)
{
	w->data = data;
	if (w->scale)
		w->scale += expert;
	if (w->bias)
		w->bias += (size_t)expert * w->n_out;
}

static void make_item(const struct pst_fwd *f, uint32_t layer,
		      const struct pst_expert *e, struct ffn_item *it)
{
	const struct pst_layer *l = &f->m->layers[layer];

	it->gate = l->gate;
	it->up = l->up;
	it->down = l->down;
	it->limit = f->m->hp.layer[layer].glu_limit;
	pick_expert(&it->gate, e->expert, e->part[0]);
	if (l->moe.fused_gate_up) {
		pick_expert(&it->up, e->expert,
			    e->part[0] + l->gate.n_out * l->gate.row_bytes);
		pick_expert(&it->down, e->expert, e->part[1]);
	} else {
		pick_expert(&it->up, e->expert, e->part[1]);
		pick_expert(&it->down, e->expert, e->part[2]);
	}
	it->row = f->first[e->expert];
	it->nr = f->first[e->expert + 1] - it->row;
	if (f->m->hp.router.on_input) {
		it->x = pst_act_row(&f->xe, it->row);
		it->idx = NULL;
	} else {
		it->x = f->xe.k;
		it->idx = f->tok_of + it->row;
	}
}

/* What the experts read, in front of the rest of f->work. */
static void lay_out_inputs(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;

	if (hp->router.on_input)
		pst_carve_act(f, c, &f->xe, f->n_pairs, hp->n_embd);
	else if (f->m->arch->dense_beside || hp->n_latent)
		pst_carve_act(f, c, &f->xe, f->n_batch, pst_expert_width(hp));
	else
		f->xe = f->xn;
}

/* tmp = the shared expert, where there is one. */
static void run_shared(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];
	const struct pst_moe *m = &l->moe;
	struct carve c = { .base = f->work };
	struct ffn_item it = { .gate = m->sh_gate,
			       .up = m->sh_up,
			       .down = m->sh_down,
			       .x = f->xn.k,
			       .nr = n,
			       .limit =
				       f->m->hp.layer[layer].glu_limit_shared };
	uint64_t start;

	lay_out_inputs(f, &c);
	start = c.at;
	if (m->sh_gate.n_out) {
		pst_ffn_work(f, &c, f->n_batch, m->sh_gate.n_out);
		pst_ffn_run(f, &it, 1, f->tmp);
	}
	c.at = start;
	pst_ffn_work(f, &c, f->n_pairs, l->gate.n_out);
}

/* Experts that are begun now come first; they are finished now too, unless
 * the last matrix of all of them is still on its way.
 */
static void compute_taken(struct pst_fwd *f, uint32_t layer, uint32_t nr)
{
	uint32_t nr_begin = 0, at = nr;

	for (uint32_t i = 0; i < nr; i++)
		make_item(f, layer, &f->taken[i],
			  &f->items[f->taken[i].begin ? nr_begin++ : --at]);
	pst_ffn_begin(f, f->items, nr_begin);
	if (!f->taken[0].finish)
		return;
	pst_ffn_finish(f, f->items, nr, f->contrib);
	for (uint32_t i = 0; i < nr; i++)
		pst_store_done(f->store, f->taken[i].expert);
}

static int run_experts(struct pst_fwd *f, uint32_t layer, uint32_t n,
		       uint32_t nr_ids, struct pst_diag *diag)
{
	int nr;

	pst_store_begin(f->store, layer, f->ids, nr_ids);
	pst_predict(f, layer, n);
	pst_latent_narrow(f, &f->m->layers[layer], n);
	run_shared(f, layer, n);
	while ((nr = pst_store_take(f->store, f->taken, TAKE_MAX, true, diag)) >
	       0)
		compute_taken(f, layer, (uint32_t)nr);
	pst_store_end(f->store);
	return nr;
}

/* How much of the shared expert a token takes. */
static float shared_weight(const struct pst_fwd *f, const float *w, uint32_t t)
{
	const float *x = f->xn.f32 + t * f->xn.stride;
	double sum = 0.0;

	for (uint32_t i = 0; i < f->m->hp.n_embd; i++)
		sum += (double)w[i] * (double)x[i];
	return (float)(1.0 / (1.0 + exp(-sum)));
}

struct weigh_job {
	struct pst_fwd *f;
	bool q8;
};

struct combine_job {
	struct pst_fwd *f;
	const struct pst_moe *m;
};

/* The experts' sum has a norm: it is made in the first one's row. */
static void add_normed(const struct combine_job *j, uint32_t t, float *sum)
{
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	size_t at = (size_t)t * f->n_used;
	float *acc = f->contrib + (size_t)f->pair_of[at] * hp->n_embd;

	for (uint32_t i = 0; i < hp->n_embd; i++)
		acc[i] *= f->sel_w[at];
	for (uint32_t r = 1; r < f->n_used; r++)
		f->k->axpy(acc, f->sel_w[at + r],
			   f->contrib + (size_t)f->pair_of[at + r] * hp->n_embd,
			   hp->n_embd);
	f->k->rms_norm(acc, acc, j->m->expert_post_norm, hp->n_embd, hp->eps);
	f->k->add(sum, acc, hp->n_embd);
}

static void combine_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct combine_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	size_t at = (size_t)t * f->n_used;
	float *sum = f->tmp + (size_t)t * hp->n_embd;
	bool on_output = !hp->router.on_input;

	(void)worker;
	if (!j->m->sh_gate.n_out) {
		memset(sum, 0, hp->n_embd * sizeof(*sum));
	} else if (j->m->sh_router) {
		float w = shared_weight(f, j->m->sh_router, t);

		for (uint32_t i = 0; i < hp->n_embd; i++)
			sum[i] *= w;
	}
	if (j->m->sh_post_norm)
		f->k->rms_norm(sum, sum, j->m->sh_post_norm, hp->n_embd,
			       hp->eps);
	if (hp->n_latent)
		return;
	if (j->m->expert_post_norm)
		add_normed(j, t, sum);
	for (uint32_t r = 0; !j->m->expert_post_norm && r < f->n_used; r++)
		f->k->axpy(sum, on_output ? f->sel_w[at + r] : 1.0f,
			   f->contrib + (size_t)f->pair_of[at + r] * hp->n_embd,
			   hp->n_embd);
}

static uint64_t work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct carve own = { 0 }, shared = { 0 };
	struct pst_fwd sizes = *f;

	(void)layer;
	lay_out_inputs(&sizes, &own);
	shared = own;
	pst_ffn_work(&sizes, &own, f->n_pairs, hp->n_ff_exp);
	pst_ffn_work(&sizes, &shared, f->n_batch, hp->n_ff_shexp);
	return PST_MAX(own.at, shared.at);
}

/* A token's input times the weight of each of its experts. */
static void weigh_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct weigh_job *j = ctx;
	struct pst_fwd *f = j->f;
	uint32_t n = f->m->hp.n_embd;
	const float *x = f->xn.f32 + t * f->xn.stride;

	(void)worker;
	for (uint32_t r = 0; r < f->n_used; r++) {
		size_t at = (size_t)t * f->n_used + r, row = f->pair_of[at];
		float *y = f->xe.f32 + row * f->xe.stride;

		for (uint32_t i = 0; i < n; i++)
			y[i] = f->sel_w[at] * x[i];
		if (j->q8)
			pst_quantize_row(f, &f->xe, row, n);
	}
}

/* f->xe where it is not f->xn. */
static void make_inputs(struct pst_fwd *f, const struct pst_layer *l,
			uint32_t n)
{
	struct weigh_job j = { .f = f,
			       .q8 = pst_needs_q8(f, &l->gate) ||
				     pst_needs_q8(f, &l->up) };

	if (l->moe.expert_norm)
		pst_norm_quantize(f, f->in,
				  (struct pst_norm){ .w = l->moe.expert_norm },
				  &f->xe, n, j.q8);
	if (f->m->hp.router.on_input)
		pst_pool_run(f->pool, weigh_chunk, &j, n);
}

/* The weights of some expert, out of the trunk. */
static struct pst_expert stand_in(const struct pst_fwd *f, uint32_t layer,
				  uint32_t expert, uint64_t size)
{
	const struct pst_store_layer *at = &f->m->experts[layer];
	uint64_t room = f->m->trunk.size_bytes - size;
	const uint8_t *p = f->m->trunk.addr;
	struct pst_expert e = { .expert = expert,
				.begin = true,
				.finish = true };

	p += room ? expert * pst_align_up(size, 64) % room : 0;
	for (uint32_t i = 0; i < at->nr_parts; i++) {
		e.part[i] = p;
		p += at->part[i].size_bytes;
	}
	return e;
}

double pst_moe_try_row_s(struct pst_fwd *f, uint32_t layer, uint32_t n,
			 uint32_t rows)
{
	const struct pst_layer *l = &f->m->layers[layer];
	uint32_t nr = (uint32_t)PST_MIN(PST_MIN(TAKE_MAX, f->m->hp.n_expert),
					f->n_pairs);
	struct carve c = { .base = f->work };
	uint64_t size = 0, start;

	for (uint32_t i = 0; i < f->m->experts[layer].nr_parts; i++)
		size += f->m->experts[layer].part[i].size_bytes;
	rows = (uint32_t)PST_MIN(rows, f->n_pairs / nr);
	if (size > f->m->trunk.size_bytes || !rows)
		return 0.0;
	lay_out_inputs(f, &c);
	pst_ffn_work(f, &c, f->n_pairs, l->gate.n_out);
	for (uint32_t i = 0; i < nr * rows; i++)
		f->tok_of[i] = i % n;
	for (uint32_t i = 0; i < nr; i++) {
		struct pst_expert e = stand_in(f, layer, i, size);

		f->first[i] = i * rows;
		f->first[i + 1] = (i + 1) * rows;
		make_item(f, layer, &e, &f->items[i]);
	}
	start = pst_now_ns();
	pst_ffn_run(f, f->items, nr, f->contrib);
	return (double)(pst_now_ns() - start) * 1e-9 / nr / rows;
}

/* Each token's experts, by the router. */
static void choose(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct carve inputs = { .base = f->work };

	lay_out_inputs(f, &inputs);
	if (l->moe.router_norm)
		pst_norm_quantize(f, f->in,
				  (struct pst_norm){ .w = l->moe.router_norm },
				  &f->xe, n, pst_needs_q8(f, &l->moe.router));
	pst_router(f, layer, n);
}

static int run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
	       uint32_t layer, struct pst_diag *diag)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct combine_job c = { .f = f, .m = &l->moe };
	uint32_t n = pass->n, nr_ids;
	int rc;

	choose(f, layer, n);
	pst_observe_route(f, layer, n);
	nr_ids = group_by_expert(f, n);
	make_inputs(f, l, n);
	pst_store_route(f->store, &(struct pst_policy_route){
					  .layer = layer,
					  .ids = f->sel,
					  .weights = f->sel_w,
					  .probs = f->router,
					  .nr_tokens = n,
					  .nr_used = f->n_used,
				  });
	pst_predict_score(f, layer, n);
	pst_observe_experts_begin(f);
	rc = run_experts(f, layer, n, nr_ids, diag);
	pst_observe_experts_end(f);
	if (rc)
		return rc;
	pst_pool_run(f->pool, combine_chunk, &c, n);
	pst_latent_widen(f, l, n);
	return 0;
}

void pst_moe_try_rest(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct combine_job c = { .f = f, .m = &l->moe };

	f->n_used = f->m->hp.n_expert_used;
	choose(f, layer, n);
	group_by_expert(f, n);
	make_inputs(f, l, n);
	pst_latent_narrow(f, l, n);
	run_shared(f, layer, n);
	pst_pool_run(f->pool, combine_chunk, &c, n);
	pst_latent_widen(f, l, n);
}

const struct pst_ffn pst_ffn_moe = {
	.name = "experts",
	.bind = bind,
	.work_bytes = work_bytes,
	.run = run,
};
