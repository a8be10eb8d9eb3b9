// SPDX-License-Identifier: GPL-2.0
/*
 * A device for tests: attaches to a dma-buf, maps it and reads or writes it by
 * the bus addresses that it was given, translated as the bus would.  Knows
 * nothing of who has exported the buffer.
 */
#include <linux/dma-buf.h>
#include <linux/dma-direct.h>
#include <linux/dma-mapping.h>
#include <linux/dma-resv.h>
#include <linux/fs.h>
#include <linux/iommu.h>
#include <linux/iosys-map.h>
#include <linux/miscdevice.h>
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/platform_device.h>
#include <linux/slab.h>
#include <linux/uaccess.h>

#include "kt_importer.h"

/* MODULE_IMPORT_NS() takes a word in some kernels and a string in others. */
MODULE_INFO(import_ns, "DMA_BUF");

/* QEMU's pci-testdev: nobody's driver, but a requester like any other. */
#define KT_PCI_VENDOR 0x1b36
#define KT_PCI_DEVICE 0x0005

/* What an open file keeps mapped. */
struct kt_kept {
	struct dma_buf *dmabuf;
	struct dma_buf_attachment *attachment;
	struct sg_table *sgt;
	struct pci_dev *pci;
};

static struct platform_device *platform;
static struct device_dma_parameters dma_parms;

static void drop(struct kt_kept *kept)
{
	if (kept->sgt) {
		dma_resv_lock(kept->dmabuf->resv, NULL);
		dma_buf_unmap_attachment(kept->attachment, kept->sgt,
					 DMA_BIDIRECTIONAL);
		dma_resv_unlock(kept->dmabuf->resv);
	}
	if (kept->attachment)
		dma_buf_detach(kept->dmabuf, kept->attachment);
	if (kept->dmabuf)
		dma_buf_put(kept->dmabuf);
	pci_dev_put(kept->pci);
	memset(kept, 0, sizeof(*kept));
}

static void touch(u8 *at, size_t bytes, struct kt_import *args)
{
	size_t i;

	if (args->flags & KT_F_FILL)
		memset(at, args->fill, bytes);
	for (i = 0; i < bytes; i++)
		args->sum += at[i];
	args->bytes += bytes;
}

static int touch_segments(struct device *dev, struct sg_table *sgt,
			  struct kt_import *args)
{
	struct iommu_domain *domain = iommu_get_domain_for_dev(dev);
	struct scatterlist *sg;
	unsigned int i;

	for_each_sgtable_dma_sg(sgt, sg, i) {
		dma_addr_t bus = sg_dma_address(sg);
		unsigned int left = sg_dma_len(sg);

		args->largest_bytes = max(args->largest_bytes, left);
		while (left) {
			unsigned int now = min_t(unsigned int, left, PAGE_SIZE);
			phys_addr_t phys =
				domain ? iommu_iova_to_phys(domain, bus) :
					 dma_to_phys(dev, bus);

			if (!pfn_valid(PHYS_PFN(phys)))
				return -EFAULT;
			touch(phys_to_virt(phys), now, args);
			bus += now;
			left -= now;
			cond_resched();
		}
	}
	args->nr_entries = sgt->orig_nents;
	args->nr_segments = sgt->nents;
	return 0;
}

static int touch_vmap(struct dma_buf *dmabuf, struct kt_import *args)
{
	struct iosys_map map;
	int rc;

	dma_resv_lock(dmabuf->resv, NULL);
	rc = dma_buf_vmap(dmabuf, &map);
	if (!rc) {
		touch(map.vaddr, dmabuf->size, args);
		dma_buf_vunmap(dmabuf, &map);
	}
	dma_resv_unlock(dmabuf->resv);
	return rc;
}

static struct device *device_for(struct kt_kept *kept, u32 flags)
{
	if (!(flags & KT_F_PCI))
		return &platform->dev;
	kept->pci = pci_get_device(KT_PCI_VENDOR, KT_PCI_DEVICE, NULL);
	return kept->pci ? &kept->pci->dev : NULL;
}

static int map_and_touch(struct kt_kept *kept, struct device *dev,
			 struct kt_import *args)
{
	int rc;

