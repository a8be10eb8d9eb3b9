// SPDX-License-Identifier: MIT
/*
 * penstock bench: prefill and decode speed over a fixed token sequence, pseudo-
 * random or given, the same for every mode, so that modes differ in time only.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include <xxhash.h>

#include "bench_tokens.h"
#include "cli.h"
#include "watch.h"

/* Of a run without a recorded routing. */
#define PROMPT_TOKENS 64
#define GEN_TOKENS    32

struct result {
	char mode[16];
	struct cli_run_stats s; /* prompt and reply times */
	struct pst_counters mid;
	struct pst_prompt_estimate expected;
	double prefill_tok_s, decode_tok_s, hit_rate, decode_hit_rate;
	uint64_t read_bytes, decode_bytes, wait_ns, busy_ns, decode_wait_ns;
	uint64_t decode_busy_ns, peak_bytes;
	uint32_t slots, experts;
	struct cli_bench_tokens tokens;
};

struct sums {
	uint64_t hash;
	uint32_t nr_vocab;
};

/* Modes must agree to the bit: the logits are hashed, not just produced. */
static int on_logits(void *ctx, uint32_t index, const float *logits)
{
	struct sums *s = ctx;

	(void)index;
	s->hash = XXH3_64bits_withSeed(logits, s->nr_vocab * sizeof(*logits),
				       s->hash);
	return 0;
}

static double share(uint64_t part, uint64_t other)
{
	return part + other ? (double)part / (double)(part + other) : 0.0;
}

static void fill(struct result *r)
{
	const struct pst_counters *a = &r->s.before, *m = &r->mid,
				  *z = &r->s.after;

	if (r->s.prompt_ns)
		r->prefill_tok_s =
			r->s.prompt_tokens * 1e9 / (double)r->s.prompt_ns;
	if (r->s.reply_ns)
		r->decode_tok_s =
			r->s.reply_tokens * 1e9 / (double)r->s.reply_ns;
	r->hit_rate = share(z->hits - a->hits, z->misses - a->misses);
	r->decode_hit_rate = share(z->hits - m->hits, z->misses - m->misses);
	r->read_bytes = z->read_bytes - a->read_bytes;
	r->decode_bytes = z->read_bytes - m->read_bytes;
	r->wait_ns = z->wait_ns - a->wait_ns;
	r->decode_wait_ns = z->wait_ns - m->wait_ns;
	r->busy_ns = z->io_busy_ns - a->io_busy_ns;
	r->decode_busy_ns = z->io_busy_ns - m->io_busy_ns;
	r->peak_bytes = z->peak_bytes;
}

static int eval(struct pst_session *s, const int32_t *ids, uint32_t nr,
		struct sums *sums, struct pst_diag *diag)
{
	struct pst_eval ev = { .tokens = ids,
			       .nr = nr,
			       .first_logits = nr - 1,
			       .logits = on_logits,
			       .ctx = sums };

	return pst_session_eval(s, &ev, diag);
}

/* Token by token; what the engine has counted is looked at after each. */
static int decode(struct pst_engine *e, struct pst_session *s,
		  const int32_t *ids, struct sums *sums, struct result *r,
		  struct pst_diag *diag)
{
	struct pst_counters before = r->mid;
	uint64_t start = pst_now_ns();
	int rc = 0;

	r->s.after = r->mid;
	for (uint32_t i = 0; !rc && i < r->s.reply_tokens; i++) {
		uint64_t now;

		rc = eval(s, ids + i, 1, sums, diag);
		pst_engine_counters(e, &r->s.after);
		now = pst_now_ns();
		cli_bench_tokens_add(&r->tokens, &before, &r->s.after,
				     now - start);
		before = r->s.after;
		start = now;
	}
	return rc;
}

