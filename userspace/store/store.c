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

#include "probe.h"
#include "store_priv.h"

/* The wanted set waits for what is still on its way into a slot. */
static void await_slot(struct pst_store *s, struct slot *sl)
{
	sl->pins++;
	sl->begun = false;
	if (!sl->nr_pending || sl->demand)
		return;
	sl->demand = true;
	s->demand_reads += sl->nr_pending;
}

/* Give slots and reads to wanted experts that have none, in their order. */
static void start_wanted(struct pst_store *s)
{
	struct read_list list = { .head = NULL, .tail = &list.head };

	while (s->next_miss < s->nr_misses) {
		uint32_t expert = s->misses[s->next_miss];
		uint32_t slot = pst_slot_claim(s);

		if (slot == NO_SLOT)
			break;
		pst_slot_fill(s, slot, key_of(s, s->layer, expert), false,
			      &list);
		await_slot(s, &s->slots[slot]);
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

void pst_store_route(struct pst_store *s, const struct pst_policy_route *r)
{
	if (s->mode != PST_STORE_STREAM)
		return;
	s->wide = r->nr_tokens > 1;
	pst_io_set_depth(s->io, s->wide ? UINT32_MAX : s->depth);
	/* Where everything fits there is nothing to learn. */
	if (s->ops->route && s->nr_slots < s->nr_layers * s->nr_experts)
		s->ops->route(s->policy, r);
}

/* A wanted expert is there, or on its way because somebody guessed it: to the
 * policy, that is the first time that it is wanted.
 */
static void want_slot(struct pst_store *s, struct slot *sl, uint32_t key)
{
	if (!sl->guess) {
		s->ops->touch(s->policy, key);
	} else {
		s->ops->remove(s->policy, key);
		s->ops->insert(s->policy, key);
		s->stats.prefetch_used++;
		s->by_layer[sl->layer].used++;
		s->stats.prefetch_late += sl->nr_pending != 0;
		sl->guess = false;
	}
	if (sl->nr_pending && !sl->demand)
		pst_prefetch_promote(s, sl);
	await_slot(s, sl);
	if (!sl->nr_pending)
		s->ready[s->nr_ready++] = sl->expert;
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
		uint32_t key = key_of(s, layer, ids[i]);
		uint32_t slot = s->slot_of[key];

		s->want[ids[i]] = true;
		if (slot == NO_SLOT) {
			PST_PROBE2(miss, layer, ids[i]);
			s->misses[s->nr_misses++] = ids[i];
			continue;
		}
		PST_PROBE2(hit, layer, ids[i]);
		want_slot(s, &s->slots[slot], key);
	}
	pst_prefetch_begin(s, layer);
	pst_pace_begin(s, s->nr_misses);
	s->stats.hits += nr - s->nr_misses;
	s->stats.misses += s->nr_misses;
	start_wanted(s);
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
	pst_slot_drop(s, sl);
}

/* The ring has been looked at; these have ended. */
static void landed(struct pst_store *s, struct pst_io_read *r,
		   struct pst_diag *diag)
{
	bool waited = s->demand_reads;
	struct pst_io_read *next;

	pst_pace_look(s);
	for (; r; r = next) {
		next = r->next;
		if (pst_slot_landed(s, r))
			finish_slot(s, r->owner, diag);
	}
	if (waited && !s->demand_reads)
		pst_pace_quiet(s);
}

void pst_slots_reap(struct pst_store *s, bool wait, struct pst_diag *diag)
{
	landed(s, pst_io_reap(s->io, wait), diag);
}

void pst_store_landed(struct pst_store *s, struct pst_io_read *list)
{
	assert(!s->nr_left);
	landed(s, list, NULL);
}

static void give_mapped(const struct pst_store *s, uint32_t expert,
			struct pst_expert *out)
{
	const struct pst_store_layer *l = &s->layers[s->layer];

	out->expert = expert;
	out->begin = true;
	out->finish = true;
	for (uint32_t p = 0; p < l->nr_parts; p++)
		out->part[p] = l->part[p].map + expert * l->part[p].size_bytes;
}

static void give_slot(const struct slot *sl, struct pst_expert *out)
{
	out->expert = sl->expert;
	out->begin = !sl->begun;
	out->finish = !sl->nr_pending;
	memcpy(out->part, sl->part, sizeof(out->part));
}

static struct slot *wanted_slot(const struct pst_store *s, uint32_t expert)
{
	return &s->slots[s->slot_of[key_of(s, s->layer, expert)]];
}

static uint32_t give_ready(struct pst_store *s, struct pst_expert *out,
			   uint32_t max)
{
	uint32_t nr = PST_MIN(max, s->nr_ready);

	for (uint32_t i = 0; i < nr; i++) {
		if (s->mode == PST_STORE_MMAP)
			give_mapped(s, s->ready[i], &out[i]);
		else
			give_slot(wanted_slot(s, s->ready[i]), &out[i]);
	}
	s->nr_ready -= nr;
	s->nr_to_give -= nr;
	memmove(s->ready, s->ready + nr, s->nr_ready * sizeof(*s->ready));
	return nr;
}

static bool front_has_landed(const struct slot *sl)
{
	for (uint32_t i = 0; i < sl->nr_front_reads; i++) {
		const struct pst_io_read *r = &sl->reads[i];

		if (r->state != PST_IO_HOME || r->done_bytes < r->need_bytes)
			return false;
	}
	return sl->nr_front_reads && !sl->error;
}

/* Nothing is whole: give what only lacks its last matrix. */
static uint32_t give_early(struct pst_store *s, struct pst_expert *out,
			   uint32_t max)
{
	uint32_t nr = 0;

	for (uint32_t e = 0; s->early && e < s->nr_experts && nr < max; e++) {
		uint32_t slot = s->slot_of[key_of(s, s->layer, e)];
		struct slot *sl = &s->slots[slot];

		if (!s->want[e] || slot == NO_SLOT || !sl->nr_pending ||
		    sl->begun || !front_has_landed(sl))
			continue;
		give_slot(sl, &out[nr++]);
		sl->begun = true;
		s->stats.begun_early++;
	}
	return nr;
}

/* Reads of an aborted set may have filled every slot when this one began: as
 * they land, their slots serve the experts that found none.
 */
static void collect(struct pst_store *s, bool wait, struct pst_diag *diag)
{
	pst_slots_reap(s, wait, diag);
	if (!s->failed && s->next_miss < s->nr_misses)
		start_wanted(s);
	pst_prefetch_start(s);
}

int pst_store_take(struct pst_store *s, struct pst_expert *out, uint32_t max,
		   bool wait, struct pst_diag *diag)
{
	if (s->mode == PST_STORE_STREAM && pst_io_outstanding(s->io))
		collect(s, false, diag);
	while (!s->nr_ready && s->nr_to_give && wait && !s->failed) {
		uint64_t start = pst_now_ns();
		uint32_t nr = give_early(s, out, max);

		if (nr)
			return (int)nr;
		/* Else the caller holds every slot and waits for itself. */
		assert(pst_io_outstanding(s->io));
		collect(s, true, diag);
		s->stats.wait_ns += pst_now_ns() - start;
	}
	if (s->failed)
		return s->failed;
	return (int)give_ready(s, out, max);
}

bool pst_store_idle(struct pst_store *s)
{
	assert(!s->nr_left);
	if (s->mode != PST_STORE_STREAM || !pst_io_outstanding(s->io))
		return false;
	collect(s, true, NULL);
	return pst_io_outstanding(s->io);
}

void pst_store_done(struct pst_store *s, uint32_t expert)
{
	assert(s->nr_left);
	s->nr_left--;
	if (s->mode == PST_STORE_MMAP)
		return;
	s->want[expert] = false;
	s->slots[s->slot_of[key_of(s, s->layer, expert)]].pins--;
	if (s->ops->done)
		s->ops->done(s->policy, key_of(s, s->layer, expert));
	if (s->next_miss < s->nr_misses)
		start_wanted(s);
}

void pst_store_end(struct pst_store *s)
{
	for (uint32_t e = 0; s->nr_left && s->want && e < s->nr_experts; e++) {
		uint32_t slot = s->slot_of[key_of(s, s->layer, e)];

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

/* The first @nr experts of a layer. */
static int load_layer(struct pst_store *s, uint32_t layer, uint32_t nr,
		      struct pst_diag *diag)
{
	struct pst_expert got;
	int rc;

	for (uint32_t i = 0; i < nr; i++)
		s->ids[i] = i;
	pst_store_begin(s, layer, s->ids, nr);
	while ((rc = pst_store_take(s, &got, 1, true, diag)) > 0)
		if (got.finish)
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
	uint32_t all = PST_MIN(pst_store_nr_slots(s), nr_keys), done = 0;
	int rc = 0;

	for (uint32_t l = 0; s->mode == PST_STORE_STREAM && l < s->nr_layers &&
			     done < all && !rc;
	     l++) {
		uint32_t nr = PST_MIN(s->nr_experts, all - done);

		if (!s->layers[l].nr_parts)
			continue;
		rc = load_layer(s, l, nr, diag);
		done += nr;
		if (progress)
			progress(ctx, done, all);
	}
	s->stats = before;
	memset(s->seen, 0, (size_t)nr_keys * sizeof(*s->seen));
	return rc;
}

uint32_t pst_store_resident(const struct pst_store *s, uint32_t *keys)
{
	uint32_t nr_keys = s->nr_layers * s->nr_experts, nr = 0;

	for (uint32_t k = 0; s->mode == PST_STORE_STREAM && k < nr_keys; k++)
		if (s->slot_of[k] != NO_SLOT &&
		    !s->slots[s->slot_of[k]].nr_pending)
			keys[nr++] = k;
	return nr;
}

bool pst_store_has(const struct pst_store *s, uint32_t layer, uint32_t expert)
{
	return s->mode != PST_STORE_STREAM ||
	       s->slot_of[key_of(s, layer, expert)] != NO_SLOT;
}

uint32_t pst_store_nr_resident(const struct pst_store *s)
{
	return s->nr_slots - s->nr_away - s->nr_free;
}

const char *pst_store_policy(const struct pst_store *s)
{
	return s->ops->name;
}

float pst_store_worth(const struct pst_store *s, uint32_t key)
{
	return s->ops->worth ? s->ops->worth(s->policy, key) : 0.0f;
}

void pst_store_seed(struct pst_store *s, uint32_t key, float worth)
{
	if (s->ops->seed && key < s->nr_layers * s->nr_experts &&
	    s->layers[key / s->nr_experts].nr_parts)
		s->ops->seed(s->policy, key, worth);
}

uint32_t pst_store_nr_slots(const struct pst_store *s)
{
	return s->nr_slots - s->nr_away;
}

const struct pst_mem *pst_store_mem(const struct pst_store *s)
{
	return s->nr_regions ? &s->regions[0].mem : NULL;
}

void pst_store_stats_read(const struct pst_store *s,
			  struct pst_store_stats *out)
{
	*out = s->stats;
}

void pst_store_ahead_read(const struct pst_store *s, uint32_t layer,
			  struct pst_store_ahead *out)
{
	assert(layer < s->nr_layers);
	*out = s->by_layer[layer];
}
