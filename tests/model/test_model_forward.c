// SPDX-License-Identifier: MIT
/*
 * One sequence, one result: the batch, the threads, the slots and the order of
 * arrival change no bit.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"

#define NR_TOKENS 40
#define ALL_CPU	  UINT32_MAX /* that the processor has */

static const char *const models[] = { "logits/llama-mixtral/model.gguf",
				      "logits/olmoe/model.gguf" };

static void make_tokens(uint32_t n_vocab, int32_t *tokens)
{
	uint64_t rng = 20261120;

	for (int i = 0; i < NR_TOKENS; i++)
		tokens[i] = (int32_t)(pst_rng_next(&rng) % n_vocab);
}

/* Logits of all tokens; heap. */
static float *eval(const struct mbed_args *args, uint32_t *n_vocab)
{
	int32_t tokens[NR_TOKENS];
	struct mbed b;
	float *out;

	mbed_open(&b, args);
	*n_vocab = b.m->hp.n_vocab;
	make_tokens(*n_vocab, tokens);
	out = calloc((size_t)NR_TOKENS * *n_vocab, sizeof(*out));
	assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, args->n_batch, out),
			 0);
	assert_int_equal(b.kv.n_used, NR_TOKENS);
	mbed_close(&b);
	return out;
}

static void check_bits(const struct mbed_args *args, const float *want)
{
	uint32_t n_vocab;
	float *got = eval(args, &n_vocab);

	for (size_t i = 0; i < (size_t)NR_TOKENS * n_vocab; i++) {
		assert_true(isfinite(got[i]));
		if (memcmp(&got[i], &want[i], sizeof(*got)))
			fail_msg("%s: batch %u, %u threads, %u slots, kv %d: "
				 "token %zu differs",
				 args->path, args->n_batch, args->threads,
				 args->nr_slots, args->kv, i / n_vocab);
	}
	free(got);
}

static void batch_threads_and_slots_change_no_bit(void **state)
{
	static const uint32_t batches[] = { 1, 7, 40 };
	static const uint32_t masks[] = { 0, ALL_CPU };

	for (size_t m = 0; m < PST_ARRAY_SIZE(models) * 4; m++) {
		struct mbed_args args = { .n_ctx = 64,
					  .n_batch = 40,
					  .threads = 1,
					  .nr_slots = 64,
					  .cpu_mask = masks[m / 4],
					  .kv = m & 2 ? PST_KV_F16
						      : PST_KV_F32 };
		char *path = mbed_data(models[m & 1]);
		uint32_t n_vocab;
		float *want;

		args.path = path;
		want = eval(&args, &n_vocab);
		for (uint32_t t = 1; t <= 3; t++) {
			for (size_t k = 0; k < 3; k++) {
				args.threads = t;
				args.n_batch = batches[k];
				args.nr_slots = (t + (uint32_t)k) & 1 ? 0 : 9;
				check_bits(&args, want);
			}
		}
		free(want);
		free(path);
	}
}

static void arrival_in_any_order_changes_no_bit(void **state)
{
	char *path = mbed_data(models[0]);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 40,
				  .threads = 2,
				  .nr_slots = 24,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	uint32_t n_vocab;
	float *want = eval(&args, &n_vocab);
	char fault[64];

	for (int seed = 1; seed <= 5; seed++) {
		snprintf(fault, sizeof(fault),
			 "seed=%d,shuffle=1,short=0.2,delay_us=50", seed);
		args.fault = fault;
		args.nr_slots = seed & 1 ? 3 : 24;
		args.n_batch = seed & 1 ? 40 : 13;
		check_bits(&args, want);
	}
	free(want);
	free(path);
}

