// SPDX-License-Identifier: MIT
/*
 * What the table takes over for AVX-VNNI: dot products of 256 bits, for
 * processors that have no AVX-512.
 */
#include "x86_priv.h"

void pst_k_overlay_avxvnni(struct pst_kernels *k)
{
	k->name = "avx-vnni";
	pst_k_fill_mul_q32_avxvnni(k);
	pst_k_fill_mul_k_avxvnni(k);
}
