/* SPDX-License-Identifier: MIT */
/*
 * Eviction policies: small objects over keys, that know nothing of slots, I/O
 * or time, so that the same object serves a run and the replay of a trace.
 * To add one: a file policy_<name>.c and a row in policy.c.
 */
#ifndef PST_POLICY_H
#define PST_POLICY_H

#include "base.h"

#define PST_POLICY_NONE UINT32_MAX

struct pst_policy;

/**
 * struct pst_policy_geometry - what keys mean, and how many can be resident
 * @nr_layers: layers that take turns
 * @nr_experts: experts of a layer; key = layer * nr_experts + expert
 * @nr_slots: keys that can be resident at once
 * @nr_per_token: keys that one token wants in all layers together
 */
struct pst_policy_geometry {
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint32_t nr_slots;
	uint32_t nr_per_token;
};

/**
 * struct pst_policy_route - what the router chose in one layer
 * @ids: [nr_tokens][nr_used] experts of the layer, distinct for each token
 * @weights: [nr_tokens][nr_used] of these, or NULL when they are not known
 * @probs: [nr_tokens][nr_experts] what the choice was made from: the router's
 *	probabilities, or its logits where the family chooses by these; or NULL
 * @nr_tokens: 1 in decode
 */
struct pst_policy_route {
	uint32_t layer;
	const uint32_t *ids;
	const float *weights;
	const float *probs;
	uint32_t nr_tokens;
	uint32_t nr_used;
};

/**
 * struct pst_policy_ops - what a policy does
 * @name: as given to --cache-policy
 * @create: NULL when memory is short; all memory that the policy ever needs is
 *	taken here
 * @destroy: NULL is allowed
 * @insert: a key became resident (or is on its way), for its layer's turn wants it
 * @ahead: NULL is insert(); a key became resident before its layer's turn, for it
 *	may be wanted then.  If it is, remove() and insert() follow
 * @touch: a resident key was wanted
 * @done: NULL is allowed; what the layer's turn wanted a key for is over: until its
 *	next turn nobody needs it
 * @route: NULL is allowed; the router has chosen, insert() and touch() of the
 *	layer follow.  Tells more than these do: which token took what.
 * @resize: NULL is allowed; from now on @nr_slots keys can be resident, never
 *	more than at creation
 * @remove: a key left for another reason than victim()
 * @worth: NULL is allowed; how much is lost without a key, resident or not, in
 *	the long run and in a measure of the policy's own: 0 for nothing known
 * @likely: NULL is allowed; what a layer will take at its next turn, by what other
 *	tokens took there that the present one is like: a @share of each of its
 *	experts.  False where nothing is known; then nothing is written
 * @seed: NULL is allowed; an earlier run found a key, which is not resident
 *	yet, to be worth this much
 * @victim: the resident key to drop, skipping those for which @pinned says
 *	true; PST_POLICY_NONE when all are pinned.  The key is removed.
 */
struct pst_policy_ops {
	const char *name;
	struct pst_policy *(*create)(const struct pst_policy_geometry *geo);
	void (*destroy)(struct pst_policy *p);
	void (*insert)(struct pst_policy *p, uint32_t key);
	void (*ahead)(struct pst_policy *p, uint32_t key);
	void (*touch)(struct pst_policy *p, uint32_t key);
	void (*done)(struct pst_policy *p, uint32_t key);
	void (*route)(struct pst_policy *p, const struct pst_policy_route *r);
	void (*resize)(struct pst_policy *p, uint32_t nr_slots);
	void (*remove)(struct pst_policy *p, uint32_t key);
	float (*worth)(const struct pst_policy *p, uint32_t key);
	bool (*likely)(const struct pst_policy *p, uint32_t layer,
		       float *share);
	void (*seed)(struct pst_policy *p, uint32_t key, float worth);
	uint32_t (*victim)(struct pst_policy *p,
			   bool (*pinned)(const void *ctx, uint32_t key),
			   const void *ctx);
};

extern const struct pst_policy_ops pst_policy_lru;
extern const struct pst_policy_ops pst_policy_cycle;
extern const struct pst_policy_ops pst_policy_lfu;
extern const struct pst_policy_ops pst_policy_s3fifo;
extern const struct pst_policy_ops pst_policy_adaptive;

/** pst_policy_find() - by name ("default" is what run uses), NULL if unknown */
const struct pst_policy_ops *pst_policy_find(const char *name);

/** pst_policy_name() - name of policy @i, NULL past the last */
const char *pst_policy_name(uint32_t i);

#endif
