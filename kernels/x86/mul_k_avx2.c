// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX2: the formats with super-blocks;
 * see mul_q8_256_tmpl.h.  Integer parts are those of the reference; the float
 * sums are bounded by a few eps times the sum of |scale x code x activation|.
 */
#include "dot_avx2.h"
#include "fmt_k_256_tmpl.h"
#include "x86_priv.h"

PST_K_SUPER_TYPES(DEFINE_MUL)

void pst_k_fill_mul_k_avx2(struct pst_kernels *k)
{
	PST_K_SUPER_TYPES(PST_K_SET_MUL)
}
