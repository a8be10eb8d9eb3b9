// SPDX-License-Identifier: MIT
/*
 * Regions of memory: which page size they get, where they live, and that all
 * of it is there before the first use.  Never changes a setting of the system:
 * huge pages come from a pool that somebody filled, or from the kernel's own
 * transparent ones.
 */
#include <errno.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_priv.h"

#define SMALL_BYTES 4096ULL
#define HUGE_2M	    (2 * PST_MIB)
#define HUGE_1G	    PST_GIB
#define NODES_MAX   1024
#define LONG_BITS   (8 * sizeof(unsigned long))

static int bind_node(void *addr, uint64_t size_bytes, int node,
		     struct pst_diag *diag)
{
	unsigned long mask[NODES_MAX / LONG_BITS] = { 0 };
	int ret;

	if (node < 0)
		return 0;
	mask[(size_t)node / LONG_BITS] |= 1UL << ((size_t)node % LONG_BITS);
	/* The kernel takes the count of bits to be one more than it uses. */
	if (!mbind(addr, size_bytes, MPOL_BIND, mask, NODES_MAX + 1, 0))
		return 0;
	ret = -errno;
	if (ret == -EINVAL)
		return pst_diag_set(diag, ret,
				    "NUMA node %d is not there or has no "
				    "memory",
				    node);
	return pst_diag_set(diag, ret == -ENOMEM ? ret : -EINVAL,
			    "cannot bind %llu MiB to NUMA node %d: %s",
			    (unsigned long long)(size_bytes / PST_MIB), node,
			    strerror(-ret));
}

static void touch_pages(unsigned char *p, uint64_t size_bytes, uint64_t step)
{
	for (uint64_t i = 0; i < size_bytes; i += step)
		*(volatile unsigned char *)(p + i) = 0;
}

/*
 * Populating through madvise() reports a missing page as an error where a
 * touch would be answered with SIGBUS.  Kernels before 5.14 do not know it.
 */
static int populate(void *addr, uint64_t size_bytes, struct pst_diag *diag)
{
	int ret;

	do {
		ret = madvise(addr, size_bytes, MADV_POPULATE_WRITE);
	} while (ret && (errno == EINTR || errno == EAGAIN));
	if (!ret)
		return 0;
	if (errno == EINVAL) {
		touch_pages(addr, size_bytes, SMALL_BYTES);
		return 0;
	}
	return pst_diag_set(diag, -ENOMEM,
			    "the kernel has no pages for %llu MiB: %s",
			    (unsigned long long)(size_bytes / PST_MIB),
			    strerror(errno));
}

static int bind_and_populate(struct pst_mem *m, struct pst_diag *diag)
{
	int ret;

	ret = bind_node(m->addr, m->size_bytes, m->node, diag);
	if (!ret)
		ret = populate(m->addr, m->size_bytes, diag);
	if (ret)
		munmap(m->addr, m->size_bytes);
	return ret;
}

static int say_no_mapping(uint64_t size_bytes, const char *what,
			  struct pst_diag *diag)
{
	return pst_diag_set(diag, -ENOMEM, "cannot map %llu MiB of %s: %s",
			    (unsigned long long)(size_bytes / PST_MIB), what,
			    strerror(errno));
}

