/* SPDX-License-Identifier: MIT */
/*
 * speed: what a model would do on this machine, before it is loaded: its
 * weights by type, the rates of the cores, and the cost model.
 */
#ifndef PST_SPEED_H
#define PST_SPEED_H

#include <penstock/engine.h>

#include "cost.h"

struct pst_speed;

/**
 * pst_speed_create() - open a model's header and measure the cores
 * @opts: as for the run
 * @out: the caller's, pst_speed_destroy()
 *
 * Takes eight times the size of the caches for a second at most, 1 GiB or a quarter
 * of what is free where that is less, and reads no weights.
 *
 * Return: 0, -ENOMEM, or as pst_engine_open().
 */
int pst_speed_create(const char *path, const struct pst_engine_opts *opts,
		     struct pst_speed **out, struct pst_diag *diag);
void pst_speed_destroy(struct pst_speed *s);

/**
 * pst_speed_predict() - one token of decode
 * @miss_rate: share of a token's experts that is read
 * @nr_used: experts of a token in a layer, 0 for the model's
 * @depth: tokens in the context
 */
struct pst_cost pst_speed_predict(const struct pst_speed *s, double miss_rate,
				  uint32_t nr_used, uint32_t depth,
				  const struct pst_cost_machine *m);

/** pst_speed_mem_bps() - what the threads read from memory */
double pst_speed_mem_bps(const struct pst_speed *s);

#endif
