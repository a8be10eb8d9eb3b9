// SPDX-License-Identifier: MIT
/*
 * The report of a run as text and as JSON.  Every figure comes from the
 * collector; nothing is computed here but shares and units.
 */
#include <inttypes.h>
#include <string.h>

#include "gguf.h"
#include "watch.h"

/* Layers that the text names: those that waited longest. */
#define SLOW_LAYERS 3
/* Layers in a line of the table of guesses: 80 columns. */
#define GUESS_COLUMNS 12
/* A cost model that is further from the run than this factor is said to be. */
#define MODEL_OFF 1.3

static double ms(uint64_t ns)
{
	return (double)ns * 1e-6;
}

static double share(uint64_t part, uint64_t all)
{
	return all ? 100.0 * (double)part / (double)all : 0.0;
}

static uint64_t rest_ns(const struct pst_report_times *t)
{
	uint64_t known =
		t->wait_ns + t->attention_ns + t->experts_ns + t->logits_ns;

	return t->total_ns - PST_MIN(known, t->total_ns);
}

static uint64_t cache_bytes(const struct pst_report_phase *p)
{
	return p->t.hit_bytes - PST_MIN(p->prefetch_used_bytes, p->t.hit_bytes);
}

/* What no layer asked for: experts of an earlier run, rows of tables, and the ends
 * of blocks.
 */
static uint64_t other_bytes(const struct pst_report_phase *p)
{
	uint64_t known = p->prefetch_used_bytes + p->t.demand_bytes +
			 p->prefetch_wasted_bytes;

	return p->read_bytes - PST_MIN(known, p->read_bytes);
}

static void text_times(FILE *f, const struct pst_report_result *r)
{
	const struct pst_report_times *a = &r->prefill.t, *d = &r->decode.t;
	const struct {
		const char *name;
		uint64_t a, d;
	} rows[] = {
		{ "waiting for the drive", a->wait_ns, d->wait_ns },
		{ "computing experts", a->experts_ns, d->experts_ns },
		{ "computing attention", a->attention_ns, d->attention_ns },
		{ "computing logits", a->logits_ns, d->logits_ns },
		{ "computing the rest", rest_ns(a), rest_ns(d) },
		{ "copying", 0, 0 },
		{ "all", a->total_ns, d->total_ns },
	};
	double n = d->tokens ? (double)d->tokens : 1.0;

	fprintf(f, "%-24s%12s%9s%14s%9s\n", "time", "prompt ms", "%",
		"ms per token", "%");
	for (size_t i = 0; i < PST_ARRAY_SIZE(rows); i++)
		fprintf(f, "  %-22s%12.1f%9.1f%14.2f%9.1f%s\n", rows[i].name,
			ms(rows[i].a), share(rows[i].a, a->total_ns),
			ms(rows[i].d) / n, share(rows[i].d, d->total_ns),
			strcmp(rows[i].name, "copying")
				? ""
				: "  (experts are computed where they land)");
}

static void text_bytes(FILE *f, const struct pst_report_result *r)
{
	const struct pst_report_phase *p = &r->prefill, *d = &r->decode;
	const struct {
		const char *name;
		uint64_t a, d;
	} rows[] = {
		{ "from the cache", cache_bytes(p), cache_bytes(d) },
		{ "read ahead and used", p->prefetch_used_bytes,
		  d->prefetch_used_bytes },
		{ "read on demand", p->t.demand_bytes, d->t.demand_bytes },
		{ "read ahead for nothing", p->prefetch_wasted_bytes,
		  d->prefetch_wasted_bytes },
		{ "warm start and the rest", other_bytes(p), other_bytes(d) },
		{ "read from the drive", p->read_bytes, d->read_bytes },
	};
	double n = d->t.tokens ? (double)d->t.tokens : 1.0;

	fprintf(f, "%-26s%12s%23s\n", "expert bytes", "prompt MB",
		"MB per token");
	for (size_t i = 0; i < PST_ARRAY_SIZE(rows); i++)
		fprintf(f, "  %-24s%12.1f%23.2f\n", rows[i].name,
			(double)rows[i].a * 1e-6, (double)rows[i].d * 1e-6 / n);
	fprintf(f, "  %-24s%11.1f%%%22.1f%%\n", "hit rate",
		share(p->t.hits, p->t.hits + p->t.misses),
		share(d->t.hits, d->t.hits + d->t.misses));
}

