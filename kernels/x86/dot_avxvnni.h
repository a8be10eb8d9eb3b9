/* SPDX-License-Identifier: MIT */
/*
 * Integer dot products of 32 bytes with AVX-VNNI.  Lane l of the result has the
 * products of bytes 4l..4l+3; all are exact.
 */
#ifndef PST_K_DOT_AVXVNNI_H
#define PST_K_DOT_AVXVNNI_H

#include "avx2_util.h"

/* Signed codes are made unsigned by adding this. */
#define DOT_I8_OFFSET 128

/* init + w . x, w unsigned */
PST_K_INLINE __m256i dot_u8(__m256i init, __m256i w, __m256i x)
{
	return _mm256_dpbusd_avx_epi32(init, w, x);
}

/* DOT_I8_OFFSET is in @w, and its product in @init, already. */
PST_K_INLINE __m256i dot_i8(__m256i init, __m256i w, __m256i x)
{
	return dot_u8(init, w, x);
}

/* init + the sum of @nr products */
PST_K_INLINE __m256i dots_u8(__m256i init, const __m256i *w, const __m256i *x,
			     int nr, int max)
{
	int j;

	(void)max;
#pragma GCC unroll 8
	for (j = 0; j < nr; j++)
		init = dot_u8(init, w[j], x[j]);
	return init;
}

#endif
