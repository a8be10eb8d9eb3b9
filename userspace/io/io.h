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

/*
 * Two classes.  Demand reads are waited for.  Idle reads are guesses: they are
 * handed to the drive only when no demand read waits, and few at a time.
 */
enum pst_io_prio {
	PST_IO_DEMAND,
	PST_IO_IDLE
};

/* Where a read is; for io alone. */
enum pst_io_state {
	PST_IO_HOME, /* the caller's: never submitted, reaped or withdrawn */
	PST_IO_WAITING,
	PST_IO_FLYING, /* in the backend's hands */
	PST_IO_ENDED, /* to be reaped */
	PST_IO_REFUSED /* malformed, to be reaped */
};

/**
 * struct pst_io_read - one read; owned by the caller, alive until it is reaped
 * or withdrawn
 * @file: index from pst_io_add_file()
 * @off_bytes: offset in the file; a multiple of pst_io_align()
 * @len_bytes: bytes to read; a multiple of pst_io_align()
 * @need_bytes: bytes that must land for success, <= @len_bytes: the file may
 *	end inside the last block
 * @buf: destination, aligned to pst_io_align(), [len_bytes]
 * @region: index from pst_io_add_region() that holds @buf, or -1
 * @prio: class; io makes a promoted read a demand read
 * @owner: the caller's business
 * @result: 0 or -errno once reaped
 * @done_bytes: how far it came (used by io)
 * @retries: how often it was continued (used by io)
 * @stalls: continuations in a row that brought nothing (used by io)
 * @submit_ns: when it was handed over (used by io)
 * @done_ns: when it was reaped (used by io)
 * @next: used by io
 * @prev: neighbour in the queue of those that wait (used by io)
 * @state: where it is (used by io)
 * @src: the copy that it is read from (used by io)
 * @tried: copies that have failed, a bit each (used by io)
 * @issue_ns: when the last attempt was handed over (used by io)
 * @queued_bytes: what its drive had to do by then (used by io)
 */
struct pst_io_read {
	uint32_t file;
	uint64_t off_bytes;
	uint32_t len_bytes;
	uint32_t need_bytes;
	void *buf;
	int region;
	enum pst_io_prio prio;
	void *owner;
	int result;
	uint32_t done_bytes;
	uint32_t retries;
	uint32_t stalls;
	uint64_t submit_ns;
	uint64_t done_ns;
	struct pst_io_read *next;
	struct pst_io_read *prev;
	enum pst_io_state state;
	uint32_t src;
	uint32_t tried;
	uint64_t issue_ns;
	uint64_t queued_bytes;
};

/* Which backend; auto takes io_uring where it works, else pread. */
enum pst_io_kind {
	PST_IO_AUTO,
	PST_IO_URING,
	PST_IO_PREAD
};
/* How a ring hears of work and of its end; the other backends know one way. */
enum pst_io_mode {
	PST_IO_IRQ, /* a system call hands over, interrupts tell of the end */
	PST_IO_SQPOLL, /* a thread of the kernel looks for what is to be read */
	PST_IO_IOPOLL, /* the drive is asked: O_DIRECT and poll queues only */
	PST_IO_NR_MODES
};
enum pst_io_direct {
	PST_IO_DIRECT_AUTO,
	PST_IO_DIRECT_ON,
	PST_IO_DIRECT_OFF
};

/**
 * struct pst_io_args - how to build an engine
 * @kind: backend
 * @mode: of the ring; where kernel or drive refuse it, interrupts do, which the
 *	log says
 * @must_mode: fail instead; not for PST_IO_IRQ
 * @direct: O_DIRECT: auto probes by a real transfer and says when it cannot
 * @queue_depth: reads in flight at most, 1..1024; 0 for the default
 * @nr_threads: threads of the pread backend, 0 for the default
 * @fault: NULL, or the text of pst_io_fault_parse(): wraps the backend in the
 *	fault twin (tests)
 * @log: notices about fallbacks, may be NULL
 */
