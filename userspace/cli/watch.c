// SPDX-License-Identifier: MIT
/*
 * Opens, feeds and closes what looks at a run.  Must not know how a run comes
 * to its tokens.
 */
#include <errno.h>
#include <string.h>

#include <penstock/profile.h>

#include "gguf.h"
#include "state.h"
#include "watch.h"

/* How long the drive is looked at when nobody has measured it. */
#define PROBE_MS 250

static int put(void *ctx, const void *data, size_t size_bytes)
{
	return cli_out_write(ctx, data, size_bytes);
}

static void note_error(struct cli_watch *w, int rc)
{
	if (rc && !w->err)
		w->err = rc;
}

static uint32_t on_choose(void *ctx, const struct pst_route_choice *c)
{
	struct cli_watch *w = ctx;

	return pst_forced_choose(w->forced, c);
}

static uint32_t on_foresee(void *ctx, const struct pst_route_choice *c)
{
	struct cli_watch *w = ctx;

	return pst_forced_foresee(w->forced, c);
}

static void on_route(void *ctx, const struct pst_route_sample *s)
{
	struct cli_watch *w = ctx;
	struct pst_trace_rows rows = {
		.decode = w->decode,
		.layer = s->layer,
		.first = s->first_pos,
		.nr_tokens = s->nr_tokens,
		.nr_used = s->nr_used,
		.nr_experts = s->nr_experts,
		.ids = s->ids,
		.weights = s->weights,
		.probs = w->o->probs ? s->probs : NULL,
	};

	w->first_pos = s->first_pos;
	w->nr_tokens = s->nr_tokens;
	if (w->report)
		pst_report_route(w->report, s);
	if (w->recording && !w->err)
		note_error(w, pst_trace_write_rows(&w->sink, &rows));
}

static void on_layer(void *ctx, uint32_t layer,
		     const struct pst_layer_sample *s)
{
	struct cli_watch *w = ctx;
	struct pst_trace_io io = {
		.token = w->first_pos,
		.nr_tokens = w->nr_tokens,
		.layer = layer,
		.total_ns = s->total_ns,
		.wait_ns = s->wait_ns,
		.attention_ns = s->attention_ns,
		.experts_ns = s->experts_ns,
		.hits = s->hits,
		.misses = s->misses,
		.demand_bytes = s->demand_bytes,
		.idle_bytes = s->idle_bytes,
	};

	if (w->report)
		pst_report_layer(w->report, layer, s);
	if (w->recording && w->o->timing && w->nr_tokens && !w->err)
		note_error(w, pst_trace_write_io(&w->sink, &io));
}

static void on_pass(void *ctx, const struct pst_pass_sample *s)
{
	struct cli_watch *w = ctx;
	struct pst_trace_pass p = { .token = s->first_pos,
				    .nr_tokens = s->nr_tokens,
				    .total_ns = s->total_ns,
				    .logits_ns = s->logits_ns };

	if (w->report)
		pst_report_pass(w->report, s);
	if (w->recording && w->o->timing && !w->err)
		note_error(w, pst_trace_write_pass(&w->sink, &p));
}

static uint64_t trace_bytes(const struct pst_trace *t)
{
	uint64_t groups = t->nr_rows / t->nr_used;

	return (uint64_t)t->nr_rows * (sizeof(*t->key) + sizeof(*t->weight)) +
	       (t->prob ? groups * t->nr_experts * sizeof(*t->prob) : 0) +
	       groups * sizeof(uint32_t) + t->nr_io * sizeof(*t->io);
}

