// SPDX-License-Identifier: GPL-2.0
/*
 * Ownership of named pools, and waiting until nobody's DMA is left.
 *
 * One file at a time may write.  When it is closed, by exit or by SIGKILL, the
 * reads that its process had in flight still land for a while; the next owner
 * gets the pool when no chunk has a reference besides those of page tables.
 * From then on dma-bufs of earlier owners are refused by their generation.
 */
#include <linux/ktime.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sched/signal.h>

#include "kmod.h"
#include "penstock_trace.h"

#define PST_NAP_FIRST_MS 1
#define PST_NAP_MAX_MS	 20

/* Sleeps a little longer each time; 0 when it is worth looking again. */
static int nap(u64 deadline_ns, unsigned int *ms)
{
	if (ktime_get_ns() >= deadline_ns)
		return -ETIMEDOUT;
	schedule_timeout_interruptible(msecs_to_jiffies(*ms) + 1);
	if (signal_pending(current))
		return -EINTR;
	*ms = min(*ms * 2, (unsigned int)PST_NAP_MAX_MS);
	return 0;
}

static u64 deadline_after(u64 timeout_ns)
{
	u64 now_ns = ktime_get_ns();

	return timeout_ns > U64_MAX - now_ns ? U64_MAX : now_ns + timeout_ns;
}

/* -EBUSY: somebody else is the owner; -EAGAIN: chunks are busy. */
static int try_acquire(struct pst_pool *pool, u64 *busy_chunks)
{
	int rc = 0;

	mutex_lock(&pool->lock);
	/* A mapping that may write, of a dma-buf, counts for all chunks. */
	*busy_chunks = pool->writers ? pool->nr_chunks :
				       pst_chunks_busy(pool, 0, pool->bytes);
	if (pool->leased) {
		rc = -EBUSY;
	} else if (*busy_chunks) {
		rc = -EAGAIN;
	} else {
		pool->leased = true;
		pool->generation++;
		pool->owner = get_task_pid(current, PIDTYPE_TGID);
	}
	mutex_unlock(&pool->lock);
	return rc;
}

/**
 * pst_lease_acquire() - become the owner of a pool
 * @pool: the pool
 * @wait: whether to wait for the last owner and for DMA to end
 * @timeout_ns: how long
 * @busy_chunks: out: chunks with references, also when it fails
 *
 * Return: 0; -EBUSY when there is an owner, or without @wait busy chunks;
 * -ETIMEDOUT when chunks are still busy; -EINTR.
 */
int pst_lease_acquire(struct pst_pool *pool, bool wait, u64 timeout_ns,
		      u64 *busy_chunks)
{
	u64 deadline_ns = deadline_after(wait ? timeout_ns : 0);
	unsigned int ms = PST_NAP_FIRST_MS;
	u64 start_ns = ktime_get_ns();
	int rc, why;

	do {
		why = try_acquire(pool, busy_chunks);
		rc = why ? nap(deadline_ns, &ms) : 0;
	} while (why && !rc);
	if (rc == -ETIMEDOUT && (why == -EBUSY || !wait))
		rc = -EBUSY;
	trace_penstock_lease(pool, ktime_get_ns() - start_ns, *busy_chunks, rc);
	return rc;
}

/**
 * pst_lease_release() - the owner's file is closed
 * @pool: the pool
 */
void pst_lease_release(struct pst_pool *pool)
{
	struct pid *owner;

	mutex_lock(&pool->lock);
	owner = pool->owner;
	pool->owner = NULL;
	pool->leased = false;
	mutex_unlock(&pool->lock);
	put_pid(owner);
}

/**
 * pst_wait_idle() - wait until no DMA refers to a range
 * @pool: the pool
 * @args: from user space; busy_chunks is filled in
 *
 * Return: 0, -EINVAL, -ETIMEDOUT, -EINTR.
 */
int pst_wait_idle(struct pst_pool *pool, struct penstock_wait_idle *args)
{
	u64 deadline_ns = deadline_after(args->timeout_ns);
	unsigned int ms = PST_NAP_FIRST_MS;
	int rc;

	if (args->flags)
		return -EINVAL;
	rc = pst_range_check(pool, args->offset, args->bytes);
	if (rc)
		return rc;
	do {
		args->busy_chunks =
			pst_chunks_busy(pool, args->offset, args->bytes);
		rc = args->busy_chunks ? nap(deadline_ns, &ms) : 0;
	} while (args->busy_chunks && !rc);
	return rc;
}
