// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, ARMv8.0:
 * the formats with super-blocks, and dequantisation; see
 * mul_q8_neon_tmpl.h and fmt_k_neon_tmpl.h.
 */
#include "arm_priv.h"
#include "dot_neon.h"
#include "mul_q8_neon_tmpl.h"

#include "fmt_k_neon_tmpl.h"

PST_K_SUPER_TYPES(DEFINE_DEQUANT)

void pst_k_fill_mul_k_neon(struct pst_kernels *k)
{
	PST_K_SUPER_TYPES(PST_K_SET_MUL)
	PST_K_SUPER_TYPES(SET_DEQUANT)
}
