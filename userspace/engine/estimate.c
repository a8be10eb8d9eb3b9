// SPDX-License-Identifier: MIT
/*
 * The expected time of a prompt, from what this engine has measured itself.
 */
#include "engine_priv.h"

/* Bytes from which on the drive's rate is known. */
#define KNOWN_BYTES (32 * PST_MIB)

/* Bytes per second while reads were outstanding, loading included; of a small
 * model, which loads in no time, what was measured before.
 */
static double drive_bps(const struct pst_engine *e)
{
	struct pst_io_stats is;

	pst_io_stats_read(e->io, &is);
	if (is.read_bytes < KNOWN_BYTES || !is.busy_ns)
		return (double)e->opts.drive_bps;
	return (double)is.read_bytes * 1e9 / (double)is.busy_ns;
}

static double expert_bytes(const struct pst_engine *e)
{
	return e->plan.nr_experts ? (double)e->plan.expert_file /
					    (double)e->plan.nr_experts
				  : 0.0;
}

struct pst_prefill_model pst_engine_prefill_model(const struct pst_model *model)
{
	return (struct pst_prefill_model){
		.nr_layers = model->nr_moe_layers,
		.nr_experts = model->hp.n_expert,
		.nr_used = model->hp.n_expert_used,
		.macs_per_token = pst_model_macs(model),
	};
}

void pst_engine_estimate_prompt(struct pst_engine *e, uint32_t nr_tokens,
				struct pst_prompt_estimate *out)
{
	struct pst_prefill_model m = pst_engine_prefill_model(e->model);
	struct pst_prefill_time t;

	m.expert_bytes = expert_bytes(e);
	m.drive_bps = drive_bps(e);
	if (e->store) {
		m.nr_slots = pst_store_nr_slots(e->store);
		m.nr_resident = pst_store_nr_resident(e->store);
	}
	if (!e->mac_rate)
		e->mac_rate = pst_fwd_mac_rate(e->fwd);
	m.macs_per_s = e->mac_rate;
	t = pst_prefill_predict(&m, nr_tokens, e->plan.batch_size);
	*out = (struct pst_prompt_estimate){
		.chunks = t.chunks,
		.drive_bytes = (uint64_t)t.drive_bytes,
		.drive_s = t.drive_s,
		.compute_s = t.compute_s,
		.total_s = t.total_s,
	};
}
