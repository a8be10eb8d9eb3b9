// SPDX-License-Identifier: MIT
/*
 * Reading ahead: experts that a coming layer will probably want are read while
 * the drive would have nothing to do, and not one more.
 *
 * Between the last read that a layer waits for and the first one of the next
 * the ring is looked at now and then, and what has landed is followed by the
 * next guess.  How long it is not looked at is learned for each layer, and so is
 * the drive's rate: their product is the layer's budget, what may be on its way
 * when nothing is wanted.  A guess that is wrong then costs a slot and little
 * time.  Where guesses come from is not known here.
 */
#include <assert.h>
#include <errno.h>
#include <stdlib.h>

#include "store_priv.h"

/* The wanted set's last reads: what they leave of the drive may be used.  In
 * prefill the ring is looked at once in several experts' time, and a guess is
 * almost certain: the next layer's reads queue up behind more of them.
 */
#define LAST_READS	2
#define LAST_READS_WIDE 32
/* Beyond what the drive reads between two looks, if they are hardly ever wrong:
 * reads that went out together end together, and others are to be under way
 * then.
 */
#define SURE_MORE 1u
/* Experts of an earlier run that are on their way at once. */
#define WARM_SLOTS 4u
/* Of all slots, so that guesses never crowd out what is wanted. */
#define SLOT_SHARE 4
/* Weight of a new sample in the decayed means. */
#define PACE_WEIGHT 0.125
/* Bytes that a sample of the drive's rate is taken over, at least. */
#define RATE_BYTES (8 * PST_MIB)

static void sample_rate(struct pst_store *s)
{
	struct pace *p = &s->pace;
	struct pst_io_stats now;
	uint64_t bytes, ns;
	double rate;

	pst_io_stats_read(s->io, &now);
	bytes = now.read_bytes - p->bytes_before;
	ns = now.busy_ns - p->busy_before_ns;
	if (bytes < RATE_BYTES || !ns)
		return;
	rate = (double)bytes / (double)ns;
	p->bytes_per_ns += (p->bytes_per_ns > 0 ? PACE_WEIGHT : 1.0) *
			   (rate - p->bytes_per_ns);
	p->bytes_before = now.read_bytes;
	p->busy_before_ns = now.busy_ns;
}

static void learn_gap(double *mean, uint64_t ns)
{
	*mean += (*mean > 0 ? PACE_WEIGHT : 1.0) * ((double)ns - *mean);
}

void pst_pace_begin(struct pst_store *s, uint32_t nr_misses)
{
	struct pace *p = &s->pace;

	if (!nr_misses)
		return;
	pst_pace_look(s);
	if (p->looked_ns) {
		learn_gap(&p->usual.ns[s->wide], p->blind_ns);
		learn_gap(&p->after[p->blind_layer].ns[s->wide], p->blind_ns);
	}
	p->looked_ns = 0;
	sample_rate(s);
}

void pst_pace_quiet(struct pst_store *s)
{
	s->pace.looked_ns = pst_now_ns();
	s->pace.blind_ns = 0;
	s->pace.blind_layer = s->layer;
}

void pst_pace_look(struct pst_store *s)
{
	struct pace *p = &s->pace;
	uint64_t now_ns;

	if (!p->looked_ns)
		return;
	now_ns = pst_now_ns();
	p->blind_ns = PST_MAX(p->blind_ns, now_ns - p->looked_ns);
	p->looked_ns = now_ns;
}

uint32_t pst_pace_slots(const struct pst_store *s)
{
	double own = s->pace.after[s->layer].ns[s->wide];
	double gap = own > 0 ? own : s->pace.usual.ns[s->wide];
	double bytes = gap * s->pace.bytes_per_ns;
	uint32_t most = s->nr_slots / SLOT_SHARE;

	/* One more than fits: the drive is not to wait for the next layer. */
	if (bytes >= (double)s->slot_bytes * most)
		return most;
	return PST_MIN(most, (uint32_t)(bytes / (double)s->slot_bytes) + 1);
}

bool pst_store_can_prefetch(const struct pst_store *s)
{
	return s->mode == PST_STORE_STREAM &&
	       pst_store_nr_slots(s) < s->nr_layers * s->nr_experts &&
	       pst_store_nr_slots(s) >= SLOT_SHARE;
}

bool pst_store_likely(const struct pst_store *s, uint32_t layer, float *share)
{
	return s->mode == PST_STORE_STREAM && s->ops->likely &&
	       s->ops->likely(s->policy, layer, share);
}

void pst_store_prefetch(struct pst_store *s, uint32_t layer,
			const uint32_t *ids, uint32_t nr, uint32_t nr_sure)
{
	if (s->mode != PST_STORE_STREAM)
		return;
	assert(layer < s->nr_layers && s->layers[layer].nr_parts);
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t key = key_of(s, layer, ids[i]);

		if (s->guarded[key])
			continue;
		s->guarded[key] = true;
		/* Resident or past the bound: guarded against eviction only. */
		if (s->slot_of[key] == NO_SLOT &&
		    s->nr_guesses < s->guesses_max)
			s->guesses[s->nr_guesses++] =
				(struct guess){ .key = key,
						.sure = i < nr_sure };
	}
	pst_prefetch_start(s);
}

