// SPDX-License-Identifier: MIT
/*
 * From sums to answers: which resource bound the run, and what more of each
 * would bring by the cost model.  More memory is judged by playing the run's
 * own routing through the policy object at larger sizes.
 */
#include <errno.h>
#include <stdlib.h>

#include "compute_rate.h"
#include "cost.h"
#include "replay.h"
#include "report_priv.h"

/* Above this share of the memory's rate, more cores bring nothing. */
#define MEMORY_BOUND 0.8
/* Of the weights that are read in full: less may lie in the caches. */
#define MEMORY_BYTES (128 * PST_MIB)

static double seconds(uint64_t ns)
{
	return (double)ns * 1e-9;
}

/* What one decoded token reads of weights: trunk and chosen experts. */
static double weight_bytes(const struct pst_report *r)
{
	const struct pst_plan *p = &r->e->plan;
	const struct pst_report_times *t = &r->decode.t;
	double experts = (double)(t->hit_bytes + t->demand_bytes);

	return (double)(p->model_file - p->expert_file - p->table_file +
			p->token_rows) +
	       (t->tokens ? experts / (double)t->tokens : 0.0);
}

static double compute_s(const struct pst_report_times *t)
{
	return seconds(t->total_ns - PST_MIN(t->wait_ns, t->total_ns));
}

static void find_rates(const struct pst_report *r,
		       const struct pst_report_env *env,
		       struct pst_report_result *o)
{
	const struct pst_report_phase *d = &r->decode;
	double busy = seconds(d->busy_ns), all = seconds(d->t.total_ns);
	double seen = busy > 0.0 ? (double)d->read_bytes / busy : 0.0;
	const struct pst_mem *trunk = &r->e->model->trunk;

	o->drive_measured = env->drive_bps > 0.0;
	o->drive_bps = o->drive_measured ? env->drive_bps : seen;
	if (o->drive_bps > 0.0 && all > 0.0) {
		o->drive_use = (double)d->read_bytes / all / o->drive_bps;
		o->drive_use_busy = seen / o->drive_bps;
	}
	if (trunk->size_bytes >= MEMORY_BYTES)
		o->mem_bps = pst_mem_read_bps(r->e->pool, trunk->addr,
					      trunk->size_bytes);
	if (d->t.tokens && compute_s(&d->t) > 0.0)
		o->weight_bps = weight_bytes(r) * (double)d->t.tokens /
				compute_s(&d->t);
}

static void find_limit(const struct pst_report *r, struct pst_report_result *o)
{
	const struct pst_report_times *t = &r->decode.t;

	if (!t->tokens)
		t = &r->prefill.t;
	if (!t->tokens)
		o->limit = PST_LIMIT_NONE;
	else if (2 * t->wait_ns > t->total_ns)
		o->limit = PST_LIMIT_DRIVE;
	else if (o->mem_bps > 0.0 && o->weight_bps > MEMORY_BOUND * o->mem_bps)
		o->limit = PST_LIMIT_MEMORY;
	else
		o->limit = PST_LIMIT_CORES;
}

/* Mean layers of decode, as the cost model wants them. */
static void mean_layers(const struct pst_report *r, struct pst_cost_layer *out)
{
	for (uint32_t l = 0; l < r->nr_layers; l++) {
		const struct pst_report_times *t = &r->layers[l];
		double n = (double)PST_MAX(t->passes, 1u), size;
		uint64_t wanted = t->hits + t->misses;
		uint64_t known = t->wait_ns + t->experts_ns;
		struct pst_expert_read read = pst_engine_expert_read(r->e, l);

		size = (double)r->expert_bytes[l];
		out[l] = (struct pst_cost_layer){
			.head_s = seconds(t->total_ns -
					  PST_MIN(known, t->total_ns)) /
				  n,
			.experts_s = seconds(t->experts_ns) / n,
			.nr_used = wanted ? r->nr_used : 0,
			.expert_bytes = read.bytes,
			.expert_reads = read.reads,
		};
		if (wanted)
			out[l].miss_rate = (double)t->misses / (double)wanted;
		if (size > 0.0)
			out[l].ahead = (double)t->idle_bytes / size / n;
	}
}

struct model {
	struct pst_cost_layer *layers; /* [nr_layers] the present */
	struct pst_cost_layer *other; /* [nr_layers] with a change */
	uint32_t nr_layers;
	double rest_s;
	struct pst_cost_machine machine;
	double base_s;
};

