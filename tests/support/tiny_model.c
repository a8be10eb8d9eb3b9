// SPDX-License-Identifier: MIT
/*
 * See tiny_model.h.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tiny_model.h"

/* Marks an array in tm_kv.type: element type in the low bits. */
#define IS_ARRAY 0x100u
/* An array of a digit each, in tm_kv.text. */
#define IS_FLAGS 0x200u

static void die(const char *what, const char *name)
{
	fprintf(stderr, "tiny_model: %s '%s'\n", what, name);
	abort();
}

static void full_key(const struct tiny_model *m, const char *name, char *out,
		     size_t size)
{
	if (*name == '%')
		snprintf(out, size, "%s", name + 1);
	else
		snprintf(out, size, "%s.%s", m->arch, name);
}

static struct tm_kv *find_kv(struct tiny_model *m, const char *name)
{
	char key[sizeof(m->kvs[0].key)];

	full_key(m, name, key, sizeof(key));
	for (uint32_t i = 0; i < m->nr_kv; i++)
		if (!strcmp(m->kvs[i].key, key))
			return &m->kvs[i];
	return NULL;
}

static struct tm_kv *set(struct tiny_model *m, const char *name, uint32_t type)
{
	struct tm_kv *kv = find_kv(m, name);

	if (!kv) {
		if (m->nr_kv == TM_MAX_KV)
			die("no room for key", name);
		kv = &m->kvs[m->nr_kv++];
		full_key(m, name, kv->key, sizeof(kv->key));
	}
	kv->type = type;
	return kv;
}

void tm_u32(struct tiny_model *m, const char *name, uint32_t v)
{
	set(m, name, PST_GGUF_U32)->u = v;
}

void tm_f32(struct tiny_model *m, const char *name, float v)
{
	set(m, name, PST_GGUF_F32)->f = v;
}

void tm_bool(struct tiny_model *m, const char *name, bool v)
{
	set(m, name, PST_GGUF_BOOL)->u = v;
}

void tm_str(struct tiny_model *m, const char *name, const char *v)
{
	struct tm_kv *kv = set(m, name, PST_GGUF_STRING);

	snprintf(kv->text, sizeof(kv->text), "%s", v);
}

void tm_array(struct tiny_model *m, const char *name, uint32_t elem_type,
	      uint32_t nr, uint32_t v)
{
	struct tm_kv *kv = set(m, name, IS_ARRAY | elem_type);

	kv->u = (uint64_t)nr << 32 | v;
}

void tm_flags(struct tiny_model *m, const char *name, const char *digits)
{
	struct tm_kv *kv = set(m, name, IS_FLAGS);

	snprintf(kv->text, sizeof(kv->text), "%s", digits);
}

void tm_drop(struct tiny_model *m, const char *name)
{
	struct tm_kv *kv = find_kv(m, name);

	if (!kv)
		die("no key", name);
	*kv = m->kvs[--m->nr_kv];
}

struct tm_tensor *tm_tensor(struct tiny_model *m, const char *name)
{
	for (uint32_t i = 0; i < m->nr_tensors; i++)
		if (!strcmp(m->tensors[i].name, name))
			return &m->tensors[i];
	die("no tensor", name);
	return NULL;
}

void tm_drop_tensor(struct tiny_model *m, const char *name)
{
	struct tm_tensor *t = tm_tensor(m, name);

	*t = m->tensors[--m->nr_tensors];
}

void tm_add(struct tiny_model *m, const char *name, uint64_t n0, uint64_t n1,
	    uint64_t n2)
{
	struct tm_tensor *t = &m->tensors[m->nr_tensors++];

	if (m->nr_tensors > TM_MAX_TENSORS)
		die("no room for tensor", name);
	*t = (struct tm_tensor){ .type = 0,
				 .nr_dims = n2 > 1   ? 3
					    : n1 > 1 ? 2
						     : 1,
				 .ne = { n0, n1, n2, 1 } };
	snprintf(t->name, sizeof(t->name), "%s", name);
}

static void add_block(struct tiny_model *m, uint32_t layer, const char *name,
		      const uint64_t ne[3])
{
	char full[64];

	snprintf(full, sizeof(full), "blk.%u.%s", layer, name);
	tm_add(m, full, ne[0], ne[1], ne[2]);
}

#define BLOCK(m, l, name, ...) \
	add_block(m, l, name, (const uint64_t[3]){ __VA_ARGS__ })

static bool is(const struct tiny_model *m, const char *arch)
{
	return !strcmp(m->arch, arch);
}

