// SPDX-License-Identifier: MIT
/*
 * The memory of a sequence by itself: a state is what the tokens made of it,
 * whatever passes failed, were kept or were taken back.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "model_testing.h"
#include "test_seed.h"

#define N_CTX	200
#define N_STATE 5

/* A block whose state is a chain over the tokens. */
static void shape(const struct pst_hparams *hp, uint32_t layer,
		  struct pst_kv_shape *out)
{
	(void)hp;
	out->state = N_STATE + layer;
}

static const struct pst_mixer chain = { .name = "chain", .shape = shape };

static float next_link(float link, int32_t token)
{
	uint32_t h = (uint32_t)link * 31 + (uint32_t)token;

	return (float)(h % 65521);
}

/* A pass as a mixer would do it. */
static void run(struct pst_kv *kv, const int32_t *tokens, uint32_t n)
{
	for (uint32_t l = 0; l < kv->nr_layers; l++) {
		const float *from = pst_kv_state(kv, l, PST_KV_BEFORE);
		float *to = pst_kv_state(kv, l, PST_KV_AFTER);
		float *mid = pst_kv_state(kv, l, PST_KV_MIDDLE);

		assert_true((mid != NULL) == (kv->keep != 0));
		for (uint32_t i = 0; i < N_STATE + l; i++) {
			float v = from[i];

			for (uint32_t t = 0; t < n; t++) {
				v = next_link(v, tokens[t] + (int32_t)i);
				if (mid && t + 1 == kv->keep)
					mid[i] = v;
			}
			to[i] = v;
		}
	}
}

static void check(const struct pst_kv *kv, const int32_t *tokens)
{
	for (uint32_t l = 0; l < kv->nr_layers; l++)
		for (uint32_t i = 0; i < N_STATE + l; i++) {
			float v = 0.0f;

			for (uint32_t t = 0; t < kv->n_used; t++)
				v = next_link(v, tokens[t] + (int32_t)i);
			assert_true(pst_kv_state(kv, l, PST_KV_BEFORE)[i] == v);
		}
}

static void open_chain(struct pst_kv *kv, struct pst_hparams *hp)
{
	struct pst_kv_args args = { .n_ctx = N_CTX, .n_batch = 40, .node = -1 };

	hp->n_layers = 3;
	for (uint32_t l = 0; l < hp->n_layers; l++)
		hp->layer[l].mixer = &chain;
	assert_int_equal(pst_kv_init(kv, hp, &args, NULL), 0);
}

/* One random thing done to the sequence. */
static void step(struct pst_kv *kv, int32_t *tokens, uint64_t *rng)
{
	uint32_t what = (uint32_t)(pst_rng_next(rng) % 10);
	uint32_t n = 1 + (uint32_t)(pst_rng_next(rng) % 40);
	uint32_t keep = 0, at = kv->n_used;

	if (what == 0) {
		pst_kv_keep(kv);
	} else if (what < 3) {
		uint32_t to = (uint32_t)(pst_rng_next(rng) % (at + 1));
		uint32_t left = pst_kv_truncate(kv, to);

		assert_true(left <= to);
		assert_int_equal(kv->n_used, left);
	} else {
		if (what < 6)
			n = 1;
		if (what == 9)
			keep = 1 + (uint32_t)(pst_rng_next(rng) % n);
		n = PST_MIN(n, N_CTX - at);
		keep = PST_MIN(keep, n);
		if (!n)
			return;
		for (uint32_t t = 0; t < n; t++)
			tokens[at + t] = (int32_t)(pst_rng_next(rng) % 1000);
		pst_kv_begin(kv, n, keep);
		run(kv, tokens + at, n);
		if (pst_rng_next(rng) % 4)
			pst_kv_commit(kv, n);
	}
}

static void a_state_is_what_its_tokens_made(void **state)
{
	uint64_t rng = test_seed();
	static struct pst_hparams hp;
	int32_t tokens[N_CTX];
	struct pst_kv kv;

	(void)state;
	for (int round = 0; round < 50; round++) {
		open_chain(&kv, &hp);
		for (int i = 0; i < 100; i++) {
			step(&kv, tokens, &rng);
			check(&kv, tokens);
		}
		pst_kv_fini(&kv);
	}
}

