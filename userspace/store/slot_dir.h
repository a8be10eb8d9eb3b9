/* SPDX-License-Identifier: MIT */
/*
 * slot_dir: what is in each slot, written beside the slots in memory that
 * outlives the process, for the next process to read.
 *
 * The process may end between any two stores of these functions: an entry then
 * says that its slot is not whole.  Where the memory comes from, and that nobody
 * else writes into it, is not known here.
 */
#ifndef PST_SLOT_DIR_H
#define PST_SLOT_DIR_H

#include "base.h"

/**
 * struct pst_slot_dir_id - what the bytes in the slots mean
 * @model_hash, @model_bytes: the model
 * @slot_bytes, @part_off, @align: how an expert lies in a slot
 * @nr_layers, @nr_experts: key = layer * nr_experts + expert
 * @nr_slots, @region_slots: how slots lie in the memory
 *
 * Compared as bytes: no padding.
 */
struct pst_slot_dir_id {
	uint64_t model_hash;
	uint64_t model_bytes;
	uint64_t slot_bytes;
	uint64_t part_off[3];
	uint32_t align;
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint32_t nr_slots;
	uint32_t region_slots;
	uint32_t zero;
};

/* Values that memory does not have by chance. */
enum pst_slot_state {
	PST_SLOT_FREE = 0,
	PST_SLOT_FILLING = 0x4c4c4946,
	PST_SLOT_VALID = 0x44494c56
};

struct pst_slot_dir_head;
struct pst_slot_dir_entry;

/** struct pst_slot_dir - a view of the memory; no more than two pointers */
struct pst_slot_dir {
	struct pst_slot_dir_head *head;
	struct pst_slot_dir_entry *entries; /* [nr_slots] */
};

/** pst_slot_dir_bytes() - memory of a directory */
uint64_t pst_slot_dir_bytes(uint32_t nr_slots);

/**
 * pst_slot_dir_attach() - read what is there, or begin anew
 * @mem: aligned to 64, [pst_slot_dir_bytes(id->nr_slots)]; stays the caller's
 * @id: what the caller would put into the slots
 *
 * Return: 0 when the directory is of @id; -ESTALE when it was not: all slots
 * are then free.
 */
int pst_slot_dir_attach(struct pst_slot_dir *d, void *mem,
			const struct pst_slot_dir_id *id);

/** pst_slot_dir_begin() - before the first read of @key into a slot */
void pst_slot_dir_begin(struct pst_slot_dir *d, uint32_t slot, uint32_t key);

/** pst_slot_dir_end() - all of the slot has landed; @sum: its checksum */
void pst_slot_dir_end(struct pst_slot_dir *d, uint32_t slot, uint64_t sum);

/** pst_slot_dir_clear() - nothing is in the slot */
void pst_slot_dir_clear(struct pst_slot_dir *d, uint32_t slot);

/**
 * pst_slot_dir_get() - one entry
 * @key, @sum: out, of a valid slot only
 *
 * Return: the state; what is neither free nor valid is filling.
 */
enum pst_slot_state pst_slot_dir_get(const struct pst_slot_dir *d,
				     uint32_t slot, uint32_t *key,
				     uint64_t *sum);

/**
 * pst_slot_dir_sum() - continue a checksum (XXH3)
 * @sum: of the parts before, of the first part the key
 */
uint64_t pst_slot_dir_sum(uint64_t sum, const void *bytes, uint64_t size_bytes);

#endif
