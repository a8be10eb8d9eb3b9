// SPDX-License-Identifier: MIT
/*
 * The doctor's checks of kernel, processor and memory.  They only read.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/utsname.h>

#include <penstock/engine.h>

#include "cli.h"
#include "doctor.h"
#include "mem.h"
#include "topo.h"

/* Below this a model of any size leaves next to no expert cache. */
#define LOW_MEMORY_BYTES (1 * PST_GIB)

void doctor_kernel(const char *path, struct doctor_finding *f)
{
	unsigned int major = 0, minor = 0;
	struct utsname u;

	if (uname(&u) || sscanf(u.release, "%u.%u", &major, &minor) != 2) {
		doctor_say(f, DOCTOR_WARN, "the version cannot be read");
		return;
	}
	doctor_say(f, DOCTOR_OK, "%s %s", u.sysname, u.release);
	if (major > 6 || (major == 6 && minor >= 1))
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f, "6.1 or newer: io_uring then handles completions only "
		       "when penstock looks (DEFER_TASKRUN)");
}

/* What a PENSTOCK_CPU that is set means for the finding. */
static void cpu_wanted(const struct cli_cpu *cpu, struct doctor_finding *f)
{
	if (!cpu->known) {
		doctor_say(f, DOCTOR_FAIL,
			   "PENSTOCK_CPU '%.32s' is no instruction set that "
			   "this processor has",
			   cpu->wanted);
		doctor_mend(f, "set one of %s, or nothing", cpu->levels);
		return;
	}
	if (!strcmp(pst_cpu_kernels_name(cpu->mask),
		    pst_cpu_kernels_name(pst_cpu_mask())))
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f,
		    "unset PENSTOCK_CPU, which is '%s': the processor has %s",
		    cpu->wanted, cpu->levels);
}

void doctor_cpu(const char *path, struct doctor_finding *f)
{
	struct pst_topo t = { 0 };
	struct cli_cpu cpu;
	const char *kernels;

	cli_cpu_env(&cpu);
	kernels = pst_cpu_kernels_name(cpu.mask);
	if (pst_topo_read(&t)) {
		doctor_say(f, DOCTOR_WARN, "cores cannot be read; kernels: %s",
			   kernels);
		return;
	}
	doctor_say(f, DOCTOR_OK, "%s, %u core%s, kernels: %s (%s)%s",
		   t.cpu_name[0] ? t.cpu_name : "unknown model", t.nr_cores,
		   t.nr_cores == 1 ? "" : "s", kernels, pst_cpu_config_name(),
		   cpu.wanted ? ", by PENSTOCK_CPU" : "");
	if (cpu.wanted) {
		cpu_wanted(&cpu, f);
		return;
	}
	if (strcmp(kernels, "c"))
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f, "a processor with AVX2, or a 64-bit ARM one: on others "
		       "the portable kernels compute, many times slower");
}

void doctor_numa(const char *path, struct doctor_finding *f)
{
	struct pst_drive d = { .numa_node = -1 };
	struct pst_topo t = { 0 };

	if (pst_topo_read(&t)) {
		doctor_say(f, DOCTOR_WARN, "nodes cannot be read");
		return;
	}
	(void)pst_drive_of_path(path, &d);
	if (t.nr_nodes < 2)
		doctor_say(f, DOCTOR_OK, "1 node with memory");
	else if (d.numa_node < 0)
		doctor_say(f, DOCTOR_OK,
			   "%u nodes with memory; the drive's is not known",
			   t.nr_nodes);
	else
		doctor_say(f, DOCTOR_OK,
			   "%u nodes with memory; the drive hangs on node %d",
			   t.nr_nodes, d.numa_node);
}

void doctor_memory(const char *path, struct doctor_finding *f)
{
	char avail[32], total[32], limit[32], used[32];
	struct pst_mem_limits m;
	uint64_t room;

	if (pst_mem_limits_read(&m)) {
		doctor_say(f, DOCTOR_FAIL, "/proc/meminfo cannot be read");
		doctor_mend(f, "mount /proc, or give --ram with every command");
		return;
	}
	room = m.mem_available;
	cli_bytes_text(m.mem_available, avail, sizeof(avail));
	cli_bytes_text(m.mem_total, total, sizeof(total));
	if (m.cgroup_limit == UINT64_MAX) {
		doctor_say(f, DOCTOR_OK, "%s of %s available, no cgroup limit",
			   avail, total);
	} else {
		uint64_t left =
			m.cgroup_limit - PST_MIN(m.cgroup_used, m.cgroup_limit);

		room = PST_MIN(room, left);
		cli_bytes_text(m.cgroup_limit, limit, sizeof(limit));
		cli_bytes_text(m.cgroup_used, used, sizeof(used));
		doctor_say(f, DOCTOR_OK,
			   "%s of %s available, cgroup limit %s (%s used)",
			   avail, total, limit, used);
	}
	if (room >= LOW_MEMORY_BYTES)
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f, "end other programs or raise the cgroup's limit: what "
		       "is free is the expert cache");
}

