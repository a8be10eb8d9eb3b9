// SPDX-License-Identifier: MIT
/*
 * The doctor's checks of reading: io_uring, O_DIRECT on the file system of a
 * path, the drive below it and its link.  In a folder they use a file of their
 * own, which is gone before they return.
 */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "io.h"
#include "topo.h"

#define REGION_BYTES (1 * PST_MIB)
#define READ_BYTES   65536

void doctor_uring(const char *path, struct doctor_finding *f)
{
	struct pst_io_args args = { .kind = PST_IO_URING };
	void *region = aligned_alloc(4096, REGION_BYTES);
	struct pst_diag diag;
	struct pst_io *io;

	pst_diag_init(&diag);
	if (pst_io_create(&args, &io, &diag)) {
		doctor_say(f, DOCTOR_WARN, "%s; threads with pread are used",
			   diag.text);
		doctor_mend(f, "sysctl kernel.io_uring_disabled=0, or a "
			       "container profile that allows io_uring_setup");
		free(region);
		return;
	}
	if (region)
		pst_io_add_region(io, region, REGION_BYTES);
	doctor_say(f, DOCTOR_OK, "works: %s", pst_io_name(io));
	if (!strstr(pst_io_name(io), "registered buffers")) {
		f->status = DOCTOR_WARN;
		doctor_mend(f, "see memlock: buffers cannot be registered");
	}
	pst_io_destroy(io);
	free(region);
}

/* Read the start of a file as experts are read. */
static int read_block(struct pst_io *io, const char *path,
		      struct pst_diag *diag)
{
	struct pst_io_read r = { .len_bytes = READ_BYTES, .region = -1 };
	struct stat st;
	int rc;

	if (stat(path, &st))
		return -errno;
	r.need_bytes =
		(uint32_t)PST_MIN((uint64_t)st.st_size, (uint64_t)READ_BYTES);
	r.buf = aligned_alloc(READ_BYTES, READ_BYTES);
	if (!r.buf)
		return -ENOMEM;
	pst_io_submit(io, &r);
	while (pst_io_outstanding(io))
		pst_io_reap(io, true);
	rc = r.result;
	free(r.buf);
	return rc ? pst_diag_set(diag, rc, "a read failed: %s", strerror(-rc))
		  : 0;
}

static int try_read(const char *path, enum pst_io_direct direct, char *name,
		    size_t size, struct pst_diag *diag)
{
	struct pst_io_args args = { .kind = PST_IO_AUTO, .direct = direct };
	struct pst_io *io;
	int rc = pst_io_create(&args, &io, diag);

	if (rc)
		return rc;
	rc = pst_io_add_file(io, path, diag);
	if (rc >= 0)
		rc = read_block(io, path, diag);
	if (!rc)
		snprintf(name, size, "%s, alignment %u B", pst_io_name(io),
			 pst_io_align(io));
	pst_io_destroy(io);
	return rc;
}

static void check_file(const char *path, struct doctor_finding *f)
{
	char name[128];
	struct pst_diag why, diag;

	pst_diag_init(&why);
	pst_diag_init(&diag);
	if (!try_read(path, PST_IO_DIRECT_ON, name, sizeof(name), &why)) {
		doctor_say(f, DOCTOR_OK, "works: %s", name);
	} else if (!try_read(path, PST_IO_DIRECT_OFF, name, sizeof(name),
			     &diag)) {
		doctor_say(f, DOCTOR_WARN,
			   "%s; reads go through the page cache (%s)", why.text,
			   name);
		doctor_mend(f, "keep models on ext4, xfs or btrfs on a local "
			       "drive");
	} else {
		doctor_say(f, DOCTOR_FAIL, "cannot be read: %s", diag.text);
		doctor_mend(f, "check the file's permissions and the drive "
			       "(dmesg, smartctl)");
	}
}

static int write_block(int fd)
{
	static const char zeros[READ_BYTES];

	if (write(fd, zeros, sizeof(zeros)) != (ssize_t)sizeof(zeros))
		return -EIO;
	return fsync(fd) ? -errno : 0;
}

