// SPDX-License-Identifier: MIT
/* See temp_dir.h. */
#include <ftw.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "temp_dir.h"

void temp_dir_make(char dir[TEMP_DIR_MAX], const char *what)
{
	const char *base = getenv("PENSTOCK_BUILD");

	snprintf(dir, TEMP_DIR_MAX, "%s/pst-%s-XXXXXX",
		 base ? base : "/var/tmp", what);
	assert_non_null(mkdtemp(dir));
}

static int remove_one(const char *path, const struct stat *st, int type,
		      struct FTW *ftw)
{
	return remove(path);
}

void temp_dir_remove(const char *dir)
{
	assert_int_equal(nftw(dir, remove_one, 8, FTW_DEPTH | FTW_PHYS), 0);
}

void temp_dir_path(const char *dir, const char *path, char *full)
{
	snprintf(full, 1024, "%s%s", dir, path);
	for (char *p = full + strlen(dir) + 1; (p = strchr(p, '/')); p++) {
		*p = 0;
		mkdir(full, 0700);
		*p = '/';
	}
}

void temp_dir_put(const char *dir, const char *path, const char *text)
{
	char full[1024];
	FILE *f;

	temp_dir_path(dir, path, full);
	f = fopen(full, "we");
	assert_non_null(f);
	assert_true(fputs(text, f) >= 0);
	assert_int_equal(fclose(f), 0);
}
