/* SPDX-License-Identifier: MIT */
/*
 * io: whole, verified-length reads from weight files into given memory.
 *
 * A request completes when all bytes that it needs have landed, or with an
 * error; short reads, EINTR and EAGAIN are continued here, whatever the
 * backend.  One thread owns a pst_io: the one that created it (the kernel holds
 * a ring to that).  Nothing here knows of experts.
 */
#ifndef PST_IO_H
#define PST_IO_H

#include "base.h"

/**
 * struct pst_io_read - one read; owned by the caller, alive until it is reaped
 * @file: index from pst_io_add_file()
 * @off_bytes: offset in the file; a multiple of pst_io_align()
 * @len_bytes: bytes to read; a multiple of pst_io_align()
 * @need_bytes: bytes that must land for success, <= @len_bytes: the file may
 *	end inside the last block
 * @buf: destination, aligned to pst_io_align(), [len_bytes]
 * @region: index from pst_io_add_region() that holds @buf, or -1
 * @owner: the caller's business
 * @result: 0 or -errno once reaped
 * @done_bytes: how far it came (used by io)
 * @retries: how often it was continued (used by io)
 * @stalls: continuations in a row that brought nothing (used by io)
 * @submit_ns: when it was handed over (used by io)
 * @done_ns: when it was reaped (used by io)
 * @next: used by io
 */
struct pst_io_read {
	uint32_t file;
	uint64_t off_bytes;
	uint32_t len_bytes;
	uint32_t need_bytes;
	void *buf;
	int region;
	void *owner;
	int result;
	uint32_t done_bytes;
	uint32_t retries;
	uint32_t stalls;
	uint64_t submit_ns;
	uint64_t done_ns;
	struct pst_io_read *next;
};

/* Which backend; auto takes io_uring where it works, else pread. */
enum pst_io_kind {
	PST_IO_AUTO,
	PST_IO_URING,
	PST_IO_PREAD
};
enum pst_io_direct {
	PST_IO_DIRECT_AUTO,
	PST_IO_DIRECT_ON,
	PST_IO_DIRECT_OFF
};

/**
 * struct pst_io_args - how to build an engine
 * @kind: backend
 * @direct: O_DIRECT: auto probes by a real transfer and says when it cannot
 * @queue_depth: reads in flight at most, 1..1024; 0 for the default
 * @nr_threads: threads of the pread backend, 0 for the default
 * @fault: NULL, or the text of pst_io_fault_parse(): wraps the backend in the
 *	fault twin (tests)
 * @log: notices about fallbacks, may be NULL
 */
struct pst_io_args {
	enum pst_io_kind kind;
	enum pst_io_direct direct;
	uint32_t queue_depth;
	uint32_t nr_threads;
	const char *fault;
	const struct pst_log *log;
};

/**
 * struct pst_io_stats - counted since creation
 * @reads: completed reads
 * @read_bytes: bytes that were transferred, slack included
 * @continued: short reads and EAGAIN that were continued
 * @errors: reads that failed for good
 * @busy_ns: time in which at least one read was outstanding
 */
struct pst_io_stats {
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t continued;
	uint64_t errors;
	uint64_t busy_ns;
};

struct pst_io;

/**
 * pst_io_create() - build an engine
 * @out: owned by the caller, pst_io_destroy()
 * @diag: why a backend that was asked for by name cannot be had
 *
 * Return: 0, -EINVAL for bad arguments or a bad fault text, -ENOSYS or -EPERM
 * when io_uring was demanded and is missing or forbidden, -ENOMEM.
 */
int pst_io_create(const struct pst_io_args *args, struct pst_io **out,
		  struct pst_diag *diag);

/** pst_io_destroy() - waits for outstanding reads; NULL is allowed */
void pst_io_destroy(struct pst_io *io);

/**
 * pst_io_add_file() - open a file for reading
 * @path: opened read-only, with O_DIRECT where args said so and it works
 *
 * Return: the index >= 0, or -errno (with @diag).
 */
int pst_io_add_file(struct pst_io *io, const char *path, struct pst_diag *diag);

/**
 * pst_io_align() - alignment in bytes of offsets, lengths and buffers
 *
 * The largest of all added files, at least 512; 4096 for a typical drive.
 */
uint32_t pst_io_align(const struct pst_io *io);

/**
 * pst_io_add_region() - announce memory that reads will land in
 * @addr: aligned to 4 KiB
 * @size_bytes: at most 1 GiB (the kernel's bound for one buffer)
 *
 * The ring registers it, so that pages are pinned once instead of per read.
 * Where that is refused (RLIMIT_MEMLOCK) reads work without, said in the log.
 * All regions are announced before the first read.
 *
 * Return: the index >= 0, -ENOSPC past 64 regions, -EINVAL.
 */
int pst_io_add_region(struct pst_io *io, void *addr, uint64_t size_bytes);

/**
 * pst_io_submit() - hand over a batch; all of it is accepted
 * @list: requests linked by @next, in the order to be issued
 *
 * More than queue_depth requests wait inside, linked, and follow as others
 * complete.  Never blocks for a completion, never allocates.
 */
void pst_io_submit(struct pst_io *io, struct pst_io_read *list);

/**
 * pst_io_reap() - collect completions
 * @wait: block until at least one read completes (returns NULL at once when
 *	nothing is outstanding)
 *
 * Return: completed requests linked by @next, in completion order; look at
 * @result of each.
 */
struct pst_io_read *pst_io_reap(struct pst_io *io, bool wait);

/** pst_io_outstanding() - reads handed over and not reaped */
uint32_t pst_io_outstanding(const struct pst_io *io);

/** pst_io_path() - path of a file index, for messages */
const char *pst_io_path(const struct pst_io *io, uint32_t file);

/** pst_io_name() - "io_uring, O_DIRECT, registered buffers" and the like */
const char *pst_io_name(const struct pst_io *io);

void pst_io_stats_read(const struct pst_io *io, struct pst_io_stats *out);

#endif
