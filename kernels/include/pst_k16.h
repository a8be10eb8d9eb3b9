/* SPDX-License-Identifier: MIT */
/*
 * The formats whose weights come in groups of 16 with one scale: the code-book
 * formats IQ1, IQ2 and IQ3, the ternary and binary ones, and NVFP4.  Turns the
 * bits of a group into 16 signed codes and the scale; what is done with them is
 * the includer's.  Private to kernels/; must not name an intrinsic.
 *
 * A weight is scale x code, exactly: a scale has at most 16 significant bits
 * and a code 6.  Bytes are handled eight at a time in a 64-bit word, the first
 * weight lowest.
 */
#ifndef PST_K16_H
#define PST_K16_H

#include "pst_kpriv.h"

/* Bytes of a block. */
enum {
	PST_K_IQ2_XXS_BYTES = 66,
	PST_K_IQ2_XS_BYTES = 74,
	PST_K_IQ3_XXS_BYTES = 98,
	PST_K_IQ1_S_BYTES = 50,
	PST_K_IQ3_S_BYTES = 110,
	PST_K_IQ2_S_BYTES = 82,
	PST_K_IQ1_M_BYTES = 56,
	PST_K_TQ1_0_BYTES = 54,
	PST_K_TQ2_0_BYTES = 66,
	PST_K_NVFP4_BYTES = 36,
	PST_K_Q1_0_BYTES = 18,
	PST_K_Q2_0_BYTES = 18,
};

/* Every type that is here: X(type, name, weights of a block, kind of code). */
#define PST_K16_TYPES(X)                          \
	X(IQ2_XXS, iq2_xxs, PST_K_SUPER, iq2)     \
	X(IQ2_XS, iq2_xs, PST_K_SUPER, iq2)       \
	X(IQ3_XXS, iq3_xxs, PST_K_SUPER, iq3_xxs) \
	X(IQ1_S, iq1_s, PST_K_SUPER, iq1)         \
	X(IQ3_S, iq3_s, PST_K_SUPER, iq3_s)       \
	X(IQ2_S, iq2_s, PST_K_SUPER, iq2)         \
	X(IQ1_M, iq1_m, PST_K_SUPER, iq1)         \
	X(TQ1_0, tq1_0, PST_K_SUPER, codes)       \
	X(TQ2_0, tq2_0, PST_K_SUPER, codes)       \
	X(NVFP4, nvfp4, 64, e2m1)                 \
	X(Q1_0, q1_0, 128, signs)                 \
	X(Q2_0, q2_0, 64, ternary)

/* Packed code books, see pst_iq_books.h. */
extern const uint16_t pst_k_iq2_xxs_grid[256];
extern const uint16_t pst_k_iq2_xs_grid[512];
extern const uint16_t pst_k_iq2_s_grid[1024];
extern const uint16_t pst_k_iq1_grid[2048];
extern const uint16_t pst_k_iq3_xxs_grid[256];
extern const uint16_t pst_k_iq3_s_grid[512];

/**
 * struct pst_k16 - 16 weights
 * @codes: signed bytes, the first weight in the lowest
 * @scale: weight = scale x code
 */
struct pst_k16 {
	uint64_t codes[2];
	float scale;
};

/**
 * struct pst_k16_bits - 16 weights before their digits are looked up
 * @digits: two entries of 2-bit digits, or four of 3-bit ones, 16 bits each;
 *	or eight bytes with the nibbles of weights j and j + 8
 * @signs: a bit for each weight, set where it is negative
 * @scale: as in struct pst_k16
 */
struct pst_k16_bits {
	uint64_t digits;
	uint32_t signs;
	float scale;
};

#define PST_K16_ONES  0x0101010101010101ULL
#define PST_K16_SIGNS (0x80 * PST_K16_ONES)

/* What the digits of the code books stand for, a byte each, from the lowest;
 * those of 2 bits twice. */
