// SPDX-License-Identifier: MIT
/*
 * Opening a weight file: whether O_DIRECT works on it is found by a transfer,
 * because file systems accept the flag and then refuse the read.  Knows
 * nothing of rings and threads.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "io_priv.h"

/* Drives and file systems ask for 512 to 4096; some network ones for more. */
#define ALIGN_MAX 65536

struct fs_name {
	uint32_t magic;
	const char *name;
};

static const struct fs_name fs_names[] = {
	{ 0xef53, "ext4" },	     { 0x58465342, "xfs" },
	{ 0x9123683e, "btrfs" },     { 0xf2f52010, "f2fs" },
	{ 0x2fc12fc1, "zfs" },	     { 0x01021994, "tmpfs" },
	{ 0x794c7630, "overlayfs" }, { 0x6969, "nfs" },
	{ 0xff534d42, "cifs" },	     { 0xfe534d42, "smb2" },
	{ 0x65735546, "fuse" },	     { 0x01021997, "9p" },
	{ 0x9fa0, "proc" },	     { 0x62656572, "sysfs" },
};

static void fs_describe(int fd, char *out, size_t out_bytes)
{
	struct statfs sf;

	if (fstatfs(fd, &sf)) {
		snprintf(out, out_bytes, "an unknown file system");
		return;
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(fs_names); i++) {
		if (fs_names[i].magic == (uint32_t)sf.f_type) {
			snprintf(out, out_bytes, "%s", fs_names[i].name);
			return;
		}
	}
	snprintf(out, out_bytes, "file system 0x%x", (uint32_t)sf.f_type);
}

/* What the kernel says (6.1 and later, not on every file system), or 0. */
static uint32_t align_announced(int fd)
{
	struct statx sx;

	if (statx(fd, "", AT_EMPTY_PATH, STATX_DIOALIGN, &sx) ||
	    !(sx.stx_mask & STATX_DIOALIGN))
		return 0;
	return PST_MAX(sx.stx_dio_offset_align, sx.stx_dio_mem_align);
}

/* Read the first block as every later read will be made. */
static int try_transfer(int fd, uint32_t align, uint64_t size_bytes)
{
	uint64_t want = PST_MIN(align, size_bytes);
	ssize_t n;
	void *buf;
	int ret = 0;

	if (posix_memalign(&buf, align, align))
		return -ENOMEM;
	do {
		n = pread(fd, buf, align, 0);
	} while (n < 0 && errno == EINTR);
	if (n < 0)
		ret = -errno;
	else if ((uint64_t)n < want)
		ret = -EIO;
	free(buf);
	return ret;
}

/* Return: the alignment that works, or -errno. */
static int probe_direct(int fd, uint64_t size_bytes)
{
	uint32_t align = PST_MAX(align_announced(fd), PST_IO_ALIGN_MIN);
	int ret = -EINVAL;

	if (!pst_is_pow2(align))
		return -EINVAL;
	for (; align <= ALIGN_MAX && ret == -EINVAL; align *= 2) {
		ret = try_transfer(fd, align, size_bytes);
		if (!ret)
			return (int)align;
	}
	return ret;
}

/*
 * O_NONBLOCK keeps a FIFO from hanging the open.  It must not stay: io_uring
 * would then fail reads with EAGAIN instead of waiting for the drive.
 */
static int open_plain(const char *path, struct stat *st, struct pst_diag *diag)
{
	int fd, ret;

	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0) {
		ret = -errno;
		return pst_diag_set_at(diag, ret, path, UINT64_MAX,
				       "cannot open: %s", strerror(-ret));
	}
	if (fstat(fd, st)) {
		ret = pst_diag_set_at(diag, -errno, path, UINT64_MAX,
				      "cannot stat: %s", strerror(errno));
		goto close_fd;
	}
	if (!S_ISREG(st->st_mode) && !S_ISBLK(st->st_mode)) {
		ret = pst_diag_set_at(diag, -EINVAL, path, UINT64_MAX,
				      "neither a file nor a block device");
		goto close_fd;
	}
	if (fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) & ~O_NONBLOCK)) {
		ret = pst_diag_set_at(diag, -errno, path, UINT64_MAX,
				      "cannot set up: %s", strerror(errno));
		goto close_fd;
	}
	return fd;

close_fd:
	close(fd);
	return ret;
}

/* Turn O_DIRECT on.  Return: the alignment, or -errno with the flag off. */
static int make_direct(int fd, const struct stat *st)
{
	int flags = fcntl(fd, F_GETFL);
	int ret;

	if (flags < 0 || fcntl(fd, F_SETFL, flags | O_DIRECT))
		return -errno;
	ret = probe_direct(fd,
			   S_ISREG(st->st_mode) ? (uint64_t)st->st_size : 0);
	if (ret < 0 && fcntl(fd, F_SETFL, flags))
		return -errno;
	return ret;
}

static void describe(int fd, const struct stat *st, struct pst_io_file *out)
{
	bool is_drive = S_ISBLK(st->st_mode);
	off_t end = is_drive ? lseek(fd, 0, SEEK_END) : st->st_size;

	out->size_bytes = end > 0 ? (uint64_t)end : 0;
	out->dev = is_drive ? st->st_rdev : st->st_dev;
}

static void make_buffered(int fd, struct pst_io_file *out)
{
	/* Experts are read at random: readahead would fetch their neighbours */
	posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);
	out->align = 1;
	out->direct = false;
}

int pst_io_file_open(const struct pst_io_setup *setup, const char *path,
		     struct pst_io_file *out, struct pst_diag *diag)
{
	char fs[48];
	struct stat st;
	int fd, ret;

	fd = open_plain(path, &st, diag);
	if (fd < 0)
		return fd;
	describe(fd, &st, out);
	if (setup->direct == PST_IO_DIRECT_OFF) {
		make_buffered(fd, out);
		out->fd = fd;
		return 0;
	}
	ret = make_direct(fd, &st);
	if (ret > 0) {
		out->align = (uint32_t)ret;
		out->direct = true;
		out->fd = fd;
		return 0;
	}
	fs_describe(fd, fs, sizeof(fs));
	if (setup->direct == PST_IO_DIRECT_ON) {
		close(fd);
		return pst_diag_set_at(diag, ret, path, UINT64_MAX,
				       "O_DIRECT does not work on %s: %s", fs,
				       strerror(-ret));
	}
	pst_log(setup->log, PST_LOG_WARN,
		"%s: O_DIRECT does not work on %s (%s); reads go through the "
		"page cache",
		path, fs, strerror(-ret));
	make_buffered(fd, out);
	out->fd = fd;
	return 0;
}
