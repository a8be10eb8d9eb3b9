// SPDX-License-Identifier: MIT
/*
 * Granite 3 and the attention-only Granite 4, dense and with experts: scales on
 * the embeddings, on what a block adds, and on the logits.
 */
#include "arch_rows.h"

static const char *const reads[] = { "embedding_scale", "residual_scale",
				     "logit_scale", NULL };

/* A scale of 0 stands for none; the logits are divided by theirs. */
static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	float v;

	if (pst_keys_f32(r, "embedding_scale", &v) && v != 0.0f)
		hp->embd_scale = v;
	if (pst_keys_f32(r, "residual_scale", &v) && v != 0.0f)
		hp->residual_scale = v;
	if (!pst_keys_f32(r, "logit_scale", &v) && !r->rc)
		pst_keys_fail(r, "is missing");
	else if (!r->rc && v != 0.0f)
		hp->logit_scale = 1.0f / v;
}

const struct pst_arch pst_arch_granite = {
	.name = "granite",
	.rope = PST_ROPE_NORM,
	.reads = reads,
	.keys = read_keys,
};

const struct pst_arch pst_arch_granitemoe = {
	.name = "granitemoe",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
	.norm_topk = true,
	.shared_expert = true,
	.reads = reads,
	.keys = read_keys,
};
