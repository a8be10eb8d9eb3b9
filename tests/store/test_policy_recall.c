// SPDX-License-Identifier: MIT
/*
 * The memory of past tokens against its definition: likenesses added up over
 * all layers, and the regression solved by elimination in double precision.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy_recall.h"
#include "test_seed.h"

#define NR_LAYERS  3
#define NR_EXPERTS 70 /* more than one word of a set */
#define NR_WORDS   2
#define NR_USED	   5
#define MAX_TOKENS 700

/* The constants of the definition. */
#define KEEP	0.8
#define SHARPEN 0.25
#define RIDGE	0.6
#define NR_HALF 128u

struct history {
	uint64_t set[MAX_TOKENS][NR_LAYERS][NR_WORDS];
	bool missed[MAX_TOKENS][NR_LAYERS];
	bool goes_on[MAX_TOKENS]; /* a single token, from the one before */
	uint32_t nr;
};

/* Some kinds of token, and chance. */
static void draw_set(uint64_t *rng, uint32_t kind, uint64_t *set)
{
	memset(set, 0, NR_WORDS * sizeof(*set));
	for (uint32_t i = 0; i < NR_USED; i++) {
		uint32_t e = i * 14 + kind;

		if (pst_rng_next(rng) % 3 == 0)
			e = i * 14 + (uint32_t)(pst_rng_next(rng) % 14);
		set[e / 64] |= 1ULL << (e % 64);
	}
}

static bool has(const uint64_t *set, uint32_t e)
{
	return set[e / 64] >> (e % 64) & 1;
}

/* Layers back from (a, layer), as long as both tokens have one before. */
static double likeness(const struct history *h, uint32_t a, uint32_t b,
		       uint32_t layer)
{
	double sum = 0.0, share = 1.0;

	for (int steps = 0; steps < 200; steps++, share *= KEEP) {
		for (uint32_t w = 0; w < NR_WORDS; w++)
			sum += share *
			       __builtin_popcountll(h->set[a][layer][w] &
						    h->set[b][layer][w]);
		if (layer) {
			layer--;
			continue;
		}
		if (!h->goes_on[a] || !h->goes_on[b])
			break;
		a--;
		b--;
		layer = NR_LAYERS - 1;
	}
	return sum;
}

static uint32_t first_of(uint32_t layer, uint32_t token)
{
	uint32_t shift = layer * NR_HALF / NR_LAYERS;

	if (token + shift < 2 * NR_HALF)
		return 0;
	return ((token + shift) / NR_HALF - 1) * NR_HALF - shift;
}

static double a[2 * NR_HALF][2 * NR_HALF + 1];

static void eliminate(uint32_t nr)
{
	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t r = 0; r < nr; r++) {
			double f = a[r][i] / a[i][i];

			for (uint32_t c = i; r != i && c <= nr; c++)
				a[r][c] -= f * a[i][c];
		}
	for (uint32_t i = 0; i < nr; i++)
		a[i][nr] /= a[i][i];
}

/* What @ahead took after the past tokens' turns at @layer, and after this one's. */
static void define(const struct history *h, uint32_t token, uint32_t layer,
		   uint32_t ahead, double (*out)[2])
{
	uint32_t later = ahead <= layer;
	uint32_t first = first_of(layer, token), nr = token - first;
	double most = NR_USED / (1.0 - KEEP), rest = 1.0, sum = 0.0;

	memset(out, 0, NR_EXPERTS * sizeof(*out));
	for (uint32_t i = 0; i < nr; i++) {
		for (uint32_t j = 0; j < nr; j++)
			a[i][j] =
				likeness(h, first + i, first + j, layer) / most;
		a[i][i] += RIDGE;
		a[i][nr] = likeness(h, token, first + i, layer) / most;
		sum += exp(SHARPEN * most * a[i][nr]);
	}
	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t e = 0; e < NR_EXPERTS; e++)
			if (has(h->set[first + i + later][ahead], e))
				out[e][0] +=
					exp(SHARPEN * most * a[i][nr]) / sum;
	eliminate(nr);
	for (uint32_t i = 0; i < nr; i++)
		rest -= a[i][nr];
	for (uint32_t i = 0; i < nr; i++)
		for (uint32_t e = 0; e < NR_EXPERTS; e++)
			if (has(h->set[first + i + later][ahead], e))
				out[e][1] += a[i][nr] + rest / nr;
}

static void check(const struct history *h, uint32_t token, uint32_t layer,
		  const struct pst_echo *got)
{
	static double want[NR_EXPERTS][2];

	define(h, token, layer, layer, want);
	for (uint32_t e = 0; e < NR_EXPERTS; e++) {
		const float *share = got[e].share;

		assert_float_equal(share[PST_ECHO_VOTE], want[e][0], 1e-3);
		assert_float_equal(share[PST_ECHO_NEXT], fmax(want[e][1], 0.0),
				   5e-3);
	}
}