struct pst_io_args {
	enum pst_io_kind kind;
	enum pst_io_mode mode;
	bool must_mode;
	enum pst_io_direct direct;
	uint32_t queue_depth;
	uint32_t nr_threads;
	const char *fault;
	const struct pst_log *log;
};

/**
 * struct pst_io_stats - counted since creation
 * @reads: completed reads of both classes
 * @read_bytes: bytes that were transferred, slack included, in both classes
 * @idle_reads: of @reads, those that were idle to the end
 * @idle_bytes: of @read_bytes, those that idle reads transferred
 * @promoted: idle reads that became demand reads
 * @withdrawn: reads that were taken back before they were reaped
 * @continued: short reads and EAGAIN that were continued
 * @rerouted: reads that failed on one copy and were begun on another
 * @errors: reads that failed for good
 * @busy_ns: time in which at least one read was outstanding
 * @demand_busy_ns: time in which at least one demand read was outstanding
 */
struct pst_io_stats {
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t idle_reads;
	uint64_t idle_bytes;
	uint64_t promoted;
	uint64_t withdrawn;
	uint64_t continued;
	uint64_t rerouted;
	uint64_t errors;
	uint64_t busy_ns;
	uint64_t demand_busy_ns;
};

struct pst_io;

/**
 * pst_io_create() - build an engine
 * @out: owned by the caller, pst_io_destroy()
 * @diag: why a backend that was asked for by name cannot be had
 *
 * Return: 0, -EINVAL for bad arguments or a bad fault text, -ENOSYS or -EPERM
 * when io_uring was demanded and is missing or forbidden, -EOPNOTSUPP when a
 * mode was and is not to be had, -ENOMEM.
 */
int pst_io_create(const struct pst_io_args *args, struct pst_io **out,
		  struct pst_diag *diag);

/** pst_io_destroy() - waits for reads in flight; NULL is allowed */
void pst_io_destroy(struct pst_io *io);

/**
 * pst_io_add_file() - open a file for reading
 * @path: opened read-only, with O_DIRECT where args said so and it works
 *
 * Return: the index >= 0, or -errno (with @diag); -EOPNOTSUPP for a drive that
 * cannot be polled, when that was demanded or reads were made before.
 */
int pst_io_add_file(struct pst_io *io, const char *path, struct pst_diag *diag);

/**
 * pst_io_add_copy() - open another copy of a file, on another drive
 * @file: index from pst_io_add_file()
 * @path: as long as the file; that its bytes are the same is the caller's word
 *
 * From then on each read of @file goes to the copy where it is expected to end
 * first, and one that fails there is begun anew on another.  A copy on a drive
 * that has one already is taken, which the log says: it brings no bandwidth.
 * Before the first read.
 *
 * Return: 0; -EINVAL for an unknown @file, -ENOSPC past 8 copies, 16 drives or
 * 1024 files, -EBADMSG for another length, or -errno of the opening (with
 * @diag).
 */
int pst_io_add_copy(struct pst_io *io, uint32_t file, const char *path,
		    struct pst_diag *diag);

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
 * Where that is refused (RLIMIT_MEMLOCK) reads work without, said once in the
 * log.  All regions are announced before the first read.
 *
 * Return: the index >= 0, -ENOSPC past 1024 regions, -EINVAL.
 */
int pst_io_add_region(struct pst_io *io, void *addr, uint64_t size_bytes);

/**
 * pst_io_drop_region() - let go of a region's pages
 *
 * They are unpinned, so that the caller may give them back to the kernel
 * (MADV_DONTNEED and the like).  Until pst_io_renew_region() reads that name
 * the region fail with -EINVAL.
 *
 * Return: 0; -EBUSY while a read into it is outstanding; -EINVAL for an index
 * that is unknown or dropped already; else why the kernel refused: the region
 * is then as before.
 */
int pst_io_drop_region(struct pst_io *io, int index);

/**
 * pst_io_renew_region() - use a dropped region again, at its old address
 *
 * Registering touches and pins all of its pages.  Where it is refused, reads
 * work without, as for pst_io_add_region().
 *
 * Return: 0, -EINVAL for an index that is unknown or not dropped.
 */
int pst_io_renew_region(struct pst_io *io, int index);

