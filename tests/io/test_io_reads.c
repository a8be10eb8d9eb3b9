// SPDX-License-Identifier: MIT
/*
 * Reads through every backend: the same bytes, the same ends, the same bounds.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_testing.h"

#define FILE_BYTES (4 * PST_MIB + 1234)
#define TAIL_BYTES (FILE_BYTES % BLOCK)
#define TAIL_OFF   (FILE_BYTES - TAIL_BYTES)

#define NR_SLOTS	24
#define SLOT_BYTES	(64 * PST_KIB)
#define NR_RANDOM_READS 4000

static int setup(void **s)
{
	return tstate_make(s, sizeof(struct tstate), FILE_BYTES);
}

static void random_read(struct pst_io_read *r, uint64_t *rng)
{
	uint64_t nr_blocks = pst_align_up(FILE_BYTES, BLOCK) / BLOCK;
	uint64_t block = pst_rng_next(rng) % nr_blocks;
	uint64_t len_blocks = 1 + pst_rng_next(rng) % (SLOT_BYTES / BLOCK);
	uint64_t left;

	r->off_bytes = block * BLOCK;
	r->len_bytes =
		(uint32_t)(PST_MIN(len_blocks, nr_blocks - block) * BLOCK);
	left = FILE_BYTES - r->off_bytes;
	r->need_bytes = (uint32_t)PST_MIN(r->len_bytes, left);
	if (pst_rng_next(rng) % 4 == 0)
		r->need_bytes = (uint32_t)(pst_rng_next(rng) % r->need_bytes);
}

static void random_traffic(const struct tstate *st, struct pst_io *io,
			   uint64_t seed, int region, unsigned char *mem)
{
	struct pst_io_read reads[NR_SLOTS] = { 0 }, *list = NULL, *r, *next;
	uint32_t nr_started = 0, nr_done = 0;
	uint64_t rng = seed;

	for (uint32_t i = 0; i < NR_SLOTS; i++) {
		r = &reads[i];
		r->buf = mem + i * SLOT_BYTES;
		r->region = region;
		random_read(r, &rng);
		r->next = list;
		list = r;
		nr_started++;
	}
	while (nr_done < NR_RANDOM_READS) {
		pst_io_submit(io, list);
		list = NULL;
		for (r = pst_io_reap(io, true); r; r = next) {
			next = r->next;
			assert_int_equal(r->result, 0);
			assert_true(r->submit_ns <= r->done_ns);
			tfile_check(&st->file, r->buf, r->off_bytes,
				    r->need_bytes);
			memset(r->buf, 0xee, r->len_bytes);
			nr_done++;
			if (nr_started == NR_RANDOM_READS)
				continue;
			random_read(r, &rng);
			r->next = list;
			list = r;
			nr_started++;
		}
	}
	assert_int_equal(pst_io_outstanding(io), 0);
}

static void every_backend_reads_the_same_bytes(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(NR_SLOTS * SLOT_BYTES);
	uint64_t seed = tseed();
	struct pst_io_stats stats;
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 8))
			continue;
		random_traffic(st, b.io, seed, -1, mem);
		pst_io_stats_read(b.io, &stats);
		print_message("%s: %llu reads, %llu continued\n",
			      pst_io_name(b.io),
			      (unsigned long long)stats.reads,
			      (unsigned long long)stats.continued);
		assert_int_equal(stats.reads, NR_RANDOM_READS);
		assert_int_equal(stats.errors, 0);
		assert_int_equal(stats.continued > 0, !!tengines[i].fault);
		tbed_close(&b);
	}
	free(mem);
}

static void registered_regions_receive_the_same_bytes(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(2 * NR_SLOTS * SLOT_BYTES);
	uint64_t seed = tseed();
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 8))
			continue;
		for (int reg = 0; reg < 2; reg++)
			assert_int_equal(
				pst_io_add_region(b.io,
						  mem + (uint64_t)reg *
								  NR_SLOTS *
								  SLOT_BYTES,
						  NR_SLOTS * SLOT_BYTES),
				reg);
		random_traffic(st, b.io, seed, 1, mem + NR_SLOTS * SLOT_BYTES);
		tbed_close(&b);
	}
	free(mem);
}

static void a_read_may_end_with_the_file(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(4 * BLOCK);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 8))
			continue;
		assert_int_equal(tread(b.io, buf, TAIL_OFF - BLOCK, 4 * BLOCK,
				       BLOCK + TAIL_BYTES),
				 0);
		tfile_check(&st->file, buf, TAIL_OFF - BLOCK,
			    BLOCK + TAIL_BYTES);
		tbed_close(&b);
	}
	free(buf);
}

static void a_read_past_the_end_of_the_file_fails(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(2 * BLOCK);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 8))
			continue;
		assert_int_equal(tread(b.io, buf, TAIL_OFF, 2 * BLOCK,
				       TAIL_BYTES + 1),
				 -EIO);
		assert_int_equal(tread(b.io, buf, TAIL_OFF + BLOCK, BLOCK, 1),
				 -EIO);
		assert_int_equal(tread(b.io, buf, TAIL_OFF, BLOCK, TAIL_BYTES),
				 0);
		tbed_close(&b);
	}
	free(buf);
}

static void a_file_truncated_under_us_gives_an_error(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(16 * BLOCK);
	struct tfile cut;
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		tfile_make(&cut, st->dir, "cut", 64 * BLOCK);
		if (tbed_open(&b, &tengines[i], &cut, 8)) {
			assert_int_equal(tread(b.io, buf, 16 * BLOCK,
					       16 * BLOCK, 16 * BLOCK),
					 0);
			assert_int_equal(truncate(cut.path, 20 * BLOCK + 7), 0);
			b.file.size_bytes = 20 * BLOCK + 7;
			assert_int_equal(tread(b.io, buf, 16 * BLOCK,
					       16 * BLOCK, 16 * BLOCK),
					 -EIO);
			assert_int_equal(
				tread(b.io, buf, 0, 16 * BLOCK, 16 * BLOCK), 0);
			tbed_close(&b);
		}
		tfile_free(&cut);
	}
	free(buf);
}

static void reads_beyond_the_queue_depth_wait_inside(void **s)
{
	enum {
		NR = 100
	};
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(NR * BLOCK);
	struct pst_io_read reads[NR];
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		uint32_t nr_done = 0;

		if (!tbed_open(&b, &tengines[i], &st->file, 2))
			continue;
		for (uint32_t k = 0; k < NR; k++)
			reads[k] = (struct pst_io_read){
				.off_bytes = k * BLOCK,
				.len_bytes = BLOCK,
				.need_bytes = BLOCK,
				.buf = mem + k * BLOCK,
				.region = -1,
				.next = k + 1 < NR ? &reads[k + 1] : NULL,
			};
		pst_io_submit(b.io, reads);
		assert_int_equal(pst_io_outstanding(b.io), NR);
		while (pst_io_outstanding(b.io)) {
			struct pst_io_read *r = pst_io_reap(b.io, true);

			assert_non_null(r);
			for (; r; r = r->next, nr_done++)
				assert_int_equal(r->result, 0);
			assert_int_equal(pst_io_outstanding(b.io),
					 NR - nr_done);
		}
		assert_int_equal(nr_done, NR);
		tfile_check(&st->file, mem, 0, NR * BLOCK);
		memset(mem, 0xee, NR * BLOCK);
		tbed_close(&b);
	}
	free(mem);
}

static void an_idle_engine_has_nothing_to_reap(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(BLOCK);
	struct pst_io_stats stats;
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 0))
			continue;
		assert_null(pst_io_reap(b.io, true));
		assert_null(pst_io_reap(b.io, false));
		pst_io_stats_read(b.io, &stats);
		assert_int_equal(stats.busy_ns, 0);
		assert_int_equal(tread(b.io, buf, 0, BLOCK, BLOCK), 0);
		assert_null(pst_io_reap(b.io, true));
		pst_io_stats_read(b.io, &stats);
		assert_true(stats.busy_ns > 0);
		assert_true(stats.read_bytes >= BLOCK);
		tbed_close(&b);
	}
	free(buf);
}

static void polling_alone_finishes_every_read(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(8 * BLOCK);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		struct pst_io_read r = { .len_bytes = 8 * BLOCK,
					 .need_bytes = 8 * BLOCK,
					 .buf = buf,
					 .region = -1 };

		if (!tbed_open(&b, &tengines[i], &st->file, 4))
			continue;
		pst_io_submit(b.io, &r);
		while (!pst_io_reap(b.io, false))
			;
		assert_int_equal(r.result, 0);
		tfile_check(&st->file, buf, 0, 8 * BLOCK);
		memset(buf, 0xee, 8 * BLOCK);
		tbed_close(&b);
	}
	free(buf);
}

static void destroy_waits_for_outstanding_reads(void **s)
{
	enum {
		NR = 64,
		BYTES = 16 * BLOCK
	};
	static const char *const faults[] = { NULL, "delay_us=2000,shuffle=1" };
	struct tstate *st = *s;
	struct pst_io_read *reads = calloc(NR, sizeof(*reads));
	unsigned char *mem = tbuf_alloc((uint64_t)NR * BYTES);
	struct tbed b;

	for (uint32_t i = 0; i < 2 * nr_tengines; i++) {
		struct tengine e = tengines[i / 2];

		e.fault = faults[i % 2];
		if (!tbed_open(&b, &e, &st->file, 16))
			continue;
		for (uint32_t k = 0; k < NR; k++)
			reads[k] = (struct pst_io_read){
				.off_bytes = k * BYTES,
				.len_bytes = BYTES,
				.need_bytes = BYTES,
				.buf = mem + (uint64_t)k * BYTES,
				.region = -1,
				.next = k + 1 < NR ? &reads[k + 1] : NULL,
			};
		pst_io_submit(b.io, reads);
		tbed_close(&b);
		/* A late write would be seen here, or by a sanitizer. */
		memset(mem, 0x11, (uint64_t)NR * BYTES);
		usleep(5000);
		for (uint64_t k = 0; k < (uint64_t)NR * BYTES; k++)
			assert_int_equal(mem[k], 0x11);
	}
	free(mem);
	free(reads);
}