/* Tokens by passes of @n, the state after @keep of the last ones kept. */
static void append(struct pst_kv *kv, uint32_t n, uint32_t keep)
{
	static const int32_t tokens[N_CTX];

	pst_kv_begin(kv, n, keep);
	run(kv, tokens, n);
	pst_kv_commit(kv, n);
}

static void a_kept_state_outlives_many_passes(void **state)
{
	static struct pst_hparams hp;
	static const int32_t tokens[N_CTX];
	struct pst_kv kv;

	(void)state;
	open_chain(&kv, &hp);
	append(&kv, 40, 0);
	append(&kv, 30, 14);
	for (int i = 0; i < 50; i++)
		append(&kv, 1, 0);
	assert_int_equal(pst_kv_truncate(&kv, 119), 119);
	assert_int_equal(pst_kv_truncate(&kv, 110), 54);
	check(&kv, tokens);
	for (int i = 0; i < 9; i++)
		append(&kv, 1, 0);
	/* It is still there, and it is all there is. */
	assert_int_equal(pst_kv_truncate(&kv, 60), 54);
	assert_int_equal(pst_kv_truncate(&kv, 53), 0);
	check(&kv, tokens);
	pst_kv_fini(&kv);
}

static void a_kept_state_may_be_the_last_or_the_present_one(void **state)
{
	static struct pst_hparams hp;
	struct pst_kv kv;

	(void)state;
	open_chain(&kv, &hp);
	append(&kv, 20, 20);
	append(&kv, 5, 0);
	append(&kv, 5, 0);
	append(&kv, 5, 0);
	assert_int_equal(pst_kv_truncate(&kv, 24), 20);
	append(&kv, 7, 0);
	pst_kv_keep(&kv);
	append(&kv, 5, 0);
	append(&kv, 5, 0);
	assert_int_equal(pst_kv_truncate(&kv, 31), 27);
	pst_kv_fini(&kv);
}

static void a_state_is_counted_in_copies(void **state)
{
	static struct pst_hparams hp;
	struct pst_kv_args args = { .n_ctx = N_CTX, .n_batch = 40, .node = -1 };
	struct pst_kv kv;

	(void)state;
	open_chain(&kv, &hp);
	assert_int_equal(pst_kv_bytes(&hp, &args), 3 * PST_KV_COPIES * 64);
	assert_int_equal(pst_kv_read_bytes(&hp, PST_KV_F32, 1, 77),
			 2 * (N_STATE + 1) * sizeof(float));
	pst_kv_fini(&kv);
}

/* Each position by itself in a window, and rows for runs of five. */
static void shape_with_steps(const struct pst_hparams *hp, uint32_t layer,
			     struct pst_kv_shape *out)
{
	(void)hp;
	(void)layer;
	out->heads[PST_KV_K] = 1;
	out->width[PST_KV_K] = 4;
	out->window = 7;
	out->heads[PST_KV_PACKED] = 2;
	out->width[PST_KV_PACKED] = 3;
	out->step[PST_KV_PACKED] = 5;
	out->most[PST_KV_PACKED] = 6;
}

static const struct pst_mixer steps = { .name = "steps",
					.shape = shape_with_steps };

/* Writes or compares what a row should hold. */
static void each_row(struct pst_kv *kv, uint32_t stream, uint32_t pos,
		     bool write)
{
	const struct pst_kv_shape *s = &kv->layers[1].shape;

	for (uint32_t h = 0; h < s->heads[stream]; h++)
		for (uint32_t i = 0; i < s->width[stream]; i++) {
			float *row = (float *)(void *)pst_kv_at(kv, 1, stream,
								h, pos);
			float v = (float)(pos * 100 + h * 10 + i);

			if (write)
				row[i] = v;
			else
				assert_true(row[i] == v);
		}
}

