// SPDX-License-Identifier: MIT
/*
 * dots.llm1: the first blocks are dense, experts are chosen by sigmoid and
 * bias, shared ones are added.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_dots1 = {
	.name = "dots1",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.experts = PST_EXPERTS_ALWAYS,
	.gating = PST_GATING_SIGMOID,
	.gatings = 1 << PST_GATING_SOFTMAX,
	.choice_bias = PST_OPTIONAL,
	.shared_expert = true,
	.keys = pst_keys_leading_dense,
};
