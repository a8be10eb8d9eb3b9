// SPDX-License-Identifier: MIT
/*
 * The numbers of a model, read from its keys and judged before use: nothing
 * later divides by zero or multiplies out of range because of a key.
 *
 * Read here is what every family has, steered by its row; then the row's hook
 * reads what is its own.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model_priv.h"

#define MAX_WIDTH	(1u << 20)
#define MAX_VOCAB	(1u << 24)
#define MAX_TOKEN_TYPES 256

static void read_scaling(struct pst_keys *r, struct pst_rope_params *p)
{
	struct pst_str s;
	float factor = 1.0f, log_mul = 0.0f;

	p->factor = 1.0f;
	if (pst_keys_f32(r, "rope.scaling.factor", &factor) ||
	    pst_keys_f32(r, "rope.scale_linear", &factor))
		p->factor = factor == 0.0f ? 1.0f : factor;
	if (!r->rc && p->factor <= 0.0f)
		pst_keys_fail(r, "is not positive");
	p->scaling = p->factor == 1.0f ? PST_ROPE_SCALE_NONE
				       : PST_ROPE_SCALE_LINEAR;
	if (pst_keys_str(r, "rope.scaling.type", &s)) {
		if (s.len == 4 && !memcmp(s.s, "none", 4))
			p->scaling = PST_ROPE_SCALE_NONE;
		else if (s.len == 4 && !memcmp(s.s, "yarn", 4))
			p->scaling = PST_ROPE_SCALE_YARN;
		else if (r->arch->rope_factors && s.len == 8 &&
			 !memcmp(s.s, "longrope", 8))
			p->scaling = PST_ROPE_SCALE_NONE;
		else if (s.len != 6 || memcmp(s.s, "linear", 6))
			pst_keys_unsupported(
				r, "names a scaling that is not supported");
	}
	p->attn_factor = 1.0f;
	pst_keys_f32(r, "rope.scaling.attn_factor", &p->attn_factor);
	p->ext_factor = p->scaling == PST_ROPE_SCALE_YARN ? 1.0f : 0.0f;
	pst_keys_f32(r, "rope.scaling.yarn_ext_factor", &p->ext_factor);
	p->beta_fast = 32.0f;
	p->beta_slow = 1.0f;
	pst_keys_f32(r, "rope.scaling.yarn_beta_fast", &p->beta_fast);
	pst_keys_f32(r, "rope.scaling.yarn_beta_slow", &p->beta_slow);
	if (!pst_arch_reads(r->arch, "rope.scaling.yarn_log_multiplier") &&
	    pst_keys_f32(r, "rope.scaling.yarn_log_multiplier", &log_mul) &&
	    log_mul != 0.0f)
		pst_keys_unsupported(r, "is not supported for this family");
}

static void read_rope(struct pst_keys *r, struct pst_hparams *hp)
{
	struct pst_rope_params *p = &hp->rope[0];

	p->style = r->arch->rope;
	p->n_rot = hp->layer[0].hd_k;
	pst_keys_u32(r, "rope.dimension_count", 2, hp->layer[0].hd_k,
		     &p->n_rot);
	if (!r->rc && p->n_rot % 2)
		pst_keys_fail(r, "is odd");
	p->base = 10000.0f;
	if (pst_keys_f32(r, "rope.freq_base", &p->base) && p->base <= 0.0f)
		pst_keys_fail(r, "is not positive");
	p->ctx_orig = hp->n_ctx_train;
	pst_keys_u32(r, "rope.scaling.original_context_length", 1,
		     UINT32_MAX / 2, &p->ctx_orig);
	read_scaling(r, p);
	hp->nr_ropes = 1;
}

/* Head counts of all blocks; a family without blocks of other kinds has as
 * many in each as it needs to divide.
 */
static void read_head_counts(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t n[PST_MAX_LAYERS], n_kv[PST_MAX_LAYERS];
	uint32_t least_kv =
		pst_arch_reads(r->arch, "attention.head_count_kv") ? 0 : 1;
	bool have_kv;

	if (!pst_keys_u32s(r, "attention.head_count", 1, 4096, n) && !r->rc)
		pst_keys_fail(r, "is missing");
	have_kv = pst_keys_u32s(r, "attention.head_count_kv", least_kv, 4096,
				n_kv);
	for (uint32_t i = 0; i < hp->n_layers && !r->rc; i++) {
		struct pst_layer_hp *lh = &hp->layer[i];

		lh->n_head = n[i];
		lh->n_head_kv = have_kv ? n_kv[i] : n[i];
		if (lh->n_head_kv && lh->n_head % lh->n_head_kv)
			pst_keys_fail(r,
				      "does not divide attention.head_count");
	}
}

