/* SPDX-License-Identifier: MIT */
/*
 * The formats of pst_k16.h without a code book for mul_q8_512_tmpl.h: the
 * ternary and binary ones, and NVFP4.
 */
#ifndef PST_K_FMT_K16_512_TMPL_H
#define PST_K_FMT_K16_512_TMPL_H

#include "fmt_512_tmpl.h"
#include "plain16_x86.h"

/* (a | b) & mask */
PST_K_INLINE __m512i merge512(__m512i a, __m512i b, int mask)
{
	return _mm512_ternarylogic_epi32(a, b, _mm512_set1_epi32(mask), 0xa8);
}

/* Digits of 2 bits, four in a byte, to bytes. */
PST_K_INLINE __m512i spread2_512(__m128i digits)
{
	__m512i x = _mm512_cvtepu8_epi32(digits);

	x = merge512(x, _mm512_slli_epi32(x, 12), 0x000f000f);
	return merge512(x, _mm512_slli_epi32(x, 6), 0x03030303);
}

/* One scale of 32 weights each, in the lower lanes. */
PST_K_INLINE struct wscale512 lower512(__m256 scale)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_zextps256_ps512(scale);
	return s;
}

PST_K_INLINE struct wscale512 scales_tq2_0(const uint8_t *p)
{
	return lower512(_mm256_set1_ps(load_f16(p + 64)));
}

PST_K_INLINE __m512i codes_tq2_0(const uint8_t *p, uint32_t c)
{
	return pairs512(p, c);
}

static const struct fmt512 fmt_tq2_0 = {
	.bytes = PST_K_TQ2_0_BYTES,
	.offset = 1,
	.scales = scales_tq2_0,
	.codes = codes_tq2_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_tq1_0(const uint8_t *p)
{
	return lower512(_mm256_set1_ps(load_f16(p + 52)));
}

PST_K_INLINE __m512i codes_tq1_0(const uint8_t *p, uint32_t c)
{
	const __m512i one = _mm512_set1_epi8(1);
	__m512i v = _mm512_inserti64x4(
		_mm512_castsi256_si512(tq1_0_bytes(p, 2 * c)),
		tq1_0_bytes(p, 2 * c + 1), 1);
	__m512i pow = _mm512_loadu_si512(tq1_0_pow3 + 64 * c);
	__m512i even = _mm512_mullo_epi16(v, pow);
	__m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(v, 8),
					 _mm512_srli_epi16(pow, 8));

	v = _mm512_mask_blend_epi8(0xaaaaaaaaaaaaaaaaULL, even,
				   _mm512_slli_epi16(odd, 8));
	even = _mm512_maskz_mov_epi8(
		_mm512_cmpge_epu8_mask(v, _mm512_set1_epi8(TQ1_0_ONE)), one);
	return _mm512_mask_add_epi8(
		even,
		_mm512_cmpge_epu8_mask(v, _mm512_set1_epi8((char)TQ1_0_TWO)),
		even, one);
}

static const struct fmt512 fmt_tq1_0 = {
	.bytes = PST_K_TQ1_0_BYTES,
	.offset = 1,
	.scales = scales_tq1_0,
	.codes = codes_tq1_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_nvfp4(const uint8_t *p)
{
	__m256i h = nvfp4_halves(p, 8);
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_mul_ps(_mm512_cvtph_ps(h), _mm512_set1_ps(128));
	return s;
}

PST_K_INLINE __m512i codes_nvfp4(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_NVFP4_BYTES * c + 4;
	__m512i v =
		_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)q));

	v = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 3, 2, 2, 1, 1, 0, 0),
				     v);
	v = _mm512_mask_srli_epi64(v, 0xaa, v, 4);
	v = _mm512_and_si512(v, _mm512_set1_epi8(15));
	return lookup512(v, pst_k_mxfp4_values, 12);
}

static const struct fmt512 fmt_nvfp4 = {
	.bytes = 4 * PST_K_NVFP4_BYTES,
	.offset = 12,
	.sub16 = true,
	.has_tail = true,
	.scales = scales_nvfp4,
	.codes = codes_nvfp4,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q1_0(const uint8_t *p)
{
	return lower512(q1_0_scales(p, 8));
}

/* 0 and 2 for -1 and 1 */
PST_K_INLINE __m512i codes_q1_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q1_0_BYTES * (c / 2) + 2 + 8 * (c % 2);

	return _mm512_maskz_mov_epi8(load_u64(q), _mm512_set1_epi8(2));
}

static const struct fmt512 fmt_q1_0 = {
	.bytes = 2 * PST_K_Q1_0_BYTES,
	.offset = 1,
	.has_tail = true,
	.scales = scales_q1_0,
	.codes = codes_q1_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q2_0(const uint8_t *p)
{
	return lower512(q2_0_scales(p, 8));
}

PST_K_INLINE __m512i codes_q2_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q2_0_BYTES * c + 2;

	return spread2_512(_mm_loadu_si128((const __m128i *)q));
}

static const struct fmt512 fmt_q2_0 = {
	.bytes = 4 * PST_K_Q2_0_BYTES,
	.offset = 1,
	.has_tail = true,
	.scales = scales_q2_0,
	.codes = codes_q2_0,
	.dot = dot_u8,
};

#endif
