// SPDX-License-Identifier: MIT
/*
 * Prediction before a run: every matrix that a token passes, at the rate that
 * its type was measured with.  What a token does besides, on vectors, is
 * counted in jobs.
 */
#include <errno.h>
#include <stdlib.h>

#include "compute_rate.h"
#include "engine_priv.h"
#include "speed.h"

/* Jobs of a layer beside those of its experts, and with them. */
#define HEAD_JOBS   11
#define EXPERT_JOBS 3
/* Different products of a model: about a dozen. */
#define MAX_SHAPES 48
/* Measured over so much where nobody says how large the caches are. */
#define UNKNOWN_BYTES (64 * PST_MIB)

struct pst_speed {
	struct pst_engine *e;
	struct pst_compute_rate rate;
	struct pst_compute_shape shapes[MAX_SHAPES];
	uint32_t nr_shapes;
	struct pst_cost_layer *layers; /* [n_layers] with all used experts */
	double rest_s;
};

static uint64_t weight_bytes(const struct pst_weight *w)
{
	return (uint64_t)w->n_out * w->row_bytes;
}

/* The measured job of @nr such matrices, @nr_shapes if there is none. */
static uint32_t find_shape(const struct pst_speed *s,
			   const struct pst_weight *w, uint32_t nr)
{
	const struct pst_compute_shape *sh = s->shapes;
	uint32_t i = 0;

	while (i < s->nr_shapes &&
	       (sh[i].type != w->type || sh[i].n_in != w->n_in ||
		sh[i].n_out != w->n_out || sh[i].nr != nr))
		i++;
	return i;
}

/* Among those to be measured; the same only once. */
static void want(struct pst_speed *s, const struct pst_weight *w, uint32_t nr)
{
	if (!w->n_out || !nr || s->nr_shapes == MAX_SHAPES ||
	    find_shape(s, w, nr) < s->nr_shapes)
		return;
	s->shapes[s->nr_shapes++] = (struct pst_compute_shape){
		.type = w->type, .n_in = w->n_in, .n_out = w->n_out, .nr = nr
	};
}

/* @nr such matrices as one job.  Where that was not measured, because there are too
 * many shapes or no memory for it, the mean rate stands for it.
 */
static double weight_s(const struct pst_speed *s, const struct pst_weight *w,
		       uint32_t nr)
{
	uint32_t i = find_shape(s, w, nr);

	if (i < s->nr_shapes && s->shapes[i].s > 0.0)
		return s->shapes[i].s;
	return s->rate.mem_bps > 0.0
		       ? (double)weight_bytes(w) * nr / s->rate.mem_bps
		       : 0.0;
}

static void want_layer(struct pst_speed *s, const struct pst_layer *l)
{
	uint32_t used = l->moe.router.n_out ? s->e->model->hp.n_expert_used : 0;

	for (uint32_t i = 0; i < l->nr_mats; i++)
		want(s, l->mats[i], 1);
	want(s, &l->gate, used);
	want(s, &l->up, used);
	want(s, &l->down, used);
}

static void fill_layer(const struct pst_speed *s, uint32_t layer,
		       struct pst_cost_layer *c)
{
	const struct pst_layer *l = &s->e->model->layers[layer];
	struct pst_expert_read read = pst_engine_expert_read(s->e, layer);

	c->nr_used = l->moe.router.n_out ? s->e->model->hp.n_expert_used : 0;
	c->head_s = HEAD_JOBS * s->rate.job_s;
	for (uint32_t i = 0; i < l->nr_mats; i++)
		c->head_s += weight_s(s, l->mats[i], 1);
	c->expert_bytes = read.bytes;
	c->expert_reads = read.reads;
	/* A dense block's matrices are among those of the head. */
	c->experts_s = EXPERT_JOBS * s->rate.job_s;
	if (c->nr_used)
		c->experts_s += weight_s(s, &l->gate, c->nr_used) +
				weight_s(s, &l->up, c->nr_used) +
				weight_s(s, &l->down, c->nr_used);
}

/* What to measure with: more than the caches hold, but no more than the model
 * has, for a small one lies in them, and no more than can be spared.
 */
static uint64_t measured_bytes(const struct pst_speed *s, uint64_t cache_bytes)
{
	uint64_t most = pst_gguf_files_bytes(s->e->gguf);
	struct pst_mem_limits lim;

	if (!pst_mem_limits_read(&lim))
		most = PST_MIN(most, pst_mem_room(&lim) / 4);
	return PST_MIN(most, PST_MAX(PST_COMPUTE_RATE_CACHES * cache_bytes,
				     UNKNOWN_BYTES));
}

