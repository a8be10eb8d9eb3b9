// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX-512 without VNNI: the formats with
 * super-blocks of 256 weights; see mul_q8_512_tmpl.h.  Integer
 * parts are those of the reference; the float sums are bounded by a few eps
 * times the sum of |scale x code x activation|.
 */
#include "dot_avx512.h"
#include "fmt_k_512_tmpl.h"
#include "x86_priv.h"

DEFINE_MUL512(q2_k)
DEFINE_MUL512(q3_k)
DEFINE_MUL512(q4_k)
DEFINE_MUL512(q5_k)
DEFINE_MUL512(q6_k)
DEFINE_MUL512(iq4_xs)

void pst_k_fill_mul_k_avx512(struct pst_kernels *k)
{
	k->types[PST_K_Q2_K].mul = mul_q2_k;
	k->types[PST_K_Q3_K].mul = mul_q3_k;
	k->types[PST_K_Q4_K].mul = mul_q4_k;
	k->types[PST_K_Q5_K].mul = mul_q5_k;
	k->types[PST_K_Q6_K].mul = mul_q6_k;
	k->types[PST_K_IQ4_XS].mul = mul_iq4_xs;
}
