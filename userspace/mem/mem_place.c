// SPDX-License-Identifier: MIT
/*
 * What all sources of regions share: a place in the address space, a NUMA node,
 * and that all of a region is there before the first use.  Never changes a
 * setting of the system.
 */
#include <errno.h>
#include <numaif.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "mem_priv.h"

#define LONG_BITS (8 * sizeof(unsigned long))

static int bind_node(void *addr, uint64_t size_bytes, int node,
		     struct pst_diag *diag)
{
	unsigned long mask[PST_MEM_NODES_MAX / LONG_BITS] = { 0 };
	int ret;

	if (node < 0)
		return 0;
	mask[(size_t)node / LONG_BITS] |= 1UL << ((size_t)node % LONG_BITS);
	/* The kernel takes the count of bits to be one more than it uses. */
	if (!mbind(addr, size_bytes, MPOL_BIND, mask, PST_MEM_NODES_MAX + 1, 0))
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

/* A write that changes nothing: the pages may hold what somebody left. */
static void touch_pages(unsigned char *p, uint64_t size_bytes, uint64_t step)
{
	for (uint64_t i = 0; i < size_bytes; i += step) {
		volatile unsigned char *at = p + i;

		*at = *at;
	}
}

/*
 * Populating through madvise() reports a missing page as an error where a
 * touch would be answered with SIGBUS.  Kernels before 5.14 do not know it.
 */
int pst_mem_touch(const struct pst_mem *m, struct pst_diag *diag)
{
	int ret;

	do {
		ret = madvise(m->addr, m->size_bytes, MADV_POPULATE_WRITE);
	} while (ret && (errno == EINTR || errno == EAGAIN));
	if (!ret)
		return 0;
	if (errno == EINVAL) {
		touch_pages(m->addr, m->size_bytes, PST_MEM_SMALL_BYTES);
		return 0;
	}
	return pst_diag_set(diag, -ENOMEM,
			    "the kernel has no pages for %llu MiB: %s",
			    (unsigned long long)(m->size_bytes / PST_MIB),
			    strerror(errno));
}

int pst_mem_settle(const struct pst_mem *m, struct pst_diag *diag)
{
	int ret = bind_node(m->addr, m->size_bytes, m->node, diag);

	return ret ? ret : pst_mem_touch(m, diag);
}

int pst_mem_say_no_mapping(uint64_t size_bytes, const char *what,
			   struct pst_diag *diag)
{
	return pst_diag_set(diag, -ENOMEM, "cannot map %llu MiB of %s: %s",
			    (unsigned long long)(size_bytes / PST_MIB), what,
			    strerror(errno));
}

uint64_t pst_mem_thp_bytes_of(const struct pst_mem *m)
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
void *pst_mem_place(uint64_t size_bytes, uint64_t align)
{
	uintptr_t raw, start;
	void *p;

	p = mmap(NULL, size_bytes + align, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	raw = (uintptr_t)p;
	start = pst_align_up(raw, align);
	if (start > raw)
		munmap(p, start - raw);
	if (raw + align > start)
		munmap((void *)(start + size_bytes), raw + align - start);
	return (void *)start;
}

int pst_mem_hugetlb_check(const struct pst_mem *m, uint64_t page_bytes,
			  struct pst_diag *diag)
{
	uint64_t free_bytes = pst_mem_hugetlb_free("", page_bytes, m->node);
	uint64_t want_bytes = pst_align_up(m->size_bytes, page_bytes);
	static const char gigantic[] =
		"/sys/kernel/mm/hugepages/hugepages-1048576kB/nr_hugepages";

	if (free_bytes >= want_bytes)
		return 0;
	return pst_diag_set(
		diag, -ENOMEM,
		"the pool of %llu MiB huge pages has %llu MiB free, "
		"%llu MiB are wanted: raise %s or ask for another kind of "
		"memory",
		(unsigned long long)(page_bytes / PST_MIB),
		(unsigned long long)(free_bytes / PST_MIB),
		(unsigned long long)(want_bytes / PST_MIB),
		page_bytes == 2 * PST_MIB ? "vm.nr_hugepages" : gigantic);
}
