/* SPDX-License-Identifier: MIT */
/*
 * The formats with super-blocks of 256 weights for mul_q8_256_tmpl.h: Q2_K to
 * Q6_K and IQ4_XS.
 */
#ifndef PST_K_FMT_K_256_TMPL_H
#define PST_K_FMT_K_256_TMPL_H

#include "mul_q8_256_tmpl.h"
#include "scales_x86.h"

/* Eight scales and eight minima, see pst_k_unpack_k4(). */
PST_K_INLINE struct wscale scales_q4_k(const uint8_t *p, uint32_t nr)
{
	const uint32_t a = pst_k_load_u32(p + 4), b = pst_k_load_u32(p + 8);
	const uint32_t c = pst_k_load_u32(p + 12);
	const uint32_t sc_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
	const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
	__m128i sc = _mm_set_epi32(0, 0, (int)sc_hi, (int)(a & 0x3f3f3f3f));
	__m128i mn = _mm_set_epi32(0, 0, (int)mn_hi, (int)(b & 0x3f3f3f3f));
	__m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)pst_k_load_u32(p)));
	struct wscale s = NO_SCALES;

	(void)nr;
	s.scale = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(sc)),
				_mm256_broadcastss_ps(d));
	s.min = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mn)),
			      _mm256_broadcastss_ps(_mm_movehdup_ps(d)));
	return s;
}

PST_K_INLINE __m256i codes_q4_k(const uint8_t *p, uint32_t c)
{
	__m256i v =
		_mm256_loadu_si256((const __m256i *)(p + 16 + 32 * (c / 2)));

	if (c % 2)
		v = _mm256_srli_epi16(v, 4);
	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

static const struct fmt fmt_q4_k = {
	.bytes = PST_K_Q4_K_BYTES,
	.max = 15,
	.min = MIN32,
	.scales = scales_q4_k,
	.codes = codes_q4_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q6_k(const uint8_t *p, uint32_t nr)
{
	const __m256 d = _mm256_set1_ps(load_f16(p + 208));
	__m128i sc = _mm_loadu_si128((const __m128i *)(p + 192));
	struct wscale s = NO_SCALES;

	(void)nr;
	s.scale =
		_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc)), d);
	sc = _mm_srli_si128(sc, 8);
	s.scale_upper =
		_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc)), d);
	return s;
}

PST_K_INLINE __m256i codes_q6_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *ql = p + 64 * (c / 4) + 32 * (c % 2);
	const uint8_t *qh = p + 128 + 32 * (c / 4);
	__m256i low = _mm256_loadu_si256((const __m256i *)ql);
	__m256i high = _mm256_loadu_si256((const __m256i *)qh);

	/* The two upper bits come to rest at bits 4 and 5. */
	if (c % 4 == 0)
		high = _mm256_slli_epi16(high, 4);
	else if (c % 4 == 1)
		high = _mm256_slli_epi16(high, 2);
	else if (c % 4 == 3)
		high = _mm256_srli_epi16(high, 2);
	if (c % 4 >= 2)
		low = _mm256_srli_epi16(low, 4);
	return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
			       _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

static const struct fmt fmt_q6_k = {
	.bytes = PST_K_Q6_K_BYTES,
	.offset = 32,
	.max = 63,
	.sub16 = true,
	.scales = scales_q6_k,
	.codes = codes_q6_k,
	.dot = dot_u8,
};

/* @value in the bytes of 32 that have bit @c set. */
PST_K_INLINE __m256i high_bit(const uint8_t *p, uint32_t c, int value)
{
	const __m256i bit = _mm256_set1_epi8((char)(1 << c));
	__m256i v = _mm256_loadu_si256((const __m256i *)p);

	v = _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
	return _mm256_and_si256(v, _mm256_set1_epi8((char)value));
}

PST_K_INLINE __m256i codes_q5_k(const uint8_t *p, uint32_t c)
{
	return _mm256_or_si256(codes_q4_k(p + 32, c), high_bit(p + 16, c, 16));
}

/* The scales lie as those of Q4_K. */
static const struct fmt fmt_q5_k = {
	.bytes = PST_K_Q5_K_BYTES,
	.max = 31,
	.min = MIN32,
	.scales = scales_q4_k,
	.codes = codes_q5_k,
	.dot = dot_u8,
};

/* Eight of 16 integers in bytes, times @d. */
PST_K_INLINE __m256 bytes_ps(__m128i v, float d)
{
	return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(v)),
			     _mm256_set1_ps(d));
}

PST_K_INLINE struct wscale scales_q2_k(const uint8_t *p, uint32_t nr)
{
	const __m128i low = _mm_set1_epi8(15);
	__m128i v = _mm_loadu_si128((const __m128i *)p);
	__m128i sc = _mm_and_si128(v, low);
	__m128i mn = _mm_and_si128(_mm_srli_epi16(v, 4), low);
	float d = load_f16(p + 80), dmin = load_f16(p + 82);
	struct wscale s;

	(void)nr;
	s.scale = bytes_ps(sc, d);
	s.scale_upper = bytes_ps(_mm_srli_si128(sc, 8), d);
	s.min = bytes_ps(mn, dmin);
	s.min_upper = bytes_ps(_mm_srli_si128(mn, 8), dmin);
	return s;
}

PST_K_INLINE __m256i codes_q2_k(const uint8_t *p, uint32_t c)
{
	return pairs(p + 16, c);
}

static const struct fmt fmt_q2_k = {
	.bytes = PST_K_Q2_K_BYTES,
	.max = 3,
	.sub16 = true,
	.min = MIN16,
	.scales = scales_q2_k,
	.codes = codes_q2_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q3_k(const uint8_t *p, uint32_t nr)
{
	__m128i sc = k3_scales(p + 96);
	float d = load_f16(p + 108);
	struct wscale s = NO_SCALES;

	(void)nr;
	s.scale = bytes_ps(sc, d);
	s.scale_upper = bytes_ps(_mm_srli_si128(sc, 8), d);
	return s;
}

PST_K_INLINE __m256i codes_q3_k(const uint8_t *p, uint32_t c)
{
	return _mm256_or_si256(pairs(p + 32, c), high_bit(p, c, 4));
}

static const struct fmt fmt_q3_k = {
	.bytes = PST_K_Q3_K_BYTES,
	.offset = 4,
	.max = 7,
	.sub16 = true,
	.scales = scales_q3_k,
	.codes = codes_q3_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_iq4_xs(const uint8_t *p, uint32_t nr)
{
	struct wscale s = NO_SCALES;

	(void)nr;
	s.scale = _mm256_mul_ps(_mm256_cvtepi32_ps(iq4_xs_scales(p)),
				_mm256_set1_ps(load_f16(p)));
	return s;
}

PST_K_INLINE __m256i codes_iq4_xs(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + 8 + 16 * c), pst_k_iq4_values, DOT_I8_OFFSET);
}

static const struct fmt fmt_iq4_xs = {
	.bytes = PST_K_IQ4_XS_BYTES,
	.offset = DOT_I8_OFFSET,
	.scales = scales_iq4_xs,
	.codes = codes_iq4_xs,
	.dot = dot_i8,
};

#endif
