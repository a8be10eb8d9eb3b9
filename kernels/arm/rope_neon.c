// SPDX-License-Identifier: MIT
/*
 * Rotary position, NEON.  The two products of a value are fused into one
 * rounding.  No alignment; nothing past n_rot is touched.
 */
#include "arm_priv.h"
#include "neon_util.h"

PST_K_INLINE void rotate4(float32x4_t *a, float32x4_t *b, float32x4x2_t cs)
{
	float32x4_t x = *a, y = *b;

	*a = vfmsq_f32(vmulq_f32(x, cs.val[0]), y, cs.val[1]);
	*b = vfmaq_f32(vmulq_f32(y, cs.val[0]), x, cs.val[1]);
}

/* A pair as in rotate4(). */
PST_K_INLINE void rotate1(float *a, float *b, const float *cs)
{
	float x = *a, y = *b;

	*a = __builtin_fmaf(-y, cs[1], x * cs[0]);
	*b = __builtin_fmaf(x, cs[1], y * cs[0]);
}

static void pst_k_rope_norm_neon(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t i;

	for (i = 0; i + 8 <= n_rot; i += 8) {
		float32x4x2_t v = vld2q_f32(x + i);

		rotate4(&v.val[0], &v.val[1], vld2q_f32(cs + i));
		vst2q_f32(x + i, v);
	}
	for (; i < n_rot; i += 2)
		rotate1(x + i, x + i + 1, cs + i);
}

static void pst_k_rope_neox_neon(float *x, const float *cs, uint32_t n_rot)
{
	uint32_t half = n_rot / 2, i;

	for (i = 0; i + 4 <= half; i += 4) {
		float32x4_t a = vld1q_f32(x + i);
		float32x4_t b = vld1q_f32(x + i + half);

		rotate4(&a, &b, vld2q_f32(cs + 2 * (size_t)i));
		vst1q_f32(x + i, a);
		vst1q_f32(x + i + half, b);
	}
	for (; i < half; i++)
		rotate1(x + i, x + i + half, cs + 2 * (size_t)i);
}

void pst_k_fill_rope_neon(struct pst_kernels *k)
{
	k->rope_norm = pst_k_rope_norm_neon;
	k->rope_neox = pst_k_rope_neox_neon;
}