	kept->attachment = dma_buf_attach(kept->dmabuf, dev);
	if (IS_ERR(kept->attachment)) {
		rc = PTR_ERR(kept->attachment);
		kept->attachment = NULL;
		return rc;
	}
	dma_resv_lock(kept->dmabuf->resv, NULL);
	kept->sgt = dma_buf_map_attachment(kept->attachment, DMA_BIDIRECTIONAL);
	dma_resv_unlock(kept->dmabuf->resv);
	if (IS_ERR(kept->sgt)) {
		rc = PTR_ERR(kept->sgt);
		kept->sgt = NULL;
		return rc;
	}
	return touch_segments(dev, kept->sgt, args);
}

static int import(struct kt_kept *kept, struct kt_import *args)
{
	struct device *dev;
	int rc;

	if (kept->dmabuf)
		return -EBUSY;
	dev = device_for(kept, args->flags);
	if (!dev)
		return -ENODEV;
	dev->dma_parms = &dma_parms;
	dma_set_max_seg_size(dev, args->max_seg_bytes);
	rc = dma_set_mask_and_coherent(dev, DMA_BIT_MASK(args->mask_bits));
	if (rc) {
		/* Not to be taken for an answer of the exporter. */
		rc = -ENODEV;
		goto out;
	}
	kept->dmabuf = dma_buf_get(args->fd);
	if (IS_ERR(kept->dmabuf)) {
		rc = PTR_ERR(kept->dmabuf);
		kept->dmabuf = NULL;
		goto out;
	}
	if (args->flags & KT_F_VMAP)
		rc = touch_vmap(kept->dmabuf, args);
	else
		rc = map_and_touch(kept, dev, args);
out:
	if (rc || !(args->flags & KT_F_KEEP))
		drop(kept);
	return rc;
}

static long importer_ioctl(struct file *file, unsigned int cmd,
			   unsigned long arg)
{
	struct kt_kept *kept = file->private_data;
	struct kt_import args;
	int rc;

	if (cmd == KT_DROP) {
		drop(kept);
		return 0;
	}
	if (cmd != KT_IMPORT)
		return -ENOTTY;
	if (copy_from_user(&args, (void __user *)arg, sizeof(args)))
		return -EFAULT;
	if (!args.max_seg_bytes)
		args.max_seg_bytes = UINT_MAX;
	if (!args.mask_bits)
		args.mask_bits = 64;
	args.sum = 0;
	args.bytes = 0;
	args.largest_bytes = 0;
	rc = import(kept, &args);
	if (rc)
		return rc;
	return copy_to_user((void __user *)arg, &args, sizeof(args)) ? -EFAULT :
								       0;
}

static int importer_open(struct inode *inode, struct file *file)
{
	struct kt_kept *kept = kzalloc(sizeof(*kept), GFP_KERNEL);

	file->private_data = kept;
	return kept ? 0 : -ENOMEM;
}

static int importer_release(struct inode *inode, struct file *file)
{
	drop(file->private_data);
	kfree(file->private_data);
	return 0;
}

static const struct file_operations importer_fops = {
	.owner = THIS_MODULE,
	.open = importer_open,
	.release = importer_release,
	.unlocked_ioctl = importer_ioctl,
};

static struct miscdevice misc = {
	.minor = MISC_DYNAMIC_MINOR,
	.name = "kt_importer",
	.fops = &importer_fops,
	.mode = 0600,
};

static int __init importer_init(void)
{
	int rc;

	platform = platform_device_register_simple("kt_importer", -1, NULL, 0);
	if (IS_ERR(platform))
		return PTR_ERR(platform);
	rc = dma_coerce_mask_and_coherent(&platform->dev, DMA_BIT_MASK(64));
	if (!rc)
		rc = misc_register(&misc);
	if (rc)
		platform_device_unregister(platform);
	return rc;
}

static void __exit importer_exit(void)
{
	misc_deregister(&misc);
	platform_device_unregister(platform);
}

module_init(importer_init);
module_exit(importer_exit);

MODULE_DESCRIPTION("A device that imports dma-bufs, for tests");
MODULE_AUTHOR("the penstock authors");
MODULE_LICENSE("GPL");