/* What comes after a token cannot change its logits. */
static void a_token_does_not_see_the_future(void **state)
{
	char *path = mbed_data(models[1]);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 40,
				  .threads = 2,
				  .nr_slots = 64,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	uint32_t n_vocab;
	float *want = eval(&args, &n_vocab);
	float *got = calloc((size_t)NR_TOKENS * n_vocab, sizeof(*got));
	struct mbed b;

	mbed_open(&b, &args);
	make_tokens(n_vocab, tokens);
	for (int i = 20; i < NR_TOKENS; i++)
		tokens[i] = 1;
	assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, 40, got), 0);
	assert_memory_equal(got, want, 20 * n_vocab * sizeof(*got));
	assert_memory_not_equal(got + 21 * n_vocab, want + 21 * n_vocab,
				n_vocab * sizeof(*got));
	/* Back to position 20 and on with the right tokens. */
	make_tokens(n_vocab, tokens);
	assert_int_equal(pst_kv_truncate(&b.kv, 20), 20);
	assert_int_equal(mbed_eval(&b, tokens + 20, 20, 7, got + 20 * n_vocab),
			 0);
	assert_memory_equal(got, want, NR_TOKENS * n_vocab * sizeof(*got));
	mbed_close(&b);
	free(got);
	free(want);
	free(path);
}

static int count_logits(void *ctx, uint32_t token, const float *logits)
{
	uint32_t *seen = ctx;

	assert_int_equal(token, 37 + seen[0]);
	seen[0]++;
	return seen[0] == seen[1] ? -ECANCELED : 0;
}

static void only_the_logits_asked_for_are_given(void **state)
{
	char *path = mbed_data(models[0]);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 40,
				  .threads = 1,
				  .nr_slots = 24,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	uint32_t seen[2] = { 0, 0 };
	int32_t tokens[NR_TOKENS];
	struct pst_fwd_pass pass = { .tokens = tokens,
				     .n = NR_TOKENS,
				     .first_logits = 37,
				     .logits = count_logits,
				     .ctx = seen };
	struct mbed b;

	mbed_open(&b, &args);
	make_tokens(b.m->hp.n_vocab, tokens);
	pass.kv = &b.kv;
	assert_int_equal(pst_fwd_run(b.f, &pass, NULL), 0);
	assert_int_equal(seen[0], 3);
	/* A callback that stops hands its value through. */
	pst_kv_truncate(&b.kv, 0);
	seen[0] = 0;
	seen[1] = 2;
	assert_int_equal(pst_fwd_run(b.f, &pass, NULL), -ECANCELED);
	assert_int_equal(seen[0], 2);
	mbed_close(&b);
	free(path);
}

/* A read that fails: the sequence is as before; then all works again. */
static void fail_passes(const char *path)
{
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 10,
				  .threads = 2,
				  .nr_slots = 3,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	uint32_t n_vocab, failed = 0;
	float *want = eval(&args, &n_vocab);
	float *got = calloc((size_t)NR_TOKENS * n_vocab, sizeof(*got));

	make_tokens(n_vocab, tokens);
	for (uint32_t at = 2; at < 60; at += 3) {
		struct mbed b;
		char fault[32];

		/* The trunk is read before, as one or a few reads. */
		snprintf(fault, sizeof(fault), "eio_at=%u", at + 20);
		args.fault = fault;
		mbed_open(&b, &args);
		for (uint32_t t = 0; t < NR_TOKENS; t += 10) {
			float *out = got + (size_t)t * n_vocab;

			if (!mbed_eval(&b, tokens + t, 10, 10, out))
				continue;
			failed++;
			assert_int_equal(b.kv.n_used, t);
			assert_int_equal(mbed_eval(&b, tokens + t, 10, 10, out),
					 0);
		}
		assert_memory_equal(got, want,
				    NR_TOKENS * n_vocab * sizeof(*got));
		mbed_close(&b);
	}
	assert_true(failed >= 10);
	free(got);
	free(want);
}

static void a_failed_pass_leaves_the_sequence_alone(void **state)
{
	static const char *const with_state[] = { "qwen3next", "kimi-linear",
						  "kimi-k3", "deepseek4" };
	char *path = mbed_data(models[0]);

	fail_passes(path);
	free(path);
	for (size_t i = 0; i < PST_ARRAY_SIZE(with_state); i++) {
		struct tiny_model tm;

		tm_init(&tm, with_state[i], true);
		path = mbed_write(&tm);
		fail_passes(path);
		unlink(path);
		free(path);
	}
}

/* The model with tensors aligned to @align; below four, the vectors still are
 * and the matrices lie at odd places.
 */