static void text_layers(FILE *f, const struct pst_report_result *r)
{
	uint32_t worst[SLOW_LAYERS] = { 0 }, nr = 0;

	for (uint32_t l = 0; l < r->nr_layers; l++) {
		uint32_t at = nr < SLOW_LAYERS ? nr++ : SLOW_LAYERS;

		if (at == SLOW_LAYERS) {
			at--;
			if (r->layers[l].wait_ns <=
			    r->layers[worst[at]].wait_ns)
				continue;
		}
		for (; at &&
		       r->layers[worst[at - 1]].wait_ns < r->layers[l].wait_ns;
		     at--)
			worst[at] = worst[at - 1];
		worst[at] = l;
	}
	if (!nr || !r->layers[worst[0]].wait_ns)
		return;
	fprintf(f, "longest waits, ms per token:");
	for (uint32_t i = 0; i < nr; i++) {
		const struct pst_report_times *t = &r->layers[worst[i]];

		fprintf(f, "%s layer %u %.2f (%.0f %% hit)", i ? "," : "",
			worst[i], ms(t->wait_ns) / (double)t->passes,
			share(t->hits, t->hits + t->misses));
	}
	fputc('\n', f);
}

static void guess_row(FILE *f, const char *name,
		      const struct pst_report_result *r, uint32_t from,
		      double (*value)(const struct pst_report_guess *g))
{
	uint32_t to = PST_MIN(from + GUESS_COLUMNS, r->nr_layers);

	fprintf(f, "  %-10s", name);
	for (uint32_t l = from; l < to; l++)
		if (r->guesses[l].wanted || r->guesses[l].read)
			fprintf(f, "%5.0f", value(&r->guesses[l]));
		else
			fprintf(f, "%5s", "-");
	fputc('\n', f);
}

static double precision(const struct pst_report_guess *g)
{
	return share(g->right, g->guessed);
}

static double recall(const struct pst_report_guess *g)
{
	return share(g->right, g->wanted);
}

static double useful(const struct pst_report_guess *g)
{
	return share(g->used, g->read);
}

static void text_guesses(FILE *f, const struct pst_report_result *r)
{
	struct pst_report_guess all = { 0 };

	for (uint32_t l = 0; l < r->nr_layers; l++) {
		all.guessed += r->guesses[l].guessed;
		all.right += r->guesses[l].right;
		all.wanted += r->guesses[l].wanted;
		all.read += r->guesses[l].read;
		all.used += r->guesses[l].used;
	}
	if (!all.guessed && !all.read)
		return;
	fprintf(f,
		"guesses of the next layer's experts: %.0f %% of them right "
		"(precision), %.0f %% of\nthe chosen guessed (recall); %" PRIu64
		" experts read ahead, %.0f %% of them used; by layer, %%:\n",
		precision(&all), recall(&all), all.read, useful(&all));
	for (uint32_t l = 0; l < r->nr_layers; l += GUESS_COLUMNS) {
		fprintf(f, "  %-10s", "layer");
		for (uint32_t i = l;
		     i < PST_MIN(l + GUESS_COLUMNS, r->nr_layers); i++)
			fprintf(f, "%5u", i);
		fputc('\n', f);
		guess_row(f, "precision", r, l, precision);
		guess_row(f, "recall", r, l, recall);
		guess_row(f, "used", r, l, useful);
	}
}

static void text_limits(FILE *f, const struct pst_report_result *r)
{
	if (r->drive_bps > 0.0)
		fprintf(f,
			"drive: %.2f GB/s %s; decode used %.0f %% of it, %.0f "
			"%% while reads were outstanding\n",
			r->drive_bps * 1e-9,
			r->drive_measured ? "by its profile or a probe"
					  : "as this run saw it",
			100.0 * r->drive_use, 100.0 * r->drive_use_busy);
	if (r->mem_bps > 0.0)
		fprintf(f,
			"memory: %.1f GB/s; computing went through %.1f GB/s "
			"of weights\n",
			r->mem_bps * 1e-9, r->weight_bps * 1e-9);
	fprintf(f, "limit: %s\n", pst_report_limit_name(r->limit));
}