static void rows_of_runs_stay_while_the_window_moves(void **state)
{
	struct pst_kv_args args = {
		.type = PST_KV_F32, .n_ctx = N_CTX + 3, .n_batch = 4, .node = -1
	};
	static struct pst_hparams hp;
	struct pst_kv kv;

	(void)state;
	hp.n_layers = 2;
	hp.layer[0].mixer = &steps;
	hp.layer[1].mixer = &steps;
	assert_int_equal(pst_kv_init(&kv, &hp, &args, NULL), 0);
	for (uint32_t at = 0; at < N_CTX; at++) {
		pst_kv_begin(&kv, 1, 0);
		each_row(&kv, PST_KV_K, at, true);
		if (at % 5 == 4)
			each_row(&kv, PST_KV_PACKED, at - 4, true);
		pst_kv_commit(&kv, 1);
		for (uint32_t pos = at > 6 ? at - 6 : 0; pos <= at; pos++)
			each_row(&kv, PST_KV_K, pos, false);
		for (uint32_t run = 0; run < (at + 1) / 5; run++)
			each_row(&kv, PST_KV_PACKED, run * 5, false);
	}
	/* Any position of a run is its row. */
	assert_ptr_equal(pst_kv_at(&kv, 1, PST_KV_PACKED, 1, 12),
			 pst_kv_at(&kv, 1, PST_KV_PACKED, 1, 10));
	/* The window, whole runs only, and no more of them than are read. */
	assert_int_equal(pst_kv_read_bytes(&hp, PST_KV_F16, 0, 19),
			 2 * (7 * 4 + 3 * 6));
	assert_int_equal(pst_kv_read_bytes(&hp, PST_KV_F16, 0, N_CTX),
			 2 * (7 * 4 + 6 * 6));
	/* A query head looks at one head of each, however many share that. */
	hp.layer[0].n_head = 4;
	assert_int_equal(pst_kv_read_macs(&hp, 0, 19), 4 * (7 * 4 + 3 * 3));
	pst_kv_fini(&kv);
}

/* Q8_0: 34 bytes for 32 numbers, keys to choose by in F16. */
static void a_row_of_blocks_is_counted_in_blocks(void **state)
{
	static struct pst_hparams hp;
	struct pst_kv_args args = {
		.type = PST_KV_Q8_0, .n_ctx = 10, .n_batch = 4, .node = -1
	};
	struct pst_diag diag;

	(void)state;
	pst_diag_init(&diag);
	assert_int_equal(pst_kv_row_bytes(PST_KV_Q8_0, PST_KV_V, 96), 102);
	assert_int_equal(pst_kv_row_bytes(PST_KV_Q8_0, PST_KV_INDEX, 96), 192);
	assert_int_equal(pst_kv_row_bytes(PST_KV_F32, PST_KV_INDEX, 96), 384);
	hp.n_layers = 2;
	for (int i = 0; i < 2; i++)
		hp.layer[i] = (struct pst_layer_hp){ .mixer = &pst_mixer_gqa,
						     .n_head = 3,
						     .n_head_kv = 3,
						     .hd_k = 64,
						     .hd_v = 32 };
	assert_int_equal(pst_kv_check(&hp, PST_KV_Q8_0, &diag), 0);
	assert_int_equal(pst_kv_position_bytes(&hp, PST_KV_Q8_0, 0),
			 3 * (68 + 34));
	assert_int_equal(pst_kv_read_bytes(&hp, PST_KV_Q8_0, 0, 7),
			 7 * 3 * (68 + 34));
	assert_int_equal(pst_kv_bytes(&hp, &args),
			 2 * (pst_align_up(10 * 3 * 68, 64) +
			      pst_align_up(10 * 3 * 34, 64)));
	hp.layer[1].hd_v = 48;
	assert_int_equal(pst_kv_check(&hp, PST_KV_F16, &diag), 0);
	assert_int_equal(pst_kv_check(&hp, PST_KV_Q8_0, &diag), -EINVAL);
	assert_non_null(strstr(diag.text, "a row of block 1 has 48 numbers"));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_state_is_what_its_tokens_made),
		cmocka_unit_test(a_kept_state_outlives_many_passes),
		cmocka_unit_test(
			a_kept_state_may_be_the_last_or_the_present_one),
		cmocka_unit_test(a_state_is_counted_in_copies),
		cmocka_unit_test(rows_of_runs_stay_while_the_window_moves),
		cmocka_unit_test(a_row_of_blocks_is_counted_in_blocks),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
