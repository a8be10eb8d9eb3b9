// SPDX-License-Identifier: MIT
/*
 * The formats with blocks of 32 weights and one half-precision scale: Q4_0,
 * Q4_1, Q5_0, Q5_1 and Q8_0.  Byte j of the codes holds weight j in its low
 * and weight j + 16 in its high nibble; a fifth bit lies in a 32-bit word.
 * n is a multiple of 32; no alignment.
 */
#include "pst_kpriv.h"

/* f16 d; u8 qs[16] */
static void pst_k_dequant_q4_0_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i, j;

	for (i = 0; i < n; i += 32, p += PST_K_Q4_0_BYTES) {
		float d = pst_k_load_f16(p);

		for (j = 0; j < 16; j++) {
			y[i + j] = d * (float)((p[2 + j] & 15) - 8);
			y[i + j + 16] = d * (float)((p[2 + j] >> 4) - 8);
		}
	}
}

/* f16 d; f16 m; u8 qs[16] */
static void pst_k_dequant_q4_1_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i, j;

	for (i = 0; i < n; i += 32, p += PST_K_Q4_1_BYTES) {
		float d = pst_k_load_f16(p);
		float m = pst_k_load_f16(p + 2);

		for (j = 0; j < 16; j++) {
			y[i + j] = d * (float)(p[4 + j] & 15) + m;
			y[i + j + 16] = d * (float)(p[4 + j] >> 4) + m;
		}
	}
}

/* f16 d; u32 qh; u8 qs[16] */
static void pst_k_dequant_q5_0_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i, j;

	for (i = 0; i < n; i += 32, p += PST_K_Q5_0_BYTES) {
		float d = pst_k_load_f16(p);
		uint32_t qh = pst_k_load_u32(p + 2);

		for (j = 0; j < 16; j++) {
			uint32_t h0 = (qh >> j & 1) << 4;
			uint32_t h1 = (qh >> (j + 16) & 1) << 4;
			int q0 = (int)((p[6 + j] & 15) | h0) - 16;
			int q1 = (int)((p[6 + j] >> 4) | h1) - 16;

			y[i + j] = d * (float)q0;
			y[i + j + 16] = d * (float)q1;
		}
	}
}

/* f16 d; f16 m; u32 qh; u8 qs[16] */
static void pst_k_dequant_q5_1_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i, j;

	for (i = 0; i < n; i += 32, p += PST_K_Q5_1_BYTES) {
		float d = pst_k_load_f16(p);
		float m = pst_k_load_f16(p + 2);
		uint32_t qh = pst_k_load_u32(p + 4);

		for (j = 0; j < 16; j++) {
			uint32_t h0 = (qh >> j & 1) << 4;
			uint32_t h1 = (qh >> (j + 16) & 1) << 4;

			y[i + j] = d * (float)((p[8 + j] & 15) | h0) + m;
			y[i + j + 16] = d * (float)((p[8 + j] >> 4) | h1) + m;
		}
	}
}

/* f16 d; i8 qs[32] */
static void pst_k_dequant_q8_0_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i, j;

	for (i = 0; i < n; i += 32, p += PST_K_Q8_0_BYTES) {
		float d = pst_k_load_f16(p);

		for (j = 0; j < 32; j++)
			y[i + j] = d * (float)(int8_t)p[2 + j];
	}
}

static void set_type(struct pst_ktype_ops *t, uint32_t bytes,
		     pst_k_dequant_fn dequant)
{
	t->block_elems = 32;
	t->block_bytes = bytes;
	t->act = PST_KACT_Q8;
	t->dequant = dequant;
}

void pst_k_fill_dequant_q32_c(struct pst_kernels *k)
{
	set_type(&k->types[PST_K_Q4_0], PST_K_Q4_0_BYTES, pst_k_dequant_q4_0_c);
	set_type(&k->types[PST_K_Q4_1], PST_K_Q4_1_BYTES, pst_k_dequant_q4_1_c);
	set_type(&k->types[PST_K_Q5_0], PST_K_Q5_0_BYTES, pst_k_dequant_q5_0_c);
	set_type(&k->types[PST_K_Q5_1], PST_K_Q5_1_BYTES, pst_k_dequant_q5_1_c);
	set_type(&k->types[PST_K_Q8_0], PST_K_Q8_0_BYTES, pst_k_dequant_q8_0_c);
}
