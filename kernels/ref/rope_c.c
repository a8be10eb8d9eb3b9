// SPDX-License-Identifier: MIT
/*
 * Rotary position: pairs of x are rotated by angles whose cosine and sine the
 * caller has worked out.  n_rot is even; values past it are not touched.
 */
#include "pst_kpriv.h"

static void rotate(float *a, float *b, const float *cs)
{
	float x = *a, y = *b;

	*a = x * cs[0] - y * cs[1];
	*b = x * cs[1] + y * cs[0];
}

static void pst_k_rope_norm_c(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t i;

	for (i = 0; i < n_rot; i += 2)
		rotate(x + i, x + i + 1, cs + i);
}

static void pst_k_rope_neox_c(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t half = n_rot / 2, i;

	for (i = 0; i < half; i++)
		rotate(x + i, x + i + half, cs + 2 * (size_t)i);
}

void pst_k_fill_rope_c(struct pst_kernels *k)
{
	k->rope_norm = pst_k_rope_norm_c;
	k->rope_neox = pst_k_rope_neox_c;
}