static char *write_aligned(struct tiny_model *tm, uint32_t align)
{
	char name[8] = "xxxx";
	size_t size = 1;

	tm->align = align;
	tm->vectors_first = align < 4;
	for (int len = 4; align < 4 && len; len--) {
		struct pst_gguf *g;
		uint8_t *file;

		name[len] = 0;
		tm_str(tm, "%general.name", name);
		file = tm_build(tm, &size);
		assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
		size = pst_gguf_file(g, 0)->data_off_bytes % 4;
		pst_gguf_close(g);
		free(file);
		if (!size)
			break;
	}
	return mbed_write(tm);
}

/* Every family, with matrices at any byte of the file. */
static void any_alignment_of_the_file_gives_the_same_bits(void **state)
{
	static const uint32_t masks[] = { 0, ALL_CPU };

	for (size_t a = 0; a < 2 * tm_nr_families; a++) {
		const char *arch = tm_families[a / 2].arch;
		struct mbed_args args = { .n_ctx = 64,
					  .n_batch = 16,
					  .threads = 1,
					  .nr_slots = 16,
					  .cpu_mask = masks[a % 2],
					  .kv = PST_KV_F32 };
		struct tiny_model tm;
		uint32_t n_vocab;
		float *want = NULL;

		tm_init(&tm, arch, tm_families[a / 2].moe);
		for (uint32_t align = 32; align; align /= 2) {
			char *path = write_aligned(&tm, align);

			args.path = path;
			if (want)
				check_bits(&args, want);
			else
				want = eval(&args, &n_vocab);
			unlink(path);
			free(path);
		}
		free(want);
	}
}

static void kv_memory_is_refused_when_it_overflows(void **state)
{
	struct pst_kv_args args = { .type = PST_KV_F32,
				    .n_ctx = UINT32_MAX,
				    .n_batch = 1 };
	struct pst_hparams hp = { .n_layers = PST_MAX_LAYERS };

	for (uint32_t i = 0; i < PST_MAX_LAYERS; i++)
		hp.layer[i] = (struct pst_layer_hp){ .mixer = &pst_mixer_gqa,
						     .n_head_kv = 4096,
						     .hd_k = 4096,
						     .hd_v = 4096 };
	assert_int_equal(pst_kv_bytes(&hp, &args), UINT64_MAX);
	args.type = PST_KV_F16;
	args.n_ctx = 1;
	assert_int_equal(pst_kv_bytes(&hp, &args), 512ULL << 26);
	hp.n_layers = 1;
	hp.layer[0].n_head_kv = 1;
	hp.layer[0].hd_k = 3;
	hp.layer[0].hd_v = 5;
	assert_int_equal(pst_kv_bytes(&hp, &args), 128);
	args.type = PST_KV_F32;
	args.n_ctx = 16;
	assert_int_equal(pst_kv_bytes(&hp, &args), 192 + 320);
	/* A window and a batch, at most the context. */
	hp.layer[0].window = 5;
	assert_int_equal(pst_kv_bytes(&hp, &args), 128 + 192);
	args.n_batch = 100;
	assert_int_equal(pst_kv_bytes(&hp, &args), 192 + 320);
}

/* A sequence much longer than the window: where the buffer is moved depends on
 * the batch, the numbers do not.
 */
static void a_window_that_moves_changes_no_bit(void **state)
{
	static const uint32_t batches[] = { 1, 3, TM_WINDOW, 17, NR_TOKENS };
	struct mbed_args args = { .n_ctx = NR_TOKENS,
				  .n_batch = NR_TOKENS,
				  .threads = 2,
				  .nr_slots = 16,
				  .cpu_mask = ALL_CPU };
	struct tiny_model tm;
	uint32_t n_vocab;
	char *path;

	tm_init(&tm, "gpt-oss", true);
	path = mbed_write(&tm);
	args.path = path;
	for (int kv = 0; kv < 2; kv++) {
		float *want;

		args.kv = kv ? PST_KV_F16 : PST_KV_F32;
		args.n_batch = NR_TOKENS;
		want = eval(&args, &n_vocab);
		for (size_t i = 0; i < PST_ARRAY_SIZE(batches); i++) {
			args.n_batch = batches[i];
			check_bits(&args, want);
		}
		free(want);
	}
	unlink(path);
	free(path);
}

