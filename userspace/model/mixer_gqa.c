// SPDX-License-Identifier: MIT
/*
 * Grouped-query attention: query head h reads KV head h / (n_head / n_head_kv).
 * Over all positions, a window or chosen runs of them, with or without rotation,
 * norms of q and k, biases and sinks; with keys and values of its own or another
 * block's.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "gqa.h"

static void need_biases(struct pst_binder *b)
{
	static const char *const names[] = { "attn_q.bias", "attn_k.bias",
					     "attn_v.bias" };

	for (int i = 0; i < 3 && !b->rc; i++)
		if (!pst_bind_has(b, names[i]))
			pst_bind_fail(b, -EBADMSG, "is missing");
}

static void bind_qkv(struct pst_binder *b, const struct pst_layer_hp *lh,
		     struct pst_gqa *g)
{
	struct pst_weight *const all[] = { &g->wq, &g->wk, &g->wv };
	uint32_t n = b->m->hp.n_embd;

	g->wq.n_out = lh->n_head * lh->hd_k * (b->m->arch->q_gated ? 2 : 1);
	if (lh->kv_back) {
		pst_bind_mat(b, "attn_q", n, g->wq.n_out, &g->wq);
		return;
	}
	g->wk.n_out = lh->n_head_kv * lh->hd_k;
	g->wv.n_out = lh->n_head_kv * lh->hd_v;
	if (pst_bind_has(b, "attn_qkv.weight")) {
		pst_bind_split(b, "attn_qkv", n, all, 3);
		return;
	}
	pst_bind_mat(b, "attn_q", n, g->wq.n_out, &g->wq);
	pst_bind_mat(b, "attn_k", n, g->wk.n_out, &g->wk);
	if (b->m->arch->v_is_k && lh->hd_k == lh->hd_v &&
	    !pst_bind_has(b, "attn_v.weight"))
		g->wv.n_out = 0;
	else
		pst_bind_mat(b, "attn_v", n, g->wv.n_out, &g->wv);
	if (b->m->arch->qkv_bias)
		need_biases(b);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_layer_hp *lh = &b->m->hp.layer[b->layer];
	const struct pst_arch *a = b->m->arch;
	bool full = a->qk_norm == PST_QK_NORM_FULL;
	bool need = a->qk_norm_need != PST_OPTIONAL;
	struct pst_gqa *g = &l->gqa;

	bind_qkv(b, lh, g);
	pst_bind_mat(b, "attn_output", lh->n_head * lh->hd_v, b->m->hp.n_embd,
		     &g->wo);
	if (a->qk_norm != PST_QK_NORM_NONE) {
		uint64_t hd = lh->hd_k;

		pst_bind_vec(b, "attn_q_norm.weight",
			     full ? hd * lh->n_head : hd, need, &g->q_norm);
		if (!lh->kv_back)
			pst_bind_vec(b, "attn_k_norm.weight",
				     full ? hd * lh->n_head_kv : hd, need,
				     &g->k_norm);
	}
	if (a->sinks)
		pst_bind_vec(b, "attn_sinks.weight", lh->n_head, true,
			     &g->sinks);
	if (lh->runs_chosen)
		pst_gqa_runs_bind(b, g);
}

static void shape(const struct pst_hparams *hp, uint32_t layer,
		  struct pst_kv_shape *out)
{
	const struct pst_layer_hp *lh = &hp->layer[layer];

	if (lh->kv_back)
		return;
	out->heads[PST_KV_K] = lh->n_head_kv;
	out->width[PST_KV_K] = lh->hd_k;
	out->heads[PST_KV_V] = lh->n_head_kv;
	out->width[PST_KV_V] = lh->hd_v;
	out->window = lh->window;
	if (lh->runs_chosen) {
		out->heads[PST_KV_INDEX] = 1;
		out->width[PST_KV_INDEX] = hp->runs.hd;
		out->most[PST_KV_K] = hp->runs.top_k * hp->runs.len;
		out->most[PST_KV_V] = out->most[PST_KV_K];
	}
}

/* Query heads that share a KV head. */
static uint32_t group_of(const struct pst_layer_hp *lh)
{
	return lh->n_head / lh->n_head_kv;
}

