/* SPDX-License-Identifier: MIT */
/*
 * The formats with blocks of 32 weights, for mul_q8_neon_tmpl.h, after which
 * this is included.
 */
#ifndef PST_K_FMT_Q32_NEON_TMPL_H
#define PST_K_FMT_Q32_NEON_TMPL_H

/* The words of 16 bits that start the first @nr <= 4 blocks, or zero. */
PST_K_INLINE uint16x4_t block_halves(const uint8_t *p, uint32_t nr,
				     uint32_t bytes)
{
	uint16x4_t h = vdup_n_u16(0);
	uint32_t i;

#pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		if (i < nr)
			h[i] = pst_k_load_u16(p + i * bytes);
	return h;
}

/* Those of 32 bits. */
PST_K_INLINE uint32x4_t block_words(const uint8_t *p, uint32_t nr,
				    uint32_t bytes)
{
	uint32x4_t w = vdupq_n_u32(0);
	uint32_t i;

#pragma GCC unroll 4
	for (i = 0; i < 4; i++)
		if (i < nr)
			w[i] = pst_k_load_u32(p + i * bytes);
	return w;
}

PST_K_INLINE float32x4_t f32_of_halves(uint16x4_t h)
{
	return vcvt_f32_f16(vreinterpret_f16_u16(h));
}

/* Half-precision scales of blocks @bytes apart. */
PST_K_INLINE struct wscale block_scales(const uint8_t *p, uint32_t nr,
					uint32_t bytes)
{
	struct wscale s = no_scales();

	s.scale[0] = f32_of_halves(block_halves(p, nr, bytes));
	if (nr > 4)
		s.scale[1] = f32_of_halves(
			block_halves(p + 4 * (size_t)bytes, nr - 4, bytes));
	return s;
}

/* Scale and minimum side by side; of d q + m, the minimum is -m. */
PST_K_INLINE void affine4(struct wscale *s, int u, uint32x4_t words)
{
	uint16x8_t v = vreinterpretq_u16_u32(words);

	s->scale[u] = f32_of_halves(vmovn_u32(words));
	v = vuzp2q_u16(v, v);
	s->min[u] = vnegq_f32(f32_of_halves(vget_low_u16(v)));
}

PST_K_INLINE struct wscale affine_scales(const uint8_t *p, uint32_t nr,
					 uint32_t bytes)
{
	struct wscale s = no_scales();

	affine4(&s, 0, block_words(p, nr, bytes));
	if (nr > 4)
		affine4(&s, 1,
			block_words(p + 4 * (size_t)bytes, nr - 4, bytes));
	return s;
}

PST_K_INLINE struct wscale scales_q8_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q8_0_BYTES);
}

PST_K_INLINE struct codes codes_q8_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + c * PST_K_Q8_0_BYTES + 2;

	return codes_of(vld1q_u8(q), vld1q_u8(q + 16));
}

static const struct fmt fmt_q8_0 = {
	.bytes = 8 * PST_K_Q8_0_BYTES,
	.has_tail = true,
	.scales = scales_q8_0,
	.codes = codes_q8_0,
};

PST_K_INLINE struct wscale scales_q4_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q4_0_BYTES);
}

PST_K_INLINE struct codes codes_q4_0(const uint8_t *p, uint32_t c)
{
	return nibbles(p + c * PST_K_Q4_0_BYTES + 2);
}

static const struct fmt fmt_q4_0 = {
	.bytes = 8 * PST_K_Q4_0_BYTES,
	.offset = 8,
	.has_tail = true,
	.scales = scales_q4_0,
	.codes = codes_q4_0,
};

PST_K_INLINE struct wscale scales_q4_1(const uint8_t *p, uint32_t nr)
{
	return affine_scales(p, nr, PST_K_Q4_1_BYTES);
}

PST_K_INLINE struct codes codes_q4_1(const uint8_t *p, uint32_t c)
{
	return nibbles(p + c * PST_K_Q4_1_BYTES + 4);
}

