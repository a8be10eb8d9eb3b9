// SPDX-License-Identifier: MIT
/*
 * Mirrors: copies of the model, or of some of its files, on other drives.
 * Finds the files, makes sure that they hold the same model, and hands them to
 * io, which decides from which copy a read is made.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "engine_priv.h"

#define BLOCK_BYTES (64 * PST_KIB)
/* Blocks of weights that are compared, over all files; each file has a few. */
#define SAMPLES	    48
#define SAMPLES_MIN 4
/* "-00001-of-00003.gguf" */
#define PART_FORMAT "-%05u-of-%05u.gguf"
#define PART_CHARS  20

/* Two files that should be the same, and a block of each. */
struct pair {
	const char *path[2];
	int fd[2];
	uint8_t *block[2];
	uint64_t size_bytes;
};

static int read_block(const struct pair *p, int i, uint64_t off_bytes,
		      uint64_t len_bytes, struct pst_diag *diag)
{
	uint64_t done = 0;

	while (done < len_bytes) {
		ssize_t n = pread(p->fd[i], p->block[i] + done,
				  len_bytes - done, (off_t)(off_bytes + done));

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return pst_diag_set_at(
				diag, n ? -errno : -EIO, p->path[i],
				off_bytes + done, "cannot read: %s",
				n ? strerror(errno) : "the file ends early");
		done += (uint64_t)n;
	}
	return 0;
}

static int compare_block(const struct pair *p, uint64_t off_bytes,
			 uint64_t len_bytes, struct pst_diag *diag)
{
	int rc = read_block(p, 0, off_bytes, len_bytes, diag);
	uint64_t i = 0;

	if (!rc)
		rc = read_block(p, 1, off_bytes, len_bytes, diag);
	if (rc || !memcmp(p->block[0], p->block[1], len_bytes))
		return rc;
	while (p->block[0][i] == p->block[1][i])
		i++;
	return pst_diag_set_at(diag, -EBADMSG, p->path[1], off_bytes + i,
			       "no mirror of %s: the bytes differ here",
			       p->path[0]);
}

/* One block at random out of each of @nr equal stretches, and the last one. */
static int compare_samples(const struct pair *p, uint64_t from_bytes,
			   uint32_t nr, struct pst_diag *diag)
{
	uint64_t span = (p->size_bytes - from_bytes) / nr;
	uint64_t rng = p->size_bytes;
	uint64_t off = p->size_bytes - PST_MIN(BLOCK_BYTES, p->size_bytes);
	int rc = compare_block(p, off, p->size_bytes - off, diag);

	for (uint32_t i = 0; !rc && i < nr; i++) {
		off = from_bytes + i * span;
		if (span > BLOCK_BYTES)
			off += pst_rng_next(&rng) % (span - BLOCK_BYTES);
		rc = compare_block(p, off,
				   PST_MIN(BLOCK_BYTES, p->size_bytes - off),
				   diag);
	}
	return rc;
}

static int compare_files(const struct pair *p, const struct pst_gguf_file *f,
			 uint32_t nr_samples, struct pst_diag *diag)
{
	uint64_t head = PST_MIN(f->data_off_bytes, p->size_bytes);
	int rc = 0;

	for (uint64_t off = 0; !rc && off < head; off += BLOCK_BYTES)
		rc = compare_block(p, off, PST_MIN(BLOCK_BYTES, head - off),
				   diag);
	if (!rc && p->size_bytes > head)
		rc = compare_samples(p, head, nr_samples, diag);
	/* Weights are read past the page cache: leave nothing of this there */
	for (int i = 0; i < 2; i++)
		posix_fadvise(p->fd[i], 0, 0, POSIX_FADV_DONTNEED);
	return rc;
}

