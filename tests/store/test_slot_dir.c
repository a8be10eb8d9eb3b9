// SPDX-License-Identifier: MIT
/*
 * The directory of slots that outlive the process, on memory of this one: what
 * is believed of it, and what is not.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "slot_dir.h"

#define NR_SLOTS 37

static const struct pst_slot_dir_id id = {
	.model_hash = 0x0123456789abcdef,
	.model_bytes = 1ULL << 37,
	.slot_bytes = 7 << 20,
	.part_off = { 0, 3 << 20, 5 << 20 },
	.align = 4096,
	.nr_layers = 48,
	.nr_experts = 128,
	.nr_slots = NR_SLOTS,
	.region_slots = 18,
};

struct state {
	void *mem;
	struct pst_slot_dir dir;
};

static int setup(void **s)
{
	struct state *st = calloc(1, sizeof(*st));
	uint64_t bytes = pst_align_up(pst_slot_dir_bytes(NR_SLOTS), 64);

	st->mem = aligned_alloc(64, bytes);
	/* Not zeros: memory may be anybody's. */
	memset(st->mem, 0xa5, bytes);
	*s = st;
	return pst_slot_dir_attach(&st->dir, st->mem, &id) != -ESTALE;
}

static int teardown(void **s)
{
	struct state *st = *s;

	free(st->mem);
	free(st);
	return 0;
}

static enum pst_slot_state get(const struct state *st, uint32_t slot,
			       uint32_t *key, uint64_t *sum)
{
	return pst_slot_dir_get(&st->dir, slot, key, sum);
}

static enum pst_slot_state state_of(const struct state *st, uint32_t slot)
{
	uint64_t sum;
	uint32_t key;

	return get(st, slot, &key, &sum);
}

static void a_new_directory_is_empty(void **s)
{
	for (uint32_t i = 0; i < NR_SLOTS; i++)
		assert_int_equal(state_of(*s, i), PST_SLOT_FREE);
}

static void entries_are_found_again(void **s)
{
	struct state *st = *s;
	struct pst_slot_dir again;
	uint64_t sum = 0;
	uint32_t key = 0;

	for (uint32_t i = 0; i < NR_SLOTS; i += 2) {
		pst_slot_dir_begin(&st->dir, i, 1000 + i);
		pst_slot_dir_end(&st->dir, i, 1ULL << 60 | i);
	}
	assert_int_equal(pst_slot_dir_attach(&again, st->mem, &id), 0);
	for (uint32_t i = 0; i < NR_SLOTS; i++) {
		enum pst_slot_state state =
			pst_slot_dir_get(&again, i, &key, &sum);

		assert_int_equal(state, i % 2 ? PST_SLOT_FREE : PST_SLOT_VALID);
		if (i % 2)
			continue;
		assert_int_equal(key, 1000 + i);
		assert_int_equal(sum, 1ULL << 60 | i);
	}
}

static void a_slot_is_valid_between_end_and_begin_only(void **s)
{
	struct state *st = *s;
	uint32_t key = 7;
	uint64_t sum = 8;

	pst_slot_dir_begin(&st->dir, 5, 50);
	assert_int_equal(get(st, 5, &key, &sum), PST_SLOT_FILLING);
	assert_int_equal(key, 7);
	assert_int_equal(sum, 8);
	pst_slot_dir_end(&st->dir, 5, 99);
	assert_int_equal(get(st, 5, &key, &sum), PST_SLOT_VALID);
	assert_int_equal(key, 50);
	assert_int_equal(sum, 99);
	pst_slot_dir_begin(&st->dir, 5, 51);
	assert_int_equal(state_of(st, 5), PST_SLOT_FILLING);
	pst_slot_dir_clear(&st->dir, 5);
	assert_int_equal(state_of(st, 5), PST_SLOT_FREE);
	/* Neighbours know nothing of it. */
	assert_int_equal(state_of(st, 4), PST_SLOT_FREE);
	assert_int_equal(state_of(st, 6), PST_SLOT_FREE);
}

static void any_other_model_or_geometry_empties_it(void **s)
{
	struct state *st = *s;

	for (size_t i = 0; i < sizeof(id); i++) {
		struct pst_slot_dir_id other = id;
		struct pst_slot_dir again;

		/* The memory would not hold more slots. */
		if (i >= offsetof(struct pst_slot_dir_id, nr_slots) &&
		    i < offsetof(struct pst_slot_dir_id, region_slots))
			continue;
		pst_slot_dir_begin(&st->dir, 3, 1);
		pst_slot_dir_end(&st->dir, 3, 1);
		((unsigned char *)&other)[i] ^= 1;
		assert_int_equal(pst_slot_dir_attach(&again, st->mem, &other),
				 -ESTALE);
		assert_int_equal(state_of(st, 3), PST_SLOT_FREE);
		assert_int_equal(pst_slot_dir_attach(&st->dir, st->mem, &id),
				 -ESTALE);
	}
}

static void a_state_that_nobody_wrote_is_not_believed(void **s)
{
	struct state *st = *s;
	unsigned char *entries = (unsigned char *)st->dir.entries;

	for (int bit = 0; bit < 32; bit++) {
		pst_slot_dir_begin(&st->dir, 0, 1);
		pst_slot_dir_end(&st->dir, 0, 1);
		entries[bit / 8] ^= (unsigned char)(1 << bit % 8);
		assert_int_equal(state_of(st, 0), PST_SLOT_FILLING);
	}
}

static void the_sum_depends_on_key_parts_and_every_byte(void **s)
{
	unsigned char a[300], b[300];
	uint64_t sum;

	memset(a, 1, sizeof(a));
	memcpy(b, a, sizeof(a));
	sum = pst_slot_dir_sum(pst_slot_dir_sum(9, a, 100), a + 100, 200);
	assert_int_equal(sum, pst_slot_dir_sum(pst_slot_dir_sum(9, b, 100),
					       b + 100, 200));
	assert_int_not_equal(sum, pst_slot_dir_sum(pst_slot_dir_sum(8, a, 100),
						   a + 100, 200));
	for (size_t i = 0; i < sizeof(b); i++) {
		b[i] ^= 0x80;
		assert_int_not_equal(
			sum, pst_slot_dir_sum(pst_slot_dir_sum(9, b, 100),
					      b + 100, 200));
		b[i] ^= 0x80;
	}
}

#define TEST(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(a_new_directory_is_empty),
		TEST(entries_are_found_again),
		TEST(a_slot_is_valid_between_end_and_begin_only),
		TEST(any_other_model_or_geometry_empties_it),
		TEST(a_state_that_nobody_wrote_is_not_believed),
		TEST(the_sum_depends_on_key_parts_and_every_byte),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
