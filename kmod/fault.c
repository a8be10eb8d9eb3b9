// SPDX-License-Identifier: GPL-2.0
/*
 * Mappings of a pool by processes.  A fault maps all of a chunk that the
 * mapping covers.  Ordinary pages in a VM_MIXEDMAP mapping: get_user_pages(),
 * and with it O_DIRECT and io_uring, work as on anonymous memory.
 */
#include <linux/mm.h>

#include "compat.h"
#include "kmod.h"
#include "penstock_trace.h"

/* Pages inserted under one lock of the page table. */
#define PST_BATCH 64

#define PST_VMA_FLAGS (VM_MIXEDMAP | VM_DONTEXPAND | VM_DONTDUMP | VM_DONTCOPY)

static bool may_write(const struct vm_area_struct *vma)
{
	/* Not VM_WRITE: mprotect() may turn that on without asking us. */
	return vma->vm_flags & VM_MAYWRITE;
}

static void count_map(struct pst_pool *pool, const struct vm_area_struct *vma,
		      int by)
{
	atomic_add(by, &pool->maps);
	if (!may_write(vma))
		return;
	mutex_lock(&pool->lock);
	pool->writers += by;
	mutex_unlock(&pool->lock);
}

static void vma_open(struct vm_area_struct *vma)
{
	struct pst_pool *pool = vma->vm_private_data;

	pst_pool_get(pool);
	count_map(pool, vma, 1);
}

static void vma_close(struct vm_area_struct *vma)
{
	struct pst_pool *pool = vma->vm_private_data;

	count_map(pool, vma, -1);
	pst_pool_put(pool);
}

/* Pages that another thread has mapped meanwhile are passed over. */
static int insert_run(struct vm_area_struct *vma, unsigned long addr,
		      struct page *page, unsigned long nr)
{
	struct page *batch[PST_BATCH];
	unsigned long i, left, done;
	int rc;

	while (nr) {
		left = min_t(unsigned long, nr, PST_BATCH);
		for (i = 0; i < left; i++)
			batch[i] = page + i;
		done = left;
		rc = vm_insert_pages(vma, addr, batch, &left);
		if (rc && rc != -EBUSY)
			return rc;
		done -= left;
		if (rc == -EBUSY)
			done++;
		page += done;
		addr += done << PAGE_SHIFT;
		nr -= done;
	}
	return 0;
}

static vm_fault_t vma_fault(struct vm_fault *vmf)
{
	struct vm_area_struct *vma = vmf->vma;
	struct pst_pool *pool = vma->vm_private_data;
	unsigned long first, end;
	struct folio *folio;
	u64 begin_bytes;
	int rc;

	if (vmf->pgoff >= pool->bytes >> PAGE_SHIFT)
		return VM_FAULT_SIGBUS;
	folio = pst_chunk_at(pool, (u64)vmf->pgoff << PAGE_SHIFT, &begin_bytes);
	first = begin_bytes >> PAGE_SHIFT;
	end = first + folio_nr_pages(folio);
	first = max(first, vma->vm_pgoff);
	end = min(end, vma->vm_pgoff + vma_pages(vma));
	rc = insert_run(vma,
			vma->vm_start + ((first - vma->vm_pgoff) << PAGE_SHIFT),
			pst_page_at(pool, (u64)first << PAGE_SHIFT),
			end - first);
	atomic64_inc(&pool->faults);
	trace_penstock_fault(pool, (u64)first << PAGE_SHIFT,
			     (u64)(end - first) << PAGE_SHIFT, rc);
	if (rc)
		return rc == -ENOMEM ? VM_FAULT_OOM : VM_FAULT_SIGBUS;
	return VM_FAULT_NOPAGE;
}

static const struct vm_operations_struct vma_ops = {
	.open = vma_open,
	.close = vma_close,
	.fault = vma_fault,
};

/**
 * pst_pool_mmap() - set up a mapping of a range
 * @pool: the pool
 * @off_bytes: where in the pool the mappable range begins
 * @bytes: size of that range
 * @vma: the mapping; its offset counts from the begin of the range
 *
 * A child does not inherit the mapping (MADV_DOFORK allows it), and core dumps
 * leave it out (MADV_DODUMP).
 *
 * Return: 0, or -EINVAL for a private mapping or one beyond the range.
 */
int pst_pool_mmap(struct pst_pool *pool, u64 off_bytes, u64 bytes,
		  struct vm_area_struct *vma)
{
	unsigned long nr_pages = bytes >> PAGE_SHIFT;

	if (!(vma->vm_flags & VM_MAYSHARE))
		return -EINVAL;
	if (vma_pages(vma) > nr_pages ||
	    vma->vm_pgoff > nr_pages - vma_pages(vma))
		return -EINVAL;
	vma->vm_pgoff += off_bytes >> PAGE_SHIFT;
	pst_vma_flags_mod(vma, PST_VMA_FLAGS, 0);
	vma->vm_ops = &vma_ops;
	vma->vm_private_data = pool;
	vma_open(vma);
	return 0;
}
