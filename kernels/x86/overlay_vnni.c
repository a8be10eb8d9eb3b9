// SPDX-License-Identifier: MIT
/*
 * What the table takes over for AVX-512 VNNI.
 */
#include "x86_priv.h"

void pst_k_overlay_vnni(struct pst_kernels *k)
{
	k->name = "avx512-vnni";
	pst_k_fill_mul_q32_vnni(k);
	pst_k_fill_mul_k_vnni(k);
	pst_k_fill_mul_books_vnni(k);
	pst_k_fill_mul_k16_vnni(k);
}
