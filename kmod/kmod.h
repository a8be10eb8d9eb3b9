/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the files of the module share: the objects, their locks, and one
 * section of prototypes per file.
 *
 * A pool is an array of chunks: compound pages, so that the reference count of
 * each chunk says exactly whether anybody but its page tables refers to it.
 * A pool lives as long as it has a holder: a file, a dma-buf, a mapping, a
 * name.  Then its chunks are freed one by one, as they become idle.
 *
 * Locks, outermost first: mmap_lock, a dma-buf's reservation, then ours, none
 * of which is held while another is taken: pst_core.lock, pst_pool.lock,
 * pst_export.lock.  User memory is never touched under them.
 */
#ifndef PST_KMOD_H
#define PST_KMOD_H

#include <linux/atomic.h>
#include <linux/kref.h>
#include <linux/llist.h>
#include <linux/miscdevice.h>
#include <linux/mm.h>
#include <linux/mutex.h>
#include <linux/types.h>
#include <linux/uidgid.h>
#include <linux/workqueue.h>

#include <linux/penstock.h>

struct dentry;
struct file;
struct pid;
struct seq_file;
struct user_namespace;
struct vm_area_struct;

/* What one user has; lives while a pool of the user does. */
struct pst_user {
	struct list_head entry; /* in pst_core.users */
	kuid_t uid;
	u64 used_bytes;
	u64 named_bytes;
	unsigned int nr_pools;
};

/* The module. */
struct pst_core {
	struct mutex lock; /* users, pools, bytes, names */
	struct list_head users;
	struct list_head pools; /* all that are not yet freed */
	u64 used_bytes;
	u64 last_id;
	atomic64_t *node_bytes; /* [nr_node_ids] */
	/* Pools without a holder: new ones, then those with busy chunks. */
	struct llist_head orphans;
	struct list_head draining; /* of the worker alone */
	struct workqueue_struct *wq;
	struct delayed_work drain;
	/* Until the worker looks again; its own. */
	unsigned long drain_jiffies;
	struct miscdevice misc;
	struct dentry *debugfs;
};

struct pst_pool {
	struct kref ref;
	u64 id;
	u64 bytes;
	u32 order;
	u32 min_order;
	bool strict_nodes;
	u64 nodes;
	/* The page at each multiple of the smallest order; [nr_units] */
	struct page **units;
	unsigned long nr_units;
	unsigned long nr_chunks;

	/* Accounting; constant once the pool is ready. */
	struct pst_user *user;
	struct user_namespace *user_ns;
	struct mm_struct *mm; /* charged to RLIMIT_MEMLOCK, or NULL */
	u64 left_bytes; /* pst_core.lock: still charged */
	u64 bytes_on_node[PENSTOCK_MAX_NODES];
	u64 alloc_ns;

	struct list_head entry; /* in pst_core.pools */
	struct llist_node orphan;
	struct list_head drain_entry;

	/* pst_core.lock */
	bool named; /* the name table holds a reference */
	bool ready;
	bool orphaned;
	bool charged_named;
	char name[PENSTOCK_NAME_LEN];

	struct mutex lock; /* leased, generation, owner, writers */
	bool leased; /* has an owner, or somebody waits to be */
	u64 generation;
	struct pid *owner;
	unsigned int writers; /* mappings that may write */

	atomic_t maps;
	atomic_t exports;
	atomic_t attachments;
	atomic_t mapped_attachments;
	atomic64_t faults;
	atomic64_t syncs;
};

/* An open pool. */
struct pst_pool_file {
	struct pst_pool *pool;
	bool owner; /* ends the lease when closed */
	bool read_only;
};

/* The arguments of any call. */
union pst_args {
	struct penstock_info info;
	struct penstock_create create;
	struct penstock_open open;
	struct penstock_unlink unlink;
	struct penstock_stat stat;
	struct penstock_chunks chunks;
	struct penstock_export export;
	struct penstock_wait_idle wait_idle;
};

