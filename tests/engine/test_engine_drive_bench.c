// SPDX-License-Identifier: MIT
/*
 * The measuring loop: what it counts, where it reads, what it refuses, and the
 * knee of given figures.  No test depends on how fast anything is.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include <penstock/profile.h>

#include "base.h"

#define FILE_BYTES (2 * PST_MIB + 777)

struct state {
	char path[512];
};

static void write_file(const char *path, uint64_t size_bytes)
{
	char *data = calloc(1, size_bytes + 1);
	FILE *f = fopen(path, "we");

	assert_non_null(data);
	assert_non_null(f);
	memset(data, 0x5a, size_bytes);
	assert_int_equal(fwrite(data, 1, size_bytes, f), size_bytes);
	assert_int_equal(fflush(f), 0);
	assert_int_equal(fsync(fileno(f)), 0);
	fclose(f);
	free(data);
}

static int setup(void **s)
{
	const char *base = getenv("PENSTOCK_BUILD");
	struct state *st = calloc(1, sizeof(*st));
	int fd;

	snprintf(st->path, sizeof(st->path), "%s/pst-drive-XXXXXX",
		 base ? base : "/var/tmp");
	fd = mkstemp(st->path);
	assert_true(fd >= 0);
	close(fd);
	write_file(st->path, FILE_BYTES);
	*s = st;
	return 0;
}

static int teardown(void **s)
{
	unlink(((struct state *)*s)->path);
	free(*s);
	return 0;
}

static struct pst_drive_bench_args args_of(const struct state *st)
{
	return (struct pst_drive_bench_args){ .path = st->path,
					      .huge = PST_HUGE_OFF,
					      .depth_max = 8,
					      .memory_bytes = 1 * PST_MIB,
					      .seed = 7 };
}

static struct pst_drive_bench *open_bench(const struct state *st)
{
	struct pst_drive_bench_args args = args_of(st);
	struct pst_drive_bench *b;

	assert_int_equal(pst_drive_bench_open(&args, &b, NULL), 0);
	return b;
}

static void figures_agree_with_each_other(void **s)
{
	static const enum pst_engine_io kinds[] = { PST_ENGINE_IO_AUTO,
						    PST_ENGINE_IO_PREAD };
	struct pst_drive_figures f;
	struct pst_drive_bench *b;

	for (size_t i = 0; i < PST_ARRAY_SIZE(kinds); i++) {
		struct pst_drive_bench_args args = args_of(*s);
		uint64_t start_ns = pst_now_ns();

		args.io = kinds[i];
		assert_int_equal(pst_drive_bench_open(&args, &b, NULL), 0);
		assert_int_equal(pst_drive_bench_bytes(b), FILE_BYTES);
		assert_int_equal(pst_drive_bench_run(b, 65536, 8, 20000000, &f,
						     NULL),
				 0);
		assert_int_equal(f.size_bytes, 65536);
		assert_int_equal(f.depth, 8);
		assert_true(f.reads >= 8);
		assert_true(f.p50_ns > 0 && f.p50_ns <= f.p99_ns);
		assert_true(f.elapsed_ns <= pst_now_ns() - start_ns);
		/* A bucket is reported by its middle, at most 3 % beyond. */
		assert_true((double)f.p99_ns <= (double)f.elapsed_ns * 1.04);
		assert_true(pst_drive_figures_bps(&f) > 0);
		pst_drive_bench_close(b);
	}
}

/* The time is over before the first read is: the queue is read all the same. */
static void without_time_the_queue_is_read_once(void **s)
{
	struct pst_drive_bench *b = open_bench(*s);
	struct pst_drive_figures f;

	for (uint32_t depth = 1; depth <= 8; depth++) {
		assert_int_equal(
			pst_drive_bench_run(b, 4096, depth, 0, &f, NULL), 0);
		assert_int_equal(f.reads, depth);
	}
	pst_drive_bench_close(b);
}

static void the_whole_file_may_be_one_read(void **s)
{
	struct state *st = *s;
	struct pst_drive_bench *b;
	struct pst_drive_figures f;

	write_file(st->path, 65536);
	b = open_bench(st);
	assert_int_equal(pst_drive_bench_run(b, 65536, 4, 1000000, &f, NULL),
			 0);
	pst_drive_bench_close(b);
}

