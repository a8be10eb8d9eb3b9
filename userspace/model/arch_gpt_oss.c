// SPDX-License-Identifier: MIT
/*
 * gpt-oss 20b and 120b: sinks in the softmax, a sliding window on every other
 * block beginning with the first, biases everywhere, clamped SwiGLU.
 */
#include "arch_rows.h"

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	pst_keys_window(r, hp, 2);
}

const struct pst_arch pst_arch_gpt_oss = {
	.name = "gpt-oss",
	.rope = PST_ROPE_NEOX,
	.qkv_bias = true,
	.sinks = true,
	.experts = PST_EXPERTS_ALWAYS,
	.gating = PST_GATING_SOFTMAX_CHOSEN,
	.glu = PST_GLU_SWIGLU_OAI,
	.ffn_norm = "post_attention_norm",
	.keys = read_keys,
};
