// SPDX-License-Identifier: MIT
/*
 * The numbers of a model: what is required, what may be left out, and what no
 * file can make the program divide by or allocate.  A refusal names the key.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "gguf_check.h"
#include "model_priv.h"
#include "tiny_model.h"

/* Reads the numbers of a model as it stands. */
static int read_model(const struct tiny_model *m, struct pst_hparams *hp,
		      struct pst_diag *d)
{
	struct pst_gguf *g;
	size_t size;
	uint8_t *file = tm_build(m, &size);
	int rc;

	pst_diag_init(d);
	assert_int_equal(pst_gguf_open_mem(file, size, &g, d), 0);
	rc = pst_hparams_read(g, pst_arch_find(m->arch, strlen(m->arch)), hp,
			      d);
	pst_gguf_close(g);
	free(file);
	return rc;
}

static void read_ok(const struct tiny_model *m, struct pst_hparams *hp)
{
	struct pst_diag d;

	if (read_model(m, hp, &d))
		fail_msg("refused: %s", d.text);
}

static void refused(const struct tiny_model *m, int err, const char *key)
{
	struct pst_hparams hp = { .n_layers = 12345 };
	char word[128];
	struct pst_diag d;
	int rc = read_model(m, &hp, &d);

	if (rc != err)
		fail_msg("%s: %d (%s), not %d", key, rc, d.text, err);
	assert_int_equal(d.err, err);
	/* Untouched on failure. */
	assert_int_equal(hp.n_layers, 12345);
	if (*key == '%')
		snprintf(word, sizeof(word), "key %s ", key + 1);
	else
		snprintf(word, sizeof(word), "key %s.%s ", m->arch, key);
	if (!strstr(d.text, word))
		fail_msg("'%s' does not say '%s'", d.text, word);
}

static void the_numbers_are_read(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "qwen3moe", true);
	read_ok(&m, &hp);
	assert_int_equal(hp.n_layers, TM_LAYERS);
	assert_int_equal(hp.n_embd, TM_EMBD);
	assert_int_equal(hp.layer[0].n_head, TM_HEADS);
	assert_int_equal(hp.layer[0].n_head_kv, TM_HEADS_KV);
	assert_int_equal(hp.layer[0].hd_k, TM_HD);
	assert_int_equal(hp.layer[0].hd_v, TM_HD);
	assert_int_equal(hp.layer[0].n_ff, TM_FF);
	assert_int_equal(hp.n_vocab, TM_VOCAB);
	assert_int_equal(hp.n_ctx_train, 256);
	assert_int_equal(hp.n_expert, TM_EXPERTS);
	assert_int_equal(hp.n_expert_used, TM_USED);
	assert_int_equal(hp.n_ff_exp, TM_FF_EXP);
	assert_int_equal(hp.rope[0].n_rot, TM_HD);
	assert_int_equal(hp.rope[0].scaling, PST_ROPE_SCALE_NONE);
	assert_true(hp.rope[0].base == 10000.0f);
	assert_true(hp.eps == 1e-5f);
	assert_true(hp.attn_scale == 0.25f);
	assert_true(hp.router.norm);
	assert_true(hp.router.scale == 1.0f);
}

static void families_differ_where_they_should(void **state)
{
	static const struct {
		const char *arch;
		bool moe, norm;
	} want[] = { { "llama", true, true },	{ "qwen3moe", true, true },
		     { "olmoe", true, false },	{ "llama", false, true },
		     { "qwen2", false, false }, { "qwen3", false, false } };

	for (size_t i = 0; i < PST_ARRAY_SIZE(want); i++) {
		struct tiny_model m;
		struct pst_hparams hp;

		tm_init(&m, want[i].arch, want[i].moe);
		read_ok(&m, &hp);
		assert_int_equal(hp.n_expert, want[i].moe ? TM_EXPERTS : 0);
		if (want[i].moe)
			assert_int_equal(hp.router.norm, want[i].norm);
	}
	assert_null(pst_arch_find("llam", 4));
	assert_null(pst_arch_find("llama5", 6));
	assert_null(pst_arch_find("llama\0x", 7));
	assert_null(pst_arch_find("", 0));
}

