/* SPDX-License-Identifier: MIT */
/*
 * Inside mem: the sources of regions and what they share; and the parsers, given
 * texts and a root directory, so that tests can show them machines that are not
 * there.
 */
#ifndef PST_MEM_PRIV_H
#define PST_MEM_PRIV_H

#include "mem.h"

#define PST_MEM_SMALL_BYTES   4096ULL
#define PST_MEM_NODES_MAX     1024
#define PST_MEM_HUGE_2M_BYTES (2 * PST_MIB)
#define PST_MEM_HUGE_1G_BYTES PST_GIB

struct pst_mem_pool {
	enum pst_mem_source source;
	const struct pst_mem_ops *ops;
	int device; /* of the module, or -1 */
	int fd; /* of a named pool that was taken, or -1 */
	uint64_t size_bytes, used_bytes; /* of it */
	uint64_t held_bytes, room_bytes;
	char name[64]; /* or empty */
};

/**
 * struct pst_mem_ops - a source of regions
 * @offer: what it would give
 * @open: NULL where nothing is to be opened; @p has source and name
 * @close: NULL, or what @open is undone by, and what @take is
 * @take, @drop: named pools; NULL for none
 * @map: @m has size_bytes, node and pool; untouched on failure but for these
 * @unmap, @discard, @refill, @export: as in mem.h
 * @kind_name: likewise
 */
struct pst_mem_ops {
	void (*offer)(struct pst_mem_offer *out);
	int (*open)(struct pst_mem_pool *p, struct pst_diag *diag);
	void (*close)(struct pst_mem_pool *p);
	int (*take)(struct pst_mem_pool *p, struct pst_mem_take *take,
		    struct pst_diag *diag);
	int (*drop)(struct pst_mem_pool *p);
	int (*map)(struct pst_mem *m, enum pst_mem_want want,
		   struct pst_diag *diag);
	void (*unmap)(struct pst_mem *m);
	int (*discard)(struct pst_mem *m);
	int (*refill)(struct pst_mem *m, struct pst_diag *diag);
	int (*export)(const struct pst_mem *m, uint64_t off_bytes,
		      uint64_t size_bytes, struct pst_diag *diag);
	const char *(*kind_name)(const struct pst_mem *m);
};

extern const struct pst_mem_ops pst_mem_anon_ops;
extern const struct pst_mem_ops pst_mem_udmabuf_ops;
extern const struct pst_mem_ops pst_mem_kmod_ops;

/**
 * pst_mem_place() - address space for a region, without memory
 * @align: a power of two
 *
 * Return: an address, or NULL with errno.
 */
void *pst_mem_place(uint64_t size_bytes, uint64_t align);

/**
 * pst_mem_settle() - bind a mapped region to its node and touch all of it
 *
 * What the pages hold stays.  Return: 0; -EINVAL, -ENOMEM.
 */
int pst_mem_settle(const struct pst_mem *m, struct pst_diag *diag);

/** pst_mem_touch() - the second half.  Return: 0; -ENOMEM */
int pst_mem_touch(const struct pst_mem *m, struct pst_diag *diag);

/** pst_mem_say_no_mapping() - errno of an mmap, in words.  Return: -ENOMEM */
int pst_mem_say_no_mapping(uint64_t size_bytes, const char *what,
			   struct pst_diag *diag);

/** pst_mem_thp_bytes_of() - of a mapped region, how much is huge pages */
uint64_t pst_mem_thp_bytes_of(const struct pst_mem *m);

/** pst_mem_hugetlb_check() - enough in the pool?  Return: 0, -ENOMEM */
int pst_mem_hugetlb_check(const struct pst_mem *m, uint64_t page_bytes,
			  struct pst_diag *diag);

/**
 * pst_mem_limits_read_at() - limits as seen below another root directory
 * @root: "" for the machine itself; proc/ and sys/ are looked for below it
 * @memlock: RLIMIT_MEMLOCK in bytes, UINT64_MAX for none
 * @out: untouched on failure
 *
 * Return: 0, -EINVAL for a meminfo without totals, or -errno of reading it.
 * Missing cgroups or huge pages are no failure: they read as "no limit", "0".
 */
