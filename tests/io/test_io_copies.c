// SPDX-License-Identifier: MIT
/*
 * Files with several copies: which of them is read, and what happens when one
 * of them fails.  Mostly over files in memory that claim to lie on different
 * drives; over real files where the backend matters.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_testing.h"

enum {
	NR = 256,
	BYTES = 4 * BLOCK,
	FILE_BYTES = NR * BYTES,
	COPIES = 3
};

struct state {
	char dir[256];
	struct tfile file[COPIES];
	unsigned char *mem;
	struct pst_io_read r[NR];
	struct pst_io *io;
	struct pst_io_loopfile loop[COPIES];
	struct pst_io_loopdisk disk;
	struct tlog log;
};

static int setup(void **s)
{
	struct state *st = calloc(1, sizeof(*st));
	char name[16];

	temp_dir_make(st->dir, "copies");
	for (uint32_t i = 0; i < COPIES; i++) {
		snprintf(name, sizeof(name), "copy%u", i);
		tfile_make(&st->file[i], st->dir, name, FILE_BYTES);
	}
	st->mem = tbuf_alloc(FILE_BYTES);
	*s = st;
	return 0;
}

static int teardown(void **s)
{
	struct state *st = *s;

	for (uint32_t i = 0; i < COPIES; i++)
		tfile_free(&st->file[i]);
	temp_dir_remove(st->dir);
	free(st->mem);
	free(st);
	return 0;
}

/* Copy i lies on drive i + 1; @nr of them are opened. */
static void open_loopback(struct state *st, const char *fault, uint32_t nr)
{
	struct pst_io_args args = { .queue_depth = 8, .fault = fault };

	tlog_init(&st->log);
	args.log = &st->log.sink;
	for (uint32_t i = 0; i < COPIES; i++)
		st->loop[i] = (struct pst_io_loopfile){
			.name = st->file[i].path,
			.data = st->file[i].data,
			.size_bytes = FILE_BYTES,
			.drive = i + 1,
		};
	st->disk = (struct pst_io_loopdisk){ .files = st->loop, .nr = COPIES };
	assert_int_equal(
		pst_io_loopback_create(&args, &st->disk, &st->io, NULL), 0);
	assert_int_equal(pst_io_add_file(st->io, st->file[0].path, NULL), 0);
	for (uint32_t i = 1; i < nr; i++)
		assert_int_equal(
			pst_io_add_copy(st->io, 0, st->file[i].path, NULL), 0);
}

static void submit_all(struct state *st, enum pst_io_prio prio)
{
	memset(st->mem, 0xee, FILE_BYTES);
	for (uint32_t i = 0; i < NR; i++)
		st->r[i] = (struct pst_io_read){
			.off_bytes = (uint64_t)i * BYTES,
			.len_bytes = BYTES,
			.need_bytes = BYTES,
			.buf = st->mem + (uint64_t)i * BYTES,
			.region = -1,
			.prio = prio,
			.next = i + 1 < NR ? &st->r[i + 1] : NULL,
		};
	pst_io_submit(st->io, st->r);
}

/* Return: how many reads failed. */
static uint32_t reap_all(struct state *st)
{
	uint32_t nr = 0, nr_failed = 0;
	struct pst_io_read *r;

	while (pst_io_outstanding(st->io)) {
		r = pst_io_reap(st->io, true);
		assert_non_null(r);
		for (; r; r = r->next) {
			nr++;
			if (r->result)
				nr_failed++;
			else
				tfile_check(&st->file[0], r->buf, r->off_bytes,
					    BYTES);
		}
	}
	assert_int_equal(nr, NR);
	return nr_failed;
}

static struct pst_io_drive_stats drive(const struct state *st, uint32_t i)
{
	struct pst_io_drive_stats d;

	assert_int_equal(pst_io_drive_stats(st->io, i, &d), 0);
	return d;
}

static uint32_t count(const char *text, const char *what)
{
	uint32_t nr = 0;

	while ((text = strstr(text, what))) {
		nr++;
		text++;
	}
	return nr;
}

