// SPDX-License-Identifier: MIT
/*
 * Building an engine: backend, files, memory regions.  What happens to reads
 * is in io_flow.c, how a backend moves bytes in io_uring.c and its siblings.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_priv.h"

#define DEFAULT_DEPTH	 32
#define DEFAULT_THREADS	 4
#define THREADS_MAX	 64
#define REGION_BYTES_MAX PST_GIB

static void name_update(struct pst_io *io)
{
	uint32_t nr_direct = 0, nr_live = 0, nr_registered = 0;
	enum pst_io_mode mode = pst_io_mode(io);
	const char *direct, *regions;
	char copies[32] = "";

	for (uint32_t i = 0; i < io->files.nr; i++)
		nr_direct += io->files.v[i].direct;
	if (!nr_direct)
		direct = io->files.nr ? ", buffered" : "";
	else
		direct = nr_direct == io->files.nr ? ", O_DIRECT"
						   : ", partly O_DIRECT";
	for (uint32_t i = 0; i < io->nr_regions; i++) {
		nr_live += !io->regions[i].dropped;
		nr_registered += io->regions[i].registered;
	}
	if (!nr_registered)
		regions = "";
	else
		regions = nr_registered == nr_live
				  ? ", registered buffers"
				  : ", partly registered buffers";
	if (io->nr_copies)
		snprintf(copies, sizeof(copies), ", copies on %u drives",
			 io->nr_drives);
	snprintf(io->name, sizeof(io->name), "%s%s%s%s%s%s%s",
		 io->be->ops->name, mode == PST_IO_IRQ ? "" : ", ",
		 mode == PST_IO_IRQ ? "" : pst_io_mode_name(mode), direct,
		 regions, copies, io->faulty ? ", faults injected" : "");
}

static int wrap_fault(struct pst_io *io, const struct pst_io_fault *fault,
		      struct pst_diag *diag)
{
	struct pst_io_backend *twin;
	int ret;

	ret = pst_io_fault_wrap(&io->setup, fault, io->be, &twin);
	if (ret)
		return pst_diag_set(diag, ret, "no memory for the fault twin");
	io->be = twin;
	io->faulty = true;
	return 0;
}

static int check_args(const struct pst_io_args *args,
		      struct pst_io_fault *fault, struct pst_diag *diag)
{
	if (args->queue_depth > PST_IO_DEPTH_MAX)
		return pst_diag_set(diag, -EINVAL,
				    "queue depth %u is above the bound of %u",
				    args->queue_depth, PST_IO_DEPTH_MAX);
	if (args->nr_threads > THREADS_MAX)
		return pst_diag_set(diag, -EINVAL,
				    "%u I/O threads are above the bound of %u",
				    args->nr_threads, THREADS_MAX);
	if (args->fault && pst_io_fault_parse(args->fault, fault))
		return pst_diag_set(diag, -EINVAL,
				    "cannot parse the fault text \"%s\"",
				    args->fault);
	return 0;
}

int pst_io_assemble(const struct pst_io_args *args, pst_io_make_fn make,
		    const void *ctx, struct pst_io **out, struct pst_diag *diag)
{
	struct pst_io_fault fault;
	struct pst_io *io;
	int ret;

	ret = check_args(args, &fault, diag);
	if (ret)
		return ret;
	io = calloc(1, sizeof(*io));
	if (!io)
		return pst_diag_set(diag, -ENOMEM,
				    "no memory for the I/O engine");
	io->align = PST_IO_ALIGN_MIN;
	io->idle_bytes_max = PST_IO_IDLE_BYTES;
	io->setup = (struct pst_io_setup){
		.depth = args->queue_depth ? args->queue_depth : DEFAULT_DEPTH,
		.nr_threads = args->nr_threads ? args->nr_threads
					       : DEFAULT_THREADS,
		.mode = args->mode,
		.must_mode = args->must_mode,
		.direct = args->direct,
		.files = &io->files,
		.log = args->log,
	};
	io->depth = io->setup.depth;
	ret = make(&io->setup, ctx, &io->be, diag);
	if (ret)
		goto free_io;
	if (args->fault) {
		ret = wrap_fault(io, &fault, diag);
		if (ret)
			goto destroy_backend;
	}
	name_update(io);
	*out = io;
	return 0;

destroy_backend:
	io->be->ops->destroy(io->be);
free_io:
	free(io);
	return ret;
}

static int make_real(const struct pst_io_setup *setup, const void *ctx,
		     struct pst_io_backend **out, struct pst_diag *diag)
{
	const enum pst_io_kind *kind = ctx;
	struct pst_diag why;
	int ret;

	if (*kind == PST_IO_PREAD && setup->must_mode)
		return pst_diag_set(diag, -EINVAL, "%s is a mode of io_uring",
				    pst_io_mode_name(setup->mode));
	if (*kind == PST_IO_PREAD && setup->mode != PST_IO_IRQ)
		pst_log(setup->log, PST_LOG_WARN,
			"%s is a mode of io_uring: threads have none",
			pst_io_mode_name(setup->mode));
	if (*kind == PST_IO_PREAD)
		return pst_io_pread_create(setup, out, diag);
	if (*kind == PST_IO_URING || setup->must_mode)
		return pst_io_uring_create(setup, out, diag);
	pst_diag_init(&why);
	ret = pst_io_uring_create(setup, out, &why);
	if (!ret)
		return 0;
	pst_log(setup->log, PST_LOG_WARN, "%s; reading with pread threads",
		why.text);
	return pst_io_pread_create(setup, out, diag);
}

int pst_io_create(const struct pst_io_args *args, struct pst_io **out,
		  struct pst_diag *diag)
{
	return pst_io_assemble(args, make_real, &args->kind, out, diag);
}

static void close_file(struct pst_io_file *f)
{
	if (f->fd >= 0)
		close(f->fd);
	free(f->path);
}

void pst_io_destroy(struct pst_io *io)
{
	struct pst_io_read *r;

	if (!io)
		return;
	/* The kernel writes into the caller's memory until the last one ends */
	while (io->nr_inflight)
		for (r = io->be->ops->reap(io->be, true); r; r = r->next)
			io->nr_inflight--;
	io->be->ops->destroy(io->be);
	for (uint32_t i = 0; i < io->files.nr; i++)
		close_file(&io->files.v[i]);
	free(io);
}

