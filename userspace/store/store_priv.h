/* SPDX-License-Identifier: MIT */
/*
 * Private to store/: the store's state.
 */
#ifndef PST_STORE_PRIV_H
#define PST_STORE_PRIV_H

#include "slot_dir.h"
#include "store.h"

/* Room for one expert and the reads that fill it. */
struct slot {
	uint8_t *base;
	const uint8_t *part[PST_STORE_PARTS]; /* first byte of each matrix */
	struct pst_io_read *reads; /* [reads_per_slot] */
	uint32_t nr_reads; /* that fill it */
	uint32_t nr_front_reads; /* of these, of all matrices but the last */
	uint32_t layer, expert;
	uint32_t nr_pending; /* reads that have not landed */
	uint32_t pins; /* the wanted set holds it */
	bool begun; /* given to the wanted set without its last matrix */
	bool guess; /* read ahead, and not wanted since */
	bool demand; /* its reads are counted in demand_reads */
	int region; /* io's index of the memory */
	int error; /* first failed read */
	uint32_t file; /* of the failed read */
	uint64_t off_bytes;
};

/* Slots that lie together: what is given back and taken again as a whole. */
struct region {
	struct pst_mem mem;
	int io; /* io's index, -1 when it has none */
	uint32_t first_slot, nr_slots;
	uint32_t nr_free; /* scratch of resize.c */
	bool away; /* its memory was given back */
};

struct read_list {
	struct pst_io_read *head;
	struct pst_io_read **tail;
};

/* Slots in a named pool, and the directory that says what is in them. */
struct keep {
	bool on;
	bool adopt; /* the last owner left something */
	struct pst_mem mem;
	struct pst_slot_dir dir;
};

/* Decayed means of the longest time without a look, of decode and of prefill. */
struct gap {
	double ns[2];
};

/* What is known of the drive's idle time, to fill it and no more. */
struct pace {
	uint64_t looked_ns; /* last; 0: the wanted set still waits for reads */
	uint64_t blind_ns; /* longest time without a look since it does not */
	uint32_t blind_layer; /* whose set that was */
	struct gap usual; /* of all layers, for one that has none yet */
	struct gap *after; /* [nr_layers]: behind the set of each */
	double bytes_per_ns; /* decayed mean while reads are outstanding */
	uint64_t bytes_before, busy_before_ns; /* io's, at the last sample */
};

/* An expert that may be wanted soon. */
struct guess {
	uint32_t key;
	bool sure; /* hardly ever wrong */
};

struct pst_store {
	enum pst_store_mode mode;
	struct pst_io *io;
	struct pst_store_layer *layers; /* [nr_layers] */
	uint32_t nr_layers, nr_experts, nr_slots;
	uint32_t split_bytes;
	uint32_t depth; /* reads in flight in decode */
	uint64_t slot_bytes;
	uint64_t part_off[PST_STORE_PARTS]; /* of each part in a slot */

	struct slot *slots; /* [nr_slots] */
	struct pst_io_read *reads;
	uint32_t *slot_of; /* [nr_layers * nr_experts] */
	bool *seen; /* [nr_layers * nr_experts]: was ever wanted */
	uint32_t *free; /* stack of free slots */
	uint32_t nr_free;
	struct region *regions; /* [nr_regions] */
	uint32_t nr_regions;
	uint32_t nr_away; /* slots whose memory was given back */
	struct keep keep;
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
	bool early; /* experts may be given in parts */
	uint32_t demand_reads; /* reads that it waits for */
	bool wide; /* the set is of several tokens: prefill */
	int failed;

	/* Experts that may be wanted soon, in the order of reading. */
	struct guess *guesses; /* [guesses_max] */
	uint32_t guesses_max, nr_guesses;
	bool *guarded; /* [nr_layers * nr_experts]: guessed, not come yet */
	uint32_t *warm; /* [nr_slots] keys of an earlier run, ascending */
	uint32_t nr_warm, next_warm;
	uint32_t prefetch_slots; /* whose reads are on their way */
	struct pace pace;

	struct pst_store_stats stats;
	struct pst_store_ahead *by_layer; /* [nr_layers] */
};

#define NO_SLOT UINT32_MAX

/** pst_slot_claim() - a slot for a wanted expert, NO_SLOT when all are held */
uint32_t pst_slot_claim(struct pst_store *s);

/** pst_slot_claim_spare() - a slot that nobody is known to want soon */
uint32_t pst_slot_claim_spare(struct pst_store *s);

/** pst_slot_evict() - the slot of the policy's victim, NO_SLOT if all are held */
uint32_t pst_slot_evict(struct pst_store *s);

/**
 * pst_slot_fill() - append the reads of an expert into a claimed slot
 * @ahead: before its layer's turn
 */
void pst_slot_fill(struct pst_store *s, uint32_t slot, uint32_t key, bool ahead,
		   struct read_list *list);

/** pst_slot_place() - where an expert's matrices lie in a slot */
void pst_slot_place(const struct pst_store *s, struct slot *sl, uint32_t key);

/**
 * pst_keep_open() - take the named pool and read its directory
 * @args: with @keep; before any region is mapped
 * @region_slots: slots of a region
 *
 * Return: as pst_mem_pool_take().
 */
int pst_keep_open(struct pst_store *s, const struct pst_store_args *args,
		  uint32_t region_slots, struct pst_diag *diag);

/** pst_keep_adopt() - all slots are free: take over those that are whole */
void pst_keep_adopt(struct pst_store *s);

/** pst_keep_begin() - reads of @key into a slot are about to begin */
void pst_keep_begin(struct pst_store *s, uint32_t slot, uint32_t key);

/** pst_keep_end() - a slot is whole */
void pst_keep_end(struct pst_store *s, const struct slot *sl);
void pst_keep_close(struct pst_store *s);

/** pst_slot_landed() - account a reaped read.  Return: its slot is complete */
bool pst_slot_landed(struct pst_store *s, const struct pst_io_read *r);

/** pst_slots_reap() - sort what has landed; with @wait at least one read */
void pst_slots_reap(struct pst_store *s, bool wait, struct pst_diag *diag);

/** pst_slot_drop() - forget an expert whose bytes are not whole */
void pst_slot_drop(struct pst_store *s, struct slot *sl);

/** pst_prefetch_begin() - a layer has come: its guesses are over */
void pst_prefetch_begin(struct pst_store *s, uint32_t layer);

/** pst_prefetch_forget() - all guesses are over */
void pst_prefetch_forget(struct pst_store *s);

/** pst_prefetch_promote() - what is being read ahead is wanted now */
void pst_prefetch_promote(struct pst_store *s, struct slot *sl);

/** pst_prefetch_start() - read ahead, as far as the drive would idle */
void pst_prefetch_start(struct pst_store *s);

/** pst_pace_begin() - a set is wanted, of which @nr_misses must be read */
void pst_pace_begin(struct pst_store *s, uint32_t nr_misses);

/** pst_pace_quiet() - no read of the wanted set is outstanding any more */
void pst_pace_quiet(struct pst_store *s);

/** pst_pace_look() - the ring is being looked at */
void pst_pace_look(struct pst_store *s);

/** pst_pace_slots() - experts that the drive could read between two looks at the
 * ring, behind the present layer's set
 */
uint32_t pst_pace_slots(const struct pst_store *s);

static inline uint32_t key_of(const struct pst_store *s, uint32_t layer,
			      uint32_t expert)
{
	return layer * s->nr_experts + expert;
}

#endif
