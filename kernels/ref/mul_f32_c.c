// SPDX-License-Identifier: MIT
/*
 * Reference products with float activations: a weight row is made float once
 * and multiplied with every activation row.  Sums are kept in double, so that
 * the one rounding is that of the result.
 */
#include "pst_kpriv.h"

static float dot_f32(const float *w, const float *x, uint32_t n)
{
	double sum = 0;
	uint32_t i;

	for (i = 0; i < n; i++)
		sum += (double)w[i] * (double)x[i];
	return (float)sum;
}

void pst_k_mul_dequant_c(const struct pst_kmul *m, pst_k_dequant_fn dequant)
{
	const struct pst_kact *x = m->x;
	uint32_t r, i;

	for (r = 0; r < m->nr_rows; r++) {
		dequant(m->scratch, pst_k_row(m, r), m->n);
		for (i = 0; i < m->nr_x; i++)
			m->y[i * m->y_stride + r] = dot_f32(
				m->scratch,
				x->f32 + pst_k_xrow(m, i) * x->stride, m->n);
	}
}
