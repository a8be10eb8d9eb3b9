// SPDX-License-Identifier: MIT
/*
 * Every allocation of the module fails once: the kernel fails the n-th of a
 * call, for n = 1, 2, ... until the call needs fewer.  For the kernel that
 * scripts/kmod-debug-kernel builds.
 */
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kt.h"

#define FAIL_NTH "/proc/thread-self/fail-nth"
#define MAX_NTH	 400

static void let_allocations_fail(void)
{
	static const char *const set[][2] = {
		{ "failslab/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-wait", "N" },
		{ "fail_page_alloc/ignore-gfp-highmem", "N" },
		{ "fail_page_alloc/min-order", "0" },
		{ "failslab/verbose", "0" },
		{ "fail_page_alloc/verbose", "0" },
		{ "fail_usercopy/verbose", "0" },
	};
	char path[128];
	size_t i;

	if (access(FAIL_NTH, W_OK))
		kt_skip("no fault injection in this kernel");
	for (i = 0; i < sizeof(set) / sizeof(*set); i++) {
		snprintf(path, sizeof(path), "/sys/kernel/debug/%s", set[i][0]);
		kt_write_file(path, set[i][1]);
	}
}

/* Arms the n-th failure; disarm() says whether it has happened. */
static int arm(int n)
{
	char text[16];
	int fd = open(FAIL_NTH, O_RDWR | O_CLOEXEC);

	KT_CHECK(fd >= 0);
	snprintf(text, sizeof(text), "%d", n);
	KT_CHECK(write(fd, text, strlen(text)) > 0);
	return fd;
}

static bool disarm(int fd)
{
	char left[16] = "";
	/* The failure may be left for this very read; then it was not ours. */
	bool failed_here = pread(fd, left, sizeof(left) - 1, 0) <= 0;

	while (pwrite(fd, "0", 1, 0) != 1)
		;
	close(fd);
	return !failed_here && left[0] == '0';
}

/*
 * Runs a call with every failure; it must say why, or succeed.  What it
 * returns above 0 is a file.
 */
static void sweep(const char *what, int (*call)(void *), void *arg)
{
	int n, nr_failed = 0;

	for (n = 1; n < MAX_NTH; n++) {
		int armed = arm(n);
		int rc = call(arg);
		bool happened = disarm(armed);

		if (rc > 0)
			close(rc);
		KT_CHECK(rc >= 0 || rc == -ENOMEM || rc == -EFAULT ||
			 rc == -EAGAIN || rc == -EDQUOT || rc == -ENFILE);
		nr_failed += rc < 0;
		if (!happened)
			break;
	}
	kt_note("%s: %d places, %d failures seen", what, n - 1, nr_failed);
	KT_CHECK(n > 1 && n < MAX_NTH && nr_failed > 0);
}

static int create(void *arg)
{
	struct penstock_create *args = arg;
	struct penstock_unlink unlink = { .size = sizeof(unlink) };
	struct penstock_create copy = *args;

	copy.size = sizeof(copy);
	if (kt_call(args->fd, PENSTOCK_CREATE, &copy))
		return -errno;
	memcpy(unlink.name, copy.name, sizeof(unlink.name));
	/* A failure that was not used up may come now. */
	while (copy.flags & PENSTOCK_C_NAMED &&
	       kt_call(args->fd, PENSTOCK_UNLINK, &unlink) == -EFAULT)
		;
	return copy.fd;
}

static void create_survives(void)
{
	struct penstock_create args = { .bytes = 4 * KT_CHUNK,
					.order = KT_ORDER,
					.min_order = KT_ORDER };

	let_allocations_fail();
	args.fd = kt_device();
	sweep("create", create, &args);
	args.min_order = 0;
	sweep("create with fallback", create, &args);
	args.flags = PENSTOCK_C_NAMED;
	strcpy(args.name, "fault");
	sweep("create named", create, &args);
	KT_EQUAL(kt_info().total_bytes, 0);
}

static int export(void *arg)
{
	return kt_export(*(int *)arg, 0, KT_CHUNK, 0);
}

static void export_survives(void)
{
	int pool = kt_pool(4 * KT_CHUNK);

	let_allocations_fail();
	sweep("export", export, &pool);
	KT_EQUAL(kt_stat(pool).exports, 0);
}

struct fault_import {
	int importer;
	int dmabuf;
	struct kt_import args;
};

static int import(void *arg)
{
	struct fault_import *f = arg;

	return kt_import(f->importer, f->dmabuf, &f->args);
}

static void import_survives(void)
{
	int pool = kt_pool(4 * KT_CHUNK);
	struct fault_import f = { .importer = kt_importer(),
				  .dmabuf = kt_export(pool, 0, 4 * KT_CHUNK, 0),
				  .args.max_seg_bytes = 4096 };

	let_allocations_fail();
	/* Not vmap: dma-buf warns of any failure of it. */
	sweep("import", import, &f);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
	KT_EQUAL(kt_stat(pool).attachments, 0);
}

static int open_again(void *arg)
{
	struct penstock_open args = { .size = sizeof(args),
				      .flags = PENSTOCK_O_OWNER,
				      .name = "fault" };

	if (kt_call(*(int *)arg, PENSTOCK_OPEN, &args))
		return -errno;
	return args.fd;
}

static void open_survives(void)
{
	int pool, device = kt_device();

	let_allocations_fail();
	pool = kt_named("fault", KT_CHUNK);
	KT_CHECK(pool >= 0);
	close(pool);
	sweep("open", open_again, &device);
	/* No failure has kept the lease. */
	pool = kt_open("fault", PENSTOCK_O_OWNER, 0, NULL);
	KT_CHECK(pool >= 0);
	KT_EQUAL(kt_unlink("fault"), 0);
}

static int map_and_fault(void *arg)
{
	char *at = mmap(NULL, KT_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED,
			*(int *)arg, 0);
	unsigned char in_memory;

	if (at == MAP_FAILED)
		return -errno;
	/* A failed fault of the kernel's is EFAULT, not a signal. */
	if (mincore(at, 4096, &in_memory) ||
	    madvise(at, KT_CHUNK, MADV_POPULATE_READ)) {
		int rc = -errno;

		munmap(at, KT_CHUNK);
		return rc;
	}
	return munmap(at, KT_CHUNK) ? -errno : 0;
}

static void mmap_survives(void)
{
	int pool = kt_pool(KT_CHUNK);

	let_allocations_fail();
	sweep("mmap", map_and_fault, &pool);
	KT_EQUAL(kt_stat(pool).maps, 0);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
}

const struct kt_test kt_fault_tests[] = {
	{ "fault: create survives every failed allocation", create_survives },
	{ "fault: export survives every failed allocation", export_survives },
	{ "fault: import survives every failed allocation", import_survives },
	{ "fault: open survives every failed allocation", open_survives },
	{ "fault: mmap survives every failed allocation", mmap_survives },
	{}
};
