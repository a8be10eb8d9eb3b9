// SPDX-License-Identifier: MIT
/*
 * The pass over all layers, and the one block of memory that it works in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd_priv.h"

void *pst_carve(struct carve *c, uint64_t nr, uint64_t elem_bytes)
{
	void *p = c->base ? c->base + c->at : NULL;

	c->at += pst_align_up(nr * elem_bytes, 64);
	return p;
}

/* One half runs at a time: they share what the hungriest needs. */
static uint64_t work_bytes(const struct pst_fwd *f)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t most = pst_token_input_work_bytes(f);

	for (uint32_t i = 0; i < hp->n_layers; i++) {
		const struct pst_layer_hp *lh = &hp->layer[i];

		most = PST_MAX(most, lh->mixer->work_bytes(f, i));
		most = PST_MAX(most, lh->ffn->work_bytes(f, i));
	}
	return most;
}

/* Does some block choose which positions it attends to? */
static bool chooses(const struct pst_hparams *hp)
{
	return hp->mla.index_top_k || hp->packed.index_top_k || hp->runs.top_k;
}

static void carve_common(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t b = f->n_batch;

	f->x = pst_carve(c, b * f->x_width, sizeof(float));
	f->tmp = pst_carve(c, b * hp->n_embd, sizeof(float));
	pst_carve_act(f, c, &f->xn, b, hp->n_embd);
	if (hp->n_embd_block)
		pst_carve_act(f, c, &f->x0, b, hp->n_embd);
	for (int i = 0; i < PST_ROPES; i++)
		f->cs[i] = pst_carve(c, b * hp->rope[i].n_rot, sizeof(float));
	if (hp->mla.index_top_k < f->n_ctx) /* else all positions are taken */
		f->picked =
			pst_carve(c, b * hp->mla.index_top_k, sizeof(uint32_t));
	f->scores_stride = chooses(hp) ? pst_align_up(f->n_ctx, 64) : 0;
	f->scores =
		pst_carve(c, f->n_workers * f->scores_stride, sizeof(float));
	f->scratch_stride = pst_mul_scratch_floats(f);
	f->scratch =
		pst_carve(c, f->n_workers * f->scratch_stride, sizeof(float));
	f->work = pst_carve(c, work_bytes(f), 1);
}

static void carve_experts(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t b = f->n_batch;

	f->contrib = pst_carve(c,
			       f->n_pairs * PST_MAX(hp->n_embd, hp->n_latent),
			       sizeof(float));
	f->router = pst_carve(c, b * hp->n_expert, sizeof(float));
	f->choice = pst_carve(c, b * hp->n_expert, sizeof(float));
	f->sel = pst_carve(c, f->n_pairs, sizeof(uint32_t));
	f->sel_w = pst_carve(c, f->n_pairs, sizeof(float));
	f->pair_of = pst_carve(c, f->n_pairs, sizeof(uint32_t));
	f->tok_of = pst_carve(c, f->n_pairs, sizeof(uint32_t));
	f->first = pst_carve(c, hp->n_expert + 1, sizeof(uint32_t));
	f->ids = pst_carve(c, hp->n_expert, sizeof(uint32_t));
	f->taken = pst_carve(c, TAKE_MAX, sizeof(*f->taken));
	f->items = pst_carve(c, TAKE_MAX, sizeof(*f->items));
}

static void carve_predict(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct predict *p = &f->predict;

	if (!hp->n_expert)
		return;
	p->logits = pst_carve(c, (uint64_t)LOGITS_GROUP * hp->n_expert,
			      sizeof(float));
	p->scores = pst_carve(c, hp->n_expert, sizeof(float));
	p->rank = pst_carve(c, hp->n_expert, sizeof(uint32_t));
	p->ids = pst_carve(c, hp->n_expert, sizeof(uint32_t));
	p->taken = pst_carve(c, hp->n_expert, sizeof(bool));
	p->stats = pst_carve(c, hp->n_layers, sizeof(*p->stats));
	p->block = pst_carve(c, hp->n_layers, sizeof(*p->block));
	for (uint32_t i = 0; i < PREDICT_AHEAD_MAX; i++) {
		p->said[i].layer = UINT32_MAX;
		p->said[i].ids = pst_carve(c, hp->n_expert, sizeof(uint32_t));
		p->said[i].bucket = pst_carve(c, hp->n_expert, 1);
		p->said[i].trusted = pst_carve(c, hp->n_expert, sizeof(bool));
	}
}