static void text_gains(FILE *f, const struct pst_report_result *r)
{
	double off;

	if (!r->nr_gains)
		return;
	off = r->model_tok_s / r->measured_tok_s;
	fprintf(f, "measured %.2f tok/s; the cost model gives %.2f for it.",
		r->measured_tok_s, r->model_tok_s);
	if (off > MODEL_OFF || off < 1.0 / MODEL_OFF)
		fprintf(f, " That is far off,\nas with other work on the "
			   "machine or very small reads: the order of these "
			   "says more\nthan their size.");
	fprintf(f, " By that model:\n");
	for (uint32_t i = 0; i < r->nr_gains; i++)
		fprintf(f, "  %-22s%8.2f tok/s  x %.2f\n", r->gains[i].what,
			r->gains[i].tok_s, r->gains[i].factor);
	if (r->nr_capacities)
		fprintf(f,
			"The gains of a larger cache come from this run's own "
			"routing (%u tokens), played through the %s policy.\n",
			r->routing_tokens, r->policy);
}

static void text_report(FILE *f, const struct pst_report_result *r,
			const struct pst_engine *e)
{
	fprintf(f,
		"report: %" PRIu64 " prompt tokens, %" PRIu64
		" decoded; %u of %u experts in memory\n",
		r->prefill.t.tokens, r->decode.t.tokens, r->nr_slots,
		r->nr_all);
	fprintf(f,
		"arithmetic: %s kernels, activations %s, latent attention %s\n",
		pst_engine_kernels_name(e), pst_engine_activations_name(e),
		pst_engine_mla_name(e));
	text_times(f, r);
	if (r->nr_all) {
		text_bytes(f, r);
		text_layers(f, r);
		text_guesses(f, r);
	}
	text_limits(f, r);
	text_gains(f, r);
}

static void json_times(FILE *f, const struct pst_report_times *t)
{
	fprintf(f,
		"\"passes\":%" PRIu64 ",\"tokens\":%" PRIu64
		",\"total_ns\":%" PRIu64 ",\"wait_ns\":%" PRIu64
		",\"attention_ns\":%" PRIu64 ",\"experts_ns\":%" PRIu64
		",\"logits_ns\":%" PRIu64 ",\"rest_ns\":%" PRIu64
		",\"copy_ns\":0,\"hits\":%" PRIu64 ",\"misses\":%" PRIu64
		",\"hit_bytes\":%" PRIu64 ",\"demand_bytes\":%" PRIu64
		",\"idle_bytes\":%" PRIu64,
		t->passes, t->tokens, t->total_ns, t->wait_ns, t->attention_ns,
		t->experts_ns, t->logits_ns, rest_ns(t), t->hits, t->misses,
		t->hit_bytes, t->demand_bytes, t->idle_bytes);
}

static void json_phase(FILE *f, const char *name,
		       const struct pst_report_phase *p)
{
	fprintf(f, ",\"%s\":{", name);
	json_times(f, &p->t);
	fprintf(f,
		",\"cache_bytes\":%" PRIu64 ",\"prefetch_used_bytes\":%" PRIu64
		",\"prefetch_wasted_bytes\":%" PRIu64 ",\"read_bytes\":%" PRIu64
		",\"io_busy_ns\":%" PRIu64 "}",
		cache_bytes(p), p->prefetch_used_bytes,
		p->prefetch_wasted_bytes, p->read_bytes, p->busy_ns);
}

