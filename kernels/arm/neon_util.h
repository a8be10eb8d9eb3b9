/* SPDX-License-Identifier: MIT */
/*
 * Small helpers of the NEON kernels (ARMv8.0).
 */
#ifndef PST_K_NEON_UTIL_H
#define PST_K_NEON_UTIL_H

#include <arm_neon.h>

#include "pst_tile.h"

PST_K_INLINE float load_f16(const void *p)
{
	float16x4_t h = vreinterpret_f16_u16(vdup_n_u16(pst_k_load_u16(p)));

	return vgetq_lane_f32(vcvt_f32_f16(h), 0);
}

PST_K_INLINE float load_bf16(const void *p)
{
	return pst_k_bits_f32((uint32_t)pst_k_load_u16(p) << 16);
}

/* Values i..i + 7 of a row: [0] has the first four. */
PST_K_INLINE float32x4x2_t load8_f32(const uint8_t *row, size_t i)
{
	const uint8_t *p = row + 4 * i;
	float32x4x2_t v = { { vreinterpretq_f32_u8(vld1q_u8(p)),
			      vreinterpretq_f32_u8(vld1q_u8(p + 16)) } };

	return v;
}

PST_K_INLINE float32x4x2_t f32_of_f16(uint8x16_t bytes)
{
	float16x8_t h = vreinterpretq_f16_u8(bytes);
	float32x4x2_t v = { { vcvt_f32_f16(vget_low_f16(h)),
			      vcvt_high_f32_f16(h) } };

	return v;
}

PST_K_INLINE float32x4x2_t load8_f16(const uint8_t *row, size_t i)
{
	return f32_of_f16(vld1q_u8(row + 2 * i));
}

PST_K_INLINE float32x4x2_t f32_of_bf16(uint8x16_t bytes)
{
	uint16x8_t h = vreinterpretq_u16_u8(bytes), zero = vdupq_n_u16(0);
	float32x4x2_t v = { { vreinterpretq_f32_u16(vzip1q_u16(zero, h)),
			      vreinterpretq_f32_u16(vzip2q_u16(zero, h)) } };

	return v;
}

PST_K_INLINE float32x4x2_t load8_bf16(const uint8_t *row, size_t i)
{
	return f32_of_bf16(vld1q_u8(row + 2 * i));
}

/* The first @nr <= 4 of four values, zero behind them. */
PST_K_INLINE float32x4_t load_part(const float *p, uint32_t nr)
{
	float part[4] = { 0 };

	if (nr == 4)
		return vld1q_f32(p);
	memcpy(part, p, nr * sizeof(*p));
	return vld1q_f32(part);
}

PST_K_INLINE void store_part(float *p, float32x4_t v, uint32_t nr)
{
	float part[4];

	if (nr == 4) {
		vst1q_f32(p, v);
		return;
	}
	vst1q_f32(part, v);
	memcpy(p, part, nr * sizeof(*p));
}

/* 2^n for -126 <= n <= 127 */
PST_K_INLINE float32x4_t pow2_4(int32x4_t n)
{
	return vreinterpretq_f32_s32(
		vshlq_n_s32(vaddq_s32(n, vdupq_n_s32(127)), 23));
}

/*
 * e^x to about an ulp: x = n ln 2 + r with |r| <= ln(2) / 2, and the Taylor
 * polynomial of degree 7 in r, whose first omitted term is below 2^-27.
 */
PST_K_INLINE float32x4_t exp4(float32x4_t x)
{
	static const float term[7] = { 1.0f,	  1.0f,	     0.5f,
				       1.0f / 6,  1.0f / 24, 1.0f / 120,
				       1.0f / 720 };
	float32x4_t n, r, p = vdupq_n_f32(1.0f / 5040);
	int32x4_t whole, half;
	int i;

	/* Beyond this e^x is infinite or zero; an infinite r would be NaN. */
	x = vmaxq_f32(vminq_f32(x, vdupq_n_f32(128)), vdupq_n_f32(-128));
	n = vrndnq_f32(vmulq_n_f32(x, 0x1.715476p+0f));
	r = vfmsq_f32(x, n, vdupq_n_f32(0x1.62e400p-1f));
	r = vfmsq_f32(r, n, vdupq_n_f32(0x1.7f7d1cp-20f));
#pragma GCC unroll 7
	for (i = 6; i >= 0; i--)
		p = vfmaq_f32(vdupq_n_f32(term[i]), p, r);
	/* 2^n in two steps, since n reaches beyond the exponents of float. */
	whole = vcvtq_s32_f32(n);
	half = vshrq_n_s32(whole, 1);
	p = vmulq_f32(p, pow2_4(half));
	return vmulq_f32(p, pow2_4(vsubq_s32(whole, half)));
}

/* x = e^(x - max), for @nr <= 4 values; returns them, zero behind. */
PST_K_INLINE float32x4_t exp_part(float *x, float max, uint32_t nr)
{
	float32x4_t e = load_part(x, nr);

	e = exp4(vsubq_f32(e, vdupq_n_f32(max)));
	store_part(x, e, nr);
	return load_part(x, nr);
}

/* x = e^(x - max x); returns the sum. */
PST_K_INLINE float exp_row(float *x, uint32_t n)
{
	float32x4_t high = vdupq_n_f32(-__builtin_inff());
	float32x4_t sum = vdupq_n_f32(0);
	float max;
	uint32_t i;

	for (i = 0; i + 4 <= n; i += 4)
		high = vmaxq_f32(high, vld1q_f32(x + i));
	max = vmaxvq_f32(high);
	for (; i < n; i++)
		max = x[i] > max ? x[i] : max;
	for (i = 0; i + 4 <= n; i += 4)
		sum = vaddq_f32(sum, exp_part(x + i, max, 4));
	if (i < n)
		sum = vaddq_f32(sum, exp_part(x + i, max, n - i));
	return vaddvq_f32(sum);
}

#endif
