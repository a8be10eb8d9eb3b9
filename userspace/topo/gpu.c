// SPDX-License-Identifier: MIT
/*
 * Render nodes: which there are, where they hang, and whether they import a
 * dma-buf.  By libdrm and hwloc, without a symbol of any vendor.
 */
#include <errno.h>
#include <fcntl.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <xf86drm.h>

#include "topo.h"

#define DEVICES_MAX 64

/* The node of the CPUs that a PCI device is attached to. */
static int node_of(hwloc_topology_t t, const drmPciBusInfo *pci)
{
	hwloc_obj_t device = hwloc_get_pcidev_by_busid(t, pci->domain, pci->bus,
						       pci->dev, pci->func);
	hwloc_obj_t cpus = device ? hwloc_get_non_io_ancestor_obj(t, device)
				  : NULL;

	/* Attached to all nodes alike means that nobody has told. */
	if (!cpus || !cpus->nodeset || hwloc_bitmap_weight(cpus->nodeset) != 1)
		return -1;
	return hwloc_bitmap_first(cpus->nodeset);
}

static void read_driver(struct pst_gpu *g)
{
	int fd = open(g->path, O_RDWR | O_CLOEXEC);
	drmVersionPtr v;

	g->usable = fd >= 0;
	if (fd < 0)
		return;
	v = drmGetVersion(fd);
	if (v)
		snprintf(g->driver, sizeof(g->driver), "%.*s", v->name_len,
			 v->name);
	drmFreeVersion(v);
	close(fd);
}

static void describe(hwloc_topology_t t, drmDevicePtr d, struct pst_gpu *g)
{
	*g = (struct pst_gpu){ .numa_node = -1 };
	snprintf(g->path, sizeof(g->path), "%s", d->nodes[DRM_NODE_RENDER]);
	read_driver(g);
	if (d->bustype != DRM_BUS_PCI)
		return;
	snprintf(g->pci, sizeof(g->pci), "%04x:%02x:%02x.%x",
		 d->businfo.pci->domain, d->businfo.pci->bus,
		 d->businfo.pci->dev, d->businfo.pci->func);
	if (t)
		g->numa_node = node_of(t, d->businfo.pci);
}

/* The machine with its PCI devices, or NULL: places are then not known. */
static hwloc_topology_t topology_with_io(void)
{
	hwloc_topology_t t;

	if (hwloc_topology_init(&t))
		return NULL;
	if (!hwloc_topology_set_io_types_filter(
		    t, HWLOC_TYPE_FILTER_KEEP_IMPORTANT) &&
	    !hwloc_topology_load(t))
		return t;
	hwloc_topology_destroy(t);
	return NULL;
}

uint32_t pst_gpu_list(struct pst_gpu *out, uint32_t max)
{
	drmDevicePtr devices[DEVICES_MAX];
	int nr = drmGetDevices2(0, devices, DEVICES_MAX);
	hwloc_topology_t t;
	uint32_t found = 0;

	if (nr <= 0)
		return 0;
	nr = PST_MIN(nr, DEVICES_MAX);
	t = topology_with_io();
	for (int i = 0; i < nr; i++)
		if (found < max &&
		    devices[i]->available_nodes & 1 << DRM_NODE_RENDER)
			describe(t, devices[i], &out[found++]);
	if (t)
		hwloc_topology_destroy(t);
	drmFreeDevices(devices, nr);
	return found;
}

int pst_gpu_import(const struct pst_gpu *g, int dmabuf)
{
	int fd = open(g->path, O_RDWR | O_CLOEXEC), rc = 0;
	uint32_t handle;

	if (fd < 0)
		return -errno;
	if (drmPrimeFDToHandle(fd, dmabuf, &handle))
		rc = -errno;
	else
		drmCloseBufferHandle(fd, handle);
	close(fd);
	return rc;
}
