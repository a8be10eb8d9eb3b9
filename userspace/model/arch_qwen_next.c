// SPDX-License-Identifier: MIT
/*
 * Qwen3-Next, and Qwen 3.5 and 3.6: three blocks of gated delta net, then one
 * of gated attention.
 */
#include "arch_rows.h"

#define MAX_HEAD  1024
#define MAX_HEADS 1024

/* Every so many blocks one attends to all positions, unless a list says which
 * do not.
 */
static void read_kinds(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t recurrent[PST_MAX_LAYERS], period = 4;

	pst_keys_u32(r, "full_attention_interval", 1, PST_MAX_LAYERS, &period);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		recurrent[i] = (i + 1) % period != 0;
	pst_keys_flags(r, "attention.recurrent_layers", recurrent);
	for (uint32_t i = 0; i < hp->n_layers && !r->rc; i++) {
		if (recurrent[i]) {
			hp->layer[i].mixer = &pst_mixer_gdn;
		} else if (!hp->layer[i].n_head_kv) {
			pst_keys_name(r, "attention.head_count_kv");
			pst_keys_fail(r, "leaves a block that attends without "
					 "heads");
		}
	}
}

static void read_delta(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_delta_hp *p = &hp->delta;
	uint32_t inner = 0;

	pst_keys_need_u32(r, "ssm.conv_kernel", 2, PST_K_MAX_TAPS, &p->taps);
	pst_keys_need_u32(r, "ssm.state_size", 1, MAX_HEAD, &p->hd_k);
	pst_keys_need_u32(r, "ssm.group_count", 1, MAX_HEADS, &p->n_k);
	pst_keys_need_u32(r, "ssm.time_step_rank", 1, MAX_HEADS, &p->n_v);
	if (!r->rc && p->n_v % p->n_k)
		pst_keys_fail(r, "is no multiple of ssm.group_count");
	pst_keys_need_u32(r, "ssm.inner_size", 1, MAX_HEADS * MAX_HEAD, &inner);
	if (r->rc)
		return;
	p->hd_v = inner / p->n_v;
	if (inner % p->n_v)
		pst_keys_fail(r, "is no multiple of ssm.time_step_rank");
	else if (p->hd_v > MAX_HEAD)
		pst_keys_fail(r, "makes the heads too long");
	p->unit_eps = hp->eps;
}

static void read_qwen3next(struct pst_keys *r, struct pst_hparams *hp)
{
	read_kinds(r, hp);
	read_delta(r, hp);
}

/* Recurrent blocks may have no heads of keys. */
static const char *const reads_qwen3next[] = { "attention.head_count_kv",
					       NULL };

/* Fields that the rows share: of all of them, and of those with experts. */
/* clang-format off */
#define GATED_BLOCKS					\
	.rope = PST_ROPE_NEOX,				\
	.qk_norm = PST_QK_NORM_HEAD,			\
	.q_gated = true,				\
	.nextn = true,					\
	.ffn_norm = "post_attention_norm",		\
	.reads = reads_qwen3next
#define GATED_EXPERTS					\
	.experts = PST_EXPERTS_ALWAYS,			\
	.norm_topk = true,				\
	.shared_expert = true,				\
	.shared_gated = true
/* clang-format on */

const struct pst_arch pst_arch_qwen3next = {
	.name = "qwen3next",
	GATED_BLOCKS,
	GATED_EXPERTS,
	.keys = read_qwen3next,
};

/* The converter has put the value heads of one key head n_k apart. */
static void read_qwen35(struct pst_keys *r, struct pst_hparams *hp)
{
	read_qwen3next(r, hp);
	hp->delta.tiled = true;
}

const struct pst_arch pst_arch_qwen35 = {
	.name = "qwen35",
	GATED_BLOCKS,
	.keys = read_qwen35,
};

const struct pst_arch pst_arch_qwen35moe = {
	.name = "qwen35moe",
	GATED_BLOCKS,
	GATED_EXPERTS,
	.keys = read_qwen35,
};
