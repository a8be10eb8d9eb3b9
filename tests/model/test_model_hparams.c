// SPDX-License-Identifier: MIT
/*
 * The numbers of a model: what is required, what may be left out, and what no
 * file can make the program divide by or allocate.  A refusal names the key.
 */
#include <math.h>
#include <stdio.h>

#include "hparams_testing.h"

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

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_numbers_are_read),
		cmocka_unit_test(families_differ_where_they_should),
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
