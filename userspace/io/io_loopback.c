// SPDX-License-Identifier: MIT
/*
 * io over files in memory, for tests without a drive: as strict about
 * alignment as O_DIRECT, completing in order when it is asked to.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "io_priv.h"

#define LOOP_ALIGN PST_IO_ALIGN_MIN

struct loopback {
	struct pst_io_backend base;
	const struct pst_io_setup *setup;
	const struct pst_io_loopdisk *disk;
	const struct pst_io_loopfile *file[PST_IO_FILES_MAX];
	struct pst_io_list inflight;
};

static struct loopback *to_loopback(struct pst_io_backend *be)
{
	return (struct loopback *)be;
}

static void loopback_destroy(struct pst_io_backend *be)
{
	free(to_loopback(be));
}

static int loopback_add_file(struct pst_io_backend *be, const char *path,
			     uint32_t index, struct pst_io_file *out,
			     struct pst_diag *diag)
{
	struct loopback *l = to_loopback(be);

	for (uint32_t i = 0; i < l->disk->nr; i++) {
		if (strcmp(l->disk->files[i].name, path))
			continue;
		l->file[index] = &l->disk->files[i];
		out->align = LOOP_ALIGN;
		out->direct = true;
		out->size_bytes = l->disk->files[i].size_bytes;
		out->dev = l->disk->files[i].drive;
		return 0;
	}
	return pst_diag_set_at(diag, -ENOENT, path, UINT64_MAX,
			       "no such file in memory");
}

static int loopback_add_region(struct pst_io_backend *be, uint32_t index,
			       void *addr, uint64_t size_bytes)
{
	return 0;
}

static int loopback_drop_region(struct pst_io_backend *be, uint32_t index)
{
	return 0;
}

static void loopback_issue(struct pst_io_backend *be, struct pst_io_read *list)
{
	struct loopback *l = to_loopback(be);
	struct pst_io_read *next;

	for (; list; list = next) {
		next = list->next;
		pst_io_list_add(&l->inflight, list);
	}
}

static int copy_out(struct loopback *l, const struct pst_io_read *r)
{
	const struct pst_io_loopfile *f = l->file[r->src];
	struct pst_io_span s = pst_io_span_of(r, &l->setup->files->v[r->src]);
	uint64_t len;

	if ((s.off_bytes | s.len_bytes | (uintptr_t)s.buf) % LOOP_ALIGN)
		return -EINVAL;
	if (s.off_bytes >= f->size_bytes)
		return 0;
	len = PST_MIN(s.len_bytes, f->size_bytes - s.off_bytes);
	memcpy(s.buf, f->data + s.off_bytes, len);
	return (int)len;
}

static struct pst_io_read *loopback_reap(struct pst_io_backend *be, bool wait)
{
	struct loopback *l = to_loopback(be);
	struct pst_io_read *done = pst_io_list_take(&l->inflight);

	for (struct pst_io_read *r = done; r; r = r->next)
		r->result = copy_out(l, r);
	return done;
}

static const struct pst_io_ops loopback_ops = {
	.name = "loopback",
	.destroy = loopback_destroy,
	.add_file = loopback_add_file,
	.add_region = loopback_add_region,
	.drop_region = loopback_drop_region,
	.issue = loopback_issue,
	.reap = loopback_reap,
};

static int make_loopback(const struct pst_io_setup *setup, const void *ctx,
			 struct pst_io_backend **out, struct pst_diag *diag)
{
	struct loopback *l = calloc(1, sizeof(*l));

	if (!l)
		return pst_diag_set(diag, -ENOMEM, "no memory for a loopback");
	l->base.ops = &loopback_ops;
	l->setup = setup;
	l->disk = ctx;
	*out = &l->base;
	return 0;
}

int pst_io_loopback_create(const struct pst_io_args *args,
			   const struct pst_io_loopdisk *disk,
			   struct pst_io **out, struct pst_diag *diag)
{
	return pst_io_assemble(args, make_loopback, disk, out, diag);
}
