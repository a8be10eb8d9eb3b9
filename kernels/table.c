// SPDX-License-Identifier: MIT
/*
 * The table of kernels: the portable reference first, then what each ISA in
 * the mask puts over it.  Knows no operation; the mask is the caller's, so
 * that a test can build the table of any CPU that the running one includes.
 */
#include "pst_kpriv.h"

static void fill_reference(struct pst_kernels *k)
{
	memset(k, 0, sizeof(*k));
	k->name = "c";
	pst_k_fill_dequant_float_c(k);
	pst_k_fill_dequant_q32_c(k);
	pst_k_fill_dequant_k_c(k);
	pst_k_fill_dequant_iq4_c(k);
	pst_k_fill_dequant_k16_c(k);
	pst_k_fill_mul_q8_c(k);
	pst_k_fill_quantize_c(k);
	pst_k_fill_vector_c(k);
	pst_k_fill_rope_c(k);
	pst_k_fill_attn_c(k);
	pst_k_fill_recur_c(k);
}

void pst_kernels_init(struct pst_kernels *k, uint32_t cpu_mask)
{
	struct pst_kcpu cpu;

	fill_reference(k);
	pst_kcpu_detect(&cpu);
	k->config = pst_kconfig_of(&cpu);
	pst_k_overlay_isa(k, cpu_mask);
}
