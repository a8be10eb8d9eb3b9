// SPDX-License-Identifier: MIT
/*
 * Profiles in the state directory: what is stored is found again, what is
 * damaged is refused, and every byte of the file may be anything.
 */
#include <dirent.h>
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include <penstock/profile.h>

#include "base.h"
#include "temp_dir.h"

static const struct pst_drive_profile profile = {
	.bandwidth_bps = 6600000000,
	.latency_ns = 181000,
	.depth = 8,
	.split_bytes = 1048576,
	.when_s = 1795209452,
	.direct = true,
	.short_latency_ns = 55000,
	.short_rate = 62500,
	.io_mode = PST_ENGINE_MODE_SQPOLL,
	.looks = { [PST_ENGINE_MODE_IRQ] = { 6400000000, 10000000 },
		   [PST_ENGINE_MODE_SQPOLL] = { 6600000000, 9000000 } }
};

static int setup(void **state)
{
	*state = malloc(TEMP_DIR_MAX);
	temp_dir_make(*state, "profile");
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(*state);
	free(*state);
	return 0;
}

/* The one file of the directory; its bytes into @text, NUL-terminated. */
static size_t read_back(const char *dir, char *path, char *text, size_t size)
{
	struct dirent *e;
	DIR *d = opendir(dir);
	uint32_t nr = 0;
	size_t n;
	FILE *f;

	assert_non_null(d);
	while ((e = readdir(d)))
		if (e->d_name[0] != '.') {
			snprintf(path, 1024, "%s/%s", dir, e->d_name);
			nr++;
		}
	closedir(d);
	assert_int_equal(nr, 1);
	f = fopen(path, "re");
	assert_non_null(f);
	n = fread(text, 1, size - 1, f);
	text[n] = 0;
	fclose(f);
	return n;
}

static void write_back(const char *path, const char *text, size_t n)
{
	FILE *f = fopen(path, "we");

	assert_non_null(f);
	assert_int_equal(fwrite(text, 1, n, f), n);
	assert_int_equal(fclose(f), 0);
}

static void what_is_stored_is_found(void **state)
{
	struct pst_profile_origin from;
	struct pst_drive_profile p;

	assert_int_equal(pst_profile_find(*state, *state, &p, NULL, NULL),
			 -ENOENT);
	assert_int_equal(pst_profile_store(*state, *state, &profile,
					   "io_uring, O_DIRECT", NULL),
			 0);
	assert_int_equal(pst_profile_find(*state, *state, &p, &from, NULL), 0);
	assert_int_equal(p.bandwidth_bps, profile.bandwidth_bps);
	assert_int_equal(p.latency_ns, profile.latency_ns);
	assert_int_equal(p.depth, profile.depth);
	assert_int_equal(p.split_bytes, profile.split_bytes);
	assert_int_equal(p.when_s, profile.when_s);
	assert_true(p.direct);
	assert_int_equal(p.short_latency_ns, profile.short_latency_ns);
	assert_int_equal(p.short_rate, profile.short_rate);
	assert_int_equal(p.io_mode, PST_ENGINE_MODE_SQPOLL);
	assert_memory_equal(p.looks, profile.looks, sizeof(p.looks));
	assert_string_equal(from.io, "io_uring, O_DIRECT");
	assert_true(*from.kernel);
}

/* As versions before short reads were measured wrote it. */
static void an_older_profile_knows_no_short_reads(void **state)
{
	char path[1024], text[4096], *at, *end;
	struct pst_drive_profile p;
	struct pst_drive_line line;
	size_t n;

	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	n = read_back(*state, path, text, sizeof(text));
	at = strstr(text, "short_latency_ns=");
	end = strstr(text, "end=1");
	assert_true(at && end > at);
	memmove(at, end, n - (size_t)(end - text) + 1);
	write_back(path, text, strlen(text));
	assert_int_equal(pst_profile_find(*state, *state, &p, NULL, NULL), 0);
	assert_int_equal(p.short_rate, 0);
	assert_int_equal(p.short_latency_ns, 0);
	pst_profile_line(&p, &line);
	assert_float_equal(line.bps, 6.6e9, 1.0);
	assert_float_equal(line.read_s, 0.0, 1e-9);
	assert_float_equal(line.latency_s, 181e-6 - 1048576 / 6.6e9, 1e-9);
}