static void a_missing_key_is_named(void **state)
{
	static const char *const keys[] = {
		"block_count",
		"embedding_length",
		"context_length",
		"attention.head_count",
		"attention.layer_norm_rms_epsilon",
		"expert_count",
		"expert_used_count",
		"expert_feed_forward_length",
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		struct tiny_model m;

		tm_init(&m, "qwen3moe", true);
		tm_drop(&m, keys[i]);
		refused(&m, -EBADMSG, keys[i]);
	}
}

static void optional_keys_have_defaults(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "olmoe", true);
	tm_drop(&m, "attention.head_count_kv");
	tm_drop(&m, "expert_feed_forward_length");
	tm_u32(&m, "context_length", 0);
	read_ok(&m, &hp);
	assert_int_equal(hp.layer[0].n_head_kv, TM_HEADS);
	/* In this family it is the width of an expert. */
	assert_int_equal(hp.n_ff_exp, TM_FF);
	assert_int_equal(hp.n_ctx_train, 4096);
	tm_drop(&m, "feed_forward_length");
	refused(&m, -EBADMSG, "expert_feed_forward_length");
	tm_init(&m, "qwen3moe", true);
	tm_drop(&m, "feed_forward_length");
	read_ok(&m, &hp);
}

static const char *const integers[] = {
	"block_count",
	"embedding_length",
	"context_length",
	"feed_forward_length",
	"attention.head_count",
	"attention.head_count_kv",
	"attention.key_length",
	"attention.value_length",
	"rope.dimension_count",
	"rope.scaling.original_context_length",
	"expert_count",
	"expert_used_count",
	"expert_feed_forward_length",
	"expert_gating_func",
	"expert_group_count",
	"expert_shared_count",
};

static void an_integer_of_another_type_is_refused(void **state)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(integers); i++) {
		struct tiny_model m;

		tm_init(&m, "qwen3moe", true);
		tm_str(&m, integers[i], "16");
		refused(&m, -EBADMSG, integers[i]);
		tm_f32(&m, integers[i], 16.0f);
		refused(&m, -EBADMSG, integers[i]);
		tm_bool(&m, integers[i], true);
		refused(&m, -EBADMSG, integers[i]);
		/* An array must have one element for each block. */
		tm_array(&m, integers[i], PST_GGUF_U32, TM_LAYERS + 1, 2);
		refused(&m, -EBADMSG, integers[i]);
		tm_array(&m, integers[i], PST_GGUF_U32, 0, 2);
		refused(&m, -EBADMSG, integers[i]);
		tm_array(&m, integers[i], PST_GGUF_F32, TM_LAYERS, 2);
		refused(&m, -EBADMSG, integers[i]);
		/* The length of a head is no block count either. */
		tm_array(&m, integers[i], PST_GGUF_U32, TM_HD, 2);
		refused(&m, -EBADMSG, integers[i]);
	}
}

static void floats_of_another_type_or_not_finite_are_refused(void **state)
{
	static const char *const keys[] = {
		"attention.layer_norm_rms_epsilon",
		"attention.scale",
		"rope.freq_base",
		"rope.scaling.factor",
		"rope.scaling.attn_factor",
		"rope.scaling.yarn_ext_factor",
		"rope.scaling.yarn_beta_fast",
		"rope.scaling.yarn_beta_slow",
		"expert_weights_scale",
	};
	static const float bad[] = { NAN, INFINITY, -INFINITY };

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		struct tiny_model m;

		tm_init(&m, "qwen3moe", true);
		tm_u32(&m, keys[i], 1);
		refused(&m, -EBADMSG, keys[i]);
		tm_str(&m, keys[i], "1.0");
		refused(&m, -EBADMSG, keys[i]);
		for (size_t b = 0; b < PST_ARRAY_SIZE(bad); b++) {
			tm_f32(&m, keys[i], bad[b]);
			refused(&m, -EBADMSG, keys[i]);
		}
	}
}

static void other_keys_of_another_type_are_refused(void **state)
{
	struct tiny_model m;

	tm_init(&m, "qwen3moe", true);
	tm_u32(&m, "rope.scaling.type", 1);
	refused(&m, -EBADMSG, "rope.scaling.type");
	tm_init(&m, "qwen3moe", true);
	tm_u32(&m, "expert_weights_norm", 1);
	refused(&m, -EBADMSG, "expert_weights_norm");
}