static void read_heads(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t hd_k, hd_v;

	read_head_counts(r, hp);
	if (r->rc)
		return;
	hd_k = hp->n_embd / hp->layer[0].n_head;
	hd_v = hd_k;
	if (!hd_k) {
		pst_keys_name(r, "attention.head_count");
		pst_keys_fail(r, "is larger than the embedding");
	}
	pst_keys_u32(r, "attention.key_length", 1, 4096, &hd_k);
	pst_keys_u32(r, "attention.value_length", 1, 4096, &hd_v);
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		hp->layer[i].hd_k = hd_k;
		hp->layer[i].hd_v = hd_v;
	}
	hp->attn_scale = 0.0f;
	pst_keys_f32(r, "attention.scale", &hp->attn_scale);
	if (!r->rc && hp->attn_scale == 0.0f)
		hp->attn_scale = 1.0f / sqrtf((float)hd_k);
}

static void read_router(struct pst_keys *r, struct pst_hparams *hp)
{
	const struct pst_arch *a = r->arch;
	struct pst_router_hp *p = &hp->router;
	uint32_t gating = 0;

	p->bias = a->choice_bias;
	p->norm = a->norm_topk;
	p->gating = a->gating ? a->gating : PST_GATING_SOFTMAX;
	p->n_group = 1;
	p->n_group_used = 1;
	if (pst_keys_f32(r, "expert_weights_scale", &p->scale) &&
	    p->scale == 0.0f)
		p->scale = 1.0f;
	pst_keys_bool(r, "expert_weights_norm", &p->norm);
	if (pst_keys_u32(r, "expert_gating_func", 0, 16, &gating) && gating &&
	    gating != p->gating && !(a->gatings >> gating & 1))
		pst_keys_unsupported(
			r, "asks for a gating that this family does not have");
	else if (gating)
		p->gating = gating;
	if (!pst_keys_u32(r, "expert_group_count", 0, PST_MAX_EXPERTS,
			  &p->n_group) ||
	    p->n_group < 2)
		return;
	if (!a->groups)
		pst_keys_unsupported(
			r, "asks for groups of experts: not supported");
	else if (hp->n_expert % p->n_group || hp->n_expert / p->n_group < 2)
		pst_keys_fail(r, "does not divide expert_count");
	pst_keys_need_u32(r, "expert_group_used_count", 1, p->n_group,
			  &p->n_group_used);
	if (!r->rc &&
	    p->n_group_used * (hp->n_expert / p->n_group) < hp->n_expert_used)
		pst_keys_fail(r, "leaves fewer experts than a token uses");
}

/* The shared expert's width: given, or as many times an expert's. */
static void read_shared(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t count = 0;

	if (pst_keys_u32(r, "expert_shared_count", 0, PST_MAX_EXPERTS,
			 &count) &&
	    count && !r->arch->shared_expert)
		pst_keys_unsupported(r,
				     "asks for shared experts: not supported");
	if (!r->arch->shared_expert || r->rc)
		return;
	hp->n_ff_shexp = count * hp->n_ff_exp;
	if (hp->n_ff_shexp > MAX_WIDTH)
		pst_keys_fail(r, "makes the shared expert too wide");
	pst_keys_u32(r, "expert_shared_feed_forward_length", 0, MAX_WIDTH,
		     &hp->n_ff_shexp);
}

static void read_experts(struct pst_keys *r, struct pst_hparams *hp)
{
	hp->router.scale = 1.0f;
	hp->glu = r->arch->glu;
	if (r->arch->experts == PST_EXPERTS_NONE)
		return;
	pst_keys_u32(r, "expert_count", 0, PST_MAX_EXPERTS, &hp->n_expert);
	if (!hp->n_expert) {
		if (r->arch->experts == PST_EXPERTS_ALWAYS)
			pst_keys_fail(r, "is missing or zero");
		return;
	}
	pst_keys_need_u32(r, "expert_used_count", 1, hp->n_expert,
			  &hp->n_expert_used);
	if (!pst_keys_u32(r, "expert_feed_forward_length", 1, MAX_WIDTH,
			  &hp->n_ff_exp)) {
		hp->n_ff_exp = r->arch->ff_is_expert ? hp->layer[0].n_ff : 0;
		if (!hp->n_ff_exp)
			pst_keys_fail(r, "is missing");
	}
	read_router(r, hp);
	read_shared(r, hp);
}

