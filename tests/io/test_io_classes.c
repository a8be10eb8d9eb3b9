// SPDX-License-Identifier: MIT
/*
 * Two classes of reads: who goes first, how many idle reads may fly, and what
 * promoting and withdrawing do.  The loopback ends whatever is in flight at
 * each reap, so what one reap brings tells what had been issued.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_testing.h"

enum {
	NR = 64,
	BYTES = 2 * BLOCK,
	DEPTH = 4
};

struct state {
	struct tstate t;
	unsigned char *mem;
	struct pst_io_read r[NR];
	struct tbed b;
};

static int setup(void **s)
{
	uint64_t size = (uint64_t)NR * BYTES;
	int rc = tstate_make(s, sizeof(struct state), size);

	((struct state *)*s)->mem = tbuf_alloc(size);
	return rc;
}

static int teardown(void **s)
{
	free(((struct state *)*s)->mem);
	return tstate_free(s);
}

static void prepare(struct state *st, uint32_t i, enum pst_io_prio prio)
{
	st->r[i] = (struct pst_io_read){
		.off_bytes = (uint64_t)i * BYTES,
		.len_bytes = BYTES,
		.need_bytes = BYTES,
		.buf = st->mem + (uint64_t)i * BYTES,
		.region = -1,
		.prio = prio,
	};
}

/* Submit reads @from..@to-1 as one batch. */
static void submit(struct state *st, uint32_t from, uint32_t to,
		   enum pst_io_prio prio)
{
	for (uint32_t i = from; i < to; i++) {
		prepare(st, i, prio);
		st->r[i].next = i + 1 < to ? &st->r[i + 1] : NULL;
	}
	pst_io_submit(st->b.io, &st->r[from]);
}

static void open_loopback(struct state *st, const char *fault, uint32_t depth)
{
	struct tengine e = { .loopback = true, .fault = fault };

	assert_true(tbed_open(&st->b, &e, &st->t.file, depth));
}

/* One reap brings exactly reads @from..@to-1, in this order. */
static void expect(struct state *st, uint32_t from, uint32_t to)
{
	struct pst_io_read *r = pst_io_reap(st->b.io, true);

	for (uint32_t i = from; i < to; i++, r = r->next) {
		assert_ptr_equal(r, &st->r[i]);
		assert_int_equal(r->result, 0);
		tfile_check(&st->t.file, r->buf, r->off_bytes, BYTES);
	}
	assert_null(r);
}

static void demand_reads_overtake_waiting_idle_reads(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, DEPTH);
	submit(st, 0, 8, PST_IO_IDLE);
	submit(st, 8, 14, PST_IO_DEMAND);
	expect(st, 0, 4);
	expect(st, 8, 12);
	/* Idle reads fill what demand reads leave. */
	assert_ptr_equal(pst_io_reap(st->b.io, true), &st->r[12]);
	assert_ptr_equal(st->r[12].next, &st->r[13]);
	assert_ptr_equal(st->r[13].next, &st->r[4]);
	assert_ptr_equal(st->r[4].next, &st->r[5]);
	assert_null(st->r[5].next);
	expect(st, 6, 8);
	tbed_close(&st->b);
}

static void a_mixed_batch_is_sorted_by_class(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 2);
	for (uint32_t i = 0; i < 4; i++)
		prepare(st, i, i < 2 ? PST_IO_IDLE : PST_IO_DEMAND);
	for (uint32_t i = 0; i < 3; i++)
		st->r[i].next = &st->r[i + 1];
	pst_io_submit(st->b.io, st->r);
	expect(st, 2, 4);
	expect(st, 0, 2);
	tbed_close(&st->b);
}

