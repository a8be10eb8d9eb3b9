/* SPDX-License-Identifier: MIT */
/*
 * store: which experts are in memory, which are on their way, and who goes.
 *
 * An expert is named by a key, layer * nr_experts + expert.  Its bytes are two
 * or three ranges of the weight files ("parts": gate, up, down, or a fused
 * gate_up and down).  They land by DMA in a slot and are computed where they
 * land; nothing is copied.  One thread owns a store.  The arithmetic that is
 * done on the bytes is not known here.
 */
#ifndef PST_STORE_H
#define PST_STORE_H

#include "base.h"
#include "gguf.h"
#include "io.h"
#include "mem.h"
#include "policy.h"

#define PST_STORE_PARTS 3

/**
 * struct pst_store_part - one matrix of all experts of a layer
 * @file: file index, the same for gguf and io
 * @off_bytes: first byte of expert 0 in the file
 * @size_bytes: bytes of one expert; expert e starts at off + e * size
 * @map: expert 0 in the file's mapping, read only by PST_STORE_MMAP
 */
struct pst_store_part {
	uint32_t file;
	uint64_t off_bytes;
	uint64_t size_bytes;
	const uint8_t *map;
};

/**
 * struct pst_store_layer - where one layer's experts lie
 * @nr_parts: 0 for a layer without experts
 */
struct pst_store_layer {
	uint32_t nr_parts;
	struct pst_store_part part[PST_STORE_PARTS];
};

enum pst_store_mode {
	PST_STORE_STREAM, /* slots, filled through io */
	PST_STORE_MMAP /* pointers into the mapping: the baseline */
};

/**
 * struct pst_store_keep - slots that the next process may take over
 * @model_hash, @model_bytes: tell the model from any other
 * @pool_bytes: of the named pool; pst_store_keep_bytes() or what it holds
 * @wait_ns: how long to wait for reads of the last owner
 * @log: told of that, may be NULL
 */
struct pst_store_keep {
	uint64_t model_hash;
	uint64_t model_bytes;
	uint64_t pool_bytes;
	uint64_t wait_ns;
	const struct pst_log *log;
};

/**
 * struct pst_store_args - how to build a store
 * @mode: see above
 * @layers: [nr_layers], copied
 * @nr_experts: experts of each layer
 * @io: files added, not yet read from (regions are added here); NULL for mmap
 * @nr_slots: experts that fit in memory at once, >= 1
 * @nr_per_token: experts that one token wants in all layers together
 * @policy: what to evict
 * @huge: page kind of the slots
 * @pool: where their memory comes from, NULL for anonymous memory
 * @keep: for a named pool, else NULL
 * @node: NUMA node of the slots, -1 for the kernel's choice
 * @split_bytes: reads longer than this are split, a multiple of 4 KiB
 * @depth: reads in flight in decode, 0 for as many as io allows; in prefill,
 *	where the ring is looked at seldom, it is always that many
 * @early: pst_store_take() may give an expert before its last matrix is there
 * @region_bytes: memory that is given back at once, 0 for the default (tests)
 */
struct pst_store_args {
	enum pst_store_mode mode;
	const struct pst_store_layer *layers;
	uint32_t nr_layers;
	uint32_t nr_experts;
	struct pst_io *io;
	uint32_t nr_slots;
	uint32_t nr_per_token;
	const struct pst_policy_ops *policy;
	enum pst_mem_want huge;
	struct pst_mem_pool *pool;
	const struct pst_store_keep *keep;
	int node;
	uint32_t split_bytes;
	uint32_t depth;
	uint64_t region_bytes;
	bool early;
};

/**
 * struct pst_store_stats - counted since creation
 * @hits: wanted experts that were resident or already on their way
 * @misses: wanted experts that had to be read
 * @evictions: experts that were dropped for another
 * @distinct: different experts that were wanted at least once
 * @prefetch_reads: experts that were read ahead
 * @prefetch_used: of these, wanted before they were dropped
 * @prefetch_late: of those that were used, still on their way when wanted
 * @prefetch_withdrawn: of the rest, taken back before all of it was read
 * @prefetch_wasted: dropped without having been wanted
 * @warm_reads: experts that pst_store_warm() brought in
 * @begun_early: experts that were given before their last matrix was there
 * @kept: experts that the last owner of the pool left; of what it left
 *	besides, @keep_unfinished were not all read, @keep_damaged had another
 *	checksum or were there twice
 * @keep_wait_ns: how long its reads were waited for
 * @wait_ns: time in which the owner had nothing to compute and slept for reads
 */
struct pst_store_stats {
	uint64_t hits;
	uint64_t misses;
	uint64_t evictions;
	uint64_t distinct;
	uint64_t prefetch_reads;
	uint64_t prefetch_used;
	uint64_t prefetch_late;
	uint64_t prefetch_withdrawn;
	uint64_t prefetch_wasted;
	uint64_t warm_reads;
	uint64_t kept;
	uint64_t keep_unfinished;
	uint64_t keep_damaged;
	uint64_t keep_wait_ns;
	uint64_t begun_early;
	uint64_t wait_ns;
};

