/* SPDX-License-Identifier: MIT */
/*
 * The code books IQ1, IQ2 and IQ3 for mul_q8_512_tmpl.h.
 *
 * A small book, as it is packed, fits in 8 or 16 registers: 32 entries are
 * looked up at a time, signs are put beside digits, and a table of 16 values
 * turns both into a code.  That yields the codes of 256 weights; who asks for
 * the four chunks one after the other has it done once, because the compiler
 * sees that it is the same.  An entry of a large book is a load.
 *
 * While digits are packed, lane q of 128 bits has what will be lane q of chunks
 * 0 to 3: 16 weights of each, in 32 bits for IQ2 and in 64 for IQ3.  So only
 * the first step has to cross lanes.
 */
#ifndef PST_K_FMT_BOOKS_512_TMPL_H
#define PST_K_FMT_BOOKS_512_TMPL_H

#include "books_x86.h"
#include "mul_q8_512_tmpl.h"

#define BOOK_OFFSETS (BOOK_OFFSET * PST_K16_ONES)

/* mask ? b : a, for each bit */
#define SELECT512(mask, a, b) _mm512_ternarylogic_epi32(mask, b, a, 0xca)

PST_K_INLINE __m512i all_lanes(int64_t upper, int64_t lower)
{
	return _mm512_broadcast_i32x4(_mm_set_epi64x(upper, lower));
}

/* Dword 4c + q to dword c of lane q. */
PST_K_INLINE __m512i pieces32(__m512i v)
{
	const __m512i from = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9,
					      5, 1, 12, 8, 4, 0);

	return _mm512_permutexvar_epi32(from, v);
}

/* Word 4c + q to word c of lane q; the other words do not count. */
PST_K_INLINE __m512i pieces16(__m256i v)
{
	const __m512i from =
		_mm512_set_epi64(0, 0x000f000b00070003, 0, 0x000e000a00060002,
				 0, 0x000d000900050001, 0, 0x000c000800040000);

	return _mm512_permutexvar_epi16(from, _mm512_castsi256_si512(v));
}

/* @b where bit @bit of a word of @i is set, else @a */
PST_K_INLINE __m512i by_bit(__m512i i, int bit, __m512i a, __m512i b)
{
	__mmask32 k = _mm512_test_epi16_mask(i, _mm512_set1_epi16((short)bit));

	return _mm512_mask_blend_epi16(k, a, b);
}

/* 32 entries of a book; bits above those of an index do not count. */
PST_K_INLINE __m512i of_64(const uint16_t *book, __m512i i)
{
	return _mm512_permutex2var_epi16(_mm512_loadu_si512(book), i,
					 _mm512_loadu_si512(book + 32));
}

PST_K_INLINE __m512i of_128(const uint16_t *book, __m512i i)
{
	return by_bit(i, 64, of_64(book, i), of_64(book + 64, i));
}

PST_K_INLINE __m512i of_256(const uint16_t *book, __m512i i)
{
	return by_bit(i, 128, of_128(book, i), of_128(book + 128, i));
}

PST_K_INLINE __m512i of_512(const uint16_t *book, __m512i i)
{
	return by_bit(i, 256, of_256(book, i), of_256(book + 256, i));
}

/* Words of 7 signs get the eighth that makes their number even. */
PST_K_INLINE __m512i even_signs(__m512i s)
{
	const __m512i odd =
		all_lanes(0x0080800080000080, (int64_t)0x8000008000808000);
	__m512i x = _mm512_xor_si512(s, _mm512_srli_epi16(s, 4));

	x = _mm512_and_si512(x, _mm512_set1_epi16(15));
	return _mm512_or_si512(s, _mm512_shuffle_epi8(odd, x));
}

