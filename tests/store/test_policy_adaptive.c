// SPDX-License-Identifier: MIT
/*
 * What the adaptive policy promises: it repeats itself, it is not much worse
 * than the simple policy that a routing is made for, it follows a change, and
 * it listens to the router.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "policy.h"
#include "replay.h"
#include "routing.h"
#include "test_seed.h"

static double hits(const struct pst_trace *t, const struct pst_policy_ops *ops,
		   uint32_t nr_slots)
{
	struct pst_replay_result r;

	assert_int_equal(pst_replay_policy(t, ops, nr_slots, &r), 0);
	return (double)r.hits / (double)(r.hits + r.misses);
}

static struct routing usual(uint64_t seed)
{
	return (struct routing){ .nr_layers = 12,
				 .nr_experts = 64,
				 .nr_used = 6,
				 .nr_prefill = 24,
				 .nr_decode = 150,
				 .seed = seed };
}

struct log {
	uint8_t *hit;
};

static void note(void *ctx, uint32_t row, bool hit)
{
	((struct log *)ctx)->hit[row] = hit;
}

static void two_replays_agree_in_every_row(void **state)
{
	struct routing r = usual(test_seed());
	struct pst_replay_result x, y;
	struct log one, two;
	struct pst_trace t;

	r.skew = 0.8;
	r.repeat = 0.3;
	r.nr_decode = 300; /* past the point where the oldest is forgotten */
	routing_make(&r, &t);
	one.hit = pst_calloc(t.nr_rows, 1);
	two.hit = pst_calloc(t.nr_rows, 1);
	assert_true(one.hit && two.hit);
	assert_int_equal(pst_replay_watch(&t, &pst_policy_adaptive, 100, note,
					  &one, &x),
			 0);
	assert_int_equal(pst_replay_watch(&t, &pst_policy_adaptive, 100, note,
					  &two, &y),
			 0);
	assert_memory_equal(one.hit, two.hit, t.nr_rows);
	assert_int_equal(x.hits, y.hits);
	free(one.hit);
	free(two.hit);
	pst_trace_fini(&t);
}

static void never_far_below(const struct routing *r,
			    const struct pst_policy_ops *other, double margin)
{
	static const uint32_t slots[] = { 72, 144, 230, 384 };
	struct pst_trace t;

	routing_make(r, &t);
	for (size_t i = 0; i < PST_ARRAY_SIZE(slots); i++) {
		double a = hits(&t, &pst_policy_adaptive, slots[i]);
		double b = hits(&t, other, slots[i]);

		print_message("skew %.1f repeat %.1f drift %u, %u slots: "
			      "%s %.3f adaptive %.3f\n",
			      r->skew, r->repeat, r->drift, slots[i],
			      other->name, b, a);
		assert_true(a >= b - margin);
	}
	pst_trace_fini(&t);
}

/* Choices are those of the token before or any other: LRU's own ground. */
static void where_the_last_token_is_all_lru_is_not_better(void **state)
{
	struct routing r = usual(test_seed());

	for (int i = 0; i < 3; i++) {
		r.repeat = 0.6 + 0.15 * i;
		r.drift = i ? 0 : 30;
		never_far_below(&r, &pst_policy_lru, 0.01);
		r.seed++;
	}
}

/* Choices are independent, some more likely: LFU's own ground. */
static void where_preference_is_all_lfu_is_not_better(void **state)
{
	struct routing r = usual(test_seed());

	for (int i = 0; i < 3; i++) {
		r.skew = 0.7 + 0.4 * i;
		never_far_below(&r, &pst_policy_lfu, 0.02);
		r.seed++;
	}
}

/* Room for a sixth and a third of one token's experts, and favourites in every
 * layer: they stay, though their layer's turn has just been.
 */
static void favourites_stay_in_a_cache_below_one_token(void **state)
{
	static const uint32_t slots[] = { 36, 72 };
	struct routing r = usual(test_seed());
	struct pst_trace t;

	r.nr_experts = 56;
	r.nr_used = 18;
	r.skew = 1.2;
	routing_make(&r, &t);
	for (size_t i = 0; i < PST_ARRAY_SIZE(slots); i++) {
		double a = hits(&t, &pst_policy_adaptive, slots[i]);
		double b = hits(&t, &pst_policy_lfu, slots[i]);

		print_message("%u slots: lfu %.3f adaptive %.3f\n", slots[i], b,
			      a);
		assert_true(a > b);
	}
	pst_trace_fini(&t);
}

