/* SPDX-License-Identifier: MIT */
/*
 * The formats of pst_k16.h for mul_q8_neon_tmpl.h, after which this is
 * included.  Where digits and signs lie is said there; this file turns 32 of
 * them into codes, and the scales of 256 weights into units.
 */
#ifndef PST_K_FMT_K16_NEON_TMPL_H
#define PST_K_FMT_K16_NEON_TMPL_H

#include "pst_k16.h"

PST_K_INLINE int8x16_t lookup16(uint64_t values, uint8x16_t digits)
{
	return vqtbl1q_s8(vreinterpretq_s8_u64(vdupq_n_u64(values)), digits);
}

/* Sixteen digits of 2 bits, four in a byte, to bytes. */
PST_K_INLINE uint8x16_t spread2(uint32_t digits)
{
	static const uint8_t byte[16] = { 0, 0, 0, 0, 1, 1, 1, 1,
					  2, 2, 2, 2, 3, 3, 3, 3 };
	static const int8_t by2[16] = { 0, -2, -4, -6, 0, -2, -4, -6,
					0, -2, -4, -6, 0, -2, -4, -6 };
	uint8x16_t v = vreinterpretq_u8_u32(vdupq_n_u32(digits));

	v = vshlq_u8(vqtbl1q_u8(v, vld1q_u8(byte)), vld1q_s8(by2));
	return vandq_u8(v, vdupq_n_u8(3));
}

/* Sixteen of 3 bits, four in 16 bits. */
PST_K_INLINE uint8x16_t spread3(uint64_t digits)
{
	uint32x4_t x = vmovl_u16(vcreate_u16(digits));

	x = vandq_u32(vorrq_u32(x, x << 10), vdupq_n_u32(0x003f003f));
	x = vandq_u32(vorrq_u32(x, x << 5), vdupq_n_u32(0x07070707));
	return vreinterpretq_u8_u32(x);
}

PST_K_INLINE int8x16_t digits_iq2(uint64_t digits)
{
	return lookup16(PST_K16_IQ2_VALUES, spread2((uint32_t)digits));
}

PST_K_INLINE int8x16_t digits_iq3_xxs(uint64_t digits)
{
	return lookup16(PST_K16_IQ3_XXS_VALUES, spread3(digits));
}

PST_K_INLINE int8x16_t digits_iq3_s(uint64_t digits)
{
	return lookup16(PST_K16_IQ3_S_VALUES, spread3(digits));
}

PST_K_INLINE int8x16_t digits_iq1(uint64_t digits)
{
	return lookup16(PST_K16_IQ1_VALUES, spread2((uint32_t)digits));
}

/* Codes are negated where the sign is set; @minus is 0 or -1. */
PST_K_INLINE int8x16_t negate(int8x16_t v, int8x16_t minus)
{
	return vsubq_s8(veorq_s8(v, minus), minus);
}

#define signed_iq2     negate
#define signed_iq3_xxs negate
#define signed_iq3_s   negate

/* The sign takes an eighth away instead of adding it: 2 in these codes. */
PST_K_INLINE int8x16_t signed_iq1(int8x16_t v, int8x16_t minus)
{
	return vaddq_s8(v, vaddq_s8(minus, minus));
}

/* 2 s + 1 */
PST_K_INLINE uint8x16_t odd(uint8x16_t s)
{
	return vsliq_n_u8(vdupq_n_u8(1), s, 1);
}

/* Sixteen nibbles s to (2 s + 1) d. */
PST_K_INLINE struct wscale nibble_scales(const uint8_t *scales,
					 const uint8_t *d)
{
	struct wscale s = no_scales();
	uint8x8_t v = vld1_u8(scales);
	uint8x8_t low = vand_u8(v, vdup_n_u8(15)), high = vshr_n_u8(v, 4);
	uint8x16_t n = vcombine_u8(vzip1_u8(low, high), vzip2_u8(low, high));

	scale16(s.scale, vreinterpretq_s8_u8(odd(n)), load_f16(d) * 0.125f);
	return s;
}

