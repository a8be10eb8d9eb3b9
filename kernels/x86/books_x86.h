/* SPDX-License-Identifier: MIT */
/*
 * Reads the code-book formats (IQ1, IQ2, IQ3) for integer products: the digits
 * and signs of 64 weights, and the scales of 256, which are odd integers times
 * one number.  AVX2, for every x86 file; what the fields are is said once in
 * pst_k16.h.  Reads nothing outside the block.
 */
#ifndef PST_K_BOOKS_X86_H
#define PST_K_BOOKS_X86_H

#include <immintrin.h>

#include "pst_k16.h"
#include "pst_tile.h"

/**
 * struct book64 - 64 weights before their digits are looked up
 * @digits: of 32 weights each: 3 bits of four weights to every 16 bits; of
 *	2-bit digits, eight to 16 bits, only the lower 64 bits are there
 * @signs: a bit for each weight, set where it is negative
 */
struct book64 {
	__m128i digits[2];
	uint64_t signs;
};

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

/* Entries of a book, the indices in bytes or in the words of a number. */
PST_K_INLINE __m128i pick4(const uint16_t *book, const uint8_t *index)
{
	__m128i v = _mm_cvtsi32_si128(book[index[0]]);

	v = _mm_insert_epi16(v, book[index[1]], 1);
	v = _mm_insert_epi16(v, book[index[2]], 2);
	return _mm_insert_epi16(v, book[index[3]], 3);
}

PST_K_INLINE __m128i pick8(const uint16_t *book, const uint8_t *index)
{
	__m128i v = pick4(book, index);

	v = _mm_insert_epi16(v, book[index[4]], 4);
	v = _mm_insert_epi16(v, book[index[5]], 5);
	v = _mm_insert_epi16(v, book[index[6]], 6);
	return _mm_insert_epi16(v, book[index[7]], 7);
}

PST_K_INLINE __m128i pick_words(const uint16_t *book, uint64_t index)
{
	__m128i v = _mm_cvtsi32_si128(book[index & 0xffff]);

	v = _mm_insert_epi16(v, book[index >> 16 & 0xffff], 1);
	v = _mm_insert_epi16(v, book[index >> 32 & 0xffff], 2);
	return _mm_insert_epi16(v, book[index >> 48], 3);
}

/* Two bits and more: eight indices in words to 2 x 4 entries. */
PST_K_INLINE void pick2x4(struct book64 *b, const uint16_t *book, __m128i index)
{
	b->digits[0] = pick_words(book, (uint64_t)_mm_cvtsi128_si64(index));
	b->digits[1] = pick_words(book, (uint64_t)_mm_extract_epi64(index, 1));
}

/* Eight indices: bytes, and what lies above them in the lanes of @high. */
PST_K_INLINE __m128i index8(const uint8_t *p, __m256i high)
{
	__m256i v = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)p));

	v = _mm256_or_si256(v, high);
	return _mm_packus_epi32(_mm256_castsi256_si128(v),
				_mm256_extracti128_si256(v, 1));
}

/* Bytes of 7 signs get the eighth that makes their number even. */
PST_K_INLINE uint64_t even_signs(uint64_t signs)
{
	uint64_t x = signs ^ signs >> 4;

	x ^= x >> 2;
	x ^= x >> 1;
	return signs | (x & PST_K16_ONES) << 7;
}

/* The same of 4 x 7 signs in each half. */
PST_K_INLINE uint64_t even_signs28(uint64_t x)
{
	x = (x & 0x00003fff00003fffULL) | (x & 0x0fffc0000fffc000ULL) << 2;
	x = (x & 0x007f007f007f007fULL) | (x & 0x3f803f803f803f80ULL) << 1;
	return even_signs(x);
}

