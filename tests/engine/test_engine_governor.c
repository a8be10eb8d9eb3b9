// SPDX-License-Identifier: MIT
/*
 * The governor against machines that are played to it: somebody else takes and
 * gives memory, limits move, tokens become slower.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "governor.h"

#define MS     1000000ULL
#define MIB    ((int64_t)PST_MIB)
#define SLOT   (4 * MIB)
#define REGION 16u
#define SLOTS  640u
#define LEAST  8u

/* A machine in which this process has slots and others have the rest. */
struct world {
	struct pst_governor g;
	struct pst_governor_sample s;
	int64_t limit, others, machine;
	uint32_t nr_changes;
	uint32_t fewest;
	int64_t least_room;
	int64_t last_short;
	enum pst_governor_why last_why;
};

static int64_t room_of(const struct world *w)
{
	return w->limit - w->others - w->s.nr_slots * SLOT;
}

static void world_init(struct world *w, int64_t reserve)
{
	struct pst_governor_conf c = { .max_slots = SLOTS,
				       .min_slots = LEAST,
				       .region_slots = REGION,
				       .region_bytes = REGION * SLOT,
				       .reserve_bytes = reserve,
				       .machine_low_bytes = 2048 * MIB };

	*w = (struct world){ .machine = 16384 * MIB,
			     .limit = SLOTS * SLOT + 2 * reserve,
			     .fewest = SLOTS,
			     .least_room = INT64_MAX };
	w->s.nr_slots = SLOTS;
	w->s.now_ns = 12345 * MS;
	pst_governor_init(&w->g, &c);
}

static void step(struct world *w)
{
	struct pst_governor_advice a;

	w->s.now_ns += 100 * MS;
	w->s.machine_room_bytes = w->machine;
	w->s.group_room_bytes = w->limit == INT64_MAX ? INT64_MAX : room_of(w);
	w->least_room = PST_MIN(w->least_room, w->s.group_room_bytes);
	a = pst_governor_decide(&w->g, &w->s);
	assert_true(a.nr_slots <= SLOTS);
	assert_true(a.nr_slots >= LEAST);
	if (a.why == PST_GOVERNOR_STAY)
		assert_int_equal(a.nr_slots, w->s.nr_slots);
	w->nr_changes += a.nr_slots != w->s.nr_slots;
	w->s.nr_slots = a.nr_slots;
	w->fewest = PST_MIN(w->fewest, a.nr_slots);
	w->last_short = a.short_bytes;
	w->last_why = a.why;
}

static void play(struct world *w, uint32_t seconds)
{
	for (uint32_t i = 0; i < 10 * seconds; i++)
		step(w);
}

static void tokens(struct world *w, uint32_t nr, uint64_t ns)
{
	for (uint32_t i = 0; i < nr; i++)
		pst_governor_token(&w->g, ns);
}

static void without_limits_nothing_happens(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	w.limit = INT64_MAX;
	play(&w, 600);
	assert_int_equal(w.nr_changes, 0);
}

static void the_beginning_is_no_shortage(void **state)
{
	struct world w;

	(void)state;
	/* All but nothing was left: asked for, not lost. */
	world_init(&w, pst_governor_reserve(2 * MIB, 5000 * PST_MIB));
	play(&w, 60);
	assert_int_equal(w.nr_changes, 0);
	assert_int_equal(pst_governor_reserve(-5, 1), 0);
	assert_int_equal(pst_governor_reserve(0, UINT64_MAX), 0);
	assert_true(pst_governor_reserve(INT64_MAX, UINT64_MAX) > 0);
	assert_int_equal(pst_governor_reserve(8192 * MIB, 8192 * PST_MIB),
			 1024 * MIB);
}

static void a_cliff_is_met_at_once(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	play(&w, 5);
	w.others = 1000 * MIB;
	step(&w);
	assert_int_equal(w.last_why, PST_GOVERNOR_ROOM);
	assert_true(room_of(&w) >= 256 * MIB);
	/* And not by more than a region too much. */
	assert_true(room_of(&w) < 256 * MIB + REGION * SLOT);
	play(&w, 60);
	assert_int_equal(w.nr_changes, 1);
}

static void memory_comes_back_after_a_while(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	w.others = 1000 * MIB;
	play(&w, 5);
	assert_true(w.s.nr_slots < SLOTS);
	w.others = 0;
	play(&w, 1);
	assert_int_equal(w.nr_changes, 1);
	play(&w, 30);
	assert_int_equal(w.s.nr_slots, SLOTS);
}

static void a_slow_leak_never_eats_the_reserve(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	for (uint32_t i = 0; i < 2000; i++) {
		w.others += MIB;
		step(&w);
	}
	assert_true(w.least_room >= 255 * MIB);
	/* One region per region that leaked. */
	assert_in_range(w.nr_changes, 20, 40);
}

static void a_limit_below_the_use_is_answered_at_once(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	play(&w, 5);
	w.limit = 400 * SLOT;
	step(&w);
	assert_true(room_of(&w) >= 256 * MIB);
	assert_int_equal(w.nr_changes, 1);
}

static void the_last_slots_stay(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	w.limit = 16 * MIB;
	play(&w, 5);
	assert_in_range(w.s.nr_slots, LEAST, LEAST + REGION - 1);
	assert_true(w.last_short > 0);
	assert_int_equal(w.nr_changes, 1);
}

