// SPDX-License-Identifier: MIT
/*
 * Operations on one row of floats, AVX2: rms_norm, swiglu, gate, add, axpy,
 * softmax.  No alignment, any n, nothing read or written past it.  add is exact; axpy
 * differs from the reference by the fused rounding; the others by a few ulp of
 * each value.
 */
#include <math.h>

#include "avx2_util.h"
#include "x86_priv.h"

/* Four partial vectors, because each addition waits for the one before. */
static float sum_squares(const float *x, uint32_t n)
{
	__m256 acc[4];
	uint32_t i, j;

	for (j = 0; j < 4; j++)
		acc[j] = _mm256_setzero_ps();
	for (i = 0; i + 32 <= n; i += 32) {
#pragma GCC unroll 4
		for (j = 0; j < 4; j++) {
			__m256 v = _mm256_loadu_ps(x + i + 8 * j);

			acc[j] = _mm256_fmadd_ps(v, v, acc[j]);
		}
	}
	for (; i < n; i += 8) {
		__m256 v = _mm256_maskload_ps(x + i, first_lanes(n - i));

		acc[0] = _mm256_fmadd_ps(v, v, acc[0]);
	}
	return sum8(_mm256_add_ps(_mm256_add_ps(acc[0], acc[1]),
				  _mm256_add_ps(acc[2], acc[3])));
}

static void pst_k_rms_norm_avx2(float *y, const float *x, const float *w,
				uint32_t n, float eps)
{
	float mean = sum_squares(x, n) / (float)n;
	__m256 scale = _mm256_set1_ps(1.0f / sqrtf(mean + eps));
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);
		__m256 v = _mm256_maskload_ps(x + i, k);

		v = _mm256_mul_ps(v, scale);
		if (w)
			v = _mm256_mul_ps(v, _mm256_maskload_ps(w + i, k));
		_mm256_maskstore_ps(y + i, k, v);
	}
}

static void pst_k_swiglu_avx2(float *y, const float *g, const float *u,
			      uint32_t n)
{
	const __m256 one = _mm256_set1_ps(1.0f);
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);
		__m256 v = _mm256_maskload_ps(g + i, k);
		__m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), v));

		v = _mm256_div_ps(v, _mm256_add_ps(one, e));
		v = _mm256_mul_ps(v, _mm256_maskload_ps(u + i, k));
		_mm256_maskstore_ps(y + i, k, v);
	}
}

static void pst_k_gate_avx2(float *y, const float *g, const float *u,
			    uint32_t n)
{
	const __m256 one = _mm256_set1_ps(1.0f);
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);
		__m256 v = _mm256_maskload_ps(g + i, k);
		__m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), v));

		v = _mm256_div_ps(_mm256_maskload_ps(u + i, k),
				  _mm256_add_ps(one, e));
		_mm256_maskstore_ps(y + i, k, v);
	}
}

static void pst_k_add_avx2(float *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);

		_mm256_maskstore_ps(
			y + i, k,
			_mm256_add_ps(_mm256_maskload_ps(y + i, k),
				      _mm256_maskload_ps(x + i, k)));
	}
}

static void pst_k_axpy_avx2(float *y, float a, const float *x, uint32_t n)
{
	const __m256 va = _mm256_set1_ps(a);
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);

		_mm256_maskstore_ps(
			y + i, k,
			_mm256_fmadd_ps(va, _mm256_maskload_ps(x + i, k),
					_mm256_maskload_ps(y + i, k)));
	}
}

static void pst_k_softmax_avx2(float *x, uint32_t n)
{
	__m256 inv = _mm256_set1_ps(1.0f / exp_row8(x, n));
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);

		_mm256_maskstore_ps(x + i, k,
				    _mm256_mul_ps(_mm256_maskload_ps(x + i, k),
						  inv));
	}
}

void pst_k_fill_vector_avx2(struct pst_kernels *k)
{
	k->rms_norm = pst_k_rms_norm_avx2;
	k->swiglu = pst_k_swiglu_avx2;
	k->gate = pst_k_gate_avx2;
	k->add = pst_k_add_avx2;
	k->axpy = pst_k_axpy_avx2;
	k->softmax = pst_k_softmax_avx2;
}
