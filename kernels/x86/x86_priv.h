/* SPDX-License-Identifier: MIT */
/*
 * The parts of each x86 overlay.
 */
#ifndef PST_K_X86_PRIV_H
#define PST_K_X86_PRIV_H

#include "pst_kpriv.h"

void pst_k_fill_mul_q32_vnni(struct pst_kernels *k);
void pst_k_fill_mul_k_vnni(struct pst_kernels *k);
void pst_k_fill_mul_books_vnni(struct pst_kernels *k);
void pst_k_fill_mul_k16_vnni(struct pst_kernels *k);

void pst_k_fill_mul_q32_avxvnni(struct pst_kernels *k);
void pst_k_fill_mul_k_avxvnni(struct pst_kernels *k);

void pst_k_fill_mul_q32_avx512(struct pst_kernels *k);
void pst_k_fill_mul_k_avx512(struct pst_kernels *k);
void pst_k_fill_mul_books_avx512(struct pst_kernels *k);
void pst_k_fill_mul_k16_avx512(struct pst_kernels *k);
void pst_k_fill_mul_float_avx512(struct pst_kernels *k);
void pst_k_fill_dequant_avx512(struct pst_kernels *k);
void pst_k_fill_vector_avx512(struct pst_kernels *k);
void pst_k_fill_quantize_avx512(struct pst_kernels *k);
void pst_k_fill_rope_avx512(struct pst_kernels *k);
void pst_k_fill_attn_avx512(struct pst_kernels *k);
void pst_k_fill_recur_avx512(struct pst_kernels *k);

void pst_k_fill_mul_q32_avx2(struct pst_kernels *k);
void pst_k_fill_mul_k_avx2(struct pst_kernels *k);
void pst_k_fill_mul_books_avx2(struct pst_kernels *k);
void pst_k_fill_mul_k16_avx2(struct pst_kernels *k);
void pst_k_fill_mul_float_avx2(struct pst_kernels *k);
void pst_k_fill_dequant_avx2(struct pst_kernels *k);
void pst_k_fill_vector_avx2(struct pst_kernels *k);
void pst_k_fill_quantize_avx2(struct pst_kernels *k);
void pst_k_fill_rope_avx2(struct pst_kernels *k);
void pst_k_fill_attn_avx2(struct pst_kernels *k);
void pst_k_fill_recur_avx2(struct pst_kernels *k);

#endif
