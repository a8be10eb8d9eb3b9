// SPDX-License-Identifier: MIT
/*
 * The policies against their definitions: a list that is searched.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "test_seed.h"

#define NR_LAYERS  7
#define NR_EXPERTS 13
#define NR_KEYS	   (NR_LAYERS * NR_EXPERTS)

static const struct pst_policy_geometry one_layer = { .nr_layers = 1,
						      .nr_experts = 8,
						      .nr_slots = 8 };

/* The definition: keys from oldest to newest. */
struct naive {
	uint32_t order[NR_KEYS];
	uint32_t nr;
	bool pinned[NR_KEYS];
};

static bool is_pinned(const void *ctx, uint32_t key)
{
	return ((const struct naive *)ctx)->pinned[key];
}

static uint32_t naive_find(const struct naive *n, uint32_t key)
{
	for (uint32_t i = 0; i < n->nr; i++)
		if (n->order[i] == key)
			return i;
	return UINT32_MAX;
}

static void naive_remove(struct naive *n, uint32_t key)
{
	uint32_t at = naive_find(n, key);

	assert_true(at != UINT32_MAX);
	memmove(n->order + at, n->order + at + 1,
		(--n->nr - at) * sizeof(n->order[0]));
}

static uint32_t naive_victim(struct naive *n)
{
	for (uint32_t i = 0; i < n->nr; i++) {
		uint32_t key = n->order[i];

		if (n->pinned[key])
			continue;
		naive_remove(n, key);
		return key;
	}
	return PST_POLICY_NONE;
}

static void the_default_exists_under_both_names(void **state)
{
	uint32_t nr = 0;

	assert_non_null(pst_policy_find("default"));
	assert_ptr_equal(pst_policy_find("lru"), &pst_policy_lru);
	assert_null(pst_policy_find("no such policy"));
	assert_null(pst_policy_find(""));
	for (; pst_policy_name(nr); nr++) {
		const struct pst_policy_ops *ops =
			pst_policy_find(pst_policy_name(nr));

		assert_non_null(ops);
		assert_string_equal(ops->name, pst_policy_name(nr));
	}
	assert_true(nr >= 1);
	assert_null(pst_policy_name(UINT32_MAX));
}

static void the_oldest_goes_first(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_lru;
	struct pst_policy *p = ops->create(&one_layer);
	struct naive none = { .nr = 0 };

	for (uint32_t k = 0; k < 4; k++)
		ops->insert(p, k);
	ops->touch(p, 0);
	ops->touch(p, 2);
	assert_int_equal(ops->victim(p, is_pinned, &none), 1);
	assert_int_equal(ops->victim(p, is_pinned, &none), 3);
	assert_int_equal(ops->victim(p, is_pinned, &none), 0);
	assert_int_equal(ops->victim(p, is_pinned, &none), 2);
	assert_int_equal(ops->victim(p, is_pinned, &none), PST_POLICY_NONE);
	ops->destroy(p);
}

static void pinned_keys_are_passed_over_and_keep_their_place(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_lru;
	struct pst_policy *p = ops->create(&one_layer);
	struct naive n = { .pinned = { [0] = true, [1] = true } };

	for (uint32_t k = 0; k < 3; k++)
		ops->insert(p, k);
	assert_int_equal(ops->victim(p, is_pinned, &n), 2);
	assert_int_equal(ops->victim(p, is_pinned, &n), PST_POLICY_NONE);
	n.pinned[0] = n.pinned[1] = false;
	assert_int_equal(ops->victim(p, is_pinned, &n), 0);
	assert_int_equal(ops->victim(p, is_pinned, &n), 1);
	ops->destroy(p);
}

static void a_removed_key_is_no_victim_and_may_return(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_lru;
	struct pst_policy *p = ops->create(&one_layer);
	struct naive none = { .nr = 0 };

	ops->insert(p, 0);
	ops->insert(p, 1);
	ops->remove(p, 0);
	ops->insert(p, 2);
	ops->insert(p, 0);
	assert_int_equal(ops->victim(p, is_pinned, &none), 1);
	assert_int_equal(ops->victim(p, is_pinned, &none), 2);
	assert_int_equal(ops->victim(p, is_pinned, &none), 0);
	ops->destroy(p);
	ops->destroy(NULL);
}

