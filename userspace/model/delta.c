// SPDX-License-Identifier: MIT
/*
 * What recurrent blocks share: queries, keys and values pass a short
 * convolution along the tokens; each head then goes token by token through its
 * state by the gated delta rule; its output is normed and gated.
 *
 * Of a sequence a block remembers the last rows before the convolution and the
 * matrix of each head.  A head's tokens are computed in order and its columns
 * each by itself, so that a chunk of a prompt has the bits of its tokens one by
 * one, with any number of threads.
 */
#include <math.h>
#include <string.h>

#include "delta.h"

/* Tokens of a chunk of the convolution, which picks its weights for each. */
#define CONV_TOKENS 8

float pst_delta_softplus(float x)
{
	return fmaxf(x, 0.0f) + log1pf(expf(-fabsf(x)));
}

float pst_delta_sigmoid(float x)
{
	return 1.0f / (1.0f + expf(-x));
}

static uint32_t history(const struct pst_delta_hp *p)
{
	return (p->taps - 1) * delta_channels(p);
}

void pst_delta_shape(const struct pst_hparams *hp, uint32_t layer,
		     struct pst_kv_shape *out)
{
	const struct pst_delta_hp *p = &hp->delta;

	(void)layer;
	out->state = history(p) + p->n_v * p->hd_k * p->hd_v;
}

static void lay_out(const struct pst_fwd *f, uint32_t layer, struct carve *c,
		    struct delta_work *s)
{
	const struct pst_delta_hp *p = &f->m->hp.delta;
	const struct pst_delta *w = &f->m->layers[layer].delta;
	uint64_t n = f->n_batch, ch = delta_channels(p);

	s->in = pst_carve(c, n * w->w_in.n_out, sizeof(float));
	s->rows = pst_carve(c, (n + p->taps - 1) * ch, sizeof(float));
	s->qkv = pst_carve(c, n * ch, sizeof(float));
	s->z = pst_carve(c, n * p->n_v * p->hd_v, sizeof(float));
	pst_carve_act(f, c, &s->low_z, n, w->wz_a.n_out);
	pst_carve_act(f, c, &s->low_a, n, w->wa_a.n_out);
	s->decay =
		pst_carve(c, n * PST_MAX(w->wa.n_out, p->n_v), sizeof(float));
	s->beta = pst_carve(c, n * w->wb.n_out, sizeof(float));
	pst_carve_act(f, c, &s->att, n, (uint64_t)p->n_v * p->hd_v);
}

uint64_t pst_delta_work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	struct carve c = { 0 };
	struct delta_work s;

	lay_out(f, layer, &c, &s);
	return c.at;
}

struct products {
	struct lin_item items[8];
	uint32_t nr;
};

static void add_product(struct products *p, const struct delta_job *j,
			const struct pst_weight *w, const struct act_rows *x,
			float *y, size_t stride)
{
	if (w->n_out)
		p->items[p->nr++] = (struct lin_item){
			.w = w, .x = x, .nr_x = j->n, .y = y, .y_stride = stride
		};
}

/* The second half of a matrix in two. */
static void add_second(struct products *p, struct delta_job *j, struct act *low,
		       const struct pst_weight *w, float *y)
{
	if (pst_needs_q8(j->f, w))
		pst_quantize_rows(j->f, low, w->n_in, j->n);
	add_product(p, j, w, &low->k, y, w->n_out);
}

