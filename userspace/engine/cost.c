// SPDX-License-Identifier: MIT
/*
 * The cost model: arithmetic over figures that others have measured.  Must not
 * know where a figure came from.
 */
#include "base.h"
#include "cost.h"

/* The drive's time for one expert while others are in flight. */
static double expert_s(const struct pst_cost_layer *l,
		       const struct pst_cost_machine *m)
{
	return l->expert_reads * m->read_s + l->expert_bytes / m->drive_bps;
}

/* The experts of a layer of which @k are missing. */
static double with_misses(const struct pst_cost_layer *l,
			  const struct pst_cost_machine *m, uint32_t k)
{
	double one = l->experts_s / l->nr_used;
	double read = m->latency_s + k * expert_s(l, m);

	if (!k)
		return l->experts_s;
	return PST_MAX((l->nr_used - k) * one, read) + k * one;
}

/* Expectation over the number of misses, which is binomial. */
static double expected_s(const struct pst_cost_layer *l,
			 const struct pst_cost_machine *m)
{
	double p = PST_MIN(PST_MAX(l->miss_rate, 0.0), 1.0);
	double sum = 0.0, chance = 1.0;

	/* The recurrence below would divide by zero. */
	if (p >= 1.0)
		return with_misses(l, m, l->nr_used);
	for (uint32_t i = 0; i < l->nr_used; i++)
		chance *= 1.0 - p;
	for (uint32_t k = 0; k <= l->nr_used; k++) {
		sum += chance * with_misses(l, m, k);
		chance *= (l->nr_used - k) / (k + 1.0) * p / (1.0 - p);
	}
	return sum;
}

struct pst_cost pst_cost_predict(const struct pst_cost_token *t,
				 const struct pst_cost_machine *m)
{
	struct pst_cost c = { .compute_s = t->rest_s, .total_s = t->rest_s };

	for (uint32_t i = 0; i < t->nr_layers; i++) {
		const struct pst_cost_layer *l = &t->layers[i];
		double read = l->nr_used * l->miss_rate + l->ahead;

		c.compute_s += l->head_s + l->experts_s;
		c.drive_s += read * expert_s(l, m);
		c.total_s += l->head_s +
			     (l->nr_used ? expected_s(l, m) : l->experts_s);
	}
	c.total_s = PST_MAX(c.total_s, c.drive_s);
	return c;
}
