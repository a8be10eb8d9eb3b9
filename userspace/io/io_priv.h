/* SPDX-License-Identifier: MIT */
/*
 * Inside io: the ops table that a backend fills, and what the common layer
 * shares with it.  A backend moves bytes once per attempt and reports what the
 * kernel said; continuing, counting and queueing belong to io.c.
 */
#ifndef PST_IO_PRIV_H
#define PST_IO_PRIV_H

#include "io.h"
#include "io_drive.h"

#define PST_IO_FILES_MAX   1024
#define PST_IO_REGIONS_MAX 1024
#define PST_IO_COPIES_MAX  8
#define PST_IO_DRIVES_MAX  16
#define PST_IO_NO_FILE	   UINT32_MAX
#define PST_IO_DEPTH_MAX   1024
#define PST_IO_IDLE_BYTES  (4 * PST_MIB)
/* Never report less: what every file system and drive in use accepts. */
#define PST_IO_ALIGN_MIN 4096

/**
 * struct pst_io_file - an open file
 * @path: owned
 * @fd: -1 for a backend without descriptors
 * @align: positions at which a read may be continued; 1 when buffered
 * @direct: opened with O_DIRECT
 * @size_bytes: when it was opened
 * @dev: number of the block device it lies on, or is
 * @drive: index into pst_io's drives (set by the common layer)
 * @copy: 0 for the file itself, 1 for its first copy ... (likewise)
 */
struct pst_io_file {
	char *path;
	int fd;
	uint32_t align;
	bool direct;
	uint64_t size_bytes;
	uint64_t dev;
	uint32_t drive;
	uint32_t copy;
};

/* The table never moves: backend threads read it while files are added. */
struct pst_io_files {
	struct pst_io_file v[PST_IO_FILES_MAX];
	uint32_t nr;
};

/**
 * struct pst_io_setup - what a backend is built from
 * @depth: attempts in its hands at most, 1..PST_IO_DEPTH_MAX
 * @nr_threads: threads of the pread backend, > 0
 * @mode: of a ring
 * @must_mode: another will not do
 * @direct: how files are to be opened
 * @files: outlives the backend; filled by the common layer
 * @log: may be NULL
 */
struct pst_io_setup {
	uint32_t depth;
	uint32_t nr_threads;
	enum pst_io_mode mode;
	bool must_mode;
	enum pst_io_direct direct;
	const struct pst_io_files *files;
	const struct pst_log *log;
};

struct pst_io_backend;

/**
 * struct pst_io_ops - a backend; called by the owning thread only
 * @destroy: free the backend; nothing is in flight any more
 * @add_file: open @path, which becomes file @index; fills @out but for the path
 * @add_region: 0 when the memory was registered, -errno when reads into it
 *	work without (said once in the log); NULL where registering means nothing
 * @drop_region: 0 when the memory is no longer pinned, -errno when it still is;
 *	called for registered regions only, nothing is in flight into them
 * @issue: start one attempt per request of the list, for the bytes of
 *	pst_io_span_of(); all are taken, never blocks for a completion
 * @mode: what is in use; NULL where there is no choice
 * @reap: attempts that ended, linked by next, result being the byte count or
 *	-errno of the attempt.  With @wait at least one; called only while
 *	something is in flight
 */
struct pst_io_ops {
	const char *name;
	void (*destroy)(struct pst_io_backend *be);
	int (*add_file)(struct pst_io_backend *be, const char *path,
			uint32_t index, struct pst_io_file *out,
			struct pst_diag *diag);
	int (*add_region)(struct pst_io_backend *be, uint32_t index, void *addr,
			  uint64_t size_bytes);
	int (*drop_region)(struct pst_io_backend *be, uint32_t index);
	void (*issue)(struct pst_io_backend *be, struct pst_io_read *list);
	enum pst_io_mode (*mode)(const struct pst_io_backend *be);
	struct pst_io_read *(*reap)(struct pst_io_backend *be, bool wait);
};

/* First member of every backend's own struct. */
struct pst_io_backend {
	const struct pst_io_ops *ops;
};

/* Reads linked both ways: any of them may leave.  @tail is meaningless while
 * it is empty.
 */
struct pst_io_list {
	struct pst_io_read *head;
	struct pst_io_read *tail;
};

static inline void pst_io_list_add(struct pst_io_list *l, struct pst_io_read *r)
{
	r->next = NULL;
	r->prev = l->head ? l->tail : NULL;
	if (l->head)
		l->tail->next = r;
	else
		l->head = r;
	l->tail = r;
}

static inline void pst_io_list_push(struct pst_io_list *l,
				    struct pst_io_read *r)
{
	r->next = l->head;
	r->prev = NULL;
	if (l->head)
		l->head->prev = r;
	else
		l->tail = r;
	l->head = r;
}

