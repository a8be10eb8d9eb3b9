/* SPDX-License-Identifier: MIT */
/*
 * forced: plays a recorded routing into a live run, so that cache, prefetch
 * and I/O meet the choices of a real model at the geometry of the model that
 * is open, whatever its weights are.
 */
#ifndef PST_FORCED_H
#define PST_FORCED_H

#include <penstock/observe.h>

#include "trace.h"

struct pst_forced;

/**
 * struct pst_forced_shape - how a trace meets a model
 * @nr_tokens: tokens in the trace; positions beyond repeat the decode phase
 * @nr_prefill: of these, of the prompt
 * @nr_used: experts of a token in the trace
 */
struct pst_forced_shape {
	uint32_t nr_tokens;
	uint32_t nr_prefill;
	uint32_t nr_used;
};

/**
 * pst_forced_create() - index a trace by token and layer
 * @t: must outlive the object
 * @out: the caller's, pst_forced_destroy()
 *
 * Return: 0, -ENOMEM.
 */
int pst_forced_create(const struct pst_trace *t, struct pst_forced **out);
void pst_forced_destroy(struct pst_forced *f);
void pst_forced_shape(const struct pst_forced *f, struct pst_forced_shape *out);

/**
 * pst_forced_choose() - the choose() hook of struct pst_observer
 * @ctx: struct pst_forced
 *
 * A trace with other layers or experts than the model's is mapped modulo; an
 * expert that a token would take twice gives way to the next one.  The trace's
 * number of experts per token counts where it is the smaller one.
 */
uint32_t pst_forced_choose(void *ctx, const struct pst_route_choice *c);

/**
 * pst_forced_set_recall() - how good pst_forced_foresee() is
 * @recall: share of a layer's experts that are foreseen, 0 to 1
 */
void pst_forced_set_recall(struct pst_forced *f, float recall);

/**
 * pst_forced_foresee() - the foresee() hook: a predictor of a stated quality
 * @ctx: struct pst_forced
 *
 * Tells the experts that pst_forced_choose() will take, each replaced by some
 * other one as often as the recall asks for.  Which ones follows from token,
 * layer and rank alone.
 */
uint32_t pst_forced_foresee(void *ctx, const struct pst_route_choice *c);

#endif
