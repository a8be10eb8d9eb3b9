// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, ARMv8.2 dot product:
 * the formats of pst_k16.h; see
 * mul_q8_neon_tmpl.h and fmt_k16_neon_tmpl.h.
 */
#include "arm_priv.h"
#include "dot_dotprod.h"
#include "mul_q8_neon_tmpl.h"

#include "fmt_k16_neon_tmpl.h"

void pst_k_fill_mul_k16_dotprod(struct pst_kernels *k)
{
	PST_K_BOOK_TYPES(PST_K_SET_MUL)
	PST_K_PLAIN16_TYPES(PST_K_SET_MUL)
}