/**
 * struct pst_expert - an expert that may be computed now
 * @expert: index within its layer
 * @begin: it is given for the first time: all matrices but the last are to be
 *	multiplied
 * @finish: the last matrix is there as well; else the expert is given again
 *	when it is
 * @part: first byte of each matrix, aligned as in the file: not at all
 */
struct pst_expert {
	uint32_t expert;
	bool begin;
	bool finish;
	const uint8_t *part[PST_STORE_PARTS];
};

/**
 * struct pst_store_ahead - what was read ahead of one layer, since creation
 * @reads: experts
 * @used: of these, wanted before they were dropped
 */
struct pst_store_ahead {
	uint64_t reads;
	uint64_t used;
};

struct pst_store;

/**
 * pst_store_slot_bytes() - memory of one slot, slack for whole blocks included
 * @align: pst_io_align()
 */
uint64_t pst_store_slot_bytes(const struct pst_store_layer *layers,
			      uint32_t nr_layers, uint32_t align);

/**
 * pst_store_arena_bytes() - memory of @nr_slots slots, page rounding included
 *
 * @page_bytes: what regions are rounded up to, a power of two
 *
 * Slots lie in regions of at most 1 GiB, so some bytes per region are unused.
 */
uint64_t pst_store_arena_bytes(uint64_t slot_bytes, uint32_t nr_slots,
			       uint64_t page_bytes);

/** pst_store_fit_slots() - how many slots fit in @bytes, 0 when none does */
uint32_t pst_store_fit_slots(uint64_t slot_bytes, uint64_t bytes,
			     uint64_t page_bytes);

/** pst_store_keep_bytes() - of a named pool with @nr_slots slots */
uint64_t pst_store_keep_bytes(uint64_t slot_bytes, uint32_t nr_slots);

/** pst_store_keep_dir_bytes() - what of that is not slots */
uint64_t pst_store_keep_dir_bytes(uint32_t nr_slots);

/** pst_store_keep_slots() - the most that a named pool of @bytes holds */
uint32_t pst_store_keep_slots(uint64_t slot_bytes, uint64_t bytes);

/** pst_store_meta_bytes() - bookkeeping of one slot: its reads, mostly */
uint64_t pst_store_meta_bytes(const struct pst_store_layer *layers,
			      uint32_t nr_layers, uint32_t align,
			      uint32_t split_bytes);

/* Bookkeeping of one expert, resident or not: tables of store and policy. */
#define PST_STORE_KEY_BYTES 128
/* Of one layer: what the default policy remembers of past tokens. */
#define PST_STORE_LAYER_BYTES (137 * PST_KIB)

/**
 * pst_store_create() - reserve and register the slots
 * @out: owned by the caller, pst_store_destroy()
 *
 * Return: 0, -ENOMEM, -EINVAL; of a named pool also -EBUSY, -ETIMEDOUT.
 */
int pst_store_create(const struct pst_store_args *args, struct pst_store **out,
		     struct pst_diag *diag);

/** pst_store_destroy() - waits for reads into the slots; NULL is allowed */
void pst_store_destroy(struct pst_store *s);

/**
 * pst_store_route() - the router has chosen; for the policy
 *
 * Optional, before pst_store_begin(): tells the policy which token took what,
 * where the wanted set tells only what all of them took.
 */
void pst_store_route(struct pst_store *s, const struct pst_policy_route *r);

/**
 * pst_store_likely() - what the policy expects of a layer's next turn
 * @share: [nr_experts] of the past tokens that the present one is like: which of
 *	them took an expert
 *
 * Return: false where it expects nothing.
 */
bool pst_store_likely(const struct pst_store *s, uint32_t layer, float *share);

/** pst_store_can_prefetch() - is there anything that is not in memory? */
bool pst_store_can_prefetch(const struct pst_store *s);

/**
 * pst_store_prefetch() - experts that a coming layer will probably want
 * @layer: with parts, not the one of the wanted set
 * @ids: [nr] experts, those to be read first in front
 * @nr_sure: of these, the first ones that are hardly ever wrong
 *
 * They are read while the drive would idle, as far as slots can be had that
 * nothing better is in; what is resident among them is not evicted before the
 * layer has come.  pst_store_begin() of that layer ends it.
 */
void pst_store_prefetch(struct pst_store *s, uint32_t layer,
			const uint32_t *ids, uint32_t nr, uint32_t nr_sure);

/**
 * pst_store_poll() - while something else is computed: what was read ahead and
 *	has landed makes way for the next guess
 *
 * Between sets, else it does nothing.  Does not block; a glance at memory when
 * nothing has landed.
 */
void pst_store_poll(struct pst_store *s);

