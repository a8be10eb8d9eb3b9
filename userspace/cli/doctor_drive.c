// SPDX-License-Identifier: MIT
/*
 * The doctor's checks of reading: O_DIRECT on the file system of a path, the
 * drive below it, its queue, its link, and what iobench has found of it.  In a
 * folder they use a file of their own, which is gone before they return.
 */
#include <errno.h>
#include <glob.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include <penstock/profile.h>

#include "cli.h"
#include "doctor.h"
#include "io.h"
#include "state.h"
#include "topo.h"

#define READ_BYTES 65536

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
	struct pst_drive_info i;
	struct pst_drive d;
	char node[32] = "";

	if (pst_drive_of_path(path, &d)) {
		doctor_say(f, DOCTOR_WARN, "unknown");
		return;
	}
	if (d.numa_node >= 0)
		snprintf(node, sizeof(node), ", NUMA node %d", d.numa_node);
	pst_drive_info(d.name, &i);
	doctor_say(f, DOCTOR_OK, "%s on %s%s%s%s%s%s", d.fs_type,
		   d.name[0] ? d.name : "an unknown device",
		   i.model[0] ? " (" : "", i.model, i.model[0] ? ")" : "",
		   rotation(&d), node);
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

void doctor_link(const char *path, struct doctor_finding *f)
{
	struct pst_drive_info i;
	struct pst_drive d;

	if (pst_drive_of_path(path, &d) || !d.name[0]) {
		doctor_say(f, DOCTOR_OK, "no drive is known below the path");
		return;
	}
	pst_drive_info(d.name, &i);
	if (!i.link_speed[0] || !i.link_width[0]) {
		doctor_say(f, DOCTOR_OK,
			   "%s: no PCI link that the kernel "
			   "tells of",
			   d.name);
		return;
	}
	doctor_say(f, DOCTOR_OK, "%s: %s x%s", d.name, i.link_speed,
		   i.link_width);
	if ((!i.link_max_speed[0] || !strcmp(i.link_speed, i.link_max_speed)) &&
	    (!i.link_max_width[0] || !strcmp(i.link_width, i.link_max_width)))
		return;
	doctor_say(f, DOCTOR_WARN, "%s: %s x%s, the drive can do %s x%s",
		   d.name, i.link_speed, i.link_width, i.link_max_speed,
		   i.link_max_width);
	doctor_mend(f, "a slot with more lanes or a newer PCIe generation; "
		       "some links slow down when idle: look again under load");
}

/* Name, model and link of one drive, appended; false when it does not fit. */
static bool list_drive(const char *name, char *text, size_t size)
{
	size_t len = strlen(text);
	struct pst_drive_info i;
	int n;

	pst_drive_info(name, &i);
	n = snprintf(text + len, size - len, "%s%s (%s%s%s%s%s)",
		     len ? ", " : "", name,
		     i.model[0] ? i.model : "unknown model",
		     i.link_speed[0] ? ", " : "", i.link_speed,
		     i.link_speed[0] ? " x" : "", i.link_width);
	if (n > 0 && (size_t)n < size - len)
		return true;
	text[len] = 0;
	return false;
}

void doctor_drives(const char *path, struct doctor_finding *f)
{
	char text[sizeof(f->text) - 16] = "";
	glob_t g = { 0 };
	size_t listed = 0;

	if (!glob("/sys/block/nvme*n*", 0, NULL, &g))
		while (listed < g.gl_pathc &&
		       list_drive(strrchr(g.gl_pathv[listed], '/') + 1, text,
				  sizeof(text)))
			listed++;
	if (!listed)
		doctor_say(f, DOCTOR_OK, "no NVMe drive in this machine");
	else if (listed < g.gl_pathc)
		doctor_say(f, DOCTOR_OK, "%s, %zu more", text,
			   g.gl_pathc - listed);
	else
		doctor_say(f, DOCTOR_OK, "%s", text);
	globfree(&g);
}

/* What will be read at once: as the profile says, else the engine's default. */
static uint64_t read_length(const char *path)
{
	struct pst_drive_profile p;
	char dir[PST_STATE_DIR_MAX];

	if (cli_state_dir(dir) || pst_profile_find(dir, path, &p, NULL, NULL))
		return 1 * PST_MIB;
	return p.split_bytes;
}

