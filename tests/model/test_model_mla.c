// SPDX-License-Identifier: MIT
/*
 * Latent attention in its decompressed form: near the absorbed one, the same
 * with any number of threads, and what single tokens do not take.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"

#define ALL_CPU	   UINT32_MAX /* that the processor has */
#define NR_TOKENS  530 /* more than two tiles of positions */
#define MANY_HEADS 11 /* more than a group of heads */

static const char *const archs[] = { "deepseek2", "deepseek32", "glm-dsa",
				     "kimi-linear", "kimi-k3" };

/* Chunks of one tile, of three, and of none that is whole. */
static void check_model(char *path, uint32_t mask, enum pst_kv_type kv)
{
	static const uint32_t batches[] = { NR_TOKENS, 256, 199 };
	struct mbed_args args = { .path = path,
				  .n_ctx = NR_TOKENS,
				  .n_batch = NR_TOKENS,
				  .threads = 1,
				  .nr_slots = 64,
				  .cpu_mask = mask,
				  .kv = kv };
	uint32_t n_vocab;
	float *absorbed = mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
	size_t n = (size_t)NR_TOKENS * n_vocab;

	args.mla = PST_MLA_DECOMPRESSED;
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(batches); i++) {
		float *want, *got;

		args.n_batch = batches[i];
		args.threads = 1;
		want = mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
		assert_memory_not_equal(want, absorbed, n * sizeof(*want));
		if (!(mbed_nmse(absorbed, want, n) < 1e-9))
			fail_msg("%s: chunks of %u: NMSE %g", path, batches[i],
				 mbed_nmse(absorbed, want, n));
		args.threads = 2 + i % 2;
		args.nr_slots = 0;
		got = mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
		assert_memory_equal(got, want, n * sizeof(*got));
		free(want);
		free(got);
	}
	free(absorbed);
}

static void check_tiny(struct tiny_model *tm, uint32_t mask,
		       enum pst_kv_type kv)
{
	char *path = mbed_write(tm);

	check_model(path, mask, kv);
	unlink(path);
	free(path);
}

static void both_forms_give_nearly_the_same(void **state)
{
	static const uint32_t masks[] = { 0, PST_CPU_AVX2, ALL_CPU };
	struct tiny_model tm;

	for (size_t a = 0; a < PST_ARRAY_SIZE(archs); a++) {
		tm_init(&tm, archs[a], true);
		check_tiny(&tm, masks[a % 3], a % 2 ? PST_KV_F16 : PST_KV_F32);
	}
	for (size_t m = 0; m < PST_ARRAY_SIZE(masks); m++) {
		tm_init(&tm, "deepseek2", true);
		check_tiny(&tm, masks[m], PST_KV_F32);
		check_tiny(&tm, masks[m], PST_KV_Q8_0);
	}
}

static void set_size(struct tiny_model *tm, const char *name, int dim,
		     uint64_t size)
{
	char full[64];

	for (int l = 0; l < TM_LAYERS; l++) {
		snprintf(full, sizeof(full), "blk.%d.%s.weight", l, name);
		tm_tensor(tm, full)->ne[dim] = size;
	}
}

static void heads_of_several_groups_do_too(void **state)
{
	struct tiny_model tm;

	tm_init(&tm, "deepseek2", true);
	tm_u32(&tm, "attention.head_count", MANY_HEADS);
	set_size(&tm, "attn_q_b", 1, MANY_HEADS * (TM_NOPE + TM_ROPE));
	set_size(&tm, "attn_k_b", 2, MANY_HEADS);
	set_size(&tm, "attn_v_b", 2, MANY_HEADS);
	set_size(&tm, "attn_output", 0, MANY_HEADS * TM_HD);
	check_tiny(&tm, ALL_CPU, PST_KV_F32);
	/* The halves in one tensor. */
	for (int l = 0; l < TM_LAYERS; l++) {
		char name[64];

		snprintf(name, sizeof(name), "blk.%d.attn_k_b.weight", l);
		tm_drop_tensor(&tm, name);
		snprintf(name, sizeof(name), "blk.%d.attn_v_b.weight", l);
		tm_drop_tensor(&tm, name);
		snprintf(name, sizeof(name), "blk.%d.attn_kv_b.weight", l);
		tm_add(&tm, name, TM_KV_RANK, MANY_HEADS * (TM_NOPE + TM_HD),
		       1);
	}
	check_tiny(&tm, ALL_CPU, PST_KV_F32);
	check_tiny(&tm, 0, PST_KV_F16);
}

