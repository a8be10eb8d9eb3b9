// SPDX-License-Identifier: MIT
/*
 * What the table takes over for AVX-512 F, BW, VL and DQ.
 */
#include "x86_priv.h"

void pst_k_overlay_avx512(struct pst_kernels *k)
{
	k->name = "avx512";
	pst_k_fill_mul_q32_avx512(k);
	pst_k_fill_mul_k_avx512(k);
	pst_k_fill_mul_books_avx512(k);
	pst_k_fill_mul_k16_avx512(k);
	pst_k_fill_mul_float_avx512(k);
	pst_k_fill_dequant_avx512(k);
	pst_k_fill_vector_avx512(k);
	pst_k_fill_quantize_avx512(k);
	pst_k_fill_rope_avx512(k);
	pst_k_fill_attn_avx512(k);
	pst_k_fill_recur_avx512(k);
}
