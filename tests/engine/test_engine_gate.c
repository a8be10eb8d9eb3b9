// SPDX-License-Identifier: MIT
/*
 * Reading ahead is judged by scripted token times: it stays where it pays, goes
 * where it does not, and comes back when the world changes.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "gate.h"
#include "test_seed.h"

/* @n tokens that take so long with and without.  Return: how many went with. */
static uint32_t live(struct pst_gate *g, uint32_t n, uint64_t with_ns,
		     uint64_t without_ns)
{
	uint32_t nr_with = 0;

	for (uint32_t i = 0; i < n; i++) {
		bool with = pst_gate_ask(g);

		nr_with += with;
		pst_gate_tell(g, with ? with_ns : without_ns);
	}
	return nr_with;
}

static void it_starts_on(void **state)
{
	struct pst_gate g = { 0 };

	assert_true(pst_gate_ask(&g));
}

static void both_states_are_tried_before_a_judgement(void **state)
{
	struct pst_gate g = { 0 };
	uint32_t with = live(&g, 32, 100, 100);

	assert_int_equal(with, 16);
	assert_true(g.windows[0] >= 4 && g.windows[1] >= 4);
}

/* Four windows are enough; the four behind them take the faster state. */
static void what_is_clear_is_judged_early(void **state)
{
	struct pst_gate better = { 0 }, worse = { 0 }, close = { 0 };

	assert_int_equal(live(&better, 32, 80, 100), 8 + 16);
	assert_int_equal(live(&worse, 32, 100, 80), 8);
	assert_int_equal(live(&close, 32, 97, 100), 16);
}

/* Reading ahead that pays at once is left alone for long; against it, more than two
 * windows are asked soon.
 */
static void what_was_clear_is_not_asked_again_soon(void **state)
{
	struct pst_gate better = { 0 }, worse = { 0 };
	uint32_t each = PST_GATE_WINDOW;

	assert_int_equal(live(&better, 20 * each, 80, 100), 18 * each);
	assert_int_equal(live(&better, each, 80, 100), 0);
	live(&worse, 8 * each, 100, 80);
	assert_int_equal(live(&worse, each, 100, 80), each);
}

/* Each window faster than the one before: nothing can be told from that. */
static void a_trend_is_not_clear(void **state)
{
	struct pst_gate g = { 0 };
	uint64_t ns = 1000000;

	for (uint32_t i = 0; i < 32; i++) {
		assert_false(g.judged);
		pst_gate_ask(&g);
		pst_gate_tell(&g, ns);
		if (i % PST_GATE_WINDOW == PST_GATE_WINDOW - 1)
			ns -= ns / 8;
	}
	assert_true(g.judged);
}

static void what_pays_stays(void **state)
{
	struct pst_gate g = { 0 };

	live(&g, 200, 90, 100);
	/* Trials of the other state are one window in seventeen. */
	assert_true(live(&g, 680, 90, 100) >= 680 - 44);
}

static void what_does_not_pay_goes(void **state)
{
	struct pst_gate g = { 0 };

	live(&g, 200, 110, 100);
	assert_true(live(&g, 680, 110, 100) <= 44);
}

static void what_makes_no_difference_stays_on(void **state)
{
	struct pst_gate g = { 0 };

	live(&g, 200, 100, 100);
	assert_true(live(&g, 680, 100, 100) >= 680 - 44);
}

/* Eight slow tokens at the start speak against what is better: two trials. */
static void a_wrong_beginning_is_soon_mended(void **state)
{
	struct pst_gate g = { 0 };

	live(&g, 16, 110, 100);
	assert_true(g.off);
	live(&g, 60, 80, 100);
	assert_false(g.off);
}

static void a_changed_world_is_noticed(void **state)
{
	struct pst_gate g = { 0 };

	live(&g, 200, 80, 100);
	assert_false(g.off);
	live(&g, 600, 120, 100);
	assert_true(g.off);
	live(&g, 1200, 80, 100);
	assert_false(g.off);
}

/* One token in four that is ten times as slow decides nothing. */
static void slow_tokens_do_not_decide(void **state)
{
	uint64_t rng = test_seed(), which = 0;
	struct pst_gate g = { 0 };

	for (uint32_t i = 0; i < 400; i++) {
		bool with = pst_gate_ask(&g);
		uint64_t ns = with ? 900 : 1000;

		if (i % PST_GATE_WINDOW == 0)
			which = pst_rng_next(&rng) % PST_GATE_WINDOW;
		if (with && i % PST_GATE_WINDOW == which)
			ns *= 10;
		pst_gate_tell(&g, ns);
	}
	assert_false(g.off);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(it_starts_on),
		cmocka_unit_test(both_states_are_tried_before_a_judgement),
		cmocka_unit_test(what_is_clear_is_judged_early),
		cmocka_unit_test(what_was_clear_is_not_asked_again_soon),
		cmocka_unit_test(a_trend_is_not_clear),
		cmocka_unit_test(what_pays_stays),
		cmocka_unit_test(what_does_not_pay_goes),
		cmocka_unit_test(what_makes_no_difference_stays_on),
		cmocka_unit_test(a_wrong_beginning_is_soon_mended),
		cmocka_unit_test(a_changed_world_is_noticed),
		cmocka_unit_test(slow_tokens_do_not_decide),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
