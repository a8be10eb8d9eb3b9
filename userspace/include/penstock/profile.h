/* SPDX-License-Identifier: MIT */
/*
 * profile: how fast a drive gives experts, measured through penstock's own
 * I/O, and kept for later runs.
 *
 * Three ways to know a drive, from slow to fast: a bench (iobench: many read
 * sizes and depths), a probe (a fifth of a second, before a run), and the
 * profile that an earlier bench has stored.  All block on the drive; none
 * belongs on the way of a token.
 */
#ifndef PENSTOCK_PROFILE_H
#define PENSTOCK_PROFILE_H

#include <penstock/engine.h>

/**
 * struct pst_drive_mode_look - what a mode of io_uring gave at the knee
 * @bandwidth_bps: 0 when it was refused, or not looked at
 * @cpu_ns_gb: processor time of the process, kernel threads included, for 1 GB
 */
struct pst_drive_mode_look {
	uint64_t bandwidth_bps;
	uint64_t cpu_ns_gb;
};

/**
 * struct pst_drive_profile - random reads from one drive
 * @bandwidth_bps: bytes per second with @depth reads of @split_bytes in flight
 * @latency_ns: median of one such read alone
 * @depth: reads in flight; with @split_bytes the least that gives the
 *	bandwidth.  What counts is their product: with shorter reads, more
 * @split_bytes: bytes of a read, a multiple of 4096
 * @when_s: seconds since 1970 at which it was measured
 * @direct: past the page cache; else the figures may be those of memory
 * @short_latency_ns: median of one read of PST_DRIVE_SHORT_BYTES alone
 * @short_rate: such reads per second with PST_DRIVE_SHORT_DEPTH in flight; both
 *	0 where they were not measured (profiles of older versions)
 * @io_mode: how it is to be read, PST_ENGINE_MODE_AUTO if nobody has looked
 * @looks: by mode
 */
struct pst_drive_profile {
	uint64_t bandwidth_bps;
	uint64_t latency_ns;
	uint32_t depth;
	uint32_t split_bytes;
	int64_t when_s;
	bool direct;
	uint64_t short_latency_ns;
	uint64_t short_rate;
	enum pst_engine_io_mode io_mode;
	struct pst_drive_mode_look looks[PST_ENGINE_NR_MODES];
};

#define PST_DRIVE_SHORT_BYTES 4096
#define PST_DRIVE_SHORT_DEPTH 16

/**
 * struct pst_drive_line - what reads that are handed over together take
 * @bps: bytes per second
 * @read_s: each read, beside its bytes
 * @latency_s: once, beside both
 *
 * latency_s + reads x read_s + bytes / bps: the line through the short reads and
 * those of the bandwidth.
 */
struct pst_drive_line {
	double bps;
	double read_s;
	double latency_s;
};

/**
 * pst_profile_line() - a profile as a line
 *
 * Without figures of short reads a read costs nothing but its bytes.
 */
void pst_profile_line(const struct pst_drive_profile *p,
		      struct pst_drive_line *out);

/**
 * struct pst_profile_origin - what a stored profile was measured on
 * @kernel: release of the kernel
 * @io: pst_io_name() of the time
 */
struct pst_profile_origin {
	char kernel[96];
	char io[96];
};

/**
 * pst_profile_find() - the stored profile of the drive below a path
 * @state_dir: from pst_state_dir()
 * @path: a file or folder on the drive, or the block device; it exists
 * @origin: may be NULL
 * @diag: may be NULL
 *
 * Drives are told apart by model and serial number, where they have none by
 * host and name, and by the file system on them.
 *
 * Return: 0; -ENOENT when none is stored, without a text; -EBADMSG for a
 * damaged one; -errno.
 */
int pst_profile_find(const char *state_dir, const char *path,
		     struct pst_drive_profile *out,
		     struct pst_profile_origin *origin, struct pst_diag *diag);

/**
 * pst_profile_store() - keep a profile for the drive below a path
 * @io: how it was read, pst_drive_bench_io()
 *
 * Return: 0, or as pst_state_write().
 */
int pst_profile_store(const char *state_dir, const char *path,
		      const struct pst_drive_profile *p, const char *io,
		      struct pst_diag *diag);

/**
 * pst_drive_bench_short() - the figures of short reads, into @out
 * @time_ns: for both together
 *
 * Where memory or depth are too small for them, they stay unknown.
 *
 * Return: as pst_drive_bench_run().
 */
struct pst_drive_bench;
int pst_drive_bench_short(struct pst_drive_bench *b, uint64_t time_ns,
			  struct pst_drive_profile *out, struct pst_diag *diag);

/**
 * pst_drive_probe() - a quick look at the drive below a file
 * @path: a file of at least 4 KiB, or a block device
 * @ms_budget: time to measure, 10 to 1000; opening and the last reads of a
 *	slow drive come on top
 * @out: depth and size are guesses that suit most drives, not the knee
 * @diag: may be NULL
 *
 * Takes at most 16 MiB of memory, given back before it returns.
 *
 * Return: 0, -EINVAL for a budget or a file that is too small, or as
 * pst_drive_bench_open() and pst_drive_bench_run().
 */
int pst_drive_probe(const char *path, uint32_t ms_budget,
		    struct pst_drive_profile *out, struct pst_diag *diag);

/**
 * struct pst_drive_bench_args - how to read
 * @path: a file or a block device, opened for reading only
 * @io: backend, not mmap
 * @io_mode: of io_uring; SQPOLL and IOPOLL fail where they are refused
 * @depth_max: of any later run, 1 to 1024
 * @memory_bytes: what the reads in flight of any later run need together: its
 *	size times its depth, at most 1 GiB
 * @seed: of the offsets
 * @fault: fault injection text for tests, NULL for none; outlives the bench
 * @log: notices, may be NULL; likewise
 */
