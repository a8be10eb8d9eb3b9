// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, ARMv8.2 dot product:
 * the formats with super-blocks; see
 * mul_q8_neon_tmpl.h and fmt_k_neon_tmpl.h.
 */
#include "arm_priv.h"
#include "dot_dotprod.h"
#include "mul_q8_neon_tmpl.h"

#include "fmt_k_neon_tmpl.h"

void pst_k_fill_mul_k_dotprod(struct pst_kernels *k)
{
	PST_K_SUPER_TYPES(PST_K_SET_MUL)
}
