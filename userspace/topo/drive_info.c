// SPDX-License-Identifier: MIT
/*
 * What the kernel tells of one whole block device: which piece of hardware it
 * is, how its queue is set up, and the PCI link that it hangs on.  Every part
 * may be unknown.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "topo_priv.h"

/* First line of dir/name without blanks around it; empty when there is none. */
static void read_text(const char *dir, const char *name, char *out, int size)
{
	char path[PATH_MAX], line[256];
	size_t from, to;
	FILE *f;
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	out[0] = 0;
	if (n < 0 || n >= PATH_MAX)
		return;
	f = fopen(path, "re");
	if (!f)
		return;
	if (!fgets(line, sizeof(line), f))
		line[0] = 0;
	fclose(f);
	from = strspn(line, " \t\n");
	for (to = strlen(line); to > from && strchr(" \t\n", line[to - 1]);)
		to--;
	snprintf(out, (size_t)size, "%.*s", (int)(to - from), line + from);
}

static uint64_t read_kib(const char *dir, const char *name)
{
	char text[32];

	read_text(dir, name, text, sizeof(text));
	return strtoull(text, NULL, 10) * PST_KIB;
}

/* "none [mq-deadline] kyber": the one in brackets. */
static void keep_bracketed(char *text)
{
	char *open = strchr(text, '['), *close = strchr(text, ']');

	if (!open || !close || close < open)
		return;
	*close = 0;
	memmove(text, open + 1, strlen(open + 1) + 1);
}

/* The first device above that has a PCI link. */
static void read_link(const char *disk, struct pst_drive_info *out)
{
	char dir[PATH_MAX], device[PATH_MAX], *slash;
	int n = snprintf(device, sizeof(device), "%s/device", disk);

	if (n < 0 || n >= PATH_MAX || !realpath(device, dir))
		return;
	do {
		read_text(dir, "current_link_speed", out->link_speed,
			  sizeof(out->link_speed));
		slash = strrchr(dir, '/');
		if (out->link_speed[0])
			break;
		if (slash)
			*slash = 0;
	} while (slash && slash != dir);
	if (!out->link_speed[0])
		return;
	read_text(dir, "current_link_width", out->link_width,
		  sizeof(out->link_width));
	read_text(dir, "max_link_speed", out->link_max_speed,
		  sizeof(out->link_max_speed));
	read_text(dir, "max_link_width", out->link_max_width,
		  sizeof(out->link_max_width));
}

void pst_drive_info_at(const char *root, const char *name,
		       struct pst_drive_info *out)
{
	struct pst_drive_info d = { 0 };
	char dir[PATH_MAX];
	int n = snprintf(dir, sizeof(dir), "%s/sys/class/block/%s", root, name);

	if (!*name || strchr(name, '/') || n < 0 || n >= PATH_MAX) {
		*out = d;
		return;
	}
	read_text(dir, "device/model", d.model, sizeof(d.model));
	read_text(dir, "device/serial", d.serial, sizeof(d.serial));
	/* virtio tells it at the disk; SCSI has a world-wide name instead. */
	if (!d.serial[0])
		read_text(dir, "serial", d.serial, sizeof(d.serial));
	if (!d.serial[0])
		read_text(dir, "wwid", d.serial, sizeof(d.serial));
	if (!d.serial[0])
		read_text(dir, "device/wwid", d.serial, sizeof(d.serial));
	if (!d.serial[0])
		read_text(dir, "dm/uuid", d.serial, sizeof(d.serial));
	if (!d.serial[0])
		read_text(dir, "md/uuid", d.serial, sizeof(d.serial));
	read_text(dir, "queue/scheduler", d.scheduler, sizeof(d.scheduler));
	keep_bracketed(d.scheduler);
	d.read_max_bytes = read_kib(dir, "queue/max_sectors_kb");
	d.read_hw_bytes = read_kib(dir, "queue/max_hw_sectors_kb");
	read_link(dir, &d);
	*out = d;
}

void pst_drive_info(const char *name, struct pst_drive_info *out)
{
	pst_drive_info_at("", name, out);
}
