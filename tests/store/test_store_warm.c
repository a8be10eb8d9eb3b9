// SPDX-License-Identifier: MIT
/*
 * What an earlier run held comes back while nothing else is wanted, takes no
 * slot from anybody, and is worth to the policy what it was worth then.
 */
#include <stdio.h>
#include <string.h>

#include "store_testing.h"

static const struct sshape shape = {
	.nr_layers = 3,
	.nr_experts = 16,
	.nr_slots = 24,
	.nr_parts = 3,
	.part_bytes = { 8192, 8192, 8192 },
	.queue_depth = 8,
	.nr_per_token = 6,
};

static void settle(struct sbed *b)
{
	while (pst_store_idle(b->s))
		;
}

static uint64_t warm_reads(const struct sbed *b)
{
	struct pst_store_stats st;

	pst_store_stats_read(b->s, &st);
	return st.warm_reads;
}

static void idle_time_brings_all_of_it(void **state)
{
	static const uint32_t keys[] = { 40, 3, 17, 5, 33, 21, 2, 47, 30, 9 };
	uint32_t got[24];
	struct sbed b;

	sbed_open(&b, &shape);
	pst_store_warm(b.s, keys, PST_ARRAY_SIZE(keys));
	settle(&b);
	assert_int_equal(warm_reads(&b), PST_ARRAY_SIZE(keys));
	assert_int_equal(pst_store_resident(b.s, got), PST_ARRAY_SIZE(keys));
	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++)
		assert_true(sbed_resident(&b, keys[i] / 16, keys[i] % 16));
	/* Their bytes are checked, and they are hits. */
	RUN_OK(&b, 0, 3, 5, 2, 9);
	assert_int_equal(b.s->stats.hits, 4);
	assert_int_equal(b.s->stats.misses, 0);
	sbed_invariants(&b);
	sbed_close(&b);
}

/* One behind the other in the file, whatever the order of their worth. */
static void they_are_read_in_file_order(void **state)
{
	static const uint32_t keys[] = { 40, 3, 17, 5, 33, 21, 2, 47, 30, 9 };
	struct sbed b;

	sbed_open(&b, &shape);
	pst_store_warm(b.s, keys, PST_ARRAY_SIZE(keys));
	for (uint32_t nr = 1; pst_store_idle(b.s); nr++) {
		uint32_t got[24], most = 0, below = 0;
		uint32_t n = pst_store_resident(b.s, got);

		for (uint32_t i = 0; i < n; i++)
			most = PST_MAX(most, got[i]);
		for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++)
			below += keys[i] < most;
		/* Nothing before the last one that has begun is missing. */
		assert_true(n > below);
	}
	assert_int_equal(warm_reads(&b), PST_ARRAY_SIZE(keys));
	sbed_close(&b);
}

static void unknown_keys_are_passed_over(void **state)
{
	static const uint32_t keys[] = { 48, 20, UINT32_MAX, 1 };
	struct sshape s = shape;
	struct sbed b;

	s.dense = 1u << 1;
	sbed_open(&b, &s);
	pst_store_warm(b.s, keys, PST_ARRAY_SIZE(keys));
	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++)
		pst_store_seed(b.s, keys[i], 1.0f);
	settle(&b);
	assert_int_equal(warm_reads(&b), 1);
	assert_true(sbed_resident(&b, 0, 1));
	sbed_close(&b);
}

static void nobody_loses_a_slot_to_it(void **state)
{
	uint32_t keys[48];
	struct sbed b;

	for (uint32_t i = 0; i < 48; i++)
		keys[i] = i;
	sbed_open(&b, &shape);
	RUN_OK(&b, 2, 1, 2, 3, 4, 5, 6);
	pst_store_warm(b.s, keys, 48);
	settle(&b);
	assert_int_equal(b.s->stats.evictions, 0);
	assert_int_equal(warm_reads(&b), 24 - 6);
	for (uint32_t e = 1; e <= 6; e++)
		assert_true(sbed_resident(&b, 2, e));
	sbed_invariants(&b);
	sbed_close(&b);
}

static void a_read_that_fails_costs_nothing(void **state)
{
	static const uint32_t keys[] = { 1, 2, 3, 4, 5, 6, 7, 8 };
	struct sshape s = shape;
	uint32_t got[24];
	struct sbed b;

	s.fault = "seed=3,eio=1";
	sbed_open(&b, &s);
	pst_store_warm(b.s, keys, PST_ARRAY_SIZE(keys));
	settle(&b);
	assert_int_equal(pst_store_resident(b.s, got), 0);
	assert_int_equal(b.s->nr_free, shape.nr_slots);
	sbed_invariants(&b);
	sbed_close(&b);
}

static void idling_without_work_returns(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	assert_false(pst_store_idle(b.s));
	sbed_close(&b);
}

/* Use expert 0 of layer 0 more often and later than expert 1. */
static void worth_follows_use(void **state)
{
	static const char *const names[] = { "adaptive", "lru", "lfu" };

	for (size_t i = 0; i < PST_ARRAY_SIZE(names); i++) {
		struct sshape s = shape;
		struct sbed b;

		s.policy = names[i];
		sbed_open(&b, &s);
		for (int turn = 0; turn < 8; turn++) {
			uint32_t id = turn == 2;

			pst_store_route(b.s, &(struct pst_policy_route){
						     .layer = 0,
						     .ids = &id,
						     .nr_tokens = 1,
						     .nr_used = 1 });
			sbed_run_ok(&b, 0, &id, 1);
		}
		assert_true(pst_store_worth(b.s, 0) > pst_store_worth(b.s, 1));
		assert_true(pst_store_worth(b.s, 1) > 0.0f);
		assert_true(pst_store_worth(b.s, 2) == 0.0f);
		assert_string_equal(pst_store_policy(b.s), names[i]);
		sbed_close(&b);
	}
}

/* The worth of an earlier run decides who goes first in the next one. */
static void a_seed_is_remembered(void **state)
{
	static const char *const names[] = { "adaptive", "lfu" };

	for (size_t i = 0; i < PST_ARRAY_SIZE(names); i++) {
		struct sshape s = shape;
		uint32_t keys[24];
		struct sbed b;

		s.policy = names[i];
		sbed_open(&b, &s);
		for (uint32_t k = 0; k < 24; k++) {
			keys[k] = k;
			pst_store_seed(b.s, k, k == 7 ? 0.0f : 0.5f);
		}
		pst_store_warm(b.s, keys, 24);
		settle(&b);
		assert_true(pst_store_worth(b.s, 3) > 0.1f);
		RUN_OK(&b, 2, 15);
		assert_false(sbed_resident(&b, 0, 7));
		assert_true(sbed_resident(&b, 0, 3));
		sbed_close(&b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(idle_time_brings_all_of_it),
		cmocka_unit_test(they_are_read_in_file_order),
		cmocka_unit_test(unknown_keys_are_passed_over),
		cmocka_unit_test(nobody_loses_a_slot_to_it),
		cmocka_unit_test(a_read_that_fails_costs_nothing),
		cmocka_unit_test(idling_without_work_returns),
		cmocka_unit_test(worth_follows_use),
		cmocka_unit_test(a_seed_is_remembered),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
