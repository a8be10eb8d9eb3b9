// SPDX-License-Identifier: GPL-2.0
/*
 * What can be asked about a pool: PENSTOCK_STAT, PENSTOCK_CHUNKS, fdinfo, and
 * a list of all pools for the administrator in debugfs.  No addresses.
 */
#include <linux/cred.h>
#include <linux/debugfs.h>
#include <linux/pid.h>
#include <linux/seq_file.h>
#include <linux/uaccess.h>

#include "kmod.h"

/**
 * pst_stat_fill() - counters of a pool
 * @pool: the pool
 * @stat: zeroed but for its size
 */
void pst_stat_fill(struct pst_pool *pool, struct penstock_stat *stat)
{
	stat->bytes = pool->bytes;
	stat->nr_chunks = pool->nr_chunks;
	stat->order = pool->order;
	stat->min_order = pool->min_order;
	stat->alloc_ns = pool->alloc_ns;
	memcpy(stat->bytes_on_node, pool->bytes_on_node,
	       sizeof(stat->bytes_on_node));
	stat->uid = from_kuid_munged(current_user_ns(), pool->user->uid);
	stat->maps = atomic_read(&pool->maps);
	stat->exports = atomic_read(&pool->exports);
	stat->attachments = atomic_read(&pool->attachments);
	stat->mapped_attachments = atomic_read(&pool->mapped_attachments);
	stat->faults = atomic64_read(&pool->faults);
	stat->syncs = atomic64_read(&pool->syncs);
	stat->busy_chunks = pst_chunks_busy(pool, 0, pool->bytes);
	mutex_lock(&pst_core.lock);
	if (pool->named)
		stat->flags |= PENSTOCK_S_NAMED;
	mutex_unlock(&pst_core.lock);
	mutex_lock(&pool->lock);
	if (pool->leased)
		stat->flags |= PENSTOCK_S_OWNED;
	stat->generation = pool->generation;
	stat->owner_pid = pid_vnr(pool->owner);
	mutex_unlock(&pool->lock);
}

/**
 * pst_chunks_list() - list chunks into an array in user space
 * @pool: the pool
 * @args: from user space, unchecked; count is set to what was written
 *
 * Return: 0, -EINVAL, -EFAULT, -EINTR.
 */
int pst_chunks_list(struct pst_pool *pool, struct penstock_chunks *args)
{
	struct penstock_chunk __user *to = u64_to_user_ptr(args->array);
	u64 off_bytes = args->offset;
	u32 count = 0;

	if (args->flags || args->chunk_size != sizeof(*to))
		return -EINVAL;
	while (off_bytes < pool->bytes && count < args->count) {
		struct penstock_chunk chunk = {};
		struct folio *folio;

		if (signal_pending(current))
			return -EINTR;
		folio = pst_chunk_at(pool, off_bytes, &off_bytes);
		chunk.offset = off_bytes;
		chunk.node = folio_nid(folio);
		chunk.order = folio_order(folio);
		chunk.refs = pst_chunk_extra_refs(folio, &chunk.maps);
		if (copy_to_user(to + count, &chunk, sizeof(chunk)))
			return -EFAULT;
		count++;
		off_bytes += folio_size(folio);
	}
	args->count = count;
	return 0;
}

/**
 * pst_fdinfo_show() - lines of /proc/PID/fdinfo/FD
 * @m: where to
 * @pool: the pool
 */
void pst_fdinfo_show(struct seq_file *m, struct pst_pool *pool)
{
	seq_printf(m, "penstock-id:\t%llu\n", pool->id);
	if (pool->name[0])
		seq_printf(m, "penstock-name:\t%s\n", pool->name);
	seq_printf(m, "penstock-bytes:\t%llu\n", pool->bytes);
	seq_printf(m, "penstock-chunks:\t%lu\n", pool->nr_chunks);
	seq_printf(m, "penstock-busy:\t%llu\n",
		   pst_chunks_busy(pool, 0, pool->bytes));
	seq_printf(m, "penstock-generation:\t%llu\n",
		   READ_ONCE(pool->generation));
	seq_printf(m, "penstock-maps:\t%d\n", atomic_read(&pool->maps));
	seq_printf(m, "penstock-exports:\t%d\n", atomic_read(&pool->exports));
	seq_printf(m, "penstock-mapped:\t%d\n",
		   atomic_read(&pool->mapped_attachments));
}

static int pools_show(struct seq_file *m, void *unused)
{
	struct pst_pool *pool;

	seq_puts(m, "id uid bytes left order generation state name\n");
	mutex_lock(&pst_core.lock);
	list_for_each_entry(pool, &pst_core.pools, entry)
		seq_printf(m, "%llu %u %llu %llu %u %llu %s %s\n", pool->id,
			   from_kuid_munged(current_user_ns(), pool->user->uid),
			   pool->bytes, pool->left_bytes, pool->order,
			   READ_ONCE(pool->generation),
			   pool->orphaned ? "zombie" :
			   pool->ready	  ? "ready" :
					    "filling",
			   pool->named ? pool->name : "-");
	mutex_unlock(&pst_core.lock);
	return 0;
}
DEFINE_SHOW_ATTRIBUTE(pools);

/**
 * pst_debugfs_init() - make the list of pools in debugfs
 */
void pst_debugfs_init(void)
{
	pst_core.debugfs = debugfs_create_dir("penstock", NULL);
	debugfs_create_file("pools", 0400, pst_core.debugfs, NULL, &pools_fops);
}

/**
 * pst_debugfs_fini() - undo pst_debugfs_init()
 */
void pst_debugfs_fini(void)
{
	debugfs_remove_recursive(pst_core.debugfs);
}
