// SPDX-License-Identifier: MIT
/*
 * Multi-head latent attention (DeepSeek-V2 report, section 2.1).  Of a position
 * one vector is remembered: c, from which each head's key and value could be
 * unpacked, and a rotated part of the key that the heads share.  Here nothing
 * is unpacked: k_h = K_h c, so q_h . k_h = (K_h^T q_h) . c, and the sum over
 * values is V_h (sum p c).  So each head attends to the same rows, as long as
 * c and the rotated part, with their beginning as values.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "mla.h"

/* Tokens whose absorbed queries exist at a time, and where rows of the cache
 * are gathered for each token: the numbers do not depend on it.
 */
#define SLICE	     64
#define SLICE_SPARSE 8

static void bind_unpack(struct pst_binder *b, struct pst_mla *w)
{
	static const char *const biases[] = { "attn_kv_b.bias", "attn_k_b.bias",
					      "attn_v_b.bias" };
	const struct pst_mla_hp *p = &b->m->hp.mla;
	uint32_t heads = b->m->hp.layer[b->layer].n_head;

	for (size_t i = 0; i < PST_ARRAY_SIZE(biases); i++)
		if (pst_bind_has(b, biases[i]))
			pst_bind_fail(b, -ENOTSUP, "is not supported");
	if (pst_bind_has(b, "attn_kv_b.weight")) {
		pst_bind_mat(b, "attn_kv_b", p->kv_rank,
			     heads * (p->hd_nope + p->hd_v), &w->wkv_b);
		return;
	}
	pst_bind_stack(b, "attn_k_b",
		       (uint32_t[]){ p->hd_nope, p->kv_rank, heads }, &w->wk_b);
	pst_bind_stack(b, "attn_v_b",
		       (uint32_t[]){ p->kv_rank, p->hd_v, heads }, &w->wv_b);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;
	const struct pst_mla_hp *p = &hp->mla;
	uint32_t heads = hp->layer[b->layer].n_head, n = hp->n_embd;
	struct pst_mla *w = &l->mla;

	if (p->q_rank) {
		pst_bind_mat(b, "attn_q_a", n, p->q_rank, &w->wq_a);
		pst_bind_vec(b, "attn_q_a_norm.weight", p->q_rank, true,
			     &w->q_norm);
	}
	pst_bind_mat(b, p->q_rank ? "attn_q_b" : "attn_q",
		     p->q_rank ? p->q_rank : n,
		     heads * (p->hd_nope + p->hd_rope), &w->wq);
	pst_bind_mat(b, "attn_kv_a_mqa", n, p->kv_rank + p->hd_rope, &w->wkv_a);
	pst_bind_vec(b, "attn_kv_a_norm.weight", p->kv_rank, true, &w->kv_norm);
	bind_unpack(b, w);
	pst_bind_mat(b, "attn_output", heads * p->hd_v, n, &w->wo);
	if (b->m->arch->out_gate != PST_NEVER &&
	    (b->m->arch->out_gate == PST_REQUIRED ||
	     pst_bind_has(b, "attn_gate.weight")))
		pst_bind_mat(b, "attn_gate", n, heads * p->hd_v, &w->gate);
	if (p->index_top_k)
		pst_mla_index_bind(b, w);
}

static void shape(const struct pst_hparams *hp, uint32_t layer,
		  struct pst_kv_shape *out)
{
	const struct pst_mla_hp *p = &hp->mla;

	out->heads[PST_KV_K] = 1;
	out->width[PST_KV_K] = p->kv_rank + p->hd_rope;
	out->most[PST_KV_K] = p->index_top_k;
	if (p->index_top_k && !p->index_reused[layer]) {
		out->heads[PST_KV_INDEX] = 1;
		out->width[PST_KV_INDEX] = p->index_hd;
	}
}

static uint32_t slice_of(const struct pst_mla_hp *p)
{
	return p->index_top_k ? SLICE_SPARSE : SLICE;
}

static void lay_out(const struct pst_fwd *f, uint32_t layer, struct carve *c,
		    struct mla_work *s)
{
	const struct pst_mla_hp *p = &f->m->hp.mla;
	uint64_t n = f->n_batch, heads = f->m->hp.layer[layer].n_head;
	uint64_t width = p->kv_rank + p->hd_rope;
	uint64_t slice = PST_MIN(n, slice_of(p));
	struct carve other;

