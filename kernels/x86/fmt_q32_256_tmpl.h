/* SPDX-License-Identifier: MIT */
/*
 * The formats with blocks of 32 weights for mul_q8_256_tmpl.h: Q8_0, Q4_0,
 * Q4_1, Q5_0, Q5_1, IQ4_NL and MXFP4.  A row may end within 256 weights.
 */
#ifndef PST_K_FMT_Q32_256_TMPL_H
#define PST_K_FMT_Q32_256_TMPL_H

#include "mul_q8_256_tmpl.h"
#include "scales_x86.h"

/* Half-precision scales of blocks @bytes apart. */
PST_K_INLINE struct wscale block_scales(const uint8_t *p, uint32_t nr,
					uint32_t bytes)
{
	struct wscale s = NO_SCALES;

	s.scale = _mm256_cvtph_ps(block_halves(p, nr, bytes));
	return s;
}

PST_K_INLINE struct wscale scales_q8_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q8_0_BYTES);
}

PST_K_INLINE __m256i codes_q8_0(const uint8_t *p, uint32_t c)
{
	__m256i v = _mm256_loadu_si256(
		(const __m256i *)(p + c * PST_K_Q8_0_BYTES + 2));

	return _mm256_xor_si256(v, _mm256_set1_epi8((char)DOT_I8_OFFSET));
}

static const struct fmt fmt_q8_0 = {
	.bytes = 8 * PST_K_Q8_0_BYTES,
	.offset = DOT_I8_OFFSET,
	.has_tail = true,
	.scales = scales_q8_0,
	.codes = codes_q8_0,
	.dot = dot_i8,
};

PST_K_INLINE struct wscale scales_q4_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q4_0_BYTES);
}

PST_K_INLINE __m256i codes_q4_0(const uint8_t *p, uint32_t c)
{
	return nibbles(p + c * PST_K_Q4_0_BYTES + 2);
}

static const struct fmt fmt_q4_0 = {
	.bytes = 8 * PST_K_Q4_0_BYTES,
	.offset = 8,
	.max = 15,
	.has_tail = true,
	.scales = scales_q4_0,
	.codes = codes_q4_0,
	.dot = dot_u8,
};

/* Of the weights d q + m, m is the minimum with the other sign. */
PST_K_INLINE struct wscale affine_scales(const uint8_t *p, uint32_t nr,
					 uint32_t bytes)
{
	struct wscale s = block_scales(p, nr, bytes);
	__m256 m = block_scales(p + 2, nr, bytes).scale;

	s.min = _mm256_sub_ps(_mm256_setzero_ps(), m);
	return s;
}

PST_K_INLINE struct wscale scales_q4_1(const uint8_t *p, uint32_t nr)
{
	return affine_scales(p, nr, PST_K_Q4_1_BYTES);
}

PST_K_INLINE __m256i codes_q4_1(const uint8_t *p, uint32_t c)
{
	return nibbles(p + c * PST_K_Q4_1_BYTES + 4);
}

static const struct fmt fmt_q4_1 = {
	.bytes = 8 * PST_K_Q4_1_BYTES,
	.max = 15,
	.min = MIN32,
	.has_tail = true,
	.scales = scales_q4_1,
	.codes = codes_q4_1,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q5_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q5_0_BYTES);
}

/* Fifth bits in a word at @b, the nibbles behind it. */
PST_K_INLINE __m256i fives(const uint8_t *b)
{
	const __m256i spread = _mm256_set_epi64x(
		0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201ULL);
	__m256i high = _mm256_set1_epi32((int)pst_k_load_u32(b));

	high = _mm256_and_si256(_mm256_shuffle_epi8(high, spread), bit);
	high = _mm256_and_si256(_mm256_cmpeq_epi8(high, bit),
				_mm256_set1_epi8(16));
	return _mm256_or_si256(nibbles(b + 4), high);
}

PST_K_INLINE __m256i codes_q5_0(const uint8_t *p, uint32_t c)
{
	return fives(p + c * PST_K_Q5_0_BYTES + 2);
}

static const struct fmt fmt_q5_0 = {
	.bytes = 8 * PST_K_Q5_0_BYTES,
	.offset = 16,
	.max = 31,
	.has_tail = true,
	.scales = scales_q5_0,
	.codes = codes_q5_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q5_1(const uint8_t *p, uint32_t nr)
{
	return affine_scales(p, nr, PST_K_Q5_1_BYTES);
}

PST_K_INLINE __m256i codes_q5_1(const uint8_t *p, uint32_t c)
{
	return fives(p + c * PST_K_Q5_1_BYTES + 4);
}

static const struct fmt fmt_q5_1 = {
	.bytes = 8 * PST_K_Q5_1_BYTES,
	.max = 31,
	.min = MIN32,
	.has_tail = true,
	.scales = scales_q5_1,
	.codes = codes_q5_1,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_iq4_nl(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_IQ4_NL_BYTES);
}

PST_K_INLINE __m256i codes_iq4_nl(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + c * PST_K_IQ4_NL_BYTES + 2), pst_k_iq4_values,
		      DOT_I8_OFFSET);
}

static const struct fmt fmt_iq4_nl = {
	.bytes = 8 * PST_K_IQ4_NL_BYTES,
	.offset = DOT_I8_OFFSET,
	.has_tail = true,
	.scales = scales_iq4_nl,
	.codes = codes_iq4_nl,
	.dot = dot_i8,
};

/* As pst_k_mxfp4_scale(). */
PST_K_INLINE struct wscale scales_mxfp4(const uint8_t *p, uint32_t nr)
{
	struct wscale s = NO_SCALES;
	__m256i e, normal, tiny;
	uint64_t bytes = 0;
	uint32_t i;

#pragma GCC unroll 8
	for (i = 0; i < 8; i++)
		if (i < nr)
			bytes |= (uint64_t)p[i * PST_K_MXFP4_BYTES] << 8 * i;
	e = _mm256_cvtepu8_epi32(_mm_cvtsi64_si128((int64_t)bytes));
	normal = _mm256_slli_epi32(_mm256_sub_epi32(e, _mm256_set1_epi32(1)),
				   23);
	tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
	e = _mm256_blendv_epi8(normal, tiny,
			       _mm256_cmpgt_epi32(_mm256_set1_epi32(2), e));
	s.scale = _mm256_castsi256_ps(e);
	return s;
}

PST_K_INLINE __m256i codes_mxfp4(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + c * PST_K_MXFP4_BYTES + 1),
		      pst_k_mxfp4_values, 12);
}

static const struct fmt fmt_mxfp4 = {
	.bytes = 8 * PST_K_MXFP4_BYTES,
	.offset = 12,
	.max = 24,
	.has_tail = true,
	.scales = scales_mxfp4,
	.codes = codes_mxfp4,
	.dot = dot_u8,
};

#endif
