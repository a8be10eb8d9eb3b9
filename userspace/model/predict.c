// SPDX-License-Identifier: MIT
/*
 * Which experts the next blocks will want: their own routers, run on the
 * present state of the residual stream, and behind these what past tokens took
 * that were like the present one.
 *
 * A block adds little to the stream, so the next router, one block early,
 * ranks mostly as it will.  How far a guess can be trusted is learned while
 * running, for each block, by the distance of its score from the last one that
 * would be chosen, or by the share of like tokens.  Predictions move reads in time; no result depends on them.
 *
 * Where experts follow from the token alone there is nothing to guess: they are
 * told to the store as soon as the tokens are known, before the first block.
 */
#include <math.h>
#include <string.h>

#include "fwd_priv.h"

/* Experts past the chosen ones that are worth a thought. */
#define EXTRA_RANKS 4
/* What is absent and guessed is read ahead if it is right more often than not:
 * a right guess saves the time of a read, a wrong one costs at most as much.
 */
#define MIN_CHANCE 0.5f
/* Such a guess may be on its way beside another. */
#define SURE_CHANCE 0.9f
/* Guesses that a block's own record must outweigh, and that it remembers. */
#define FEW_GUESSES  8.0f
#define MOST_GUESSES 4096
/* Bucket of an expert that is in memory: it teaches nothing about reads. */
#define BUCKET_RESIDENT UINT8_MAX
/* Buckets of the margin, in shares of the usual spread; the middle starts at 0. */
#define BUCKETS_PER_SPREAD 8.0f
#define BUCKET_ZERO	   (PREDICT_MARGINS / 2)
/* Weight of a new token in the spread's mean. */
#define SPREAD_WEIGHT 0.02f

static bool is_forced(const struct pst_fwd *f)
{
	return f->observer && f->observer->foresee;
}

static bool is_in(const uint32_t *ids, uint32_t nr, uint32_t id)
{
	for (uint32_t i = 0; i < nr; i++)
		if (ids[i] == id)
			return true;
	return false;
}

static uint32_t bucket_of(const struct predict *p, float margin)
{
	float b = floorf(margin / p->spread * BUCKETS_PER_SPREAD) + BUCKET_ZERO;

	/* Also for a margin that is not a number. */
	if (!(b > 0.0f))
		return 0;
	return b < PREDICT_MARGINS - 1 ? (uint32_t)b : PREDICT_MARGINS - 1;
}

static uint32_t bucket_of_share(float share)
{
	/* Also for a share that is not a number. */
	if (!(share < 1.0f))
		return PREDICT_BUCKETS - 1;
	return PREDICT_MARGINS + (uint32_t)(share * PREDICT_SHARES);
}

/* Rule of succession: before anything is known, one in two is right; a block is
 * taken for an average one until it has shown more than a few guesses.
 */
static float chance_of(const struct predict *p, uint32_t layer, uint32_t bucket)
{
	const struct predict_trust *own = &p->block[layer];
	float usual = ((float)p->all.right[bucket] + 1.0f) /
		      ((float)p->all.tried[bucket] + 2.0f);

	return ((float)own->right[bucket] + FEW_GUESSES * usual) /
	       ((float)own->tried[bucket] + FEW_GUESSES);
}

static void learn(struct predict_trust *t, uint32_t bucket, bool right)
{
	/* So that it neither overflows nor stands still. */
	if (t->tried[bucket] == MOST_GUESSES) {
		t->tried[bucket] /= 2;
		t->right[bucket] /= 2;
	}
	t->tried[bucket]++;
	t->right[bucket] += right;
}

/* Between the last one that would be chosen and the first that would not. */
static float cut_of(const struct predict *p, const uint32_t *rank, uint32_t k,
		    uint32_t most)
{
	float last = p->scores[rank[k - 1]];
	float next = most > k ? p->scores[rank[k]] : last;

	return isfinite(next) ? 0.5f * (last + next) : last;
}

static void learn_spread(struct predict *p, float spread)
{
	if (!(spread > 0.0f) || !isfinite(spread))
		return;
	p->spread += (p->spread > 0.0f ? SPREAD_WEIGHT : 1.0f) *
		     (spread - p->spread);
}

/* Of what was said: what is guarded (resident) or worth a read (absent). */
static uint32_t trusted(struct pst_fwd *f, struct predict_said *said)
{
	struct predict *p = &f->predict;
	uint32_t nr = 0;
	bool sure = true;

	p->nr_sure = 0;
	for (uint32_t r = 0; r < said->nr; r++) {
		uint32_t id = said->ids[r];
		bool there = pst_store_has(f->store, said->layer, id);
		float chance = chance_of(p, said->layer, said->bucket[r]);

		sure &= there || chance >= SURE_CHANCE;
		said->trusted[r] = chance >= MIN_CHANCE;
		if (there || said->trusted[r])
			p->ids[nr++] = id;
		if (sure)
			p->nr_sure = nr;
		if (there)
			said->bucket[r] = BUCKET_RESIDENT;
	}
	return nr;
}