#define PST_K16_IQ2_VALUES     0x002b1908002b1908
#define PST_K16_IQ3_XXS_VALUES 0x3e342c241c140c04
#define PST_K16_IQ3_S_VALUES   0x0f0d0b0907050301
#define PST_K16_IQ1_VALUES     0x000901f9000901f9

/* Eight digits of 2 bits to bytes. */
static inline uint64_t pst_k16_spread2(uint32_t digits)
{
	uint64_t x = digits & 0xffff;

	x = (x | x << 24) & 0x000000ff000000ffULL;
	x = (x | x << 12) & 0x000f000f000f000fULL;
	return (x | x << 6) & 0x0303030303030303ULL;
}

/* Four digits of 3 bits to bytes, twice. */
static inline uint64_t pst_k16_spread3(uint32_t lower, uint32_t upper)
{
	uint64_t x = lower | (uint64_t)upper << 32;

	x = (x | x << 10) & 0x003f003f003f003fULL;
	return (x | x << 5) & 0x0707070707070707ULL;
}

/* 0xff in byte j where bit j is set */
static inline uint64_t pst_k16_mask(uint32_t bits)
{
	uint64_t x = (bits & 0xff) * PST_K16_ONES & 0x8040201008040201ULL;

	return ((x + 0x7f * PST_K16_ONES) >> 7 & PST_K16_ONES) * 0xff;
}

/* Codes, none of them 0, negated where bit j is set. */
static inline uint64_t pst_k16_negate(uint64_t codes, uint32_t bits)
{
	uint64_t m = pst_k16_mask(bits);

	return (codes ^ m) + (m & PST_K16_ONES);
}

/* An eighth sign makes the number of negative weights even. */
static inline uint32_t pst_k16_even_signs(uint32_t bits)
{
	return bits | (uint32_t)__builtin_parity(bits) << 7;
}

/* The digits of IQ2 mean 8, 25 and 43. */
static inline uint64_t pst_k16_iq2(uint32_t digits)
{
	uint64_t x = pst_k16_spread2(digits);

	return 17 * x + (x >> 1 & PST_K16_ONES) + 8 * PST_K16_ONES;
}

static inline struct pst_k16 pst_k16_expand_iq2(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	uint32_t k;

	for (k = 0; k < 2; k++)
		v.codes[k] = pst_k16_negate(
			pst_k16_iq2((uint32_t)(b.digits >> 16 * k)),
			b.signs >> 8 * k);
	return v;
}

/* f16 d; eight times { u8 index[4]; u32: 4 x 7 signs, 4 scale } */
static inline struct pst_k16_bits pst_k16_iq2_xxs(const uint8_t *p, uint32_t g)
{
	const uint8_t *q = p + 2 + 8 * (g / 2);
	uint32_t word = pst_k_load_u32(q + 4), k;
	struct pst_k16_bits v = { 0 };

	for (k = 0; k < 2; k++) {
		uint32_t l = 2 * (g % 2) + k;

		v.digits |= (uint64_t)pst_k_iq2_xxs_grid[q[l]] << 16 * k;
		v.signs |= pst_k16_even_signs(word >> 7 * l & 127) << 8 * k;
	}
	v.scale = pst_k_load_f16(p) * (0.5f + (float)(word >> 28)) * 0.25f;
	return v;
}

/* Scales of IQ2_XS and IQ2_S: a nibble for each group. */
static inline float pst_k16_iq2_scale(const uint8_t *p, const uint8_t *scales,
				      uint32_t g)
{
	int s = scales[g / 2] >> 4 * (g % 2) & 15;

	return pst_k_load_f16(p) * (0.5f + (float)s) * 0.25f;
}

