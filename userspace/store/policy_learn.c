// SPDX-License-Identifier: MIT
/*
 * A logistic model over what is known of each expert, trained on every turn.
 *
 * Known are: how often the expert was taken, at four rates of forgetting;
 * whether the last turn took it; and what followed on the tokens of the past
 * that the present one resembles, by the experts it took so far.  One set of
 * weights serves all layers: each turn gives nr_experts examples, so a short
 * prompt is enough to learn from.  Steps are scaled as in AdaGrad (Duchi et
 * al., 2011).  Nothing but the prior and the step is set by hand.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy_learn.h"

/* Turns that each frequency remembers, 2 to 128: a grid of factor four. */
#define NR_RATES 4
/* Features: 1, the rates' logarithms, last turn, neighbours' vote, its log. */
#define F_LAST	    (1 + NR_RATES)
#define F_VOTE	    (F_LAST + 1)
#define F_LOG_VOTE  (F_LAST + 2)
#define NR_FEATURES (F_LAST + 3)
/* A step of a few hundredths: about the inverse of a prompt's turns. */
#define STEP 0.03f
/* Below these, frequencies are not told apart. */
#define LEAST_RATE 0.003f
#define LEAST_VOTE 0.01f
#define USUAL_VOTE 0.05f
/* Tokens that are remembered, a power of two. */
#define NR_PAST 256
/* Resemblance: forgotten by a quarter per layer, counted in e-folds of a third
 * for each expert in common.
 */
#define KEEP	0.75f
#define SHARPEN 0.3f
/* Turns that a rate of an earlier run stands for. */
#define SEED_TURNS 16
/* The rest of a long chunk counts, but is not learned from one by one. */
#define LEARN_TOKENS 64u

struct pst_learn {
	uint32_t nr_layers, nr_experts, nr_words;
	float weight[NR_FEATURES];
	float sum_sq[NR_FEATURES]; /* of gradients */
	float *rate; /* [nr_keys][NR_RATES] */
	float *feature; /* [nr_keys][NR_FEATURES] */
	float *p; /* [nr_keys] */
	uint64_t *nr_turns; /* [nr_layers] tokens routed */
	uint32_t seed_turns; /* that came before the first */
	/* Sets of experts, [NR_PAST][nr_layers][nr_words] */
	uint64_t *past;
	uint64_t *took; /* [nr_words] the turn that was routed last */
	uint32_t layer; /* that turn's */
	float alike[NR_PAST]; /* of the present token to each past one */
	uint64_t token; /* to which alike belongs */
};

static bool has(const uint64_t *set, uint32_t e)
{
	return set[e / 64] >> (e % 64) & 1;
}

static uint64_t *set_of(const struct pst_learn *n, uint64_t token,
			uint32_t layer)
{
	return n->past +
	       ((token % NR_PAST) * n->nr_layers + layer) * n->nr_words;
}

static float predict(const struct pst_learn *n, uint32_t key)
{
	const float *f = n->feature + (size_t)key * NR_FEATURES;
	float sum = 0.0f;

	for (uint32_t i = 0; i < NR_FEATURES; i++)
		sum += n->weight[i] * f[i];
	return 1.0f / (1.0f + expf(-sum));
}

static void set_rates(struct pst_learn *n, uint32_t key, bool last)
{
	float *f = n->feature + (size_t)key * NR_FEATURES;

	f[0] = 1.0f;
	for (uint32_t i = 0; i < NR_RATES; i++)
		f[1 + i] =
			logf(n->rate[(size_t)key * NR_RATES + i] + LEAST_RATE);
	f[F_LAST] = last;
}

void pst_learn_destroy(struct pst_learn *n)
{
	if (!n)
		return;
	free(n->rate);
	free(n->feature);
	free(n->p);
	free(n->nr_turns);
	free(n->past);
	free(n->took);
	free(n);
}

/* The prior: log-odds follow the geometric mean of the frequencies. */
static void set_prior(struct pst_learn *n)
{
	uint32_t nr_keys = n->nr_layers * n->nr_experts;

	for (uint32_t i = 0; i < NR_FEATURES; i++)
		n->sum_sq[i] = 1e-3f;
	for (uint32_t i = 0; i < NR_RATES; i++)
		n->weight[1 + i] = 1.0f / NR_RATES;
	for (uint32_t k = 0; k < nr_keys; k++) {
		set_rates(n, k, false);
		n->p[k] = predict(n, k);
	}
}

