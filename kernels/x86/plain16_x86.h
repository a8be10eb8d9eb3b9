/* SPDX-License-Identifier: MIT */
/*
 * What the sets share of the formats of pst_k16.h that have no code book:
 * scales, and the bytes of TQ1_0.  AVX2, for every x86 file.
 */
#ifndef PST_K_PLAIN16_X86_H
#define PST_K_PLAIN16_X86_H

#include <immintrin.h>

#include "pst_k16.h"
#include "pst_tile.h"

/* A byte of TQ1_0 times its power of 3 stands for 1 and 2 from here on. */
enum {
	TQ1_0_ONE = 86,
	TQ1_0_TWO = 171
};

#define TQ1_0_16(n) n, n, n, n, n, n, n, n, n, n, n, n, n, n, n, n
#define TQ1_0_32(n) TQ1_0_16(n), TQ1_0_16(n)

/* The power of 3 of each weight. */
static const uint8_t tq1_0_pow3[PST_K_SUPER] = {
	TQ1_0_32(1),
	TQ1_0_32(3),
	TQ1_0_32(9),
	TQ1_0_32(27),
	TQ1_0_32(81),
	TQ1_0_16(1),
	TQ1_0_16(3),
	TQ1_0_16(9),
	TQ1_0_16(27),
	TQ1_0_16(81),
	1,
	1,
	1,
	1,
	3,
	3,
	3,
	3,
	9,
	9,
	9,
	9,
	27,
	27,
	27,
	27,
};

/* The byte that holds each weight of block @b of 32. */
PST_K_INLINE __m256i tq1_0_bytes(const uint8_t *p, uint32_t b)
{
	__m128i v;

	if (b < 5)
		return _mm256_loadu_si256((const __m256i *)p);
	v = _mm_loadu_si128((const __m128i *)(p + 32));
	if (b < 7)
		return _mm256_broadcastsi128_si256(v);
	return _mm256_set_m128i(_mm_set1_epi32((int)pst_k_load_u32(p + 48)), v);
}

/*
 * The scales of 16 of NVFP4 as half-precision numbers, which have the same
 * exponents 7 lower; zero for those that are not NaN but would be, and past
 * the @nr blocks of 32.
 */
PST_K_INLINE __m256i nvfp4_halves(const uint8_t *p, uint32_t nr)
{
	__m128i s = _mm_setzero_si128();
	uint32_t part[4] = { 0 }, i;

#pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		if (2 * i < nr)
			part[i] = pst_k_load_u32(p + i * PST_K_NVFP4_BYTES);
	s = _mm_set_epi32((int)part[3], (int)part[2], (int)part[1],
			  (int)part[0]);
	s = _mm_andnot_si128(_mm_cmpeq_epi8(s, _mm_set1_epi8(0x7f)), s);
	s = _mm_and_si128(s, _mm_set1_epi8(0x7f));
	return _mm256_slli_epi16(_mm256_cvtepu8_epi16(s), 7);
}

/* One scale for each 32 of the first @nr; a block has four. */
PST_K_INLINE __m256 q1_0_scales(const uint8_t *p, uint32_t nr)
{
	__m128 lower = _mm_set1_ps(_cvtsh_ss(pst_k_load_u16(p)));
	__m128 upper = _mm_setzero_ps();

	if (nr > 4)
		upper = _mm_set1_ps(
			_cvtsh_ss(pst_k_load_u16(p + PST_K_Q1_0_BYTES)));
	return _mm256_set_m128(upper, lower);
}

/* The same; a block has two. */
PST_K_INLINE __m256 q2_0_scales(const uint8_t *p, uint32_t nr)
{
	const __m128i twice =
		_mm_set_epi8(7, 6, 7, 6, 5, 4, 5, 4, 3, 2, 3, 2, 1, 0, 1, 0);
	uint64_t h = 0;
	uint32_t i;

#pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		if (2 * i < nr)
			h |= (uint64_t)pst_k_load_u16(p + i * PST_K_Q2_0_BYTES)
			     << 16 * i;
	return _mm256_cvtph_ps(
		_mm_shuffle_epi8(_mm_cvtsi64_si128((int64_t)h), twice));
}

#endif
