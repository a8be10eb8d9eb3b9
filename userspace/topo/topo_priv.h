/* SPDX-License-Identifier: MIT */
/*
 * Inside topo: where threads may be put, and the drive lookup with the root
 * directory as an argument, for tests.
 */
#ifndef PST_TOPO_PRIV_H
#define PST_TOPO_PRIV_H

#include "topo.h"

/**
 * pst_topo_cores() - one logical CPU per physical core in the affinity mask
 * @cpus: CPU numbers of the kernel, [max]
 * @max: cores to report at most
 * @nr_cpus_out: logical CPUs in the mask
 *
 * Return: how many were written, or -errno when hwloc cannot read the machine.
 */
int pst_topo_cores(uint32_t *cpus, uint32_t max, uint32_t *nr_cpus_out);

/**
 * pst_drive_of_device() - describe a block device by its number
 * @root: "" for the machine itself; sys/ is looked for below it
 * @major: of the device
 * @minor: of the device; may be a partition
 * @out: name, numa_node and rotational are set when known
 *
 * Return: true when sysfs knows the device.
 */
bool pst_drive_of_device(const char *root, unsigned int major,
			 unsigned int minor, struct pst_drive *out);

/**
 * pst_drive_info_at() - pst_drive_info() below another root
 * @root: "" for the machine itself
 */
void pst_drive_info_at(const char *root, const char *name,
		       struct pst_drive_info *out);

/**
 * pst_drive_find_mount() - file system type and source of a mount
 * @mountinfo: text of /proc/self/mountinfo
 * @id: of the mount
 * @fs_type: [24], truncated to fit
 * @source: [4096]
 *
 * Return: true when the mount is there; outputs untouched otherwise.
 */
bool pst_drive_find_mount(const char *mountinfo, uint64_t id, char *fs_type,
			  char *source);

#endif