static int open_routing(struct cli_watch *w)
{
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	if (!(w->o->recall >= 0.0f && w->o->recall <= 1.0f)) {
		cli_error("--routing-recall is a share, 0 to 1");
		return EXIT_USAGE;
	}
	rc = pst_trace_load(w->o->routing, &w->trace, &diag);
	if (rc)
		return cli_fail(rc, &diag);
	rc = pst_forced_create(&w->trace, &w->forced);
	if (rc) {
		cli_error("%s: no memory for its index", w->o->routing);
		return EXIT_OS;
	}
	pst_forced_shape(w->forced, &w->shape);
	w->o->engine.extra_bytes += trace_bytes(&w->trace);
	/* The next router, asked in advance, knows nothing of a trace. */
	pst_forced_set_recall(w->forced, w->o->recall);
	w->hooks.foresee = on_foresee;
	w->hooks.choose = on_choose;
	return EXIT_OK;
}

/* What a profile of an older version lacks. */
static void add_short(struct pst_drive_profile *p,
		      const struct pst_drive_profile *seen)
{
	p->short_latency_ns = seen->short_latency_ns;
	p->short_rate = seen->short_rate;
}

int cli_drive_rate(const char *path, struct pst_report_env *out)
{
	struct pst_drive_profile p, seen;
	char dir[PST_STATE_DIR_MAX];
	int rc = cli_state_dir(dir);

	if (!rc)
		rc = pst_profile_find(dir, path, &p, NULL, NULL);
	if (rc)
		rc = pst_drive_probe(path, PROBE_MS, &p, NULL);
	else if (!p.short_rate && !pst_drive_probe(path, PROBE_MS, &seen, NULL))
		add_short(&p, &seen);
	if (rc)
		return rc;
	if (!p.bandwidth_bps)
		return -EIO;
	*out = (struct pst_report_env){
		.drive_bps = (double)p.bandwidth_bps,
	};
	pst_profile_line(&p, &out->drive);
	return 0;
}

int cli_watch_open(struct cli_watch *w, struct cli_opts *o, const char *path)
{
	int rc = EXIT_OK;

	*w = (struct cli_watch){ .o = o,
				 .hooks.ctx = w,
				 .extra_bytes = o->engine.extra_bytes };
	if (o->routing)
		rc = open_routing(w);
	if (!rc && o->record) {
		rc = cli_out_open(&w->out, o->record);
		w->recording = !rc;
		w->sink = (struct pst_trace_sink){ .put = put, .ctx = &w->out };
	}
	/* What cannot be written shall not be told after the run. */
	if (!rc && o->report && o->report_file) {
		rc = cli_out_open(&w->report_out, o->report_file);
		w->reporting = !rc;
	}
	if (!rc && o->report) {
		if (pst_report_create(PST_REPORT_BYTES, &w->report))
			rc = cli_fail(-ENOMEM, NULL);
		o->engine.extra_bytes += PST_REPORT_BYTES;
		/* Without a rate the report takes what the run saw. */
		if (!rc && cli_drive_rate(path, &w->env))
			w->env = (struct pst_report_env){ 0 };
	}
	if (w->recording || w->report) {
		w->hooks.route = on_route;
		w->hooks.layer = on_layer;
		w->hooks.pass = on_pass;
	}
	if (w->recording || w->report || w->forced)
		o->engine.observer = &w->hooks;
	return rc;
}

static const char *base_name(const char *path)
{
	const char *slash = strrchr(path, '/');

	return slash ? slash + 1 : path;
}

static void write_head(struct cli_watch *w, const struct pst_engine *e,
		       const struct pst_moe_shape *shape)
{
	const struct pst_gguf *g = pst_engine_gguf(e);
	struct pst_trace_head head = {
		.model = base_name(pst_gguf_file(g, 0)->path),
		.arch = "unknown",
		.nr_layers = shape->nr_layers,
		.nr_experts = shape->nr_experts,
		.nr_used = shape->nr_used,
		.expert_bytes = shape->expert_bytes,
		.probs = w->o->probs,
		.records = w->o->timing,
	};
	char text[64];
	struct pst_str s;

	if (!pst_gguf_get_str(g, "general.architecture", &s)) {
		snprintf(text, sizeof(text), "%.*s",
			 (int)PST_MIN(s.len, sizeof(text) - 1), s.s);
		head.arch = text;
	}
	note_error(w, pst_trace_write_head(&w->sink, &head));
}

