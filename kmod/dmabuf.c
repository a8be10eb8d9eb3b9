// SPDX-License-Identifier: GPL-2.0
/*
 * Ranges of a pool as dma-bufs.  Every device that maps one gets a scatterlist
 * of its own, made for its limits.  Memory never moves and the exporter does
 * no work on it, so there is nothing to pin and there are no fences of ours.
 *
 * A device that would go through bounce pages is refused: it would see old
 * bytes for as long as it keeps the buffer mapped.
 */
#include <linux/device.h>
#include <linux/dma-buf.h>
#include <linux/dma-mapping.h>
#include <linux/err.h>
#include <linux/iosys-map.h>
#include <linux/log2.h>
#include <linux/module.h>
#include <linux/moduleparam.h>
#include <linux/scatterlist.h>
#include <linux/slab.h>
#include <linux/vmalloc.h>

#include "compat.h"
#include "kmod.h"
#include "penstock_trace.h"

/* MODULE_IMPORT_NS() takes a word in some kernels and a string in others. */
MODULE_INFO(import_ns, "DMA_BUF");

static bool allow_bounce;
module_param(allow_bounce, bool, 0644);
MODULE_PARM_DESC(allow_bounce,
		 "let devices import that may see stale bytes (N)");

struct pst_export {
	struct pst_pool *pool;
	u64 off_bytes;
	u64 bytes;
	u64 generation; /* of the owner that made it */
	bool read_only; /* for processes */
	struct mutex lock; /* mappings */
	struct list_head mappings;
};

/* One mapping by a device. */
struct pst_mapping {
	struct sg_table sgt;
	struct list_head entry; /* in pst_export.mappings */
	struct device *dev;
	enum dma_data_direction dir;
};

/* Makes the range busy, unless the pool has got another owner since. */
static int hold_range(struct pst_export *export)
{
	struct pst_pool *pool = export->pool;
	int rc = 0;

	mutex_lock(&pool->lock);
	if (export->generation == pool->generation)
		pst_chunks_get(pool, export->off_bytes, export->bytes);
	else
		rc = -ESTALE;
	mutex_unlock(&pool->lock);
	return rc;
}

static void release_range(struct pst_export *export)
{
	pst_chunks_put(export->pool, export->off_bytes, export->bytes);
}

static bool is_stale(struct pst_export *export)
{
	struct pst_pool *pool = export->pool;
	bool stale;

	mutex_lock(&pool->lock);
	stale = export->generation != pool->generation;
	mutex_unlock(&pool->lock);
	return stale;
}

/*
 * Pages may lie anywhere, so a device with a short mask cannot have them: with
 * bounce pages it would see old bytes, without it would see none.
 */
static bool may_bounce(struct device *dev)
{
	return dma_max_mapping_size(dev) != SIZE_MAX ||
	       dma_addressing_limited(dev);
}

static int export_attach(struct dma_buf *dmabuf,
			 struct dma_buf_attachment *attachment)
{
	struct pst_export *export = dmabuf->priv;

	if (is_stale(export))
		return -ESTALE;
	if (may_bounce(attachment->dev) && !READ_ONCE(allow_bounce)) {
		dev_warn_ratelimited(attachment->dev, "%s (mask %#llx)\n",
				     "penstock: import refused, DMA may bounce",
				     dma_get_mask(attachment->dev));
		return -EOPNOTSUPP;
	}
	atomic_inc(&export->pool->attachments);
	return 0;
}

static void export_detach(struct dma_buf *dmabuf,
			  struct dma_buf_attachment *attachment)
{
	struct pst_export *export = dmabuf->priv;

	atomic_dec(&export->pool->attachments);
}

/* The largest segment a device takes, a power of two; 0: less than a page. */
static u64 segment_cap(struct device *dev)
{
	u64 cap = min_t(u64, dma_get_max_seg_size(dev), SZ_1G);
	u64 boundary_mask = dma_get_seg_boundary(dev);

	/* The mask of a device without boundaries has no next power of two. */
	if (boundary_mask < cap)
		cap = boundary_mask + 1;
	return cap < PAGE_SIZE ? 0 : rounddown_pow_of_two(cap);
}

/*
 * Bytes from an offset that one segment can take.  Chunks are aligned to their
 * size in memory, so a segment that does not cross a multiple of the cap inside
 * its chunk crosses no boundary of the device.
 */