/* One token: the next router's top ranks, with the trust each has earned. */
static uint32_t guess_token(struct pst_fwd *f, const float *bias,
			    struct predict_said *said)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct predict *p = &f->predict;
	uint32_t k = hp->n_expert_used;
	uint32_t most = PST_MIN(hp->n_expert, k + EXTRA_RANKS);
	float cut;

	pst_router_scores(f, bias, p->logits, p->scores);
	pst_top_k(p->scores, hp->n_expert, most, said->ids);
	cut = cut_of(p, said->ids, k, most);
	learn_spread(p, p->scores[said->ids[0]] - cut);
	said->nr = said->nr_router = most;
	for (uint32_t r = 0; r < most; r++)
		said->bucket[r] =
			(uint8_t)bucket_of(p, p->scores[said->ids[r]] - cut);
	return trusted(f, said);
}

/* Where the choice is forced, its guess is too. */
static uint32_t foreseen(struct pst_fwd *f, struct predict_said *said)
{
	struct pst_route_choice c = { .layer = said->layer,
				      .first_pos = f->w.first_pos,
				      .nr_tokens = 1,
				      .nr_used = f->m->hp.n_expert_used,
				      .nr_experts = f->m->hp.n_expert,
				      .ids = said->ids };

	said->nr = said->nr_router = f->observer->foresee(f->observer->ctx, &c);
	memset(said->bucket, PREDICT_MARGINS - 1, said->nr);
	return trusted(f, said);
}

/* What past tokens took that were like this one, behind @nr that are to be read.
 * What is in memory the policy keeps for the same reason.
 */
static uint32_t recalled(struct pst_fwd *f, struct predict_said *said,
			 uint32_t nr)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct predict *p = &f->predict;
	uint32_t most = PST_MIN(hp->n_expert, hp->n_expert_used + EXTRA_RANKS);

	if (!pst_store_likely(f->store, said->layer, p->logits))
		return nr;
	pst_top_k(p->logits, hp->n_expert, most, p->rank);
	for (uint32_t r = 0; r < most; r++) {
		uint32_t id = p->rank[r], b = bucket_of_share(p->logits[id]);

		if (pst_store_has(f->store, said->layer, id) ||
		    is_in(said->ids, said->nr, id))
			continue;
		said->trusted[said->nr] = chance_of(p, said->layer, b) >=
					  MIN_CHANCE;
		if (said->trusted[said->nr])
			p->ids[nr++] = id;
		said->bucket[said->nr] = (uint8_t)b;
		said->ids[said->nr++] = id;
	}
	return nr;
}

/* Several tokens: whatever one of them would take, in file order. */
static uint32_t guess_union(struct pst_fwd *f)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t nr = 0;

	for (uint32_t e = 0; e < hp->n_expert; e++)
		if (f->predict.taken[e])
			f->predict.ids[nr++] = e;
	f->predict.nr_sure = nr;
	return nr;
}

static uint32_t guess_all(struct pst_fwd *f)
{
	uint32_t nr = f->m->hp.n_expert;

	for (uint32_t e = 0; e < nr; e++)
		f->predict.ids[e] = e;
	f->predict.nr_sure = nr;
	return nr;
}

/* The experts of all tokens of a block that goes by token, in file order. */
static uint32_t known(struct pst_fwd *f, const uint8_t *by_token, uint32_t n)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct predict *p = &f->predict;

	memset(p->taken, 0, hp->n_expert * sizeof(*p->taken));
	for (uint32_t t = 0; t < n; t++) {
		pst_moe_by_token(f, by_token, f->tokens[t], p->rank);
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			p->taken[p->rank[r]] = true;
	}
	return guess_union(f);
}

/* A choice that is forced may be another one. */
static bool is_known(const struct pst_fwd *f, uint32_t layer)
{
	return f->m->layers[layer].moe.by_token && !is_forced(f);
}

void pst_predict_known(struct pst_fwd *f, uint32_t n)
{
	if (!f->store || !f->predict.known || !pst_store_can_prefetch(f->store))
		return;
	for (uint32_t l = 0; l < f->m->hp.n_layers; l++) {
		uint32_t nr;

		if (!is_known(f, l))
			continue;
		nr = known(f, f->m->layers[l].moe.by_token, n);
		pst_store_prefetch(f->store, l, f->predict.ids, nr, nr);
	}
}

static void run_router(struct pst_fwd *f, uint32_t layer, uint32_t first,
		       uint32_t nr)
{
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_layer *l = &f->m->layers[layer];
	struct lin_item item = { .w = &l->moe.router,
				 .x = &f->out.k,
				 .nr_x = nr,
				 .y = f->predict.logits,
				 .y_stride = hp->n_expert };
	struct pst_read at = { .layer = layer,
			       .half = PST_HALF_FFN,
			       .first = first,
			       .nr = nr,
			       .aside = true };

	pst_norm_quantize(f, f->residual->read(f, &at),
			  l->moe.router_norm
				  ? (struct pst_norm){ .w = l->moe.router_norm }
				  : l->ffn_norm,
			  &f->out, nr, pst_needs_q8(f, &l->moe.router));
	pst_linear(f, &item, 1);
}

