// SPDX-License-Identifier: MIT
/*
 * The cost model against sums by hand, and what must hold whatever the figures.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base.h"
#include "cost.h"
#include "test_seed.h"

static const struct pst_cost_machine drive = { .drive_bps = 1e9,
					       .latency_s = 1e-4 };

static double layer_s(struct pst_cost_layer l, const struct pst_cost_machine *m)
{
	struct pst_cost_token t = { .layers = &l, .nr_layers = 1 };

	return pst_cost_predict(&t, m).total_s;
}

static void near(double a, double b)
{
	assert_true(fabs(a - b) < 1e-12);
}

static void without_misses_a_layer_is_its_computing(void **state)
{
	struct pst_cost_layer l = { .head_s = 1e-3,
				    .experts_s = 2e-3,
				    .nr_used = 4,
				    .expert_bytes = 1e6 };

	near(layer_s(l, &drive), 3e-3);
	l.nr_used = 0;
	near(layer_s(l, &drive), 3e-3);
}

static void all_missed_is_reading_then_computing(void **state)
{
	struct pst_cost_layer l = { .head_s = 1e-3,
				    .experts_s = 2e-3,
				    .nr_used = 4,
				    .miss_rate = 1.0,
				    .expert_bytes = 1e6 };

	near(layer_s(l, &drive), 1e-3 + 1e-4 + 4e-3 + 2e-3);
}

static void one_of_one_is_missed_as_often_as_its_rate_says(void **state)
{
	struct pst_cost_layer l = { .experts_s = 2e-3,
				    .nr_used = 1,
				    .miss_rate = 0.25,
				    .expert_bytes = 1e6 };

	near(layer_s(l, &drive), 0.75 * 2e-3 + 0.25 * (1.1e-3 + 2e-3));
}

static void two_experts_by_hand(void **state)
{
	struct pst_cost_layer l = { .experts_s = 4e-3,
				    .nr_used = 2,
				    .miss_rate = 0.5,
				    .expert_bytes = 1e6 };

	/* One hits: its 2 ms hide the other's read of 1.1 ms. */
	near(layer_s(l, &drive),
	     0.25 * 4e-3 + 0.5 * (2e-3 + 2e-3) + 0.25 * (2.1e-3 + 4e-3));
}

static void each_read_takes_its_time_beside_its_bytes(void **state)
{
	struct pst_cost_machine m = drive;
	struct pst_cost_layer l = { .head_s = 1e-3,
				    .experts_s = 2e-3,
				    .nr_used = 4,
				    .miss_rate = 1.0,
				    .expert_bytes = 1e4,
				    .expert_reads = 3.0 };

	m.read_s = 2e-5;
	near(layer_s(l, &m), 1e-3 + 1e-4 + 4 * (3 * 2e-5 + 1e4 / 1e9) + 2e-3);
	/* Computing hides it as it hides bytes. */
	l.miss_rate = 0.25;
	l.nr_used = 1;
	near(layer_s(l, &m),
	     1e-3 + 0.75 * 2e-3 + 0.25 * (1e-4 + 6e-5 + 1e-5 + 2e-3));
}

static void small_experts_cost_reads_and_large_ones_bytes(void **state)
{
	struct pst_cost_machine none = drive, some = drive;
	struct pst_cost_layer l = { .nr_used = 8,
				    .miss_rate = 0.5,
				    .expert_reads = 3.0 };

	some.read_s = 1.5e-5;
	l.expert_bytes = 4e4;
	assert_true(layer_s(l, &some) > 1.5 * layer_s(l, &none));
	l.expert_bytes = 4e6;
	assert_true(layer_s(l, &some) < 1.02 * layer_s(l, &none));
}

static void reads_ahead_count_as_reads(void **state)
{
	struct pst_cost_machine m = drive;
	struct pst_cost_layer l = { .nr_used = 4,
				    .ahead = 10.0,
				    .expert_bytes = 1e4,
				    .expert_reads = 3.0 };

	m.read_s = 2e-5;
	near(layer_s(l, &m), 10 * (3 * 2e-5 + 1e4 / 1e9));
}

static void what_is_read_ahead_cannot_outrun_the_drive(void **state)
{
	struct pst_cost_layer l = { .head_s = 1e-3,
				    .experts_s = 1e-3,
				    .nr_used = 4,
				    .ahead = 5.0,
				    .expert_bytes = 1e6 };

	near(layer_s(l, &drive), 5e-3);
}

static struct pst_cost_layer draw(uint64_t *rng)
{
	return (struct pst_cost_layer){
		.head_s = 1e-6 * (double)(pst_rng_next(rng) % 1000),
		.experts_s = 1e-6 * (double)(pst_rng_next(rng) % 5000),
		.nr_used = 1 + (uint32_t)(pst_rng_next(rng) % 16),
		.miss_rate = 0.01 * (double)(pst_rng_next(rng) % 101),
		.expert_bytes = (double)(pst_rng_next(rng) % 10000000),
		.expert_reads = (double)(1 + pst_rng_next(rng) % 5),
	};
}

static void better_is_never_slower(void **state)
{
	uint64_t rng = test_seed();

	for (int i = 0; i < 2000; i++) {
		struct pst_cost_layer l = draw(&rng), b = l;
		struct pst_cost_machine m = drive, n;
		double now;

		m.read_s = 1e-6 * (double)(pst_rng_next(&rng) % 50);
		now = layer_s(l, &m);
		n = m;
		n.drive_bps *= 2.0;
		assert_true(layer_s(l, &n) <= now * (1.0 + 1e-9));
		n = m;
		n.read_s *= 0.5;
		assert_true(layer_s(l, &n) <= now * (1.0 + 1e-9));
		b.miss_rate *= 0.5;
		assert_true(layer_s(b, &m) <= now * (1.0 + 1e-9));
		b = l;
		b.experts_s *= 0.5;
		assert_true(layer_s(b, &m) <= now * (1.0 + 1e-9));
		/* And nothing is faster than drive or computing alone. */
		assert_true(now * (1.0 + 1e-9) >= l.head_s + l.experts_s);
		assert_true(now * (1.0 + 1e-9) >=
			    l.nr_used * l.miss_rate *
				    (l.expert_bytes / 1e9 +
				     l.expert_reads * m.read_s));
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_misses_a_layer_is_its_computing),
		cmocka_unit_test(all_missed_is_reading_then_computing),
		cmocka_unit_test(
			one_of_one_is_missed_as_often_as_its_rate_says),
		cmocka_unit_test(two_experts_by_hand),
		cmocka_unit_test(each_read_takes_its_time_beside_its_bytes),
		cmocka_unit_test(small_experts_cost_reads_and_large_ones_bytes),
		cmocka_unit_test(reads_ahead_count_as_reads),
		cmocka_unit_test(what_is_read_ahead_cannot_outrun_the_drive),
		cmocka_unit_test(better_is_never_slower),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