static void add_dense(struct tiny_model *m, uint32_t l)
{
	if (is(m, "phi3")) {
		BLOCK(m, l, "ffn_up.weight", TM_EMBD, 2 * TM_FF, 1);
	} else {
		BLOCK(m, l, "ffn_gate.weight", TM_EMBD, TM_FF, 1);
		BLOCK(m, l, "ffn_up.weight", TM_EMBD, TM_FF, 1);
	}
	BLOCK(m, l, "ffn_down.weight", TM_FF, TM_EMBD, 1);
}

/* Families whose first block is a gated delta net, the second attends. */
static bool is_gdn(const struct tiny_model *m)
{
	return is(m, "qwen3next") || is(m, "qwen35") || is(m, "qwen35moe");
}

static bool is_kimi(const struct tiny_model *m)
{
	return is(m, "kimi-linear") || is(m, "kimi-k3");
}

static void add_shexp(struct tiny_model *m, uint32_t l)
{
	BLOCK(m, l, "ffn_gate_shexp.weight", TM_EMBD, TM_FF_EXP, 1);
	BLOCK(m, l, "ffn_up_shexp.weight", TM_EMBD, TM_FF_EXP, 1);
	BLOCK(m, l, "ffn_down_shexp.weight", TM_FF_EXP, TM_EMBD, 1);
}

/* What stands beside the routed experts. */
static void add_shared(struct tiny_model *m, uint32_t l)
{
	if (is_gdn(m) || is(m, "qwen2moe"))
		BLOCK(m, l, "ffn_gate_inp_shexp.weight", TM_EMBD, 1, 1);
	if (is(m, "minimax-m3") || (is(m, "deepseek4") && l) ||
	    tm_plain_of(m).choice)
		BLOCK(m, l, "exp_probs_b.bias", TM_EXPERTS, 1, 1);
	if (is(m, "llama4") || is(m, "minimax-m3") || is_gdn(m) ||
	    is(m, "deepseek4") || tm_plain_of(m).shared) {
		add_shexp(m, l);
	} else if (is(m, "gemma4")) {
		add_dense(m, l);
		BLOCK(m, l, "ffn_gate_inp.scale", TM_EMBD, 1, 1);
		BLOCK(m, l, "pre_ffw_norm_2.weight", TM_EMBD, 1, 1);
		BLOCK(m, l, "post_ffw_norm_1.weight", TM_EMBD, 1, 1);
		BLOCK(m, l, "post_ffw_norm_2.weight", TM_EMBD, 1, 1);
	}
}

/* What a token gives to each block: of the dense Gemma 4 here. */
static void add_token_input(struct tiny_model *m)
{
	tm_u32(m, "embedding_length_per_layer_input", TM_EMBD_BLOCK);
	tm_add(m, "per_layer_token_embd.weight", TM_LAYERS * TM_EMBD_BLOCK,
	       TM_VOCAB, 1);
	tm_add(m, "per_layer_model_proj.weight", TM_EMBD,
	       TM_LAYERS * TM_EMBD_BLOCK, 1);
	tm_add(m, "per_layer_proj_norm.weight", TM_EMBD_BLOCK, 1, 1);
	for (uint32_t l = 0; l < TM_LAYERS; l++) {
		BLOCK(m, l, "inp_gate.weight", TM_EMBD, TM_EMBD_BLOCK, 1);
		BLOCK(m, l, "proj.weight", TM_EMBD_BLOCK, TM_EMBD, 1);
		BLOCK(m, l, "post_norm.weight", TM_EMBD, 1, 1);
	}
}

/* The experts of each token, in the first block. */
static void add_ids(struct tiny_model *m)
{
	BLOCK(m, 0, "ffn_gate_tid2eid.weight", TM_USED, TM_VOCAB, 1);
	tm_tensor(m, "blk.0.ffn_gate_tid2eid.weight")->type = TM_I32;
}

/* What leads to experts of another width and back; scores of earlier sums. */
static void add_latent(struct tiny_model *m, uint32_t l)
{
	BLOCK(m, l, "ffn_routed_down.weight", TM_EMBD, TM_LATENT, 1);
	BLOCK(m, l, "ffn_routed_up.weight", TM_LATENT, TM_EMBD, 1);
	BLOCK(m, l, "attn_res_score.weight", TM_EMBD, 1, 1);
	BLOCK(m, l, "ffn_res_score.weight", TM_EMBD, 1, 1);
}