static void every_copy_takes_part(void **s)
{
	struct state *st = *s;
	uint64_t sum = 0;

	open_loopback(st, NULL, 3);
	assert_int_equal(pst_io_nr_drives(st->io), 3);
	assert_non_null(strstr(pst_io_name(st->io), "copies on 3 drives"));
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	for (uint32_t i = 0; i < 3; i++) {
		assert_true(drive(st, i).reads > 0);
		assert_string_equal(drive(st, i).path, st->file[i].path);
		assert_int_equal(drive(st, i).errors, 0);
		assert_true(drive(st, i).bytes_per_s > 0);
		sum += drive(st, i).read_bytes;
	}
	assert_int_equal(sum, FILE_BYTES);
	assert_string_equal(st->log.text, "");
	pst_io_destroy(st->io);
}

static void a_single_copy_is_read_as_ever(void **s)
{
	struct state *st = *s;
	struct pst_io_drive_stats d;

	open_loopback(st, "seed=2,eio=0.5", 1);
	assert_null(strstr(pst_io_name(st->io), "copies"));
	submit_all(st, PST_IO_DEMAND);
	assert_true(reap_all(st) > NR / 4);
	d = drive(st, 0);
	assert_true(d.errors > NR / 4 && !d.left_out);
	assert_int_equal(d.errors + d.reads, NR);
	assert_int_equal(d.bytes_per_s, 0);
	/* Nothing was measured. */
	assert_int_equal(st->r[0].issue_ns, 0);
	assert_string_equal(st->log.text, "");
	assert_int_equal(pst_io_drive_stats(st->io, 1, &d), -EINVAL);
	pst_io_destroy(st->io);
}

static void a_dead_drive_is_left_out_and_said_once(void **s)
{
	static const char *const faults[] = { "copy=0,eio=1", "copy=1,eio=1",
					      "copy=1,eio_after=20" };
	struct state *st = *s;
	struct pst_io_stats stats;

	for (uint32_t i = 0; i < PST_ARRAY_SIZE(faults); i++) {
		uint32_t bad = i > 0;

		open_loopback(st, faults[i], 2);
		for (uint32_t round = 0; round < 3; round++) {
			submit_all(st, PST_IO_DEMAND);
			assert_int_equal(reap_all(st), 0);
		}
		pst_io_stats_read(st->io, &stats);
		assert_int_equal(stats.errors, 0);
		assert_int_equal(stats.reads, 3 * NR);
		assert_int_equal(stats.rerouted, drive(st, bad).errors);
		/* The queue that it held, and then nothing more. */
		assert_in_range(drive(st, bad).errors, 4, 8);
		assert_int_equal(drive(st, bad).reads, i == 2 ? 20 : 0);
		assert_true(drive(st, bad).left_out);
		assert_false(drive(st, !bad).left_out);
		assert_int_equal(count(st->log.text, "left out"), 1);
		assert_int_equal(count(st->log.text, "another copy\n"), 2);
		assert_non_null(strstr(st->log.text, drive(st, bad).name));
		assert_non_null(strstr(st->log.text, st->file[bad].path));
		pst_io_destroy(st->io);
	}
}

/* Not left out, as it may recover; but whoever bought it is told. */
static void a_drive_that_falls_behind_is_said_once(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 2);
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	assert_true(drive(st, 1).reads);
	for (uint32_t i = 0; i < 64; i++)
		pst_io_drive_learn(&st->io->drives[1], BYTES, 10000000000ULL);
	for (uint32_t i = 0; i < 8; i++) {
		submit_all(st, PST_IO_DEMAND);
		assert_int_equal(reap_all(st), 0);
	}
	assert_int_equal(count(st->log.text, "gets only"), 1);
	assert_non_null(strstr(st->log.text, st->file[1].path));
	assert_false(drive(st, 1).left_out);
	pst_io_destroy(st->io);
}

