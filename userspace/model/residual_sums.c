// SPDX-License-Identifier: MIT
/*
 * Attention over the depth (Attention Residuals, Kimi 2026): the stream is cut
 * into sums over a few blocks each.  A half reads a mean of all sums up to its
 * own, weighted by a softmax over how well the direction of each fits a vector
 * of the half; its result goes to the latest sum.  The token's embedding is a
 * sum by itself.
 *
 * In memory the latest sum comes first, then those that are finished.
 */
#include <math.h>
#include <string.h>

#include "fwd_priv.h"

/* Sums that are finished when all blocks have run, at most. */
static uint32_t most_done(const struct pst_hparams *hp)
{
	return (hp->n_layers + hp->sum_blocks - 1) / hp->sum_blocks;
}

static uint32_t width(const struct pst_hparams *hp)
{
	return (1 + most_done(hp)) * hp->n_embd;
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	uint64_t n = b->m->hp.n_embd;

	pst_bind_vec(b, "attn_res_score.weight", n, true,
		     &l->sum_score[PST_HALF_MIXER]);
	pst_bind_vec(b, "ffn_res_score.weight", n, true,
		     &l->sum_score[PST_HALF_FFN]);
}

static void bind_out(struct pst_binder *b)
{
	pst_bind_global_vec(b, "output_res_score.weight", b->m->hp.n_embd, true,
			    &b->m->output_sum_score);
}

static void carve(struct pst_fwd *f, struct carve *c)
{
	uint64_t n = f->m->hp.n_embd;

	f->sums.in = pst_carve(c, f->n_batch * n, sizeof(float));
	f->sums.in_aside = pst_carve(c, LOGITS_GROUP * n, sizeof(float));
}

static void start(struct pst_fwd *f, uint32_t t)
{
	(void)f;
	(void)t;
}

/* How well a sum's direction fits. */
static double fit(const float *x, const float *score, uint32_t n, float eps)
{
	double dot = 0.0, square = 0.0;

	for (uint32_t i = 0; i < n; i++) {
		dot += (double)x[i] * (double)score[i];
		square += (double)x[i] * (double)x[i];
	}
	return dot / sqrt(square / n + (double)eps);
}

struct read_job {
	struct pst_fwd *f;
	const float *score;
	uint32_t first; /* token */
	float *in;
};

static void read_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	const struct read_job *j = ctx;
	const struct pst_fwd *f = j->f;
	uint32_t n = f->m->hp.n_embd, nr = 1 + f->sums.done;
	const float *x = f->x + (size_t)(j->first + i) * f->x_width;
	float *in = j->in + (size_t)i * n, w[1 + PST_MAX_LAYERS];

	(void)worker;
	for (uint32_t s = 0; s < nr; s++)
		w[s] = (float)fit(x + (size_t)s * n, j->score, n, f->m->hp.eps);
	f->k->softmax(w, nr);
	memset(in, 0, n * sizeof(*in));
	for (uint32_t s = 0; s < nr; s++)
		f->k->axpy(in, w[s], x + (size_t)s * n, n);
}

/* What is only looked at finds the sums that there are by now. */
static const float *read_sums(struct pst_fwd *f, const struct pst_read *r)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct read_job j = {
		.f = f,
		.score = r->half == PST_HALF_OUT
				 ? f->m->output_sum_score
				 : f->m->layers[r->layer].sum_score[r->half],
		.first = r->first,
		.in = r->aside ? f->sums.in_aside : f->sums.in,
	};

	if (r->half == PST_HALF_OUT) {
		f->sums.done = most_done(hp);
	} else if (!r->aside) {
		f->sums.ends = r->half == PST_HALF_MIXER &&
			       r->layer % hp->sum_blocks == 0;
		f->sums.done = r->layer / hp->sum_blocks + !f->sums.ends;
	}
	pst_pool_run(f->pool, read_chunk, &j, r->nr);
	return j.in;
}

/* The first result of a run of blocks begins a sum. */
static void add(struct pst_fwd *f, uint32_t t, const float *y)
{
	uint32_t n = f->m->hp.n_embd;
	float *x = f->x + (size_t)t * f->x_width;

	if (f->sums.ends) {
		memcpy(x + (size_t)(1 + f->sums.done) * n, x, n * sizeof(*x));
		memcpy(x, y, n * sizeof(*x));
	} else {
		f->k->add(x, y, n);
	}
}

const struct pst_residual pst_residual_sums = {
	.name = "attention over sums",
	.width = width,
	.bind = bind,
	.bind_out = bind_out,
	.carve = carve,
	.start = start,
	.read = read_sums,
	.add = add,
};
