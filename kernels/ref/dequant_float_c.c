// SPDX-License-Identifier: MIT
/*
 * Weights stored as plain floating point: F32, F16 and BF16.  The values are
 * exact, so every ISA must give the same bits.  Any n; no alignment.
 */
#include "pst_kpriv.h"

static void pst_k_dequant_f32_c(float *y, const void *row, uint32_t n)
{
	memcpy(y, row, (size_t)n * sizeof(*y));
}

static void pst_k_dequant_f16_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i++)
		y[i] = pst_k_load_f16(p + 2 * (size_t)i);
}

static void pst_k_dequant_bf16_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i++)
		y[i] = pst_k_bits_f32(
			(uint32_t)pst_k_load_u16(p + 2 * (size_t)i) << 16);
}

static void pst_k_mul_f32_c(const struct pst_kmul *m)
{
	pst_k_mul_dequant_c(m, pst_k_dequant_f32_c);
}

static void pst_k_mul_f16_c(const struct pst_kmul *m)
{
	pst_k_mul_dequant_c(m, pst_k_dequant_f16_c);
}

static void pst_k_mul_bf16_c(const struct pst_kmul *m)
{
	pst_k_mul_dequant_c(m, pst_k_dequant_bf16_c);
}

static void set_type(struct pst_ktype_ops *t, uint32_t bytes,
		     pst_k_dequant_fn dequant)
{
	t->block_elems = 1;
	t->block_bytes = bytes;
	t->act = PST_KACT_F32;
	t->dequant = dequant;
}

void pst_k_fill_dequant_float_c(struct pst_kernels *k)
{
	set_type(&k->types[PST_K_F32], 4, pst_k_dequant_f32_c);
	set_type(&k->types[PST_K_F16], 2, pst_k_dequant_f16_c);
	set_type(&k->types[PST_K_BF16], 2, pst_k_dequant_bf16_c);
	k->types[PST_K_F32].mul = pst_k_mul_f32_c;
	k->types[PST_K_F16].mul = pst_k_mul_f16_c;
	k->types[PST_K_BF16].mul = pst_k_mul_bf16_c;
}
