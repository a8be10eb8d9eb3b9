// SPDX-License-Identifier: MIT
/*
 * MiniMax M2 and M2.1, M2.5: norms over the whole of q and k, half of a head
 * rotated, experts chosen by sigmoid and bias.  M3: norms over each head, leading
 * dense blocks, a shared expert, and from the first block with experts on
 * attention to chosen runs of positions.
 */
#include "arch_rows.h"

const struct pst_arch pst_arch_minimax_m2 = {
	.name = "minimax-m2",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_FULL,
	.experts = PST_EXPERTS_ALWAYS,
	.ff_is_expert = true,
	.gating = PST_GATING_SIGMOID,
	.choice_bias = PST_REQUIRED,
	.norm_topk = true,
};

/* Positions of all runs that a token may attend to. */
#define MAX_TAKEN (1u << 24)

static void read_runs(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_runs_hp *p = &hp->runs;
	uint32_t heads = 0;

	pst_keys_need_u32(r, "attention.indexer.head_count", 1, 4096, &heads);
	if (!r->rc && heads != hp->layer[0].n_head_kv)
		pst_keys_unsupported(r, "is not attention.head_count_kv: not "
					"supported");
	pst_keys_need_u32(r, "attention.indexer.key_length", 1, 4096, &p->hd);
	if (!r->rc && p->hd < hp->rope[0].n_rot)
		pst_keys_fail(r, "is less than rope.dimension_count");
	else if (!r->rc && p->hd % 64)
		pst_keys_unsupported(r, "is no multiple of 64: not supported");
	pst_keys_need_u32(r, "attention.indexer.block_size", 1, 1u << 20,
			  &p->len);
	pst_keys_need_u32(r, "attention.indexer.top_k", 1,
			  MAX_TAKEN / (p->len ? p->len : 1), &p->top_k);
	pst_keys_u32(r, "attention.indexer.local_blocks", 0, 1u << 20,
		     &p->nr_local);
}

static void read_m3(struct pst_keys *r, struct pst_hparams *hp)
{
	read_runs(r, hp);
	pst_keys_leading_dense(r, hp);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].runs_chosen = hp->layer[i].ffn == &pst_ffn_moe;
}

const struct pst_arch pst_arch_minimax_m3 = {
	.name = "minimax-m3",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	PST_ROUTED_LIKE_V3,
	.choice_bias = PST_REQUIRED,
	.norm_topk = true,
	.nextn = true,
	.glu = PST_GLU_SWIGLU_OAI,
	.keys = read_m3,
};
