// SPDX-License-Identifier: GPL-2.0
/*
 * Who has how much: bytes per user, per node and in all, and the limits.  Also
 * RLIMIT_MEMLOCK, for pools that end with their process.  (The memory cgroup
 * is charged by the page allocator.)
 *
 * What is charged stays charged until the memory is really free, which may be
 * long after the pool is gone.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/moduleparam.h>
#include <linux/sched/mm.h>
#include <linux/slab.h>

#include "kmod.h"

/* More would be a way to fill the kernel's memory. */
#define PST_MAX_POOLS_PER_USER 1024

static unsigned long uid_quota_mb;
module_param(uid_quota_mb, ulong, 0644);
MODULE_PARM_DESC(uid_quota_mb,
		 "MiB of named pools per user without CAP_SYS_RESOURCE (0)");

static unsigned long ceiling_mb;
module_param(ceiling_mb, ulong, 0644);
MODULE_PARM_DESC(ceiling_mb, "MiB of all pools together (0: half of memory)");

static unsigned int node_percent = 80;
module_param(node_percent, uint, 0644);
MODULE_PARM_DESC(node_percent, "most of a node's memory that pools get (80)");

static u64 mb_to_bytes(unsigned long mb)
{
	return mb > (U64_MAX >> 20) ? U64_MAX : (u64)mb << 20;
}

static u64 ceiling_bytes(void)
{
	unsigned long mb = READ_ONCE(ceiling_mb);

	return mb ? mb_to_bytes(mb) : (u64)totalram_pages() << PAGE_SHIFT >> 1;
}

static u64 quota_bytes(void)
{
	if (capable(CAP_SYS_RESOURCE))
		return U64_MAX;
	return mb_to_bytes(READ_ONCE(uid_quota_mb));
}

static bool fits(u64 bytes, u64 used_bytes, u64 limit_bytes)
{
	return used_bytes <= limit_bytes && bytes <= limit_bytes - used_bytes;
}

static struct pst_user *user_of(kuid_t uid)
{
	struct pst_user *user;

	list_for_each_entry(user, &pst_core.users, entry)
		if (uid_eq(user->uid, uid))
			return user;
	return NULL;
}

static int charge_locked(struct pst_pool *pool, struct pst_user *user,
			 bool named, u64 quota)
{
	if (named && pst_name_is_taken(pool))
		return -EEXIST;
	if (user->nr_pools >= PST_MAX_POOLS_PER_USER ||
	    !fits(pool->bytes, pst_core.used_bytes, ceiling_bytes()) ||
	    (named && !fits(pool->bytes, user->named_bytes, quota)))
		return -EDQUOT;
	user->nr_pools++;
	user->used_bytes += pool->bytes;
	if (named)
		user->named_bytes += pool->bytes;
	pst_core.used_bytes += pool->bytes;
	pool->left_bytes = pool->bytes;
	pool->named = named;
	pool->charged_named = named;
	pool->user = user;
	pool->id = ++pst_core.last_id;
	list_add_tail(&pool->entry, &pst_core.pools);
	return 0;
}

/**
 * pst_quota_charge() - charge a pool to the calling user and enter its name
 * @pool: size and name filled in
 * @named: whether it has a name
 *
 * Return: 0, -EDQUOT, -EEXIST when the user has such a name, -ENOMEM.
 */
int pst_quota_charge(struct pst_pool *pool, bool named)
{
	u64 quota = named ? quota_bytes() : 0;
	struct pst_user *fresh, *user;
	int rc;

	fresh = kzalloc(sizeof(*fresh), GFP_KERNEL_ACCOUNT);
	if (!fresh)
		return -ENOMEM;
	mutex_lock(&pst_core.lock);
	user = user_of(current_euid());
	if (!user) {
		user = fresh;
		user->uid = current_euid();
	}
	rc = charge_locked(pool, user, named, quota);
	if (!rc && user == fresh) {
		list_add_tail(&user->entry, &pst_core.users);
		fresh = NULL;
	}
	mutex_unlock(&pst_core.lock);
	kfree(fresh);
	return rc;
}

