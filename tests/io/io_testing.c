// SPDX-License-Identifier: MIT
/*
 * Helpers of the io tests.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_testing.h"

#define SOME_FAULTS "seed=11,short=0.2,eagain=0.05,shuffle=1"

const struct tengine tengines[] = {
	{ .name = "io_uring", .kind = PST_IO_URING },
	{ .name = "pread", .kind = PST_IO_PREAD },
	{ .name = "loopback", .loopback = true },
	{ .name = "io_uring, faults",
	  .kind = PST_IO_URING,
	  .fault = SOME_FAULTS },
	{ .name = "pread, faults", .kind = PST_IO_PREAD, .fault = SOME_FAULTS },
	{ .name = "io_uring, sqpoll",
	  .kind = PST_IO_URING,
	  .mode = PST_IO_SQPOLL },
	{ .name = "io_uring, sqpoll, faults",
	  .kind = PST_IO_URING,
	  .mode = PST_IO_SQPOLL,
	  .fault = SOME_FAULTS },
	/* Polls where the drive below the build folder can be polled. */
	{ .name = "io_uring, iopoll",
	  .kind = PST_IO_URING,
	  .mode = PST_IO_IOPOLL },
	{ .name = "loopback, faults", .loopback = true, .fault = SOME_FAULTS },
};
const uint32_t nr_tengines = PST_ARRAY_SIZE(tengines);

uint64_t tseed(void)
{
	const char *s = getenv("PENSTOCK_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : pst_now_ns();

	print_message("PENSTOCK_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

void tfile_make(struct tfile *f, const char *dir, const char *name,
		uint64_t size_bytes)
{
	uint64_t words = (size_bytes + 7) / 8;
	uint64_t rng = size_bytes;
	uint64_t *w = malloc(words * 8);
	int fd;

	assert_non_null(w);
	for (uint64_t i = 0; i < words; i++)
		w[i] = pst_rng_next(&rng);
	f->data = (unsigned char *)w;
	f->size_bytes = size_bytes;
	snprintf(f->path, sizeof(f->path), "%s/%s", dir, name);
	fd = open(f->path, O_CREAT | O_TRUNC | O_WRONLY | O_CLOEXEC, 0600);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, w, size_bytes), size_bytes);
	assert_int_equal(close(fd), 0);
}

void tfile_free(struct tfile *f)
{
	unlink(f->path);
	free(f->data);
}

int tstate_make(void **s, size_t state_bytes, uint64_t file_bytes)
{
	struct tstate *t = calloc(1, state_bytes);

	assert_non_null(t);
	temp_dir_make(t->dir, "io");
	tfile_make(&t->file, t->dir, "weights", file_bytes);
	*s = t;
	return 0;
}

int tstate_free(void **s)
{
	struct tstate *t = *s;

	tfile_free(&t->file);
	temp_dir_remove(t->dir);
	free(t);
	return 0;
}

void tfile_check(const struct tfile *f, const void *buf, uint64_t off_bytes,
		 uint32_t len_bytes)
{
	assert_true(off_bytes + len_bytes <= f->size_bytes);
	assert_memory_equal(buf, f->data + off_bytes, len_bytes);
}

static void tlog_line(void *ctx, enum pst_log_level level, const char *line)
{
	struct tlog *l = ctx;
	size_t used = strlen(l->text);

	snprintf(l->text + used, sizeof(l->text) - used, "%s\n", line);
}

void tlog_init(struct tlog *l)
{
	memset(l, 0, sizeof(*l));
	l->sink.fn = tlog_line;
	l->sink.ctx = l;
}

bool tbed_open(struct tbed *b, const struct tengine *e, const struct tfile *f,
	       uint32_t depth)
{
	struct pst_io_args args = { .kind = e->kind,
				    .mode = e->mode,
				    .queue_depth = depth,
				    .fault = e->fault };
	struct pst_diag diag;
	int ret;

	pst_diag_init(&diag);
	b->file = (struct pst_io_loopfile){ .name = f->path,
					    .data = f->data,
					    .size_bytes = f->size_bytes };
	b->disk = (struct pst_io_loopdisk){ .files = &b->file, .nr = 1 };
	if (e->loopback)
		ret = pst_io_loopback_create(&args, &b->disk, &b->io, &diag);
	else
		ret = pst_io_create(&args, &b->io, &diag);
	if (e->kind == PST_IO_URING && (ret == -ENOSYS || ret == -EPERM)) {
		print_message("%s left out: %s\n", e->name, diag.text);
		return false;
	}
	assert_int_equal(ret, 0);
	assert_int_equal(pst_io_add_file(b->io, f->path, &diag), 0);
	return true;
}

void tbed_close(struct tbed *b)
{
	pst_io_destroy(b->io);
}

void *tbuf_alloc(uint64_t size_bytes)
{
	void *p = NULL;

	assert_int_equal(posix_memalign(&p, BLOCK, size_bytes), 0);
	memset(p, 0xee, size_bytes);
	return p;
}

int tread(struct pst_io *io, void *buf, uint64_t off_bytes, uint32_t len_bytes,
	  uint32_t need_bytes)
{
	struct pst_io_read r = { .off_bytes = off_bytes,
				 .len_bytes = len_bytes,
				 .need_bytes = need_bytes,
				 .buf = buf,
				 .region = -1 };

	pst_io_submit(io, &r);
	assert_ptr_equal(pst_io_reap(io, true), &r);
	assert_null(r.next);
	return r.result;
}
