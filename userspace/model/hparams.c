// SPDX-License-Identifier: MIT
/*
 * The numbers of a model, read from its keys and judged before use: nothing
 * later divides by zero or multiplies out of range because of a key.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model.h"

#define MAX_LAYERS  512
#define MAX_EXPERTS 1024
#define MAX_WIDTH   (1u << 20)
#define MAX_VOCAB   (1u << 24)

struct reader {
	const struct pst_gguf *g;
	const struct pst_arch *arch;
	struct pst_diag *diag;
	uint32_t n_layers; /* 0 until it is known */
	char key[128];
	int rc; /* the first failure; later reads are skipped */
};

static const char *full_key(struct reader *r, const char *name)
{
	snprintf(r->key, sizeof(r->key), "%s.%s", r->arch->name, name);
	return r->key;
}

static void fail_as(struct reader *r, int err, const char *what)
{
	if (!r->rc)
		r->rc = pst_diag_set_at(r->diag, err,
					pst_gguf_file(r->g, 0)->path,
					UINT64_MAX, "key %s %s", r->key, what);
}

static void fail(struct reader *r, const char *what)
{
	fail_as(r, -EBADMSG, what);
}

/* A valid model of a kind that cannot be run. */
static void unsupported(struct reader *r, const char *what)
{
	fail_as(r, -ENOTSUP, what);
}

/* A head count or width may be an array, one entry per block; the families
 * here need it to be the same everywhere.
 */
static int read_uniform(struct reader *r, const struct pst_gguf_kv *kv,
			uint64_t *out)
{
	uint64_t v;

	if (kv->type != PST_GGUF_ARRAY) {
		if (kv->type == PST_GGUF_BOOL)
			return -EINVAL;
		return pst_gguf_elem_u64(kv, 0, out);
	}
	if (!r->n_layers || kv->count != r->n_layers ||
	    kv->elem_type == PST_GGUF_BOOL || pst_gguf_elem_u64(kv, 0, out))
		return -EINVAL;
	for (uint64_t i = 1; i < kv->count; i++) {
		if (pst_gguf_elem_u64(kv, i, &v))
			return -EINVAL;
		if (v != *out) {
			unsupported(r, "differs between blocks: not supported");
			return r->rc;
		}
	}
	return 0;
}

/* Return: true when the key was there and its value lies in [lo, hi]. */
static bool get_u32(struct reader *r, const char *name, uint32_t lo,
		    uint32_t hi, uint32_t *out)
{
	const struct pst_gguf_kv *kv;
	uint64_t v;

	kv = pst_gguf_find(r->g, full_key(r, name));
	if (r->rc || !kv)
		return false;
	if (read_uniform(r, kv, &v)) {
		fail(r, "is no unsigned integer (or no array of one per "
			"block)");
		return false;
	}
	if (v < lo || v > hi) {
		char what[96];

		snprintf(what, sizeof(what), "= %" PRIu64 " is not in %u..%u",
			 v, lo, hi);
		fail(r, what);
		return false;
	}
	*out = (uint32_t)v;
	return true;
}

static void need_u32(struct reader *r, const char *name, uint32_t lo,
		     uint32_t hi, uint32_t *out)
{
	if (!get_u32(r, name, lo, hi, out) && !r->rc)
		fail(r, "is missing");
}

static bool get_f32(struct reader *r, const char *name, float *out)
{
	float v;
	int rc;

	rc = pst_gguf_get_f32(r->g, full_key(r, name), &v);
	if (r->rc || rc == -ENOENT)
		return false;
	if (rc || !isfinite(v)) {
		fail(r, "is no finite float");
		return false;
	}
	*out = v;
	return true;
}

static bool get_str(struct reader *r, const char *name, struct pst_str *out)
{
	int rc = pst_gguf_get_str(r->g, full_key(r, name), out);

	if (rc == -EINVAL)
		fail(r, "is no string");
	return !r->rc && !rc;
}

static bool get_bool(struct reader *r, const char *name, bool *out)
{
	int rc = pst_gguf_get_bool(r->g, full_key(r, name), out);

	if (rc == -EINVAL)
		fail(r, "is no bool");
	return !r->rc && !rc;
}

