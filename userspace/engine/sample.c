// SPDX-License-Identifier: MIT
/*
 * Sampling: temperature, top-k, top-p (Holtzman et al. 2020), min-p (Nguyen et
 * al. 2024), applied as llama.cpp orders them: k, p, min-p, then temperature.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>

#include <penstock/engine.h>

#include "base.h"

struct candidate {
	float logit;
	int32_t id;
};

struct pst_sampler {
	struct pst_sampler_opts opts;
	uint32_t nr_vocab;
	uint64_t rng;
	struct candidate *c; /* [nr_vocab] */
};

int pst_sampler_create(const struct pst_sampler_opts *opts, uint32_t nr_vocab,
		       struct pst_sampler **out)
{
	struct pst_sampler *s;

	if (isnan(opts->temp) || !(opts->top_p >= 0.0f) ||
	    !(opts->min_p >= 0.0f) || !nr_vocab)
		return -EINVAL;
	s = calloc(1, sizeof(*s));
	if (!s)
		return -ENOMEM;
	s->c = pst_calloc(nr_vocab, sizeof(*s->c));
	if (!s->c) {
		free(s);
		return -ENOMEM;
	}
	s->opts = *opts;
	s->nr_vocab = nr_vocab;
	s->rng = opts->seed;
	*out = s;
	return 0;
}

void pst_sampler_destroy(struct pst_sampler *s)
{
	if (!s)
		return;
	free(s->c);
	free(s);
}

/*
 * The best logit, NaN when one of them is: several at a time, because one
 * maximum after the other takes longer than the rest of a draw.
 */
static float best_of(const float *logits, uint32_t n)
{
	float best[8] = { -INFINITY, -INFINITY, -INFINITY, -INFINITY,
			  -INFINITY, -INFINITY, -INFINITY, -INFINITY };
	bool nan = false;
	uint32_t i = 0, j;

	for (; i + 8 <= n; i += 8)
		for (j = 0; j < 8; j++) {
			float x = logits[i + j];

			nan |= isnan(x);
			best[j] = x > best[j] ? x : best[j];
		}
	for (; i < n; i++) {
		nan |= isnan(logits[i]);
		best[0] = logits[i] > best[0] ? logits[i] : best[0];
	}
	for (j = 1; j < 8; j++)
		best[0] = best[j] > best[0] ? best[j] : best[0];
	return nan ? NAN : best[0];
}

/* The first that has the best logit, which is a number. */
static int32_t first_of(const float *logits, float best)
{
	int32_t i = 0;

	while (logits[i] != best)
		i++;
	return i;
}

/* Order: higher logit first, then lower id. */
static bool before(const struct candidate *a, const struct candidate *b)
{
	return a->logit > b->logit || (a->logit == b->logit && a->id < b->id);
}

static int compare(const void *a, const void *b)
{
	return before(a, b) ? -1 : 1;
}

/* A heap whose root is the last of the kept candidates in the order. */
static void sift(struct candidate *h, uint32_t n, uint32_t at)
{
	for (;;) {
		uint32_t last = at, l = 2 * at + 1, r = l + 1;
		struct candidate t;

		if (l < n && before(&h[last], &h[l]))
			last = l;
		if (r < n && before(&h[last], &h[r]))
			last = r;
		if (last == at)
			return;
		t = h[at];
		h[at] = h[last];
		h[last] = t;
		at = last;
	}
}

/* The @k first candidates in order. */
static uint32_t keep_top(struct pst_sampler *s, const float *logits, uint32_t k)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->nr_vocab; i++) {
		struct candidate c = { .logit = logits[i], .id = (int32_t)i };

		if (n < k) {
			s->c[n++] = c;
			if (n == k && k < s->nr_vocab)
				for (uint32_t j = k / 2 + 1; j-- > 0;)
					sift(s->c, n, j);
		} else if (before(&c, &s->c[0])) {
			s->c[0] = c;
			sift(s->c, n, 0);
		}
	}
	qsort(s->c, n, sizeof(*s->c), compare);
	return n;
}

static uint32_t keep_mass(const struct pst_sampler *s, uint32_t n)
{
	double sum = 0.0, acc = 0.0;
	uint32_t i;

	if (s->opts.top_p >= 1.0f)
		return n;
	for (i = 0; i < n; i++)
		sum += exp((double)s->c[i].logit - s->c[0].logit);
	for (i = 0; i < n; i++) {
		acc += exp((double)s->c[i].logit - s->c[0].logit);
		if (acc >= s->opts.top_p * sum)
			return i + 1;
	}
	return n;
}

static uint32_t keep_min(const struct pst_sampler *s, uint32_t n)
{
	uint32_t i = 1;

	if (s->opts.min_p <= 0.0f)
		return n;
	while (i < n &&
	       exp((double)s->c[i].logit - s->c[0].logit) >= s->opts.min_p)
		i++;
	return i;
}

int32_t pst_sampler_draw(struct pst_sampler *s, const float *logits)
{
	uint32_t k = s->opts.top_k, n;
	float best = best_of(logits, s->nr_vocab);
	double sum = 0.0, at;

	/* A NaN or an infinite best ranks nothing. */
	if (!isfinite(best))
		return -1;
	if (s->opts.temp <= 0.0f)
		return first_of(logits, best);
	n = keep_top(s, logits, k && k < s->nr_vocab ? k : s->nr_vocab);
	n = keep_min(s, keep_mass(s, n));
	for (uint32_t i = 0; i < n; i++)
		sum += exp(((double)s->c[i].logit - s->c[0].logit) /
			   s->opts.temp);
	at = (double)(pst_rng_next(&s->rng) >> 11) * 0x1p-53 * sum;
	for (uint32_t i = 0; i < n; i++) {
		at -= exp(((double)s->c[i].logit - s->c[0].logit) /
			  s->opts.temp);
		if (at < 0.0)
			return s->c[i].id;
	}
	return s->c[n - 1].id;
}