static void a_read_fails_when_every_copy_has_failed(void **s)
{
	struct state *st = *s;
	struct pst_io_stats stats;

	open_loopback(st, "eio=1", 3);
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), NR);
	for (uint32_t i = 0; i < NR; i++)
		assert_int_equal(st->r[i].result, -EIO);
	pst_io_stats_read(st->io, &stats);
	assert_int_equal(stats.errors, NR);
	assert_int_equal(stats.rerouted, 2 * NR);
	for (uint32_t i = 0; i < 3; i++)
		assert_int_equal(drive(st, i).errors, NR);
	assert_int_equal(count(st->log.text, "left out"), 3);
	pst_io_destroy(st->io);
}

static void a_copy_that_lost_its_end_is_made_up_for(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 2);
	st->loop[1].size_bytes = FILE_BYTES / 2 + 100;
	for (uint32_t round = 0; round < 3; round++) {
		submit_all(st, PST_IO_DEMAND);
		assert_int_equal(reap_all(st), 0);
	}
	assert_true(drive(st, 1).errors > 0);
	assert_non_null(strstr(st->log.text, "ends early"));
	pst_io_destroy(st->io);
}

static void a_copy_that_answers_nothing_is_made_up_for(void **s)
{
	struct state *st = *s;

	open_loopback(st, "copy=0,eagain=1", 2);
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	assert_true(drive(st, 0).left_out);
	pst_io_destroy(st->io);
}

static void short_reads_continue_on_the_same_copy(void **s)
{
	struct state *st = *s;
	uint32_t src[NR], nr_seen = 0;

	open_loopback(st, "seed=4,short=0.7", 3);
	submit_all(st, PST_IO_DEMAND);
	for (uint32_t i = 0; i < NR; i++)
		src[i] = PST_IO_NO_FILE;
	while (pst_io_outstanding(st->io)) {
		for (uint32_t i = 0; i < NR; i++) {
			if (st->r[i].state != PST_IO_FLYING)
				continue;
			if (src[i] != PST_IO_NO_FILE) {
				assert_int_equal(src[i], st->r[i].src);
				nr_seen += st->r[i].done_bytes > 0;
			}
			src[i] = st->r[i].src;
		}
		pst_io_reap(st->io, false);
	}
	assert_true(nr_seen > NR / 4);
	tfile_check(&st->file[0], st->mem, 0, FILE_BYTES);
	pst_io_destroy(st->io);
}

static void a_rerouted_idle_read_keeps_its_class(void **s)
{
	struct state *st = *s;
	struct pst_io_stats stats;

	open_loopback(st, "copy=0,eio=1", 2);
	pst_io_set_idle_bytes(st->io, 3 * BYTES);
	submit_all(st, PST_IO_IDLE);
	assert_int_equal(reap_all(st), 0);
	pst_io_stats_read(st->io, &stats);
	assert_true(stats.rerouted > 0);
	assert_int_equal(stats.idle_reads, NR);
	assert_int_equal(stats.demand_busy_ns, 0);
	pst_io_destroy(st->io);
}

static void a_read_is_never_made_of_two_copies(void **s)
{
	struct state *st = *s;
	unsigned char *data[2];

	for (uint32_t i = 0; i < 2; i++) {
		data[i] = malloc(FILE_BYTES);
		assert_non_null(data[i]);
		memset(data[i], 1 + (int)i, FILE_BYTES);
	}
	open_loopback(st, "seed=8,copy=0,short=0.5,eio=0.2", 2);
	for (uint32_t i = 0; i < 2; i++)
		st->loop[i].data = data[i];
	submit_all(st, PST_IO_DEMAND);
	while (pst_io_outstanding(st->io))
		for (struct pst_io_read *r = pst_io_reap(st->io, true); r;
		     r = r->next) {
			const unsigned char *b = r->buf;

			assert_int_equal(r->result, 0);
			for (uint32_t k = 0; k < BYTES; k++)
				assert_int_equal(b[k], 1 + r->src);
		}
	assert_true(drive(st, 0).errors > 0);
	pst_io_destroy(st->io);
	for (uint32_t i = 0; i < 2; i++)
		free(data[i]);
}

