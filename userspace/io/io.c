// SPDX-License-Identifier: MIT
/*
 * The common layer of io: bounded queueing, continuation of attempts that came
 * back short, accounting.  It knows nothing of how a backend moves bytes, and
 * backends know nothing of requests that need more than one attempt.
 */
#include <assert.h>
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
/* Attempts in a row without a new byte before a read is given up. */
#define STALLS_MAX 16

struct region {
	uintptr_t addr;
	uint64_t size_bytes;
};

struct pst_io {
	struct pst_io_backend *be;
	struct pst_io_setup setup;
	struct pst_io_files files;
	struct region regions[PST_IO_REGIONS_MAX];
	uint32_t nr_regions;
	uint32_t nr_registered;
	uint32_t align;
	uint32_t nr_inflight; /* in the backend's hands, <= setup.depth */
	uint32_t nr_outstanding;
	struct pst_io_list waiting;
	struct pst_io_list refused; /* malformed, to be reaped with -EINVAL */
	uint64_t busy_since_ns;
	struct pst_io_stats stats;
	bool faulty;
	char name[96];
};

static void name_update(struct pst_io *io)
{
	uint32_t nr_direct = 0;
	const char *direct, *regions;

	for (uint32_t i = 0; i < io->files.nr; i++)
		nr_direct += io->files.v[i].direct;
	if (!nr_direct)
		direct = io->files.nr ? ", buffered" : "";
	else
		direct = nr_direct == io->files.nr ? ", O_DIRECT"
						   : ", partly O_DIRECT";
	if (!io->nr_registered)
		regions = "";
	else
		regions = io->nr_registered == io->nr_regions
				  ? ", registered buffers"
				  : ", partly registered buffers";
	snprintf(io->name, sizeof(io->name), "%s%s%s%s", io->be->ops->name,
		 direct, regions, io->faulty ? ", faults injected" : "");
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
	io->setup = (struct pst_io_setup){
		.depth = args->queue_depth ? args->queue_depth : DEFAULT_DEPTH,
		.nr_threads = args->nr_threads ? args->nr_threads
					       : DEFAULT_THREADS,
		.direct = args->direct,
		.files = &io->files,
		.log = args->log,
	};
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

	if (*kind == PST_IO_PREAD)
		return pst_io_pread_create(setup, out, diag);
	if (*kind == PST_IO_URING)
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
	for (uint32_t i = 0; i < io->files.nr; i++) {
		if (io->files.v[i].fd >= 0)
			close(io->files.v[i].fd);
		free(io->files.v[i].path);
	}
	free(io);
}

int pst_io_add_file(struct pst_io *io, const char *path, struct pst_diag *diag)
{
	struct pst_io_file f = { .fd = -1 };
	uint32_t index = io->files.nr;
	int ret;

	if (index == PST_IO_FILES_MAX)
		return pst_diag_set(diag, -ENOSPC, "more than %u files",
				    PST_IO_FILES_MAX);
	f.path = strdup(path);
	if (!f.path)
		return pst_diag_set(diag, -ENOMEM, "no memory for a path");
	ret = io->be->ops->add_file(io->be, path, index, &f, diag);
	if (ret) {
		free(f.path);
		return ret;
	}
	io->files.v[index] = f;
	io->files.nr++;
	io->align = PST_MAX(io->align, f.align);
	name_update(io);
	return (int)index;
}

uint32_t pst_io_align(const struct pst_io *io)
{
	return io->align;
}

int pst_io_add_region(struct pst_io *io, void *addr, uint64_t size_bytes)
{
	const struct pst_io_ops *ops = io->be->ops;
	uint32_t index = io->nr_regions;

	if (!addr || (uintptr_t)addr % 4096 || !size_bytes ||
	    size_bytes > REGION_BYTES_MAX)
		return -EINVAL;
	if (index == PST_IO_REGIONS_MAX)
		return -ENOSPC;
	if (ops->add_region &&
	    !ops->add_region(io->be, index, addr, size_bytes))
		io->nr_registered++;
	io->regions[index] = (struct region){ .addr = (uintptr_t)addr,
					      .size_bytes = size_bytes };
	io->nr_regions++;
	name_update(io);
	return (int)index;
}

static bool in_region(const struct pst_io *io, const struct pst_io_read *r)
{
	const struct region *reg;
	uintptr_t a = (uintptr_t)r->buf;

	if (r->region < 0)
		return true;
	if ((uint32_t)r->region >= io->nr_regions)
		return false;
	reg = &io->regions[r->region];
	return a >= reg->addr && a - reg->addr <= reg->size_bytes &&
	       r->len_bytes <= reg->size_bytes - (a - reg->addr);
}

static bool well_formed(const struct pst_io *io, const struct pst_io_read *r)
{
	uint64_t mask = io->align - 1;

	if (r->file >= io->files.nr || !r->len_bytes ||
	    r->need_bytes > r->len_bytes || r->off_bytes > INT64_MAX)
		return false;
	if ((r->off_bytes | r->len_bytes | (uintptr_t)r->buf) & mask)
		return false;
	return in_region(io, r);
}