/**
 * pst_quota_uncharge() - memory of a pool is free, or was never found
 * @pool: the pool
 * @bytes: how much
 */
void pst_quota_uncharge(struct pst_pool *pool, u64 bytes)
{
	mutex_lock(&pst_core.lock);
	pool->left_bytes -= bytes;
	pool->user->used_bytes -= bytes;
	if (pool->charged_named)
		pool->user->named_bytes -= bytes;
	pst_core.used_bytes -= bytes;
	mutex_unlock(&pst_core.lock);
	if (pool->mm)
		account_locked_vm(pool->mm, bytes >> PAGE_SHIFT, false);
}

/**
 * pst_quota_leave() - the end of a pool whose memory is free
 * @pool: the pool
 */
void pst_quota_leave(struct pst_pool *pool)
{
	struct pst_user *user = pool->user;

	mutex_lock(&pst_core.lock);
	list_del(&pool->entry);
	if (--user->nr_pools)
		user = NULL;
	else
		list_del(&user->entry);
	mutex_unlock(&pst_core.lock);
	kfree(user);
}

/**
 * pst_quota_charge_node() - charge a chunk to its node
 * @node: the node
 * @bytes: size of the chunk
 *
 * Return: 0, or -EDQUOT when pools would have too much of the node.
 */
int pst_quota_charge_node(int node, u64 bytes)
{
	u64 limit = (u64)node_present_pages(node) << PAGE_SHIFT;

	limit = div_u64(limit, 100) * min(READ_ONCE(node_percent), 100U);
	if (atomic64_add_return(bytes, &pst_core.node_bytes[node]) <= limit)
		return 0;
	pst_quota_uncharge_node(node, bytes);
	return -EDQUOT;
}

/**
 * pst_quota_uncharge_node() - a chunk is free
 * @node: its node
 * @bytes: its size
 */
void pst_quota_uncharge_node(int node, u64 bytes)
{
	atomic64_sub(bytes, &pst_core.node_bytes[node]);
}

/**
 * pst_quota_report() - fill in the bytes of the calling user
 * @info: what to fill in
 */
void pst_quota_report(struct penstock_info *info)
{
	struct pst_user *user;
	struct pst_pool *pool;

	info->quota_bytes = quota_bytes();
	info->ceiling_bytes = ceiling_bytes();
	mutex_lock(&pst_core.lock);
	info->total_bytes = pst_core.used_bytes;
	user = user_of(current_euid());
	if (user) {
		info->used_bytes = user->used_bytes;
		info->named_bytes = user->named_bytes;
		list_for_each_entry(pool, &pst_core.pools, entry)
			if (pool->user == user && pool->orphaned)
				info->zombie_bytes += pool->left_bytes;
	}
	mutex_unlock(&pst_core.lock);
}

/**
 * pst_memlock_charge() - charge a pool to the caller's RLIMIT_MEMLOCK
 * @pool: a pool charged to its user
 *
 * Return: 0, or -EAGAIN when the limit is too small.
 */
int pst_memlock_charge(struct pst_pool *pool)
{
	if (account_locked_vm(current->mm, pool->bytes >> PAGE_SHIFT, true))
		return -EAGAIN;
	pool->mm = current->mm;
	mmgrab(pool->mm);
	return 0;
}

/**
 * pst_quota_init() - set up the counters of nodes
 *
 * Return: 0 or -ENOMEM.
 */
int pst_quota_init(void)
{
	pst_core.node_bytes =
		kcalloc(nr_node_ids, sizeof(atomic64_t), GFP_KERNEL);
	return pst_core.node_bytes ? 0 : -ENOMEM;
}

/**
 * pst_quota_fini() - undo pst_quota_init()
 */
void pst_quota_fini(void)
{
	kfree(pst_core.node_bytes);
}
