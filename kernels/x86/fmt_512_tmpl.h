/* SPDX-License-Identifier: MIT */
/*
 * Steps of decoding that several formats share, on 512-bit vectors.
 */
#ifndef PST_K_FMT_512_TMPL_H
#define PST_K_FMT_512_TMPL_H

#include "mul_q8_512_tmpl.h"
#include "scales_x86.h"

/* Half-precision scales of blocks @bytes apart. */
PST_K_INLINE struct wscale512 block_scales512(const uint8_t *p, uint32_t bytes)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	s.scale = _mm512_zextps256_ps512(
		_mm256_cvtph_ps(block_halves(p, 8, bytes)));
	return s;
}

/* 16 bytes of each of two blocks: their low, then their high nibbles. */
PST_K_INLINE __m512i nibbles512(const uint8_t *p0, const uint8_t *p1)
{
	__m256i q =
		_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p0));
	__m512i v;

	q = _mm256_inserti128_si256(q, _mm_loadu_si128((const __m128i *)p1), 1);
	v = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0),
				     _mm512_castsi256_si512(q));
	v = _mm512_mask_srli_epi16(v, 0xff00ff00, v, 4);
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

/* What nibbles stand for, with an offset that makes the dot product's codes. */
PST_K_INLINE __m512i lookup512(__m512i nibbles, const int8_t values[16],
			       int offset)
{
	__m128i table = _mm_loadu_si128((const __m128i *)values);

	table = _mm_add_epi8(table, _mm_set1_epi8((char)offset));
	return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(table), nibbles);
}

/* Two bits of each weight of chunk @c; 32 bytes hold two chunks. */
PST_K_INLINE __m512i pairs512(const uint8_t *qs, uint32_t c)
{
	const __m256i lower = _mm256_set1_epi16((short)(4 * (c % 2)));
	const __m256i upper = _mm256_set1_epi16((short)(4 * (c % 2) + 2));
	__m512i v = _mm512_broadcast_i64x4(
		_mm256_loadu_si256((const __m256i *)(qs + 32 * (c / 2))));

	v = _mm512_srlv_epi16(
		v, _mm512_inserti64x4(_mm512_castsi256_si512(lower), upper, 1));
	return _mm512_and_si512(v, _mm512_set1_epi8(3));
}

#endif