static void check_ahead(const struct history *h, uint32_t token, uint32_t layer,
			const struct pst_recall *m)
{
	static double want[NR_EXPERTS][2];
	float share[NR_EXPERTS];

	for (uint32_t ahead = 0; ahead < NR_LAYERS; ahead++) {
		assert_true(pst_recall_ahead(m, ahead, share));
		define(h, token, layer, ahead, want);
		for (uint32_t e = 0; e < NR_EXPERTS; e++)
			assert_float_equal(share[e], fmax(want[e][1], 0.0),
					   5e-3);
	}
}

/* One pass of some tokens; the last layer sees the last one only. */
static void pass(struct pst_recall *m, struct history *h, uint32_t nr,
		 uint64_t *rng, uint32_t every)
{
	struct pst_echo echo[NR_EXPERTS];
	float share[NR_EXPERTS];

	for (uint32_t t = h->nr; t < h->nr + nr; t++)
		h->goes_on[t] = nr == 1 && t;
	for (uint32_t layer = 0; layer < NR_LAYERS; layer++) {
		uint32_t from = layer == NR_LAYERS - 1 ? nr - 1 : 0;

		pst_recall_begin(m, layer, nr - from);
		for (uint32_t t = h->nr + from; t < h->nr + nr; t++) {
			draw_set(rng, t * t % 7, h->set[t][layer]);
			if (!pst_recall_token(m, h->set[t][layer], NR_USED,
					      echo))
				assert_true(t < 2 || from);
			else if (t % every == 0)
				check(h, t, layer, echo);
		}
		if (nr > 1)
			assert_false(pst_recall_ahead(m, 0, share));
		else if (h->nr > 1 && h->nr % every == 0)
			check_ahead(h, h->nr, layer, m);
	}
	h->nr += nr;
}

static struct history history;

static void estimates_agree_with_the_definition(void **state)
{
	struct pst_recall *m = pst_recall_create(NR_LAYERS, NR_EXPERTS);
	struct history *h = &history;
	uint64_t rng = test_seed();

	assert_non_null(m);
	memset(h, 0, sizeof(*h));
	/* A prompt that no layer misses, as the definition has it. */
	for (uint32_t i = 0; i < 120; i++)
		pass(m, h, 1, &rng, 7);
	pst_recall_destroy(m);
	pst_recall_destroy(NULL);
}

static void forgetting_the_oldest_changes_nothing_else(void **state)
{
	struct pst_recall *m = pst_recall_create(NR_LAYERS, NR_EXPERTS);
	struct history *h = &history;
	uint64_t rng = test_seed();

	assert_non_null(m);
	memset(h, 0, sizeof(*h));
	for (uint32_t i = 0; i < 600; i++)
		pass(m, h, 1, &rng, 61);
	pst_recall_destroy(m);
}

/* Layers may miss tokens in any order: estimates stay numbers, and never more
 * than all of the past speaks for an expert.
 */
static void whatever_is_missed_estimates_stay_sane(void **state)
{
	struct pst_recall *m = pst_recall_create(NR_LAYERS, NR_EXPERTS);
	uint64_t rng = test_seed();
	struct pst_echo echo[NR_EXPERTS];
	float share[NR_EXPERTS];
	uint64_t set[NR_WORDS];

	assert_non_null(m);
	for (int i = 0; i < 4000; i++) {
		uint32_t layer = (uint32_t)(pst_rng_next(&rng) % NR_LAYERS);
		uint32_t nr = 1;

		if (pst_rng_next(&rng) % 8 == 0)
			nr += (uint32_t)(pst_rng_next(&rng) % PST_RECALL_CHUNK);
		pst_recall_begin(m, layer, nr);
		for (uint32_t t = 0; t < nr; t++) {
			draw_set(&rng, t % 7, set);
			if (!pst_recall_token(m, set, NR_USED, echo))
				continue;
			if (pst_recall_ahead(m, (layer + 1) % NR_LAYERS, share))
				for (uint32_t e = 0; e < NR_EXPERTS; e++)
					assert_in_range((int)(share[e] * 100),
							0, 1000);
			for (uint32_t k = 0; k < NR_EXPERTS * PST_ECHO_NR; k++)
				assert_in_range(
					(int)(echo[k / PST_ECHO_NR]
						      .share[k % PST_ECHO_NR] *
					      100.0f),
					0, 1000);
		}
	}
	pst_recall_destroy(m);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(estimates_agree_with_the_definition),
		cmocka_unit_test(forgetting_the_oldest_changes_nothing_else),
		cmocka_unit_test(whatever_is_missed_estimates_stay_sane),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