/* The older layout: attn_kv_b for attn_k_b and attn_v_b. */
static void tm_unpack_in_one(struct tiny_model *tm)
{
	char name[64];

	for (int l = 0; l < TM_LAYERS; l++) {
		snprintf(name, sizeof(name), "blk.%d.attn_k_b.weight", l);
		tm_drop_tensor(tm, name);
		snprintf(name, sizeof(name), "blk.%d.attn_v_b.weight", l);
		tm_drop_tensor(tm, name);
		snprintf(name, sizeof(name), "blk.%d.attn_kv_b.weight", l);
		tm_add(tm, name, TM_KV_RANK, TM_HEADS * (TM_NOPE + TM_HD), 1);
	}
	tm_drop(tm, "attention.key_length_mla");
	tm_drop(tm, "attention.value_length_mla");
	tm_u32(tm, "attention.key_length", TM_NOPE + TM_ROPE);
	tm_u32(tm, "attention.value_length", TM_HD);
	tm_u32(tm, "attention.head_count_kv", TM_HEADS);
}

/* A family's tiny model in batches of any size, on any number of threads. */
static void check_these(const struct tiny_model *tm, uint32_t cpu_mask,
			enum pst_kv_type kv, const uint32_t *batches,
			size_t nr_batches)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = NR_TOKENS,
				  .threads = 1,
				  .nr_slots = 16,
				  .cpu_mask = cpu_mask,
				  .kv = kv };
	char *path = mbed_write(tm);
	uint32_t n_vocab;
	float *want;

	args.path = path;
	want = eval(&args, &n_vocab);
	for (size_t i = 0; i < nr_batches; i++) {
		args.n_batch = batches[i];
		args.threads = 1 + (uint32_t)i % 3;
		args.nr_slots = i & 1 ? 0 : 9;
		check_bits(&args, want);
	}
	unlink(path);
	free(want);
	free(path);
}

static void check_batches(const struct tiny_model *tm, uint32_t cpu_mask,
			  enum pst_kv_type kv)
{
	static const uint32_t batches[] = { 1, 3, 9, NR_TOKENS };

	check_these(tm, cpu_mask, kv, batches, PST_ARRAY_SIZE(batches));
}

/* Latent attention, dense and over chosen positions, with both layouts of what
 * unpacks heads; also where the choice is another block's.
 */
static void latent_attention_changes_no_bit(void **state)
{
	static const char *const archs[] = { "deepseek2", "deepseek2",
					     "glm-dsa", "glm-dsa" };

	for (size_t a = 0; a < 4 * PST_ARRAY_SIZE(archs); a++) {
		struct tiny_model tm;

		tm_init(&tm, archs[a & 3], true);
		if ((a & 3) == 1)
			tm_unpack_in_one(&tm);
		if ((a & 3) == 3)
			tm_flags(&tm, "attention.indexer.types", "10");
		check_batches(&tm, a & 4 ? ALL_CPU : 0,
			      a & 8 ? PST_KV_F16 : PST_KV_F32);
	}
}

static void chosen_runs_change_no_bit(void **state)
{
	for (int i = 0; i < 8; i++) {
		struct tiny_model tm;

		tm_init(&tm, "minimax-m3", true);
		if (i & 4)
			tm_u32(&tm, "attention.indexer.local_blocks", 3);
		check_batches(&tm, i & 1 ? ALL_CPU : 0,
			      i & 2 ? PST_KV_F16 : PST_KV_F32);
	}
}

/* A window, packed rows of which some are chosen, parallel streams, and experts
 * by token.
 */
static void packed_rows_change_no_bit(void **state)
{
	for (int i = 0; i < 8; i++) {
		struct tiny_model tm;

		tm_init(&tm, "deepseek4", true);
		if (i & 4)
			tm_flags(&tm, "attention.compress_ratios", "4000");
		check_batches(&tm, i & 1 ? ALL_CPU : 0,
			      i & 2 ? PST_KV_F16 : PST_KV_F32);
	}
}

/* The unfinished run is a state: it is there where it was kept, and what comes
 * after that has the same bits again.
 */
