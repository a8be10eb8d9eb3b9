// SPDX-License-Identifier: MIT
/*
 * penstock trace report: a page from a trace, or from the JSON of a report.
 * Both are untrusted; what is taken from them is checked here.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include <jansson.h>

#include "html_page.h"
#include "replay.h"
#include "trace.h"

/* Two hundred thousand tokens; parsed, it takes ten times as much. */
#define MAX_JSON_BYTES (64 * PST_MIB)
#define MAX_STEPS      (1u << 20)
/* Of the hit rate over time where none was recorded: the cache's share. */
#define SERIES_PERCENT 10

static void fill_use(const struct pst_trace *t, struct page *p)
{
	p->nr_layers = t->nr_layers;
	p->nr_experts = t->nr_experts;
	p->use = pst_calloc((uint64_t)t->nr_layers * t->nr_experts,
			    sizeof(*p->use));
	for (uint32_t i = 0; p->use && i < t->nr_rows; i++)
		p->use[t->key[i]]++;
}

/* Decode steps of a trace: the groups of its first layer with experts. */
static uint32_t count_steps(const struct pst_trace *t)
{
	uint32_t nr = 0;

	for (uint32_t i = t->first_decode; i < t->nr_rows; i += t->nr_used)
		nr += t->key[i] / t->nr_experts ==
		      t->key[t->first_decode] / t->nr_experts;
	return nr;
}

struct series {
	const struct pst_trace *t;
	struct page *p;
	uint32_t step; /* 1 + the present one */
};

static void on_row(void *ctx, uint32_t row, bool hit)
{
	struct series *s = ctx;
	const struct pst_trace *t = s->t;

	if (row < t->first_decode)
		return;
	if (row % t->nr_used == 0 &&
	    t->key[row] / t->nr_experts ==
		    t->key[t->first_decode] / t->nr_experts)
		s->step++;
	s->p->steps[s->step - 1].hits += hit;
	s->p->steps[s->step - 1].misses += !hit;
}

/* Hits over time as the default policy would have had them. */
static int replay_series(const struct pst_trace *t, struct page *p)
{
	struct series s = { .t = t, .p = p };
	struct pst_replay_result r;
	uint32_t slots =
		t->nr_moe_layers * t->nr_experts / 100 * SERIES_PERCENT;

	snprintf(p->hit_note, sizeof(p->hit_note),
		 "No times were recorded: the default policy, replayed with "
		 "%d %% of the experts in memory.",
		 SERIES_PERCENT);
	return pst_replay_watch(t, pst_policy_find("default"),
				PST_MAX(slots, t->nr_used), on_row, &s, &r);
}

/* What a layer of a trace adds to the mean of @nr tokens. */
static void add_layer(struct page_step *s, const struct pst_trace_io *r,
		      double nr)
{
	uint64_t known = r->wait_ns + r->experts_ns + r->attention_ns;

	s->ms[PART_WAIT] += (double)r->wait_ns * 1e-6 / nr;
	s->ms[PART_EXPERTS] += (double)r->experts_ns * 1e-6 / nr;
	s->ms[PART_ATTENTION] += (double)r->attention_ns * 1e-6 / nr;
	s->ms[PART_REST] +=
		(double)(r->total_ns - PST_MIN(known, r->total_ns)) * 1e-6 / nr;
}

static double rest(double total, const struct page_step *s)
{
	double known = s->ms[PART_WAIT] + s->ms[PART_EXPERTS] +
		       s->ms[PART_ATTENTION] + s->ms[PART_LOGITS];

	return PST_MAX(0.0, total - known);
}

/* Records of layers come before the record of their pass. */
static int fill_recorded(const struct pst_trace *t, struct page *p)
{
	uint32_t io = 0, step = 0;

	p->nr_timed = t->nr_layers;
	p->layers = pst_calloc(t->nr_layers, sizeof(*p->layers));
	if (!p->layers)
		return -ENOMEM;
	snprintf(p->hit_note, sizeof(p->hit_note), "As it was in the run.");
	for (uint32_t i = 0; i < t->nr_passes; i++) {
		const struct pst_trace_pass *pass = &t->pass[i];
		struct page_step *s, spare = { .hits = 0.0 };
		bool decode = i + p->nr_steps >= t->nr_passes &&
			      step < p->nr_steps;

		s = decode ? &p->steps[step++] : &spare;
		for (; io < t->nr_io && t->io[io].token <= pass->token; io++) {
			const struct pst_trace_io *r = &t->io[io];

			s->ms[PART_WAIT] += (double)r->wait_ns * 1e-6;
			s->ms[PART_EXPERTS] += (double)r->experts_ns * 1e-6;
			s->ms[PART_ATTENTION] += (double)r->attention_ns * 1e-6;
			s->hits += (double)r->hits;
			s->misses += (double)r->misses;
			if (!decode)
				continue;
			p->bytes[SOURCE_CACHE] +=
				(double)r->hits *
				(double)t->expert_bytes[r->layer];
			p->bytes[SOURCE_DEMAND] += (double)r->demand_bytes;
			add_layer(&p->layers[r->layer], r, p->nr_steps);
		}
		s->ms[PART_LOGITS] = (double)pass->logits_ns * 1e-6;
		s->ms[PART_REST] = rest((double)pass->total_ns * 1e-6, s);
	}
	return 0;
}

