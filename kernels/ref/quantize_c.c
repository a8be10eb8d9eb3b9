// SPDX-License-Identifier: MIT
/*
 * Activations to 8 bits in blocks of 32, and floats to half precision.  Both
 * are exact functions of their input: every ISA gives the same bits.
 *
 * A block with a NaN or an infinity gets it as its scale and zeros as codes,
 * so that it spoils the product instead of vanishing.  A block so small that
 * 1 / d overflows counts as zero.
 */
#include <math.h>

#include "pst_kpriv.h"

static void quantize_block(int8_t *q, float *d, int32_t *sum, const float *x)
{
	uint32_t max_bits = 0;
	float inv;
	int32_t s = 0;
	int j;

	/* Without the sign, float bits order like the values, NaN on top. */
	for (j = 0; j < 32; j++) {
		uint32_t bits = pst_k_f32_bits(x[j]) & 0x7fffffff;

		max_bits = bits > max_bits ? bits : max_bits;
	}
	*d = pst_k_bits_f32(max_bits) / 127.0f;
	inv = 1.0f / *d;
	if (isinf(inv)) {
		*d = 0;
		inv = 0;
	}
	for (j = 0; j < 32; j++) {
		float v = x[j] * inv;

		q[j] = isnan(v) ? 0 : (int8_t)lrintf(v);
		s += q[j];
	}
	*sum = s;
}

static void pst_k_quantize_c(int8_t *q, float *d, int32_t *sum, const float *x,
			     uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i += 32)
		quantize_block(q + i, d + i / 32, sum + i / 32, x + i);
}

static void pst_k_f32_to_f16_c(uint16_t *y, const float *x, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint16_t h = pst_k_f32_f16(x[i]);

		memcpy((uint8_t *)y + 2 * (size_t)i, &h, sizeof(h));
	}
}

void pst_k_fill_quantize_c(struct pst_kernels *k)
{
	k->quantize = pst_k_quantize_c;
	k->f32_to_f16 = pst_k_f32_to_f16_c;
}