static void json_rates(FILE *f, const struct pst_report_result *r)
{
	fprintf(f,
		",\"drive\":{\"bandwidth_bps\":%.0f,\"source\":\"%s\","
		"\"use\":%.6f,\"use_while_busy\":%.6f},\"memory\":{"
		"\"read_bps\":%.0f,\"weights_bps\":%.0f},\"limit\":\"%s\","
		"\"cost\":{\"measured_tok_s\":%.6f,\"model_tok_s\":%.6f},"
		"\"gains\":[",
		r->drive_bps, r->drive_measured ? "measured" : "run",
		r->drive_use, r->drive_use_busy, r->mem_bps, r->weight_bps,
		pst_report_limit_name(r->limit), r->measured_tok_s,
		r->model_tok_s);
	for (uint32_t i = 0; i < r->nr_gains; i++)
		fprintf(f, "%s{\"what\":\"%s\",\"tok_s\":%.6f,\"factor\":%.6f}",
			i ? "," : "", r->gains[i].what, r->gains[i].tok_s,
			r->gains[i].factor);
	fprintf(f, "],\"capacities\":[");
	for (uint32_t i = 0; i < r->nr_capacities; i++) {
		const struct pst_report_capacity *c = &r->capacities[i];

		fprintf(f,
			"%s{\"slots\":%u,\"wanted\":%" PRIu64
			",\"policy_hits\":%" PRIu64 ",\"lru_hits\":%" PRIu64
			",\"min_hits\":%" PRIu64 "}",
			i ? "," : "", c->nr_slots, c->wanted, c->policy_hits,
			c->lru_hits, c->min_hits);
	}
	fputc(']', f);
}

static void json_guess(FILE *f, const struct pst_report_guess *g)
{
	fprintf(f,
		",\"guessed\":%" PRIu64 ",\"guessed_right\":%" PRIu64
		",\"guess_wanted\":%" PRIu64 ",\"ahead_reads\":%" PRIu64
		",\"ahead_used\":%" PRIu64,
		g->guessed, g->right, g->wanted, g->read, g->used);
}

static void json_lists(FILE *f, const struct pst_report_result *r)
{
	fprintf(f, ",\"layers\":[");
	for (uint32_t l = 0; l < r->nr_layers; l++) {
		fprintf(f, "%s{\"layer\":%u,", l ? "," : "", l);
		json_times(f, &r->layers[l]);
		json_guess(f, &r->guesses[l]);
		fputc('}', f);
	}
	fprintf(f, "],\"passes_dropped\":%u,\"passes\":[", r->nr_dropped);
	for (uint32_t i = 0; i < r->nr_passes; i++) {
		const struct pst_report_pass *p = &r->passes[i];

		fprintf(f, "%s{\"token\":%u,\"phase\":\"%s\",", i ? "," : "",
			p->first_pos, p->decode ? "decode" : "prefill");
		json_times(f, &p->t);
		fputc('}', f);
	}
	fprintf(f, "],\"use\":[");
	for (uint32_t l = 0; r->use && l < r->nr_layers; l++) {
		fprintf(f, "%s[", l ? "," : "");
		for (uint32_t e = 0; e < r->nr_experts; e++)
			fprintf(f, "%s%u", e ? "," : "",
				r->use[(size_t)l * r->nr_experts + e]);
		fputc(']', f);
	}
	fputc(']', f);
}

static void json_report(FILE *f, const struct pst_report_result *r,
			const struct pst_engine *e)
{
	const char *path = pst_gguf_file(pst_engine_gguf(e), 0)->path;

	fprintf(f, "{\"schema\":\"penstock.report.1\",\"model\":");
	cli_json_string(f, path, strlen(path));
	fprintf(f, ",\"policy\":");
	cli_json_string(f, r->policy, strlen(r->policy));
	fprintf(f,
		",\"io\":\"%s\",\"kernels\":\"%s\","
		"\"activations\":\"%s\",\"mla\":\"%s\",\"threads\":%u,"
		"\"slots\":%u,\"experts\":%u,\"nr_layers\":%u,"
		"\"experts_per_layer\":%u,\"experts_per_token\":%u,"
		"\"routing_tokens\":%u",
		pst_engine_io_name(e), pst_engine_kernels_name(e),
		pst_engine_activations_name(e), pst_engine_mla_name(e),
		pst_engine_plan(e)->threads, r->nr_slots, r->nr_all,
		r->nr_layers, r->nr_experts, r->nr_used, r->routing_tokens);
	json_phase(f, "prefill", &r->prefill);
	json_phase(f, "decode", &r->decode);
	json_rates(f, r);
	json_lists(f, r);
	fprintf(f, "}\n");
}

int cli_print_run_report(FILE *f, enum cli_output form,
			 const struct pst_report_result *r,
			 const struct pst_engine *e)
{
	if (form == OUT_JSON)
		json_report(f, r, e);
	else
		text_report(f, r, e);
	return EXIT_OK;
}
