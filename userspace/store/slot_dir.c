// SPDX-License-Identifier: MIT
/*
 * The directory's memory: a head of 128 bytes, then 16 bytes for each slot, in
 * the byte order of the machine that it never leaves.
 *
 * Only the processor that wrote it and its successors read it, so the order of
 * stores is what counts, not their way to a drive: a state is stored after what
 * it vouches for, and withdrawn before that changes.
 */
#include <errno.h>
#include <string.h>
#include <xxhash.h>

#include "slot_dir.h"

#define MAGIC 0x31524944544f4c53ULL /* "SLOTDIR1" */

struct pst_slot_dir_head {
	uint64_t magic;
	uint64_t unused;
	struct pst_slot_dir_id id;
	uint8_t pad[128 - 16 - sizeof(struct pst_slot_dir_id)];
};

struct pst_slot_dir_entry {
	uint32_t state;
	uint32_t key;
	uint64_t sum;
};

uint64_t pst_slot_dir_bytes(uint32_t nr_slots)
{
	return sizeof(struct pst_slot_dir_head) +
	       (uint64_t)nr_slots * sizeof(struct pst_slot_dir_entry);
}

/* Cut short anywhere, it leaves a head without its magic. */
static void format(struct pst_slot_dir *d, const struct pst_slot_dir_id *id)
{
	__atomic_store_n(&d->head->magic, 0, __ATOMIC_SEQ_CST);
	memset(d->entries, 0, id->nr_slots * sizeof(*d->entries));
	d->head->id = *id;
	__atomic_store_n(&d->head->magic, MAGIC, __ATOMIC_RELEASE);
}

int pst_slot_dir_attach(struct pst_slot_dir *d, void *mem,
			const struct pst_slot_dir_id *id)
{
	d->head = mem;
	d->entries = (struct pst_slot_dir_entry *)(d->head + 1);
	if (d->head->magic == MAGIC && !memcmp(&d->head->id, id, sizeof(*id)))
		return 0;
	format(d, id);
	return -ESTALE;
}

void pst_slot_dir_begin(struct pst_slot_dir *d, uint32_t slot, uint32_t key)
{
	struct pst_slot_dir_entry *e = &d->entries[slot];

	__atomic_store_n(&e->state, PST_SLOT_FILLING, __ATOMIC_RELEASE);
	/* Not before the state: it must not say that the new key is valid. */
	__atomic_store_n(&e->key, key, __ATOMIC_RELEASE);
}

void pst_slot_dir_end(struct pst_slot_dir *d, uint32_t slot, uint64_t sum)
{
	struct pst_slot_dir_entry *e = &d->entries[slot];

	e->sum = sum;
	__atomic_store_n(&e->state, PST_SLOT_VALID, __ATOMIC_RELEASE);
}

void pst_slot_dir_clear(struct pst_slot_dir *d, uint32_t slot)
{
	__atomic_store_n(&d->entries[slot].state, PST_SLOT_FREE,
			 __ATOMIC_RELEASE);
}

enum pst_slot_state pst_slot_dir_get(const struct pst_slot_dir *d,
				     uint32_t slot, uint32_t *key,
				     uint64_t *sum)
{
	const struct pst_slot_dir_entry *e = &d->entries[slot];

	switch (e->state) {
	case PST_SLOT_FREE:
		return PST_SLOT_FREE;
	case PST_SLOT_VALID:
		*key = e->key;
		*sum = e->sum;
		return PST_SLOT_VALID;
	default:
		return PST_SLOT_FILLING;
	}
}

uint64_t pst_slot_dir_sum(uint64_t sum, const void *bytes, uint64_t size_bytes)
{
	return XXH3_64bits_withSeed(bytes, size_bytes, sum);
}
