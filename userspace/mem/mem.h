/* SPDX-License-Identifier: MIT */
/*
 * mem: big regions in huge pages, bound to a NUMA node, touched at creation so
 * that nothing faults later; where they come from (pools); and what this
 * process and machine have left.
 */
#ifndef PST_MEM_H
#define PST_MEM_H

#include "base.h"

/* What to try; auto goes down the list until one works. */
enum pst_mem_want {
	PST_MEM_AUTO, /* hugetlb 2 MiB, else THP, else 4 KiB */
	PST_MEM_HUGE_1G, /* hugetlb 1 GiB or fail */
	PST_MEM_HUGE_2M, /* hugetlb 2 MiB or fail */
	PST_MEM_THP, /* madvise(MADV_HUGEPAGE) */
	PST_MEM_SMALL /* 4 KiB */
};

/* What a region really got. */
enum pst_mem_kind {
	PST_MEM_KIND_SMALL,
	PST_MEM_KIND_THP,
	PST_MEM_KIND_HUGETLB,
	PST_MEM_KIND_CHUNKS /* of the kernel module, 2 MiB each */
};

/* Where regions come from. */
enum pst_mem_source {
	PST_MEM_SOURCE_AUTO,
	PST_MEM_SOURCE_ANON, /* anonymous memory of this process */
	PST_MEM_SOURCE_UDMABUF, /* memfds, which /dev/udmabuf can export */
	PST_MEM_SOURCE_KMOD /* the kernel module, /dev/penstock */
};
#define PST_MEM_NR_SOURCES 4

struct pst_mem_pool;

/**
 * struct pst_mem - a region
 * @addr: aligned to @page_bytes
 * @size_bytes: as asked for, rounded up to whole pages of the kind
 * @page_bytes: page size of the kind
 * @kind: what the region is made of
 * @thp_bytes: for THP, how many bytes the kernel really backed by huge pages;
 *	for the module, how many lie in chunks of 2 MiB
 * @node: NUMA node it is bound to, -1 for none
 * @pool: where it comes from, NULL for anonymous memory
 * @fd: the file that it is mapped from, at @fd_off_bytes; mem's own business
 */
struct pst_mem {
	void *addr;
	uint64_t size_bytes;
	uint64_t page_bytes;
	enum pst_mem_kind kind;
	uint64_t thp_bytes;
	int node;
	struct pst_mem_pool *pool;
	int fd;
	uint64_t fd_off_bytes;
};

/**
 * struct pst_mem_args - what to map
 * @size_bytes: > 0
 * @want: what to try
 * @node: NUMA node to bind to, -1 for the kernel's choice
 * @pool: where to take it from, NULL for anonymous memory
 */
struct pst_mem_args {
	uint64_t size_bytes;
	enum pst_mem_want want;
	int node;
	struct pst_mem_pool *pool;
};

/**
 * pst_mem_source_name() - "auto", "anon", "udmabuf", "kmod"
 *
 * Return: NULL past the last source.
 */
const char *pst_mem_source_name(enum pst_mem_source source);

/**
 * struct pst_mem_offer - what a source would give on this machine
 * @there: this process can have memory from it
 * @exports: and devices can import that
 * @text: what it is made of, or why it cannot be had
 * @mend: the next step, empty where there is none
 */
struct pst_mem_offer {
	bool there;
	bool exports;
	char text[160];
	char mend[160];
};

/** pst_mem_offer_read() - @source: not auto */
void pst_mem_offer_read(enum pst_mem_source source, struct pst_mem_offer *out);

/**
 * pst_mem_pool_open() - choose where regions come from
 * @source: auto is anonymous memory: only that and reserved huge pages have
 *	table entries of 2 MiB for the CPU
 * @name: of a pool that outlives this process, which only the module has; NULL
 *	for none
 * @out: owned by the caller, pst_mem_pool_close()
 * @diag: why it cannot be had, and the next step
 *
 * Return: 0; -ENOSYS, -EACCES when the source is not there; -EINVAL for a name
 * that cannot be had; -ENOMEM.
 */
int pst_mem_pool_open(enum pst_mem_source source, const char *name,
		      struct pst_mem_pool **out, struct pst_diag *diag);

/** pst_mem_pool_close() - regions have been unmapped; NULL is allowed */
void pst_mem_pool_close(struct pst_mem_pool *p);

/** pst_mem_pool_source() - anonymous memory for NULL */
enum pst_mem_source pst_mem_pool_source(const struct pst_mem_pool *p);

/** pst_mem_pool_named() - does what it holds outlive this process? */
bool pst_mem_pool_named(const struct pst_mem_pool *p);

/** pst_mem_pool_held() - bytes that a pool of this name holds already, or 0 */
uint64_t pst_mem_pool_held(const struct pst_mem_pool *p);

/**
 * pst_mem_pool_room() - what the source's own bounds leave, that included
 *
 * Return: bytes, UINT64_MAX where it has no bounds besides the machine's.
 */
uint64_t pst_mem_pool_room(const struct pst_mem_pool *p);

/**
 * struct pst_mem_take - taking over a named pool, or making it
 * @size_bytes: of the pool, a multiple of 2 MiB
 * @node: as for pst_mem_map()
 * @wait_ns: how long to wait for reads and devices of the last owner
 * @log: told when there is something to wait for; may be NULL
 * @adopted: out: what is in it was left there by the last owner
 * @waited_ns: out: how long it took
 */
