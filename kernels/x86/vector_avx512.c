// SPDX-License-Identifier: MIT
/*
 * Operations on one row of floats, AVX-512: rms_norm, swiglu, gate, add,
 * axpy, softmax.  No alignment, any n, nothing read or written past it.  add is
 * exact; axpy differs from the reference by the fused rounding; the others by
 * a few ulp of each value.
 */
#include <math.h>

#include "avx512_util.h"
#include "x86_priv.h"

/* Four partial vectors, because each addition waits for the one before. */
static float sum_squares(const float *x, uint32_t n)
{
	__m512 acc[4];
	uint32_t i, j;

	for (j = 0; j < 4; j++)
		acc[j] = _mm512_setzero_ps();
	for (i = 0; i + 64 <= n; i += 64) {
#pragma GCC unroll 4
		for (j = 0; j < 4; j++) {
			__m512 v = _mm512_loadu_ps(x + i + 16 * j);

			acc[j] = _mm512_fmadd_ps(v, v, acc[j]);
		}
	}
	for (; i < n; i += 16) {
		__m512 v = _mm512_maskz_loadu_ps(first_lanes(n - i), x + i);

		acc[0] = _mm512_fmadd_ps(v, v, acc[0]);
	}
	return _mm512_reduce_add_ps(_mm512_add_ps(
		_mm512_add_ps(acc[0], acc[1]), _mm512_add_ps(acc[2], acc[3])));
}

static void pst_k_rms_norm_avx512(float *y, const float *x, const float *w,
				  uint32_t n, float eps)
{
	float mean = sum_squares(x, n) / (float)n;
	__m512 scale = _mm512_set1_ps(1.0f / sqrtf(mean + eps));
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);
		__m512 v = _mm512_maskz_loadu_ps(k, x + i);

		v = _mm512_mul_ps(v, scale);
		if (w)
			v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(k, w + i));
		_mm512_mask_storeu_ps(y + i, k, v);
	}
}

static void pst_k_swiglu_avx512(float *y, const float *g, const float *u,
				uint32_t n)
{
	const __m512 one = _mm512_set1_ps(1.0f);
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);
		__m512 v = _mm512_maskz_loadu_ps(k, g + i);
		__m512 e = exp512(_mm512_sub_ps(_mm512_setzero_ps(), v));

		v = _mm512_div_ps(v, _mm512_add_ps(one, e));
		v = _mm512_mul_ps(v, _mm512_maskz_loadu_ps(k, u + i));
		_mm512_mask_storeu_ps(y + i, k, v);
	}
}

static void pst_k_gate_avx512(float *y, const float *g, const float *u,
			      uint32_t n)
{
	const __m512 one = _mm512_set1_ps(1.0f);
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);
		__m512 v = _mm512_maskz_loadu_ps(k, g + i);
		__m512 e = exp512(_mm512_sub_ps(_mm512_setzero_ps(), v));

		v = _mm512_div_ps(_mm512_maskz_loadu_ps(k, u + i),
				  _mm512_add_ps(one, e));
		_mm512_mask_storeu_ps(y + i, k, v);
	}
}

static void pst_k_add_avx512(float *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm512_mask_storeu_ps(
			y + i, k,
			_mm512_add_ps(_mm512_maskz_loadu_ps(k, y + i),
				      _mm512_maskz_loadu_ps(k, x + i)));
	}
}

static void pst_k_axpy_avx512(float *y, float a, const float *x, uint32_t n)
{
	const __m512 va = _mm512_set1_ps(a);
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm512_mask_storeu_ps(
			y + i, k,
			_mm512_fmadd_ps(va, _mm512_maskz_loadu_ps(k, x + i),
					_mm512_maskz_loadu_ps(k, y + i)));
	}
}

static void pst_k_softmax_avx512(float *x, uint32_t n)
{
	__m512 inv = _mm512_set1_ps(1.0f / exp_row512(x, n));
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm512_mask_storeu_ps(
			x + i, k,
			_mm512_mul_ps(_mm512_maskz_loadu_ps(k, x + i), inv));
	}
}

void pst_k_fill_vector_avx512(struct pst_kernels *k)
{
	k->rms_norm = pst_k_rms_norm_avx512;
	k->swiglu = pst_k_swiglu_avx512;
	k->gate = pst_k_gate_avx512;
	k->add = pst_k_add_avx512;
	k->axpy = pst_k_axpy_avx512;
	k->softmax = pst_k_softmax_avx512;
}
