// SPDX-License-Identifier: MIT
/*
 * Limits and usage, read from machines made of files: cgroups of both
 * versions, containers, huge page pools.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem_priv.h"
#include "temp_dir.h"

#define MEMINFO \
	"MemTotal:       16000 kB\nMemFree: 1 kB\nMemAvailable:  9000 kB\n"
#define V1_LINE                                                            \
	"35 31 0:32 %s /sys/fs/cgroup/memory rw,relatime - cgroup cgroup " \
	"rw,memory\n"
#define V2_LINE                                                              \
	"30 23 0:26 %s /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 " \
	"rw,nsdelegate\n"
#define NO_LIMIT_V1 "9223372036854771712\n"

struct state {
	char root[TEMP_DIR_MAX];
};

static void put(const struct state *st, const char *path, const char *text)
{
	temp_dir_put(st->root, path, text);
}

static int setup(void **s)
{
	struct state *st = calloc(1, sizeof(*st));

	temp_dir_make(st->root, "mem");
	*s = st;
	return 0;
}

static int teardown(void **s)
{
	struct state *st = *s;

	temp_dir_remove(st->root);
	free(st);
	return 0;
}

static void put_mount(const struct state *st, const char *fmt, const char *root)
{
	char line[512], text[1024];

	snprintf(line, sizeof(line), fmt, root);
	snprintf(text, sizeof(text),
		 "22 27 0:21 / /proc rw - proc proc rw\n"
		 "32 31 0:29 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu\n"
		 "%s",
		 line);
	put(st, "/proc/self/mountinfo", text);
}

static struct pst_mem_limits limits_of(const struct state *st, uint64_t memlock)
{
	struct pst_mem_limits l;

	put(st, "/proc/meminfo", MEMINFO);
	assert_int_equal(pst_mem_limits_read_at(st->root, memlock, &l), 0);
	return l;
}

static void a_machine_without_cgroups_has_no_limit(void **s)
{
	struct pst_mem_limits l = limits_of(*s, 12345);

	assert_int_equal(l.mem_total, 16000 * 1024);
	assert_int_equal(l.mem_available, 9000 * 1024);
	assert_true(l.cgroup_limit == UINT64_MAX);
	assert_int_equal(l.cgroup_used, 0);
	assert_int_equal(l.hugetlb_free_2m, 0);
	assert_int_equal(l.hugetlb_free_1g, 0);
	assert_int_equal(l.memlock, 12345);
}

static void a_missing_meminfo_is_an_error(void **s)
{
	struct state *st = *s;
	struct pst_mem_limits l = { .mem_total = 7 };

	assert_int_equal(pst_mem_limits_read_at(st->root, 0, &l), -ENOENT);
	put(st, "/proc/meminfo", "MemTotal: 5 kB\n");
	assert_int_equal(pst_mem_limits_read_at(st->root, 0, &l), -EINVAL);
	put(st, "/proc/meminfo", "MemTotal: x kB\nMemAvailable: 5 kB\n");
	assert_int_equal(pst_mem_limits_read_at(st->root, 0, &l), -EINVAL);
	assert_int_equal(l.mem_total, 7);
}

static void the_smallest_limit_on_the_way_up_counts_v1(void **s)
{
	static const char dir[] = "/sys/fs/cgroup/memory";
	struct state *st = *s;
	struct pst_mem_limits l;
	char path[256];

	put(st, "/proc/self/cgroup", "3:cpuset:/\n4:memory:/a/b\n0::/\n");
	put_mount(st, V1_LINE, "/");
	snprintf(path, sizeof(path), "%s/memory.limit_in_bytes", dir);
	put(st, path, NO_LIMIT_V1);
	snprintf(path, sizeof(path), "%s/a/memory.limit_in_bytes", dir);
	put(st, path, "5000000\n");
	snprintf(path, sizeof(path), "%s/a/memory.usage_in_bytes", dir);
	put(st, path, "3000000\n");
	snprintf(path, sizeof(path), "%s/a/memory.stat", dir);
	put(st, path,
	    "inactive_file 1\nactive_file 2\ntotal_inactive_file 400000\n"
	    "total_active_file 100000\n");
	snprintf(path, sizeof(path), "%s/a/b/memory.limit_in_bytes", dir);
	put(st, path, "6000000\n");
	l = limits_of(st, 0);
	assert_int_equal(l.cgroup_limit, 5000000);
	assert_int_equal(l.cgroup_used, 2500000);

	put(st, path, NO_LIMIT_V1);
	assert_int_equal(limits_of(st, 0).cgroup_limit, 5000000);
	put(st, path, "4000000\n");
	l = limits_of(st, 0);
	assert_int_equal(l.cgroup_limit, 4000000);
	assert_int_equal(l.cgroup_used, 0);
}

static void the_smallest_limit_on_the_way_up_counts_v2(void **s)
{
	struct state *st = *s;
	struct pst_mem_limits l;

	put(st, "/proc/self/cgroup", "0::/user.slice/app.scope\n");
	put_mount(st, V2_LINE, "/");
	put(st, "/sys/fs/cgroup/user.slice/memory.max", "8000000\n");
	put(st, "/sys/fs/cgroup/user.slice/memory.current", "900000\n");
	put(st, "/sys/fs/cgroup/user.slice/memory.stat",
	    "anon 1\ninactive_file 100000\nactive_file 50000\n"
	    "workingset_activate_file 999\n");
	put(st, "/sys/fs/cgroup/user.slice/app.scope/memory.max", "max\n");
	l = limits_of(st, 0);
	assert_int_equal(l.cgroup_limit, 8000000);
	assert_int_equal(l.cgroup_used, 750000);
	put(st, "/sys/fs/cgroup/user.slice/app.scope/memory.max", "7000000\n");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 7000000);
}

static void both_versions_at_once_are_looked_at(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/cgroup", "4:memory,cpu:/x\n0::/y\n");
	put(st, "/proc/self/mountinfo",
	    "1 2 0:3 / /v1 rw - cgroup cgroup rw,cpu,memory\n"
	    "4 5 0:6 / /v2 rw - cgroup2 cgroup2 rw\n");
	put(st, "/v1/x/memory.limit_in_bytes", "600000\n");
	put(st, "/v2/y/memory.max", "500000\n");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 500000);
	put(st, "/v1/x/memory.limit_in_bytes", "400000\n");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 400000);
}

static void a_container_finds_its_cgroup_at_the_mount_point(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/cgroup", "4:memory:/docker/abc/sub\n");
	put_mount(st, V1_LINE, "/docker/abc");
	put(st, "/sys/fs/cgroup/memory/memory.limit_in_bytes", "700000\n");
	put(st, "/sys/fs/cgroup/memory/sub/memory.limit_in_bytes", "600000\n");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 600000);

	/* A prefix of the name is not a prefix of the path. */
	put_mount(st, V1_LINE, "/docker/ab");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 700000);
	/* Another cgroup namespace. */
	put(st, "/proc/self/cgroup", "4:memory:/../../other\n");
	put_mount(st, V1_LINE, "/");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 700000);
}

