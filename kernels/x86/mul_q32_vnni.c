// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX-512 with VNNI: the formats with
 * blocks of 32 weights; see mul_q8_512_tmpl.h.  Integer
 * parts are those of the reference; the float sums are bounded by a few eps
 * times the sum of |scale x code x activation|.
 */
#include "dot_vnni.h"
#include "fmt_q32_512_tmpl.h"
#include "x86_priv.h"

DEFINE_MUL512(q8_0)
DEFINE_MUL512(q4_0)
DEFINE_MUL512(q5_0)
DEFINE_MUL512(iq4_nl)
DEFINE_MUL512(mxfp4)

void pst_k_fill_mul_q32_vnni(struct pst_kernels *k)
{
	k->types[PST_K_Q8_0].mul = mul_q8_0;
	k->types[PST_K_Q4_0].mul = mul_q4_0;
	k->types[PST_K_Q5_0].mul = mul_q5_0;
	k->types[PST_K_IQ4_NL].mul = mul_iq4_nl;
	k->types[PST_K_MXFP4].mul = mul_mxfp4;
}