static void lay_out(const struct pst_fwd *f, const struct pst_layer_hp *lh,
		    struct carve *c, struct gqa_work *s)
{
	uint64_t b = f->n_batch;

	s->q = pst_carve(c, b * lh->n_head * lh->hd_k, sizeof(float));
	s->qg = f->m->arch->q_gated
			? pst_carve(c, b * 2 * lh->n_head * lh->hd_k,
				    sizeof(float))
			: NULL;
	s->k = pst_carve(c, b * lh->n_head_kv * lh->hd_k, sizeof(float));
	s->v = pst_carve(c, b * lh->n_head_kv * lh->hd_v, sizeof(float));
	pst_carve_act(f, c, &s->att, b, (uint64_t)lh->n_head * lh->hd_v);
	pst_carve_attn(f, c, &s->attn,
		       &(struct pst_kattn){
			       .nr = PST_MAX(group_of(lh), PST_ATTN_QUERIES),
			       .hd_k = lh->hd_k,
			       .hd_v = lh->hd_v });
	if (lh->runs_chosen)
		pst_gqa_runs_work(f, lh, c, &s->runs);
}

static uint64_t work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	struct carve c = { 0 };
	struct gqa_work s;

	lay_out(f, &f->m->hp.layer[layer], &c, &s);
	return c.at;
}

void pst_gqa_norm_each(const struct gqa_job *j, float *x, const float *w,
		       uint32_t n_head, uint32_t hd)
{
	for (uint32_t h = 0; h < n_head; h++)
		j->f->k->rms_norm(x + (size_t)h * hd, x + (size_t)h * hd, w, hd,
				  j->f->m->hp.eps);
}

static void norm_heads(const struct gqa_job *j, float *x, const float *w,
		       uint32_t n_head)
{
	uint32_t hd = j->lh->hd_k;

	if (!w)
		return;
	if (j->f->m->arch->qk_norm == PST_QK_NORM_FULL)
		j->f->k->rms_norm(x, x, w, n_head * hd, j->f->m->hp.eps);
	else
		pst_gqa_norm_each(j, x, w, n_head, hd);
}

void pst_gqa_rotate(const struct gqa_job *j, float *x, uint32_t t,
		    uint32_t n_head, uint32_t hd)
{
	uint32_t rope = j->lh->rope;

	if (rope == PST_ROPE_NONE)
		return;
	for (uint32_t h = 0; h < n_head; h++)
		pst_rotate(j->f, rope, j->f->m->hp.rope[rope].style,
			   x + (size_t)h * hd, t);
}

/* The heads of q or k of one token: norms and rotation. */
static void prepare_heads(const struct gqa_job *j, float *x, const float *norm,
			  uint32_t t, uint32_t n_head)
{
	bool late = j->f->m->arch->qk_norm_late;

	if (!late)
		norm_heads(j, x, norm, n_head);
	pst_gqa_rotate(j, x, t, n_head, j->lh->hd_k);
	if (late)
		norm_heads(j, x, norm, n_head);
	if (j->lh->qk_rms)
		pst_gqa_norm_each(j, x, NULL, n_head, j->lh->hd_k);
}

/* Long contexts thin out the softmax: q grows with the position. */
static void heat(const struct gqa_job *j, float *q, uint32_t t)
{
	const struct pst_hparams *hp = &j->f->m->hp;
	uint64_t pos = (uint64_t)j->pos0 + t + hp->temp_off;
	float by = (float)(1.0 + hp->temp_scale *
					 log1p((double)(pos / hp->temp_len)));

	for (uint32_t i = 0; i < j->lh->n_head * j->lh->hd_k; i++)
		q[i] *= by;
}