static void a_read_that_is_submitted_again_may_go_anywhere(void **s)
{
	struct state *st = *s;

	open_loopback(st, "eio_at=1", 2);
	st->r[0] = (struct pst_io_read){ .len_bytes = BYTES,
					 .need_bytes = BYTES,
					 .buf = st->mem,
					 .region = -1 };
	for (uint32_t i = 0; i < 2; i++) {
		pst_io_submit(st->io, st->r);
		assert_int_equal(st->r[0].tried, 0);
		assert_ptr_equal(pst_io_reap(st->io, true), st->r);
		assert_int_equal(st->r[0].result, 0);
		assert_int_equal(!!st->r[0].tried, !i);
	}
	pst_io_destroy(st->io);
}

static void a_copy_of_another_length_is_refused(void **s)
{
	struct state *st = *s;
	struct pst_diag diag;
	char text[64];

	open_loopback(st, NULL, 1);
	st->loop[1].size_bytes = FILE_BYTES - 1;
	pst_diag_init(&diag);
	assert_int_equal(pst_io_add_copy(st->io, 0, st->file[1].path, &diag),
			 -EBADMSG);
	assert_string_equal(diag.file, st->file[1].path);
	snprintf(text, sizeof(text), "%d bytes, not %d", FILE_BYTES - 1,
		 FILE_BYTES);
	assert_non_null(strstr(diag.text, text));
	assert_int_equal(pst_io_add_copy(st->io, 0, "/none", NULL), -ENOENT);
	assert_int_equal(pst_io_add_copy(st->io, 1, st->file[2].path, NULL),
			 -EINVAL);
	/* Nothing has changed. */
	assert_int_equal(pst_io_nr_drives(st->io), 1);
	assert_null(strstr(pst_io_name(st->io), "copies"));
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	pst_io_destroy(st->io);
}

static void a_copy_on_the_same_drive_is_said(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 1);
	st->loop[1].drive = 1;
	assert_int_equal(pst_io_add_copy(st->io, 0, st->file[1].path, NULL), 0);
	assert_non_null(strstr(st->log.text, "same drive"));
	assert_non_null(strstr(st->log.text, st->file[1].path));
	assert_int_equal(pst_io_nr_drives(st->io), 1);
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	pst_io_destroy(st->io);
}

static void copies_leave_file_indices_alone(void **s)
{
	struct state *st = *s;

	open_loopback(st, NULL, 2);
	assert_int_equal(pst_io_add_file(st->io, st->file[2].path, NULL), 1);
	assert_string_equal(pst_io_path(st->io, 0), st->file[0].path);
	assert_string_equal(pst_io_path(st->io, 1), st->file[2].path);
	assert_string_equal(pst_io_path(st->io, 2), "");
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	assert_int_equal(drive(st, 2).reads, 0);
	/* The second file has one copy: no choice. */
	for (uint32_t i = 0; i < 4; i++) {
		struct pst_io_read r = { .file = 1,
					 .len_bytes = BYTES,
					 .need_bytes = BYTES,
					 .buf = st->mem,
					 .region = -1 };

		pst_io_submit(st->io, &r);
		assert_ptr_equal(pst_io_reap(st->io, true), &r);
		assert_int_equal(r.result, 0);
	}
	assert_int_equal(drive(st, 2).reads, 4);
	pst_io_destroy(st->io);
}

static void copies_have_a_bound(void **s)
{
	struct state *st = *s;
	struct pst_diag diag;

	open_loopback(st, NULL, 1);
	pst_diag_init(&diag);
	for (uint32_t i = 1; i < PST_IO_COPIES_MAX; i++)
		assert_int_equal(
			pst_io_add_copy(st->io, 0, st->file[1].path, &diag), 0);
	assert_int_equal(pst_io_add_copy(st->io, 0, st->file[1].path, &diag),
			 -ENOSPC);
	assert_non_null(strstr(diag.text, "8 copies"));
	submit_all(st, PST_IO_DEMAND);
	assert_int_equal(reap_all(st), 0);
	pst_io_destroy(st->io);
}

