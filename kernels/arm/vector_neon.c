// SPDX-License-Identifier: MIT
/*
 * Operations on one row of floats, NEON: rms_norm, swiglu, add, axpy, softmax.
 * No alignment, any n, nothing read or written past it.  add is exact; axpy
 * differs from the reference by the fused rounding; the others by a few ulp of
 * each value.
 */
#include <math.h>

#include "arm_priv.h"
#include "neon_util.h"

/* Four partial vectors, because each addition waits for the one before. */
static float sum_squares(const float *x, uint32_t n)
{
	float32x4_t acc[4];
	uint32_t i, j;

	for (j = 0; j < 4; j++)
		acc[j] = vdupq_n_f32(0);
	for (i = 0; i + 16 <= n; i += 16) {
#pragma GCC unroll 4
		for (j = 0; j < 4; j++) {
			float32x4_t v = vld1q_f32(x + i + 4 * j);

			acc[j] = vfmaq_f32(acc[j], v, v);
		}
	}
	for (; i < n; i += 4) {
		float32x4_t v = load_part(x + i, n - i < 4 ? n - i : 4);

		acc[0] = vfmaq_f32(acc[0], v, v);
	}
	return vaddvq_f32(vaddq_f32(vaddq_f32(acc[0], acc[1]),
				    vaddq_f32(acc[2], acc[3])));
}

/* Each of these does @nr <= 4 values. */
PST_K_INLINE void scale_part(float *y, const float *x, const float *w,
			     float scale, uint32_t nr)
{
	float32x4_t v = vmulq_n_f32(load_part(x, nr), scale);

	if (w)
		v = vmulq_f32(v, load_part(w, nr));
	store_part(y, v, nr);
}

PST_K_INLINE void swiglu_part(float *y, const float *g, const float *u,
			      uint32_t nr)
{
	float32x4_t v = load_part(g, nr);
	float32x4_t e = exp4(vnegq_f32(v));

	v = vdivq_f32(v, vaddq_f32(vdupq_n_f32(1), e));
	store_part(y, vmulq_f32(v, load_part(u, nr)), nr);
}

static void pst_k_rms_norm_neon(float *y, const float *x, const float *w,
				uint32_t n, float eps)
{
	float scale = 1.0f / sqrtf(sum_squares(x, n) / (float)n + eps);
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		scale_part(y + i, x + i, w ? w + i : NULL, scale, 4);
	if (i < n)
		scale_part(y + i, x + i, w ? w + i : NULL, scale, n - i);
}

static void pst_k_swiglu_neon(float *y, const float *g, const float *u,
			      uint32_t n)
{
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		swiglu_part(y + i, g + i, u + i, 4);
	if (i < n)
		swiglu_part(y + i, g + i, u + i, n - i);
}

static void pst_k_add_neon(float *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		vst1q_f32(y + i, vaddq_f32(vld1q_f32(y + i), vld1q_f32(x + i)));
	for (; i < n; i++)
		y[i] += x[i];
}

static void pst_k_axpy_neon(float *y, float a, const float *x, uint32_t n)
{
	const float32x4_t va = vdupq_n_f32(a);
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		vst1q_f32(y + i,
			  vfmaq_f32(vld1q_f32(y + i), va, vld1q_f32(x + i)));
	for (; i < n; i++)
		y[i] = __builtin_fmaf(a, x[i], y[i]);
}

static void pst_k_softmax_neon(float *x, uint32_t n)
{
	float inv = 1.0f / exp_row(x, n);
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		scale_part(x + i, x + i, NULL, inv, 4);
	if (i < n)
		scale_part(x + i, x + i, NULL, inv, n - i);
}

void pst_k_fill_vector_neon(struct pst_kernels *k)
{
	k->rms_norm = pst_k_rms_norm_neon;
	k->swiglu = pst_k_swiglu_neon;
	k->add = pst_k_add_neon;
	k->axpy = pst_k_axpy_neon;
	k->softmax = pst_k_softmax_neon;
}
