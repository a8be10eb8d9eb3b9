// SPDX-License-Identifier: MIT
/*
 * Regions of memfds: huge pages where somebody reserved some, else shared
 * memory.  The CPU has them as it has anonymous memory, and /dev/udmabuf makes
 * dma-bufs of them.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/udmabuf.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_priv.h"

#define DEVICE	   "/dev/udmabuf"
#define SIZE_LIMIT "/sys/module/udmabuf/parameters/size_limit_mb"
#define SHMEM_THP  "/sys/kernel/mm/transparent_hugepage/shmem_enabled"
/* memfd_create() takes the page size where mmap() does. */
#define HUGE_SIZE(page_bytes) \
	((unsigned int)__builtin_ctzll(page_bytes) << MAP_HUGE_SHIFT)

static void udmabuf_unmap(struct pst_mem *m)
{
	munmap(m->addr, m->size_bytes);
	close(m->fd);
}

static int open_memfd(struct pst_mem *m, unsigned int flags,
		      struct pst_diag *diag)
{
	m->fd = memfd_create("penstock",
			     MFD_CLOEXEC | MFD_ALLOW_SEALING | flags);
	if (m->fd < 0)
		return pst_diag_set(diag, -ENOMEM, "cannot make a memfd: %s",
				    strerror(errno));
	/* udmabuf wants to know that the file cannot shrink below it. */
	if (ftruncate(m->fd, (off_t)m->size_bytes) ||
	    fcntl(m->fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW)) {
		close(m->fd);
		return pst_mem_say_no_mapping(m->size_bytes, "a memfd", diag);
	}
	return 0;
}

static int map_memfd(struct pst_mem *m, unsigned int flags,
		     struct pst_diag *diag)
{
	uint64_t align = PST_MAX(m->page_bytes, PST_MEM_HUGE_2M_BYTES);
	int ret;

	m->size_bytes = pst_align_up(m->size_bytes, m->page_bytes);
	ret = open_memfd(m, flags, diag);
	if (ret)
		return ret;
	m->addr = pst_mem_place(m->size_bytes, align);
	if (!m->addr) {
		ret = pst_mem_say_no_mapping(m->size_bytes, "a memfd", diag);
		close(m->fd);
		return ret;
	}
	if (mmap(m->addr, m->size_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, m->fd, 0) == MAP_FAILED)
		ret = pst_mem_say_no_mapping(m->size_bytes, "a memfd", diag);
	/* Without it: small pages, which the caller will see. */
	if (!ret && m->kind == PST_MEM_KIND_THP)
		madvise(m->addr, m->size_bytes, MADV_HUGEPAGE);
	if (!ret)
		ret = pst_mem_settle(m, diag);
	if (ret)
		udmabuf_unmap(m);
	return ret;
}

static int map_hugetlb(struct pst_mem *m, uint64_t page_bytes,
		       struct pst_diag *diag)
{
	int ret = pst_mem_hugetlb_check(m, page_bytes, diag);

	if (ret)
		return ret;
	m->kind = PST_MEM_KIND_HUGETLB;
	m->page_bytes = page_bytes;
	return map_memfd(m, MFD_HUGETLB | HUGE_SIZE(page_bytes), diag);
}

static int map_thp(struct pst_mem *m, struct pst_diag *diag)
{
	int ret;

	m->kind = PST_MEM_KIND_THP;
	m->page_bytes = PST_MEM_HUGE_2M_BYTES;
	ret = map_memfd(m, 0, diag);
	if (!ret)
		m->thp_bytes = pst_mem_thp_bytes_of(m);
	return ret;
}

static int map_small(struct pst_mem *m, struct pst_diag *diag)
{
	m->kind = PST_MEM_KIND_SMALL;
	m->page_bytes = PST_MEM_SMALL_BYTES;
	return map_memfd(m, 0, diag);
}

static int udmabuf_map(struct pst_mem *m, enum pst_mem_want want,
		       struct pst_diag *diag)
{
	const struct pst_mem wanted = *m;
	int ret;

	switch (want) {
	case PST_MEM_HUGE_1G:
		return map_hugetlb(m, PST_MEM_HUGE_1G_BYTES, diag);
	case PST_MEM_HUGE_2M:
		return map_hugetlb(m, PST_MEM_HUGE_2M_BYTES, diag);
	case PST_MEM_THP:
		return map_thp(m, diag);
	case PST_MEM_SMALL:
		return map_small(m, diag);
	case PST_MEM_AUTO:
		break;
	}
	if (!map_hugetlb(m, PST_MEM_HUGE_2M_BYTES, NULL))
		return 0;
	*m = wanted;
	ret = map_thp(m, diag);
	/* Said as what it is: transparent pages of shared memory are rare. */
	if (!ret && !m->thp_bytes) {
		m->kind = PST_MEM_KIND_SMALL;
		m->page_bytes = PST_MEM_SMALL_BYTES;
	}
	return ret;
}

