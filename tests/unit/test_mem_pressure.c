// SPDX-License-Identifier: MIT
/*
 * Readings of memory and its limits on machines made of files, which change
 * between two readings.
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

#include "mem_pressure.h"
#include "mem_priv.h"
#include "temp_dir.h"

#define V1_MOUNT \
	"35 31 0:32 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n"
#define V2_MOUNT "30 23 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n"
#define PSI(n)                                                 \
	"some avg10=0.00 avg60=0.00 avg300=0.00 total=" n "\n" \
	"full avg10=0.00 avg60=0.00 avg300=0.00 total=99999999\n"
#define V1     "/sys/fs/cgroup/memory"
#define V2     "/sys/fs/cgroup"
#define NEVER  INT64_MIN
#define ALWAYS INT64_MAX

struct state {
	char root[TEMP_DIR_MAX];
	struct pst_mem_pressure *p;
};

static void put(const struct state *st, const char *path, const char *text)
{
	temp_dir_put(st->root, path, text);
}

static int setup(void **s)
{
	struct state *st = calloc(1, sizeof(*st));

	temp_dir_make(st->root, "pressure");
	put(st, "/proc/meminfo",
	    "MemTotal: 16000 kB\nMemFree: 1 kB\nMemAvailable: 9000 kB\n");
	*s = st;
	return 0;
}

static int teardown(void **s)
{
	struct state *st = *s;

	pst_mem_pressure_close(st->p);
	temp_dir_remove(st->root);
	free(st);
	return 0;
}

static void open_it(struct state *st)
{
	assert_int_equal(pst_mem_pressure_open_at(st->root, &st->p), 0);
}

static struct pst_mem_reading look(struct state *st, int64_t enough)
{
	struct pst_mem_reading r;

	assert_int_equal(pst_mem_pressure_read(st->p, enough, &r), 0);
	return r;
}

static void a_bare_machine_has_its_own_room(void **s)
{
	struct pst_mem_reading r;

	open_it(*s);
	r = look(*s, ALWAYS);
	assert_int_equal(r.machine_room_bytes, 9000 * 1024);
	assert_int_equal(r.machine_total_bytes, 16000 * 1024);
	assert_true(r.group_room_bytes == INT64_MAX);
	assert_int_equal(r.machine_stall_ns, 0);
	assert_int_equal(r.group_stall_ns, 0);
	put(*s, "/proc/meminfo", "MemTotal: 16000 kB\nMemAvailable: 7 kB\n");
	assert_int_equal(look(*s, ALWAYS).machine_room_bytes, 7 * 1024);
}

static void without_meminfo_there_is_nothing(void **s)
{
	struct state *st = *s;
	struct pst_mem_reading r;
	char path[512];

	open_it(st);
	put(st, "/proc/meminfo", "MemTotal: 16000 kB\n");
	assert_int_equal(pst_mem_pressure_read(st->p, ALWAYS, &r), -EIO);
	pst_mem_pressure_close(st->p);
	st->p = NULL;
	snprintf(path, sizeof(path), "%s/proc/meminfo", st->root);
	assert_int_equal(unlink(path), 0);
	assert_int_equal(pst_mem_pressure_open_at(st->root, &st->p), -ENOENT);
	assert_null(st->p);
}

static void a_limit_of_version_1_may_move(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/mountinfo", V1_MOUNT);
	put(st, "/proc/self/cgroup", "4:memory:/a/b\n0::/\n");
	put(st, V1 "/a/b/memory.limit_in_bytes", "9223372036854771712\n");
	put(st, V1 "/a/b/memory.usage_in_bytes", "1000000\n");
	put(st, V1 "/a/memory.limit_in_bytes", "9223372036854771712\n");
	put(st, V1 "/a/memory.usage_in_bytes", "3000000\n");
	open_it(st);
	assert_true(look(st, NEVER).group_room_bytes == INT64_MAX);
	put(st, V1 "/a/b/memory.limit_in_bytes", "1500000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, 500000);
	put(st, V1 "/a/memory.limit_in_bytes", "3100000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, 100000);
	put(st, V1 "/a/memory.limit_in_bytes", "2000000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, -1000000);
	put(st, V1 "/a/memory.usage_in_bytes", "500000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, 500000);
}

static void max_and_high_of_version_2_both_count(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/mountinfo", V2_MOUNT);
	put(st, "/proc/self/cgroup", "0::/x/y\n");
	put(st, V2 "/x/y/memory.max", "max\n");
	put(st, V2 "/x/y/memory.high", "max\n");
	put(st, V2 "/x/y/memory.current", "400000\n");
	put(st, V2 "/x/memory.max", "900000\n");
	put(st, V2 "/x/memory.current", "450000\n");
	open_it(st);
	assert_int_equal(look(st, NEVER).group_room_bytes, 450000);
	put(st, V2 "/x/y/memory.high", "500000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, 100000);
	put(st, V2 "/x/y/memory.max", "450000\n");
	assert_int_equal(look(st, NEVER).group_room_bytes, 50000);
}

static void file_cache_is_room_where_it_matters(void **s)
{
	struct state *st = *s;

	put(st, "/proc/self/mountinfo", V1_MOUNT);
	put(st, "/proc/self/cgroup", "4:memory:/a\n");
	put(st, V1 "/a/memory.limit_in_bytes", "1000000\n");
	put(st, V1 "/a/memory.usage_in_bytes", "900000\n");
	put(st, V1 "/a/memory.stat",
	    "active_file 7\ntotal_inactive_file 200000\n"
	    "total_active_file 300000\n");
	open_it(st);
	assert_int_equal(look(st, 200000).group_room_bytes, 600000);
	assert_int_equal(look(st, 100000).group_room_bytes, 100000);
	/* More cache than use, for a moment: not more room than the limit. */
	put(st, V1 "/a/memory.stat", "total_active_file 3000000\n");
	assert_int_equal(look(st, 200000).group_room_bytes, 1000000);
}

