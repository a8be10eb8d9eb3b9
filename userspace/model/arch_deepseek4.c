// SPDX-License-Identifier: MIT
/*
 * DeepSeek V4 (Flash and Pro): a window of positions and packed rows of those
 * before, four residual streams, experts of the first blocks by token.
 */
#include <math.h>

#include "arch_rows.h"

#define MAX_RANK (1u << 14)
#define MAX_HEAD 4096

/* Lengths of runs: the first kind of row overlaps and is chosen, the other
 * stands for much and is always read.
 */
#define RUN_CHOSEN 4
#define RUN_ALL	   128

static void read_widths(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_packed_hp *p = &hp->packed;
	const struct pst_layer_hp *lh = &hp->layer[0];
	uint32_t n_rot = 0;

	pst_keys_need_u32(r, "rope.dimension_count", 2, MAX_HEAD, &n_rot);
	if (!r->rc && n_rot > lh->hd_k)
		pst_keys_fail(r, "is more than attention.key_length");
	pst_keys_name(r, "attention.head_count_kv");
	if (!r->rc && lh->n_head_kv != 1)
		pst_keys_unsupported(r, "is not 1: not supported");
	pst_keys_name(r, "attention.value_length");
	if (!r->rc && lh->hd_v != lh->hd_k)
		pst_keys_fail(r, "is not attention.key_length");
	pst_keys_name(r, "attention.key_length");
	if (!r->rc && lh->hd_k % 64)
		pst_keys_unsupported(r, "is no multiple of 64: not supported");
	pst_keys_need_u32(r, "attention.q_lora_rank", 1, MAX_RANK, &p->q_rank);
	pst_keys_need_u32(r, "attention.output_lora_rank", 1, MAX_RANK,
			  &p->out_rank);
	pst_keys_need_u32(r, "attention.output_group_count", 1,
			  PST_MAX_OUT_GROUPS, &p->out_groups);
	if (!r->rc && lh->n_head % p->out_groups)
		pst_keys_fail(r, "does not divide attention.head_count");
}

/* One run length per block; what is there for prediction blocks is left. */
static void read_runs(struct pst_keys *r, struct pst_hparams *hp)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(
		r->g, pst_keys_name(r, "attention.compress_ratios"));
	uint32_t n_blocks = r->n_blocks, run[PST_MAX_LAYERS];

	if (!kv || kv->type != PST_GGUF_ARRAY || kv->count < hp->n_layers ||
	    kv->count > PST_MAX_LAYERS) {
		pst_keys_fail(r, "is missing or no array of one per block");
		return;
	}
	r->n_blocks = (uint32_t)kv->count;
	pst_keys_u32s(r, "attention.compress_ratios", 0, RUN_ALL, run);
	r->n_blocks = n_blocks;
	for (uint32_t i = 0; i < hp->n_layers && !r->rc; i++) {
		if (run[i] && run[i] != RUN_CHOSEN && run[i] != RUN_ALL)
			pst_keys_unsupported(r, "has other lengths than 0, 4 "
						"and 128: not supported");
		hp->layer[i].pack = run[i];
		hp->layer[i].pack_chosen = run[i] == RUN_CHOSEN;
	}
}

static void read_choice(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_packed_hp *p = &hp->packed;

	pst_keys_need_u32(r, "attention.indexer.head_count", 1, 1024,
			  &p->index_heads);
	pst_keys_need_u32(r, "attention.indexer.top_k", 1, 1u << 20,
			  &p->index_top_k);
	pst_keys_need_u32(r, "attention.indexer.key_length", 1, MAX_HEAD,
			  &p->index_hd);
	if (!r->rc && p->index_hd < hp->rope[0].n_rot)
		pst_keys_fail(r, "is less than rope.dimension_count");
	else if (!r->rc && p->index_hd % 64)
		pst_keys_unsupported(r, "is no multiple of 64: not supported");
}

/* Blocks with packed rows rotate by a base of their own, and only there the
 * context is extended; the rotation changes no length.
 */
static void read_ropes(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_rope_params *far = &hp->rope[1];

	*far = hp->rope[0];
	hp->nr_ropes = 2;
	hp->rope[0].scaling = PST_ROPE_SCALE_NONE;
	hp->rope[0].attn_factor = 1.0f;
	far->attn_factor = 1.0f;
	if (far->scaling == PST_ROPE_SCALE_YARN && far->ext_factor != 0.0f)
		far->attn_factor = 1.0f / (1.0f + 0.1f * logf(far->factor));
	if (!pst_keys_f32(r, "attention.compress_rope_freq_base", &far->base) &&
	    !r->rc)
		pst_keys_fail(r, "is missing");
	else if (!r->rc && far->base <= 0.0f)
		pst_keys_fail(r, "is not positive");
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].rope = hp->layer[i].pack ? 1 : 0;
}

static void read_streams(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_streams_hp *p = &hp->streams;

	pst_keys_need_u32(r, "hyper_connection.sinkhorn_iterations", 1, 1000,
			  &p->rounds);
	if (!pst_keys_f32(r, "hyper_connection.epsilon", &p->eps) && !r->rc)
		pst_keys_fail(r, "is missing");
	else if (!r->rc && !(p->eps >= 0.0f))
		pst_keys_fail(r, "is negative");
	pst_keys_need_u32(r, "hyper_connection.count", 2, PST_MAX_STREAMS,
			  &p->nr);
	if (!r->rc && (uint64_t)hp->n_embd * p->nr % 64)
		pst_keys_unsupported(r, "times embedding_length is no multiple "
					"of 64: not supported");
}

static void read_experts(struct pst_keys *r, struct pst_hparams *hp)
{
	float limit[PST_MAX_LAYERS] = { 0 };
	uint32_t by_token = 0;

	pst_keys_f32s(r, "swiglu_clamp_exp", limit);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].glu_limit = limit[i];
	pst_keys_f32s(r, "swiglu_clamp_shexp", limit);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].glu_limit_shared = limit[i];
	pst_keys_need_u32(r, "hash_layer_count", 0, hp->n_layers, &by_token);
	for (uint32_t i = 0; i < by_token; i++)
		hp->layer[i].by_token = true;
}

static void read_keys(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t window = 0;

	pst_keys_need_u32(r, "attention.sliding_window", 1, UINT32_MAX / 4,
			  &window);
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		hp->layer[i].mixer = &pst_mixer_packed;
		hp->layer[i].window = window;
	}
	read_widths(r, hp);
	read_runs(r, hp);
	read_choice(r, hp);
	read_ropes(r, hp);
	read_streams(r, hp);
	read_experts(r, hp);
}

const struct pst_arch pst_arch_deepseek4 = {
	.name = "deepseek4",
	.rope = PST_ROPE_NORM,
	.experts = PST_EXPERTS_ALWAYS,
	.gating = PST_GATING_SQRT_SOFTPLUS,
	.choice_bias = PST_REQUIRED,
	.norm_topk = true,
	.shared_expert = true,
	.nextn = true,
	.residual = &pst_residual_streams,
	.keys = read_keys,
};
