// SPDX-License-Identifier: MIT
/*
 * Long random lives of a store: hits and misses agree with a simple model of
 * least recently used; with faults, nothing is lost and nothing is wrong.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store_testing.h"

/* Keys from oldest to newest, as the definition says. */
struct model {
	uint32_t keys[256];
	uint32_t nr, cap;
	uint64_t hits, misses;
};

static bool model_has(const struct model *m, uint32_t key)
{
	for (uint32_t i = 0; i < m->nr; i++)
		if (m->keys[i] == key)
			return true;
	return false;
}

static void model_drop(struct model *m, uint32_t key)
{
	for (uint32_t i = 0; i < m->nr; i++) {
		if (m->keys[i] != key)
			continue;
		memmove(m->keys + i, m->keys + i + 1,
			(--m->nr - i) * sizeof(m->keys[0]));
		return;
	}
}

static bool in_set(const uint32_t *keys, uint32_t nr, uint32_t key)
{
	for (uint32_t i = 0; i < nr; i++)
		if (keys[i] == key)
			return true;
	return false;
}

static void model_evict(struct model *m, const uint32_t *set, uint32_t nr)
{
	for (uint32_t i = 0; i < m->nr; i++) {
		if (in_set(set, nr, m->keys[i]))
			continue;
		model_drop(m, m->keys[i]);
		return;
	}
	fail_msg("no victim");
}

/* A set that fits: hits are touched first, then misses are read in order. */
static void model_want(struct model *m, const uint32_t *set, uint32_t nr)
{
	uint32_t missing[MAX_EXPERTS], nr_missing = 0;

	for (uint32_t i = 0; i < nr; i++) {
		if (!model_has(m, set[i])) {
			missing[nr_missing++] = set[i];
			continue;
		}
		model_drop(m, set[i]);
		m->keys[m->nr++] = set[i];
		m->hits++;
	}
	for (uint32_t i = 0; i < nr_missing; i++) {
		if (m->nr == m->cap)
			model_evict(m, set, nr);
		m->keys[m->nr++] = missing[i];
		m->misses++;
	}
}

static uint32_t below(uint64_t *rng, uint32_t n)
{
	return (uint32_t)(pst_rng_next(rng) % n);
}

/* A seeded set of distinct experts, in any order; favourites come often. */
static uint32_t draw_set(uint64_t *rng, uint32_t nr_experts, uint32_t max,
			 uint32_t *ids)
{
	uint32_t perm[MAX_EXPERTS], nr = 1 + below(rng, max);

	for (uint32_t i = 0; i < nr_experts; i++)
		perm[i] = i;
	for (uint32_t i = 0; i < nr; i++) {
		uint32_t left = nr_experts - i;
		uint32_t j = i + PST_MIN(below(rng, left), below(rng, left));
		uint32_t t = perm[i];

		perm[i] = perm[j];
		perm[j] = t;
		ids[i] = perm[i];
	}
	return nr;
}

static struct sshape draw_shape(uint64_t *rng)
{
	struct sshape s = {
		.nr_layers = 1 + below(rng, 5),
		.nr_experts = 2 + below(rng, 30),
		.nr_parts = 1 + below(rng, 3),
		.gap_bytes = below(rng, 9000),
		.split_bytes = 4096 * (1 + below(rng, 4)),
		.queue_depth = 1 + below(rng, 16),
	};

	s.nr_slots = 1 + below(rng, s.nr_layers * s.nr_experts);
	for (uint32_t p = 0; p < PST_STORE_PARTS; p++)
		s.part_bytes[p] = 1 + below(rng, 10000);
	return s;
}

static void hits_and_misses_are_those_of_lru(void **state)
{
	uint64_t rng = test_seed();

	for (int life = 0; life < 40; life++) {
		struct sshape shape = draw_shape(&rng);
		struct model m = { .cap = shape.nr_slots };
		struct pst_store_stats st;
		struct pst_diag d;
		struct sbed b;

		/* With room for a token, cycle is lru as well. */
		shape.policy = life & 1 ? "cycle" : "lru";
		shape.nr_per_token = life & 1 ? shape.nr_slots : UINT32_MAX;
		sbed_open(&b, &shape);
		pst_diag_init(&d);
		for (int i = 0; i < 150; i++) {
			uint32_t ids[MAX_EXPERTS], keys[MAX_EXPERTS];
			uint32_t l = below(&rng, shape.nr_layers);
			uint32_t fits =
				PST_MIN(shape.nr_slots, shape.nr_experts);
			uint32_t nr =
				draw_set(&rng, shape.nr_experts, fits, ids);

			for (uint32_t k = 0; k < nr; k++)
				keys[k] = l * shape.nr_experts + ids[k];
			model_want(&m, keys, nr);
			assert_int_equal(sbed_run(&b, l, ids, nr,
						  1 + below(&rng, 8), &d),
					 0);
			pst_store_stats_read(b.s, &st);
			assert_int_equal(st.hits, m.hits);
			assert_int_equal(st.misses, m.misses);
			for (uint32_t k = 0; k < m.nr; k++)
				assert_true(sbed_resident(
					&b, m.keys[k] / shape.nr_experts,
					m.keys[k] % shape.nr_experts));
		}
		sbed_close(&b);
	}
}