static inline void pst_io_list_del(struct pst_io_list *l, struct pst_io_read *r)
{
	if (r->prev)
		r->prev->next = r->next;
	else
		l->head = r->next;
	if (r->next)
		r->next->prev = r->prev;
	else
		l->tail = r->prev;
	r->next = NULL;
	r->prev = NULL;
}

static inline struct pst_io_read *pst_io_list_pop(struct pst_io_list *l)
{
	struct pst_io_read *r = l->head;

	if (r)
		pst_io_list_del(l, r);
	return r;
}

/* Empty @l and return what it held, linked by next. */
static inline struct pst_io_read *pst_io_list_take(struct pst_io_list *l)
{
	struct pst_io_read *r = l->head;

	l->head = NULL;
	return r;
}

/**
 * struct pst_io_region - memory that was announced
 * @nr_reads: outstanding reads that name it
 * @registered: the backend has it pinned
 * @dropped: reads must not name it
 */
struct pst_io_region {
	uintptr_t addr;
	uint64_t size_bytes;
	uint32_t nr_reads;
	bool registered;
	bool dropped;
};

/* How many reads are outstanding, and how long that was not zero. */
struct pst_io_busy {
	uint32_t nr;
	uint64_t since_ns;
	uint64_t sum_ns;
};

/**
 * struct pst_io_source - what the caller knows as one file
 * @file: its copies, the first being what was added as the file
 */
struct pst_io_source {
	uint32_t nr;
	uint32_t file[PST_IO_COPIES_MAX];
};

/**
 * struct pst_io - an engine
 * @sources: by the caller's file index; files holds all copies of all
 * @nr_copies: files beyond the first of their source; 0 turns learning off
 * @seen_ns: when the backend was asked last (with copies)
 * @blind_ns: how long before that it had not been asked
 * @window_reads: handed over since shares were judged
 * @depth: how many may be, 1..setup.depth; pst_io_set_depth()
 * @nr_inflight: in the backend's hands, <= setup.depth
 * @idle_flying_bytes: lengths of the idle reads among them
 * @waiting: by class
 * @refused: malformed, to be reaped with -EINVAL
 * @all: every outstanding read
 * @demand: the demand reads among them
 * @stats: but for the times, which @all and @demand hold
 */
struct pst_io {
	struct pst_io_backend *be;
	struct pst_io_setup setup;
	struct pst_io_files files;
	struct pst_io_source sources[PST_IO_FILES_MAX];
	uint32_t nr_sources;
	uint32_t nr_copies;
	struct pst_io_drive drives[PST_IO_DRIVES_MAX];
	uint32_t nr_drives;
	uint64_t seen_ns;
	uint64_t blind_ns;
	uint32_t window_reads;
	struct pst_io_region regions[PST_IO_REGIONS_MAX];
	uint32_t nr_regions;
	uint32_t align;
	uint32_t depth;
	uint32_t nr_inflight;
	uint64_t idle_bytes_max;
	uint64_t idle_flying_bytes;
	struct pst_io_list waiting[2];
	struct pst_io_list refused;
	struct pst_io_busy all;
	struct pst_io_busy demand;
	struct pst_io_stats stats;
	bool faulty;
	char name[128];
};

/* The bytes that the next attempt of a request asks for. */
struct pst_io_span {
	uint64_t off_bytes;
	uint32_t len_bytes;
	unsigned char *buf;
};

/* Where the next attempt starts, counted from the start of the request. */
static inline uint32_t pst_io_start_of(const struct pst_io_read *r,
				       const struct pst_io_file *f)
{
	return (uint32_t)pst_align_down(r->done_bytes, f->align);
}

static inline struct pst_io_span pst_io_span_of(const struct pst_io_read *r,
						const struct pst_io_file *f)
{
	uint32_t start = pst_io_start_of(r, f);

	return (struct pst_io_span){ .off_bytes = r->off_bytes + start,
				     .len_bytes = r->len_bytes - start,
				     .buf = (unsigned char *)r->buf + start };
}

/**
 * typedef pst_io_make_fn - build a backend
 * @ctx: as given to pst_io_assemble()
 *
 * Return: 0 or -errno, @out untouched on failure.
 */
typedef int (*pst_io_make_fn)(const struct pst_io_setup *setup, const void *ctx,
			      struct pst_io_backend **out,
			      struct pst_diag *diag);

/**
 * pst_io_assemble() - an engine over the backend that @make builds
 * @args: as for pst_io_create(), its kind being @make's business
 * @make: called once
 * @ctx: handed to @make
 *
 * Return: 0, -EINVAL, -ENOMEM, or what @make returned.
 */
