// SPDX-License-Identifier: MIT
/*
 * The state directory: where it is, names, whole-file writes, bounded reads,
 * and what is said when one of them is not possible.
 */
#include <errno.h>
#include <ftw.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cmocka.h>

#include "state.h"
#include "temp_dir.h"

static int setup(void **state)
{
	*state = malloc(TEMP_DIR_MAX);
	temp_dir_make(*state, "state");
	return 0;
}

static int teardown(void **state)
{
	temp_dir_remove(*state);
	free(*state);
	return 0;
}

static uint32_t nr_files;

static int count_file(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	nr_files += type == FTW_F;
	return 0;
}

static uint32_t files_below(const char *dir)
{
	nr_files = 0;
	nftw(dir, count_file, 8, FTW_PHYS);
	return nr_files;
}

static void the_directory_follows_the_environment(void **state)
{
	static const struct {
		struct pst_state_env env;
		const char *dir;
	} cases[] = {
		{ { "/over", "/xdg", "/home/u" }, "/over" },
		{ { "rel", "/xdg", "/home/u" }, "rel" },
		{ { "", "/xdg", "/home/u" }, "/xdg/penstock" },
		{ { NULL, "/xdg", "/home/u" }, "/xdg/penstock" },
		{ { NULL, "rel", "/home/u" }, "/home/u/.local/state/penstock" },
		{ { NULL, "", "/home/u" }, "/home/u/.local/state/penstock" },
		{ { NULL, NULL, NULL }, "/var/lib/penstock" },
		{ { NULL, NULL, "" }, "/var/lib/penstock" },
		{ { NULL, NULL, "nowhere" }, "/var/lib/penstock" },
	};
	char dir[PST_STATE_DIR_MAX];

	for (size_t i = 0; i < PST_ARRAY_SIZE(cases); i++) {
		assert_int_equal(pst_state_dir(&cases[i].env, dir), 0);
		assert_string_equal(dir, cases[i].dir);
	}
}

static void a_directory_that_is_too_long_is_refused(void **state)
{
	char home[2 * PST_STATE_DIR_MAX], dir[PST_STATE_DIR_MAX] = "kept";
	struct pst_state_env env = { .home = home };

	memset(home, 'x', sizeof(home) - 1);
	home[0] = '/';
	home[sizeof(home) - 1] = 0;
	assert_int_equal(pst_state_dir(&env, dir), -ENAMETOOLONG);
	assert_string_equal(dir, "kept");
}

static void names_are_plain_and_differ(void **state)
{
	static const char *const keys[] = {
		"", "a", "A", "a/b", "a_b", "../../etc/passwd", "\xff\n\033[2J",
	};
	char name[PST_ARRAY_SIZE(keys)][PST_STATE_NAME_MAX];
	char big[4096], one[PST_STATE_NAME_MAX], two[PST_STATE_NAME_MAX];

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		pst_state_name("drive", keys[i], name[i]);
		for (const char *c = name[i]; *c; c++)
			assert_true((*c >= 'a' && *c <= 'z') || *c == '_' ||
				    *c == '-' || (*c >= '0' && *c <= '9') ||
				    (*c >= 'A' && *c <= 'Z'));
		for (size_t j = 0; j < i; j++)
			assert_string_not_equal(name[i], name[j]);
	}
	/* Also beyond the legible part. */
	memset(big, 'k', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	pst_state_name("cache", big, one);
	big[sizeof(big) - 2] = 'l';
	pst_state_name("cache", big, two);
	assert_string_not_equal(one, two);
	assert_true(strlen(one) < PST_STATE_NAME_MAX);
}

static void what_is_written_is_read_back(void **state)
{
	char dir[600], *got;
	struct stat st;
	uint64_t size;

	snprintf(dir, sizeof(dir), "%s/a//b/c/", (char *)*state);
	assert_int_equal(pst_state_write(dir, "x", "one\0two", 7, NULL), 0);
	assert_int_equal(pst_state_read(dir, "x", 100, &got, &size, NULL), 0);
	assert_int_equal(size, 7);
	assert_memory_equal(got, "one\0two\0", 8);
	free(got);
	assert_int_equal(pst_state_write(dir, "x", "", 0, NULL), 0);
	assert_int_equal(pst_state_read(dir, "x", 0, &got, &size, NULL), 0);
	assert_int_equal(size, 0);
	assert_int_equal(got[0], 0);
	free(got);
	assert_int_equal(files_below(*state), 1);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0700);
	snprintf(dir, sizeof(dir), "%s/a/b/c/x", (char *)*state);
	assert_int_equal(stat(dir, &st), 0);
	assert_int_equal(st.st_mode & 0777, 0600);
}

