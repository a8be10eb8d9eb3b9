// SPDX-License-Identifier: MIT
/*
 * Creation and destruction of a store: everything that the token path uses is
 * reserved, touched and registered here.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "store_priv.h"

#define REGION_BYTES (128 * PST_MIB)
/* One buffer of a ring holds at most this: the kernel's bound. */
#define REGION_BYTES_MAX PST_GIB

/* A part may start and end inside a block: one block of slack in front, and
 * the end rounded up.
 */
static uint64_t part_room(const struct pst_store_layer *layers,
			  uint32_t nr_layers, uint32_t p, uint32_t align)
{
	uint64_t most = 0;

	for (uint32_t l = 0; l < nr_layers; l++)
		if (p < layers[l].nr_parts)
			most = PST_MAX(most, layers[l].part[p].size_bytes);
	return most ? pst_align_up(most, align) + align : 0;
}

uint64_t pst_store_slot_bytes(const struct pst_store_layer *layers,
			      uint32_t nr_layers, uint32_t align)
{
	uint64_t sum = 0;

	for (uint32_t p = 0; p < PST_STORE_PARTS; p++)
		sum += part_room(layers, nr_layers, p, align);
	return sum;
}

/*
 * A region is small enough to be given back and taken again in mid-run, big
 * enough that the ring's table of buffers stays short; of the sizes near that,
 * the one that rounding up to whole pages wastes least of.
 */
static uint32_t slots_per_region(uint64_t slot_bytes, uint64_t page_bytes,
				 uint64_t region_bytes)
{
	uint64_t want = region_bytes ? region_bytes
				     : PST_MAX(REGION_BYTES, page_bytes);
	uint64_t most, best;
	double least = INFINITY;

	if (!slot_bytes || slot_bytes > REGION_BYTES_MAX)
		return 0;
	most = best = PST_MAX(want / slot_bytes, 1);
	for (uint64_t n = most; n && n >= most - most / 4; n--) {
		uint64_t used = n * slot_bytes;
		double waste = (double)(pst_align_up(used, page_bytes) - used) /
			       (double)used;

		if (waste >= least)
			continue;
		least = waste;
		best = n;
	}
	return (uint32_t)best;
}

uint64_t pst_store_arena_bytes(uint64_t slot_bytes, uint32_t nr_slots,
			       uint64_t page_bytes)
{
	uint32_t per = slots_per_region(slot_bytes, page_bytes, 0);
	uint64_t sum;

	if (!per)
		return UINT64_MAX;
	sum = (nr_slots / per) * pst_align_up(per * slot_bytes, page_bytes);
	if (nr_slots % per)
		sum += pst_align_up((nr_slots % per) * slot_bytes, page_bytes);
	return sum;
}

uint32_t pst_store_fit_slots(uint64_t slot_bytes, uint64_t bytes,
			     uint64_t page_bytes)
{
	uint64_t lo = 0, hi = slot_bytes ? bytes / slot_bytes : 0;

	hi = PST_MIN(hi, (uint64_t)UINT32_MAX - 1);
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo + 1) / 2;

		if (pst_store_arena_bytes(slot_bytes, (uint32_t)mid,
					  page_bytes) <= bytes)
			lo = mid;
		else
			hi = mid - 1;
	}
	return (uint32_t)lo;
}

static uint32_t reads_per_slot(const struct pst_store_layer *layers,
			       uint32_t nr_layers, uint32_t align,
			       uint32_t split_bytes)
{
	uint64_t nr = 0;

	for (uint32_t p = 0; p < PST_STORE_PARTS; p++)
		nr += (part_room(layers, nr_layers, p, align) + split_bytes -
		       1) /
		      split_bytes;
	return (uint32_t)nr;
}

uint64_t pst_store_meta_bytes(const struct pst_store_layer *layers,
			      uint32_t nr_layers, uint32_t align,
			      uint32_t split_bytes)
{
	return sizeof(struct slot) + sizeof(uint32_t) +
	       (uint64_t)reads_per_slot(layers, nr_layers, align, split_bytes) *
		       sizeof(struct pst_io_read);
}

static int map_region(struct pst_store *s, const struct pst_store_args *args,
		      uint32_t first, uint32_t nr, struct pst_diag *diag)
{
	struct pst_mem_args want = { .size_bytes = nr * s->slot_bytes,
				     .want = args->huge,
				     .node = args->node,
				     .pool = args->pool };
	struct region *g = &s->regions[s->nr_regions];
	int rc = pst_mem_map(&want, &g->mem, diag);

	if (rc)
		return rc;
	s->nr_regions++;
	g->first_slot = first;
	g->nr_slots = nr;
	rc = pst_io_add_region(s->io, g->mem.addr,
			       pst_align_up(want.size_bytes, 4096));
	/* Past io's table, reads go without registration. */
	g->io = PST_MAX(rc, -1);
	return rc == -ENOSPC ? 0 : PST_MIN(rc, 0);
}

static void place_slots(struct pst_store *s, const struct region *g,
			uint32_t nr_reads)
{
	for (uint32_t i = 0; i < g->nr_slots; i++) {
		uint32_t nr = g->first_slot + i;
		struct slot *sl = &s->slots[nr];

		sl->base = (uint8_t *)g->mem.addr + i * s->slot_bytes;
		sl->region = g->io;
		sl->reads = s->reads + (uint64_t)nr * nr_reads;
		/* Popped from the end: slots are used in address order. */
		s->free[s->nr_slots - 1 - nr] = nr;
	}
}

