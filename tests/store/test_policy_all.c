// SPDX-License-Identifier: MIT
/*
 * What holds for every policy, and what each one is there for.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "replay.h"
#include "routing.h"
#include "test_seed.h"

#define NR_LAYERS  5
#define NR_EXPERTS 70 /* more than one word of a set */
#define NR_KEYS	   (NR_LAYERS * NR_EXPERTS)
#define NR_SLOTS   60

struct world {
	bool resident[NR_KEYS];
	bool pinned[NR_KEYS];
	uint32_t nr_resident;
};

static bool is_pinned(const void *ctx, uint32_t key)
{
	return ((const struct world *)ctx)->pinned[key];
}

static bool none_is(const void *ctx, uint32_t key)
{
	return false;
}

static void evict(const struct pst_policy_ops *ops, struct pst_policy *p,
		  struct world *w)
{
	uint32_t key = ops->victim(p, is_pinned, w);

	if (key == PST_POLICY_NONE) {
		for (uint32_t k = 0; k < NR_KEYS; k++)
			assert_false(w->resident[k] && !w->pinned[k]);
		return;
	}
	assert_true(key < NR_KEYS);
	assert_true(w->resident[key]);
	assert_false(w->pinned[key]);
	w->resident[key] = false;
	w->nr_resident--;
}

static void want(const struct pst_policy_ops *ops, struct pst_policy *p,
		 struct world *w, uint32_t key)
{
	if (w->resident[key]) {
		ops->touch(p, key);
		return;
	}
	if (w->nr_resident == NR_SLOTS)
		evict(ops, p, w);
	if (w->nr_resident == NR_SLOTS)
		return;
	ops->insert(p, key);
	w->resident[key] = true;
	w->nr_resident++;
}

static void route(const struct pst_policy_ops *ops, struct pst_policy *p,
		  uint64_t *rng)
{
	uint32_t ids[300];
	struct pst_policy_route r = {
		.layer = (uint32_t)(pst_rng_next(rng) % NR_LAYERS),
		.ids = ids,
		.nr_tokens = 1 + (uint32_t)(pst_rng_next(rng) % 4) / 3 * 99,
		.nr_used = 3
	};

	for (uint32_t i = 0; i < r.nr_tokens; i++) {
		ids[3 * i] = (uint32_t)(pst_rng_next(rng) % 20);
		ids[3 * i + 1] = 20 + (uint32_t)(pst_rng_next(rng) % 20);
		ids[3 * i + 2] = 40 + (uint32_t)(pst_rng_next(rng) % 30);
	}
	if (ops->route)
		ops->route(p, &r);
}

static void live(const struct pst_policy_ops *ops, uint32_t nr_per_token)
{
	struct pst_policy_geometry geo = { .nr_layers = NR_LAYERS,
					   .nr_experts = NR_EXPERTS,
					   .nr_slots = NR_SLOTS,
					   .nr_per_token = nr_per_token };
	struct pst_policy *p = ops->create(&geo);
	struct world w = { .nr_resident = 0 };
	uint64_t rng = test_seed();

	assert_non_null(p);
	for (int step = 0; step < 60000; step++) {
		uint32_t key = (uint32_t)(pst_rng_next(&rng) % NR_KEYS);
		uint32_t what = (uint32_t)(pst_rng_next(&rng) % 16);

		if (what == 0) {
			w.pinned[key] = !w.pinned[key];
		} else if (what == 1) {
			evict(ops, p, &w);
		} else if (what == 2 && w.resident[key]) {
			ops->remove(p, key);
			w.resident[key] = false;
			w.nr_resident--;
		} else if (what == 3) {
			route(ops, p, &rng);
		} else {
			want(ops, p, &w, key);
		}
	}
	/* Unpinned, each resident key comes out exactly once. */
	memset(w.pinned, 0, sizeof(w.pinned));
	while (w.nr_resident)
		evict(ops, p, &w);
	assert_int_equal(ops->victim(p, none_is, NULL), PST_POLICY_NONE);
	ops->destroy(p);
	ops->destroy(NULL);
}

static void victims_are_resident_and_not_pinned(void **state)
{
	for (uint32_t i = 0; pst_policy_name(i); i++) {
		live(pst_policy_find(pst_policy_name(i)), NR_SLOTS);
		live(pst_policy_find(pst_policy_name(i)), NR_SLOTS + 1);
	}
}

static const struct pst_policy_geometry one_layer = {
	.nr_layers = 1, .nr_experts = 64, .nr_slots = 10, .nr_per_token = 2
};

static void lfu_keeps_what_was_wanted_often(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_lfu;
	struct pst_policy *p = ops->create(&one_layer);

	for (int i = 0; i < 5; i++)
		i ? ops->touch(p, 7) : ops->insert(p, 7);
	ops->insert(p, 8);
	ops->touch(p, 8);
	ops->insert(p, 9);
	assert_int_equal(ops->victim(p, none_is, NULL), 9);
	assert_int_equal(ops->victim(p, none_is, NULL), 8);
	/* The count of what left is not forgotten. */
	ops->insert(p, 10);
	ops->insert(p, 8);
	assert_int_equal(ops->victim(p, none_is, NULL), 10);
	ops->destroy(p);
}

static void lfu_forgets_old_uses(void **state)
{
	struct pst_policy_geometry geo = one_layer;
	const struct pst_policy_ops *ops = &pst_policy_lfu;
	struct pst_policy *p;

	geo.nr_layers = 2;
	p = ops->create(&geo);
	for (int i = 0; i < 8; i++)
		i ? ops->touch(p, 1) : ops->insert(p, 1);
	/* Eight uses are worth less than one after four half-lives. */
	ops->insert(p, 64);
	for (int i = 0; i < 4 * 32; i++) {
		ops->touch(p, 64);
		i ? ops->touch(p, 2) : ops->insert(p, 2);
	}
	ops->insert(p, 3);
	assert_int_equal(ops->victim(p, none_is, NULL), 1);
	ops->destroy(p);
}

