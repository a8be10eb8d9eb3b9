/* SPDX-License-Identifier: MIT */
/*
 * topo: cores, NUMA nodes, drives, render nodes, and the worker threads that are
 * pinned to cores.
 * Knows nothing of models.
 */
#ifndef PST_TOPO_H
#define PST_TOPO_H

#include "base.h"

/**
 * struct pst_topo - what the machine offers to this process
 * @nr_cores: physical cores in this process's affinity mask, >= 1
 * @nr_nodes: NUMA nodes with memory, >= 1
 * @cache_bytes: last-level caches of those cores together, 0 when unknown
 * @mem_bytes: memory of the machine
 * @cpu_name: CPU model, or empty
 */
struct pst_topo {
	uint32_t nr_cores;
	uint32_t nr_nodes;
	uint64_t cache_bytes;
	uint64_t mem_bytes;
	char cpu_name[96];
};

/** pst_topo_read() - Return: 0, or -errno when hwloc cannot read the machine */
int pst_topo_read(struct pst_topo *out);

/**
 * pst_topo_node_free() - free memory of a NUMA node in bytes
 *
 * Return: 0, -ENOENT when the kernel knows no such node, -EIO.
 */
int pst_topo_node_free(int node, uint64_t *out);

/**
 * struct pst_gpu - a render node
 * @path: "/dev/dri/renderD128"
 * @driver: name of the kernel's driver, or empty when unknown
 * @pci: "0000:01:00.0", or empty for a device that is not on PCI
 * @numa_node: node it hangs on, -1 when unknown
 * @usable: this process may open it
 */
struct pst_gpu {
	char path[64];
	char driver[32];
	char pci[24];
	int numa_node;
	bool usable;
};

/**
 * pst_gpu_list() - the render nodes of this machine
 * @out: [max]
 *
 * Return: how many were written.
 */
uint32_t pst_gpu_list(struct pst_gpu *out, uint32_t max);

/**
 * pst_gpu_import() - can the device import this dma-buf?
 * @dmabuf: descriptor, stays the caller's
 *
 * Imports it (drmPrimeFDToHandle) and lets go of it again.
 *
 * Return: 0, or the -errno of the device's driver or of the exporter.
 */
int pst_gpu_import(const struct pst_gpu *g, int dmabuf);

/**
 * struct pst_drive - the block device below a path
 * @name: kernel name of the whole device ("nvme0n1"), or empty when unknown
 * @fs_type: name of the file system ("ext4"), or hexadecimal magic
 * @numa_node: node the device hangs on, -1 when unknown
 * @rotational: 1, 0, or -1 when unknown
 */
struct pst_drive {
	char name[64];
	char fs_type[24];
	int numa_node;
	int rotational;
};

/** pst_drive_of_path() - Return: 0, or -errno of stat() */
int pst_drive_of_path(const char *path, struct pst_drive *out);

/**
 * struct pst_drive_info - one whole block device; texts are empty and numbers 0
 * where the kernel does not tell
 * @model: as the maker calls it
 * @serial: serial number or another name that no other device has
 * @scheduler: the I/O scheduler in use
 * @read_max_bytes: a longer read is split by the kernel
 * @read_hw_bytes: what that bound could be raised to
 * @link_speed: "16.0 GT/s PCIe"; @link_width: lanes
 * @link_max_speed: what the device could do; @link_max_width: likewise
 */
struct pst_drive_info {
	char model[64];
	char serial[128];
	char scheduler[64];
	uint64_t read_max_bytes;
	uint64_t read_hw_bytes;
	char link_speed[32];
	char link_width[16];
	char link_max_speed[32];
	char link_max_width[16];
};

/**
 * pst_drive_info() - describe a device
 * @name: of pst_drive_of_path(); with an unknown one nothing is known
 */
void pst_drive_info(const char *name, struct pst_drive_info *out);

/*
 * Worker pool.  One thread creates it and is its worker 0; every job runs on
 * all workers and ends with a barrier.  Jobs are split in chunks that workers
 * take with an atomic counter, so results must not depend on who computes what.
 */
struct pst_pool;

/**
 * typedef pst_pool_fn - one chunk of a job
 * @ctx: as given to pst_pool_run()
 * @chunk: 0..nr_chunks-1, each exactly once
 * @worker: 0..nr_workers-1, for per-thread scratch
 */
typedef void (*pst_pool_fn)(void *ctx, uint32_t chunk, uint32_t worker);

/**
 * pst_pool_create() - start and pin workers, one per physical core
 * @nr_workers: >= 1, the calling thread included; more workers than cores are
 *	started but not pinned
 * @pin: false leaves every thread where the scheduler puts it
 * @out: owned by the caller, pst_pool_destroy()
 *
 * Return: 0, -EINVAL, -ENOMEM, -EAGAIN.
 */
int pst_pool_create(uint32_t nr_workers, bool pin, struct pst_pool **out);
void pst_pool_destroy(struct pst_pool *p);
uint32_t pst_pool_nr_workers(const struct pst_pool *p);

/**
 * pst_pool_run() - run all chunks of a job, return when they are done
 *
 * Only the creating thread may call it; it never allocates.  Workers spin for
 * a short time between jobs and then sleep in the kernel.
 */
void pst_pool_run(struct pst_pool *p, pst_pool_fn fn, void *ctx,
		  uint32_t nr_chunks);

#endif