/* Shares at which the policies are compared, in percent. */
static const uint32_t shares[] = { 2,  5,  10, 15, 20, 25, 30,
				   40, 50, 60, 75, 90, 100 };

static int replay_curve(const struct pst_trace *t, const char *name,
			struct page_curve *c)
{
	const struct pst_policy_ops *ops = pst_policy_find(name);
	uint32_t all = t->nr_moe_layers * t->nr_experts;
	int rc = 0;

	snprintf(c->name, sizeof(c->name), "%s", name);
	for (size_t i = 0; i < PST_ARRAY_SIZE(shares) && !rc; i++) {
		struct pst_replay_result r = { .hits = 0 };
		uint32_t slots = (uint32_t)((uint64_t)all * shares[i] / 100);

		if (!slots)
			continue;
		rc = ops ? pst_replay_policy(t, ops, slots, &r)
			 : pst_replay_min(t, slots, &r);
		if (!(r.hits + r.misses))
			continue;
		c->x[c->nr] = shares[i];
		c->y[c->nr++] =
			100.0 * (double)r.misses / (double)(r.hits + r.misses);
	}
	return rc;
}

static int replay_curves(const struct pst_trace *t, struct page *p,
			 struct cli_bar *bar)
{
	const char *name;
	int rc = 0;

	for (uint32_t i = 0; i + 1 < PAGE_CURVES && !rc; i++) {
		name = pst_policy_name(i);
		if (!name)
			break;
		cli_bar_update(bar, "replaying", i, PAGE_CURVES, "policies");
		rc = replay_curve(t, name, &p->curves[p->nr_curves++]);
	}
	if (!rc)
		rc = replay_curve(t, "min", &p->curves[p->nr_curves++]);
	cli_bar_clear(bar);
	return rc;
}

static int page_of_trace(struct cli_opts *o, struct page *p)
{
	struct pst_trace t = { .nr_layers = 0 };
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	rc = pst_trace_load(o->args[0], &t, &diag);
	if (rc)
		return cli_fail(rc, &diag);
	snprintf(p->title, sizeof(p->title), "Routing of %.100s", t.model);
	page_fact(p, "layers with experts", "%u", t.nr_moe_layers);
	page_fact(p, "experts of a layer", "%u, %u for each token",
		  t.nr_experts, t.nr_used);
	page_fact(p, "choices", "%u of the prompt, %u of the reply",
		  t.first_decode, t.nr_rows - t.first_decode);
	fill_use(&t, p);
	p->nr_steps = count_steps(&t);
	p->steps = pst_calloc(PST_MAX(p->nr_steps, 1u), sizeof(*p->steps));
	if (!p->use || !p->steps)
		rc = -ENOMEM;
	else if (t.nr_passes && t.nr_io)
		rc = fill_recorded(&t, p);
	else if (p->nr_steps)
		rc = replay_series(&t, p);
	if (!rc && p->nr_steps)
		rc = replay_curves(&t, p, &o->bar);
	pst_trace_fini(&t);
	return rc ? cli_fail(rc, NULL) : EXIT_OK;
}

/* A member that is a number of 0 or more, else 0. */
static double number_of(const json_t *o, const char *name)
{
	double v = json_number_value(json_object_get(o, name));

	return isfinite(v) && v > 0.0 ? v : 0.0;
}

static const char *string_of(const json_t *o, const char *name)
{
	const char *s = json_string_value(json_object_get(o, name));

	return s ? s : "unknown";
}

