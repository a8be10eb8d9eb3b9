// SPDX-License-Identifier: MIT
/*
 * What surrounds the halves of a block: the norm before, and the sum into the
 * residual stream after, with the norm that a family puts in front of it; the
 * scale of the stream after a block.  And the plain kind of residual stream,
 * which is a sum.
 */
#include "fwd_priv.h"

const struct pst_residual *pst_residual_of(const struct pst_arch *arch)
{
	return arch->residual ? arch->residual : &pst_residual_sum;
}

void pst_half_enter(struct pst_fwd *f, uint32_t layer, enum pst_half half,
		    uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct pst_read at = { .layer = layer, .half = half, .nr = n };
	/* The quantised form costs next to nothing beside a product: it is
	 * made whenever some matrix could ask for it.
	 */
	bool q8 = f->m->hp.n_embd % PST_K_QBLOCK == 0;

	f->in = f->residual->read(f, &at);
	pst_norm_quantize(f, f->in,
			  half == PST_HALF_MIXER ? l->attn_norm : l->ffn_norm,
			  &f->xn, n, q8);
}

struct leave_job {
	struct pst_fwd *f;
	struct pst_norm post_norm;
};

static void leave_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct leave_job *j = ctx;
	struct pst_fwd *f = j->f;
	float *y = f->tmp + (size_t)t * f->m->hp.n_embd;
	float *x = f->x + (size_t)t * f->x_width;
	bool behind = f->m->arch->norms_behind;

	(void)worker;
	if (j->post_norm.w && !behind)
		pst_norm_row(f, y, y, &j->post_norm);
	f->residual->add(f, t, y);
	if (j->post_norm.w && behind)
		pst_norm_row(f, x, x, &j->post_norm);
}

void pst_add_normed(struct pst_fwd *f, struct pst_norm norm, uint32_t n)
{
	struct leave_job j = { .f = f, .post_norm = norm };

	pst_pool_run(f->pool, leave_chunk, &j, n);
}

void pst_half_leave(struct pst_fwd *f, uint32_t layer, enum pst_half half,
		    uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];

	pst_add_normed(f,
		       half == PST_HALF_MIXER ? l->attn_post_norm
					      : l->ffn_post_norm,
		       n);
}

struct scale_job {
	struct pst_fwd *f;
	float scale;
};

static void scale_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	struct scale_job *j = ctx;
	uint32_t n = j->f->x_width;
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

static uint32_t sum_width(const struct pst_hparams *hp)
{
	return hp->n_embd;
}

/* The embedding is the first summand. */
static void sum_start(struct pst_fwd *f, uint32_t t)
{
	(void)f;
	(void)t;
}

static const float *sum_read(struct pst_fwd *f, const struct pst_read *r)
{
	return f->x + (size_t)r->first * f->m->hp.n_embd;
}

static void sum_add(struct pst_fwd *f, uint32_t t, const float *y)
{
	const struct pst_hparams *hp = &f->m->hp;
	float *x = f->x + (size_t)t * hp->n_embd;

	if (hp->residual_scale != 1.0f)
		f->k->axpy(x, hp->residual_scale, y, hp->n_embd);
	else
		f->k->add(x, y, hp->n_embd);
}

const struct pst_residual pst_residual_sum = {
	.name = "sum",
	.width = sum_width,
	.start = sum_start,
	.read = sum_read,
	.add = sum_add,
};
