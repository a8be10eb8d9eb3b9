/* SPDX-License-Identifier: MIT */
/*
 * The formats with super-blocks of 256 weights, for mul_q8_neon_tmpl.h, after
 * which this is included.
 */
#ifndef PST_K_FMT_K_NEON_TMPL_H
#define PST_K_FMT_K_NEON_TMPL_H

PST_K_INLINE struct wscale scales_q2_k(const uint8_t *p, uint32_t nr)
{
	struct codes v = nibbles(p);
	struct wscale s;

	(void)nr;
	scale16(s.scale, v.half[0], load_f16(p + 80));
	scale16(s.min, v.half[1], load_f16(p + 82));
	return s;
}

PST_K_INLINE struct codes codes_q2_k(const uint8_t *p, uint32_t c)
{
	return pairs(p + 16, c);
}

static const struct fmt fmt_q2_k = {
	.bytes = PST_K_Q2_K_BYTES,
	.sub16 = true,
	.has_min = true,
	.scales = scales_q2_k,
	.codes = codes_q2_k,
};

/* Sixteen scales of 6 bits: nibbles, and pairs of bits above them. */
PST_K_INLINE struct wscale scales_q3_k(const uint8_t *p, uint32_t nr)
{
	static const int32_t by2[4] = { 0, -2, -4, -6 };
	struct wscale s = no_scales();
	uint8x8_t low = vld1_u8(p + 96);
	uint8x16_t v =
		vcombine_u8(vand_u8(low, vdup_n_u8(15)), vshr_n_u8(low, 4));
	uint32x4_t high =
		vshlq_u32(vdupq_n_u32(pst_k_load_u32(p + 104)), vld1q_s32(by2));
	uint8x16_t two = vandq_u8(vreinterpretq_u8_u32(high), vdupq_n_u8(3));

	(void)nr;
	v = vsubq_u8(vsliq_n_u8(v, two, 4), vdupq_n_u8(32));
	scale16(s.scale, vreinterpretq_s8_u8(v), load_f16(p + 108));
	return s;
}

/* A third bit over two: what lies above is cut off. */
PST_K_INLINE uint8x16_t code_q3_k(const uint8_t *qs, const uint8_t *hmask,
				  uint32_t c)
{
	uint8x16_t low = vld1q_u8(qs) >> (int)(2 * (c % 4));
	uint8x16_t high = vld1q_u8(hmask) >> (int)c;

	return vandq_u8(vsliq_n_u8(low, high, 2), vdupq_n_u8(7));
}

PST_K_INLINE struct codes codes_q3_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *qs = p + 32 + 32 * (c / 4);

	return codes_of(code_q3_k(qs, p, c), code_q3_k(qs + 16, p + 16, c));
}

static const struct fmt fmt_q3_k = {
	.bytes = PST_K_Q3_K_BYTES,
	.offset = 4,
	.sub16 = true,
	.scales = scales_q3_k,
	.codes = codes_q3_k,
};

/* Eight scales and eight minima, see pst_k_unpack_k4(). */
PST_K_INLINE struct wscale scales_q4_k(const uint8_t *p, uint32_t nr)
{
	const uint32_t a = pst_k_load_u32(p + 4), b = pst_k_load_u32(p + 8);
	const uint32_t c = pst_k_load_u32(p + 12);
	const uint32_t sc_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
	const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
	uint8x8_t sc = vcreate_u8((uint64_t)sc_hi << 32 | (a & 0x3f3f3f3f));
	uint8x8_t mn = vcreate_u8((uint64_t)mn_hi << 32 | (b & 0x3f3f3f3f));
	struct wscale s = no_scales();

	(void)nr;
	scale8(s.scale, vreinterpretq_s16_u16(vmovl_u8(sc)), load_f16(p));
	scale8(s.min, vreinterpretq_s16_u16(vmovl_u8(mn)), load_f16(p + 2));
	return s;
}

