/* SPDX-License-Identifier: ((GPL-2.0 WITH Linux-syscall-note) OR MIT) */
/*
 * The interface of /dev/penstock: pools of pinned memory that drives fill,
 * devices import and processes hand over to each other.
 *
 * Every structure begins with its size, set by the caller to the size that it
 * was compiled with.  The kernel takes smaller and larger structures than its
 * own; bytes that it does not know must be zero (E2BIG), and so must flags and
 * reserved fields (EINVAL).  Fields marked "out" are written by the kernel;
 * what they hold before the call is ignored.
 *
 * Documentation/uapi.rst describes the calls.
 */
#ifndef _UAPI_LINUX_PENSTOCK_H
#define _UAPI_LINUX_PENSTOCK_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define PENSTOCK_DEVICE "/dev/penstock"
#define PENSTOCK_ABI	1

#define PENSTOCK_MAX_ORDER 10
#define PENSTOCK_NR_ORDERS 11
#define PENSTOCK_MAX_NODES 64
/* With the NUL that ends it. */
#define PENSTOCK_NAME_LEN 64

#define PENSTOCK_IOC 0xe9

/* On /dev/penstock. */
#define PENSTOCK_INFO	_IO(PENSTOCK_IOC, 0x00)
#define PENSTOCK_CREATE _IO(PENSTOCK_IOC, 0x01)
#define PENSTOCK_OPEN	_IO(PENSTOCK_IOC, 0x02)
#define PENSTOCK_UNLINK _IO(PENSTOCK_IOC, 0x03)
/* On a pool. */
#define PENSTOCK_STAT	   _IO(PENSTOCK_IOC, 0x10)
#define PENSTOCK_CHUNKS	   _IO(PENSTOCK_IOC, 0x11)
#define PENSTOCK_EXPORT	   _IO(PENSTOCK_IOC, 0x12)
#define PENSTOCK_WAIT_IDLE _IO(PENSTOCK_IOC, 0x13)

/* penstock_info.features */
#define PENSTOCK_F_NAMED (1ULL << 0) /* named pools with an owner */
#define PENSTOCK_F_BUSY	 (1ULL << 1) /* counts references per chunk */

/**
 * struct penstock_info - PENSTOCK_INFO: what this kernel offers to this caller
 * @size: sizeof(struct penstock_info)
 * @flags: 0
 * @abi: out: PENSTOCK_ABI of the module
 * @max_order: out: largest order of a chunk
 * @features: out: PENSTOCK_F_*
 * @quota_bytes: out: how much the caller's user may have in named pools;
 *	all ones: no limit
 * @used_bytes: out: what the caller's user has, zombies included
 * @named_bytes: out: how much of it is charged to the quota
 * @zombie_bytes: out: how much of it belongs to pools that are gone but whose
 *	memory is still referenced, by DMA for instance
 * @ceiling_bytes: out: how much all users together may have
 * @total_bytes: out: how much all users together have
 */
struct penstock_info {
	__u32 size;
	__u32 flags;
	__u32 abi;
	__u32 max_order;
	__u64 features;
	__u64 quota_bytes;
	__u64 used_bytes;
	__u64 named_bytes;
	__u64 zombie_bytes;
	__u64 ceiling_bytes;
	__u64 total_bytes;
};

/* penstock_create.flags */
#define PENSTOCK_C_NAMED	(1U << 0) /* stays until unlinked */
#define PENSTOCK_C_STRICT_NODES (1U << 1) /* @nodes or nothing */

/**
 * struct penstock_create - PENSTOCK_CREATE: a new pool, zeroed
 * @size: sizeof(struct penstock_create)
 * @flags: PENSTOCK_C_*
 * @bytes: size of the pool, a multiple of 4096 << @order
 * @order: wanted size of a chunk: 4096 << @order bytes, physically contiguous
 * @min_order: smallest order to fall back to; equal to @order: no fallback
 * @nodes: mask of NUMA nodes, chunks alternate between them; 0: as the task's
 *	memory policy says
 * @fd: out: the pool, close-on-exec; the owner where the pool is named
 * @reserved: 0
 * @name: PENSTOCK_C_NAMED: letters, digits, '.', '_', '-', NUL-padded
 * @got_bytes_by_order: out, on ENOMEM too: bytes found in chunks of each order
 */
struct penstock_create {
	__u32 size;
	__u32 flags;
	__u64 bytes;
	__u32 order;
	__u32 min_order;
	__u64 nodes;
	__s32 fd;
	__u32 reserved;
	char name[PENSTOCK_NAME_LEN];
	__u64 got_bytes_by_order[PENSTOCK_NR_ORDERS];
};

/* penstock_open.flags */
#define PENSTOCK_O_OWNER     (1U << 0) /* become the one who may write */
#define PENSTOCK_O_WAIT_IDLE (1U << 1) /* wait until nothing refers to it */
#define PENSTOCK_O_UID	     (1U << 2) /* the pool of user @uid, CAP_SYS_ADMIN */

