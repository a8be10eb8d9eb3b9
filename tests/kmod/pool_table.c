// SPDX-License-Identifier: MIT
/*
 * The table of Documentation/kmod.rst: what four kinds of memory cost and
 * allow, measured in the guest.  Times are of an emulated machine: only their
 * ratios mean anything.  Counts are exact.
 */
#include <fcntl.h>
#include <liburing.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kt.h"

#define BYTES	   (1024 * KT_MIB)
#define READ_BYTES (16 * KT_MIB)

struct backing {
	const char *name;
	char *at;
	int dmabuf; /* or -errno */
};

static void anonymous(struct backing *b, int advice)
{
	b->at = mmap(NULL, BYTES, PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	KT_CHECK(b->at != MAP_FAILED);
	madvise(b->at, BYTES, advice);
	b->dmabuf = -EOPNOTSUPP;
}

static void small_pages(struct backing *b)
{
	anonymous(b, MADV_NOHUGEPAGE);
}

static void huge_pages(struct backing *b)
{
	anonymous(b, MADV_HUGEPAGE);
}

static void memfd_udmabuf(struct backing *b)
{
	struct udmabuf_create create = { .flags = UDMABUF_FLAGS_CLOEXEC,
					 .size = BYTES };
	int fd = memfd_create("pool",
			      MFD_CLOEXEC | MFD_HUGETLB | MFD_ALLOW_SEALING);
	int dev;

	KT_CHECK(fd >= 0);
	KT_EQUAL(ftruncate(fd, BYTES), 0);
	b->at = kt_map(fd, 0, BYTES);
	memset(b->at, 0, BYTES);
	fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK);
	kt_write_file("/sys/module/udmabuf/parameters/size_limit_mb", "2048");
	dev = open("/dev/udmabuf", O_RDWR | O_CLOEXEC);
	if (dev < 0) {
		b->dmabuf = -ENOENT;
		return;
	}
	create.memfd = (uint32_t)fd;
	b->dmabuf = ioctl(dev, UDMABUF_CREATE, &create);
	if (b->dmabuf < 0)
		b->dmabuf = -errno;
	close(dev);
}

static void module_pool(struct backing *b)
{
	int pool = kt_pool(BYTES);

	b->at = kt_map(pool, 0, BYTES);
	b->dmabuf = kt_export(pool, 0, BYTES, 0);
}

static double ms_since(uint64_t start_ns)
{
	return (double)(kt_now_ns() - start_ns) * 1e-6;
}

static long drive_commands(void)
{
	return kt_drive_reads(KT_DRIVE);
}

static void touch(char *at)
{
	uint64_t i;

	for (i = 0; i < BYTES; i += 4096)
		((volatile char *)at)[i] = 1;
}

static int fixed_read(struct io_uring *ring, int drive, char *at)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;

	io_uring_prep_read_fixed(sqe, drive, at, READ_BYTES, 0, 0);
	KT_EQUAL(io_uring_submit(ring), 1);
	KT_EQUAL(io_uring_wait_cqe(ring, &cqe), 0);
	return cqe->res;
}

static void measure_fixed(struct backing *b, int drive)
{
	struct iovec iov = { b->at, BYTES };
	struct io_uring ring;
	uint64_t start_ns;
	long before;
	int rc;

	KT_EQUAL(io_uring_queue_init(4, &ring, 0), 0);
	start_ns = kt_now_ns();
	rc = io_uring_register_buffers(&ring, &iov, 1);
	if (rc) {
		kt_note("%s: register 1 GiB: %s", b->name, strerror(-rc));
	} else {
		kt_note("%s: register 1 GiB: %.0f ms", b->name,
			ms_since(start_ns));
		before = drive_commands();
		KT_EQUAL(fixed_read(&ring, drive, b->at), READ_BYTES);
		kt_note("%s: READ_FIXED of 16 MiB: %ld commands", b->name,
			drive_commands() - before);
		KT_CHECK(kt_is_drive_data(b->at, 0, READ_BYTES));
	}
	io_uring_queue_exit(&ring);
}

static void measure_import(struct backing *b)
{
	struct kt_import args = {};
	uint64_t start_ns = kt_now_ns();
	int rc;

	if (b->dmabuf < 0) {
		kt_note("%s: dma-buf: %s", b->name, strerror(-b->dmabuf));
		return;
	}
	rc = kt_import(kt_importer(), b->dmabuf, &args);
	kt_note("%s: import: %s, %u scatterlist entries per GiB, %u segments, %.0f ms with reading",
		b->name, rc ? strerror(-rc) : "ok", args.nr_entries,
		args.nr_segments, ms_since(start_ns));
}

static void measure(const char *name, void (*make)(struct backing *))
{
	struct backing b = { .name = name };
	int drive = kt_drive(KT_DRIVE);
	uint64_t start_ns = kt_now_ns();
	long before;

	make(&b);
	touch(b.at);
	kt_note("%s: make and touch 1 GiB: %.0f ms", name, ms_since(start_ns));
	before = drive_commands();
	KT_EQUAL(pread(drive, b.at, READ_BYTES, 0), READ_BYTES);
	kt_note("%s: O_DIRECT read of 16 MiB: %ld commands", name,
		drive_commands() - before);
	KT_CHECK(kt_is_drive_data(b.at, 0, READ_BYTES));
	measure_fixed(&b, drive);
	measure_import(&b);
}

struct row {
	const char *name;
	void (*make)(struct backing *);
};

static void in_child(void *arg)
{
	const struct row *row = arg;

	measure(row->name, row->make);
}

int main(void)
{
	static struct row rows[] = {
		{ "anonymous 4 KiB", small_pages },
		{ "anonymous huge", huge_pages },
		{ "memfd + udmabuf", memfd_udmabuf },
		{ "module", module_pool },
	};
	size_t i;

	/* A process each, so that all is given back. */
	for (i = 0; i < sizeof(rows) / sizeof(*rows); i++)
		if (kt_in_child(in_child, &rows[i]))
			kt_note("%s: not possible here", rows[i].name);
	return 0;
}
