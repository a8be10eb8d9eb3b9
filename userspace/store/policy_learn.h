/* SPDX-License-Identifier: MIT */
/*
 * Private to the adaptive policy: learns, while the model runs, how soon an
 * expert will be wanted.
 */
#ifndef PST_POLICY_LEARN_H
#define PST_POLICY_LEARN_H

#include "policy.h"

struct pst_learn;

/**
 * pst_learn_create() - all memory is taken here
 * @discount: see pst_learn_value()
 *
 * Return: NULL when memory is short.
 */
struct pst_learn *pst_learn_create(uint32_t nr_layers, uint32_t nr_experts,
				   float discount);

/** pst_learn_destroy() - NULL is allowed */
void pst_learn_destroy(struct pst_learn *n);

/** pst_learn_discount() - from now on another one */
void pst_learn_discount(struct pst_learn *n, float discount);

/** pst_learn_route() - learn from what the router chose, and estimate anew */
void pst_learn_route(struct pst_learn *n, const struct pst_policy_route *r);

/**
 * pst_learn_value() - expectation of discount^k for a key, where its layer's
 * next turn but k takes it: 0 for never, 1 for the next one
 */
float pst_learn_value(const struct pst_learn *n, uint32_t key);

/** pst_learn_ahead() - see pst_recall_ahead() */
bool pst_learn_ahead(const struct pst_learn *n, uint32_t layer, float *share);

/** pst_learn_rate() - share of the turns, in the long run, that took a key */
float pst_learn_rate(const struct pst_learn *n, uint32_t key);

/** pst_learn_seed() - begin with a rate that an earlier run has seen */
void pst_learn_seed(struct pst_learn *n, uint32_t key, float rate);

/** pst_learn_done() - the present turn has had what it took a key for */
void pst_learn_done(struct pst_learn *n, uint32_t key);

/** pst_learn_in_turn() - whether the turn that was routed last takes a key, and
 * is not done with it
 */
bool pst_learn_in_turn(const struct pst_learn *n, uint32_t key);

#endif
