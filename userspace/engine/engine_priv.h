/* SPDX-License-Identifier: MIT */
/*
 * Private to engine/: what is open, and the budget.
 */
#ifndef PST_ENGINE_PRIV_H
#define PST_ENGINE_PRIV_H

#include <penstock/engine.h>

#include "base.h"
#include "forward.h"
#include "gate.h"
#include "gguf.h"
#include "governor.h"
#include "io.h"
#include "model.h"
#include "prefill.h"
#include "store.h"
#include "tokenizer.h"
#include "topo.h"
#include "warm.h"

struct pst_mem_pressure;

struct pst_session {
	struct pst_engine *e;
	struct pst_kv kv;
	bool in_use;
};

/* The governor's hands and eyes. */
struct pst_govern {
	bool on;
	struct pst_governor logic;
	struct pst_mem_pressure *pressure;
	uint64_t next_ns; /* when to look again */
	enum pst_governor_why said; /* last in the log */
	bool warned_small, warned_spent, warned_refused;
	uint64_t given_slots, taken_slots;
	uint32_t warnings;
};

struct pst_engine {
	struct pst_engine_opts opts;
	struct pst_kernels kernels;
	struct pst_gguf *gguf;
	struct pst_vocab *vocab;
	struct pst_model *model;
	struct pst_pool *pool;
	struct pst_mem_pool *mem_pool; /* of the slots */
	struct pst_io *io;
	struct pst_store *store;
	struct pst_fwd *fwd;
	struct pst_session session; /* the one whose memory is reserved */
	struct pst_plan plan;
	int node; /* NUMA node of all big regions, -1 for none */
	struct pst_gate gate; /* does reading ahead pay? */
	bool prefetch_on; /* for the last token */
	double wanted_share; /* of all experts, by the last chunk of a prompt */
	struct pst_pace pace; /* of a prompt, zero until it is measured */
	struct pst_io_stats io_before; /* at the end of loading */
	struct pst_govern govern;
	struct {
		struct pst_warm_id id;
		bool worth_saving; /* something was computed */
	} warm;
};

enum pst_mem_want pst_engine_huge_want(enum pst_engine_huge h);

/** pst_engine_choose_io() - what options mean to io: kind, mode and direct of @out */
void pst_engine_choose_io(enum pst_engine_io io, enum pst_engine_io_mode mode,
			  enum pst_tristate direct, struct pst_io_args *out);

/** pst_engine_kv_type() - what was asked for, as the model knows it */
enum pst_kv_type pst_engine_kv_type(const struct pst_engine *e);

/** pst_engine_activations() - likewise */
enum pst_activations pst_engine_activations(const struct pst_engine *e);

enum pst_mla_form pst_engine_mla(const struct pst_engine *e);

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

/**
 * pst_engine_add_mirrors() - check the mirrors and give them to io
 * @e: files are open, io has them
 *
 * Compares sizes, headers, and some blocks of weights.
 *
 * Return: 0, -EBADMSG with file and offset when a mirror holds something else,
 * -ENOENT and the like when it cannot be opened, -ENOSPC.
 */
int pst_engine_add_mirrors(struct pst_engine *e, struct pst_diag *diag);

/** pst_engine_govern_start() - everything is reserved: watch memory from now */
void pst_engine_govern_start(struct pst_engine *e);
void pst_engine_govern_stop(struct pst_engine *e);

/** pst_engine_govern() - before a pass: give or take memory if need be */
void pst_engine_govern(struct pst_engine *e);

/** pst_engine_govern_token() - one token was decoded in this time */
void pst_engine_govern_token(struct pst_engine *e, uint64_t ns);

/** pst_engine_warm_identify() - while the header's pages are in memory */
void pst_engine_warm_identify(struct pst_engine *e);

/** pst_engine_warm_load() - begin to read what the last run held */
void pst_engine_warm_load(struct pst_engine *e);

/** pst_engine_warm_save() - keep what this run holds */
void pst_engine_warm_save(struct pst_engine *e);

/** pst_engine_prefill_model() - what of a prompt's time the file says */
struct pst_prefill_model pst_engine_prefill_model(const struct pst_engine *e);

/**
 * struct pst_expert_read - what reading one expert of a layer asks of the drive
 * @bytes: in whole blocks, the mean over all of them
 * @reads: of these @bytes
 */
struct pst_expert_read {
	double bytes;
	double reads;
};

/** pst_engine_expert_read() - of a layer; zero of one without experts */
struct pst_expert_read pst_engine_expert_read(const struct pst_engine *e,
					      uint32_t layer);

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