/* A change: factors on the terms of the present. */
struct change {
	const char *what;
	double misses, compute, drive;
};

static double predict(const struct model *m, const struct change *c)
{
	struct pst_cost_token t = { .layers = m->other,
				    .nr_layers = m->nr_layers,
				    .rest_s = m->rest_s * c->compute };
	struct pst_cost_machine machine = m->machine;

	/* A faster drive is so in both; what it takes to answer stays. */
	machine.drive_bps *= c->drive;
	machine.read_s /= c->drive;
	for (uint32_t l = 0; l < m->nr_layers; l++) {
		m->other[l] = m->layers[l];
		m->other[l].head_s *= c->compute;
		m->other[l].experts_s *= c->compute;
		m->other[l].miss_rate *= c->misses;
		m->other[l].ahead *= c->misses;
	}
	return pst_cost_predict(&t, &machine).total_s;
}

static void add_gain(const struct model *m, const struct change *c,
		     struct pst_report_result *o)
{
	double s = predict(m, c);

	if (!(s > 0.0) || o->nr_gains == PST_REPORT_GAINS)
		return;
	/* The model's error on the present cancels in the ratio. */
	o->gains[o->nr_gains++] = (struct pst_report_gain){
		.what = c->what,
		.factor = m->base_s / s,
		.tok_s = o->measured_tok_s * m->base_s / s,
	};
}

static int play(struct pst_report *r, const struct pst_policy_ops *ops,
		struct pst_trace *t, uint32_t slots, uint64_t *hits)
{
	struct pst_replay_result res;
	int rc = ops ? pst_replay_policy(t, ops, slots, &res)
		     : pst_replay_min(t, slots, &res);

	if (!rc)
		*hits = res.hits;
	return rc;
}

/* The run's routing at the present size and at larger ones. */
static int play_sizes(struct pst_report *r, struct pst_report_result *o)
{
	static const uint32_t percent[] = {
		50, 75, 100, 125, 150, 200, 300, 400
	};
	struct pst_trace t = { .nr_layers = r->nr_layers,
			       .nr_experts = r->nr_experts,
			       .nr_used = r->nr_used,
			       .expert_bytes = r->expert_bytes,
			       .nr_rows = r->nr_keys,
			       .first_decode = r->first_decode,
			       .key = r->keys };
	const struct pst_policy_ops *ops = pst_policy_find(
		r->e->opts.policy ? r->e->opts.policy : "default");
	uint32_t all = r->e->plan.nr_experts;
	int rc = 0;

	for (uint32_t l = 0; l < r->nr_layers; l++)
		t.nr_moe_layers += r->expert_bytes[l] != 0;
	for (size_t i = 0; i <= PST_ARRAY_SIZE(percent) && !rc; i++) {
		bool last = i == PST_ARRAY_SIZE(percent);
		uint64_t n =
			last ? all
			     : (uint64_t)r->e->plan.nr_slots * percent[i] / 100;
		struct pst_report_capacity *c =
			&o->capacities[o->nr_capacities];

		if (!n || n > all || (!last && n == all))
			continue;
		c->nr_slots = (uint32_t)n;
		c->wanted = r->nr_keys - r->first_decode;
		rc = play(r, ops, &t, c->nr_slots, &c->policy_hits);
		if (!rc)
			rc = play(r, &pst_policy_lru, &t, c->nr_slots,
				  &c->lru_hits);
		if (!rc)
			rc = play(r, NULL, &t, c->nr_slots, &c->min_hits);
		o->nr_capacities += !rc;
	}
	return rc;
}

static const struct pst_report_capacity *
at_slots(const struct pst_report_result *o, uint64_t slots)
{
	for (uint32_t i = 0; i < o->nr_capacities; i++)
		if (o->capacities[i].nr_slots == slots)
			return &o->capacities[i];
	return NULL;
}

static void memory_gains(const struct pst_report *r, const struct model *m,
			 struct pst_report_result *o)
{
	static const struct {
		uint32_t percent;
		const char *what;
	} more[] = { { 125, "expert cache x 1.25" },
		     { 150, "expert cache x 1.5" },
		     { 200, "expert cache x 2" },
		     { 0, "all experts in memory" } };
	uint64_t slots = r->e->plan.nr_slots;
	const struct pst_report_capacity *now = at_slots(o, slots), *c;