/*
 * A call: either @run, or @open, which returns the file that the caller gets a
 * descriptor of, in the field at @fd_off; @undo, if any, comes before the end
 * of such a file that the caller could not be told of.
 */
struct pst_call {
	unsigned int cmd;
	u16 size;
	u16 fd_off;
	bool out; /* the arguments are copied back, on failure too */
	int (*run)(void *ctx, void *args);
	struct file *(*open)(void *ctx, void *args);
	void (*undo)(struct file *file);
};

extern struct pst_core pst_core;

/* kpool.c */
struct pst_pool *pst_pool_create(const struct penstock_create *args,
				 u64 *got_bytes_by_order);
void pst_pool_get(struct pst_pool *pool);
void pst_pool_put(struct pst_pool *pool);
void pst_pool_free(struct pst_pool *pool);

/* names.c */
bool pst_name_valid(const char *name);
bool pst_name_is_taken(const struct pst_pool *pool);
struct pst_pool *pst_name_find(const char *name, const u32 *uid);
int pst_name_unlink(const char *name, const u32 *uid);
void pst_name_drop(struct pst_pool *pool);

/* chunk.c */
int pst_chunks_alloc(struct pst_pool *pool, u64 *got_bytes_by_order);
u64 pst_chunks_free_idle(struct pst_pool *pool);
struct folio *pst_chunk_at(const struct pst_pool *pool, u64 off_bytes,
			   u64 *begin_bytes);
struct page *pst_page_at(const struct pst_pool *pool, u64 off_bytes);
unsigned int pst_chunk_extra_refs(struct folio *folio, unsigned int *maps);
u64 pst_chunks_busy(const struct pst_pool *pool, u64 off_bytes, u64 bytes);
void pst_chunks_get(const struct pst_pool *pool, u64 off_bytes, u64 bytes);
void pst_chunks_put(const struct pst_pool *pool, u64 off_bytes, u64 bytes);

/* quota.c */
int pst_quota_charge(struct pst_pool *pool, bool named);
void pst_quota_uncharge(struct pst_pool *pool, u64 bytes);
int pst_quota_charge_node(int node, u64 bytes);
void pst_quota_uncharge_node(int node, u64 bytes);
void pst_quota_leave(struct pst_pool *pool);
int pst_quota_init(void);
void pst_quota_fini(void);
void pst_quota_report(struct penstock_info *info);
int pst_memlock_charge(struct pst_pool *pool);

/* drain.c */
int pst_drain_init(void);
void pst_drain_fini(void);
void pst_drain_add(struct pst_pool *pool);
void pst_drain_flush(void);

/* lease.c */
int pst_lease_acquire(struct pst_pool *pool, bool wait, u64 timeout_ns,
		      u64 *busy_chunks);
void pst_lease_release(struct pst_pool *pool);
int pst_wait_idle(struct pst_pool *pool, struct penstock_wait_idle *args);

/* fault.c */
int pst_pool_mmap(struct pst_pool *pool, u64 off_bytes, u64 bytes,
		  struct vm_area_struct *vma);

/* dmabuf.c */
struct file *pst_export_file(struct pst_pool *pool,
			     const struct penstock_export *args);

/* pool_file.c */
struct file *pst_pool_file_open(struct pst_pool *pool, bool owner,
				bool read_only);
struct pst_pool *pst_pool_of_file(struct file *file);

/* pool_report.c */
void pst_stat_fill(struct pst_pool *pool, struct penstock_stat *stat);
int pst_chunks_list(struct pst_pool *pool, struct penstock_chunks *args);
void pst_fdinfo_show(struct seq_file *m, struct pst_pool *pool);
void pst_debugfs_init(void);
void pst_debugfs_fini(void);

/* device.c */
int pst_device_init(void);
void pst_device_fini(void);

/* uabi.c */
long pst_call_run(const struct pst_call *calls, void *ctx, unsigned int cmd,
		  unsigned long arg);
int pst_range_check(const struct pst_pool *pool, u64 off_bytes, u64 bytes);

#endif /* PST_KMOD_H */