static void add_ffn(struct tiny_model *m, uint32_t l, bool moe)
{
	uint64_t n = is(m, "kimi-k3") ? TM_LATENT : TM_EMBD;

	BLOCK(m, l,
	      is(m, "gpt-oss") || is(m, "glm4moe") || is_gdn(m)
		      ? "post_attention_norm.weight"
		      : "ffn_norm.weight",
	      TM_EMBD, 1, 1);
	if (!strncmp(m->arch, "gemma", 5))
		BLOCK(m, l, "post_ffw_norm.weight", TM_EMBD, 1, 1);
	if (!moe) {
		add_dense(m, l);
		return;
	}
	add_shared(m, l);
	if (is(m, "deepseek4") && !l)
		add_ids(m);
	if (is(m, "kimi-k3"))
		add_latent(m, l);
	BLOCK(m, l, "ffn_gate_inp.weight", TM_EMBD, TM_EXPERTS, 1);
	BLOCK(m, l, "ffn_gate_exps.weight", n, TM_FF_EXP, TM_EXPERTS);
	BLOCK(m, l, "ffn_up_exps.weight", n, TM_FF_EXP, TM_EXPERTS);
	BLOCK(m, l, "ffn_down_exps.weight", TM_FF_EXP, n, TM_EXPERTS);
}

static bool is_mla(const struct tiny_model *m)
{
	return (!strncmp(m->arch, "deepseek", 8) && !is(m, "deepseek4")) ||
	       !strcmp(m->arch, "glm-dsa");
}

static bool is_indexed(const struct tiny_model *m)
{
	return is_mla(m) && strcmp(m->arch, "deepseek2");
}

/* Latent attention, and the shared expert that comes with it. */
static void add_mla(struct tiny_model *m, uint32_t l)
{
	uint64_t nr_q = TM_HEADS * (TM_NOPE + TM_ROPE);

	BLOCK(m, l, "attn_norm.weight", TM_EMBD, 1, 1);
	if (is(m, "kimi-linear")) {
		BLOCK(m, l, "attn_q.weight", TM_EMBD, nr_q, 1);
	} else {
		BLOCK(m, l, "attn_q_a.weight", TM_EMBD, TM_Q_RANK, 1);
		BLOCK(m, l, "attn_q_a_norm.weight", TM_Q_RANK, 1, 1);
		BLOCK(m, l, "attn_q_b.weight", TM_Q_RANK, nr_q, 1);
	}
	BLOCK(m, l, "attn_kv_a_mqa.weight", TM_EMBD, TM_KV_RANK + TM_ROPE, 1);
	BLOCK(m, l, "attn_kv_a_norm.weight", TM_KV_RANK, 1, 1);
	BLOCK(m, l, "attn_k_b.weight", TM_NOPE, TM_KV_RANK, TM_HEADS);
	BLOCK(m, l, "attn_v_b.weight", TM_KV_RANK, TM_HD, TM_HEADS);
	BLOCK(m, l, "attn_output.weight", TM_HEADS * TM_HD, TM_EMBD, 1);
	add_shexp(m, l);
	if (!is_indexed(m))
		return;
	BLOCK(m, l, "indexer.attn_q_b.weight", TM_Q_RANK, 2 * TM_INDEX_HD, 1);
	BLOCK(m, l, "indexer.attn_k.weight", TM_EMBD, TM_INDEX_HD, 1);
	BLOCK(m, l, "indexer.proj.weight", TM_EMBD, 2, 1);
	BLOCK(m, l, "indexer.k_norm.weight", TM_INDEX_HD, 1, 1);
	BLOCK(m, l, "indexer.k_norm.bias", TM_INDEX_HD, 1, 1);
}

static void mla_keys(struct tiny_model *m)
{
	tm_u32(m, "attention.head_count_kv", 1);
	tm_u32(m, "attention.q_lora_rank", TM_Q_RANK);
	tm_u32(m, "attention.kv_lora_rank", TM_KV_RANK);
	tm_u32(m, "attention.key_length", TM_KV_RANK + TM_ROPE);
	tm_u32(m, "attention.value_length", TM_KV_RANK);
	tm_u32(m, "attention.key_length_mla", TM_NOPE + TM_ROPE);
	tm_u32(m, "attention.value_length_mla", TM_HD);
	tm_u32(m, "rope.dimension_count", TM_ROPE);
	tm_u32(m, "expert_shared_count", 1);
	if (!is_indexed(m))
		return;
	tm_u32(m, "attention.indexer.head_count", 2);
	tm_u32(m, "attention.indexer.key_length", TM_INDEX_HD);
	tm_u32(m, "attention.indexer.top_k", TM_TOP_K);
}

