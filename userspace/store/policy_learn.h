/* SPDX-License-Identifier: MIT */
/*
 * Private to the adaptive policy: learns, while the model runs, how probable
 * it is that a layer's next turn takes an expert.
 */
#ifndef PST_POLICY_LEARN_H
#define PST_POLICY_LEARN_H

#include "policy.h"

struct pst_learn;

/** pst_learn_create() - NULL when memory is short; all memory is taken here */
struct pst_learn *pst_learn_create(uint32_t nr_layers, uint32_t nr_experts);

/** pst_learn_destroy() - NULL is allowed */
void pst_learn_destroy(struct pst_learn *n);

/**
 * pst_learn_route() - learn from what the router chose, and predict anew
 *
 * Return: the other layer whose probabilities changed, beside the routed one.
 */
uint32_t pst_learn_route(struct pst_learn *n, const struct pst_policy_route *r);

/** pst_learn_p() - probability that the next turn of its layer takes a key */
float pst_learn_p(const struct pst_learn *n, uint32_t key);

/** pst_learn_rate() - share of the turns, in the long run, that took a key */
float pst_learn_rate(const struct pst_learn *n, uint32_t key);

/** pst_learn_seed() - begin with a rate that an earlier run has seen */
void pst_learn_seed(struct pst_learn *n, uint32_t key, float rate);

/** pst_learn_in_turn() - whether the turn that was routed last takes a key */
bool pst_learn_in_turn(const struct pst_learn *n, uint32_t key);

#endif
