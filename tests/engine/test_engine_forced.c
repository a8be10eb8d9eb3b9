// SPDX-License-Identifier: MIT
/*
 * Forced routing: what a trace took is what a run takes, at any geometry.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "forced.h"
#include "test_seed.h"

#define LAYERS	4
#define EXPERTS 8
#define USED	3
#define PREFILL 5
#define DECODE	6
#define TOKENS	(PREFILL + DECODE)

/* Layer 1 has no experts; the prompt comes layer by layer. */
struct made {
	uint32_t key[TOKENS * (LAYERS - 1) * USED];
	float weight[TOKENS * (LAYERS - 1) * USED];
	uint64_t expert_bytes[LAYERS];
	uint32_t want[TOKENS][LAYERS][USED];
	struct pst_trace t;
};

static void put_group(struct made *m, uint32_t token, uint32_t layer,
		      uint64_t *rng)
{
	uint32_t first = (uint32_t)(pst_rng_next(rng) % EXPERTS);

	for (uint32_t i = 0; i < USED; i++) {
		uint32_t e = (first + i * 3) % EXPERTS;

		m->want[token][layer][i] = e;
		m->weight[m->t.nr_rows] = (float)(token * 100 + layer * 10 + i);
		m->key[m->t.nr_rows++] = layer * EXPERTS + e;
	}
}

static void make(struct made *m, uint64_t seed)
{
	memset(m, 0, sizeof(*m));
	m->t = (struct pst_trace){ .nr_layers = LAYERS,
				   .nr_experts = EXPERTS,
				   .nr_used = USED,
				   .nr_moe_layers = LAYERS - 1,
				   .expert_bytes = m->expert_bytes,
				   .key = m->key,
				   .weight = m->weight };
	for (uint32_t l = 0; l < LAYERS; l++)
		m->expert_bytes[l] = l == 1 ? 0 : 10;
	for (uint32_t l = 0; l < LAYERS; l++)
		for (uint32_t k = 0; k < PREFILL && l != 1; k++)
			put_group(m, k, l, &seed);
	m->t.first_decode = m->t.nr_rows;
	for (uint32_t k = PREFILL; k < TOKENS; k++)
		for (uint32_t l = 0; l < LAYERS; l++)
			if (l != 1)
				put_group(m, k, l, &seed);
}

static void the_same_geometry_takes_what_was_recorded(void **state)
{
	struct pst_forced_shape shape;
	struct pst_forced *f;
	struct made m;

	make(&m, test_seed());
	assert_int_equal(pst_forced_create(&m.t, &f), 0);
	pst_forced_shape(f, &shape);
	assert_int_equal(shape.nr_tokens, TOKENS);
	assert_int_equal(shape.nr_prefill, PREFILL);
	for (uint32_t pos = 0; pos < TOKENS + DECODE; pos++) {
		/* Past the end, the decode phase again. */
		uint32_t k = pos < TOKENS ? pos : pos - DECODE;

		for (uint32_t l = 0; l < LAYERS; l += 2) {
			uint32_t ids[USED] = { 0 };
			float w[USED] = { 0 };
			struct pst_route_choice c = { l,       pos, 1, USED,
						      EXPERTS, ids, w };

			assert_int_equal(pst_forced_choose(f, &c), USED);
			assert_memory_equal(ids, m.want[k][l], sizeof(ids));
			assert_true(w[1] == (float)(k * 100 + l * 10 + 1));
		}
	}
	pst_forced_destroy(f);
}

static void a_batch_is_its_tokens_packed(void **state)
{
	uint32_t ids[PREFILL * (USED + 2)] = { 0 };
	float w[PREFILL * (USED + 2)] = { 0 };
	struct pst_route_choice c = { 2, 0, PREFILL, USED + 2, EXPERTS, ids, w };
	struct pst_forced *f;
	struct made m;

	make(&m, test_seed());
	assert_int_equal(pst_forced_create(&m.t, &f), 0);
	assert_int_equal(pst_forced_choose(f, &c), USED);
	for (uint32_t k = 0; k < PREFILL; k++)
		assert_memory_equal(ids + k * USED, m.want[k][2],
				    sizeof(m.want[k][2]));
	pst_forced_destroy(f);
}

static void another_geometry_gets_distinct_experts_of_its_own(void **state)
{
	uint64_t rng = test_seed();
	struct pst_forced *f;
	struct made m;

	make(&m, rng);
	assert_int_equal(pst_forced_create(&m.t, &f), 0);
	for (int i = 0; i < 2000; i++) {
		uint32_t experts = 1 + (uint32_t)(pst_rng_next(&rng) % 20);
		uint32_t used = 1 + (uint32_t)(pst_rng_next(&rng) %
					       PST_MIN(experts, 5u));
		uint32_t ids[2 * 5] = { 0 }, nr;
		float w[2 * 5] = { 0 };
		struct pst_route_choice c = {
			.layer = (uint32_t)(pst_rng_next(&rng) % 100),
			.first_pos = (uint32_t)pst_rng_next(&rng) / 2,
			.nr_tokens = 2,
			.nr_used = used,
			.nr_experts = experts,
			.ids = ids,
			.weights = w,
		};

		nr = pst_forced_choose(f, &c);
		assert_int_equal(nr, PST_MIN(used, (uint32_t)USED));
		for (uint32_t t = 0; t < 2; t++)
			for (uint32_t a = 0; a < nr; a++) {
				assert_true(ids[t * nr + a] < experts);
				for (uint32_t b = 0; b < a; b++)
					assert_int_not_equal(ids[t * nr + a],
							     ids[t * nr + b]);
			}
	}
	pst_forced_destroy(f);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_same_geometry_takes_what_was_recorded),
		cmocka_unit_test(a_batch_is_its_tokens_packed),
		cmocka_unit_test(
			another_geometry_gets_distinct_experts_of_its_own),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
