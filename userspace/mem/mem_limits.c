// SPDX-License-Identifier: MIT
/*
 * What bounds this process and what it uses: memory of the machine, huge page
 * pools, locked memory.  Reads text of the kernel, changes nothing, and knows
 * nothing of regions.
 */
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "mem_priv.h"

#define SLURP_MAX    (64 * PST_MIB)
#define CAP_IPC_LOCK 14

static int grow_and_read(int fd, char **text)
{
	size_t cap = 4096, len = 0;
	char *buf = malloc(cap), *bigger;
	ssize_t n = 1;
	int ret;

	while (buf && n) {
		n = read(fd, buf + len, cap - len - 1);
		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0) {
			ret = -errno;
			free(buf);
			return ret;
		}
		len += (size_t)n;
		if (len + 1 < cap)
			continue;
		cap *= 2;
		bigger = cap > SLURP_MAX ? NULL : realloc(buf, cap);
		if (!bigger) {
			free(buf);
			return cap > SLURP_MAX ? -EFBIG : -ENOMEM;
		}
		buf = bigger;
	}
	if (!buf)
		return -ENOMEM;
	buf[len] = 0;
	*text = buf;
	return 0;
}

static int slurp_args(char **out, const char *fmt, va_list ap)
{
	char path[PATH_MAX];
	int fd, ret;

	ret = vsnprintf(path, sizeof(path), fmt, ap);
	if (ret < 0 || (size_t)ret >= sizeof(path))
		return -ENAMETOOLONG;
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	ret = grow_and_read(fd, out);
	close(fd);
	return ret;
}

int pst_mem_slurp(char **out, const char *fmt, ...)
{
	va_list ap;
	int ret;

	va_start(ap, fmt);
	ret = slurp_args(out, fmt, ap);
	va_end(ap);
	return ret;
}