/* The heads that choose runs of positions. */
static void add_run_heads(struct tiny_model *m, uint32_t l)
{
	BLOCK(m, l, "indexer.q_proj.weight", TM_EMBD, TM_HEADS_KV * TM_INDEX_HD,
	      1);
	BLOCK(m, l, "indexer.k_proj.weight", TM_EMBD, TM_INDEX_HD, 1);
	BLOCK(m, l, "indexer.q_norm.weight", TM_INDEX_HD, 1, 1);
	BLOCK(m, l, "indexer.k_norm.weight", TM_INDEX_HD, 1, 1);
}

static void run_keys(struct tiny_model *m)
{
	tm_u32(m, "expert_shared_count", 1);
	tm_u32(m, "attention.key_length", TM_HD);
	tm_u32(m, "attention.value_length", TM_HD);
	tm_u32(m, "attention.indexer.head_count", TM_HEADS_KV);
	tm_u32(m, "attention.indexer.key_length", TM_INDEX_HD);
	tm_u32(m, "attention.indexer.block_size", 3);
	tm_u32(m, "attention.indexer.top_k", 4);
	tm_u32(m, "attention.indexer.local_blocks", 1);
}

static void add_gdn(struct tiny_model *m, uint32_t l)
{
	uint64_t nr_v = TM_DELTA_HEADS * TM_DELTA_HD_V;
	uint64_t channels = 2 * TM_DELTA_HEADS_K * TM_HD + nr_v;

	BLOCK(m, l, "attn_norm.weight", TM_EMBD, 1, 1);
	BLOCK(m, l, "attn_qkv.weight", TM_EMBD, channels, 1);
	BLOCK(m, l, "attn_gate.weight", TM_EMBD, nr_v, 1);
	BLOCK(m, l, "ssm_conv1d.weight", TM_TAPS, channels, 1);
	if (is(m, "qwen3next")) {
		BLOCK(m, l, "ssm_ba.weight", TM_EMBD, 2 * TM_DELTA_HEADS, 1);
	} else {
		BLOCK(m, l, "ssm_beta.weight", TM_EMBD, TM_DELTA_HEADS, 1);
		BLOCK(m, l, "ssm_alpha.weight", TM_EMBD, TM_DELTA_HEADS, 1);
	}
	BLOCK(m, l, "ssm_a", TM_DELTA_HEADS, 1, 1);
	BLOCK(m, l, "ssm_dt.bias", TM_DELTA_HEADS, 1, 1);
	BLOCK(m, l, "ssm_norm.weight", TM_DELTA_HD_V, 1, 1);
	BLOCK(m, l, "ssm_out.weight", nr_v, TM_EMBD, 1);
}

static void gdn_keys(struct tiny_model *m, bool moe)
{
	tm_u32(m, "full_attention_interval", 2);
	tm_u32(m, "attention.key_length", TM_HD);
	tm_u32(m, "attention.value_length", TM_HD);
	tm_u32(m, "rope.dimension_count", TM_HD / 2);
	tm_u32(m, "ssm.conv_kernel", TM_TAPS);
	tm_u32(m, "ssm.state_size", TM_HD);
	tm_u32(m, "ssm.group_count", TM_DELTA_HEADS_K);
	tm_u32(m, "ssm.time_step_rank", TM_DELTA_HEADS);
	tm_u32(m, "ssm.inner_size", TM_DELTA_HEADS * TM_DELTA_HD_V);
	if (moe)
		tm_u32(m, "expert_shared_feed_forward_length", TM_FF_EXP);
}

static void add_kda(struct tiny_model *m, uint32_t l)
{
	static const char *const convs[] = { "ssm_conv1d_q.weight",
					     "ssm_conv1d_k.weight",
					     "ssm_conv1d_v.weight" };
	uint64_t n = TM_HEADS * TM_HD;

	BLOCK(m, l, "attn_norm.weight", TM_EMBD, 1, 1);
	BLOCK(m, l, "attn_q.weight", TM_EMBD, n, 1);
	BLOCK(m, l, "attn_k.weight", TM_EMBD, n, 1);
	BLOCK(m, l, "attn_v.weight", TM_EMBD, n, 1);
	for (int i = 0; i < 3; i++)
		BLOCK(m, l, convs[i], TM_TAPS, 1, n);
	BLOCK(m, l, "ssm_f_a.weight", TM_EMBD, TM_HD, 1);
	BLOCK(m, l, "ssm_f_b.weight", TM_HD, n, 1);
	if (is(m, "kimi-k3")) {
		BLOCK(m, l, "ssm_g.weight", TM_EMBD, n, 1);
	} else {
		BLOCK(m, l, "ssm_g_a.weight", TM_EMBD, TM_HD, 1);
		BLOCK(m, l, "ssm_g_b.weight", TM_HD, n, 1);
	}
	BLOCK(m, l, "ssm_beta.weight", TM_EMBD, TM_HEADS, 1);
	BLOCK(m, l, "ssm_a", 1, TM_HEADS, 1);
	BLOCK(m, l, "ssm_dt.bias", n, 1, 1);
	BLOCK(m, l, "ssm_norm.weight", TM_HD, 1, 1);
	BLOCK(m, l, "attn_output.weight", n, TM_EMBD, 1);
	add_shexp(m, l);
}