static void what_does_not_fit_is_refused(void **s)
{
	struct pst_drive_bench *b = open_bench(*s);
	struct pst_drive_figures f = { .reads = 42 };
	struct pst_diag d;

	pst_diag_init(&d);
	assert_int_equal(pst_drive_bench_run(b, 0, 1, 0, &f, &d), -EINVAL);
	assert_int_equal(pst_drive_bench_run(b, 5000, 1, 0, &f, NULL), -EINVAL);
	assert_int_equal(pst_drive_bench_run(b, 4096, 0, 0, &f, NULL), -EINVAL);
	assert_int_equal(pst_drive_bench_run(b, 4096, 9, 0, &f, NULL), -EINVAL);
	assert_int_equal(pst_drive_bench_run(b, 524288, 4, 0, &f, NULL),
			 -EINVAL);
	assert_int_equal(f.reads, 42);
	assert_true(*d.text);
	pst_drive_bench_close(b);
}

static void senseless_arguments_are_refused(void **s)
{
	struct pst_drive_bench *b = NULL;

	for (int i = 0; i < 6; i++) {
		struct pst_drive_bench_args args = args_of(*s);

		args.depth_max = i == 0 ? 0 : i == 1 ? 1025 : 8;
		args.memory_bytes = i == 2 ? 0 : i == 3 ? PST_GIB + 1 : PST_MIB;
		if (i == 4)
			args.io = PST_ENGINE_IO_MMAP;
		if (i == 5)
			args.fault = "nonsense";
		assert_int_equal(pst_drive_bench_open(&args, &b, NULL),
				 -EINVAL);
	}
	assert_null(b);
	pst_drive_bench_close(NULL);
}

static void a_missing_file_is_named(void **s)
{
	struct pst_drive_bench_args args = args_of(*s);
	struct pst_drive_bench *b;
	struct pst_diag d;

	pst_diag_init(&d);
	args.path = "/no/such/file";
	assert_int_equal(pst_drive_bench_open(&args, &b, &d), -ENOENT);
	assert_string_equal(d.file, "/no/such/file");
}

static void a_failed_read_ends_the_run_with_its_place(void **s)
{
	struct pst_drive_bench_args args = args_of(*s);
	struct pst_drive_figures f = { .reads = 42 };
	struct pst_drive_bench *b;
	struct pst_diag d;

	pst_diag_init(&d);
	args.fault = "eio_at=20";
	assert_int_equal(pst_drive_bench_open(&args, &b, NULL), 0);
	/* The 20th attempt fails, whenever that is. */
	assert_int_equal(
		pst_drive_bench_run(b, 4096, 8, 60000000000ULL, &f, &d), -EIO);
	assert_string_equal(d.file, args.path);
	assert_true(d.off_bytes < FILE_BYTES && d.off_bytes % 4096 == 0);
	assert_int_equal(f.reads, 42);
	/* Nothing is left behind: the next run is whole. */
	assert_int_equal(pst_drive_bench_run(b, 4096, 8, 0, &f, NULL), 0);
	assert_int_equal(f.reads, 8);
	pst_drive_bench_close(b);
}

static void short_and_shuffled_reads_count_once(void **s)
{
	struct pst_drive_bench_args args = args_of(*s);
	struct pst_drive_figures f;
	struct pst_drive_bench *b;

	args.fault = "seed=3,short=0.3,eagain=0.2,shuffle=1";
	assert_int_equal(pst_drive_bench_open(&args, &b, NULL), 0);
	for (int i = 0; i < 20; i++) {
		assert_int_equal(pst_drive_bench_run(b, 65536, 8, 0, &f, NULL),
				 0);
		assert_int_equal(f.reads, 8);
	}
	pst_drive_bench_close(b);
}

static void holes_are_found(void **s)
{
	struct state *st = *s;
	struct pst_drive_bench *b = open_bench(st);
	int fd;

	assert_int_equal(pst_drive_bench_hole_bytes(b), 0);
	pst_drive_bench_close(b);
	fd = open(st->path, O_RDWR | O_TRUNC | O_CLOEXEC);
	assert_true(fd >= 0);
	assert_int_equal(pwrite(fd, "x", 1, 0), 1);
	assert_int_equal(ftruncate(fd, 8 * PST_MIB), 0);
	assert_int_equal(fsync(fd), 0);
	if (lseek(fd, 0, SEEK_HOLE) == 8 * (off_t)PST_MIB) {
		close(fd);
		skip(); /* a file system that keeps no holes */
	}
	close(fd);
	b = open_bench(st);
	assert_true(pst_drive_bench_hole_bytes(b) > 7 * PST_MIB);
	assert_true(pst_drive_bench_hole_bytes(b) < 8 * PST_MIB);
	pst_drive_bench_close(b);
}