/* Whatever the chunks may be. */
static void single_tokens_have_the_bits_of_the_absorbed_form(void **state)
{
	struct mbed_args args = { .n_ctx = NR_TOKENS,
				  .n_batch = 40,
				  .threads = 2,
				  .nr_slots = 64,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	struct tiny_model tm;
	float *want, *got;
	uint32_t n_vocab;
	char *path;

	tm_init(&tm, "deepseek2", true);
	path = mbed_write(&tm);
	args.path = path;
	want = mbed_logits(&args, NR_TOKENS, 1, &n_vocab);
	args.mla = PST_MLA_DECOMPRESSED;
	got = mbed_logits(&args, NR_TOKENS, 1, &n_vocab);
	assert_memory_equal(got, want,
			    (size_t)NR_TOKENS * n_vocab * sizeof(*got));
	free(want);
	free(got);
	unlink(path);
	free(path);
}

static uint64_t scratch_bytes(struct mbed *b, enum pst_mla_form form,
			      uint32_t n_batch, uint32_t n_ctx)
{
	struct pst_fwd_args args = { .model = b->m,
				     .kernels = &b->k,
				     .pool = b->pool,
				     .n_batch = n_batch,
				     .n_ctx = n_ctx,
				     .mla = form };

	return pst_fwd_bytes(&args);
}

static void
its_scratch_is_counted_and_does_not_grow_with_the_context(void **state)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = 32,
				  .threads = 1,
				  .nr_slots = 64,
				  .kv = PST_KV_F32 };
	struct tiny_model tm;
	struct mbed b;
	char *path;

	tm_init(&tm, "deepseek2", true);
	path = mbed_write(&tm);
	args.path = path;
	mbed_open(&b, &args);
	assert_true(scratch_bytes(&b, PST_MLA_DECOMPRESSED, 64, 4096) >
		    scratch_bytes(&b, PST_MLA_ABSORBED, 64, 4096));
	assert_int_equal(scratch_bytes(&b, PST_MLA_DECOMPRESSED, 64, 4096),
			 scratch_bytes(&b, PST_MLA_DECOMPRESSED, 64, 1 << 20));
	assert_int_equal(scratch_bytes(&b, PST_MLA_DECOMPRESSED, 1, 4096),
			 scratch_bytes(&b, PST_MLA_ABSORBED, 1, 4096));
	mbed_close(&b);
	unlink(path);
	free(path);
}

static void other_models_refuse_it_by_name(void **state)
{
	char *path = mbed_data("logits/llama-mixtral/model.gguf");
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 32,
				  .threads = 1,
				  .nr_slots = 64,
				  .kv = PST_KV_F32 };
	struct pst_diag d;
	struct mbed b;

	mbed_open(&b, &args);
	pst_diag_init(&d);
	assert_int_equal(pst_mla_check(b.m, PST_MLA_ABSORBED, &d), 0);
	assert_int_equal(pst_mla_check(b.m, PST_MLA_DECOMPRESSED, &d), -EINVAL);
	assert_non_null(strstr(d.text, "'llama' has no latent attention"));
	mbed_close(&b);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(both_forms_give_nearly_the_same),
		cmocka_unit_test(heads_of_several_groups_do_too),
		cmocka_unit_test(
			single_tokens_have_the_bits_of_the_absorbed_form),
		cmocka_unit_test(
			its_scratch_is_counted_and_does_not_grow_with_the_context),
		cmocka_unit_test(other_models_refuse_it_by_name),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
