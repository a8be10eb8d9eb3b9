// SPDX-License-Identifier: GPL-2.0
/*
 * Pools without a holder.  Their memory may still be written: reads of a
 * killed process go on landing, io_uring lets go of its buffers late.  A worker
 * frees each chunk once nothing but the pool refers to it, and only then is it
 * uncharged.  There is no call-back for that, so it looks again and again.
 */
#include <linux/workqueue.h>

#include "kmod.h"

/* Looks soon, then ever less often while nothing happens. */
#define PST_DRAIN_FIRST (HZ / 50)
#define PST_DRAIN_MAX	HZ

static void drain(struct work_struct *work)
{
	struct llist_node *fresh = llist_del_all(&pst_core.orphans);
	struct pst_pool *pool, *next;
	bool progress = fresh;

	llist_for_each_entry_safe(pool, next, fresh, orphan) {
		mutex_lock(&pst_core.lock);
		pool->orphaned = true;
		mutex_unlock(&pst_core.lock);
		list_add_tail(&pool->drain_entry, &pst_core.draining);
	}
	list_for_each_entry_safe(pool, next, &pst_core.draining, drain_entry) {
		u64 freed_bytes = pst_chunks_free_idle(pool);

		if (freed_bytes) {
			pst_quota_uncharge(pool, freed_bytes);
			progress = true;
		}
		if (pool->left_bytes)
			continue;
		list_del(&pool->drain_entry);
		pst_pool_free(pool);
	}
	pst_core.drain_jiffies = progress ? PST_DRAIN_FIRST :
					    min(pst_core.drain_jiffies * 2,
						(unsigned long)PST_DRAIN_MAX);
	if (!list_empty(&pst_core.draining))
		queue_delayed_work(pst_core.wq, &pst_core.drain,
				   pst_core.drain_jiffies);
}

/**
 * pst_drain_add() - hand over a pool that has lost its last holder
 * @pool: the pool
 *
 * Takes no lock, because the last holder may be a mapping.
 */
void pst_drain_add(struct pst_pool *pool)
{
	llist_add(&pool->orphan, &pst_core.orphans);
	mod_delayed_work(pst_core.wq, &pst_core.drain, 0);
}

/**
 * pst_drain_flush() - free now what can be freed
 *
 * Lets a process that closes a pool and creates the next one find the memory.
 * The caller holds no lock.
 */
void pst_drain_flush(void)
{
	flush_delayed_work(&pst_core.drain);
}

/**
 * pst_drain_init() - make the worker
 *
 * Return: 0 or -ENOMEM.
 */
int pst_drain_init(void)
{
	init_llist_head(&pst_core.orphans);
	INIT_LIST_HEAD(&pst_core.draining);
	INIT_DELAYED_WORK(&pst_core.drain, drain);
	pst_core.wq = alloc_workqueue("penstock", WQ_UNBOUND, 1);
	return pst_core.wq ? 0 : -ENOMEM;
}

/**
 * pst_drain_fini() - end the worker
 *
 * Every pool holds the module, so there is none left; the worker that freed
 * the last one may still be on its way out.
 */
void pst_drain_fini(void)
{
	cancel_delayed_work_sync(&pst_core.drain);
	destroy_workqueue(pst_core.wq);
}
