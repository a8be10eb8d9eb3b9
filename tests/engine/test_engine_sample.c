// SPDX-License-Identifier: MIT
/*
 * The sampler against one that sorts everything: the same draws, whatever the
 * length, ties and infinities; and what ranks nothing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include <penstock/engine.h>

#include "base.h"
#include "test_seed.h"

enum {
	MAX_VOCAB = 700
};

/* qsort() takes no context. */
static const float *sorted_by;

static int compare(const void *a, const void *b)
{
	int32_t i = *(const int32_t *)a, j = *(const int32_t *)b;

	if (sorted_by[i] != sorted_by[j])
		return sorted_by[i] > sorted_by[j] ? -1 : 1;
	return i < j ? -1 : 1;
}

static double weight(const float *logits, int32_t id, int32_t first, float temp)
{
	return exp(((double)logits[id] - logits[first]) / temp);
}

/* The same words of the definition, one after the other. */
static int32_t draw_plainly(const struct pst_sampler_opts *o, uint64_t *rng,
			    const float *logits, uint32_t n)
{
	int32_t id[MAX_VOCAB];
	double sum = 0, at = 0;
	uint32_t i;

	for (i = 0; i < n; i++)
		id[i] = (int32_t)i;
	sorted_by = logits;
	qsort(id, n, sizeof(*id), compare);
	if (o->temp <= 0)
		return id[0];
	if (o->top_k && o->top_k < n)
		n = o->top_k;
	for (i = 0; i < n; i++)
		sum += weight(logits, id[i], id[0], 1);
	for (i = 0; i < n && o->top_p < 1; i++) {
		at += weight(logits, id[i], id[0], 1);
		if (at >= o->top_p * sum)
			n = i + 1;
	}
	for (i = 1; i < n; i++)
		if (weight(logits, id[i], id[0], 1) < o->min_p)
			n = i;
	for (i = 0, sum = 0; i < n; i++)
		sum += weight(logits, id[i], id[0], o->temp);
	at = (double)(pst_rng_next(rng) >> 11) * 0x1p-53 * sum;
	for (i = 0; i < n; i++) {
		at -= weight(logits, id[i], id[0], o->temp);
		if (at < 0)
			return id[i];
	}
	return id[n - 1];
}

/*
 * Few values, so that many are equal; now and then one that is no candidate.
 * One row in four is two values only, so that half of the weight, say, is
 * reached to the bit.
 */
static void random_logits(float *x, uint32_t n, uint64_t *rng)
{
	bool flat = pst_rng_next(rng) % 4 == 0;
	uint32_t i;

	for (i = 0; i < n; i++) {
		uint64_t r = pst_rng_next(rng);

		x[i] = (float)(r % 41) / 4 - 5;
		if (r >> 32 & 1)
			x[i] = -x[i];
		if (flat)
			x[i] = 5;
		if ((r >> 33) % 64 == 0)
			x[i] = -INFINITY;
	}
	x[pst_rng_next(rng) % n] = 5;
}

static void draws_are_those_of_a_full_sort(void **state)
{
	static const struct pst_sampler_opts opts[] = {
		{ .temp = 0, .top_p = 1 },
		{ .temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f },
		{ .temp = 1.5f, .top_k = 7, .top_p = 1 },
		{ .temp = 1, .top_p = 0.9f },
		{ .temp = 1, .top_p = 1, .min_p = 0.1f },
		{ .temp = 2, .top_p = 1 },
		{ .temp = 1, .top_p = 0.5f },
		{ .temp = 9, .top_p = 0.999f, .min_p = 1e-6f },
	};
	enum {
		NR = sizeof(opts) / sizeof(opts[0])
	};
	uint64_t rng = test_seed();
	float logits[MAX_VOCAB];
	uint32_t k, i;

	(void)state;
	for (k = 0; k < NR * 40; k++) {
		struct pst_sampler_opts o = opts[k % NR];
		uint32_t n = 1 + (uint32_t)(pst_rng_next(&rng) % MAX_VOCAB);
		struct pst_sampler *s;
		uint64_t plain;

		o.seed = plain = pst_rng_next(&rng);
		assert_int_equal(pst_sampler_create(&o, n, &s), 0);
		for (i = 0; i < 20; i++) {
			random_logits(logits, n, &rng);
			assert_int_equal(pst_sampler_draw(s, logits),
					 draw_plainly(&o, &plain, logits, n));
		}
		pst_sampler_destroy(s);
	}
}

static void a_nan_or_an_infinite_best_ranks_nothing(void **state)
{
	static const float bad[] = { NAN, INFINITY };
	struct pst_sampler_opts o = { .top_p = 1 };
	float logits[21] = { 0 };
	struct pst_sampler *s;
	uint32_t i, k;

	(void)state;
	assert_int_equal(pst_sampler_create(&o, 21, &s), 0);
	for (i = 0; i < 21; i++) {
		for (k = 0; k < 2; k++) {
			logits[i] = bad[k];
			assert_int_equal(pst_sampler_draw(s, logits), -1);
		}
		logits[i] = 1;
		assert_int_equal(pst_sampler_draw(s, logits), (int32_t)i);
		logits[i] = 0;
	}
	for (i = 0; i < 21; i++)
		logits[i] = -INFINITY;
	assert_int_equal(pst_sampler_draw(s, logits), -1);
	pst_sampler_destroy(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(draws_are_those_of_a_full_sort),
		cmocka_unit_test(a_nan_or_an_infinite_best_ranks_nothing),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