/* 4 x 7 signs, in the lower or upper dword of every 64 bits, to words. */
PST_K_INLINE __m512i even_signs28(__m512i v, bool upper)
{
	const __m512i by = _mm512_set1_epi64(0x0005000600070000);
	int64_t from = upper ? 0x0706060505040504 : 0x0302020101000100;

	v = _mm512_shuffle_epi8(v, all_lanes(from + 8 * (int64_t)PST_K16_ONES,
					     from));
	v = _mm512_srlv_epi16(v, by);
	return even_signs(_mm512_and_si512(v, _mm512_set1_epi16(127)));
}

/* Codes by digit and, in bit 3, sign; bits 4 to 6 do not count. */
PST_K_INLINE __m512i by_bit3(int64_t values)
{
	return all_lanes((int64_t)BOOK_OFFSETS - values,
			 (int64_t)BOOK_OFFSETS + values);
}

/* The same with the sign in bit 2, above digits of 2 bits. */
PST_K_INLINE __m512i by_bit2(int64_t values)
{
	return _mm512_unpacklo_epi32(by_bit3(values),
				     _mm512_bsrli_epi128(by_bit3(values), 8));
}

/*
 * Codes of chunk @c of IQ2.  A byte of @d has the digits of four weights, the
 * lower nibble of that of @s their signs.  Bits of @s are where a table wants
 * them, two with and two without a shift; what else of @s is in an index is in
 * bits that the table does not look at.
 */
PST_K_INLINE __m512i iq2_chunk(__m512i d, __m512i s, uint32_t c)
{
	const __m512i digit = _mm512_set1_epi8(3);
	const __m512i sign2 = by_bit2(PST_K16_IQ2_VALUES);
	const __m512i sign3 = by_bit3(PST_K16_IQ2_VALUES);
	__m512i s4 = _mm512_slli_epi16(s, 2), v[4], a, b;

	v[0] = SELECT512(digit, s4, d);
	v[1] = SELECT512(digit, s4, _mm512_srli_epi16(d, 2));
	v[2] = SELECT512(digit, s, _mm512_srli_epi16(d, 4));
	v[3] = SELECT512(digit, s, _mm512_srli_epi16(d, 6));
	v[0] = _mm512_shuffle_epi8(sign2, v[0]);
	v[1] = _mm512_shuffle_epi8(sign3, v[1]);
	v[2] = _mm512_shuffle_epi8(sign2, v[2]);
	v[3] = _mm512_shuffle_epi8(sign3, v[3]);
	if (c < 2) {
		a = _mm512_unpacklo_epi8(v[0], v[1]);
		b = _mm512_unpacklo_epi8(v[2], v[3]);
	} else {
		a = _mm512_unpackhi_epi8(v[0], v[1]);
		b = _mm512_unpackhi_epi8(v[2], v[3]);
	}
	return c % 2 ? _mm512_unpackhi_epi16(a, b)
		     : _mm512_unpacklo_epi16(a, b);
}

/* The signs of eight weights in a word, as iq2_chunk() takes them. */
PST_K_INLINE __m512i sign_nibbles(__m512i s)
{
	s = _mm512_or_si512(s, _mm512_slli_epi16(s, 4));
	return _mm512_and_si512(s, _mm512_set1_epi8(15));
}

PST_K_INLINE __m512i codes_iq2_xxs(const uint8_t *p, uint32_t c)
{
	/* Words 4j and 4j + 1 have the indices. */
	const __m512i from =
		_mm512_set_epi64(0, 0x001d0015000d0005, 0, 0x001c0014000c0004,
				 0, 0x0019001100090001, 0, 0x0018001000080000);
	__m512i v = _mm512_loadu_si512(p + 2);
	__m512i s = sign_nibbles(even_signs28(v, true));
	__m512i i = _mm512_unpacklo_epi8(_mm512_permutexvar_epi16(from, v),
					 _mm512_setzero_si512());

	return iq2_chunk(of_256(pst_k_iq2_xxs_grid, i), pieces32(s), c);
}

