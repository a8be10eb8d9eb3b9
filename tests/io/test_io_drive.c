// SPDX-License-Identifier: MIT
/*
 * What is learned of drives, and where reads go, over drives that exist only
 * here: they serve one read after the other, and their clock is counted, so
 * nothing depends on the time that the test takes.
 */
#include <stdlib.h>
#include <string.h>

#include "io_drive.h"
#include "io_testing.h"

#define NR_DRIVES 2
#define MAX_READS 64
#define READ	  (1 << 20)
#define SECOND	  1000000000ULL

/* A drive as it is: @model is what penstock believes of it. */
struct real {
	double latency_ns;
	double ns_per_byte;
	double free_ns; /* when the last read that it took will have ended */
	uint64_t bytes;
	struct pst_io_drive model;
};

struct flight {
	uint32_t drive;
	uint32_t len;
	uint64_t queued;
	uint64_t issue_ns;
	uint64_t end_ns;
};

struct world {
	struct real drive[NR_DRIVES];
	struct flight fly[MAX_READS];
	uint32_t nr;
	uint64_t now_ns;
	uint64_t rng;
	double noise; /* a read takes 1 +- this, and one in 50 ten times that */
};

static void world_init(struct world *w, double gb_s_0, double gb_s_1)
{
	memset(w, 0, sizeof(*w));
	w->drive[0].ns_per_byte = 1 / gb_s_0;
	w->drive[1].ns_per_byte = 1 / gb_s_1;
	for (uint32_t i = 0; i < NR_DRIVES; i++) {
		w->drive[i].latency_ns = 80000;
		pst_io_drive_init(&w->drive[i].model, i);
	}
	w->now_ns = SECOND;
	w->rng = 1;
}

static double unit(struct world *w)
{
	return (double)(pst_rng_next(&w->rng) >> 11) * 0x1p-53;
}

static void issue(struct world *w, uint32_t len)
{
	struct pst_io_drive *cand[NR_DRIVES] = { &w->drive[0].model,
						 &w->drive[1].model };
	uint32_t i =
		pst_io_drive_pick(cand, NR_DRIVES, len, w->now_ns, w->now_ns);
	struct real *d = &w->drive[i];
	double took = len * d->ns_per_byte;

	if (w->noise > 0)
		took *= 1 + w->noise * (unit(w) < 0.02 ? 10 : 2 * unit(w) - 1);
	pst_io_drive_begin(&d->model, len, w->now_ns);
	d->free_ns = PST_MAX(d->free_ns, (double)w->now_ns) + took;
	d->bytes += len;
	w->fly[w->nr++] = (struct flight){
		.drive = i,
		.len = len,
		.queued = d->model.inflight_bytes,
		.issue_ns = w->now_ns,
		.end_ns = (uint64_t)(d->free_ns + d->latency_ns),
	};
}

/* The clock goes to the next completion. */
static void complete(struct world *w)
{
	uint32_t first = 0;
	struct flight f;

	for (uint32_t i = 1; i < w->nr; i++)
		if (w->fly[i].end_ns < w->fly[first].end_ns)
			first = i;
	f = w->fly[first];
	w->fly[first] = w->fly[--w->nr];
	w->now_ns = PST_MAX(w->now_ns, f.end_ns);
	pst_io_drive_end(&w->drive[f.drive].model, f.len, w->now_ns);
	pst_io_drive_learn(&w->drive[f.drive].model, f.queued,
			   w->now_ns - f.issue_ns);
	pst_io_drive_brought(&w->drive[f.drive].model, f.len);
}

/* Layers of a model: a few reads, all of them awaited, then arithmetic. */
static void run_layers(struct world *w, uint32_t nr, uint32_t reads,
		       uint64_t think_ns)
{
	while (nr--) {
		for (uint32_t i = 0; i < reads; i++)
			issue(w, READ);
		while (w->nr)
			complete(w);
		w->now_ns += think_ns;
	}
}

/* A queue that never runs dry. */
static void run_steady(struct world *w, uint32_t nr, uint32_t depth)
{
	while (nr--) {
		while (w->nr < depth)
			issue(w, READ);
		complete(w);
	}
	while (w->nr)
		complete(w);
}

static double share(const struct world *w, uint32_t i)
{
	return (double)w->drive[i].bytes /
	       (double)(w->drive[0].bytes + w->drive[1].bytes);
}

static void forget_bytes(struct world *w)
{
	w->drive[0].bytes = 0;
	w->drive[1].bytes = 0;
}

