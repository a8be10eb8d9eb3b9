// SPDX-License-Identifier: MIT
/*
 * Phi-3, 3.5 and 4, and Phi-3.5-MoE: gate and up in one matrix; the angles' divisors depend on
 * the context in use.  A sliding_window in the file is not applied: files of
 * models without one have the key too.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_phi3 = {
	.name = "phi3",
	.rope = PST_ROPE_NEOX,
	.ffn_fused = true,
	.rope_factors = true,
};

/* A file that asks for softmax has it as llama.cpp has. */
static void read_phimoe(struct pst_keys *r, struct pst_hparams *hp)
{
	(void)r;
	hp->router.norm = hp->router.gating == PST_GATING_SOFTMAX;
}

/* As published: norms about the mean, a weight for each expert by itself. */
const struct pst_arch pst_arch_phimoe = {
	.name = "phimoe",
	.rope = PST_ROPE_NEOX,
	.norm = PST_NORM_MEAN,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
	.gating = PST_GATING_SPARSEMIXER,
	.gatings = 1 << PST_GATING_SOFTMAX,
	.rope_factors = true,
	.keys = read_phimoe,
};