	if (!now || now->policy_hits == now->wanted)
		return;
	for (size_t i = 0; i < PST_ARRAY_SIZE(more); i++) {
		struct change ch = { more[i].what, 0.0, 1.0, 1.0 };

		c = at_slots(o, more[i].percent ? slots * more[i].percent / 100
						: r->e->plan.nr_experts);
		if (!c)
			continue;
		/* Once all are in memory, only the first use reads. */
		if (more[i].percent)
			ch.misses = (double)(c->wanted - c->policy_hits) /
				    (double)(now->wanted - now->policy_hits);
		add_gain(m, &ch, o);
	}
}

static void predict_gains(const struct pst_report *r,
			  const struct pst_report_env *env, struct model *m,
			  struct pst_report_result *o)
{
	struct change same = { NULL, 1.0, 1.0, 1.0 };
	struct change drive = { "drive x 2", 1.0, 1.0, 2.0 };
	struct change cores = { "cores x 2", 1.0, 0.5, 1.0 };
	const struct pst_report_times *t = &r->decode.t;
	double layers_s = 0.0, n = (double)t->passes;

	m->nr_layers = r->nr_layers;
	m->machine = (struct pst_cost_machine){
		.drive_bps = o->drive_bps > 0.0 ? o->drive_bps : 1e30,
	};
	if (o->drive_measured)
		m->machine = (struct pst_cost_machine){
			.drive_bps = env->drive.bps,
			.read_s = env->drive.read_s,
			.latency_s = env->drive.latency_s,
		};
	mean_layers(r, m->layers);
	for (uint32_t l = 0; l < r->nr_layers; l++)
		layers_s += seconds(r->layers[l].total_ns);
	m->rest_s = PST_MAX(0.0, seconds(t->total_ns) - layers_s) / n;
	m->base_s = predict(m, &same);
	if (!(m->base_s > 0.0))
		return;
	o->model_tok_s = 1.0 / m->base_s;
	memory_gains(r, m, o);
	if (t->misses)
		add_gain(m, &drive, o);
	/* Twice the cores read no more than the memory gives. */
	if (o->mem_bps > 0.0 && o->weight_bps > 0.0)
		cores.compute =
			PST_MIN(1.0, PST_MAX(0.5, o->weight_bps / o->mem_bps));
	add_gain(m, &cores, o);
}

static void fill(const struct pst_report *r, struct pst_report_result *o)
{
	const struct pst_report_times *t = &r->decode.t;

	*o = (struct pst_report_result){
		.prefill = r->prefill,
		.decode = r->decode,
		.passes = r->passes,
		.nr_passes = r->nr_passes,
		.nr_dropped = r->nr_dropped,
		.layers = r->layers,
		.guesses = r->guesses,
		.nr_layers = r->nr_layers,
		.nr_experts = r->nr_experts,
		.nr_used = r->nr_used,
		.nr_slots = r->e->plan.nr_slots,
		.nr_all = r->e->plan.nr_experts,
		.use = r->use,
		.policy = r->e->opts.policy ? r->e->opts.policy : "default",
	};
	if (t->total_ns)
		o->measured_tok_s = (double)t->tokens / seconds(t->total_ns);
}

int pst_report_finish(struct pst_report *r, const struct pst_report_env *env,
		      struct pst_report_result *out)
{
	struct model m = { .nr_layers = 0 };
	int rc = 0;

	pst_report_phase(r, r->phase == &r->decode);
	if (!r->decode.t.tokens)
		r->first_decode = r->nr_keys;
	fill(r, out);
	find_rates(r, env, out);
	find_limit(r, out);
	if (!r->decode.t.tokens)
		return 0;
	/* A mapping has no slots; what is resident does not miss. */
	if (r->e->plan.nr_slots && r->nr_keys > r->first_decode) {
		out->routing_tokens =
			r->nr_keys / r->nr_used /
			PST_MAX(r->e->plan.nr_token / r->e->plan.nr_used, 1u);
		rc = play_sizes(r, out);
	}
	m.layers = pst_calloc(r->nr_layers, sizeof(*m.layers));
	m.other = pst_calloc(r->nr_layers, sizeof(*m.other));
	if (!m.layers || !m.other)
		rc = -ENOMEM;
	if (!rc)
		predict_gains(r, env, &m, out);
	free(m.layers);
	free(m.other);
	return rc;
}
