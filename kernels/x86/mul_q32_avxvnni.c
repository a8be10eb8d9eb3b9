// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX2 with AVX-VNNI: the formats with blocks of 32;
 * see mul_q8_256_tmpl.h.  Integer parts are those of the reference; the float
 * sums are bounded by a few eps times the sum of |scale x code x activation|.
 */
#include "dot_avxvnni.h"
#include "fmt_q32_256_tmpl.h"
#include "x86_priv.h"

PST_K_Q32_TYPES(DEFINE_MUL)

void pst_k_fill_mul_q32_avxvnni(struct pst_kernels *k)
{
	PST_K_Q32_TYPES(PST_K_SET_MUL)
}
