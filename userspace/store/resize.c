// SPDX-License-Identifier: MIT
/*
 * Giving memory back to the kernel in mid-run, and taking it again: whole
 * regions, so that huge pages stay whole.
 *
 * Knows nothing of why.  Called between sets, never on the way of a token.
 */
#include <assert.h>
#include <errno.h>
#include <string.h>

#include "store_priv.h"

/* Reads that nobody waits for may still be landing anywhere. */
static void quiesce(struct pst_store *s)
{
	pst_prefetch_forget(s);
	while (pst_io_outstanding(s->io))
		pst_slots_reap(s, true, NULL);
}

static struct region *region_of(const struct pst_store *s, uint32_t slot)
{
	/* All regions but the last have as many slots as the first. */
	return &s->regions[slot / s->regions[0].nr_slots];
}

/* The region that is emptied with the fewest experts to be moved. */
static struct region *emptiest(struct pst_store *s)
{
	struct region *best = NULL;

	for (uint32_t i = 0; i < s->nr_regions; i++)
		s->regions[i].nr_free = 0;
	for (uint32_t i = 0; i < s->nr_free; i++)
		region_of(s, s->free[i])->nr_free++;
	for (uint32_t i = 0; i < s->nr_regions; i++) {
		struct region *g = &s->regions[i];

		if (g->away)
			continue;
		if (!best ||
		    g->nr_slots - g->nr_free < best->nr_slots - best->nr_free)
			best = g;
	}
	return best;
}

/* Take a region's slots off the free stack. */
static void unfree(struct pst_store *s, const struct region *g)
{
	uint32_t kept = 0;

	for (uint32_t i = 0; i < s->nr_free; i++)
		if (region_of(s, s->free[i]) != g)
			s->free[kept++] = s->free[i];
	s->nr_free = kept;
}

static void move_expert(struct pst_store *s, uint32_t key, uint32_t to)
{
	struct slot *from = &s->slots[s->slot_of[key]], *sl = &s->slots[to];

	memcpy(sl->base, from->base, s->slot_bytes);
	sl->layer = from->layer;
	sl->expert = from->expert;
	sl->guess = from->guess;
	sl->error = 0;
	sl->nr_reads = 0;
	for (uint32_t p = 0; p < PST_STORE_PARTS; p++)
		sl->part[p] = from->part[p]
				      ? sl->base + (from->part[p] - from->base)
				      : NULL;
	s->slot_of[key] = to;
}

/* The experts that stay find room in other regions: enough was evicted. */
static void move_out(struct pst_store *s, const struct region *g)
{
	uint32_t nr_keys = s->nr_layers * s->nr_experts;

	for (uint32_t key = 0; key < nr_keys; key++) {
		uint32_t slot = s->slot_of[key];

		if (slot == NO_SLOT || region_of(s, slot) != g)
			continue;
		assert(s->nr_free);
		move_expert(s, key, s->free[--s->nr_free]);
	}
}

static void add_free(struct pst_store *s, const struct region *g)
{
	for (uint32_t i = g->nr_slots; i--;)
		s->free[s->nr_free++] = g->first_slot + i;
}

static void tell_policy(struct pst_store *s)
{
	if (s->ops->resize)
		s->ops->resize(s->policy, pst_store_nr_slots(s));
}

/* Let go of an empty region's pages. */
static int send_away(struct pst_store *s, struct region *g)
{
	int rc = g->io < 0 ? 0 : pst_io_drop_region(s->io, g->io);

	if (rc)
		return rc;
	rc = pst_mem_discard(&g->mem);
	if (rc) {
		if (g->io >= 0)
			pst_io_renew_region(s->io, g->io);
		return rc;
	}
	g->away = true;
	s->nr_away += g->nr_slots;
	return 0;
}

static int shrink_by_one(struct pst_store *s)
{
	struct region *g;
	int rc;

	/* Enough for any region: the first one is the largest. */
	while (s->nr_free < s->regions[0].nr_slots) {
		uint32_t slot = pst_slot_evict(s);

		assert(slot != NO_SLOT);
		s->free[s->nr_free++] = slot;
	}
	g = emptiest(s);
	unfree(s, g);
	move_out(s, g);
	rc = send_away(s, g);
	if (rc)
		add_free(s, g);
	return rc;
}

int pst_store_shrink(struct pst_store *s, uint32_t nr_slots)
{
	int rc = 0;

	assert(!s->nr_left);
	/* A named pool's memory is the next process's. */
	if (s->mode != PST_STORE_STREAM || s->keep.on)
		return 0;
	quiesce(s);
	while (!rc &&
	       pst_store_nr_slots(s) >= nr_slots + s->regions[0].nr_slots)
		rc = shrink_by_one(s);
	tell_policy(s);
	return rc;
}

int pst_store_grow(struct pst_store *s, uint32_t nr_slots,
		   struct pst_diag *diag)
{
	int rc = 0;

	assert(!s->nr_left);
	if (s->mode != PST_STORE_STREAM)
		return 0;
	for (uint32_t i = 0; i < s->nr_regions && !rc; i++) {
		struct region *g = &s->regions[i];

		if (!g->away || pst_store_nr_slots(s) + g->nr_slots > nr_slots)
			continue;
		rc = pst_mem_refill(&g->mem, diag);
		if (rc)
			break;
		if (g->io >= 0)
			rc = pst_io_renew_region(s->io, g->io);
		g->away = false;
		s->nr_away -= g->nr_slots;
		add_free(s, g);
	}
	tell_policy(s);
	return rc;
}

uint64_t pst_store_region_bytes(const struct pst_store *s)
{
	return s->nr_regions ? s->regions[0].mem.size_bytes : 0;
}