static int make_slots(struct pst_store *s, const struct pst_store_args *args,
		      struct pst_diag *diag)
{
	uint64_t page = args->huge == PST_MEM_HUGE_1G ? PST_GIB : 2 * PST_MIB;
	uint32_t per =
		slots_per_region(s->slot_bytes, page, args->region_bytes);
	uint32_t nr_reads = reads_per_slot(s->layers, s->nr_layers,
					   pst_io_align(s->io), s->split_bytes);

	if (!per)
		return pst_diag_set(diag, -EINVAL,
				    "one expert is %" PRIu64
				    " bytes: more than 1 GiB",
				    s->slot_bytes);
	if (args->keep) {
		int rc = pst_keep_open(s, args, per, diag);

		if (rc)
			return rc;
	}
	s->regions = pst_calloc(s->nr_slots / per + 1, sizeof(*s->regions));
	s->reads =
		pst_calloc((uint64_t)s->nr_slots * nr_reads, sizeof(*s->reads));
	if (!s->reads || !s->regions)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->nr_slots; i += per) {
		int rc = map_region(s, args, i, PST_MIN(per, s->nr_slots - i),
				    diag);

		if (rc)
			return rc;
		place_slots(s, &s->regions[s->nr_regions - 1], nr_reads);
	}
	s->nr_free = s->nr_slots;
	pst_keep_adopt(s);
	return 0;
}

static int make_tables(struct pst_store *s, const struct pst_store_args *args)
{
	uint32_t nr_keys = s->nr_layers * s->nr_experts;

	s->layers = pst_calloc(s->nr_layers, sizeof(*s->layers));
	s->slots = pst_calloc(s->nr_slots, sizeof(*s->slots));
	s->free = pst_calloc(s->nr_slots, sizeof(*s->free));
	s->slot_of = pst_calloc(nr_keys, sizeof(*s->slot_of));
	s->seen = pst_calloc(nr_keys, sizeof(*s->seen));
	s->guesses_max = 2 * s->nr_experts;
	s->guesses = pst_calloc(s->guesses_max, sizeof(*s->guesses));
	s->warm = pst_calloc(s->nr_slots, sizeof(*s->warm));
	s->guarded = pst_calloc(nr_keys, sizeof(*s->guarded));
	s->want = pst_calloc(s->nr_experts, sizeof(*s->want));
	s->ready = pst_calloc(s->nr_experts, sizeof(*s->ready));
	s->misses = pst_calloc(s->nr_experts, sizeof(*s->misses));
	s->ids = pst_calloc(s->nr_experts, sizeof(*s->ids));
	s->by_layer = pst_calloc(s->nr_layers, sizeof(*s->by_layer));
	s->pace.after = pst_calloc(s->nr_layers, sizeof(*s->pace.after));
	s->policy = s->ops->create(&(struct pst_policy_geometry){
		.nr_layers = s->nr_layers,
		.nr_experts = s->nr_experts,
		.nr_slots = s->nr_slots,
		.nr_per_token = args->nr_per_token,
	});
	if (!s->guesses || !s->warm || !s->guarded || !s->layers || !s->slots ||
	    !s->free || !s->slot_of || !s->seen || !s->want || !s->ready ||
	    !s->misses || !s->ids || !s->by_layer || !s->pace.after ||
	    !s->policy)
		return -ENOMEM;
	memcpy(s->layers, args->layers, s->nr_layers * sizeof(*s->layers));
	memset(s->slot_of, 0xff, (size_t)nr_keys * sizeof(*s->slot_of));
	return 0;
}

static void place_parts(struct pst_store *s)
{
	uint32_t align = pst_io_align(s->io);
	uint64_t at = 0;

	for (uint32_t p = 0; p < PST_STORE_PARTS; p++) {
		s->part_off[p] = at;
		at += part_room(s->layers, s->nr_layers, p, align);
	}
	s->slot_bytes = at;
}

int pst_store_create(const struct pst_store_args *args, struct pst_store **out,
		     struct pst_diag *diag)
{
	struct pst_store *s = calloc(1, sizeof(*s));
	int rc;

	if (!s)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	s->mode = args->mode;
	s->io = args->io;
	s->nr_layers = args->nr_layers;
	s->nr_experts = args->nr_experts;
	s->nr_slots = args->mode == PST_STORE_MMAP ? 0 : args->nr_slots;
	s->split_bytes = args->split_bytes;
	s->early = args->early;
	s->depth = args->depth ? args->depth : UINT32_MAX;
	s->ops = args->policy;
	rc = make_tables(s, args);
	if (!rc && args->mode == PST_STORE_STREAM) {
		place_parts(s);
		/* What is read ahead is bounded in slots, by the pace. */
		pst_io_set_idle_bytes(s->io, UINT64_MAX);
		rc = make_slots(s, args, diag);
	}
	if (rc) {
		pst_store_destroy(s);
		return pst_diag_set(diag, rc, "cannot make the expert store");
	}
	*out = s;
	return 0;
}

void pst_store_destroy(struct pst_store *s)
{
	if (!s)
		return;
	while (s->io && pst_io_outstanding(s->io))
		pst_io_reap(s->io, true);
	for (uint32_t i = 0; i < s->nr_regions; i++)
		pst_mem_unmap(&s->regions[i].mem);
	pst_keep_close(s);
	if (s->policy)
		s->ops->destroy(s->policy);
	free(s->layers);
	free(s->slots);
	free(s->reads);
	free(s->regions);
	free(s->slot_of);
	free(s->seen);
	free(s->free);
	free(s->guesses);
	free(s->guarded);
	free(s->warm);
	free(s->want);
	free(s->ready);
	free(s->misses);
	free(s->ids);
	free(s->by_layer);
	free(s->pace.after);
	free(s);
}
