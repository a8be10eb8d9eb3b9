// SPDX-License-Identifier: MIT
/*
 * Ling and Ring 2.0: groups of experts by sigmoid and bias, a shared one, part
 * of a head rotated, the first blocks dense.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_bailingmoe2 = {
	.name = "bailingmoe2",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.experts = PST_EXPERTS_ALWAYS,
	.gating = PST_GATING_SIGMOID,
	.gatings = 1 << PST_GATING_SOFTMAX,
	.choice_bias = PST_OPTIONAL,
	.shared_expert = true,
	.groups = true,
	.nextn = true,
	.keys = pst_keys_leading_dense,
};