/* Figures of a bandwidth in bytes per microsecond. */
static struct pst_drive_figures fig(uint32_t size, uint32_t depth, uint64_t bw)
{
	return (struct pst_drive_figures){ .size_bytes = size,
					   .depth = depth,
					   .reads = bw * 1000,
					   .elapsed_ns =
						   (uint64_t)size * 1000000 };
}

static void the_knee_is_the_least_that_gives_nearly_all(void **s)
{
	const struct pst_drive_figures f[] = {
		fig(65536, 1, 300),   fig(65536, 16, 900),
		fig(65536, 64, 949),  fig(262144, 16, 950),
		fig(1048576, 4, 960), fig(1048576, 16, 1000),
		fig(524288, 8, 970),  fig(4194304, 1, 990),
		fig(2097152, 2, 990),
	};
	const struct pst_drive_figures longer[] = {
		fig(4194304, 1, 990),
		fig(2097152, 2, 990),
	};

	/* Equal products: the longest up to 1 MiB; 949 is below 0.95. */
	assert_int_equal(pst_drive_knee(f, PST_ARRAY_SIZE(f)), 4);
	assert_int_equal(pst_drive_knee(f, 4), 3);
	assert_int_equal(pst_drive_knee(f, 1), 0);
	assert_int_equal(pst_drive_knee(longer, 2), 1);
}

static void figures_without_reads_are_no_knee(void **s)
{
	struct pst_drive_figures f[] = { fig(65536, 1, 0), fig(65536, 2, 0),
					 fig(65536, 4, 500) };

	assert_int_equal(pst_drive_knee(f, 3), 2);
	f[0].elapsed_ns = 0;
	assert_int_equal(pst_drive_figures_bps(&f[0]), 0);
	assert_int_equal(pst_drive_knee(f, 2), 0);
}

/* All looks of a mode give @bw MB/s for @cpu_us of a GB, the last @last. */
static struct pst_drive_looks looks_of(uint64_t bw, uint64_t cpu_us,
				       uint64_t last)
{
	struct pst_drive_looks l = { .had = true };

	for (uint32_t i = 0; i < PST_DRIVE_LOOKS; i++) {
		l.f[i] = fig(1 << 20, 4, i + 1 < PST_DRIVE_LOOKS ? bw : last);
		l.f[i].cpu_ns =
			cpu_us * l.f[i].reads * l.f[i].size_bytes / 1000000;
	}
	return l;
}

static void polling_has_to_be_worth_its_core(void **s)
{
	static const struct {
		uint64_t bw, cpu_us, last;
		enum pst_engine_io_mode want;
	} rows[] = {
		{ 1031, 9000, 1031, PST_ENGINE_MODE_SQPOLL },
		{ 1028, 9000, 1028, PST_ENGINE_MODE_IRQ },
		{ 1300, 9000, 999, PST_ENGINE_MODE_IRQ }, /* by chance */
		{ 991, 700, 991, PST_ENGINE_MODE_SQPOLL },
		{ 991, 801, 991, PST_ENGINE_MODE_IRQ },
		{ 988, 100, 988, PST_ENGINE_MODE_IRQ },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(rows); i++) {
		struct pst_drive_looks l[PST_ENGINE_NR_MODES] = { 0 };

		l[PST_ENGINE_MODE_IRQ] = looks_of(1000, 1000, 1000);
		assert_int_equal(pst_drive_choose_mode(l), PST_ENGINE_MODE_IRQ);
		l[PST_ENGINE_MODE_SQPOLL] =
			looks_of(rows[i].bw, rows[i].cpu_us, rows[i].last);
		assert_int_equal(pst_drive_choose_mode(l), rows[i].want);
		/* What was refused has no figures that count. */
		l[PST_ENGINE_MODE_SQPOLL].had = false;
		assert_int_equal(pst_drive_choose_mode(l), PST_ENGINE_MODE_IRQ);
	}
}

