// SPDX-License-Identifier: MIT
/*
 * The closing line of a run, and the same figures as JSON.
 */
#include <string.h>

#include "cli.h"

static double seconds(uint64_t ns)
{
	return (double)ns * 1e-9;
}

static double rate(double n, uint64_t ns)
{
	return ns ? n / seconds(ns) : 0.0;
}

struct figures {
	uint64_t hits, misses, bytes, wait_ns, busy_ns, wrote;
	double hit_pct;
};

static struct figures figures_of(const struct cli_run_stats *s)
{
	struct figures f = {
		.hits = s->after.hits - s->before.hits,
		.misses = s->after.misses - s->before.misses,
		.bytes = s->after.read_bytes - s->before.read_bytes,
		.wait_ns = s->after.wait_ns - s->before.wait_ns,
		.busy_ns = s->after.io_busy_ns - s->before.io_busy_ns,
		.wrote = s->after.written_bytes - s->before.written_bytes,
	};

	if (f.hits + f.misses)
		f.hit_pct =
			100.0 * (double)f.hits / (double)(f.hits + f.misses);
	return f;
}

const char *cli_limit_name(const struct pst_engine *e,
			   const struct cli_run_stats *s)
{
	struct figures f = figures_of(s);

	(void)e;
	return f.wait_ns * 2 > s->prompt_ns + s->reply_ns ? "drive" : "cores";
}

struct amount {
	double v;
	const char *unit;
};

static struct amount decimal(uint64_t bytes)
{
	return bytes < 1000000000
		       ? (struct amount){ (double)bytes * 1e-6, "MB" }
		       : (struct amount){ (double)bytes * 1e-9, "GB" };
}

static struct amount binary(uint64_t bytes)
{
	return bytes < PST_GIB
		       ? (struct amount){ (double)bytes / PST_MIB, "MiB" }
		       : (struct amount){ (double)bytes / PST_GIB, "GiB" };
}

void cli_stats_line(const struct pst_engine *e, const struct cli_run_stats *s)
{
	struct figures f = figures_of(s);
	const struct pst_plan *p = pst_engine_plan(e);
	struct amount got = decimal(f.bytes);
	struct amount peak = binary(s->after.peak_bytes);

	fprintf(stderr, "-- prompt %u tok %.1f s \xc2\xb7 reply %u tok %.1f s",
		s->prompt_tokens, seconds(s->prompt_ns), s->reply_tokens,
		seconds(s->reply_ns));
	if (s->reply_tokens > 1)
		fprintf(stderr, " (%.1f tok/s)",
			rate(s->reply_tokens - 1, s->reply_ns));
	if (p->nr_experts && f.hits + f.misses)
		fprintf(stderr,
			" \xc2\xb7 experts %.0f %% hit, %.1f %s read at %.1f "
			"GB/s",
			f.hit_pct, got.v, got.unit,
			rate((double)f.bytes * 1e-9, f.busy_ns));
	if (s->after.given_slots + s->after.taken_slots)
		fprintf(stderr,
			" \xc2\xb7 memory was short: %llu experts given, "
			"%llu taken back, cache now %u",
			(unsigned long long)s->after.given_slots,
			(unsigned long long)s->after.taken_slots,
			s->after.nr_slots);
	fprintf(stderr,
		" \xc2\xb7 wrote %llu B \xc2\xb7 peak %.1f %s "
		"\xc2\xb7 limit: %s\n",
		(unsigned long long)f.wrote, peak.v, peak.unit,
		cli_limit_name(e, s));
}

static void drives_json(const struct pst_engine *e, FILE *f)
{
	struct pst_engine_drive d;

	fprintf(f, ",\"drives\":[");
	for (uint32_t i = 0; !pst_engine_drive(e, i, &d); i++) {
		fprintf(f, "%s{\"name\":", i ? "," : "");
		cli_json_string(f, d.name, strlen(d.name));
		fprintf(f, ",\"path\":");
		cli_json_string(f, d.path, strlen(d.path));
		fprintf(f,
			",\"reads\":%llu,\"read_bytes\":%llu,"
			"\"errors\":%llu,\"learned_bytes_s\":%llu,"
			"\"learned_latency_s\":%.6f,\"left_out\":%s}",
			(unsigned long long)d.reads,
			(unsigned long long)d.read_bytes,
			(unsigned long long)d.errors,
			(unsigned long long)d.bytes_per_s,
			seconds(d.latency_ns), d.left_out ? "true" : "false");
	}
	fputc(']', f);
}

void cli_stats_json(const struct pst_engine *e, const struct cli_run_stats *s,
		    FILE *f)
{
	struct figures g = figures_of(s);
	const struct pst_plan *p = pst_engine_plan(e);

	fprintf(f,
		"{\"prompt_tokens\":%u,\"prompt_s\":%.6f,\"reply_tokens\":%u,"
		"\"reply_s\":%.6f,\"reply_tok_s\":%.4f,\"hits\":%llu,"
		"\"misses\":%llu,\"hit_rate\":%.6f,\"read_bytes\":%llu,"
		"\"io_busy_s\":%.6f,\"wait_s\":%.6f,\"wrote_bytes\":%llu,"
		"\"peak_bytes\":%llu,\"ram_bytes\":%llu,\"slots\":%u,"
		"\"experts\":%u,\"limit\":\"%s\"",
		s->prompt_tokens, seconds(s->prompt_ns), s->reply_tokens,
		seconds(s->reply_ns),
		s->reply_tokens > 1 ? rate(s->reply_tokens - 1, s->reply_ns)
				    : 0.0,
		(unsigned long long)g.hits, (unsigned long long)g.misses,
		g.hit_pct / 100.0, (unsigned long long)g.bytes,
		seconds(g.busy_ns), seconds(g.wait_ns),
		(unsigned long long)g.wrote,
		(unsigned long long)s->after.peak_bytes,
		(unsigned long long)p->ram, p->nr_slots, p->nr_experts,
		cli_limit_name(e, s));
	fprintf(f,
		",\"warm_reads\":%llu,\"kept\":%llu,\"kept_dropped\":%llu,"
		"\"begun_early\":%llu,\"slots_now\":%u,\"slots_given\":%llu,"
		"\"slots_taken\":%llu,\"memory_warnings\":%u,"
		"\"rows\":%llu,\"rows_read\":%llu",
		(unsigned long long)s->after.warm_reads,
		(unsigned long long)s->after.kept,
		(unsigned long long)s->after.kept_dropped,
		(unsigned long long)s->after.begun_early, s->after.nr_slots,
		(unsigned long long)s->after.given_slots,
		(unsigned long long)s->after.taken_slots,
		s->after.memory_warnings,
		(unsigned long long)(s->after.rows - s->before.rows),
		(unsigned long long)(s->after.rows_read - s->before.rows_read));
	drives_json(e, f);
	fputc('}', f);
}