static void stalls_are_those_of_the_innermost_cgroup(void **s)
{
	struct state *st = *s;
	struct pst_mem_reading r;

	put(st, "/proc/self/mountinfo", V2_MOUNT);
	put(st, "/proc/self/cgroup", "0::/x/y\n");
	put(st, "/proc/pressure/memory", PSI("161429236"));
	put(st, V2 "/x/y/memory.pressure", PSI("42"));
	put(st, V2 "/x/memory.pressure", PSI("4200"));
	open_it(st);
	r = look(st, ALWAYS);
	assert_true(r.machine_stall_ns == 161429236000ULL);
	assert_int_equal(r.group_stall_ns, 42000);
	put(st, V2 "/x/y/memory.pressure", PSI("43"));
	assert_int_equal(look(st, ALWAYS).group_stall_ns, 43000);
	put(st, V2 "/x/y/memory.pressure", "some avg10=0.00\n");
	assert_int_equal(look(st, ALWAYS).group_stall_ns, 0);
}

static void deep_cgroups_do_no_harm(void **s)
{
	struct state *st = *s;
	char path[512] = "/sys/fs/cgroup/memory", group[512] = "4:memory:";
	char file[600];

	for (int i = 0; i < 40; i++) {
		strcat(path, "/d");
		strcat(group, "/d");
		snprintf(file, sizeof(file), "%s/memory.limit_in_bytes", path);
		put(st, file, "5000\n");
		snprintf(file, sizeof(file), "%s/memory.usage_in_bytes", path);
		put(st, file, "4000\n");
	}
	put(st, "/proc/self/mountinfo", V1_MOUNT);
	put(st, "/proc/self/cgroup", group);
	open_it(st);
	assert_int_equal(look(st, NEVER).group_room_bytes, 1000);
}

static void this_machine_can_be_read(void **s)
{
	struct pst_mem_pressure *p;
	struct pst_mem_reading r;

	assert_int_equal(pst_mem_pressure_open(&p), 0);
	assert_int_equal(pst_mem_pressure_read(p, ALWAYS, &r), 0);
	assert_true(r.machine_total_bytes > 0);
	assert_true(r.machine_room_bytes <= r.machine_total_bytes);
	pst_mem_pressure_close(p);
}

#define WITH_ROOT(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		WITH_ROOT(a_bare_machine_has_its_own_room),
		WITH_ROOT(without_meminfo_there_is_nothing),
		WITH_ROOT(a_limit_of_version_1_may_move),
		WITH_ROOT(max_and_high_of_version_2_both_count),
		WITH_ROOT(file_cache_is_room_where_it_matters),
		WITH_ROOT(stalls_are_those_of_the_innermost_cgroup),
		WITH_ROOT(deep_cgroups_do_no_harm),
		cmocka_unit_test(this_machine_can_be_read),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
