// SPDX-License-Identifier: MIT
/*
 * From a path to the drive below it, through sysfs.  Everything but the path
 * itself may be unknown: containers and network file systems have no drive.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <unistd.h>

#include "topo_priv.h"

#define FS_TYPE_BYTES 24
/* dm on md on dm is deep; sysfs has no loops, but a fake one may. */
#define STACK_MAX 8

/* Append to a path; false when it does not fit. */
static bool join(char *out, const char *dir, const char *name)
{
	int n = snprintf(out, PATH_MAX, "%s/%s", dir, name);

	return n >= 0 && n < PATH_MAX;
}

static bool read_int(const char *dir, const char *name, int *out)
{
	char path[PATH_MAX];
	bool ok;
	FILE *f;
	int v;

	if (!join(path, dir, name))
		return false;
	f = fopen(path, "re");
	if (!f)
		return false;
	ok = fscanf(f, "%d", &v) == 1;
	fclose(f);
	if (ok)
		*out = v;
	return ok;
}

/* Cut the last component off. */
static bool go_up(char *dir)
{
	char *slash = strrchr(dir, '/');

	if (!slash || slash == dir)
		return false;
	*slash = 0;
	return true;
}

static void to_whole_disk(char *dir)
{
	char path[PATH_MAX];

	if (join(path, dir, "partition") && !access(path, F_OK))
		go_up(dir);
}

/*
 * A mapped device (LVM, encryption) over exactly one other is that other one
 * for our purposes; over several there is no single drive.
 */
static bool to_only_slave(char *dir)
{
	char slaves[PATH_MAX], link[PATH_MAX], name[NAME_MAX + 1];
	uint32_t nr = 0;
	struct dirent *e;
	DIR *d;

	if (!join(slaves, dir, "slaves"))
		return false;
	d = opendir(slaves);
	if (!d)
		return false;
	while ((e = readdir(d))) {
		if (e->d_name[0] == '.')
			continue;
		snprintf(name, sizeof(name), "%s", e->d_name);
		nr++;
	}
	closedir(d);
	return nr == 1 && join(link, slaves, name) && realpath(link, dir);
}

/* NVMe tells its node at the controller, others at the bus device above. */
static int find_node(const char *disk_dir)
{
	char dir[PATH_MAX], device[PATH_MAX];
	int node;

	if (!join(device, disk_dir, "device") || !realpath(device, dir))
		return -1;
	do {
		if (read_int(dir, "numa_node", &node))
			return node;
	} while (go_up(dir));
	return -1;
}

bool pst_drive_of_device(const char *root, unsigned int major,
			 unsigned int minor, struct pst_drive *out)
{
	char link[PATH_MAX], dir[PATH_MAX];
	const char *name;
	int n;

	n = snprintf(link, sizeof(link), "%s/sys/dev/block/%u:%u", root, major,
		     minor);
	if (n < 0 || (size_t)n >= sizeof(link) || !realpath(link, dir))
		return false;
	to_whole_disk(dir);
	for (int i = 0; i < STACK_MAX && to_only_slave(dir); i++)
		to_whole_disk(dir);
	name = strrchr(dir, '/');
	snprintf(out->name, sizeof(out->name), "%.63s", name ? name + 1 : dir);
	out->numa_node = find_node(dir);
	if (!read_int(dir, "queue/rotational", &out->rotational))
		out->rotational = -1;
	return true;
}

/* "36 35 98:0 /root /mount options [tags] - type source superoptions" */
bool pst_drive_find_mount(const char *mountinfo, uint64_t id, char *fs_type,
			  char *source)
{
	while (mountinfo && *mountinfo) {
		const char *end = strchrnul(mountinfo, '\n');
		const char *dash;
		char type[FS_TYPE_BYTES], src[PATH_MAX];

		if (strtoull(mountinfo, NULL, 10) == id) {
			dash = strstr(mountinfo, " - ");
			if (!dash || dash > end ||
			    sscanf(dash, " - %23s %4095s", type, src) != 2)
				return false;
			strcpy(fs_type, type);
			strcpy(source, src);
			return true;
		}
		mountinfo = *end ? end + 1 : NULL;
	}
	return false;
}

static char *read_mountinfo(void)
{
	char *text = NULL;
	size_t cap = 0;
	FILE *f = fopen("/proc/self/mountinfo", "re");

	if (!f)
		return NULL;
	/* No text of the kernel holds a NUL byte: this reads all of it. */
	if (getdelim(&text, &cap, 0, f) < 0) {
		free(text);
		text = NULL;
	}
	fclose(f);
	return text;
}

/* By mount id: st_dev of btrfs and overlayfs names no mount. */
static bool find_mount_of(const char *path, char *fs_type, char *source)
{
	char *mountinfo;
	struct statx sx;
	bool found;

	if (statx(AT_FDCWD, path, 0, STATX_MNT_ID, &sx) ||
	    !(sx.stx_mask & STATX_MNT_ID))
		return false;
	mountinfo = read_mountinfo();
	found = mountinfo &&
		pst_drive_find_mount(mountinfo, sx.stx_mnt_id, fs_type, source);
	free(mountinfo);
	return found;
}

int pst_drive_of_path(const char *path, struct pst_drive *out)
{
	struct pst_drive d = { .numa_node = -1, .rotational = -1 };
	char source[PATH_MAX] = "";
	struct stat st, src;
	struct statfs sf;
	dev_t dev;

	if (stat(path, &st))
		return -errno;
	dev = S_ISBLK(st.st_mode) ? st.st_rdev : st.st_dev;
	if (!find_mount_of(path, d.fs_type, source) && !statfs(path, &sf))
		snprintf(d.fs_type, sizeof(d.fs_type), "0x%x",
			 (unsigned int)sf.f_type);
	if (!pst_drive_of_device("", major(dev), minor(dev), &d) &&
	    source[0] == '/' && !stat(source, &src) && S_ISBLK(src.st_mode))
		pst_drive_of_device("", major(src.st_rdev), minor(src.st_rdev),
				    &d);
	*out = d;
	return 0;
}
