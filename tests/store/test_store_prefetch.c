// SPDX-License-Identifier: MIT
/*
 * Reading ahead: only into idle time, never instead of what is wanted, and
 * wrong guesses leave nothing behind.
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

#define GUESS(b, layer, ...)                                                 \
	pst_store_prefetch((b)->s, layer, (const uint32_t[]){ __VA_ARGS__ }, \
			   sizeof((const uint32_t[]){ __VA_ARGS__ }) /       \
				   sizeof(uint32_t),                         \
			   0)

static struct pst_store_stats stats(const struct sbed *b)
{
	struct pst_store_stats st;

	pst_store_stats_read(b->s, &st);
	return st;
}

/* The drive has been seen to idle long between sets. */
static void teach_long_gaps(struct sbed *b)
{
	for (uint32_t l = 0; l < shape.nr_layers; l++)
		b->s->pace.after[l] = (struct gap){ .ns = { 1e9, 1e9 } };
	b->s->pace.bytes_per_ns = 1.0;
}

/* Let what was submitted land, as the next set's first take does. */
static void idle(struct sbed *b)
{
	RUN_OK(b, 2, 15);
}

static void a_right_guess_is_a_hit(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	teach_long_gaps(&b);
	GUESS(&b, 0, 1, 2);
	idle(&b);
	assert_int_equal(stats(&b).prefetch_reads, 2);
	assert_int_equal(stats(&b).misses, 1);
	RUN_OK(&b, 0, 1, 2, 3);
	assert_int_equal(stats(&b).hits, 2);
	assert_int_equal(stats(&b).misses, 2);
	assert_int_equal(stats(&b).prefetch_used, 2);
	assert_int_equal(stats(&b).prefetch_late, 0);
	sbed_close(&b);
}

static void a_guess_on_its_way_is_not_read_twice(void **state)
{
	struct pst_io_stats io;
	struct sbed b;

	sbed_open(&b, &shape);
	GUESS(&b, 1, 4);
	RUN_OK(&b, 1, 4);
	assert_int_equal(stats(&b).prefetch_late, 1);
	assert_int_equal(stats(&b).hits, 1);
	pst_io_stats_read(b.io, &io);
	assert_int_equal(io.reads, 3);
	sbed_close(&b);
}

static void a_guess_that_somebody_else_reaps_is_a_hit(void **state)
{
	struct pst_io_read *r;
	struct pst_io_stats io;
	struct sbed b;

	sbed_open(&b, &shape);
	teach_long_gaps(&b);
	GUESS(&b, 1, 4);
	while (pst_io_outstanding(b.io)) {
		r = pst_io_reap(b.io, true);
		assert_non_null(r);
		pst_store_landed(b.s, r);
	}
	assert_true(pst_store_has(b.s, 1, 4));
	RUN_OK(&b, 1, 4);
	assert_int_equal(stats(&b).hits, 1);
	assert_int_equal(stats(&b).prefetch_late, 0);
	pst_io_stats_read(b.io, &io);
	assert_int_equal(io.reads, 3);
	sbed_close(&b);
}

static void wanted_experts_are_read_before_guesses(void **state)
{
	struct pst_expert got[2];
	struct sbed b;

	sbed_open(&b, &shape);
	teach_long_gaps(&b);
	pst_store_begin(b.s, 0, (const uint32_t[]){ 1, 2 }, 2);
	GUESS(&b, 1, 3, 4);
	assert_int_equal(stats(&b).prefetch_reads, 0);
	assert_int_equal(pst_store_take(b.s, got, 2, true, NULL), 2);
	/* They have landed: the drive would idle while they are computed. */
	assert_int_equal(stats(&b).prefetch_reads, 2);
	pst_store_done(b.s, 1);
	pst_store_done(b.s, 2);
	pst_store_end(b.s);
	sbed_invariants(&b);
	sbed_close(&b);
}

static void guesses_of_a_layer_end_when_it_comes(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	pst_store_begin(b.s, 0, (const uint32_t[]){ 1, 2 }, 2);
	GUESS(&b, 1, 3, 4, 5);
	pst_store_end(b.s);
	assert_int_equal(b.s->nr_guesses, 3);
	RUN_OK(&b, 1, 6);
	assert_int_equal(b.s->nr_guesses, 0);
	for (uint32_t k = 0; k < shape.nr_layers * shape.nr_experts; k++)
		assert_false(b.s->guarded[k]);
	assert_false(sbed_resident(&b, 1, 3));
	sbed_close(&b);
}

