// SPDX-License-Identifier: MIT
/*
 * One slot: how it is had, filled and given up.
 *
 * Serves wanted experts and guesses alike; knows neither's queue.
 */
#include <string.h>

#include "probe.h"
#include "store_priv.h"

static bool slot_held(const void *ctx, uint32_t key)
{
	const struct pst_store *s = ctx;
	const struct slot *sl = &s->slots[s->slot_of[key]];

	return sl->pins || sl->nr_pending;
}

static bool slot_held_or_guarded(const void *ctx, uint32_t key)
{
	const struct pst_store *s = ctx;

	return s->guarded[key] || slot_held(ctx, key);
}

/* The policy's victim makes room. */
static uint32_t evict(struct pst_store *s,
		      bool (*held)(const void *ctx, uint32_t key))
{
	uint32_t key = s->ops->victim(s->policy, held, s), slot;

	if (key == PST_POLICY_NONE)
		return NO_SLOT;
	slot = s->slot_of[key];
	s->slot_of[key] = NO_SLOT;
	PST_PROBE2(evict, key / s->nr_experts, key % s->nr_experts);
	s->stats.evictions++;
	s->stats.prefetch_wasted += s->slots[slot].guess;
	return slot;
}

uint32_t pst_slot_claim_spare(struct pst_store *s)
{
	if (s->nr_free)
		return s->free[--s->nr_free];
	return evict(s, slot_held_or_guarded);
}

uint32_t pst_slot_evict(struct pst_store *s)
{
	return evict(s, slot_held);
}

uint32_t pst_slot_claim(struct pst_store *s)
{
	uint32_t slot = pst_slot_claim_spare(s);

	return slot == NO_SLOT ? pst_slot_evict(s) : slot;
}

/* First byte of a part in its file. */
static uint64_t part_at(const struct pst_store *s, const struct slot *sl,
			uint32_t p)
{
	const struct pst_store_part *part = &s->layers[sl->layer].part[p];

	return part->off_bytes + sl->expert * part->size_bytes;
}

/* Whole blocks are read: a part begins where it does in its block. */
void pst_slot_place(const struct pst_store *s, struct slot *sl, uint32_t key)
{
	uint64_t align = pst_io_align(s->io);

	sl->layer = key / s->nr_experts;
	sl->expert = key % s->nr_experts;
	for (uint32_t p = 0; p < s->layers[sl->layer].nr_parts; p++) {
		uint64_t at = part_at(s, sl, p);

		sl->part[p] = sl->base + s->part_off[p] +
			      (at - pst_align_down(at, align));
	}
}

/* Append the reads of one part, split and widened to whole blocks. */
static void add_part_reads(struct pst_store *s, struct slot *sl, uint32_t p,
			   struct read_list *list)
{
	const struct pst_store_part *part = &s->layers[sl->layer].part[p];
	uint64_t align = pst_io_align(s->io);
	uint64_t at = part_at(s, sl, p);
	uint64_t end = at + part->size_bytes;
	uint64_t first = pst_align_down(at, align);
	uint8_t *buf = sl->base + s->part_off[p];

	for (uint64_t off = first; off < end; off += s->split_bytes) {
		struct pst_io_read *r = &sl->reads[sl->nr_pending++];
		uint64_t stop = PST_MIN(end, off + s->split_bytes);

		*r = (struct pst_io_read){
			.file = part->file,
			.off_bytes = off,
			.len_bytes =
				(uint32_t)(pst_align_up(stop, align) - off),
			.need_bytes = (uint32_t)(stop - off),
			.buf = buf + (off - first),
			.region = sl->region,
			.owner = sl,
		};
		*list->tail = r;
		list->tail = &r->next;
	}
}

void pst_slot_fill(struct pst_store *s, uint32_t slot, uint32_t key, bool ahead,
		   struct read_list *list)
{
	struct slot *sl = &s->slots[slot];

	pst_keep_begin(s, slot, key);
	pst_slot_place(s, sl, key);
	sl->nr_pending = 0;
	sl->error = 0;
	sl->guess = false;
	sl->demand = false;
	s->slot_of[key] = slot;
	if (ahead && s->ops->ahead)
		s->ops->ahead(s->policy, key);
	else
		s->ops->insert(s->policy, key);
	for (uint32_t p = 0; p < s->layers[sl->layer].nr_parts; p++) {
		sl->nr_front_reads = sl->nr_pending;
		add_part_reads(s, sl, p, list);
	}
	sl->nr_reads = sl->nr_pending;
}

bool pst_slot_landed(struct pst_store *s, const struct pst_io_read *r)
{
	struct slot *sl = r->owner;

	if (r->result && !sl->error) {
		sl->error = r->result;
		sl->file = r->file;
		sl->off_bytes = r->off_bytes + r->done_bytes;
	}
	if (sl->demand)
		s->demand_reads--;
	if (--sl->nr_pending)
		return false;
	if (!sl->demand)
		s->prefetch_slots--;
	sl->demand = false;
	if (!sl->error)
		pst_keep_end(s, sl);
	return true;
}

void pst_slot_drop(struct pst_store *s, struct slot *sl)
{
	uint32_t key = key_of(s, sl->layer, sl->expert);

	s->ops->remove(s->policy, key);
	s->slot_of[key] = NO_SLOT;
	sl->pins = 0;
	s->free[s->nr_free++] = (uint32_t)(sl - s->slots);
}
