// SPDX-License-Identifier: MIT
/*
 * Ownership of named pools: one writer at a time, generations, and adoption
 * after a SIGKILL with reads still in flight on a slow drive.
 */
#include <fcntl.h>
#include <liburing.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kt.h"

#define NAME  "lease"
#define BYTES (8 * KT_MIB)
/* Neighbours would be merged into one command. */
#define STRIDE (3 * KT_MIB)
#define WAIT   (PENSTOCK_O_OWNER | PENSTOCK_O_WAIT_IDLE)

static void one_owner_at_a_time(void)
{
	struct penstock_open open;
	int owner = kt_named(NAME, BYTES);
	int reader;
	void *at;

	KT_CHECK(owner >= 0);
	KT_EQUAL(kt_open(NAME, PENSTOCK_O_OWNER, 0, &open), -EBUSY);
	KT_EQUAL(open.generation, 1);
	KT_EQUAL(open.bytes, BYTES);
	KT_EQUAL(kt_open(NAME, WAIT, 50, NULL), -EBUSY);
	/* Others may look, not touch. */
	reader = kt_open(NAME, 0, 0, NULL);
	KT_CHECK(reader >= 0);
	KT_CHECK(mmap(NULL, BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, reader,
		      0) == MAP_FAILED &&
		 errno == EACCES);
	at = kt_map_read(reader, 0, BYTES);
	KT_EQUAL(mprotect(at, BYTES, PROT_READ | PROT_WRITE), -1);
	KT_EQUAL(kt_export(reader, 0, BYTES, 0), -EACCES);
	KT_EQUAL(kt_stat(owner).owner_pid, getpid());
	close(owner);
	/* A reader is no obstacle. */
	owner = kt_open(NAME, PENSTOCK_O_OWNER, 0, &open);
	KT_CHECK(owner >= 0);
	KT_EQUAL(open.generation, 2);
	KT_EQUAL(kt_unlink(NAME), 0);
}

static void the_bytes_outlive_the_process(void)
{
	int owner = kt_named(NAME, BYTES);
	char *at = kt_map(owner, 0, BYTES);

	memset(at, 0x77, BYTES);
	kt_unmap(at, BYTES);
	close(owner);
	owner = kt_open(NAME, PENSTOCK_O_OWNER, 0, NULL);
	at = kt_map(owner, 0, BYTES);
	KT_EQUAL(kt_byte_sum(at, BYTES), 0x77 * BYTES);
	KT_EQUAL(kt_unlink(NAME), 0);
}

static void a_mapping_keeps_the_lease(void)
{
	int owner = kt_named(NAME, BYTES);
	char *at = kt_map(owner, 0, BYTES);

	close(owner);
	KT_EQUAL(kt_open(NAME, PENSTOCK_O_OWNER, 0, NULL), -EBUSY);
	kt_unmap(at, BYTES);
	owner = kt_open(NAME, PENSTOCK_O_OWNER, 0, NULL);
	KT_CHECK(owner >= 0);
	KT_EQUAL(kt_unlink(NAME), 0);
}

static void exports_of_an_earlier_owner_are_refused(void)
{
	struct kt_import keep = { .flags = KT_F_KEEP }, plain = {};
	struct penstock_open open;
	int owner = kt_named(NAME, BYTES);
	int dmabuf = kt_export(owner, 0, KT_CHUNK, 0);
	int importer = kt_importer();
	char *at = kt_map(dmabuf, 0, KT_CHUNK);

	KT_EQUAL(kt_import(importer, dmabuf, &keep), 0);
	close(owner);
	/* A process that may write through the dma-buf: all is busy. */
	KT_EQUAL(kt_open(NAME, PENSTOCK_O_OWNER, 0, &open), -EBUSY);
	KT_EQUAL(open.busy_chunks, BYTES / KT_CHUNK);
	kt_unmap(at, KT_CHUNK);
	/* A device: just its chunk is. */
	KT_EQUAL(kt_open(NAME, WAIT, 30, &open), -ETIMEDOUT);
	KT_EQUAL(open.busy_chunks, 1);
	KT_EQUAL(kt_call(importer, KT_DROP, NULL), 0);
	owner = kt_open(NAME, WAIT, 1000, &open);
	KT_CHECK(owner >= 0);
	KT_EQUAL(open.generation, 2);
	KT_EQUAL(kt_import(importer, dmabuf, &plain), -ESTALE);
	KT_CHECK(mmap(NULL, KT_CHUNK, PROT_READ, MAP_SHARED, dmabuf, 0) ==
		 MAP_FAILED);
	KT_EQUAL(kt_unlink(NAME), 0);
}

static void nothing(int sig)
{
	(void)sig;
}

static void a_signal_ends_the_wait(void)
{
	struct sigaction action = { .sa_handler = nothing };
	int owner = kt_named(NAME, KT_CHUNK);

	KT_CHECK(owner >= 0);
	sigaction(SIGALRM, &action, NULL);
	ualarm(100000, 0);
	KT_EQUAL(kt_open(NAME, WAIT, 60000, NULL), -EINTR);
	KT_EQUAL(kt_unlink(NAME), 0);
}