/* Open @path as copy number @copy of something; nothing is left behind. */
static int open_file(struct pst_io *io, const char *path, uint32_t copy,
		     struct pst_io_file *f, struct pst_diag *diag)
{
	uint32_t index = io->files.nr;
	int ret;

	if (index == PST_IO_FILES_MAX)
		return pst_diag_set(diag, -ENOSPC, "more than %u files",
				    PST_IO_FILES_MAX);
	*f = (struct pst_io_file){ .fd = -1, .copy = copy };
	f->path = strdup(path);
	if (!f->path)
		return pst_diag_set(diag, -ENOMEM, "no memory for a path");
	ret = io->be->ops->add_file(io->be, path, index, f, diag);
	if (ret)
		free(f->path);
	return ret;
}

/* Put an open file into the tables; on failure it is closed. */
static int keep_file(struct pst_io *io, struct pst_io_file *f,
		     struct pst_io_source *s, struct pst_diag *diag)
{
	int drive = pst_io_copy_drive(io, f->dev, f->path);

	if (drive < 0) {
		close_file(f);
		return pst_diag_set(diag, drive, "more than %u drives",
				    PST_IO_DRIVES_MAX);
	}
	f->drive = (uint32_t)drive;
	s->file[s->nr++] = io->files.nr;
	io->files.v[io->files.nr++] = *f;
	io->align = PST_MAX(io->align, f->align);
	return 0;
}

int pst_io_add_file(struct pst_io *io, const char *path, struct pst_diag *diag)
{
	struct pst_io_file f;
	int ret;

	ret = open_file(io, path, 0, &f, diag);
	if (!ret)
		ret = keep_file(io, &f, &io->sources[io->nr_sources], diag);
	if (ret)
		return ret;
	name_update(io);
	return (int)io->nr_sources++;
}

