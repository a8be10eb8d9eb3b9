// SPDX-License-Identifier: MIT
/*
 * Activations to 8 bits and floats to half precision, AVX2.  The same bits as
 * the reference, NaN, infinities and tiny blocks included.  No alignment.
 */
#include "avx2_util.h"
#include "x86_priv.h"

/* Codes of 8 values; a NaN gives 0. */
PST_K_INLINE __m256i codes8(__m256 x, __m256 inv)
{
	__m256 v = _mm256_mul_ps(x, inv);
	__m256 ok = _mm256_cmp_ps(v, v, _CMP_ORD_Q);

	return _mm256_and_si256(_mm256_cvtps_epi32(v), _mm256_castps_si256(ok));
}

/* Bits without the sign order like the values, NaN on top. */
PST_K_INLINE float max_abs(const __m256 v[4])
{
	const __m256i abs = _mm256_set1_epi32(0x7fffffff);
	__m256i max = _mm256_setzero_si256();
	__m128i m;
	int j;

#pragma GCC unroll 4
	for (j = 0; j < 4; j++)
		max = _mm256_max_epi32(
			max, _mm256_and_si256(_mm256_castps_si256(v[j]), abs));
	m = _mm_max_epi32(_mm256_castsi256_si128(max),
			  _mm256_extracti128_si256(max, 1));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0x4e));
	m = _mm_max_epi32(m, _mm_shuffle_epi32(m, 0xb1));
	return pst_k_bits_f32((uint32_t)_mm_cvtsi128_si32(m));
}

PST_K_INLINE int32_t sum_i32(__m256i v)
{
	__m128i s = _mm_add_epi32(_mm256_castsi256_si128(v),
				  _mm256_extracti128_si256(v, 1));

	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0x4e));
	s = _mm_add_epi32(s, _mm_shuffle_epi32(s, 0xb1));
	return _mm_cvtsi128_si32(s);
}

static void pst_k_quantize_avx2(int8_t *q, float *d, int32_t *sum,
				const float *x, uint32_t n)
{
	/* Packing works within halves of a register. */
	const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
	uint32_t i;
	int j;

	for (i = 0; i < n; i += 32) {
		__m256i c[4], packed;
		float scale, inv;
		__m256 v[4];

#pragma GCC unroll 4
		for (j = 0; j < 4; j++)
			v[j] = _mm256_loadu_ps(x + i + 8 * j);
		scale = max_abs(v) / 127.0f;
		inv = 1.0f / scale;
		if (__builtin_isinf(inv)) {
			scale = 0;
			inv = 0;
		}
#pragma GCC unroll 4
		for (j = 0; j < 4; j++)
			c[j] = codes8(v[j], _mm256_set1_ps(inv));
		packed = _mm256_packs_epi16(_mm256_packs_epi32(c[0], c[1]),
					    _mm256_packs_epi32(c[2], c[3]));
		_mm256_storeu_si256((__m256i *)(q + i),
				    _mm256_permutevar8x32_epi32(packed, order));
		d[i / 32] = scale;
		sum[i / 32] =
			sum_i32(_mm256_add_epi32(_mm256_add_epi32(c[0], c[1]),
						 _mm256_add_epi32(c[2], c[3])));
	}
}

static void pst_k_f32_to_f16_avx2(uint16_t *y, const float *x, uint32_t n)
{
	uint8_t *out = (uint8_t *)y;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8)
		_mm_storeu_si128((__m128i *)(out + 2 * (size_t)i),
				 _mm256_cvtps_ph(_mm256_loadu_ps(x + i),
						 _MM_FROUND_TO_NEAREST_INT));
	for (; i < n; i++) {
		uint16_t h = pst_k_f32_f16(x[i]);

		memcpy(out + 2 * (size_t)i, &h, sizeof(h));
	}
}

void pst_k_fill_quantize_avx2(struct pst_kernels *k)
{
	k->quantize = pst_k_quantize_avx2;
	k->f32_to_f16 = pst_k_f32_to_f16_avx2;
}
