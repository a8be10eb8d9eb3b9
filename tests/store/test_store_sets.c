// SPDX-License-Identifier: MIT
/*
 * Wanted sets on a drive that works: what is delivered, in what order, with
 * which bytes, and what leaves for it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store_testing.h"

static const struct sshape small = { .nr_layers = 2,
				     .nr_experts = 8,
				     .nr_slots = 4,
				     .nr_parts = 3,
				     .part_bytes = { 5000, 5000, 7000 },
				     .gap_bytes = 33 };

static struct pst_store_stats stats_of(const struct sbed *b)
{
	struct pst_store_stats s;

	pst_store_stats_read(b->s, &s);
	return s;
}

static void an_expert_is_read_once_and_then_hit(void **state)
{
	struct sbed b;

	sbed_open(&b, &small);
	RUN_OK(&b, 0, 3);
	RUN_OK(&b, 0, 3);
	RUN_OK(&b, 1, 3);
	assert_int_equal(stats_of(&b).misses, 2);
	assert_int_equal(stats_of(&b).hits, 1);
	assert_int_equal(stats_of(&b).evictions, 0);
	sbed_close(&b);
}

static void the_least_recently_wanted_expert_goes(void **state)
{
	struct sbed b;

	sbed_open(&b, &small);
	RUN_OK(&b, 0, 0);
	RUN_OK(&b, 0, 1);
	RUN_OK(&b, 0, 2);
	RUN_OK(&b, 0, 3);
	RUN_OK(&b, 0, 0);
	RUN_OK(&b, 1, 5);
	assert_true(sbed_resident(&b, 0, 0));
	assert_false(sbed_resident(&b, 0, 1));
	assert_true(sbed_resident(&b, 1, 5));
	RUN_OK(&b, 1, 6);
	assert_false(sbed_resident(&b, 0, 2));
	assert_int_equal(stats_of(&b).evictions, 2);
	sbed_close(&b);
}

static void experts_of_the_set_are_not_evicted_for_it(void **state)
{
	struct sbed b;

	sbed_open(&b, &small);
	/* 0 is the oldest and would be the victim, but is wanted. */
	RUN_OK(&b, 0, 0);
	RUN_OK(&b, 0, 1);
	RUN_OK(&b, 0, 2);
	RUN_OK(&b, 0, 3);
	RUN_OK(&b, 0, 4, 0);
	assert_true(sbed_resident(&b, 0, 0));
	assert_false(sbed_resident(&b, 0, 1));
	assert_int_equal(stats_of(&b).hits, 1);
	sbed_close(&b);
}

static void taken_experts_keep_their_bytes_until_done(void **state)
{
	struct sshape shape = small;
	struct pst_expert held[2], e;
	struct pst_diag d;
	uint32_t ids[8] = { 7, 6, 5, 4, 3, 2, 1, 0 };
	struct sbed b;
	int nr = 0;

	shape.nr_slots = 3;
	sbed_open(&b, &shape);
	pst_diag_init(&d);
	pst_store_begin(b.s, 0, ids, 8);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pst_store_take(b.s, &held[i], 1, true, &d), 1);
	/* The third slot alone serves the other six. */
	while (nr < 6 && pst_store_take(b.s, &e, 1, true, &d) == 1) {
		nr++;
		sbed_check(&b, 0, &e);
		sbed_check(&b, 0, &held[0]);
		sbed_check(&b, 0, &held[1]);
		pst_store_done(b.s, e.expert);
	}
	assert_int_equal(nr, 6);
	pst_store_done(b.s, held[0].expert);
	pst_store_done(b.s, held[1].expert);
	assert_int_equal(pst_store_take(b.s, &e, 1, true, &d), 0);
	pst_store_end(b.s);
	sbed_invariants(&b);
	sbed_close(&b);
}

static void more_experts_than_slots_come_in_waves(void **state)
{
	uint32_t ids[MAX_EXPERTS];
	struct sbed b;

	for (uint32_t slots = 1; slots <= 9; slots++) {
		struct sshape shape = small;
		struct pst_diag d;

		shape.nr_experts = 40;
		shape.nr_slots = slots;
		sbed_open(&b, &shape);
		pst_diag_init(&d);
		for (uint32_t i = 0; i < 40; i++)
			ids[i] = (i * 7) % 40;
		for (uint32_t max = 1; max <= 8; max++)
			assert_int_equal(sbed_run(&b, 1, ids, 40, max, &d), 0);
		sbed_close(&b);
	}
}