static void impossible_integers_are_refused(void **state)
{
	static const struct {
		const char *key;
		uint32_t v[5];
		int nr;
	} bad[] = {
		{ "block_count", { 0, 513, 1u << 31, UINT32_MAX }, 4 },
		{ "embedding_length", { 0, (1u << 20) + 1, UINT32_MAX }, 3 },
		{ "feed_forward_length", { (1u << 20) + 1, UINT32_MAX }, 2 },
		{ "attention.head_count", { 0, 4097, UINT32_MAX }, 3 },
		{ "attention.head_count_kv", { 0, 3, 5, 8, UINT32_MAX }, 5 },
		{ "attention.key_length", { 0, 4097, UINT32_MAX }, 3 },
		{ "attention.value_length", { 0, 4097, UINT32_MAX }, 3 },
		{ "rope.dimension_count",
		  { 0, 3, TM_HD + 2, TM_HD * 2, UINT32_MAX },
		  5 },
		{ "expert_count", { 0, 1025, 1u << 31, UINT32_MAX }, 4 },
		{ "expert_used_count",
		  { 0, TM_EXPERTS + 1, 1u << 31, UINT32_MAX },
		  4 },
		{ "expert_feed_forward_length",
		  { 0, (1u << 20) + 1, UINT32_MAX },
		  3 },
		{ "expert_gating_func", { 17, UINT32_MAX }, 2 },
		{ "rope.scaling.original_context_length",
		  { 0, 1u << 31, UINT32_MAX },
		  3 },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		for (int k = 0; k < bad[i].nr; k++) {
			struct tiny_model m;

			tm_init(&m, "qwen3moe", true);
			tm_u32(&m, bad[i].key, bad[i].v[k]);
			refused(&m, -EBADMSG, bad[i].key);
		}
	}
}

static void impossible_floats_are_refused(void **state)
{
	static const struct {
		const char *key;
		float v;
	} bad[] = {
		{ "attention.layer_norm_rms_epsilon", -1e-5f },
		{ "rope.freq_base", 0.0f },
		{ "rope.freq_base", -1.0f },
		{ "rope.scaling.factor", -2.0f },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		struct tiny_model m;

		tm_init(&m, "qwen3moe", true);
		tm_f32(&m, bad[i].key, bad[i].v);
		refused(&m, -EBADMSG, bad[i].key);
	}
}

static void variants_that_cannot_be_run_are_unsupported(void **state)
{
	static const struct {
		const char *key;
		uint32_t v;
	} bad[] = {
		{ "expert_gating_func", 2 },
		{ "expert_group_count", 2 },
		{ "expert_shared_count", 1 },
	};
	struct tiny_model m;

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		tm_init(&m, "qwen3moe", true);
		tm_u32(&m, bad[i].key, bad[i].v);
		refused(&m, -ENOTSUP, bad[i].key);
	}
	tm_init(&m, "qwen3moe", true);
	tm_str(&m, "rope.scaling.type", "longrope");
	refused(&m, -ENOTSUP, "rope.scaling.type");
}

static void keys_that_change_the_arithmetic_are_not_ignored(void **state)
{
	static const char *const floats[] = {
		"attention.clamp_kqv",
		"attention.max_alibi_bias",
		"attn_logit_softcapping",
		"final_logit_softcapping",
		"logit_scale",
		"residual_scale",
		"embedding_scale",
	};
	struct tiny_model m;

	for (size_t i = 0; i < PST_ARRAY_SIZE(floats); i++) {
		tm_init(&m, "llama", false);
		tm_f32(&m, floats[i], 30.0f);
		refused(&m, -ENOTSUP, floats[i]);
	}
	tm_init(&m, "llama", false);
	tm_u32(&m, "nextn_predict_layers", 1);
	refused(&m, -ENOTSUP, "nextn_predict_layers");
	tm_init(&m, "llama", false);
	tm_bool(&m, "attention.causal", false);
	refused(&m, -ENOTSUP, "attention.causal");
}

static void more_heads_than_width_are_refused(void **state)
{
	struct tiny_model m;

	tm_init(&m, "llama", false);
	tm_u32(&m, "attention.head_count", 128);
	refused(&m, -EBADMSG, "attention.head_count");
}

