// SPDX-License-Identifier: MIT
/*
 * penstock plan: where the memory would go, what a token would read, and how
 * fast that would be by the cost model.  Loads nothing; the drive and the cores
 * are looked at for a fraction of a second.
 */
#include <errno.h>
#include <string.h>

#include "plan_speed.h"

static void on_log(void *ctx, enum pst_log_level level, const char *line)
{
	(void)ctx;
	cli_error("%s%s", level == PST_LOG_WARN ? "warning: " : "", line);
}

/* Experts in memory at once; a mapping has no slots, only the page cache. */
static bool all_resident(const struct pst_plan *p)
{
	return p->nr_slots >= p->nr_experts;
}

static uint64_t fixed_bytes(const struct pst_plan *p)
{
	return p->process + p->trunk + p->kv + p->scratch;
}

static void report_memory(struct cli_report *r, const struct pst_plan *p,
			  bool fits)
{
	cli_report_section(r, "memory");
	cli_report_bytes(r, "ceiling_bytes", p->ram);
	cli_report_bytes(r, "trunk_bytes", p->trunk);
	cli_report_bytes(r, "kv_bytes", p->kv);
	cli_report_bytes(r, "scratch_bytes", p->scratch);
	cli_report_bytes(r, "process_bytes", p->process);
	cli_report_bytes(r, "expert_cache_bytes", p->cache);
	cli_report_bytes(r, "sum_bytes", fixed_bytes(p) + p->cache);
	cli_report_bool(r, "fits", fits);
	cli_report_section(r, "run");
	cli_report_u64(r, "ctx_size", p->ctx_size);
	cli_report_u64(r, "batch_size", p->batch_size);
	cli_report_u64(r, "threads", p->threads);
	cli_report_bytes(r, "model_files_bytes", p->model_file);
}

/* Read a row at a time. */
static void report_tables(struct cli_report *r, const struct pst_plan *p)
{
	cli_report_section(r, "tables");
	cli_report_bytes(r, "on_drive_bytes", p->table_file);
	cli_report_bytes(r, "rows_per_token_bytes", p->token_rows);
}

static void report_experts(struct cli_report *r, const struct pst_plan *p)
{
	cli_report_section(r, "experts");
	cli_report_u64(r, "total", p->nr_experts);
	cli_report_u64(r, "used_per_layer", p->nr_used);
	cli_report_u64(r, "used_per_token", p->nr_token);
	cli_report_bytes(r, "expert_files_bytes", p->expert_file);
	/* Mapped files have no slots: the page cache holds what it will. */
	if (!p->slot)
		return;
	cli_report_bytes(r, "expert_in_memory_bytes", p->slot);
	cli_report_u64(r, "resident", p->nr_slots);
	cli_report_f64(r, "resident_percent",
		       100.0 * p->nr_slots / p->nr_experts);
}

/* What one token reads from the drive at a hit rate. */
struct drive_case {
	const char *name;
	double hit_rate;
	uint32_t nr_used; /* per layer, 0 for the model's */
	double bytes; /* per token */
	bool timed;
	struct pst_cost cost;
};

#define MAX_CASES 4

static double expert_bytes(const struct pst_plan *p)
{
	return (double)p->expert_file / p->nr_experts;
}

static uint32_t find_cases(const struct pst_plan *p,
			   const struct cli_plan_speed *ps,
			   struct drive_case c[MAX_CASES])
{
	uint32_t n = 0;

	c[n++] = (struct drive_case){ .name = "empty_cache" };
	/* Below one token's experts this would promise too much. */
	if (p->nr_slots >= p->nr_token && !all_resident(p))
		c[n++] = (struct drive_case){
			.name = "every_expert_equally_likely",
			.hit_rate = (double)p->nr_slots / p->nr_experts,
		};
	if (ps->routed)
		c[n++] = (struct drive_case){
			.name = "recorded_routing",
			.hit_rate = ps->routed_hit_rate,
			.nr_used = PST_MIN(ps->routed_used, p->nr_used),
		};
	c[n++] =
		(struct drive_case){ .name = "all_in_memory", .hit_rate = 1.0 };
	for (uint32_t i = 0; i < n; i++) {
		uint32_t used = c[i].nr_used ? c[i].nr_used : p->nr_used;

		c[i].bytes = expert_bytes(p) * p->nr_token / p->nr_used * used *
			     (1.0 - c[i].hit_rate);
		c[i].timed = cli_plan_cost(ps, c[i].hit_rate, c[i].nr_used,
					   &c[i].cost);
	}
	return n;
}

/* What the longer part of a token is spent on. */
static const char *limit_of(const struct drive_case *c)
{
	return 2.0 * c->cost.compute_s < c->cost.total_s ? "drive" : "cores";
}

/* What the cores read from memory: all but the experts and what is left in the
 * files, and of these a token's own.
 */
static double memory_bytes(const struct pst_plan *p)
{
	return (double)(p->model_file - p->expert_file - p->table_file +
			p->token_rows) +
	       expert_bytes(p) * p->nr_token;
}