static int read_steps(const json_t *root, struct page *p)
{
	const json_t *passes = json_object_get(root, "passes");
	size_t nr = json_array_size(passes);

	nr = PST_MIN(nr, MAX_STEPS);
	p->steps = pst_calloc(PST_MAX(nr, 1u), sizeof(*p->steps));
	if (!p->steps)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		const json_t *o = json_array_get(passes, i);
		struct page_step *s = &p->steps[p->nr_steps];

		if (strcmp(string_of(o, "phase"), "decode"))
			continue;
		s->ms[PART_WAIT] = number_of(o, "wait_ns") * 1e-6;
		s->ms[PART_EXPERTS] = number_of(o, "experts_ns") * 1e-6;
		s->ms[PART_ATTENTION] = number_of(o, "attention_ns") * 1e-6;
		s->ms[PART_LOGITS] = number_of(o, "logits_ns") * 1e-6;
		s->ms[PART_REST] = number_of(o, "rest_ns") * 1e-6;
		s->hits = number_of(o, "hits");
		s->misses = number_of(o, "misses");
		p->nr_steps++;
	}
	snprintf(p->hit_note, sizeof(p->hit_note), "As it was in the run.");
	return 0;
}

static int read_layers(const json_t *root, struct page *p)
{
	const json_t *layers = json_object_get(root, "layers");
	size_t nr = json_array_size(layers);

	if (nr > PST_TRACE_MAX_LAYERS)
		return -EBADMSG;
	p->layers = pst_calloc(PST_MAX(nr, 1u), sizeof(*p->layers));
	if (!p->layers)
		return -ENOMEM;
	p->nr_timed = (uint32_t)nr;
	for (size_t i = 0; i < nr; i++) {
		const json_t *o = json_array_get(layers, i);
		double n = 1e6 * PST_MAX(number_of(o, "passes"), 1.0);
		struct page_step *s = &p->layers[i];

		s->ms[PART_WAIT] = number_of(o, "wait_ns") / n;
		s->ms[PART_EXPERTS] = number_of(o, "experts_ns") / n;
		s->ms[PART_ATTENTION] = number_of(o, "attention_ns") / n;
		s->ms[PART_REST] = number_of(o, "rest_ns") / n;
	}
	return 0;
}

static int read_use(const json_t *root, struct page *p)
{
	const json_t *use = json_object_get(root, "use");
	size_t layers = json_array_size(use);
	size_t experts = json_array_size(json_array_get(use, 0));

	if (!layers || !experts)
		return 0;
	if (layers > PST_TRACE_MAX_LAYERS || experts > PST_TRACE_MAX_EXPERTS)
		return -EBADMSG;
	p->nr_layers = (uint32_t)layers;
	p->nr_experts = (uint32_t)experts;
	p->use = pst_calloc((uint64_t)layers * experts, sizeof(*p->use));
	if (!p->use)
		return -ENOMEM;
	for (size_t l = 0; l < layers; l++)
		for (size_t e = 0; e < experts; e++) {
			json_int_t v = json_integer_value(
				json_array_get(json_array_get(use, l), e));

			p->use[l * experts + e] = (uint32_t)PST_MIN(
				PST_MAX(v, 0), (json_int_t)UINT32_MAX);
		}
	return 0;
}

static void read_curves(const json_t *root, struct page *p)
{
	static const char *const keys[] = { "policy_hits", "lru_hits",
					    "min_hits" };
	const json_t *list = json_object_get(root, "capacities"), *o;
	const char *names[] = { string_of(root, "policy"), "lru", "min" };
	double all = number_of(root, "experts");
	size_t i;

	if (!(all > 0.0) || !json_array_size(list))
		return;
	for (size_t k = 0; k < PST_ARRAY_SIZE(keys); k++)
		snprintf(p->curves[k].name, sizeof(p->curves[k].name), "%s",
			 names[k]);
	p->nr_curves = PST_ARRAY_SIZE(keys);
	for (i = 0; i < json_array_size(list) && i < PAGE_POINTS; i++) {
		double wanted;

		o = json_array_get(list, i);
		wanted = number_of(o, "wanted");
		for (size_t k = 0; k < PST_ARRAY_SIZE(keys); k++) {
			struct page_curve *c = &p->curves[k];
			double miss = wanted - number_of(o, keys[k]);
			double x = 100.0 * number_of(o, "slots") / all;

			if (!(wanted > 0.0) || x > 100.0)
				continue;
			c->x[c->nr] = x;
			c->y[c->nr++] = 100.0 * PST_MAX(miss, 0.0) / wanted;
		}
	}
}

static void read_gains(const json_t *root, struct page *p)
{
	const json_t *list = json_object_get(root, "gains");

	for (size_t i = 0; i < json_array_size(list) && i < PAGE_GAINS; i++) {
		const json_t *o = json_array_get(list, i);
		struct page_gain *g = &p->gains[p->nr_gains++];

		snprintf(g->what, sizeof(g->what), "%s", string_of(o, "what"));
		g->tok_s = number_of(o, "tok_s");
		g->factor = number_of(o, "factor");
	}
}

