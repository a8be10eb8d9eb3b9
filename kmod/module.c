// SPDX-License-Identifier: GPL-2.0
/*
 * penstock.ko: begin and end.  It cannot be unloaded while a pool is there or
 * memory of one is still referenced: every pool holds the module.
 */
#include <linux/module.h>

#include "kmod.h"

#define CREATE_TRACE_POINTS
#include "penstock_trace.h"

struct pst_core pst_core;

static int __init penstock_init(void)
{
	int rc;

	mutex_init(&pst_core.lock);
	INIT_LIST_HEAD(&pst_core.users);
	INIT_LIST_HEAD(&pst_core.pools);
	rc = pst_quota_init();
	if (rc)
		return rc;
	rc = pst_drain_init();
	if (rc)
		goto fini_quota;
	pst_debugfs_init();
	rc = pst_device_init();
	if (rc)
		goto fini_drain;
	return 0;

fini_drain:
	pst_debugfs_fini();
	pst_drain_fini();
fini_quota:
	pst_quota_fini();
	return rc;
}

static void __exit penstock_exit(void)
{
	pst_device_fini();
	pst_debugfs_fini();
	pst_drain_fini();
	pst_quota_fini();
}

module_init(penstock_init);
module_exit(penstock_exit);

MODULE_DESCRIPTION("Pools of pinned memory for drives, devices and successors");
MODULE_AUTHOR("the penstock authors");
MODULE_LICENSE("GPL");
