// SPDX-License-Identifier: MIT
/*
 * The memory cgroups that this process is in, version 1 and 2 alike: finds
 * where they are mounted, walks up, and keeps the smallest limit.  Cgroups
 * that cannot be read count as no limit.
 */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "mem_priv.h"

/* A memory hierarchy that this process is in. */
struct hierarchy {
	bool v2;
	char mount[PATH_MAX]; /* where it is mounted */
	char path[PATH_MAX]; /* this process's cgroup below the mount */
};

static bool has_option(const char *options, const char *name)
{
	size_t len = strlen(name);

	while (*options) {
		size_t n = strcspn(options, ",");

		if (n == len && !strncmp(options, name, n))
			return true;
		options += n;
		options += *options == ',';
	}
	return false;
}

/* mountinfo writes blanks, tabs, newlines and backslashes as \ooo. */
static void unescape(char *s)
{
	char *to = s;

	for (; *s; s++) {
		if (s[0] == '\\' && s[1] >= '0' && s[1] <= '3' && s[2] >= '0' &&
		    s[2] <= '7' && s[3] >= '0' && s[3] <= '7') {
			*to++ = (char)((s[1] - '0') * 64 + (s[2] - '0') * 8 +
				       (s[3] - '0'));
			s += 3;
		} else {
			*to++ = *s;
		}
	}
	*to = 0;
}

/*
 * One line of mountinfo: "36 35 98:0 /root /mount options ... - type source
 * superoptions".  Return: true when it is the memory hierarchy of @h->v2;
 * then @h->mount is set and @root_out is the cgroup seen at the mount point.
 */
static bool parse_mount(const char *line, struct hierarchy *h, char *root_out)
{
	char mount[PATH_MAX], root[PATH_MAX], type[32], super[512];
	const char *dash = strstr(line, " - ");

	if (!dash ||
	    sscanf(line, "%*d %*d %*s %4095s %4095s", root, mount) != 2 ||
	    sscanf(dash, " - %31s %*s %511s", type, super) != 2)
		return false;
	if (h->v2 ? strcmp(type, "cgroup2")
		  : strcmp(type, "cgroup") || !has_option(super, "memory"))
		return false;
	unescape(mount);
	unescape(root);
	strcpy(h->mount, mount);
	strcpy(root_out, root);
	return true;
}

static bool find_mount(const char *mountinfo, struct hierarchy *h,
		       char *root_out)
{
	char line[3 * PATH_MAX];

	while (*mountinfo) {
		size_t n = strcspn(mountinfo, "\n");

		if (n < sizeof(line)) {
			memcpy(line, mountinfo, n);
			line[n] = 0;
			if (parse_mount(line, h, root_out))
				return true;
		}
		mountinfo += n;
		mountinfo += *mountinfo == '\n';
	}
	return false;
}

/*
 * One line of /proc/self/cgroup: "4:memory:/a/b" for version 1, "0::/a/b" for
 * version 2.
 */
static bool parse_membership(const char *line, size_t len, struct hierarchy *h)
{
	const char *first = memchr(line, ':', len), *second;
	char controllers[256];
	size_t n;

	second =
		first ? memchr(first + 1, ':', len - (size_t)(first + 1 - line))
		      : NULL;
	if (!second)
		return false;
	n = (size_t)(second - first - 1);
	if (n >= sizeof(controllers))
		return false;
	memcpy(controllers, first + 1, n);
	controllers[n] = 0;
	h->v2 = !n && !strncmp(line, "0:", 2);
	if (!h->v2 && !has_option(controllers, "memory"))
		return false;
	n = len - (size_t)(second + 1 - line);
	if (n >= sizeof(h->path))
		return false;
	memcpy(h->path, second + 1, n);
	h->path[n] = 0;
	return true;
}

/*
 * The mount may show only a part of the hierarchy: a container sees its own
 * cgroup at the mount point while /proc/self/cgroup names it from the top.
 */
