/* SPDX-License-Identifier: MIT */
/*
 * Private to engine/: what is open, and the budget.
 */
#ifndef PST_ENGINE_PRIV_H
#define PST_ENGINE_PRIV_H

#include <penstock/engine.h>

#include "base.h"
#include "forward.h"
#include "gguf.h"
#include "io.h"
#include "model.h"
#include "store.h"
#include "tokenizer.h"
#include "topo.h"

struct pst_session {
	struct pst_engine *e;
	struct pst_kv kv;
	bool in_use;
};

struct pst_engine {
	struct pst_engine_opts opts;
	struct pst_kernels kernels;
	struct pst_gguf *gguf;
	struct pst_vocab *vocab;
	struct pst_model *model;
	struct pst_pool *pool;
	struct pst_io *io;
	struct pst_store *store;
	struct pst_fwd *fwd;
	struct pst_session session; /* the one whose memory is reserved */
	struct pst_plan plan;
	int node; /* NUMA node of all big regions, -1 for none */
	struct pst_io_stats io_before; /* at the end of loading */
};

enum pst_mem_want pst_engine_huge_want(enum pst_engine_huge h);

/** pst_engine_open_files() - gguf, vocabulary and model; no weights */
int pst_engine_open_files(struct pst_engine *e, const char *path,
			  struct pst_diag *diag);

/**
 * pst_budget_plan() - divide the ceiling
 * @e: files are open, the pool runs
 * @out: filled also when it does not fit
 *
 * Return: 0, -ENOMEM with the sum spelled out, -EINVAL.
 */
int pst_budget_plan(const struct pst_engine *e, struct pst_plan *out,
		    struct pst_diag *diag);

/** pst_engine_split() - reads longer than this are split */
uint32_t pst_engine_split(const struct pst_engine *e);

/** pst_budget_page() - what big regions are rounded up to */
uint64_t pst_budget_page(const struct pst_engine *e);

/**
 * pst_budget_slots() - slots that fit beside what is really in use by now
 *
 * Never more than the plan's.
 */
uint32_t pst_budget_slots(const struct pst_engine *e);

#endif