static void an_odd_head_cannot_be_rotated(void **state)
{
	struct tiny_model m;

	tm_init(&m, "llama", false);
	tm_u32(&m, "attention.key_length", 15);
	refused(&m, -EBADMSG, "rope.dimension_count");
	tm_u32(&m, "rope.dimension_count", 14);
	{
		struct pst_hparams hp;

		read_ok(&m, &hp);
		assert_int_equal(hp.rope[0].n_rot, 14);
		assert_int_equal(hp.layer[0].hd_k, 15);
		assert_int_equal(hp.layer[0].hd_v, TM_HD);
	}
}

static void arrays_with_one_value_per_block_are_taken(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "llama", false);
	tm_array(&m, "attention.head_count", PST_GGUF_U32, TM_LAYERS, 8);
	tm_array(&m, "attention.head_count_kv", PST_GGUF_I32, TM_LAYERS, 4);
	tm_array(&m, "feed_forward_length", PST_GGUF_U32, TM_LAYERS, 48);
	read_ok(&m, &hp);
	assert_int_equal(hp.layer[0].n_head, 8);
	assert_int_equal(hp.layer[0].n_head_kv, 4);
	assert_int_equal(hp.layer[0].n_ff, 48);
	tm_array(&m, "attention.head_count", PST_GGUF_I32, TM_LAYERS,
		 (uint32_t)-8);
	refused(&m, -EBADMSG, "attention.head_count");
}

static void the_vocabulary_must_be_strings(void **state)
{
	struct tiny_model m;

	tm_init(&m, "llama", false);
	m.no_vocab = true;
	refused(&m, -EBADMSG, "%tokenizer.ggml.tokens");
	tm_array(&m, "%tokenizer.ggml.tokens", PST_GGUF_U32, 8, 1);
	refused(&m, -EBADMSG, "%tokenizer.ggml.tokens");
	tm_array(&m, "%tokenizer.ggml.tokens", PST_GGUF_STRING, 0, 0);
	refused(&m, -EBADMSG, "%tokenizer.ggml.tokens");
	tm_str(&m, "%tokenizer.ggml.tokens", "abc");
	refused(&m, -EBADMSG, "%tokenizer.ggml.tokens");
}

static void scaling_keys_are_read(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "qwen3", false);
	tm_f32(&m, "rope.scale_linear", 4.0f);
	read_ok(&m, &hp);
	assert_int_equal(hp.rope[0].scaling, PST_ROPE_SCALE_LINEAR);
	assert_true(hp.rope[0].factor == 4.0f);
	tm_f32(&m, "rope.scaling.factor", 8.0f);
	read_ok(&m, &hp);
	assert_true(hp.rope[0].factor == 8.0f);
	tm_str(&m, "rope.scaling.type", "yarn");
	tm_u32(&m, "rope.scaling.original_context_length", 64);
	read_ok(&m, &hp);
	assert_int_equal(hp.rope[0].scaling, PST_ROPE_SCALE_YARN);
	assert_int_equal(hp.rope[0].ctx_orig, 64);
	assert_true(hp.rope[0].ext_factor == 1.0f);
	tm_str(&m, "rope.scaling.type", "none");
	read_ok(&m, &hp);
	assert_int_equal(hp.rope[0].scaling, PST_ROPE_SCALE_NONE);
}

static void latent_attention_is_read(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;
	float a = 1.0f + 0.1f * logf(40.0f);

	tm_init(&m, "deepseek2", true);
	tm_str(&m, "rope.scaling.type", "yarn");
	tm_f32(&m, "rope.scaling.factor", 40.0f);
	tm_f32(&m, "rope.scaling.yarn_log_multiplier", 0.1f);
	read_ok(&m, &hp);
	assert_int_equal(hp.mla.q_rank, TM_Q_RANK);
	assert_int_equal(hp.mla.kv_rank, TM_KV_RANK);
	assert_int_equal(hp.mla.hd_nope, TM_NOPE);
	assert_int_equal(hp.mla.hd_rope, TM_ROPE);
	assert_int_equal(hp.mla.hd_v, TM_HD);
	assert_int_equal(hp.router.gating, PST_GATING_SOFTMAX);
	assert_true(!hp.router.norm);
	assert_true(fabsf(hp.attn_scale * sqrtf(TM_NOPE + TM_ROPE) - a * a) <
		    1e-5f);
	/* What the table multiplies by is undone. */
	assert_true(fabsf(hp.rope[0].attn_factor * a - 1.0f) < 1e-6f);
	tm_drop(&m, "rope.scaling.yarn_log_multiplier");
	read_ok(&m, &hp);
	assert_true(hp.rope[0].attn_factor == 1.0f);
	tm_init(&m, "glm-dsa", true);
	read_ok(&m, &hp);
	assert_int_equal(hp.router.gating, PST_GATING_SIGMOID);
	assert_int_equal(hp.mla.index_top_k, TM_TOP_K);
	assert_int_equal(hp.mla.index_rope, PST_ROPE_NORM);
	assert_true(!hp.mla.index_reused[0] && !hp.mla.index_reused[1]);
	tm_flags(&m, "attention.indexer.types", "10");
	read_ok(&m, &hp);
	assert_true(!hp.mla.index_reused[0] && hp.mla.index_reused[1]);
}