static void a_smaller_depth_holds_and_a_larger_one_releases(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 4);
	pst_io_set_depth(st->b.io, 2);
	submit(st, 0, 8, PST_IO_DEMAND);
	expect(st, 0, 2);
	/* No more than it was created for, no less than one. */
	pst_io_set_depth(st->b.io, 100);
	expect(st, 2, 6);
	expect(st, 6, 8);
	pst_io_set_depth(st->b.io, 0);
	submit(st, 0, 2, PST_IO_DEMAND);
	expect(st, 0, 1);
	expect(st, 1, 2);
	tbed_close(&st->b);
}

static void idle_reads_in_flight_stay_within_the_bound(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 32);
	pst_io_set_idle_bytes(st->b.io, 3 * BYTES + BLOCK);
	submit(st, 0, 7, PST_IO_IDLE);
	expect(st, 0, 3);
	/* One read may always fly, however small the bound. */
	pst_io_set_idle_bytes(st->b.io, 1);
	expect(st, 3, 6);
	expect(st, 6, 7);
	submit(st, 0, 2, PST_IO_IDLE);
	expect(st, 0, 1);
	expect(st, 1, 2);
	tbed_close(&st->b);
}

static void the_bound_is_four_mib_at_first(void **s)
{
	enum {
		BIG = 1 << 20
	};
	struct state *st = *s;
	unsigned char *mem = tbuf_alloc(BIG);
	struct pst_io_read r[6] = { 0 };
	uint32_t nr = 0;

	open_loopback(st, NULL, 32);
	for (uint32_t i = 0; i < 6; i++) {
		r[i].len_bytes = BIG;
		r[i].buf = mem;
		r[i].region = -1;
		r[i].prio = PST_IO_IDLE;
		r[i].next = i < 5 ? &r[i + 1] : NULL;
	}
	pst_io_submit(st->b.io, r);
	for (struct pst_io_read *d = pst_io_reap(st->b.io, true); d;
	     d = d->next)
		nr++;
	assert_int_equal(nr, 4);
	tbed_close(&st->b);
	free(mem);
}

static void a_bound_of_zero_holds_idle_reads_back(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, DEPTH);
	pst_io_set_idle_bytes(st->b.io, 0);
	submit(st, 0, 2, PST_IO_IDLE);
	/* Waiting for what cannot come would never end. */
	assert_null(pst_io_reap(st->b.io, true));
	assert_int_equal(pst_io_outstanding(st->b.io), 2);
	submit(st, 2, 3, PST_IO_DEMAND);
	expect(st, 2, 3);
	assert_null(pst_io_reap(st->b.io, true));
	pst_io_set_idle_bytes(st->b.io, PST_MIB);
	expect(st, 0, 2);
	assert_int_equal(pst_io_outstanding(st->b.io), 0);
	/* Held back reads do not keep an engine from ending. */
	pst_io_set_idle_bytes(st->b.io, 0);
	submit(st, 0, 2, PST_IO_IDLE);
	tbed_close(&st->b);
}

static void a_promoted_waiting_read_joins_the_end_of_the_demand_queue(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 1);
	submit(st, 0, 1, PST_IO_DEMAND);
	submit(st, 3, 6, PST_IO_IDLE);
	submit(st, 1, 3, PST_IO_DEMAND);
	pst_io_promote(st->b.io, &st->r[4]);
	assert_int_equal(st->r[4].prio, PST_IO_DEMAND);
	expect(st, 0, 1);
	expect(st, 1, 2);
	expect(st, 2, 3);
	expect(st, 4, 5);
	expect(st, 3, 4);
	expect(st, 5, 6);
	tbed_close(&st->b);
}

static void a_promoted_read_is_issued_at_once_if_there_is_room(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, DEPTH);
	pst_io_set_idle_bytes(st->b.io, 0);
	submit(st, 0, 3, PST_IO_IDLE);
	pst_io_promote(st->b.io, &st->r[1]);
	assert_false(pst_io_withdraw(st->b.io, &st->r[1]));
	expect(st, 1, 2);
	tbed_close(&st->b);
}