/* Bytes per ns of both drives together since @from_ns. */
static double rate_since(const struct world *w, uint64_t from_ns)
{
	return (double)(w->drive[0].bytes + w->drive[1].bytes) /
	       (double)(w->now_ns - from_ns);
}

static void unknown_drives_share_alike(void **s)
{
	struct world w;

	world_init(&w, 1, 1);
	for (uint32_t i = 0; i < 16; i++)
		issue(&w, READ);
	assert_int_equal(w.drive[0].bytes, 8 * READ);
	assert_int_equal(w.drive[1].bytes, 8 * READ);
}

static void a_steady_queue_gets_the_sum_of_both_drives(void **s)
{
	static const double gb_s[][2] = {
		{ 1, 1 }, { 2, 1 }, { 7, 3.5 }, { 3, 0.5 }, { 0.1, 0.2 }
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(gb_s); i++) {
		double sum = gb_s[i][0] + gb_s[i][1], got;
		uint64_t from_ns;
		struct world w;

		world_init(&w, gb_s[i][0], gb_s[i][1]);
		run_steady(&w, 500, 32);
		forget_bytes(&w);
		from_ns = w.now_ns;
		run_steady(&w, 4000, 32);
		got = rate_since(&w, from_ns);
		print_message("%.1f + %.1f GB/s: %.3f of the sum, shares %.3f "
			      "%.3f\n",
			      gb_s[i][0], gb_s[i][1], got / sum, share(&w, 0),
			      share(&w, 1));
		assert_true(got > 0.95 * sum);
	}
}

/* With the last of 24 reads ending alone somewhere, 0.9 is near the best. */
static void layers_get_the_sum_of_both_drives(void **s)
{
	static const double ratio[] = { 1, 2, 3, 5 };

	for (size_t i = 0; i < PST_ARRAY_SIZE(ratio); i++) {
		double noise[] = { 0, 0.3 };

		for (size_t k = 0; k < PST_ARRAY_SIZE(noise); k++) {
			struct world w;
			uint64_t from_ns;
			double got;

			world_init(&w, 2, 2 / ratio[i]);
			w.noise = noise[k];
			run_layers(&w, 50, 24, 0);
			forget_bytes(&w);
			from_ns = w.now_ns;
			run_layers(&w, 500, 24, 0);
			got = rate_since(&w, from_ns) / (2 + 2 / ratio[i]);
			print_message("1 : %.0f, noise %.1f: %.3f of the "
				      "sum\n",
				      ratio[i], noise[k], got);
			assert_true(got > (noise[k] > 0 ? 0.7 : 0.85));
		}
	}
}

static void bandwidth_and_latency_are_learned(void **s)
{
	struct world w;
	double ratio;

	world_init(&w, 2, 0.5);
	w.drive[1].latency_ns = 3e6;
	run_layers(&w, 300, 24, 0);
	for (uint32_t i = 0; i < NR_DRIVES; i++) {
		const struct real *d = &w.drive[i];

		ratio = d->model.ns_per_byte / d->ns_per_byte;
		print_message("drive %u: bandwidth %.2f of the real one, "
			      "latency %.0f us\n",
			      i, 1 / ratio, d->model.latency_ns * 1e-3);
		assert_true(ratio > 0.7 && ratio < 1.4);
	}
	assert_true(w.drive[1].model.latency_ns > 1.5e6);
	assert_true(w.drive[0].model.latency_ns < 1e6);
}

static void a_drive_that_slows_down_gets_fewer_reads(void **s)
{
	uint64_t from_ns;
	struct world w;

	world_init(&w, 2, 2);
	run_layers(&w, 100, 24, 1000000);
	assert_true(share(&w, 1) > 0.4 && share(&w, 1) < 0.6);
	w.drive[1].ns_per_byte *= 100;
	/* The reads of one layer have to be sat out. */
	run_layers(&w, 4, 24, 1000000);
	forget_bytes(&w);
	from_ns = w.now_ns;
	run_layers(&w, 400, 24, 0);
	print_message("1 : 100: share %.4f, rate %.3f GB/s\n", share(&w, 1),
		      rate_since(&w, from_ns));
	assert_true(share(&w, 1) < 0.03);
	assert_true(rate_since(&w, from_ns) > 0.9 * 2);
}

static void a_drive_that_recovers_is_noticed(void **s)
{
	struct world w;

	world_init(&w, 2, 2);
	w.drive[1].ns_per_byte *= 100;
	run_layers(&w, 200, 24, 1000000);
	w.drive[1].ns_per_byte /= 100;
	run_layers(&w, 2000, 24, 1000000);
	forget_bytes(&w);
	run_layers(&w, 100, 24, 1000000);
	print_message("recovered: share %.3f\n", share(&w, 1));
	assert_true(share(&w, 1) > 0.4);
}

