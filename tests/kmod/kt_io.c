// SPDX-License-Identifier: MIT
/*
 * Reads of an NVMe drive that land in a pool: O_DIRECT, and io_uring with
 * registered buffers.
 */
#include <fcntl.h>
#include <liburing.h>
#include <string.h>
#include <unistd.h>

#include "kt.h"

#define READ_BYTES (16 * KT_MIB)

static void direct_reads_land_in_a_pool(void)
{
	int drive = kt_drive(KT_DRIVE);
	int pool = kt_pool(READ_BYTES);
	char *at = kt_map(pool, 0, READ_BYTES);

	KT_EQUAL(pread(drive, at, READ_BYTES, 0), READ_BYTES);
	KT_CHECK(kt_is_drive_data(at, 0, READ_BYTES));
	/* Across a border of chunks, and from another place of the drive. */
	KT_EQUAL(pread(drive, at + KT_CHUNK - 4096, 8192, KT_MIB), 8192);
	KT_CHECK(kt_is_drive_data(at + KT_CHUNK - 4096, KT_MIB, 8192));
	KT_CHECK(kt_is_drive_data(at, 0, KT_CHUNK - 4096));
	KT_EQUAL(kt_wait_idle(pool, 0, READ_BYTES, 1000), 0);
}

static int read_once(struct io_uring *ring, int drive, void *to, int fixed,
		     uint64_t off_bytes)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	int rc;

	if (fixed)
		io_uring_prep_read_fixed(sqe, drive, to, READ_BYTES, off_bytes,
					 0);
	else
		io_uring_prep_read(sqe, drive, to, READ_BYTES, off_bytes);
	KT_EQUAL(io_uring_submit(ring), 1);
	KT_EQUAL(io_uring_wait_cqe(ring, &cqe), 0);
	rc = cqe->res;
	io_uring_cqe_seen(ring, cqe);
	return rc;
}

static void uring_reads_land_in_a_pool(void)
{
	int drive = kt_drive(KT_DRIVE);
	int pool = kt_pool(READ_BYTES);
	char *at = kt_map(pool, 0, READ_BYTES);
	struct io_uring ring;

	KT_EQUAL(io_uring_queue_init(8, &ring, 0), 0);
	KT_EQUAL(read_once(&ring, drive, at, 0, READ_BYTES), READ_BYTES);
	KT_CHECK(kt_is_drive_data(at, READ_BYTES, READ_BYTES));
	io_uring_queue_exit(&ring);
}

static void fixed_reads_land_in_a_pool(void)
{
	int drive = kt_drive(KT_DRIVE);
	int pool = kt_pool(READ_BYTES);
	char *at = kt_map(pool, 0, READ_BYTES);
	struct iovec iov = { at, READ_BYTES };
	struct io_uring ring;

	KT_EQUAL(io_uring_queue_init(8, &ring, 0), 0);
	if (kt_is_61()) {
		/* Documented: unregistered reads are the way there. */
		KT_EQUAL(io_uring_register_buffers(&ring, &iov, 1),
			 -EOPNOTSUPP);
		kt_note("6.1: io_uring refuses to register a device mapping");
		return;
	}
	KT_EQUAL(io_uring_register_buffers(&ring, &iov, 1), 0);
	KT_EQUAL(kt_stat(pool).busy_chunks, READ_BYTES / KT_CHUNK);
	KT_EQUAL(read_once(&ring, drive, at, 1, 0), READ_BYTES);
	KT_CHECK(kt_is_drive_data(at, 0, READ_BYTES));
	KT_EQUAL(kt_wait_idle(pool, 0, READ_BYTES, 50), -ETIMEDOUT);
	KT_EQUAL(io_uring_unregister_buffers(&ring), 0);
	KT_EQUAL(kt_wait_idle(pool, 0, READ_BYTES, 2000), 0);
	io_uring_queue_exit(&ring);
}

static void idle_is_known_per_range(void)
{
	int pool = kt_pool(4 * KT_CHUNK);
	char *at = kt_map(pool, 0, 4 * KT_CHUNK);
	struct iovec iov = { at + KT_CHUNK, KT_CHUNK };
	struct io_uring ring;

	if (kt_is_61())
		kt_skip("6.1: io_uring refuses to register a device mapping");
	KT_EQUAL(io_uring_queue_init(8, &ring, 0), 0);
	KT_EQUAL(io_uring_register_buffers(&ring, &iov, 1), 0);
	KT_EQUAL(kt_wait_idle(pool, 0, KT_CHUNK, 0), 0);
	KT_EQUAL(kt_wait_idle(pool, KT_CHUNK, 4096, 0), -ETIMEDOUT);
	KT_EQUAL(kt_wait_idle(pool, 2 * KT_CHUNK, 2 * KT_CHUNK, 0), 0);
	KT_EQUAL(kt_stat(pool).busy_chunks, 1);
	io_uring_queue_exit(&ring);
}

const struct kt_test kt_io_tests[] = {
	{ "io: O_DIRECT reads land in a pool", direct_reads_land_in_a_pool },
	{ "io: io_uring reads land in a pool", uring_reads_land_in_a_pool },
	{ "io: READ_FIXED lands in a pool, and the pool knows of it",
	  fixed_reads_land_in_a_pool },
	{ "io: idle is known per range", idle_is_known_per_range },
	{}
};
