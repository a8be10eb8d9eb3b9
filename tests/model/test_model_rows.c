// SPDX-License-Identifier: MIT
/*
 * Tables that stay on the drive: their rows come when a token asks for them,
 * and no bit differs from a run that holds them; a drive that fails fails the
 * pass, and the next one finds everything as it was.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"
#include "test_seed.h"

#define NR_TOKENS 60
#define NR_CTX	  64
#define ALL_CPU	  UINT32_MAX /* that the processor has */

/* One with a table for all blocks, and one with experts, whose reads share the
 * ring.
 */
static const struct {
	const char *arch;
	bool moe;
	uint32_t nr_tables;
} kinds[] = {
	{ "gemma4", false, 2 },
	{ "qwen3moe", true, 1 },
};

static void make_tokens(uint64_t *rng, int32_t *tokens)
{
	for (int i = 0; i < NR_TOKENS; i++)
		tokens[i] = (int32_t)(pst_rng_next(rng) % TM_VOCAB);
}

static char *write_model(size_t kind)
{
	struct tiny_model *m = malloc(sizeof(*m));
	char *path;

	assert_non_null(m);
	tm_init(m, kinds[kind].arch, kinds[kind].moe);
	path = mbed_write(m);
	free(m);
	return path;
}

static struct mbed_args make_args(const char *path, uint32_t n_batch)
{
	return (struct mbed_args){ .path = path,
				   .threads = 2,
				   .n_batch = n_batch,
				   .n_ctx = NR_CTX,
				   .cpu_mask = ALL_CPU,
				   .kv = PST_KV_F32 };
}

/* With all tables in memory; heap. */
static float *held(const char *path, const int32_t *tokens)
{
	struct mbed_args args = make_args(path, NR_TOKENS);
	float *out = calloc((size_t)NR_TOKENS * TM_VOCAB, sizeof(*out));
	struct mbed b;

	assert_non_null(out);
	mbed_open(&b, &args);
	assert_int_equal(b.m->nr_tables, 0);
	assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, NR_TOKENS, out), 0);
	mbed_close(&b);
	return out;
}

struct check {
	const float *want;
	uint32_t first; /* position of the pass's first token */
};

static int same_bits(void *ctx, uint32_t token, const float *logits)
{
	const struct check *c = ctx;
	uint32_t at = c->first + token;

	if (memcmp(logits, c->want + (size_t)at * TM_VOCAB,
		   TM_VOCAB * sizeof(*logits)))
		fail_msg("token %u differs", at);
	return 0;
}

/* Passes of random lengths; one that fails is made again.  Return: failures */
static uint32_t run(struct mbed *b, const int32_t *tokens, const float *want,
		    uint64_t *rng)
{
	uint32_t most = b->f->n_batch, failures = 0;

	while (b->kv.n_used < NR_TOKENS) {
		struct check c = { .want = want, .first = b->kv.n_used };
		struct pst_fwd_pass pass = { .kv = &b->kv,
					     .tokens = tokens + c.first,
					     .predict_ahead = b->store ? 1 : 0,
					     .predict_known = true,
					     .logits = same_bits,
					     .ctx = &c };
		struct pst_diag d;
		int rc;

		pst_diag_init(&d);
		pass.n = (uint32_t)(1 + pst_rng_next(rng) % most);
		pass.n = PST_MIN(pass.n, NR_TOKENS - c.first);
		rc = pst_fwd_run(b->f, &pass, &d);
		assert_int_equal(b->kv.n_used, c.first + (rc ? 0 : pass.n));
		if (!rc)
			continue;
		failures++;
		assert_int_equal(rc, -EIO);
		assert_int_equal(d.err, -EIO);
		assert_non_null(strstr(d.text, "cannot read"));
		assert_true(d.off_bytes != UINT64_MAX);
	}
	return failures;
}

