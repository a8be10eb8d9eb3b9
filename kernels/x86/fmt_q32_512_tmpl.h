/* SPDX-License-Identifier: MIT */
/*
 * The formats with blocks of 32 weights for mul_q8_512_tmpl.h: Q8_0, Q4_0,
 * Q4_1, Q5_0, Q5_1, IQ4_NL and MXFP4.  A row may end within 256 weights.
 */
#ifndef PST_K_FMT_Q32_512_TMPL_H
#define PST_K_FMT_Q32_512_TMPL_H

#include "fmt_512_tmpl.h"

PST_K_INLINE struct wscale512 scales_q8_0(const uint8_t *p)
{
	return block_scales512(p, PST_K_Q8_0_BYTES);
}

PST_K_INLINE __m512i codes_q8_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 2 * c * PST_K_Q8_0_BYTES;
	const uint8_t *next = b + PST_K_Q8_0_BYTES;
	__m512i v = _mm512_castsi256_si512(
		_mm256_loadu_si256((const __m256i *)(b + 2)));

	v = _mm512_inserti64x4(
		v, _mm256_loadu_si256((const __m256i *)(next + 2)), 1);
	return _mm512_xor_si512(v, _mm512_set1_epi8((char)DOT_I8_OFFSET));
}

static const struct fmt512 fmt_q8_0 = {
	.bytes = 8 * PST_K_Q8_0_BYTES,
	.has_tail = true,
	.offset = DOT_I8_OFFSET,
	.scales = scales_q8_0,
	.codes = codes_q8_0,
	.dot = dot_i8,
};

PST_K_INLINE struct wscale512 scales_q4_0(const uint8_t *p)
{
	return block_scales512(p, PST_K_Q4_0_BYTES);
}

PST_K_INLINE __m512i codes_q4_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 2 * c * PST_K_Q4_0_BYTES + 2;

	return nibbles512(b, b + PST_K_Q4_0_BYTES);
}

static const struct fmt512 fmt_q4_0 = {
	.bytes = 8 * PST_K_Q4_0_BYTES,
	.has_tail = true,
	.offset = 8,
	.scales = scales_q4_0,
	.codes = codes_q4_0,
	.dot = dot_u8,
};

/* 32 bits each, @bytes apart; by inserts, since gcc would put them together on
 * the stack, which is waited for.
 */
PST_K_INLINE __m128i four_words(const uint8_t *p, uint32_t bytes)
{
	__m128i v = _mm_cvtsi32_si128((int)pst_k_load_u32(p));

	v = _mm_insert_epi32(v, (int)pst_k_load_u32(p + bytes), 1);
	v = _mm_insert_epi32(v, (int)pst_k_load_u32(p + 2 * bytes), 2);
	return _mm_insert_epi32(v, (int)pst_k_load_u32(p + 3 * bytes), 3);
}

/*
 * Blocks @bytes apart that begin with d and m of the weights d q + m: m is the
 * minimum with the other sign.
 */
PST_K_INLINE struct wscale512 affine_scales512(const uint8_t *p, uint32_t bytes)
{
	const __m512i apart = _mm512_set_epi32(15, 13, 11, 9, 7, 5, 3, 1, 14,
					       12, 10, 8, 6, 4, 2, 0);
	__m256i h = _mm256_set_m128i(four_words(p + 4 * bytes, bytes),
				     four_words(p, bytes));
	struct wscale512 s = { .scale = _mm512_permutexvar_ps(
				       apart, _mm512_cvtph_ps(h)) };
	__m512 m = _mm512_zextps256_ps512(_mm512_extractf32x8_ps(s.scale, 1));

	s.min = _mm512_sub_ps(_mm512_setzero_ps(), m);
	return s;
}

PST_K_INLINE struct wscale512 scales_q4_1(const uint8_t *p)
{
	return affine_scales512(p, PST_K_Q4_1_BYTES);
}

PST_K_INLINE __m512i codes_q4_1(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 2 * c * PST_K_Q4_1_BYTES + 4;

	return nibbles512(b, b + PST_K_Q4_1_BYTES);
}

