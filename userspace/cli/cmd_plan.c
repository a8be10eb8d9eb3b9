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
	double bytes; /* per token */
};

static double expert_bytes(const struct pst_plan *p)
{
	return (double)p->expert_file / p->nr_experts;
}

static uint32_t find_cases(const struct pst_plan *p, struct drive_case c[3])
{
	uint32_t n = 0;

	c[n++] = (struct drive_case){ "empty_cache", 0.0, 0.0 };
	/* Below one token's experts this would promise too much. */
	if (p->nr_slots >= p->nr_token && !all_resident(p))
		c[n++] = (struct drive_case){ "every_expert_equally_likely",
					      (double)p->nr_slots /
						      p->nr_experts,
					      0.0 };
	c[n++] = (struct drive_case){ "all_in_memory", 1.0, 0.0 };
	for (uint32_t i = 0; i < n; i++)
		c[i].bytes =
			expert_bytes(p) * p->nr_token * (1.0 - c[i].hit_rate);
	return n;
}

/* What the cores read from memory: all but the experts, and those chosen. */
static double memory_bytes(const struct pst_plan *p)
{
	return (double)(p->model_file - p->expert_file) +
	       expert_bytes(p) * p->nr_token;
}

static void report_speed(struct cli_report *r, const struct pst_plan *p)
{
	struct drive_case c[3];
	uint32_t n = find_cases(p, c);

	for (uint32_t i = 0; i < n; i++) {
		cli_report_section(r, c[i].name);
		cli_report_f64(r, "hit_rate", c[i].hit_rate);
		cli_report_f64(r, "drive_bytes_per_token", c[i].bytes);
		if (c[i].bytes > 0)
			cli_report_f64(r, "max_tok_s_per_GB_s",
				       1e9 / c[i].bytes);
	}
	cli_report_f64(r, "max_memory_bytes_per_token", memory_bytes(p));
}

static void print_speed(const struct pst_plan *p)
{
	struct drive_case c[3];
	uint32_t n = find_cases(p, c);

	printf("reads per token\n  %-28s%8s  %10s  %s\n", "", "hit rate",
	       "GB/token", "tok/s for each GB/s of drive, at most");
	for (uint32_t i = 0; i < n; i++) {
		printf("  ");
		for (const char *s = c[i].name; *s; s++)
			putchar(*s == '_' ? ' ' : *s);
		printf("%*s%6.1f %%  %10.4g", 28 - (int)strlen(c[i].name), "",
		       100.0 * c[i].hit_rate, c[i].bytes * 1e-9);
		if (c[i].bytes > 0)
			printf("  %.2f\n", 1e9 / c[i].bytes);
		else
			printf("  memory is the bound: %.4g GB/token at most\n",
			       memory_bytes(p) * 1e-9);
	}
	if (p->nr_slots && p->nr_slots < p->nr_token)
		printf("The cache holds %u experts, one token uses %u: most "
		       "are read again for each token.\n",
		       p->nr_slots, p->nr_token);
}

static void report(const struct cli_opts *o, const struct pst_plan *p,
		   bool fits)
{
	struct cli_report r;

	cli_report_begin(&r, o->output, "penstock.plan.1");
	report_memory(&r, p, fits);
	if (p->nr_experts)
		report_experts(&r, p);
	if (p->nr_experts && o->output != OUT_TEXT)
		report_speed(&r, p);
	else if (p->nr_experts)
		print_speed(p);
	cli_report_end(&r);
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
