// SPDX-License-Identifier: MIT
/*
 * Kimi delta attention (Kimi Linear, 2025): each channel of a key forgets by
 * itself, and a sigmoid multiplies the normed output.
 */
#include <math.h>
#include <stdio.h>

#include "delta.h"

/* A matrix, or two with few numbers between them. */
static void bind_narrow(struct pst_binder *b, const char *name, uint32_t rank,
			struct pst_weight *first, struct pst_weight *second)
{
	const struct pst_delta_hp *p = &b->m->hp.delta;
	uint32_t n = b->m->hp.n_embd, n_out = p->n_v * p->hd_v;
	char full[32];

	if (!rank) {
		pst_bind_mat(b, name, n, n_out, second);
		return;
	}
	snprintf(full, sizeof(full), "%s_a", name);
	pst_bind_mat(b, full, n, rank, first);
	snprintf(full, sizeof(full), "%s_b", name);
	pst_bind_mat(b, full, rank, n_out, second);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	static const char *const convs[] = { "ssm_conv1d_q.weight",
					     "ssm_conv1d_k.weight",
					     "ssm_conv1d_v.weight" };
	const struct pst_delta_hp *p = &b->m->hp.delta;
	uint32_t n = b->m->hp.n_embd, width = p->n_v * p->hd_v;
	struct pst_delta *w = &l->delta;

	pst_bind_mat(b, "attn_q", n, width, &w->wq);
	pst_bind_mat(b, "attn_k", n, width, &w->wk);
	pst_bind_mat(b, "attn_v", n, width, &w->wv);
	for (int i = 0; i < 3; i++)
		pst_bind_array(b, convs[i], p->taps, width, &w->conv[i]);
	bind_narrow(b, "ssm_f", p->decay_rank, &w->wa_a, &w->wa);
	bind_narrow(b, "ssm_g", p->gate_rank, &w->wz_a, &w->wz);
	pst_bind_mat(b, "ssm_beta", n, p->n_v, &w->wb);
	pst_bind_array(b, "ssm_a", p->n_v, 1, &w->a);
	pst_bind_array(b, "ssm_dt.bias", width, 1, &w->dt);
	pst_bind_vec(b, "ssm_norm.weight", p->hd_v, true, &w->norm);
	pst_bind_mat(b, "attn_output", width, n, &w->wo);
}

/* Logarithm of a channel's decay. */
static float log_decay(const struct pst_delta_hp *p, float a, float x)
{
	return p->decay_bound != 0.0f
		       ? p->decay_bound * pst_delta_sigmoid(-a * x)
		       : a * pst_delta_softplus(x);
}

/* A factor for each channel takes its time: by heads, which are dealt out. */
static void prepare_head(const struct delta_job *j, uint32_t head)
{
	const struct pst_delta_hp *p = j->p;
	size_t at = (size_t)head * p->hd_k;

	for (uint32_t t = 0; t < j->n; t++) {
		float *decay = j->s.decay + (size_t)t * p->n_v * p->hd_k + at;
		float *beta = j->s.beta + (size_t)t * p->n_v + head;

		for (uint32_t i = 0; i < p->hd_k; i++)
			decay[i] = expf(log_decay(p, j->w->a[head],
						  decay[i] + j->w->dt[at + i]));
		*beta = pst_delta_sigmoid(*beta);
	}
}

static const struct delta_kind kind = {
	.by_channel = true,
	.prepare_head = prepare_head,
};

static void run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		uint32_t layer)
{
	pst_delta_run(&kind, f, pass, layer);
}

const struct pst_mixer pst_mixer_kda = {
	.name = "Kimi delta attention",
	.bind = bind,
	.shape = pst_delta_shape,
	.work_bytes = pst_delta_work_bytes,
	.run = run,
};
