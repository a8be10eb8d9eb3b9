/* SPDX-License-Identifier: MIT */
/*
 * The formats of pst_k16.h for an ISA: groups of 16 codes made float, and the
 * products by way of them.  Included after dequant_x86_tmpl.h by a file that
 * has defined, besides put_scaled(), MUL_DEQUANT as the product with rows that
 * a function makes float.  The same bits as the reference.
 */
#ifndef PST_K_DEQUANT_K16_X86_TMPL_H
#define PST_K_DEQUANT_K16_X86_TMPL_H

#include "pst_k16.h"

PST_K_INLINE void put_k16(float *y, struct pst_k16 v)
{
	put_scaled(y, _mm_set_epi64x((int64_t)v.codes[1], (int64_t)v.codes[0]),
		   v.scale);
}

#define DEFINE_K16(type, name, elems)                                          \
	static void dequant_##name(float *y, const void *row, uint32_t n)      \
	{                                                                      \
		const uint8_t *p = row;                                        \
		uint32_t i, g;                                                 \
                                                                               \
		for (i = 0; i < n; i += elems, p += PST_K_##type##_BYTES)      \
			for (g = 0; g < elems / 16; g++)                       \
				put_k16(y + i + 16 * g, pst_k16_##name(p, g)); \
	}                                                                      \
                                                                               \
	static void mul_##name(const struct pst_kmul *m)                       \
	{                                                                      \
		MUL_DEQUANT(m, dequant_##name);                                \
	}

PST_K16_TYPES(DEFINE_K16)

#define SET_K16(type, name, elems)                       \
	k->types[PST_K_##type].dequant = dequant_##name; \
	k->types[PST_K_##type].mul = mul_##name;

PST_K_INLINE void set_k16(struct pst_kernels *k)
{
	PST_K16_TYPES(SET_K16)
}

#endif