static void malformed_reads_are_refused(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(4 * BLOCK);
	struct pst_io_read good = {
		.len_bytes = BLOCK, .need_bytes = BLOCK, .buf = mem, .region = 0
	};
	struct pst_io_read bad[9], *r;
	struct tbed b;
	uint32_t nr = 0;

	for (uint32_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		bad[i] = good;
	bad[0].file = 1;
	bad[1].off_bytes = 512;
	bad[2].len_bytes = BLOCK + 512;
	bad[3].len_bytes = 0;
	bad[3].need_bytes = 0;
	bad[4].need_bytes = BLOCK + 1;
	bad[5].buf = mem + 512;
	bad[6].region = 1;
	bad[7].len_bytes = 4 * BLOCK; /* past the region */
	bad[8].buf = mem + 3 * BLOCK; /* outside of it */
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(bad); i++)
		bad[i].next = i + 1 < PST_ARRAY_SIZE(bad) ? &bad[i + 1] : &good;
	assert_true(tbed_open(&b, &tengines[2], &st->file, 4));
	assert_int_equal(pst_io_add_region(b.io, mem, 2 * BLOCK), 0);
	pst_io_submit(b.io, bad);
	while ((r = pst_io_reap(b.io, true)))
		for (; r; r = r->next, nr++)
			assert_int_equal(r->result, r == &good ? 0 : -EINVAL);
	assert_int_equal(nr, PST_ARRAY_SIZE(bad) + 1);
	tbed_close(&b);
	free(mem);
}

