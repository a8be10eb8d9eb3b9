/* SPDX-License-Identifier: MIT */
/*
 * mem_pressure: how near the kernel is to reclaiming memory, again and again.
 *
 * The files of the kernel are found and opened once; a reading is a few short
 * reads without an allocation.  What follows from a reading is not known here.
 */
#ifndef PST_MEM_PRESSURE_H
#define PST_MEM_PRESSURE_H

#include "base.h"

struct pst_mem_pressure;

/**
 * struct pst_mem_reading - what there is at this moment
 * @machine_room_bytes: MemAvailable
 * @machine_total_bytes: MemTotal
 * @group_room_bytes: the least that a memory cgroup of this process leaves
 *	below its limit (v1; v2: the lower of max and high), negative when the
 *	limit was lowered below the use; INT64_MAX without a limit.  File cache
 *	that can be dropped counts as room.
 * @machine_stall_ns: time in which some task of the machine waited for memory
 *	(PSI), since boot; 0 where the kernel does not tell
 * @group_stall_ns: the same for tasks of this process's cgroup (v2)
 */
struct pst_mem_reading {
	int64_t machine_room_bytes;
	int64_t machine_total_bytes;
	int64_t group_room_bytes;
	uint64_t machine_stall_ns;
	uint64_t group_stall_ns;
};

/**
 * pst_mem_pressure_open() - find the files
 * @out: pst_mem_pressure_close()
 *
 * The cgroups are those of this moment: a process that is moved later keeps
 * watching where it came from.
 *
 * Return: 0; -ENOMEM; -errno when /proc/meminfo cannot be opened.
 */
int pst_mem_pressure_open(struct pst_mem_pressure **out);

/** pst_mem_pressure_close() - NULL is allowed */
void pst_mem_pressure_close(struct pst_mem_pressure *p);

/**
 * pst_mem_pressure_read() - one reading; microseconds, no allocation
 * @enough_bytes: a cgroup with more room than this is not asked for its file
 *	cache, which is the costly part: its room is then a lower bound
 *
 * Return: 0, or -EIO when MemAvailable cannot be read.
 */
int pst_mem_pressure_read(struct pst_mem_pressure *p, int64_t enough_bytes,
			  struct pst_mem_reading *out);

#endif