PST_K_INLINE __m512i codes_iq2_xs(const uint8_t *p, uint32_t c)
{
	__m512i v = pieces32(_mm512_loadu_si512(p + 2));
	__m512i s = sign_nibbles(even_signs(_mm512_srli_epi16(v, 9)));

	return iq2_chunk(of_512(pst_k_iq2_xs_grid, v), s, c);
}

/*
 * The signs of IQ3: words 4c + q have those of 16 weights.  Those of chunks 0
 * and 1, or 2 and 3, come to bit 3 of each nibble of the words that have their
 * digits.
 */
PST_K_INLINE __m512i iq3_signs(__m256i s, uint32_t c)
{
	const __m512i bits01 = _mm512_set1_epi32((int)0x88800800);
	const __m512i bits23 =
		all_lanes((int64_t)0x8888888880808080, 0x0808080800000000);
	const __m512i low = _mm512_set1_epi8(15);
	__m512i v = pieces16(s), a, b;

	a = _mm512_and_si512(v, low);
	b = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);
	v = _mm512_unpacklo_epi8(a, b);
	a = _mm512_shuffle_epi8(bits01, v);
	b = _mm512_shuffle_epi8(bits23, v);
	return c < 2 ? _mm512_unpacklo_epi8(a, b) : _mm512_unpackhi_epi8(a, b);
}

/* The indices of chunks 0 and 1, or 2 and 3, of 64 bytes; to words. */
PST_K_INLINE __m512i iq3_index(const uint8_t *p, uint32_t c)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i v = pieces32(_mm512_loadu_si512(p));

	return c < 2 ? _mm512_unpacklo_epi8(v, zero)
		     : _mm512_unpackhi_epi8(v, zero);
}

/* Codes of chunk @c of IQ3, of digits and signs in nibbles. */
PST_K_INLINE __m512i iq3_chunk(__m512i v, int64_t values, uint32_t c)
{
	const __m512i low = _mm512_set1_epi8(15), table = by_bit3(values);
	__m512i a = _mm512_and_si512(v, low);
	__m512i b = _mm512_and_si512(_mm512_srli_epi16(v, 4), low);

	a = _mm512_shuffle_epi8(table, a);
	b = _mm512_shuffle_epi8(table, b);
	return c % 2 ? _mm512_unpackhi_epi8(a, b) : _mm512_unpacklo_epi8(a, b);
}

PST_K_INLINE __m512i codes_iq3_xxs(const uint8_t *p, uint32_t c)
{
	__m512i v = of_256(pst_k_iq3_xxs_nibbles, iq3_index(p + 2, c));
	__m512i s = _mm512_cvtepu32_epi64(
		_mm256_loadu_si256((const __m256i *)(p + 66)));
	__m256i signs = _mm512_cvtepi16_epi8(even_signs28(s, false));

	v = _mm512_or_si512(v, iq3_signs(signs, c));
	return iq3_chunk(v, PST_K16_IQ3_XXS_VALUES, c);
}

/* Bit 8 of an index has a bit of its own. */
PST_K_INLINE __mmask32 iq3_s_high(const uint8_t *p, uint32_t c)
{
	const __m512i from =
		_mm512_set_epi64(0x0303030303030303, 0x0101010101010101,
				 0x0303030303030303, 0x0101010101010101,
				 0x0202020202020202, 0, 0x0202020202020202, 0);
	const __m512i bit = _mm512_set_epi64(
		0x0080004000200010, 0x0080004000200010, 0x0008000400020001,
		0x0008000400020001, 0x0080004000200010, 0x0080004000200010,
		0x0008000400020001, 0x0008000400020001);
	__m512i v = _mm512_set1_epi32((int)pst_k_load_u32(p + 4 * (c / 2)));

	return _mm512_test_epi16_mask(_mm512_shuffle_epi8(v, from), bit);
}

