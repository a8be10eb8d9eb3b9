/* SPDX-License-Identifier: MIT */
/*
 * Dequantisation of the formats of pst_k16.h for an ISA: groups of 16 codes
 * made float.  Included after dequant_x86_tmpl.h by a file that has defined
 * put_scaled().  The same bits as the reference.
 */
#ifndef PST_K_DEQUANT_K16_X86_TMPL_H
#define PST_K_DEQUANT_K16_X86_TMPL_H

#include "pst_k16.h"

PST_K_INLINE void put_codes(float *y, struct pst_k16 v)
{
	put_scaled(y, _mm_set_epi64x((int64_t)v.codes[1], (int64_t)v.codes[0]),
		   v.scale);
}

/* Sixteen digits of 2 bits to bytes, and what each stands for. */
PST_K_INLINE __m128i lookup2(uint64_t digits, __m128i values)
{
	__m128i x = _mm_cvtepu8_epi32(_mm_cvtsi32_si128((int)digits));

	x = _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 12)),
			  _mm_set1_epi32(0x000f000f));
	x = _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 6)),
			  _mm_set1_epi32(0x03030303));
	return _mm_shuffle_epi8(values, x);
}

/* The same of 3 bits, four to every 16 bits. */
PST_K_INLINE __m128i lookup3(uint64_t digits, __m128i values)
{
	__m128i x = _mm_cvtepu16_epi32(_mm_cvtsi64_si128((int64_t)digits));

	x = _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 10)),
			  _mm_set1_epi32(0x003f003f));
	x = _mm_and_si128(_mm_or_si128(x, _mm_slli_epi32(x, 5)),
			  _mm_set1_epi32(0x07070707));
	return _mm_shuffle_epi8(values, x);
}

/* -1 in byte j where bit j of @bits is set */
PST_K_INLINE __m128i sign_bytes(uint32_t bits)
{
	const __m128i spread = _mm_set_epi64x(0x0101010101010101, 0);
	const __m128i bit = _mm_set1_epi64x((int64_t)0x8040201008040201ULL);
	__m128i v = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), spread);

	return _mm_cmpeq_epi8(_mm_and_si128(v, bit), bit);
}

PST_K_INLINE void put_signed(float *y, __m128i codes, struct pst_k16_bits b)
{
	__m128i minus = sign_bytes(b.signs);

	codes = _mm_sub_epi8(_mm_xor_si128(codes, minus), minus);
	put_scaled(y, codes, b.scale);
}

PST_K_INLINE void put_iq2(float *y, struct pst_k16_bits b)
{
	const __m128i values = _mm_set1_epi64x(PST_K16_IQ2_VALUES);

	put_signed(y, lookup2(b.digits, values), b);
}

PST_K_INLINE void put_iq3_xxs(float *y, struct pst_k16_bits b)
{
	const __m128i values = _mm_set1_epi64x(PST_K16_IQ3_XXS_VALUES);

	put_signed(y, lookup3(b.digits, values), b);
}

PST_K_INLINE void put_iq3_s(float *y, struct pst_k16_bits b)
{
	const __m128i values = _mm_set1_epi64x(PST_K16_IQ3_S_VALUES);

	put_signed(y, lookup3(b.digits, values), b);
}

/* The sign takes an eighth away instead of adding it: 2 in these codes. */
PST_K_INLINE void put_iq1(float *y, struct pst_k16_bits b)
{
	const __m128i values = _mm_set1_epi64x(PST_K16_IQ1_VALUES);
	__m128i minus = sign_bytes(b.signs);
	__m128i codes = lookup2(b.digits, values);

	put_scaled(y, _mm_add_epi8(codes, _mm_add_epi8(minus, minus)), b.scale);
}

PST_K_INLINE void put_signs(float *y, struct pst_k16_bits b)
{
	put_scaled(y, _mm_or_si128(sign_bytes(b.signs), _mm_set1_epi8(1)),
		   b.scale);
}

PST_K_INLINE void put_ternary(float *y, struct pst_k16_bits b)
{
	const __m128i values = _mm_set1_epi32(0xff | 1 << 16 | 2 << 24);

	put_scaled(y, lookup2(b.digits, values), b.scale);
}

PST_K_INLINE void put_e2m1(float *y, struct pst_k16_bits b)
{
	const __m128i table = load_codes((const uint8_t *)pst_k_mxfp4_values);
	__m128i x = _mm_set_epi64x((int64_t)(b.digits >> 4), (int64_t)b.digits);

	x = _mm_and_si128(x, _mm_set1_epi8(15));
	put_scaled(y, _mm_shuffle_epi8(table, x), b.scale);
}

#define DEFINE_K16(type, name, elems, kind)                               \
	static void dequant_##name(float *y, const void *row, uint32_t n) \
	{                                                                 \
		const uint8_t *p = row;                                   \
		uint32_t i, g;                                            \
                                                                          \
		for (i = 0; i < n; i += elems, p += PST_K_##type##_BYTES) \
			for (g = 0; g < elems / 16; g++)                  \
				put_##kind(y + i + 16 * g,                \
					   pst_k16_##name(p, g));         \
	}

PST_K16_TYPES(DEFINE_K16)

#define SET_K16(type, name, elems, kind) \
	k->types[PST_K_##type].dequant = dequant_##name;

PST_K_INLINE void set_k16(struct pst_kernels *k)
{
	PST_K16_TYPES(SET_K16)
}

#endif
