// SPDX-License-Identifier: MIT
/*
 * The arithmetic of reading a prompt: its limits, and what it must not do.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "prefill.h"
#include "test_seed.h"

/* Qwen3-30B-A3B's geometry: 17 GB of experts. */
static const struct pst_prefill_model big = {
	.nr_layers = 48,
	.nr_experts = 128,
	.nr_used = 8,
	.expert_bytes = 2654208,
	.nr_slots = 48 * 32,
	.token_s = 1e-2,
	.drive_bps = 3.5e9,
};

static void one_token_wants_its_own_experts(void **state)
{
	assert_float_equal(pst_prefill_union(&big, 1), 8.0, 1e-9);
}

static void many_tokens_want_all_and_no_more(void **state)
{
	assert_true(pst_prefill_union(&big, 512) > 127.9);
	assert_true(pst_prefill_union(&big, UINT32_MAX) <= 128.0);
}

static void the_first_pass_reads_what_is_absent(void **state)
{
	struct pst_prefill_model m = big;
	struct pst_prefill_time cold = pst_prefill_predict(&m, 512, 512);
	struct pst_prefill_time warm;

	m.nr_resident = m.nr_slots;
	warm = pst_prefill_predict(&m, 512, 512);
	assert_float_equal(warm.drive_bytes / cold.drive_bytes, 0.75, 1e-6);
}

static void later_passes_keep_what_fits(void **state)
{
	struct pst_prefill_time one = pst_prefill_predict(&big, 512, 512);
	struct pst_prefill_time two = pst_prefill_predict(&big, 1024, 512);

	assert_int_equal(one.chunks, 1);
	assert_int_equal(two.chunks, 2);
	assert_float_equal(two.drive_bytes / one.drive_bytes, 1.75, 1e-6);
}

static void the_longer_of_reading_and_computing_counts(void **state)
{
	uint64_t rng = test_seed();

	for (int i = 0; i < 500; i++) {
		struct pst_prefill_model m = big;
		uint32_t n = 1 + (uint32_t)(pst_rng_next(&rng) % 5000);
		uint32_t b = 1 + (uint32_t)(pst_rng_next(&rng) % 2000);
		struct pst_prefill_time t;

		m.nr_slots = pst_rng_next(&rng) % 7000;
		m.drive_bps = 1e8 * (double)(1 + pst_rng_next(&rng) % 100);
		t = pst_prefill_predict(&m, n, b);
		assert_int_equal(t.chunks, (n + b - 1) / b);
		assert_true(t.total_s >= t.drive_s * (1 - 1e-12));
		assert_true(t.total_s >= t.compute_s * (1 - 1e-12));
		assert_true(t.total_s <= t.drive_s + t.compute_s);
	}
}

static void a_model_that_fits_or_is_dense_reads_nothing(void **state)
{
	struct pst_prefill_model m = big;
	struct pst_prefill_time t;

	m.nr_slots = m.nr_resident = 48 * 128;
	t = pst_prefill_predict(&m, 2000, 512);
	assert_float_equal(t.drive_bytes, 0.0, 1e-9);
	m = (struct pst_prefill_model){ .token_s = 1e-2 };
	t = pst_prefill_predict(&m, 100, 10);
	assert_float_equal(t.drive_bytes, 0.0, 1e-9);
	assert_float_equal(t.total_s, 1.0, 1e-9);
}

static void unknown_rates_predict_no_time_but_bytes(void **state)
{
	struct pst_prefill_model m = big;
	struct pst_prefill_time t;

	m.drive_bps = m.token_s = 0.0;
	t = pst_prefill_predict(&m, 512, 512);
	assert_float_equal(t.total_s, 0.0, 1e-12);
	assert_true(t.drive_bytes > 1e10);
}

/* One for each position before and the token itself. */
static double triangle_s(const void *ctx, uint32_t first, uint32_t nr)
{
	const double *one = ctx;

	return *one * (nr * (double)first + nr * (nr + 1.0) / 2.0);
}

static void looking_back_does_not_depend_on_the_chunks(void **state)
{
	const double one = 1e-8;
	struct pst_prefill_model m = { .token_s = 1e-5,
				       .back_s = triangle_s,
				       .ctx = &one };
	double want = 1000 * 1e-5 + 1e-8 * 1000.0 * 1001.0 / 2.0;

	for (uint32_t batch = 1; batch <= 1024; batch *= 2) {
		struct pst_prefill_time t =
			pst_prefill_predict(&m, 1000, batch);

		assert_float_equal(t.compute_s / want, 1.0, 1e-6);
		assert_float_equal(t.total_s / want, 1.0, 1e-6);
	}
}

static void reads_take_time_beside_their_bytes(void **state)
{
	struct pst_prefill_model m = big;
	struct pst_prefill_time without = pst_prefill_predict(&m, 512, 512), t;

	m.read_s = 1e-5;
	m.expert_reads = 3.0;
	t = pst_prefill_predict(&m, 512, 512);
	assert_float_equal(t.drive_bytes / without.drive_bytes, 1.0, 1e-6);
	/* All 128 of 48 layers, three reads each. */
	assert_float_equal(t.drive_s - without.drive_s, 48 * 128 * 3 * 1e-5,
			   1e-4);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(one_token_wants_its_own_experts),
		cmocka_unit_test(many_tokens_want_all_and_no_more),
		cmocka_unit_test(the_first_pass_reads_what_is_absent),
		cmocka_unit_test(later_passes_keep_what_fits),
		cmocka_unit_test(the_longer_of_reading_and_computing_counts),
		cmocka_unit_test(a_model_that_fits_or_is_dense_reads_nothing),
		cmocka_unit_test(looking_back_does_not_depend_on_the_chunks),
		cmocka_unit_test(reads_take_time_beside_their_bytes),
		cmocka_unit_test(unknown_rates_predict_no_time_but_bytes),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
