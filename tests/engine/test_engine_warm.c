// SPDX-License-Identifier: MIT
/*
 * The file of a warm start: what is written comes back, and nothing else is
 * believed.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "test_seed.h"
#include "warm.h"

#define NR 40u

static const struct pst_warm_id id = {
	.hash = 0x1234567890abcdef,
	.model_bytes = 17000000000,
	.nr_layers = 6,
	.nr_experts = 10,
};

struct file {
	struct pst_warm_entry entries[NR];
	struct pst_warm_set set;
	uint64_t size_bytes;
	uint8_t bytes[1024];
};

static void make(struct file *f)
{
	*f = (struct file){ .set = { .nr = NR, .policy = "adaptive" } };
	for (uint32_t i = 0; i < NR; i++)
		f->entries[i] = (struct pst_warm_entry){
			.key = (i * 7) % 60, .worth = 1.0f / (float)(i + 1)
		};
	f->set.entries = f->entries;
	f->size_bytes = pst_warm_bytes(NR);
	assert_true(f->size_bytes <= sizeof(f->bytes));
	pst_warm_format(&id, &f->set, f->bytes);
}

/* Make a change count as written by us. */
static void sign(struct file *f)
{
	uint64_t h = pst_warm_hash(0, f->bytes + 16, f->size_bytes - 16);

	for (int i = 0; i < 8; i++)
		f->bytes[8 + i] = (uint8_t)(h >> (8 * i));
}

static int parse(const struct file *f, const struct pst_warm_id *model)
{
	struct pst_warm_set out = { 0 };
	int rc = pst_warm_parse(model, f->bytes, f->size_bytes, &out);

	if (!rc)
		free(out.entries);
	else
		assert_null(out.entries);
	return rc;
}

static void what_is_written_comes_back(void **state)
{
	struct pst_warm_set out;
	struct file f;

	(void)state;
	make(&f);
	assert_int_equal(pst_warm_parse(&id, f.bytes, f.size_bytes, &out), 0);
	assert_int_equal(out.nr, NR);
	assert_string_equal(out.policy, "adaptive");
	assert_memory_equal(out.entries, f.entries, sizeof(f.entries));
	free(out.entries);
}

static void an_empty_set_is_a_set(void **state)
{
	struct pst_warm_set out, none = { .policy = "lru" };
	uint8_t bytes[64];

	(void)state;
	pst_warm_format(&id, &none, bytes);
	assert_int_equal(pst_warm_parse(&id, bytes, sizeof(bytes), &out), 0);
	assert_int_equal(out.nr, 0);
	free(out.entries);
}

static void every_flipped_bit_is_noticed(void **state)
{
	struct file f;

	(void)state;
	make(&f);
	for (uint64_t i = 0; i < f.size_bytes * 8; i++) {
		f.bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
		assert_int_equal(parse(&f, &id), -EBADMSG);
		f.bytes[i / 8] ^= (uint8_t)(1u << (i % 8));
	}
	assert_int_equal(parse(&f, &id), 0);
}

static void every_cut_is_noticed(void **state)
{
	struct file f;
	uint64_t whole;

	(void)state;
	make(&f);
	whole = f.size_bytes;
	for (f.size_bytes = 0; f.size_bytes < whole; f.size_bytes++)
		assert_int_equal(parse(&f, &id), -EBADMSG);
	f.size_bytes = whole + 1;
	assert_int_equal(parse(&f, &id), -EBADMSG);
}

static void another_model_is_stale(void **state)
{
	struct pst_warm_id other[4] = { id, id, id, id };
	struct file f;

	(void)state;
	make(&f);
	other[0].hash++;
	other[1].model_bytes++;
	other[2].nr_layers++;
	other[3].nr_experts--;
	for (int i = 0; i < 4; i++)
		assert_int_equal(parse(&f, &other[i]), -ESTALE);
}

static void put32(struct file *f, uint64_t at, uint32_t v)
{
	for (int i = 0; i < 4; i++)
		f->bytes[at + (uint64_t)i] = (uint8_t)(v >> (8 * i));
	sign(f);
}

