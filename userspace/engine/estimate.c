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

struct pst_prefill_model pst_engine_prefill_model(const struct pst_engine *e)
{
	const struct pst_model *model = e->model;
	struct pst_prefill_model m = {
		.nr_layers = model->nr_moe_layers,
		.nr_experts = model->hp.n_expert,
		.nr_used = model->hp.n_expert_used,
		.read_s = e->opts.drive_read_ns * 1e-9,
	};

	for (uint32_t l = 0; l < model->hp.n_layers && m.nr_layers; l++) {
		struct pst_expert_read one = pst_engine_expert_read(e, l);

		m.expert_bytes += one.bytes / m.nr_layers;
		m.expert_reads += one.reads / m.nr_layers;
	}
	return m;
}

/* Tokens that take the same expert, of so many. */
static uint32_t rows_of(const struct pst_prefill_model *m, uint32_t n)
{
	double experts = pst_prefill_union(m, n);

	return experts > 0.0 ? (uint32_t)(n * m->nr_used / experts + 0.5) : 1;
}

/* What a sequence of this length takes is measured once: of a later message
 * the sequence is not empty any more.
 */
static void find_pace(struct pst_engine *e, const struct pst_prefill_model *m,
		      uint32_t nr_tokens)
{
	uint32_t n = PST_MIN(nr_tokens, e->plan.batch_size);

	if (e->session.kv.n_used || !n)
		return;
	pst_fwd_try(e->fwd, &e->session.kv, nr_tokens, rows_of(m, n), &e->pace);
}

/* The mean token of the chunk stands for all of them. */
static double back_s(const void *ctx, uint32_t first, uint32_t nr)
{
	const struct pst_engine *e = ctx;
	const struct pst_hparams *hp = &e->model->hp;
	uint32_t depth = e->session.kv.n_used + first + nr / 2;
	double bytes = 0.0;

	for (uint32_t l = 0; l < hp->n_layers; l++)
		bytes += (double)pst_kv_read_bytes(hp, e->session.kv.type, l,
						   depth);
	return bytes * nr * e->pace.kv_byte_s;
}

void pst_engine_estimate_prompt(struct pst_engine *e, uint32_t nr_tokens,
				struct pst_prompt_estimate *out)
{
	struct pst_prefill_model m = pst_engine_prefill_model(e);
	struct pst_prefill_time t;

	m.drive_bps = drive_bps(e);
	if (e->store) {
		m.nr_slots = pst_store_nr_slots(e->store);
		m.nr_resident = pst_store_nr_resident(e->store);
	}
	find_pace(e, &m, nr_tokens);
	m.token_s = e->pace.token_s;
	m.back_s = back_s;
	m.ctx = e;
	t = pst_prefill_predict(&m, nr_tokens, e->plan.batch_size);
	*out = (struct pst_prompt_estimate){
		.chunks = t.chunks,
		.drive_bytes = (uint64_t)t.drive_bytes,
		.drive_s = t.drive_s,
		.compute_s = t.compute_s,
		.total_s = t.total_s,
	};
}
