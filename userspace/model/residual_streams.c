// SPDX-License-Identifier: MIT
/*
 * Parallel residual streams (manifold-constrained hyper-connections, Xie et al.
 * 2025): a half reads a weighted sum of the streams, and its result goes to
 * each with a weight of its own while the streams are mixed.  All weights
 * follow from the streams of the token themselves.
 *
 * With S streams a half has S + S + S * S weights: to read with, to add with,
 * and how much of each stream goes to each; that matrix is made doubly
 * stochastic by turns (Sinkhorn and Knopp 1967), which keeps the streams in
 * size however many blocks there are.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "fwd_priv.h"

/* Numbers of each stream that are mixed at a time. */
#define MIX_RUN 256

static uint32_t width(const struct pst_hparams *hp)
{
	return hp->streams.nr * hp->n_embd;
}

static uint32_t nr_weights(const struct pst_hparams *hp)
{
	return (2 + hp->streams.nr) * hp->streams.nr;
}

static void bind_mix(struct pst_binder *b, const char *half,
		     struct pst_mix *mix)
{
	const struct pst_hparams *hp = &b->m->hp;
	char name[32];

	snprintf(name, sizeof(name), "hc_%s_fn", half);
	pst_bind_bare(b, name, width(hp), nr_weights(hp), &mix->fn);
	snprintf(name, sizeof(name), "hc_%s_base.weight", half);
	pst_bind_vec(b, name, nr_weights(hp), true, &mix->base);
	snprintf(name, sizeof(name), "hc_%s_scale.weight", half);
	pst_bind_vec(b, name, 3, true, &mix->scale);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	bind_mix(b, "attn", &l->mix[PST_HALF_MIXER]);
	bind_mix(b, "ffn", &l->mix[PST_HALF_FFN]);
}

static void bind_out(struct pst_binder *b)
{
	const struct pst_hparams *hp = &b->m->hp;
	struct pst_mix *mix = &b->m->output_mix;

	pst_bind_global_mat(b, "output_hc_fn.weight", width(hp), hp->streams.nr,
			    true, &mix->fn);
	pst_bind_global_vec(b, "output_hc_base.weight", hp->streams.nr, true,
			    &mix->base);
	pst_bind_global_vec(b, "output_hc_scale.weight", 1, true, &mix->scale);
}

/* Does some product with the streams read their quantised form? */
static bool needs_q8(const struct pst_fwd *f)
{
	const struct pst_model *m = f->m;

	for (uint32_t i = 0; i < m->hp.n_layers; i++)
		if (pst_needs_q8(f, &m->layers[i].mix[0].fn) ||
		    pst_needs_q8(f, &m->layers[i].mix[1].fn))
			return true;
	return pst_needs_q8(f, &m->output_mix.fn);
}

static void carve(struct pst_fwd *f, struct carve *c)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct streams *s = &f->streams;
	uint64_t n = f->n_batch;

	s->x.stride = f->x_width;
	s->x.f32 = f->x;
	s->quantised = needs_q8(f);
	s->x.k.first = (struct pst_kact){ .f32 = f->x, .stride = s->x.stride };
	if (s->quantised)
		pst_carve_codes(f, c, &s->x, n);
	s->mix_stride = nr_weights(hp);
	s->mix = pst_carve(c, n * s->mix_stride, sizeof(float));
	s->in = pst_carve(c, n * hp->n_embd, sizeof(float));
	s->mix_aside = pst_carve(c, (uint64_t)LOGITS_GROUP * s->mix_stride,
				 sizeof(float));
	s->in_aside = pst_carve(c, (uint64_t)LOGITS_GROUP * hp->n_embd,
				sizeof(float));
}

static void start(struct pst_fwd *f, uint32_t t)
{
	uint32_t n = f->m->hp.n_embd;
	float *x = f->x + (size_t)t * f->x_width;

	for (uint32_t s = 1; s < f->m->hp.streams.nr; s++)
		memcpy(x + (size_t)s * n, x, n * sizeof(*x));
	if (f->streams.quantised)
		pst_quantize_row(f, &f->streams.x, t, f->x_width);
}

static double sigmoid(double x)
{
	return 1.0 / (1.0 + exp(-x));
}

/* Each of @nr lines of a matrix, @across apart, is made to sum to one. */
static void normalize(double *m, uint32_t nr, uint32_t step, uint32_t across,
		      double eps)
{
	for (uint32_t a = 0; a < nr; a++) {
		double sum = eps;

		for (uint32_t i = 0; i < nr; i++)
			sum += m[a * across + i * step];
		for (uint32_t i = 0; i < nr; i++)
			m[a * across + i * step] /= sum;
	}
}

