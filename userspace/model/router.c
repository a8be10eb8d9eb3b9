// SPDX-License-Identifier: MIT
/*
 * The router: which experts a token takes and with what weights.
 *
 * Logits become probabilities; the choice is made by these, with a bias that
 * does not enter the weights and within the best groups where the family has
 * such (DeepSeek-V3 report, section 2.1.2); ties: lower index first.  The
 * weights are the chosen ones' probabilities, optionally renormalised, scaled.
 * Where experts follow from the token alone the choice is looked up.
 */
#include <math.h>
#include <string.h>

#include "fwd_priv.h"

/* The smallest sum that renormalisation divides by: 2^-14. */
#define MIN_WEIGHT_SUM 6.103515625e-5f

/* A group has two experts at least. */
#define MAX_GROUPS (PST_MAX_EXPERTS / 2)

/* Insertion into a short sorted list: k is at most a few dozen. */
void pst_top_k(const float *p, uint32_t n, uint32_t k, uint32_t *sel)
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

/* e^x of each over their sum, of the chosen logits. */
static void softmax_chosen(const float *logits, const uint32_t *sel, uint32_t k,
			   float *w)
{
	double sum = 0.0;

	for (uint32_t r = 0; r < k; r++)
		sum += exp((double)logits[sel[r]] - (double)logits[sel[0]]);
	for (uint32_t r = 0; r < k; r++)
		w[r] = (float)(exp((double)logits[sel[r]] -
				   (double)logits[sel[0]]) /
			       sum);
}

/* Logits further than this from the best, by the larger of both, have no part
 * in a weight.
 */
#define MIXER_REACH 0.02f

/*
 * Phi-3.5-MoE (GRIN, Liu et al. 2024, section 2): each rank's weight is a
 * softmax over the logits close to the best that is left, those chosen before
 * left out.
 */
static void sparsemixer(const float *logits, uint32_t n, const uint32_t *sel,
			uint32_t k, float *w)
{
	for (uint32_t r = 0; r < k; r++) {
		float best = logits[sel[r]];
		double sum = 0.0;

		for (uint32_t e = 0; e < n; e++) {
			float x = logits[e];
			bool gone = false;

			for (uint32_t i = 0; i < r; i++)
				gone |= sel[i] == e;
			if (!gone &&
			    !((best - x) / fmaxf(fabsf(x), best) > MIXER_REACH))
				sum += exp((double)x - (double)best);
		}
		w[r] = (float)(1.0 / sum);
	}
}

static void weigh(const struct pst_hparams *hp, const float *p,
		  const uint32_t *sel, float *w)
{
	const struct pst_router_hp *rp = &hp->router;
	float sum = 0.0f;

	if (rp->gating == PST_GATING_SOFTMAX_CHOSEN)
		softmax_chosen(p, sel, hp->n_expert_used, w);
	else if (rp->gating == PST_GATING_SPARSEMIXER)
		sparsemixer(p, hp->n_expert, sel, hp->n_expert_used, w);
	else
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			w[r] = p[sel[r]];
	for (uint32_t r = 0; r < hp->n_expert_used; r++)
		sum += w[r];
	if (rp->norm)
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			w[r] /= fmaxf(sum, MIN_WEIGHT_SUM);
	if (rp->scale != 1.0f)
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			w[r] *= rp->scale;
}

/* Logits to what is chosen by, in place. */
static void score(const struct pst_fwd *f, float *p, uint32_t n)
{
	switch (f->m->hp.router.gating) {
	case PST_GATING_SOFTMAX:
		f->k->softmax(p, n);
		break;
	case PST_GATING_SIGMOID:
		for (uint32_t e = 0; e < n; e++)
			p[e] = (float)(1.0 / (1.0 + exp(-(double)p[e])));
		break;
	case PST_GATING_SOFTMAX_CHOSEN:
	case PST_GATING_SPARSEMIXER:
		break;
	case PST_GATING_SQRT_SOFTPLUS:
		for (uint32_t e = 0; e < n; e++) {
			double x = p[e];

			/* log(1 + e^x), without the overflow. */
			p[e] = (float)sqrt(fmax(x, 0.0) + log1p(exp(-fabs(x))));
		}
		break;
	}
}

/* Sum of a group's two best. */
static float group_score(const float *s, uint32_t n)
{
	uint32_t best[2];

	pst_top_k(s, n, 2, best);
	return s[best[0]] + s[best[1]];
}

/* The experts of all but the best groups are out of the choice. */
static void mask_groups(const struct pst_hparams *hp, float *s)
{
	uint32_t nr = hp->router.n_group, size = hp->n_expert / nr;
	uint32_t keep[MAX_GROUPS];
	float scores[MAX_GROUPS] = { 0 };

	for (uint32_t g = 0; g < nr; g++)
		scores[g] = group_score(s + (size_t)g * size, size);
	pst_top_k(scores, nr, hp->router.n_group_used, keep);
	for (uint32_t g = 0; g < nr; g++) {
		bool kept = false;

		for (uint32_t i = 0; i < hp->router.n_group_used; i++)
			kept |= keep[i] == g;
		for (uint32_t e = g * size; !kept && e < (g + 1) * size; e++)
			s[e] = -INFINITY;
	}
}

void pst_router_scores(const struct pst_fwd *f, const float *bias, float *p,
		       float *s)
{
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_router_hp *rp = &hp->router;

	for (uint32_t e = 0; rp->logit_scale != 0.0f && e < hp->n_expert; e++)
		p[e] *= rp->logit_scale;
	/* A sigmoid that is 1 for several logits would make ties of them. */
	if (rp->by_logits)
		memcpy(s, p, hp->n_expert * sizeof(*s));
	score(f, p, hp->n_expert);
	if (!rp->by_logits)
		memcpy(s, p, hp->n_expert * sizeof(*s));
	if (bias)
		f->k->add(s, bias, hp->n_expert);
	if (hp->router.n_group > 1)
		mask_groups(hp, s);
}

struct route_job {
	struct pst_fwd *f;
	const float *bias;
	const uint8_t *by_token;
};

void pst_moe_by_token(const struct pst_fwd *f, const uint8_t *by_token,
		      int32_t token, uint32_t *sel)
{
	size_t bytes = f->m->hp.n_expert_used * sizeof(*sel);

	memcpy(sel, by_token + (size_t)token * bytes, bytes);
}

static void route_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct route_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	float *p = f->router + (size_t)t * hp->n_expert;
	float *s = f->choice + (size_t)t * hp->n_expert;
	size_t at = (size_t)t * hp->n_expert_used;

	(void)worker;
	pst_router_scores(f, j->bias, p, s);
	if (j->by_token)
		pst_moe_by_token(f, j->by_token, f->tokens[t], f->sel + at);
	else
		pst_top_k(s, hp->n_expert, hp->n_expert_used, f->sel + at);
	weigh(hp, p, f->sel + at, f->sel_w + at);
}

void pst_router(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	const struct pst_moe *m = &f->m->layers[layer].moe;
	struct route_job j = { .f = f,
			       .bias = m->choice_bias,
			       .by_token = m->by_token };
	struct lin_item item = { .w = &m->router,
				 .x = m->router_norm ? &f->xe.k : &f->xn.k,
				 .nr_x = n,
				 .y = f->router,
				 .y_stride = f->m->hp.n_expert };

	pst_linear(f, &item, 1);
	pst_pool_run(f->pool, route_chunk, &j, n);
}
