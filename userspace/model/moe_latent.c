// SPDX-License-Identifier: MIT
/*
 * Experts that work in a narrower space than the residual stream: what they
 * read is projected down once for all of them, what they give together is
 * normed and projected up.  The router and the shared expert stay outside.
 */
#include <string.h>

#include "fwd_priv.h"

void pst_latent_bind(struct pst_binder *b, struct pst_moe *m)
{
	uint32_t n = b->m->hp.n_embd, width = b->m->hp.n_latent;

	if (!width)
		return;
	pst_bind_mat(b, "ffn_routed_down", n, width, &m->narrow);
	pst_bind_mat(b, "ffn_routed_up", width, n, &m->widen);
	pst_bind_vec(b, "ffn_routed_norm.weight", width, false,
		     &m->latent_norm);
}

void pst_latent_narrow(struct pst_fwd *f, const struct pst_layer *l, uint32_t n)
{
	struct lin_item item = { .w = &l->moe.narrow,
				 .x = &f->xn.k,
				 .nr_x = n,
				 .y = f->xe.f32,
				 .y_stride = f->xe.stride };

	if (!l->moe.narrow.n_out)
		return;
	pst_linear(f, &item, 1);
	if (pst_needs_q8(f, &l->gate) || pst_needs_q8(f, &l->up))
		pst_quantize_rows(f, &f->xe, l->moe.narrow.n_out, n);
}

struct latent_job {
	struct pst_fwd *f;
	const struct pst_moe *m;
	bool q8;
};

/* The experts' sum of one token, by rank, where their input was. */
static void sum_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct latent_job *j = ctx;
	struct pst_fwd *f = j->f;
	uint32_t n = j->m->narrow.n_out;
	size_t at = (size_t)t * f->n_used;
	float *y = f->xe.f32 + t * f->xe.stride;

	(void)worker;
	memset(y, 0, n * sizeof(*y));
	for (uint32_t r = 0; r < f->n_used; r++)
		f->k->axpy(y, f->sel_w[at + r],
			   f->contrib + (size_t)f->pair_of[at + r] * n, n);
	if (j->m->latent_norm)
		f->k->rms_norm(y, y, j->m->latent_norm, n, f->m->hp.eps);
	if (j->q8)
		pst_quantize_row(f, &f->xe, t, n);
}

static void add_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct latent_job *j = ctx;
	uint32_t n = j->f->m->hp.n_embd;

	(void)worker;
	j->f->k->add(j->f->tmp + (size_t)t * n, j->f->contrib + (size_t)t * n,
		     n);
}

void pst_latent_widen(struct pst_fwd *f, const struct pst_layer *l, uint32_t n)
{
	struct latent_job j = { .f = f,
				.m = &l->moe,
				.q8 = pst_needs_q8(f, &l->moe.widen) };
	/* What the experts gave is in their sums by then. */
	struct lin_item item = { .w = &l->moe.widen,
				 .x = &f->xe.k,
				 .nr_x = n,
				 .y = f->contrib,
				 .y_stride = f->m->hp.n_embd };

	if (!l->moe.widen.n_out)
		return;
	pst_pool_run(f->pool, sum_chunk, &j, n);
	pst_linear(f, &item, 1);
	pst_pool_run(f->pool, add_chunk, &j, n);
}
