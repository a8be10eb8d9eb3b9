// SPDX-License-Identifier: MIT
/*
 * What the table takes over for AVX2, FMA and F16C.
 */
#include "x86_priv.h"

void pst_k_overlay_avx2(struct pst_kernels *k)
{
	k->name = "avx2";
	pst_k_fill_mul_q32_avx2(k);
	pst_k_fill_mul_k_avx2(k);
	pst_k_fill_mul_books_avx2(k);
	pst_k_fill_mul_k16_avx2(k);
	pst_k_fill_mul_float_avx2(k);
	pst_k_fill_dequant_avx2(k);
	pst_k_fill_vector_avx2(k);
	pst_k_fill_quantize_avx2(k);
	pst_k_fill_rope_avx2(k);
	pst_k_fill_attn_avx2(k);
	pst_k_fill_recur_avx2(k);
}