static int measure(struct pst_engine *e, struct cli_watch *w,
		   const int32_t *ids, struct result *r, uint64_t *hash)
{
	const struct cli_opts *o = w->o;
	struct sums sums = { .nr_vocab = pst_engine_nr_vocab(e) };
	struct pst_session *s = NULL;
	struct pst_diag diag;
	uint64_t start;
	int rc = cli_bench_tokens_init(&r->tokens, o->gen_tokens);

	pst_diag_init(&diag);
	if (!rc)
		rc = pst_session_create(e, &s);
	if (rc)
		return cli_fail(rc, NULL);
	r->s.prompt_tokens = o->prompt_tokens;
	r->s.reply_tokens = o->gen_tokens;
	if (o->prompt_tokens)
		pst_engine_estimate_prompt(e, o->prompt_tokens, &r->expected);
	start = pst_now_ns();
	pst_engine_counters(e, &r->s.before);
	cli_watch_phase(w, false);
	if (o->prompt_tokens)
		rc = eval(s, ids, o->prompt_tokens, &sums, &diag);
	r->s.prompt_ns = pst_now_ns() - start;
	pst_engine_counters(e, &r->mid);
	cli_watch_phase(w, true);
	start = pst_now_ns();
	if (!rc)
		rc = decode(e, s, ids + o->prompt_tokens, &sums, r, &diag);
	r->s.reply_ns = pst_now_ns() - start;
	pst_session_destroy(s);
	*hash = sums.hash;
	fill(r);
	return rc ? cli_fail(rc, &diag) : EXIT_OK;
}

static bool is_mode(const char *mode)
{
	return !strcmp(mode, "resident") || !strcmp(mode, "mmap") ||
	       !strcmp(mode, "pread") || !strcmp(mode, "uring");
}

static void set_mode(struct cli_opts *o, const char *mode)
{
	o->engine.resident = !strcmp(mode, "resident");
	o->engine.io = !strcmp(mode, "mmap")	? PST_ENGINE_IO_MMAP
		       : !strcmp(mode, "pread") ? PST_ENGINE_IO_PREAD
		       : !strcmp(mode, "uring") ? PST_ENGINE_IO_URING
						: PST_ENGINE_IO_AUTO;
}

/* What was not asked for is as long as the recorded routing, or the tokens that
 * are given (0: none).
 */
static uint32_t count_tokens(struct cli_opts *o, const struct cli_watch *w,
			     uint32_t nr_given)
{
	const struct pst_forced_shape *s = &w->shape;

	if (o->prompt_tokens == CLI_DEFAULT && w->forced)
		o->prompt_tokens = s->nr_prefill;
	else if (o->prompt_tokens == CLI_DEFAULT)
		o->prompt_tokens = nr_given ? PST_MIN(PROMPT_TOKENS, nr_given)
					    : PROMPT_TOKENS;
	if (o->gen_tokens == CLI_DEFAULT && w->forced)
		o->gen_tokens = s->nr_tokens - s->nr_prefill;
	else if (o->gen_tokens == CLI_DEFAULT)
		o->gen_tokens = nr_given ? nr_given - PST_MIN(nr_given,
							      o->prompt_tokens)
					 : GEN_TOKENS;
	if (!o->engine.ctx_size)
		o->engine.ctx_size = o->prompt_tokens + o->gen_tokens;
	return o->prompt_tokens + o->gen_tokens;
}

/* The sequence: heap, from the file, or NULL, to be drawn when the model's
 * vocabulary is known.
 */
static int take_tokens(struct cli_opts *o, const struct cli_watch *w,
		       int32_t **ids, uint32_t *nr)
{
	uint32_t nr_given = 0;
	int rc = EXIT_OK;

	*ids = NULL;
	if (o->tokens_file)
		rc = cli_read_tokens(o->tokens_file, ids, &nr_given);
	if (rc)
		return rc;
	*nr = count_tokens(o, w, nr_given);
	if (!*ids || *nr <= nr_given)
		return EXIT_OK;
	cli_error("%s has %u tokens, %u are asked for: give --prompt-tokens "
		  "and --gen-tokens",
		  o->tokens_file, nr_given, *nr);
	free(*ids);
	return EXIT_USAGE;
}

