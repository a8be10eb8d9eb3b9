// SPDX-License-Identifier: MIT
/*
 * Weights in F32, F16 and BF16, NEON: products with float activations, see
 * pst_mul_float_tmpl.h, and dequantisation.  A vector is a pair of registers.
 */
#include "arm_priv.h"
#include "neon_util.h"

#define LANES	 8
#define ONE_ROWS 4
#define FEW_ROWS 2
#define ROWS	 4
#define TOKENS	 3

typedef float32x4x2_t vec;

PST_K_INLINE vec vzero(void)
{
	return (vec){ { vdupq_n_f32(0), vdupq_n_f32(0) } };
}

PST_K_INLINE vec vload(const float *p)
{
	return load8_f32((const uint8_t *)p, 0);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	float part[8] = { 0 };

	memcpy(part, p, nr * sizeof(*p));
	return vload(part);
}

PST_K_INLINE vec vkeep(vec v)
{
	return v;
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return (vec){ { vfmaq_f32(c.val[0], a.val[0], b.val[0]),
			vfmaq_f32(c.val[1], a.val[1], b.val[1]) } };
}

PST_K_INLINE float vsum(vec v)
{
	return vaddvq_f32(vaddq_f32(v.val[0], v.val[1]));
}

PST_K_INLINE vec row_f32(const uint8_t *row, uint32_t i, uint32_t nr)
{
	if (nr == LANES)
		return load8_f32(row, i);
	return vload_part((const float *)row + i, nr);
}

/* The @nr < 8 values at the end of a row of 2-byte numbers. */
PST_K_INLINE uint8x16_t load_part16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	uint8_t part[16] = { 0 };

	memcpy(part, row + 2 * (size_t)i, 2 * nr);
	return vld1q_u8(part);
}

PST_K_INLINE vec row_f16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	if (nr == LANES)
		return load8_f16(row, i);
	return f32_of_f16(load_part16(row, i, nr));
}

PST_K_INLINE vec row_bf16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	if (nr == LANES)
		return load8_bf16(row, i);
	return f32_of_bf16(load_part16(row, i, nr));
}

#include "pst_mul_float_tmpl.h"

PST_K_INLINE void dequant(float *y, const uint8_t *row, uint32_t n,
			  const struct fmt *f)
{
	vec v;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		v = f->row(row, (uint32_t)i, 8);
		vst1q_f32(y + i, v.val[0]);
		vst1q_f32(y + i + 4, v.val[1]);
	}
	if (i < n) {
		uint32_t left = n - (uint32_t)i;

		v = f->row(row, (uint32_t)i, left);
		store_part(y + i, v.val[0], left < 4 ? left : 4);
		if (left > 4)
			store_part(y + i + 4, v.val[1], left - 4);
	}
}

static void pst_k_dequant_f16_neon(float *y, const void *row, uint32_t n)
{
	dequant(y, row, n, &fmt_f16);
}

static void pst_k_dequant_bf16_neon(float *y, const void *row, uint32_t n)
{
	dequant(y, row, n, &fmt_bf16);
}

void pst_k_fill_mul_float_neon(struct pst_kernels *k)
{
	fill_mul_float(k);
	k->types[PST_K_F16].dequant = pst_k_dequant_f16_neon;
	k->types[PST_K_BF16].dequant = pst_k_dequant_bf16_neon;
}
