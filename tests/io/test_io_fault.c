// SPDX-License-Identifier: MIT
/*
 * The fault twin, over files in memory: what it does to a read, and what the
 * common layer makes of that.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "io_testing.h"

enum {
	NR = 64,
	BYTES = 8 * BLOCK
};

struct state {
	struct tstate t;
	unsigned char *mem;
	struct pst_io_read reads[NR];
};

/* What a run over all blocks of the file brought. */
struct outcome {
	int result[NR];
	uint32_t order[NR];
	struct pst_io_stats stats;
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

static void run_all(struct state *st, const char *fault, uint32_t depth,
		    struct outcome *out)
{
	struct tengine e = { .name = fault, .loopback = true, .fault = fault };
	struct pst_io_read *r;
	uint32_t nr = 0;
	struct tbed b;

	memset(out, 0, sizeof(*out));
	memset(st->mem, 0xee, (uint64_t)NR * BYTES);
	for (uint32_t i = 0; i < NR; i++)
		st->reads[i] = (struct pst_io_read){
			.off_bytes = i * BYTES,
			.len_bytes = BYTES,
			.need_bytes = BYTES,
			.buf = st->mem + (uint64_t)i * BYTES,
			.region = -1,
			.next = i + 1 < NR ? &st->reads[i + 1] : NULL,
		};
	assert_true(tbed_open(&b, &e, &st->t.file, depth));
	pst_io_submit(b.io, st->reads);
	while (pst_io_outstanding(b.io)) {
		r = pst_io_reap(b.io, true);
		assert_non_null(r);
		for (; r; r = r->next) {
			uint32_t i = (uint32_t)(r - st->reads);

			out->result[i] = r->result;
			out->order[nr++] = i;
		}
	}
	pst_io_stats_read(b.io, &out->stats);
	assert_int_equal(nr, NR);
	tbed_close(&b);
}

static uint32_t count_failed(const struct outcome *o, int err)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < NR; i++) {
		assert_true(!o->result[i] || o->result[i] == err);
		nr += o->result[i] != 0;
	}
	return nr;
}

static void fault_text_is_parsed_or_refused(void **s)
{
	static const char *const bad[] = {
		"eio",	      "eio=",	      "eio=2",	      "eio=-0.1",
		"eio=nan",    "eio=0.1x",     "what=1",	      "seed=-1",
		"seed=",      "shuffle=2",    "eio=0.1,",     ",eio=0.1",
		"eio=0.1,,x", "delay_us=1e9", "seed=1;eio=0", "copy=8",
	};
	struct pst_io_args args = { .fault = "eio=2" };
	struct pst_io_fault f;
	struct pst_io *io;

	assert_int_equal(pst_io_fault_parse("", &f), 0);
	assert_true(f.eio_after == UINT64_MAX && !f.shuffle);
	assert_true(f.copy == UINT64_MAX);
	assert_int_equal(
		pst_io_fault_parse("seed=7,eio=0.01,short=0.05,eagain=0.02,"
				   "delay_us=500,shuffle=1,flip=0.5,copy=1,"
				   "eio_after=100,eio_at=3",
				   &f),
		0);
	assert_true(f.seed == 7 && f.eio == 0.01 && f.partial == 0.05);
	assert_true(f.eagain == 0.02 && f.delay_ns == 500000 && f.shuffle);
	assert_true(f.flip == 0.5 && f.eio_after == 100 && f.eio_at == 3);
	assert_int_equal(f.copy, 1);
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		if (pst_io_fault_parse(bad[i], &f) != -EINVAL)
			fail_msg("\"%s\" was taken", bad[i]);
	assert_int_equal(pst_io_create(&args, &io, NULL), -EINVAL);
}

static void short_reads_are_continued(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "seed=3,short=0.5", 8, &o);
	assert_int_equal(count_failed(&o, 0), 0);
	assert_true(o.stats.continued > NR / 2);
	tfile_check(&st->t.file, st->mem, 0, NR * BYTES);
}

static void a_read_that_never_advances_is_given_up(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "eagain=1", 8, &o);
	assert_int_equal(count_failed(&o, -EIO), NR);
	assert_true(o.stats.errors == NR && !o.stats.reads);
	/* Bounded, but not given up at the first refusal either. */
	assert_true(o.stats.continued >= NR && o.stats.continued <= 32 * NR);
}

static void a_passing_eagain_is_not_seen(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "seed=5,eagain=0.2", 8, &o);
	assert_int_equal(count_failed(&o, 0), 0);
	assert_true(o.stats.continued > 0);
	tfile_check(&st->t.file, st->mem, 0, NR * BYTES);
}