static void a_promoted_read_in_flight_no_longer_counts_as_idle(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, DEPTH);
	pst_io_set_idle_bytes(st->b.io, BYTES);
	submit(st, 0, 3, PST_IO_IDLE);
	pst_io_promote(st->b.io, &st->r[0]);
	/* Any event lets the next idle read take its place. */
	pst_io_set_idle_bytes(st->b.io, BYTES);
	expect(st, 0, 2);
	expect(st, 2, 3);
	tbed_close(&st->b);
}

static void a_withdrawn_read_is_the_callers_again(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 2);
	submit(st, 0, 6, PST_IO_IDLE);
	submit(st, 6, 8, PST_IO_DEMAND);
	assert_false(pst_io_withdraw(st->b.io, &st->r[0]));
	assert_true(pst_io_withdraw(st->b.io, &st->r[3]));
	assert_false(pst_io_withdraw(st->b.io, &st->r[3]));
	assert_true(pst_io_withdraw(st->b.io, &st->r[6]));
	assert_true(pst_io_withdraw(st->b.io, &st->r[5]));
	assert_int_equal(pst_io_outstanding(st->b.io), 5);
	memset(st->r[3].buf, 0xee, BYTES);
	expect(st, 0, 2);
	assert_false(pst_io_withdraw(st->b.io, &st->r[0]));
	/* Submitted anew, it stands at the end. */
	submit(st, 3, 4, PST_IO_IDLE);
	assert_int_equal(st->mem[3 * BYTES], 0xee);
	assert_ptr_equal(pst_io_reap(st->b.io, true), &st->r[7]);
	assert_ptr_equal(st->r[7].next, &st->r[2]);
	assert_null(st->r[2].next);
	assert_ptr_equal(pst_io_reap(st->b.io, true), &st->r[4]);
	assert_ptr_equal(st->r[4].next, &st->r[3]);
	assert_null(pst_io_reap(st->b.io, true));
	tfile_check(&st->t.file, st->r[3].buf, 3 * BYTES, BYTES);
	tbed_close(&st->b);
}

static void what_is_not_outstanding_is_neither_promoted_nor_withdrawn(void **s)
{
	struct state *st = *s;
	struct pst_io_stats stats;

	open_loopback(st, NULL, 2);
	prepare(st, 0, PST_IO_IDLE);
	pst_io_promote(st->b.io, &st->r[0]);
	assert_false(pst_io_withdraw(st->b.io, &st->r[0]));
	submit(st, 0, 1, PST_IO_IDLE);
	expect(st, 0, 1);
	pst_io_promote(st->b.io, &st->r[0]);
	assert_false(pst_io_withdraw(st->b.io, &st->r[0]));
	/* A malformed one cannot be withdrawn, but it may be promoted. */
	prepare(st, 1, PST_IO_IDLE);
	st->r[1].file = 7;
	pst_io_submit(st->b.io, &st->r[1]);
	assert_false(pst_io_withdraw(st->b.io, &st->r[1]));
	pst_io_promote(st->b.io, &st->r[1]);
	assert_ptr_equal(pst_io_reap(st->b.io, true), &st->r[1]);
	assert_int_equal(st->r[1].result, -EINVAL);
	assert_int_equal(pst_io_outstanding(st->b.io), 0);
	pst_io_stats_read(st->b.io, &stats);
	assert_int_equal(stats.promoted, 1);
	assert_int_equal(stats.withdrawn, 0);
	tbed_close(&st->b);
}

