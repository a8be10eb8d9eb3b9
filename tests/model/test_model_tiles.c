// SPDX-License-Identifier: MIT
/*
 * Sequences that are longer than a tile of attention: where tiles begin and
 * which queries share one changes no bit.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"

#define NR_TOKENS (2 * PST_K_ATTN_TILE + 9)
#define ALL_CPU	  UINT32_MAX /* that the processor has */

/* Groups of heads, windows and sinks, one key for all heads, chosen rows. */
static const char *const archs[] = { "qwen3moe",   "gpt-oss",	"gemma4",
				     "llama4",	   "deepseek2", "glm-dsa",
				     "minimax-m3", "deepseek4" };

static void check_model(char *path, uint32_t cpu_mask, enum pst_kv_type kv)
{
	static const uint32_t batches[] = { 1, 29, PST_K_ATTN_TILE + 1 };
	struct mbed_args args = { .path = path,
				  .n_ctx = NR_TOKENS,
				  .n_batch = NR_TOKENS,
				  .threads = 1,
				  .nr_slots = 64,
				  .cpu_mask = cpu_mask,
				  .kv = kv };
	uint32_t n_vocab;
	float *want;

	want = mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
	for (size_t i = 0; i < PST_ARRAY_SIZE(batches); i++) {
		float *got;

		args.n_batch = batches[i];
		args.threads = 1 + (uint32_t)i;
		got = mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
		for (size_t at = 0; at < (size_t)NR_TOKENS * n_vocab; at++)
			if (!isfinite(want[at]) ||
			    memcmp(&got[at], &want[at], sizeof(*got)))
				fail_msg("%s: batch %u, %u threads, kv %d: "
					 "token %zu is %g, not %g",
					 path, args.n_batch, args.threads, kv,
					 at / n_vocab, (double)got[at],
					 (double)want[at]);
		free(got);
	}
	free(want);
}

/* A family's tiny model. */
static void check_arch(const char *arch, uint32_t cpu_mask, enum pst_kv_type kv)
{
	struct tiny_model tm;
	char *path;

	tm_init(&tm, arch, true);
	path = mbed_write(&tm);
	check_model(path, cpu_mask, kv);
	unlink(path);
	free(path);
}

static void queries_that_share_a_tile_change_no_bit(void **state)
{
	static const uint32_t masks[] = { ALL_CPU, PST_CPU_AVX2, 0 };
	static const enum pst_kv_type types[] = { PST_KV_F16, PST_KV_F32 };

	for (size_t a = 0; a < PST_ARRAY_SIZE(archs); a++)
		for (size_t m = 0; m < PST_ARRAY_SIZE(masks); m++)
			for (size_t t = 0; t < PST_ARRAY_SIZE(types); t++)
				check_arch(archs[a], masks[m], types[t]);
}

/* Rows of 32 numbers and of 64, windows of 512; and latent attention, where a
 * value is the beginning of a row.
 */
static const char *const whole_blocks[] = {
	"logits/llama-mixtral/model.gguf", "logits/gemma4-dense/model.gguf",
	"logits/q-qwen3moe-Q8_0/model.gguf"
};

static void nor_do_they_where_rows_are_q8_0(void **state)
{
	static const uint32_t masks[] = { ALL_CPU, PST_CPU_AVX2, 0 };

	for (size_t m = 0; m < PST_ARRAY_SIZE(masks); m++) {
		for (size_t i = 0; i < PST_ARRAY_SIZE(whole_blocks); i++) {
			char *path = mbed_data(whole_blocks[i]);

			check_model(path, masks[m], PST_KV_Q8_0);
			free(path);
		}
		check_arch("deepseek2", masks[m], PST_KV_Q8_0);
	}
}

/* A number is wrong by a 254th of the largest of 32, at most.  The model has no
 * experts, which would be others now and then.
 */
static void q8_0_rows_are_near_what_was_put_there(void **state)
{
	static const enum pst_kv_type types[] = { PST_KV_F32, PST_KV_Q8_0 };
	char *path = mbed_data("logits/llama/model.gguf");
	double err = 0, all = 0;
	float *logits[2];
	uint32_t n_vocab;

	for (int i = 0; i < 2; i++) {
		struct mbed_args args = { .path = path,
					  .n_ctx = NR_TOKENS,
					  .n_batch = NR_TOKENS,
					  .threads = 1,
					  .cpu_mask = ALL_CPU,
					  .kv = types[i] };

		logits[i] =
			mbed_logits(&args, NR_TOKENS, args.n_batch, &n_vocab);
	}
	for (size_t i = 0; i < (size_t)NR_TOKENS * n_vocab; i++) {
		double d = (double)logits[1][i] - (double)logits[0][i];

		err += d * d;
		all += (double)logits[0][i] * (double)logits[0][i];
	}
	print_message("Q8_0 rows: NMSE %.3g\n", err / all);
	assert_true(err > 0 && err < 1e-3 * all);
	free(logits[0]);
	free(logits[1]);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(queries_that_share_a_tile_change_no_bit),
		cmocka_unit_test(nor_do_they_where_rows_are_q8_0),
		cmocka_unit_test(q8_0_rows_are_near_what_was_put_there),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
