/* SPDX-License-Identifier: MIT */
/*
 * Dequantisation, 16 codes at a time in the bytes of an SSE register.  Included
 * by the file of an ISA after it has defined
 *
 *	put_scaled(y, codes, d)     y[0..16) = d * code, codes signed
 *	put_affine(y, codes, d, m)  y[0..16) = d * code + m, codes unsigned
 *
 * Products with a code are exact in float, so fusing the addition is harmless:
 * the same bits as the reference.  Reads whole blocks only, n as for the
 * reference; no alignment.
 */
#ifndef PST_K_DEQUANT_X86_TMPL_H
#define PST_K_DEQUANT_X86_TMPL_H

#include "scales_x86.h"

PST_K_INLINE __m128i load_codes(const uint8_t *p)
{
	return _mm_loadu_si128((const __m128i *)p);
}

/* (v >> shift) & mask in every byte; what crosses over is masked away. */
PST_K_INLINE __m128i field(__m128i v, int shift, int mask)
{
	return _mm_and_si128(_mm_srl_epi16(v, _mm_cvtsi32_si128(shift)),
			     _mm_set1_epi8((char)mask));
}

/* @value in the bytes of @v that have bit @bit set */
PST_K_INLINE __m128i if_bit(__m128i v, int bit, int value)
{
	const __m128i one = _mm_set1_epi8((char)(1 << bit));

	return _mm_and_si128(_mm_cmpeq_epi8(_mm_and_si128(v, one), one),
			     _mm_set1_epi8((char)value));
}

/* 16 in byte j where bit j of @bits is set */
PST_K_INLINE __m128i fifth_bit(uint32_t bits)
{
	const __m128i spread =
		_mm_set_epi8(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0, 0, 0, 0, 0);
	const __m128i bit = _mm_set1_epi64x((int64_t)0x8040201008040201ULL);
	__m128i v = _mm_shuffle_epi8(_mm_cvtsi32_si128((int)bits), spread);

	v = _mm_cmpeq_epi8(_mm_and_si128(v, bit), bit);
	return _mm_and_si128(v, _mm_set1_epi8(16));
}

static void dequant_q4_0(float *y, const void *row, uint32_t n)
{
	const __m128i offset = _mm_set1_epi8(8);
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_Q4_0_BYTES) {
		__m128i q = load_codes(p + 2);
		float d = load_f16(p);

		put_scaled(y + i, _mm_sub_epi8(field(q, 0, 15), offset), d);
		put_scaled(y + i + 16, _mm_sub_epi8(field(q, 4, 15), offset),
			   d);
	}
}

static void dequant_q4_1(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_Q4_1_BYTES) {
		__m128i q = load_codes(p + 4);
		float d = load_f16(p), m = load_f16(p + 2);

		put_affine(y + i, field(q, 0, 15), d, m);
		put_affine(y + i + 16, field(q, 4, 15), d, m);
	}
}

static void dequant_q5_0(float *y, const void *row, uint32_t n)
{
	const __m128i offset = _mm_set1_epi8(16);
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_Q5_0_BYTES) {
		__m128i q = load_codes(p + 6);
		uint32_t high = pst_k_load_u32(p + 2);
		__m128i a = _mm_or_si128(field(q, 0, 15), fifth_bit(high));
		__m128i b =
			_mm_or_si128(field(q, 4, 15), fifth_bit(high >> 16));
		float d = load_f16(p);

		put_scaled(y + i, _mm_sub_epi8(a, offset), d);
		put_scaled(y + i + 16, _mm_sub_epi8(b, offset), d);
	}
}

static void dequant_q5_1(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_Q5_1_BYTES) {
		__m128i q = load_codes(p + 8);
		uint32_t high = pst_k_load_u32(p + 4);
		float d = load_f16(p), m = load_f16(p + 2);

		put_affine(y + i,
			   _mm_or_si128(field(q, 0, 15), fifth_bit(high)), d,
			   m);
		put_affine(y + i + 16,
			   _mm_or_si128(field(q, 4, 15), fifth_bit(high >> 16)),
			   d, m);
	}
}

static void dequant_q8_0(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_Q8_0_BYTES) {
		float d = load_f16(p);

		put_scaled(y + i, load_codes(p + 2), d);
		put_scaled(y + i + 16, load_codes(p + 18), d);
	}
}

static void dequant_q2_k(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	float ds[16], m[16];
	uint32_t i;
	int g;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q2_K_BYTES) {
		const __m128i sc = load_codes(p);

		put_scaled(ds, field(sc, 0, 15), load_f16(p + 80));
		put_scaled(m, field(sc, 4, 15), -load_f16(p + 82));
#pragma GCC unroll 16
		for (g = 0; g < 16; g++) {
			const uint8_t *qs =
				p + 16 + 32 * (g / 8) + 16 * (g % 2);

			put_affine(y + i + 16 * g,
				   field(load_codes(qs), g & 6, 3), ds[g],
				   m[g]);
		}
	}
}

static void dequant_q3_k(float *y, const void *row, uint32_t n)
{
	const __m128i offset = _mm_set1_epi8(4);
	const uint8_t *p = row;
	float ds[16];
	uint32_t i;
	int g;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q3_K_BYTES) {
		put_scaled(ds, k3_scales(p + 96), load_f16(p + 108));
#pragma GCC unroll 16
		for (g = 0; g < 16; g++) {
			const uint8_t *qs =
				p + 32 + 32 * (g / 8) + 16 * (g % 2);
			__m128i q = field(load_codes(qs), g & 6, 3);
			__m128i high = load_codes(p + 16 * (g % 2));

			q = _mm_or_si128(q, if_bit(high, g / 2, 4));
			put_scaled(y + i + 16 * g, _mm_sub_epi8(q, offset),
				   ds[g]);
		}
	}
}