/**
 * struct penstock_open - PENSTOCK_OPEN: a named pool
 * @size: sizeof(struct penstock_open)
 * @flags: PENSTOCK_O_*
 * @name: the name
 * @timeout_ns: PENSTOCK_O_WAIT_IDLE: how long to wait
 * @uid: PENSTOCK_O_UID: whose pool
 * @fd: out: the pool, close-on-exec; without PENSTOCK_O_OWNER for reading only
 * @order: out: as created
 * @reserved: 0
 * @bytes: out: size of the pool
 * @generation: out: number of grants of ownership, this one included
 * @busy_chunks: out, on EBUSY and ETIMEDOUT too: chunks still referenced
 */
struct penstock_open {
	__u32 size;
	__u32 flags;
	char name[PENSTOCK_NAME_LEN];
	__u64 timeout_ns;
	__u32 uid;
	__s32 fd;
	__u32 order;
	__u32 reserved;
	__u64 bytes;
	__u64 generation;
	__u64 busy_chunks;
};

/* penstock_unlink.flags */
#define PENSTOCK_U_UID (1U << 0) /* the pool of user @uid, CAP_SYS_ADMIN */

/**
 * struct penstock_unlink - PENSTOCK_UNLINK: take the name from a pool
 * @size: sizeof(struct penstock_unlink)
 * @flags: PENSTOCK_U_*
 * @name: the name
 * @uid: PENSTOCK_U_UID: whose pool
 * @reserved: 0
 */
struct penstock_unlink {
	__u32 size;
	__u32 flags;
	char name[PENSTOCK_NAME_LEN];
	__u32 uid;
	__u32 reserved;
};

/* penstock_stat.flags, out */
#define PENSTOCK_S_NAMED     (1U << 0)
#define PENSTOCK_S_OWNED     (1U << 1) /* somebody is its owner */
#define PENSTOCK_S_READ_ONLY (1U << 2) /* this file may only read */

/**
 * struct penstock_stat - PENSTOCK_STAT: counters of a pool
 * @size: sizeof(struct penstock_stat)
 * @flags: in: 0; out: PENSTOCK_S_*
 * @bytes: out: size of the pool
 * @nr_chunks: out: number of chunks
 * @busy_chunks: out: chunks with references besides page tables
 * @generation: out: number of grants of ownership
 * @maps: out: mappings by processes
 * @exports: out: dma-bufs
 * @attachments: out: devices attached to them
 * @mapped_attachments: out: of these, mapped for DMA
 * @faults: out: page faults served since creation
 * @syncs: out: begin and end of CPU access through dma-bufs
 * @alloc_ns: out: time that finding and zeroing the memory took
 * @owner_pid: out: process that was granted ownership, 0: none to be seen
 * @uid: out: whose pool it is
 * @order: out: as created
 * @min_order: out: as created
 * @bytes_on_node: out: where the memory is
 */
struct penstock_stat {
	__u32 size;
	__u32 flags;
	__u64 bytes;
	__u64 nr_chunks;
	__u64 busy_chunks;
	__u64 generation;
	__u64 maps;
	__u64 exports;
	__u64 attachments;
	__u64 mapped_attachments;
	__u64 faults;
	__u64 syncs;
	__u64 alloc_ns;
	__s32 owner_pid;
	__u32 uid;
	__u32 order;
	__u32 min_order;
	__u64 bytes_on_node[PENSTOCK_MAX_NODES];
};

/**
 * struct penstock_chunk - one chunk of a pool
 * @offset: where in the pool it begins
 * @node: its NUMA node
 * @order: its size is 4096 << @order
 * @refs: references besides the pool's own and those of page tables; who has
 *	pinned it for DMA has at least one
 * @maps: pages of it that are in page tables
 */
struct penstock_chunk {
	__u64 offset;
	__u32 node;
	__u32 order;
	__u32 refs;
	__u32 maps;
};

/**
 * struct penstock_chunks - PENSTOCK_CHUNKS: list the chunks of a pool
 * @size: sizeof(struct penstock_chunks)
 * @flags: 0
 * @offset: where to begin
 * @array: address of an array of struct penstock_chunk
 * @count: in: elements of @array; out: elements written
 * @chunk_size: sizeof(struct penstock_chunk)
 */
struct penstock_chunks {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 array;
	__u32 count;
	__u32 chunk_size;
};

/* penstock_export.flags */
#define PENSTOCK_E_READ_ONLY (1U << 0) /* processes may map it for reading */

/**
 * struct penstock_export - PENSTOCK_EXPORT: a range of the pool as dma-buf
 * @size: sizeof(struct penstock_export)
 * @flags: PENSTOCK_E_*
 * @offset: begin of the range, a multiple of 4096
 * @bytes: size of the range, a multiple of 4096
 * @fd: out: the dma-buf, close-on-exec
 * @reserved: 0
 */
struct penstock_export {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 bytes;
	__s32 fd;
	__u32 reserved;
};

/**
 * struct penstock_wait_idle - PENSTOCK_WAIT_IDLE: until no DMA refers to a range
 * @size: sizeof(struct penstock_wait_idle)
 * @flags: 0
 * @offset: begin of the range, a multiple of 4096
 * @bytes: size of the range, a multiple of 4096
 * @timeout_ns: how long to wait; 0: look once
 * @busy_chunks: out, on ETIMEDOUT too: chunks of the range still referenced
 */
struct penstock_wait_idle {
	__u32 size;
	__u32 flags;
	__u64 offset;
	__u64 bytes;
	__u64 timeout_ns;
	__u64 busy_chunks;
};

#endif /* _UAPI_LINUX_PENSTOCK_H */