/* 32 bytes hold two chunks. */
PST_K_INLINE struct codes codes_q4_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *qs = p + 16 + 32 * (c / 2);
	uint8x16_t a = vld1q_u8(qs), b = vld1q_u8(qs + 16);

	if (c % 2)
		return codes_of(vshrq_n_u8(a, 4), vshrq_n_u8(b, 4));
	return codes_of(low_nibbles(a), low_nibbles(b));
}

static const struct fmt fmt_q4_k = {
	.bytes = PST_K_Q4_K_BYTES,
	.has_min = true,
	.scales = scales_q4_k,
	.codes = codes_q4_k,
};

PST_K_INLINE uint8x16_t code_q5_k(const uint8_t *qs, const uint8_t *qh,
				  uint32_t c)
{
	uint8x16_t low = vld1q_u8(qs) >> (int)(4 * (c % 2));
	uint8x16_t high = vld1q_u8(qh) >> (int)c;

	return vandq_u8(vsliq_n_u8(low, high, 4), vdupq_n_u8(31));
}

PST_K_INLINE struct codes codes_q5_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *qs = p + 48 + 32 * (c / 2), *qh = p + 16;

	return codes_of(code_q5_k(qs, qh, c), code_q5_k(qs + 16, qh + 16, c));
}

/* The scales lie as those of Q4_K. */
static const struct fmt fmt_q5_k = {
	.bytes = PST_K_Q5_K_BYTES,
	.has_min = true,
	.scales = scales_q4_k,
	.codes = codes_q5_k,
};

PST_K_INLINE struct wscale scales_q6_k(const uint8_t *p, uint32_t nr)
{
	struct wscale s = no_scales();

	(void)nr;
	scale16(s.scale, vreinterpretq_s8_u8(vld1q_u8(p + 192)),
		load_f16(p + 208));
	return s;
}

PST_K_INLINE uint8x16_t code_q6_k(const uint8_t *ql, const uint8_t *qh,
				  uint32_t c)
{
	uint8x16_t low = vld1q_u8(ql) >> (int)(c % 4 / 2 * 4);
	uint8x16_t high = vld1q_u8(qh) >> (int)(2 * (c % 4));

	return vandq_u8(vsliq_n_u8(low, high, 4), vdupq_n_u8(63));
}

PST_K_INLINE struct codes codes_q6_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *ql = p + 64 * (c / 4) + 32 * (c % 2);
	const uint8_t *qh = p + 128 + 32 * (c / 4);

	return codes_of(code_q6_k(ql, qh, c), code_q6_k(ql + 16, qh + 16, c));
}

static const struct fmt fmt_q6_k = {
	.bytes = PST_K_Q6_K_BYTES,
	.offset = 32,
	.sub16 = true,
	.scales = scales_q6_k,
	.codes = codes_q6_k,
};

/* Eight scales of 6 bits: nibbles, and pairs of bits above them. */
PST_K_INLINE struct wscale scales_iq4_xs(const uint8_t *p, uint32_t nr)
{
	static const int16_t by2[8] = { 0, -2, -4, -6, -8, -10, -12, -14 };
	struct wscale s = no_scales();
	uint8x8_t l = vcreate_u8(pst_k_load_u32(p + 4));
	uint16x8_t low =
		vmovl_u8(vzip1_u8(vand_u8(l, vdup_n_u8(15)), vshr_n_u8(l, 4)));
	uint16x8_t high =
		vshlq_u16(vdupq_n_u16(pst_k_load_u16(p + 2)), vld1q_s16(by2));

	(void)nr;
	high = vandq_u16(high, vdupq_n_u16(3));
	low = vsubq_u16(vsliq_n_u16(low, high, 4), vdupq_n_u16(32));
	scale8(s.scale, vreinterpretq_s16_u16(low), load_f16(p));
	return s;
}

PST_K_INLINE struct codes codes_iq4_xs(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + 8 + 16 * c), pst_k_iq4_values);
}

static const struct fmt fmt_iq4_xs = {
	.bytes = PST_K_IQ4_XS_BYTES,
	.scales = scales_iq4_xs,
	.codes = codes_iq4_xs,
};

PST_K_SUPER_TYPES(DEFINE_MUL)

#endif
