/* SPDX-License-Identifier: MIT */
/*
 * trace: a recorded routing, which experts each token took in each layer.
 *
 * The text form opens with "# penstock-route-trace 1", comment lines with the
 * model's geometry, and a line of column names; then a row for each choice,
 * "phase,token,layer,rank,expert,weight", in the order in which the model ran.
 * Traces are untrusted.
 */
#ifndef PST_TRACE_H
#define PST_TRACE_H

#include "base.h"

/* Bounds on what a trace may claim, so that memory stays bounded. */
#define PST_TRACE_MAX_LAYERS  1024u
#define PST_TRACE_MAX_EXPERTS 4096u
#define PST_TRACE_MAX_ROWS    (1u << 25)

/**
 * struct pst_trace - a trace in memory
 * @model: as the trace names it; untrusted text
 * @nr_used: rows of one token in one layer: row i belongs to group i / nr_used
 * @expert_bytes: [nr_layers], 0 for a layer without experts
 * @nr_moe_layers: layers with experts
 * @nr_rows: a multiple of @nr_used
 * @first_decode: row at which the decode phase begins; nr_rows without one
 * @key: [nr_rows] layer * nr_experts + expert
 */
struct pst_trace {
	char model[128];
	uint32_t nr_layers, nr_experts, nr_used;
	uint32_t nr_moe_layers;
	uint64_t *expert_bytes;
	uint32_t nr_rows, first_decode;
	uint32_t *key;
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

#endif