/* f16 d; u16 qs[32]: 9 index, 7 signs; u8 scales[8] */
static inline struct pst_k16_bits pst_k16_iq2_xs(const uint8_t *p, uint32_t g)
{
	struct pst_k16_bits v = { 0 };
	uint32_t k;

	for (k = 0; k < 2; k++) {
		uint32_t q = pst_k_load_u16(p + 2 + 4 * g + 2 * k);

		v.digits |= (uint64_t)pst_k_iq2_xs_grid[q & 511] << 16 * k;
		v.signs |= pst_k16_even_signs(q >> 9) << 8 * k;
	}
	v.scale = pst_k16_iq2_scale(p, p + 66, g);
	return v;
}

/* f16 d; u8 index[32]; u8 signs[32]; u8 index_high[8]; u8 scales[8] */
static inline struct pst_k16_bits pst_k16_iq2_s(const uint8_t *p, uint32_t g)
{
	uint32_t high = p[66 + g / 2] >> 4 * (g % 2), k;
	struct pst_k16_bits v = { .signs = pst_k_load_u16(p + 34 + 2 * g) };

	for (k = 0; k < 2; k++) {
		uint32_t index = p[2 + 2 * g + k] | (high >> 2 * k & 3) << 8;

		v.digits |= (uint64_t)pst_k_iq2_s_grid[index] << 16 * k;
	}
	v.scale = pst_k16_iq2_scale(p, p + 74, g);
	return v;
}

/* The digits of IQ3_XXS mean 4, 12, 20 and so on to 52, and 62. */
static inline struct pst_k16 pst_k16_expand_iq3_xxs(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	uint32_t k;

	for (k = 0; k < 2; k++) {
		uint64_t x =
			pst_k16_spread3(b.digits >> 32 * k & 0xffff,
					b.digits >> (32 * k + 16) & 0xffff);

		x = 8 * x + 4 * PST_K16_ONES +
		    2 * ((x + PST_K16_ONES) >> 3 & PST_K16_ONES);
		v.codes[k] = pst_k16_negate(x, b.signs >> 8 * k);
	}
	return v;
}

/* Those of IQ3_S mean the odd numbers to 15. */
static inline struct pst_k16 pst_k16_expand_iq3_s(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	uint32_t k;

	for (k = 0; k < 2; k++) {
		uint64_t x =
			pst_k16_spread3(b.digits >> 32 * k & 0xffff,
					b.digits >> (32 * k + 16) & 0xffff);

		v.codes[k] =
			pst_k16_negate(2 * x + PST_K16_ONES, b.signs >> 8 * k);
	}
	return v;
}

/* f16 d; u8 index[64]; u32[8]: 4 x 7 signs, 4 scale */
static inline struct pst_k16_bits pst_k16_iq3_xxs(const uint8_t *p, uint32_t g)
{
	uint32_t word = pst_k_load_u32(p + 66 + 4 * (g / 2)), k;
	struct pst_k16_bits v = { 0 };

	for (k = 0; k < 4; k++)
		v.digits |= (uint64_t)pst_k_iq3_xxs_grid[p[2 + 4 * g + k]]
			    << 16 * k;
	for (k = 0; k < 2; k++) {
		uint32_t l = 2 * (g % 2) + k;

		v.signs |= pst_k16_even_signs(word >> 7 * l & 127) << 8 * k;
	}
	v.scale = pst_k_load_f16(p) * (0.5f + (float)(word >> 28)) * 0.5f;
	return v;
}

/* f16 d; u8 index[64]; u8 index_high[8]; u8 signs[32]; u8 scales[4] */
static inline struct pst_k16_bits pst_k16_iq3_s(const uint8_t *p, uint32_t g)
{
	uint32_t high = p[66 + g / 2] >> 4 * (g % 2), k;
	int s = p[106 + g / 4] >> 4 * (g / 2 % 2) & 15;
	struct pst_k16_bits v = { .signs = pst_k_load_u16(p + 74 + 2 * g) };

	for (k = 0; k < 4; k++) {
		uint32_t index = p[2 + 4 * g + k] | (high >> k & 1) << 8;

		v.digits |= (uint64_t)pst_k_iq3_s_grid[index] << 16 * k;
	}
	v.scale = pst_k_load_f16(p) * (float)(1 + 2 * s);
	return v;
}

