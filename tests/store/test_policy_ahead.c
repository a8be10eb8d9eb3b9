// SPDX-License-Identifier: MIT
/*
 * What is read ahead of its layer's turn: no use yet, and no reason to take the
 * turn for another layer's.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "policy.h"

#define NR_LAYERS  4
#define NR_EXPERTS 16
#define NR_USED	   6
#define KEPT	   4 /* of each layer */

static const struct pst_policy_geometry geometry = {
	.nr_layers = NR_LAYERS,
	.nr_experts = NR_EXPERTS,
	.nr_slots = NR_LAYERS * KEPT,
	.nr_per_token = NR_LAYERS * NR_USED,
};

static uint32_t key_at(uint32_t layer, uint32_t expert)
{
	return layer * NR_EXPERTS + expert;
}

static bool none_is(const void *ctx, uint32_t key)
{
	return false;
}

/* As the store guards what it has guessed. */
static bool is_guess(const void *ctx, uint32_t key)
{
	return key % NR_EXPERTS >= KEPT;
}

static bool in_layer(const void *ctx, uint32_t key)
{
	return key / NR_EXPERTS == *(const uint32_t *)ctx;
}

/* The turns of all layers in order, each taking its first experts. */
static void play_turns(const struct pst_policy_ops *ops, struct pst_policy *p,
		       bool first)
{
	static const uint32_t ids[KEPT] = { 0, 1, 2, 3 };

	for (uint32_t l = 0; l < NR_LAYERS; l++) {
		struct pst_policy_route r = {
			.layer = l, .ids = ids, .nr_tokens = 1, .nr_used = KEPT
		};

		if (ops->route)
			ops->route(p, &r);
		for (uint32_t e = 0; e < KEPT; e++)
			first ? ops->insert(p, key_at(l, e))
			      : ops->touch(p, key_at(l, e));
		for (uint32_t e = 0; e < KEPT && ops->done; e++)
			ops->done(p, key_at(l, e));
	}
}

static void begin_turn(const struct pst_policy_ops *ops, struct pst_policy *p,
		       uint32_t layer)
{
	static const uint32_t ids[2] = { 0, 1 };
	struct pst_policy_route r = {
		.layer = layer, .ids = ids, .nr_tokens = 1, .nr_used = 2
	};

	if (ops->route)
		ops->route(p, &r);
	for (uint32_t e = 0; e < 2; e++)
		ops->touch(p, key_at(layer, ids[e]));
}

static void put_ahead(const struct pst_policy_ops *ops, struct pst_policy *p,
		      uint32_t key)
{
	ops->ahead ? ops->ahead(p, key) : ops->insert(p, key);
}

/* The layer that comes next is the last one to lose anything. */
static void reading_ahead_costs_the_next_layer_nothing(void **state)
{
	static const struct pst_policy_ops *const by_turn[] = {
		&pst_policy_cycle, &pst_policy_adaptive
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(by_turn); i++) {
		const struct pst_policy_ops *ops = by_turn[i];
		struct pst_policy *p = ops->create(&geometry);

		assert_non_null(p);
		play_turns(ops, p, true);
		play_turns(ops, p, false);
		begin_turn(ops, p, 1);
		for (uint32_t e = 0; e < 6; e++) {
			uint32_t key = ops->victim(p, is_guess, NULL);

			assert_int_not_equal(key, PST_POLICY_NONE);
			assert_int_not_equal(key / NR_EXPERTS, 2);
			put_ahead(ops, p, key_at(2, KEPT + e));
		}
		ops->destroy(p);
	}
}

/* What the present turn has had comes up again last of all. */
static void what_is_done_may_go_at_once(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_adaptive;
	struct pst_policy *p = ops->create(&geometry);
	uint32_t layer = 1;

	assert_non_null(p);
	play_turns(ops, p, true);
	play_turns(ops, p, false);
	begin_turn(ops, p, layer);
	/* All else in this layer gone, its two are left out until they are done. */
	ops->remove(p, key_at(layer, 2));
	ops->remove(p, key_at(layer, 3));
	assert_false(in_layer(&layer, ops->victim(p, none_is, NULL)));
	ops->done(p, key_at(layer, 0));
	assert_int_equal(ops->victim(p, none_is, NULL), key_at(layer, 0));
	ops->destroy(p);
}

static void reading_ahead_is_no_use_yet(void **state)
{
	static const struct pst_policy_ops *const by_use[] = {
		&pst_policy_lfu, &pst_policy_adaptive
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(by_use); i++) {
		const struct pst_policy_ops *ops = by_use[i];
		struct pst_policy *p = ops->create(&geometry);
		float before;

		play_turns(ops, p, true);
		before = ops->worth(p, key_at(3, 0));
		ops->remove(p, key_at(3, 0));
		put_ahead(ops, p, key_at(3, 0));
		assert_float_equal(ops->worth(p, key_at(3, 0)), before, 0.0f);
		ops->destroy(p);
	}
}

/* With LFU nothing but uses counts: a guess that was wrong goes first. */
static void lfu_drops_a_wrong_guess_first(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_lfu;
	struct pst_policy *p = ops->create(&geometry);

	play_turns(ops, p, true);
	ops->ahead(p, key_at(2, 9));
	assert_int_equal(ops->victim(p, none_is, NULL), key_at(2, 9));
	ops->destroy(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(reading_ahead_costs_the_next_layer_nothing),
		cmocka_unit_test(what_is_done_may_go_at_once),
		cmocka_unit_test(reading_ahead_is_no_use_yet),
		cmocka_unit_test(lfu_drops_a_wrong_guess_first),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
