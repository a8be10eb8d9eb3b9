// SPDX-License-Identifier: MIT
/*
 * The norms of a row: by the root of its mean square, or about its mean with
 * the deviation (Ba et al. 2016); then a weight for each number, and a bias.
 */
#include <math.h>
#include <string.h>

#include "fwd_priv.h"

void pst_layer_norm(float *y, const float *x, const struct pst_norm *norm,
		    uint32_t n, float eps)
{
	double sum = 0.0, sq = 0.0, mean, inv;

	for (uint32_t i = 0; i < n; i++)
		sum += (double)x[i];
	mean = sum / n;
	for (uint32_t i = 0; i < n; i++)
		sq += ((double)x[i] - mean) * ((double)x[i] - mean);
	inv = 1.0 / sqrt(sq / n + (double)eps);
	for (uint32_t i = 0; i < n; i++)
		y[i] = (float)(((double)x[i] - mean) * inv *
				       (double)norm->w[i] +
			       (norm->b ? (double)norm->b[i] : 0.0));
}

void pst_norm_row(const struct pst_fwd *f, float *y, const float *x,
		  const struct pst_norm *norm)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t n = hp->n_embd;

	if (f->m->arch->norm == PST_NORM_MEAN) {
		pst_layer_norm(y, x, norm, n, hp->eps);
		return;
	}
	f->k->rms_norm(y, x, norm->w, n, hp->eps);
	if (norm->b)
		f->k->add(y, norm->b, n);
}

struct norm_job {
	struct pst_fwd *f;
	const float *x;
	struct pst_norm norm;
	struct act *out;
	bool q8;
};

static void norm_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct norm_job *j = ctx;
	uint32_t n = j->f->m->hp.n_embd;
	const float *x = j->x + (size_t)t * n;
	float *y = j->out->f32 + t * j->out->stride;

	(void)worker;
	if (j->norm.w)
		pst_norm_row(j->f, y, x, &j->norm);
	else
		memcpy(y, x, n * sizeof(*x));
	if (j->q8)
		pst_quantize_row(j->f, j->out, t, n);
}

void pst_norm_quantize(struct pst_fwd *f, const float *x, struct pst_norm norm,
		       struct act *out, uint32_t n, bool q8)
{
	struct norm_job j = {
		.f = f, .x = x, .norm = norm, .out = out, .q8 = q8
	};

	pst_pool_run(f->pool, norm_chunk, &j, n);
}
