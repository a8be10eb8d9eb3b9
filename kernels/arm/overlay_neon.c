// SPDX-License-Identifier: MIT
/*
 * What the table takes over for ARMv8.0 with its vector instructions.
 */
#include "arm_priv.h"

void pst_k_overlay_neon(struct pst_kernels *k)
{
	k->name = "neon";
	pst_k_fill_mul_q32_neon(k);
	pst_k_fill_mul_k_neon(k);
	pst_k_fill_mul_k16_neon(k);
	pst_k_fill_mul_float_neon(k);
	pst_k_fill_vector_neon(k);
	pst_k_fill_quantize_neon(k);
	pst_k_fill_rope_neon(k);
	pst_k_fill_attn_neon(k);
}