	pst_carve_act(f, c, &s->qa, n, p->q_rank);
	s->q = pst_carve(c, n * heads * (p->hd_nope + p->hd_rope),
			 sizeof(float));
	s->ckv = pst_carve(c, n * width, sizeof(float));
	pst_carve_act(f, c, &s->att, n, heads * p->hd_v);
	s->gate = pst_carve(c, n * f->m->layers[layer].mla.gate.n_out,
			    sizeof(float));
	other = *c;
	pst_carve_act(f, c, &s->nope, slice * heads, p->hd_nope);
	s->query = pst_carve(c, slice * heads * width, sizeof(float));
	pst_carve_act(f, c, &s->sum, slice * heads, p->kv_rank);
	pst_carve_attn(f, c, &s->attn,
		       &(struct pst_kattn){ .nr = PST_ATTN_QUERIES,
					    .hd_k = p->kv_rank + p->hd_rope,
					    .hd_v = p->kv_rank });
	if (p->index_top_k < f->n_ctx) /* else none is left out */
		s->rows = pst_carve(c, slice * p->index_top_k * width,
				    sizeof(float));
	/* A slice and the decompressed form are never there together. */
	pst_mla_unpack_work(f, layer, &other, &s->unpack);
	c->at = PST_MAX(c->at, other.at);
	if (p->index_top_k)
		pst_mla_index_work(f, c, &s->index);
}

static uint64_t work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	struct carve c = { 0 };
	struct mla_work s;

	lay_out(f, layer, &c, &s);
	return c.at;
}

void pst_mla_store(const struct mla_job *j, uint32_t stream, uint32_t pos,
		   const float *src, uint32_t n)
{
	pst_kv_put(j->f, j->kv, stream,
		   pst_kv_at(j->kv, j->layer, stream, 0, pos), src, n);
}

void pst_mla_rotate(const struct mla_job *j, float *x, uint32_t t)
{
	if (j->f->m->hp.layer[j->layer].rope == PST_ROPE_NONE)
		return;
	pst_rotate(j->f, 0, j->f->m->hp.rope[0].style, x, t);
}

/* One token: what is remembered of it, and its compressed query. */
static void compress_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	uint32_t width = p->kv_rank + p->hd_rope;
	float *c = j->s.ckv + (size_t)t * width;
	float *qa = j->s.qa.f32 + t * j->s.qa.stride;
	float eps = j->f->m->hp.eps;

	(void)worker;
	j->f->k->rms_norm(c, c, j->w->kv_norm, p->kv_rank, eps);
	pst_mla_rotate(j, c + p->kv_rank, t);
	pst_mla_store(j, PST_KV_K, j->pos0 + t, c, width);
	if (!p->q_rank)
		return;
	j->f->k->rms_norm(qa, qa, j->w->q_norm, p->q_rank, eps);
	if (p->q_rank % PST_K_QBLOCK == 0)
		pst_quantize_row(j->f, &j->s.qa, t, p->q_rank);
}

static void project(struct mla_job *j)
{
	struct lin_item items[3] = {
		{ .w = &j->w->wkv_a,
		  .y = j->s.ckv,
		  .y_stride = j->w->wkv_a.n_out },
		{ .w = &j->w->wq, .y = j->s.q, .y_stride = j->w->wq.n_out },
		{ .w = &j->w->gate,
		  .y = j->s.gate,
		  .y_stride = j->w->gate.n_out }
	};
	uint32_t nr = j->w->gate.n_out ? 3 : 2;

	if (j->p->q_rank) {
		items[1].w = &j->w->wq_a;
		items[1].y = j->s.qa.f32;
		items[1].y_stride = j->s.qa.stride;
	}
	for (uint32_t i = 0; i < nr; i++) {
		items[i].x = &j->f->xn.k;
		items[i].nr_x = j->n;
	}
	pst_linear(j->f, items, nr);
	pst_pool_run(j->f->pool, compress_chunk, j, j->n);
	if (!j->p->q_rank)
		return;
	items[1] = (struct lin_item){ .w = &j->w->wq,
				      .x = &j->s.qa.k,
				      .nr_x = j->n,
				      .y = j->s.q,
				      .y_stride = j->w->wq.n_out };
	pst_linear(j->f, &items[1], 1);
}

static float *query_of(const struct mla_job *j, uint32_t i, uint32_t head)
{
	return j->s.query +
	       ((size_t)i * j->n_head + head) * (j->p->kv_rank + j->p->hd_rope);
}

float *pst_mla_query(const struct mla_job *j, uint32_t t, uint32_t head)
{
	return j->s.q +
	       ((size_t)t * j->n_head + head) * (j->p->hd_nope + j->p->hd_rope);
}

static const float *head_of(const struct mla_job *j, uint32_t i, uint32_t head)
{
	return pst_mla_query(j, j->first + i, head);
}

static size_t row_bytes(const struct mla_job *j)
{
	return pst_kv_row_bytes(j->kv->type, PST_KV_K,
				j->p->kv_rank + j->p->hd_rope);
}