void doctor_direct(const char *path, struct doctor_finding *f)
{
	char temp[PATH_MAX];
	struct stat st;
	int fd, n;

	if (!stat(path, &st) && !S_ISDIR(st.st_mode)) {
		check_file(path, f);
		return;
	}
	n = snprintf(temp, sizeof(temp), "%s/.penstock-doctor-XXXXXX", path);
	fd = n > 0 && (size_t)n < sizeof(temp) ? mkstemp(temp) : -1;
	if (fd < 0) {
		doctor_say(f, DOCTOR_WARN,
			   "not tested: no file can be made in the folder");
		doctor_mend(f, "'penstock doctor MODEL' reads the model "
			       "itself");
		return;
	}
	if (write_block(fd)) {
		doctor_say(f, DOCTOR_WARN,
			   "not tested: the folder cannot be written");
		doctor_mend(f, "'penstock doctor MODEL' reads the model "
			       "itself");
	} else {
		check_file(temp, f);
	}
	close(fd);
	unlink(temp);
}

static bool is_one_of(const char *s, const char *const *list)
{
	for (; *list; list++)
		if (!strcmp(s, *list))
			return true;
	return false;
}

/* A hypervisor's drives are called rotating whatever they are. */
static const char *rotation(const struct pst_drive *d)
{
	if (!strncmp(d->name, "vd", 2) || !strncmp(d->name, "xvd", 3))
		return ", virtual";
	return d->rotational == 1 ? ", rotating" : "";
}

void doctor_drive(const char *path, struct doctor_finding *f)
{
	static const char *const remote[] = { "nfs",  "nfs4", "cifs",
					      "smb3", "9p",   "fuse.sshfs",
					      NULL };
	static const char *const memory[] = { "tmpfs", "ramfs", NULL };
	struct pst_drive d;
	char node[32] = "";

	if (pst_drive_of_path(path, &d)) {
		doctor_say(f, DOCTOR_WARN, "unknown");
		return;
	}
	if (d.numa_node >= 0)
		snprintf(node, sizeof(node), ", NUMA node %d", d.numa_node);
	doctor_say(f, DOCTOR_OK, "%s on %s%s%s", d.fs_type,
		   d.name[0] ? d.name : "an unknown device", rotation(&d),
		   node);
	if (is_one_of(d.fs_type, memory)) {
		f->status = DOCTOR_WARN;
		doctor_mend(f, "a model here fills the memory that the expert "
			       "cache needs: keep it on a drive");
	} else if (is_one_of(d.fs_type, remote)) {
		f->status = DOCTOR_WARN;
		doctor_mend(f, "every expert crosses the network: keep the "
			       "model on a local NVMe drive");
	} else if (!strcmp(rotation(&d), ", rotating")) {
		f->status = DOCTOR_WARN;
		doctor_mend(f, "experts are read at random places: keep the "
			       "model on an NVMe drive");
	}
}

/* A PCI attribute of an NVMe drive's controller, empty when unknown. */
static void link_attr(const char *drive, const char *attr, char *out, int size)
{
	char path[PATH_MAX];

	snprintf(path, sizeof(path), "/sys/class/block/%s/device/device/%s",
		 drive, attr);
	if (!doctor_read_line(path, out, size))
		out[0] = 0;
}

void doctor_link(const char *path, struct doctor_finding *f)
{
	char speed[64], width[64], max_speed[64], max_width[64];
	struct pst_drive d;

	if (pst_drive_of_path(path, &d) || strncmp(d.name, "nvme", 4)) {
		doctor_say(f, DOCTOR_OK, "no NVMe drive below the path");
		return;
	}
	link_attr(d.name, "current_link_speed", speed, sizeof(speed));
	link_attr(d.name, "current_link_width", width, sizeof(width));
	link_attr(d.name, "max_link_speed", max_speed, sizeof(max_speed));
	link_attr(d.name, "max_link_width", max_width, sizeof(max_width));
	if (!speed[0] || !width[0]) {
		doctor_say(f, DOCTOR_OK, "not told by the kernel");
		return;
	}
	doctor_say(f, DOCTOR_OK, "%s: %s x%s", d.name, speed, width);
	if ((!max_speed[0] || !strcmp(speed, max_speed)) &&
	    (!max_width[0] || !strcmp(width, max_width)))
		return;
	doctor_say(f, DOCTOR_WARN, "%s: %s x%s, the drive can do %s x%s",
		   d.name, speed, width, max_speed, max_width);
	doctor_mend(f, "a slot with more lanes or a newer PCIe generation; "
		       "some links slow down when idle: look again under load");
}
