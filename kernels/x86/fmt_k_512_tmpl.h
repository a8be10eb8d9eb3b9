/* SPDX-License-Identifier: MIT */
/*
 * The formats with super-blocks of 256 weights for mul_q8_512_tmpl.h: Q2_K to
 * Q6_K and IQ4_XS.
 */
#ifndef PST_K_FMT_K_512_TMPL_H
#define PST_K_FMT_K_512_TMPL_H

#include "fmt_512_tmpl.h"
#include "scales_x86.h"

/* Eight scales and eight minima, see pst_k_unpack_k4(). */
PST_K_INLINE struct wscale512 scales_q4_k(const uint8_t *p)
{
	const uint32_t a = pst_k_load_u32(p + 4), b = pst_k_load_u32(p + 8);
	const uint32_t c = pst_k_load_u32(p + 12);
	const uint32_t sc_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
	const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
	__m128i bytes = _mm_set_epi32((int)mn_hi, (int)(b & 0x3f3f3f3f),
				      (int)sc_hi, (int)(a & 0x3f3f3f3f));
	__m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)pst_k_load_u32(p)));
	__m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
	__m512 both = _mm512_insertf32x8(
		_mm512_broadcastss_ps(d),
		_mm256_broadcastss_ps(_mm_movehdup_ps(d)), 1);
	struct wscale512 s;

	v = _mm512_mul_ps(v, both);
	s.scale = v;
	s.min = _mm512_zextps256_ps512(_mm512_extractf32x8_ps(v, 1));
	return s;
}

PST_K_INLINE __m512i codes_q4_k(const uint8_t *p, uint32_t c)
{
	__m512i v = _mm512_broadcast_i64x4(
		_mm256_loadu_si256((const __m256i *)(p + 16 + 32 * c)));

	v = _mm512_mask_srli_epi16(v, 0xffff0000, v, 4);
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

static const struct fmt512 fmt_q4_k = {
	.bytes = PST_K_Q4_K_BYTES,
	.min = MIN32,
	.scales = scales_q4_k,
	.codes = codes_q4_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q6_k(const uint8_t *p)
{
	__m128i sc = _mm_loadu_si128((const __m128i *)(p + 192));
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sc)),
				_mm512_set1_ps(load_f16(p + 208)));
	return s;
}

/* Chunks 0 and 2 are the low nibbles of 64 bytes, 1 and 3 the high ones. */
PST_K_INLINE __m512i codes_q6_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *qh = p + 128 + 32 * (c / 2);
	__m512i low = _mm512_loadu_si512(p + 64 * (c / 2));
	__m512i high =
		_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)qh));

	if (c % 2) {
		low = _mm512_srli_epi16(low, 4);
		high = _mm512_mask_srli_epi16(high, 0xffff0000, high, 2);
	} else {
		high = _mm512_sllv_epi16(
			high, _mm512_inserti64x4(_mm512_set1_epi16(4),
						 _mm256_set1_epi16(2), 1));
	}
	low = _mm512_and_si512(low, _mm512_set1_epi8(15));
	/* low | (high & 0x30) */
	return _mm512_ternarylogic_epi64(low, high, _mm512_set1_epi8(0x30),
					 0xf8);
}

static const struct fmt512 fmt_q6_k = {
	.bytes = PST_K_Q6_K_BYTES,
	.offset = 32,
	.sub16 = true,
	.scales = scales_q6_k,
	.codes = codes_q6_k,
	.dot = dot_u8,
};

/* Bit 2 c of each byte at @p for the lower 32 weights of chunk @c, bit
 * 2 c + 1 for the upper ones. */
PST_K_INLINE __mmask64 high_bits512(const uint8_t *p, uint32_t c)
{
	const __m256i bit = _mm256_set1_epi8((char)(1 << 2 * c));
	const __m256i next = _mm256_set1_epi8((char)(2 << 2 * c));
	__m512i v =
		_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)p));

	return _mm512_test_epi8_mask(
		v, _mm512_inserti64x4(_mm512_castsi256_si512(bit), next, 1));
}

PST_K_INLINE __m512i codes_q5_k(const uint8_t *p, uint32_t c)
{
	__m512i v = codes_q4_k(p + 32, c);

	return _mm512_mask_add_epi8(v, high_bits512(p + 16, c), v,
				    _mm512_set1_epi8(16));
}

/* The scales lie as those of Q4_K. */
static const struct fmt512 fmt_q5_k = {
	.bytes = PST_K_Q5_K_BYTES,
	.min = MIN32,
	.scales = scales_q4_k,
	.codes = codes_q5_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q2_k(const uint8_t *p)
{
	const __m128i low = _mm_set1_epi8(15);
	__m128i v = _mm_loadu_si128((const __m128i *)p);
	__m128i sc = _mm_and_si128(v, low);
	__m128i mn = _mm_and_si128(_mm_srli_epi16(v, 4), low);
	struct wscale512 s;

	s.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(sc)),
				_mm512_set1_ps(load_f16(p + 80)));
	s.min = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(mn)),
			      _mm512_set1_ps(load_f16(p + 82)));
	return s;
}

PST_K_INLINE __m512i codes_q2_k(const uint8_t *p, uint32_t c)
{
	return pairs512(p + 16, c);
}

static const struct fmt512 fmt_q2_k = {
	.bytes = PST_K_Q2_K_BYTES,
	.sub16 = true,
	.min = MIN16,
	.scales = scales_q2_k,
	.codes = codes_q2_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q3_k(const uint8_t *p)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_mul_ps(
		_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(k3_scales(p + 96))),
		_mm512_set1_ps(load_f16(p + 108)));
	return s;
}

PST_K_INLINE __m512i codes_q3_k(const uint8_t *p, uint32_t c)
{
	__m512i v = pairs512(p + 32, c);

	return _mm512_mask_add_epi8(v, high_bits512(p, c), v,
				    _mm512_set1_epi8(4));
}

static const struct fmt512 fmt_q3_k = {
	.bytes = PST_K_Q3_K_BYTES,
	.offset = 4,
	.sub16 = true,
	.scales = scales_q3_k,
	.codes = codes_q3_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_iq4_xs(const uint8_t *p)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };
	__m256 d = _mm256_set1_ps(load_f16(p));

	d = _mm256_mul_ps(_mm256_cvtepi32_ps(iq4_xs_scales(p)), d);
	s.scale = _mm512_zextps256_ps512(d);
	return s;
}

PST_K_INLINE __m512i codes_iq4_xs(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + 8 + 32 * c;

	return lookup512(nibbles512(b, b + 16), pst_k_iq4_values,
			 DOT_I8_OFFSET);
}

static const struct fmt512 fmt_iq4_xs = {
	.bytes = PST_K_IQ4_XS_BYTES,
	.offset = DOT_I8_OFFSET,
	.scales = scales_iq4_xs,
	.codes = codes_iq4_xs,
	.dot = dot_i8,
};

#endif
