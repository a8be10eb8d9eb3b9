/* SPDX-License-Identifier: MIT */
/*
 * Private to store/: the store's state.
 */
#ifndef PST_STORE_PRIV_H
#define PST_STORE_PRIV_H

#include "store.h"

/* One buffer of a ring holds at most 1 GiB: the kernel's bound. */
#define REGION_BYTES PST_GIB
#define MAX_REGIONS  1024

/* Room for one expert and the reads that fill it. */
struct slot {
	uint8_t *base;
	const uint8_t *part[PST_STORE_PARTS]; /* first byte of each matrix */
	struct pst_io_read *reads; /* [reads_per_slot] */
	uint32_t layer, expert;
	uint32_t nr_pending; /* reads that have not landed */
	uint32_t pins; /* the wanted set holds it */
	int region; /* io's index of the memory */
	int error; /* first failed read */
	uint32_t file; /* of the failed read */
	uint64_t off_bytes;
};

struct read_list {
	struct pst_io_read *head;
	struct pst_io_read **tail;
};

struct pst_store {
	enum pst_store_mode mode;
	struct pst_io *io;
	struct pst_store_layer *layers; /* [nr_layers] */
	uint32_t nr_layers, nr_experts, nr_slots;
	uint32_t split_bytes;
	uint64_t slot_bytes;
	uint64_t part_off[PST_STORE_PARTS]; /* of each part in a slot */

	struct slot *slots; /* [nr_slots] */
	struct pst_io_read *reads;
	uint32_t *slot_of; /* [nr_layers * nr_experts] */
	bool *seen; /* [nr_layers * nr_experts]: was ever wanted */
	uint32_t *free; /* stack of free slots */
	uint32_t nr_free;
	struct pst_mem regions[MAX_REGIONS];
	uint32_t nr_regions;
	const struct pst_policy_ops *ops;
	struct pst_policy *policy;

	/* The wanted set. */
	uint32_t layer;
	uint32_t nr_left; /* not yet done */
	uint32_t nr_to_give; /* not yet taken */
	bool *want; /* [nr_experts] */
	uint32_t *ready; /* [nr_experts] */
	uint32_t nr_ready;
	uint32_t *misses; /* [nr_experts] */
	uint32_t nr_misses, next_miss;
	uint32_t *ids; /* [nr_experts], for load_all */
	int failed;

	struct pst_store_stats stats;
};

#endif