/* More guesses than may fly: those that wait inside io are taken back. */
static void a_wrong_guess_that_waits_is_withdrawn(void **state)
{
	struct sshape s = shape;
	struct sbed b;

	s.queue_depth = 1;
	sbed_open(&b, &s);
	teach_long_gaps(&b);
	GUESS(&b, 1, 3, 4);
	assert_int_equal(stats(&b).prefetch_reads, 2);
	RUN_OK(&b, 1, 9);
	assert_int_equal(stats(&b).prefetch_withdrawn, 2);
	assert_false(sbed_resident(&b, 1, 3));
	assert_false(sbed_resident(&b, 1, 4));
	sbed_close(&b);
}

/* A withdrawn guess of which one read was in flight is wanted after all. */
static void a_half_withdrawn_guess_is_completed(void **state)
{
	struct sshape s = shape;
	struct sbed b;

	s.queue_depth = 1;
	sbed_open(&b, &s);
	teach_long_gaps(&b);
	GUESS(&b, 1, 3);
	pst_store_begin(b.s, 1, (const uint32_t[]){ 9 }, 1);
	pst_store_end(b.s);
	assert_int_equal(stats(&b).prefetch_withdrawn, 1);
	assert_true(sbed_resident(&b, 1, 3));
	RUN_OK(&b, 1, 3, 9);
	sbed_close(&b);
}

static void a_resident_guess_is_not_evicted(void **state)
{
	struct sshape s = shape;
	struct sbed b;

	s.nr_slots = 4;
	sbed_open(&b, &s);
	RUN_OK(&b, 1, 7); /* the oldest from now on */
	RUN_OK(&b, 0, 0, 1, 2);
	GUESS(&b, 1, 7);
	RUN_OK(&b, 2, 3, 4);
	assert_true(sbed_resident(&b, 1, 7));
	RUN_OK(&b, 1, 7);
	assert_int_equal(stats(&b).hits, 1);
	sbed_close(&b);
}

/* Guards give way before a wanted expert does without a slot. */
static void guarded_experts_go_when_nothing_else_can(void **state)
{
	struct sshape s = shape;
	struct sbed b;

	s.nr_slots = 4;
	sbed_open(&b, &s);
	RUN_OK(&b, 1, 0, 1, 2, 3);
	GUESS(&b, 1, 0, 1, 2, 3);
	RUN_OK(&b, 0, 0, 1, 2, 3);
	sbed_close(&b);
}

static void a_wrong_guess_is_counted_when_it_goes(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	teach_long_gaps(&b);
	GUESS(&b, 0, 1);
	idle(&b);
	RUN_OK(&b, 0, 2);
	for (uint32_t e = 0; e < 16; e++)
		RUN_OK(&b, 1, e);
	for (uint32_t e = 0; e < 15; e++)
		RUN_OK(&b, 2, e);
	assert_false(sbed_resident(&b, 0, 1));
	assert_int_equal(stats(&b).prefetch_wasted, 1);
	assert_int_equal(stats(&b).prefetch_used, 0);
	sbed_close(&b);
}

static void every_layer_has_its_own_count(void **state)
{
	struct pst_store_ahead a[3];
	struct sbed b;

	sbed_open(&b, &shape);
	teach_long_gaps(&b);
	GUESS(&b, 0, 1, 2);
	GUESS(&b, 1, 5);
	idle(&b);
	RUN_OK(&b, 0, 2, 3);
	RUN_OK(&b, 1, 5);
	for (uint32_t l = 0; l < 3; l++)
		pst_store_ahead_read(b.s, l, &a[l]);
	assert_int_equal(a[0].reads, 2);
	assert_int_equal(a[0].used, 1);
	assert_int_equal(a[1].reads, 1);
	assert_int_equal(a[1].used, 1);
	assert_int_equal(a[2].reads, 0);
	sbed_close(&b);
}

static void idle_time_bounds_what_is_read_ahead(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	/* Idle for as long as two and a half experts take. */
	b.s->pace.bytes_per_ns = 1.0;
	b.s->pace.usual.ns[0] = 2.5 * (double)b.s->slot_bytes;
	GUESS(&b, 0, 1, 2, 3, 4, 5, 6);
	assert_int_equal(stats(&b).prefetch_reads, 3);
	/* However long it is: never more than a quarter of the slots. */
	teach_long_gaps(&b);
	GUESS(&b, 1, 1, 2, 3, 4, 5, 6);
	assert_int_equal(stats(&b).prefetch_reads, shape.nr_slots / 4);
	sbed_close(&b);
}

