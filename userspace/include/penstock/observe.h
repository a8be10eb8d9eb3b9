/* SPDX-License-Identifier: MIT */
/*
 * observe: hooks that see what a run does, and one that steers its routing.
 *
 * All hooks are called by the thread that owns the engine, on the way of a
 * token: they must not block for long and must not call the engine.  What they
 * are given is valid during the call.
 */
#ifndef PENSTOCK_OBSERVE_H
#define PENSTOCK_OBSERVE_H

#include <stdint.h>

/**
 * struct pst_route_sample - what the router of a layer chose for a batch
 * @first_pos: position of token 0 in its sequence
 * @nr_used: experts of each token, after choose()
 * @ids: [nr_tokens][nr_used] by rank, distinct for each token
 * @weights: [nr_tokens][nr_used]
 * @probs: [nr_tokens][nr_experts] the router's probabilities of all experts
 */
struct pst_route_sample {
	uint32_t layer;
	uint32_t first_pos;
	uint32_t nr_tokens;
	uint32_t nr_used;
	uint32_t nr_experts;
	const uint32_t *ids;
	const float *weights;
	const float *probs;
};

/**
 * struct pst_route_choice - a choice that may be overwritten
 * @nr_used: room for each token, and what the router took
 * @ids: [nr_tokens][nr_used] the router's
 * @weights: [nr_tokens][nr_used]
 */
struct pst_route_choice {
	uint32_t layer;
	uint32_t first_pos;
	uint32_t nr_tokens;
	uint32_t nr_used;
	uint32_t nr_experts;
	uint32_t *ids;
	float *weights;
};

/**
 * struct pst_layer_sample - one layer of one pass
 * @total_ns: attention to residual
 * @wait_ns: of that, nothing could be computed for want of a read
 * @attention_ns: computing attention, its norm and projections
 * @experts_ns: computing experts, or the dense feed-forward block
 * @hits: wanted experts in memory or on their way; @misses: the others
 * @demand_bytes: read because an expert was wanted and absent
 * @idle_bytes: read ahead in idle time of the drive
 */
struct pst_layer_sample {
	uint64_t total_ns;
	uint64_t wait_ns;
	uint64_t attention_ns;
	uint64_t experts_ns;
	uint64_t hits;
	uint64_t misses;
	uint64_t demand_bytes;
	uint64_t idle_bytes;
};

/**
 * struct pst_pass_sample - one pass over all layers
 * @total_ns: embedding to logits
 * @logits_ns: of that, the output matrix and what the caller did with it
 */
struct pst_pass_sample {
	uint32_t first_pos;
	uint32_t nr_tokens;
	uint64_t total_ns;
	uint64_t logits_ns;
};

/**
 * struct pst_observer - the hooks; each may be NULL
 * @choose: overwrites ids and weights, packed as [nr_tokens][n]; returns n,
 *	1..nr_used.  Comes before route() of the same layer.
 * @foresee: stands in for the predictor of a decoded token's experts where
 *	choose() makes the choice: overwrites ids, [nr_used], of a layer that has
 *	not come yet; returns how many, 0..nr_used
 * @route: the router's choice, or what choose() made of it
 * @layer: after a layer
 * @pass: after a pass that succeeded
 */
struct pst_observer {
	void *ctx;
	uint32_t (*choose)(void *ctx, const struct pst_route_choice *c);
	uint32_t (*foresee)(void *ctx, const struct pst_route_choice *c);
	void (*route)(void *ctx, const struct pst_route_sample *r);
	void (*layer)(void *ctx, uint32_t layer,
		      const struct pst_layer_sample *s);
	void (*pass)(void *ctx, const struct pst_pass_sample *p);
};

#endif
