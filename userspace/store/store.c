// SPDX-License-Identifier: MIT
/*
 * The residency table and the life of a slot: free, reading, ready.
 *
 * Owns the slots' memory and the wanted set.  Must not know what an expert
 * computes, nor how a read is carried out.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "store_priv.h"

#define NO_SLOT UINT32_MAX

static bool slot_pinned(const void *ctx, uint32_t key)
{
	const struct pst_store *s = ctx;
	const struct slot *sl = &s->slots[s->slot_of[key]];

	return sl->pins || sl->nr_pending;
}

/* A slot for a new expert: a free one, else the policy's victim's. */
static uint32_t claim_slot(struct pst_store *s)
{
	uint32_t key, slot;

	if (s->nr_free)
		return s->free[--s->nr_free];
	key = s->ops->victim(s->policy, slot_pinned, s);
	if (key == PST_POLICY_NONE)
		return NO_SLOT;
	slot = s->slot_of[key];
	s->slot_of[key] = NO_SLOT;
	s->stats.evictions++;
	return slot;
}

/* Append the reads of one part, split and widened to whole blocks. */
static void add_part_reads(struct pst_store *s, struct slot *sl, uint32_t p,
			   struct read_list *list)
{
	const struct pst_store_part *part = &s->layers[sl->layer].part[p];
	uint64_t align = pst_io_align(s->io);
	uint64_t at = part->off_bytes + sl->expert * part->size_bytes;
	uint64_t end = at + part->size_bytes;
	uint64_t first = pst_align_down(at, align);
	uint8_t *buf = sl->base + s->part_off[p];

	sl->part[p] = buf + (at - first);
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

static void start_reads(struct pst_store *s, uint32_t slot, uint32_t layer,
			uint32_t expert, struct read_list *list)
{
	struct slot *sl = &s->slots[slot];
	uint32_t key = layer * s->nr_experts + expert;

	sl->layer = layer;
	sl->expert = expert;
	sl->nr_pending = 0;
	sl->error = 0;
	s->slot_of[key] = slot;
	s->ops->insert(s->policy, key);
	for (uint32_t p = 0; p < s->layers[layer].nr_parts; p++)
		add_part_reads(s, sl, p, list);
}

/* Give slots and reads to wanted experts that have none, in their order. */
static void start_wanted(struct pst_store *s)
{
	struct read_list list = { .head = NULL, .tail = &list.head };

	while (s->next_miss < s->nr_misses) {
		uint32_t expert = s->misses[s->next_miss];
		uint32_t slot = claim_slot(s);

		if (slot == NO_SLOT)
			break;
		start_reads(s, slot, s->layer, expert, &list);
		s->slots[slot].pins++;
		s->next_miss++;
	}
	*list.tail = NULL;
	if (list.head)
		pst_io_submit(s->io, list.head);
}

static void count_distinct(struct pst_store *s, uint32_t layer,
			   const uint32_t *ids, uint32_t nr)
{
	bool *seen = s->seen + (size_t)layer * s->nr_experts;

	for (uint32_t i = 0; i < nr; i++) {
		s->stats.distinct += !seen[ids[i]];
		seen[ids[i]] = true;
	}
}

void pst_store_route(struct pst_store *s, uint32_t layer, const uint32_t *ids,
		     uint32_t nr_tokens, uint32_t nr_used)
{
	struct pst_policy_route r = { .layer = layer,
				      .ids = ids,
				      .nr_tokens = nr_tokens,
				      .nr_used = nr_used };

	if (s->mode == PST_STORE_STREAM && s->ops->route)
		s->ops->route(s->policy, &r);
}

void pst_store_begin(struct pst_store *s, uint32_t layer, const uint32_t *ids,
		     uint32_t nr)
{
	assert(!s->nr_left && nr <= s->nr_experts);
	s->layer = layer;
	s->nr_left = nr;
	s->nr_to_give = nr;
	s->nr_misses = 0;
	s->next_miss = 0;
	s->nr_ready = 0;
	count_distinct(s, layer, ids, nr);
	if (s->mode == PST_STORE_MMAP) {
		memcpy(s->ready, ids, nr * sizeof(*ids));
		s->nr_ready = nr;
		return;
	}
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t key = layer * s->nr_experts + ids[i];
		uint32_t slot = s->slot_of[key];

		s->want[ids[i]] = true;
		if (slot == NO_SLOT) {
			s->misses[s->nr_misses++] = ids[i];
			continue;
		}
		s->slots[slot].pins++;
		s->ops->touch(s->policy, key);
		if (!s->slots[slot].nr_pending)
			s->ready[s->nr_ready++] = ids[i];
	}
	s->stats.hits += nr - s->nr_misses;
	s->stats.misses += s->nr_misses;
	start_wanted(s);
}

/* An expert whose read failed leaves the table: its bytes are not whole. */
static void drop_failed(struct pst_store *s, struct slot *sl)
{
	uint32_t key = sl->layer * s->nr_experts + sl->expert;

	s->ops->remove(s->policy, key);
	s->slot_of[key] = NO_SLOT;
	sl->pins = 0;
	s->free[s->nr_free++] = (uint32_t)(sl - s->slots);
}

static void finish_slot(struct pst_store *s, struct slot *sl,
			struct pst_diag *diag)
{
	bool wanted = s->nr_left && sl->layer == s->layer &&
		      s->want[sl->expert];

