/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The differences between kernels, in one place.  probe.sh compiles a line of
 * C for each and defines PST_HAVE_*; no version number is looked at, because
 * distributions backport.
 */
#ifndef PST_COMPAT_H
#define PST_COMPAT_H

#include <linux/mm.h>

#ifdef MAX_PAGE_ORDER
#define PST_MAX_PAGE_ORDER MAX_PAGE_ORDER
#else
/* MAX_ORDER was one more than the largest order. */
#define PST_MAX_PAGE_ORDER (MAX_ORDER - 1)
#endif

/* Flags of a mapping that is not yet visible to anybody else. */
static inline void pst_vma_flags_mod(struct vm_area_struct *vma,
				     unsigned long set, unsigned long clear)
{
#ifdef PST_HAVE_VM_FLAGS_MOD
	vm_flags_mod(vma, set, clear);
#else
	vma->vm_flags = (vma->vm_flags | set) & ~clear;
#endif
}

/* How many page table entries refer to pages of the folio. */
static inline int pst_folio_mapcount(struct folio *folio)
{
#ifdef PST_HAVE_LARGE_MAPCOUNT
	return folio_mapcount(folio);
#else
	long i, nr = folio_nr_pages(folio);
	int sum = 0;

	for (i = 0; i < nr; i++)
		sum += atomic_read(&folio_page(folio, i)->_mapcount) + 1;
	return sum;
#endif
}

#endif /* PST_COMPAT_H */
