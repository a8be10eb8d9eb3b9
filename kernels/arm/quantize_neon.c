// SPDX-License-Identifier: MIT
/*
 * Activations to 8 bits and floats to half precision, NEON.  The same bits as
 * the reference, NaN, infinities and tiny blocks included.  No alignment.
 */
#include "arm_priv.h"
#include "neon_util.h"

/* Bits without the sign order like the values, NaN on top. */
PST_K_INLINE float max_abs(const float32x4_t v[8])
{
	uint32x4_t max = vdupq_n_u32(0);
	int j;

#pragma GCC unroll 8
	for (j = 0; j < 8; j++)
		max = vmaxq_u32(max, vreinterpretq_u32_f32(vabsq_f32(v[j])));
	return pst_k_bits_f32(vmaxvq_u32(max));
}

/* Codes of 16 values; a NaN converts to 0. */
PST_K_INLINE int8x16_t codes16(const float32x4_t v[4], float inv)
{
	int16x4_t h[4];
	int j;

#pragma GCC unroll 4
	for (j = 0; j < 4; j++)
		h[j] = vmovn_s32(vcvtnq_s32_f32(vmulq_n_f32(v[j], inv)));
	return vcombine_s8(vmovn_s16(vcombine_s16(h[0], h[1])),
			   vmovn_s16(vcombine_s16(h[2], h[3])));
}

static void pst_k_quantize_neon(int8_t *q, float *d, int32_t *sum,
				const float *x, uint32_t n)
{
	uint32_t i;
	int j;

	for (i = 0; i < n; i += 32) {
		float32x4_t v[8];
		float scale, inv;
		int8x16_t a, b;

#pragma GCC unroll 8
		for (j = 0; j < 8; j++)
			v[j] = vld1q_f32(x + i + 4 * j);
		scale = max_abs(v) / 127.0f;
		inv = 1.0f / scale;
		if (__builtin_isinf(inv)) {
			scale = 0;
			inv = 0;
		}
		a = codes16(v, inv);
		b = codes16(v + 4, inv);
		vst1q_s8(q + i, a);
		vst1q_s8(q + i + 16, b);
		d[i / 32] = scale;
		sum[i / 32] = vaddlvq_s8(a) + vaddlvq_s8(b);
	}
}

static void pst_k_f32_to_f16_neon(uint16_t *y, const float *x, uint32_t n)
{
	uint8_t *out = (uint8_t *)y;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		float16x4_t low = vcvt_f16_f32(vld1q_f32(x + i));
		float16x8_t all = vcvt_high_f16_f32(low, vld1q_f32(x + i + 4));

		vst1q_u8(out + 2 * (size_t)i, vreinterpretq_u8_f16(all));
	}
	for (; i < n; i++) {
		uint16_t h = pst_k_f32_f16(x[i]);

		memcpy(out + 2 * (size_t)i, &h, sizeof(h));
	}
}

void pst_k_fill_quantize_neon(struct pst_kernels *k)
{
	k->quantize = pst_k_quantize_neon;
	k->f32_to_f16 = pst_k_f32_to_f16_neon;
}