/* Queues reads of the slow drive into the pool, says so, and waits to die. */
static void victim(int say, bool fixed)
{
	int drive = kt_drive(KT_SLOW_DRIVE);
	int owner = kt_open(NAME, PENSTOCK_O_OWNER, 0, NULL);
	char *at = kt_map(owner, 0, BYTES);
	struct iovec iov = { at, BYTES };
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	unsigned int i;

	KT_EQUAL(io_uring_queue_init(32, &ring, 0), 0);
	if (fixed)
		KT_EQUAL(io_uring_register_buffers(&ring, &iov, 1), 0);
	for (i = 0; i < BYTES / KT_MIB; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (fixed)
			io_uring_prep_read_fixed(sqe, drive, at + i * KT_MIB,
						 KT_MIB, i * STRIDE, 0);
		else
			io_uring_prep_read(sqe, drive, at + i * KT_MIB, KT_MIB,
					   i * STRIDE);
	}
	KT_EQUAL(io_uring_submit(&ring), BYTES / KT_MIB);
	/* When the first is done the others are with the drive. */
	KT_EQUAL(io_uring_wait_cqe(&ring, &cqe), 0);
	KT_EQUAL(write(say, "x", 1), 1);
	for (;;)
		pause();
}

static void kill_a_reader(bool fixed)
{
	uint64_t start_ns;
	pid_t child;
	int pipes[2];
	char c;

	close(kt_drive(KT_SLOW_DRIVE));
	KT_EQUAL(pipe(pipes), 0);
	child = fork();
	if (!child) {
		victim(pipes[1], fixed);
		_exit(1);
	}
	close(pipes[1]);
	KT_EQUAL(read(pipes[0], &c, 1), 1);
	close(pipes[0]);
	start_ns = kt_now_ns();
	KT_EQUAL(kill(child, SIGKILL), 0);
	KT_EQUAL(waitpid(child, NULL, 0), child);
	kt_note("waitpid took %.2f s", (double)(kt_now_ns() - start_ns) * 1e-9);
}

static void adopt_after_kill(bool fixed)
{
	struct penstock_open open;
	int owner = kt_named(NAME, BYTES);
	uint64_t start_ns, before, after;
	char *at;

	KT_CHECK(owner >= 0);
	close(owner);
	kill_a_reader(fixed);
	start_ns = kt_now_ns();
	owner = kt_open(NAME, PENSTOCK_O_OWNER, 0, &open);
	kt_note("at once after waitpid: %d, %llu chunks busy", owner,
		(unsigned long long)open.busy_chunks);
	if (owner < 0) {
		KT_EQUAL(owner, -EBUSY);
		owner = kt_open(NAME, WAIT, 60000, &open);
	}
	KT_CHECK(owner >= 0);
	kt_note("idle %.2f s after waitpid",
		(double)(kt_now_ns() - start_ns) * 1e-9);
	KT_EQUAL(open.generation, 3);
	/* From here on nothing may change behind the owner's back. */
	at = kt_map(owner, 0, BYTES);
	memset(at, 0, BYTES);
	before = kt_byte_sum(at, BYTES);
	kt_sleep_ms(1500);
	after = kt_byte_sum(at, BYTES);
	KT_EQUAL(before, 0);
	KT_EQUAL(after, 0);
	KT_EQUAL(kt_unlink(NAME), 0);
}

static void adoption_waits_for_plain_reads(void)
{
	adopt_after_kill(false);
}

static void adoption_waits_for_fixed_reads(void)
{
	if (kt_is_61())
		kt_skip("6.1: io_uring refuses to register a device mapping");
	adopt_after_kill(true);
}

/*
 * The same with nobody to ask: a memfd.  It shows that the wait is needed; if
 * it did not, the two tests above would prove nothing.
 */
static void without_the_module_old_reads_land_on_the_new_owner(void)
{
	int drive = kt_drive(KT_SLOW_DRIVE);
	int memfd = memfd_create("pool", MFD_CLOEXEC);
	uint64_t sum = 0;
	int pipes[2], i;
	pid_t child;
	char c, *at;

	KT_EQUAL(ftruncate(memfd, BYTES), 0);
	at = kt_map(memfd, 0, BYTES);
	KT_EQUAL(pipe(pipes), 0);
	child = fork();
	if (!child) {
		struct io_uring_cqe *cqe;
		struct io_uring ring;

		KT_EQUAL(io_uring_queue_init(32, &ring, 0), 0);
		for (i = 0; i < 8; i++)
			io_uring_prep_read(io_uring_get_sqe(&ring), drive,
					   at + (size_t)i * KT_MIB, KT_MIB,
					   (uint64_t)i * STRIDE);
		KT_EQUAL(io_uring_submit(&ring), 8);
		KT_EQUAL(io_uring_wait_cqe(&ring, &cqe), 0);
		KT_EQUAL(write(pipes[1], "x", 1), 1);
		for (;;)
			pause();
	}
	KT_EQUAL(read(pipes[0], &c, 1), 1);
	KT_EQUAL(kill(child, SIGKILL), 0);
	KT_EQUAL(waitpid(child, NULL, 0), child);
	memset(at, 0, BYTES);
	for (i = 0; i < 200 && !sum; i++) {
		kt_sleep_ms(50);
		sum = kt_byte_sum(at, BYTES);
	}
	kt_note("bytes of the dead process landed: %s", sum ? "yes" : "no");
	KT_CHECK(sum != 0);
	/* Let the drive finish: it is the next test's too. */
	kt_sleep_ms(4000);
}

const struct kt_test kt_lease_tests[] = {
	{ "lease: one owner at a time", one_owner_at_a_time },
	{ "lease: the bytes outlive the process",
	  the_bytes_outlive_the_process },
	{ "lease: a mapping keeps the lease", a_mapping_keeps_the_lease },
	{ "lease: exports of an earlier owner are refused",
	  exports_of_an_earlier_owner_are_refused },
	{ "lease: a signal ends the wait", a_signal_ends_the_wait },
	{ "lease: adoption after SIGKILL waits for plain reads",
	  adoption_waits_for_plain_reads },
	{ "lease: adoption after SIGKILL waits for fixed reads",
	  adoption_waits_for_fixed_reads },
	{ "lease: without the module old reads land on the new owner",
	  without_the_module_old_reads_land_on_the_new_owner },
	{}
};