static u64 segment_bytes(const struct pst_export *export, u64 off_bytes,
			 u64 cap)
{
	u64 end = export->off_bytes + export->bytes;
	u64 begin, inside;
	struct folio *folio;

	folio = pst_chunk_at(export->pool, off_bytes, &begin);
	inside = off_bytes - begin;
	end = min_t(u64, end, begin + folio_size(folio));
	return min_t(u64, end - off_bytes, cap - (inside & (cap - 1)));
}

static int fill_table(const struct pst_export *export, u64 cap,
		      struct sg_table *sgt)
{
	u64 end = export->off_bytes + export->bytes;
	u64 off, bytes, nr = 0;
	struct scatterlist *sg;
	int rc;

	for (off = export->off_bytes; off < end; nr++)
		off += segment_bytes(export, off, cap);
	if (nr > INT_MAX)
		return -E2BIG;
	rc = sg_alloc_table(sgt, nr, GFP_KERNEL);
	if (rc)
		return rc;
	sg = sgt->sgl;
	for (off = export->off_bytes; off < end; off += bytes) {
		bytes = segment_bytes(export, off, cap);
		sg_set_page(sg, pst_page_at(export->pool, off), bytes, 0);
		sg = sg_next(sg);
	}
	return 0;
}

static struct pst_mapping *map_for(struct pst_export *export,
				   struct device *dev,
				   enum dma_data_direction dir)
{
	struct pst_mapping *mapping;
	u64 cap = segment_cap(dev);
	int rc;

	if (!cap)
		return ERR_PTR(-EOPNOTSUPP);
	mapping = kzalloc(sizeof(*mapping), GFP_KERNEL);
	if (!mapping)
		return ERR_PTR(-ENOMEM);
	mapping->dev = dev;
	mapping->dir = dir;
	rc = fill_table(export, cap, &mapping->sgt);
	if (rc)
		goto free_mapping;
	rc = dma_map_sgtable(dev, &mapping->sgt, dir, 0);
	if (rc)
		goto free_table;
	return mapping;

free_table:
	sg_free_table(&mapping->sgt);
free_mapping:
	kfree(mapping);
	return ERR_PTR(rc);
}

static struct sg_table *export_map(struct dma_buf_attachment *attachment,
				   enum dma_data_direction dir)
{
	struct pst_export *export = attachment->dmabuf->priv;
	struct pst_mapping *mapping;
	int rc;

	rc = hold_range(export);
	if (rc)
		return ERR_PTR(rc);
	mapping = map_for(export, attachment->dev, dir);
	if (IS_ERR(mapping)) {
		trace_penstock_map(export->pool, export->off_bytes,
				   export->bytes, PTR_ERR(mapping));
		release_range(export);
		return ERR_CAST(mapping);
	}
	trace_penstock_map(export->pool, export->off_bytes, export->bytes,
			   mapping->sgt.nents);
	atomic_inc(&export->pool->mapped_attachments);
	mutex_lock(&export->lock);
	list_add(&mapping->entry, &export->mappings);
	mutex_unlock(&export->lock);
	return &mapping->sgt;
}

static void export_unmap(struct dma_buf_attachment *attachment,
			 struct sg_table *sgt, enum dma_data_direction dir)
{
	struct pst_mapping *mapping =
		container_of(sgt, struct pst_mapping, sgt);
	struct pst_export *export = attachment->dmabuf->priv;

	mutex_lock(&export->lock);
	list_del(&mapping->entry);
	mutex_unlock(&export->lock);
	dma_unmap_sgtable(mapping->dev, sgt, dir, 0);
	sg_free_table(sgt);
	kfree(mapping);
	atomic_dec(&export->pool->mapped_attachments);
	release_range(export);
}

/*
 * In the direction of the mapping: it includes what the caller asks for, and
 * the DMA API wants the two to match.
 */
static void sync_all(struct pst_export *export, bool for_cpu)
{
	struct pst_mapping *mapping;

	mutex_lock(&export->lock);
	list_for_each_entry(mapping, &export->mappings, entry) {
		if (for_cpu)
			dma_sync_sgtable_for_cpu(mapping->dev, &mapping->sgt,
						 mapping->dir);
		else
			dma_sync_sgtable_for_device(mapping->dev, &mapping->sgt,
						    mapping->dir);
	}
	mutex_unlock(&export->lock);
	atomic64_inc(&export->pool->syncs);
}

static int export_begin_cpu(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	sync_all(dmabuf->priv, true);
	return 0;
}

static int export_end_cpu(struct dma_buf *dmabuf, enum dma_data_direction dir)
{
	sync_all(dmabuf->priv, false);
	return 0;
}