static void say_same_drive(const struct pst_io *io, const char *path,
			   const struct pst_io_source *s)
{
	const struct pst_io_file *f = &io->files.v[s->file[s->nr - 1]];

	for (uint32_t i = 0; i + 1 < s->nr; i++) {
		const struct pst_io_file *other = &io->files.v[s->file[i]];

		if (other->drive != f->drive)
			continue;
		pst_log(io->setup.log, PST_LOG_WARN,
			"%s lies on the same drive (%s) as %s: it brings no "
			"bandwidth",
			path, io->drives[f->drive].name, other->path);
		return;
	}
}

int pst_io_add_copy(struct pst_io *io, uint32_t file, const char *path,
		    struct pst_diag *diag)
{
	struct pst_io_source *s;
	struct pst_io_file f;
	uint64_t want_bytes;
	int ret;

	if (file >= io->nr_sources)
		return -EINVAL;
	s = &io->sources[file];
	if (s->nr == PST_IO_COPIES_MAX)
		return pst_diag_set_at(diag, -ENOSPC, path, UINT64_MAX,
				       "a file can have %u copies at most",
				       PST_IO_COPIES_MAX);
	ret = open_file(io, path, s->nr, &f, diag);
	if (ret)
		return ret;
	want_bytes = io->files.v[s->file[0]].size_bytes;
	if (f.size_bytes != want_bytes) {
		close_file(&f);
		return pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				       "no copy of %s: it has %llu bytes, not "
				       "%llu",
				       io->files.v[s->file[0]].path,
				       (unsigned long long)f.size_bytes,
				       (unsigned long long)want_bytes);
	}
	ret = keep_file(io, &f, s, diag);
	if (ret)
		return ret;
	io->nr_copies++;
	say_same_drive(io, path, s);
	name_update(io);
	return 0;
}

uint32_t pst_io_align(const struct pst_io *io)
{
	return io->align;
}

static void region_register(struct pst_io *io, uint32_t index)
{
	const struct pst_io_ops *ops = io->be->ops;
	struct pst_io_region *reg = &io->regions[index];

	reg->registered = ops->add_region &&
			  !ops->add_region(io->be, index, (void *)reg->addr,
					   reg->size_bytes);
	name_update(io);
}

int pst_io_add_region(struct pst_io *io, void *addr, uint64_t size_bytes)
{
	uint32_t index = io->nr_regions;

	if (!addr || (uintptr_t)addr % 4096 || !size_bytes ||
	    size_bytes > REGION_BYTES_MAX)
		return -EINVAL;
	if (index == PST_IO_REGIONS_MAX)
		return -ENOSPC;
	io->regions[index] = (struct pst_io_region){
		.addr = (uintptr_t)addr,
		.size_bytes = size_bytes,
	};
	io->nr_regions++;
	region_register(io, index);
	return (int)index;
}

int pst_io_drop_region(struct pst_io *io, int index)
{
	struct pst_io_region *reg;
	int ret = 0;

	if (index < 0 || (uint32_t)index >= io->nr_regions ||
	    io->regions[index].dropped)
		return -EINVAL;
	reg = &io->regions[index];
	if (reg->nr_reads)
		return -EBUSY;
	if (reg->registered)
		ret = io->be->ops->drop_region(io->be, (uint32_t)index);
	if (ret)
		return ret;
	reg->registered = false;
	reg->dropped = true;
	name_update(io);
	return 0;
}

int pst_io_renew_region(struct pst_io *io, int index)
{
	if (index < 0 || (uint32_t)index >= io->nr_regions ||
	    !io->regions[index].dropped)
		return -EINVAL;
	io->regions[index].dropped = false;
	region_register(io, (uint32_t)index);
	return 0;
}

const char *pst_io_path(const struct pst_io *io, uint32_t file)
{
	return file < io->nr_sources
		       ? io->files.v[io->sources[file].file[0]].path
		       : "";
}

const char *pst_io_name(const struct pst_io *io)
{
	return io->name;
}

enum pst_io_mode pst_io_mode(const struct pst_io *io)
{
	return io->be->ops->mode ? io->be->ops->mode(io->be) : PST_IO_IRQ;
}

const char *pst_io_mode_name(enum pst_io_mode mode)
{
	static const char *const names[] = {
		[PST_IO_IRQ] = "irq",
		[PST_IO_SQPOLL] = "sqpoll",
		[PST_IO_IOPOLL] = "iopoll",
	};

	return names[mode];
}