static void latent_attention_without_its_keys_is_refused(void **state)
{
	static const char *const needed[] = {
		"attention.kv_lora_rank",	"rope.dimension_count",
		"attention.q_lora_rank",	"attention.indexer.head_count",
		"attention.indexer.key_length", "attention.indexer.top_k"
	};
	struct tiny_model full, m;

	tm_init(&full, "deepseek32", true);
	for (size_t i = 0; i < PST_ARRAY_SIZE(needed); i++) {
		m = full;
		tm_drop(&m, needed[i]);
		refused(&m, -EBADMSG, needed[i]);
		m = full;
		tm_u32(&m, needed[i], 0);
		refused(&m, -EBADMSG, needed[i]);
	}
	m = full;
	tm_u32(&m, "rope.dimension_count", TM_NOPE + TM_ROPE);
	refused(&m, -EBADMSG, "rope.dimension_count");
	m = full;
	tm_u32(&m, "attention.indexer.key_length", 65);
	refused(&m, -ENOTSUP, "attention.indexer.key_length");
	m = full;
	tm_f32(&m, "rope.scaling.yarn_log_multiplier", -1.0f);
	refused(&m, -EBADMSG, "rope.scaling.yarn_log_multiplier");
	tm_init(&m, "glm-dsa", true);
	tm_flags(&m, "attention.indexer.types", "01");
	refused(&m, -EBADMSG, "attention.indexer.types");
	tm_init(&m, "deepseek2", true);
	tm_f32(&m, "attention.temperature_scale", 0.1f);
	refused(&m, -EBADMSG, "attention.temperature_length");
}

static void the_choice_of_runs_is_read(void **state)
{
	static const char *const needed[] = { "attention.indexer.head_count",
					      "attention.indexer.key_length",
					      "attention.indexer.block_size",
					      "attention.indexer.top_k" };
	struct tiny_model full, m;
	struct pst_hparams hp;

	tm_init(&full, "minimax-m3", true);
	tm_u32(&full, "leading_dense_block_count", 1);
	read_ok(&full, &hp);
	assert_int_equal(hp.runs.len, 3);
	assert_int_equal(hp.runs.top_k, 4);
	assert_int_equal(hp.runs.nr_local, 1);
	assert_int_equal(hp.runs.hd, TM_INDEX_HD);
	assert_true(!hp.layer[0].runs_chosen && hp.layer[1].runs_chosen);
	for (size_t i = 0; i < PST_ARRAY_SIZE(needed); i++) {
		m = full;
		tm_drop(&m, needed[i]);
		refused(&m, -EBADMSG, needed[i]);
		m = full;
		tm_u32(&m, needed[i], 0);
		refused(&m, -EBADMSG, needed[i]);
	}
	m = full;
	tm_u32(&m, "attention.indexer.head_count", TM_HEADS_KV + 1);
	refused(&m, -ENOTSUP, "attention.indexer.head_count");
	m = full;
	tm_u32(&m, "attention.indexer.key_length", 65);
	refused(&m, -ENOTSUP, "attention.indexer.key_length");
	/* More positions than any model attends to. */
	m = full;
	tm_u32(&m, "attention.indexer.top_k", 1u << 24);
	refused(&m, -EBADMSG, "attention.indexer.top_k");
}

