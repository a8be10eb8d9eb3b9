// SPDX-License-Identifier: MIT
/*
 * Hunyuan: q and k are normed after the rotation; with experts, as in
 * Hunyuan-A13B, a shared one is added to those that the softmax chooses.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_hunyuan_moe = {
	.name = "hunyuan-moe",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.qk_norm_late = true,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
	.norm_topk = true,
	.shared_expert = true,
};

const struct pst_arch pst_arch_hunyuan_dense = {
	.name = "hunyuan-dense",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.qk_norm_late = true,
};
