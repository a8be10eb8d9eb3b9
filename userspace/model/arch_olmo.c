// SPDX-License-Identifier: MIT
/*
 * OLMoE: norms over the whole of q and k, weights of experts left as they are.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_olmoe = {
	.name = "olmoe",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_FULL,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
};