static void kimi_keys(struct tiny_model *m)
{
	mla_keys(m);
	if (is(m, "kimi-linear"))
		tm_drop(m, "attention.q_lora_rank");
	tm_flags(m, "attention.head_count_kv", "01");
	tm_u32(m, "ssm.conv_kernel", TM_TAPS);
	tm_u32(m, "kda.head_dim", TM_HD);
	if (!is(m, "kimi-k3"))
		return;
	tm_f32(m, "kda.gate_lower_bound", -5.0f);
	tm_f32(m, "activation.situ_beta", 4.0f);
	tm_f32(m, "activation.situ_linear_beta", 25.0f);
	tm_u32(m, "expert_latent_length", TM_LATENT);
	tm_u32(m, "attn_res.block_size", 1);
	tm_add(m, "output_res_score.weight", TM_EMBD, 1, 1);
}

/* Weights of parallel streams. */
static void add_mix(struct tiny_model *m, uint32_t l)
{
	uint64_t all = (uint64_t)TM_STREAMS * TM_EMBD;

	BLOCK(m, l, "hc_attn_fn.weight", all, TM_MIX, 1);
	BLOCK(m, l, "hc_attn_base.weight", TM_MIX, 1, 1);
	BLOCK(m, l, "hc_attn_scale.weight", 3, 1, 1);
	BLOCK(m, l, "hc_ffn_fn.weight", all, TM_MIX, 1);
	BLOCK(m, l, "hc_ffn_base.weight", TM_MIX, 1, 1);
	BLOCK(m, l, "hc_ffn_scale.weight", 3, 1, 1);
}

static void add_pack(struct tiny_model *m, uint32_t l, const char *name,
		     uint64_t hd)
{
	char full[40];

	snprintf(full, sizeof(full), "%s_kv.weight", name);
	BLOCK(m, l, full, TM_EMBD, 2 * hd, 1);
	snprintf(full, sizeof(full), "%s_gate.weight", name);
	BLOCK(m, l, full, TM_EMBD, 2 * hd, 1);
	snprintf(full, sizeof(full), "%s_ape.weight", name);
	BLOCK(m, l, full, 2 * hd, 4, 1);
	snprintf(full, sizeof(full), "%s_norm.weight", name);
	BLOCK(m, l, full, hd, 1, 1);
}

/* Attention to a window, in the first block also to packed rows. */
static void add_packed(struct tiny_model *m, uint32_t l)
{
	uint64_t all = (uint64_t)TM_HEADS * TM_PACKED_HD;

	add_mix(m, l);
	BLOCK(m, l, "attn_norm.weight", TM_EMBD, 1, 1);
	BLOCK(m, l, "attn_q_a.weight", TM_EMBD, TM_Q_RANK, 1);
	BLOCK(m, l, "attn_q_a_norm.weight", TM_Q_RANK, 1, 1);
	BLOCK(m, l, "attn_q_b.weight", TM_Q_RANK, all, 1);
	BLOCK(m, l, "attn_kv.weight", TM_EMBD, TM_PACKED_HD, 1);
	BLOCK(m, l, "attn_kv_a_norm.weight", TM_PACKED_HD, 1, 1);
	BLOCK(m, l, "attn_sinks.weight", TM_HEADS, 1, 1);
	BLOCK(m, l, "attn_output_a.weight", all / TM_OUT_GROUPS,
	      TM_OUT_GROUPS * TM_OUT_RANK, 1);
	BLOCK(m, l, "attn_output_b.weight", TM_OUT_GROUPS * TM_OUT_RANK,
	      TM_EMBD, 1);
	if (l)
		return;
	add_pack(m, l, "attn_compressor", TM_PACKED_HD);
	BLOCK(m, l, "indexer.attn_q_b.weight", TM_Q_RANK, 2 * TM_INDEX_HD, 1);
	BLOCK(m, l, "indexer.proj.weight", TM_EMBD, 2, 1);
	add_pack(m, l, "indexer_compressor", TM_INDEX_HD);
}

