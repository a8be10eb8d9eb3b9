/* SPDX-License-Identifier: MIT */
/*
 * kept: an expert cache in a named pool, which the next process takes over.
 * Private to engine/.
 */
#ifndef PST_KEPT_H
#define PST_KEPT_H

#include "base.h"

struct pst_engine;
struct pst_store_keep;

/**
 * pst_engine_keep_args() - which pool to take
 * @e: the plan is made; the pool has a name
 * @nr_slots: in: as many as fit; out: as many as the pool is to have
 * @keep: out
 *
 * Return: 0, or -errno when a file of the model cannot be looked at.
 */
int pst_engine_keep_args(const struct pst_engine *e, uint32_t *nr_slots,
			 struct pst_store_keep *keep, struct pst_diag *diag);

/** pst_engine_keep_say() - what was found, in the log */
void pst_engine_keep_say(const struct pst_engine *e);

#endif