static void packed_rows_go_back_to_where_the_state_is_known(void **state)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = NR_TOKENS,
				  .threads = 1,
				  .nr_slots = 16,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	uint32_t n_vocab, kept = 0;
	struct tiny_model tm;
	float *want, *got;
	char *path;

	tm_init(&tm, "deepseek4", true);
	path = mbed_write(&tm);
	args.path = path;
	want = eval(&args, &n_vocab);
	got = calloc((size_t)NR_TOKENS * n_vocab, sizeof(*got));
	make_tokens(n_vocab, tokens);
	for (uint32_t n = 0; n < NR_TOKENS; n++) {
		uint32_t first = NR_TOKENS - 7, at;
		struct mbed b;

		mbed_open(&b, &args);
		assert_int_equal(mbed_eval(&b, tokens, first, 5, got), 0);
		pst_kv_keep(&b.kv);
		assert_int_equal(mbed_eval(&b, tokens + first,
					   NR_TOKENS - first, 2,
					   got + (size_t)first * n_vocab),
				 0);
		at = pst_kv_truncate(&b.kv, n);
		assert_true(at <= n);
		kept += at && at < NR_TOKENS - 1;
		assert_int_equal(mbed_eval(&b, tokens + at, NR_TOKENS - at, 3,
					   got + (size_t)at * n_vocab),
				 0);
		assert_memory_equal(got, want,
				    NR_TOKENS * n_vocab * sizeof(*got));
		mbed_close(&b);
	}
	assert_true(kept);
	unlink(path);
	free(path);
	free(want);
	free(got);
}

/* With as many runs as the sequence has, the heads that choose are idle. */
static void enough_runs_are_all_of_them(void **state)
{
	static const uint32_t top_k[] = { 14, 64 };
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = 9,
				  .threads = 2,
				  .nr_slots = 16,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	uint32_t n_vocab;
	float *want[3];

	for (int i = 0; i < 3; i++) {
		struct tiny_model tm;
		char *path;

		tm_init(&tm, "minimax-m3", true);
		if (i < 2)
			tm_u32(&tm, "attention.indexer.top_k", top_k[i]);
		path = mbed_write(&tm);
		args.path = path;
		want[i] = eval(&args, &n_vocab);
		unlink(path);
		free(path);
	}
	assert_memory_equal(want[0], want[1],
			    NR_TOKENS * n_vocab * sizeof(**want));
	/* Up to four runs of three positions nothing is left out; then it is. */
	assert_memory_equal(want[0], want[2], 12 * n_vocab * sizeof(**want));
	assert_memory_not_equal(want[0], want[2],
				NR_TOKENS * n_vocab * sizeof(**want));
	for (int i = 0; i < 3; i++)
		free(want[i]);
}

/* Back to a position: either all that its window needs is held, or nothing
 * is left.  What is computed after that is right in both cases.
 */
static void truncating_never_looks_at_what_is_gone(void **state)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = 5,
				  .threads = 1,
				  .nr_slots = 16,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	uint32_t n_vocab, kept = 0, lost = 0;
	struct tiny_model tm;
	float *want, *got;
	char *path;

	tm_init(&tm, "gpt-oss", true);
	path = mbed_write(&tm);
	args.path = path;
	want = eval(&args, &n_vocab);
	got = calloc((size_t)NR_TOKENS * n_vocab, sizeof(*got));
	make_tokens(n_vocab, tokens);
	for (uint32_t n = 0; n < NR_TOKENS; n++) {
		struct mbed b;
		uint32_t at;

		mbed_open(&b, &args);
		assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, 5, got), 0);
		at = pst_kv_truncate(&b.kv, n);
		assert_true(at == n || at == 0);
		kept += n && at == n;
		lost += n && !at;
		assert_int_equal(mbed_eval(&b, tokens + at, NR_TOKENS - at, 3,
					   got + (size_t)at * n_vocab),
				 0);
		assert_memory_equal(got, want,
				    NR_TOKENS * n_vocab * sizeof(*got));
		mbed_close(&b);
	}
	assert_true(kept && lost);
	unlink(path);
	free(path);
	free(want);
	free(got);
}

static const char *const recurrent[] = { "qwen3next",	"qwen35",  "qwen35moe",
					 "kimi-linear", "kimi-k3", "deepseek4" };

static void tm_recurrent(struct tiny_model *tm, size_t i)
{
	tm_init(tm, recurrent[i], strcmp(recurrent[i], "qwen35"));
}