static void resident_experts_come_first_in_their_order(void **state)
{
	struct pst_expert got[8];
	uint32_t ids[] = { 6, 2, 5, 0, 7 };
	struct sshape shape = small;
	struct pst_diag d;
	struct sbed b;

	shape.nr_slots = 8;
	sbed_open(&b, &shape);
	pst_diag_init(&d);
	RUN_OK(&b, 0, 0, 2);
	pst_store_begin(b.s, 0, ids, 5);
	/* Before anything has been waited for. */
	assert_int_equal(pst_store_take(b.s, got, 2, false, &d), 2);
	assert_int_equal(got[0].expert, 2);
	assert_int_equal(got[1].expert, 0);
	for (int i = 0; i < 2; i++)
		pst_store_done(b.s, got[i].expert);
	assert_int_equal(pst_store_take(b.s, got, 8, true, &d), 3);
	/* The loopback completes in the order of the reads. */
	assert_int_equal(got[0].expert, 6);
	assert_int_equal(got[1].expert, 5);
	assert_int_equal(got[2].expert, 7);
	for (int i = 0; i < 3; i++)
		pst_store_done(b.s, got[i].expert);
	pst_store_end(b.s);
	sbed_close(&b);
}

static void take_without_waiting_does_not_wait(void **state)
{
	struct sshape shape = small;
	struct pst_expert e;
	struct pst_diag d;
	uint32_t id = 1;
	struct sbed b;
	uint64_t start;

	shape.fault = "delay_us=300000";
	sbed_open(&b, &shape);
	pst_diag_init(&d);
	pst_store_begin(b.s, 0, &id, 1);
	start = pst_now_ns();
	assert_int_equal(pst_store_take(b.s, &e, 1, false, &d), 0);
	assert_true(pst_now_ns() - start < 200000000);
	assert_int_equal(pst_store_take(b.s, &e, 1, true, &d), 1);
	assert_true(pst_now_ns() - start >= 250000000);
	assert_true(stats_of(&b).wait_ns >= 200000000);
	pst_store_done(b.s, 1);
	pst_store_end(b.s);
	sbed_close(&b);
}

/* Two reads at a time: gate and up of expert 3, then its down and more. */
static void an_expert_is_begun_before_its_last_matrix_is_there(void **state)
{
	struct sshape shape = small;
	const uint32_t ids[] = { 3, 1 };
	struct pst_expert e[2];
	struct sbed b;

	assert_int_equal(shape.nr_parts, 3);
	shape.early = true;
	shape.queue_depth = 2;
	sbed_open(&b, &shape);
	pst_store_begin(b.s, 0, ids, 2);
	assert_int_equal(pst_store_take(b.s, e, 2, true, NULL), 1);
	assert_int_equal(e[0].expert, 3);
	assert_true(e[0].begin && !e[0].finish);
	sbed_check(&b, 0, &e[0]);
	/* Not twice, and what is whole goes first. */
	assert_int_equal(pst_store_take(b.s, e, 2, true, NULL), 1);
	assert_int_equal(e[0].expert, 3);
	assert_true(!e[0].begin && e[0].finish);
	sbed_check(&b, 0, &e[0]);
	pst_store_done(b.s, 3);
	assert_int_equal(pst_store_take(b.s, e, 2, true, NULL), 1);
	assert_true(e[0].expert == 1 && e[0].begin && e[0].finish);
	pst_store_done(b.s, 1);
	pst_store_end(b.s);
	assert_int_equal(stats_of(&b).begun_early, 1);
	/* The next time it is there, and begins anew. */
	pst_store_begin(b.s, 0, ids, 1);
	assert_int_equal(pst_store_take(b.s, e, 1, true, NULL), 1);
	assert_true(e[0].begin && e[0].finish);
	pst_store_done(b.s, 3);
	pst_store_end(b.s);
	sbed_close(&b);
}

static void an_empty_set_is_over_at_once(void **state)
{
	struct pst_expert e;
	struct sbed b;

	sbed_open(&b, &small);
	pst_store_begin(b.s, 0, NULL, 0);
	assert_int_equal(pst_store_take(b.s, &e, 1, true, NULL), 0);
	pst_store_end(b.s);
	RUN_OK(&b, 0, 1, 2);
	sbed_close(&b);
}

