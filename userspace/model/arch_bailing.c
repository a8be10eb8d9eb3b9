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
	PST_ROUTED_LIKE_V3,
	.choice_bias = PST_OPTIONAL,
	.groups = true,
	.nextn = true,
	.keys = pst_keys_leading_dense,
};
