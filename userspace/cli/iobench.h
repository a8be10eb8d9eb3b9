/* SPDX-License-Identifier: MIT */
/*
 * Private to iobench: what is measured, and where.
 */
#ifndef PST_IOBENCH_H
#define PST_IOBENCH_H

#include <limits.h>

#include <penstock/profile.h>

#include "cli.h"
#include "topo.h"

#define IOBENCH_LIST_MAX   16
#define IOBENCH_POINTS_MAX (IOBENCH_LIST_MAX * IOBENCH_LIST_MAX)
#define IOBENCH_MEMORY_MAX PST_GIB
/* Looks at each point, spread over the whole time: drives drift. */
#define IOBENCH_ROUNDS 3
/* A shorter file may lie in the drive's own cache. */
#define IOBENCH_FILE_MIN (256 * PST_MIB)

/**
 * struct iobench_target - what is read
 * @path: as the person gave it
 * @source: what is opened: @path, or the temporary file in it
 * @fd: of the temporary file, which has no name and goes with it; else -1
 * @size_bytes: of the file or device
 * @expert_bytes: [nr_experts] reads that a model's experts need, distinct and
 *	ascending
 */
struct iobench_target {
	const char *path;
	char source[PATH_MAX];
	int fd;
	bool is_dir;
	bool is_block;
	uint64_t size_bytes;
	uint32_t expert_bytes[4];
	uint32_t nr_experts;
};

/**
 * struct iobench - a sweep
 * @sizes: [nr_sizes] ascending; @depths: [nr_depths] ascending
 * @swept: neither sizes nor depths were given: what a profile needs
 * @rounds: [][nr_points] by size, then by depth; without reads where left out
 * @f: [nr_points] of the rounds the one with the median bandwidth
 * @low_bps, @high_bps: [nr_points] slowest and fastest round
 * @knee: index into @f; @again: measured there once more, at the end
 * @looks: at the knee, by mode of io_uring; @looked: more than one was tried
 * @mode: the one to use; @again is of it
 * @refused: [mode] why it cannot be had, else empty
 * @stored: the profile was kept; else @why_not says why not
 */
struct iobench {
	struct cli_opts *o;
	struct iobench_target target;
	struct pst_drive drive;
	struct pst_drive_info info;
	struct pst_drive_bench *bench;
	uint32_t sizes[IOBENCH_LIST_MAX];
	uint32_t depths[IOBENCH_LIST_MAX];
	uint32_t nr_sizes, nr_depths;
	bool swept;
	struct pst_drive_figures rounds[IOBENCH_ROUNDS][IOBENCH_POINTS_MAX];
	struct pst_drive_figures f[IOBENCH_POINTS_MAX];
	uint64_t low_bps[IOBENCH_POINTS_MAX];
	uint64_t high_bps[IOBENCH_POINTS_MAX];
	uint32_t nr_points;
	uint32_t knee;
	struct pst_drive_figures again;
	bool looked;
	enum pst_engine_io_mode mode;
	struct pst_drive_looks looks[PST_ENGINE_NR_MODES];
	char refused[PST_ENGINE_NR_MODES][160];
	struct pst_drive_profile brief; /* its short reads */
	uint64_t hole_bytes;
	bool stored;
	char why_not[256];
};

/**
 * iobench_target_open() - find out what a path is; in a folder make a file
 * @make: false leaves a folder alone and takes a length for granted
 *
 * Return: 0, or an exit code after a message.
 */
int iobench_target_open(struct iobench_target *t, struct cli_opts *o,
			bool make);
void iobench_target_close(struct iobench_target *t);

/**
 * iobench_look_again() - at the knee, in each mode of io_uring that can be had
 * @time_ns: for all of it
 *
 * Sets again, mode and what belongs to them; the bench is as before.
 *
 * Return: 0 or -errno.
 */
int iobench_look_again(struct iobench *b, uint64_t time_ns,
		       struct pst_diag *diag);

/** iobench_print() - the result in the form that was asked for */
void iobench_print(const struct iobench *b);

/** iobench_print_fio() - a fio job that makes the same reads */
void iobench_print_fio(const struct iobench *b);

#endif