static int measure(struct pst_speed *s, uint64_t cache_bytes,
		   struct pst_diag *diag)
{
	const struct pst_model *m = s->e->model;
	struct pst_compute_args args = {
		.k = &s->e->kernels,
		.pool = s->e->pool,
		.columns = pst_engine_activations(s->e) == PST_ACT_Q16 ? 2 : 1,
		.weights_bytes = measured_bytes(s, cache_bytes),
	};
	int rc;

	for (uint32_t l = 0; l < m->hp.n_layers; l++) {
		want_layer(s, &m->layers[l]);
		args.head = PST_MAX(args.head, m->hp.layer[l].hd_v);
	}
	want(s, &m->output, 1);
	rc = pst_compute_rate_measure(&args, s->shapes, s->nr_shapes, &s->rate);
	if (rc)
		return pst_diag_set(diag, rc,
				    "no memory to measure the cores with");
	s->layers = pst_calloc(m->hp.n_layers, sizeof(*s->layers));
	if (!s->layers)
		return -ENOMEM;
	for (uint32_t l = 0; l < m->hp.n_layers; l++)
		fill_layer(s, l, &s->layers[l]);
	s->rest_s = weight_s(s, &m->output, 1);
	return 0;
}

int pst_speed_create(const char *path, const struct pst_engine_opts *opts,
		     struct pst_speed **out, struct pst_diag *diag)
{
	struct pst_speed *s = calloc(1, sizeof(*s));
	struct pst_topo topo = { .nr_cores = 1 };
	int rc;

	if (!s)
		return -ENOMEM;
	s->e = calloc(1, sizeof(*s->e));
	if (!s->e) {
		free(s);
		return -ENOMEM;
	}
	s->e->opts = *opts;
	rc = pst_engine_open_files(s->e, path, diag);
	/* What cannot be read is one core with caches of an unknown size. */
	pst_topo_read(&topo);
	if (!rc)
		rc = pst_pool_create(opts->threads ? opts->threads
						   : topo.nr_cores,
				     !opts->no_pin, &s->e->pool);
	if (!rc)
		rc = measure(s, topo.cache_bytes, diag);
	if (rc) {
		pst_speed_destroy(s);
		return rc;
	}
	*out = s;
	return 0;
}

void pst_speed_destroy(struct pst_speed *s)
{
	if (!s)
		return;
	pst_engine_close(s->e);
	free(s->layers);
	free(s);
}

/* Keys and values of the tokens before, read once for each layer, and every head's
 * products with them: the longer of the two.
 */
static double context_s(const struct pst_speed *s, uint32_t layer,
			uint32_t depth)
{
	const struct pst_hparams *hp = &s->e->model->hp;
	double bytes = (double)pst_kv_read_bytes(hp, pst_engine_kv_type(s->e),
						 layer, depth);
	double macs = (double)pst_kv_read_macs(hp, layer, depth);

	return PST_MAX(macs * s->rate.attend_s,
		       s->rate.mem_bps > 0.0 ? bytes / s->rate.mem_bps : 0.0);
}

struct pst_cost pst_speed_predict(const struct pst_speed *s, double miss_rate,
				  uint32_t nr_used, uint32_t depth,
				  const struct pst_cost_machine *m)
{
	struct pst_cost_machine machine = *m;
	struct pst_cost sum = { .compute_s = s->rest_s, .total_s = s->rest_s };

	machine.latency_s += s->rate.wake_s;
	for (uint32_t l = 0; l < s->e->model->hp.n_layers; l++) {
		struct pst_cost_layer c = s->layers[l];
		struct pst_cost_token one = { .layers = &c, .nr_layers = 1 };
		struct pst_cost got;

		c.head_s += context_s(s, l, depth);
		c.miss_rate = miss_rate;
		if (c.nr_used && nr_used && nr_used < c.nr_used) {
			c.experts_s *= (double)nr_used / c.nr_used;
			c.nr_used = nr_used;
		}
		got = pst_cost_predict(&one, &machine);
		sum.compute_s += got.compute_s;
		sum.drive_s += got.drive_s;
		sum.total_s += got.total_s;
	}
	return sum;
}

double pst_speed_mem_bps(const struct pst_speed *s)
{
	return s->rate.mem_bps;
}
