// SPDX-License-Identifier: MIT
/*
 * penstock plan: where the memory would go and what a token would read.
 *
 * Loads nothing and measures nothing: speeds are bounds per GB/s of drive,
 * because the drive is not known here.
 */
#include <errno.h>
#include <string.h>

#include "cli.h"

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

static void report_experts(struct cli_report *r, const struct pst_plan *p)
{
	cli_report_section(r, "experts");
	cli_report_u64(r, "total", p->nr_experts);
	cli_report_u64(r, "used_per_layer", p->nr_used);
	cli_report_u64(r, "used_per_token", p->nr_token);
	cli_report_bytes(r, "expert_files_bytes", p->expert_file);
	cli_report_bytes(r, "expert_in_memory_bytes", p->slot);
	cli_report_u64(r, "resident", p->nr_slots);
	cli_report_f64(r, "resident_percent",
		       100.0 * p->nr_slots / p->nr_experts);
}

/* One line: a hit rate and what follows from it. */
static void report_case(struct cli_report *r, const struct pst_plan *p,
			const char *section, double hit_rate)
{
	double expert = (double)p->expert_file / p->nr_experts;
	double bytes = expert * p->nr_token * (1.0 - hit_rate);

	cli_report_section(r, section);
	cli_report_f64(r, "hit_rate", hit_rate);
	cli_report_f64(r, "drive_GB_per_token", bytes * 1e-9);
	if (bytes > 0)
		cli_report_f64(r, "tok_per_s_at_most_per_GB_per_s",
			       1e9 / bytes);
}

static void report_speed(struct cli_report *r, const struct pst_plan *p)
{
	double expert = (double)p->expert_file / p->nr_experts;

	report_case(r, p, "empty_cache", 0.0);
	/* Below one token's experts an LRU cache hits next to nothing. */
	if (p->nr_slots >= p->nr_token && !all_resident(p))
		report_case(r, p, "uniform_routing",
			    (double)p->nr_slots / p->nr_experts);
	report_case(r, p, "all_in_memory", 1.0);
	cli_report_f64(r, "memory_GB_per_token_at_most",
		       ((double)p->trunk + expert * p->nr_token) * 1e-9);
}

static void explain(const struct pst_plan *p)
{
	printf("\nA token reads (1 - hit rate) x %.4g GB; the drive's GB/s "
	       "divided by that is the\nmost that the drive allows. Uniform "
	       "routing: every expert is equally likely.\n",
	       (double)p->expert_file / p->nr_experts * p->nr_token * 1e-9);
	if (p->nr_slots && p->nr_slots < p->nr_token)
		printf("The cache holds %u experts, one token uses %u: expect "
		       "the figures of an empty cache.\n",
		       p->nr_slots, p->nr_token);
}

static void report(const struct cli_opts *o, const struct pst_plan *p,
		   bool fits)
{
	struct cli_report r;

	cli_report_begin(&r, o->output, "penstock.plan.1");
	report_memory(&r, p, fits);
	if (p->nr_experts) {
		report_experts(&r, p);
		report_speed(&r, p);
	}
	cli_report_end(&r);
	if (o->output == OUT_TEXT && p->nr_experts)
		explain(p);
	fflush(stdout);
}

int cmd_plan(struct cli_opts *o)
{
	struct pst_log log = { .fn = on_log };
	struct pst_plan plan;
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	o->engine.log = &log;
	rc = pst_plan_make(o->args[0], &o->engine, &plan, &diag);
	o->engine.log = NULL;
	/* Without a ceiling the failure came before there was a plan. */
	if (rc && (rc != -ENOMEM || !plan.ram))
		return cli_fail(rc, &diag);
	report(o, &plan, !rc);
	if (!rc)
		return EXIT_OK;
	rc = cli_fail(rc, &diag);
	return o->check ? EXIT_FAILED : rc;
}
