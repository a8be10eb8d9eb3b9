// SPDX-License-Identifier: MIT
/*
 * ERNIE 4.5: dense, Llama's blocks; with experts, these are chosen by softmax
 * and bias, a shared one is added, and the first blocks are dense.
 */
#include "arch_rows.h"

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	pst_keys_moe_step(r, hp);
	pst_keys_leading_dense(r, hp);
}

const struct pst_arch pst_arch_ernie45_moe = {
	.name = "ernie4_5-moe",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_ALWAYS,
	.choice_bias = PST_OPTIONAL,
	.norm_topk = true,
	.shared_expert = true,
	.keys = read_keys,
};

const struct pst_arch pst_arch_ernie45 = {
	.name = "ernie4_5",
	.rope = PST_ROPE_NORM,
};
