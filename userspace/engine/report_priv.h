/* SPDX-License-Identifier: MIT */
/*
 * Private to engine/: the collector of the report.
 */
#ifndef PST_REPORT_PRIV_H
#define PST_REPORT_PRIV_H

#include "engine_priv.h"
#include "report.h"

struct pst_report {
	uint64_t max_bytes;
	const struct pst_engine *e;
	uint32_t nr_layers, nr_experts;
	uint64_t *expert_bytes; /* [nr_layers] */

	struct pst_report_phase prefill, decode;
	struct pst_report_phase *phase; /* the present one */
	struct pst_report_times now; /* of the present pass */
	struct pst_report_times *layers; /* [nr_layers] of decode */
	struct pst_report_guess *guesses; /* [nr_layers] of decode */
	struct pst_report_guess *guesses_before; /* [nr_layers] */
	struct pst_report_pass *passes; /* [cap_passes] */
	uint32_t nr_passes, cap_passes, nr_dropped;
	struct pst_store_stats store_before;
	struct pst_io_stats io_before;

	uint32_t *use; /* [nr_layers][nr_experts] */
	uint32_t *keys; /* [cap_keys] the routing, in order */
	uint32_t nr_keys, cap_keys, nr_used, first_decode;
	bool keys_full;
};

/** pst_report_expert_bytes() - one expert of a layer in the files */
uint64_t pst_report_expert_bytes(const struct pst_engine *e, uint32_t layer);

#endif
