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
#include <linux/uaccess.h>

#include "kmod.h"

static int call_stat(struct pst_pool_file *pf, void __user *user)
{
	struct penstock_stat args;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	if (args.flags)
		return -EINVAL;
	memset(&args, 0, sizeof(args));
	args.size = user_size;
	pst_stat_fill(pf->pool, &args);
	if (pf->read_only)
		args.flags |= PENSTOCK_S_READ_ONLY;
	return pst_args_put(user, &args, sizeof(args), user_size);
}

static int call_chunks(struct pst_pool_file *pf, void __user *user)
{
	struct penstock_chunks args;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	rc = pst_chunks_list(pf->pool, &args);
	if (rc)
		return rc;
	return pst_args_put(user, &args, sizeof(args), user_size);
}

static int call_export(struct pst_pool_file *pf, void __user *user)
{
	struct penstock_export args;
	struct file *file;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	/* A device may always write: that cannot be given away for reading. */
	if (pf->read_only)
		return -EACCES;
	args.fd = get_unused_fd_flags(O_CLOEXEC);
	if (args.fd < 0)
		return args.fd;
	file = pst_export_file(pf->pool, &args);
	if (IS_ERR(file)) {
		put_unused_fd(args.fd);
		return PTR_ERR(file);
	}
	rc = pst_args_put(user, &args, sizeof(args), user_size);
	if (rc) {
		put_unused_fd(args.fd);
		fput(file);
		return rc;
	}
	fd_install(args.fd, file);
	return 0;
}

static int call_wait_idle(struct pst_pool_file *pf, void __user *user)
{
	struct penstock_wait_idle args;
	u32 user_size;
	int rc;

	rc = pst_args_get(&args, sizeof(args), sizeof(args), user, &user_size);
	if (rc)
		return rc;
	rc = pst_wait_idle(pf->pool, &args);
	if (rc && rc != -ETIMEDOUT)
		return rc;
	return pst_args_put(user, &args, sizeof(args), user_size) ?: rc;
}

static long pool_ioctl(struct file *file, unsigned int cmd, unsigned long arg)
{
	struct pst_pool_file *pf = file->private_data;
	void __user *user = (void __user *)arg;

	switch (cmd) {
	case PENSTOCK_STAT:
		return call_stat(pf, user);
	case PENSTOCK_CHUNKS:
		return call_chunks(pf, user);
	case PENSTOCK_EXPORT:
		return call_export(pf, user);
	case PENSTOCK_WAIT_IDLE:
		return call_wait_idle(pf, user);
	default:
		return -ENOTTY;
	}
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
