// SPDX-License-Identifier: MIT
/*
 * Readings of MemAvailable, of cgroup limits and uses, and of pressure stall
 * information, from files that stay open.
 *
 * Totals are polled: a trigger would need a thread or a place in somebody's
 * poll(), and the caller looks ten times a second anyway.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem_pressure.h"
#include "mem_priv.h"

/* Levels of cgroups, both versions together; deeper ones are not watched. */
#define GROUPS_MAX 16
/* memory.stat is the longest: about 5 KiB, and it grows with kernels. */
#define TEXT_BYTES 32768

enum group_file {
	FILE_LIMIT,
	FILE_HIGH,
	FILE_USED,
	FILE_STAT,
	NR_FILES
};

struct group {
	bool v2;
	int fd[NR_FILES]; /* -1 for one that is not there */
};

struct pst_mem_pressure {
	int meminfo;
	int machine_psi;
	int group_psi; /* of the innermost v2 cgroup that has one */
	struct group groups[GROUPS_MAX];
	uint32_t nr_groups;
	char text[TEXT_BYTES];
};

static int open_in(const char *dir, const char *name)
{
	char path[PATH_MAX];
	int n = snprintf(path, sizeof(path), "%s/%s", dir, name);

	if (n < 0 || (size_t)n >= sizeof(path))
		return -1;
	return open(path, O_RDONLY | O_CLOEXEC);
}

static void close_one(int fd)
{
	if (fd >= 0)
		close(fd);
}

static void add_group(void *ctx, const char *dir, bool v2)
{
	static const char *const names[2][NR_FILES] = {
		{ "memory.limit_in_bytes", NULL, "memory.usage_in_bytes",
		  "memory.stat" },
		{ "memory.max", "memory.high", "memory.current",
		  "memory.stat" },
	};
	struct pst_mem_pressure *p = ctx;
	struct group *g = &p->groups[p->nr_groups];

	if (v2 && p->group_psi < 0)
		p->group_psi = open_in(dir, "memory.pressure");
	if (p->nr_groups == GROUPS_MAX)
		return;
	g->v2 = v2;
	for (int i = 0; i < NR_FILES; i++)
		g->fd[i] = names[v2][i] ? open_in(dir, names[v2][i]) : -1;
	/* A root cgroup and one without the controller have no limit. */
	if ((g->fd[FILE_LIMIT] >= 0 || g->fd[FILE_HIGH] >= 0) &&
	    g->fd[FILE_USED] >= 0) {
		p->nr_groups++;
		return;
	}
	for (int i = 0; i < NR_FILES; i++)
		close_one(g->fd[i]);
}

int pst_mem_pressure_open_at(const char *root, struct pst_mem_pressure **out)
{
	struct pst_mem_pressure *p = calloc(1, sizeof(*p));
	char proc[PATH_MAX];
	int ret;

	if (!p)
		return -ENOMEM;
	snprintf(proc, sizeof(proc), "%s/proc", root);
	p->group_psi = -1;
	p->machine_psi = open_in(proc, "pressure/memory");
	p->meminfo = open_in(proc, "meminfo");
	if (p->meminfo < 0) {
		ret = -errno;
		pst_mem_pressure_close(p);
		return ret;
	}
	pst_mem_cgroup_walk(root, add_group, p);
	*out = p;
	return 0;
}

int pst_mem_pressure_open(struct pst_mem_pressure **out)
{
	return pst_mem_pressure_open_at("", out);
}

void pst_mem_pressure_close(struct pst_mem_pressure *p)
{
	if (!p)
		return;
	close_one(p->meminfo);
	close_one(p->machine_psi);
	close_one(p->group_psi);
	for (uint32_t i = 0; i < p->nr_groups; i++)
		for (int k = 0; k < NR_FILES; k++)
			close_one(p->groups[i].fd[k]);
	free(p);
}

/* The whole text of an open file, cut where the buffer ends. */
static const char *text_of(struct pst_mem_pressure *p, int fd)
{
	size_t len = 0;
	ssize_t n = 1;

	while (fd >= 0 && n > 0 && len < TEXT_BYTES - 1) {
		n = pread(fd, p->text + len, TEXT_BYTES - 1 - len, (off_t)len);
		if (n > 0)
			len += (size_t)n;
	}
	p->text[len] = 0;
	return p->text;
}

/* "max" and what cannot be read are no number. */
static uint64_t number_of(struct pst_mem_pressure *p, int fd, uint64_t other)
{
	const char *text = text_of(p, fd);
	char *end;
	uint64_t v = strtoull(text, &end, 10);

	return end == text || *text == '-' ? other : v;
}

static int64_t room_of(struct pst_mem_pressure *p, const struct group *g,
		       int64_t enough_bytes)
{
	uint64_t limit = number_of(p, g->fd[FILE_LIMIT], UINT64_MAX);
	uint64_t high = number_of(p, g->fd[FILE_HIGH], UINT64_MAX);
	uint64_t used;
	int64_t room;

	limit = PST_MIN(limit, high);
	if (limit >= PST_MEM_V1_NO_LIMIT)
		return INT64_MAX;
	used = number_of(p, g->fd[FILE_USED], 0);
	used = PST_MIN(used, (uint64_t)INT64_MAX / 2);
	room = (int64_t)PST_MIN(limit, (uint64_t)INT64_MAX / 2) - (int64_t)used;
	if (room < enough_bytes) {
		uint64_t drop = pst_mem_droppable_parse(
			text_of(p, g->fd[FILE_STAT]), g->v2);

		room += (int64_t)PST_MIN(drop, used);
	}
	return room;
}

/* "some avg10=0.00 avg60=0.00 avg300=0.00 total=161429236", microseconds. */
static uint64_t stall_of(struct pst_mem_pressure *p, int fd)
{
	const char *some = pst_mem_find_key(text_of(p, fd), "some ");
	const char *total = some ? strstr(some, "total=") : NULL;
	uint64_t ns;

	if (!total || !pst_mul_u64(strtoull(total + 6, NULL, 10), 1000, &ns))
		return 0;
	return ns;
}

int pst_mem_pressure_read(struct pst_mem_pressure *p, int64_t enough_bytes,
			  struct pst_mem_reading *out)
{
	const char *meminfo = text_of(p, p->meminfo);
	struct pst_mem_reading r = { .group_room_bytes = INT64_MAX };
	uint64_t total, available;

	if (!pst_mem_key_kib(meminfo, "MemTotal:", &total) ||
	    !pst_mem_key_kib(meminfo, "MemAvailable:", &available))
		return -EIO;
	r.machine_total_bytes = (int64_t)PST_MIN(total, (uint64_t)INT64_MAX);
	r.machine_room_bytes = (int64_t)PST_MIN(available, (uint64_t)INT64_MAX);
	for (uint32_t i = 0; i < p->nr_groups; i++) {
		int64_t room = room_of(p, &p->groups[i], enough_bytes);

		r.group_room_bytes = PST_MIN(r.group_room_bytes, room);
	}
	r.machine_stall_ns = stall_of(p, p->machine_psi);
	r.group_stall_ns = stall_of(p, p->group_psi);
	*out = r;
	return 0;
}