void doctor_queue(const char *path, struct doctor_finding *f)
{
	char most[32], wanted[32];
	struct pst_drive_info i;
	struct pst_drive d;
	uint64_t want;

	if (pst_drive_of_path(path, &d) || !d.name[0]) {
		doctor_say(f, DOCTOR_OK, "no drive is known below the path");
		return;
	}
	pst_drive_info(d.name, &i);
	if (!i.read_max_bytes) {
		doctor_say(f, DOCTOR_OK, "%s: not told by the kernel", d.name);
		return;
	}
	want = read_length(path);
	cli_bytes_text(i.read_max_bytes, most, sizeof(most));
	cli_bytes_text(want, wanted, sizeof(wanted));
	doctor_say(f, DOCTOR_OK,
		   "%s: reads of up to %s reach the drive whole (ours: %s); "
		   "scheduler %s",
		   d.name, most, wanted,
		   i.scheduler[0] ? i.scheduler : "unknown");
	if (i.read_max_bytes < want && i.read_max_bytes < i.read_hw_bytes) {
		f->status = DOCTOR_WARN;
		doctor_mend(
			f,
			"the kernel splits our reads: echo %llu > "
			"/sys/block/%s/queue/max_sectors_kb",
			(unsigned long long)(PST_MIN(i.read_hw_bytes,
						     pst_align_up(want, 4096)) /
					     PST_KIB),
			d.name);
	} else if (!strcmp(i.scheduler, "bfq")) {
		f->status = DOCTOR_WARN;
		doctor_mend(f,
			    "this scheduler holds reads back: echo none > "
			    "/sys/block/%s/queue/scheduler",
			    d.name);
	}
}

static void say_profile(const struct pst_drive_profile *p,
			const struct pst_profile_origin *from,
			struct doctor_finding *f)
{
	char size[32], date[32] = "at an unknown time";
	time_t when = (time_t)p->when_s;
	struct tm tm;

	if (localtime_r(&when, &tm))
		strftime(date, sizeof(date), "on %Y-%m-%d", &tm);
	doctor_say(f, DOCTOR_OK,
		   "%.2f GB/s with %u reads of %s in flight, %.2f ms for one "
		   "alone; measured %s, Linux %s",
		   (double)p->bandwidth_bps * 1e-9, p->depth,
		   cli_bytes_text(p->split_bytes, size, sizeof(size)),
		   (double)p->latency_ns * 1e-6, date, from->kernel);
}

void doctor_profile(const char *path, struct doctor_finding *f)
{
	struct pst_profile_origin from;
	struct pst_drive_profile p;
	char dir[PST_STATE_DIR_MAX];
	struct pst_diag diag;
	struct utsname u;
	int rc = cli_state_dir(dir);

	pst_diag_init(&diag);
	if (!rc)
		rc = pst_profile_find(dir, path, &p, &from, &diag);
	if (rc) {
		doctor_say(f, DOCTOR_WARN, "%s",
			   rc == -ENOENT ? "this drive was not measured yet"
			   : diag.err	 ? diag.text
					 : strerror(-rc));
		doctor_mend(f, "run 'penstock iobench' with this path: 20 s, "
			       "and the planner knows the drive");
		return;
	}
	say_profile(&p, &from, f);
	if (uname(&u) || !strcmp(u.release, from.kernel))
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f, "this is another kernel: run 'penstock iobench' again");
}

/* "sqpoll 0.82 GB/s, 0.730 CPU s/GB", appended. */
static void append_look(const struct pst_drive_profile *p,
			enum pst_engine_io_mode m, char *text, size_t size)
{
	const struct pst_drive_mode_look *l = &p->looks[m];
	size_t len = strlen(text);

	if (l->bandwidth_bps)
		snprintf(text + len, size - len,
			 "%s%s %.2f GB/s, %.4f CPU "
			 "s/GB",
			 len ? "; " : "", pst_engine_mode_name(m),
			 (double)l->bandwidth_bps * 1e-9,
			 (double)l->cpu_ns_gb * 1e-9);
	else
		snprintf(text + len, size - len, "%s%s not to be had",
			 len ? "; " : "", pst_engine_mode_name(m));
}

void doctor_io_mode(const char *path, struct doctor_finding *f)
{
	char dir[PST_STATE_DIR_MAX], looks[192] = "";
	struct pst_drive_profile p;

	if (cli_state_dir(dir) || pst_profile_find(dir, path, &p, NULL, NULL) ||
	    p.io_mode == PST_ENGINE_MODE_AUTO) {
		doctor_say(f, DOCTOR_OK,
			   "irq: 'penstock iobench' has not compared it with "
			   "polling");
		return;
	}
	for (uint32_t m = PST_ENGINE_MODE_IRQ; m < PST_ENGINE_NR_MODES; m++)
		append_look(&p, (enum pst_engine_io_mode)m, looks,
			    sizeof(looks));
	doctor_say(f, DOCTOR_OK, "%s: iobench found %s",
		   pst_engine_mode_name(p.io_mode), looks);
}
