// SPDX-License-Identifier: MIT
/*
 * The formats of pst_k16.h: IQ1, IQ2 and IQ3, TQ1_0, TQ2_0, Q1_0, Q2_0 and
 * NVFP4.  n is a multiple of the type's block; no alignment.
 */
#include "pst_k16.h"

static void put(float *y, const struct pst_k16 *v)
{
	int8_t code[16];
	int j;

	memcpy(code, v->codes, sizeof(code));
	for (j = 0; j < 16; j++)
		y[j] = v->scale * (float)code[j];
}

/* Two functions for each type. */
#define DEFINE(type, name, elems, kind)                                   \
	static void pst_k_dequant_##name##_c(float *y, const void *row,   \
					     uint32_t n)                  \
	{                                                                 \
		const uint8_t *p = row;                                   \
		uint32_t i, g;                                            \
                                                                          \
		for (i = 0; i < n; i += elems, p += PST_K_##type##_BYTES) \
			for (g = 0; g < elems / 16; g++) {                \
				struct pst_k16 v = pst_k16_expand_##kind( \
					pst_k16_##name(p, g));            \
                                                                          \
				put(y + i + 16 * g, &v);                  \
			}                                                 \
	}                                                                 \
                                                                          \
	static void pst_k_mul_##name##_c(const struct pst_kmul *m)        \
	{                                                                 \
		pst_k_mul_dequant_c(m, pst_k_dequant_##name##_c);         \
	}

PST_K16_TYPES(DEFINE)

#define ENTRY(type, name, elems, kind)                         \
	k->types[PST_K_##type] = (struct pst_ktype_ops){       \
		elems, PST_K_##type##_BYTES, PST_KACT_F32,     \
		pst_k_dequant_##name##_c, pst_k_mul_##name##_c \
	};

void pst_k_fill_dequant_k16_c(struct pst_kernels *k)
{
	PST_K16_TYPES(ENTRY)
}