static void an_encoder_is_read(void **state)
{
	struct tiny_model full, m;
	struct pst_hparams hp;

	tm_init(&full, "bert", false);
	read_ok(&full, &hp);
	assert_true(hp.encoder && hp.layer[1].both_ways);
	assert_int_equal(hp.layer[0].rope, PST_ROPE_NONE);
	assert_int_equal(hp.pooling, PST_POOLING_MEAN);
	assert_int_equal(hp.n_positions, 256);
	m = full;
	tm_drop(&m, "attention.layer_norm_epsilon");
	refused(&m, -EBADMSG, "attention.layer_norm_epsilon");
	m = full;
	tm_bool(&m, "attention.causal", true);
	refused(&m, -ENOTSUP, "attention.causal");
	/* A judge of pairs is another kind of model. */
	m = full;
	tm_u32(&m, "pooling_type", 4);
	refused(&m, -ENOTSUP, "pooling_type");
	m = full;
	tm_u32(&m, "pooling_type", 5);
	refused(&m, -EBADMSG, "pooling_type");
	m = full;
	tm_u32(&m, "%tokenizer.ggml.token_type_count", 256);
	read_ok(&m, &hp);
	assert_int_equal(hp.n_token_types, 256);
}

static void packed_rows_are_read(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "deepseek4", true);
	tm_str(&m, "rope.scaling.type", "yarn");
	tm_f32(&m, "rope.scaling.factor", 16.0f);
	tm_u32(&m, "rope.scaling.original_context_length", 64);
	read_ok(&m, &hp);
	assert_int_equal(hp.layer[1].window, TM_WINDOW);
	assert_int_equal(hp.layer[0].pack, 4);
	assert_true(hp.layer[0].pack_chosen && !hp.layer[1].pack_chosen);
	assert_int_equal(hp.layer[1].pack, 0);
	/* Only blocks with packed rows are extended, and no length changes. */
	assert_int_equal(hp.layer[0].rope, 1);
	assert_int_equal(hp.layer[1].rope, 0);
	assert_int_equal(hp.rope[0].scaling, PST_ROPE_SCALE_NONE);
	assert_int_equal(hp.rope[1].scaling, PST_ROPE_SCALE_YARN);
	assert_true(hp.rope[0].base == 10000.0f);
	assert_true(hp.rope[1].base == 160000.0f);
	assert_true(fabsf(hp.rope[1].attn_factor * (1.0f + 0.1f * logf(16.0f)) -
			  1.0f) < 1e-6f);
	assert_int_equal(hp.streams.nr, TM_STREAMS);
	assert_int_equal(hp.streams.rounds, 5);
	assert_true(hp.layer[0].by_token && !hp.layer[1].by_token);
	assert_true(hp.layer[1].glu_limit == 0.5f);
	assert_true(hp.layer[1].glu_limit_shared == 0.4f);
	tm_drop(&m, "swiglu_clamp_shexp");
	read_ok(&m, &hp);
	assert_true(hp.layer[0].glu_limit_shared == 0.5f);
	tm_drop(&m, "swiglu_clamp_exp");
	read_ok(&m, &hp);
	assert_true(hp.layer[0].glu_limit == 0.0f);
	/* Run lengths of blocks that are left out may follow. */
	tm_flags(&m, "attention.compress_ratios", "0400");
	read_ok(&m, &hp);
	assert_true(!hp.layer[0].pack && hp.layer[1].pack == 4);
}

static void packed_rows_without_their_keys_are_refused(void **state)
{
	static const char *const needed[] = {
		"attention.q_lora_rank",
		"attention.output_lora_rank",
		"attention.output_group_count",
		"attention.sliding_window",
		"attention.compress_ratios",
		"attention.compress_rope_freq_base",
		"attention.indexer.head_count",
		"attention.indexer.key_length",
		"attention.indexer.top_k",
		"rope.dimension_count",
		"hyper_connection.count",
		"hyper_connection.sinkhorn_iterations",
		"hyper_connection.epsilon",
		"hash_layer_count",
	};
	static const struct {
		const char *key;
		uint32_t value;
		int err;
	} wrong[] = {
		{ "attention.head_count_kv", 2, -ENOTSUP },
		{ "attention.value_length", 32, -EBADMSG },
		{ "attention.output_group_count", 3, -EBADMSG },
		{ "attention.indexer.key_length", 65, -ENOTSUP },
		{ "attention.indexer.key_length", 4, -EBADMSG },
		{ "hyper_connection.count", 1, -EBADMSG },
		{ "hyper_connection.count", 9, -EBADMSG },
		{ "hash_layer_count", 3, -EBADMSG },
		{ "rope.dimension_count", 66, -EBADMSG },
		{ "expert_gating_func", 2, -ENOTSUP },
	};
	struct tiny_model full, m;

	tm_init(&full, "deepseek4", true);
	for (size_t i = 0; i < PST_ARRAY_SIZE(needed); i++) {
		m = full;
		tm_drop(&m, needed[i]);
		refused(&m, -EBADMSG, needed[i]);
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(wrong); i++) {
		m = full;
		tm_u32(&m, wrong[i].key, wrong[i].value);
		refused(&m, wrong[i].err, wrong[i].key);
	}
	m = full;
	tm_flags(&m, "attention.compress_ratios", "4");
	refused(&m, -EBADMSG, "attention.compress_ratios");
	tm_flags(&m, "attention.compress_ratios", "48");
	refused(&m, -ENOTSUP, "attention.compress_ratios");
	m = full;
	tm_f32(&m, "hyper_connection.epsilon", -1.0f);
	refused(&m, -EBADMSG, "hyper_connection.epsilon");
	m = full;
	tm_u32(&m, "swiglu_clamp_exp", 1);
	refused(&m, -EBADMSG, "swiglu_clamp_exp");
}