/* The definition of cycle: from the layer of the last key backwards. */
static uint32_t naive_cycle_victim(struct naive *n, uint32_t layer)
{
	for (uint32_t i = 0; i < NR_LAYERS; i++) {
		for (uint32_t k = 0; k < n->nr; k++) {
			uint32_t key = n->order[k];

			if (key / NR_EXPERTS != layer || n->pinned[key])
				continue;
			naive_remove(n, key);
			return key;
		}
		layer = (layer + NR_LAYERS - 1) % NR_LAYERS;
	}
	return PST_POLICY_NONE;
}

static void live(const struct pst_policy_ops *ops,
		 const struct pst_policy_geometry *geo, bool cycle)
{
	struct pst_policy *p = ops->create(geo);
	struct naive n = { .nr = 0 };
	uint64_t rng = test_seed();
	uint32_t layer = 0;

	for (int step = 0; step < 100000; step++) {
		uint32_t key = (uint32_t)(pst_rng_next(&rng) % NR_KEYS);
		bool there = naive_find(&n, key) != UINT32_MAX;

		switch (pst_rng_next(&rng) % 8) {
		case 0:
			n.pinned[key] = !n.pinned[key];
			break;
		case 1:
		case 2:
			assert_int_equal(ops->victim(p, is_pinned, &n),
					 cycle ? naive_cycle_victim(&n, layer)
					       : naive_victim(&n));
			break;
		case 3:
			if (there) {
				ops->remove(p, key);
				naive_remove(&n, key);
			}
			break;
		default:
			if (there) {
				ops->touch(p, key);
				naive_remove(&n, key);
			} else {
				ops->insert(p, key);
			}
			n.order[n.nr++] = key;
			layer = key / NR_EXPERTS;
		}
	}
	ops->destroy(p);
}

static void long_random_lives_agree_with_the_definition(void **state)
{
	struct pst_policy_geometry geo = { .nr_layers = NR_LAYERS,
					   .nr_experts = NR_EXPERTS,
					   .nr_slots = 40,
					   .nr_per_token = 40 };

	live(&pst_policy_lru, &geo, false);
	/* With room for a token, cycle is lru. */
	live(&pst_policy_cycle, &geo, false);
	geo.nr_slots = 39;
	live(&pst_policy_lru, &geo, false);
	live(&pst_policy_cycle, &geo, true);
}

/* Layers take turns and the cache is one expert short of a turn: where lru
 * hits nothing at all, cycle keeps most.
 */
static void cycle_has_no_cliff(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_cycle;
	struct pst_policy_geometry geo = { .nr_layers = NR_LAYERS,
					   .nr_experts = NR_EXPERTS,
					   .nr_slots = NR_LAYERS - 1,
					   .nr_per_token = NR_LAYERS };
	struct pst_policy *p = ops->create(&geo);
	bool resident[NR_KEYS] = { false };
	struct naive none = { .nr = 0 };
	uint32_t nr = 0, hits = 0;

	for (uint32_t turn = 0; turn < 100 * NR_LAYERS; turn++) {
		uint32_t key = turn % NR_LAYERS * NR_EXPERTS;

		if (resident[key]) {
			hits++;
			ops->touch(p, key);
			continue;
		}
		if (nr == geo.nr_slots) {
			uint32_t gone = ops->victim(p, is_pinned, &none);

			assert_true(gone < NR_KEYS && resident[gone]);
			resident[gone] = false;
			nr--;
		}
		ops->insert(p, key);
		resident[key] = true;
		nr++;
	}
	assert_true(hits >= 60 * NR_LAYERS);
	ops->destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_default_exists_under_both_names),
		cmocka_unit_test(the_oldest_goes_first),
		cmocka_unit_test(
			pinned_keys_are_passed_over_and_keep_their_place),
		cmocka_unit_test(a_removed_key_is_no_victim_and_may_return),
		cmocka_unit_test(long_random_lives_agree_with_the_definition),
		cmocka_unit_test(cycle_has_no_cliff),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
