// SPDX-License-Identifier: MIT
/*
 * dma-bufs: what processes and devices see, limits of devices, refusals.
 */
#include <drm.h>
#include <fcntl.h>
#include <linux/dma-buf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>
#include <xf86drm.h>

#include "kt.h"

/* Variants of the machine, from the command line of the kernel. */
static bool is_variant(const char *name)
{
	const char *variant = getenv("KT_VARIANT");

	return variant && !strcmp(variant, name);
}

static void needs_a_plain_bus(void)
{
	if (is_variant("swiotlb"))
		kt_skip("devices bounce in this variant");
}

/* A pool of drive data, or of a pattern where there is no drive. */
static int filled_pool(uint64_t bytes, char **at)
{
	int drive = kt_drive(KT_DRIVE);
	int pool = kt_pool(bytes);

	*at = kt_map(pool, 0, bytes);
	KT_EQUAL(pread(drive, *at, bytes, 0), bytes);
	close(drive);
	return pool;
}

static void a_process_sees_the_bytes(void)
{
	struct dma_buf_sync sync = { .flags = DMA_BUF_SYNC_RW |
					      DMA_BUF_SYNC_START };
	char *pool_at, *at;
	int pool = filled_pool(8 * KT_MIB, &pool_at);
	int dmabuf = kt_export(pool, KT_CHUNK + 4096, 3 * KT_MIB, 0);

	KT_CHECK(dmabuf >= 0);
	KT_EQUAL(lseek(dmabuf, 0, SEEK_END), 3 * KT_MIB);
	at = kt_map(dmabuf, 0, 3 * KT_MIB);
	KT_EQUAL(ioctl(dmabuf, DMA_BUF_IOCTL_SYNC, &sync), 0);
	KT_CHECK(kt_is_drive_data(at, KT_CHUNK + 4096, 3 * KT_MIB));
	at[4096] ^= 1;
	KT_EQUAL(at[4096], pool_at[KT_CHUNK + 8192]);
	KT_EQUAL(kt_stat(pool).syncs, 1);
	kt_unmap(at, 3 * KT_MIB);
	/* With an offset of its own. */
	at = kt_map(dmabuf, KT_MIB, KT_MIB);
	KT_CHECK(kt_is_drive_data(at, KT_CHUNK + 4096 + KT_MIB, KT_MIB));
	KT_CHECK(mmap(NULL, 2 * KT_MIB, PROT_READ, MAP_SHARED, dmabuf,
		      2 * KT_MIB) == MAP_FAILED);
}

static void a_read_only_export_stays_read_only(void)
{
	int pool = kt_pool(KT_CHUNK);
	int dmabuf = kt_export(pool, 0, KT_CHUNK, PENSTOCK_E_READ_ONLY);
	void *at;

	KT_CHECK(mmap(NULL, KT_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED,
		      dmabuf, 0) == MAP_FAILED &&
		 errno == EACCES);
	at = kt_map_read(dmabuf, 0, KT_CHUNK);
	KT_EQUAL(mprotect(at, KT_CHUNK, PROT_READ | PROT_WRITE), -1);
	KT_EQUAL(errno, EACCES);
}

static int open_render_node(const char *driver)
{
	int i;

	for (i = 0; i < 8; i++) {
		drmVersionPtr version;
		char path[32];
		bool found;
		int fd;

		snprintf(path, sizeof(path), "/dev/dri/card%d", i);
		fd = open(path, O_RDWR | O_CLOEXEC);
		if (fd < 0)
			continue;
		version = drmGetVersion(fd);
		found = version && !strcmp(version->name, driver);
		drmFreeVersion(version);
		if (found)
			return fd;
		close(fd);
	}
	return -1;
}

static void libdrm_imports_a_pool(void)
{
	uint32_t handle = 0, again = 0;
	struct drm_gem_close gem_close = {};
	char *pool_at, *at;
	int pool, dmabuf, drm, back;

	needs_a_plain_bus();
	drm = open_render_node("vgem");
	if (drm < 0)
		kt_skip("no vgem");
	pool = filled_pool(8 * KT_MIB, &pool_at);
	dmabuf = kt_export(pool, 0, 8 * KT_MIB, 0);
	KT_EQUAL(drmPrimeFDToHandle(drm, dmabuf, &handle), 0);
	KT_EQUAL(kt_stat(pool).mapped_attachments, 1);
	KT_EQUAL(kt_stat(pool).busy_chunks, 4);
	/* The handle goes out again as the same memory. */
	KT_EQUAL(drmPrimeHandleToFD(drm, handle, O_RDWR | O_CLOEXEC, &back), 0);
	at = kt_map_read(back, 0, 8 * KT_MIB);
	KT_CHECK(kt_is_drive_data(at, 0, 8 * KT_MIB));
	kt_unmap(at, 8 * KT_MIB);
	close(back);
	KT_EQUAL(drmPrimeFDToHandle(drm, dmabuf, &again), 0);
	KT_EQUAL(again, handle);
	/* The import alone keeps the memory. */
	kt_unmap(pool_at, 8 * KT_MIB);
	close(pool);
	close(dmabuf);
	KT_EQUAL(kt_info().used_bytes, 8 * KT_MIB);
	gem_close.handle = handle;
	KT_EQUAL(drmIoctl(drm, DRM_IOCTL_GEM_CLOSE, &gem_close), 0);
	close(drm);
}

