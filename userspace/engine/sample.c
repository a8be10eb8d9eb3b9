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

/* What is e^-40 of the best adds nothing that a double shows. */
#define TOO_SMALL 40.0

struct candidate {
	float logit;
	int32_t id;
};

struct pst_sampler {
	struct pst_sampler_opts opts;
	uint32_t nr_vocab;
	uint64_t rng;
	struct candidate *c; /* [nr_vocab], the first @nr in their order */
	uint32_t nr;
	float beyond; /* others are this far from the best, or further */
	const float *logits; /* of this draw */
	float best;
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

/* Sorts the @k first candidates, and no others count. */
static void keep_top(struct pst_sampler *s, uint32_t k)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < s->nr_vocab; i++) {
		struct candidate c = { .logit = s->logits[i],
				       .id = (int32_t)i };

		if (n < k) {
			s->c[n++] = c;
			if (n == k)
				for (uint32_t j = k / 2 + 1; j-- > 0;)
					sift(s->c, n, j);
		} else if (before(&c, &s->c[0])) {
			s->c[0] = c;
			sift(s->c, n, 0);
		}
	}
	qsort(s->c, n, sizeof(*s->c), compare);
	s->nr = n;
	s->beyond = INFINITY;
}

/* Sorts what is less than @end from the best, or all if that is infinite. */
static void sort_until(struct pst_sampler *s, float end)
{
	uint32_t first = s->nr;

	if (s->beyond == INFINITY)
		return;
	for (uint32_t i = 0; i < s->nr_vocab; i++) {
		float far = s->best - s->logits[i];

		if (far >= s->beyond && (far < end || end == INFINITY))
			s->c[s->nr++] = (struct candidate){
				.logit = s->logits[i],
				.id = (int32_t)i,
			};
	}
	qsort(s->c + first, s->nr - first, sizeof(*s->c), compare);
	s->beyond = end;
}

/*
 * What candidate @i weighs beside the best.  Sorts as far as that: what is
 * drawn is nearly always among the few best of a large vocabulary.
 */
static double weight(struct pst_sampler *s, uint32_t i, float temp)
{
	while (i >= s->nr)
		sort_until(s, s->beyond < 16 ? 2 * s->beyond + 1 : INFINITY);
	return exp(((double)s->c[i].logit - s->c[0].logit) / temp);
}

/*
 * The weight of the @n first candidates: if they are sorted, added up in that
 * order, else in that of the vocabulary, without what is too small to tell.
 */
static double mass(struct pst_sampler *s, uint32_t n, float temp)
{
	bool sorted = n <= s->nr;
	double sum = 0.0;
	uint32_t i;

	for (i = 0; i < n && sorted; i++)
		sum += weight(s, i, temp);
	for (i = 0; i < n && !sorted; i++) {
		double far = ((double)s->logits[i] - s->best) / temp;

		if (far > -TOO_SMALL)
			sum += exp(far);
	}
	return sum;
}

/*
 * A bound of how far, for its size, mass() is from the sum in order, and a
 * difference from it: 3 n roundings of 2^-53, and n e^-40 left out.  Whoever
 * compares with it and comes nearer than that sorts everything and starts
 * again, so that a draw is that of a full sort.
 */
static double doubt(const struct pst_sampler *s, uint32_t n)
{
	return n <= s->nr ? 0.0 : n * 8e-16;
}

static uint32_t keep_mass(struct pst_sampler *s, uint32_t n)
{
	double slack = doubt(s, n), need, acc = 0.0;
	uint32_t i;

	if (s->opts.top_p >= 1.0f)
		return n;
	need = s->opts.top_p * mass(s, n, 1.0f);
	for (i = 0; i < n; i++) {
		acc += weight(s, i, 1.0f);
		if (acc >= need * (1.0 + slack))
			return i + 1;
		if (acc >= need * (1.0 - slack))
			break;
	}
	if (slack == 0.0)
		return n;
	sort_until(s, INFINITY);
	return keep_mass(s, n);
}

static uint32_t keep_min(struct pst_sampler *s, uint32_t n)
{
	uint32_t i = 1;

	if (s->opts.min_p <= 0.0f)
		return n;
	while (i < n && weight(s, i, 1.0f) >= s->opts.min_p)
		i++;
	return i;
}

/* One of the @n first candidates, where @u of their weight is passed. */
static int32_t draw_at(struct pst_sampler *s, uint32_t n, double u)
{
	double slack = doubt(s, n), sum = mass(s, n, s->opts.temp);
	double at = u * sum;

	for (uint32_t i = 0; i < n; i++) {
		at -= weight(s, i, s->opts.temp);
		if (at < -slack * sum)
			return s->c[i].id;
		if (at < slack * sum)
			break;
	}
	if (slack == 0.0)
		return s->c[n - 1].id;
	sort_until(s, INFINITY);
	return draw_at(s, n, u);
}

int32_t pst_sampler_draw(struct pst_sampler *s, const float *logits)
{
	uint32_t k = s->opts.top_k, n = s->nr_vocab;

	s->logits = logits;
	s->best = best_of(logits, n);
	/* A NaN or an infinite best ranks nothing. */
	if (!isfinite(s->best))
		return -1;
	if (s->opts.temp <= 0.0f)
		return first_of(logits, s->best);
	s->nr = 0;
	s->beyond = 0.0f;
	if (k && k < n) {
		keep_top(s, k);
		n = k;
	}
	n = keep_min(s, keep_mass(s, n));
	return draw_at(s, n, (double)(pst_rng_next(&s->rng) >> 11) * 0x1p-53);
}
