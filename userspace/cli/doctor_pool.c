// SPDX-License-Identifier: MIT
/*
 * The doctor's checks of where the expert cache's memory may come from, and
 * which devices could import it.  What is claimed is tried: a small region of
 * each source is made, registered, exported and imported.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "doctor.h"
#include "mem.h"
#include "topo.h"

#define TRY_BYTES (2 * PST_MIB)
#define GPUS_MAX  8

/* A small region of a source; the pool is the caller's to close. */
static int try_source(enum pst_mem_source source, struct pst_mem_pool **pool,
		      struct pst_mem *m, struct pst_diag *diag)
{
	struct pst_mem_args args = { .size_bytes = TRY_BYTES, .node = -1 };
	int rc = pst_mem_pool_open(source, NULL, pool, diag);

	if (rc)
		return rc;
	args.pool = *pool;
	rc = pst_mem_map(&args, m, diag);
	if (rc)
		pst_mem_pool_close(*pool);
	return rc;
}

/* One source: what it says of itself, and whether that is so. */
static void check_source(enum pst_mem_source source, struct doctor_finding *f)
{
	struct pst_mem_offer offer;
	struct pst_mem_pool *pool;
	struct pst_diag diag;
	struct pst_mem m;
	const char *kind;

	pst_mem_offer_read(source, &offer);
	/* None of it is needed: what would change it is said, not asked for. */
	doctor_say(f, DOCTOR_OK, "%s%s%s%s", offer.text,
		   offer.mend[0] ? " (" : "", offer.mend,
		   offer.mend[0] ? ")" : "");
	if (!offer.there)
		return;
	pst_diag_init(&diag);
	if (try_source(source, &pool, &m, &diag)) {
		doctor_say(f, DOCTOR_WARN, "%s", diag.text);
		return;
	}
	kind = pst_mem_kind_name(&m);
	if (!doctor_uring_register(m.addr))
		doctor_say(f, DOCTOR_OK,
			   "%s; io_uring of this kernel cannot register it: "
			   "reads pin pages one by one",
			   offer.text);
	if (source == PST_MEM_SOURCE_ANON)
		doctor_say(f, DOCTOR_OK,
			   "auto is anon: %s, the CPU's best; --pool chooses "
			   "another",
			   kind);
	pst_mem_unmap(&m);
	pst_mem_pool_close(pool);
}

void doctor_anon(const char *path, struct doctor_finding *f)
{
	check_source(PST_MEM_SOURCE_ANON, f);
}

void doctor_udmabuf(const char *path, struct doctor_finding *f)
{
	check_source(PST_MEM_SOURCE_UDMABUF, f);
}

void doctor_module(const char *path, struct doctor_finding *f)
{
	check_source(PST_MEM_SOURCE_KMOD, f);
}

/* Appended: "udmabuf: imported", "kmod: No such device". */
static void try_import(const struct pst_gpu *g, enum pst_mem_source source,
		       char *text, size_t size)
{
	size_t len = strlen(text);
	struct pst_mem_offer offer;
	struct pst_mem_pool *pool;
	struct pst_mem m;
	int fd, rc;

	pst_mem_offer_read(source, &offer);
	if (!offer.exports || try_source(source, &pool, &m, NULL))
		return;
	fd = pst_mem_export(&m, 0, TRY_BYTES, NULL);
	rc = fd < 0 ? fd : pst_gpu_import(g, fd);
	if (fd >= 0)
		close(fd);
	pst_mem_unmap(&m);
	pst_mem_pool_close(pool);
	snprintf(text + len, size - len, "%s%s%s", len ? ", " : "",
		 rc ? pst_mem_source_name(source) : "",
		 rc ? ": " : pst_mem_source_name(source));
	len = strlen(text);
	snprintf(text + len, size - len, "%s",
		 rc ? strerror(-rc) : ": imported");
}

/* Name, driver, place, and what it imports, appended as far as they fit. */
static void list_gpu(const struct pst_gpu *g, char *text, size_t size)
{
	char node[24] = "", imports[96] = "";
	size_t len = strlen(text);

	if (g->numa_node >= 0)
		snprintf(node, sizeof(node), ", NUMA node %d", g->numa_node);
	if (g->usable) {
		try_import(g, PST_MEM_SOURCE_UDMABUF, imports, sizeof(imports));
		try_import(g, PST_MEM_SOURCE_KMOD, imports, sizeof(imports));
	}
	snprintf(text + len, size - len, "%s%s (%s%s%s%s; %s)", len ? ", " : "",
		 strrchr(g->path, '/') + 1,
		 g->driver[0] ? g->driver : "unknown driver",
		 g->pci[0] ? " at " : "", g->pci, node,
		 !g->usable   ? "not for this user"
		 : imports[0] ? imports
			      : "nothing here that it could import");
}

void doctor_gpu(const char *path, struct doctor_finding *f)
{
	struct pst_gpu gpus[GPUS_MAX];
	uint32_t nr = pst_gpu_list(gpus, GPUS_MAX);
	char text[240] = "";

	for (uint32_t i = 0; i < nr; i++)
		list_gpu(&gpus[i], text, sizeof(text));
	if (nr)
		doctor_say(f, DOCTOR_OK, "%s", text);
	else if (!access("/dev/nvidiactl", F_OK))
		doctor_say(f, DOCTOR_OK,
			   "NVIDIA's driver without a render node; none is "
			   "needed");
	else
		doctor_say(f, DOCTOR_OK, "no render node; none is needed");
}