/* The rows of the cache that a token of the slice attends to, in one piece. */
static void gather(struct mla_job *j, uint32_t i)
{
	uint32_t t = j->first + i, k = j->p->index_top_k;
	const uint32_t *pos = j->f->picked + (size_t)t * k;
	size_t bytes = row_bytes(j);

	for (uint32_t r = 0; r < k; r++)
		memcpy(j->s.rows + ((size_t)i * k + r) * bytes,
		       pst_kv_at(j->kv, j->layer, PST_KV_K, 0, pos[r]), bytes);
}

/* One token of the slice: the rotated ends of its queries, and their rest as
 * a product wants it.
 */
static void prepare_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	bool q8 = j->w->wk_b.data && pst_needs_q8(j->f, &j->w->wk_b);

	(void)worker;
	for (uint32_t h = 0; h < j->n_head; h++) {
		size_t row = (size_t)i * j->n_head + h;
		const float *q = head_of(j, i, h);
		float *end = query_of(j, i, h) + p->kv_rank;

		memcpy(end, q + p->hd_nope, p->hd_rope * sizeof(*q));
		pst_mla_rotate(j, end, j->first + i);
		memcpy(j->s.nope.f32 + row * j->s.nope.stride, q,
		       p->hd_nope * sizeof(*q));
		if (q8)
			pst_quantize_row(j->f, &j->s.nope, row, p->hd_nope);
	}
	if (pst_mla_is_sparse(p, j->pos0 + j->first + i))
		gather(j, i);
}

static uint32_t slice_len(const struct mla_job *j)
{
	return PST_MIN(slice_of(j->p), j->n - j->first);
}

/* One head of a matrix of heads, times its rows of all tokens of the slice. */
static void mul_head(const struct mla_job *j, struct pst_weight w,
		     const struct act *x, uint32_t head, struct pst_kmul *m)
{
	struct act_rows rows = pst_act_row(x, head);

	rows.first.stride = x->stride * j->n_head;
	m->nr_x = slice_len(j);
	m->nr_rows = w.n_out;
	pst_mul_rows(j->f, &w, &rows, m, 0);
}

struct pst_weight pst_mla_rows(const struct pst_weight *w, uint64_t row,
			       uint32_t n_out)
{
	struct pst_weight part = *w;

	part.data += row * w->row_bytes;
	part.n_out = n_out;
	return part;
}

/* K_h^T q from the rows of K_h, for a head of all tokens of the slice. */
static void absorb_rows(const struct mla_job *j, uint32_t head, float *row)
{
	const struct pst_mla_hp *p = j->p;
	const struct pst_weight *all = &j->w->wkv_b;
	struct pst_weight w = pst_mla_rows(
		all, (uint64_t)head * (p->hd_nope + p->hd_v), p->hd_nope);
	float scale = w.scale ? *w.scale : 1.0f;
	uint32_t nr = slice_len(j);

	for (uint32_t i = 0; i < nr; i++)
		memset(query_of(j, i, head), 0, p->kv_rank * sizeof(float));
	for (uint32_t r = 0; r < p->hd_nope; r++) {
		j->f->k->types[w.type].dequant(row, w.data + r * w.row_bytes,
					       p->kv_rank);
		for (uint32_t i = 0; i < nr; i++)
			j->f->k->axpy(query_of(j, i, head),
				      head_of(j, i, head)[r] * scale, row,
				      p->kv_rank);
	}
}

static void absorb_chunk(void *ctx, uint32_t head, uint32_t worker)
{
	const struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	float *scratch = j->f->scratch + worker * j->f->scratch_stride;
	struct pst_kmul m = {
		.y = query_of(j, 0, head),
		.y_stride = (size_t)j->n_head * (p->kv_rank + p->hd_rope),
		.scratch = scratch,
	};

	if (j->w->wkv_b.data)
		absorb_rows(j, head, scratch);
	else
		mul_head(j,
			 pst_mla_rows(&j->w->wk_b, (uint64_t)head * p->kv_rank,
				      p->kv_rank),
			 &j->s.nope, head, &m);
}

static void unpack_chunk(void *ctx, uint32_t head, uint32_t worker)
{
	const struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	struct pst_kmul m = {
		.y = j->s.att.f32 + j->first * j->s.att.stride +
		     (size_t)head * p->hd_v,
		.y_stride = j->s.att.stride,
		.scratch = j->f->scratch + worker * j->f->scratch_stride,
	};
	uint64_t row = (uint64_t)head * p->hd_v;

	if (j->w->wkv_b.data)
		row = (uint64_t)head * (p->hd_nope + p->hd_v) + p->hd_nope;
	mul_head(j,
		 pst_mla_rows(j->w->wkv_b.data ? &j->w->wkv_b : &j->w->wv_b,
			      row, p->hd_v),
		 &j->s.sum, head, &m);
}