/* One token's key and value, into the cache. */
static void keep(const struct gqa_job *j, float *k, float *v, uint32_t t)
{
	const struct pst_layer_hp *lh = j->lh;
	uint32_t pos = j->pos0 + t;

	if (!j->w->wv.n_out)
		memcpy(v, k, (size_t)lh->n_head_kv * lh->hd_k * sizeof(*v));
	if (j->f->m->arch->v_norm)
		pst_gqa_norm_each(j, v, NULL, lh->n_head_kv, lh->hd_v);
	prepare_heads(j, k, j->w->k_norm, t, lh->n_head_kv);
	for (uint32_t h = 0; h < lh->n_head_kv; h++) {
		pst_kv_put(j->f, j->kv, PST_KV_K,
			   pst_kv_at(j->kv, j->kv_layer, PST_KV_K, h, pos),
			   k + (size_t)h * lh->hd_k, lh->hd_k);
		pst_kv_put(j->f, j->kv, PST_KV_V,
			   pst_kv_at(j->kv, j->kv_layer, PST_KV_V, h, pos),
			   v + (size_t)h * lh->hd_v, lh->hd_v);
	}
}

/* Queries out of the rows that they share with their gates. */
static void take_queries(const struct gqa_job *j, float *q, uint32_t t)
{
	uint32_t n_head = j->lh->n_head, hd = j->lh->hd_k;
	const float *from = j->s.qg + (size_t)t * n_head * 2 * hd;

	for (uint32_t h = 0; h < n_head; h++)
		memcpy(q + (size_t)h * hd, from + (size_t)h * 2 * hd,
		       hd * sizeof(*q));
}

static void prepare_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct gqa_job *j = ctx;
	const struct pst_layer_hp *lh = j->lh;
	float *q = j->s.q + (size_t)t * lh->n_head * lh->hd_k;

	(void)worker;
	if (j->f->m->arch->q_gated)
		take_queries(j, q, t);
	prepare_heads(j, q, j->w->q_norm, t, lh->n_head);
	if (lh->q_temp)
		heat(j, q, t);
	if (j->w->wk.n_out)
		keep(j, j->s.k + (size_t)t * lh->n_head_kv * lh->hd_k,
		     j->s.v + (size_t)t * lh->n_head_kv * lh->hd_v, t);
	if (lh->runs_chosen)
		pst_gqa_runs_keep(j, t);
}

/* The oldest position that the token at @pos looks at. */
static uint32_t first_seen(const struct pst_layer_hp *lh, uint32_t pos)
{
	if (!lh->window)
		return 0;
	if (lh->chunked)
		return pos - pos % lh->window;
	return pos >= lh->window ? pos - lh->window + 1 : 0;
}

/* What stood behind a query, before they were taken apart. */
static const float *gate_of(const struct gqa_job *j, const float *q)
{
	return j->s.qg + 2 * (q - j->s.q) + j->lh->hd_k;
}

/* Query @i of those that share a KV head: they go by token, then by head. */
static struct pst_kattn_query query_of(const struct gqa_job *j, uint32_t kvh,
				       uint32_t i)
{
	const struct pst_layer_hp *lh = j->lh;
	uint32_t group = group_of(lh), t = i / group, pos = j->pos0 + t;
	size_t head = (size_t)kvh * group + i % group;

	return (struct pst_kattn_query){
		.q = j->s.q + (t * (size_t)lh->n_head + head) * lh->hd_k,
		.out = j->s.att.f32 + t * j->s.att.stride + head * lh->hd_v,
		.sink = j->w->sinks ? j->w->sinks + head : NULL,
		.scale = j->f->m->hp.attn_scale,
		.from = first_seen(lh, pos),
		.to = lh->both_ways ? j->pos0 + j->n : pos + 1,
	};
}

/* Only the chosen runs, for the queries of one token. */
static void narrow(const struct gqa_job *j, uint32_t t, uint32_t kvh,
		   uint32_t worker, struct pst_kattn *a,
		   struct pst_kattn_query *query)
{
	uint32_t n_pos = pst_gqa_runs_narrow(j, t, kvh, worker, query[0].to, a);

