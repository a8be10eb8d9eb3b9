// SPDX-License-Identifier: MIT
/*
 * One sequence while everything around it changes: the cache shrinks and grows
 * between passes, passes are given up half-way, guesses are read ahead, reads
 * come late, short and in any order.  No bit may differ from a quiet run.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_testing.h"
#include "test_seed.h"

#define NR_TOKENS 48
#define NR_RUNS	  12
#define ALL_CPU	  (PST_CPU_AVX2 | PST_CPU_AVX512 | PST_CPU_VNNI)

static const char *const models[] = { "logits/llama-mixtral/model.gguf",
				      "logits/olmoe/model.gguf",
				      "logits/q-qwen3moe-Q4_K/model.gguf" };

/* What a run has done besides computing, so that the test cannot be empty. */
struct deeds {
	uint32_t shrunk;
	uint32_t grown;
	uint32_t cancelled;
	uint64_t guessed;
	uint64_t begun_early;
};

/* One sequence on its way. */
struct run {
	struct mbed b;
	uint64_t rng;
	const int32_t *tokens;
	const float *want;
	uint32_t full_slots;
	struct deeds *deeds;
	uint32_t stop_at; /* blocks of this pass, 0: all */
	uint32_t asked;
	uint32_t first; /* position of the pass's first token */
};

static uint32_t below(struct run *r, uint32_t n)
{
	return (uint32_t)(pst_rng_next(&r->rng) % n);
}

static void resize(struct run *r)
{
	uint32_t least = r->b.m->hp.n_expert_used, now, n;
	struct pst_store *s = r->b.store;

	now = pst_store_nr_slots(s);
	n = least + below(r, r->full_slots - least + 1);
	assert_int_equal(n < now ? pst_store_shrink(s, n)
				 : pst_store_grow(s, n, NULL),
			 0);
	assert_true(pst_store_nr_slots(s) >= least);
	r->deeds->shrunk += pst_store_nr_slots(s) < now;
	r->deeds->grown += pst_store_nr_slots(s) > now;
}

static bool stop(void *ctx)
{
	struct run *r = ctx;

	return r->stop_at && ++r->asked >= r->stop_at;
}

static int check(void *ctx, uint32_t token, const float *logits)
{
	const struct run *r = ctx;
	uint32_t n = r->b.m->hp.n_vocab;

	if (memcmp(logits, r->want + (size_t)(r->first + token) * n,
		   n * sizeof(*logits)))
		fail_msg("token %u differs", r->first + token);
	return 0;
}

/* A pass over the next tokens, perhaps given up half-way. */
static void pass(struct run *r, uint32_t most)
{
	struct pst_fwd_pass p = {
		.kv = &r->b.kv, .logits = check, .stop = stop, .ctx = r
	};
	uint32_t left = NR_TOKENS - r->b.kv.n_used;
	int rc;

	r->first = r->b.kv.n_used;
	r->asked = 0;
	r->stop_at = below(r, 4) ? 0 : 1 + below(r, r->b.m->hp.n_layers);
	p.tokens = r->tokens + r->first;
	p.n = 1 + below(r, PST_MIN(left, most));
	p.predict_ahead = below(r, 3);
	p.predict_whole = below(r, 2);
	rc = pst_fwd_run(r->b.f, &p, NULL);
	assert_int_equal(rc, r->stop_at ? -ECANCELED : 0);
	assert_int_equal(r->b.kv.n_used, r->first + (rc ? 0 : p.n));
	r->deeds->cancelled += rc != 0;
}

static void disturb(struct run *r, const struct mbed_args *args)
{
	struct pst_store_stats st;

	mbed_open(&r->b, args);
	r->full_slots = pst_store_nr_slots(r->b.store);
	while (r->b.kv.n_used < NR_TOKENS) {
		if (!below(r, 2))
			resize(r);
		pass(r, below(r, 3) ? 1 : args->n_batch);
	}
	pst_store_stats_read(r->b.store, &st);
	r->deeds->guessed += st.prefetch_reads;
	r->deeds->begun_early += st.begun_early;
	mbed_close(&r->b);
}

/* The logits of an undisturbed run; heap. */
static float *quiet(const struct mbed_args *args, int32_t *tokens)
{
	struct mbed b;
	uint64_t rng = 7;
	float *out;

	mbed_open(&b, args);
	for (int i = 0; i < NR_TOKENS; i++)
		tokens[i] = (int32_t)(pst_rng_next(&rng) % b.m->hp.n_vocab);
	out = calloc((size_t)NR_TOKENS * b.m->hp.n_vocab, sizeof(*out));
	assert_non_null(out);
	assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, args->n_batch, out),
			 0);
	mbed_close(&b);
	return out;
}

static void a_cache_that_changes_under_way_changes_no_bit(void **state)
{
	uint64_t seed = test_seed();
	struct deeds deeds = { 0 };

	for (uint32_t i = 0; i < NR_RUNS; i++) {
		char *path = mbed_data(models[i % PST_ARRAY_SIZE(models)]);
		struct mbed_args args = { .path = path,
					  .threads = 1 + i % 3,
					  .n_batch = 16,
					  .n_ctx = NR_TOKENS,
					  .nr_slots = 64,
					  .cpu_mask = ALL_CPU,
					  .kv = PST_KV_F32 };
		struct run r = { .rng = seed + i, .deeds = &deeds };
		int32_t tokens[NR_TOKENS];
		float *want = quiet(&args, tokens);
		char fault[96];

		snprintf(fault, sizeof(fault),
			 "seed=%u,shuffle=1,short=0.1,eagain=0.05,delay_us=%u",
			 i + 1, 30 * (i % 4));
		args.fault = fault;
		args.early = i & 1;
		args.nr_slots = 6 + below(&r, 20);
		/* Few slots, so that there are several regions. */
		args.region_bytes = 1 + below(&r, 200000);
		r.tokens = tokens;
		r.want = want;
		disturb(&r, &args);
		free(want);
		free(path);
	}
	assert_true(deeds.shrunk && deeds.grown && deeds.cancelled);
	assert_true(deeds.guessed && deeds.begun_early);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_cache_that_changes_under_way_changes_no_bit),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