static int map_small(struct pst_mem *m, struct pst_diag *diag)
{
	m->kind = PST_MEM_KIND_SMALL;
	m->page_bytes = SMALL_BYTES;
	m->size_bytes = pst_align_up(m->size_bytes, SMALL_BYTES);
	m->addr = mmap(NULL, m->size_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (m->addr == MAP_FAILED)
		return say_no_mapping(m->size_bytes, "memory", diag);
	return bind_and_populate(m, diag);
}

static uint64_t thp_bytes_of(const struct pst_mem *m)
{
	uint64_t bytes;
	char *smaps;

	if (pst_mem_slurp(&smaps, "/proc/self/smaps"))
		return 0;
	bytes = pst_mem_thp_parse(smaps, (uintptr_t)m->addr, m->size_bytes);
	free(smaps);
	return bytes;
}

/* Map with slack, then give the unaligned ends back. */
static void *map_aligned(uint64_t size_bytes, uint64_t align)
{
	uintptr_t raw, start;
	void *p;

	p = mmap(NULL, size_bytes + align, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (p == MAP_FAILED)
		return p;
	raw = (uintptr_t)p;
	start = pst_align_up(raw, align);
	if (start > raw)
		munmap(p, start - raw);
	if (raw + align > start)
		munmap((void *)(start + size_bytes), raw + align - start);
	return (void *)start;
}

static int map_thp(struct pst_mem *m, struct pst_diag *diag)
{
	int ret;

	m->kind = PST_MEM_KIND_THP;
	m->page_bytes = HUGE_2M;
	m->size_bytes = pst_align_up(m->size_bytes, HUGE_2M);
	m->addr = map_aligned(m->size_bytes, HUGE_2M);
	if (m->addr == MAP_FAILED)
		return say_no_mapping(m->size_bytes, "memory", diag);
	if (madvise(m->addr, m->size_bytes, MADV_HUGEPAGE)) {
		ret = pst_diag_set(diag, -ENOMEM,
				   "no transparent huge pages in this kernel: "
				   "%s",
				   strerror(errno));
		munmap(m->addr, m->size_bytes);
		return ret;
	}
	ret = bind_and_populate(m, diag);
	if (!ret)
		m->thp_bytes = thp_bytes_of(m);
	return ret;
}

static int map_hugetlb(struct pst_mem *m, uint64_t page_bytes,
		       struct pst_diag *diag)
{
	int shift = __builtin_ctzll(page_bytes);
	uint64_t free_bytes = pst_mem_hugetlb_free("", page_bytes, m->node);

	m->kind = PST_MEM_KIND_HUGETLB;
	m->page_bytes = page_bytes;
	m->size_bytes = pst_align_up(m->size_bytes, page_bytes);
	if (free_bytes < m->size_bytes)
		return pst_diag_set(
			diag, -ENOMEM,
			"the pool of %llu MiB huge pages has %llu MiB free, "
			"%llu MiB are wanted: raise vm.nr_hugepages or ask for "
			"another kind of memory",
			(unsigned long long)(page_bytes / PST_MIB),
			(unsigned long long)(free_bytes / PST_MIB),
			(unsigned long long)(m->size_bytes / PST_MIB));
	m->addr = mmap(NULL, m->size_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_HUGETLB |
			       (shift << MAP_HUGE_SHIFT),
		       -1, 0);
	if (m->addr == MAP_FAILED)
		return say_no_mapping(m->size_bytes, "huge pages", diag);
	return bind_and_populate(m, diag);
}

/* Down the list; what stops a kind is no failure as long as one works. */
static int map_auto(const struct pst_mem *wanted, struct pst_mem *m,
		    struct pst_diag *diag)
{
	*m = *wanted;
	if (pst_mem_hugetlb_free("", HUGE_2M, m->node) >= m->size_bytes &&
	    !map_hugetlb(m, HUGE_2M, NULL))
		return 0;
	*m = *wanted;
	if (!map_thp(m, NULL)) {
		if (m->thp_bytes)
			return 0;
		munmap(m->addr, m->size_bytes);
	}
	*m = *wanted;
	return map_small(m, diag);
}

int pst_mem_map(const struct pst_mem_args *args, struct pst_mem *out,
		struct pst_diag *diag)
{
	struct pst_mem wanted = { .size_bytes = args->size_bytes,
				  .node = args->node < 0 ? -1 : args->node };
	struct pst_mem m = wanted;
	int ret = -EINVAL;

	/* Half the address space: rounding up to pages cannot overflow. */
	if (!args->size_bytes || args->size_bytes > INT64_MAX / 2)
		return pst_diag_set(diag, -EINVAL,
				    "cannot map a region of %llu bytes",
				    (unsigned long long)args->size_bytes);
	if (args->node >= NODES_MAX)
		return pst_diag_set(diag, -EINVAL, "there is no NUMA node %d",
				    args->node);
	switch (args->want) {
	case PST_MEM_AUTO:
		ret = map_auto(&wanted, &m, diag);
		break;
	case PST_MEM_HUGE_1G:
		ret = map_hugetlb(&m, HUGE_1G, diag);
		break;
	case PST_MEM_HUGE_2M:
		ret = map_hugetlb(&m, HUGE_2M, diag);
		break;
	case PST_MEM_THP:
		ret = map_thp(&m, diag);
		break;
	case PST_MEM_SMALL:
		ret = map_small(&m, diag);
		break;
	}
	if (!ret)
		*out = m;
	return ret;
}

void pst_mem_unmap(struct pst_mem *m)
{
	if (m->addr)
		munmap(m->addr, m->size_bytes);
	memset(m, 0, sizeof(*m));
	m->node = -1;
}

int pst_mem_discard(struct pst_mem *m)
{
	return madvise(m->addr, m->size_bytes, MADV_DONTNEED) ? -errno : 0;
}

int pst_mem_refill(struct pst_mem *m, struct pst_diag *diag)
{
	int ret = populate(m->addr, m->size_bytes, diag);

	if (ret)
		madvise(m->addr, m->size_bytes, MADV_DONTNEED);
	return ret;
}

const char *pst_mem_kind_name(const struct pst_mem *m)
{
	switch (m->kind) {
	case PST_MEM_KIND_HUGETLB:
		return m->page_bytes == HUGE_1G ? "hugetlb 1 GiB"
						: "hugetlb 2 MiB";
	case PST_MEM_KIND_THP:
		return "transparent huge pages";
	case PST_MEM_KIND_SMALL:
		break;
	}
	return "4 KiB pages";
}