static void of_two_modes_that_gain_the_faster_is_taken(void **s)
{
	struct pst_drive_looks l[PST_ENGINE_NR_MODES] = { 0 };

	l[PST_ENGINE_MODE_IRQ] = looks_of(1000, 1000, 1000);
	l[PST_ENGINE_MODE_SQPOLL] = looks_of(1100, 5000, 1100);
	l[PST_ENGINE_MODE_IOPOLL] = looks_of(1200, 5000, 1200);
	assert_int_equal(pst_drive_choose_mode(l), PST_ENGINE_MODE_IOPOLL);
	l[PST_ENGINE_MODE_IOPOLL] = looks_of(1000, 10, 1000);
	assert_int_equal(pst_drive_choose_mode(l), PST_ENGINE_MODE_SQPOLL);
}

/* From one to the other and back; a refused one changes nothing. */
static void a_bench_changes_its_mode(void **s)
{
	struct pst_drive_bench *b = open_bench(*s);
	struct pst_drive_figures f;
	struct pst_diag d;

	for (uint32_t i = 0; i < 3 * PST_ENGINE_NR_MODES; i++) {
		enum pst_engine_io_mode mode = i % PST_ENGINE_NR_MODES;
		const char *name = pst_engine_mode_name(mode);
		int ret;

		pst_diag_init(&d);
		ret = pst_drive_bench_set_mode(b, mode, &d);
		if (ret) {
			assert_int_equal(ret, -EOPNOTSUPP);
			assert_true(*d.text);
			print_message("%s: %s\n", name, d.text);
		} else {
			assert_int_equal(mode > PST_ENGINE_MODE_IRQ,
					 !!strstr(pst_drive_bench_io(b), name));
		}
		assert_int_equal(pst_drive_bench_run(b, 65536, 8, 0, &f, NULL),
				 0);
		assert_int_equal(f.reads, 8);
	}
	pst_drive_bench_close(b);
}

static void a_probe_gives_a_profile(void **s)
{
	struct state *st = *s;
	struct pst_drive_profile p;

	assert_int_equal(pst_drive_probe(st->path, 20, &p, NULL), 0);
	assert_true(p.bandwidth_bps > 0 && p.latency_ns > 0);
	assert_true(p.depth >= 1 && p.depth <= 16);
	assert_int_equal(p.split_bytes, PST_MIB);
	assert_true(p.when_s > 0);
	assert_true(p.short_rate > 0 && p.short_latency_ns > 0);
	/* Shorter than a usual read. */
	write_file(st->path, 10000);
	assert_int_equal(pst_drive_probe(st->path, 10, &p, NULL), 0);
	assert_int_equal(p.split_bytes, 8192);
}

static void a_probe_refuses_what_cannot_be(void **s)
{
	struct state *st = *s;
	struct pst_drive_profile p = { .depth = 42 };
	struct pst_diag d;

	assert_int_equal(pst_drive_probe(st->path, 9, &p, NULL), -EINVAL);
	assert_int_equal(pst_drive_probe(st->path, 1001, &p, NULL), -EINVAL);
	assert_int_equal(pst_drive_probe("/no/such", 20, &p, NULL), -ENOENT);
	write_file(st->path, 0);
	pst_diag_init(&d);
	assert_int_equal(pst_drive_probe(st->path, 20, &p, &d), -EINVAL);
	assert_string_equal(d.file, st->path);
	assert_int_equal(p.depth, 42);
}

#define WITH_FILE(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_FILE(figures_agree_with_each_other),
		WITH_FILE(without_time_the_queue_is_read_once),
		WITH_FILE(the_whole_file_may_be_one_read),
		WITH_FILE(what_does_not_fit_is_refused),
		WITH_FILE(senseless_arguments_are_refused),
		WITH_FILE(a_missing_file_is_named),
		WITH_FILE(a_failed_read_ends_the_run_with_its_place),
		WITH_FILE(short_and_shuffled_reads_count_once),
		WITH_FILE(holes_are_found),
		cmocka_unit_test(the_knee_is_the_least_that_gives_nearly_all),
		cmocka_unit_test(figures_without_reads_are_no_knee),
		cmocka_unit_test(polling_has_to_be_worth_its_core),
		cmocka_unit_test(of_two_modes_that_gain_the_faster_is_taken),
		WITH_FILE(a_bench_changes_its_mode),
		WITH_FILE(a_probe_gives_a_profile),
		WITH_FILE(a_probe_refuses_what_cannot_be),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