float pst_mla_scale(const struct mla_job *j, uint32_t pos)
{
	float scale = j->f->m->hp.attn_scale;

	if (j->p->temp_scale == 0.0f)
		return scale;
	return scale *
	       (1.0f +
		j->p->temp_scale * logf((float)(pos / j->p->temp_len) + 1.0f));
}

/* Queries of the slice that attend to the same rows: of all tokens, or of one
 * where each has rows of its own.
 */
static uint32_t set_of(const struct mla_job *j)
{
	return j->n_head * (j->p->index_top_k ? 1 : slice_len(j));
}

static uint32_t sets_of(const struct mla_job *j)
{
	return j->p->index_top_k ? slice_len(j) : 1;
}

static uint32_t calls_of(const struct mla_job *j)
{
	return (set_of(j) + j->share - 1) / j->share;
}

/* Query @i of the slice, by token, then by head. */
static struct pst_kattn_query absorbed(const struct mla_job *j, uint32_t i)
{
	uint32_t t = i / j->n_head, pos = j->pos0 + j->first + t;

	return (struct pst_kattn_query){
		.q = query_of(j, t, i % j->n_head),
		.out = j->s.sum.f32 + i * j->s.sum.stride,
		.scale = pst_mla_scale(j, pos),
		.to = pst_mla_is_sparse(j->p, pos) ? j->p->index_top_k
						   : pos + 1,
	};
}

/* Some queries of the slice, which attend to the same rows. */
static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	uint32_t set = chunk / calls_of(j);
	uint32_t in_set = chunk % calls_of(j) * j->share;
	uint32_t at = set * set_of(j) + in_set, t = at / j->n_head;
	size_t bytes = row_bytes(j);
	bool q8 = pst_needs_q8(j->f,
			       j->w->wkv_b.data ? &j->w->wkv_b : &j->w->wv_b);
	struct pst_kattn a = {
		.nr = PST_MIN(j->share, set_of(j) - in_set),
		.k = pst_kv_at(j->kv, j->layer, PST_KV_K, 0, 0),
		.k_stride_bytes = bytes,
		.v_stride_bytes = bytes,
		.hd_k = p->kv_rank + p->hd_rope,
		.hd_v = p->kv_rank,
	};
	struct pst_kattn_query *query = pst_attn_begin(&j->s.attn, worker, &a);

	for (uint32_t i = 0; i < a.nr; i++)
		query[i] = absorbed(j, at + i);
	if (pst_mla_is_sparse(p, j->pos0 + j->first + t))
		a.k = j->s.rows + (size_t)t * p->index_top_k * bytes;
	a.v = a.k;
	pst_attend(j->f, j->kv, &a);
	for (uint32_t i = 0; q8 && i < a.nr; i++)
		pst_quantize_row(j->f, &j->s.sum, at + i, p->kv_rank);
}

static void run_slice(struct mla_job *j)
{
	struct pst_pool *pool = j->f->pool;

	pst_pool_run(pool, prepare_chunk, j, slice_len(j));
	pst_pool_run(pool, absorb_chunk, j, j->n_head);
	j->share = pst_attn_share(j->f, set_of(j), sets_of(j));
	pst_pool_run(pool, attend_chunk, j, sets_of(j) * calls_of(j));
	pst_pool_run(pool, unpack_chunk, j, j->n_head);
}

/* The heads' output of one token. */
static void gate_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct mla_job *j = ctx;
	float *y = j->s.att.f32 + t * j->s.att.stride;
	uint32_t n = j->w->gate.n_out;

	(void)worker;
	j->f->k->gate(y, j->s.gate + (size_t)t * n, y, n);
}

static void run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		uint32_t layer)
{
	struct carve c = { .base = f->work };
	struct mla_job j = { .f = f,
			     .p = &f->m->hp.mla,
			     .w = &f->m->layers[layer].mla,
			     .kv = pass->kv,
			     .layer = layer,
			     .n_head = f->m->hp.layer[layer].n_head,
			     .n = pass->n,
			     .pos0 = pass->kv->n_used };

	lay_out(f, layer, &c, &j.s);
	project(&j);
	if (j.p->index_top_k && !j.p->index_reused[layer])
		pst_mla_index_run(&j);
	for (j.first = pst_mla_unpack_run(&j); j.first < j.n;
	     j.first += slice_of(j.p))
		run_slice(&j);
	if (j.w->gate.n_out)
		pst_pool_run(f->pool, gate_chunk, &j, j.n);
	pst_mixer_out(f, &j.w->wo, &j.s.att, pass->n);
}

const struct pst_mixer pst_mixer_mla = {
	.name = "latent attention",
	.bind = bind,
	.shape = shape,
	.work_bytes = work_bytes,
	.run = run,
};