static void packed_keys(struct tiny_model *m)
{
	tm_u32(m, "attention.head_count_kv", 1);
	tm_u32(m, "attention.key_length", TM_PACKED_HD);
	tm_u32(m, "attention.value_length", TM_PACKED_HD);
	tm_u32(m, "attention.q_lora_rank", TM_Q_RANK);
	tm_u32(m, "attention.output_group_count", TM_OUT_GROUPS);
	tm_u32(m, "attention.output_lora_rank", TM_OUT_RANK);
	tm_u32(m, "attention.sliding_window", TM_WINDOW);
	tm_flags(m, "attention.compress_ratios", "40");
	tm_f32(m, "attention.compress_rope_freq_base", 160000.0f);
	tm_u32(m, "attention.indexer.head_count", 2);
	tm_u32(m, "attention.indexer.key_length", TM_INDEX_HD);
	tm_u32(m, "attention.indexer.top_k", 3);
	tm_u32(m, "rope.dimension_count", TM_ROPE);
	tm_u32(m, "hyper_connection.count", TM_STREAMS);
	tm_u32(m, "hyper_connection.sinkhorn_iterations", 5);
	tm_f32(m, "hyper_connection.epsilon", 1e-6f);
	tm_u32(m, "hash_layer_count", 1);
	tm_u32(m, "expert_shared_count", 1);
	tm_f32(m, "swiglu_clamp_exp", 0.5f);
	tm_f32(m, "swiglu_clamp_shexp", 0.4f);
	tm_add(m, "output_hc_fn.weight", (uint64_t)TM_STREAMS * TM_EMBD,
	       TM_STREAMS, 1);
	tm_add(m, "output_hc_base.weight", TM_STREAMS, 1, 1);
	tm_add(m, "output_hc_scale.weight", 1, 1, 1);
}

static void add_attention(struct tiny_model *m, uint32_t l)
{
	uint64_t nq = TM_HEADS * TM_HD, nk = TM_HEADS_KV * TM_HD;

	if (is_gdn(m) && !l) {
		add_gdn(m, l);
		return;
	}
	if (is_kimi(m) && !l) {
		add_kda(m, l);
		return;
	}
	if (is_mla(m) || is_kimi(m)) {
		add_mla(m, l);
		return;
	}
	if (is(m, "deepseek4")) {
		add_packed(m, l);
		return;
	}
	BLOCK(m, l, "attn_norm.weight", TM_EMBD, 1, 1);
	BLOCK(m, l, "attn_q.weight", TM_EMBD, is_gdn(m) ? 2 * nq : nq, 1);
	BLOCK(m, l, "attn_k.weight", TM_EMBD, nk, 1);
	/* Gemma 4 takes its keys where there are no values. */
	if (!is(m, "gemma4"))
		BLOCK(m, l, "attn_v.weight", TM_EMBD, nk, 1);
	BLOCK(m, l, "attn_output.weight", nq, TM_EMBD, 1);
	if (!strncmp(m->arch, "gemma", 5))
		BLOCK(m, l, "post_attention_norm.weight", TM_EMBD, 1, 1);
	if (!strcmp(m->arch, "gpt-oss"))
		BLOCK(m, l, "attn_sinks.weight", TM_HEADS, 1, 1);
	if (tm_plain_of(m).biases) {
		BLOCK(m, l, "attn_q.bias", nq, 1, 1);
		BLOCK(m, l, "attn_k.bias", nk, 1, 1);
		BLOCK(m, l, "attn_v.bias", nk, 1, 1);
	} else if (!strncmp(m->arch, "qwen3", 5) ||
		   !strncmp(m->arch, "gemma", 5) || is(m, "minimax-m3") ||
		   tm_plain_of(m).head_norms) {
		BLOCK(m, l, "attn_q_norm.weight", TM_HD, 1, 1);
		BLOCK(m, l, "attn_k_norm.weight", TM_HD, 1, 1);
	} else if (tm_plain_of(m).wide_norms) {
		BLOCK(m, l, "attn_q_norm.weight", nq, 1, 1);
		BLOCK(m, l, "attn_k_norm.weight", nk, 1, 1);
	}
	if (is(m, "minimax-m3"))
		add_run_heads(m, l);
}

