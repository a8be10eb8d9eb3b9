// SPDX-License-Identifier: GPL-2.0
/*
 * Named pools.  The key is user namespace, user and name; whoever may not open
 * a pool does not learn that it exists.  A name holds its pool.
 */
#include <linux/capability.h>
#include <linux/cred.h>
#include <linux/ctype.h>
#include <linux/string.h>
#include <linux/user_namespace.h>

#include "kmod.h"

/**
 * pst_name_valid() - whether a name is well formed
 * @name: [PENSTOCK_NAME_LEN]
 *
 * Return: true for letters, digits, '.', '_' and '-', padded with NUL.
 */
bool pst_name_valid(const char *name)
{
	size_t len = strnlen(name, PENSTOCK_NAME_LEN);
	size_t i;

	if (!len || len == PENSTOCK_NAME_LEN)
		return false;
	for (i = 0; i < len; i++)
		if (!isascii(name[i]) ||
		    !(isalnum(name[i]) || strchr("._-", name[i])))
			return false;
	return !memchr_inv(name + len, 0, PENSTOCK_NAME_LEN - len);
}

static bool same_key(const struct pst_pool *pool,
		     const struct user_namespace *ns, kuid_t uid,
		     const char *name)
{
	return pool->named && pool->user_ns == ns &&
	       uid_eq(pool->user->uid, uid) && !strcmp(pool->name, name);
}

/**
 * pst_name_is_taken() - whether the calling user has a pool of this name
 * @pool: a pool that is about to get the name
 *
 * The caller holds pst_core.lock.
 *
 * Return: true when there is one, ready or not.
 */
bool pst_name_is_taken(const struct pst_pool *pool)
{
	struct pst_pool *other;

	list_for_each_entry(other, &pst_core.pools, entry)
		if (same_key(other, pool->user_ns, current_euid(), pool->name))
			return true;
	return false;
}

/* The caller holds pst_core.lock. */
static struct pst_pool *find_locked(const char *name, const u32 *uid)
{
	struct user_namespace *ns = current_user_ns();
	kuid_t who = current_euid();
	struct pst_pool *pool;

	if (uid) {
		who = make_kuid(ns, *uid);
		if (!uid_valid(who))
			return ERR_PTR(-EINVAL);
		if (!ns_capable(ns, CAP_SYS_ADMIN))
			return ERR_PTR(-EPERM);
	}
	list_for_each_entry(pool, &pst_core.pools, entry)
		if (pool->ready && same_key(pool, ns, who, name))
			return pool;
	return ERR_PTR(-ENOENT);
}

/**
 * pst_name_find() - the pool of a name
 * @name: [PENSTOCK_NAME_LEN], unchecked
 * @uid: whose, NULL: the caller's
 *
 * Return: the pool with one more reference, or ERR_PTR: -EINVAL, -EPERM,
 * -ENOENT.
 */
struct pst_pool *pst_name_find(const char *name, const u32 *uid)
{
	struct pst_pool *pool;

	if (!pst_name_valid(name))
		return ERR_PTR(-EINVAL);
	mutex_lock(&pst_core.lock);
	pool = find_locked(name, uid);
	if (!IS_ERR(pool))
		pst_pool_get(pool);
	mutex_unlock(&pst_core.lock);
	return pool;
}

/**
 * pst_name_drop() - take the name from a pool, if it has one
 * @pool: a ready pool that the caller holds
 */
void pst_name_drop(struct pst_pool *pool)
{
	bool named;

	mutex_lock(&pst_core.lock);
	named = pool->named;
	pool->named = false;
	mutex_unlock(&pst_core.lock);
	if (named)
		pst_pool_put(pool);
}

/**
 * pst_name_unlink() - take the name from a pool
 * @name: [PENSTOCK_NAME_LEN], unchecked
 * @uid: whose, NULL: the caller's
 *
 * The pool lives on while it has other holders.
 *
 * Return: 0, -EINVAL, -EPERM, -ENOENT.
 */
int pst_name_unlink(const char *name, const u32 *uid)
{
	struct pst_pool *pool = pst_name_find(name, uid);

	if (IS_ERR(pool))
		return PTR_ERR(pool);
	pst_name_drop(pool);
	pst_pool_put(pool);
	return 0;
}