/* All preferences are dealt anew in the middle of the reply. */
static void a_change_is_followed(void **state)
{
	struct routing r = usual(test_seed());

	r.skew = 1.2;
	r.drift = (r.nr_prefill + r.nr_decode) / 2;
	never_far_below(&r, &pst_policy_lru, 0.0);
	never_far_below(&r, &pst_policy_lfu, 0.0);
}

/* A run in which the router's second thoughts are the next token's choice. */
struct thinker {
	struct pst_policy *p;
	bool *resident;
	uint32_t nr_resident, nr_slots;
	uint32_t hits, wants;
};

static bool none_is(const void *ctx, uint32_t key)
{
	return false;
}

static void want(struct thinker *t, uint32_t key)
{
	const struct pst_policy_ops *ops = &pst_policy_adaptive;

	t->wants++;
	if (t->resident[key]) {
		t->hits++;
		ops->touch(t->p, key);
		return;
	}
	if (t->nr_resident == t->nr_slots) {
		uint32_t gone = ops->victim(t->p, none_is, NULL);

		assert_true(t->resident[gone]);
		t->resident[gone] = false;
		t->nr_resident--;
	}
	ops->insert(t->p, key);
	t->resident[key] = true;
	t->nr_resident++;
}

#define T_LAYERS  6
#define T_EXPERTS 40
#define T_USED	  4

static void ponder(float *probs, uint32_t chosen, uint32_t second, bool logits)
{
	for (uint32_t e = 0; e < T_EXPERTS; e++) {
		uint32_t group = e / T_USED;

		probs[e] = group == chosen   ? 0.2f
			   : group == second ? 0.02f
					     : 0.001f;
		if (logits)
			probs[e] = 3.0f * logf(probs[e]) + 7.0f;
	}
}

static double think(uint64_t seed, bool aloud, bool logits)
{
	struct pst_policy_geometry geo = { .nr_layers = T_LAYERS,
					   .nr_experts = T_EXPERTS,
					   .nr_slots = 96,
					   .nr_per_token = T_LAYERS * T_USED };
	bool resident[T_LAYERS * T_EXPERTS] = { false };
	struct thinker t = { .p = pst_policy_adaptive.create(&geo),
			     .resident = resident,
			     .nr_slots = geo.nr_slots };
	uint32_t group[T_LAYERS] = { 0 };
	float probs[T_EXPERTS];
	uint32_t ids[T_USED];

	assert_non_null(t.p);
	for (uint32_t step = 0; step < 600 * T_LAYERS; step++) {
		uint32_t layer = step % T_LAYERS;
		uint32_t next = (uint32_t)(pst_rng_next(&seed) % 10);
		struct pst_policy_route r = { .layer = layer,
					      .ids = ids,
					      .nr_tokens = 1,
					      .nr_used = T_USED };

		ponder(probs, group[layer], next, logits);
		for (uint32_t i = 0; i < T_USED; i++)
			ids[i] = group[layer] * T_USED + i;
		r.probs = aloud ? probs : NULL;
		pst_policy_adaptive.route(t.p, &r);
		for (uint32_t i = 0; i < T_USED; i++)
			want(&t, layer * T_EXPERTS + ids[i]);
		group[layer] = next;
	}
	pst_policy_adaptive.destroy(t.p);
	return (double)t.hits / t.wants;
}

static void the_routers_second_thoughts_are_used(void **state)
{
	uint64_t seed = test_seed();
	double silent = think(seed, false, false);
	double aloud = think(seed, true, false);
	double logits = think(seed, true, true);

	print_message("silent %.3f, probabilities %.3f, logits %.3f\n", silent,
		      aloud, logits);
	assert_true(aloud >= silent + 0.02);
	assert_true(logits >= silent + 0.02);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(two_replays_agree_in_every_row),
		cmocka_unit_test(where_the_last_token_is_all_lru_is_not_better),
		cmocka_unit_test(where_preference_is_all_lfu_is_not_better),
		cmocka_unit_test(favourites_stay_in_a_cache_below_one_token),
		cmocka_unit_test(a_change_is_followed),
		cmocka_unit_test(the_routers_second_thoughts_are_used),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