struct pst_mem_take {
	uint64_t size_bytes;
	int node;
	uint64_t wait_ns;
	const struct pst_log *log;
	bool adopted;
	uint64_t waited_ns;
};

/**
 * pst_mem_pool_take() - become the one owner of a named pool
 *
 * A pool of that name and size is taken over, as soon as nothing of its last
 * owner writes into it; one of another size is given up, and a new one made.
 * Regions are then parts of it, in the order of pst_mem_map().
 *
 * Return: 0; -EBUSY when somebody else is the owner; -ETIMEDOUT when something
 * still writes into it; -ENOMEM, -EDQUOT; all with the next step in @diag.
 */
int pst_mem_pool_take(struct pst_mem_pool *p, struct pst_mem_take *take,
		      struct pst_diag *diag);

/**
 * pst_mem_map() - map, bind and touch a region
 * @out: the region; pst_mem_unmap()
 * @diag: on failure the amount, what was tried, and the mend
 *
 * A memory cgroup that is too small does not fail here: the kernel kills.  The
 * caller asks pst_mem_available() first.
 *
 * Return: 0, -ENOMEM, -EINVAL.
 */
int pst_mem_map(const struct pst_mem_args *args, struct pst_mem *out,
		struct pst_diag *diag);

/** pst_mem_unmap() - a zeroed or unmapped region is allowed */
void pst_mem_unmap(struct pst_mem *m);

/**
 * pst_mem_discard() - give a region's pages back to the kernel, keep its place
 *
 * Its contents are lost.  Pages that are pinned (a ring's registered buffer)
 * stay: let go of them first.
 *
 * Return: 0, or -errno when this kernel cannot (hugetlb before 5.18);
 * -EOPNOTSUPP for a part of a named pool.
 */
int pst_mem_discard(struct pst_mem *m);

/** pst_mem_can_give() - would discarding give memory to the whole machine? */
bool pst_mem_can_give(const struct pst_mem *m);

/**
 * pst_mem_pool_drop() - take the name from a pool that outlives processes
 *
 * Its memory is free when the last process and device have let go of it.
 *
 * Return: 0; -ENOENT when there is none of this user; as pst_mem_pool_open().
 */
int pst_mem_pool_drop(const char *name, struct pst_diag *diag);

/**
 * pst_mem_export() - a part of a region as a dma-buf
 * @off_bytes: in the region, a multiple of 4 KiB
 * @size_bytes: a multiple of 4 KiB
 *
 * The dma-buf holds the pages.  Close it before the region is discarded.
 *
 * Return: a file descriptor of the caller's, or -errno with the next step in
 * @diag; -EOPNOTSUPP for anonymous memory.
 */
int pst_mem_export(const struct pst_mem *m, uint64_t off_bytes,
		   uint64_t size_bytes, struct pst_diag *diag);

/**
 * pst_mem_refill() - pages for a discarded region, zeroed and touched
 *
 * Return: 0; -ENOMEM: the region is then discarded as before.
 */
int pst_mem_refill(struct pst_mem *m, struct pst_diag *diag);

/** pst_mem_kind_name() - "hugetlb 2 MiB", "memfd, hugetlb 2 MiB", ... */
const char *pst_mem_kind_name(const struct pst_mem *m);

/**
 * struct pst_mem_limits - what bounds this process, in bytes
 * @mem_available: MemAvailable of /proc/meminfo
 * @mem_total: MemTotal
 * @cgroup_limit: smallest memory limit of this process's cgroup and its
 *	parents (v1 and v2), UINT64_MAX when there is none
 * @cgroup_used: usage of the cgroup with that limit, file cache that can be
 *	dropped not counted
 * @hugetlb_free_2m: free 2 MiB pages in bytes
 * @hugetlb_free_1g: free 1 GiB pages in bytes
 * @memlock: RLIMIT_MEMLOCK, UINT64_MAX when unlimited or CAP_IPC_LOCK is held
 */
struct pst_mem_limits {
	uint64_t mem_available;
	uint64_t mem_total;
	uint64_t cgroup_limit;
	uint64_t cgroup_used;
	uint64_t hugetlb_free_2m;
	uint64_t hugetlb_free_1g;
	uint64_t memlock;
};

/** pst_mem_limits_read() - Return: 0, or -errno when /proc cannot be read */
int pst_mem_limits_read(struct pst_mem_limits *out);

/** pst_mem_room() - what this process can still take of ordinary memory */
uint64_t pst_mem_room(const struct pst_mem_limits *l);

/**
 * struct pst_mem_usage - this process now, in bytes
 * @rss: resident set, file pages included
 * @rss_anon: anonymous part
 * @rss_peak: highest resident set so far
 * @hugetlb: hugetlb pages, which no resident set counts
 * @locked: locked or pinned (VmLck + VmPin)
 */
struct pst_mem_usage {
	uint64_t rss;
	uint64_t rss_anon;
	uint64_t rss_peak;
	uint64_t hugetlb;
	uint64_t locked;
};

/** pst_mem_usage_read() - from /proc/self/status; Return: 0 or -errno */
int pst_mem_usage_read(struct pst_mem_usage *out);

#endif
