// SPDX-License-Identifier: MIT
/*
 * Activations to 8 bits and floats to half precision, AVX-512.  The same bits
 * as the reference, NaN, infinities and tiny blocks included.  No alignment.
 */
#include "avx512_util.h"
#include "x86_priv.h"

/* Codes of 16 values; a NaN gives 0. */
PST_K_INLINE __m512i codes16(__m512 x, __m512 inv)
{
	__m512 v = _mm512_mul_ps(x, inv);
	__mmask16 ok = _mm512_cmp_ps_mask(v, v, _CMP_ORD_Q);

	return _mm512_maskz_cvtps_epi32(ok, v);
}

static void pst_k_quantize_avx512(int8_t *q, float *d, int32_t *sum,
				  const float *x, uint32_t n)
{
	const __m512i abs = _mm512_set1_epi32(0x7fffffff);
	uint32_t i;

	for (i = 0; i < n; i += 32) {
		__m512 a = _mm512_loadu_ps(x + i);
		__m512 b = _mm512_loadu_ps(x + i + 16);
		__m512i qa, qb, max;
		float scale, inv;

		/* Bits without the sign order like the values, NaN on top. */
		max = _mm512_max_epi32(
			_mm512_and_si512(_mm512_castps_si512(a), abs),
			_mm512_and_si512(_mm512_castps_si512(b), abs));
		scale = pst_k_bits_f32((uint32_t)_mm512_reduce_max_epi32(max)) /
			127.0f;
		inv = 1.0f / scale;
		if (__builtin_isinf(inv)) {
			scale = 0;
			inv = 0;
		}
		qa = codes16(a, _mm512_set1_ps(inv));
		qb = codes16(b, _mm512_set1_ps(inv));
		_mm_storeu_si128((__m128i *)(q + i), _mm512_cvtepi32_epi8(qa));
		_mm_storeu_si128((__m128i *)(q + i + 16),
				 _mm512_cvtepi32_epi8(qb));
		d[i / 32] = scale;
		sum[i / 32] = _mm512_reduce_add_epi32(_mm512_add_epi32(qa, qb));
	}
}

static void pst_k_f32_to_f16_avx512(uint16_t *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm256_mask_storeu_epi16(
			y + i, k,
			_mm512_cvtps_ph(_mm512_maskz_loadu_ps(k, x + i),
					_MM_FROUND_TO_NEAREST_INT |
						_MM_FROUND_NO_EXC));
	}
}

void pst_k_fill_quantize_avx512(struct pst_kernels *k)
{
	k->quantize = pst_k_quantize_avx512;
	k->f32_to_f16 = pst_k_f32_to_f16_avx512;
}
