// SPDX-License-Identifier: MIT
/*
 * Rotary position embedding: the table of cos and sin for one position.
 *
 * Angles are computed in double: at position 10^6 a float angle has lost two
 * digits of the cosine.
 */
#include <math.h>

#include "model_priv.h"

/* The pair index at which a wavelength makes @beta turns in the original
 * context (YaRN, equation 17 solved for the dimension).
 */
static double yarn_dim(const struct pst_rope_params *r, double beta)
{
	return r->n_rot * log(r->ctx_orig / (beta * 2.0 * M_PI)) /
	       (2.0 * log((double)r->base));
}

struct yarn {
	double lo, hi;
};

static struct yarn yarn_range(const struct pst_rope_params *r)
{
	struct yarn y = { .lo = floor(yarn_dim(r, r->beta_fast)),
			  .hi = ceil(yarn_dim(r, r->beta_slow)) };

	y.lo = fmax(0.0, y.lo);
	y.hi = fmin(r->n_rot - 1.0, y.hi);
	return y;
}

static double yarn_theta(const struct pst_rope_params *r, struct yarn y,
			 uint32_t i, double extrapolated)
{
	double at = (i - y.lo) / fmax(0.001, y.hi - y.lo);
	double ramp = 1.0 - fmin(1.0, fmax(0.0, at));
	double mix = ramp * r->ext_factor;

	return extrapolated / r->factor * (1.0 - mix) + extrapolated * mix;
}

void pst_rope_table(const struct pst_rope_params *r, const float *freqs,
		    uint32_t pos, float *cs)
{
	bool yarn = r->scaling == PST_ROPE_SCALE_YARN;
	struct yarn range = yarn ? yarn_range(r) : (struct yarn){ 0, 0 };
	double mscale = r->attn_factor;

	if (yarn && r->ext_factor != 0.0f)
		mscale *= 1.0 + 0.1 * log((double)r->factor);
	for (uint32_t i = 0; i < r->n_rot / 2; i++) {
		double theta = pos * pow(r->base, -2.0 * i / r->n_rot);

		if (freqs)
			theta /= freqs[i];
		if (yarn)
			theta = yarn_theta(r, range, i, theta);
		else if (r->scaling == PST_ROPE_SCALE_LINEAR)
			theta /= r->factor;
		cs[2 * i] = (float)(cos(theta) * mscale);
		cs[2 * i + 1] = (float)(sin(theta) * mscale);
	}
}
