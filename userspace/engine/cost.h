/* SPDX-License-Identifier: MIT */
/*
 * cost: what a token costs by a stated model, for `plan` before a run and for
 * the report after one.
 *
 * A layer computes its attention and router, then its experts; reads for the
 * k experts that are missing start together when the router has spoken, share
 * the drive and end together, and meanwhile those that are there are computed:
 *
 *	one     = reads of an expert x time of a read + bytes / drive
 *	t_layer = head + max(experts that hit, latency + k x one)
 *		+ experts that missed
 *	t_token = max(sum of t_layer + rest, experts read x one)
 *
 * k is binomial; t_layer is the expectation over it.  What is read ahead in
 * idle time costs the drive and saves a miss.  A drive does so many reads per
 * second as well as so many bytes: the time of a read is what each takes of it
 * whatever its length, while others are in flight.
 */
#ifndef PST_COST_H
#define PST_COST_H

#include <stdint.h>

/**
 * struct pst_cost_layer - one layer of a decoded token
 * @head_s: computing up to the router, and what follows the experts
 * @experts_s: computing all of its experts, as if they were in memory
 * @nr_used: experts that a token takes, 0 for a dense layer
 * @miss_rate: share of them that is read when it is wanted
 * @ahead: experts that are read ahead for it, wanted or not
 * @expert_bytes: what is read for one, in whole blocks
 * @expert_reads: reads for one
 */
struct pst_cost_layer {
	double head_s;
	double experts_s;
	uint32_t nr_used;
	double miss_rate;
	double ahead;
	double expert_bytes;
	double expert_reads;
};

/**
 * struct pst_cost_machine - what reads cost
 * @drive_bps: bytes per second, > 0
 * @read_s: of the drive's time for each read, beside its bytes
 * @latency_s: until the first read ends, beyond both, and what waking up after
 *	it costs
 */
struct pst_cost_machine {
	double drive_bps;
	double read_s;
	double latency_s;
};

/**
 * struct pst_cost_token - a token
 * @layers: [nr_layers]
 * @rest_s: embedding, output matrix, sampling
 */
struct pst_cost_token {
	const struct pst_cost_layer *layers;
	uint32_t nr_layers;
	double rest_s;
};

/**
 * struct pst_cost - the parts of a prediction
 * @compute_s: all computing, reads aside
 * @drive_s: all reads and their bytes at the drive's rates
 * @total_s: by the model above
 */
struct pst_cost {
	double compute_s;
	double drive_s;
	double total_s;
};

/** pst_cost_predict() - seconds of one token */
struct pst_cost pst_cost_predict(const struct pst_cost_token *t,
				 const struct pst_cost_machine *m);

#endif