/* An encoder: norms behind the sums, no gate, no output matrix. */
static void add_bert(struct tiny_model *m)
{
	uint64_t nq = TM_HEADS * TM_HD, nk = TM_HEADS_KV * TM_HD;

	tm_drop(m, "attention.layer_norm_rms_epsilon");
	tm_f32(m, "attention.layer_norm_epsilon", 1e-5f);
	tm_u32(m, "pooling_type", 1);
	tm_add(m, "position_embd.weight", TM_EMBD, 256, 1);
	tm_add(m, "token_embd_norm.weight", TM_EMBD, 1, 1);
	for (uint32_t l = 0; l < TM_LAYERS; l++) {
		BLOCK(m, l, "attn_q.weight", TM_EMBD, nq, 1);
		BLOCK(m, l, "attn_k.weight", TM_EMBD, nk, 1);
		BLOCK(m, l, "attn_v.weight", TM_EMBD, nk, 1);
		BLOCK(m, l, "attn_output.weight", nq, TM_EMBD, 1);
		BLOCK(m, l, "attn_output_norm.weight", TM_EMBD, 1, 1);
		BLOCK(m, l, "ffn_up.weight", TM_EMBD, TM_FF, 1);
		BLOCK(m, l, "ffn_down.weight", TM_FF, TM_EMBD, 1);
		BLOCK(m, l, "layer_output_norm.weight", TM_EMBD, 1, 1);
	}
}

void tm_init(struct tiny_model *m, const char *arch, bool moe)
{
	/* Its fourth block is the first that is unlike Llama's. */
	uint32_t layers = strcmp(arch, "smollm3") ? TM_LAYERS : 4;

	memset(m, 0, sizeof(*m));
	m->arch = arch;
	m->seed = 1;
	tm_str(m, "%general.architecture", arch);
	tm_u32(m, "block_count", layers);
	tm_u32(m, "embedding_length", TM_EMBD);
	tm_u32(m, "context_length", 256);
	tm_u32(m, "feed_forward_length", TM_FF);
	tm_u32(m, "attention.head_count", TM_HEADS);
	tm_u32(m, "attention.head_count_kv", TM_HEADS_KV);
	tm_f32(m, "attention.layer_norm_rms_epsilon", 1e-5f);
	if (moe) {
		tm_u32(m, "expert_count", TM_EXPERTS);
		tm_u32(m, "expert_used_count", TM_USED);
		tm_u32(m, "expert_feed_forward_length", TM_FF_EXP);
	}
	if (is(m, "gpt-oss") || is(m, "llama4") || !strncmp(arch, "gemma", 5))
		tm_u32(m, "attention.sliding_window", TM_WINDOW);
	tm_plain_keys(m);
	if (is_mla(m))
		mla_keys(m);
	if (is(m, "minimax-m3"))
		run_keys(m);
	if (is_gdn(m))
		gdn_keys(m, moe);
	if (is_kimi(m))
		kimi_keys(m);
	if (is(m, "deepseek4"))
		packed_keys(m);
	if (is(m, "gemma4"))
		tm_array(m, "attention.sliding_window_pattern", PST_GGUF_U32,
			 TM_LAYERS, 1);
	tm_add(m, "token_embd.weight", TM_EMBD, TM_VOCAB, 1);
	if (is(m, "bert")) {
		add_bert(m);
		return;
	}
	tm_add(m, "output_norm.weight", TM_EMBD, 1, 1);
	tm_add(m, "output.weight", TM_EMBD, TM_VOCAB, 1);
	for (uint32_t l = 0; l < layers; l++) {
		add_attention(m, l);
		add_ffn(m, l, moe);
	}
	if (is(m, "gemma4") && !moe)
		add_token_input(m);
}

static void put_array(struct gguf_builder *b, const struct tm_kv *kv)
{
	uint32_t nr = (uint32_t)(kv->u >> 32), v = (uint32_t)kv->u;
	uint32_t all[1024];

	if (nr > PST_ARRAY_SIZE(all))
		die("too long", kv->key);
	for (uint32_t i = 0; i < nr; i++)
		all[i] = v;
	gb_array(b, kv->key, kv->type & ~IS_ARRAY, nr, all, nr * sizeof(v));
}

static void put_flags(struct gguf_builder *b, const struct tm_kv *kv)
{
	uint32_t all[sizeof(kv->text)], nr = 0;

	for (const char *c = kv->text; *c; c++)
		all[nr++] = (uint32_t)(*c - '0');
	gb_array(b, kv->key, PST_GGUF_U32, nr, all, nr * sizeof(*all));
}

static void put_kv(struct gguf_builder *b, const struct tm_kv *kv)
{
	switch (kv->type) {
	case PST_GGUF_U32:
		gb_u32(b, kv->key, (uint32_t)kv->u);
		break;
	case PST_GGUF_F32:
		gb_f32(b, kv->key, (float)kv->f);
		break;
	case PST_GGUF_BOOL:
		gb_bool(b, kv->key, kv->u);
		break;
	case PST_GGUF_STRING:
		gb_str(b, kv->key, kv->text);
		break;
	case IS_FLAGS:
		put_flags(b, kv);
		break;
	default:
		put_array(b, kv);
	}
}

