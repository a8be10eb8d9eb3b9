// SPDX-License-Identifier: MIT
/*
 * Attention, NEON; see pst_attn_tmpl.h.  No alignment; nothing past a key or a
 * value is read.
 */
#include "arm_priv.h"
#include "neon_util.h"

#define LANES 4
#define VECS  4

typedef float32x4_t vec;

PST_K_INLINE vec vload(const float *p)
{
	return vld1q_f32(p);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	return load_part(p, nr);
}

PST_K_INLINE void vstore(float *p, vec v)
{
	vst1q_f32(p, v);
}

PST_K_INLINE void vstore_part(float *p, vec v, uint32_t nr)
{
	store_part(p, v, nr);
}

PST_K_INLINE vec vset(float f)
{
	return vdupq_n_f32(f);
}

PST_K_INLINE vec vmul(vec a, vec b)
{
	return vmulq_f32(a, b);
}

PST_K_INLINE vec vsub(vec a, vec b)
{
	return vsubq_f32(a, b);
}

PST_K_INLINE vec vadd(vec a, vec b)
{
	return vaddq_f32(a, b);
}

PST_K_INLINE vec vmax(vec a, vec b)
{
	return vmaxq_f32(a, b);
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return vfmaq_f32(c, a, b);
}

PST_K_INLINE vec vexp(vec v)
{
	return exp4(v);
}

PST_K_INLINE float vsum(vec v)
{
	return vaddvq_f32(v);
}

PST_K_INLINE float vtop(vec v)
{
	return vmaxvq_f32(v);
}

PST_K_INLINE vec low_halves(vec a, vec b)
{
	return vcombine_f32(vget_low_f32(a), vget_low_f32(b));
}

PST_K_INLINE vec high_halves(vec a, vec b)
{
	return vcombine_f32(vget_high_f32(a), vget_high_f32(b));
}

PST_K_INLINE void vturn(vec *v)
{
	vec a0 = vtrn1q_f32(v[0], v[1]), a1 = vtrn2q_f32(v[0], v[1]);
	vec b0 = vtrn1q_f32(v[2], v[3]), b1 = vtrn2q_f32(v[2], v[3]);

	v[0] = low_halves(a0, b0);
	v[1] = low_halves(a1, b1);
	v[2] = high_halves(a0, b0);
	v[3] = high_halves(a1, b1);
}

#include "pst_attn_tmpl.h"

PST_K_INLINE vec row_f32(const uint8_t *row, uint32_t i, uint32_t nr)
{
	float part[LANES] = { 0 };

	memcpy(part, row + 4 * (size_t)i, nr * sizeof(*part));
	return vld1q_f32(part);
}

PST_K_INLINE vec row_f16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	uint16_t part[LANES] = { 0 };

	memcpy(part, row + 2 * (size_t)i, nr * sizeof(*part));
	return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(part)));
}

/* Four of the 32 numbers of a block, which have a scale. */
PST_K_INLINE vec row_q8_0(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + i / 32 * PST_K_Q8_0_BYTES;
	uint32_t bytes = pst_k_load_u32(p + 2 + i % 32);
	int16x8_t q = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(bytes)));

	(void)nr;
	return vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(q))),
			   load_f16(p));
}

static void pst_k_attn_f32_neon(const struct pst_kattn *a)
{
	attend(a, row_f32);
}

static void pst_k_attn_f16_neon(const struct pst_kattn *a)
{
	attend(a, row_f16);
}

static void pst_k_attn_q8_0_neon(const struct pst_kattn *a)
{
	attend(a, row_q8_0);
}

void pst_k_fill_attn_neon(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_neon;
	k->attn_f16 = pst_k_attn_f16_neon;
	k->attn_q8_0 = pst_k_attn_q8_0_neon;
}