static void read_scaling(struct reader *r, struct pst_rope_params *p)
{
	struct pst_str s;
	float factor = 1.0f, log_mul = 0.0f;

	p->factor = 1.0f;
	if (get_f32(r, "rope.scaling.factor", &factor) ||
	    get_f32(r, "rope.scale_linear", &factor))
		p->factor = factor == 0.0f ? 1.0f : factor;
	if (!r->rc && p->factor <= 0.0f)
		fail(r, "is not positive");
	p->scaling = p->factor == 1.0f ? PST_ROPE_SCALE_NONE
				       : PST_ROPE_SCALE_LINEAR;
	if (get_str(r, "rope.scaling.type", &s)) {
		if (s.len == 4 && !memcmp(s.s, "none", 4))
			p->scaling = PST_ROPE_SCALE_NONE;
		else if (s.len == 4 && !memcmp(s.s, "yarn", 4))
			p->scaling = PST_ROPE_SCALE_YARN;
		else if (s.len != 6 || memcmp(s.s, "linear", 6))
			unsupported(r, "names a scaling that is not supported");
	}
	p->attn_factor = 1.0f;
	get_f32(r, "rope.scaling.attn_factor", &p->attn_factor);
	p->ext_factor = p->scaling == PST_ROPE_SCALE_YARN ? 1.0f : 0.0f;
	get_f32(r, "rope.scaling.yarn_ext_factor", &p->ext_factor);
	p->beta_fast = 32.0f;
	p->beta_slow = 1.0f;
	get_f32(r, "rope.scaling.yarn_beta_fast", &p->beta_fast);
	get_f32(r, "rope.scaling.yarn_beta_slow", &p->beta_slow);
	if (get_f32(r, "rope.scaling.yarn_log_multiplier", &log_mul) &&
	    log_mul != 0.0f)
		unsupported(r, "is not supported for this family");
}

static void read_rope(struct reader *r, struct pst_hparams *hp)
{
	struct pst_rope_params *p = &hp->rope;

	p->n_rot = hp->hd_k;
	get_u32(r, "rope.dimension_count", 2, hp->hd_k, &p->n_rot);
	if (!r->rc && p->n_rot % 2)
		fail(r, "is odd");
	p->base = 10000.0f;
	if (get_f32(r, "rope.freq_base", &p->base) && p->base <= 0.0f)
		fail(r, "is not positive");
	p->ctx_orig = hp->n_ctx_train;
	get_u32(r, "rope.scaling.original_context_length", 1, UINT32_MAX / 2,
		&p->ctx_orig);
	read_scaling(r, p);
}

static void read_heads(struct reader *r, struct pst_hparams *hp)
{
	need_u32(r, "attention.head_count", 1, 4096, &hp->n_head);
	if (!get_u32(r, "attention.head_count_kv", 1, 4096, &hp->n_head_kv))
		hp->n_head_kv = hp->n_head;
	if (r->rc)
		return;
	if (hp->n_head % hp->n_head_kv) {
		fail(r, "does not divide attention.head_count");
		return;
	}
	hp->hd_k = hp->n_embd / hp->n_head;
	hp->hd_v = hp->hd_k;
	if (!hp->hd_k) {
		full_key(r, "attention.head_count");
		fail(r, "is larger than the embedding");
	}
	get_u32(r, "attention.key_length", 1, 4096, &hp->hd_k);
	get_u32(r, "attention.value_length", 1, 4096, &hp->hd_v);
	hp->attn_scale = 0.0f;
	get_f32(r, "attention.scale", &hp->attn_scale);
	if (!r->rc && hp->attn_scale == 0.0f)
		hp->attn_scale = 1.0f / sqrtf((float)hp->hd_k);
}

