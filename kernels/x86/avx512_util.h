/* SPDX-License-Identifier: MIT */
/*
 * Small helpers of the AVX-512 kernels (F, BW, VL, DQ and AVX2, FMA, F16C).
 */
#ifndef PST_K_AVX512_UTIL_H
#define PST_K_AVX512_UTIL_H

#include <immintrin.h>

#include "pst_tile.h"

/* The lanes of a vector of 16 that hold one of @left values. */
PST_K_INLINE __mmask16 first_lanes(uint32_t left)
{
	return (__mmask16)(left >= 16 ? 0xffff : (1u << left) - 1);
}

PST_K_INLINE __m512 bf16_ps(__m256i h)
{
	return _mm512_castsi512_ps(
		_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

PST_K_INLINE float load_f16(const void *p)
{
	return _cvtsh_ss(pst_k_load_u16(p));
}

/*
 * e^x to about an ulp: x = n ln 2 + r with |r| <= ln(2) / 2, and the Taylor
 * polynomial of degree 7 in r, whose first omitted term is below 2^-27.
 */
PST_K_INLINE __m512 exp512(__m512 x)
{
	const __m512 log2e = _mm512_set1_ps(0x1.715476p+0f);
	const __m512 ln2_hi = _mm512_set1_ps(0x1.62e400p-1f);
	const __m512 ln2_lo = _mm512_set1_ps(0x1.7f7d1cp-20f);
	__m512 n, r, p;

	/* Beyond this e^x is infinite or zero; an infinite r would be NaN. */
	x = _mm512_min_ps(_mm512_set1_ps(128.0f), x);
	x = _mm512_max_ps(_mm512_set1_ps(-128.0f), x);
	n = _mm512_roundscale_ps(_mm512_mul_ps(x, log2e),
				 _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	r = _mm512_fnmadd_ps(n, ln2_hi, x);
	r = _mm512_fnmadd_ps(n, ln2_lo, r);
	p = _mm512_set1_ps(1.0f / 5040);
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 720));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 120));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 24));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f / 6));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(0.5f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
	p = _mm512_fmadd_ps(p, r, _mm512_set1_ps(1.0f));
	return _mm512_scalef_ps(p, n);
}

/* x = e^(x - max x); returns the sum. */
PST_K_INLINE float exp_row512(float *x, uint32_t n)
{
	__m512 max = _mm512_set1_ps(-__builtin_inff());
	__m512 sum = _mm512_setzero_ps();
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		max = _mm512_mask_max_ps(max, k, max,
					 _mm512_maskz_loadu_ps(k, x + i));
	}
	max = _mm512_set1_ps(_mm512_reduce_max_ps(max));
	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);
		__m512 e = _mm512_maskz_loadu_ps(k, x + i);

		e = exp512(_mm512_sub_ps(e, max));
		sum = _mm512_mask_add_ps(sum, k, sum, e);
		_mm512_mask_storeu_ps(x + i, k, e);
	}
	return _mm512_reduce_add_ps(sum);
}

#endif
