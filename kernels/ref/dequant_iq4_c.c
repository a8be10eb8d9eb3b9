// SPDX-License-Identifier: MIT
/*
 * The 4-bit formats whose codes index a table of values: IQ4_NL, IQ4_XS and
 * MXFP4.  n is a multiple of the block, 32, 256 and 32; no alignment.
 */
#include "pst_kpriv.h"

/* 32 weights: the low nibbles of 16 bytes, then their high nibbles. */
static void nibbles(float *y, const uint8_t *qs, const int8_t values[16],
		    float scale)
{
	int j;

	for (j = 0; j < 16; j++) {
		y[j] = scale * (float)values[qs[j] & 15];
		y[j + 16] = scale * (float)values[qs[j] >> 4];
	}
}

/* f16 d; u8 qs[16] */
static void pst_k_dequant_iq4_nl_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_IQ4_NL_BYTES)
		nibbles(y + i, p + 2, pst_k_iq4_values, pst_k_load_f16(p));
}

/* f16 d; u16 scales_h; u8 scales_l[4]; u8 qs[128] */
static void pst_k_dequant_iq4_xs_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;
	int b;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_IQ4_XS_BYTES) {
		float d = pst_k_load_f16(p);
		int high = pst_k_load_u16(p + 2);

		for (b = 0; b < 8; b++) {
			int sc = p[4 + b / 2] >> 4 * (b % 2) & 15;

			sc |= (high >> 2 * b & 3) << 4;
			nibbles(y + i + 32 * b, p + 8 + 16 * b,
				pst_k_iq4_values, d * (float)(sc - 32));
		}
	}
}

/* u8 e; u8 qs[16].  Code 8 is minus zero; its sign is not kept. */
static void pst_k_dequant_mxfp4_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 32, p += PST_K_MXFP4_BYTES)
		nibbles(y + i, p + 1, pst_k_mxfp4_values,
			pst_k_mxfp4_scale(p[0]));
}

static void set_type(struct pst_ktype_ops *t, uint32_t elems, uint32_t bytes,
		     pst_k_dequant_fn dequant)
{
	t->block_elems = elems;
	t->block_bytes = bytes;
	t->act = PST_KACT_Q8;
	t->dequant = dequant;
}

void pst_k_fill_dequant_iq4_c(struct pst_kernels *k)
{
	set_type(&k->types[PST_K_IQ4_NL], 32, PST_K_IQ4_NL_BYTES,
		 pst_k_dequant_iq4_nl_c);
	set_type(&k->types[PST_K_IQ4_XS], PST_K_SUPER, PST_K_IQ4_XS_BYTES,
		 pst_k_dequant_iq4_xs_c);
	set_type(&k->types[PST_K_MXFP4], 32, PST_K_MXFP4_BYTES,
		 pst_k_dequant_mxfp4_c);
}