/* A key may still count blocks that a converter has left out: what has no
 * matrix to join two tokens does not predict.
 */
static void blocks_that_predict_nothing_are_ordinary(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "deepseek4", true);
	tm_u32(&m, "nextn_predict_layers", 1);
	read_ok(&m, &hp);
	assert_int_equal(hp.n_layers, TM_LAYERS);
	tm_add(&m, "blk.1.nextn.eh_proj.weight", 2 * TM_EMBD, TM_EMBD, 1);
	read_ok(&m, &hp);
	assert_int_equal(hp.n_layers, TM_LAYERS - 1);
	/* Counted, and left out as a whole. */
	tm_init(&m, "glm-dsa", true);
	tm_u32(&m, "block_count", TM_LAYERS + 1);
	tm_u32(&m, "nextn_predict_layers", 1);
	read_ok(&m, &hp);
	assert_int_equal(hp.n_layers, TM_LAYERS);
}

static void recurrent_blocks_are_read(void **state)
{
	struct tiny_model m;
	struct pst_hparams hp;

	tm_init(&m, "qwen3next", true);
	read_ok(&m, &hp);
	assert_ptr_equal(hp.layer[0].mixer, &pst_mixer_gdn);
	assert_ptr_equal(hp.layer[1].mixer, &pst_mixer_gqa);
	assert_int_equal(hp.delta.taps, TM_TAPS);
	assert_int_equal(hp.delta.n_k, TM_DELTA_HEADS_K);
	assert_int_equal(hp.delta.n_v, TM_DELTA_HEADS);
	assert_int_equal(hp.delta.hd_k, TM_HD);
	assert_int_equal(hp.delta.hd_v, TM_DELTA_HD_V);
	assert_false(hp.delta.tiled);
	/* Every fourth block attends, unless a list says which. */
	tm_drop(&m, "full_attention_interval");
	read_ok(&m, &hp);
	assert_ptr_equal(hp.layer[1].mixer, &pst_mixer_gdn);
	tm_flags(&m, "attention.recurrent_layers", "01");
	read_ok(&m, &hp);
	assert_ptr_equal(hp.layer[0].mixer, &pst_mixer_gqa);
	assert_ptr_equal(hp.layer[1].mixer, &pst_mixer_gdn);
	tm_flags(&m, "attention.recurrent_layers", "010");
	refused(&m, -EBADMSG, "attention.recurrent_layers");
	tm_init(&m, "qwen35", false);
	read_ok(&m, &hp);
	assert_true(hp.delta.tiled);
	tm_init(&m, "kimi-linear", true);
	read_ok(&m, &hp);
	assert_ptr_equal(hp.layer[0].mixer, &pst_mixer_kda);
	assert_ptr_equal(hp.layer[1].mixer, &pst_mixer_mla);
	assert_int_equal(hp.layer[1].rope, PST_ROPE_NONE);
	assert_int_equal(hp.delta.n_v, TM_HEADS);
	assert_int_equal(hp.delta.gate_rank, TM_HD);
	assert_true(hp.delta.decay_bound == 0.0f);
	tm_init(&m, "kimi-k3", true);
	read_ok(&m, &hp);
	assert_int_equal(hp.delta.gate_rank, 0);
	assert_true(hp.delta.decay_bound == -5.0f);
	assert_int_equal(hp.n_latent, TM_LATENT);
	assert_int_equal(hp.sum_blocks, 1);
}

