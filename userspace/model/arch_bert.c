// SPDX-License-Identifier: MIT
/*
 * Encoders: BERT (all-MiniLM, bge, e5) and Nomic's.  They read a text as a whole
 * and give a state for each token; the norms come after the sums.
 */
#include "arch_rows.h"

static const char *const reads[] = { "attention.causal", NULL };

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	bool causal = false;

	pst_keys_bool(r, "attention.causal", &causal);
	if (causal)
		pst_keys_unsupported(r, "= true is not supported");
	hp->encoder = true;
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].both_ways = true;
}

/* clang-format off */
#define ENCODER_ROW					\
	.norm = PST_NORM_MEAN,				\
	.eps_key = "attention.layer_norm_epsilon",	\
	.norms_behind = true,				\
	.attn_post_norm = "attn_output_norm",		\
	.ffn_post_norm = "layer_output_norm",		\
	.reads = reads
/* clang-format on */

/* Positions are a table of the file. */
static void read_bert(struct pst_keys *r, struct pst_hparams *hp)
{
	read_keys(r, hp);
	hp->n_positions = hp->n_ctx_train;
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].rope = PST_ROPE_NONE;
}

const struct pst_arch pst_arch_bert = {
	.name = "bert",
	ENCODER_ROW,
	.glu = PST_GLU_GELU,
	.keys = read_bert,
};

const struct pst_arch pst_arch_nomic_bert = {
	.name = "nomic-bert",
	ENCODER_ROW,
	.rope = PST_ROPE_NEOX,
	.keys = read_keys,
};