static void strip_root(struct hierarchy *h, const char *root)
{
	size_t n = strlen(root);

	if (n == 1)
		n = 0;
	if (!strncmp(h->path, root, n) && (!h->path[n] || h->path[n] == '/'))
		memmove(h->path, h->path + n, strlen(h->path + n) + 1);
	else
		h->path[0] = 0;
	/* A process above its cgroup namespace is shown as "/..". */
	if (strstr(h->path, "/.."))
		h->path[0] = 0;
	n = strlen(h->path);
	while (n && h->path[n - 1] == '/')
		h->path[--n] = 0;
}

uint64_t pst_mem_droppable_parse(const char *text, bool v2)
{
	const char *prefix = v2 ? "" : "total_";
	uint64_t bytes = 0;

	for (int i = 0; i < 2; i++) {
		char key[32];
		const char *v;

		snprintf(key, sizeof(key), "%s%sactive_file ", prefix,
			 i ? "in" : "");
		v = pst_mem_find_key(text, key);
		if (v)
			bytes += strtoull(v, NULL, 10);
	}
	return bytes;
}

static uint64_t droppable_bytes(const char *dir, bool v2)
{
	uint64_t bytes;
	char *text;

	if (pst_mem_slurp(&text, "%s/memory.stat", dir))
		return 0;
	bytes = pst_mem_droppable_parse(text, v2);
	free(text);
	return bytes;
}

static uint64_t limit_of(const char *dir, bool v2)
{
	uint64_t limit = UINT64_MAX, high;

	/* "max" is not a number: no limit. */
	pst_mem_number(&limit, "%s/%s", dir,
		       v2 ? "memory.max" : "memory.limit_in_bytes");
	/* Past "high" the kernel reclaims and slows down, it does not kill. */
	if (v2 && pst_mem_number(&high, "%s/memory.high", dir))
		limit = PST_MIN(limit, high);
	return limit;
}

/* Take over the limit of one cgroup when it is the smallest so far. */
static void look_at_group(void *ctx, const char *dir, bool v2)
{
	struct pst_mem_limits *out = ctx;
	uint64_t limit = limit_of(dir, v2), used = 0, droppable;

	if (limit >= PST_MEM_V1_NO_LIMIT || limit >= out->cgroup_limit)
		return;
	pst_mem_number(&used, "%s/%s", dir,
		       v2 ? "memory.current" : "memory.usage_in_bytes");
	droppable = droppable_bytes(dir, v2);
	out->cgroup_limit = limit;
	out->cgroup_used = used > droppable ? used - droppable : 0;
}

static void walk_up(const char *root, struct hierarchy *h,
		    void (*each)(void *ctx, const char *dir, bool v2),
		    void *ctx)
{
	char dir[3 * PATH_MAX];
	char *slash;

	for (;;) {
		snprintf(dir, sizeof(dir), "%s%s%s", root, h->mount, h->path);
		each(ctx, dir, h->v2);
		slash = strrchr(h->path, '/');
		if (!slash)
			return;
		*slash = 0;
	}
}

void pst_mem_cgroup_walk(const char *root,
			 void (*each)(void *ctx, const char *dir, bool v2),
			 void *ctx)
{
	char *groups, *mountinfo, *line, seen_at[PATH_MAX];
	struct hierarchy *h;

	if (pst_mem_slurp(&groups, "%s/proc/self/cgroup", root))
		return;
	if (pst_mem_slurp(&mountinfo, "%s/proc/self/mountinfo", root))
		goto free_groups;
	h = malloc(sizeof(*h));
	if (!h)
		goto free_mountinfo;
	for (line = groups; *line; line += *line == '\n') {
		size_t n = strcspn(line, "\n");

		if (parse_membership(line, n, h) &&
		    find_mount(mountinfo, h, seen_at)) {
			strip_root(h, seen_at);
			walk_up(root, h, each, ctx);
		}
		line += n;
	}
	free(h);
free_mountinfo:
	free(mountinfo);
free_groups:
	free(groups);
}

void pst_mem_cgroup_read(const char *root, struct pst_mem_limits *out)
{
	pst_mem_cgroup_walk(root, look_at_group, out);
}
