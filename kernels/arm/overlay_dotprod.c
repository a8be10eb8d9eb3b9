// SPDX-License-Identifier: MIT
/*
 * What the table takes over for the dot product of bytes (ARMv8.2 SDOT).
 */
#include "arm_priv.h"

void pst_k_overlay_dotprod(struct pst_kernels *k)
{
	k->name = "dotprod";
	pst_k_fill_mul_q32_dotprod(k);
	pst_k_fill_mul_k_dotprod(k);
	pst_k_fill_mul_k16_dotprod(k);
}
