// SPDX-License-Identifier: GPL-2.0
/*
 * The memory of a pool: compound pages of the wanted order or smaller, and
 * their reference counts.  Knows nodes and orders; knows nothing of who maps
 * or exports a pool.
 *
 * Pages are compound because a reference to any part then counts on the head:
 * one number per chunk tells whether a drive, a device or io_uring still has
 * it.  They come zeroed and are never migrated.
 */
#include <linux/gfp.h>
#include <linux/mm.h>
#include <linux/nodemask.h>
#include <linux/sched/signal.h>

#include "compat.h"
#include "kmod.h"

/* The pool's own reference. */
#define PST_BASE_REFS 1

static u64 chunk_bytes(struct folio *folio)
{
	return (u64)PAGE_SIZE << folio_order(folio);
}

static unsigned int unit_shift(const struct pst_pool *pool)
{
	return PAGE_SHIFT + pool->min_order;
}

static struct page *alloc_one(const struct pst_pool *pool, int node, u32 order)
{
	gfp_t gfp = GFP_USER | __GFP_ACCOUNT | __GFP_ZERO | __GFP_NOWARN;
	struct page *page;

	if (order)
		gfp |= __GFP_COMP;
	/* Where there is a smaller order to try, do not search for long. */
	gfp |= order > pool->min_order ? __GFP_NORETRY : __GFP_RETRY_MAYFAIL;
	if (pool->strict_nodes)
		gfp |= __GFP_THISNODE;
	if (node == NUMA_NO_NODE)
		page = alloc_pages(gfp, order);
	else
		page = alloc_pages_node(node, gfp, order);
	if (!page)
		return NULL;
	if (pst_quota_charge_node(page_to_nid(page), PAGE_SIZE << order)) {
		put_page(page);
		return NULL;
	}
	return page;
}

static void enter_chunk(struct pst_pool *pool, unsigned long unit,
			struct page *page, u32 order)
{
	unsigned long nr = 1UL << (order - pool->min_order);
	int node = page_to_nid(page);
	unsigned long i;

	/* Pages of one buddy block are neighbours in the memory map too. */
	for (i = 0; i < nr; i++)
		pool->units[unit + i] = page + (i << pool->min_order);
	pool->nr_chunks++;
	if (node < PENSTOCK_MAX_NODES)
		pool->bytes_on_node[node] += (u64)PAGE_SIZE << order;
}

/* One piece of the wanted order, or smaller ones that add up to it. */
static int alloc_slot(struct pst_pool *pool, unsigned long unit, int node,
		      u64 *got_bytes_by_order)
{
	unsigned long end = unit + (1UL << (pool->order - pool->min_order));
	u32 order = pool->order;
	struct page *page;

	while (unit < end) {
		if (fatal_signal_pending(current))
			return -EINTR;
		cond_resched();
		page = alloc_one(pool, node, order);
		if (!page && order == pool->min_order)
			return -ENOMEM;
		if (!page) {
			order--;
			continue;
		}
		enter_chunk(pool, unit, page, order);
		got_bytes_by_order[order] += (u64)PAGE_SIZE << order;
		unit += 1UL << (order - pool->min_order);
	}
	return 0;
}

static int next_node_of(const struct pst_pool *pool, int node)
{
	u64 later = pool->nodes;

	if (!pool->nodes)
		return NUMA_NO_NODE;
	/* In two steps: a shift by 64 is undefined. */
	if (node >= 0)
		later &= (~0ULL << node) << 1;
	return __ffs64(later ? later : pool->nodes);
}

/**
 * pst_chunks_alloc() - find and zero the memory of a pool
 * @pool: sizes, orders and nodes filled in, no chunks yet
 * @got_bytes_by_order: [PENSTOCK_NR_ORDERS], zeroed; bytes found, also when it
 *	fails
 *
 * May sleep for seconds; a fatal signal ends it.  After a failure the chunks
 * found so far belong to the pool and pst_chunks_free_idle() frees them.
 *
 * Return: 0, -ENOMEM, -EINTR.
 */
int pst_chunks_alloc(struct pst_pool *pool, u64 *got_bytes_by_order)
{
	unsigned long step = 1UL << (pool->order - pool->min_order);
	int node = NUMA_NO_NODE;
	unsigned long unit;
	int rc;

	for (unit = 0; unit < pool->nr_units; unit += step) {
		node = next_node_of(pool, node);
		rc = alloc_slot(pool, unit, node, got_bytes_by_order);
		if (rc)
			return rc;
	}
	return 0;
}

/**
 * pst_chunks_free_idle() - free the chunks that only the pool refers to
 * @pool: a pool without a holder
 *
 * Return: bytes freed.
 */
