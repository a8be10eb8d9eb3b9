// SPDX-License-Identifier: MIT
/*
 * Grouped-query attention with rotary embedding: query head h reads KV head
 * h / (n_head / n_head_kv).
 */
#include <string.h>

#include "fwd_priv.h"

struct att_job {
	struct pst_fwd *f;
	const struct pst_layer *l;
	struct pst_kv *kv;
	uint32_t layer;
	uint32_t pos0; /* position of the batch's first token */
};

static size_t kv_elem(const struct pst_kv *kv)
{
	return kv->type == PST_KV_F32 ? 4 : 2;
}

/* First byte of a head's keys (or values) at a position. */
static uint8_t *kv_at(const struct att_job *j, bool value, uint32_t head,
		      uint32_t pos)
{
	const struct pst_hparams *hp = &j->f->m->hp;
	uint32_t hd = value ? hp->hd_v : hp->hd_k;
	uint64_t row =
		((uint64_t)j->layer * hp->n_head_kv + head) * j->kv->n_ctx +
		pos;

	return (uint8_t *)j->kv->mem.addr + (value ? j->kv->v_off_bytes : 0) +
	       row * hd * kv_elem(j->kv);
}

static void store_row(const struct att_job *j, uint8_t *dst, const float *src,
		      uint32_t n)
{
	if (j->kv->type == PST_KV_F32)
		memcpy(dst, src, n * sizeof(*src));
	else
		j->f->k->f32_to_f16((uint16_t *)(void *)dst, src, n);
}

static void norm_heads(const struct att_job *j, float *x, const float *w,
		       uint32_t n_head)
{
	const struct pst_hparams *hp = &j->f->m->hp;

	if (j->f->m->arch->qk_norm == PST_QK_NORM_FULL) {
		j->f->k->rms_norm(x, x, w, n_head * hp->hd_k, hp->eps);
		return;
	}
	for (uint32_t h = 0; h < n_head; h++)
		j->f->k->rms_norm(x + (size_t)h * hp->hd_k,
				  x + (size_t)h * hp->hd_k, w, hp->hd_k,
				  hp->eps);
}

static void rotate(const struct att_job *j, float *x, const float *cs,
		   uint32_t n_head)
{
	const struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;

	for (uint32_t h = 0; h < n_head; h++) {
		float *head = x + (size_t)h * hp->hd_k;

		if (f->m->arch->rope == PST_ROPE_NORM)
			f->k->rope_norm(head, cs, hp->rope.n_rot);
		else
			f->k->rope_neox(head, cs, hp->rope.n_rot);
	}
}

/* One token: norms, rotation, and its key and value into the cache. */
static void prepare_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct att_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	const float *cs = f->cs + (size_t)t * hp->rope.n_rot;
	float *q = f->q + (size_t)t * hp->n_head * hp->hd_k;
	float *k = f->kk + (size_t)t * hp->n_head_kv * hp->hd_k;
	float *v = f->v + (size_t)t * hp->n_head_kv * hp->hd_v;

	(void)worker;
	if (f->m->arch->qk_norm != PST_QK_NORM_NONE) {
		norm_heads(j, q, j->l->q_norm, hp->n_head);
		norm_heads(j, k, j->l->k_norm, hp->n_head_kv);
	}
	rotate(j, q, cs, hp->n_head);
	rotate(j, k, cs, hp->n_head_kv);
	for (uint32_t h = 0; h < hp->n_head_kv; h++) {
		store_row(j, kv_at(j, false, h, j->pos0 + t),
			  k + (size_t)h * hp->hd_k, hp->hd_k);
		store_row(j, kv_at(j, true, h, j->pos0 + t),
			  v + (size_t)h * hp->hd_v, hp->hd_v);
	}
}

/* One token and one KV head with all query heads that share it. */
static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct att_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t t = chunk / hp->n_head_kv, kvh = chunk % hp->n_head_kv;
	uint32_t group = hp->n_head / hp->n_head_kv;
	struct pst_kattn a = {
		.k = kv_at(j, false, kvh, 0),
		.v = kv_at(j, true, kvh, 0),
		.k_stride_bytes = hp->hd_k * kv_elem(j->kv),
		.v_stride_bytes = hp->hd_v * kv_elem(j->kv),
		.nr_kv = j->pos0 + t + 1,
		.hd_k = hp->hd_k,
		.hd_v = hp->hd_v,
		.scale = hp->attn_scale,
		.scores = f->scores + worker * f->scores_stride,
	};

	for (uint32_t h = kvh * group; h < (kvh + 1) * group; h++) {
		a.q = f->q + ((size_t)t * hp->n_head + h) * hp->hd_k;
		a.out = f->att.f32 + t * f->att.stride + (size_t)h * hp->hd_v;
		if (j->kv->type == PST_KV_F32)
			f->k->attn_f32(&a);
		else
			f->k->attn_f16(&a);
	}
}

static void quantize_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct att_job *j = ctx;
	const struct pst_hparams *hp = &j->f->m->hp;
	struct act *a = &j->f->att;
	size_t b = t * (a->stride / PST_K_QBLOCK);

	(void)worker;
	j->f->k->quantize(a->q8 + t * a->stride, a->d + b, a->sum + b,
			  a->f32 + t * a->stride, hp->n_head * hp->hd_v);
}

static void project_qkv(struct pst_fwd *f, const struct pst_layer *l,
			uint32_t n)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct lin_item items[3] = {
		{ .w = &l->wq,
		  .y = f->q,
		  .y_stride = (size_t)hp->n_head * hp->hd_k },
		{ .w = &l->wk,
		  .y = f->kk,
		  .y_stride = (size_t)hp->n_head_kv * hp->hd_k },
		{ .w = &l->wv,
		  .y = f->v,
		  .y_stride = (size_t)hp->n_head_kv * hp->hd_v },
	};
	bool q8 = pst_needs_q8(f, &l->wq) || pst_needs_q8(f, &l->wk) ||
		  pst_needs_q8(f, &l->wv);

	pst_norm_quantize(f, f->x, l->attn_norm, &f->xn, n, q8);
	for (int i = 0; i < 3; i++) {
		items[i].x = &f->xn.k;
		items[i].nr_x = n;
	}
	pst_linear(f, items, 3);
}

void pst_attention(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		   uint32_t layer)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct att_job j = { .f = f,
			     .l = l,
			     .kv = pass->kv,
			     .layer = layer,
			     .pos0 = pass->kv->n_used };
	struct lin_item out = { .w = &l->wo,
				.x = &f->att.k,
				.nr_x = pass->n,
				.y = f->tmp,
				.y_stride = f->m->hp.n_embd };

	project_qkv(f, l, pass->n);
	pst_pool_run(f->pool, prepare_chunk, &j, pass->n);
	pst_pool_run(f->pool, attend_chunk, &j, pass->n * f->m->hp.n_head_kv);
	if (pst_needs_q8(f, &l->wo))
		pst_pool_run(f->pool, quantize_chunk, &j, pass->n);
	pst_linear(f, &out, 1);
	pst_add_residual(f, pass->n);
}
