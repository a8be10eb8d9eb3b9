/* SPDX-License-Identifier: MIT */
/*
 * Integer dot products of 64 bytes with VNNI.  Lane l of the result has the
 * products of bytes 4l..4l+3; all are exact.
 */
#ifndef PST_K_DOT_VNNI_H
#define PST_K_DOT_VNNI_H

#include "avx512_util.h"

/* Signed codes are made unsigned by adding this. */
#define DOT_I8_OFFSET 128

/* init + w . x, w unsigned */
PST_K_INLINE __m512i dot_u8(__m512i init, __m512i w, __m512i x)
{
	return _mm512_dpbusd_epi32(init, w, x);
}

/* DOT_I8_OFFSET is in @w, and its product in @init, already. */
PST_K_INLINE __m512i dot_i8(__m512i init, __m512i w, __m512i x)
{
	return dot_u8(init, w, x);
}

#endif
