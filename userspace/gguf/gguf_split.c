// SPDX-License-Identifier: MIT
/*
 * Split models: PREFIX-00001-of-0000N.gguf.  Part 1 carries the metadata; the
 * names of the others are derived from its name, and each part must say that
 * it is the one its name claims.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "gguf_priv.h"

#define SUFFIX_FMT "-%05u-of-%05u.gguf"
#define SUFFIX_LEN 20

static bool is_part_one(const char *path, uint32_t count)
{
	char want[32];
	size_t len = strlen(path);

	snprintf(want, sizeof(want), SUFFIX_FMT, 1, count);
	return len > SUFFIX_LEN && !strcmp(path + len - strlen(want), want);
}

static char *part_path(const char *first, uint32_t no, uint32_t count)
{
	size_t prefix = strlen(first) - SUFFIX_LEN;
	char *path = malloc(prefix + SUFFIX_LEN + 12);

	if (!path)
		return NULL;
	memcpy(path, first, prefix);
	snprintf(path + prefix, SUFFIX_LEN + 12, SUFFIX_FMT, no, count);
	return path;
}

static int open_part(struct pst_gguf *g, uint32_t no, uint32_t count,
		     struct pst_diag *diag)
{
	char *path = part_path(g->files[0].path, no, count);
	uint64_t split_no;
	int rc;

	if (!path)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	if (access(path, F_OK)) {
		rc = pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				     "part %u of %u of a split model is "
				     "missing",
				     no, count);
		free(path);
		return rc;
	}
	rc = pst_gguf_map_file(g, path, diag);
	if (!rc)
		rc = pst_gguf_parse(g, no - 1, &split_no, diag);
	if (!rc && split_no != no - 1)
		rc = pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				     "split.no does not match the file's name");
	free(path);
	return rc;
}

int pst_gguf_open_parts(struct pst_gguf *g, uint64_t split_no,
			struct pst_diag *diag)
{
	const char *first = g->files[0].path;
	uint64_t count = 1, total;
	int rc = 0;

	if (pst_gguf_find(g, "split.count") &&
	    pst_gguf_get_u64(g, "split.count", &count))
		return pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				       "split.count is not an integer");
	if (count <= 1 && (split_no == UINT64_MAX || !split_no))
		return 0;
	if (split_no == UINT64_MAX)
		return pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				       "split.count is %" PRIu64
				       ", but split.no is missing or not an "
				       "integer",
				       count);
	if (split_no != 0)
		return pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				       "this is a later part of a split model: "
				       "open part 1");
	if (count > PST_GGUF_MAX_FILES || !is_part_one(first, (uint32_t)count))
		return pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				       "split.count is %" PRIu64
				       ", but the file's name does not end in "
				       "-00001-of-%05" PRIu64 ".gguf",
				       count, count);
	for (uint32_t no = 2; !rc && no <= count; no++)
		rc = open_part(g, no, (uint32_t)count, diag);
	if (rc)
		return rc;
	if (!pst_gguf_get_u64(g, "split.tensors.count", &total) &&
	    total != g->nr_tensors)
		return pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				       "split.tensors.count is %" PRIu64
				       ", the parts hold %" PRIu64 " tensors",
				       total, g->nr_tensors);
	return 0;
}