struct pst_learn *pst_learn_create(uint32_t nr_layers, uint32_t nr_experts)
{
	uint64_t nr_keys = (uint64_t)nr_layers * nr_experts;
	struct pst_learn *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->nr_layers = nr_layers;
	n->nr_experts = nr_experts;
	n->nr_words = (nr_experts + 63) / 64;
	n->layer = nr_layers;
	n->rate = pst_calloc(nr_keys, NR_RATES * sizeof(*n->rate));
	n->feature = pst_calloc(nr_keys, NR_FEATURES * sizeof(*n->feature));
	n->p = pst_calloc(nr_keys, sizeof(*n->p));
	n->nr_turns = pst_calloc(nr_layers, sizeof(*n->nr_turns));
	n->past = pst_calloc((uint64_t)nr_layers * n->nr_words,
			     NR_PAST * sizeof(*n->past));
	n->took = pst_calloc(n->nr_words, sizeof(*n->took));
	if (!n->rate || !n->feature || !n->p || !n->nr_turns || !n->past ||
	    !n->took) {
		pst_learn_destroy(n);
		return NULL;
	}
	set_prior(n);
	return n;
}

/* One step against the error of the last prediction. */
static void train(struct pst_learn *n, uint32_t layer)
{
	uint32_t key = layer * n->nr_experts;
	float grad[NR_FEATURES] = { 0.0f };

	for (uint32_t e = 0; e < n->nr_experts; e++, key++) {
		const float *f = n->feature + (size_t)key * NR_FEATURES;
		float err = (float)has(n->took, e) - predict(n, key);

		for (uint32_t i = 0; i < NR_FEATURES; i++)
			grad[i] += err * f[i];
	}
	for (uint32_t i = 0; i < NR_FEATURES; i++) {
		n->sum_sq[i] += grad[i] * grad[i];
		n->weight[i] += STEP * grad[i] / sqrtf(n->sum_sq[i]);
	}
}

static void count(struct pst_learn *n, uint32_t layer)
{
	float *rate = n->rate + (size_t)layer * n->nr_experts * NR_RATES;
	float least = 1.0f / (float)(++n->nr_turns[layer] + n->seed_turns);
	float step[NR_RATES];

	/* While young, a rate is the plain mean. */
	for (uint32_t i = 0; i < NR_RATES; i++)
		step[i] = fmaxf(0.5f / (float)(1u << 2 * i), least);
	for (uint32_t e = 0; e < n->nr_experts; e++, rate += NR_RATES)
		for (uint32_t i = 0; i < NR_RATES; i++)
			rate[i] += step[i] * ((float)has(n->took, e) - rate[i]);
}

static void refresh(struct pst_learn *n, uint32_t layer)
{
	uint32_t key = layer * n->nr_experts;

	for (uint32_t e = 0; e < n->nr_experts; e++, key++)
		n->p[key] = predict(n, key);
}

static void one_token(struct pst_learn *n, uint32_t layer, const uint32_t *ids,
		      uint32_t nr, bool learn)
{
	uint32_t key = layer * n->nr_experts;

	memset(n->took, 0, n->nr_words * sizeof(*n->took));
	for (uint32_t i = 0; i < nr; i++)
		n->took[ids[i] / 64] |= 1ULL << (ids[i] % 64);
	memcpy(set_of(n, n->nr_turns[layer], layer), n->took,
	       n->nr_words * sizeof(*n->took));
	if (learn)
		train(n, layer);
	count(n, layer);
	if (!learn)
		return;
	for (uint32_t e = 0; e < n->nr_experts; e++, key++)
		set_rates(n, key, has(n->took, e));
}

/* How much the present token resembles each one of the past, by this layer
 * and those before it.  A new token continues what the one before resembled.
 */
static void compare(struct pst_learn *n, uint32_t layer, uint64_t token)
{
	uint64_t first = token < NR_PAST ? 0 : token - NR_PAST + 1;

	if (token != n->token + 1 && token != n->token)
		memset(n->alike, 0, sizeof(n->alike));
	for (uint64_t t = token; token != n->token && t-- > first + 1;)
		n->alike[t % NR_PAST] = n->alike[(t - 1) % NR_PAST];
	if (token != n->token)
		n->alike[first % NR_PAST] = 0.0f;
	n->token = token;
	for (uint64_t t = first; t < token; t++) {
		const uint64_t *set = set_of(n, t, layer);
		int common = 0;

		for (uint32_t w = 0; w < n->nr_words; w++)
			common += __builtin_popcountll(set[w] & n->took[w]);
		n->alike[t % NR_PAST] =
			KEEP * n->alike[t % NR_PAST] + (float)common;
	}
}