/* Eight s in words to (2 s + 1) d. */
PST_K_INLINE struct wscale word_scales(uint32x4_t a, uint32x4_t b, float d)
{
	const uint32x4_t one = vdupq_n_u32(1);
	struct wscale s = no_scales();

	a = vsliq_n_u32(one, a, 1);
	b = vsliq_n_u32(one, b, 1);
	s.scale[0] = vmulq_n_f32(vcvtq_f32_u32(a), d);
	s.scale[1] = vmulq_n_f32(vcvtq_f32_u32(b), d);
	return s;
}

PST_K_INLINE uint32x4_t load_words(const uint8_t *p)
{
	return vreinterpretq_u32_u8(vld1q_u8(p));
}

PST_K_INLINE struct wscale scales_iq2_xxs(const uint8_t *p, uint32_t nr)
{
	/* Every other word. */
	uint32x4_t a = vuzp2q_u32(load_words(p + 2), load_words(p + 18));
	uint32x4_t b = vuzp2q_u32(load_words(p + 34), load_words(p + 50));

	(void)nr;
	return word_scales(vshrq_n_u32(a, 28), vshrq_n_u32(b, 28),
			   load_f16(p) * 0.125f);
}

PST_K_INLINE struct wscale scales_iq2_xs(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return nibble_scales(p + 66, p);
}

PST_K_INLINE struct wscale scales_iq2_s(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return nibble_scales(p + 74, p);
}

PST_K_INLINE struct wscale scales_iq3_xxs(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return word_scales(vshrq_n_u32(load_words(p + 66), 28),
			   vshrq_n_u32(load_words(p + 82), 28),
			   load_f16(p) * 0.25f);
}

PST_K_INLINE struct wscale scales_iq3_s(const uint8_t *p, uint32_t nr)
{
	static const int32_t by4[8] = { 0, -4, -8, -12, -16, -20, -24, -28 };
	const uint32x4_t nibble = vdupq_n_u32(15);
	uint32x4_t v = vdupq_n_u32(pst_k_load_u32(p + 106));

	(void)nr;
	return word_scales(vandq_u32(vshlq_u32(v, vld1q_s32(by4)), nibble),
			   vandq_u32(vshlq_u32(v, vld1q_s32(by4 + 4)), nibble),
			   load_f16(p));
}

PST_K_INLINE struct wscale scales_iq1_s(const uint8_t *p, uint32_t nr)
{
	uint16x8_t v = vreinterpretq_u16_u8(vld1q_u8(p + 34));

	(void)nr;
	v = vandq_u16(vshrq_n_u16(v, 12), vdupq_n_u16(7));
	return word_scales(vmovl_u16(vget_low_u16(v)), vmovl_high_u16(v),
			   load_f16(p) * 0.125f);
}

/* A word of 16 bits has the four scales of a unit, and a quarter of d. */
PST_K_INLINE struct wscale scales_iq1_m(const uint8_t *p, uint32_t nr)
{
	static const int32_t by3[4] = { 0, -3, -6, -9 };
	struct wscale s = no_scales();
	uint16_t d = 0;
	float by;
	int u;

	(void)nr;
#pragma GCC unroll 4
	for (u = 0; u < 4; u++)
		d |= (uint16_t)((p[49 + 2 * u] >> 4) << 4 * u);
	by = load_f16(&d) * 0.125f;
#pragma GCC unroll 4
	for (u = 0; u < 4; u++) {
		uint32x4_t v = vdupq_n_u32(pst_k_load_u16(p + 48 + 2 * u));

		v = vandq_u32(vshlq_u32(v, vld1q_s32(by3)), vdupq_n_u32(7));
		v = vsliq_n_u32(vdupq_n_u32(1), v, 1);
		s.scale[u] = vmulq_n_f32(vcvtq_f32_u32(v), by);
	}
	return s;
}

