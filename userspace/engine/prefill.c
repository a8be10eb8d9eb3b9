// SPDX-License-Identifier: MIT
/*
 * See prefill.h: the arithmetic only, no clocks and no files.
 */
#include <math.h>

#include "prefill.h"

double pst_prefill_union(const struct pst_prefill_model *m, uint32_t n)
{
	double miss;

	if (!m->nr_experts)
		return 0.0;
	miss = 1.0 - (double)m->nr_used / m->nr_experts;
	return m->nr_experts * (1.0 - pow(miss, n));
}

static void add_chunk(const struct pst_prefill_model *m, uint32_t first,
		      uint32_t n, double absent, struct pst_prefill_time *t)
{
	double experts = m->nr_layers * pst_prefill_union(m, n) * absent;
	double bytes = experts * m->expert_bytes;
	double drive = experts * m->expert_reads * m->read_s;
	double compute = n * m->token_s;

	if (m->drive_bps > 0.0)
		drive += bytes / m->drive_bps;
	if (m->back_s)
		compute += m->back_s(m->ctx, first, n);

	t->chunks++;
	t->drive_bytes += bytes;
	t->drive_s += drive;
	t->compute_s += compute;
	t->total_s += fmax(drive, compute);
}

struct pst_prefill_time pst_prefill_predict(const struct pst_prefill_model *m,
					    uint32_t tokens, uint32_t batch)
{
	struct pst_prefill_time t = { 0 };
	double all = (double)m->nr_layers * m->nr_experts;
	double now = all > 0.0 ? 1.0 - fmin(1.0, m->nr_resident / all) : 0.0;
	double later = all > 0.0 ? 1.0 - fmin(1.0, m->nr_slots / all) : 0.0;

	for (uint32_t at = 0; at < tokens; at += PST_MIN(batch, tokens - at))
		add_chunk(m, at, PST_MIN(batch, tokens - at), at ? later : now,
			  &t);
	return t;
}