static void tally(struct pst_learn *n, uint32_t layer, const uint64_t *set,
		  float share)
{
	float *f = n->feature + (size_t)layer * n->nr_experts * NR_FEATURES;

	for (uint32_t w = 0; w < n->nr_words; w++)
		for (uint64_t left = set[w]; left; left &= left - 1) {
			uint32_t e = w * 64 + (uint32_t)__builtin_ctzll(left);

			f[(size_t)e * NR_FEATURES + F_VOTE] += share;
		}
}

/* Past tokens vote, the more the more they are alike: for layers that are
 * still to come with their own choice, else with the next token's.
 */
static void vote(struct pst_learn *n, uint32_t layer, uint64_t token,
		 bool next_token)
{
	float *f = n->feature + (size_t)layer * n->nr_experts * NR_FEATURES;
	uint64_t first = token < NR_PAST ? 0 : token - NR_PAST + 1;
	float most = 0.0f, sum = 0.0f;

	for (uint32_t e = 0; e < n->nr_experts; e++)
		f[(size_t)e * NR_FEATURES + F_VOTE] = 0.0f;
	for (uint64_t t = first; t < token; t++)
		most = fmaxf(most, n->alike[t % NR_PAST]);
	for (uint64_t t = first; t < token; t++)
		sum += expf(SHARPEN * (n->alike[t % NR_PAST] - most));
	for (uint64_t t = first; t < token; t++)
		tally(n, layer, set_of(n, t + next_token, layer),
		      expf(SHARPEN * (n->alike[t % NR_PAST] - most)) / sum);
	for (uint32_t e = 0; e < n->nr_experts; e++, f += NR_FEATURES)
		f[F_LOG_VOTE] = logf((f[F_VOTE] + LEAST_VOTE) / USUAL_VOTE);
}

/* The tokens of a chunk are not compared: no vote, which is no opinion. */
static void forget_votes(struct pst_learn *n, uint32_t layer)
{
	float *f = n->feature + (size_t)layer * n->nr_experts * NR_FEATURES;

	for (uint32_t e = 0; e < n->nr_experts; e++, f += NR_FEATURES) {
		f[F_VOTE] = 0.0f;
		f[F_LOG_VOTE] = 0.0f;
	}
}

/* After an error a layer may have missed tokens: numbers start level again,
 * and what was missed is remembered as empty.
 */
static void level(struct pst_learn *n)
{
	uint64_t most = 0;

	for (uint32_t l = 0; l < n->nr_layers; l++)
		most = PST_MAX(most, n->nr_turns[l]);
	for (uint32_t l = 0; l < n->nr_layers; l++) {
		uint64_t missed = PST_MIN(most - n->nr_turns[l], NR_PAST);

		for (uint64_t i = 1; i <= missed; i++)
			memset(set_of(n, most - i, l), 0,
			       n->nr_words * sizeof(*n->past));
		n->nr_turns[l] = most;
	}
}

uint32_t pst_learn_route(struct pst_learn *n, const struct pst_policy_route *r)
{
	uint32_t other = (r->layer + n->nr_layers / 2) % n->nr_layers;

	if (r->layer < n->layer)
		level(n);
	n->layer = r->layer;
	if (r->nr_tokens > 1)
		forget_votes(n, r->layer);
	for (uint32_t t = 0; t < r->nr_tokens; t++)
		one_token(n, r->layer, r->ids + (size_t)t * r->nr_used,
			  r->nr_used, r->nr_tokens - t <= LEARN_TOKENS);
	if (r->nr_tokens == 1 && n->nr_turns[r->layer] > 1) {
		uint64_t token = n->nr_turns[r->layer] - 1;

		compare(n, r->layer, token);
		/* Half a token ahead, as a typical victim is judged, and as it
		 * is trained; and this layer, so that it has a vote until then.
		 */
		vote(n, other, token, other <= r->layer);
		vote(n, r->layer, token, true);
		refresh(n, other);
	}
	refresh(n, r->layer);
	return other;
}

float pst_learn_p(const struct pst_learn *n, uint32_t key)
{
	return n->p[key];
}

float pst_learn_rate(const struct pst_learn *n, uint32_t key)
{
	return n->rate[(size_t)key * NR_RATES + NR_RATES - 1];
}

void pst_learn_seed(struct pst_learn *n, uint32_t key, float rate)
{
	for (uint32_t i = 0; i < NR_RATES; i++)
		n->rate[(size_t)key * NR_RATES + i] = fminf(rate, 1.0f);
	n->seed_turns = SEED_TURNS;
	set_rates(n, key, false);
	n->p[key] = predict(n, key);
}

bool pst_learn_in_turn(const struct pst_learn *n, uint32_t key)
{
	return key / n->nr_experts == n->layer &&
	       has(n->took, key % n->nr_experts);
}
