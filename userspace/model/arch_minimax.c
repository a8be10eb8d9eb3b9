// SPDX-License-Identifier: MIT
/*
 * MiniMax M2 and M2.1, M2.5: norms over the whole of q and k, half of a head
 * rotated, experts chosen by sigmoid and bias.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_minimax_m2 = {
	.name = "minimax-m2",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_FULL,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
	.gating = PST_GATING_SIGMOID,
	.choice_bias = PST_REQUIRED,
	.norm_topk = true,
};