u64 pst_chunks_free_idle(struct pst_pool *pool)
{
	unsigned long unit = 0;
	u64 freed_bytes = 0;

	while (unit < pool->nr_units) {
		struct folio *folio;
		unsigned long nr;

		if (!pool->units[unit]) {
			unit++;
			continue;
		}
		folio = page_folio(pool->units[unit]);
		nr = 1UL << (folio_order(folio) - pool->min_order);
		if (folio_ref_count(folio) == PST_BASE_REFS) {
			freed_bytes += chunk_bytes(folio);
			pst_quota_uncharge_node(folio_nid(folio),
						chunk_bytes(folio));
			memset(&pool->units[unit], 0,
			       nr * sizeof(pool->units[0]));
			folio_put(folio);
		}
		unit += nr;
		cond_resched();
	}
	return freed_bytes;
}

/**
 * pst_chunk_at() - the chunk that an offset lies in
 * @pool: a ready pool
 * @off_bytes: smaller than the pool
 * @begin_bytes: out: where the chunk begins in the pool
 *
 * Return: the chunk, without a reference.
 */
struct folio *pst_chunk_at(const struct pst_pool *pool, u64 off_bytes,
			   u64 *begin_bytes)
{
	struct page *page = pst_page_at(pool, off_bytes);
	struct folio *folio = page_folio(page);
	u64 inside = (u64)(page - folio_page(folio, 0)) << PAGE_SHIFT;

	*begin_bytes = round_down(off_bytes, PAGE_SIZE) - inside;
	return folio;
}

/**
 * pst_page_at() - the page that an offset lies in
 * @pool: a ready pool
 * @off_bytes: smaller than the pool
 *
 * Return: the page, without a reference.
 */
struct page *pst_page_at(const struct pst_pool *pool, u64 off_bytes)
{
	unsigned int shift = unit_shift(pool);
	struct page *unit = pool->units[off_bytes >> shift];

	return unit + ((off_bytes & ((1ULL << shift) - 1)) >> PAGE_SHIFT);
}

/**
 * pst_chunk_extra_refs() - references that are neither ours nor page tables'
 * @folio: a chunk
 * @maps: out: pages of it in page tables
 *
 * A page table takes its reference before it counts as a mapping and drops it
 * after, so a number read while both are still is never too small.
 *
 * Return: the references; 0 means that no DMA by way of the kernel goes on.
 */
unsigned int pst_chunk_extra_refs(struct folio *folio, unsigned int *maps)
{
	int mapped = pst_folio_mapcount(folio);
	int refs, again, tries;

	for (tries = 0; tries < 16; tries++) {
		/* Pairs with the ordered updates of the reference count. */
		smp_rmb();
		refs = folio_ref_count(folio);
		/* The same, for the second look at the mappings. */
		smp_rmb();
		again = pst_folio_mapcount(folio);
		if (again == mapped) {
			*maps = mapped;
			return max(refs - PST_BASE_REFS - mapped, 0);
		}
		mapped = again;
	}
	/* Page faults all the time: somebody uses it. */
	*maps = mapped;
	return 1;
}

/**
 * pst_chunks_busy() - count the chunks with references besides page tables
 * @pool: a ready pool
 * @off_bytes: begin of a checked range
 * @bytes: its size
 *
 * Return: the number of such chunks that the range touches.
 */
u64 pst_chunks_busy(const struct pst_pool *pool, u64 off_bytes, u64 bytes)
{
	u64 end = off_bytes + bytes;
	unsigned int maps;
	u64 busy = 0;

	while (off_bytes < end) {
		struct folio *folio = pst_chunk_at(pool, off_bytes, &off_bytes);

		busy += pst_chunk_extra_refs(folio, &maps) != 0;
		off_bytes += chunk_bytes(folio);
		cond_resched();
	}
	return busy;
}

/**
 * pst_chunks_get() - make the chunks of a range busy
 * @pool: a ready pool
 * @off_bytes: begin of a checked range
 * @bytes: its size
 *
 * For devices that have the range mapped: they show in the same count as
 * everybody else's DMA.
 */
void pst_chunks_get(const struct pst_pool *pool, u64 off_bytes, u64 bytes)
{
	u64 end = off_bytes + bytes;

	while (off_bytes < end) {
		struct folio *folio = pst_chunk_at(pool, off_bytes, &off_bytes);

		folio_get(folio);
		off_bytes += chunk_bytes(folio);
	}
}

/**
 * pst_chunks_put() - undo pst_chunks_get()
 * @pool: the pool
 * @off_bytes: begin of the same range
 * @bytes: its size
 */
void pst_chunks_put(const struct pst_pool *pool, u64 off_bytes, u64 bytes)
{
	u64 end = off_bytes + bytes;

	while (off_bytes < end) {
		struct folio *folio = pst_chunk_at(pool, off_bytes, &off_bytes);
		/* Read before the reference that keeps it readable is gone. */
		u64 step = chunk_bytes(folio);

		folio_put(folio);
		off_bytes += step;
	}
}
