// SPDX-License-Identifier: MIT
/*
 * What the machine offers to this process, by hwloc.  Nothing is kept: the
 * answer is a few numbers.
 */
#include <errno.h>
#include <hwloc.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "topo_priv.h"

/* The whole machine with @mask_out, the CPUs that this thread may run on. */
static int topology_open(hwloc_topology_t *out, hwloc_cpuset_t *mask_out)
{
	hwloc_topology_t t;
	hwloc_cpuset_t mask;

	if (hwloc_topology_init(&t))
		return -ENOMEM;
	/* Devices are not asked for: looking for them takes time. */
	if (hwloc_topology_load(t))
		goto destroy;
	mask = hwloc_bitmap_alloc();
	if (!mask)
		goto destroy;
	if (hwloc_get_cpubind(t, mask, HWLOC_CPUBIND_THREAD) ||
	    hwloc_bitmap_iszero(mask))
		hwloc_bitmap_copy(mask, hwloc_topology_get_allowed_cpuset(t));
	hwloc_bitmap_and(mask, mask, hwloc_topology_get_allowed_cpuset(t));
	*out = t;
	*mask_out = mask;
	return 0;

destroy:
	hwloc_topology_destroy(t);
	return -EIO;
}

static void topology_close(hwloc_topology_t t, hwloc_cpuset_t mask)
{
	hwloc_bitmap_free(mask);
	hwloc_topology_destroy(t);
}

/* The first CPU of a core that is in the mask, or -1. */
static int first_cpu(hwloc_obj_t core, hwloc_const_cpuset_t mask)
{
	int cpu;

	hwloc_bitmap_foreach_begin(
		cpu,
		core->cpuset) if (hwloc_bitmap_isset(mask,
						     (unsigned int)
							     cpu)) return cpu;
	hwloc_bitmap_foreach_end();
	return -1;
}

/*
 * Call it for successive *@at, from 0.  A machine whose cores hwloc cannot see
 * (some virtual ones) has CPUs instead.
 */
static hwloc_obj_t next_core(hwloc_topology_t t, hwloc_const_cpuset_t mask,
			     uint32_t *at, int *cpu_out)
{
	hwloc_obj_type_t type = HWLOC_OBJ_CORE;
	hwloc_obj_t core;

	if (hwloc_get_nbobjs_by_type(t, type) <= 0)
		type = HWLOC_OBJ_PU;
	while ((core = hwloc_get_obj_by_type(t, type, *at))) {
		(*at)++;
		*cpu_out = first_cpu(core, mask);
		if (*cpu_out >= 0)
			return core;
	}
	return NULL;
}

int pst_topo_cores(uint32_t *cpus, uint32_t max, uint32_t *nr_cpus_out)
{
	hwloc_topology_t t;
	hwloc_cpuset_t mask;
	uint32_t at = 0, nr = 0;
	int cpu, ret;

	ret = topology_open(&t, &mask);
	if (ret)
		return ret;
	while (nr < max && next_core(t, mask, &at, &cpu))
		cpus[nr++] = (uint32_t)cpu;
	*nr_cpus_out = (uint32_t)PST_MAX(hwloc_bitmap_weight(mask), 1);
	topology_close(t, mask);
	return (int)nr;
}

static uint32_t count_nodes(hwloc_topology_t t)
{
	uint32_t nr = 0;
	hwloc_obj_t node = NULL;

	while ((node = hwloc_get_next_obj_by_type(t, HWLOC_OBJ_NUMANODE, node)))
		nr += node->attr->numanode.local_memory > 0;
	return PST_MAX(nr, 1U);
}

/* The largest cache that a core has a part in. */
static hwloc_obj_t last_cache(hwloc_obj_t obj)
{
	hwloc_obj_t last = NULL;

	for (; obj; obj = obj->parent)
		if (hwloc_obj_type_is_dcache(obj->type))
			last = obj;
	return last;
}

static void read_name(hwloc_topology_t t, char *out, size_t out_bytes)
{
	hwloc_obj_t package = hwloc_get_obj_by_type(t, HWLOC_OBJ_PACKAGE, 0);
	const char *name = NULL;

	if (package)
		name = hwloc_obj_get_info_by_name(package, "CPUModel");
	if (!name)
		name = hwloc_obj_get_info_by_name(hwloc_get_root_obj(t),
						  "CPUModel");
	snprintf(out, out_bytes, "%s", name ? name : "");
}

int pst_topo_read(struct pst_topo *out)
{
	struct pst_topo r = { 0 };
	hwloc_topology_t t;
	hwloc_cpuset_t mask;
	hwloc_obj_t core, cache, seen = NULL;
	uint32_t at = 0;
	int cpu, ret;

	ret = topology_open(&t, &mask);
	if (ret)
		return ret;
	while ((core = next_core(t, mask, &at, &cpu))) {
		cache = last_cache(core);
		/* Cores that share one follow each other. */
		if (cache && cache != seen)
			r.cache_bytes += cache->attr->cache.size;
		seen = cache;
		r.nr_cores++;
	}
	r.nr_cores = PST_MAX(r.nr_cores, 1U);
	r.nr_nodes = count_nodes(t);
	r.mem_bytes = hwloc_get_root_obj(t)->total_memory;
	read_name(t, r.cpu_name, sizeof(r.cpu_name));
	topology_close(t, mask);
	*out = r;
	return 0;
}

int pst_topo_node_free(int node, uint64_t *out)
{
	char path[96], line[160];
	int rc = -EIO;
	FILE *f;

	snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/meminfo",
		 node);
	f = fopen(path, "re");
	if (!f)
		return -ENOENT;
	while (rc && fgets(line, sizeof(line), f)) {
		uint64_t kib;
		int nr;

		if (sscanf(line, "Node %d MemFree: %" SCNu64 " kB", &nr,
			   &kib) == 2) {
			*out = kib * 1024;
			rc = 0;
		}
	}
	fclose(f);
	return rc;
}