static double line_s(const struct pst_drive_line *l, double reads, double bytes)
{
	return l->latency_s + reads * l->read_s + bytes / l->bps;
}

static void the_line_goes_through_what_was_measured(void **state)
{
	struct pst_drive_line l;

	pst_profile_line(&profile, &l);
	/* Many reads in flight: the latency is the same for all of them. */
	assert_float_equal(line_s(&l, 1e6, 1e6 * 1048576) - l.latency_s,
			   1e6 * 1048576 / 6.6e9, 1e-6);
	assert_float_equal(line_s(&l, 1e6, 1e6 * 4096) - l.latency_s,
			   1e6 / 62500, 1e-6);
	/* One alone. */
	assert_float_equal(line_s(&l, 1, 4096), 55e-6, 1e-9);
	assert_true(l.read_s > 15e-6 && l.read_s < 16e-6);
	assert_true(l.bps > 6.6e9);
}

static void figures_that_are_no_line_give_none_that_is_absurd(void **state)
{
	struct pst_drive_profile p = profile;
	struct pst_drive_line l;

	/* Short reads that take longer than long ones. */
	p.short_rate = 100;
	pst_profile_line(&p, &l);
	assert_float_equal(l.bps, 6.6e9, 1.0);
	assert_float_equal(l.read_s, 0.0, 1e-9);
	/* And such that are faster than their bytes. */
	p.short_rate = 100000000;
	pst_profile_line(&p, &l);
	assert_float_equal(l.bps, 6.6e9, 1.0);
	assert_float_equal(l.read_s, 0.0, 1e-9);
	assert_true(l.latency_s >= 0.0);
	/* Measured with short reads only. */
	p = profile;
	p.split_bytes = 4096;
	pst_profile_line(&p, &l);
	assert_float_equal(l.read_s, 0.0, 1e-9);
	assert_true(l.latency_s >= 0.0);
}

static void a_newer_profile_takes_the_place(void **state)
{
	struct pst_drive_profile p = profile;
	char path[1024], text[4096];

	assert_int_equal(pst_profile_store(*state, *state, &p, "a", NULL), 0);
	p.depth = 32;
	assert_int_equal(pst_profile_store(*state, *state, &p, "a", NULL), 0);
	assert_int_equal(pst_profile_find(*state, *state, &p, NULL, NULL), 0);
	assert_int_equal(p.depth, 32);
	read_back(*state, path, text, sizeof(text));
}

static void a_profile_from_before_there_were_modes_is_valid(void **state)
{
	struct pst_drive_profile p = profile;
	char path[1024], text[4096];

	p.io_mode = PST_ENGINE_MODE_AUTO;
	assert_int_equal(pst_profile_store(*state, *state, &p, "a", NULL), 0);
	read_back(*state, path, text, sizeof(text));
	assert_null(strstr(text, "io_mode"));
	p.io_mode = PST_ENGINE_MODE_IOPOLL;
	assert_int_equal(pst_profile_find(*state, *state, &p, NULL, NULL), 0);
	assert_int_equal(p.io_mode, PST_ENGINE_MODE_AUTO);
	assert_int_equal(p.looks[PST_ENGINE_MODE_IRQ].bandwidth_bps, 0);
}

static void another_drive_has_no_profile(void **state)
{
	struct pst_drive_profile p;

	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	assert_int_equal(pst_profile_find(*state, "/proc/self", &p, NULL, NULL),
			 -ENOENT);
	assert_int_equal(pst_profile_find(*state, "/no/such", &p, NULL, NULL),
			 -ENOENT);
}