static const struct fmt512 fmt_q4_1 = {
	.bytes = 8 * PST_K_Q4_1_BYTES,
	.has_tail = true,
	.min = MIN32,
	.scales = scales_q4_1,
	.codes = codes_q4_1,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q5_0(const uint8_t *p)
{
	return block_scales512(p, PST_K_Q5_0_BYTES);
}

/* Two blocks whose fifth bits are at @b0, their nibbles behind them. */
PST_K_INLINE __m512i fives512(const uint8_t *b0, uint32_t bytes)
{
	const uint8_t *b1 = b0 + bytes;
	uint64_t high = pst_k_load_u32(b0);
	__m512i v;

	high |= (uint64_t)pst_k_load_u32(b1) << 32;
	v = nibbles512(b0 + 4, b1 + 4);
	return _mm512_mask_add_epi8(v, high, v, _mm512_set1_epi8(16));
}

PST_K_INLINE __m512i codes_q5_0(const uint8_t *p, uint32_t c)
{
	return fives512(p + 2 * c * PST_K_Q5_0_BYTES + 2, PST_K_Q5_0_BYTES);
}

static const struct fmt512 fmt_q5_0 = {
	.bytes = 8 * PST_K_Q5_0_BYTES,
	.has_tail = true,
	.offset = 16,
	.scales = scales_q5_0,
	.codes = codes_q5_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q5_1(const uint8_t *p)
{
	return affine_scales512(p, PST_K_Q5_1_BYTES);
}

PST_K_INLINE __m512i codes_q5_1(const uint8_t *p, uint32_t c)
{
	return fives512(p + 2 * c * PST_K_Q5_1_BYTES + 4, PST_K_Q5_1_BYTES);
}

static const struct fmt512 fmt_q5_1 = {
	.bytes = 8 * PST_K_Q5_1_BYTES,
	.has_tail = true,
	.min = MIN32,
	.scales = scales_q5_1,
	.codes = codes_q5_1,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_iq4_nl(const uint8_t *p)
{
	return block_scales512(p, PST_K_IQ4_NL_BYTES);
}

PST_K_INLINE __m512i codes_iq4_nl(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 2 * c * PST_K_IQ4_NL_BYTES + 2;
	__m512i v = nibbles512(b, b + PST_K_IQ4_NL_BYTES);

	return lookup512(v, pst_k_iq4_values, DOT_I8_OFFSET);
}

static const struct fmt512 fmt_iq4_nl = {
	.bytes = 8 * PST_K_IQ4_NL_BYTES,
	.has_tail = true,
	.offset = DOT_I8_OFFSET,
	.scales = scales_iq4_nl,
	.codes = codes_iq4_nl,
	.dot = dot_i8,
};

/* As pst_k_mxfp4_scale(). */
PST_K_INLINE struct wscale512 scales_mxfp4(const uint8_t *p)
{
	const __m256i two = _mm256_set1_epi32(2);
	struct wscale512 s = { .min = _mm512_setzero_ps() };
	__m256i e, normal, tiny;
	uint64_t bytes = 0;
	uint32_t i;

#pragma GCC unroll 8
	for (i = 0; i < 8; i++)
		bytes |= (uint64_t)p[i * PST_K_MXFP4_BYTES] << 8 * i;
	e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
	normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)),
				   23);
	tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
	e = _mm256_mask_mov_epi32(normal, _mm256_cmplt_epi32_mask(e, two),
				  tiny);
	s.scale = _mm512_zextps256_ps512(_mm256_castsi256_ps(e));
	return s;
}

PST_K_INLINE __m512i codes_mxfp4(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 2 * c * PST_K_MXFP4_BYTES + 1;
	__m512i v = nibbles512(b, b + PST_K_MXFP4_BYTES);

	return lookup512(v, pst_k_mxfp4_values, 12);
}

static const struct fmt512 fmt_mxfp4 = {
	.bytes = 8 * PST_K_MXFP4_BYTES,
	.has_tail = true,
	.offset = 12,
	.scales = scales_mxfp4,
	.codes = codes_mxfp4,
	.dot = dot_u8,
};

#endif