static const struct fmt fmt_q4_1 = {
	.bytes = 8 * PST_K_Q4_1_BYTES,
	.has_min = true,
	.has_tail = true,
	.scales = scales_q4_1,
	.codes = codes_q4_1,
};

PST_K_INLINE struct wscale scales_q5_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q5_0_BYTES);
}

/* Fifth bits in a word at @b, the nibbles behind it. */
PST_K_INLINE struct codes fives(const uint8_t *b)
{
	const int8x16_t sixteen = vdupq_n_s8(16);
	struct codes high = bit_masks(pst_k_load_u32(b));
	struct codes w = nibbles(b + 4);

	w.half[0] = vorrq_s8(w.half[0], vandq_s8(high.half[0], sixteen));
	w.half[1] = vorrq_s8(w.half[1], vandq_s8(high.half[1], sixteen));
	return w;
}

PST_K_INLINE struct codes codes_q5_0(const uint8_t *p, uint32_t c)
{
	return fives(p + c * PST_K_Q5_0_BYTES + 2);
}

static const struct fmt fmt_q5_0 = {
	.bytes = 8 * PST_K_Q5_0_BYTES,
	.offset = 16,
	.has_tail = true,
	.scales = scales_q5_0,
	.codes = codes_q5_0,
};

PST_K_INLINE struct wscale scales_q5_1(const uint8_t *p, uint32_t nr)
{
	return affine_scales(p, nr, PST_K_Q5_1_BYTES);
}

PST_K_INLINE struct codes codes_q5_1(const uint8_t *p, uint32_t c)
{
	return fives(p + c * PST_K_Q5_1_BYTES + 4);
}

static const struct fmt fmt_q5_1 = {
	.bytes = 8 * PST_K_Q5_1_BYTES,
	.has_min = true,
	.has_tail = true,
	.scales = scales_q5_1,
	.codes = codes_q5_1,
};

PST_K_INLINE struct wscale scales_iq4_nl(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_IQ4_NL_BYTES);
}

PST_K_INLINE struct codes codes_iq4_nl(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + c * PST_K_IQ4_NL_BYTES + 2),
		      pst_k_iq4_values);
}

static const struct fmt fmt_iq4_nl = {
	.bytes = 8 * PST_K_IQ4_NL_BYTES,
	.has_tail = true,
	.scales = scales_iq4_nl,
	.codes = codes_iq4_nl,
};

/* As pst_k_mxfp4_scale(). */
PST_K_INLINE float32x4_t mxfp4_scales(uint32x4_t e)
{
	uint32x4_t normal = vsubq_u32(e, vdupq_n_u32(1)) << 23;
	uint32x4_t odd = vandq_u32(e, vdupq_n_u32(1));
	uint32x4_t tiny =
		vshlq_u32(vdupq_n_u32(0x00200000), vreinterpretq_s32_u32(odd));

	return vreinterpretq_f32_u32(
		vbslq_u32(vcltq_u32(e, vdupq_n_u32(2)), tiny, normal));
}

PST_K_INLINE struct wscale scales_mxfp4(const uint8_t *p, uint32_t nr)
{
	struct wscale s = no_scales();
	uint32_t u, i;

#pragma GCC unroll 2
	for (u = 0; u < 2; u++) {
		uint32x4_t e = vdupq_n_u32(0);

#pragma GCC unroll 4
		for (i = 0; i < 4; i++)
			if (4 * u + i < nr)
				e[i] = p[(4 * u + i) * PST_K_MXFP4_BYTES];
		s.scale[u] = mxfp4_scales(e);
	}
	return s;
}

PST_K_INLINE struct codes codes_mxfp4(const uint8_t *p, uint32_t c)
{
	return lookup(nibbles(p + c * PST_K_MXFP4_BYTES + 1),
		      pst_k_mxfp4_values);
}

static const struct fmt fmt_mxfp4 = {
	.bytes = 8 * PST_K_MXFP4_BYTES,
	.has_tail = true,
	.scales = scales_mxfp4,
	.codes = codes_mxfp4,
};

PST_K_Q32_TYPES(DEFINE_MUL)

#endif
