// SPDX-License-Identifier: GPL-2.0
/*
 * /dev/penstock: the calls that make, find and unlink pools.
 */
#include <linux/err.h>
#include <linux/fs.h>
#include <linux/miscdevice.h>
#include <linux/string.h>

#include "compat.h"
#include "kmod.h"

static int call_info(void *ctx, void *arg)
{
	struct penstock_info *args = arg;

	if (args->flags)
		return -EINVAL;
	*args = (struct penstock_info){
		.size = args->size,
		.abi = PENSTOCK_ABI,
		.max_order = min(PENSTOCK_MAX_ORDER, PST_MAX_PAGE_ORDER),
		.features = PENSTOCK_F_NAMED | PENSTOCK_F_BUSY,
	};
	pst_drain_flush();
	pst_quota_report(args);
	return 0;
}

static struct file *call_create(void *ctx, void *arg)
{
	struct penstock_create *args = arg;
	struct pst_pool *pool;
	struct file *file;

	memset(args->got_bytes_by_order, 0, sizeof(args->got_bytes_by_order));
	pool = pst_pool_create(args, args->got_bytes_by_order);
	if (IS_ERR(pool))
		return ERR_CAST(pool);
	/* For the name's sake, should this fail. */
	pst_pool_get(pool);
	file = pst_pool_file_open(pool, true, false);
	if (IS_ERR(file))
		pst_name_drop(pool);
	pst_pool_put(pool);
	return file;
}

/* A name for a pool that nobody was told of would be in the way. */
static void undo_create(struct file *file)
{
	pst_name_drop(pst_pool_of_file(file));
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

static struct file *call_open(void *ctx, void *arg)
{
	struct penstock_open *args = arg;
	bool owner = args->flags & PENSTOCK_O_OWNER;
	bool wait = args->flags & PENSTOCK_O_WAIT_IDLE;
	struct pst_pool *pool;
	int rc = check_open(args);

	if (rc)
		return ERR_PTR(rc);
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

static int call_unlink(void *ctx, void *arg)
{
	struct penstock_unlink *args = arg;

	if (args->flags & ~PENSTOCK_U_UID || args->reserved)
		return -EINVAL;
	if (args->uid && !(args->flags & PENSTOCK_U_UID))
		return -EINVAL;
	return pst_name_unlink(args->name, args->flags & PENSTOCK_U_UID ?
						   &args->uid :
						   NULL);
}

static const struct pst_call calls[] = {
	{
		.cmd = PENSTOCK_INFO,
		.size = sizeof(struct penstock_info),
		.out = true,
		.run = call_info,
	},
	{
		.cmd = PENSTOCK_CREATE,
		.size = sizeof(struct penstock_create),
		.out = true,
		.fd_off = offsetof(struct penstock_create, fd),
		.open = call_create,
		.undo = undo_create,
	},
	{
		.cmd = PENSTOCK_OPEN,
		.size = sizeof(struct penstock_open),
		.out = true,
		.fd_off = offsetof(struct penstock_open, fd),
		.open = call_open,
	},
	{
		.cmd = PENSTOCK_UNLINK,
		.size = sizeof(struct penstock_unlink),
		.run = call_unlink,
	},
	{}
};

static long device_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return pst_call_run(calls, NULL, cmd, arg);
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
