// SPDX-License-Identifier: GPL-2.0
/*
 * The way of every call: arguments in, at any size; the call's function; a new
 * descriptor where it opens something; arguments out.  And ranges.  Knows
 * nothing of what the arguments mean.
 */
#include <linux/fcntl.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/uaccess.h>

#include "kmod.h"

/*
 * Copies a structure from user space, zeroed beyond what the caller has; its
 * size there is in its first four bytes.  All calls are still as in version 1
 * of the interface: none may be smaller than ours.
 */
static int args_get(const struct pst_call *call, void *args,
		    const void __user *user)
{
	u32 got;
	int rc;

	if (get_user(got, (const u32 __user *)user))
		return -EFAULT;
	if (got < call->size)
		return -EINVAL;
	if (got > PAGE_SIZE)
		return -E2BIG;
	rc = copy_struct_from_user(args, call->size, user, got);
	/* The caller may have changed it in between. */
	*(u32 *)args = got;
	return rc;
}

static int args_put(const struct pst_call *call, const void *args,
		    void __user *user)
{
	u32 got = *(const u32 *)args;

	if (!call->out)
		return 0;
	if (copy_to_user(user, args, min_t(size_t, call->size, got)))
		return -EFAULT;
	return 0;
}

static int run(const struct pst_call *call, void *ctx, void *args,
	       void __user *user)
{
	int put, rc = call->run(ctx, args);

	/* What a failure has to say is in the arguments, too. */
	put = args_put(call, args, user);
	return put ? put : rc;
}

/* A call that opens a file: nobody sees the file before all is well. */
static int run_open(const struct pst_call *call, void *ctx, void *args,
		    void __user *user)
{
	s32 *fd_out = args + call->fd_off;
	struct file *file;
	int put, fd;

	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	file = call->open(ctx, args);
	*fd_out = IS_ERR(file) ? -1 : fd;
	put = args_put(call, args, user);
	if (!put && !IS_ERR(file)) {
		fd_install(fd, file);
		return 0;
	}
	put_unused_fd(fd);
	if (IS_ERR(file))
		return put ? put : PTR_ERR(file);
	if (call->undo)
		call->undo(file);
	fput(file);
	return put;
}

/**
 * pst_call_run() - carry out one call
 * @calls: those of a file, up to one without a size
 * @ctx: handed to the call
 * @cmd: which one
 * @arg: address of its arguments
 *
 * Return: what the call returns; -ENOTTY for an unknown one; -EINVAL when its
 * structure is smaller than ever was; -E2BIG when it is larger than ours and
 * the rest is not zero; -EFAULT; -EMFILE.
 */
long pst_call_run(const struct pst_call *calls, void *ctx, unsigned int cmd,
		  unsigned long arg)
{
	void __user *user = (void __user *)arg;
	union pst_args args;
	int rc;

	while (calls->size && calls->cmd != cmd)
		calls++;
	if (!calls->size)
		return -ENOTTY;
	rc = args_get(calls, &args, user);
	if (rc)
		return rc;
	return calls->open ? run_open(calls, ctx, &args, user) :
			     run(calls, ctx, &args, user);
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
