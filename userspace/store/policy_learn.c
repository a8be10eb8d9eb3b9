// SPDX-License-Identifier: MIT
/*
 * A logistic model over what is known of each expert, trained on every turn.
 *
 * Known are: how often the expert was taken, at four rates of forgetting;
 * whether the last turn took it; how the router thinks of it, where that is
 * told; and what followed on the past tokens that the present one resembles,
 * from policy_recall.c.  The model estimates discount^k, k turns being skipped
 * before the next use, and learns it from one turn to the next: a turn that
 * does not take the expert has it worth the discounted estimate of the turn
 * after (temporal differences; Sutton, 1988).  One set of weights serves all
 * layers: each turn gives nr_experts examples, so a short prompt is enough to
 * learn from.  Steps are scaled as in AdaGrad (Duchi et al., 2011).
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "policy_learn.h"
#include "policy_recall.h"

/* Turns that each frequency remembers, 2 to 128: a grid of factor four. */
#define NR_RATES 4
/* Features: 1, the rates' logarithms, and these. */
enum {
	F_LAST = 1 + NR_RATES, /* the last turn took it */
	F_STRENGTH, /* what the router thought of it in the last turn */
	F_MEAN, /* and of late */
	F_VOTE, /* the echoes of the past */
	F_NEXT,
	F_LOG_ECHO, /* their logarithms */
	NR_FEATURES = F_LOG_ECHO + PST_ECHO_NR
};
/* Both come in fours. */
typedef float quad __attribute__((vector_size(16), aligned(4), may_alias));
typedef int32_t ints __attribute__((vector_size(16)));

_Static_assert(NR_RATES == 4 && PST_ECHO_NR == 4, "log_of() takes four");

/* A step of a few hundredths: about the inverse of a prompt's turns. */
#define STEP 0.02f
/* Below these, frequencies are not told apart. */
#define LEAST_RATE 0.003f
#define LEAST_ECHO 0.01f
#define USUAL_ECHO 0.05f
/* Probabilities below do not differ. */
#define LEAST_PROB 1e-6f
/* Share of the last turn in what the router thinks of late. */
#define FRESH 0.15f
/* Turns that a rate of an earlier run stands for. */
#define SEED_TURNS 16

struct pst_learn {
	uint32_t nr_layers, nr_experts, nr_words;
	float discount;
	float weight[NR_FEATURES];
	float sum_sq[NR_FEATURES]; /* of gradients */
	float *rate; /* [nr_keys][NR_RATES] */
	float *mean; /* [nr_keys] of F_MEAN, before its logarithm if any */
	float *feature; /* [nr_keys][NR_FEATURES] */
	float *value; /* [nr_keys] */
	float *before; /* [nr_experts][NR_FEATURES] scratch of one token */
	struct pst_echo *echo; /* [nr_experts] likewise */
	uint64_t *nr_turns; /* [nr_layers] tokens routed */
	uint32_t seed_turns; /* that came before the first */
	uint64_t *took; /* [nr_words] the turn that was routed last */
	uint32_t layer; /* that turn's */
	struct pst_recall *recall;
};

/* One token's choice in one layer. */
struct choice {
	uint32_t layer, nr_used;
	const uint32_t *ids;
	const float *weights, *probs; /* or NULL */
};

static bool has(const uint64_t *set, uint32_t e)
{
	return set[e / 64] >> (e % 64) & 1;
}

static float *features_of(const struct pst_learn *n, uint32_t key)
{
	return n->feature + (size_t)key * NR_FEATURES;
}

/* Natural logarithms of positive numbers, within 2e-5: exponent and a series of
 * the inverse hyperbolic tangent.  There are hundreds in each turn, and all
 * machines shall see the same.
 */
static quad log_of(quad x)
{
	quad mantissa, t, t2;
	ints bits;

	memcpy(&bits, &x, sizeof(bits));
	x = __builtin_convertvector((bits >> 23) - 127, quad);
	bits = (bits & 0x7fffff) | 0x3f800000;
	memcpy(&mantissa, &bits, sizeof(mantissa));
	t = (mantissa - 1.0f) / (mantissa + 1.0f);
	t2 = t * t;
	t *= 2.0f + t2 * (2.0f / 3 + t2 * (2.0f / 5 + t2 * (2.0f / 7)));
	return x * (float)M_LN2 + t;
}