static void mount_points_with_blanks_are_found(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/cgroup", "0::/g\n");
	put(st, "/proc/self/mountinfo",
	    "4 5 0:6 / /a\\040b\\134 rw - cgroup2 none rw\n");
	put(st, "/a b\\/g/memory.max", "123456\n");
	assert_int_equal(limits_of(st, 0).cgroup_limit, 123456);
}

static void nonsense_reads_as_no_limit(void **s)
{
	static const char *const groups[] = {
		"", "\n\n", "0:", "4:memory", "::::", "0::relative", "4:mem:/a",
	};
	static const char *const mounts[] = {
		"",	 "\n",
		"1 2 3", "1 2 0:3 / /v1 rw - cgroup",
		" - ",	 "1 2 0:3 / /v1 rw - ext4 cgroup2 rw,memory\n",
	};
	struct state *st = *s;

	for (size_t g = 0; g < PST_ARRAY_SIZE(groups); g++) {
		for (size_t m = 0; m < PST_ARRAY_SIZE(mounts); m++) {
			put(st, "/proc/self/cgroup", groups[g]);
			put(st, "/proc/self/mountinfo", mounts[m]);
			assert_true(limits_of(st, 0).cgroup_limit ==
				    UINT64_MAX);
		}
	}
}

static void huge_pages_that_are_promised_are_not_free(void **s)
{
	static const char p2m[] = "/sys/kernel/mm/hugepages/hugepages-2048kB/";
	static const char n1[] =
		"/sys/devices/system/node/node1/hugepages/hugepages-1048576kB/";
	struct state *st = *s;
	char path[256];

	snprintf(path, sizeof(path), "%sfree_hugepages", p2m);
	put(st, path, "10\n");
	assert_int_equal(limits_of(st, 0).hugetlb_free_2m, 10 * 2 * PST_MIB);
	snprintf(path, sizeof(path), "%sresv_hugepages", p2m);
	put(st, path, "4\n");
	assert_int_equal(limits_of(st, 0).hugetlb_free_2m, 6 * 2 * PST_MIB);
	put(st, path, "11\n");
	assert_int_equal(limits_of(st, 0).hugetlb_free_2m, 0);
	put(st, path, "18446744073709551615\n");
	assert_int_equal(limits_of(st, 0).hugetlb_free_2m, 10 * 2 * PST_MIB);

	snprintf(path, sizeof(path), "%sfree_hugepages", n1);
	put(st, path, "3\n");
	assert_int_equal(pst_mem_hugetlb_free(st->root, PST_GIB, 1),
			 3 * PST_GIB);
	assert_int_equal(pst_mem_hugetlb_free(st->root, PST_GIB, 0), 0);
	assert_int_equal(limits_of(st, 0).hugetlb_free_1g, 0);
}