/* The first drive fails half of the time, the second all of it in the end. */
static void random_faults_of_one_copy_are_not_seen(void **s)
{
	static const char text[] =
		"seed=%llu,copy=%u,eio=0.02,short=0.3,eagain=0.1,shuffle=1";
	struct state *st = *s;
	uint64_t rng = tseed();
	char fault[128];

	for (uint32_t i = 0; i < 40; i++) {
		snprintf(fault, sizeof(fault), text,
			 (unsigned long long)pst_rng_next(&rng), i % 3);
		open_loopback(st, fault, 3);
		submit_all(st, i % 2);
		assert_int_equal(reap_all(st), 0);
		pst_io_destroy(st->io);
	}
}

/* A copy on tmpfs is another drive, where there is one. */
static bool second_drive(const struct state *st, struct tfile *f)
{
	char name[48];

	if (access("/dev/shm", W_OK)) {
		print_message("no /dev/shm: both copies on one drive\n");
		return false;
	}
	snprintf(name, sizeof(name), "pst-io-copy-%d", (int)getpid());
	tfile_make(f, "/dev/shm", name, FILE_BYTES);
	return true;
}

static void every_backend_reads_copies(void **s)
{
	static const char *const faults[] = {
		NULL, "seed=3,copy=0,eio=1", "seed=5,copy=1,eio_after=9",
		"seed=6,copy=1,delay_us=300,shuffle=1,short=0.2"
	};
	static const enum pst_io_kind kinds[] = { PST_IO_URING, PST_IO_PREAD };
	struct state *st = *s;
	struct tfile shm;
	bool has_shm = second_drive(st, &shm);
	const char *copy = has_shm ? shm.path : st->file[1].path;

	for (uint32_t i = 0; i < 2 * PST_ARRAY_SIZE(faults); i++) {
		struct pst_io_args args = { .kind = kinds[i % 2],
					    .fault = faults[i / 2],
					    .queue_depth = 8 };

		tlog_init(&st->log);
		args.log = &st->log.sink;
		if (pst_io_create(&args, &st->io, NULL)) {
			print_message("no io_uring here\n");
			continue;
		}
		assert_int_equal(
			pst_io_add_file(st->io, st->file[0].path, NULL), 0);
		assert_int_equal(pst_io_add_copy(st->io, 0, copy, NULL), 0);
		assert_int_equal(pst_io_nr_drives(st->io), 1 + has_shm);
		for (uint32_t round = 0; round < 4; round++) {
			submit_all(st, round % 2);
			assert_int_equal(reap_all(st), 0);
		}
		print_message("%s, faults %s:", pst_io_name(st->io),
			      faults[i / 2] ? faults[i / 2] : "none");
		for (uint32_t d = 0; d < pst_io_nr_drives(st->io); d++)
			print_message(" %s %llu reads", drive(st, d).name,
				      (unsigned long long)drive(st, d).reads);
		print_message("\n");
		pst_io_destroy(st->io);
	}
	if (has_shm)
		tfile_free(&shm);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_copy_takes_part),
		cmocka_unit_test(a_single_copy_is_read_as_ever),
		cmocka_unit_test(a_dead_drive_is_left_out_and_said_once),
		cmocka_unit_test(a_drive_that_falls_behind_is_said_once),
		cmocka_unit_test(a_read_fails_when_every_copy_has_failed),
		cmocka_unit_test(a_copy_that_lost_its_end_is_made_up_for),
		cmocka_unit_test(a_copy_that_answers_nothing_is_made_up_for),
		cmocka_unit_test(short_reads_continue_on_the_same_copy),
		cmocka_unit_test(a_rerouted_idle_read_keeps_its_class),
		cmocka_unit_test(a_read_is_never_made_of_two_copies),
		cmocka_unit_test(
			a_read_that_is_submitted_again_may_go_anywhere),
		cmocka_unit_test(a_copy_of_another_length_is_refused),
		cmocka_unit_test(a_copy_on_the_same_drive_is_said),
		cmocka_unit_test(copies_leave_file_indices_alone),
		cmocka_unit_test(copies_have_a_bound),
		cmocka_unit_test(random_faults_of_one_copy_are_not_seen),
		cmocka_unit_test(every_backend_reads_copies),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