static int32_t *draw_tokens(const struct pst_engine *e, uint64_t seed,
			    uint32_t nr)
{
	int32_t *ids = pst_calloc(nr, sizeof(*ids));

	for (uint32_t i = 0; ids && i < nr; i++)
		ids[i] =
			(int32_t)(pst_rng_next(&seed) % pst_engine_nr_vocab(e));
	return ids;
}

static int run_watched(struct cli_watch *w, const char *mode, struct result *r,
		       uint64_t *hash)
{
	struct cli_opts *o = w->o;
	struct pst_engine *e = NULL;
	int32_t *ids;
	uint32_t nr;
	int rc = take_tokens(o, w, &ids, &nr);

	if (rc)
		return rc;
	rc = cli_open(o, o->args[0], &e);
	if (!rc)
		rc = cli_watch_start(w, e);
	if (rc)
		goto out_ids;
	if (!ids)
		ids = draw_tokens(e, o->sample.seed, nr);
	rc = ids ? measure(e, w, ids, r, hash) : cli_fail(-ENOMEM, NULL);
	snprintf(r->mode, sizeof(r->mode), "%s", mode);
	r->slots = pst_engine_plan(e)->nr_slots;
	r->experts = pst_engine_plan(e)->nr_experts;
	fprintf(stderr,
		"%s: %s; %s; %s; %u threads; %u of %u experts in memory, "
		"%llu touched\n",
		mode, pst_engine_io_name(e), pst_engine_mem_name(e),
		pst_engine_kernels_name(e), pst_engine_plan(e)->threads,
		r->slots, r->experts, (unsigned long long)r->s.after.distinct);
	rc = cli_watch_finish(w, e, rc);
out_ids:
	pst_engine_close(e);
	free(ids);
	return rc;
}

static int run_mode(struct cli_opts *o, const char *mode, struct result *r,
		    uint64_t *hash)
{
	struct cli_watch w;
	int rc = cli_watch_open(&w, o, o->args[0]);

	if (!rc)
		rc = run_watched(&w, mode, r, hash);
	return cli_watch_close(&w, rc);
}

static int by_decode(const void *a, const void *b)
{
	const struct result *x = a, *y = b;

	return (x->decode_tok_s > y->decode_tok_s) -
	       (x->decode_tok_s < y->decode_tok_s);
}

static double gb_s(uint64_t bytes, uint64_t ns)
{
	return ns ? (double)bytes / (double)ns : 0.0;
}

static double s_of(uint64_t ns)
{
	return (double)ns * 1e-9;
}

static void print_ahead(const struct result *r)
{
	const struct pst_counters *a = &r->mid, *z = &r->s.after;

	printf("\"prefetch_reads\":%llu,\"prefetch_used\":%llu,"
	       "\"prefetch_late\":%llu,\"prefetch_wasted\":%llu,"
	       "\"prefetch_withdrawn\":%llu,\"predict_said\":%llu,"
	       "\"predict_right\":%llu,\"prefetch_on\":%s,",
	       (unsigned long long)(z->prefetch_reads - a->prefetch_reads),
	       (unsigned long long)(z->prefetch_used - a->prefetch_used),
	       (unsigned long long)(z->prefetch_late - a->prefetch_late),
	       (unsigned long long)(z->prefetch_wasted - a->prefetch_wasted),
	       (unsigned long long)(z->prefetch_withdrawn -
				    a->prefetch_withdrawn),
	       (unsigned long long)z->predict_said,
	       (unsigned long long)z->predict_right,
	       z->prefetch_on ? "true" : "false");
}