/* What of the trace's geometry is not the model's. */
static void say_mapping(const struct cli_watch *w,
			const struct pst_moe_shape *shape)
{
	const struct pst_trace *t = &w->trace;
	uint32_t layers = 0;

	for (uint32_t l = 0; l < shape->nr_layers; l++)
		layers += shape->expert_bytes[l] != 0;
	if (layers != t->nr_moe_layers || shape->nr_experts != t->nr_experts)
		cli_error("%s: %u layers of %u experts are mapped to this "
			  "model's %u of %u, modulo",
			  w->o->routing, t->nr_moe_layers, t->nr_experts,
			  layers, shape->nr_experts);
	if (shape->nr_used != t->nr_used)
		cli_error("%s: %u experts per token in the trace, %u in the "
			  "model: %u are taken",
			  w->o->routing, t->nr_used, shape->nr_used,
			  PST_MIN(t->nr_used, shape->nr_used));
}

int cli_watch_start(struct cli_watch *w, const struct pst_engine *e)
{
	struct pst_moe_shape shape;
	int rc = pst_engine_moe_shape(e, &shape);

	if ((w->forced || w->recording) && rc) {
		cli_error("this model has no experts: there is no routing");
		return EXIT_UNAVAIL;
	}
	if (w->forced)
		say_mapping(w, &shape);
	if (w->recording)
		write_head(w, e, &shape);
	if (w->report && pst_report_start(w->report, e))
		return cli_fail(-ENOMEM, NULL);
	return EXIT_OK;
}

void cli_watch_phase(struct cli_watch *w, bool decode)
{
	w->decode = decode;
	if (w->report)
		pst_report_phase(w->report, decode);
}

static int print_report(struct cli_watch *w, const struct pst_engine *e,
			const struct pst_report_result *r)
{
	struct cli_out *out = &w->report_out;
	int rc;

	if (!w->reporting)
		return cli_print_run_report(stderr, w->o->report_form, r, e);
	errno = 0;
	rc = cli_print_run_report(out->f, w->o->report_form, r, e);
	if (ferror(out->f))
		out->err = errno ? errno : EIO;
	w->reporting = false;
	return cli_out_close(out, rc);
}

int cli_watch_finish(struct cli_watch *w, const struct pst_engine *e, int rc)
{
	struct pst_report_result r;
	int err;

	/* Of a run that was stopped in its prompt there is nothing to say. */
	if (!w->report || (rc && (rc != cli_stop_code() || !w->decode)))
		return rc;
	err = pst_report_finish(w->report, &w->env, &r);
	err = err ? cli_fail(err, NULL) : print_report(w, e, &r);
	return err ? err : rc;
}

/* A run that was asked to stop ended in order: what it recorded is true. */
static int close_recording(struct cli_watch *w, int rc)
{
	bool stopped = rc && rc == cli_stop_code();
	int err = cli_out_close(&w->out, stopped ? 0 : rc);

	return stopped && !err ? rc : err;
}

int cli_watch_close(struct cli_watch *w, int rc)
{
	/* A sink that failed says so itself when it is closed. */
	if (w->err && !w->out.err) {
		cli_error("%s: the router's weights are no numbers: not "
			  "recorded",
			  w->o->record);
		rc = EXIT_DATA;
	}
	if (w->recording)
		rc = close_recording(w, rc);
	w->recording = false;
	/* Of a run that failed there is no report. */
	if (w->reporting)
		cli_out_close(&w->report_out, EXIT_FAILED);
	w->reporting = false;
	if (w->o) {
		w->o->engine.observer = NULL;
		w->o->engine.extra_bytes = w->extra_bytes;
	}
	pst_report_destroy(w->report);
	w->report = NULL;
	pst_forced_destroy(w->forced);
	w->forced = NULL;
	pst_trace_fini(&w->trace);
	return rc;
}
