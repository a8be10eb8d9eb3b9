/* SPDX-License-Identifier: MIT */
/*
 * prefill: how a prompt is best read when the experts do not fit: how many
 * tokens at once, and how long it will take.
 *
 * A chunk of tokens passes over the bank of experts once.  It wants the union
 * of its tokens' experts; those that are not in memory are read in file order
 * while the ones before them are computed, those of the next layer behind
 * those of this one.  So a chunk takes the longer of reading and computing:
 *
 *	union(n)  = E x (1 - (1 - k/E)^n)	for tokens that choose evenly
 *	one       = reads of an expert x time of a read + bytes / drive
 *	t(chunk)  = max(layers x union(n) x absent x one,
 *			n x time of a token + what the tokens look back at)
 *
 * Attention looks back at all positions before it, so that of a whole prompt
 * grows with the square of its length, but for windows and the like.
 *
 * Real routers choose less evenly: the union, and the time, are smaller.
 */
#ifndef PST_PREFILL_H
#define PST_PREFILL_H

#include "base.h"

/**
 * struct pst_prefill_model - what the time depends on
 * @nr_layers: layers with experts, 0 for a dense model
 * @nr_experts: of a layer; @nr_used: of a token
 * @expert_bytes: that are read for one expert; @expert_reads: in so many reads
 * @nr_slots: experts that fit in memory; @nr_resident: that are there now
 * @token_s: computing one token in all layers, 0 for unknown
 * @back_s: beside that, what the @nr tokens from @first on look back at; NULL
 *	for nothing; @ctx is handed to it
 * @drive_bps: bytes per second, 0 for unknown
 * @read_s: of the drive's time for each read, beside its bytes
 */
struct pst_prefill_model {
	uint32_t nr_layers;
	uint32_t nr_experts;
	uint32_t nr_used;
	double expert_bytes;
	double expert_reads;
	uint64_t nr_slots;
	uint64_t nr_resident;
	double token_s;
	double (*back_s)(const void *ctx, uint32_t first, uint32_t nr);
	const void *ctx;
	double drive_bps;
	double read_s;
};

/**
 * struct pst_prefill_time - a prediction
 * @chunks: passes over the bank
 * @drive_bytes: what is read
 * @drive_s, @compute_s: each by itself
 * @total_s: until the first token: the longer one, chunk by chunk
 */
struct pst_prefill_time {
	uint32_t chunks;
	double drive_bytes;
	double drive_s;
	double compute_s;
	double total_s;
};

/** pst_prefill_union() - experts of a layer that @n tokens want, expected */
double pst_prefill_union(const struct pst_prefill_model *m, uint32_t n);

/**
 * pst_prefill_predict() - the time for a prompt
 * @tokens: of the prompt, > 0
 * @batch: tokens of a chunk at most, > 0
 */
struct pst_prefill_time pst_prefill_predict(const struct pst_prefill_model *m,
					    uint32_t tokens, uint32_t batch);

#endif
