// SPDX-License-Identifier: MIT
/*
 * What surrounds the halves of a block: the norm before, and the sum into the
 * residual stream after, with the norm and the scale that a family puts in
 * front of it; and the scale of the stream after a block.
 */
#include "fwd_priv.h"

void pst_half_enter(struct pst_fwd *f, const float *norm, uint32_t n)
{
	/* The quantised form costs next to nothing beside a product: it is
	 * made whenever some matrix could ask for it.
	 */
	bool q8 = f->m->hp.n_embd % PST_K_QBLOCK == 0;

	pst_norm_quantize(f, f->x, norm, &f->xn, n, q8);
}

struct leave_job {
	struct pst_fwd *f;
	const float *post_norm;
};

static void leave_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct leave_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	float *y = f->tmp + (size_t)t * hp->n_embd;
	float *x = f->x + (size_t)t * hp->n_embd;

	(void)worker;
	if (j->post_norm)
		f->k->rms_norm(y, y, j->post_norm, hp->n_embd, hp->eps);
	if (hp->residual_scale != 1.0f)
		f->k->axpy(x, hp->residual_scale, y, hp->n_embd);
	else
		f->k->add(x, y, hp->n_embd);
}

void pst_half_leave(struct pst_fwd *f, const float *post_norm, uint32_t n)
{
	struct leave_job j = { .f = f, .post_norm = post_norm };

	pst_pool_run(f->pool, leave_chunk, &j, n);
}

struct scale_job {
	struct pst_fwd *f;
	float scale;
};

static void scale_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct scale_job *j = ctx;
	uint32_t n = j->f->m->hp.n_embd;
	float *x = j->f->x + (size_t)t * n;

	(void)worker;
	for (uint32_t i = 0; i < n; i++)
		x[i] *= j->scale;
}

void pst_block_leave(struct pst_fwd *f, float scale, uint32_t n)
{
	struct scale_job j = { .f = f, .scale = scale };

	pst_pool_run(f->pool, scale_chunk, &j, n);
}
