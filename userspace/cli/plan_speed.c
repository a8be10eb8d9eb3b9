// SPDX-License-Identifier: MIT
/*
 * What plan measures: the drive (its profile, else a quick look) and the cores;
 * and what a recorded routing would hit.
 */
#include <errno.h>

#include "plan_speed.h"
#include "replay.h"

/* Tokens in the context that a prediction is for. */
#define DEPTH 128

/* The trace's experts stand for the model's: shares are the same. */
static int play_routing(struct cli_plan_speed *ps, const struct cli_opts *o,
			const struct pst_plan *p)
{
	struct pst_replay_result r = { .hits = 0 };
	struct pst_trace t = { .nr_layers = 0 };
	bool all = p->nr_slots >= p->nr_experts;
	struct pst_diag diag;
	uint64_t slots;
	int rc;

	pst_diag_init(&diag);
	rc = pst_trace_load(o->routing, &t, &diag);
	if (rc)
		return cli_fail(rc, &diag);
	slots = (uint64_t)p->nr_slots * t.nr_moe_layers * t.nr_experts /
		PST_MAX(p->nr_experts, 1u);
	if (slots && !all)
		rc = pst_replay_policy(
			&t,
			pst_policy_find(o->engine.policy ? o->engine.policy
							 : "default"),
			(uint32_t)slots, &r);
	ps->routed = all || r.hits + r.misses;
	ps->routed_hit_rate =
		all ? 1.0 : (double)r.hits / PST_MAX(r.hits + r.misses, 1u);
	ps->routed_used = t.nr_used;
	pst_trace_fini(&t);
	return rc ? cli_fail(rc, NULL) : EXIT_OK;
}

int cli_plan_speed_open(struct cli_plan_speed *ps, const struct cli_opts *o,
			const struct pst_plan *p)
{
	int rc = EXIT_OK;

	*ps = (struct cli_plan_speed){ .s = NULL };
	if (o->routing)
		rc = play_routing(ps, o, p);
	if (rc)
		return rc;
	/* Without these there are no speeds, and the rest of the plan. */
	if (pst_speed_create(o->args[0], &o->engine, &ps->s, NULL))
		ps->s = NULL;
	if (cli_drive_rate(o->args[0], &ps->drive))
		ps->drive = (struct pst_report_env){ 0 };
	return EXIT_OK;
}

void cli_plan_speed_close(struct cli_plan_speed *ps)
{
	pst_speed_destroy(ps->s);
	ps->s = NULL;
}

bool cli_plan_cost(const struct cli_plan_speed *ps, double hit_rate,
		   uint32_t nr_used, struct pst_cost *out)
{
	struct pst_cost_machine m = { .drive_bps = ps->drive.drive.bps,
				      .read_s = ps->drive.drive.read_s,
				      .latency_s = ps->drive.drive.latency_s };

	if (!ps->s || (!(m.drive_bps > 0.0) && hit_rate < 1.0))
		return false;
	/* Nothing is read: any drive will do. */
	if (!(m.drive_bps > 0.0))
		m.drive_bps = 1e9;
	*out = pst_speed_predict(ps->s, 1.0 - hit_rate, nr_used, DEPTH, &m);
	return out->total_s > 0.0;
}