/* One token. */
static uint32_t guess_one(struct pst_fwd *f, uint32_t layer,
			  struct predict_said *said)
{
	uint32_t nr;

	said->layer = layer;
	if (is_forced(f)) {
		nr = foreseen(f, said);
		return said->nr ? nr : recalled(f, said, nr);
	}
	run_router(f, layer, 0, 1);
	nr = guess_token(f, f->m->layers[layer].moe.choice_bias, said);
	return recalled(f, said, nr);
}

static void mark_taken(struct pst_fwd *f, const float *bias, uint32_t nr)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct predict *p = &f->predict;

	for (uint32_t i = 0; i < nr; i++) {
		pst_router_scores(f, bias, p->logits + (size_t)i * hp->n_expert,
				  p->scores);
		pst_top_k(p->scores, hp->n_expert, hp->n_expert_used, p->rank);
		for (uint32_t r = 0; r < hp->n_expert_used; r++)
			p->taken[p->rank[r]] = true;
	}
}

static uint32_t guess(struct pst_fwd *f, uint32_t layer, uint32_t n,
		      struct predict_said *said)
{
	const float *bias = f->m->layers[layer].moe.choice_bias;
	struct predict *p = &f->predict;
	uint32_t nr;

	if (n == 1)
		return guess_one(f, layer, said);
	if (p->whole)
		return guess_all(f);
	/* The router would say what is not taken. */
	if (is_forced(f))
		return 0;
	memset(p->taken, 0, f->m->hp.n_expert * sizeof(*p->taken));
	for (uint32_t t = 0; t < n; t += LOGITS_GROUP) {
		nr = PST_MIN(LOGITS_GROUP, n - t);
		run_router(f, layer, t, nr);
		mark_taken(f, bias, nr);
	}
	return guess_union(f);
}

/* Blocks from @first on. */
static void predict_from(struct pst_fwd *f, uint32_t first, uint32_t n)
{
	uint32_t left = PST_MIN(f->predict.ahead, PREDICT_AHEAD_MAX);

	if (!left || !pst_store_can_prefetch(f->store))
		return;
	for (uint32_t l = first; left && l < f->m->hp.n_layers; l++) {
		uint32_t nr;

		if (!f->m->experts[l].nr_parts || is_known(f, l))
			continue;
		nr = guess(f, l, n, &f->predict.said[l % PREDICT_AHEAD_MAX]);
		pst_store_prefetch(f->store, l, f->predict.ids, nr,
				   f->predict.nr_sure);
		left--;
	}
}

void pst_predict(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	predict_from(f, layer + 1, n);
}

/* Of several tokens, all experts come up in the first block anyway. */
void pst_predict_first(struct pst_fwd *f, uint32_t n)
{
	if (f->store && n == 1)
		predict_from(f, 0, n);
}

/* Did the token whose block has just chosen take it? */
static bool is_chosen(const struct pst_fwd *f, uint32_t id)
{
	return is_in(f->sel, f->n_used, id);
}

/* What was known teaches nothing about guesses. */
static void score_known(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	struct pst_predict_stats *st = &f->predict.stats[layer];
	uint32_t k = f->m->hp.n_expert_used;

	if (n != 1 || !f->predict.known || !pst_store_can_prefetch(f->store))
		return;
	pst_moe_by_token(f, f->m->layers[layer].moe.by_token, f->tokens[0],
			 f->predict.rank);
	st->said += k;
	st->trusted += k;
	st->wanted += f->n_used;
	for (uint32_t r = 0; r < k; r++) {
		bool right = is_chosen(f, f->predict.rank[r]);

		st->right += right;
		st->trusted_right += right;
	}
}

void pst_predict_score(struct pst_fwd *f, uint32_t layer, uint32_t n)
{
	struct predict *p = &f->predict;
	struct predict_said *said = &p->said[layer % PREDICT_AHEAD_MAX];
	struct pst_predict_stats *st = &p->stats[layer];
	uint32_t k = f->m->hp.n_expert_used;

	if (is_known(f, layer)) {
		score_known(f, layer, n);
		return;
	}
	if (n != 1 || said->layer != layer)
		return;
	said->layer = UINT32_MAX;
	st->wanted += f->n_used;
	for (uint32_t r = 0; r < said->nr; r++) {
		uint32_t b = said->bucket[r];
		bool right = is_chosen(f, said->ids[r]);

		st->trusted += said->trusted[r];
		st->trusted_right += said->trusted[r] && right;
		if (b != BUCKET_RESIDENT) {
			learn(&p->all, b, right);
			learn(&p->block[layer], b, right);
		}
		if (r >= PST_MIN(k, said->nr_router))
			continue;
		st->said++;
		st->right += right;
	}
}

void pst_fwd_predict_stats(const struct pst_fwd *f, uint32_t layer,
			   struct pst_predict_stats *out)
{
	*out = f->predict.stats ? f->predict.stats[layer]
				: (struct pst_predict_stats){ 0 };
}