static void regions_and_arguments_have_bounds(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(2 * BLOCK);
	struct pst_io_args args = { .queue_depth = 1025 };
	struct pst_diag diag;
	struct pst_io *io;
	struct tbed b;

	pst_diag_init(&diag);
	assert_int_equal(pst_io_create(&args, &io, &diag), -EINVAL);
	assert_int_equal(diag.err, -EINVAL);
	args.queue_depth = 1024;
	assert_int_equal(pst_io_create(&args, &io, NULL), 0);
	pst_io_destroy(io);
	pst_io_destroy(NULL);

	assert_true(tbed_open(&b, &tengines[2], &st->file, 1));
	assert_int_equal(pst_io_add_region(b.io, mem + 1, BLOCK), -EINVAL);
	assert_int_equal(pst_io_add_region(b.io, NULL, BLOCK), -EINVAL);
	assert_int_equal(pst_io_add_region(b.io, mem, 0), -EINVAL);
	assert_int_equal(pst_io_add_region(b.io, mem, PST_GIB + 1), -EINVAL);
	for (int i = 0; i < PST_IO_REGIONS_MAX; i++)
		assert_int_equal(pst_io_add_region(b.io, mem, BLOCK), i);
	assert_int_equal(pst_io_add_region(b.io, mem, BLOCK), -ENOSPC);
	tbed_close(&b);
	free(mem);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_backend_reads_the_same_bytes),
		cmocka_unit_test(registered_regions_receive_the_same_bytes),
		cmocka_unit_test(a_read_may_end_with_the_file),
		cmocka_unit_test(a_read_past_the_end_of_the_file_fails),
		cmocka_unit_test(a_file_truncated_under_us_gives_an_error),
		cmocka_unit_test(reads_beyond_the_queue_depth_wait_inside),
		cmocka_unit_test(an_idle_engine_has_nothing_to_reap),
		cmocka_unit_test(polling_alone_finishes_every_read),
		cmocka_unit_test(destroy_waits_for_outstanding_reads),
		cmocka_unit_test(malformed_reads_are_refused),
		cmocka_unit_test(regions_and_arguments_have_bounds),
	};

	return cmocka_run_group_tests(tests, setup, tstate_free);
}
