// SPDX-License-Identifier: MIT
/*
 * The router's choice, looked at in the buffers that a pass leaves behind.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"
#include "test_seed.h"

#define NR_TOKENS 24

/* Runs one pass and leaves the bed open: sel and sel_w are of the last layer. */
static void run_pass(struct mbed *b, const struct tiny_model *tm)
{
	char *path = mbed_write(tm);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = NR_TOKENS,
				  .threads = 2,
				  .nr_slots = TM_EXPERTS,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	float *out = calloc(NR_TOKENS * TM_VOCAB, sizeof(*out));

	for (int i = 0; i < NR_TOKENS; i++)
		tokens[i] = i % TM_VOCAB;
	mbed_open(b, &args);
	assert_int_equal(mbed_eval(b, tokens, NR_TOKENS, NR_TOKENS, out), 0);
	for (int i = 0; i < NR_TOKENS * TM_VOCAB; i++)
		assert_true(isfinite(out[i]));
	free(out);
	unlink(path);
	free(path);
}

static void ties_go_to_the_lower_index(void **state)
{
	for (uint32_t used = 1; used <= TM_EXPERTS; used++) {
		struct tiny_model tm;
		struct mbed b;

		tm_init(&tm, "qwen3moe", true);
		tm.zero_router = true;
		tm_u32(&tm, "expert_used_count", used);
		run_pass(&b, &tm);
		for (uint32_t t = 0; t < NR_TOKENS; t++) {
			for (uint32_t r = 0; r < used; r++) {
				size_t at = (size_t)t * used + r;

				assert_int_equal(b.f->sel[at], r);
				assert_true(fabsf(b.f->sel_w[at] -
						  1.0f / (float)used) < 1e-6f);
			}
		}
		mbed_close(&b);
	}
}

/* The chosen are the most probable, best first; weights as the family says. */
static void check_choice(const struct mbed *b, bool norm, float scale)
{
	const struct pst_hparams *hp = &b->m->hp;

	for (uint32_t t = 0; t < NR_TOKENS; t++) {
		const float *p = b->f->router + (size_t)t * hp->n_expert;
		const uint32_t *sel = b->f->sel + (size_t)t * TM_USED;
		const float *w = b->f->sel_w + (size_t)t * TM_USED;
		float all = 0.0f, chosen = 0.0f;

		for (uint32_t e = 0; e < hp->n_expert; e++) {
			uint32_t better = 0;

			for (uint32_t o = 0; o < hp->n_expert; o++)
				better += p[o] > p[e] ||
					  (p[o] == p[e] && o < e);
			all += p[e];
			if (better < TM_USED)
				assert_int_equal(sel[better], e);
		}
		assert_true(fabsf(all - 1.0f) < 1e-5f);
		for (uint32_t r = 0; r < TM_USED; r++)
			chosen += p[sel[r]];
		for (uint32_t r = 0; r < TM_USED; r++) {
			float want = p[sel[r]] / (norm ? chosen : 1.0f);

			assert_true(fabsf(w[r] - want * scale) < 1e-5f * scale);
		}
	}
}

static void the_most_probable_experts_are_chosen(void **state)
{
	uint64_t rng = test_seed();
	struct tiny_model tm;
	struct mbed b;

	for (int i = 0; i < 4; i++) {
		tm_init(&tm, "qwen3moe", true);
		tm.seed = pst_rng_next(&rng);
		run_pass(&b, &tm);
		check_choice(&b, true, 1.0f);
		mbed_close(&b);
	}
	tm_init(&tm, "olmoe", true);
	run_pass(&b, &tm);
	check_choice(&b, false, 1.0f);
	mbed_close(&b);
	tm_bool(&tm, "expert_weights_norm", true);
	tm_f32(&tm, "expert_weights_scale", 2.5f);
	run_pass(&b, &tm);
	check_choice(&b, true, 2.5f);
	mbed_close(&b);
}

/* Each (token, rank) pair has a row of its own, next to its expert's others. */
static void pairs_are_grouped_by_expert(void **state)
{
	struct tiny_model tm;
	bool used[NR_TOKENS * TM_USED] = { false };
	struct mbed b;

	tm_init(&tm, "qwen3moe", true);
	run_pass(&b, &tm);
	for (uint32_t i = 0; i < NR_TOKENS * TM_USED; i++) {
		uint32_t e = b.f->sel[i], row = b.f->pair_of[i];

		assert_true(row < NR_TOKENS * TM_USED && !used[row]);
		used[row] = true;
		assert_int_equal(b.f->tok_of[row], i / TM_USED);
		assert_in_range(row, b.f->first[e], b.f->first[e + 1] - 1);
	}
	mbed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(ties_go_to_the_lower_index),
		cmocka_unit_test(the_most_probable_experts_are_chosen),
		cmocka_unit_test(pairs_are_grouped_by_expert),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