#define DEFINE_BOOK(type, name, kind, by16)                                  \
	PST_K_INLINE struct codes codes_##name(const uint8_t *p, uint32_t c) \
	{                                                                    \
		struct pst_k16_bits a = pst_k16_##name(p, 2 * c);            \
		struct pst_k16_bits b = pst_k16_##name(p, 2 * c + 1);        \
		struct codes v = { { digits_##kind(a.digits),                \
				     digits_##kind(b.digits) } };            \
		struct codes m = bit_masks(a.signs | b.signs << 16);         \
                                                                             \
		v.half[0] = signed_##kind(v.half[0], m.half[0]);             \
		v.half[1] = signed_##kind(v.half[1], m.half[1]);             \
		return v;                                                    \
	}                                                                    \
                                                                             \
	static const struct fmt fmt_##name = {                               \
		.bytes = PST_K_##type##_BYTES,                               \
		.sub16 = by16,                                               \
		.long_codes = true,                                          \
		.scales = scales_##name,                                     \
		.codes = codes_##name,                                       \
	};

PST_K_BOOK_TYPES(DEFINE_BOOK)

/* One scale for all. */
PST_K_INLINE struct wscale one_scale(const uint8_t *d)
{
	struct wscale s = no_scales();

	s.scale[0] = s.scale[1] = vdupq_n_f32(load_f16(d));
	return s;
}

PST_K_INLINE struct wscale scales_tq2_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return one_scale(p + 64);
}

PST_K_INLINE struct codes codes_tq2_0(const uint8_t *p, uint32_t c)
{
	return pairs(p, c);
}

static const struct fmt fmt_tq2_0 = {
	.bytes = PST_K_TQ2_0_BYTES,
	.offset = 1,
	.scales = scales_tq2_0,
	.codes = codes_tq2_0,
};

PST_K_INLINE struct wscale scales_tq1_0(const uint8_t *p, uint32_t nr)
{
	(void)nr;
	return one_scale(p + 52);
}

/* The whole part of three times a fraction of 256. */
PST_K_INLINE uint8x16_t ternary_digit(uint8x16_t v)
{
	return vshrq_n_u8(vhaddq_u8(v, vshrq_n_u8(v, 1)), 6);
}

/* Group @g of 16: its bytes times their power of 3, see pst_k16_tq1_0(). */
PST_K_INLINE uint8x16_t digits_tq1_0(const uint8_t *p, uint32_t g)
{
	static const uint8_t pow3[5] = { 1, 3, 9, 27, 81 };
	static const uint8_t last[16] = { 1, 1, 1, 1, 3,  3,  3,  3,
					  9, 9, 9, 9, 27, 27, 27, 27 };
	uint8x16_t v;

	if (g == 15) {
		v = vreinterpretq_u8_u32(vdupq_n_u32(pst_k_load_u32(p + 48)));
		return ternary_digit(vmulq_u8(v, vld1q_u8(last)));
	}
	v = vld1q_u8(g < 10 ? p + 16 * (g % 2) : p + 32);
	return ternary_digit(
		vmulq_u8(v, vdupq_n_u8(pow3[g < 10 ? g / 2 : g - 10])));
}

PST_K_INLINE struct codes codes_tq1_0(const uint8_t *p, uint32_t c)
{
	return codes_of(digits_tq1_0(p, 2 * c), digits_tq1_0(p, 2 * c + 1));
}

static const struct fmt fmt_tq1_0 = {
	.bytes = PST_K_TQ1_0_BYTES,
	.offset = 1,
	.scales = scales_tq1_0,
	.codes = codes_tq1_0,
};

/*
 * Four scales to a block of 64; as half-precision numbers they have the same
 * exponents 7 lower.  0x7f, which would be NaN, is 0.
 */