/* Scales and negated minima of Q4_K and Q5_K, in ds[0..8) and m[0..8). */
PST_K_INLINE void scales_k4(float ds[16], float m[16], const uint8_t *p)
{
	uint8_t sc[16] = { 0 }, mn[16] = { 0 };

	pst_k_unpack_k4(p + 4, sc, mn);
	put_scaled(ds, load_codes(sc), load_f16(p));
	put_scaled(m, load_codes(mn), -load_f16(p + 2));
}

static void dequant_q4_k(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	float ds[16], m[16];
	uint32_t i;
	int g;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q4_K_BYTES) {
		scales_k4(ds, m, p);
#pragma GCC unroll 16
		for (g = 0; g < 16; g++) {
			const uint8_t *qs =
				p + 16 + 32 * (g / 4) + 16 * (g % 2);

			put_affine(y + i + 16 * g,
				   field(load_codes(qs), 2 * (g & 2), 15),
				   ds[g / 2], m[g / 2]);
		}
	}
}

static void dequant_q5_k(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	float ds[16], m[16];
	uint32_t i;
	int g;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q5_K_BYTES) {
		scales_k4(ds, m, p);
#pragma GCC unroll 16
		for (g = 0; g < 16; g++) {
			const uint8_t *qs =
				p + 48 + 32 * (g / 4) + 16 * (g % 2);
			__m128i q = field(load_codes(qs), 2 * (g & 2), 15);
			__m128i high = load_codes(p + 16 + 16 * (g % 2));

			q = _mm_or_si128(q, if_bit(high, g / 2, 16));
			put_affine(y + i + 16 * g, q, ds[g / 2], m[g / 2]);
		}
	}
}

static void dequant_q6_k(float *y, const void *row, uint32_t n)
{
	const __m128i offset = _mm_set1_epi8(32);
	const uint8_t *p = row;
	float ds[16];
	uint32_t i;
	int g;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q6_K_BYTES) {
		put_scaled(ds, load_codes(p + 192), load_f16(p + 208));
#pragma GCC unroll 16
		for (g = 0; g < 16; g++) {
			const uint8_t *ql = p + 64 * (g / 8) + 16 * (g % 4);
			const uint8_t *qh =
				p + 128 + 32 * (g / 8) + 16 * (g % 2);
			__m128i q = field(load_codes(ql), g & 4, 15);
			__m128i h = field(load_codes(qh), g & 6, 3);

			q = _mm_or_si128(q, _mm_slli_epi16(h, 4));
			put_scaled(y + i + 16 * g, _mm_sub_epi8(q, offset),
				   ds[g]);
		}
	}
}

/* 32 weights whose codes index a table of 16 */
PST_K_INLINE void put_table(float *y, const uint8_t *qs, __m128i table, float d)
{
	__m128i q = load_codes(qs);

	put_scaled(y, _mm_shuffle_epi8(table, field(q, 0, 15)), d);
	put_scaled(y + 16, _mm_shuffle_epi8(table, field(q, 4, 15)), d);
}

static void dequant_iq4_nl(float *y, const void *row, uint32_t n)
{
	const __m128i table = load_codes((const uint8_t *)pst_k_iq4_values);
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_IQ4_NL_BYTES)
		put_table(y + i, p + 2, table, load_f16(p));
}

static void dequant_iq4_xs(float *y, const void *row, uint32_t n)
{
	const __m128i table = load_codes((const uint8_t *)pst_k_iq4_values);
	const uint8_t *p = row;
	uint32_t i;
	int b;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_IQ4_XS_BYTES) {
		int high = pst_k_load_u16(p + 2);
		float d = load_f16(p);

		for (b = 0; b < 8; b++) {
			int sc = p[4 + b / 2] >> 4 * (b % 2) & 15;

			sc |= (high >> 2 * b & 3) << 4;
			put_table(y + i + 32 * b, p + 8 + 16 * b, table,
				  d * (float)(sc - 32));
		}
	}
}

static void dequant_mxfp4(float *y, const void *row, uint32_t n)
{
	const __m128i table = load_codes((const uint8_t *)pst_k_mxfp4_values);
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_MXFP4_BYTES)
		put_table(y + i, p + 1, table, pst_k_mxfp4_scale(p[0]));
}

/* The dequantisations above; F16 and BF16 are the file's own. */
PST_K_INLINE void set_dequant(struct pst_kernels *k)
{
	k->types[PST_K_Q4_0].dequant = dequant_q4_0;
	k->types[PST_K_Q4_1].dequant = dequant_q4_1;
	k->types[PST_K_Q5_0].dequant = dequant_q5_0;
	k->types[PST_K_Q5_1].dequant = dequant_q5_1;
	k->types[PST_K_Q8_0].dequant = dequant_q8_0;
	k->types[PST_K_Q2_K].dequant = dequant_q2_k;
	k->types[PST_K_Q3_K].dequant = dequant_q3_k;
	k->types[PST_K_Q4_K].dequant = dequant_q4_k;
	k->types[PST_K_Q5_K].dequant = dequant_q5_k;
	k->types[PST_K_Q6_K].dequant = dequant_q6_k;
	k->types[PST_K_IQ4_NL].dequant = dequant_iq4_nl;
	k->types[PST_K_IQ4_XS].dequant = dequant_iq4_xs;
	k->types[PST_K_MXFP4].dequant = dequant_mxfp4;
}

#endif
