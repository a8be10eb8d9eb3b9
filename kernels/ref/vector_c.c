// SPDX-License-Identifier: MIT
/*
 * Operations on one row of floats: rms_norm, swiglu, gate, add, axpy, softmax.  Sums
 * and exponentials are taken in double.  No alignment; any n.
 */
#include <math.h>

#include "pst_kpriv.h"

static void pst_k_rms_norm_c(float *y, const float *x, const float *w,
			     uint32_t n, float eps)
{
	double sum = 0;
	float scale;
	uint32_t i;

	for (i = 0; i < n; i++)
		sum += (double)x[i] * (double)x[i];
	scale = (float)(1.0 / sqrt(sum / n + (double)eps));
	for (i = 0; i < n; i++)
		y[i] = x[i] * scale * (w ? w[i] : 1.0f);
}

static void pst_k_swiglu_c(float *y, const float *g, const float *u, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		double v = g[i];

		y[i] = (float)(v / (1.0 + exp(-v)) * (double)u[i]);
	}
}

static void pst_k_gate_c(float *y, const float *g, const float *u, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		y[i] = (float)((double)u[i] / (1.0 + exp(-(double)g[i])));
}

static void pst_k_add_c(float *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		y[i] += x[i];
}

static void pst_k_axpy_c(float *y, float a, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++)
		y[i] += a * x[i];
}

static void pst_k_softmax_c(float *x, uint32_t n)
{
	double sum = 0;
	float max = -INFINITY;
	uint32_t i;

	for (i = 0; i < n; i++)
		max = x[i] > max ? x[i] : max;
	for (i = 0; i < n; i++) {
		double e = exp((double)x[i] - (double)max);

		sum += e;
		x[i] = (float)e;
	}
	for (i = 0; i < n; i++)
		x[i] = (float)(x[i] / sum);
}

void pst_k_fill_vector_c(struct pst_kernels *k)
{
	k->rms_norm = pst_k_rms_norm_c;
	k->swiglu = pst_k_swiglu_c;
	k->gate = pst_k_gate_c;
	k->add = pst_k_add_c;
	k->axpy = pst_k_axpy_c;
	k->softmax = pst_k_softmax_c;
}