PST_K_INLINE struct wscale scales_nvfp4(const uint8_t *p, uint32_t nr)
{
	struct wscale s = no_scales();
	uint32_t u;

#pragma GCC unroll 4
	for (u = 0; u < 4; u++) {
		uint8x8_t v = vdup_n_u8(0);
		uint16x4_t h;

		if (2 * u >= nr)
			break;
		v = vcreate_u8(pst_k_load_u32(p + u * PST_K_NVFP4_BYTES));
		v = vbic_u8(v, vceq_u8(v, vdup_n_u8(0x7f)));
		v = vand_u8(v, vdup_n_u8(0x7f));
		h = vget_low_u16(vshll_n_u8(v, 7));
		s.scale[u] =
			vmulq_n_f32(vcvt_f32_f16(vreinterpret_f16_u16(h)), 128);
	}
	return s;
}

/* 8 bytes have the nibbles of 16 weights, all the low ones first. */
PST_K_INLINE struct codes codes_nvfp4(const uint8_t *p, uint32_t c)
{
	struct codes n =
		nibbles(p + PST_K_NVFP4_BYTES * (c / 2) + 4 + 16 * (c % 2));
	int64x2_t low = vreinterpretq_s64_s8(n.half[0]);
	int64x2_t high = vreinterpretq_s64_s8(n.half[1]);

	n.half[0] = vreinterpretq_s8_s64(vzip1q_s64(low, high));
	n.half[1] = vreinterpretq_s8_s64(vzip2q_s64(low, high));
	return lookup(n, pst_k_mxfp4_values);
}

static const struct fmt fmt_nvfp4 = {
	.bytes = 4 * PST_K_NVFP4_BYTES,
	.sub16 = true,
	.has_tail = true,
	.scales = scales_nvfp4,
	.codes = codes_nvfp4,
};

/* A block is a unit. */
PST_K_INLINE struct wscale scales_q1_0(const uint8_t *p, uint32_t nr)
{
	struct wscale s = one_scale(p);

	if (nr > 4)
		s.scale[1] = vdupq_n_f32(load_f16(p + PST_K_Q1_0_BYTES));
	return s;
}

/* 1 where the bit is set, else -1 */
PST_K_INLINE struct codes codes_q1_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q1_0_BYTES * (c / 4) + 2 + 4 * (c % 4);
	const int8x16_t one = vdupq_n_s8(1);
	struct codes m = bit_masks(pst_k_load_u32(q));

	m.half[0] = vornq_s8(one, m.half[0]);
	m.half[1] = vornq_s8(one, m.half[1]);
	return m;
}

static const struct fmt fmt_q1_0 = {
	.bytes = 2 * PST_K_Q1_0_BYTES,
	.has_tail = true,
	.scales = scales_q1_0,
	.codes = codes_q1_0,
};

/* A unit is two blocks. */
PST_K_INLINE struct wscale scales_q2_0(const uint8_t *p, uint32_t nr)
{
	struct wscale s = no_scales();
	uint32_t u;

#pragma GCC unroll 2
	for (u = 0; u < 2; u++) {
		const uint8_t *q = p + 2 * PST_K_Q2_0_BYTES * u;
		float a, b = 0;

		if (4 * u >= nr)
			break;
		a = load_f16(q);
		if (4 * u + 2 < nr)
			b = load_f16(q + PST_K_Q2_0_BYTES);
		s.scale[u] = vcombine_f32(vdup_n_f32(a), vdup_n_f32(b));
	}
	return s;
}

PST_K_INLINE struct codes codes_q2_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + PST_K_Q2_0_BYTES * (c / 2) + 2 + 8 * (c % 2);

	return codes_of(spread2(pst_k_load_u32(q)),
			spread2(pst_k_load_u32(q + 4)));
}

static const struct fmt fmt_q2_0 = {
	.bytes = 4 * PST_K_Q2_0_BYTES,
	.offset = 1,
	.has_tail = true,
	.scales = scales_q2_0,
	.codes = codes_q2_0,
};

PST_K_BOOK_TYPES(DEFINE_MUL)
PST_K_PLAIN16_TYPES(DEFINE_MUL)

#endif
