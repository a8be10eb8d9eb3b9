/* SPDX-License-Identifier: MIT */
/*
 * Integer dot products of 32 bytes without VNNI.  Lane l of the result has the
 * products of bytes 4l..4l+3; all are exact.
 */
#ifndef PST_K_DOT_AVX2_H
#define PST_K_DOT_AVX2_H

#include "avx2_util.h"

/* Signed codes are used as they are, see dot_i8(). */
#define DOT_I8_OFFSET 0

/* init + w . x with w <= 128, so that two products fit in 16 bits. */
PST_K_INLINE __m256i dot_u8(__m256i init, __m256i w, __m256i x)
{
	__m256i pairs = _mm256_maddubs_epi16(w, x);

	return _mm256_add_epi32(init,
				_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
}

/* Signed codes: the sign of w moves to x. */
PST_K_INLINE __m256i dot_i8(__m256i init, __m256i w, __m256i x)
{
	return dot_u8(init, _mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/*
 * init + the sum of @nr products, 4 or 8, of codes of at most @max.  Two
 * products take max x 2 x 127 of 16 bits: small codes are added up there, four
 * at most, since longer runs wait for each other.
 */
PST_K_INLINE __m256i dots_u8(__m256i init, const __m256i *w, const __m256i *x,
			     int nr, int max)
{
	const int run = max <= 32 ? 4 : max <= 64 ? 2 : 1;
	__m256i pairs = _mm256_setzero_si256();
	int j;

#pragma GCC unroll 8
	for (j = 0; j < nr; j++) {
		__m256i two = _mm256_maddubs_epi16(w[j], x[j]);

		pairs = j % run ? _mm256_add_epi16(pairs, two) : two;
		if (j % run == run - 1)
			init = _mm256_add_epi32(
				init,
				_mm256_madd_epi16(pairs, _mm256_set1_epi16(1)));
	}
	return init;
}

#endif
