/* SPDX-License-Identifier: MIT */
/*
 * Reads the code-book formats (IQ1, IQ2, IQ3) for integer products: the indices
 * of 32 weights, and the scales of 256, which are odd integers times one
 * number.  AVX2, for every x86 file; what the fields are is said once in
 * pst_k16.h.  Reads nothing outside the block.
 */
#ifndef PST_K_BOOKS_X86_H
#define PST_K_BOOKS_X86_H

#include <immintrin.h>

#include "book_tables_x86.h"
#include "pst_k16.h"
#include "pst_tile.h"

/**
 * struct book_scales - the scales of 256 weights: (2 s + 1) x d
 * @lower: s of the first eight groups of 16, or of the eight blocks of 32
 * @upper: of the other eight groups
 * @d: the common factor
 */
struct book_scales {
	__m256i lower;
	__m256i upper;
	float d;
};

PST_K_INLINE uint64_t load_u64(const void *p)
{
	uint64_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

/* Four bytes to the words of a number. */
PST_K_INLINE uint64_t index_words(const uint8_t *p)
{
#ifdef __BMI2__
	return _pdep_u64(pst_k_load_u32(p), 0x00ff00ff00ff00ff);
#else
	return (uint64_t)_mm_cvtsi128_si64(
		_mm_cvtepu8_epi16(_mm_cvtsi32_si128((int)pst_k_load_u32(p))));
#endif
}

/* The upper halves of two entries of 64 bits each come from memory too. */
PST_K_INLINE __m128i entries2(const uint64_t *book, uint64_t i, uint64_t j)
{
	__m128 v =
		_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)(book + i)));

	return _mm_castps_si128(_mm_loadh_pi(v, (const __m64 *)(book + j)));
}

/* Entries for the four words of an index. */
PST_K_INLINE __m256i entries4(const uint64_t *book, uint64_t index)
{
	__m128i lower = entries2(book, index & 0xffff, index >> 16 & 0xffff);
	__m128i upper = entries2(book, index >> 32 & 0xffff, index >> 48);

	return _mm256_set_m128i(upper, lower);
}

/*
 * Fields of @bits to the words, where @mask has their bits.  Without the
 * instruction for it, @step is by how much a field is moved further than the
 * one below it; no two of the copies meet in a bit that counts.
 */
PST_K_INLINE uint64_t index_upper(uint32_t bits, uint32_t step, uint64_t mask)
{
#ifdef __BMI2__
	(void)step;
	return _pdep_u64(bits, mask);
#else
	uint64_t copies = 1ULL << 8 | 1ULL << (8 + step) |
			  1ULL << (8 + 2 * step) | 1ULL << (8 + 3 * step);

	return bits * copies & mask;
#endif
}

PST_K_INLINE uint64_t index_iq2_s(const uint8_t *p, uint32_t b)
{
	return index_words(p + 2 + 4 * b) |
	       index_upper(p[66 + b], 14, 0x0300030003000300);
}

PST_K_INLINE uint64_t index_iq1_s(const uint8_t *p, uint32_t b)
{
	uint32_t upper = pst_k_load_u16(p + 34 + 2 * b) & 0xfff;

	return index_words(p + 2 + 4 * b) |
	       index_upper(upper, 13, 0x0700070007000700);
}

/* Without the signs, a sum of two copies ends below the next field. */
PST_K_INLINE uint64_t index_iq1_m(const uint8_t *p, uint32_t b)
{
	uint32_t upper = pst_k_load_u16(p + 32 + 2 * b) & 0x7777;

	return index_words(p + 4 * b) |
	       index_upper(upper, 12, 0x0f000f000f000f00);
}

PST_K_INLINE struct book_scales scales_iq2_xxs(const uint8_t *p)
{
	__m256 a = _mm256_loadu_ps((const float *)(p + 2));
	__m256 b = _mm256_loadu_ps((const float *)(p + 34));
	struct book_scales s = { .upper = _mm256_setzero_si256() };

	/* Every other word, then their order. */
	s.lower = _mm256_castps_si256(_mm256_shuffle_ps(a, b, 0xdd));
	s.lower = _mm256_permute4x64_epi64(s.lower, 0xd8);
	s.lower = _mm256_srli_epi32(s.lower, 28);
	s.d = _cvtsh_ss(pst_k_load_u16(p)) * 0.125f;
	return s;
}