static void s3fifo_lets_a_scan_pass(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_s3fifo;
	struct pst_policy *p = ops->create(&one_layer);

	/* Nine that were wanted twice, then forty that are wanted once. */
	for (uint32_t k = 0; k < 9; k++) {
		ops->insert(p, k);
		ops->touch(p, k);
	}
	ops->insert(p, 20);
	for (uint32_t k = 21; k < 60; k++) {
		assert_int_equal(ops->victim(p, none_is, NULL), k - 1);
		ops->insert(p, k);
	}
	ops->destroy(p);
}

static void s3fifo_takes_a_ghost_for_a_regular(void **state)
{
	const struct pst_policy_ops *ops = &pst_policy_s3fifo;
	struct pst_policy *p = ops->create(&one_layer);

	for (uint32_t k = 0; k < 10; k++)
		ops->insert(p, k);
	assert_int_equal(ops->victim(p, none_is, NULL), 0);
	ops->insert(p, 0);
	for (uint32_t k = 1; k < 10; k++)
		assert_int_equal(ops->victim(p, none_is, NULL), k);
	assert_int_equal(ops->victim(p, none_is, NULL), 0);
	ops->destroy(p);
}

static double hits(const struct pst_trace *t, const struct pst_policy_ops *ops,
		   uint32_t nr_slots)
{
	struct pst_replay_result r;

	assert_int_equal(pst_replay_policy(t, ops, nr_slots, &r), 0);
	return (double)r.hits / (double)(r.hits + r.misses);
}

static const struct {
	double skew, repeat;
	uint32_t drift;
} characters[] = {
	{ 0.0, 0.0, 0 }, { 0.6, 0.0, 0 },  { 1.0, 0.0, 0 },  { 0.0, 0.5, 0 },
	{ 0.6, 0.4, 0 }, { 1.0, 0.3, 40 }, { 1.4, 0.0, 10 }, { 0.8, 0.2, 20 },
};

/* On routings of every character, with room for 0.3 to 4 tokens: never much
 * worse than LRU without its cliff, and much better where there is something
 * to learn.
 */
static void adaptive_is_not_worse_than_cycle(void **state)
{
	static const uint32_t slots[] = { 21, 48, 71, 72, 144, 288 };
	struct routing r = { .nr_layers = 12,
			     .nr_experts = 64,
			     .nr_used = 6,
			     .nr_prefill = 24,
			     .nr_decode = 100,
			     .seed = test_seed() };

	for (size_t c = 0; c < PST_ARRAY_SIZE(characters); c++) {
		struct pst_trace t;

		r.skew = characters[c].skew;
		r.repeat = characters[c].repeat;
		r.drift = characters[c].drift;
		r.seed++;
		routing_make(&r, &t);
		for (size_t i = 0; i < PST_ARRAY_SIZE(slots); i++) {
			double a = hits(&t, &pst_policy_adaptive, slots[i]);
			double b = hits(&t, &pst_policy_cycle, slots[i]);

			print_message("skew %.1f repeat %.1f drift %2u, %3u "
				      "slots: cycle %.3f adaptive %.3f\n",
				      r.skew, r.repeat, r.drift, slots[i], b,
				      a);
			assert_true(a >= b - 0.02);
			/* A steady preference is there to be learned. */
			if (r.skew >= 0.6 && !r.drift && r.repeat == 0.0)
				assert_true(a >= b + 0.03);
		}
		pst_trace_fini(&t);
	}
}

/* Eight kinds of token, each with experts of its own, come round in turn.  All
 * are equally frequent, and LRU drops what comes next: only who knows what
 * followed on the last such token keeps the right ones.
 */
static void adaptive_learns_what_follows_on_a_token(void **state)
{
	struct routing r = { .nr_layers = 12,
			     .nr_experts = 64,
			     .nr_used = 6,
			     .nr_prefill = 24,
			     .nr_decode = 100,
			     .seed = test_seed() };
	struct pst_trace t;

	routing_make(&r, &t);
	for (uint32_t row = 0; row < t.nr_rows; row++) {
		uint32_t group = row / r.nr_used;
		uint32_t token = row < t.first_decode ? group % r.nr_prefill
						      : group / r.nr_layers;

		t.key[row] = t.key[row] / r.nr_experts * r.nr_experts +
			     token % 8 * 8 + row % r.nr_used;
	}
	for (uint32_t slots = 72; slots <= 360; slots += 72) {
		double a = hits(&t, &pst_policy_adaptive, slots);
		double b = hits(&t, &pst_policy_lru, slots);

		print_message("%u slots: lru %.3f adaptive %.3f\n", slots, b,
			      a);
		assert_true(b < 0.02);
		assert_true(a >= 0.6 * slots / 576);
	}
	pst_trace_fini(&t);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(victims_are_resident_and_not_pinned),
		cmocka_unit_test(lfu_keeps_what_was_wanted_often),
		cmocka_unit_test(lfu_forgets_old_uses),
		cmocka_unit_test(s3fifo_lets_a_scan_pass),
		cmocka_unit_test(s3fifo_takes_a_ghost_for_a_regular),
		cmocka_unit_test(adaptive_is_not_worse_than_cycle),
		cmocka_unit_test(adaptive_learns_what_follows_on_a_token),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
