/* SPDX-License-Identifier: MIT */
/*
 * Integer dot products of 64 bytes without VNNI.  Lane l of the result has the
 * products of bytes 4l..4l+3; all are exact.
 */
#ifndef PST_K_DOT_AVX512_H
#define PST_K_DOT_AVX512_H

#include "avx512_util.h"

/* Signed codes are used as they are, see dot_i8(). */
#define DOT_I8_OFFSET 0

/* init + w . x with w <= 128, so that two products fit in 16 bits. */
PST_K_INLINE __m512i dot_u8(__m512i init, __m512i w, __m512i x)
{
	__m512i pairs = _mm512_maddubs_epi16(w, x);

	return _mm512_add_epi32(init,
				_mm512_madd_epi16(pairs, _mm512_set1_epi16(1)));
}

/* Signed codes: the sign of w moves to x. */
PST_K_INLINE __m512i dot_i8(__m512i init, __m512i w, __m512i x)
{
	__mmask64 neg = _mm512_movepi8_mask(w);

	x = _mm512_mask_sub_epi8(x, neg, _mm512_setzero_si512(), x);
	return dot_u8(init, _mm512_abs_epi8(w), x);
}

#endif