	if (!sl->error) {
		if (wanted)
			s->ready[s->nr_ready++] = sl->expert;
		return;
	}
	if (wanted) {
		/* Whatever the drive called it, it is an I/O error to us. */
		s->failed = -EIO;
		pst_diag_set_at(
			diag, -EIO, pst_io_path(s->io, sl->file), sl->off_bytes,
			"cannot read expert %u of layer %u: %s; see dmesg",
			sl->expert, sl->layer, strerror(-sl->error));
	}
	drop_failed(s, sl);
}

static void reap(struct pst_store *s, bool wait, struct pst_diag *diag)
{
	struct pst_io_read *r = pst_io_reap(s->io, wait), *next;

	for (; r; r = next) {
		struct slot *sl = r->owner;

		next = r->next;
		if (r->result && !sl->error) {
			sl->error = r->result;
			sl->file = r->file;
			sl->off_bytes = r->off_bytes + r->done_bytes;
		}
		if (!--sl->nr_pending)
			finish_slot(s, sl, diag);
	}
}

static uint32_t give_ready(struct pst_store *s, struct pst_expert *out,
			   uint32_t max)
{
	const struct pst_store_layer *l = &s->layers[s->layer];
	uint32_t nr = PST_MIN(max, s->nr_ready);

	for (uint32_t i = 0; i < nr; i++) {
		uint32_t expert = s->ready[i];
		uint32_t key = s->layer * s->nr_experts + expert;

		out[i].expert = expert;
		for (uint32_t p = 0; p < l->nr_parts; p++)
			out[i].part[p] =
				s->mode == PST_STORE_MMAP
					? l->part[p].map +
						  expert * l->part[p].size_bytes
					: s->slots[s->slot_of[key]].part[p];
	}
	s->nr_ready -= nr;
	s->nr_to_give -= nr;
	memmove(s->ready, s->ready + nr, s->nr_ready * sizeof(*s->ready));
	return nr;
}

/* Reads of an aborted set may have filled every slot when this one began: as
 * they land, their slots serve the experts that found none.
 */
static void collect(struct pst_store *s, bool wait, struct pst_diag *diag)
{
	reap(s, wait, diag);
	if (!s->failed && s->next_miss < s->nr_misses)
		start_wanted(s);
}

int pst_store_take(struct pst_store *s, struct pst_expert *out, uint32_t max,
		   bool wait, struct pst_diag *diag)
{
	if (s->mode == PST_STORE_STREAM && pst_io_outstanding(s->io))
		collect(s, false, diag);
	while (!s->nr_ready && s->nr_to_give && wait && !s->failed) {
		uint64_t start = pst_now_ns();

		/* Else the caller holds every slot and waits for itself. */
		assert(pst_io_outstanding(s->io));
		collect(s, true, diag);
		s->stats.wait_ns += pst_now_ns() - start;
	}
	if (s->failed)
		return s->failed;
	return (int)give_ready(s, out, max);
}

void pst_store_done(struct pst_store *s, uint32_t expert)
{
	assert(s->nr_left);
	s->nr_left--;
	if (s->mode == PST_STORE_MMAP)
		return;
	s->want[expert] = false;
	s->slots[s->slot_of[s->layer * s->nr_experts + expert]].pins--;
	if (s->next_miss < s->nr_misses)
		start_wanted(s);
}

void pst_store_end(struct pst_store *s)
{
	for (uint32_t e = 0; s->nr_left && s->want && e < s->nr_experts; e++) {
		uint32_t slot = s->slot_of[s->layer * s->nr_experts + e];

		if (s->want[e] && slot != NO_SLOT && s->slots[slot].pins)
			s->slots[slot].pins--;
		s->want[e] = false;
	}
	s->nr_left = 0;
	s->nr_to_give = 0;
	s->nr_ready = 0;
	s->nr_misses = 0;
	s->next_miss = 0;
	s->failed = 0;
}

static int load_batch(struct pst_store *s, uint32_t layer, uint32_t first,
		      uint32_t nr, struct pst_diag *diag)
{
	struct pst_expert got;
	int rc;

	for (uint32_t i = 0; i < nr; i++)
		s->ids[i] = first + i;
	pst_store_begin(s, layer, s->ids, nr);
	while ((rc = pst_store_take(s, &got, 1, true, diag)) > 0)
		pst_store_done(s, got.expert);
	pst_store_end(s);
	return rc;
}

int pst_store_load_all(struct pst_store *s,
		       void (*progress)(void *ctx, uint64_t done, uint64_t all),
		       void *ctx, struct pst_diag *diag)
{
	struct pst_store_stats before = s->stats;
	uint32_t nr_keys = s->nr_layers * s->nr_experts;
	uint32_t all = PST_MIN(s->nr_slots, nr_keys), done = 0;
	int rc = 0;

	for (uint32_t l = 0; s->mode == PST_STORE_STREAM && l < s->nr_layers &&
			     done < all && !rc;
	     l++) {
		uint32_t nr = PST_MIN(s->nr_experts, all - done);

		if (!s->layers[l].nr_parts)
			continue;
		rc = load_batch(s, l, 0, nr, diag);
		done += nr;
		if (progress)
			progress(ctx, done, all);
	}
	s->stats = before;
	memset(s->seen, 0, (size_t)nr_keys * sizeof(*s->seen));
	return rc;
}

uint32_t pst_store_nr_slots(const struct pst_store *s)
{
	return s->nr_slots;
}

const struct pst_mem *pst_store_mem(const struct pst_store *s)
{
	return s->nr_regions ? &s->regions[0] : NULL;
}

void pst_store_stats_read(const struct pst_store *s,
			  struct pst_store_stats *out)
{
	*out = s->stats;
}