static void print_prefill(const struct result *r)
{
	printf("\"prefill_tokens\":%u,\"prefill_tok_s\":%.4f,"
	       "\"prefill_s\":%.6f,\"prefill_expected_s\":%.6f,"
	       "\"prefill_passes\":%u,\"prefill_read_bytes\":%llu,"
	       "\"prefill_wait_s\":%.6f,\"prefill_io_busy_s\":%.6f,",
	       r->s.prompt_tokens, r->prefill_tok_s, s_of(r->s.prompt_ns),
	       r->expected.total_s, r->expected.chunks,
	       (unsigned long long)(r->read_bytes - r->decode_bytes),
	       s_of(r->wait_ns - r->decode_wait_ns),
	       s_of(r->busy_ns - r->decode_busy_ns));
}

static void print_json(const struct result *r, uint32_t nr)
{
	printf("{\"schema\":\"penstock.bench.1\",\"results\":[");
	for (uint32_t i = 0; i < nr; i++) {
		printf("%s{\"mode\":\"%s\",", i ? "," : "", r[i].mode);
		print_prefill(&r[i]);
		print_ahead(&r[i]);
		printf("\"decode_tokens\":%u,\"decode_tok_s\":%.4f,"
		       "\"hit_rate\":%.6f,\"decode_hit_rate\":%.6f,"
		       "\"read_bytes\":%llu,\"decode_read_bytes\":%llu,"
		       "\"wait_s\":%.6f,\"decode_wait_s\":%.6f,"
		       "\"io_busy_s\":%.6f,\"decode_io_busy_s\":%.6f,"
		       "\"decode_s\":%.6f,\"peak_bytes\":%llu,"
		       "\"slots\":%u,\"experts\":%u,"
		       "\"distinct_experts\":%llu,",
		       r[i].s.reply_tokens, r[i].decode_tok_s, r[i].hit_rate,
		       r[i].decode_hit_rate,
		       (unsigned long long)r[i].read_bytes,
		       (unsigned long long)r[i].decode_bytes,
		       s_of(r[i].wait_ns), s_of(r[i].decode_wait_ns),
		       s_of(r[i].busy_ns), s_of(r[i].decode_busy_ns),
		       s_of(r[i].s.reply_ns),
		       (unsigned long long)r[i].peak_bytes, r[i].slots,
		       r[i].experts, (unsigned long long)r[i].s.after.distinct);
		cli_bench_tokens_json(&r[i].tokens);
		printf("}");
	}
	printf("]}\n");
}

static void print_table(const struct result *r, uint32_t nr,
			enum cli_output form)
{
	static const char *const head[] = {
		[OUT_TEXT] = "mode      prefill tok/s  decode tok/s  hit %  "
			     "GB/tok   GB/s  wait %  peak GiB\n",
		[OUT_CSV] = "mode,prefill_tok_s,decode_tok_s,hit_pct,gb_tok,"
			    "gb_s,wait_pct,peak_gib\n",
		[OUT_MD] = "| mode | prefill tok/s | decode tok/s | hit % | "
			   "GB/token | GB/s | waiting % | peak GiB |\n"
			   "|---|---|---|---|---|---|---|---|\n",
	};
	static const char *const row[] = {
		[OUT_TEXT] = "%-9s %13.2f %13.2f %6.1f %7.3f %6.2f %7.1f "
			     "%9.2f\n",
		[OUT_CSV] = "%s,%.3f,%.3f,%.2f,%.4f,%.3f,%.2f,%.3f\n",
		[OUT_MD] = "| %s | %.2f | %.2f | %.1f | %.3f | %.2f | %.1f | "
			   "%.2f |\n",
	};

	fputs(head[form], stdout);
	for (uint32_t i = 0; i < nr; i++) {
		const struct result *b = &r[i];
		double tok = b->s.reply_tokens ? b->s.reply_tokens : 1.0;

		printf(row[form], b->mode, b->prefill_tok_s, b->decode_tok_s,
		       100.0 * b->decode_hit_rate,
		       (double)b->decode_bytes * 1e-9 / tok,
		       gb_s(b->decode_bytes, b->decode_busy_ns),
		       b->s.reply_ns ? 100.0 * (double)b->decode_wait_ns /
					       (double)b->s.reply_ns
				     : 0.0,
		       (double)b->peak_bytes / (double)PST_GIB);
	}
}

