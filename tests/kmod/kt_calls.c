// SPDX-License-Identifier: MIT
/*
 * The calls with wrong, old, new and huge arguments.
 */
#include <fcntl.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "kt.h"

static void a_larger_structure_of_zeroes_is_taken(void)
{
	struct {
		struct penstock_info info;
		uint64_t newer;
	} args = { .info.size = sizeof(args) };
	int fd = kt_device();

	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, &args), 0);
	KT_EQUAL(args.info.abi, PENSTOCK_ABI);
	KT_EQUAL(args.info.size, sizeof(args));
	args.info.flags = 0;
	args.newer = 1;
	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, &args), -E2BIG);
}

static void a_smaller_structure_is_refused(void)
{
	struct penstock_info args = { .size = sizeof(args) - 8 };
	int fd = kt_device();

	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, &args), -EINVAL);
	args.size = 0;
	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, &args), -EINVAL);
	args.size = UINT32_MAX;
	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, &args), -E2BIG);
	KT_EQUAL(kt_call(fd, PENSTOCK_INFO, NULL), -EFAULT);
	KT_EQUAL(kt_call(fd, _IO(PENSTOCK_IOC, 0x1f), &args), -ENOTTY);
	KT_EQUAL(kt_call(fd, PENSTOCK_STAT, &args), -ENOTTY);
}

static int create_with(uint32_t flags, uint64_t bytes, uint32_t order,
		       uint32_t min_order)
{
	struct penstock_create args = { .flags = flags,
					.bytes = bytes,
					.order = order,
					.min_order = min_order };

	return kt_create(&args);
}

static void wrong_pools_are_refused(void)
{
	uint64_t huge;

	KT_EQUAL(create_with(0, 0, 9, 9), -EINVAL);
	KT_EQUAL(create_with(0, 4096, 9, 9), -EINVAL);
	KT_EQUAL(create_with(0, KT_CHUNK + 4096, 9, 9), -EINVAL);
	KT_EQUAL(create_with(0, KT_CHUNK, 11, 9), -EINVAL);
	KT_EQUAL(create_with(0, KT_CHUNK, 9, 10), -EINVAL);
	KT_EQUAL(create_with(0, KT_CHUNK, UINT32_MAX, 0), -EINVAL);
	KT_EQUAL(create_with(1U << 31, KT_CHUNK, 9, 9), -EINVAL);
	KT_EQUAL(create_with(PENSTOCK_C_STRICT_NODES, KT_CHUNK, 9, 9), -EINVAL);
	KT_EQUAL(create_with(PENSTOCK_C_NAMED, KT_CHUNK, 9, 9), -EINVAL);
	for (huge = 1ULL << 40; huge; huge <<= 1)
		KT_EQUAL(create_with(0, huge, 9, 9), -EDQUOT);
	KT_EQUAL(create_with(0, UINT64_MAX & ~(KT_CHUNK - 1), 9, 9), -EDQUOT);
	KT_EQUAL(create_with(0, UINT64_MAX & ~4095ULL, 0, 0), -EDQUOT);
}

static void wrong_names_are_refused(void)
{
	char longest[PENSTOCK_NAME_LEN + 1];
	int pool;

	KT_EQUAL(kt_named("a b", KT_CHUNK), -EINVAL);
	KT_EQUAL(kt_named("../x", KT_CHUNK), -EINVAL);
	KT_EQUAL(kt_named("\xc3\xa4", KT_CHUNK), -EINVAL);
	memset(longest, 'x', sizeof(longest));
	longest[PENSTOCK_NAME_LEN] = 0;
	KT_EQUAL(kt_named(longest, KT_CHUNK), -EINVAL);
	longest[PENSTOCK_NAME_LEN - 1] = 0;
	pool = kt_named(longest, KT_CHUNK);
	KT_CHECK(pool >= 0);
	KT_EQUAL(kt_named(longest, KT_CHUNK), -EEXIST);
	KT_EQUAL(kt_unlink(longest), 0);
	KT_EQUAL(kt_unlink(longest), -ENOENT);
	KT_EQUAL(kt_open("nobody", PENSTOCK_O_OWNER, 0, NULL), -ENOENT);
	KT_EQUAL(kt_open("nobody", 1U << 30, 0, NULL), -EINVAL);
	KT_EQUAL(kt_open("nobody", PENSTOCK_O_WAIT_IDLE, 0, NULL), -EINVAL);
}

