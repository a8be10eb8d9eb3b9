/* SPDX-License-Identifier: MIT */
/*
 * How packed scales are had, of blocks and of super-blocks; AVX2, for every x86
 * file.
 */
#ifndef PST_K_SCALES_X86_H
#define PST_K_SCALES_X86_H

#include <immintrin.h>

#include "pst_tile.h"

/* The half-precision scales of @nr blocks @bytes apart, then zeros. */
PST_K_INLINE __m128i block_halves(const uint8_t *p, uint32_t nr, uint32_t bytes)
{
	__m128i h = _mm_setzero_si128();
	uint16_t part[8] = { 0 };
	uint32_t i;

	if (nr == 8) {
		h = _mm_insert_epi16(h, pst_k_load_u16(p), 0);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + bytes), 1);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 2 * bytes), 2);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 3 * bytes), 3);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 4 * bytes), 4);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 5 * bytes), 5);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 6 * bytes), 6);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 7 * bytes), 7);
		return h;
	}
	for (i = 0; i < nr; i++)
		part[i] = pst_k_load_u16(p + i * bytes);
	return _mm_loadu_si128((const __m128i *)part);
}

/* The sixteen 6-bit scales of Q3_K: nibbles, and pairs of bits above them. */
PST_K_INLINE __m128i k3_scales(const uint8_t *p)
{
	const __m128i nibble = _mm_set1_epi8(15);
	__m128i low = _mm_loadl_epi64((const __m128i *)p);
	__m128i high =
		_mm_srlv_epi32(_mm_set1_epi32((int)pst_k_load_u32(p + 8)),
			       _mm_set_epi32(6, 4, 2, 0));

	low = _mm_unpacklo_epi64(low, _mm_srli_epi16(low, 4));
	high = _mm_slli_epi16(_mm_and_si128(high, _mm_set1_epi8(3)), 4);
	low = _mm_or_si128(_mm_and_si128(low, nibble), high);
	return _mm_sub_epi8(low, _mm_set1_epi8(32));
}

/* The eight 6-bit scales of IQ4_XS in the first 8 bytes of a super-block. */
PST_K_INLINE __m256i iq4_xs_scales(const uint8_t *p)
{
	const __m256i by2 = _mm256_set_epi32(14, 12, 10, 8, 6, 4, 2, 0);
	__m256i high = _mm256_set1_epi32(pst_k_load_u16(p + 2));
	__m256i low = _mm256_set1_epi32((int)pst_k_load_u32(p + 4));

	low = _mm256_srlv_epi32(low, _mm256_add_epi32(by2, by2));
	low = _mm256_and_si256(low, _mm256_set1_epi32(15));
	high = _mm256_and_si256(_mm256_srlv_epi32(high, by2),
				_mm256_set1_epi32(3));
	low = _mm256_or_si256(low, _mm256_slli_epi32(high, 4));
	return _mm256_sub_epi32(low, _mm256_set1_epi32(32));
}

#endif
