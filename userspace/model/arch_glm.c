// SPDX-License-Identifier: MIT
/*
 * GLM-4.5 to 4.7, Air included: the first blocks are dense, experts are chosen
 * by sigmoid and bias, a shared one is added; the prediction block is left out.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_glm4moe = {
	.name = "glm4moe",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.qk_norm_need = PST_OPTIONAL,
	.qkv_bias = true,
	PST_ROUTED_LIKE_V3,
	.choice_bias = PST_REQUIRED,
	.norm_topk = true,
	.groups = true,
	.nextn = true,
	.ffn_norm = "post_attention_norm",
	.keys = pst_keys_leading_dense,
};