/* A wrong guess: what the drive has not begun is taken back. */
static void overtake(struct pst_store *s, struct slot *sl)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < sl->nr_reads; i++)
		nr += pst_io_withdraw(s->io, &sl->reads[i]);
	if (!nr)
		return;
	sl->nr_pending -= nr;
	sl->error = -ECANCELED;
	s->stats.prefetch_withdrawn++;
	if (sl->nr_pending)
		return; /* dropped when the rest has landed */
	s->prefetch_slots--;
	pst_slot_drop(s, sl);
}

void pst_prefetch_promote(struct pst_store *s, struct slot *sl)
{
	struct read_list again = { .head = NULL, .tail = &again.head };

	s->prefetch_slots--;
	for (uint32_t i = 0; i < sl->nr_reads; i++) {
		struct pst_io_read *r = &sl->reads[i];

		if (r->state == PST_IO_HOME && r->done_bytes < r->need_bytes) {
			/* Taken back before: all of it is needed after all. */
			r->prio = PST_IO_DEMAND;
			sl->nr_pending++;
			*again.tail = r;
			again.tail = &r->next;
		} else {
			pst_io_promote(s->io, r);
		}
	}
	*again.tail = NULL;
	if (!again.head)
		return;
	sl->error = 0;
	pst_io_submit(s->io, again.head);
}

void pst_prefetch_begin(struct pst_store *s, uint32_t layer)
{
	uint32_t first = key_of(s, layer, 0), kept = 0;

	for (uint32_t e = 0; e < s->nr_experts; e++) {
		uint32_t slot = s->slot_of[first + e];

		s->guarded[first + e] = false;
		if (slot != NO_SLOT && s->slots[slot].nr_pending &&
		    !s->slots[slot].demand && !s->slots[slot].error)
			overtake(s, &s->slots[slot]);
	}
	for (uint32_t i = 0; i < s->nr_guesses; i++)
		if (s->guesses[i].key / s->nr_experts != layer)
			s->guesses[kept++] = s->guesses[i];
	s->nr_guesses = kept;
}

void pst_prefetch_forget(struct pst_store *s)
{
	for (uint32_t l = 0; l < s->nr_layers; l++)
		pst_prefetch_begin(s, l);
}

static void fill_ahead(struct pst_store *s, uint32_t key, uint32_t slot,
		       struct read_list *list)
{
	pst_slot_fill(s, slot, key, true, list);
	s->prefetch_slots++;
}

static void start_guesses(struct pst_store *s, uint32_t most,
			  struct read_list *list)
{
	uint32_t at = 0, kept = 0;

	for (; at < s->nr_guesses; at++) {
		uint32_t key = s->guesses[at].key, slot;

		if (s->prefetch_slots >= most + SURE_MORE * s->guesses[at].sure)
			break;
		if (s->slot_of[key] != NO_SLOT)
			continue;
		slot = pst_slot_claim_spare(s);
		if (slot == NO_SLOT)
			break;
		fill_ahead(s, key, slot, list);
		s->slots[slot].guess = true;
		s->stats.prefetch_reads++;
		s->by_layer[key / s->nr_experts].reads++;
	}
	for (; at < s->nr_guesses; at++)
		s->guesses[kept++] = s->guesses[at];
	s->nr_guesses = kept;
}

/* What an earlier run held comes last, and only where nothing is yet. */
static void start_warm(struct pst_store *s, uint32_t most,
		       struct read_list *list)
{
	for (; s->next_warm < s->nr_warm && s->prefetch_slots < most;
	     s->next_warm++) {
		uint32_t key = s->warm[s->next_warm];

		if (s->slot_of[key] != NO_SLOT)
			continue;
		if (!s->nr_free)
			break;
		fill_ahead(s, key, s->free[--s->nr_free], list);
		s->stats.warm_reads++;
	}
	if (!s->nr_free)
		s->next_warm = s->nr_warm;
}

void pst_prefetch_start(struct pst_store *s)
{
	struct read_list list = { .head = NULL, .tail = &list.head };
	uint32_t most;

	if ((!s->nr_guesses && s->next_warm == s->nr_warm) ||
	    s->demand_reads > (s->wide ? LAST_READS_WIDE : LAST_READS) ||
	    s->next_miss < s->nr_misses)
		return;
	most = pst_pace_slots(s);
	start_guesses(s, most, &list);
	start_warm(s, PST_MAX(most, PST_MIN(WARM_SLOTS, s->nr_slots / 2)),
		   &list);
	*list.tail = NULL;
	if (!list.head)
		return;
	for (struct pst_io_read *r = list.head; r; r = r->next)
		r->prio = PST_IO_IDLE;
	pst_io_submit(s->io, list.head);
}

void pst_store_poll(struct pst_store *s)
{
	if (s->nr_left || s->mode != PST_STORE_STREAM)
		return;
	pst_pace_look(s);
	if (!pst_io_outstanding(s->io))
		return;
	pst_slots_reap(s, false, NULL);
	pst_prefetch_start(s);
}

static int by_key(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

void pst_store_warm(struct pst_store *s, const uint32_t *keys, uint32_t nr)
{
	s->nr_warm = 0;
	s->next_warm = 0;
	if (s->mode != PST_STORE_STREAM)
		return;
	for (uint32_t i = 0; i < nr && s->nr_warm < s->nr_slots; i++)
		if (keys[i] < s->nr_layers * s->nr_experts &&
		    s->layers[keys[i] / s->nr_experts].nr_parts)
			s->warm[s->nr_warm++] = keys[i];
	qsort(s->warm, s->nr_warm, sizeof(*s->warm), by_key);
	pst_prefetch_start(s);
}