/* How states become a vector; of text classes the file has a count alone. */
static void read_states(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t pooling = PST_POOLING_NONE;
	uint64_t types = 0;

	/* 4 asks for a judge of pairs, which is another kind of model. */
	if (pst_keys_u32(r, "pooling_type", 0, 4, &pooling) &&
	    pooling > PST_POOLING_LAST)
		pst_keys_unsupported(r, "= 4 (rank) is not supported");
	hp->pooling = (enum pst_pooling)pooling;
	if (r->rc)
		return;
	snprintf(r->key, sizeof(r->key), "tokenizer.ggml.token_type_count");
	if (pst_gguf_get_u64(r->g, r->key, &types) == -EINVAL ||
	    types > MAX_TOKEN_TYPES)
		pst_keys_fail(r, "is no number up to 256");
	hp->n_token_types = (uint32_t)types;
}

static void read_vocab(struct pst_keys *r, struct pst_hparams *hp)
{
	const struct pst_gguf_kv *kv;

	snprintf(r->key, sizeof(r->key), "tokenizer.ggml.tokens");
	kv = pst_gguf_find(r->g, r->key);
	if (kv &&
	    (kv->type != PST_GGUF_ARRAY || kv->elem_type != PST_GGUF_STRING))
		pst_keys_fail(r, "is no array of strings");
	else if (kv && (!kv->count || kv->count > MAX_VOCAB))
		pst_keys_fail(r, "is empty or too long");
	else if (kv)
		hp->n_vocab = (uint32_t)kv->count;
	else
		pst_keys_fail(r, "is missing");
}

/* Keys that change the arithmetic in ways that the family does not have:
 * better refused than computed without.
 */
static void refuse_variants(struct pst_keys *r)
{
	static const struct {
		const char *name;
		float off; /* besides 0 */
	} keys[] = {
		{ "attention.clamp_kqv", 0.0f },
		{ "attention.max_alibi_bias", 0.0f },
		{ "attention.temperature_scale", 0.0f },
		{ "attn_logit_softcapping", 0.0f },
		{ "final_logit_softcapping", 0.0f },
		{ "logit_scale", 1.0f },
		{ "residual_scale", 1.0f },
		{ "embedding_scale", 1.0f },
	};
	bool causal = true;

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		float v = 0.0f;

		if (!pst_arch_reads(r->arch, keys[i].name) &&
		    pst_keys_f32(r, keys[i].name, &v) && v != 0.0f &&
		    v != keys[i].off)
			pst_keys_unsupported(
				r, "is not supported for this family");
	}
	if (!pst_arch_reads(r->arch, "attention.causal") &&
	    !pst_gguf_get_bool(r->g, pst_keys_name(r, "attention.causal"),
			       &causal) &&
	    !causal)
		pst_keys_unsupported(r, "= false is not supported");
}

/* Is the block an ordinary one, though a key counts it to those that predict?
 * Such keys are found in files whose prediction blocks were left out, and do not
 * say whether block_count still counts them.
 */
static bool is_ordinary(const struct pst_keys *r, uint32_t block)
{
	char norm[48], join[48];

	snprintf(norm, sizeof(norm), "blk.%u.attn_norm.weight", block);
	snprintf(join, sizeof(join), "blk.%u.nextn.eh_proj.weight", block);
	return pst_gguf_find_tensor(r->g, norm) &&
	       !pst_gguf_find_tensor(r->g, join);
}

/* Prediction blocks follow the others in the file and are left out. */
static void read_blocks(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t nextn = 0;

	pst_keys_need_u32(r, "block_count", 1, PST_MAX_LAYERS, &r->n_blocks);
	hp->n_layers = r->n_blocks;
	if (!pst_keys_u32(r, "nextn_predict_layers", 0, PST_MAX_LAYERS,
			  &nextn) ||
	    !nextn)
		return;
	if (!r->arch->nextn)
		pst_keys_unsupported(r, "is not supported for this family");
	else if (nextn >= r->n_blocks)
		pst_keys_fail(r, "leaves no block");
	else if (!is_ordinary(r, r->n_blocks - nextn))
		hp->n_layers -= nextn;
}