/* Sixteen nibbles. */
PST_K_INLINE struct book_scales nibble_scales(const uint8_t *scales,
					      const uint8_t *d)
{
	__m128i v = _mm_loadl_epi64((const __m128i *)scales);
	struct book_scales s;

	v = _mm_unpacklo_epi8(v, _mm_srli_epi16(v, 4));
	v = _mm_and_si128(v, _mm_set1_epi8(15));
	s.lower = _mm256_cvtepu8_epi32(v);
	s.upper = _mm256_cvtepu8_epi32(_mm_srli_si128(v, 8));
	s.d = _cvtsh_ss(pst_k_load_u16(d)) * 0.125f;
	return s;
}

PST_K_INLINE struct book_scales scales_iq2_xs(const uint8_t *p)
{
	return nibble_scales(p + 66, p);
}

PST_K_INLINE struct book_scales scales_iq2_s(const uint8_t *p)
{
	return nibble_scales(p + 74, p);
}

PST_K_INLINE struct book_scales scales_iq3_xxs(const uint8_t *p)
{
	struct book_scales s = { .upper = _mm256_setzero_si256() };

	s.lower = _mm256_srli_epi32(
		_mm256_loadu_si256((const __m256i *)(p + 66)), 28);
	s.d = _cvtsh_ss(pst_k_load_u16(p)) * 0.25f;
	return s;
}

PST_K_INLINE struct book_scales scales_iq3_s(const uint8_t *p)
{
	const __m256i by = _mm256_set_epi32(28, 24, 20, 16, 12, 8, 4, 0);
	__m256i v = _mm256_set1_epi32((int)pst_k_load_u32(p + 106));
	struct book_scales s = { .upper = _mm256_setzero_si256() };

	s.lower = _mm256_and_si256(_mm256_srlv_epi32(v, by),
				   _mm256_set1_epi32(15));
	s.d = _cvtsh_ss(pst_k_load_u16(p));
	return s;
}

PST_K_INLINE struct book_scales scales_iq1_s(const uint8_t *p)
{
	__m256i v = _mm256_cvtepu16_epi32(
		_mm_loadu_si128((const __m128i *)(p + 34)));
	struct book_scales s = { .upper = _mm256_setzero_si256() };

	s.lower = _mm256_and_si256(_mm256_srli_epi32(v, 12),
				   _mm256_set1_epi32(7));
	s.d = _cvtsh_ss(pst_k_load_u16(p)) * 0.125f;
	return s;
}

PST_K_INLINE struct book_scales scales_iq1_m(const uint8_t *p)
{
	const __m256i by = _mm256_set_epi32(9, 6, 3, 0, 9, 6, 3, 0);
	const __m256i seven = _mm256_set1_epi32(7);
	uint64_t w = load_u64(p + 48);
	uint32_t d = (uint32_t)((w >> 12 & 15) | (w >> 24 & 0xf0) |
				(w >> 36 & 0xf00) | (w >> 48 & 0xf000));
	__m256i v = _mm256_cvtepu16_epi32(_mm_cvtsi64_si128((int64_t)w));
	struct book_scales s;

	s.lower = _mm256_permutevar8x32_epi32(v, _mm256_set_epi32(1, 1, 1, 1, 0,
								  0, 0, 0));
	s.upper = _mm256_permutevar8x32_epi32(v, _mm256_set_epi32(3, 3, 3, 3, 2,
								  2, 2, 2));
	s.lower = _mm256_and_si256(_mm256_srlv_epi32(s.lower, by), seven);
	s.upper = _mm256_and_si256(_mm256_srlv_epi32(s.upper, by), seven);
	s.d = _cvtsh_ss((uint16_t)d) * 0.125f;
	return s;
}

#endif
