/* SPDX-License-Identifier: MIT */
/*
 * Small helpers of the AVX2 kernels (AVX2, FMA, F16C).
 */
#ifndef PST_K_AVX2_UTIL_H
#define PST_K_AVX2_UTIL_H

#include <immintrin.h>

#include "pst_tile.h"

PST_K_INLINE float load_f16(const void *p)
{
	return _cvtsh_ss(pst_k_load_u16(p));
}

PST_K_INLINE float load_bf16(const void *p)
{
	return pst_k_bits_f32((uint32_t)pst_k_load_u16(p) << 16);
}

/* Values i..i + 7 of a row. */
PST_K_INLINE __m256 load8_f16(const uint8_t *row, uint32_t i)
{
	return _mm256_cvtph_ps(
		_mm_loadu_si128((const __m128i *)(row + 2 * (size_t)i)));
}

PST_K_INLINE __m256 load8_bf16(const uint8_t *row, uint32_t i)
{
	__m256i v = _mm256_cvtepu16_epi32(
		_mm_loadu_si128((const __m128i *)(row + 2 * (size_t)i)));

	return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* Mask of the lanes of a vector of 8 that hold one of @left values. */
PST_K_INLINE __m256i first_lanes(uint32_t left)
{
	return _mm256_cmpgt_epi32(_mm256_set1_epi32(left > 8 ? 8 : (int)left),
				  _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0));
}

/*
 * Values i..i + 7 of a row, of which the first @nr are there; zero behind.
 * AVX2 cannot mask 16-bit lanes: the end of a row is copied.
 */
PST_K_INLINE __m256 load_row_f32(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const float *p = (const float *)(row + 4 * (size_t)i);

	if (nr == 8)
		return _mm256_loadu_ps(p);
	return _mm256_maskload_ps(p, first_lanes(nr));
}

PST_K_INLINE __m128i load_part16(const uint8_t *p, uint32_t nr)
{
	uint16_t part[8] = { 0 };

	memcpy(part, p, 2 * nr);
	return _mm_loadu_si128((const __m128i *)part);
}

PST_K_INLINE __m256 load_row_f16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	if (nr == 8)
		return load8_f16(row, i);
	return _mm256_cvtph_ps(load_part16(row + 2 * (size_t)i, nr));
}

PST_K_INLINE __m256 load_row_bf16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	__m256i v;

	if (nr == 8)
		return load8_bf16(row, i);
	v = _mm256_cvtepu16_epi32(load_part16(row + 2 * (size_t)i, nr));
	return _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
}

/* -1 in byte j where bit j of @bits is set */
PST_K_INLINE __m256i mask32(uint32_t bits)
{
	const __m256i spread = _mm256_set_epi64x(
		0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201ULL);
	__m256i v = _mm256_shuffle_epi8(_mm256_set1_epi32((int)bits), spread);

	return _mm256_cmpeq_epi8(_mm256_and_si256(v, bit), bit);
}

PST_K_INLINE float sum8(__m256 v)
{
	__m128 s = _mm_add_ps(_mm256_castps256_ps128(v),
			      _mm256_extractf128_ps(v, 1));

	s = _mm_add_ps(s, _mm_movehl_ps(s, s));
	s = _mm_add_ss(s, _mm_movehdup_ps(s));
	return _mm_cvtss_f32(s);
}

PST_K_INLINE float max8(__m256 v)
{
	__m128 s = _mm_max_ps(_mm256_castps256_ps128(v),
			      _mm256_extractf128_ps(v, 1));

	s = _mm_max_ps(s, _mm_movehl_ps(s, s));
	s = _mm_max_ss(s, _mm_movehdup_ps(s));
	return _mm_cvtss_f32(s);
}

/* 2^n for -126 <= n <= 127 */
PST_K_INLINE __m256 pow2_8(__m256i n)
{
	return _mm256_castsi256_ps(_mm256_slli_epi32(
		_mm256_add_epi32(n, _mm256_set1_epi32(127)), 23));
}

/*
 * e^x to about an ulp: x = n ln 2 + r with |r| <= ln(2) / 2, and the Taylor
 * polynomial of degree 7 in r, whose first omitted term is below 2^-27.
 */
PST_K_INLINE __m256 exp8(__m256 x)
{
	const __m256 log2e = _mm256_set1_ps(0x1.715476p+0f);
	const __m256 ln2_hi = _mm256_set1_ps(0x1.62e400p-1f);
	const __m256 ln2_lo = _mm256_set1_ps(0x1.7f7d1cp-20f);
	__m256i whole, half;
	__m256 n, r, p;

	/* Beyond this e^x is infinite or zero; an infinite r would be NaN. */
	x = _mm256_min_ps(_mm256_set1_ps(128.0f), x);
	x = _mm256_max_ps(_mm256_set1_ps(-128.0f), x);
	n = _mm256_round_ps(_mm256_mul_ps(x, log2e),
			    _MM_FROUND_TO_NEAREST_INT | _MM_FROUND_NO_EXC);
	r = _mm256_fnmadd_ps(n, ln2_hi, x);
	r = _mm256_fnmadd_ps(n, ln2_lo, r);
	p = _mm256_set1_ps(1.0f / 5040);
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 720));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 120));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 24));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f / 6));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(0.5f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
	p = _mm256_fmadd_ps(p, r, _mm256_set1_ps(1.0f));
	/* 2^n in two steps, since n reaches beyond the exponents of float. */
	whole = _mm256_cvtps_epi32(n);
	half = _mm256_srai_epi32(whole, 1);
	p = _mm256_mul_ps(p, pow2_8(half));
	return _mm256_mul_ps(p, pow2_8(_mm256_sub_epi32(whole, half)));
}

/* x = e^(x - max x); returns the sum. */
PST_K_INLINE float exp_row8(float *x, uint32_t n)
{
	const __m256 low = _mm256_set1_ps(-__builtin_inff());
	__m256 max = low, sum = _mm256_setzero_ps();
	uint32_t i;

	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);
		__m256 v = _mm256_maskload_ps(x + i, k);

		max = _mm256_max_ps(
			max, _mm256_blendv_ps(low, v, _mm256_castsi256_ps(k)));
	}
	max = _mm256_set1_ps(max8(max));
	for (i = 0; i < n; i += 8) {
		__m256i k = first_lanes(n - i);
		__m256 e = _mm256_maskload_ps(x + i, k);

		e = exp8(_mm256_sub_ps(e, max));
		sum = _mm256_add_ps(sum,
				    _mm256_and_ps(e, _mm256_castsi256_ps(k)));
		_mm256_maskstore_ps(x + i, k, e);
	}
	return sum8(sum);
}

#endif