static float estimate(const struct pst_learn *n, const float *f)
{
	float sum = 0.0f;

	for (uint32_t i = 0; i < NR_FEATURES; i++)
		sum += n->weight[i] * f[i];
	return 1.0f / (1.0f + expf(-sum));
}

static void set_rates(struct pst_learn *n, uint32_t key, bool last)
{
	const float *rate = n->rate + (size_t)key * NR_RATES;
	float *f = features_of(n, key);

	f[0] = 1.0f;
	*(quad *)(f + 1) = log_of(*(const quad *)rate + LEAST_RATE);
	f[F_LAST] = last;
}

void pst_learn_destroy(struct pst_learn *n)
{
	if (!n)
		return;
	pst_recall_destroy(n->recall);
	free(n->rate);
	free(n->mean);
	free(n->feature);
	free(n->value);
	free(n->before);
	free(n->echo);
	free(n->nr_turns);
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
		n->value[k] = estimate(n, features_of(n, k));
	}
}

struct pst_learn *pst_learn_create(uint32_t nr_layers, uint32_t nr_experts,
				   float discount)
{
	uint64_t nr_keys = (uint64_t)nr_layers * nr_experts;
	struct pst_learn *n = calloc(1, sizeof(*n));

	if (!n)
		return NULL;
	n->nr_layers = nr_layers;
	n->nr_experts = nr_experts;
	n->nr_words = (nr_experts + 63) / 64;
	n->discount = discount;
	n->layer = nr_layers;
	n->rate = pst_calloc(nr_keys, NR_RATES * sizeof(*n->rate));
	n->mean = pst_calloc(nr_keys, sizeof(*n->mean));
	n->feature = pst_calloc(nr_keys, NR_FEATURES * sizeof(*n->feature));
	n->value = pst_calloc(nr_keys, sizeof(*n->value));
	n->before = pst_calloc(nr_experts, NR_FEATURES * sizeof(*n->before));
	n->echo = pst_calloc(nr_experts, sizeof(*n->echo));
	n->nr_turns = pst_calloc(nr_layers, sizeof(*n->nr_turns));
	n->took = pst_calloc(n->nr_words, sizeof(*n->took));
	n->recall = pst_recall_create(nr_layers, nr_experts);
	if (!n->rate || !n->mean || !n->feature || !n->value || !n->before ||
	    !n->echo || !n->nr_turns || !n->took || !n->recall) {
		pst_learn_destroy(n);
		return NULL;
	}
	set_prior(n);
	return n;
}

void pst_learn_discount(struct pst_learn *n, float discount)
{
	n->discount = discount;
}

/* One step against the error of what was known before the turn, given what it
 * took and what is known after it.
 */