/* A state goes from token to token: chunks of any length give its bits. */
static void a_recurrent_block_does_not_see_the_batch(void **state)
{
	static const uint32_t batches[] = { 1, 2, 3, 8, 17, NR_TOKENS };

	for (size_t a = 0; a < 4 * PST_ARRAY_SIZE(recurrent); a++) {
		struct tiny_model tm;

		tm_recurrent(&tm, a / 4);
		check_these(&tm, a & 1 ? ALL_CPU : 0,
			    a & 2 ? PST_KV_F16 : PST_KV_F32, batches,
			    PST_ARRAY_SIZE(batches));
	}
}

/* One pass without logits, with a place to come back to. */
static int eval_kept(struct mbed *b, const int32_t *tokens, uint32_t n,
		     uint32_t keep)
{
	uint32_t seen[2] = { 0, 0 };
	struct pst_fwd_pass pass = { .kv = &b->kv,
				     .tokens = tokens,
				     .n = n,
				     .first_logits = n,
				     .keep = keep,
				     .logits = count_logits,
				     .ctx = seen };

	return pst_fwd_run(b->f, &pass, NULL);
}

/* Back to where the state was kept, and to nothing from before that. */
static void a_recurrent_sequence_is_taken_back_to_what_was_kept(void **state)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = NR_TOKENS,
				  .threads = 2,
				  .nr_slots = 16,
				  .cpu_mask = ALL_CPU,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];

	for (size_t a = 0; a < PST_ARRAY_SIZE(recurrent); a++) {
		struct tiny_model tm;
		uint32_t n_vocab, at;
		float *want, *got;
		struct mbed b;
		char *path;

		tm_recurrent(&tm, a);
		path = mbed_write(&tm);
		args.path = path;
		want = eval(&args, &n_vocab);
		got = calloc((size_t)NR_TOKENS * n_vocab, sizeof(*got));
		make_tokens(n_vocab, tokens);
		mbed_open(&b, &args);
		assert_int_equal(eval_kept(&b, tokens, 30, 13), 0);
		assert_int_equal(mbed_eval(&b, tokens, 5, 1, got), 0);
		/* The last token can always be taken back. */
		assert_int_equal(pst_kv_truncate(&b.kv, 34), 34);
		at = pst_kv_truncate(&b.kv, 20);
		assert_int_equal(at, 13);
		assert_int_equal(mbed_eval(&b, tokens + at, NR_TOKENS - at, 4,
					   got + (size_t)at * n_vocab),
				 0);
		assert_memory_equal(got + (size_t)at * n_vocab,
				    want + (size_t)at * n_vocab,
				    (NR_TOKENS - at) * n_vocab * sizeof(*got));
		assert_int_equal(pst_kv_truncate(&b.kv, 12), 0);
		assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, 9, got), 0);
		assert_memory_equal(got, want,
				    NR_TOKENS * n_vocab * sizeof(*got));
		mbed_close(&b);
		unlink(path);
		free(path);
		free(want);
		free(got);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(batch_threads_and_slots_change_no_bit),
		cmocka_unit_test(arrival_in_any_order_changes_no_bit),
		cmocka_unit_test(a_token_does_not_see_the_future),
		cmocka_unit_test(only_the_logits_asked_for_are_given),
		cmocka_unit_test(a_failed_pass_leaves_the_sequence_alone),
		cmocka_unit_test(any_alignment_of_the_file_gives_the_same_bits),
		cmocka_unit_test(a_window_that_moves_changes_no_bit),
		cmocka_unit_test(latent_attention_changes_no_bit),
		cmocka_unit_test(chosen_runs_change_no_bit),
		cmocka_unit_test(enough_runs_are_all_of_them),
		cmocka_unit_test(packed_rows_change_no_bit),
		cmocka_unit_test(
			packed_rows_go_back_to_where_the_state_is_known),
		cmocka_unit_test(truncating_never_looks_at_what_is_gone),
		cmocka_unit_test(kv_memory_is_refused_when_it_overflows),
		cmocka_unit_test(a_recurrent_block_does_not_see_the_batch),
		cmocka_unit_test(
			a_recurrent_sequence_is_taken_back_to_what_was_kept),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