	for (uint32_t i = 0; i < a->nr; i++)
		query[i].to = n_pos;
}

static uint32_t calls_of(const struct gqa_job *j)
{
	return (j->n * group_of(j->lh) + j->share - 1) / j->share;
}

/* Some queries of one KV head; the last tokens, which see most, come first. */
static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct gqa_job *j = ctx;
	const struct pst_layer_hp *lh = j->lh;
	uint32_t kvh = chunk % lh->n_head_kv, group = group_of(lh);
	uint32_t at = (calls_of(j) - 1 - chunk / lh->n_head_kv) * j->share;
	struct pst_kattn a = {
		.nr = PST_MIN(j->share, j->n * group - at),
		.k_stride_bytes =
			pst_kv_row_bytes(j->kv->type, PST_KV_K, lh->hd_k),
		.v_stride_bytes =
			pst_kv_row_bytes(j->kv->type, PST_KV_V, lh->hd_v),
		.first = first_seen(lh, j->pos0 + at / group),
		.hd_k = lh->hd_k,
		.hd_v = lh->hd_v,
	};
	struct pst_kattn_query *query = pst_attn_begin(&j->s.attn, worker, &a);

	for (uint32_t i = 0; i < a.nr; i++)
		query[i] = query_of(j, kvh, at + i);
	a.k = pst_kv_at(j->kv, j->kv_layer, PST_KV_K, kvh, a.first);
	a.v = pst_kv_at(j->kv, j->kv_layer, PST_KV_V, kvh, a.first);
	if (lh->runs_chosen)
		narrow(j, at / group, kvh, worker, &a, query);
	pst_attend(j->f, j->kv, &a);
	for (uint32_t i = 0; j->f->m->arch->q_gated && i < a.nr; i++)
		j->f->k->gate(query[i].out, gate_of(j, query[i].q),
			      query[i].out, lh->hd_v);
}

static void project_qkv(const struct gqa_job *j, uint32_t n)
{
	bool gated = j->f->m->arch->q_gated;
	const struct {
		const struct pst_weight *w;
		float *y;
	} all[] = { { &j->w->wq, gated ? j->s.qg : j->s.q },
		    { &j->w->wk, j->s.k },
		    { &j->w->wv, j->s.v } };
	struct lin_item items[3];
	uint32_t nr = 0;

	for (size_t i = 0; i < PST_ARRAY_SIZE(all); i++) {
		if (!all[i].w->n_out)
			continue;
		items[nr++] = (struct lin_item){ .w = all[i].w,
						 .x = &j->f->xn.k,
						 .nr_x = n,
						 .y = all[i].y,
						 .y_stride = all[i].w->n_out };
	}
	pst_linear(j->f, items, nr);
	if (j->lh->runs_chosen)
		pst_gqa_runs_project(j, n);
}

static void run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		uint32_t layer)
{
	struct carve c = { .base = f->work };
	struct gqa_job j = { .f = f,
			     .lh = &f->m->hp.layer[layer],
			     .w = &f->m->layers[layer].gqa,
			     .kv = pass->kv,
			     .kv_layer = layer - f->m->hp.layer[layer].kv_back,
			     .pos0 = pass->kv->n_used,
			     .n = pass->n };

	lay_out(f, j.lh, &c, &j.s);
	project_qkv(&j, pass->n);
	pst_pool_run(f->pool, prepare_chunk, &j, pass->n);
	j.share = group_of(j.lh);
	if (!j.lh->runs_chosen)
		j.share = pst_attn_share(f, pass->n * j.share, j.lh->n_head_kv);
	pst_pool_run(f->pool, attend_chunk, &j, calls_of(&j) * j.lh->n_head_kv);
	pst_mixer_out(f, &j.w->wo, &j.s.att, pass->n);
}

const struct pst_mixer pst_mixer_gqa = {
	.name = "grouped-query attention",
	.bind = bind,
	.shape = shape,
	.work_bytes = work_bytes,
	.run = run,
};
