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
	PST_ROUTED_LIKE_V3,
	.choice_bias = PST_OPTIONAL,
	.keys = pst_keys_leading_dense,
};
