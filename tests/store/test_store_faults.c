// SPDX-License-Identifier: MIT
/*
 * Sets on a drive that fails, dawdles and reorders: an error is told once,
 * with its place; afterwards the store is as good as new.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "alloc_hook.h"
#include "store_testing.h"

static const struct sshape small = { .nr_layers = 2,
				     .nr_experts = 8,
				     .nr_slots = 4,
				     .nr_parts = 2,
				     .part_bytes = { 9000, 5000 },
				     .gap_bytes = 33,
				     .split_bytes = 4096 };

static void open_with(struct sbed *b, const char *fault)
{
	struct sshape shape = small;

	shape.fault = fault;
	sbed_open(b, &shape);
}

static void a_failed_read_is_told_with_file_and_offset(void **state)
{
	uint32_t ids[] = { 3, 5 };
	struct pst_diag d;
	struct sbed b;
	uint64_t at;

	open_with(&b, "eio_at=2");
	pst_diag_init(&d);
	assert_int_equal(sbed_run(&b, 1, ids, 2, 8, &d), -EIO);
	assert_int_equal(d.err, -EIO);
	/* Expert 3 of layer 1 starts in file two. */
	assert_string_equal(d.file, "two");
	at = b.layers[1].part[0].off_bytes + 3 * 9000;
	assert_in_range(d.off_bytes, at - 4096, at + 9000);
	assert_non_null(strstr(d.text, "expert 3"));
	assert_non_null(strstr(d.text, "layer 1"));
	sbed_close(&b);
}

/* Whichever read of the first set fails: the next try succeeds. */
static void a_retry_after_an_error_succeeds(void **state)
{
	uint32_t ids[] = { 7, 2, 4 };
	int at = 1, rc = -EIO;

	for (; rc; at++) {
		struct pst_diag d;
		struct sbed b;
		char fault[32];

		snprintf(fault, sizeof(fault), "eio_at=%d", at);
		open_with(&b, fault);
		pst_diag_init(&d);
		rc = sbed_run(&b, 0, ids, 3, 1, &d);
		if (rc) {
			assert_int_equal(rc, -EIO);
			RUN_OK(&b, 0, 7, 2, 4);
			RUN_OK(&b, 1, 0, 1, 2, 3, 4, 5, 6, 7);
			RUN_OK(&b, 0, 0, 1, 2, 3, 4, 5, 6, 7);
		}
		sbed_close(&b);
	}
	/* Three experts of 9000 and 5000 bytes in reads of 4096. */
	assert_in_range(at, 3 * (3 + 2), 3 * (4 + 3) + 2);
}

static void a_dead_drive_fails_every_set_and_loses_no_slot(void **state)
{
	uint32_t ids[] = { 0, 1, 2, 3, 4, 5, 6, 7 };
	struct pst_diag d;
	struct sbed b;

	open_with(&b, "eio_after=0");
	for (int i = 0; i < 50; i++) {
		pst_diag_init(&d);
		assert_int_equal(sbed_run(&b, i % 2, ids, 8, 3, &d), -EIO);
		assert_string_not_equal(d.file, "");
	}
	while (pst_io_outstanding(b.io))
		pst_store_take(b.s, NULL, 0, false, NULL);
	assert_int_equal(b.s->nr_free, small.nr_slots);
	sbed_close(&b);
}

static void an_end_half_way_leaves_nothing_pinned(void **state)
{
	uint32_t ids[] = { 0, 1, 2, 3, 4, 5 };
	struct pst_expert e;
	struct sbed b;

	for (int taken = 0; taken <= 3; taken++) {
		open_with(&b, NULL);
		pst_store_begin(b.s, 0, ids, 6);
		for (int i = 0; i < taken; i++) {
			assert_int_equal(pst_store_take(b.s, &e, 1, true, NULL),
					 1);
			if (i & 1)
				pst_store_done(b.s, e.expert);
		}
		pst_store_end(b.s);
		sbed_invariants(&b);
		RUN_OK(&b, 1, 0, 1, 2, 3, 4, 5, 6, 7);
		RUN_OK(&b, 0, 7, 6, 5, 4, 3, 2, 1, 0);
		sbed_close(&b);
	}
}

/* The same experts are wanted again while their reads still run. */
static void reads_of_an_aborted_set_serve_the_next(void **state)
{
	uint32_t ids[] = { 0, 1, 2, 3 };
	struct pst_store_stats st;
	struct sbed b;

	open_with(&b, "delay_us=20000");
	pst_store_begin(b.s, 0, ids, 4);
	pst_store_end(b.s);
	assert_true(pst_io_outstanding(b.io) > 0);
	sbed_run_ok(&b, 0, ids, 4);
	pst_store_stats_read(b.s, &st);
	assert_int_equal(st.hits, 4);
	assert_int_equal(st.misses, 4);
	sbed_close(&b);
}

/* Every slot is busy with an aborted set; another one is wanted. */
static void a_set_waits_for_slots_that_an_aborted_one_still_fills(void **state)
{
	uint32_t first[] = { 0, 1, 2, 3 }, other[] = { 4, 5, 6, 7 };
	struct sbed b;

	open_with(&b, "delay_us=20000");
	pst_store_begin(b.s, 0, first, 4);
	pst_store_end(b.s);
	sbed_run_ok(&b, 0, other, 4);
	sbed_run_ok(&b, 1, first, 4);
	sbed_close(&b);
}