static void the_right_to_lock_lifts_the_lock_limit(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/status", "Name: x\nCapEff:\t0000000000004000\n");
	assert_true(limits_of(st, 64).memlock == UINT64_MAX);
	put(st, "/proc/self/status", "Name: x\nCapEff:\t000001ffffffbfff\n");
	assert_int_equal(limits_of(st, 64).memlock, 64);
}

static void the_tighter_of_machine_and_cgroup_is_the_room(void **s)
{
	struct pst_mem_limits l = { .mem_available = 100,
				    .cgroup_limit = UINT64_MAX };

	assert_int_equal(pst_mem_room(&l), 100);
	l.cgroup_limit = 90;
	l.cgroup_used = 30;
	assert_int_equal(pst_mem_room(&l), 60);
	/* A limit that was lowered below what is in use. */
	l.cgroup_used = 95;
	assert_int_equal(pst_mem_room(&l), 0);
}

static void usage_is_parsed_from_status(void **s)
{
	struct pst_mem_usage u;

	pst_mem_usage_parse("Name:\tVmRSS: 5 kB\nVmLck:\t     8 kB\n"
			    "VmPin:\t 16 kB\nVmHWM:\t 400 kB\nVmRSS:\t 300 kB\n"
			    "RssAnon:\t 200 kB\nHugetlbPages:\t 2048 kB\n",
			    &u);
	assert_int_equal(u.rss, 300 * 1024);
	assert_int_equal(u.rss_anon, 200 * 1024);
	assert_int_equal(u.rss_peak, 400 * 1024);
	assert_int_equal(u.hugetlb, 2048 * 1024);
	assert_int_equal(u.locked, 24 * 1024);
	pst_mem_usage_parse("", &u);
	assert_int_equal(u.rss, 0);
}

static void huge_pages_of_a_range_are_summed_from_smaps(void **s)
{
	static const char smaps[] =
		"10000000-10200000 rw-p 00000000 00:00 0 \n"
		"Rss: 1 kB\nAnonHugePages:      2048 kB\nVmFlags: rd\n"
		"20000000-20800000 rw-p 00000000 00:00 0 [heap]\n"
		"AnonHugePages:      2048 kB\nShmemPmdMapped: 2048 kB\n"
		"FilePmdMapped: 9 kB\n"
		"20800000-20a00000 rw-p 00000000 00:00 0 \n"
		"AnonHugePages:      2048 kB\n";

	assert_int_equal(pst_mem_thp_parse(smaps, 0x20000000, 0x800000),
			 4 * PST_MIB);
	assert_int_equal(pst_mem_thp_parse(smaps, 0x20000000, 0xa00000),
			 6 * PST_MIB);
	assert_int_equal(pst_mem_thp_parse(smaps, 0x20000000, 0x200000),
			 2 * PST_MIB);
	assert_int_equal(pst_mem_thp_parse(smaps, 0x30000000, 0x200000), 0);
	assert_int_equal(pst_mem_thp_parse("", 0x30000000, 0x200000), 0);
}

static void this_machine_can_be_read(void **s)
{
	struct pst_mem_limits l;
	struct pst_mem_usage u;

	assert_int_equal(pst_mem_limits_read(&l), 0);
	assert_true(l.mem_total >= l.mem_available && l.mem_available > 0);
	assert_int_equal(pst_mem_usage_read(&u), 0);
	assert_true(u.rss > 0 && u.rss <= u.rss_peak && u.rss_anon <= u.rss);
	print_message("available %llu MiB, cgroup %llu of %llu MiB used\n",
		      (unsigned long long)(l.mem_available / PST_MIB),
		      (unsigned long long)(l.cgroup_used / PST_MIB),
		      (unsigned long long)(l.cgroup_limit / PST_MIB));
}

#define WITH_ROOT(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(a_machine_without_cgroups_has_no_limit),
		WITH_ROOT(a_missing_meminfo_is_an_error),
		WITH_ROOT(the_smallest_limit_on_the_way_up_counts_v1),
		WITH_ROOT(the_smallest_limit_on_the_way_up_counts_v2),
		WITH_ROOT(both_versions_at_once_are_looked_at),
		WITH_ROOT(a_container_finds_its_cgroup_at_the_mount_point),
		WITH_ROOT(mount_points_with_blanks_are_found),
		WITH_ROOT(nonsense_reads_as_no_limit),
		WITH_ROOT(huge_pages_that_are_promised_are_not_free),
		WITH_ROOT(the_right_to_lock_lifts_the_lock_limit),
		cmocka_unit_test(the_tighter_of_machine_and_cgroup_is_the_room),
		cmocka_unit_test(usage_is_parsed_from_status),
		cmocka_unit_test(huge_pages_of_a_range_are_summed_from_smaps),
		cmocka_unit_test(this_machine_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
