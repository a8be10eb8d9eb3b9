/* SPDX-License-Identifier: MIT */
/*
 * Private to the adaptive policy: remembers which experts past tokens took,
 * and says what followed on those that the present token is like.
 */
#ifndef PST_POLICY_RECALL_H
#define PST_POLICY_RECALL_H

#include "policy.h"

struct pst_recall;

enum {
	PST_ECHO_VOTE, /* share of past tokens, weighed by likeness */
	PST_ECHO_NEXT, /* the same by ridge regression */
	PST_ECHO_SOON, /* that estimate for a turn of the next few */
	PST_ECHO_LATER, /* and for a turn of the next ten */
	PST_ECHO_NR
};

/**
 * struct pst_echo - what the past says of one expert's next turn
 * @share: how much speaks for the expert, >= 0 and mostly <= 1
 */
struct pst_echo {
	float share[PST_ECHO_NR];
};

/** pst_recall_create() - NULL when memory is short; all memory is taken here */
struct pst_recall *pst_recall_create(uint32_t nr_layers, uint32_t nr_experts);

/** pst_recall_destroy() - NULL is allowed */
void pst_recall_destroy(struct pst_recall *m);

/**
 * pst_recall_begin() - a layer has its turn
 * @nr_tokens: that pst_recall_token() will bring, at most PST_RECALL_CHUNK
 */
void pst_recall_begin(struct pst_recall *m, uint32_t layer, uint32_t nr_tokens);

/**
 * pst_recall_token() - the next token of the turn took some experts
 * @set: bit set of them; @nr_used: how many
 * @out: [nr_experts] what may follow
 *
 * Return: whether there is a past to speak of; @out is not written without.
 */
bool pst_recall_token(struct pst_recall *m, const uint64_t *set,
		      uint32_t nr_used, struct pst_echo *out);

/**
 * pst_recall_ahead() - what a layer will take at its next turn
 * @layer: of the present token where its turn is still to come, else of the next
 * @share: [nr_experts] estimate by regression of whether it takes an expert, >= 0
 *	and mostly <= 1
 *
 * Between single tokens.  Return: whether there is a past to speak of; @share is not
 * written without.
 */
bool pst_recall_ahead(const struct pst_recall *m, uint32_t layer, float *share);

/* Tokens of a chunk that are remembered: its last ones. */
#define PST_RECALL_CHUNK 64u

#endif