/* Give the backend as much of the queue as it may hold, in one batch. */
static void pump(struct pst_io *io)
{
	struct pst_io_list batch = { 0 };

	while (io->nr_inflight < io->setup.depth && io->waiting.head) {
		pst_io_list_add(&batch, pst_io_list_pop(&io->waiting));
		io->nr_inflight++;
	}
	if (batch.head)
		io->be->ops->issue(io->be, batch.head);
}

void pst_io_submit(struct pst_io *io, struct pst_io_read *list)
{
	uint64_t now_ns = pst_now_ns();
	struct pst_io_read *r, *next;

	if (list && !io->nr_outstanding)
		io->busy_since_ns = now_ns;
	for (r = list; r; r = next) {
		next = r->next;
		r->result = 0;
		r->done_bytes = 0;
		r->retries = 0;
		r->stalls = 0;
		r->submit_ns = now_ns;
		io->nr_outstanding++;
		if (well_formed(io, r)) {
			pst_io_list_add(&io->waiting, r);
		} else {
			r->result = -EINVAL;
			pst_io_list_add(&io->refused, r);
		}
	}
	pump(io);
}

/*
 * An attempt brought no new byte.  @err is what it said, 0 for bytes that had
 * landed before.  Return: true when the request is over.
 */
static bool stalled(struct pst_io *io, struct pst_io_read *r, int err)
{
	if (++r->stalls < STALLS_MAX)
		return false;
	r->result = -EIO;
	pst_log(io->setup.log, PST_LOG_WARN,
		"%s: given up after %u attempts that brought nothing: %u of %u "
		"bytes at offset %llu (%s)",
		io->files.v[r->file].path, r->stalls, r->done_bytes,
		r->need_bytes, (unsigned long long)r->off_bytes,
		err ? strerror(-err) : "does the file end early?");
	return true;
}

static bool ended_early(struct pst_io *io, struct pst_io_read *r)
{
	r->result = -EIO;
	pst_log(io->setup.log, PST_LOG_WARN,
		"%s: file ends early: %u of %u bytes at offset %llu",
		io->files.v[r->file].path, r->done_bytes, r->need_bytes,
		(unsigned long long)r->off_bytes);
	return true;
}

/*
 * Look at what an attempt brought.  With O_DIRECT a transfer may end at any
 * byte, yet only start at a block: the next attempt reads the broken block
 * again, so progress is measured against what had landed before.
 *
 * Return: true when the request is over, its result set.
 */
static bool settle(struct pst_io *io, struct pst_io_read *r)
{
	uint32_t start = pst_io_start_of(r, &io->files.v[r->file]);
	int res = r->result;
	uint32_t landed;

	r->result = 0;
	if (res == -EAGAIN || res == -EINTR)
		return stalled(io, r, res);
	if (res < 0) {
		r->result = res;
		return true;
	}
	io->stats.read_bytes += (uint32_t)res;
	landed = start + (uint32_t)res;
	if (landed > r->done_bytes) {
		r->done_bytes = landed;
		r->stalls = 0;
		return landed >= r->need_bytes;
	}
	if (r->done_bytes >= r->need_bytes)
		return true;
	return res ? stalled(io, r, 0) : ended_early(io, r);
}

/* Sort ended attempts into finished requests and ones to go on with. */
static void sort_attempts(struct pst_io *io, struct pst_io_read *ended,
			  struct pst_io_list *done)
{
	struct pst_io_list again = { 0 };
	struct pst_io_read *next;

	for (; ended; ended = next) {
		next = ended->next;
		io->nr_inflight--;
		if (settle(io, ended)) {
			pst_io_list_add(done, ended);
		} else {
			ended->retries++;
			io->stats.continued++;
			pst_io_list_add(&again, ended);
		}
	}
	if (!again.head)
		return;
	/* They are older than anything that waits. */
	again.tail->next = io->waiting.head;
	if (!io->waiting.head)
		io->waiting.tail = again.tail;
	io->waiting.head = again.head;
}

static void account(struct pst_io *io, struct pst_io_read *done)
{
	uint64_t now_ns = pst_now_ns();

	for (; done; done = done->next) {
		done->done_ns = now_ns;
		io->nr_outstanding--;
		if (done->result)
			io->stats.errors++;
		else
			io->stats.reads++;
	}
	if (!io->nr_outstanding)
		io->stats.busy_ns += now_ns - io->busy_since_ns;
}

struct pst_io_read *pst_io_reap(struct pst_io *io, bool wait)
{
	struct pst_io_list done = io->refused;

	io->refused.head = NULL;
	while (io->nr_inflight) {
		sort_attempts(io, io->be->ops->reap(io->be, wait && !done.head),
			      &done);
		pump(io);
		if (!wait || done.head)
			break;
	}
	if (done.head)
		account(io, done.head);
	return done.head;
}

uint32_t pst_io_outstanding(const struct pst_io *io)
{
	return io->nr_outstanding;
}

const char *pst_io_path(const struct pst_io *io, uint32_t file)
{
	return file < io->files.nr ? io->files.v[file].path : "";
}

const char *pst_io_name(const struct pst_io *io)
{
	return io->name;
}

void pst_io_stats_read(const struct pst_io *io, struct pst_io_stats *out)
{
	*out = io->stats;
	if (io->nr_outstanding)
		out->busy_ns += pst_now_ns() - io->busy_since_ns;
}