/* The mixing matrix [from][to], from its logits. */
static void make_matrix(const struct pst_streams_hp *p, float *mix)
{
	double m[PST_MAX_STREAMS * PST_MAX_STREAMS];
	uint32_t nr = p->nr;

	for (uint32_t from = 0; from < nr; from++) {
		const float *logit = mix + (size_t)from * nr;
		double sum = 0.0, most = -INFINITY;

		for (uint32_t to = 0; to < nr; to++)
			most = fmax(most, (double)logit[to]);
		for (uint32_t to = 0; to < nr; to++)
			sum += exp((double)logit[to] - most);
		for (uint32_t to = 0; to < nr; to++)
			m[from * nr + to] =
				exp((double)logit[to] - most) / sum +
				(double)p->eps;
	}
	normalize(m, nr, nr, 1, (double)p->eps);
	for (uint32_t i = 1; i < p->rounds; i++) {
		normalize(m, nr, 1, nr, (double)p->eps);
		normalize(m, nr, nr, 1, (double)p->eps);
	}
	for (uint32_t i = 0; i < nr * nr; i++)
		mix[i] = (float)m[i];
}

struct read_job {
	struct pst_fwd *f;
	const struct pst_mix *w;
	uint32_t first; /* token */
	bool out; /* read only, nothing is added afterwards */
	float *mix, *in;
};

/* The weights of one token, from the product @mix with its streams. */
static void make_weights(const struct read_job *j, const float *x, float *mix)
{
	const struct pst_fwd *f = j->f;
	const struct pst_streams_hp *p = &f->m->hp.streams;
	uint32_t nr = p->nr, all = j->out ? nr : nr_weights(&f->m->hp);
	double sum = 0.0, inv;

	for (uint32_t i = 0; i < f->x_width; i++)
		sum += (double)x[i] * (double)x[i];
	inv = 1.0 / sqrt(sum / f->x_width + (double)f->m->hp.eps);
	for (uint32_t i = 0; i < all; i++) {
		uint32_t part = PST_MIN(i / nr, 2);

		mix[i] = (float)((double)mix[i] * inv *
					 (double)j->w->scale[part] +
				 (double)j->w->base[i]);
	}
	for (uint32_t s = 0; s < nr; s++)
		mix[s] = (float)(sigmoid((double)mix[s]) + (double)p->eps);
	if (j->out)
		return;
	for (uint32_t s = nr; s < 2 * nr; s++)
		mix[s] = (float)(2.0 * sigmoid((double)mix[s]));
	make_matrix(p, mix + (size_t)2 * nr);
}

static void read_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	const struct read_job *j = ctx;
	struct pst_fwd *f = j->f;
	uint32_t n = f->m->hp.n_embd;
	const float *x = f->x + (size_t)(j->first + i) * f->x_width;
	float *mix = j->mix + (size_t)i * f->streams.mix_stride;
	float *in = j->in + (size_t)i * n;

	(void)worker;
	make_weights(j, x, mix);
	memset(in, 0, n * sizeof(*in));
	for (uint32_t s = 0; s < f->m->hp.streams.nr; s++)
		f->k->axpy(in, mix[s], x + (size_t)s * n, n);
}

static const float *read_streams(struct pst_fwd *f, const struct pst_read *r)
{
	struct streams *s = &f->streams;
	struct read_job j = {
		.f = f,
		.w = r->half == PST_HALF_OUT
			     ? &f->m->output_mix
			     : &f->m->layers[r->layer].mix[r->half],
		.first = r->first,
		.out = r->half == PST_HALF_OUT,
		.mix = r->aside ? s->mix_aside : s->mix,
		.in = r->aside ? s->in_aside : s->in
	};
	struct act_rows x = s->x.k;
	struct lin_item item = { .w = &j.w->fn,
				 .x = &x,
				 .nr_x = r->nr,
				 .y = j.mix,
				 .y_stride = s->mix_stride };

	if (s->quantised)
		x = pst_act_row(&s->x, r->first);
	else
		x.first.f32 += r->first * s->x.stride;
	pst_linear(f, &item, 1);
	pst_pool_run(f->pool, read_chunk, &j, r->nr);
	return j.in;
}

static void add(struct pst_fwd *f, uint32_t t, const float *y)
{
	uint32_t nr = f->m->hp.streams.nr, n = f->m->hp.n_embd;
	const float *post =
		f->streams.mix + (size_t)t * f->streams.mix_stride + nr;
	const float *matrix = post + nr;
	float *x = f->x + (size_t)t * f->x_width;
	float old[PST_MAX_STREAMS][MIX_RUN];

	for (uint32_t at = 0; at < n; at += MIX_RUN) {
		uint32_t run = PST_MIN(MIX_RUN, n - at);

		for (uint32_t s = 0; s < nr; s++)
			memcpy(old[s], x + (size_t)s * n + at,
			       run * sizeof(*x));
		for (uint32_t to = 0; to < nr; to++) {
			float *out = x + (size_t)to * n + at;

			for (uint32_t i = 0; i < run; i++)
				out[i] = post[to] * y[at + i];
			for (uint32_t from = 0; from < nr; from++)
				f->k->axpy(out, matrix[from * nr + to],
					   old[from], run);
		}
	}
	if (f->streams.quantised)
		pst_quantize_row(f, &f->streams.x, t, f->x_width);
}

const struct pst_residual pst_residual_streams = {
	.name = "parallel streams",
	.width = width,
	.bind = bind,
	.bind_out = bind_out,
	.carve = carve,
	.start = start,
	.read = read_streams,
	.add = add,
};