static void one_hard_error_fails_one_read(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "eio_at=3", 8, &o);
	assert_int_equal(count_failed(&o, -EIO), 1);
	assert_int_equal(o.result[2], -EIO);
	assert_true(o.stats.errors == 1 && o.stats.reads == NR - 1);
}

static void a_dead_drive_fails_all_later_reads(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "eio_after=10", 8, &o);
	assert_int_equal(count_failed(&o, -EIO), NR - 10);
	for (uint32_t i = 0; i < NR; i++)
		assert_int_equal(o.result[i], i < 10 ? 0 : -EIO);
}

static void failed_reads_leave_no_right_looking_bytes(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "eio=1", 8, &o);
	assert_int_equal(count_failed(&o, -EIO), NR);
	for (uint64_t i = 0; i < (uint64_t)NR * BYTES; i++)
		assert_int_equal(st->mem[i], 0xa5);
}

static void a_flip_changes_one_bit_in_silence(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "seed=9,flip=1", 8, &o);
	assert_int_equal(count_failed(&o, 0), 0);
	for (uint32_t i = 0; i < NR; i++) {
		uint32_t nr_bits = 0;

		for (uint32_t k = i * BYTES; k < (i + 1) * BYTES; k++)
			nr_bits += (uint32_t)__builtin_popcount(
				st->mem[k] ^ st->t.file.data[k]);
		assert_int_equal(nr_bits, 1);
	}
}

static uint32_t count_overtaking(const struct outcome *o)
{
	uint32_t nr = 0;

	for (uint32_t i = 1; i < NR; i++)
		nr += o->order[i] < o->order[i - 1];
	return nr;
}

static void shuffling_changes_the_order_only(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "", 16, &o);
	assert_int_equal(count_overtaking(&o), 0);
	run_all(st, "seed=1,shuffle=1", 16, &o);
	assert_true(count_overtaking(&o) > 4);
	assert_int_equal(count_failed(&o, 0), 0);
	tfile_check(&st->t.file, st->mem, 0, NR * BYTES);
}

static void waiting_ends_at_every_depth(void **s)
{
	struct state *st = *s;
	uint64_t rng = tseed();
	struct outcome o;
	char text[128];

	for (uint32_t depth = 1; depth <= 32; depth++) {
		snprintf(text, sizeof(text),
			 "seed=%llu,shuffle=1,delay_us=%u,short=0.3",
			 (unsigned long long)pst_rng_next(&rng), depth % 4);
		run_all(st, text, depth, &o);
		assert_int_equal(count_failed(&o, 0), 0);
		tfile_check(&st->t.file, st->mem, 0, NR * BYTES);
	}
}

static void a_delay_holds_every_read_back(void **s)
{
	struct state *st = *s;
	struct outcome o;

	run_all(st, "delay_us=3000", NR, &o);
	for (uint32_t i = 0; i < NR; i++)
		assert_true(st->reads[i].done_ns - st->reads[i].submit_ns >=
			    3000000);
	assert_true(o.stats.busy_ns >= 3000000);
}

static void the_same_seed_gives_the_same_faults(void **s)
{
	static const char text[] = "seed=%llu,eio=0.1,short=0.3,shuffle=1";
	struct state *st = *s;
	unsigned long long seed = tseed();
	struct outcome a, b;
	char fault[128];

	snprintf(fault, sizeof(fault), text, seed);
	run_all(st, fault, 8, &a);
	run_all(st, fault, 8, &b);
	assert_memory_equal(a.result, b.result, sizeof(a.result));
	assert_memory_equal(a.order, b.order, sizeof(a.order));
	assert_int_equal(a.stats.continued, b.stats.continued);
	snprintf(fault, sizeof(fault), text, seed + 1);
	run_all(st, fault, 8, &b);
	assert_memory_not_equal(a.order, b.order, sizeof(a.order));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(fault_text_is_parsed_or_refused),
		cmocka_unit_test(short_reads_are_continued),
		cmocka_unit_test(a_read_that_never_advances_is_given_up),
		cmocka_unit_test(a_passing_eagain_is_not_seen),
		cmocka_unit_test(one_hard_error_fails_one_read),
		cmocka_unit_test(a_dead_drive_fails_all_later_reads),
		cmocka_unit_test(failed_reads_leave_no_right_looking_bytes),
		cmocka_unit_test(a_flip_changes_one_bit_in_silence),
		cmocka_unit_test(shuffling_changes_the_order_only),
		cmocka_unit_test(waiting_ends_at_every_depth),
		cmocka_unit_test(a_delay_holds_every_read_back),
		cmocka_unit_test(the_same_seed_gives_the_same_faults),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