static void wrong_ranges_are_refused(void)
{
	static const uint64_t bad[][2] = {
		{ 0, 0 },
		{ 1, 4096 },
		{ 0, 4095 },
		{ 0, 3 * KT_CHUNK },
		{ 2 * KT_CHUNK, 4096 },
		{ KT_CHUNK, 2 * KT_CHUNK },
		{ UINT64_MAX & ~4095ULL, 4096 },
		{ UINT64_MAX & ~4095ULL, 8192 },
		{ 4096, UINT64_MAX & ~4095ULL },
	};
	int pool = kt_pool(2 * KT_CHUNK);
	size_t i;

	for (i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		KT_EQUAL(kt_export(pool, bad[i][0], bad[i][1], 0), -EINVAL);
		KT_EQUAL(kt_wait_idle(pool, bad[i][0], bad[i][1], 0), -EINVAL);
	}
	KT_EQUAL(kt_export(pool, 0, KT_CHUNK, 2), -EINVAL);
	KT_EQUAL(kt_stat(pool).exports, 0);
}

static void wrong_mappings_are_refused(void)
{
	int pool = kt_pool(2 * KT_CHUNK);

	KT_CHECK(mmap(NULL, KT_CHUNK, PROT_READ, MAP_PRIVATE, pool, 0) ==
			 MAP_FAILED &&
		 errno == EINVAL);
	KT_CHECK(mmap(NULL, 3 * KT_CHUNK, PROT_READ, MAP_SHARED, pool, 0) ==
			 MAP_FAILED &&
		 errno == EINVAL);
	KT_CHECK(mmap(NULL, KT_CHUNK, PROT_READ, MAP_SHARED, pool,
		      2 * KT_CHUNK) == MAP_FAILED &&
		 errno == EINVAL);
	KT_CHECK(mmap(NULL, KT_CHUNK, PROT_READ, MAP_SHARED, pool,
		      INT64_MAX & ~4095LL) == MAP_FAILED);
	KT_EQUAL(kt_stat(pool).maps, 0);
}

/* The kernel cannot write its answer: no file must be left behind. */
static void a_read_only_argument_leaks_nothing(void)
{
	struct penstock_create *create;
	struct penstock_export *export;
	int pool = kt_pool(KT_CHUNK);
	int device = kt_device();
	int next = dup(pool);
	char *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	KT_CHECK(page != MAP_FAILED);
	close(next);
	create = (void *)page;
	export = (void *)(page + 2048);
	*create = (struct penstock_create){ .size = sizeof(*create),
					    .bytes = KT_CHUNK,
					    .order = 9,
					    .flags = PENSTOCK_C_NAMED,
					    .name = "efault" };
	*export = (struct penstock_export){ .size = sizeof(*export),
					    .bytes = KT_CHUNK };
	KT_EQUAL(mprotect(page, 4096, PROT_READ), 0);
	KT_EQUAL(kt_call(device, PENSTOCK_CREATE, create), -EFAULT);
	KT_EQUAL(kt_call(pool, PENSTOCK_EXPORT, export), -EFAULT);
	KT_EQUAL(kt_info().total_bytes, KT_CHUNK);
	KT_EQUAL(kt_unlink("efault"), -ENOENT);
	/* The file ends in task work, on the way out of the call. */
	KT_EQUAL(kt_stat(pool).exports, 0);
	KT_EQUAL(dup(pool), next);
}

static void files_are_closed_on_exec(void)
{
	int pool = kt_pool(KT_CHUNK);
	int dmabuf = kt_export(pool, 0, KT_CHUNK, 0);

	KT_EQUAL(fcntl(pool, F_GETFD), FD_CLOEXEC);
	KT_EQUAL(fcntl(dmabuf, F_GETFD), FD_CLOEXEC);
}

const struct kt_test kt_call_tests[] = {
	{ "calls: a larger structure of zeroes is taken",
	  a_larger_structure_of_zeroes_is_taken },
	{ "calls: a smaller structure is refused",
	  a_smaller_structure_is_refused },
	{ "calls: wrong and huge pools are refused", wrong_pools_are_refused },
	{ "calls: wrong names are refused", wrong_names_are_refused },
	{ "calls: wrong and overflowing ranges are refused",
	  wrong_ranges_are_refused },
	{ "calls: wrong mappings are refused", wrong_mappings_are_refused },
	{ "calls: a read-only argument leaks nothing",
	  a_read_only_argument_leaks_nothing },
	{ "calls: files are closed on exec", files_are_closed_on_exec },
	{}
};