/* Guesses of any quality for any layer, as a predictor may give them. */
static void guess(struct sbed *b, uint64_t *rng)
{
	uint32_t ids[MAX_EXPERTS];
	uint32_t l = below(rng, b->shape.nr_layers);
	uint32_t nr =
		draw_set(rng, b->shape.nr_experts, b->shape.nr_experts, ids);

	pst_store_prefetch(b->s, l, ids, nr,
			   (uint32_t)(pst_rng_next(rng) % (nr + 1)));
	sbed_invariants(b);
}

/* Memory is given back and taken again, as a governor does. */
static void resize(struct sbed *b, uint64_t *rng)
{
	uint32_t want = 1 + below(rng, b->shape.nr_slots);
	uint32_t before = pst_store_nr_slots(b->s);

	if (below(rng, 2)) {
		assert_int_equal(pst_store_shrink(b->s, want), 0);
		assert_true(pst_store_nr_slots(b->s) >= want ||
			    pst_store_nr_slots(b->s) == before);
	} else {
		assert_int_equal(pst_store_grow(b->s, want, NULL), 0);
		assert_true(pst_store_nr_slots(b->s) >= before);
	}
	sbed_invariants(b);
}

/* Abandons a set somewhere, as a cancelled request does. */
static void abandon(struct sbed *b, uint64_t *rng, uint32_t layer,
		    const uint32_t *ids, uint32_t nr)
{
	struct pst_expert e;
	uint32_t steps = below(rng, nr + 1), held = 0;

	pst_store_begin(b->s, layer, ids, nr);
	if (below(rng, 2))
		guess(b, rng);
	for (uint32_t i = 0; i < steps; i++) {
		/* Who holds every slot must not wait for another. */
		bool wait = below(rng, 2) && held < pst_store_nr_slots(b->s);

		if (pst_store_take(b->s, &e, 1, wait, NULL) != 1)
			break;
		sbed_check(b, layer, &e);
		if (!e.finish)
			continue;
		if (below(rng, 4))
			pst_store_done(b->s, e.expert);
		else
			held++;
		sbed_invariants(b);
	}
	pst_store_end(b->s);
	sbed_invariants(b);
}

static void nothing_is_lost_when_everything_goes_wrong(void **state)
{
	uint64_t rng = test_seed();
	uint64_t used = 0, withdrawn = 0;
	uint32_t errors = 0, good = 0;

	for (int life = 0; life < 60; life++) {
		struct sshape shape = draw_shape(&rng);
		struct pst_store_stats st;
		struct pst_diag d;
		struct sbed b;
		char fault[96];

		snprintf(fault, sizeof(fault),
			 "seed=%u,eio=0.01,short=0.2,eagain=0.2,shuffle=1,"
			 "delay_us=%u",
			 below(&rng, 1u << 30), below(&rng, 100));
		shape.fault = fault;
		shape.policy = life & 1 ? "default" : "lru";
		shape.nr_per_token = below(&rng, 2 * shape.nr_slots);
		shape.region_bytes = 4096 * (1 + below(&rng, 40));
		shape.early = life & 2;
		sbed_open(&b, &shape);
		for (int i = 0; i < 60; i++) {
			uint32_t ids[MAX_EXPERTS];
			uint32_t l = below(&rng, shape.nr_layers);
			/* Also more than there are slots. */
			uint32_t nr = draw_set(&rng, shape.nr_experts,
					       shape.nr_experts, ids);
			int rc;

			if (below(&rng, 2))
				guess(&b, &rng);
			if (!below(&rng, 8))
				resize(&b, &rng);
			if (!below(&rng, 4)) {
				abandon(&b, &rng, l, ids, nr);
				continue;
			}
			pst_diag_init(&d);
			rc = sbed_run(&b, l, ids, nr, 1 + below(&rng, 8), &d);
			assert_true(rc == 0 || rc == -EIO);
			assert_int_equal(d.err, rc);
			errors += rc != 0;
			good += rc == 0;
		}
		pst_store_stats_read(b.s, &st);
		used += st.prefetch_used;
		withdrawn += st.prefetch_withdrawn;
		sbed_close(&b);
	}
	assert_true(errors > 0 && good > 0);
	assert_true(used > 0 && withdrawn > 0);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(hits_and_misses_are_those_of_lru),
		cmocka_unit_test(nothing_is_lost_when_everything_goes_wrong),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