static void read_core(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t n_ff[PST_MAX_LAYERS] = { 0 };

	read_blocks(r, hp);
	pst_keys_need_u32(r, "embedding_length", 1, MAX_WIDTH, &hp->n_embd);
	if (!pst_keys_u32(r, "context_length", 0, UINT32_MAX,
			  &hp->n_ctx_train) &&
	    !r->rc)
		pst_keys_fail(r, "is missing");
	if (!hp->n_ctx_train)
		hp->n_ctx_train = 4096;
	pst_keys_u32s(r, "feed_forward_length", 0, MAX_WIDTH, n_ff);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].n_ff = n_ff[i];
	if (!pst_keys_f32(r,
			  r->arch->eps_key ? r->arch->eps_key
					   : "attention.layer_norm_rms_epsilon",
			  &hp->eps) &&
	    !r->rc)
		pst_keys_fail(r, "is missing");
	else if (!r->rc && hp->eps < 0.0f)
		pst_keys_fail(r, "is negative");
	hp->embd_scale = 1.0f;
	hp->residual_scale = 1.0f;
	hp->logit_scale = 1.0f;
}

void pst_keys_window(struct pst_keys *r, struct pst_hparams *hp,
		     uint32_t period)
{
	uint32_t window = 0, flags[PST_MAX_LAYERS];
	const struct pst_gguf_kv *kv;

	if (!pst_keys_u32(r, "attention.sliding_window", 0, UINT32_MAX / 4,
			  &window) ||
	    !window)
		return;
	kv = pst_gguf_find(
		r->g, pst_keys_name(r, "attention.sliding_window_pattern"));
	if (kv && kv->type == PST_GGUF_ARRAY) {
		if (!pst_keys_flags(r, "attention.sliding_window_pattern",
				    flags))
			return;
	} else {
		pst_keys_u32(r, "attention.sliding_window_pattern", 0,
			     PST_MAX_LAYERS, &period);
		for (uint32_t i = 0; i < hp->n_layers; i++)
			flags[i] = !period || i % period < period - 1;
	}
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].window = flags[i] ? window : 0;
}

void pst_keys_window_rope(struct pst_keys *r, struct pst_hparams *hp,
			  float base)
{
	struct pst_rope_params *p = &hp->rope[1];

	*p = hp->rope[0];
	p->base = base;
	if (pst_keys_f32(r, "rope.freq_base_swa", &p->base) && p->base <= 0.0f)
		pst_keys_fail(r, "is not positive");
	p->scaling = PST_ROPE_SCALE_NONE;
	p->factor = 1.0f;
	hp->nr_ropes = 2;
	for (uint32_t i = 0; i < hp->n_layers; i++)
		hp->layer[i].rope = hp->layer[i].window ? 1 : 0;
}

void pst_keys_moe_step(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t step = 1;

	pst_keys_u32(r, "interleave_moe_layer_step", 1, PST_MAX_LAYERS, &step);
	for (uint32_t i = 0; i < hp->n_layers; i++)
		if ((i + 1) % step)
			hp->layer[i].ffn = &pst_ffn_dense;
}

void pst_keys_leading_dense(struct pst_keys *r, struct pst_hparams *hp)
{
	uint32_t n = 0;

	pst_keys_u32(r, "leading_dense_block_count", 0, hp->n_layers, &n);
	for (uint32_t i = 0; i < n; i++)
		hp->layer[i].ffn = &pst_ffn_dense;
}

/* A dense block needs a width. */
static void check_widths(struct pst_keys *r, const struct pst_hparams *hp)
{
	for (uint32_t i = 0; i < hp->n_layers && !r->rc; i++) {
		if (hp->layer[i].ffn != &pst_ffn_dense || hp->layer[i].n_ff)
			continue;
		pst_keys_name(r, "feed_forward_length");
		pst_keys_fail(r, "is missing or zero");
	}
}

int pst_hparams_read(const struct pst_gguf *g, const struct pst_arch *arch,
		     struct pst_hparams *out, struct pst_diag *diag)
{
	struct pst_keys r = { .g = g, .arch = arch, .diag = diag };
	struct pst_hparams hp = { 0 };

	read_core(&r, &hp);
	read_heads(&r, &hp);
	read_rope(&r, &hp);
	read_experts(&r, &hp);
	read_vocab(&r, &hp);
	read_states(&r, &hp);
	for (uint32_t i = 0; i < hp.n_layers; i++) {
		hp.layer[i].mixer = &pst_mixer_gqa;
		hp.layer[i].ffn = hp.n_expert ? &pst_ffn_moe : &pst_ffn_dense;
	}
	if (!r.rc && arch->keys)
		arch->keys(&r, &hp);
	refuse_variants(&r);
	check_widths(&r, &hp);
	if (!r.rc)
		*out = hp;
	return r.rc;
}
