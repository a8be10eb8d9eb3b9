// SPDX-License-Identifier: MIT
/*
 * What is carried from token to token: the gated delta rule and the short
 * convolution before it.  Sums and exponentials are taken in double; the state
 * is float, as it is kept.  No alignment; any lengths.
 */
#include <math.h>

#include "pst_kpriv.h"

/* One token, one column of the state: the columns do not see each other. */
static void delta_column(const struct pst_kdelta *d, uint32_t t, uint32_t j)
{
	const float *q = d->q + t * d->qk_stride;
	const float *k = d->k + t * d->qk_stride;
	const float *g = d->decay + t * d->decay_stride;
	double seen = 0, out = 0, change;
	float *s = d->state + j;
	uint32_t i;

	for (i = 0; i < d->dk; i++) {
		s[(size_t)i * d->dv] *= g[d->by_channel ? i : 0];
		seen += (double)s[(size_t)i * d->dv] * (double)k[i];
	}
	change = (double)d->beta[t * d->beta_stride] *
		 ((double)d->v[t * d->v_stride + j] - seen);
	for (i = 0; i < d->dk; i++) {
		float *at = &s[(size_t)i * d->dv];

		*at = (float)((double)*at + (double)k[i] * change);
		out += (double)*at * (double)q[i];
	}
	d->out[t * d->out_stride + j] = (float)out;
}

static void pst_k_delta_c(const struct pst_kdelta *d)
{
	uint32_t t, j;

	for (t = 0; t < d->nr; t++)
		for (j = 0; j < d->dv; j++)
			delta_column(d, t, j);
}

static void pst_k_conv_c(const struct pst_kconv *c)
{
	uint32_t t, i, j;

	for (t = 0; t < c->nr; t++)
		for (i = 0; i < c->channels; i++) {
			const float *w = c->w + (size_t)i * c->taps;
			double sum = 0;

			for (j = 0; j < c->taps; j++)
				sum += (double)w[j] *
				       (double)c->x[(t + j) * c->stride + i];
			c->y[t * c->y_stride + i] =
				(float)(sum / (1.0 + exp(-sum)));
		}
}

void pst_k_fill_recur_c(struct pst_kernels *k)
{
	k->delta = pst_k_delta_c;
	k->conv = pst_k_conv_c;
}