static void a_take_after_the_last_expert_gives_nothing(void **state)
{
	struct pst_expert got[2];
	uint32_t ids[] = { 0, 1 };
	struct sbed b;

	open_with(&b, NULL);
	pst_store_begin(b.s, 0, ids, 2);
	for (int i = 0; i < 2; i++)
		assert_int_equal(pst_store_take(b.s, &got[i], 1, true, NULL),
				 1);
	/* Both are being computed: there is nothing to wait for. */
	assert_int_equal(pst_store_take(b.s, got, 2, true, NULL), 0);
	pst_store_end(b.s);
	sbed_invariants(&b);
	sbed_close(&b);
}

static void the_same_when_the_aborted_reads_fail(void **state)
{
	uint32_t first[] = { 0, 1, 2, 3 }, other[] = { 4, 5, 6, 7 };
	struct sbed b;

	for (int at = 1; at <= 20; at++) {
		char fault[48];

		snprintf(fault, sizeof(fault), "delay_us=5000,eio_at=%d", at);
		open_with(&b, fault);
		pst_store_begin(b.s, 0, first, 4);
		pst_store_end(b.s);
		sbed_run_ok(&b, 1, other, 4);
		sbed_close(&b);
	}
}

static void destroy_waits_for_reads_in_flight(void **state)
{
	uint32_t ids[] = { 0, 1, 2, 3 };
	struct sbed b;

	open_with(&b, "delay_us=20000");
	pst_store_begin(b.s, 0, ids, 4);
	sbed_close(&b);
}

static void load_all_tells_the_error(void **state)
{
	struct pst_diag d;
	struct sbed b;

	open_with(&b, "eio_at=3");
	pst_diag_init(&d);
	assert_int_equal(pst_store_load_all(b.s, NULL, NULL, &d), -EIO);
	assert_string_not_equal(d.file, "");
	sbed_invariants(&b);
	assert_int_equal(pst_store_load_all(b.s, NULL, NULL, NULL), 0);
	sbed_close(&b);
}

/* The file shrinks after the store was made: an error, not old bytes. */
static void a_file_that_shrank_is_an_error(void **state)
{
	uint32_t ids[] = { 7 };
	struct pst_diag d;
	struct sbed b;

	open_with(&b, NULL);
	pst_diag_init(&d);
	b.files[0].size_bytes /= 2;
	b.files[1].size_bytes /= 2;
	assert_true(sbed_run(&b, 1, ids, 1, 1, &d) < 0);
	assert_string_not_equal(d.file, "");
	RUN_OK(&b, 0, 0);
	sbed_close(&b);
}

static void short_reads_and_eagain_leave_no_trace(void **state)
{
	struct sbed b;

	open_with(&b, "seed=11,short=0.4,eagain=0.3,shuffle=1");
	for (int i = 0; i < 20; i++) {
		RUN_OK(&b, i % 2, 0, 1, 2, 3, 4, 5, 6, 7);
		RUN_OK(&b, i % 2, 6, 1);
	}
	sbed_close(&b);
}

static void every_failed_allocation_is_an_error(void **state)
{
	struct pst_store_args args = { .mode = PST_STORE_STREAM,
				       .nr_layers = 2,
				       .nr_experts = 8,
				       .nr_slots = 4,
				       .nr_per_token = 8,
				       .huge = PST_MEM_SMALL,
				       .node = -1,
				       .split_bytes = 4096 };
	struct pst_store *s = NULL;
	struct sbed b;

	open_with(&b, NULL);
	args.layers = b.layers;
	args.io = b.io;
	for (uint32_t p = 0; pst_policy_name(p); p++) {
		uint64_t nr, failed = 0;

		args.policy = pst_policy_find(pst_policy_name(p));
		alloc_hook_reset();
		assert_int_equal(pst_store_create(&args, &s, NULL), 0);
		nr = alloc_hook_nr();
		pst_store_destroy(s);
		for (uint64_t i = 1; i <= nr; i++) {
			s = NULL;
			alloc_hook_fail_at(i);
			if (pst_store_create(&args, &s, NULL)) {
				assert_null(s);
				failed++;
			}
			pst_store_destroy(s);
		}
		assert_int_equal(failed, nr);
	}
	alloc_hook_reset();
	sbed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_failed_read_is_told_with_file_and_offset),
		cmocka_unit_test(a_retry_after_an_error_succeeds),
		cmocka_unit_test(
			a_dead_drive_fails_every_set_and_loses_no_slot),
		cmocka_unit_test(an_end_half_way_leaves_nothing_pinned),
		cmocka_unit_test(reads_of_an_aborted_set_serve_the_next),
		cmocka_unit_test(
			a_set_waits_for_slots_that_an_aborted_one_still_fills),
		cmocka_unit_test(a_take_after_the_last_expert_gives_nothing),
		cmocka_unit_test(the_same_when_the_aborted_reads_fail),
		cmocka_unit_test(destroy_waits_for_reads_in_flight),
		cmocka_unit_test(load_all_tells_the_error),
		cmocka_unit_test(a_file_that_shrank_is_an_error),
		cmocka_unit_test(short_reads_and_eagain_leave_no_trace),
		cmocka_unit_test(every_failed_allocation_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
