/* SPDX-License-Identifier: MIT */
/*
 * mem: big regions in huge pages, bound to a NUMA node, touched at creation so
 * that nothing faults later; and what this process and machine have left.
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
	PST_MEM_KIND_HUGETLB
};

/**
 * struct pst_mem - a region
 * @addr: aligned to @page_bytes
 * @size_bytes: as asked for, rounded up to whole pages of the kind
 * @page_bytes: page size of the kind
 * @kind: what the region is made of
 * @thp_bytes: for THP, how many bytes the kernel really backed by huge pages
 * @node: NUMA node it is bound to, -1 for none
 */
struct pst_mem {
	void *addr;
	uint64_t size_bytes;
	uint64_t page_bytes;
	enum pst_mem_kind kind;
	uint64_t thp_bytes;
	int node;
};

/**
 * struct pst_mem_args - what to map
 * @size_bytes: > 0
 * @want: what to try
 * @node: NUMA node to bind to, -1 for the kernel's choice
 */
struct pst_mem_args {
	uint64_t size_bytes;
	enum pst_mem_want want;
	int node;
};

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
 * Return: 0, or -errno when this kernel cannot (hugetlb before 5.18).
 */
int pst_mem_discard(struct pst_mem *m);

/**
 * pst_mem_refill() - pages for a discarded region, zeroed and touched
 *
 * Return: 0; -ENOMEM: the region is then discarded as before.
 */
int pst_mem_refill(struct pst_mem *m, struct pst_diag *diag);

/** pst_mem_kind_name() - "hugetlb 2 MiB", "transparent huge pages", ... */
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
