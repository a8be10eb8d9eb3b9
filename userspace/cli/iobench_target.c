// SPDX-License-Identifier: MIT
/*
 * What iobench reads: a file, a block device, or in a folder a temporary file
 * of its own.  That one never has a name in the folder (or loses it before a
 * byte is written), so that the kernel removes it however the program ends.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "gguf.h"
#include "iobench.h"

#define CHUNK_BYTES   (8 * PST_MIB)
#define TEMP_MAX      (4 * PST_GIB)
#define TEMP_WRITE_NS 10000000000ULL
/* Longer parts of experts are split by every engine. */
#define EXPERT_MAX (16 * PST_MIB)

static int fail(int err, const char *path, const char *what)
{
	struct pst_diag d;

	pst_diag_init(&d);
	pst_diag_set_at(&d, -err, path, UINT64_MAX, "%s%s%s", what,
			*what ? ": " : "", strerror(err));
	return cli_fail(-err, &d);
}

/* How long the temporary file may be; 0 when the folder has too little room. */
static uint64_t room_in(const char *dir, uint64_t *free_bytes)
{
	struct statvfs fs;
	uint64_t room;

	if (statvfs(dir, &fs) ||
	    !pst_mul_u64(fs.f_bavail, fs.f_frsize, free_bytes))
		return 0;
	room = PST_MIN(*free_bytes / 4, TEMP_MAX);
	room = pst_align_down(room, CHUNK_BYTES);
	return room < IOBENCH_FILE_MIN ? 0 : room;
}

