// SPDX-License-Identifier: GPL-2.0
/*
 * A pool as a file: mmap, the calls of a pool, and the end of a lease when the
 * file is closed.  A file without the lease is open for reading only, and the
 * kernel then refuses to map it for writing.
 */
#include <linux/anon_inodes.h>
#include <linux/err.h>
#include <linux/file.h>
#include <linux/fs.h>
#include <linux/slab.h>

#include "kmod.h"

static int call_stat(void *ctx, void *arg)
{
	struct pst_pool_file *pf = ctx;
	struct penstock_stat *args = arg;

	if (args->flags)
		return -EINVAL;
	*args = (struct penstock_stat){ .size = args->size };
	pst_stat_fill(pf->pool, args);
	if (pf->read_only)
		args->flags |= PENSTOCK_S_READ_ONLY;
	return 0;
}

static int call_chunks(void *ctx, void *arg)
{
	struct pst_pool_file *pf = ctx;

	return pst_chunks_list(pf->pool, arg);
}

static struct file *call_export(void *ctx, void *arg)
{
	struct pst_pool_file *pf = ctx;

	/* A device may always write: that cannot be given away for reading. */
	if (pf->read_only)
		return ERR_PTR(-EACCES);
	return pst_export_file(pf->pool, arg);
}

static int call_wait_idle(void *ctx, void *arg)
{
	struct pst_pool_file *pf = ctx;

	return pst_wait_idle(pf->pool, arg);
}

static const struct pst_call calls[] = {
	{
		.cmd = PENSTOCK_STAT,
		.size = sizeof(struct penstock_stat),
		.out = true,
		.run = call_stat,
	},
	{
		.cmd = PENSTOCK_CHUNKS,
		.size = sizeof(struct penstock_chunks),
		.out = true,
		.run = call_chunks,
	},
	{
		.cmd = PENSTOCK_EXPORT,
		.size = sizeof(struct penstock_export),
		.out = true,
		.fd_off = offsetof(struct penstock_export, fd),
		.open = call_export,
	},
	{
		.cmd = PENSTOCK_WAIT_IDLE,
		.size = sizeof(struct penstock_wait_idle),
		.out = true,
		.run = call_wait_idle,
	},
	{}
};

static long pool_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	return pst_call_run(calls, file->private_data, cmd, arg);
}

static int pool_mmap(struct file *file, struct vm_area_struct *vma)
{
	struct pst_pool_file *pf = file->private_data;

	return pst_pool_mmap(pf->pool, 0, pf->pool->bytes, vma);
}

static int pool_release(struct inode *inode, struct file *file)
{
	struct pst_pool_file *pf = file->private_data;

	if (pf->owner)
		pst_lease_release(pf->pool);
	pst_pool_put(pf->pool);
	kfree(pf);
	return 0;
}

static void pool_fdinfo(struct seq_file *m, struct file *file)
{
	struct pst_pool_file *pf = file->private_data;

	pst_fdinfo_show(m, pf->pool);
}

static const struct file_operations pool_fops = {
	.owner = THIS_MODULE,
	.release = pool_release,
	.mmap = pool_mmap,
	.unlocked_ioctl = pool_ioctl,
	.compat_ioctl = compat_ptr_ioctl,
	.show_fdinfo = pool_fdinfo,
	.llseek = noop_llseek,
};

/**
 * pst_pool_file_open() - a file for a pool
 * @pool: the pool; its reference goes to the file, also when this fails
 * @owner: whether the file has the lease; it goes to the file too
 * @read_only: whether the file is for reading
 *
 * Return: the file, to be installed or put; or ERR_PTR(-ENOMEM) and others.
 */
struct file *pst_pool_file_open(struct pst_pool *pool, bool owner,
				bool read_only)
{
	struct pst_pool_file *pf = kzalloc(sizeof(*pf), GFP_KERNEL_ACCOUNT);
	struct file *file = ERR_PTR(-ENOMEM);

	if (pf) {
		pf->pool = pool;
		pf->owner = owner;
		pf->read_only = read_only;
		file = anon_inode_getfile("[penstock]", &pool_fops, pf,
					  read_only ? O_RDONLY : O_RDWR);
	}
	if (IS_ERR(file)) {
		kfree(pf);
		if (owner)
			pst_lease_release(pool);
		pst_pool_put(pool);
	}
	return file;
}

/**
 * pst_pool_of_file() - the pool that a file of pst_pool_file_open() is of
 * @file: the file
 *
 * Return: the pool; its reference stays the file's.
 */
struct pst_pool *pst_pool_of_file(struct file *file)
{
	struct pst_pool_file *pf = file->private_data;

	return pf->pool;
}
