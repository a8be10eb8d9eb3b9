/* SPDX-License-Identifier: MIT */
/*
 * trace: a recorded routing, which experts each token took in each layer.
 *
 * The text form opens with "# penstock-route-trace 1", comment lines with the
 * model's geometry, and a line of column names; then a row for each choice,
 * "phase,token,layer,rank,expert,weight", in the order in which the model ran.
 * Version 2 adds records between the rows, in lines that begin with '#', so
 * that a reader of CSV that skips comments sees version 1:
 *
 *	#p,CODES	the router's probabilities of all experts, for the
 *			token and layer of the rows before; two characters
 *			each; the head then has the line "# probs=log64"
 *	#io,...		times and bytes of a layer of a pass
 *	#pass,...	times of a pass
 *
 * Traces are untrusted.  Documentation/tracing.rst has the details.
 */
#ifndef PST_TRACE_H
#define PST_TRACE_H

#include "base.h"

/* Bounds on what a trace may claim, so that memory stays bounded. */
#define PST_TRACE_MAX_LAYERS  1024u
#define PST_TRACE_MAX_EXPERTS 4096u
#define PST_TRACE_MAX_ROWS    (1u << 25)
#define PST_TRACE_MAX_RECORDS (1u << 22)

/* A probability is kept as -64 log2(p), rounded; this stands for none. */
#define PST_TRACE_PROB_ZERO 4095u

/**
 * struct pst_trace_io - what one layer of one pass cost
 * @token: first token of the pass
 * @hits: wanted experts in memory; @misses: the others
 * @idle_bytes: read ahead
 */
struct pst_trace_io {
	uint32_t token, nr_tokens, layer;
	uint64_t total_ns, wait_ns, attention_ns, experts_ns;
	uint64_t hits, misses, demand_bytes, idle_bytes;
};

/**
 * struct pst_trace_pass - one pass over all layers
 * @token: its first token
 */
struct pst_trace_pass {
	uint32_t token, nr_tokens;
	uint64_t total_ns, logits_ns;
};

/**
 * struct pst_trace - a trace in memory
 * @model: as the trace names it; untrusted text
 * @nr_used: rows of one token in one layer: row i belongs to group i / nr_used
 * @expert_bytes: [nr_layers], 0 for a layer without experts
 * @nr_moe_layers: layers with experts
 * @nr_rows: a multiple of @nr_used
 * @first_decode: row at which the decode phase begins; nr_rows without one
 * @key: [nr_rows] layer * nr_experts + expert
 * @weight: [nr_rows] finite, NULL when not known
 * @prob: [nr_rows / nr_used][nr_experts] pst_trace_prob() decodes one; NULL
 *	when not recorded
 * @io, @pass: NULL when not recorded
 */
struct pst_trace {
	char model[128];
	uint32_t nr_layers, nr_experts, nr_used;
	uint32_t nr_moe_layers;
	uint64_t *expert_bytes;
	uint32_t nr_rows, first_decode;
	uint32_t *key;
	float *weight;
	uint16_t *prob;
	uint32_t nr_io, nr_passes;
	struct pst_trace_io *io;
	struct pst_trace_pass *pass;
};

/**
 * pst_trace_load() - read and check a trace
 * @out: caller's memory; pst_trace_fini() after success
 *
 * Return: 0, -EBADMSG with the line's number in @diag for a malformed trace,
 * -ENOMEM, or the error of opening or reading the file.
 */
int pst_trace_load(const char *path, struct pst_trace *out,
		   struct pst_diag *diag);

/** pst_trace_fini() - free what load took; a zeroed struct is allowed */
void pst_trace_fini(struct pst_trace *t);

/** pst_trace_prob() - a probability from its code, within 0.55 % */
float pst_trace_prob(uint16_t code);

/**
 * struct pst_trace_sink - where a trace is written to
 * @put: 0 or -errno, which ends the writing
 */
struct pst_trace_sink {
	int (*put)(void *ctx, const void *data, size_t size_bytes);
	void *ctx;
};

/**
 * struct pst_trace_head - what stands before the rows
 * @model: what is no plain character becomes '_'
 * @expert_bytes: [nr_layers], 0 for a layer without experts
 * @probs: rows will come with probabilities
 * @records: times will be written
 */
struct pst_trace_head {
	const char *model;
	const char *arch;
	uint32_t nr_layers, nr_experts, nr_used;
	const uint64_t *expert_bytes;
	bool probs;
	bool records;
};

/**
 * struct pst_trace_rows - the choices of a batch in one layer
 * @first: number of its first token
 * @ids: [nr_tokens][nr_used]
 * @weights: [nr_tokens][nr_used]
 * @probs: [nr_tokens][nr_experts], NULL without
 */
struct pst_trace_rows {
	bool decode;
	uint32_t layer, first, nr_tokens, nr_used, nr_experts;
	const uint32_t *ids;
	const float *weights;
	const float *probs;
};

/*
 * Writing: a line at a time, nothing is kept.  Return: 0, what the sink gave,
 * -EINVAL for a geometry that no reader would take or a weight that is no
 * number.
 */
int pst_trace_write_head(const struct pst_trace_sink *s,
			 const struct pst_trace_head *h);
int pst_trace_write_rows(const struct pst_trace_sink *s,
			 const struct pst_trace_rows *r);
int pst_trace_write_io(const struct pst_trace_sink *s,
		       const struct pst_trace_io *io);
int pst_trace_write_pass(const struct pst_trace_sink *s,
			 const struct pst_trace_pass *p);

#endif