/* O_DIRECT: what is measured shall not lie in the page cache. */
static int open_nameless(const char *dir)
{
	char path[PATH_MAX];
	int fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
	int n;

	if (fd < 0 && errno == EINVAL)
		fd = open(dir, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
	if (fd >= 0 || (errno != EOPNOTSUPP && errno != EISDIR &&
			errno != EINVAL && errno != ENOENT))
		return fd;
	n = snprintf(path, sizeof(path), "%s/.penstock-iobench-XXXXXX", dir);
	if (n < 0 || n >= PATH_MAX) {
		errno = ENAMETOOLONG;
		return -1;
	}
	fd = mkostemp(path, O_CLOEXEC);
	if (fd >= 0)
		unlink(path);
	return fd;
}

/* Drives and file systems that compress or share blocks must not gain. */
static void make_unique(uint64_t *chunk, uint64_t nr)
{
	for (uint64_t i = 0; i < CHUNK_BYTES / 8; i += 512)
		chunk[i] = nr * (CHUNK_BYTES / 4096) + i / 512;
}

static int write_chunk(int fd, const char *chunk)
{
	uint64_t done = 0;

	while (done < CHUNK_BYTES) {
		ssize_t n = write(fd, chunk + done, CHUNK_BYTES - done);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? errno : EIO;
		done += (uint64_t)n;
	}
	return 0;
}

/* To its length, or as far as a slow drive comes in ten seconds. */
static int write_file(struct iobench_target *t, struct cli_opts *o,
		      uint64_t *chunk, uint64_t room)
{
	uint64_t start_ns = pst_now_ns(), rng = 1, done = 0;
	int err = 0;

	for (uint64_t i = 0; i < CHUNK_BYTES / 8; i++)
		chunk[i] = pst_rng_next(&rng);
	while (!err && done < room &&
	       (done < IOBENCH_FILE_MIN ||
		pst_now_ns() - start_ns < TEMP_WRITE_NS)) {
		make_unique(chunk, done / CHUNK_BYTES);
		err = write_chunk(t->fd, (char *)chunk);
		if (!err)
			done += CHUNK_BYTES;
		cli_bar_update(&o->bar, "writing", done, room, "B");
	}
	if (!err && fsync(t->fd))
		err = errno;
	/* Where the file was not written past the page cache. */
	(void)posix_fadvise(t->fd, 0, 0, POSIX_FADV_DONTNEED);
	cli_bar_clear(&o->bar);
	t->size_bytes = done;
	return err;
}

static int make_file(struct iobench_target *t, struct cli_opts *o)
{
	char room_text[32], free_text[32];
	uint64_t free_bytes = 0, room = room_in(t->path, &free_bytes);
	void *chunk;
	int err;

	cli_bytes_text(free_bytes, free_text, sizeof(free_text));
	if (!room) {
		cli_error("%s: %s free, and a temporary file takes a quarter "
			  "of that, 256 MiB at least: make room, or give a "
			  "file that is there",
			  t->path, free_text);
		return EXIT_DRIVE;
	}
	t->fd = open_nameless(t->path);
	if (t->fd < 0)
		return fail(errno, t->path, "no temporary file can be made");
	fprintf(stderr,
		"penstock: %s: writing a temporary file of up to %s (%s free); "
		"it has no name and goes when penstock ends\n",
		t->path, cli_bytes_text(room, room_text, sizeof(room_text)),
		free_text);
	chunk = aligned_alloc(4096, CHUNK_BYTES);
	if (!chunk)
		return cli_fail(-ENOMEM, NULL);
	/* A file size limit shall be an error of write(), not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	err = write_file(t, o, chunk, room);
	free(chunk);
	if (err) {
		cli_error("%s: the temporary file cannot be written past %s: "
			  "%s; give a file that is there instead",
			  t->path,
			  cli_bytes_text(t->size_bytes, room_text,
					 sizeof(room_text)),
			  strerror(err));
		return EXIT_DRIVE;
	}
	snprintf(t->source, sizeof(t->source), "/proc/self/fd/%d", t->fd);
	return EXIT_OK;
}

static void add_expert(struct iobench_target *t, uint64_t bytes)
{
	uint32_t at = 0;

	if (bytes > EXPERT_MAX || t->nr_experts == 4)
		return;
	while (at < t->nr_experts && t->expert_bytes[at] < bytes)
		at++;
	if (at < t->nr_experts && t->expert_bytes[at] == bytes)
		return;
	memmove(&t->expert_bytes[at + 1], &t->expert_bytes[at],
		(t->nr_experts - at) * sizeof(t->expert_bytes[0]));
	t->expert_bytes[at] = (uint32_t)bytes;
	t->nr_experts++;
}

/* The reads that one expert of each tensor needs: whole blocks around it. */
static void find_experts(struct iobench_target *t, const struct pst_gguf *g)
{
	for (uint64_t i = 0; i < pst_gguf_nr_tensors(g); i++) {
		const struct pst_gguf_tensor *w = pst_gguf_tensor(g, i);
		uint64_t one;

		if (w->nr_dims != 3 || !w->ne[2] ||
		    !strstr(w->name, "_exps.weight"))
			continue;
		one = w->size_bytes / w->ne[2];
		if (one)
			add_expert(t,
				   pst_align_up(w->off_bytes + one, 4096) -
					   pst_align_down(w->off_bytes, 4096));
	}
}

/* A damaged model is a file like any other here. */
static void look_at_model(struct iobench_target *t)
{
	struct pst_gguf *g;

	if (!pst_gguf_begins(t->path) || pst_gguf_open(t->path, &g, NULL))
		return;
	find_experts(t, g);
	pst_gguf_close(g);
}

static int look_at_file(struct iobench_target *t)
{
	int fd = open(t->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	int err = end < 0 ? errno : 0;

	if (fd >= 0)
		close(fd);
	if (err)
		return fail(err, t->path, "cannot be read");
	t->size_bytes = (uint64_t)end;
	if (!end) {
		cli_error("%s: the file is empty: there is nothing to read",
			  t->path);
		return EXIT_DATA;
	}
	snprintf(t->source, sizeof(t->source), "%s", t->path);
	look_at_model(t);
	return EXIT_OK;
}

int iobench_target_open(struct iobench_target *t, struct cli_opts *o, bool make)
{
	struct stat st;

	t->path = o->args[0];
	t->fd = -1;
	if (stat(t->path, &st))
		return fail(errno, t->path, "");
	t->is_dir = S_ISDIR(st.st_mode);
	t->is_block = S_ISBLK(st.st_mode);
	if (strlen(t->path) >= sizeof(t->source))
		return fail(ENAMETOOLONG, t->path, "");
	if (!t->is_dir && !t->is_block && !S_ISREG(st.st_mode)) {
		cli_error("%s: neither a file, a folder nor a block device",
			  t->path);
		return EXIT_USAGE;
	}
	if (!t->is_dir)
		return look_at_file(t);
	if (make)
		return make_file(t, o);
	t->size_bytes = TEMP_MAX;
	return EXIT_OK;
}

void iobench_target_close(struct iobench_target *t)
{
	if (t->fd >= 0)
		close(t->fd);
	t->fd = -1;
}