/* Sizes and gaps around the block, splits at every boundary. */
static void bytes_are_the_files_at_any_offset(void **state)
{
	static const uint64_t sizes[] = { 1,	32,   4095, 4096,  4097,
					  8191, 8192, 8193, 12289, 20480 };
	static const uint64_t gaps[] = { 0, 1, 31, 2048, 4095, 4096, 4097 };
	static const uint32_t splits[] = { 4096, 8192, 12288, 65536 };

	for (size_t s = 0; s < PST_ARRAY_SIZE(sizes); s++) {
		for (size_t g = 0; g < PST_ARRAY_SIZE(gaps); g++) {
			for (size_t k = 0; k < PST_ARRAY_SIZE(splits); k++) {
				struct sshape shape = {
					.nr_layers = 2,
					.nr_experts = 5,
					.nr_slots = 4,
					.nr_parts = 1 + (uint32_t)(s + g) % 3,
					.part_bytes = { sizes[s], 4096,
							sizes[s] + 1 },
					.gap_bytes = gaps[g],
					.split_bytes = splits[k],
				};
				struct sbed b;

				sbed_open(&b, &shape);
				RUN_OK(&b, 0, 4, 0, 2);
				RUN_OK(&b, 1, 4, 3, 2, 1, 0);
				RUN_OK(&b, 0, 0, 1, 2, 3, 4);
				sbed_close(&b);
			}
		}
	}
}

/* The last expert ends with the file, inside a block. */
static void the_last_block_of_a_file_may_be_short(void **state)
{
	struct sshape shape = { .nr_layers = 1,
				.nr_experts = 3,
				.nr_slots = 3,
				.nr_parts = 1,
				.part_bytes = { 4096 + 7 } };
	struct sbed b;

	for (uint64_t size = 4090; size < 4110; size++) {
		shape.part_bytes[0] = size;
		sbed_open(&b, &shape);
		assert_int_equal(b.files[0].size_bytes, 3 * size);
		RUN_OK(&b, 0, 2, 1, 0);
		sbed_close(&b);
	}
}

static void fewer_queue_places_than_reads_lose_none(void **state)
{
	for (uint32_t depth = 1; depth <= 5; depth += 2) {
		struct sshape shape = small;
		struct sbed b;

		shape.queue_depth = depth;
		shape.split_bytes = 4096;
		shape.nr_slots = 8;
		sbed_open(&b, &shape);
		RUN_OK(&b, 0, 0, 1, 2, 3, 4, 5, 6, 7);
		RUN_OK(&b, 1, 7, 6, 5, 4, 3, 2, 1, 0);
		sbed_close(&b);
	}
}

static void count_progress(void *ctx, uint64_t done, uint64_t all)
{
	uint64_t *last = ctx;

	assert_true(done >= *last && done <= all);
	*last = done;
}

static void load_all_fills_the_slots_and_counts_nothing(void **state)
{
	for (uint32_t slots = 1; slots <= 24; slots++) {
		struct sshape shape = small;
		uint64_t last = 0;
		uint32_t held = 0;
		struct sbed b;

		shape.nr_layers = 3;
		shape.dense = 2;
		shape.nr_slots = slots;
		sbed_open(&b, &shape);
		assert_int_equal(pst_store_load_all(b.s, count_progress, &last,
						    NULL),
				 0);
		sbed_invariants(&b);
		for (uint32_t l = 0; l < 3; l++)
			for (uint32_t e = 0; e < 8; e++)
				held += sbed_resident(&b, l, e);
		assert_int_equal(held, PST_MIN(slots, 16u));
		assert_int_equal(last, PST_MIN(slots, 16u));
		assert_int_equal(stats_of(&b).misses, 0);
		assert_int_equal(stats_of(&b).hits, 0);
		if (slots >= 16) {
			RUN_OK(&b, 2, 0, 1, 2, 3, 4, 5, 6, 7);
			assert_int_equal(stats_of(&b).misses, 0);
			assert_int_equal(stats_of(&b).hits, 8);
		}
		sbed_close(&b);
	}
}