/* One at a time, as nothing is known of the drive yet. */
static void a_poll_goes_on_with_the_next_guess(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	GUESS(&b, 1, 3, 4, 5);
	for (uint32_t i = 1; i <= 3; i++) {
		assert_int_equal(stats(&b).prefetch_reads, i);
		pst_store_poll(b.s);
		sbed_invariants(&b);
	}
	assert_int_equal(stats(&b).prefetch_reads, 3);
	RUN_OK(&b, 1, 3, 4, 5);
	assert_int_equal(stats(&b).prefetch_used, 3);
	assert_int_equal(stats(&b).misses, 0);
	sbed_close(&b);
}

static void a_sure_guess_goes_out_beside_another(void **state)
{
	const uint32_t ids[] = { 3, 4, 5 };
	struct sbed b;

	sbed_open(&b, &shape);
	pst_store_prefetch(b.s, 1, ids, 3, 1);
	assert_int_equal(stats(&b).prefetch_reads, 1);
	sbed_close(&b);
	sbed_open(&b, &shape);
	pst_store_prefetch(b.s, 1, ids, 3, 2);
	assert_int_equal(stats(&b).prefetch_reads, 2);
	sbed_close(&b);
}

static void a_poll_leaves_a_wanted_set_alone(void **state)
{
	struct pst_expert got[2];
	struct sbed b;

	sbed_open(&b, &shape);
	pst_store_begin(b.s, 0, (const uint32_t[]){ 1, 2 }, 2);
	pst_store_poll(b.s);
	assert_int_equal(b.s->nr_ready, 0);
	assert_int_equal(pst_store_take(b.s, got, 2, true, NULL), 2);
	pst_store_done(b.s, 1);
	pst_store_done(b.s, 2);
	pst_store_end(b.s);
	sbed_close(&b);
}

/* What may be on its way is what the drive reads in the longest of them. */
static void the_longest_time_without_a_look_is_learned(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	RUN_OK(&b, 0, 1);
	b.s->pace.looked_ns -= 1000000000;
	pst_store_poll(b.s);
	b.s->pace.looked_ns -= 500000000;
	RUN_OK(&b, 1, 1);
	assert_true(b.s->pace.after[0].ns[0] >= 1e9);
	assert_true(b.s->pace.after[0].ns[0] < 1.5e9);
	assert_true(b.s->pace.after[1].ns[0] == 0.0);
	sbed_close(&b);
}

/* Layer 0 leaves the drive idle for long, layer 1 does not; 2 is not known yet. */
static void each_layer_has_its_own_budget(void **state)
{
	struct sbed b;

	sbed_open(&b, &shape);
	b.s->pace.bytes_per_ns = 1.0;
	b.s->pace.usual.ns[0] = 1.5 * (double)b.s->slot_bytes;
	b.s->pace.after[0].ns[0] = 2.5 * (double)b.s->slot_bytes;
	b.s->pace.after[1].ns[0] = 0.5 * (double)b.s->slot_bytes;
	b.s->layer = 0;
	assert_int_equal(pst_pace_slots(b.s), 3);
	b.s->layer = 1;
	assert_int_equal(pst_pace_slots(b.s), 1);
	b.s->layer = 2;
	assert_int_equal(pst_pace_slots(b.s), 2);
	sbed_close(&b);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_right_guess_is_a_hit),
		cmocka_unit_test(a_guess_on_its_way_is_not_read_twice),
		cmocka_unit_test(a_guess_that_somebody_else_reaps_is_a_hit),
		cmocka_unit_test(wanted_experts_are_read_before_guesses),
		cmocka_unit_test(guesses_of_a_layer_end_when_it_comes),
		cmocka_unit_test(a_wrong_guess_that_waits_is_withdrawn),
		cmocka_unit_test(a_half_withdrawn_guess_is_completed),
		cmocka_unit_test(a_resident_guess_is_not_evicted),
		cmocka_unit_test(guarded_experts_go_when_nothing_else_can),
		cmocka_unit_test(a_wrong_guess_is_counted_when_it_goes),
		cmocka_unit_test(every_layer_has_its_own_count),
		cmocka_unit_test(idle_time_bounds_what_is_read_ahead),
		cmocka_unit_test(a_poll_goes_on_with_the_next_guess),
		cmocka_unit_test(a_sure_guess_goes_out_beside_another),
		cmocka_unit_test(a_poll_leaves_a_wanted_set_alone),
		cmocka_unit_test(the_longest_time_without_a_look_is_learned),
		cmocka_unit_test(each_layer_has_its_own_budget),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
