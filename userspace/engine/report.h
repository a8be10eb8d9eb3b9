/* SPDX-License-Identifier: MIT */
/*
 * report: where the time and the bytes of a run went, which resource bound it,
 * and what more of each would have brought.
 *
 * A collector is fed by the hooks of <penstock/observe.h> while the run goes
 * on, in memory that was reserved before its first token; pst_report_finish()
 * then computes.  Prefill and decode are kept apart.
 */
#ifndef PST_REPORT_H
#define PST_REPORT_H

#include <penstock/engine.h>
#include <penstock/observe.h>
#include <penstock/profile.h>

#include "base.h"

/* Memory of a collector: some thousand tokens of a large model. */
#define PST_REPORT_BYTES (16 * PST_MIB)

/**
 * struct pst_moe_shape - the experts of an open model
 * @expert_bytes: [nr_layers], 0 for a layer without experts
 */
struct pst_moe_shape {
	uint32_t nr_layers, nr_experts, nr_used;
	uint64_t expert_bytes[1024];
};

/** pst_engine_moe_shape() - Return: 0, -ENOTSUP without experts, -E2BIG */
int pst_engine_moe_shape(const struct pst_engine *e, struct pst_moe_shape *out);

/**
 * struct pst_report_times - sums over passes
 * @passes, @tokens: of these
 * @total_ns = @wait_ns + @attention_ns + @experts_ns + @logits_ns + the rest
 * @hits, @misses: experts
 * @hit_bytes: their size, of hits; @demand_bytes: of misses
 * @idle_bytes: read ahead
 */
struct pst_report_times {
	uint64_t passes, tokens;
	uint64_t total_ns, wait_ns, attention_ns, experts_ns, logits_ns;
	uint64_t hits, misses;
	uint64_t hit_bytes, demand_bytes, idle_bytes;
};

/**
 * struct pst_report_pass - one pass, for a time line
 * @first_pos: of its first token
 */
struct pst_report_pass {
	uint32_t first_pos;
	bool decode;
	struct pst_report_times t;
};

/**
 * struct pst_report_phase - prefill or decode
 * @read_bytes: by the drive, block slack included
 * @busy_ns: at least one read was outstanding
 * @prefetch_used_bytes: read ahead and then wanted
 * @prefetch_wasted_bytes: read ahead and dropped or taken back
 */
struct pst_report_phase {
	struct pst_report_times t;
	uint64_t read_bytes, busy_ns;
	uint64_t prefetch_used_bytes, prefetch_wasted_bytes;
};

/**
 * struct pst_report_guess - the predictor and one layer, in decode
 * @guessed: experts that were worth a read by their chance, in memory or not
 * @right: of these, chosen; over @guessed that is the precision, over @wanted
 *	the recall
 * @wanted: experts chosen, whenever something had been guessed
 * @read: experts read ahead of this layer
 * @used: of these, wanted before they were dropped: what reading was of use
 */
struct pst_report_guess {
	uint64_t guessed, right, wanted;
	uint64_t read, used;
};

enum pst_report_limit {
	PST_LIMIT_NONE, /* nothing was measured */
	PST_LIMIT_DRIVE,
	PST_LIMIT_MEMORY, /* bandwidth */
	PST_LIMIT_CORES
};

/**
 * struct pst_report_gain - what a change would bring, by the cost model
 * @what: in words, static text
 * @tok_s: predicted decode speed; @factor: against the predicted present one
 */
struct pst_report_gain {
	const char *what;
	double tok_s;
	double factor;
};

/**
 * struct pst_report_capacity - the run's own routing at a cache size
 * @policy_hits, @lru_hits, @min_hits: of @wanted experts, decode phase
 */
struct pst_report_capacity {
	uint32_t nr_slots;
	uint64_t wanted, policy_hits, lru_hits, min_hits;
};

#define PST_REPORT_GAINS      8
#define PST_REPORT_CAPACITIES 12

/**
 * struct pst_report_env - what only the caller knows
 * @drive_bps: the drive's bandwidth, 0: take the rate that the run saw
 * @drive: as a line, with it; else zero
 */
struct pst_report_env {
	double drive_bps;
	struct pst_drive_line drive;
};

/**
 * struct pst_report_result - the figures; pointers belong to the collector
 * @passes: [nr_passes]; @nr_dropped more did not fit
 * @layers: [nr_layers] of decode
 * @guesses: [nr_layers] of decode
 * @use: [nr_layers][nr_experts] how often each was chosen, NULL if dense
 * @routing_tokens: tokens whose routing was kept and replayed
 * @drive_bps: as in the environment, or what the run saw
 * @drive_measured: the former
 * @drive_use: share of @drive_bps over the whole decode
 * @drive_use_busy: share of it while reads were outstanding
 * @mem_bps: what all threads together read from memory
 * @weight_bps: weights per second while computing
 * @model_tok_s: the cost model's figure for the present machine
 * @measured_tok_s: decode, as it was
 */
struct pst_report_result {
	struct pst_report_phase prefill, decode;
	const struct pst_report_pass *passes;
	uint32_t nr_passes, nr_dropped;
	const struct pst_report_times *layers;
	const struct pst_report_guess *guesses;
	uint32_t nr_layers, nr_experts, nr_used, nr_slots, nr_all;
	const uint32_t *use;
	uint32_t routing_tokens;
	const char *policy;
	double drive_bps, drive_use, drive_use_busy;
	bool drive_measured;
	double mem_bps, weight_bps;
	double model_tok_s, measured_tok_s;
	enum pst_report_limit limit;
	struct pst_report_gain gains[PST_REPORT_GAINS];
	uint32_t nr_gains;
	struct pst_report_capacity capacities[PST_REPORT_CAPACITIES];
	uint32_t nr_capacities;
};

struct pst_report;

/**
 * pst_report_create() - a collector; it takes @max_bytes once it starts
 *
 * Return: 0, -ENOMEM.
 */
int pst_report_create(uint64_t max_bytes, struct pst_report **out);
void pst_report_destroy(struct pst_report *r);

/**
 * pst_report_start() - reserve for this engine; the run begins now
 *
 * Return: 0, -ENOMEM.
 */
int pst_report_start(struct pst_report *r, const struct pst_engine *e);

/** pst_report_phase() - what comes now is decode, or prefill again */
void pst_report_phase(struct pst_report *r, bool decode);

/* To be called by the hooks of the same names. */
void pst_report_route(struct pst_report *r, const struct pst_route_sample *s);
void pst_report_layer(struct pst_report *r, uint32_t layer,
		      const struct pst_layer_sample *s);
void pst_report_pass(struct pst_report *r, const struct pst_pass_sample *s);

/**
 * pst_report_finish() - compute; takes part of a second
 * @e: as in start, still open, no pass is running
 *
 * Return: 0, -ENOMEM.
 */
int pst_report_finish(struct pst_report *r, const struct pst_report_env *env,
		      struct pst_report_result *out);

/** pst_report_limit_name() - "drive", "memory bandwidth", "cores", "unknown" */
const char *pst_report_limit_name(enum pst_report_limit l);

#endif