static void project(struct delta_job *j)
{
	const struct pst_delta_hp *p = j->p;
	const struct pst_delta *w = j->w;
	const struct act_rows *x = &j->f->xn.k;
	uint32_t ch = delta_channels(p);
	float *rows = j->s.rows + history(p);
	struct products first = { .nr = 0 }, second = { .nr = 0 };

	add_product(&first, j, &w->w_in, x, j->s.in, w->w_in.n_out);
	add_product(&first, j, &w->wq, x, rows, ch);
	add_product(&first, j, &w->wk, x, rows + w->wq.n_out, ch);
	add_product(&first, j, &w->wv, x, rows + 2 * (size_t)w->wq.n_out, ch);
	add_product(&first, j, &w->wb, x, j->s.beta, w->wb.n_out);
	if (w->wz_a.n_out)
		add_product(&first, j, &w->wz_a, x, j->s.low_z.f32,
			    j->s.low_z.stride);
	else
		add_product(&first, j, &w->wz, x, j->s.z, w->wz.n_out);
	if (w->wa_a.n_out)
		add_product(&first, j, &w->wa_a, x, j->s.low_a.f32,
			    j->s.low_a.stride);
	else
		add_product(&first, j, &w->wa, x, j->s.decay, w->wa.n_out);
	pst_linear(j->f, first.items, first.nr);
	if (w->wz_a.n_out)
		add_second(&second, j, &j->s.low_z, &w->wz, j->s.z);
	if (w->wa_a.n_out)
		add_second(&second, j, &j->s.low_a, &w->wa, j->s.decay);
	if (second.nr)
		pst_linear(j->f, second.items, second.nr);
}

static void prepare_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct delta_job *j = ctx;

	(void)worker;
	j->kind->prepare(j, t);
}

/* Queries and keys of length one; a query is also divided by sqrt(hd_k).  By
 * way of the RMS norm: x / sqrt(sum + eps) = norm(x, eps / n) / sqrt(n).
 */
static void make_units(const struct delta_job *j, float *qk)
{
	const struct pst_delta_hp *p = j->p;
	float len = 1.0f / sqrtf((float)p->hd_k);

	for (uint32_t h = 0; h < 2 * p->n_k; h++) {
		float *x = qk + (size_t)h * p->hd_k;
		float by = h < p->n_k ? len * len : len;

		j->f->k->rms_norm(x, x, NULL, p->hd_k,
				  p->unit_eps / (float)p->hd_k);
		for (uint32_t i = 0; i < p->hd_k; i++)
			x[i] *= by;
	}
}

static void conv_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct delta_job *j = ctx;
	const struct pst_delta_hp *p = j->p;
	uint32_t ch = delta_channels(p), nr_q = p->n_k * p->hd_k;
	uint32_t at[] = { 0, nr_q, 2 * nr_q, ch };
	uint32_t t = chunk * CONV_TOKENS;
	uint32_t end = PST_MIN(t + CONV_TOKENS, j->n);
	struct pst_kconv c = {
		.taps = p->taps, .stride = ch, .nr = end - t, .y_stride = ch
	};

	(void)worker;
	if (j->kind->one_conv)
		at[1] = ch;
	for (int i = 0; i < (j->kind->one_conv ? 1 : 3); i++) {
		c.w = j->w->conv[i];
		c.channels = at[i + 1] - at[i];
		c.x = j->s.rows + (size_t)t * ch + at[i];
		c.y = j->s.qkv + (size_t)t * ch + at[i];
		j->f->k->conv(&c);
	}
	for (; t < end; t++)
		make_units(j, j->s.qkv + (size_t)t * ch);
}

/* A head's matrix in a copy of the state. */
static float *matrix(const struct delta_job *j, enum pst_kv_copy copy,
		     uint32_t head)
{
	size_t size = (size_t)j->p->hd_k * j->p->hd_v;

	return pst_kv_state(j->kv, j->layer, copy) + history(j->p) +
	       head * size;
}

/* One head's tokens [from, to). */
static void run_head(const struct delta_job *j, uint32_t head, uint32_t from,
		     uint32_t to)
{
	const struct pst_delta_hp *p = j->p;
	uint32_t ch = delta_channels(p), nr_q = p->n_k * p->hd_k;
	uint32_t qk = p->tiled ? head % p->n_k : head / (p->n_v / p->n_k);
	const float *row = j->s.qkv + (size_t)from * ch;
	uint32_t width = j->kind->by_channel ? p->hd_k : 1;
	size_t each = (size_t)p->n_v * width;
	struct pst_kdelta d = {
		.state = matrix(j, PST_KV_AFTER, head),
		.nr = to - from,
		.dk = p->hd_k,
		.dv = p->hd_v,
		.q = row + (size_t)qk * p->hd_k,
		.k = row + nr_q + (size_t)qk * p->hd_k,
		.v = row + 2 * (size_t)nr_q + (size_t)head * p->hd_v,
		.decay = j->s.decay + from * each + (size_t)head * width,
		.beta = j->s.beta + (size_t)from * j->w->wb.n_out + head,
		.out = j->s.att.f32 + from * j->s.att.stride +
		       (size_t)head * p->hd_v,
		.qk_stride = ch,
		.v_stride = ch,
		.decay_stride = each,
		.beta_stride = j->w->wb.n_out,
		.out_stride = j->s.att.stride,
		.by_channel = j->kind->by_channel,
	};

	j->f->k->delta(&d);
}

