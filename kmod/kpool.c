// SPDX-License-Identifier: GPL-2.0
/*
 * The life of a pool, from checked arguments to its last reference.  Memory,
 * accounting, names and leases have files of their own.
 */
#include <linux/cred.h>
#include <linux/module.h>
#include <linux/nodemask.h>
#include <linux/pid.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/user_namespace.h>

#include "compat.h"
#include "kmod.h"
#include "penstock_trace.h"

static int check_nodes(u64 nodes)
{
	while (nodes) {
		int node = __ffs64(nodes);

		if (node >= nr_node_ids || !node_state(node, N_MEMORY))
			return -ENODEV;
		nodes &= nodes - 1;
	}
	return 0;
}

static int check_args(const struct penstock_create *args)
{
	u32 known = PENSTOCK_C_NAMED | PENSTOCK_C_STRICT_NODES;
	u32 largest = min(PENSTOCK_MAX_ORDER, PST_MAX_PAGE_ORDER);

	if (args->flags & ~known || args->reserved)
		return -EINVAL;
	if (args->order > largest || args->min_order > args->order)
		return -EINVAL;
	if (!args->bytes || !IS_ALIGNED(args->bytes, PAGE_SIZE << args->order))
		return -EINVAL;
	/* Keeps all sums in pages within a long. */
	if (args->bytes > LLONG_MAX)
		return -EDQUOT;
	if ((args->flags & PENSTOCK_C_STRICT_NODES) && !args->nodes)
		return -EINVAL;
	if (args->flags & PENSTOCK_C_NAMED && !pst_name_valid(args->name))
		return -EINVAL;
	if (!(args->flags & PENSTOCK_C_NAMED) &&
	    memchr_inv(args->name, 0, sizeof(args->name)))
		return -EINVAL;
	return check_nodes(args->nodes);
}

static struct pst_pool *new_pool(const struct penstock_create *args)
{
	struct pst_pool *pool = kzalloc(sizeof(*pool), GFP_KERNEL_ACCOUNT);

	if (!pool)
		return NULL;
	kref_init(&pool->ref);
	mutex_init(&pool->lock);
	pool->bytes = args->bytes;
	pool->order = args->order;
	pool->min_order = args->min_order;
	pool->nodes = args->nodes;
	pool->strict_nodes = args->flags & PENSTOCK_C_STRICT_NODES;
	memcpy(pool->name, args->name, sizeof(pool->name));
	pool->user_ns = get_user_ns(current_user_ns());
	/* Who creates a pool owns it. */
	pool->leased = true;
	pool->generation = 1;
	pool->owner = get_task_pid(current, PIDTYPE_TGID);
	return pool;
}

/* Frees what new_pool() and fill_pool() have made, but no chunks. */
static void delete_pool(struct pst_pool *pool)
{
	if (pool->mm)
		mmdrop(pool->mm);
	put_pid(pool->owner);
	put_user_ns(pool->user_ns);
	kvfree(pool->units);
	mutex_destroy(&pool->lock);
	kfree(pool);
}

static int fill_pool(struct pst_pool *pool, u64 *got_bytes_by_order)
{
	unsigned long nr = pool->bytes >> (PAGE_SHIFT + pool->min_order);
	u64 start_ns = ktime_get_ns();
	int rc;

	if (!pool->named) {
		rc = pst_memlock_charge(pool);
		if (rc)
			return rc;
	}
	/* More than a GiB of pointers is refused, with a warning by default. */
	pool->units = kvcalloc(nr, sizeof(*pool->units),
			       GFP_KERNEL_ACCOUNT | __GFP_NOWARN);
	if (!pool->units)
		return -ENOMEM;
	pool->nr_units = nr;
	rc = pst_chunks_alloc(pool, got_bytes_by_order);
	pool->alloc_ns = ktime_get_ns() - start_ns;
	return rc;
}

static void abandon_pool(struct pst_pool *pool, const u64 *got_bytes_by_order)
{
	u64 missing_bytes = pool->bytes;
	int i;

	for (i = 0; i < PENSTOCK_NR_ORDERS; i++)
		missing_bytes -= got_bytes_by_order[i];
	pst_quota_uncharge(pool, missing_bytes);
	pst_pool_put(pool);
	/* The caller may try again with less. */
	pst_drain_flush();
}

/**
 * pst_pool_create() - a new pool, owned by the caller
 * @args: from user space, unchecked
 * @got_bytes_by_order: [PENSTOCK_NR_ORDERS], zeroed; bytes found, also when it
 *	fails
 *
 * Return: the pool with one reference, or ERR_PTR: -EINVAL, -ENODEV, -EDQUOT,
 * -EEXIST, -EAGAIN (RLIMIT_MEMLOCK), -ENOMEM, -EINTR.
 */
struct pst_pool *pst_pool_create(const struct penstock_create *args,
				 u64 *got_bytes_by_order)
{
	bool named = args->flags & PENSTOCK_C_NAMED;
	struct pst_pool *pool;
	int rc;

	rc = check_args(args);
	if (rc)
		return ERR_PTR(rc);
	pst_drain_flush();
	pool = new_pool(args);
	if (!pool)
		return ERR_PTR(-ENOMEM);
	rc = pst_quota_charge(pool, named);
	if (rc) {
		delete_pool(pool);
		return ERR_PTR(rc);
	}
	/* Until the memory is free; the caller's file holds the module too. */
	__module_get(THIS_MODULE);
	rc = fill_pool(pool, got_bytes_by_order);
	trace_penstock_create(pool, rc);
	if (rc) {
		abandon_pool(pool, got_bytes_by_order);
		return ERR_PTR(rc);
	}
	if (named)
		pst_pool_get(pool);
	mutex_lock(&pst_core.lock);
	pool->ready = true;
	mutex_unlock(&pst_core.lock);
	return pool;
}

/**
 * pst_pool_get() - one more holder
 * @pool: a pool that has a holder
 */
void pst_pool_get(struct pst_pool *pool)
{
	kref_get(&pool->ref);
}

static void release_pool(struct kref *ref)
{
	pst_drain_add(container_of(ref, struct pst_pool, ref));
}

/**
 * pst_pool_put() - one holder less
 * @pool: the pool, gone for the caller; any context that may take no lock
 */
void pst_pool_put(struct pst_pool *pool)
{
	kref_put(&pool->ref, release_pool);
}

/**
 * pst_pool_free() - the end of a pool whose chunks are free
 * @pool: the pool
 *
 * By the worker alone: rmmod waits for it after the last module_put().
 */
void pst_pool_free(struct pst_pool *pool)
{
	trace_penstock_free(pool, 0);
	pst_quota_leave(pool);
	delete_pool(pool);
	module_put(THIS_MODULE);
}
