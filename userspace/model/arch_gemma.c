// SPDX-License-Identifier: MIT
/*
 * Gemma 3, and Gemma 4 dense and with experts: norms after both halves, most
 * blocks with a window and a rotation of their own, GEGLU.
 */
#include <math.h>

#include "arch_rows.h"

/* Layers of the 27B, whose q is scaled by the width of an unmade head. */
#define GEMMA3_27B_LAYERS 62
#define GEMMA3_PERIOD	  6
#define WINDOW_ROPE_BASE  10000.0f
#define MAX_BLOCK_EMBD	  8192

static const char *const reads[] = { "final_logit_softcapping", NULL };

static void read_common(struct pst_keys *r, struct pst_hparams *hp)
{
	hp->embd_scale = sqrtf((float)hp->n_embd);
	if (pst_keys_f32(r, "final_logit_softcapping", &hp->logit_softcap) &&
	    hp->logit_softcap < 0.0f)
		pst_keys_fail(r, "is negative");
}

static void read_gemma3(struct pst_keys *r, struct pst_hparams *hp)
{
	read_common(r, hp);
	pst_keys_window(r, hp, GEMMA3_PERIOD);
	pst_keys_window_rope(r, hp, WINDOW_ROPE_BASE);
	if (hp->n_layers == GEMMA3_27B_LAYERS &&
	    !pst_gguf_find(r->g, pst_keys_name(r, "attention.scale")))
		hp->attn_scale = 1.0f / sqrtf((float)hp->n_embd /
					      (float)hp->layer[0].n_head);
}

const struct pst_arch pst_arch_gemma3 = {
	.name = "gemma3",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.glu = PST_GLU_GEGLU,
	.attn_post_norm = "post_attention_norm",
	.ffn_post_norm = "post_ffw_norm",
	.reads = reads,
	.keys = read_gemma3,
};

/* Blocks with a window have heads and rotations of other sizes. */
static void read_window_heads(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t hd_k = hp->layer[0].hd_k, hd_v = hp->layer[0].hd_v;

	pst_keys_u32(r, "attention.key_length_swa", 1, 4096, &hd_k);
	pst_keys_u32(r, "attention.value_length_swa", 1, 4096, &hd_v);
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		if (!hp->layer[i].window)
			continue;
		hp->layer[i].hd_k = hd_k;
		hp->layer[i].hd_v = hd_v;
	}
	hp->rope[1].n_rot = PST_MIN(hp->rope[0].n_rot, hd_k);
	pst_keys_u32(r, "rope.dimension_count_swa", 2, hd_k,
		     &hp->rope[1].n_rot);
	if (!r->rc && hp->rope[1].n_rot % 2)
		pst_keys_fail(r, "is odd");
}

/* The last blocks read the keys and values of the last one before them that is
 * of their kind and has its own.
 */
static void share_kv(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t nr = 0, first;

	if (!pst_keys_u32(r, "attention.shared_kv_layers", 0, hp->n_layers - 1,
			  &nr))
		return;
	first = hp->n_layers - nr;
	for (uint32_t i = first; i < hp->n_layers; i++) {
		const struct pst_layer_hp *lh = &hp->layer[i];
		uint32_t from = first;

		while (from && hp->layer[from - 1].window != lh->window)
			from--;
		if (!from || hp->layer[from - 1].n_head_kv != lh->n_head_kv)
			pst_keys_fail(r, "leaves a block without a like one "
					 "before it");
		hp->layer[i].kv_back = i - from + 1;
	}
}

static void read_gemma4(struct pst_keys *r, struct pst_hparams *hp)
{
	read_common(r, hp);
	if (!pst_gguf_find(
		    r->g, pst_keys_name(r, "attention.sliding_window_pattern")))
		pst_keys_fail(r, "is missing");
	pst_keys_window(r, hp, 1);
	pst_keys_window_rope(r, hp, WINDOW_ROPE_BASE);
	read_window_heads(r, hp);
	share_kv(r, hp);
	if (!pst_gguf_find(r->g, pst_keys_name(r, "attention.scale")))
		hp->attn_scale = 1.0f;
	pst_keys_u32(r, "embedding_length_per_layer_input", 0, MAX_BLOCK_EMBD,
		     &hp->n_embd_block);
	if (!hp->n_expert)
		return;
	hp->router.logit_scale = 1.0f / sqrtf((float)hp->n_embd);
	pst_keys_need_u32(r, "feed_forward_length", 1, 1 << 20,
			  &hp->n_ff_shexp);
}

const struct pst_arch pst_arch_gemma4 = {
	.name = "gemma4",
	.rope = PST_ROPE_NEOX,
	.qk_norm = PST_QK_NORM_HEAD,
	.v_norm = true,
	.v_is_k = true,
	.experts = PST_EXPERTS_OPTIONAL,
	.norm_topk = true,
	.dense_beside = true,
	.glu = PST_GLU_GEGLU,
	.out_scale = true,
	.attn_post_norm = "post_attention_norm",
	.ffn_post_norm = "post_ffw_norm",
	.reads = reads,
	.keys = read_gemma4,
};