static void the_counters_tell_the_classes_apart(void **s)
{
	struct state *st = *s;
	struct pst_io_stats a, b;

	open_loopback(st, NULL, 2);
	submit(st, 0, 4, PST_IO_IDLE);
	assert_true(pst_io_withdraw(st->b.io, &st->r[3]));
	expect(st, 0, 2);
	expect(st, 2, 3);
	pst_io_stats_read(st->b.io, &a);
	assert_int_equal(a.reads, 3);
	assert_int_equal(a.idle_reads, 3);
	assert_int_equal(a.idle_bytes, 3 * BYTES);
	assert_int_equal(a.withdrawn, 1);
	assert_int_equal(a.demand_busy_ns, 0);
	assert_true(a.busy_ns > 0);
	submit(st, 0, 2, PST_IO_DEMAND);
	expect(st, 0, 2);
	submit(st, 0, 2, PST_IO_IDLE);
	pst_io_promote(st->b.io, &st->r[1]);
	expect(st, 0, 2);
	pst_io_stats_read(st->b.io, &b);
	assert_int_equal(b.reads, 7);
	assert_int_equal(b.read_bytes, 7 * BYTES);
	assert_int_equal(b.idle_reads, 4);
	assert_int_equal(b.idle_bytes, 4 * BYTES);
	assert_int_equal(b.promoted, 1);
	assert_true(b.demand_busy_ns > 0);
	assert_true(b.demand_busy_ns <= b.busy_ns - a.busy_ns);
	/* Nothing is outstanding: no clock runs. */
	pst_io_stats_read(st->b.io, &a);
	assert_int_equal(a.busy_ns, b.busy_ns);
	assert_int_equal(a.demand_busy_ns, b.demand_busy_ns);
	tbed_close(&st->b);
}

static void a_continued_idle_read_keeps_its_class(void **s)
{
	struct state *st = *s;
	struct pst_io_read *r;

	/* The first attempt fails with EAGAIN or ends short for most seeds. */
	open_loopback(st, "seed=4,eagain=1", 1);
	submit(st, 0, 1, PST_IO_IDLE);
	submit(st, 1, 2, PST_IO_IDLE);
	assert_null(pst_io_reap(st->b.io, false));
	assert_true(st->r[0].retries > 0);
	/* Before its sibling, which is younger ... */
	assert_int_equal(st->r[0].state, PST_IO_FLYING);
	assert_int_equal(st->r[1].state, PST_IO_WAITING);
	/* ... and behind demand, although that is younger still. */
	submit(st, 2, 3, PST_IO_DEMAND);
	assert_null(pst_io_reap(st->b.io, false));
	assert_int_equal(st->r[0].state, PST_IO_WAITING);
	assert_int_equal(st->r[2].state, PST_IO_FLYING);
	/* Half-way it can be withdrawn. */
	assert_true(pst_io_withdraw(st->b.io, &st->r[0]));
	for (uint32_t nr = 0; nr < 2; nr++) {
		r = pst_io_reap(st->b.io, true);
		assert_ptr_equal(r, &st->r[2 - nr]);
		assert_int_equal(r->result, -EIO);
	}
	tbed_close(&st->b);
}

/* What random traffic must never break, seen from the states of all reads. */
struct watch {
	enum pst_io_state before[NR];
	uint64_t idle_max;
};

static void watch_check(const struct state *st, struct watch *w)
{
	uint32_t nr_flying = 0, nr_waiting[2] = { 0 }, nr_new_idle = 0;
	uint32_t nr_idle_flying = 0;

	for (uint32_t i = 0; i < NR; i++) {
		const struct pst_io_read *r = &st->r[i];
		bool flying = r->state == PST_IO_FLYING;

		nr_flying += flying;
		nr_idle_flying += flying && r->prio;
		nr_waiting[r->prio] += r->state == PST_IO_WAITING;
		nr_new_idle += flying && r->prio &&
			       w->before[i] != PST_IO_FLYING;
		w->before[i] = r->state;
	}
	assert_true(nr_flying <= DEPTH);
	/* Nothing waits where it need not. */
	if (nr_waiting[PST_IO_DEMAND])
		assert_int_equal(nr_flying, DEPTH);
	if (nr_new_idle) {
		assert_int_equal(nr_waiting[PST_IO_DEMAND], 0);
		assert_true(w->idle_max > 0);
		assert_true(nr_idle_flying == 1 ||
			    nr_idle_flying * (uint64_t)BYTES <= w->idle_max);
	}
}