static void a_missing_state_is_no_message(void **state)
{
	struct pst_diag d;
	uint64_t size = 42;
	char *got = NULL;

	pst_diag_init(&d);
	assert_int_equal(pst_state_read(*state, "x", 10, &got, &size, &d),
			 -ENOENT);
	assert_int_equal(pst_state_read("/no/such", "x", 10, &got, &size, &d),
			 -ENOENT);
	assert_int_equal(d.err, 0);
	assert_null(got);
	assert_int_equal(size, 42);
}

static void odd_names_are_refused(void **state)
{
	static const char *const bad[] = { "", ".", "..", ".x", "a/b", "/a" };
	uint64_t size;
	char *got;

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		assert_int_equal(pst_state_write(*state, bad[i], "", 0, NULL),
				 -EINVAL);
		assert_int_equal(pst_state_read(*state, bad[i], 1, &got, &size,
						NULL),
				 -EINVAL);
	}
	assert_int_equal(files_below(*state), 0);
}

static void a_read_is_bounded_and_wants_a_file(void **state)
{
	char path[600], *got = NULL;
	struct pst_diag d;
	uint64_t size;

	pst_diag_init(&d);
	assert_int_equal(pst_state_write(*state, "x", "12345", 5, NULL), 0);
	assert_int_equal(pst_state_read(*state, "x", 4, &got, &size, &d),
			 -EFBIG);
	assert_non_null(strstr(d.file, "/x"));
	snprintf(path, sizeof(path), "%s/fifo", (char *)*state);
	assert_int_equal(mkfifo(path, 0600), 0);
	assert_int_equal(pst_state_read(*state, "fifo", 4, &got, &size, NULL),
			 -EBADMSG);
	snprintf(path, sizeof(path), "%s/dir", (char *)*state);
	assert_int_equal(mkdir(path, 0700), 0);
	assert_int_equal(pst_state_read(*state, "dir", 4, &got, &size, NULL),
			 -EBADMSG);
	assert_null(got);
}

static void a_directory_that_cannot_be_made_is_named(void **state)
{
	struct pst_diag d;
	char dir[600];

	assert_int_equal(pst_state_write(*state, "x", "1", 1, NULL), 0);
	snprintf(dir, sizeof(dir), "%s/x", (char *)*state);
	pst_diag_init(&d);
	assert_int_equal(pst_state_write(dir, "y", "1", 1, &d), -ENOTDIR);
	assert_string_equal(d.file, dir);
	snprintf(dir, sizeof(dir), "%s/x/deeper", (char *)*state);
	pst_diag_init(&d);
	assert_int_equal(pst_state_write(dir, "y", "1", 1, &d), -ENOTDIR);
	assert_true(*d.file);
	/* Nobody, not even root, makes directories there. */
	pst_diag_init(&d);
	assert_true(pst_state_write("/proc/no/such", "y", "1", 1, &d) < 0);
	assert_string_equal(d.file, "/proc/no");
	assert_true(pst_state_write("", "y", "1", 1, NULL) < 0);
}

/* A limit on file size is met like a full disk. */
static void a_write_that_fails_leaves_the_old_state(void **state)
{
	struct rlimit old, small;
	char big[8192] = { 0 }, *got;
	struct pst_diag d;
	uint64_t size;
	int ret;

	assert_int_equal(pst_state_write(*state, "x", "old", 3, NULL), 0);
	signal(SIGXFSZ, SIG_IGN);
	assert_int_equal(getrlimit(RLIMIT_FSIZE, &old), 0);
	small = old;
	small.rlim_cur = 4096;
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &small), 0);
	pst_diag_init(&d);
	ret = pst_state_write(*state, "x", big, sizeof(big), &d);
	assert_int_equal(setrlimit(RLIMIT_FSIZE, &old), 0);
	assert_int_equal(ret, -EFBIG);
	assert_non_null(strstr(d.file, "/x"));
	assert_int_equal(pst_state_read(*state, "x", 100, &got, &size, NULL),
			 0);
	assert_string_equal(got, "old");
	free(got);
	assert_int_equal(files_below(*state), 1);
}

#define WITH_DIR(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_directory_follows_the_environment),
		cmocka_unit_test(a_directory_that_is_too_long_is_refused),
		cmocka_unit_test(names_are_plain_and_differ),
		WITH_DIR(what_is_written_is_read_back),
		WITH_DIR(a_missing_state_is_no_message),
		WITH_DIR(odd_names_are_refused),
		WITH_DIR(a_read_is_bounded_and_wants_a_file),
		WITH_DIR(a_directory_that_cannot_be_made_is_named),
		WITH_DIR(a_write_that_fails_leaves_the_old_state),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
