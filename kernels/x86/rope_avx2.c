// SPDX-License-Identifier: MIT
/*
 * Rotary position, AVX2.  n_rot is even; values past it are not touched; no
 * alignment.  Products are fused: results are within two roundings of the
 * reference.
 */
#include "avx2_util.h"
#include "x86_priv.h"

static void pst_k_rope_norm_avx2(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t i;

	for (i = 0; i < n_rot; i += 8) {
		__m256i k = first_lanes(n_rot - i);
		__m256 v = _mm256_maskload_ps(x + i, k);
		__m256 a = _mm256_maskload_ps(cs + i, k);
		__m256 swapped = _mm256_permute_ps(v, 0xb1);

		/* Even lanes x c - y s, odd lanes y c + x s. */
		v = _mm256_fmaddsub_ps(v, _mm256_moveldup_ps(a),
				       _mm256_mul_ps(swapped,
						     _mm256_movehdup_ps(a)));
		_mm256_maskstore_ps(x + i, k, v);
	}
}

static void pst_k_rope_neox_avx2(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t half = n_rot / 2, i;

	for (i = 0; i < half; i += 8) {
		uint32_t left = 2 * (half - i);
		__m256i k = first_lanes(half - i);
		__m256 a = _mm256_maskload_ps(x + i, k);
		__m256 b = _mm256_maskload_ps(x + i + half, k);
		__m256 lo = _mm256_maskload_ps(cs + 2 * (size_t)i,
					       first_lanes(left));
		__m256 hi = _mm256_setzero_ps();
		__m256d c, s;

		if (left > 8)
			hi = _mm256_maskload_ps(cs + 2 * (size_t)i + 8,
						first_lanes(left - 8));
		/* Even and odd lanes, then the quarters in order. */
		c = _mm256_castps_pd(_mm256_shuffle_ps(lo, hi, 0x88));
		s = _mm256_castps_pd(_mm256_shuffle_ps(lo, hi, 0xdd));
		c = _mm256_permute4x64_pd(c, 0xd8);
		s = _mm256_permute4x64_pd(s, 0xd8);
		_mm256_maskstore_ps(
			x + i, k,
			_mm256_fmsub_ps(a, _mm256_castpd_ps(c),
					_mm256_mul_ps(b, _mm256_castpd_ps(s))));
		_mm256_maskstore_ps(
			x + i + half, k,
			_mm256_fmadd_ps(b, _mm256_castpd_ps(c),
					_mm256_mul_ps(a, _mm256_castpd_ps(s))));
	}
}

void pst_k_fill_rope_avx2(struct pst_kernels *k)
{
	k->rope_norm = pst_k_rope_norm_avx2;
	k->rope_neox = pst_k_rope_neox_avx2;
}
