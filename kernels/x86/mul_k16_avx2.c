// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX2: the formats of pst_k16.h without a
 * code book; see mul_q8_256_tmpl.h.  Integer parts are those of the reference;
 * the float sums are bounded by a few eps times the sum of
 * |scale x code x activation|.
 */
#include "dot_avx2.h"
#include "mul_q8_256_tmpl.h"
#include "plain16_x86.h"
#include "x86_priv.h"

/* Digits of 2 bits, four in a byte of the lower 8, to bytes. */
PST_K_INLINE __m256i spread2(__m128i digits)
{
	__m256i x = _mm256_cvtepu8_epi32(digits);

	x = _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 12)),
			     _mm256_set1_epi32(0x000f000f));
	return _mm256_and_si256(_mm256_or_si256(x, _mm256_slli_epi32(x, 6)),
				_mm256_set1_epi32(0x03030303));
}

PST_K_INLINE struct wscale one_each(__m256 scale)
{
	struct wscale s = NO_SCALES;

	s.scale = scale;
	return s;
}

PST_K_INLINE struct wscale scales_tq2_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return one_each(_mm256_set1_ps(load_f16(p + 64)));
}

PST_K_INLINE __m256i codes_tq2_0(const uint8_t *p, uint32_t c)
{
	return pairs(p, c);
}

static const struct fmt fmt_tq2_0 = {
	.bytes = PST_K_TQ2_0_BYTES,
	.offset = 1,
	.max = 2,
	.scales = scales_tq2_0,
	.codes = codes_tq2_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_tq1_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return one_each(_mm256_set1_ps(load_f16(p + 52)));
}

/* -1 in the bytes that are at least @least */
PST_K_INLINE __m256i from(__m256i v, int least)
{
	return _mm256_cmpeq_epi8(
		_mm256_max_epu8(v, _mm256_set1_epi8((char)least)), v);
}

PST_K_INLINE __m256i codes_tq1_0(const uint8_t *p, uint32_t c)
{
	const __m256i low = _mm256_set1_epi16(0xff);
	__m256i v = tq1_0_bytes(p, c);
	__m256i pow =
		_mm256_loadu_si256((const __m256i *)(tq1_0_pow3 + 32 * c));
	__m256i even = _mm256_mullo_epi16(v, pow);
	__m256i odd = _mm256_mullo_epi16(_mm256_srli_epi16(v, 8),
					 _mm256_srli_epi16(pow, 8));

	v = _mm256_or_si256(_mm256_and_si256(even, low),
			    _mm256_slli_epi16(odd, 8));
	even = _mm256_add_epi8(from(v, TQ1_0_ONE), from(v, TQ1_0_TWO));
	return _mm256_sub_epi8(_mm256_setzero_si256(), even);
}

static const struct fmt fmt_tq1_0 = {
	.bytes = PST_K_TQ1_0_BYTES,
	.offset = 1,
	.max = 2,
	.scales = scales_tq1_0,
	.codes = codes_tq1_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_nvfp4(const uint8_t *p, uint32_t nr)
{
	const __m256 by = _mm256_set1_ps(128);
	__m256i h = nvfp4_halves(p, nr);
	struct wscale s = NO_SCALES;

	s.scale = _mm256_mul_ps(_mm256_cvtph_ps(_mm256_castsi256_si128(h)), by);
	s.scale_upper = _mm256_mul_ps(
		_mm256_cvtph_ps(_mm256_extracti128_si256(h, 1)), by);
	return s;
}

PST_K_INLINE __m256i codes_nvfp4(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_NVFP4_BYTES * (c / 2) + 4 + 16 * (c % 2);
	__m256i v = _mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)q));

	v = _mm256_permute4x64_epi64(v, 0x50);
	v = _mm256_srlv_epi64(v, _mm256_set_epi64x(4, 0, 4, 0));
	v = _mm256_and_si256(v, _mm256_set1_epi8(15));
	return lookup(v, pst_k_mxfp4_values, 12);
}

static const struct fmt fmt_nvfp4 = {
	.bytes = 4 * PST_K_NVFP4_BYTES,
	.offset = 12,
	.max = 24,
	.sub16 = true,
	.has_tail = true,
	.scales = scales_nvfp4,
	.codes = codes_nvfp4,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q1_0(const uint8_t *p, uint32_t nr)
{
	return one_each(q1_0_scales(p, nr));
}

/* 0 and 2 for -1 and 1 */
PST_K_INLINE __m256i codes_q1_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q1_0_BYTES * (c / 4) + 2 + 4 * (c % 4);

	return _mm256_and_si256(mask32(pst_k_load_u32(q)), _mm256_set1_epi8(2));
}

static const struct fmt fmt_q1_0 = {
	.bytes = 2 * PST_K_Q1_0_BYTES,
	.offset = 1,
	.max = 2,
	.has_tail = true,
	.scales = scales_q1_0,
	.codes = codes_q1_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q2_0(const uint8_t *p, uint32_t nr)
{
	return one_each(q2_0_scales(p, nr));
}

PST_K_INLINE __m256i codes_q2_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q2_0_BYTES * (c / 2) + 2 + 8 * (c % 2);

	return spread2(_mm_loadl_epi64((const __m128i *)q));
}

static const struct fmt fmt_q2_0 = {
	.bytes = 4 * PST_K_Q2_0_BYTES,
	.offset = 1,
	.max = 3,
	.has_tail = true,
	.scales = scales_q2_0,
	.codes = codes_q2_0,
	.dot = dot_u8,
};

PST_K_PLAIN16_TYPES(DEFINE_MUL)

void pst_k_fill_mul_k16_avx2(struct pst_kernels *k)
{
	PST_K_PLAIN16_TYPES(PST_K_SET_MUL)
}
