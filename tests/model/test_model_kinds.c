// SPDX-License-Identifier: MIT
/*
 * The numbers of the kinds of blocks: latent, packed and recurrent ones, runs,
 * encoders, prediction blocks.  A refusal names the key.
 */
#include <math.h>
#include <stdio.h>

#include "hparams_testing.h"

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
		cmocka_unit_test(latent_attention_is_read),
		cmocka_unit_test(latent_attention_without_its_keys_is_refused),
		cmocka_unit_test(the_choice_of_runs_is_read),
		cmocka_unit_test(an_encoder_is_read),
		cmocka_unit_test(packed_rows_are_read),
		cmocka_unit_test(packed_rows_without_their_keys_are_refused),
		cmocka_unit_test(blocks_that_predict_nothing_are_ordinary),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