int pst_mem_limits_read_at(const char *root, uint64_t memlock,
			   struct pst_mem_limits *out);

/**
 * pst_mem_usage_parse() - from the text of /proc/self/status
 * @text: NUL-terminated; keys that are missing read as 0
 */
void pst_mem_usage_parse(const char *text, struct pst_mem_usage *out);

/**
 * pst_mem_key_kib() - the value of "Key:   123 kB" in bytes
 * @text: lines, NUL-terminated
 * @key: with the colon; must start a line
 *
 * Return: true when the key is there; @out untouched otherwise.
 */
bool pst_mem_key_kib(const char *text, const char *key, uint64_t *out);

/**
 * pst_mem_thp_parse() - huge pages of an address range, from smaps text
 * @text: the text of /proc/self/smaps
 * @addr: start of the range
 * @size_bytes: length of the range
 *
 * Return: the sum of AnonHugePages and ShmemPmdMapped over mappings inside or
 * around the range, in bytes, at most @size_bytes: the kernel may have merged a
 * neighbour.
 */
uint64_t pst_mem_thp_parse(const char *text, uintptr_t addr,
			   uint64_t size_bytes);

/**
 * pst_mem_hugetlb_free() - free pages of a pool
 * @root: as for pst_mem_limits_read_at()
 * @page_bytes: size of the pool's pages
 * @node: NUMA node, or -1 for the whole machine
 *
 * Return: bytes that nobody has reserved, 0 when there is no such pool.
 */
uint64_t pst_mem_hugetlb_free(const char *root, uint64_t page_bytes, int node);

/**
 * pst_mem_cgroup_read() - the cgroup part of pst_mem_limits_read_at()
 * @out: cgroup_limit is lowered, and cgroup_used set with it
 */
void pst_mem_cgroup_read(const char *root, struct pst_mem_limits *out);

/* Version 1 writes "no limit" as the largest multiple of a page. */
#define PST_MEM_V1_NO_LIMIT 0x7fffffffffff0000ULL

/**
 * pst_mem_cgroup_walk() - every memory cgroup that this process is in
 * @root: as for pst_mem_limits_read_at()
 * @each: called with the directory of a cgroup, this process's own first, then
 *	its parents, for each hierarchy
 */
void pst_mem_cgroup_walk(const char *root,
			 void (*each)(void *ctx, const char *dir, bool v2),
			 void *ctx);

struct pst_mem_pressure;

/** pst_mem_pressure_open_at() - pst_mem_pressure_open() below another root */
int pst_mem_pressure_open_at(const char *root, struct pst_mem_pressure **out);

/**
 * pst_mem_droppable_parse() - file cache, from the text of memory.stat
 *
 * The kernel drops it before it refuses memory; pages of shared memory are on
 * other lists.
 *
 * Return: bytes.
 */
uint64_t pst_mem_droppable_parse(const char *text, bool v2);

/**
 * pst_mem_find_key() - what follows @key in the first line that starts with it
 *
 * Return: into @text, or NULL.
 */
const char *pst_mem_find_key(const char *text, const char *key);

/**
 * pst_mem_slurp() - a whole small file of /proc or /sys
 * @out: NUL-terminated text, owned by the caller (free())
 * @fmt: printf format of the path
 *
 * Return: 0, -EFBIG past 64 MiB, -ENAMETOOLONG, -ENOMEM, or -errno.
 */
int pst_mem_slurp(char **out, const char *fmt, ...) PST_PRINTF(2, 3);

/**
 * pst_mem_number() - the number that a file starts with
 * @fmt: printf format of the path
 *
 * Return: true when there is one; @out untouched otherwise.
 */
bool pst_mem_number(uint64_t *out, const char *fmt, ...) PST_PRINTF(2, 3);

#endif
