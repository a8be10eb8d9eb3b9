// SPDX-License-Identifier: MIT
/*
 * Replays files through a fuzz target without libFuzzer, so that the corpus is
 * part of every test run.  Arguments are files and folders; a folder's files
 * end in .gguf.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "fuzz.h"

static int replay_file(const char *path, unsigned long *nr)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	uint8_t *data = NULL;
	int rc = -1;

	if (!f || fstat(fileno(f), &st))
		goto out;
	/* A block of exactly the file's size: a sanitizer guards its end. */
	data = malloc(st.st_size ? (size_t)st.st_size : 1);
	if (!data ||
	    fread(data, 1, (size_t)st.st_size, f) != (size_t)st.st_size)
		goto out;
	LLVMFuzzerTestOneInput(data, (size_t)st.st_size);
	(*nr)++;
	rc = 0;
out:
	if (rc)
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
	free(data);
	if (f)
		fclose(f);
	return rc;
}

static int is_input(const struct dirent *e)
{
	const char *dot = strrchr(e->d_name, '.');

	return dot && !strcmp(dot, ".gguf");
}

static int replay_dir(const char *dir, unsigned long *nr)
{
	struct dirent **list;
	int n = scandir(dir, &list, is_input, alphasort), rc = 0;
	char path[4096];

	if (n < 0) {
		fprintf(stderr, "%s: %s\n", dir, strerror(errno));
		return -1;
	}
	for (int i = 0; i < n; i++) {
		snprintf(path, sizeof(path), "%s/%s", dir, list[i]->d_name);
		if (!rc)
			rc = replay_file(path, nr);
		free(list[i]);
	}
	free(list);
	return rc;
}

int main(int argc, char **argv)
{
	unsigned long nr = 0;
	struct stat st;

	for (int i = 1; i < argc; i++) {
		int rc = stat(argv[i], &st) || !S_ISDIR(st.st_mode)
				 ? replay_file(argv[i], &nr)
				 : replay_dir(argv[i], &nr);

		if (rc)
			return 1;
	}
	printf("%lu inputs\n", nr);
	return nr ? 0 : 1;
}
