// SPDX-License-Identifier: MIT
/*
 * The pass over all layers, and the one block of memory that it works in.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "fwd_priv.h"
#include "model_priv.h"

/* Hands out pieces of one region; with base NULL it only adds up. */
struct carve {
	uint8_t *base;
	uint64_t at;
};

static void *carve(struct carve *c, uint64_t nr, uint64_t elem_bytes)
{
	void *p = c->base ? c->base + c->at : NULL;

	c->at += pst_align_up(nr * elem_bytes, 64);
	return p;
}

static void carve_act(struct carve *c, struct act *a, uint64_t rows,
		      uint64_t width)
{
	a->stride = pst_align_up(width, 64);
	a->f32 = carve(c, rows * a->stride, sizeof(float));
	a->q8 = carve(c, rows * a->stride, 1);
	a->d = carve(c, rows * (a->stride / PST_K_QBLOCK), sizeof(float));
	a->sum = carve(c, rows * (a->stride / PST_K_QBLOCK), sizeof(int32_t));
	a->k = (struct pst_kact){ .f32 = a->f32,
				  .q8 = a->q8,
				  .d = a->d,
				  .sum = a->sum,
				  .stride = a->stride };
}

static void carve_attention(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t b = f->n_batch;

	f->x = carve(c, b * hp->n_embd, sizeof(float));
	f->tmp = carve(c, b * hp->n_embd, sizeof(float));
	carve_act(c, &f->xn, b, hp->n_embd);
	f->q = carve(c, b * hp->n_head * hp->hd_k, sizeof(float));
	f->kk = carve(c, b * hp->n_head_kv * hp->hd_k, sizeof(float));
	f->v = carve(c, b * hp->n_head_kv * hp->hd_v, sizeof(float));
	carve_act(c, &f->att, b, (uint64_t)hp->n_head * hp->hd_v);
	f->cs = carve(c, b * hp->rope.n_rot, sizeof(float));
	f->scores_stride = pst_align_up(f->n_ctx, 64);
	f->scores = carve(c, f->n_workers * f->scores_stride, sizeof(float));
}

static void carve_ffn(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t ff = hp->n_expert ? hp->n_ff_exp : hp->n_ff;
	uint64_t b = f->n_batch, used = PST_MAX(hp->n_expert_used, 1u);
	uint64_t widest = PST_MAX(hp->n_embd, ff);

	f->n_pairs = b * used;
	carve_act(c, &f->h, f->n_pairs, ff);
	f->up = carve(c, f->n_pairs * f->h.stride, sizeof(float));
	widest = PST_MAX(widest, (uint64_t)hp->n_head * hp->hd_v);
	f->scratch_stride = pst_align_up(widest + 64, 64);
	f->scratch = carve(c, f->n_workers * f->scratch_stride, sizeof(float));
	if (!hp->n_expert)
		return;
	f->contrib = carve(c, f->n_pairs * hp->n_embd, sizeof(float));
	f->router = carve(c, b * hp->n_expert, sizeof(float));
	f->sel = carve(c, f->n_pairs, sizeof(uint32_t));
	f->sel_w = carve(c, f->n_pairs, sizeof(float));
	f->pair_of = carve(c, f->n_pairs, sizeof(uint32_t));
	f->tok_of = carve(c, f->n_pairs, sizeof(uint32_t));
	f->first = carve(c, hp->n_expert + 1, sizeof(uint32_t));
	f->ids = carve(c, hp->n_expert, sizeof(uint32_t));
	f->taken = carve(c, TAKE_MAX, sizeof(*f->taken));
	f->items = carve(c, TAKE_MAX, sizeof(*f->items));
}

static void carve_all(struct pst_fwd *f, struct carve *c)
{
	carve_attention(f, c);
	carve_ffn(f, c);
	f->logits = carve(c, (uint64_t)LOGITS_GROUP * f->m->hp.n_vocab,
			  sizeof(float));
	carve_act(c, &f->out, LOGITS_GROUP, f->m->hp.n_embd);
}

static void take_args(struct pst_fwd *f, const struct pst_fwd_args *args)
{
	f->m = args->model;
	f->k = args->kernels;
	f->pool = args->pool;
	f->n_batch = args->n_batch;
	f->n_ctx = args->n_ctx;
	f->n_workers = pst_pool_nr_workers(args->pool);
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

struct embed_job {
	struct pst_fwd *f;
	const struct pst_fwd_pass *pass;
};

static void embed_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct embed_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_weight *w = &f->m->tok_embd;
	uint32_t n_rot = f->m->hp.rope.n_rot;

	(void)worker;
	f->k->types[w->type].dequant(
		f->x + (size_t)t * w->n_in,
		w->data + (size_t)j->pass->tokens[t] * w->row_bytes, w->n_in);
	pst_rope_table(&f->m->hp.rope, f->m->rope_freqs,
		       j->pass->kv->n_used + t, f->cs + (size_t)t * n_rot);
}

/* Logits of the last rows, a few at a time: one sweep over the matrix each. */
static int give_logits(struct pst_fwd *f, const struct pst_fwd_pass *pass)
{
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_weight *w = &f->m->output;
	int rc;

	for (uint32_t t = pass->first_logits; t < pass->n; t += LOGITS_GROUP) {
		uint32_t nr = PST_MIN(LOGITS_GROUP, pass->n - t);
		struct lin_item item = { .w = w,
					 .x = &f->out.k,
					 .nr_x = nr,
					 .y = f->logits,
					 .y_stride = hp->n_vocab };

		pst_norm_quantize(f, f->x + (size_t)t * hp->n_embd,
				  f->m->output_norm, &f->out, nr,
				  pst_needs_q8(f, w));
		pst_linear(f, &item, 1);
		for (uint32_t i = 0; i < nr; i++) {
			rc = pass->logits(pass->ctx, t + i,
					  f->logits + (size_t)i * hp->n_vocab);
			if (rc)
				return rc;
		}
	}
	return 0;
}

int pst_fwd_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		struct pst_diag *diag)
{
	struct embed_job e = { .f = f, .pass = pass };
	uint32_t n_layers = f->m->hp.n_layers;
	int rc;

	pst_pool_run(f->pool, embed_chunk, &e, pass->n);
	for (uint32_t l = 0; l < n_layers; l++) {
		pst_attention(f, pass, l);
		if (f->m->experts[l].nr_parts) {
			rc = pst_moe(f, l, pass->n, diag);
			if (rc)
				return rc;
		} else {
			pst_ffn_dense(f, l, pass->n);
		}
		if (pass->progress)
			pass->progress(pass->ctx, l + 1, n_layers);
	}
	rc = give_logits(f, pass);
	if (!rc)
		pass->kv->n_used += pass->n;
	return rc;
}