static void report_speed(struct cli_report *r, const struct pst_plan *p,
			 const struct cli_plan_speed *ps)
{
	struct drive_case c[MAX_CASES];
	uint32_t n = find_cases(p, ps, c);

	for (uint32_t i = 0; i < n; i++) {
		cli_report_section(r, c[i].name);
		cli_report_f64(r, "hit_rate", c[i].hit_rate);
		cli_report_f64(r, "drive_bytes_per_token", c[i].bytes);
		if (c[i].bytes > 0)
			cli_report_f64(r, "max_tok_s_per_GB_s",
				       1e9 / c[i].bytes);
		if (!c[i].timed)
			continue;
		cli_report_f64(r, "tok_s", 1.0 / c[i].cost.total_s);
		cli_report_f64(r, "compute_s", c[i].cost.compute_s);
		cli_report_f64(r, "drive_s", c[i].cost.drive_s);
		cli_report_str(r, "limit", limit_of(&c[i]), 5);
	}
	cli_report_f64(r, "max_memory_bytes_per_token", memory_bytes(p));
	cli_report_section(r, "machine");
	cli_report_f64(r, "drive_bytes_per_s", ps->drive.drive_bps);
	cli_report_f64(r, "drive_read_s", ps->drive.drive.read_s);
	cli_report_f64(r, "drive_latency_s", ps->drive.drive.latency_s);
	if (ps->s)
		cli_report_f64(r, "memory_bytes_per_s",
			       pst_speed_mem_bps(ps->s));
}

static void print_speed(const struct pst_plan *p,
			const struct cli_plan_speed *ps)
{
	struct drive_case c[MAX_CASES];
	uint32_t n = find_cases(p, ps, c);

	printf("a token of the reply\n  %-28s%8s  %10s  %8s  %s\n", "",
	       "hit rate", "GB read", "tok/s", "limit");
	for (uint32_t i = 0; i < n; i++) {
		printf("  ");
		for (const char *s = c[i].name; *s; s++)
			putchar(*s == '_' ? ' ' : *s);
		printf("%*s%6.1f %%  %10.4g", 28 - (int)strlen(c[i].name), "",
		       100.0 * c[i].hit_rate, c[i].bytes * 1e-9);
		if (c[i].timed)
			printf("  %8.2f  %s", 1.0 / c[i].cost.total_s,
			       limit_of(&c[i]));
		else if (c[i].bytes > 0)
			printf("  %8s  at most %.2f tok/s for each GB/s of "
			       "drive",
			       "-", 1e9 / c[i].bytes);
		putchar('\n');
	}
	printf("Weights that a token goes through: %.4g GB.\n",
	       memory_bytes(p) * 1e-9);
	if (ps->drive.drive_bps > 0.0)
		printf("Drive: %.2f GB/s, %.0f us for each read beside its "
		       "bytes.\n",
		       ps->drive.drive.bps * 1e-9,
		       ps->drive.drive.read_s * 1e6);
	if (ps->s && pst_speed_mem_bps(ps->s) > 0.0)
		printf("Memory: %.1f GB/s with these threads.\n",
		       pst_speed_mem_bps(ps->s) * 1e-9);
	if (p->nr_slots && p->nr_slots < p->nr_token)
		printf("The cache holds %u experts, one token uses %u: most "
		       "are read again for each token.\n",
		       p->nr_slots, p->nr_token);
}

static void report(const struct cli_opts *o, const struct pst_plan *p,
		   const struct cli_plan_speed *ps, bool fits)
{
	struct cli_report r;

	cli_report_begin(&r, o->output, "penstock.plan.1");
	report_memory(&r, p, fits);
	if (p->table_file)
		report_tables(&r, p);
	if (p->nr_experts)
		report_experts(&r, p);
	if (p->nr_experts && o->output != OUT_TEXT)
		report_speed(&r, p, ps);
	else if (p->nr_experts)
		print_speed(p, ps);
	cli_report_end(&r);
	fflush(stdout);
}

int cmd_plan(struct cli_opts *o)
{
	struct pst_log log = { .fn = on_log };
	struct cli_plan_speed speed = { .s = NULL };
	struct pst_plan plan;
	struct pst_diag diag;
	int rc, err;

	pst_diag_init(&diag);
	o->engine.log = &log;
	o->engine.states_do = true;
	rc = pst_plan_make(o->args[0], &o->engine, &plan, &diag);
	o->engine.log = NULL;
	/* Without a ceiling the failure came before there was a plan. */
	if (rc && (rc != -ENOMEM || !plan.ram))
		return cli_fail(rc, &diag);
	if (!rc && plan.nr_experts) {
		err = cli_plan_speed_open(&speed, o, &plan);
		if (err) {
			cli_plan_speed_close(&speed);
			return err;
		}
	}
	report(o, &plan, &speed, !rc);
	cli_plan_speed_close(&speed);
	if (!rc)
		return EXIT_OK;
	rc = cli_fail(rc, &diag);
	return o->check ? EXIT_FAILED : rc;
}