struct pst_drive_bench_args {
	const char *path;
	enum pst_engine_io io;
	enum pst_engine_io_mode io_mode;
	enum pst_tristate direct;
	enum pst_engine_huge huge;
	uint32_t depth_max;
	uint64_t memory_bytes;
	uint64_t seed;
	const char *fault;
	const struct pst_log *log;
};

/**
 * struct pst_drive_figures - one size at one depth
 * @reads: that completed, all of @size_bytes
 * @elapsed_ns: from the first submission to the last completion
 * @cpu_ns: processor time of this process in that time
 * @p50_ns, @p99_ns: latency of a read, exact to 3 %
 */
struct pst_drive_figures {
	uint32_t size_bytes;
	uint32_t depth;
	uint64_t reads;
	uint64_t elapsed_ns;
	uint64_t cpu_ns;
	uint64_t p50_ns;
	uint64_t p99_ns;
};

struct pst_drive_bench;

/**
 * pst_drive_bench_open() - open the file, map and register memory
 * @out: the caller's, pst_drive_bench_close()
 *
 * The memory is not checked against what is free: the caller did.
 *
 * Return: 0, -EINVAL for arguments, -ENOMEM, or as pst_io_create() and
 * pst_io_add_file().
 */
int pst_drive_bench_open(const struct pst_drive_bench_args *args,
			 struct pst_drive_bench **out, struct pst_diag *diag);

/** pst_drive_bench_close() - NULL is allowed */
void pst_drive_bench_close(struct pst_drive_bench *b);

/** pst_drive_bench_align() - read sizes are multiples of this, >= 4096 */
uint32_t pst_drive_bench_align(const struct pst_drive_bench *b);

/** pst_drive_bench_bytes() - length of the file or device */
uint64_t pst_drive_bench_bytes(const struct pst_drive_bench *b);

/**
 * pst_drive_bench_hole_bytes() - how much of the file is not on the drive
 *
 * Holes and space that was reserved and never written are read without the
 * drive: figures of such a file are too good.  Blocks.
 */
uint64_t pst_drive_bench_hole_bytes(const struct pst_drive_bench *b);

/** pst_drive_bench_direct() - whether reads pass the page cache by */
bool pst_drive_bench_direct(const struct pst_drive_bench *b);

/** pst_drive_bench_io() - how it reads, in words */
const char *pst_drive_bench_io(const struct pst_drive_bench *b);

/** pst_drive_bench_memory() - kind of the memory that is read into */
const char *pst_drive_bench_memory(const struct pst_drive_bench *b);

/**
 * pst_drive_bench_run() - random reads for a time
 * @size_bytes: a multiple of pst_drive_bench_align(), at most the
 *	length of the file
 * @depth: 1 to depth_max; the product with @size_bytes at most memory_bytes
 * @time_ns: after this no read is started; @depth reads are made in any case
 *
 * Return: 0; -EINVAL; the error of the first read that failed, with its place.
 */
int pst_drive_bench_run(struct pst_drive_bench *b, uint32_t size_bytes,
			uint32_t depth, uint64_t time_ns,
			struct pst_drive_figures *out, struct pst_diag *diag);

/**
 * pst_drive_bench_set_mode() - read in another mode of io_uring from now on
 * @diag: why it is refused
 *
 * Between runs, as often as one likes.
 *
 * Return: 0; or, with everything as before, as pst_drive_bench_open():
 * -EOPNOTSUPP where kernel or drive refuse the mode.
 */
int pst_drive_bench_set_mode(struct pst_drive_bench *b,
			     enum pst_engine_io_mode mode,
			     struct pst_diag *diag);

/** pst_drive_figures_bps() - bytes per second */
uint64_t pst_drive_figures_bps(const struct pst_drive_figures *f);

/** pst_drive_figures_cpu() - processor time for 10^9 bytes, in ns */
uint64_t pst_drive_figures_cpu(const struct pst_drive_figures *f);

/**
 * pst_drive_knee() - the least in flight that gives (nearly) all there is
 * @f: [nr], nr > 0; those without reads do not count
 *
 * Return: index of the figures with the smallest product of size and depth
 * among those of at least 0.95 of the best bandwidth; of equal ones that with
 * the longest reads up to 1 MiB.
 */
uint32_t pst_drive_knee(const struct pst_drive_figures *f, uint32_t nr);

/* Looks at each mode, in turns. */
#define PST_DRIVE_LOOKS 5

/**
 * struct pst_drive_looks - a mode of io_uring at the knee
 * @had: neither kernel nor drive refused it
 * @f: in the order of time; those of all modes with the same index were made
 *	one after the other
 */
struct pst_drive_looks {
	bool had;
	struct pst_drive_figures f[PST_DRIVE_LOOKS];
};

/** pst_drive_looks_median() - the look with the median bandwidth */
void pst_drive_looks_median(const struct pst_drive_looks *l,
			    struct pst_drive_figures *out);

/**
 * pst_drive_choose_mode() - how a drive is to be read
 * @looks: by mode, that of interrupts being there
 *
 * Interrupts, unless another mode gives at least 3 % more bandwidth and more in
 * each turn, or as much within 1 % for less than 0.8 of the processor time; of
 * two such modes the faster one.
 */
enum pst_engine_io_mode
pst_drive_choose_mode(const struct pst_drive_looks looks[PST_ENGINE_NR_MODES]);

#endif