static void a_silent_drive_gets_nothing_more(void **s)
{
	struct world w;
	uint64_t before;

	world_init(&w, 2, 2);
	run_steady(&w, 500, 16);
	/* It hangs: what it holds ends in ten seconds. */
	w.drive[1].free_ns = (double)w.now_ns + 10.0 * SECOND;
	for (uint32_t i = 0; i < 100; i++) {
		while (w.nr < 4)
			issue(&w, READ);
		complete(&w);
	}
	/* However long the queue of the other becomes. */
	before = w.drive[1].bytes;
	for (uint32_t i = 0; i < 1000; i++) {
		while (w.nr < 32)
			issue(&w, READ);
		complete(&w);
	}
	assert_int_equal(w.drive[1].bytes, before);
	assert_true(w.now_ns < 10 * SECOND);
}

static void one_fast_drive_is_enough_for_a_single_read(void **s)
{
	struct world w;

	/* Waiting for the slow one would take longer than two on the fast. */
	world_init(&w, 2, 0.2);
	run_layers(&w, 200, 2, 100000);
	forget_bytes(&w);
	run_layers(&w, 1000, 2, 100000);
	print_message("two reads at a time, 1 : 10: share %.4f\n",
		      share(&w, 1));
	assert_true(share(&w, 1) < 0.03);
}

static void repeated_errors_leave_a_drive_out(void **s)
{
	struct pst_io_drive a, b, *cand[] = { &a, &b };
	uint32_t nr = 0;

	pst_io_drive_init(&a, 1);
	pst_io_drive_init(&b, 2);
	while (!pst_io_drive_failed(&a))
		nr++;
	assert_int_equal(nr, 3);
	/* Said once. */
	for (uint32_t i = 0; i < 10; i++)
		assert_false(pst_io_drive_failed(&a));
	assert_true(a.left_out);
	assert_int_equal(a.errors, 14);
	/* However long the queue of the other is. */
	pst_io_drive_begin(&b, 1 << 30, 5);
	for (uint64_t t = 10; t < 100 * SECOND; t += SECOND)
		assert_int_equal(pst_io_drive_pick(cand, 2, READ, t, t), 1);
	/* But it serves what lies nowhere else. */
	assert_int_equal(pst_io_drive_pick(cand, 1, READ, 1, 1), 0);
	while (!b.left_out)
		pst_io_drive_failed(&b);
	assert_int_equal(pst_io_drive_pick(cand, 2, READ, SECOND, SECOND), 0);
}

static void a_bad_spot_does_not_leave_a_drive_out(void **s)
{
	struct pst_io_drive d;

	pst_io_drive_init(&d, 1);
	for (uint32_t i = 1; i < 100000; i++) {
		if (i % 128)
			pst_io_drive_brought(&d, READ);
		else
			assert_false(pst_io_drive_failed(&d));
	}
	assert_false(d.left_out);
}

static void what_is_believed_stays_sane(void **s)
{
	uint64_t rng = tseed();
	struct pst_io_drive d;

	pst_io_drive_init(&d, 1);
	for (uint32_t i = 0; i < 100000; i++) {
		uint64_t queued = 4096ULL << pst_rng_next(&rng) % 24;
		uint64_t took = pst_rng_next(&rng) >> pst_rng_next(&rng) % 64;
		double ns;

		pst_io_drive_learn(&d, queued, took >> 4);
		ns = pst_io_drive_expect_ns(&d, READ, 0);
		assert_true(d.latency_ns >= 0 && d.ns_per_byte > 0);
		assert_true(ns > 0 && ns < 1e30);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(unknown_drives_share_alike),
		cmocka_unit_test(a_steady_queue_gets_the_sum_of_both_drives),
		cmocka_unit_test(layers_get_the_sum_of_both_drives),
		cmocka_unit_test(bandwidth_and_latency_are_learned),
		cmocka_unit_test(a_drive_that_slows_down_gets_fewer_reads),
		cmocka_unit_test(a_drive_that_recovers_is_noticed),
		cmocka_unit_test(a_silent_drive_gets_nothing_more),
		cmocka_unit_test(one_fast_drive_is_enough_for_a_single_read),
		cmocka_unit_test(repeated_errors_leave_a_drive_out),
		cmocka_unit_test(a_bad_spot_does_not_leave_a_drive_out),
		cmocka_unit_test(what_is_believed_stays_sane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
