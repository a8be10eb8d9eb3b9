// SPDX-License-Identifier: MIT
/*
 * Rotary position, AVX-512.  n_rot is even; values past it are not touched; no
 * alignment.  Products are fused: results are within two roundings of the
 * reference.
 */
#include "avx512_util.h"
#include "x86_priv.h"

static void pst_k_rope_norm_avx512(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t i;

	for (i = 0; i < n_rot; i += 16) {
		__mmask16 k = first_lanes(n_rot - i);
		__m512 v = _mm512_maskz_loadu_ps(k, x + i);
		__m512 a = _mm512_maskz_loadu_ps(k, cs + i);
		__m512 swapped = _mm512_permute_ps(v, 0xb1);

		/* Even lanes x c - y s, odd lanes y c + x s. */
		v = _mm512_fmaddsub_ps(v, _mm512_moveldup_ps(a),
				       _mm512_mul_ps(swapped,
						     _mm512_movehdup_ps(a)));
		_mm512_mask_storeu_ps(x + i, k, v);
	}
}

static void pst_k_rope_neox_avx512(float *x, const float *cs, uint32_t n_rot)
{
	const __m512i even = _mm512_set_epi32(30, 28, 26, 24, 22, 20, 18, 16,
					      14, 12, 10, 8, 6, 4, 2, 0);
	const __m512i odd = _mm512_add_epi32(even, _mm512_set1_epi32(1));
	uint32_t half = n_rot / 2, i;

	for (i = 0; i < half; i += 16) {
		uint32_t left = 2 * (half - i);
		__mmask16 k = first_lanes(half - i);
		__m512 a = _mm512_maskz_loadu_ps(k, x + i);
		__m512 b = _mm512_maskz_loadu_ps(k, x + i + half);
		__m512 lo = _mm512_maskz_loadu_ps(first_lanes(left),
						  cs + 2 * (size_t)i);
		__m512 hi = _mm512_setzero_ps();
		__m512 c, s;

		if (left > 16)
			hi = _mm512_maskz_loadu_ps(first_lanes(left - 16),
						   cs + 2 * (size_t)i + 16);
		c = _mm512_permutex2var_ps(lo, even, hi);
		s = _mm512_permutex2var_ps(lo, odd, hi);
		_mm512_mask_storeu_ps(
			x + i, k, _mm512_fmsub_ps(a, c, _mm512_mul_ps(b, s)));
		_mm512_mask_storeu_ps(x + i + half, k,
				      _mm512_fmadd_ps(b, c,
						      _mm512_mul_ps(a, s)));
	}
}

void pst_k_fill_rope_avx512(struct pst_kernels *k)
{
	k->rope_norm = pst_k_rope_norm_avx512;
	k->rope_neox = pst_k_rope_neox_avx512;
}
