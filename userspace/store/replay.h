/* SPDX-License-Identifier: MIT */
/*
 * replay: plays a routing trace through a policy, as the store would drive it,
 * without reading a byte.  The prefill phase warms, the decode phase counts.
 */
#ifndef PST_REPLAY_H
#define PST_REPLAY_H

#include "policy.h"
#include "trace.h"

/**
 * struct pst_replay_result - of the decode phase
 * @bytes_read: size of the missed experts
 */
struct pst_replay_result {
	uint64_t hits;
	uint64_t misses;
	uint64_t bytes_read;
};

/**
 * pst_replay_policy() - play through the very object that a run uses
 * @nr_slots: experts that can be resident, >= 1
 *
 * Return: 0, -EINVAL for no slots, -ENOMEM.
 */
int pst_replay_policy(const struct pst_trace *t,
		      const struct pst_policy_ops *ops, uint32_t nr_slots,
		      struct pst_replay_result *out);

/**
 * pst_replay_watch() - the same, telling of every row
 * @seen: called with the row and whether its expert was resident, in order
 * @ctx: handed to @seen
 */
int pst_replay_watch(const struct pst_trace *t,
		     const struct pst_policy_ops *ops, uint32_t nr_slots,
		     void (*seen)(void *ctx, uint32_t row, bool hit), void *ctx,
		     struct pst_replay_result *out);

/**
 * pst_replay_min() - the fewest misses that any policy could have
 *
 * Belady's MIN: drops what is wanted again last, which only a replay knows
 * (L. A. Belady, 1966).  It counts misses, not bytes.
 *
 * Return: as pst_replay_policy().
 */
int pst_replay_min(const struct pst_trace *t, uint32_t nr_slots,
		   struct pst_replay_result *out);

#endif