/**
 * pst_store_warm() - experts that an earlier run found worth keeping
 * @keys: [nr] layer * nr_experts + expert, in any order; unknown ones are
 *	passed over
 *
 * They are read in file order while nothing else is, into free slots only.
 */
void pst_store_warm(struct pst_store *s, const uint32_t *keys, uint32_t nr);

/**
 * pst_store_idle() - nothing is wanted: let what is read ahead go on
 *
 * Between sets.  Blocks until one read has ended, if one is on its way.
 *
 * Return: whether more is on its way.
 */
bool pst_store_idle(struct pst_store *s);

/**
 * pst_store_resident() - keys of the experts that are in memory
 * @keys: [pst_store_nr_slots()], ascending
 *
 * Return: how many.
 */
uint32_t pst_store_resident(const struct pst_store *s, uint32_t *keys);

/** pst_store_policy() - name of the policy */
const char *pst_store_policy(const struct pst_store *s);

/** pst_store_worth() - of a key by the policy's measure, 0 if it has none */
float pst_store_worth(const struct pst_store *s, uint32_t key);

/**
 * pst_store_seed() - tell the policy what an earlier run found a key worth
 * @key: passed over when it is unknown
 *
 * Before the first set.
 */
void pst_store_seed(struct pst_store *s, uint32_t key, float worth);

/**
 * pst_store_begin() - want a set of experts of one layer
 * @layer: index into args.layers, with parts
 * @ids: [nr] distinct experts, in the order in which misses shall be read
 *
 * Pins what is resident and submits reads for the rest as one batch.  Experts
 * that find no slot follow as pst_store_done() frees some.  The set before
 * has been ended.
 */
void pst_store_begin(struct pst_store *s, uint32_t layer, const uint32_t *ids,
		     uint32_t nr);

/**
 * pst_store_take() - experts of the set that can be computed now
 * @out: [max], each expert of the set is given whole once, resident ones first,
 *	then in order of arrival.  With args.early, and when it would have to
 *	wait, one that only lacks its last matrix is given before that
 * @wait: block until there is at least one; who holds every slot with experts
 *	that are not done must not wait
 *
 * Return: number written; 0 when all were given (or none is ready and !@wait);
 * -EIO and the like when a read failed for good, with file and offset in
 * @diag: the caller ends the set.
 */
int pst_store_take(struct pst_store *s, struct pst_expert *out, uint32_t max,
		   bool wait, struct pst_diag *diag);

/** pst_store_done() - an expert that was taken whole has been computed */
void pst_store_done(struct pst_store *s, uint32_t expert);

/**
 * pst_store_landed() - reads of the store that somebody else has reaped
 * @list: linked by @next, as pst_io_reap() gave them
 *
 * Between sets, for one who waits for reads of his own from the same io.
 */
void pst_store_landed(struct pst_store *s, struct pst_io_read *list);

/** pst_store_end() - forget the set, also half-way after an error */
void pst_store_end(struct pst_store *s);

/**
 * pst_store_load_all() - fill the slots in file order
 * @progress: called with experts done and all, may be NULL
 *
 * Loads as many experts as there are slots, layer after layer.
 *
 * Return: 0 or the error of a read.
 */
int pst_store_load_all(struct pst_store *s,
		       void (*progress)(void *ctx, uint64_t done, uint64_t all),
		       void *ctx, struct pst_diag *diag);

/**
 * pst_store_shrink() - give memory back to the kernel, coldest experts first
 * @nr_slots: keep at least this many
 *
 * Between sets.  Whole regions of pst_store_region_bytes() go; experts that
 * stay and lie in them are moved.  Waits for reads that are in flight.
 *
 * Return: 0, also when nothing could be given; -errno when the kernel refused.
 */
int pst_store_shrink(struct pst_store *s, uint32_t nr_slots);

/**
 * pst_store_grow() - take back what was given, up to @nr_slots slots
 *
 * Between sets.  Return: 0; -ENOMEM when the kernel has no pages.
 */
int pst_store_grow(struct pst_store *s, uint32_t nr_slots,
		   struct pst_diag *diag);

/** pst_store_region_bytes() - memory that is given and taken at once */
uint64_t pst_store_region_bytes(const struct pst_store *s);

/** pst_store_has() - is an expert in memory or on its way? */
bool pst_store_has(const struct pst_store *s, uint32_t layer, uint32_t expert);

/** pst_store_nr_resident() - experts that are in memory or on their way */
uint32_t pst_store_nr_resident(const struct pst_store *s);

/** pst_store_nr_slots() - experts that fit at present */
uint32_t pst_store_nr_slots(const struct pst_store *s);
const struct pst_mem *pst_store_mem(const struct pst_store *s);
void pst_store_stats_read(const struct pst_store *s,
			  struct pst_store_stats *out);

/** pst_store_ahead_read() - whether reading ahead of a layer was of use */
void pst_store_ahead_read(const struct pst_store *s, uint32_t layer,
			  struct pst_store_ahead *out);

#endif
