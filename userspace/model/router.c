// SPDX-License-Identifier: MIT
/*
 * The router: which experts a token takes and with what weights.
 *
 * Softmax over all experts, the top k by probability (ties: lower index
 * first), weights optionally renormalised and scaled (Shazeer et al. 2017;
 * the variants of Mixtral, Qwen3 and OLMoE).
 */
#include <math.h>

#include "fwd_priv.h"

/* The smallest sum that renormalisation divides by: 2^-14. */
#define MIN_WEIGHT_SUM 6.103515625e-5f

/* Insertion into a short sorted list: k is at most a few dozen. */
static void top_k(const float *p, uint32_t n, uint32_t k, uint32_t *sel)
{
	uint32_t have = 0;

	for (uint32_t e = 0; e < n; e++) {
		uint32_t at;

		/* NaN compares false and so never displaces a number. */
		if (have == k && !(p[e] > p[sel[k - 1]]))
			continue;
		at = have < k ? have++ : k - 1;
		while (at && p[e] > p[sel[at - 1]]) {
			sel[at] = sel[at - 1];
			at--;
		}
		sel[at] = e;
	}
}

static void weigh(const struct pst_hparams *hp, const float *p,
		  const uint32_t *sel, float *w)
{
	float sum = 0.0f;

	for (uint32_t r = 0; r < hp->n_expert_used; r++) {
		w[r] = p[sel[r]];
		sum += w[r];
	}
	if (hp->norm_topk)
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			w[r] /= fmaxf(sum, MIN_WEIGHT_SUM);
	if (hp->w_scale != 1.0f)
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			w[r] *= hp->w_scale;
}

static void route_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	struct pst_fwd *f = ctx;
	const struct pst_hparams *hp = &f->m->hp;
	float *p = f->router + (size_t)t * hp->n_expert;
	size_t at = (size_t)t * hp->n_expert_used;

	(void)worker;
	f->k->softmax(p, hp->n_expert);
	top_k(p, hp->n_expert, hp->n_expert_used, f->sel + at);
	weigh(hp, p, f->sel + at, f->sel_w + at);
}

void pst_router(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct lin_item item = { .w = &l->router,
				 .x = &f->xn.k,
				 .nr_x = n,
				 .y = f->router,
				 .y_stride = f->m->hp.n_expert };

	pst_linear(f, &item, 1);
	pst_pool_run(f->pool, route_chunk, f, n);
}