/* Shared memory is not given back by forgetting the mapping's pages. */
static int udmabuf_discard(struct pst_mem *m)
{
	if (fallocate(m->fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0,
		      (off_t)m->size_bytes))
		return -errno;
	return 0;
}

static int udmabuf_refill(struct pst_mem *m, struct pst_diag *diag)
{
	int ret = pst_mem_touch(m, diag);

	if (ret)
		udmabuf_discard(m);
	return ret;
}

static int say_no_export(int err, uint64_t size_bytes, struct pst_diag *diag)
{
	uint64_t limit_mib = 0;

	pst_mem_number(&limit_mib, "%s", SIZE_LIMIT);
	if (err == EINVAL && limit_mib && size_bytes > limit_mib * PST_MIB)
		return pst_diag_set(
			diag, -EINVAL,
			"udmabuf exports %llu MiB at most, %llu are wanted: "
			"write a larger number to " SIZE_LIMIT,
			(unsigned long long)limit_mib,
			(unsigned long long)(size_bytes / PST_MIB));
	return pst_diag_set(diag, -err, "udmabuf cannot export %llu KiB: %s",
			    (unsigned long long)(size_bytes / PST_KIB),
			    strerror(err));
}

static int udmabuf_export(const struct pst_mem *m, uint64_t off_bytes,
			  uint64_t size_bytes, struct pst_diag *diag)
{
	struct udmabuf_create create = { .memfd = (__u32)m->fd,
					 .flags = UDMABUF_FLAGS_CLOEXEC,
					 .offset = off_bytes,
					 .size = size_bytes };
	int device = open(DEVICE, O_RDWR | O_CLOEXEC), ret, err;

	if (device < 0)
		return pst_diag_set(diag, -errno,
				    DEVICE ": %s: modprobe udmabuf, and may "
					   "this user open it?",
				    strerror(errno));
	ret = ioctl(device, UDMABUF_CREATE, &create);
	err = errno;
	close(device);
	return ret < 0 ? say_no_export(err, size_bytes, diag) : ret;
}

static const char *udmabuf_kind_name(const struct pst_mem *m)
{
	switch (m->kind) {
	case PST_MEM_KIND_HUGETLB:
		return m->page_bytes == PST_MEM_HUGE_1G_BYTES
			       ? "memfd, hugetlb 1 GiB"
			       : "memfd, hugetlb 2 MiB";
	case PST_MEM_KIND_THP:
		return "memfd, transparent huge pages";
	case PST_MEM_KIND_CHUNKS:
	case PST_MEM_KIND_SMALL:
		break;
	}
	return "memfd, 4 KiB pages";
}

static void udmabuf_offer(struct pst_mem_offer *out)
{
	uint64_t free_bytes =
		pst_mem_hugetlb_free("", PST_MEM_HUGE_2M_BYTES, -1);
	char *shmem = NULL;
	bool thp = !pst_mem_slurp(&shmem, "%s", SHMEM_THP) &&
		   (strstr(shmem, "[always]") || strstr(shmem, "[advise]") ||
		    strstr(shmem, "[within_size]"));

	free(shmem);
	out->there = true;
	out->exports = !access(DEVICE, R_OK | W_OK);
	snprintf(out->text, sizeof(out->text), "memfds of %s; %s",
		 free_bytes ? "reserved 2 MiB pages"
		 : thp	    ? "transparent huge pages"
			    : "4 KiB pages",
		 out->exports ? "devices can import them"
		 : access(DEVICE, F_OK)
			 ? "no device can import them: no " DEVICE
			 : "no device can import them: " DEVICE
			   " is not for this user");
	if (!out->exports)
		snprintf(out->mend, sizeof(out->mend),
			 access(DEVICE, F_OK)
				 ? "modprobe udmabuf (CONFIG_UDMABUF, which "
				   "Debian's 6.1 lacks)"
				 : "a udev rule gives " DEVICE " to a group");
	else if (!free_bytes && !thp)
		snprintf(out->mend, sizeof(out->mend),
			 "vm.nr_hugepages reserves 2 MiB pages");
}

const struct pst_mem_ops pst_mem_udmabuf_ops = {
	.offer = udmabuf_offer,
	.map = udmabuf_map,
	.unmap = udmabuf_unmap,
	.discard = udmabuf_discard,
	.refill = udmabuf_refill,
	.export = udmabuf_export,
	.kind_name = udmabuf_kind_name,
};