/*
 * Eight times the weights of IQ1: digits mean -1, 0 and 1, and an eighth is
 * added to all of them or taken away.
 */
static inline struct pst_k16 pst_k16_expand_iq1(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	uint32_t k;

	for (k = 0; k < 2; k++) {
		uint64_t x = pst_k16_spread2((uint32_t)(b.digits >> 16 * k));
		uint64_t minus = pst_k16_mask(b.signs >> 8 * k);

		/* Biased by 128, so that no byte borrows from the next. */
		x = 8 * x + (128 - 7) * PST_K16_ONES -
		    (minus & 2 * PST_K16_ONES);
		v.codes[k] = x ^ PST_K16_SIGNS;
	}
	return v;
}

static inline struct pst_k16 pst_k16_expand_codes(struct pst_k16 v)
{
	return v;
}

/* f16 d; u8 index[32]; u16[8]: 4 x 3 index, 3 scale, 1 minus */
static inline struct pst_k16_bits pst_k16_iq1_s(const uint8_t *p, uint32_t g)
{
	uint32_t high = pst_k_load_u16(p + 34 + 2 * (g / 2)), k;
	struct pst_k16_bits v = { .signs = high & 0x8000 ? 0xffff : 0 };

	for (k = 0; k < 2; k++) {
		uint32_t l = 2 * (g % 2) + k;
		uint32_t index = p[2 + 2 * g + k] | (high >> 3 * l & 7) << 8;

		v.digits |= (uint64_t)pst_k_iq1_grid[index] << 16 * k;
	}
	v.scale =
		pst_k_load_f16(p) * (float)(2 * (high >> 12 & 7) + 1) * 0.125f;
	return v;
}

/*
 * u8 index[32]; u8[16]: 2 x { 3 index, 1 minus }; u16[4]: 4 x 3 scale, and a
 * quarter of d
 */
static inline struct pst_k16_bits pst_k16_iq1_m(const uint8_t *p, uint32_t g)
{
	uint32_t high = p[32 + g], d = 0, k;
	uint32_t s = pst_k_load_u16(p + 48 + 2 * (g / 4)) >> 3 * (g % 4) & 7;
	struct pst_k16_bits v = { 0 };

	for (k = 0; k < 4; k++)
		d |= (uint32_t)(p[49 + 2 * k] >> 4) << 4 * k;
	for (k = 0; k < 2; k++) {
		uint32_t part = high >> 4 * k;
		uint32_t index = p[2 * g + k] | (part & 7) << 8;

		v.digits |= (uint64_t)pst_k_iq1_grid[index] << 16 * k;
		v.signs |= (part & 8 ? 0xffu : 0) << 8 * k;
	}
	v.scale = pst_k_f16_f32((uint16_t)d) * (float)(2 * s + 1) * 0.125f;
	return v;
}

/* Bytes 0, 1, 2 to -1, 0, 1 */
static inline uint64_t pst_k16_less_one(uint64_t x)
{
	return (x + 127 * PST_K16_ONES) ^ PST_K16_SIGNS;
}

/*
 * u8 qs[48]; u8 qh[4]; f16 d.  A byte is a fraction of 256 in base 3, rounded
 * up: digit n is the whole part of 3 times what 3^n leaves below 1.  The
 * groups run through digit 0 of qs[0..32), digit 1, and so on; then of
 * qs[32..48); and the last has digits 0 to 3 of qh.
 */
