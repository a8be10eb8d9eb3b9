// SPDX-License-Identifier: GPL-2.0
/*
 * Argument structures that may be smaller or larger than ours, and ranges.
 * Knows nothing of what the arguments mean.
 */
#include <linux/uaccess.h>

#include "kmod.h"

/**
 * pst_args_get() - copy a structure from user space
 * @args: where to, @size bytes; zeroed beyond what the caller has
 * @size: our size of it
 * @min_size: its size in the first version of the interface
 * @user: the caller's structure, its size in the first four bytes
 * @user_size: out: that size, for pst_args_put()
 *
 * Return: 0; -EINVAL when it is smaller than ever was; -E2BIG when it is
 * larger than ours and the rest is not zero; -EFAULT.
 */
int pst_args_get(void *args, size_t size, size_t min_size,
		 const void __user *user, u32 *user_size)
{
	u32 got;
	int rc;

	if (get_user(got, (const u32 __user *)user))
		return -EFAULT;
	if (got < min_size)
		return -EINVAL;
	if (got > PAGE_SIZE)
		return -E2BIG;
	rc = copy_struct_from_user(args, size, user, got);
	if (rc)
		return rc;
	/* The caller may have changed it in between. */
	*(u32 *)args = got;
	*user_size = got;
	return 0;
}

/**
 * pst_args_put() - copy a structure back to user space
 * @user: the caller's structure
 * @args: ours
 * @size: size of ours
 * @user_size: from pst_args_get()
 *
 * Return: 0 or -EFAULT.
 */
int pst_args_put(void __user *user, const void *args, size_t size,
		 u32 user_size)
{
	if (copy_to_user(user, args, min_t(size_t, size, user_size)))
		return -EFAULT;
	return 0;
}

/**
 * pst_range_check() - whether a range from user space lies in a pool
 * @pool: the pool
 * @off_bytes: where it begins
 * @bytes: its size
 *
 * Return: 0, or -EINVAL when it is empty, not of whole pages or not inside.
 */
int pst_range_check(const struct pst_pool *pool, u64 off_bytes, u64 bytes)
{
	if (!bytes || !IS_ALIGNED(off_bytes | bytes, PAGE_SIZE))
		return -EINVAL;
	if (bytes > pool->bytes || off_bytes > pool->bytes - bytes)
		return -EINVAL;
	return 0;
}