/* A line "Key:   123 kB" of /proc/meminfo. */
static bool meminfo_bytes(const char *key, uint64_t *out)
{
	FILE *f = fopen("/proc/meminfo", "re");
	size_t len = strlen(key);
	bool found = false;
	char line[128];
	uint64_t kib;

	while (f && !found && fgets(line, sizeof(line), f))
		if (!strncmp(line, key, len) && line[len] == ':' &&
		    sscanf(line + len + 1, "%" SCNu64, &kib) == 1) {
			*out = kib * PST_KIB;
			found = true;
		}
	if (f)
		fclose(f);
	return found;
}

void doctor_swap(const char *path, struct doctor_finding *f)
{
	uint64_t total = 0, unused = 0;
	char a[32], b[32];

	if (!meminfo_bytes("SwapTotal", &total) || !total) {
		doctor_say(f, DOCTOR_OK, "none");
		return;
	}
	meminfo_bytes("SwapFree", &unused);
	doctor_say(f, DOCTOR_WARN, "%s of %s in use",
		   cli_bytes_text(total - PST_MIN(unused, total), a, sizeof(a)),
		   cli_bytes_text(total, b, sizeof(b)));
	doctor_mend(f,
		    "'swapoff -a', or memory.swap.max = 0 in the cgroup: "
		    "the cache must not be written to a drive and read back");
}

/* "always [madvise] never": the one in brackets. */
static void thp_mode(char *out, size_t size)
{
	char line[128], *open, *close;

	snprintf(out, size, "unknown");
	if (!doctor_read_line("/sys/kernel/mm/transparent_hugepage/enabled",
			      line, sizeof(line)))
		return;
	open = strchr(line, '[');
	close = open ? strchr(open, ']') : NULL;
	if (close)
		snprintf(out, size, "%.*s", (int)(close - open - 1), open + 1);
}

/* Pages of one size, "3 of 8 free": those in use are somebody's. */
static void pool_text(const char *kib, uint64_t free_bytes, uint64_t page_bytes,
		      char *out, size_t size)
{
	char path[96], line[32] = "0";

	snprintf(path, sizeof(path),
		 "/sys/kernel/mm/hugepages/hugepages-%skB/nr_hugepages", kib);
	doctor_read_line(path, line, sizeof(line));
	snprintf(out, size, "%llu of %s free",
		 (unsigned long long)(free_bytes / page_bytes), line);
}

void doctor_huge(const char *path, struct doctor_finding *f)
{
	struct pst_mem_limits m = { 0 };
	char mode[32], small[64], big[64];

	thp_mode(mode, sizeof(mode));
	pst_mem_limits_read(&m);
	pool_text("2048", m.hugetlb_free_2m, 2 * PST_MIB, small, sizeof(small));
	pool_text("1048576", m.hugetlb_free_1g, PST_GIB, big, sizeof(big));
	doctor_say(f, DOCTOR_OK,
		   "transparent: %s; reserved 2 MiB pages: %s (vm.nr_hugepages "
		   "reserves them), 1 GiB pages: %s",
		   mode, small, big);
	if (!strcmp(mode, "always") || !strcmp(mode, "madvise") ||
	    m.hugetlb_free_2m || m.hugetlb_free_1g)
		return;
	f->status = DOCTOR_WARN;
	doctor_mend(f, "echo madvise > "
		       "/sys/kernel/mm/transparent_hugepage/enabled, or "
		       "reserve pages with vm.nr_hugepages");
}

void doctor_memlock(const char *path, struct doctor_finding *f)
{
	struct pst_mem_limits m;
	char text[32];

	if (pst_mem_limits_read(&m)) {
		doctor_say(f, DOCTOR_WARN, "the limit cannot be read");
		return;
	}
	if (m.memlock == UINT64_MAX) {
		doctor_say(f, DOCTOR_OK,
			   "no limit: the expert cache can be registered with "
			   "io_uring");
		return;
	}
	cli_bytes_text(m.memlock, text, sizeof(text));
	doctor_say(f, m.memlock >= m.mem_available ? DOCTOR_OK : DOCTOR_WARN,
		   "RLIMIT_MEMLOCK is %s; what exceeds it is not registered "
		   "with io_uring, and each read pins its pages",
		   text);
	if (f->status == DOCTOR_WARN)
		doctor_mend(f, "ulimit -l unlimited (memlock in "
			       "/etc/security/limits.conf, LimitMEMLOCK= of a "
			       "service)");
}
