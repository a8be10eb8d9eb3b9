/* SPDX-License-Identifier: MIT */
/*
 * The formats of pst_k16.h for mul_q8_512_tmpl.h: the code books IQ1, IQ2 and
 * IQ3, the ternary and binary formats, and NVFP4.
 */
#ifndef PST_K_FMT_K16_512_TMPL_H
#define PST_K_FMT_K16_512_TMPL_H

#include "books_x86.h"
#include "fmt_512_tmpl.h"
#include "plain16_x86.h"

/* Codes of the books, of at most 62, are made unsigned by adding this. */
#define BOOK_OFFSET 64

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

/* Of 3 bits, four in 16 bits. */
PST_K_INLINE __m512i spread3_512(struct book64 b)
{
	__m512i x = _mm512_cvtepu16_epi32(
		_mm256_set_m128i(b.digits[1], b.digits[0]));

	x = merge512(x, _mm512_slli_epi32(x, 10), 0x003f003f);
	return merge512(x, _mm512_slli_epi32(x, 5), 0x07070707);
}

/* Eight values in each 128 bits, the offset added. */
PST_K_INLINE __m512i value512(__m512i digits, int64_t values)
{
	__m512i table = _mm512_add_epi8(_mm512_set1_epi64(values),
					_mm512_set1_epi8(BOOK_OFFSET));

	return _mm512_shuffle_epi8(table, digits);
}

/* Mirrored at the offset where a sign is set. */
PST_K_INLINE __m512i negate512(__m512i v, uint64_t signs)
{
	return _mm512_mask_sub_epi8(
		v, signs, _mm512_set1_epi8((char)(2 * BOOK_OFFSET)), v);
}

PST_K_INLINE __m512i book512_iq2(struct book64 b)
{
	__m512i v = spread2_512(_mm_unpacklo_epi64(b.digits[0], b.digits[1]));

	return negate512(value512(v, PST_K16_IQ2_VALUES), b.signs);
}

PST_K_INLINE __m512i book512_iq3_xxs(struct book64 b)
{
	return negate512(value512(spread3_512(b), PST_K16_IQ3_XXS_VALUES),
			 b.signs);
}

PST_K_INLINE __m512i book512_iq3_s(struct book64 b)
{
	return negate512(value512(spread3_512(b), PST_K16_IQ3_S_VALUES),
			 b.signs);
}

/* The sign takes an eighth away instead of adding it: 2 in these codes. */
PST_K_INLINE __m512i book512_iq1(struct book64 b)
{
	__m512i v = spread2_512(_mm_unpacklo_epi64(b.digits[0], b.digits[1]));

	v = value512(v, PST_K16_IQ1_VALUES);
	return _mm512_mask_sub_epi8(v, b.signs, v, _mm512_set1_epi8(2));
}

PST_K_INLINE struct wscale512 book_scale512(struct book_scales b)
{
	__m512i v =
		_mm512_inserti64x4(_mm512_castsi256_si512(b.lower), b.upper, 1);
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	v = _mm512_add_epi32(_mm512_add_epi32(v, v), _mm512_set1_epi32(1));
	s.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(b.d));
	return s;
}

#define DEFINE_BOOK512(type, name, kind, by16)                           \
	PST_K_INLINE struct wscale512 scales512_##name(const uint8_t *p, \
						       uint32_t nr)      \
	{                                                                \
		(void)nr;                                                \
		return book_scale512(scales_##name(p));                  \
	}                                                                \
                                                                         \
	PST_K_INLINE __m512i codes_##name(const uint8_t *p, uint32_t c,  \
					  uint32_t nr)                   \
	{                                                                \
		(void)nr;                                                \
		return book512_##kind(book_##name(p, c));                \
	}                                                                \
                                                                         \
	static const struct fmt512 fmt_##name = {                        \
		.bytes = PST_K_##type##_BYTES,                           \
		.offset = BOOK_OFFSET,                                   \
		.sub16 = by16,                                           \
		.scales = scales512_##name,                              \
		.codes = codes_##name,                                   \
		.dot = dot_u8,                                           \
	};

PST_K_BOOK_TYPES(DEFINE_BOOK512)

/* One scale of 32 weights each, in the lower lanes. */
PST_K_INLINE struct wscale512 lower512(__m256 scale)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_zextps256_ps512(scale);
	return s;
}

PST_K_INLINE struct wscale512 scales_tq2_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return lower512(_mm256_set1_ps(load_f16(p + 64)));
}

PST_K_INLINE __m512i codes_tq2_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	(void)nr;
	return pairs512(p, c);
}

static const struct fmt512 fmt_tq2_0 = {
	.bytes = PST_K_TQ2_0_BYTES,
	.offset = 1,
	.scales = scales_tq2_0,
	.codes = codes_tq2_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_tq1_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return lower512(_mm256_set1_ps(load_f16(p + 52)));
}

PST_K_INLINE __m512i codes_tq1_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const __m512i one = _mm512_set1_epi8(1);
	__m512i v = _mm512_inserti64x4(
		_mm512_castsi256_si512(tq1_0_bytes(p, 2 * c)),
		tq1_0_bytes(p, 2 * c + 1), 1);
	__m512i pow = _mm512_loadu_si512(tq1_0_pow3 + 64 * c);
	__m512i even = _mm512_mullo_epi16(v, pow);
	__m512i odd = _mm512_mullo_epi16(_mm512_srli_epi16(v, 8),
					 _mm512_srli_epi16(pow, 8));

	(void)nr;
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

PST_K_INLINE struct wscale512 scales_nvfp4(const uint8_t *p, uint32_t nr)
{
	__m256i h = nvfp4_halves(p, nr);
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_mul_ps(_mm512_cvtph_ps(h), _mm512_set1_ps(128));
	return s;
}

PST_K_INLINE __m512i codes_nvfp4(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *q = p + PST_K_NVFP4_BYTES * c + 4;
	__m512i v =
		_mm512_castsi256_si512(_mm256_loadu_si256((const __m256i *)q));

	(void)nr;
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

PST_K_INLINE struct wscale512 scales_q1_0(const uint8_t *p, uint32_t nr)
{
	return lower512(q1_0_scales(p, nr));
}

/* 0 and 2 for -1 and 1 */
PST_K_INLINE __m512i codes_q1_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *q = p + PST_K_Q1_0_BYTES * (c / 2) + 2 + 8 * (c % 2);

	(void)nr;
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

PST_K_INLINE struct wscale512 scales_q2_0(const uint8_t *p, uint32_t nr)
{
	return lower512(q2_0_scales(p, nr));
}

PST_K_INLINE __m512i codes_q2_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *q = p + PST_K_Q2_0_BYTES * c + 2;

	(void)nr;
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
