// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, ARMv8.2 dot product:
 * the formats with blocks of 32; see
 * mul_q8_neon_tmpl.h and fmt_q32_neon_tmpl.h.
 */
#include "arm_priv.h"
#include "dot_dotprod.h"
#include "mul_q8_neon_tmpl.h"

#include "fmt_q32_neon_tmpl.h"

void pst_k_fill_mul_q32_dotprod(struct pst_kernels *k)
{
	PST_K_Q32_TYPES(PST_K_SET_MUL)
}