static inline struct pst_k16 pst_k16_tq1_0(const uint8_t *p, uint32_t g)
{
	static const uint8_t pow3[5] = { 1, 3, 9, 27, 81 };
	uint8_t digit[16];
	struct pst_k16 v;
	uint32_t j;

	for (j = 0; j < 16; j++) {
		uint32_t at = 16 * (g % 2) + j, n = g / 2;

		if (g >= 10) {
			at = 32 + j;
			n = g - 10;
		}
		if (g == 15) {
			at = 48 + j % 4;
			n = j / 4;
		}
		digit[j] = (uint8_t)((p[at] * pow3[n] & 255) * 3 >> 8);
	}
	memcpy(v.codes, digit, sizeof(v.codes));
	v.codes[0] = pst_k16_less_one(v.codes[0]);
	v.codes[1] = pst_k16_less_one(v.codes[1]);
	v.scale = pst_k_load_f16(p + 52);
	return v;
}

/* u8 qs[64]; f16 d.  Bits 2l of 32 bytes are 32 weights. */
static inline struct pst_k16 pst_k16_tq2_0(const uint8_t *p, uint32_t g)
{
	struct pst_k16 v;
	uint32_t k;

	memcpy(v.codes, p + 32 * (g / 8) + 16 * (g % 2), sizeof(v.codes));
	for (k = 0; k < 2; k++)
		v.codes[k] = pst_k16_less_one(v.codes[k] >> (g & 6) &
					      3 * PST_K16_ONES);
	v.scale = pst_k_load_f16(p + 64);
	return v;
}

static inline struct pst_k16 pst_k16_expand_signs(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };

	v.codes[0] = pst_k16_mask(b.signs) | PST_K16_ONES;
	v.codes[1] = pst_k16_mask(b.signs >> 8) | PST_K16_ONES;
	return v;
}

static inline struct pst_k16 pst_k16_expand_ternary(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	uint32_t k;

	for (k = 0; k < 2; k++)
		v.codes[k] = pst_k16_less_one(
			pst_k16_spread2((uint32_t)(b.digits >> 16 * k)));
	return v;
}

static inline struct pst_k16 pst_k16_expand_e2m1(struct pst_k16_bits b)
{
	struct pst_k16 v = { .scale = b.scale };
	int8_t code[16];
	uint32_t j;

	for (j = 0; j < 8; j++) {
		code[j] = pst_k_mxfp4_values[b.digits >> 8 * j & 15];
		code[j + 8] = pst_k_mxfp4_values[b.digits >> (8 * j + 4) & 15];
	}
	memcpy(v.codes, code, sizeof(v.codes));
	return v;
}

/* f16 d; u8 qs[16].  A bit is a sign. */
static inline struct pst_k16_bits pst_k16_q1_0(const uint8_t *p, uint32_t g)
{
	struct pst_k16_bits v = { .signs = 0xffff ^
					   pst_k_load_u16(p + 2 + 2 * g),
				  .scale = pst_k_load_f16(p) };

	return v;
}

/* f16 d; u8 qs[16], two bits a weight */
static inline struct pst_k16_bits pst_k16_q2_0(const uint8_t *p, uint32_t g)
{
	struct pst_k16_bits v = { .digits = pst_k_load_u32(p + 2 + 4 * g),
				  .scale = pst_k_load_f16(p) };

	return v;
}

/* Half of an unsigned E4M3 number; 0x7f, which would be NaN, is 0. */
static inline float pst_k16_nvfp4_scale(uint8_t s)
{
	uint32_t e = s >> 3 & 15, m = s & 7;

	if (s == 0x7f)
		return 0;
	if (e == 0)
		return (float)m * 0x1p-10f;
	return pst_k_bits_f32((e + 127 - 8) << 23 | m << 20);
}

/* u8 scale[4]; u8 qs[32]: low nibbles of 8 bytes, then their high ones */
static inline struct pst_k16_bits pst_k16_nvfp4(const uint8_t *p, uint32_t g)
{
	struct pst_k16_bits v = { .scale = pst_k16_nvfp4_scale(p[g]) };

	memcpy(&v.digits, p + 4 + 8 * g, sizeof(v.digits));
	return v;
}

#endif