static void random_step(struct state *st, struct watch *w, uint64_t *rng)
{
	uint32_t i = (uint32_t)(pst_rng_next(rng) % NR);
	struct pst_io_read *r;

	switch (pst_rng_next(rng) % 8) {
	case 0:
		w->idle_max = pst_rng_next(rng) % 4 * BYTES;
		pst_io_set_idle_bytes(st->b.io, w->idle_max);
		break;
	case 1:
		pst_io_promote(st->b.io, &st->r[i]);
		break;
	case 2:
		if (pst_io_withdraw(st->b.io, &st->r[i]))
			assert_int_equal(st->r[i].state, PST_IO_HOME);
		break;
	case 3:
		for (r = pst_io_reap(st->b.io, pst_rng_next(rng) % 2); r;
		     r = r->next) {
			assert_int_equal(r->result, 0);
			assert_int_equal(r->state, PST_IO_HOME);
			tfile_check(&st->t.file, r->buf, r->off_bytes, BYTES);
			memset(r->buf, 0xee, BYTES);
		}
		break;
	default:
		if (st->r[i].state == PST_IO_HOME)
			submit(st, i, i + 1, pst_rng_next(rng) % 2);
	}
}

/*
 * Between two looks a read may come back short and be handed over again, which
 * the watch takes for flying on; everything else it sees.
 */
static void random_classes_keep_every_rule(void **s)
{
	struct state *st = *s;
	uint64_t seed = tseed();

	for (uint32_t e = 0; e < nr_tengines; e++) {
		struct watch w = { .idle_max = 4 * PST_MIB };
		struct pst_io_stats stats;
		uint64_t rng = seed;

		if (!tbed_open(&st->b, &tengines[e], &st->t.file, DEPTH))
			continue;
		for (uint32_t i = 0; i < NR; i++)
			prepare(st, i, PST_IO_DEMAND);
		for (uint32_t i = 0; i < 20000; i++) {
			random_step(st, &w, &rng);
			watch_check(st, &w);
		}
		pst_io_set_idle_bytes(st->b.io, PST_MIB);
		while (pst_io_outstanding(st->b.io))
			assert_non_null(pst_io_reap(st->b.io, true));
		pst_io_stats_read(st->b.io, &stats);
		assert_true(stats.promoted > 0 && stats.withdrawn > 0);
		assert_true(stats.idle_reads > 0);
		assert_true(stats.reads > stats.idle_reads);
		assert_true(stats.demand_busy_ns <= stats.busy_ns);
		tbed_close(&st->b);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(demand_reads_overtake_waiting_idle_reads),
		cmocka_unit_test(a_mixed_batch_is_sorted_by_class),
		cmocka_unit_test(
			a_smaller_depth_holds_and_a_larger_one_releases),
		cmocka_unit_test(idle_reads_in_flight_stay_within_the_bound),
		cmocka_unit_test(the_bound_is_four_mib_at_first),
		cmocka_unit_test(a_bound_of_zero_holds_idle_reads_back),
		cmocka_unit_test(
			a_promoted_waiting_read_joins_the_end_of_the_demand_queue),
		cmocka_unit_test(
			a_promoted_read_is_issued_at_once_if_there_is_room),
		cmocka_unit_test(
			a_promoted_read_in_flight_no_longer_counts_as_idle),
		cmocka_unit_test(a_withdrawn_read_is_the_callers_again),
		cmocka_unit_test(
			what_is_not_outstanding_is_neither_promoted_nor_withdrawn),
		cmocka_unit_test(the_counters_tell_the_classes_apart),
		cmocka_unit_test(a_continued_idle_read_keeps_its_class),
		cmocka_unit_test(random_classes_keep_every_rule),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