/**
 * pst_io_submit() - hand over a batch; all of it is accepted
 * @list: requests linked by @next, in the order to be issued; classes may mix
 *
 * More than queue_depth requests wait inside, linked, and follow as others
 * complete: demand reads in order, then idle reads in order within the bound
 * of pst_io_set_idle_bytes().  Never blocks for a completion, never allocates.
 */
void pst_io_submit(struct pst_io *io, struct pst_io_read *list);

/**
 * pst_io_set_depth() - bound the reads in flight below what was created for
 * @depth: at least 1 counts; more than queue_depth is queue_depth
 *
 * One that looks at the ring often needs few; one that computes for long in
 * between needs many.  A raised bound issues at once what it makes room for.
 */
void pst_io_set_depth(struct pst_io *io, uint32_t depth);

/**
 * pst_io_set_idle_bytes() - bound the idle reads in flight
 * @bytes: sum of their lengths; one read longer than that may fly alone; 0
 *	holds all of them back, those in flight excepted.  4 MiB at creation.
 *
 * A raised bound issues at once what it makes room for.
 */
void pst_io_set_idle_bytes(struct pst_io *io, uint64_t bytes);

/**
 * pst_io_promote() - an idle read is wanted now
 * @r: outstanding, else nothing happens
 *
 * If it waits, it joins the end of the demand queue and is issued at once if
 * there is room; in flight, it merely no longer counts as idle.  Constant time.
 */
void pst_io_promote(struct pst_io *io, struct pst_io_read *r);

/**
 * pst_io_withdraw() - take back a read of either class that still waits
 *
 * Constant time.  A read that came back short waits again for its rest and can
 * be withdrawn then: part of its buffer has been written.
 *
 * Return: true, and the read is the caller's again and will not be reaped;
 * false when it is in flight or has ended: it will be reaped.
 */
bool pst_io_withdraw(struct pst_io *io, struct pst_io_read *r);

/**
 * pst_io_reap() - collect completions
 * @wait: block until at least one read completes.  Returns NULL at once when
 *	none can: nothing is outstanding, or only idle reads that a bound of
 *	0 holds back.
 *
 * Return: completed requests linked by @next, in completion order; look at
 * @result of each.
 */
struct pst_io_read *pst_io_reap(struct pst_io *io, bool wait);

/** pst_io_outstanding() - reads handed over, neither reaped nor withdrawn */
uint32_t pst_io_outstanding(const struct pst_io *io);

/** pst_io_path() - path of a file index, for messages */
const char *pst_io_path(const struct pst_io *io, uint32_t file);

/** pst_io_name() - "io_uring, O_DIRECT, registered buffers" and the like */
const char *pst_io_name(const struct pst_io *io);

/** pst_io_mode() - the mode in use, which may not be the one asked for */
enum pst_io_mode pst_io_mode(const struct pst_io *io);

/** pst_io_mode_name() - "irq", "sqpoll", "iopoll" */
const char *pst_io_mode_name(enum pst_io_mode mode);

void pst_io_stats_read(const struct pst_io *io, struct pst_io_stats *out);

/**
 * struct pst_io_drive_stats - of one drive since creation
 * @name: "nvme0n1", or the device number of a file system without one
 * @path: a file that lies there
 * @reads: transfers, parts of continued reads counted each
 * @read_bytes: slack included
 * @errors: reads that failed there, also if another copy served them
 * @bytes_per_s, @latency_ns: learned; 0 when no file has a second copy
 * @left_out: failed too often; read only where no other copy is left
 */
struct pst_io_drive_stats {
	const char *name;
	const char *path;
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t errors;
	uint64_t bytes_per_s;
	uint64_t latency_ns;
	bool left_out;
};

/** pst_io_nr_drives() - block devices that the added files lie on */
uint32_t pst_io_nr_drives(const struct pst_io *io);

/** pst_io_drive_stats() - Return: 0, -EINVAL when there is no drive @i */
int pst_io_drive_stats(const struct pst_io *io, uint32_t i,
		       struct pst_io_drive_stats *out);

#endif