static void train(struct pst_learn *n, uint32_t layer)
{
	const float *f = n->before;
	float grad[NR_FEATURES] = { 0.0f };

	for (uint32_t e = 0; e < n->nr_experts; e++, f += NR_FEATURES) {
		uint32_t key = layer * n->nr_experts + e;
		float truth = 1.0f, err;

		if (!has(n->took, e))
			truth = n->discount * estimate(n, features_of(n, key));
		err = truth - estimate(n, f);
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

/* Whatever the router counts in, probabilities by their logarithms and logits
 * as they are: by how many deviations an expert is above the layer's mean.
 */
static void set_strength_of_all(struct pst_learn *n, uint32_t layer,
				const float *probs)
{
	float mean = 0.0f, square = 0.0f, least = INFINITY, scale;
	float *f = features_of(n, layer * n->nr_experts);

	for (uint32_t e = 0; e < n->nr_experts; e++)
		least = fminf(least, probs[e]);
	for (uint32_t e = 0; e < n->nr_experts; e++) {
		float x = probs[e];

		if (least >= 0.0f)
			x = logf(fmaxf(x, LEAST_PROB));

		f[e * NR_FEATURES + F_STRENGTH] = x;
		mean += x / (float)n->nr_experts;
		square += x * x / (float)n->nr_experts;
	}
	square -= mean * mean;
	scale = square > 0.0f ? 1.0f / sqrtf(square) : 0.0f;
	for (uint32_t e = 0; e < n->nr_experts; e++, f += NR_FEATURES) {
		float *late = &n->mean[layer * n->nr_experts + e];
		float z = (f[F_STRENGTH] - mean) * scale;

		f[F_STRENGTH] = isfinite(z) ? z : 0.0f;
		*late += FRESH * (f[F_STRENGTH] - *late);
		f[F_MEAN] = *late;
	}
}

/* The weights of the taken experts, as shares of an even one. */
static void set_strength_of_taken(struct pst_learn *n, const struct choice *c)
{
	uint32_t first = c->layer * n->nr_experts;
	float sum = 0.0f;

	for (uint32_t i = 0; i < c->nr_used; i++)
		sum += c->weights[i];
	if (!(sum > 0.0f) || !isfinite(sum))
		return;
	for (uint32_t e = 0; e < n->nr_experts; e++) {
		features_of(n, first + e)[F_STRENGTH] = 0.0f;
		n->mean[first + e] *= 1.0f - FRESH;
	}
	for (uint32_t i = 0; i < c->nr_used; i++) {
		uint32_t key = first + c->ids[i];
		float w = fmaxf(c->weights[i], 0.0f) / sum * (float)c->nr_used;

		features_of(n, key)[F_STRENGTH] = logf(w + USUAL_ECHO);
		n->mean[key] += FRESH * w;
	}
	for (uint32_t e = 0; e < n->nr_experts; e++)
		features_of(n, first + e)[F_MEAN] =
			logf(n->mean[first + e] + LEAST_RATE);
}

/* Without a past there is no opinion, which is 0. */
static void set_echoes(struct pst_learn *n, const struct choice *c)
{
	float *f = features_of(n, c->layer * n->nr_experts);
	bool past = pst_recall_token(n->recall, n->took, c->nr_used, n->echo);

	for (uint32_t e = 0; past && e < n->nr_experts; e++) {
		const float *share = n->echo[e].share;

		f[F_VOTE] = share[PST_ECHO_VOTE];
		f[F_NEXT] = share[PST_ECHO_NEXT];
		*(quad *)(f + F_LOG_ECHO) = log_of(
			(*(const quad *)share + LEAST_ECHO) / USUAL_ECHO);
		f += NR_FEATURES;
	}
}

static void one_token(struct pst_learn *n, const struct choice *c, bool learn)
{
	uint32_t first = c->layer * n->nr_experts;

	memset(n->took, 0, n->nr_words * sizeof(*n->took));
	for (uint32_t i = 0; i < c->nr_used; i++)
		n->took[c->ids[i] / 64] |= 1ULL << (c->ids[i] % 64);
	count(n, c->layer);
	if (!learn)
		return;
	memcpy(n->before, features_of(n, first),
	       n->nr_experts * NR_FEATURES * sizeof(*n->before));
	for (uint32_t e = 0; e < n->nr_experts; e++)
		set_rates(n, first + e, has(n->took, e));
	if (c->probs)
		set_strength_of_all(n, c->layer, c->probs);
	else if (c->weights)
		set_strength_of_taken(n, c);
	set_echoes(n, c);
	train(n, c->layer);
}

void pst_learn_route(struct pst_learn *n, const struct pst_policy_route *r)
{
	/* The rest of a long chunk counts, but is not learned from singly. */
	uint32_t nr = PST_MIN(r->nr_tokens, PST_RECALL_CHUNK);
	uint32_t key = r->layer * n->nr_experts;

	n->layer = r->layer;
	pst_recall_begin(n->recall, r->layer, nr);
	for (uint32_t t = 0; t < r->nr_tokens; t++) {
		size_t at = (size_t)t * r->nr_used;
		struct choice c = { .layer = r->layer,
				    .nr_used = r->nr_used,
				    .ids = r->ids + at };

		if (r->weights)
			c.weights = r->weights + at;
		if (r->probs)
			c.probs = r->probs + (size_t)t * n->nr_experts;
		one_token(n, &c, r->nr_tokens - t <= nr);
	}
	for (uint32_t e = 0; e < n->nr_experts; e++, key++)
		n->value[key] = estimate(n, features_of(n, key));
}

float pst_learn_value(const struct pst_learn *n, uint32_t key)
{
	return n->value[key];
}

bool pst_learn_ahead(const struct pst_learn *n, uint32_t layer, float *share)
{
	return pst_recall_ahead(n->recall, layer, share);
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
	n->value[key] = estimate(n, features_of(n, key));
}

void pst_learn_done(struct pst_learn *n, uint32_t key)
{
	uint32_t e = key % n->nr_experts;

	if (key / n->nr_experts == n->layer)
		n->took[e / 64] &= ~(1ULL << (e % 64));
}

bool pst_learn_in_turn(const struct pst_learn *n, uint32_t key)
{
	return key / n->nr_experts == n->layer &&
	       has(n->took, key % n->nr_experts);
}