static void mmap_mode_points_into_the_mapping(void **state)
{
	static uint8_t map[4][100];
	struct pst_store_layer layer = {
		.nr_parts = 2,
		.part = { { .size_bytes = 100, .map = map[0] },
			  { .size_bytes = 50, .map = map[2] } },
	};
	struct pst_store_args args = { .mode = PST_STORE_MMAP,
				       .layers = &layer,
				       .nr_layers = 1,
				       .nr_experts = 2,
				       .policy = &pst_policy_lru };
	uint32_t ids[] = { 1, 0 };
	struct pst_expert got[4];
	struct pst_store *s;

	assert_int_equal(pst_store_create(&args, &s, NULL), 0);
	for (int round = 0; round < 2; round++) {
		pst_store_begin(s, 0, ids, 2);
		assert_int_equal(pst_store_take(s, got, 4, true, NULL), 2);
		assert_int_equal(got[0].expert, 1);
		assert_ptr_equal(got[0].part[0], map[1]);
		assert_ptr_equal(got[0].part[1], map[2] + 50);
		assert_ptr_equal(got[1].part[0], map[0]);
		pst_store_done(s, 1);
		pst_store_done(s, 0);
		assert_int_equal(pst_store_take(s, got, 4, true, NULL), 0);
		pst_store_end(s);
	}
	assert_int_equal(pst_store_load_all(s, NULL, NULL, NULL), 0);
	pst_store_destroy(s);
}

static void fit_and_arena_agree(void **state)
{
	uint64_t rng = test_seed();

	for (int i = 0; i < 2000; i++) {
		uint64_t slot = 4096 * (1 + pst_rng_next(&rng) % 200000);
		uint64_t bytes = pst_rng_next(&rng) % (64 * PST_GIB);
		uint32_t n;

		if (slot > PST_GIB)
			continue;
		n = pst_store_fit_slots(slot, bytes, 2 * PST_MIB);
		assert_true(pst_store_arena_bytes(slot, n, 2 * PST_MIB) <=
			    bytes);
		assert_true(pst_store_arena_bytes(slot, n + 1, 2 * PST_MIB) >
			    bytes);
		assert_true(pst_store_arena_bytes(slot, n, 2 * PST_MIB) >=
			    n * slot);
	}
	assert_int_equal(pst_store_fit_slots(0, PST_GIB, 2 * PST_MIB), 0);
	assert_int_equal(
		pst_store_fit_slots(2 * PST_GIB, 8 * PST_GIB, 2 * PST_MIB), 0);
	assert_int_equal(pst_store_fit_slots(4096, 0, 2 * PST_MIB), 0);
}

static void an_expert_over_1_gib_is_refused(void **state)
{
	struct pst_store_layer layer = {
		.nr_parts = 1, .part = { { .size_bytes = PST_GIB } }
	};
	struct sbed b;
	struct pst_store_args args = { .mode = PST_STORE_STREAM,
				       .layers = &layer,
				       .nr_layers = 1,
				       .nr_experts = 1,
				       .nr_slots = 1,
				       .policy = &pst_policy_lru,
				       .huge = PST_MEM_SMALL,
				       .node = -1,
				       .split_bytes = 1u << 20 };
	struct pst_store *s = NULL;
	struct pst_diag d;

	sbed_open(&b, &small);
	pst_diag_init(&d);
	args.io = b.io;
	assert_int_equal(pst_store_create(&args, &s, &d), -EINVAL);
	assert_non_null(strstr(d.text, "1 GiB"));
	assert_null(s);
	sbed_close(&b);
	pst_store_destroy(NULL);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(an_expert_is_read_once_and_then_hit),
		cmocka_unit_test(the_least_recently_wanted_expert_goes),
		cmocka_unit_test(experts_of_the_set_are_not_evicted_for_it),
		cmocka_unit_test(taken_experts_keep_their_bytes_until_done),
		cmocka_unit_test(more_experts_than_slots_come_in_waves),
		cmocka_unit_test(resident_experts_come_first_in_their_order),
		cmocka_unit_test(take_without_waiting_does_not_wait),
		cmocka_unit_test(
			an_expert_is_begun_before_its_last_matrix_is_there),
		cmocka_unit_test(an_empty_set_is_over_at_once),
		cmocka_unit_test(bytes_are_the_files_at_any_offset),
		cmocka_unit_test(the_last_block_of_a_file_may_be_short),
		cmocka_unit_test(fewer_queue_places_than_reads_lose_none),
		cmocka_unit_test(load_all_fills_the_slots_and_counts_nothing),
		cmocka_unit_test(mmap_mode_points_into_the_mapping),
		cmocka_unit_test(fit_and_arena_agree),
		cmocka_unit_test(an_expert_over_1_gib_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
