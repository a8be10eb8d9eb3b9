/* SPDX-License-Identifier: MIT */
/*
 * The parts of each ARM overlay.
 */
#ifndef PST_K_ARM_PRIV_H
#define PST_K_ARM_PRIV_H

#include "pst_kpriv.h"

void pst_k_fill_mul_q32_dotprod(struct pst_kernels *k);
void pst_k_fill_mul_k_dotprod(struct pst_kernels *k);
void pst_k_fill_mul_k16_dotprod(struct pst_kernels *k);

void pst_k_fill_mul_q32_neon(struct pst_kernels *k);
void pst_k_fill_mul_k_neon(struct pst_kernels *k);
void pst_k_fill_mul_k16_neon(struct pst_kernels *k);
void pst_k_fill_mul_float_neon(struct pst_kernels *k);
void pst_k_fill_vector_neon(struct pst_kernels *k);
void pst_k_fill_quantize_neon(struct pst_kernels *k);
void pst_k_fill_rope_neon(struct pst_kernels *k);
void pst_k_fill_attn_neon(struct pst_kernels *k);

#endif