static void read_facts(const json_t *root, struct page *p)
{
	const json_t *d = json_object_get(root, "decode");
	const json_t *drive = json_object_get(root, "drive");
	const json_t *cost = json_object_get(root, "cost");

	snprintf(p->title, sizeof(p->title), "Run of %.100s",
		 string_of(root, "model"));
	page_fact(p, "limit", "%s", string_of(root, "limit"));
	page_fact(p, "decode", "%.0f tokens, %.2f tok/s",
		  number_of(d, "tokens"), number_of(cost, "measured_tok_s"));
	page_fact(p, "cost model", "%.2f tok/s",
		  number_of(cost, "model_tok_s"));
	page_fact(p, "experts in memory", "%.0f of %.0f",
		  number_of(root, "slots"), number_of(root, "experts"));
	page_fact(p, "policy", "%s", string_of(root, "policy"));
	page_fact(p, "drive",
		  "%.2f GB/s; %.0f %% used in decode, %.0f %% while reads were "
		  "outstanding",
		  number_of(drive, "bandwidth_bps") * 1e-9,
		  number_of(drive, "use") * 100.0,
		  number_of(drive, "use_while_busy") * 100.0);
	page_fact(p, "I/O", "%s", string_of(root, "io"));
	page_fact(p, "kernels", "%s, %.0f threads", string_of(root, "kernels"),
		  number_of(root, "threads"));
	p->bytes[SOURCE_CACHE] = number_of(d, "cache_bytes");
	p->bytes[SOURCE_AHEAD] = number_of(d, "prefetch_used_bytes");
	p->bytes[SOURCE_DEMAND] = number_of(d, "demand_bytes");
	p->bytes[SOURCE_WASTED] = number_of(d, "prefetch_wasted_bytes");
}

static int page_of_json(const char *path, struct page *p)
{
	json_error_t err;
	json_t *root = json_load_file(path, JSON_REJECT_DUPLICATES, &err);
	int rc = 0;

	if (!root) {
		fprintf(stderr, "penstock: %s: line %d: ", path, err.line);
		cli_print_text(stderr, err.text, strlen(err.text), 160);
		fputc('\n', stderr);
		return EXIT_DATA;
	}
	if (strcmp(string_of(root, "schema"), "penstock.report.1")) {
		cli_error("%s: not a report: schema penstock.report.1 is "
			  "expected",
			  path);
		rc = -EBADMSG;
		goto out;
	}
	read_facts(root, p);
	read_curves(root, p);
	read_gains(root, p);
	rc = read_steps(root, p);
	if (!rc)
		rc = read_layers(root, p);
	if (!rc)
		rc = read_use(root, p);
	if (rc == -EBADMSG)
		cli_error("%s: more layers or experts than a model has", path);
	else if (rc)
		cli_fail(rc, NULL);
out:
	json_decref(root);
	return rc == -EBADMSG ? EXIT_DATA : rc ? EXIT_OS : EXIT_OK;
}

/* A report begins with a brace, whatever it is called. */
static int looks_like_json(const char *path, bool *json)
{
	FILE *f = fopen(path, "re");
	struct stat st;
	int c;

	if (!f || fstat(fileno(f), &st)) {
		cli_error("%s: %s", path, strerror(errno));
		if (f)
			fclose(f);
		return EXIT_NO_MODEL;
	}
	c = fgetc(f);
	fclose(f);
	*json = c == '{';
	if (*json && (uint64_t)st.st_size > MAX_JSON_BYTES) {
		cli_error("%s: %.0f MiB are more than a report has", path,
			  (double)st.st_size / (double)PST_MIB);
		return EXIT_DATA;
	}
	return EXIT_OK;
}

int cmd_trace_report(struct cli_opts *o)
{
	struct page p = { .nr_facts = 0 };
	struct cli_out out;
	bool json = false;
	int rc = looks_like_json(o->args[0], &json);

	if (rc)
		return rc;
	cli_bar_init(&o->bar, o->progress);
	rc = json ? page_of_json(o->args[0], &p) : page_of_trace(o, &p);
	if (!rc)
		rc = cli_out_open(&out, o->out ? o->out : "-");
	if (!rc) {
		errno = 0;
		page_write(&p, out.f);
		if (ferror(out.f))
			out.err = errno ? errno : EIO;
		rc = cli_out_close(&out, rc);
	}
	page_fini(&p);
	return rc;
}