static void head_chunk(void *ctx, uint32_t head, uint32_t worker)
{
	const struct delta_job *j = ctx;
	size_t bytes = (size_t)j->p->hd_k * j->p->hd_v * sizeof(float);
	float *state = matrix(j, PST_KV_AFTER, head);
	uint32_t keep = j->kv->keep;

	(void)worker;
	if (j->kind->prepare_head)
		j->kind->prepare_head(j, head);
	memcpy(state, matrix(j, PST_KV_BEFORE, head), bytes);
	if (keep) {
		run_head(j, head, 0, keep);
		memcpy(matrix(j, PST_KV_MIDDLE, head), state, bytes);
	}
	run_head(j, head, keep, j->n);
}

static void finish_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct delta_job *j = ctx;
	const struct pst_delta_hp *p = j->p;
	const struct pst_kernels *k = j->f->k;
	float *y = j->s.att.f32 + t * j->s.att.stride;
	uint32_t n = p->n_v * p->hd_v;
	const float *z = j->s.z + (size_t)t * n;

	(void)worker;
	for (uint32_t h = 0; h < p->n_v; h++)
		k->rms_norm(y + (size_t)h * p->hd_v, y + (size_t)h * p->hd_v,
			    j->w->norm, p->hd_v, j->f->m->hp.eps);
	if (j->kind->silu_gate)
		k->swiglu(y, z, y, n);
	else
		k->gate(y, z, y, n);
}

/* The rows that the next pass's convolution begins with. */
static void keep_history(const struct delta_job *j)
{
	size_t bytes = history(j->p) * sizeof(float);
	uint32_t ch = delta_channels(j->p);

	memcpy(pst_kv_state(j->kv, j->layer, PST_KV_AFTER),
	       j->s.rows + (size_t)j->n * ch, bytes);
	if (j->kv->keep)
		memcpy(pst_kv_state(j->kv, j->layer, PST_KV_MIDDLE),
		       j->s.rows + (size_t)j->kv->keep * ch, bytes);
}

void pst_delta_run(const struct delta_kind *kind, struct pst_fwd *f,
		   const struct pst_fwd_pass *pass, uint32_t layer)
{
	struct carve c = { .base = f->work };
	struct delta_job j = { .f = f,
			       .kind = kind,
			       .p = &f->m->hp.delta,
			       .w = &f->m->layers[layer].delta,
			       .kv = pass->kv,
			       .layer = layer,
			       .n = pass->n };
	struct lin_item out = { .w = &j.w->wo,
				.x = &j.s.att.k,
				.nr_x = pass->n,
				.y = f->tmp,
				.y_stride = f->m->hp.n_embd };

	lay_out(f, layer, &c, &j.s);
	memcpy(j.s.rows, pst_kv_state(j.kv, layer, PST_KV_BEFORE),
	       history(j.p) * sizeof(float));
	project(&j);
	if (kind->prepare)
		pst_pool_run(f->pool, prepare_chunk, &j, j.n);
	pst_pool_run(f->pool, conv_chunk, &j,
		     (j.n + CONV_TOKENS - 1) / CONV_TOKENS);
	keep_history(&j);
	pst_pool_run(f->pool, head_chunk, &j, j.p->n_v);
	pst_pool_run(f->pool, finish_chunk, &j, j.n);
	if (pst_needs_q8(f, out.w))
		pst_quantize_rows(f, &j.s.att, out.w->n_in, pass->n);
	pst_linear(f, &out, 1);
}
