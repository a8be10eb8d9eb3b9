/* SPDX-License-Identifier: MIT */
/*
 * plan_speed: the speeds that `plan` expects: what the drive and the cores
 * give, put through the cost model.
 */
#ifndef PST_PLAN_SPEED_H
#define PST_PLAN_SPEED_H

#include "cli.h"
#include "speed.h"
#include "watch.h"

/**
 * struct cli_plan_speed - measured before the sums are made
 * @s: rates of the cores, NULL when there was no memory to measure
 * @drive: bandwidth 0 when the drive could not be read
 * @routed: a trace was given; then @routed_hit_rate is that of its decode
 *	phase at this cache size, 1 where all are loaded before
 */
struct cli_plan_speed {
	struct pst_speed *s;
	struct pst_report_env drive;
	bool routed;
	double routed_hit_rate;
	uint32_t routed_used;
};

/** cli_plan_speed_open() - 0 or an exit code; close in both cases */
int cli_plan_speed_open(struct cli_plan_speed *ps, const struct cli_opts *o,
			const struct pst_plan *p);
void cli_plan_speed_close(struct cli_plan_speed *ps);

/**
 * cli_plan_cost() - a token at a hit rate
 * @nr_used: experts of a token in a layer, 0 for the model's
 *
 * Return: false when cores or drive are not known.
 */
bool cli_plan_cost(const struct cli_plan_speed *ps, double hit_rate,
		   uint32_t nr_used, struct pst_cost *out);

#endif