static void put_vocab(struct gguf_builder *b)
{
	char texts[TM_VOCAB][8];
	const char *tokens[TM_VOCAB];
	int32_t types[TM_VOCAB];
	float scores[TM_VOCAB] = { 0 };

	for (int i = 0; i < TM_VOCAB; i++) {
		snprintf(texts[i], sizeof(texts[i]), i ? "t%02d" : "<unk>", i);
		tokens[i] = texts[i];
		types[i] = i ? 1 : 2;
	}
	gb_str(b, "tokenizer.ggml.model", "llama");
	gb_strs(b, "tokenizer.ggml.tokens", tokens, TM_VOCAB);
	gb_f32s(b, "tokenizer.ggml.scores", scores, TM_VOCAB);
	gb_i32s(b, "tokenizer.ggml.token_type", types, TM_VOCAB);
}

static bool ends_in(const char *s, const char *end)
{
	size_t len = strlen(s), nr = strlen(end);

	return len >= nr && !strcmp(s + len - nr, end);
}

/* F32 weights of about 1/sqrt(n_in); norms near 1; what decays is negative. */
static void fill_f32(const struct tiny_model *m, const struct tm_tensor *t,
		     uint64_t *rng, uint8_t *out, uint64_t nr)
{
	bool norm = strstr(t->name, "norm") != NULL;
	bool decay = ends_in(t->name, ".ssm_a");
	bool zero = m->zero_router && strstr(t->name, "ffn_gate_inp");

	for (uint64_t i = 0; i < nr; i++) {
		double u = (double)(pst_rng_next(rng) >> 11) * 0x1p-52 - 1.0;
		float v = (float)(norm ? 1.0 + 0.1 * u : 0.25 * u);

		if (zero)
			v = 0.0f;
		if (decay)
			v = -1.0f - v;
		memcpy(out + i * sizeof(v), &v, sizeof(v));
	}
}

/* Experts: each another one than its neighbours. */
static void fill_ids(uint8_t *out, uint64_t nr)
{
	for (uint64_t i = 0; i < nr; i++) {
		uint32_t v = (uint32_t)(i * 3 % TM_EXPERTS);

		memcpy(out + i * sizeof(v), &v, sizeof(v));
	}
}

static void put_tensor(const struct tiny_model *m, struct gguf_builder *b,
		       const struct tm_tensor *t, uint64_t *rng)
{
	const struct pst_gguf_type *ty = pst_gguf_type(t->type);
	struct gb_tensor rec = { .name = t->name,
				 .type = t->type,
				 .nr_dims = t->nr_dims };
	uint64_t nr = t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3];
	uint64_t size = nr / ty->block_elems * ty->block_bytes;
	uint8_t *bytes = calloc(1, size + 1);

	if (!bytes)
		die("no memory for", t->name);
	memcpy(rec.ne, t->ne, sizeof(t->ne));
	if (!t->type)
		fill_f32(m, t, rng, bytes, nr);
	if (t->type == TM_I32)
		fill_ids(bytes, nr);
	gb_tensor(b, &rec, bytes, size);
	free(bytes);
}

/* What is read as floats, not multiplied as a matrix. */
static bool is_numbers(const struct tm_tensor *t)
{
	return t->nr_dims == 1 || strstr(t->name, ".ssm_conv1d") ||
	       ends_in(t->name, ".ssm_a");
}

/* The weights depend on the seed and the tensor, not on the order. */
static void put_tensors(const struct tiny_model *m, struct gguf_builder *b)
{
	for (int pass = m->vectors_first ? 0 : 2; pass < 3; pass++) {
		for (uint32_t i = 0; i < m->nr_tensors; i++) {
			const struct tm_tensor *t = &m->tensors[i];
			uint64_t rng = m->seed + i;
			bool now = !m->vectors_first ||
				   (pass == 0) == is_numbers(t);

			if (now && pass != 1)
				put_tensor(m, b, t, &rng);
		}
		if (pass == 1)
			gb_tensor(b,
				  &(struct gb_tensor){ .name = "stray",
						       .type = 24,
						       .nr_dims = 1,
						       .ne = { 1 } },
				  NULL, 1);
	}
}

uint8_t *tm_build(const struct tiny_model *m, size_t *size)
{
	struct gguf_builder b;

	gb_init(&b);
	b.align = m->align;
	if (m->align)
		gb_u32(&b, "general.alignment", m->align);
	for (uint32_t i = 0; i < m->nr_kv; i++)
		put_kv(&b, &m->kvs[i]);
	if (!m->no_vocab)
		put_vocab(&b);
	put_tensors(m, &b);
	return gb_finish(&b, size);
}