static void values_out_of_bounds_are_refused(void **state)
{
	static const char *const bad[][2] = {
		{ "depth=8\n", "depth=0\n" },
		{ "depth=8\n", "depth=1025\n" },
		{ "depth=8\n", "depth=-8\n" },
		{ "depth=8\n", "depth=8x\n" },
		{ "depth=8\n", "depth=\n" },
		{ "depth=8\n", "\n" },
		{ "depth=8\n", "depth=99999999999999999999999\n" },
		{ "split_bytes=1048576", "split_bytes=1048577" },
		{ "split_bytes=1048576", "split_bytes=0" },
		{ "split_bytes=1048576", "split_bytes=4294967296" },
		{ "bandwidth_bps=6600000000", "bandwidth_bps=0" },
		{ "bandwidth_bps=6600000000", "bandwidth_bps=1e9" },
		{ "latency_ns=181000", "latency_ns=0" },
		{ "when_s=1795209452", "when_s=-1" },
		{ "direct=1", "direct=2" },
		{ "profile 1\n", "profile 2\n" },
		{ "io_mode=sqpoll", "io_mode=auto" },
		{ "io_mode=sqpoll", "io_mode=" },
		{ "io_mode=sqpoll", "io_mode=sqpolls" },
		{ "irq_bps=6400000000", "irq_bps=x" },
		{ "sqpoll_bps=6600000000", "sqpoll_bps=99999999999999" },
		{ "sqpoll_cpu_ns_gb=9000000", "sqpoll_cpu_ns_gb=-1" },
		{ "end=1", "" },
	};
	char path[1024], text[4096], spoiled[4096];
	struct pst_drive_profile p = { .depth = 42 };

	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	read_back(*state, path, text, sizeof(text));
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		char *at = strstr(text, bad[i][0]);
		struct pst_diag d;

		pst_diag_init(&d);
		assert_non_null(at);
		snprintf(spoiled, sizeof(spoiled), "%.*s%s%s", (int)(at - text),
			 text, bad[i][1], at + strlen(bad[i][0]));
		write_back(path, spoiled, strlen(spoiled));
		assert_int_equal(pst_profile_find(*state, *state, &p, NULL, &d),
				 -EBADMSG);
		assert_non_null(strstr(d.text, "iobench"));
	}
	assert_int_equal(p.depth, 42);
}

static void every_cut_is_refused(void **state)
{
	char path[1024], text[4096];
	struct pst_drive_profile p;
	size_t n;

	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	n = read_back(*state, path, text, sizeof(text));
	/* The last byte is a newline: without it all is there. */
	for (size_t cut = 0; cut + 1 < n; cut++) {
		write_back(path, text, cut);
		assert_int_equal(pst_profile_find(*state, *state, &p, NULL,
						  NULL),
				 -EBADMSG);
	}
}

/* What is taken from spoiled text must still be within bounds. */
static void random_bytes_do_no_harm(void **state)
{
	const char *given = getenv("PENSTOCK_SEED");
	uint64_t rng = given ? strtoull(given, NULL, 0) : 1;
	char path[1024], text[4096], spoiled[4096];
	struct pst_profile_origin from;
	struct pst_drive_profile p;
	size_t n;

	print_message("seed %llu\n", (unsigned long long)rng);
	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	n = read_back(*state, path, text, sizeof(text));
	for (int i = 0; i < 300; i++) {
		memcpy(spoiled, text, n);
		for (int k = 0; k < 3; k++)
			spoiled[pst_rng_next(&rng) % n] =
				(char)pst_rng_next(&rng);
		write_back(path, spoiled, n);
		if (pst_profile_find(*state, *state, &p, &from, NULL))
			continue;
		assert_true(p.bandwidth_bps && p.latency_ns);
		assert_true(p.depth >= 1 && p.depth <= 1024);
		assert_true(p.split_bytes && p.split_bytes % 4096 == 0);
	}
}

static void a_huge_file_is_not_swallowed(void **state)
{
	char path[1024], text[4096];
	struct pst_drive_profile p;

	assert_int_equal(pst_profile_store(*state, *state, &profile, "a", NULL),
			 0);
	read_back(*state, path, text, sizeof(text));
	assert_int_equal(truncate(path, (off_t)PST_GIB), 0);
	assert_int_equal(pst_profile_find(*state, *state, &p, NULL, NULL),
			 -EFBIG);
}

#define WITH_DIR(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_DIR(what_is_stored_is_found),
		WITH_DIR(an_older_profile_knows_no_short_reads),
		WITH_DIR(the_line_goes_through_what_was_measured),
		WITH_DIR(figures_that_are_no_line_give_none_that_is_absurd),
		WITH_DIR(a_newer_profile_takes_the_place),
		WITH_DIR(a_profile_from_before_there_were_modes_is_valid),
		WITH_DIR(another_drive_has_no_profile),
		WITH_DIR(values_out_of_bounds_are_refused),
		WITH_DIR(every_cut_is_refused),
		WITH_DIR(random_bytes_do_no_harm),
		WITH_DIR(a_huge_file_is_not_swallowed),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
