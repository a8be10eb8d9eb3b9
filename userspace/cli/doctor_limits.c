// SPDX-License-Identifier: MIT
/*
 * The doctor's checks of what the kernel takes away: quotas of the cgroups
 * above this process, versions 1 and 2, and pressure on memory and drives.
 */
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "doctor.h"

/* A quota or bound may stand in any group from ours up to the root. */
#define DEPTH_MAX 32
/* Stalled shares of the last 10 s from which on a run would notice. */
#define PRESSURE_PCT 10.0

/**
 * struct group - a directory of the cgroup file system
 * @dir: as mounted; empty when the controller has none
 * @root_len: length of the mount point in @dir
 */
struct group {
	char dir[PATH_MAX];
	size_t root_len;
};

static void set_group(struct group *g, const char *mount, const char *path)
{
	int n;

	/* "/../x": above the root of our name space, not to be seen. */
	if (g->dir[0] || strstr(path, ".."))
		return;
	n = snprintf(g->dir, sizeof(g->dir), "%s%s", mount,
		     strcmp(path, "/") ? path : "");
	g->root_len = strlen(mount);
	if (n < 0 || (size_t)n >= sizeof(g->dir))
		g->dir[0] = 0;
}

static bool has_word(const char *list, const char *word)
{
	size_t len = strlen(word);

	for (const char *p = list; (p = strstr(p, word)); p += len)
		if ((p == list || p[-1] == ',') && (!p[len] || p[len] == ','))
			return true;
	return false;
}

/* "4:memory:/a/b" of version 1, "0::/a/b" of version 2. */
static void find_groups(struct group *v2, struct group *cpu, struct group *io)
{
	FILE *f = fopen("/proc/self/cgroup", "re");
	char line[PATH_MAX + 64], mount[300];

	while (f && fgets(line, sizeof(line), f)) {
		char *list = strchr(line, ':');
		char *path = list ? strchr(list + 1, ':') : NULL;

		if (!path)
			continue;
		*path++ = 0;
		list++;
		path[strcspn(path, "\n")] = 0;
		snprintf(mount, sizeof(mount), "/sys/fs/cgroup/%.250s", list);
		if (!*list)
			set_group(v2, "/sys/fs/cgroup", path);
		else if (has_word(list, "cpu"))
			set_group(cpu, mount, path);
		else if (has_word(list, "blkio"))
			set_group(io, mount, path);
	}
	if (f)
		fclose(f);
}

/* The first line of a file of one group. */
static bool read_at(const char *dir, const char *name, char *out, int size)
{
	char path[PATH_MAX + 64];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return doctor_read_line(path, out, size);
}

static bool go_up(struct group *g)
{
	char *slash = strrchr(g->dir, '/');

	if (!slash || (size_t)(slash - g->dir) < g->root_len)
		return false;
	*slash = 0;
	return true;
}

/* Processors' worth of time that one group may use; 0 for no bound. */
static double quota_at(const char *dir)
{
	char line[64], period[64] = "100000";
	double quota = 0, per = 0;

	if (read_at(dir, "cpu.max", line, sizeof(line))) {
		if (sscanf(line, "%lf %lf", &quota, &per) != 2)
			return 0;
	} else if (read_at(dir, "cpu.cfs_quota_us", line, sizeof(line))) {
		read_at(dir, "cpu.cfs_period_us", period, sizeof(period));
		quota = strtod(line, NULL);
		per = strtod(period, NULL);
	}
	return quota > 0 && per > 0 ? quota / per : 0;
}

static double least_quota(struct group g)
{
	double least = 0;

	for (int i = 0; i < DEPTH_MAX && g.dir[0]; i++) {
		double q = quota_at(g.dir);

		if (q > 0 && (least <= 0 || q < least))
			least = q;
		if (!go_up(&g))
			break;
	}
	return least;
}

/* Whether reads are bounded; the first device that is. */
static bool find_throttle(struct group g, char *line, int size)
{
	for (int i = 0; i < DEPTH_MAX && g.dir[0]; i++) {
		if (read_at(g.dir, "io.max", line, size) &&
		    (!strstr(line, "rbps=max") || !strstr(line, "riops=max")))
			return true;
		if ((read_at(g.dir, "blkio.throttle.read_bps_device", line,
			     size) ||
		     read_at(g.dir, "blkio.throttle.read_iops_device", line,
			     size)) &&
		    line[0])
			return true;
		if (!go_up(&g))
			break;
	}
	return false;
}

void doctor_cgroup(const char *path, struct doctor_finding *f)
{
	struct group v2 = { .root_len = 0 }, cpu = v2, io = v2;
	char line[96], text[48];
	double quota, other;
	bool throttled;

	find_groups(&v2, &cpu, &io);
	quota = least_quota(v2);
	other = least_quota(cpu);
	if (quota <= 0 || (other > 0 && other < quota))
		quota = other;
	throttled = find_throttle(v2, line, sizeof(line)) ||
		    find_throttle(io, line, sizeof(line));
	snprintf(text, sizeof(text), "%.2f processors", quota);
	doctor_say(f, quota > 0 || throttled ? DOCTOR_WARN : DOCTOR_OK,
		   "processor time: %s; reads: %s%s",
		   quota > 0 ? text : "no quota",
		   throttled ? "throttled, device " : "no bound",
		   throttled ? line : "");
	if (throttled)
		doctor_mend(f, "raise the group's bound on reads (io.max, or "
			       "blkio.throttle.read_bps_device)");
	else if (quota > 0)
		doctor_mend(f, "raise the group's quota (cpu.max), or give "
			       "--threads no more than it allows");
}

/* "some avg10=0.12 avg60=..." in percent, or below 0. */
static double pressure_of(const char *what)
{
	char path[64], line[128];
	double avg10;

	snprintf(path, sizeof(path), "/proc/pressure/%s", what);
	if (!doctor_read_line(path, line, sizeof(line)) ||
	    sscanf(line, "some avg10=%lf", &avg10) != 1)
		return -1;
	return avg10;
}

void doctor_pressure(const char *path, struct doctor_finding *f)
{
	double memory = pressure_of("memory"), io = pressure_of("io");

	if (memory < 0) {
		doctor_say(f, DOCTOR_WARN,
			   "the kernel does not tell (PSI): memory cannot be "
			   "given back before it is reclaimed");
		doctor_mend(f, "a kernel with CONFIG_PSI, booted with psi=1");
		return;
	}
	doctor_say(f, memory < PRESSURE_PCT ? DOCTOR_OK : DOCTOR_WARN,
		   "of the last 10 s something waited for memory in %.1f %%, "
		   "for drives in %.1f %%",
		   memory, io < 0 ? 0 : io);
	if (f->status == DOCTOR_WARN)
		doctor_mend(f, "memory is short now: end other programs, or "
			       "give a smaller --ram");
}