/* Drivers that cannot import must be refused cleanly, whatever they say. */
static void virtio_gpu_is_tried(void)
{
	int pool = kt_pool(KT_CHUNK);
	int dmabuf = kt_export(pool, 0, KT_CHUNK, 0);
	int drm = open_render_node("virtio_gpu");
	uint32_t handle;
	int rc;

	if (drm < 0)
		kt_skip("no virtio-gpu");
	rc = drmPrimeFDToHandle(drm, dmabuf, &handle);
	kt_note("virtio-gpu says %d (%s)", rc, rc ? strerror(errno) : "ok");
	close(drm);
	KT_EQUAL(kt_stat(pool).attachments, 0);
}

static void import_and_compare(uint32_t flags)
{
	struct kt_import args = { .flags = flags };
	char *at;
	int pool = filled_pool(8 * KT_MIB, &at);
	int dmabuf = kt_export(pool, 4096, 6 * KT_MIB, 0);
	int importer = kt_importer();
	int rc = kt_import(importer, dmabuf, &args);

	if (rc == -ENODEV)
		kt_skip("no such device");
	KT_EQUAL(rc, 0);
	KT_EQUAL(args.bytes, 6 * KT_MIB);
	KT_EQUAL(args.sum, kt_byte_sum(at + 4096, 6 * KT_MIB));
	if (!(flags & KT_F_VMAP)) {
		KT_EQUAL(args.nr_entries, 4);
		kt_note("%u entries, %u segments after mapping, largest %u",
			args.nr_entries, args.nr_segments, args.largest_bytes);
	}
	args = (struct kt_import){ .flags = flags | KT_F_FILL, .fill = 0x3c };
	KT_EQUAL(kt_import(importer, dmabuf, &args), 0);
	KT_EQUAL(kt_byte_sum(at + 4096, 6 * KT_MIB), 0x3cULL * 6 * KT_MIB);
	KT_EQUAL(kt_stat(pool).attachments, 0);
	KT_EQUAL(kt_stat(pool).mapped_attachments, 0);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
}

static void a_device_reads_and_writes_the_bytes(void)
{
	needs_a_plain_bus();
	import_and_compare(0);
}

static void a_pci_device_reads_and_writes_the_bytes(void)
{
	needs_a_plain_bus();
	import_and_compare(KT_F_PCI);
}

static void the_kernel_maps_the_bytes(void)
{
	import_and_compare(KT_F_VMAP);
}

static void segments_keep_the_limits_of_a_device(void)
{
	static const uint32_t caps[] = { 4096,	   65536,   100000,
					 1u << 20, 3 << 20, UINT32_MAX };
	char *at;
	int pool, dmabuf, importer;
	size_t i;

	needs_a_plain_bus();
	pool = filled_pool(8 * KT_MIB, &at);
	dmabuf = kt_export(pool, 8192, 7 * KT_MIB, 0);
	importer = kt_importer();
	for (i = 0; i < sizeof(caps) / sizeof(*caps); i++) {
		struct kt_import args = { .max_seg_bytes = caps[i] };

		KT_EQUAL(kt_import(importer, dmabuf, &args), 0);
		KT_CHECK(args.largest_bytes <= caps[i]);
		KT_EQUAL(args.bytes, 7 * KT_MIB);
		KT_EQUAL(args.sum, kt_byte_sum(at + 8192, 7 * KT_MIB));
	}
	{
		struct kt_import args = { .max_seg_bytes = 2048 };

		KT_EQUAL(kt_import(importer, dmabuf, &args), -EOPNOTSUPP);
	}
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
}

static void a_device_that_would_bounce_is_refused(void)
{
	struct kt_import args = { .flags = KT_F_PCI };
	int pool = kt_pool(KT_CHUNK);
	int dmabuf = kt_export(pool, 0, KT_CHUNK, 0);
	int importer = kt_importer();
	int rc;

	args.mask_bits = 24;
	rc = kt_import(importer, dmabuf, &args);
	if (rc == -ENODEV)
		kt_note("no device with a mask of 24 bits");
	else
		KT_EQUAL(rc, -EOPNOTSUPP);
	if (!is_variant("swiotlb"))
		return;
	args = (struct kt_import){};
	KT_EQUAL(kt_import(importer, dmabuf, &args), -EOPNOTSUPP);
	args = (struct kt_import){ .flags = KT_F_PCI };
	KT_EQUAL(kt_import(importer, dmabuf, &args), -EOPNOTSUPP);
	KT_EQUAL(kt_stat(pool).attachments, 0);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
}

static void many_exports_of_one_pool_work(void)
{
	int pool = kt_pool(64 * KT_CHUNK);
	int fds[128];
	unsigned int i;

	for (i = 0; i < 128; i++) {
		fds[i] = kt_export(pool, i * KT_MIB, KT_MIB, 0);
		KT_CHECK(fds[i] >= 0);
	}
	KT_EQUAL(kt_stat(pool).exports, 128);
	for (i = 0; i < 128; i++)
		close(fds[i]);
	KT_EQUAL(kt_stat(pool).exports, 0);
}

const struct kt_test kt_export_tests[] = {
	{ "export: a process sees the bytes", a_process_sees_the_bytes },
	{ "export: a read-only export stays read-only",
	  a_read_only_export_stays_read_only },
	{ "export: libdrm imports a pool into vgem", libdrm_imports_a_pool },
	{ "export: virtio-gpu is tried", virtio_gpu_is_tried },
	{ "export: a device reads and writes the bytes",
	  a_device_reads_and_writes_the_bytes },
	{ "export: a PCI device reads and writes the bytes",
	  a_pci_device_reads_and_writes_the_bytes },
	{ "export: the kernel maps the bytes", the_kernel_maps_the_bytes },
	{ "export: segments keep the limits of a device",
	  segments_keep_the_limits_of_a_device },
	{ "export: a device that would bounce is refused",
	  a_device_that_would_bounce_is_refused },
	{ "export: many exports of one pool work",
	  many_exports_of_one_pool_work },
	{}
};
