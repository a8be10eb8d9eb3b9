/* SPDX-License-Identifier: MIT */
/*
 * Products of F32, F16 and BF16 weights from a set's tile function.  Included
 * by a file that has defined
 *
 *	TILE_NR, TILE_TOKENS   rows and tokens of a tile, see tile_mul()
 *	fmt_f32, fmt_f16, fmt_bf16
 *	                       how a struct fmt reads each type
 *	tile_float(m, r, i, nr, nt, f)
 *	                       a tile of weights that are read by @f
 */
#ifndef PST_MUL_FLOAT_TMPL_H
#define PST_MUL_FLOAT_TMPL_H

#include "pst_tile.h"

PST_K_INLINE void tile_f32(const struct pst_kmul *m, uint32_t r, uint32_t i,
			   int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_f32);
}

PST_K_INLINE void tile_f16(const struct pst_kmul *m, uint32_t r, uint32_t i,
			   int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_f16);
}

PST_K_INLINE void tile_bf16(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_bf16);
}

static void mul_f32(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_f32);
}

static void mul_f16(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_f16);
}

static void mul_bf16(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_bf16);
}

static void fill_mul_float(struct pst_kernels *k)
{
	k->types[PST_K_F32].mul = mul_f32;
	k->types[PST_K_F16].mul = mul_f16;
	k->types[PST_K_BF16].mul = mul_bf16;
}

#endif