PST_K_INLINE struct book64 book_iq2_xxs(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + 2 + 16 * c;
	struct book64 b;

	b.digits[0] = pick4(pst_k_iq2_xxs_grid, q);
	b.digits[1] = pick4(pst_k_iq2_xxs_grid, q + 8);
	b.signs = even_signs28(pst_k_load_u32(q + 4) |
			       (uint64_t)pst_k_load_u32(q + 12) << 32);
	return b;
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

PST_K_INLINE struct book64 book_iq2_xs(const uint8_t *p, uint32_t c)
{
	__m128i q = _mm_loadu_si128((const __m128i *)(p + 2 + 16 * c));
	__m128i signs = _mm_srli_epi16(q, 9);
	struct book64 b;

	pick2x4(&b, pst_k_iq2_xs_grid, _mm_and_si128(q, _mm_set1_epi16(511)));
	signs = _mm_packus_epi16(signs, signs);
	b.signs = even_signs((uint64_t)_mm_cvtsi128_si64(signs));
	return b;
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

PST_K_INLINE struct book64 book_iq2_s(const uint8_t *p, uint32_t c)
{
	const __m256i by = _mm256_set_epi32(14, 12, 10, 8, 6, 4, 2, 0);
	__m256i high = _mm256_set1_epi32(pst_k_load_u16(p + 66 + 2 * c) << 8);
	struct book64 b = { .signs = load_u64(p + 34 + 8 * c) };

	high = _mm256_and_si256(_mm256_srlv_epi32(high, by),
				_mm256_set1_epi32(0x300));
	pick2x4(&b, pst_k_iq2_s_grid, index8(p + 2 + 8 * c, high));
	return b;
}

PST_K_INLINE struct book_scales scales_iq2_s(const uint8_t *p)
{
	return nibble_scales(p + 74, p);
}

PST_K_INLINE struct book64 book_iq3_xxs(const uint8_t *p, uint32_t c)
{
	struct book64 b;

	b.digits[0] = pick8(pst_k_iq3_xxs_grid, p + 2 + 16 * c);
	b.digits[1] = pick8(pst_k_iq3_xxs_grid, p + 10 + 16 * c);
	b.signs = even_signs28(load_u64(p + 66 + 8 * c));
	return b;
}

PST_K_INLINE struct book_scales scales_iq3_xxs(const uint8_t *p)
{
	struct book_scales s = { .upper = _mm256_setzero_si256() };

	s.lower = _mm256_srli_epi32(
		_mm256_loadu_si256((const __m256i *)(p + 66)), 28);
	s.d = _cvtsh_ss(pst_k_load_u16(p)) * 0.25f;
	return s;
}

PST_K_INLINE struct book64 book_iq3_s(const uint8_t *p, uint32_t c)
{
	const __m256i bit = _mm256_set_epi16(-0x8000, 0x4000, 0x2000, 0x1000,
					     0x800, 0x400, 0x200, 0x100, 0x80,
					     0x40, 0x20, 0x10, 8, 4, 2, 1);
	__m256i v = _mm256_cvtepu8_epi16(
		_mm_loadu_si128((const __m128i *)(p + 2 + 16 * c)));
	__m256i high = _mm256_set1_epi16((short)pst_k_load_u16(p + 66 + 2 * c));
	struct book64 b = { .signs = load_u64(p + 74 + 8 * c) };
	struct book64 lower, upper;

	high = _mm256_cmpeq_epi16(_mm256_and_si256(high, bit), bit);
	v = _mm256_or_si256(v, _mm256_and_si256(high, _mm256_set1_epi16(256)));
	pick2x4(&lower, pst_k_iq3_s_grid, _mm256_castsi256_si128(v));
	pick2x4(&upper, pst_k_iq3_s_grid, _mm256_extracti128_si256(v, 1));
	b.digits[0] = _mm_unpacklo_epi64(lower.digits[0], lower.digits[1]);
	b.digits[1] = _mm_unpacklo_epi64(upper.digits[0], upper.digits[1]);
	return b;
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

PST_K_INLINE struct book64 book_iq1_s(const uint8_t *p, uint32_t c)
{
	const __m256i by = _mm256_set_epi32(9, 6, 3, 0, 9, 6, 3, 0);
	uint32_t h0 = pst_k_load_u16(p + 34 + 4 * c);
	uint32_t h1 = pst_k_load_u16(p + 36 + 4 * c);
	__m256i high = _mm256_set_m128i(_mm_set1_epi32((int)(h1 << 8)),
					_mm_set1_epi32((int)(h0 << 8)));
	struct book64 b = { .signs = 0xffffffffULL * (h0 >> 15) |
				     0xffffffffULL * (h1 >> 15) << 32 };

	high = _mm256_and_si256(_mm256_srlv_epi32(high, by),
				_mm256_set1_epi32(0x700));
	pick2x4(&b, pst_k_iq1_grid, index8(p + 2 + 8 * c, high));
	return b;
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

PST_K_INLINE struct book64 book_iq1_m(const uint8_t *p, uint32_t c)
{
	const __m256i by = _mm256_set_epi32(0, 4, 8, 12, 16, 20, 24, 28);
	__m256i high = _mm256_set1_epi32((int)pst_k_load_u32(p + 32 + 4 * c));
	struct book64 b;
	int minus;

	/* The nibble of each entry comes to rest at the top of its lane. */
	high = _mm256_sllv_epi32(high, by);
	minus = _mm256_movemask_ps(_mm256_castsi256_ps(high));
	b.signs = pst_k16_mask((uint32_t)minus);
	high = _mm256_and_si256(_mm256_srli_epi32(high, 20),
				_mm256_set1_epi32(0x700));
	pick2x4(&b, pst_k_iq1_grid, index8(p + 8 * c, high));
	return b;
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