/* All repeats of a mode; the one with the median decode speed is kept. */
static int run_repeats(struct cli_opts *o, const char *mode, struct result *out,
		       uint64_t *hash)
{
	uint32_t n = PST_MAX(o->repeat, 1u);
	struct result *all = pst_calloc(n, sizeof(*all));
	bool report = o->report;
	int rc = all ? EXIT_OK : cli_fail(-ENOMEM, NULL);

	for (uint32_t i = 0; !rc && i < n; i++) {
		/* One report, of the last run. */
		o->report = report && i + 1 == n;
		rc = run_mode(o, mode, &all[i], hash);
	}
	o->report = report;
	if (!rc) {
		qsort(all, n, sizeof(*all), by_decode);
		*out = all[n / 2];
		all[n / 2].tokens = (struct cli_bench_tokens){ 0 };
	}
	for (uint32_t i = 0; all && i < n; i++)
		cli_bench_tokens_fini(&all[i].tokens);
	free(all);
	return rc;
}

static const char *own_mode(const struct cli_opts *o)
{
	if (o->engine.resident)
		return "resident";
	return o->engine.io == PST_ENGINE_IO_MMAP    ? "mmap"
	       : o->engine.io == PST_ENGINE_IO_PREAD ? "pread"
						     : "uring";
}

#define MAX_MODES 8

static int run_modes(struct cli_opts *o, char **modes, uint32_t nr,
		     struct result *results)
{
	uint64_t hash[MAX_MODES] = { 0 };
	int rc = EXIT_OK;

	for (uint32_t i = 0; i < nr && !rc; i++) {
		if (i) {
			set_mode(o, modes[i]);
			/* The report is that of the mode asked for first. */
			o->report = false;
			o->report_file = NULL;
		}
		rc = run_repeats(o, modes[i], &results[i], &hash[i]);
	}
	if (rc)
		return rc;
	if (o->output == OUT_JSON)
		print_json(results, nr);
	else
		print_table(results, nr, o->output);
	for (uint32_t i = 1; i < nr; i++)
		if (hash[i] != hash[0]) {
			cli_error("modes '%s' and '%s' gave different logits",
				  modes[0], modes[i]);
			rc = EXIT_BUG;
		}
	return rc;
}

static int run_all(struct cli_opts *o, char **modes, uint32_t nr)
{
	struct result results[MAX_MODES] = { 0 };
	int rc = run_modes(o, modes, nr, results);

	for (uint32_t i = 0; i < nr; i++)
		cli_bench_tokens_fini(&results[i].tokens);
	return rc;
}

int cmd_bench(struct cli_opts *o)
{
	char *copy = strdup(o->against ? o->against : ""), *save = NULL;
	char own[16];
	char *modes[MAX_MODES] = { own };
	uint32_t nr = 1;
	int rc;

	if (!copy)
		return cli_fail(-ENOMEM, NULL);
	snprintf(own, sizeof(own), "%s", own_mode(o));
	for (char *m = strtok_r(copy, ",", &save); m;
	     m = strtok_r(NULL, ",", &save)) {
		if (!is_mode(m) || nr == MAX_MODES) {
			cli_error("--against '%s': up to %d of resident, mmap, "
				  "pread, uring",
				  m, MAX_MODES - 1);
			free(copy);
			return EXIT_USAGE;
		}
		modes[nr++] = m;
	}
	if (!o->seed_given)
		o->sample.seed = 1;
	o->report |= o->report_file != NULL;
	if (!o->gen_tokens && !o->prompt_tokens) {
		cli_error("bench: nothing to measure");
		rc = EXIT_USAGE;
	} else {
		rc = run_all(o, modes, nr);
	}
	free(copy);
	return rc;
}
