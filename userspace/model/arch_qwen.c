// SPDX-License-Identifier: MIT
/*
 * Qwen 2, 2.5 and 3, dense and with experts.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_qwen2 = {
	.name = "qwen2",
	.rope = PST_ROPE_NEOX,
	.qkv_bias = true,
};

/* Without a key of its own the shared expert is as wide as a dense block. */
static void read_qwen2moe(struct pst_keys *r, struct pst_hparams *hp)
{
	(void)r;
	if (!hp->n_ff_shexp)
		hp->n_ff_shexp = hp->layer[0].n_ff;
}

const struct pst_arch pst_arch_qwen2moe = {
	.name = "qwen2moe",
	.rope = PST_ROPE_NEOX,
	.qkv_bias = true,
	.experts = PST_EXPERTS_ALWAYS,
	.shared_expert = true,
	.shared_gated = true,
	.keys = read_qwen2moe,
};

const struct pst_arch pst_arch_qwen3 = {
	.name = "qwen3",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
};

const struct pst_arch pst_arch_qwen3moe = {
	.name = "qwen3moe",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.experts = PST_EXPERTS_ALWAYS,
	.norm_topk = true,
};