static void carve_all(struct pst_fwd *f, struct carve *c)
{
	f->n_pairs = (uint64_t)f->n_batch * f->m->hp.n_expert_used;
	carve_common(f, c);
	if (f->residual->carve)
		f->residual->carve(f, c);
	if (f->m->hp.n_expert)
		carve_experts(f, c);
	f->logits = pst_carve(c, (uint64_t)LOGITS_GROUP * f->m->hp.n_vocab,
			      sizeof(float));
	pst_carve_act(f, c, &f->out, LOGITS_GROUP, f->m->hp.n_embd);
	carve_predict(f, c);
	pst_rows_carve(f, c);
}

static void take_args(struct pst_fwd *f, const struct pst_fwd_args *args)
{
	f->m = args->model;
	f->residual = pst_residual_of(f->m->arch);
	f->x_width = f->residual->width(&f->m->hp);
	f->k = args->kernels;
	f->pool = args->pool;
	f->n_batch = args->n_batch;
	f->n_ctx = args->n_ctx;
	f->activations = args->activations;
	f->mla = args->mla;
	f->n_workers = pst_pool_nr_workers(args->pool);
	f->observer = args->observer;
	f->rows.io = args->io;
	f->rows.least = args->nr_rows ? args->nr_rows : PST_ROWS_DEFAULT;
}

uint64_t pst_fwd_bytes(const struct pst_fwd_args *args)
{
	struct pst_fwd f = { 0 };
	struct carve c = { 0 };

	take_args(&f, args);
	carve_all(&f, &c);
	return c.at;
}

int pst_fwd_create(const struct pst_fwd_args *args, struct pst_fwd **out,
		   struct pst_diag *diag)
{
	struct pst_fwd *f = calloc(1, sizeof(*f));
	struct pst_mem_args want = { .size_bytes = pst_fwd_bytes(args),
				     .want = args->huge,
				     .node = args->node };
	struct carve c = { 0 };
	int rc;

	if (!f)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	rc = pst_mem_map(&want, &f->mem, diag);
	if (rc) {
		free(f);
		return rc;
	}
	take_args(f, args);
	c.base = f->mem.addr;
	carve_all(f, &c);
	*out = f;
	return 0;
}

void pst_fwd_destroy(struct pst_fwd *f)
{
	if (!f)
		return;
	pst_mem_unmap(&f->mem);
	free(f);
}

void pst_fwd_set_store(struct pst_fwd *f, struct pst_store *s)
{
	f->store = s;
}

static int run_layer(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		     uint32_t layer, struct pst_diag *diag)
{
	const struct pst_layer_hp *lh = &f->m->hp.layer[layer];
	const struct pst_layer *l = &f->m->layers[layer];
	bool experts = f->m->experts[layer].nr_parts;
	int rc;

	pst_observe_layer_begin(f, layer);
	pst_half_enter(f, layer, PST_HALF_MIXER, pass->n);
	lh->mixer->run(f, pass, layer);
	pst_half_leave(f, layer, PST_HALF_MIXER, pass->n);
	pst_observe_attention_end(f);
	if (!experts)
		pst_observe_experts_begin(f);
	pst_half_enter(f, layer, PST_HALF_FFN, pass->n);
	rc = lh->ffn->run(f, pass, layer, diag);
	if (rc)
		return rc;
	pst_half_leave(f, layer, PST_HALF_FFN, pass->n);
	pst_token_input_run(f, pass, layer);
	if (l->out_scale)
		pst_block_leave(f, *l->out_scale, pass->n);
	if (!experts)
		pst_observe_experts_end(f);
	pst_observe_layer_end(f, layer);
	return 0;
}

int pst_fwd_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		struct pst_diag *diag)
{
	uint32_t n_layers = f->m->hp.n_layers;
	int rc;

	f->predict.ahead = pass->predict_ahead;
	f->predict.known = pass->predict_known;
	f->predict.whole = pass->predict_whole;
	f->tokens = pass->tokens;
	pst_observe_begin(f, pass->kv->n_used);
	rc = pst_rows_fetch(f, pass->n, diag);
	if (rc)
		return rc;
	pst_kv_begin(pass->kv, pass->n, pass->keep);
	pst_predict_known(f, pass->n);
	pst_fwd_embed(f, pass);
	pst_token_input_begin(f, pass->n);
	pst_predict_first(f, pass->n);
	for (uint32_t l = 0; l < n_layers; l++) {
		rc = run_layer(f, pass, l, diag);
		if (rc)
			return rc;
		if (pass->progress)
			pass->progress(pass->ctx, l + 1, n_layers);
		if (pass->stop && pass->stop(pass->ctx))
			return -ECANCELED;
	}
	pst_observe_logits_begin(f);
	rc = pst_fwd_give(f, pass);
	if (rc)
		return rc;
	pst_kv_commit(pass->kv, pass->n);
	pst_observe_end(f, pass->n);
	return 0;
}
