// SPDX-License-Identifier: MIT
/*
 * Regions of anonymous memory: which page size they get.  Huge pages come from
 * a pool that somebody filled, or from the kernel's own transparent ones.  No
 * device can import them.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "mem_priv.h"

/* Over a place of the address space, or anywhere when @m has none yet. */
static int map_pages(struct pst_mem *m, int flags)
{
	int prot = PROT_READ | PROT_WRITE;
	void *p = mmap(m->addr, m->size_bytes, prot,
		       MAP_PRIVATE | MAP_ANONYMOUS | flags |
			       (m->addr ? MAP_FIXED : 0),
		       -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	m->addr = p;
	return 0;
}

static int settle(struct pst_mem *m, struct pst_diag *diag)
{
	int ret = pst_mem_settle(m, diag);

	if (ret)
		munmap(m->addr, m->size_bytes);
	return ret;
}

static int map_small(struct pst_mem *m, struct pst_diag *diag)
{
	m->kind = PST_MEM_KIND_SMALL;
	m->page_bytes = PST_MEM_SMALL_BYTES;
	m->size_bytes = pst_align_up(m->size_bytes, m->page_bytes);
	if (map_pages(m, 0))
		return pst_mem_say_no_mapping(m->size_bytes, "memory", diag);
	return settle(m, diag);
}

static int map_thp(struct pst_mem *m, struct pst_diag *diag)
{
	int ret;

	m->kind = PST_MEM_KIND_THP;
	m->page_bytes = PST_MEM_HUGE_2M_BYTES;
	m->size_bytes = pst_align_up(m->size_bytes, m->page_bytes);
	m->addr = pst_mem_place(m->size_bytes, m->page_bytes);
	if (!m->addr || map_pages(m, 0)) {
		ret = pst_mem_say_no_mapping(m->size_bytes, "memory", diag);
		goto unmap;
	}
	if (madvise(m->addr, m->size_bytes, MADV_HUGEPAGE)) {
		ret = pst_diag_set(diag, -ENOMEM,
				   "no transparent huge pages in this kernel: "
				   "%s",
				   strerror(errno));
		goto unmap;
	}
	ret = settle(m, diag);
	if (!ret)
		m->thp_bytes = pst_mem_thp_bytes_of(m);
	return ret;

unmap:
	if (m->addr)
		munmap(m->addr, m->size_bytes);
	return ret;
}

static int map_hugetlb(struct pst_mem *m, uint64_t page_bytes,
		       struct pst_diag *diag)
{
	int shift = __builtin_ctzll(page_bytes);
	int ret = pst_mem_hugetlb_check(m, page_bytes, diag);

	if (ret)
		return ret;
	m->kind = PST_MEM_KIND_HUGETLB;
	m->page_bytes = page_bytes;
	m->size_bytes = pst_align_up(m->size_bytes, page_bytes);
	if (map_pages(m, MAP_HUGETLB | (shift << MAP_HUGE_SHIFT)))
		return pst_mem_say_no_mapping(m->size_bytes, "huge pages",
					      diag);
	return settle(m, diag);
}

/* Down the list; what stops a kind is no failure as long as one works. */
static int map_auto(struct pst_mem *m, struct pst_diag *diag)
{
	const struct pst_mem wanted = *m;

	if (!map_hugetlb(m, PST_MEM_HUGE_2M_BYTES, NULL))
		return 0;
	*m = wanted;
	if (!map_thp(m, NULL)) {
		if (m->thp_bytes)
			return 0;
		munmap(m->addr, m->size_bytes);
	}
	*m = wanted;
	return map_small(m, diag);
}

static int anon_map(struct pst_mem *m, enum pst_mem_want want,
		    struct pst_diag *diag)
{
	switch (want) {
	case PST_MEM_HUGE_1G:
		return map_hugetlb(m, PST_MEM_HUGE_1G_BYTES, diag);
	case PST_MEM_HUGE_2M:
		return map_hugetlb(m, PST_MEM_HUGE_2M_BYTES, diag);
	case PST_MEM_THP:
		return map_thp(m, diag);
	case PST_MEM_SMALL:
		return map_small(m, diag);
	case PST_MEM_AUTO:
		break;
	}
	return map_auto(m, diag);
}

static void anon_unmap(struct pst_mem *m)
{
	munmap(m->addr, m->size_bytes);
}

static int anon_discard(struct pst_mem *m)
{
	return madvise(m->addr, m->size_bytes, MADV_DONTNEED) ? -errno : 0;
}

static int anon_refill(struct pst_mem *m, struct pst_diag *diag)
{
	int ret = pst_mem_touch(m, diag);

	if (ret)
		madvise(m->addr, m->size_bytes, MADV_DONTNEED);
	return ret;
}

static int anon_export(const struct pst_mem *m, uint64_t off_bytes,
		       uint64_t size_bytes, struct pst_diag *diag)
{
	return pst_diag_set(diag, -EOPNOTSUPP,
			    "no device can import anonymous memory: use --pool "
			    "udmabuf or kmod");
}

static const char *anon_kind_name(const struct pst_mem *m)
{
	switch (m->kind) {
	case PST_MEM_KIND_HUGETLB:
		return m->page_bytes == PST_MEM_HUGE_1G_BYTES ? "hugetlb 1 GiB"
							      : "hugetlb 2 MiB";
	case PST_MEM_KIND_THP:
		return "transparent huge pages";
	case PST_MEM_KIND_CHUNKS:
	case PST_MEM_KIND_SMALL:
		break;
	}
	return "4 KiB pages";
}

static void anon_offer(struct pst_mem_offer *out)
{
	out->there = true;
	snprintf(out->text, sizeof(out->text),
		 "anonymous memory of this process, in huge pages where there "
		 "are some; no device can import it");
}

const struct pst_mem_ops pst_mem_anon_ops = {
	.offer = anon_offer,
	.map = anon_map,
	.unmap = anon_unmap,
	.discard = anon_discard,
	.refill = anon_refill,
	.export = anon_export,
	.kind_name = anon_kind_name,
};