static void keys_are_checked_even_with_a_right_hash(void **state)
{
	static const uint32_t bad_keys[] = { 60, 61, 0xffffffff, 7 };
	static const uint32_t bad_worths[] = { 0x7fc00000, 0x7f800000,
					       0xff800000, 0xbf800000 };
	struct file f;

	(void)state;
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad_keys); i++) {
		make(&f);
		put32(&f, 64 + 8 * 20, bad_keys[i]);
		assert_int_equal(parse(&f, &id), -EBADMSG);
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad_worths); i++) {
		make(&f);
		put32(&f, 64 + 8 * 20 + 4, bad_worths[i]);
		assert_int_equal(parse(&f, &id), -EBADMSG);
	}
	make(&f);
	memset(f.bytes + 48, 'x', 16);
	sign(&f);
	assert_int_equal(parse(&f, &id), -EBADMSG);
	make(&f);
	put32(&f, 40, 0xffffffff);
	assert_int_equal(parse(&f, &id), -EBADMSG);
}

static void random_bytes_are_refused(void **state)
{
	uint64_t seed = test_seed();
	struct file f;

	(void)state;
	for (int n = 0; n < 2000; n++) {
		make(&f);
		f.size_bytes = pst_rng_next(&seed) % sizeof(f.bytes);
		for (uint64_t i = 0; i < f.size_bytes; i++)
			if (i >= 8 || n % 2)
				f.bytes[i] = (uint8_t)pst_rng_next(&seed);
		assert_int_equal(parse(&f, &id), -EBADMSG);
	}
}

static void members_come_first_then_worth(void **state)
{
	struct pst_warm_entry e[] = {
		{ 0, 0.9f }, { 1, 0.1f }, { 2, 0.5f }, { 3, 0.2f }, { 4, 0.0f }
	};
	struct pst_warm_set set = { .entries = e, .nr = 5 };
	bool resident[] = { false, true, false, true, true };
	static const uint32_t want[] = { 3, 1, 4, 0, 2 };

	(void)state;
	assert_int_equal(pst_warm_order(&set, resident), 0);
	for (uint32_t i = 0; i < 5; i++)
		assert_int_equal(e[i].key, want[i]);
}

static void equal_worth_favours_no_layer(void **state)
{
	struct pst_warm_entry e[60];
	struct pst_warm_set set = { .entries = e, .nr = 60 };
	bool resident[60] = { false };
	uint32_t per_layer[6] = { 0 };

	(void)state;
	for (uint32_t k = 0; k < 60; k++)
		e[k] = (struct pst_warm_entry){ .key = k, .worth = 0.5f };
	assert_int_equal(pst_warm_order(&set, resident), 0);
	for (uint32_t i = 0; i < 30; i++)
		per_layer[e[i].key / 10]++;
	for (uint32_t l = 0; l < 6; l++)
		assert_in_range(per_layer[l], 1, 9);
}

static void the_hash_sees_length_and_order(void **state)
{
	static const uint8_t zeros[32] = { 0 };
	static const uint8_t ab[] = "aaaaaaaabbbbbbbb",
			     ba[] = "bbbbbbbbaaaaaaaa";

	(void)state;
	for (uint64_t n = 0; n < 32; n++)
		assert_true(pst_warm_hash(0, zeros, n) !=
			    pst_warm_hash(0, zeros, n + 1));
	assert_true(pst_warm_hash(0, ab, 16) != pst_warm_hash(0, ba, 16));
	assert_true(pst_warm_hash(1, ab, 16) != pst_warm_hash(2, ab, 16));
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_comes_back),
		cmocka_unit_test(an_empty_set_is_a_set),
		cmocka_unit_test(every_flipped_bit_is_noticed),
		cmocka_unit_test(every_cut_is_noticed),
		cmocka_unit_test(another_model_is_stale),
		cmocka_unit_test(keys_are_checked_even_with_a_right_hash),
		cmocka_unit_test(random_bytes_are_refused),
		cmocka_unit_test(members_come_first_then_worth),
		cmocka_unit_test(equal_worth_favours_no_layer),
		cmocka_unit_test(the_hash_sees_length_and_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
