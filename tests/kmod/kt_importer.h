/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The calls of the test importer: a device that reads a dma-buf the way a
 * device would, by the bus addresses of its scatterlist.
 */
#ifndef KT_IMPORTER_H
#define KT_IMPORTER_H

#include <linux/ioctl.h>
#include <linux/types.h>

#define KT_IMPORTER_DEVICE "/dev/kt_importer"

#define KT_F_PCI  (1U << 0) /* the PCI test device, which an IOMMU is before */
#define KT_F_KEEP (1U << 1) /* stay mapped until KT_DROP */
#define KT_F_VMAP (1U << 2) /* sum by a kernel mapping instead */
#define KT_F_FILL (1U << 3) /* write instead: each byte becomes fill */

struct kt_import {
	__s32 fd;
	__u32 flags;
	__u32 max_seg_bytes; /* 0: as large as there are */
	__u32 mask_bits; /* 0: 64 */
	__u32 fill;
	__u32 nr_entries; /* out: of the scatterlist */
	__u32 nr_segments; /* out: after mapping */
	__u32 largest_bytes; /* out: largest segment */
	__u64 sum; /* out: of all bytes */
	__u64 bytes; /* out: sum of the segments' lengths */
};

#define KT_IMPORT _IOWR('K', 0, struct kt_import)
#define KT_DROP	  _IO('K', 1)

#endif /* KT_IMPORTER_H */