static void read_experts(struct reader *r, struct pst_hparams *hp)
{
	uint32_t gating = PST_GATING_SOFTMAX, groups = 0, shared = 0;
	bool norm;

	hp->w_scale = 1.0f;
	hp->norm_topk = r->arch->norm_topk;
	if (r->arch->experts == PST_EXPERTS_NONE)
		return;
	get_u32(r, "expert_count", 0, MAX_EXPERTS, &hp->n_expert);
	if (!hp->n_expert) {
		if (r->arch->experts == PST_EXPERTS_ALWAYS)
			fail(r, "is missing or zero");
		return;
	}
	need_u32(r, "expert_used_count", 1, hp->n_expert, &hp->n_expert_used);
	if (!get_u32(r, "expert_feed_forward_length", 1, MAX_WIDTH,
		     &hp->n_ff_exp)) {
		hp->n_ff_exp = r->arch->ff_is_expert ? hp->n_ff : 0;
		if (!hp->n_ff_exp)
			fail(r, "is missing");
	}
	if (get_f32(r, "expert_weights_scale", &hp->w_scale) &&
	    hp->w_scale == 0.0f)
		hp->w_scale = 1.0f;
	if (get_bool(r, "expert_weights_norm", &norm))
		hp->norm_topk = norm;
	if (get_u32(r, "expert_gating_func", 0, 16, &gating) && gating > 1)
		unsupported(r,
			    "asks for a gating that this family does not have");
	if (get_u32(r, "expert_group_count", 0, MAX_EXPERTS, &groups) &&
	    groups > 1)
		unsupported(r, "asks for groups of experts: not supported");
	if (get_u32(r, "expert_shared_count", 0, MAX_EXPERTS, &shared) &&
	    shared)
		unsupported(r, "asks for shared experts: not supported");
}

static void read_vocab(struct reader *r, struct pst_hparams *hp)
{
	const struct pst_gguf_kv *kv;

	snprintf(r->key, sizeof(r->key), "tokenizer.ggml.tokens");
	kv = pst_gguf_find(r->g, r->key);
	if (kv &&
	    (kv->type != PST_GGUF_ARRAY || kv->elem_type != PST_GGUF_STRING))
		fail(r, "is no array of strings");
	else if (kv && (!kv->count || kv->count > MAX_VOCAB))
		fail(r, "is empty or too long");
	else if (kv)
		hp->n_vocab = (uint32_t)kv->count;
	else
		fail(r, "is missing");
}

/* Keys that change the arithmetic in ways that no family here has: better
 * refused than computed without.
 */
static void refuse_variants(struct reader *r)
{
	static const struct {
		const char *name;
		float off; /* besides 0 */
	} keys[] = {
		{ "attention.clamp_kqv", 0.0f },
		{ "attention.max_alibi_bias", 0.0f },
		{ "attn_logit_softcapping", 0.0f },
		{ "final_logit_softcapping", 0.0f },
		{ "logit_scale", 1.0f },
		{ "residual_scale", 1.0f },
		{ "embedding_scale", 1.0f },
	};
	uint32_t nextn = 0;
	bool causal = true;

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		float v = 0.0f;

		if (get_f32(r, keys[i].name, &v) && v != 0.0f &&
		    v != keys[i].off)
			unsupported(r, "is not supported for this family");
	}
	if (get_u32(r, "nextn_predict_layers", 0, MAX_LAYERS, &nextn) && nextn)
		unsupported(r, "is not supported for this family");
	if (!pst_gguf_get_bool(r->g, full_key(r, "attention.causal"),
			       &causal) &&
	    !causal)
		unsupported(r, "= false is not supported");
}

int pst_hparams_read(const struct pst_gguf *g, const struct pst_arch *arch,
		     struct pst_hparams *out, struct pst_diag *diag)
{
	struct reader r = { .g = g, .arch = arch, .diag = diag };
	struct pst_hparams hp = { 0 };

	need_u32(&r, "block_count", 1, MAX_LAYERS, &hp.n_layers);
	r.n_layers = hp.n_layers;
	need_u32(&r, "embedding_length", 1, MAX_WIDTH, &hp.n_embd);
	if (!get_u32(&r, "context_length", 0, UINT32_MAX, &hp.n_ctx_train) &&
	    !r.rc)
		fail(&r, "is missing");
	if (!hp.n_ctx_train)
		hp.n_ctx_train = 4096;
	get_u32(&r, "feed_forward_length", 0, MAX_WIDTH, &hp.n_ff);
	if (!get_f32(&r, "attention.layer_norm_rms_epsilon", &hp.eps) && !r.rc)
		fail(&r, "is missing");
	else if (!r.rc && hp.eps < 0.0f)
		fail(&r, "is negative");
	read_heads(&r, &hp);
	read_rope(&r, &hp);
	read_experts(&r, &hp);
	read_vocab(&r, &hp);
	refuse_variants(&r);
	if (!r.rc)
		*out = hp;
	return r.rc;
}