static int open_side(struct pair *p, int i, struct pst_diag *diag)
{
	struct stat st;

	/* No pipe may hang us here; of a file this changes nothing. */
	p->fd[i] = open(p->path[i], O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (p->fd[i] < 0 || fstat(p->fd[i], &st))
		return pst_diag_set_at(diag, -errno, p->path[i], UINT64_MAX,
				       "cannot open: %s", strerror(errno));
	if (!S_ISREG(st.st_mode))
		return pst_diag_set_at(diag, -EBADMSG, p->path[i], UINT64_MAX,
				       "not a regular file");
	if (i && (uint64_t)st.st_size != p->size_bytes)
		return pst_diag_set_at(diag, -EBADMSG, p->path[i], UINT64_MAX,
				       "no mirror of %s: it has %" PRIu64
				       " bytes, not %" PRIu64,
				       p->path[0], (uint64_t)st.st_size,
				       p->size_bytes);
	p->size_bytes = (uint64_t)st.st_size;
	return 0;
}

static int check_mirror(const struct pst_gguf_file *f, const char *path,
			uint32_t nr_samples, struct pst_diag *diag)
{
	struct pair p = { .path = { f->path, path }, .fd = { -1, -1 } };
	int rc;

	p.block[0] = malloc(2 * BLOCK_BYTES);
	if (!p.block[0])
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	p.block[1] = p.block[0] + BLOCK_BYTES;
	rc = open_side(&p, 0, diag);
	if (!rc)
		rc = open_side(&p, 1, diag);
	if (!rc)
		rc = compare_files(&p, f, nr_samples, diag);
	for (int i = 0; i < 2; i++)
		if (p.fd[i] >= 0)
			close(p.fd[i]);
	free(p.block[0]);
	return rc;
}

/* Part @no of a split model whose first part is @first. */
static char *part_path(const char *first, uint32_t no, uint32_t nr,
		       struct pst_diag *diag)
{
	size_t len = strlen(first);
	char want[PART_CHARS + 8], *path;

	snprintf(want, sizeof(want), PART_FORMAT, 1, nr);
	if (len < PART_CHARS || strcmp(first + len - PART_CHARS, want)) {
		pst_diag_set_at(diag, -EBADMSG, first, UINT64_MAX,
				"the model has %u parts: name the first part "
				"of the mirror (...%s) or its directory",
				nr, want);
		return NULL;
	}
	if (asprintf(&path, "%.*s" PART_FORMAT, (int)(len - PART_CHARS), first,
		     no, nr) < 0) {
		pst_diag_set(diag, -ENOMEM, "out of memory");
		return NULL;
	}
	return path;
}

/* Where file @i of the model lies in the mirror; NULL with @diag. */
static char *mirror_path(const struct pst_engine *e, const char *mirror,
			 uint32_t i, struct pst_diag *diag)
{
	const char *path = pst_gguf_file(e->gguf, i)->path;
	const char *base = strrchr(path, '/');
	uint32_t nr = pst_gguf_nr_files(e->gguf);
	struct stat st;
	char *out;
	int n;

	if (!stat(mirror, &st) && S_ISDIR(st.st_mode))
		n = asprintf(&out, "%s/%s", mirror, base ? base + 1 : path);
	else if (nr > 1)
		return part_path(mirror, i + 1, nr, diag);
	else
		n = asprintf(&out, "%s", mirror);
	if (n >= 0)
		return out;
	pst_diag_set(diag, -ENOMEM, "out of memory");
	return NULL;
}

/* Which of the model's files does a directory hold?  All of them are asked for
 * when it holds none, so that the first one's absence is told.
 */
static bool holds(const struct pst_engine *e, const char *mirror, uint32_t i)
{
	char *path = mirror_path(e, mirror, i, NULL);
	bool there = path && (!access(path, F_OK) || errno != ENOENT);

	free(path);
	return there;
}

static uint32_t count_held(const struct pst_engine *e, const char *mirror)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < pst_gguf_nr_files(e->gguf); i++)
		nr += holds(e, mirror, i);
	return nr;
}

static int add_file(struct pst_engine *e, const char *mirror, uint32_t i,
		    struct pst_diag *diag)
{
	const struct pst_gguf_file *f = pst_gguf_file(e->gguf, i);
	double share =
		(double)f->size_bytes / (double)pst_gguf_files_bytes(e->gguf);
	char *path = mirror_path(e, mirror, i, diag);
	int rc;

	if (!path)
		return diag && diag->err ? diag->err : -EBADMSG;
	rc = check_mirror(f, path,
			  PST_MAX((uint32_t)(SAMPLES * share), SAMPLES_MIN),
			  diag);
	if (!rc)
		rc = pst_io_add_copy(e->io, i, path, diag);
	free(path);
	return rc;
}

static int add_mirror(struct pst_engine *e, const char *mirror,
		      struct pst_diag *diag)
{
	uint32_t nr = pst_gguf_nr_files(e->gguf), held;
	struct stat st;
	bool some = nr > 1 && !stat(mirror, &st) && S_ISDIR(st.st_mode);
	int rc = 0;

	held = some ? count_held(e, mirror) : nr;
	some = held && held < nr;
	for (uint32_t i = 0; !rc && i < nr; i++)
		if (!some || holds(e, mirror, i))
			rc = add_file(e, mirror, i, diag);
	if (!rc && some)
		pst_log(e->opts.log, PST_LOG_INFO,
			"%s mirrors %u of the model's %u files", mirror, held,
			nr);
	return rc;
}

int pst_engine_add_mirrors(struct pst_engine *e, struct pst_diag *diag)
{
	int rc = 0;

	if (e->opts.nr_mirrors && e->opts.io == PST_ENGINE_IO_MMAP)
		pst_log(e->opts.log, PST_LOG_WARN,
			"with --io mmap the mirrors are not read");
	for (uint32_t i = 0; !rc && i < e->opts.nr_mirrors; i++)
		rc = add_mirror(e, e->opts.mirrors[i], diag);
	return rc;
}

uint32_t pst_engine_nr_drives(const struct pst_engine *e)
{
	return pst_io_nr_drives(e->io);
}

int pst_engine_drive(const struct pst_engine *e, uint32_t i,
		     struct pst_engine_drive *out)
{
	struct pst_io_drive_stats d;
	int rc = pst_io_drive_stats(e->io, i, &d);

	if (rc)
		return rc;
	*out = (struct pst_engine_drive){
		.name = d.name,
		.path = d.path,
		.reads = d.reads,
		.read_bytes = d.read_bytes,
		.errors = d.errors,
		.bytes_per_s = d.bytes_per_s,
		.latency_ns = d.latency_ns,
		.left_out = d.left_out,
	};
	return 0;
}
