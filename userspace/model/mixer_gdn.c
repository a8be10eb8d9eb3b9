// SPDX-License-Identifier: MIT
/*
 * Gated delta net (Yang et al. 2024), as Qwen3-Next has it: a head forgets as a
 * whole, by exp(a softplus(decay + dt)), and silu of a gate multiplies its
 * normed output.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "delta.h"

/* Two layouts of what makes queries, keys, values and gate: the second is by
 * key heads, in one matrix.
 */
static void bind_inputs(struct pst_binder *b, const struct pst_delta_hp *p,
			struct pst_delta *w)
{
	struct pst_weight *const all[] = { &w->wq, &w->wk, &w->wv };
	uint32_t n = b->m->hp.n_embd, nr_v = p->n_v * p->hd_v;

	if (!pst_bind_has(b, "attn_qkv.weight") &&
	    pst_bind_has(b, "ssm_in.weight")) {
		pst_bind_mat(b, "ssm_in", n, delta_channels(p) + nr_v,
			     &w->w_in);
		return;
	}
	w->wq.n_out = p->n_k * p->hd_k;
	w->wk.n_out = w->wq.n_out;
	w->wv.n_out = nr_v;
	pst_bind_split(b, "attn_qkv", n, all, 3);
	pst_bind_mat(b, "attn_gate", n, nr_v, &w->wz);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_delta_hp *p = &b->m->hp.delta;
	uint32_t n = b->m->hp.n_embd;
	struct pst_delta *w = &l->delta;

	bind_inputs(b, p, w);
	if (p->tiled) {
		pst_bind_mat(b, "ssm_beta", n, p->n_v, &w->wb);
		pst_bind_mat(b, "ssm_alpha", n, p->n_v, &w->wa);
	} else {
		pst_bind_mat(b, "ssm_ba", n, 2 * p->n_v, &w->wb);
	}
	pst_bind_array(b, "ssm_conv1d.weight", p->taps, delta_channels(p),
		       &w->conv[0]);
	pst_bind_array(b, "ssm_a", p->n_v, 1, &w->a);
	pst_bind_array(b, "ssm_dt.bias", p->n_v, 1, &w->dt);
	pst_bind_vec(b, "ssm_norm.weight", p->hd_v, true, &w->norm);
	pst_bind_mat(b, "ssm_out", p->n_v * p->hd_v, n, &w->wo);
}

/* A row by key heads to the order of all else. */
static void sort_inputs(const struct delta_job *j, uint32_t t)
{
	const struct pst_delta_hp *p = j->p;
	uint32_t nr_v = p->n_v / p->n_k * p->hd_v;
	const float *in = j->s.in + (size_t)t * j->w->w_in.n_out;
	float *row = j->s.rows + (size_t)(t + p->taps - 1) * delta_channels(p);
	float *z = j->s.z + (size_t)t * p->n_v * p->hd_v;
	size_t nr_q = (size_t)p->n_k * p->hd_k;

	for (uint32_t g = 0; g < p->n_k; g++) {
		memcpy(row + (size_t)g * p->hd_k, in, p->hd_k * sizeof(*in));
		in += p->hd_k;
		memcpy(row + nr_q + (size_t)g * p->hd_k, in,
		       p->hd_k * sizeof(*in));
		in += p->hd_k;
		memcpy(row + 2 * nr_q + (size_t)g * nr_v, in,
		       nr_v * sizeof(*in));
		in += nr_v;
		memcpy(z + (size_t)g * nr_v, in, nr_v * sizeof(*in));
		in += nr_v;
	}
}

/* Beta and decay by key heads: the first n_v numbers become beta. */
static void sort_beta(const struct delta_job *j, float *beta, float *decay)
{
	uint32_t group = j->p->n_v / j->p->n_k;

	for (uint32_t h = 0; h < j->p->n_v; h++) {
		uint32_t at = h / group * 2 * group + h % group;

		decay[h] = beta[at + group];
		/* Never moves to the right of what is still to be read. */
		beta[h] = beta[at];
	}
}

static void prepare(const struct delta_job *j, uint32_t t)
{
	uint32_t n_v = j->p->n_v;
	float *beta = j->s.beta + (size_t)t * j->w->wb.n_out;
	float *decay = j->s.decay + (size_t)t * n_v;

	if (j->w->w_in.n_out)
		sort_inputs(j, t);
	if (!j->w->wa.n_out)
		sort_beta(j, beta, decay);
	for (uint32_t h = 0; h < n_v; h++) {
		float x = decay[h] + j->w->dt[h];

		decay[h] = expf(j->w->a[h] * pst_delta_softplus(x));
		beta[h] = pst_delta_sigmoid(beta[h]);
	}
}

static const struct delta_kind kind = {
	.one_conv = true,
	.silu_gate = true,
	.prepare = prepare,
};

static void run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		uint32_t layer)
{
	pst_delta_run(&kind, f, pass, layer);
}

const struct pst_mixer pst_mixer_gdn = {
	.name = "gated delta net",
	.bind = bind,
	.shape = pst_delta_shape,
	.work_bytes = pst_delta_work_bytes,
	.run = run,
};
