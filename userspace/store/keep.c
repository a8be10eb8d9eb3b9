// SPDX-License-Identifier: MIT
/*
 * Slots that outlive the process: taking over what the last owner of a named
 * pool left, and noting what goes into each slot.
 *
 * The pool is taken when nobody's reads land in it any more; then every slot
 * that is said to be whole is summed again.  What is in a slot otherwise is
 * slot.c's business.
 */
#include <string.h>

#include "store_priv.h"

#define CHUNK_BYTES (2 * PST_MIB)

uint64_t pst_store_keep_dir_bytes(uint32_t nr_slots)
{
	return pst_align_up(pst_slot_dir_bytes(nr_slots), CHUNK_BYTES);
}

uint64_t pst_store_keep_bytes(uint64_t slot_bytes, uint32_t nr_slots)
{
	return pst_store_keep_dir_bytes(nr_slots) +
	       pst_store_arena_bytes(slot_bytes, nr_slots, CHUNK_BYTES);
}

uint32_t pst_store_keep_slots(uint64_t slot_bytes, uint64_t bytes)
{
	uint64_t lo = 0, hi = slot_bytes ? bytes / slot_bytes : 0;

	hi = PST_MIN(hi, (uint64_t)UINT32_MAX - 1);
	while (lo < hi) {
		uint64_t mid = lo + (hi - lo + 1) / 2;

		if (pst_store_keep_bytes(slot_bytes, (uint32_t)mid) <= bytes)
			lo = mid;
		else
			hi = mid - 1;
	}
	return (uint32_t)lo;
}

static void identify(const struct pst_store *s,
		     const struct pst_store_args *args, uint32_t region_slots,
		     struct pst_slot_dir_id *id)
{
	*id = (struct pst_slot_dir_id){
		.model_hash = args->keep->model_hash,
		.model_bytes = args->keep->model_bytes,
		.slot_bytes = s->slot_bytes,
		.align = pst_io_align(s->io),
		.nr_layers = s->nr_layers,
		.nr_experts = s->nr_experts,
		.nr_slots = s->nr_slots,
		.region_slots = region_slots,
	};
	memcpy(id->part_off, s->part_off, sizeof(id->part_off));
}

int pst_keep_open(struct pst_store *s, const struct pst_store_args *args,
		  uint32_t region_slots, struct pst_diag *diag)
{
	struct pst_mem_take take = { .size_bytes = args->keep->pool_bytes,
				     .node = args->node,
				     .wait_ns = args->keep->wait_ns,
				     .log = args->keep->log };
	struct pst_mem_args want = {
		.size_bytes = pst_slot_dir_bytes(s->nr_slots),
		.node = args->node,
		.pool = args->pool,
	};
	struct pst_slot_dir_id id;
	int rc = pst_mem_pool_take(args->pool, &take, diag);

	if (!rc)
		rc = pst_mem_map(&want, &s->keep.mem, diag);
	if (rc)
		return rc;
	identify(s, args, region_slots, &id);
	s->keep.adopt =
		!pst_slot_dir_attach(&s->keep.dir, s->keep.mem.addr, &id);
	s->keep.on = true;
	s->stats.keep_wait_ns = take.waited_ns;
	return 0;
}

static uint64_t sum_of(const struct pst_store *s, const struct slot *sl,
		       uint32_t key)
{
	const struct pst_store_layer *l = &s->layers[sl->layer];
	uint64_t sum = key;

	for (uint32_t p = 0; p < l->nr_parts; p++)
		sum = pst_slot_dir_sum(sum, sl->part[p], l->part[p].size_bytes);
	return sum;
}

void pst_keep_begin(struct pst_store *s, uint32_t slot, uint32_t key)
{
	if (s->keep.on)
		pst_slot_dir_begin(&s->keep.dir, slot, key);
}

void pst_keep_end(struct pst_store *s, const struct slot *sl)
{
	if (s->keep.on)
		pst_slot_dir_end(&s->keep.dir, (uint32_t)(sl - s->slots),
				 sum_of(s, sl,
					key_of(s, sl->layer, sl->expert)));
}

/* Is what a slot is said to hold an expert that is not here yet? */
static bool is_wanted(const struct pst_store *s, uint32_t key)
{
	return key < s->nr_layers * s->nr_experts &&
	       s->layers[key / s->nr_experts].nr_parts &&
	       s->slot_of[key] == NO_SLOT;
}

/* Return: whether the slot has an expert now. */
static bool adopt_slot(struct pst_store *s, uint32_t slot)
{
	struct slot *sl = &s->slots[slot];
	enum pst_slot_state state;
	uint32_t key = 0;
	uint64_t sum = 0;

	state = pst_slot_dir_get(&s->keep.dir, slot, &key, &sum);
	if (state == PST_SLOT_FREE)
		return false;
	if (state == PST_SLOT_VALID && is_wanted(s, key)) {
		pst_slot_place(s, sl, key);
		if (sum_of(s, sl, key) == sum) {
			s->slot_of[key] = slot;
			s->ops->insert(s->policy, key);
			s->stats.kept++;
			return true;
		}
	}
	if (state == PST_SLOT_VALID)
		s->stats.keep_damaged++;
	else
		s->stats.keep_unfinished++;
	pst_slot_dir_clear(&s->keep.dir, slot);
	return false;
}

void pst_keep_adopt(struct pst_store *s)
{
	uint32_t kept = 0;

	if (!s->keep.adopt)
		return;
	/* The stack's order stays: the lowest slot is used first. */
	for (uint32_t i = 0; i < s->nr_free; i++)
		if (!adopt_slot(s, s->free[i]))
			s->free[kept++] = s->free[i];
	s->nr_free = kept;
}

void pst_keep_close(struct pst_store *s)
{
	pst_mem_unmap(&s->keep.mem);
	s->keep.on = false;
}