static int export_mmap(struct dma_buf *dmabuf, struct vm_area_struct *vma)
{
	struct pst_export *export = dmabuf->priv;
	int rc;

	/* A driver that maps it for a process has not asked the file. */
	if (export->read_only) {
		if (vma->vm_flags & VM_WRITE)
			return -EACCES;
		pst_vma_flags_mod(vma, 0, VM_MAYWRITE);
	}
	rc = hold_range(export);
	/* Held until the mapping is counted, so that no owner comes between. */
	if (rc)
		return rc;
	rc = pst_pool_mmap(export->pool, export->off_bytes, export->bytes, vma);
	release_range(export);
	return rc;
}

static int export_vmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	struct pst_export *export = dmabuf->priv;
	unsigned long nr = export->bytes >> PAGE_SHIFT;
	struct page **pages;
	unsigned long i;
	void *address;
	int rc;

	rc = hold_range(export);
	if (rc)
		return rc;
	pages = kvmalloc_array(nr, sizeof(*pages), GFP_KERNEL);
	if (!pages) {
		release_range(export);
		return -ENOMEM;
	}
	for (i = 0; i < nr; i++)
		pages[i] =
			pst_page_at(export->pool,
				    export->off_bytes + ((u64)i << PAGE_SHIFT));
	address = vmap(pages, nr, VM_MAP, PAGE_KERNEL);
	kvfree(pages);
	if (!address) {
		release_range(export);
		return -ENOMEM;
	}
	iosys_map_set_vaddr(map, address);
	return 0;
}

static void export_vunmap(struct dma_buf *dmabuf, struct iosys_map *map)
{
	vunmap(map->vaddr);
	release_range(dmabuf->priv);
}

static void export_release(struct dma_buf *dmabuf)
{
	struct pst_export *export = dmabuf->priv;

	atomic_dec(&export->pool->exports);
	pst_pool_put(export->pool);
	mutex_destroy(&export->lock);
	kfree(export);
}

static const struct dma_buf_ops export_ops = {
	.attach = export_attach,
	.detach = export_detach,
	.map_dma_buf = export_map,
	.unmap_dma_buf = export_unmap,
	.begin_cpu_access = export_begin_cpu,
	.end_cpu_access = export_end_cpu,
	.mmap = export_mmap,
	.vmap = export_vmap,
	.vunmap = export_vunmap,
	.release = export_release,
};

static struct pst_export *new_export(struct pst_pool *pool, u64 off_bytes,
				     u64 bytes)
{
	struct pst_export *export =
		kzalloc(sizeof(*export), GFP_KERNEL_ACCOUNT);

	if (!export)
		return NULL;
	export->pool = pool;
	export->off_bytes = off_bytes;
	export->bytes = bytes;
	mutex_init(&export->lock);
	INIT_LIST_HEAD(&export->mappings);
	mutex_lock(&pool->lock);
	export->generation = pool->generation;
	mutex_unlock(&pool->lock);
	return export;
}

/**
 * pst_export_file() - a range as dma-buf
 * @pool: the pool
 * @args: from user space, unchecked
 *
 * Return: the file, to be installed or put; or ERR_PTR: -EINVAL, -ENOMEM.
 */
struct file *pst_export_file(struct pst_pool *pool,
			     const struct penstock_export *args)
{
	DEFINE_DMA_BUF_EXPORT_INFO(info);
	struct pst_export *export;
	struct dma_buf *dmabuf;
	int rc;

	if (args->flags & ~PENSTOCK_E_READ_ONLY || args->reserved)
		return ERR_PTR(-EINVAL);
	rc = pst_range_check(pool, args->offset, args->bytes);
	if (rc)
		return ERR_PTR(rc);
	export = new_export(pool, args->offset, args->bytes);
	if (!export)
		return ERR_PTR(-ENOMEM);
	export->read_only = args->flags & PENSTOCK_E_READ_ONLY;
	info.ops = &export_ops;
	info.size = args->bytes;
	info.flags = export->read_only ? O_RDONLY : O_RDWR;
	info.priv = export;
	dmabuf = dma_buf_export(&info);
	if (IS_ERR(dmabuf)) {
		mutex_destroy(&export->lock);
		kfree(export);
		return ERR_CAST(dmabuf);
	}
	pst_pool_get(pool);
	atomic_inc(&pool->exports);
	trace_penstock_export(pool, args->offset, args->bytes, 0);
	return dmabuf->file;
}