int pst_io_assemble(const struct pst_io_args *args, pst_io_make_fn make,
		    const void *ctx, struct pst_io **out,
		    struct pst_diag *diag);

/**
 * pst_io_file_open() - open for reading, with O_DIRECT where it works
 * @setup: direct and log are used
 * @out: fd, align and direct are set; the fd is the caller's
 *
 * Return: 0 or -errno.
 */
int pst_io_file_open(const struct pst_io_setup *setup, const char *path,
		     struct pst_io_file *out, struct pst_diag *diag);

/**
 * pst_io_copy_drive() - the drive with number @id, made if need be
 *
 * Return: its index, or -ENOSPC.
 */
int pst_io_copy_drive(struct pst_io *io, uint64_t id, const char *path);

/** pst_io_copy_choose() - set @r->src to a copy that has not failed yet */
void pst_io_copy_choose(struct pst_io *io, struct pst_io_read *r,
			uint64_t now_ns);

/** pst_io_copy_begin() - an attempt at @r is handed over */
void pst_io_copy_begin(struct pst_io *io, struct pst_io_read *r,
		       uint64_t now_ns);

/** pst_io_copy_end() - it has ended, r->result being what the backend said */
void pst_io_copy_end(struct pst_io *io, struct pst_io_read *r);

/**
 * pst_io_copy_retry() - a read has failed on its copy
 *
 * Return: true when it shall be begun anew on another.
 */
bool pst_io_copy_retry(struct pst_io *io, struct pst_io_read *r);

/** pst_io_uring_create() - Return: 0, -ENOSYS, -EPERM, -ENOMEM or -errno */
int pst_io_uring_create(const struct pst_io_setup *setup,
			struct pst_io_backend **out, struct pst_diag *diag);

/** pst_io_pread_create() - Return: 0, -ENOMEM, -EAGAIN without threads */
int pst_io_pread_create(const struct pst_io_setup *setup,
			struct pst_io_backend **out, struct pst_diag *diag);

/**
 * struct pst_io_fault - what the fault twin does, probabilities per attempt
 * @seed: of the generator
 * @eio: the attempt fails with EIO
 * @partial: the attempt delivers fewer bytes than it could
 * @eagain: the attempt fails with EAGAIN
 * @flip: one bit of the delivered bytes is wrong
 * @delay_ns: every completion is held back for this long
 * @eio_at: this attempt, counted from 1, fails with EIO, once; 0 for none
 * @eio_after: all attempts after this many fail with EIO; UINT64_MAX for none
 * @shuffle: completions are released in random order
 * @copy: only attempts at this copy of a file are spoiled, counted and held
 *	back, 0 being the file itself; UINT64_MAX for all
 */
struct pst_io_fault {
	uint64_t seed;
	double eio;
	double partial;
	double eagain;
	double flip;
	uint64_t delay_ns;
	uint64_t eio_at;
	uint64_t eio_after;
	bool shuffle;
	uint64_t copy;
};

/**
 * pst_io_fault_parse() - "seed=7,eio=0.01,short=0.05,eagain=0.02,flip=0.0,
 * delay_us=500,shuffle=1,eio_at=3,eio_after=100,copy=1", each key optional
 *
 * Return: 0, -EINVAL for an unknown key or a value out of bounds.
 */
int pst_io_fault_parse(const char *text, struct pst_io_fault *out);

/**
 * pst_io_fault_wrap() - put the fault twin around a backend
 * @inner: owned by the twin on success, by the caller on failure
 *
 * Return: 0 or -ENOMEM.
 */
int pst_io_fault_wrap(const struct pst_io_setup *setup,
		      const struct pst_io_fault *fault,
		      struct pst_io_backend *inner,
		      struct pst_io_backend **out);

/**
 * struct pst_io_loopfile - a file in memory; the caller's, also while in use
 * @name: what pst_io_add_file() is given
 * @data: its bytes
 * @size_bytes: may shrink between reads: a truncated file
 * @drive: number of the drive that it seems to lie on
 */
struct pst_io_loopfile {
	const char *name;
	const unsigned char *data;
	uint64_t size_bytes;
	uint64_t drive;
};

/**
 * struct pst_io_loopdisk - the files that a loopback engine sees
 * @files: [nr], outlives the engine
 */
struct pst_io_loopdisk {
	const struct pst_io_loopfile *files;
	uint32_t nr;
};

/**
 * pst_io_loopback_create() - an engine without a kernel below, for unit tests
 * @args: kind and direct are ignored: it insists on alignment like O_DIRECT
 *
 * Return: as pst_io_create().
 */
int pst_io_loopback_create(const struct pst_io_args *args,
			   const struct pst_io_loopdisk *disk,
			   struct pst_io **out, struct pst_diag *diag);

#endif
