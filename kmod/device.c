// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/penstock: the calls that make, find and unlink pools.
 */
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/string.h>
#include <linux/uaccess.h>

#include "compat.h"
#include "kmod.h"

static int call_info(void __user *user)
{
	struct penstock_info args;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	if (args.flags)
		return -EINVAL;
	memset(&args, 0, sizeof(args));
	args.size = user_size;
	args.abi = PENSTOCK_ABI;
	args.max_order = min(PENSTOCK_MAX_ORDER, PST_MAX_PAGE_ORDER);
	args.features = PENSTOCK_F_NAMED | PENSTOCK_F_BUSY;
	pst_drain_flush();
	pst_quota_report(&args);
	return pst_args_put(user, &args, sizeof(args), user_size);
}

static int call_create(void __user *user)
{
	struct penstock_create args;
	struct pst_pool *pool;
	struct file *file;
	u32 user_size;
	int rc, fd;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	args.fd = -1;
	memset(args.got_bytes_by_order, 0, sizeof(args.got_bytes_by_order));
	pool = pst_pool_create(&args, args.got_bytes_by_order);
	if (IS_ERR(pool)) {
		put_unused_fd(fd);
		return pst_args_put(user, &args, sizeof(args), user_size) ?:
			       PTR_ERR(pool);
	}
	args.fd = fd;
	/* For the name's sake, should this fail. */
	pst_pool_get(pool);
	file = pst_pool_file_open(pool, true, false);
	rc = PTR_ERR_OR_ZERO(file);
	if (!rc) {
		rc = pst_args_put(user, &args, sizeof(args), user_size);
		if (rc)
			fput(file);
	}
	if (rc) {
		put_unused_fd(fd);
		pst_name_drop(pool);
	} else {
		fd_install(fd, file);
	}
	pst_pool_put(pool);
	return rc;
}

static struct file *open_named(struct penstock_open *args)
{
	bool owner = args->flags & PENSTOCK_O_OWNER;
	bool wait = args->flags & PENSTOCK_O_WAIT_IDLE;
	struct pst_pool *pool;
	int rc = 0;

	pool = pst_name_find(args->name,
			     args->flags & PENSTOCK_O_UID ? &args->uid : NULL);
	if (IS_ERR(pool))
		return ERR_CAST(pool);
	args->order = pool->order;
	args->bytes = pool->bytes;
	args->busy_chunks = 0;
	if (owner)
		rc = pst_lease_acquire(pool, wait, args->timeout_ns,
				       &args->busy_chunks);
	args->generation = READ_ONCE(pool->generation);
	if (rc) {
		pst_pool_put(pool);
		return ERR_PTR(rc);
	}
	return pst_pool_file_open(pool, owner, !owner);
}

static int check_open(const struct penstock_open *args)
{
	u32 known = PENSTOCK_O_OWNER | PENSTOCK_O_WAIT_IDLE | PENSTOCK_O_UID;

	if (args->flags & ~known || args->reserved)
		return -EINVAL;
	/* Only the owner has anything to wait for. */
	if ((args->flags & PENSTOCK_O_WAIT_IDLE) &&
	    !(args->flags & PENSTOCK_O_OWNER))
		return -EINVAL;
	if (args->uid && !(args->flags & PENSTOCK_O_UID))
		return -EINVAL;
	return 0;
}

static int call_open(void __user *user)
{
	struct penstock_open args;
	struct file *file;
	u32 user_size;
	int rc, fd;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	rc = check_open(&args);
	if (rc)
		return rc;
	fd = get_unused_fd_flags(O_CLOEXEC);
	if (fd < 0)
		return fd;
	args.fd = -1;
	file = open_named(&args);
	if (IS_ERR(file)) {
		put_unused_fd(fd);
		return pst_args_put(user, &args, sizeof(args), user_size) ?:
			       PTR_ERR(file);
	}
	args.fd = fd;
	rc = pst_args_put(user, &args, sizeof(args), user_size);
	if (rc) {
		put_unused_fd(fd);
		fput(file);
		return rc;
	}
	fd_install(fd, file);
	return 0;
}

static int call_unlink(void __user *user)
{
	struct penstock_unlink args;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	if (args.flags & ~PENSTOCK_U_UID || args.reserved)
		return -EINVAL;
	if (args.uid && !(args.flags & PENSTOCK_U_UID))
		return -EINVAL;
	return pst_name_unlink(args.name,
			       args.flags & PENSTOCK_U_UID ? &args.uid : NULL);
}

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case PENSTOCK_INFO:
		return call_info(user);
	case PENSTOCK_CREATE:
		return call_create(user);
	case PENSTOCK_OPEN:
		return call_open(user);
	case PENSTOCK_UNLINK:
		return call_unlink(user);
	default:
		return -ENOTTY;
	}
}

static const struct file_operations device_fops = {
	.owner = THIS_MODULE,
	.unlocked_ioctl = device_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.llseek = noop_llseek,
};

/**
 * pst_device_init() - make /dev/penstock, last of all
 *
 * Return: 0 or what misc_register() says.
 */
int pst_device_init(void)
{
	pst_core.misc.minor = MISC_DYNAMIC_MINOR;
	pst_core.misc.name = "penstock";
	pst_core.misc.fops = &device_fops;
	/* The administrator's rule says who else may; see 70-penstock.rules. */
	pst_core.misc.mode = 0600;
	return misc_register(&pst_core.misc);
}

/**
 * pst_device_fini() - undo pst_device_init()
 */
void pst_device_fini(void)
{
	misc_deregister(&pst_core.misc);
}