static void recurrent_blocks_without_their_keys_are_refused(void **state)
{
	static const struct {
		const char *arch;
		const char *key;
		uint32_t bad; /* a value that cannot be */
	} keys[] = {
		{ "qwen3next", "ssm.conv_kernel", 1 },
		{ "qwen3next", "ssm.conv_kernel", PST_K_MAX_TAPS + 1 },
		{ "qwen3next", "ssm.state_size", 0 },
		{ "qwen3next", "ssm.group_count", 0 },
		{ "qwen35moe", "ssm.time_step_rank", 3 },
		{ "qwen35moe", "ssm.inner_size", TM_DELTA_HEADS * 8 + 1 },
		{ "qwen35moe", "ssm.inner_size", TM_DELTA_HEADS << 11 },
		{ "kimi-linear", "ssm.conv_kernel", 0 },
		{ "kimi-linear", "kda.head_dim", 1u << 20 },
		{ "kimi-linear", "attention.kv_lora_rank", 0 },
		{ "kimi-k3", "expert_latent_length", 0 },
		{ "kimi-k3", "attn_res.block_size", 0 },
	};
	static const struct {
		const char *key;
		float bad;
	} floats[] = {
		{ "kda.gate_lower_bound", 0.0f },
		{ "activation.situ_beta", 0.0f },
		{ "activation.situ_linear_beta", -1.0f },
	};
	struct pst_hparams hp;
	struct tiny_model m;

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		tm_init(&m, keys[i].arch, true);
		tm_u32(&m, keys[i].key, keys[i].bad);
		refused(&m, -EBADMSG, keys[i].key);
		tm_drop(&m, keys[i].key);
		refused(&m, -EBADMSG, keys[i].key);
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(floats); i++) {
		tm_init(&m, "kimi-k3", true);
		tm_f32(&m, floats[i].key, floats[i].bad);
		refused(&m, -EBADMSG, floats[i].key);
		tm_drop(&m, floats[i].key);
		refused(&m, -EBADMSG, floats[i].key);
	}
	/* Only a recurrent block needs no heads of keys. */
	tm_init(&m, "qwen3next", true);
	tm_flags(&m, "attention.head_count_kv", "02");
	read_ok(&m, &hp);
	tm_flags(&m, "attention.head_count_kv", "20");
	refused(&m, -EBADMSG, "attention.head_count_kv");
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(recurrent_blocks_are_read),
		cmocka_unit_test(
			recurrent_blocks_without_their_keys_are_refused),
		cmocka_unit_test(the_numbers_are_read),
		cmocka_unit_test(families_differ_where_they_should),
		cmocka_unit_test(latent_attention_is_read),
		cmocka_unit_test(latent_attention_without_its_keys_is_refused),
		cmocka_unit_test(the_choice_of_runs_is_read),
		cmocka_unit_test(an_encoder_is_read),
		cmocka_unit_test(packed_rows_are_read),
		cmocka_unit_test(packed_rows_without_their_keys_are_refused),
		cmocka_unit_test(blocks_that_predict_nothing_are_ordinary),
		cmocka_unit_test(a_missing_key_is_named),
		cmocka_unit_test(optional_keys_have_defaults),
		cmocka_unit_test(an_integer_of_another_type_is_refused),
		cmocka_unit_test(
			floats_of_another_type_or_not_finite_are_refused),
		cmocka_unit_test(other_keys_of_another_type_are_refused),
		cmocka_unit_test(impossible_integers_are_refused),
		cmocka_unit_test(impossible_floats_are_refused),
		cmocka_unit_test(variants_that_cannot_be_run_are_unsupported),
		cmocka_unit_test(
			keys_that_change_the_arithmetic_are_not_ignored),
		cmocka_unit_test(more_heads_than_width_are_refused),
		cmocka_unit_test(an_odd_head_cannot_be_rotated),
		cmocka_unit_test(arrays_with_one_value_per_block_are_taken),
		cmocka_unit_test(the_vocabulary_must_be_strings),
		cmocka_unit_test(scaling_keys_are_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