const char *pst_mem_find_key(const char *text, const char *key)
{
	size_t len = strlen(key);

	while (text && *text) {
		if (!strncmp(text, key, len))
			return text + len;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return NULL;
}

bool pst_mem_key_kib(const char *text, const char *key, uint64_t *out)
{
	const char *v = pst_mem_find_key(text, key);
	uint64_t bytes;
	char *end;

	if (!v)
		return false;
	if (!pst_mul_u64(strtoull(v, &end, 10), 1024, &bytes) || end == v)
		return false;
	*out = bytes;
	return true;
}

bool pst_mem_number(uint64_t *out, const char *fmt, ...)
{
	char *text, *end;
	va_list ap;
	uint64_t v;
	bool ok;
	int ret;

	va_start(ap, fmt);
	ret = slurp_args(&text, fmt, ap);
	va_end(ap);
	if (ret)
		return false;
	v = strtoull(text, &end, 10);
	ok = end != text;
	free(text);
	if (ok)
		*out = v;
	return ok;
}

uint64_t pst_mem_hugetlb_free(const char *root, uint64_t page_bytes, int node)
{
	char dir[64] = "/sys/kernel/mm/hugepages";
	unsigned long long page_kib = page_bytes / PST_KIB;
	uint64_t nr_free, nr_reserved = 0, bytes;

	if (node >= 0)
		snprintf(dir, sizeof(dir),
			 "/sys/devices/system/node/node%d/hugepages", node);
	if (!pst_mem_number(&nr_free, "%s%s/hugepages-%llukB/free_hugepages",
			    root, dir, page_kib))
		return 0;
	/* Promised to somebody who has not touched them; no node tells. */
	pst_mem_number(&nr_reserved, "%s%s/hugepages-%llukB/resv_hugepages",
		       root, dir, page_kib);
	/*
	 * Below zero, for as long as a page that is still pinned (by a ring
	 * that is on its way out) has been unmapped.
	 */
	if (nr_reserved > INT64_MAX)
		nr_reserved = 0;
	if (nr_reserved >= nr_free ||
	    !pst_mul_u64(nr_free - nr_reserved, page_bytes, &bytes))
		return 0;
	return bytes;
}

static bool may_lock_memory(const char *root)
{
	const char *v;
	bool may = false;
	char *text;

	if (pst_mem_slurp(&text, "%s/proc/self/status", root))
		return false;
	v = pst_mem_find_key(text, "CapEff:");
	if (v)
		may = strtoull(v, NULL, 16) >> CAP_IPC_LOCK & 1;
	free(text);
	return may;
}

int pst_mem_limits_read_at(const char *root, uint64_t memlock,
			   struct pst_mem_limits *out)
{
	struct pst_mem_limits l = { .cgroup_limit = UINT64_MAX };
	char *text;
	bool ok;
	int ret;

	ret = pst_mem_slurp(&text, "%s/proc/meminfo", root);
	if (ret)
		return ret;
	ok = pst_mem_key_kib(text, "MemTotal:", &l.mem_total) &&
	     pst_mem_key_kib(text, "MemAvailable:", &l.mem_available);
	free(text);
	if (!ok)
		return -EINVAL;
	pst_mem_cgroup_read(root, &l);
	l.hugetlb_free_2m = pst_mem_hugetlb_free(root, 2 * PST_MIB, -1);
	l.hugetlb_free_1g = pst_mem_hugetlb_free(root, PST_GIB, -1);
	l.memlock = may_lock_memory(root) ? UINT64_MAX : memlock;
	*out = l;
	return 0;
}

int pst_mem_limits_read(struct pst_mem_limits *out)
{
	uint64_t memlock = UINT64_MAX;
	struct rlimit rl;

	if (!getrlimit(RLIMIT_MEMLOCK, &rl) && rl.rlim_cur != RLIM_INFINITY)
		memlock = rl.rlim_cur;
	return pst_mem_limits_read_at("", memlock, out);
}

void pst_mem_usage_parse(const char *text, struct pst_mem_usage *out)
{
	uint64_t locked = 0, pinned = 0;

	memset(out, 0, sizeof(*out));
	pst_mem_key_kib(text, "VmRSS:", &out->rss);
	pst_mem_key_kib(text, "RssAnon:", &out->rss_anon);
	pst_mem_key_kib(text, "VmHWM:", &out->rss_peak);
	pst_mem_key_kib(text, "HugetlbPages:", &out->hugetlb);
	pst_mem_key_kib(text, "VmLck:", &locked);
	pst_mem_key_kib(text, "VmPin:", &pinned);
	out->locked = locked + pinned;
}

int pst_mem_usage_read(struct pst_mem_usage *out)
{
	char *text;
	int ret;

	ret = pst_mem_slurp(&text, "/proc/self/status");
	if (ret)
		return ret;
	pst_mem_usage_parse(text, out);
	free(text);
	return 0;
}

uint64_t pst_mem_room(const struct pst_mem_limits *l)
{
	uint64_t left =
		PST_MAX(l->cgroup_limit, l->cgroup_used) - l->cgroup_used;

	return PST_MIN(l->mem_available, left);
}

static bool is_huge(const char *line, const char *key, uint64_t *out)
{
	return !strncmp(line, key, strlen(key)) &&
	       pst_mem_key_kib(line, key, out);
}

/* "7f00-7fff rw-p ..." starts a mapping; "Key: ..." lines describe it. */
uint64_t pst_mem_thp_parse(const char *text, uintptr_t addr,
			   uint64_t size_bytes)
{
	uint64_t sum = 0, bytes;
	bool inside = false;

	while (text && *text) {
		unsigned long long from, to;

		if (sscanf(text, "%llx-%llx ", &from, &to) == 2)
			inside = from < addr + size_bytes && to > addr;
		else if (inside && is_huge(text, "AnonHugePages:", &bytes))
			sum += bytes;
		else if (inside && is_huge(text, "ShmemPmdMapped:", &bytes))
			sum += bytes;
		text = strchr(text, '\n');
		if (text)
			text++;
	}
	return PST_MIN(sum, size_bytes);
}