PST_K_INLINE __m512i codes_iq3_s(const uint8_t *p, uint32_t c)
{
	__m512i i = iq3_index(p + 2, c);
	__m512i v = _mm512_mask_blend_epi16(
		iq3_s_high(p + 66, c), of_256(pst_k_iq3_s_nibbles, i),
		of_256(pst_k_iq3_s_nibbles + 256, i));
	__m256i signs = _mm256_loadu_si256((const __m256i *)(p + 74));

	v = _mm512_or_si512(v, iq3_signs(signs, c));
	return iq3_chunk(v, PST_K16_IQ3_S_VALUES, c);
}

/* Eight entries of a large book. */
PST_K_INLINE __m512i entries8(const uint64_t *book, uint64_t lower,
			      uint64_t upper)
{
	return _mm512_inserti64x4(_mm512_castsi256_si512(entries4(book, lower)),
				  entries4(book, upper), 1);
}

PST_K_INLINE __m512i codes_iq2_s(const uint8_t *p, uint32_t c)
{
	const __m512i twice = _mm512_set1_epi8((char)(2 * BOOK_OFFSET));
	__m512i v = entries8(pst_k_iq2_s_codes, index_iq2_s(p, 2 * c),
			     index_iq2_s(p, 2 * c + 1));

	/* Mirrored at the offset where a sign is set. */
	return _mm512_mask_sub_epi8(v, load_u64(p + 34 + 8 * c), twice, v);
}

/* A sign takes an eighth away instead of adding it: 2 in these codes. */
PST_K_INLINE __m512i minus_eighth(__m512i v, uint32_t signs)
{
	return _mm512_mask_sub_epi64(v, (__mmask8)signs, v,
				     _mm512_set1_epi8(2));
}

PST_K_INLINE __m512i codes_iq1_s(const uint8_t *p, uint32_t c)
{
	/* Words 2c and 2c + 1, each to a half. */
	const __m512i from =
		_mm512_inserti64x4(_mm512_set1_epi16((short)(2 * c)),
				   _mm256_set1_epi16((short)(2 * c + 1)), 1);
	__m128i two =
		_mm_srai_epi16(_mm_loadu_si128((const __m128i *)(p + 34)), 15);
	__m512i v = entries8(pst_k_iq1_codes, index_iq1_s(p, 2 * c),
			     index_iq1_s(p, 2 * c + 1));

	two = _mm_and_si128(two, _mm_set1_epi8(2));
	return _mm512_sub_epi8(
		v, _mm512_permutexvar_epi16(from, _mm512_castsi128_si512(two)));
}

PST_K_INLINE __m512i codes_iq1_m(const uint8_t *p, uint32_t c)
{
	uint32_t signs = pst_k_load_u32(p + 32 + 4 * c);

	return minus_eighth(entries8(pst_k_iq1_codes, index_iq1_m(p, 2 * c),
				     index_iq1_m(p, 2 * c + 1)),
			    _pext_u32(signs, 0x88888888));
}

PST_K_INLINE struct wscale512 book_scale512(struct book_scales b, bool sub16)
{
	__m512i v = _mm512_zextsi256_si512(b.lower);
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	if (sub16)
		v = _mm512_inserti64x4(v, b.upper, 1);
	v = _mm512_add_epi32(_mm512_add_epi32(v, v), _mm512_set1_epi32(1));
	s.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(v), _mm512_set1_ps(b.d));
	return s;
}

#define DEFINE_BOOK512(type, name, kind, by16)                           \
	PST_K_INLINE struct wscale512 scales512_##name(const uint8_t *p) \
	{                                                                \
		return book_scale512(scales_##name(p), by16);            \
	}                                                                \
                                                                         \
	static const struct fmt512 fmt_##name = {                        \
		.bytes = PST_K_##type##_BYTES,                           \
		.offset = BOOK_OFFSET,                                   \
		.sub16 = by16,                                           \
		.scales = scales512_##name,                              \
		.codes = codes_##name,                                   \
		.dot = dot_u8,                                           \
	};

#endif