static void rows_on_the_drive_are_those_in_memory(void **state)
{
	static const uint32_t batches[] = { 1, 5, NR_TOKENS };
	static const uint32_t rows[] = { 1, 7, 0 };
	uint64_t rng = test_seed();

	for (size_t k = 0; k < PST_ARRAY_SIZE(kinds) * 9; k++) {
		char *path = write_model(k / 9);
		struct mbed_args args = make_args(path, batches[k % 3]);
		struct pst_row_stats st;
		int32_t tokens[NR_TOKENS];
		struct mbed b;
		float *want;

		make_tokens(&rng, tokens);
		want = held(path, tokens);
		args.tables = true;
		args.nr_rows = rows[k % 9 / 3];
		args.fault = k & 1 ? "short=0.3,eagain=0.3,shuffle=1,seed=5"
				   : NULL;
		mbed_open(&b, &args);
		assert_int_equal(b.m->nr_tables, kinds[k / 9].nr_tables);
		assert_int_equal(run(&b, tokens, want, &rng), 0);
		pst_fwd_row_stats(b.f, &st);
		assert_int_equal(st.wanted, NR_TOKENS * b.m->nr_tables);
		assert_true(st.read && st.read <= st.wanted);
		/* All that were read are at hand: none is read again. */
		if (!args.nr_rows)
			assert_true(st.read <= TM_VOCAB * b.m->nr_tables);
		mbed_close(&b);
		unlink(path);
		free(path);
		free(want);
	}
	(void)state;
}

/* Attempts of a whole run without faults, and how many of them load the trunk. */
static void count_reads(const char *path, const int32_t *tokens,
			const float *want, uint64_t *trunk, uint64_t *all)
{
	struct mbed_args args = make_args(path, 4);
	uint64_t rng = 1;
	struct pst_io_stats st;
	struct mbed b;

	args.tables = true;
	args.nr_rows = 6;
	mbed_open(&b, &args);
	pst_io_stats_read(b.io, &st);
	*trunk = st.reads;
	assert_int_equal(run(&b, tokens, want, &rng), 0);
	pst_io_stats_read(b.io, &st);
	*all = st.reads;
	mbed_close(&b);
}

static void a_row_that_cannot_be_read_fails_its_pass_only(void **state)
{
	uint64_t rng = test_seed(), trunk, all;
	int32_t tokens[NR_TOKENS];
	char *path = write_model(0);
	float *want;

	make_tokens(&rng, tokens);
	want = held(path, tokens);
	count_reads(path, tokens, want, &trunk, &all);
	for (uint64_t at = trunk + 1; at <= all; at++) {
		struct mbed_args args = make_args(path, 4);
		uint64_t order = 1;
		char fault[32];
		struct mbed b;

		snprintf(fault, sizeof(fault), "eio_at=%" PRIu64, at);
		args.tables = true;
		args.nr_rows = 6;
		args.fault = fault;
		mbed_open(&b, &args);
		assert_int_equal(run(&b, tokens, want, &order), 1);
		mbed_close(&b);
	}
	unlink(path);
	free(path);
	free(want);
	(void)state;
}

static void a_dead_drive_is_named_with_file_and_row(void **state)
{
	char *path = write_model(0);
	struct mbed_args args = make_args(path, 4);
	const int32_t token = 17;
	struct check c = { 0 };
	struct pst_fwd_pass pass = {
		.tokens = &token, .n = 1, .logits = same_bits, .ctx = &c
	};
	struct pst_diag d;
	struct mbed b;

	args.tables = true;
	mbed_open(&b, &args);
	pass.kv = &b.kv;
	assert_int_equal(truncate(path, 4096), 0);
	pst_diag_init(&d);
	assert_int_equal(pst_fwd_run(b.f, &pass, &d), -EIO);
	assert_string_equal(d.file, path);
	assert_non_null(strstr(d.text, "cannot read row 17 of '"));
	assert_non_null(strstr(d.text, "token_embd.weight': "));
	assert_int_equal(b.kv.n_used, 0);
	mbed_close(&b);
	unlink(path);
	free(path);
	(void)state;
}

static void a_table_that_is_multiplied_too_stays_in_memory(void **state)
{
	struct tiny_model *m = malloc(sizeof(*m));
	struct mbed_args args;
	struct mbed b;
	char *path;

	assert_non_null(m);
	tm_init(m, "gemma4", false);
	/* The table of embeddings is then the output matrix. */
	tm_drop_tensor(m, "output.weight");
	path = mbed_write(m);
	free(m);
	args = make_args(path, 4);
	args.tables = true;
	mbed_open(&b, &args);
	assert_int_equal(b.m->nr_tables, 1);
	assert_non_null(b.m->output.data);
	assert_ptr_equal(b.m->output.data, b.m->tok_embd.data);
	assert_null(b.m->block_embd.data);
	mbed_close(&b);
	unlink(path);
	free(path);
	(void)state;
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rows_on_the_drive_are_those_in_memory),
		cmocka_unit_test(a_row_that_cannot_be_read_fails_its_pass_only),
		cmocka_unit_test(a_dead_drive_is_named_with_file_and_row),
		cmocka_unit_test(
			a_table_that_is_multiplied_too_stays_in_memory),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