static void an_oscillation_does_not_flap(void **state)
{
	struct world w;
	uint32_t early, late;

	(void)state;
	world_init(&w, 256 * MIB);
	for (uint32_t i = 0; i < 60; i++) {
		w.others = i % 2 ? 1000 * MIB : 0;
		play(&w, 5);
	}
	early = w.nr_changes;
	for (uint32_t i = 0; i < 60; i++) {
		w.others = i % 2 ? 1000 * MIB : 0;
		play(&w, 5);
	}
	late = w.nr_changes - early;
	/* The longest calm is five seconds: growth has learned to wait. */
	assert_int_equal(late, 0);
	assert_true(early < 60);
	w.others = 0;
	play(&w, 1200);
	assert_int_equal(w.s.nr_slots, SLOTS);
}

static void noise_at_the_reserve_changes_little(void **state)
{
	uint64_t seed = 7;
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	for (uint32_t i = 0; i < 6000; i++) {
		w.others = 240 * MIB +
			   (int64_t)(pst_rng_next(&seed) % (40 * PST_MIB));
		step(&w);
	}
	assert_in_range(w.nr_changes, 1, 3);
}

static void stalls_elsewhere_are_not_ours(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	for (uint32_t i = 0; i < 100; i++) {
		w.s.machine_stall_ns += 90 * MS;
		step(&w);
	}
	assert_int_equal(w.nr_changes, 0);
	w.machine = 1024 * MIB;
	for (uint32_t i = 0; i < 20; i++) {
		w.s.machine_stall_ns += 90 * MS;
		step(&w);
	}
	assert_true(w.s.nr_slots < SLOTS);
}

static void stalls_of_our_cgroup_shrink_step_by_step(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	w.s.group_stall_ns = 1;
	play(&w, 2);
	for (uint32_t i = 0; i < 12; i++) {
		w.s.group_stall_ns += 10 * MS;
		step(&w);
	}
	assert_int_equal(w.s.nr_slots, SLOTS - 2 * REGION);
	/* A stall in twenty is bearable. */
	for (uint32_t i = 0; i < 100; i++) {
		w.s.group_stall_ns += 4 * MS;
		step(&w);
	}
	assert_int_equal(w.fewest, SLOTS - 2 * REGION);
}

static void stalls_that_cannot_be_read_are_none(void **state)
{
	struct world w;

	(void)state;
	world_init(&w, 256 * MIB);
	for (uint32_t i = 0; i < 100; i++) {
		w.s.group_stall_ns = i / 10 % 2 ? 5000 * MS : 0;
		step(&w);
	}
	assert_int_equal(w.nr_changes, 0);
}

/* Down to fewer slots, with tokens measured there, then room again. */
static void shrunk_with_tokens(struct world *w, uint64_t ns)
{
	world_init(w, 256 * MIB);
	w->others = 1000 * MIB;
	play(w, 2);
	tokens(w, 2 * PST_GOVERNOR_WINDOW, ns);
	w->others = 0;
	w->nr_changes = 0;
}

static void a_growth_that_slows_tokens_is_undone(void **state)
{
	uint32_t before, grown;
	struct world w;

	(void)state;
	shrunk_with_tokens(&w, 100 * MS);
	before = w.s.nr_slots;
	while (w.s.nr_slots == before)
		step(&w);
	grown = w.s.nr_slots;
	tokens(&w, 2 * PST_GOVERNOR_WINDOW, 130 * MS);
	assert_true(grown > before);
	step(&w);
	assert_int_equal(w.last_why, PST_GOVERNOR_SLOWER);
	assert_int_equal(w.s.nr_slots, before);
	tokens(&w, 2 * PST_GOVERNOR_WINDOW, 100 * MS);
	play(&w, 50);
	assert_int_equal(w.s.nr_slots, before);
	/* Not for ever. */
	play(&w, 60);
	assert_true(w.s.nr_slots > before);
}

static void all_steps_of_a_growth_are_undone_together(void **state)
{
	struct world w;
	uint32_t before;

	(void)state;
	shrunk_with_tokens(&w, 100 * MS);
	before = w.s.nr_slots;
	while (w.s.nr_slots < before + 3 * REGION)
		step(&w);
	tokens(&w, 2 * PST_GOVERNOR_WINDOW, 150 * MS);
	step(&w);
	assert_int_equal(w.s.nr_slots, before);
}

static void a_growth_that_pays_stays(void **state)
{
	struct world w;

	(void)state;
	shrunk_with_tokens(&w, 100 * MS);
	for (uint32_t i = 0; i < 600; i++) {
		step(&w);
		/* One slow window in three is noise. */
		tokens(&w, PST_GOVERNOR_WINDOW, (i % 3 ? 90 : 160) * MS);
	}
	assert_int_equal(w.s.nr_slots, SLOTS);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(without_limits_nothing_happens),
		cmocka_unit_test(the_beginning_is_no_shortage),
		cmocka_unit_test(a_cliff_is_met_at_once),
		cmocka_unit_test(memory_comes_back_after_a_while),
		cmocka_unit_test(a_slow_leak_never_eats_the_reserve),
		cmocka_unit_test(a_limit_below_the_use_is_answered_at_once),
		cmocka_unit_test(the_last_slots_stay),
		cmocka_unit_test(an_oscillation_does_not_flap),
		cmocka_unit_test(noise_at_the_reserve_changes_little),
		cmocka_unit_test(stalls_elsewhere_are_not_ours),
		cmocka_unit_test(stalls_of_our_cgroup_shrink_step_by_step),
		cmocka_unit_test(stalls_that_cannot_be_read_are_none),
		cmocka_unit_test(a_growth_that_slows_tokens_is_undone),
		cmocka_unit_test(all_steps_of_a_growth_are_undone_together),
		cmocka_unit_test(a_growth_that_pays_stays),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
