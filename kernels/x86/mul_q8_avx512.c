// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX-512 without VNNI; see mul_q8_512_tmpl.h.
 * Integer parts are those of the reference; the float sums are bounded by a
 * few eps times the sum of |scale x code x activation|.
 */
#include "dot_avx512.h"
#include "mul_q8_512_tmpl.h"
#include "x86_priv.h"

static void pst_k_mul_q8_0_avx512(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q8_0);
}

static void pst_k_mul_q4_0_avx512(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q4_0);
}

static void pst_k_mul_q5_0_avx512(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q5_0);
}

static void pst_k_mul_q4_k_avx512(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q4_k);
}

static void pst_k_mul_q6_k_avx512(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q6_k);
}

void pst_k_fill_mul_q8_avx512(struct pst_kernels *k)
{
	k->types[PST_K_Q8_0].mul = pst_k_mul_q8_0_avx512;
	k->types[PST_K_Q4_0].mul = pst_k_mul_q4_0_avx512;
	k->types[PST_K_Q5_0].mul = pst_k_mul_q5_0_avx512;
	k->types[PST_K_Q4_K].mul = pst_k_mul_q4_k_avx512;
	k->types[PST_K_Q6_K].mul = pst_k_mul_q6_k_avx512;
}
