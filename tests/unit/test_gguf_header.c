// SPDX-License-Identifier: MIT
/*
 * Headers that lie: counts, lengths and types, one at a time.  What is claimed
 * must cost neither memory nor time.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "alloc_hook.h"
#include "gguf_check.h"

static const uint64_t huge[] = {
	UINT64_MAX, UINT64_MAX - 7,   1ULL << 63, (1ULL << 63) - 1,
	1ULL << 62, (1ULL << 62) + 4, 1ULL << 61, (1ULL << 61) + 1,
	1ULL << 40, UINT32_MAX,	      1ULL << 31, 1000000
};

static void every_cut_is_refused(void **state)
{
	static const char *const texts[] = { "a", "", "c" };
	struct gguf_builder b = { 0 };
	struct gb_tensor t = { .name = "t", .nr_dims = 1, .ne = { 8 } };
	struct pst_gguf *g;
	size_t size;
	uint8_t *file;

	gb_u32(&b, "k", 1);
	gb_strs(&b, "s", texts, 3);
	gb_i32s(&b, "i", (int32_t[]){ 1, 2 }, 2);
	gb_tensor(&b, &t, NULL, 32);
	file = gb_finish(&b, &size);
	for (size_t cut = 0; cut < size; cut++) {
		/* A block of exactly that size: a sanitizer guards its end. */
		uint8_t *part = malloc(cut ? cut : 1);
		struct pst_diag d;

		pst_diag_init(&d);
		memcpy(part, file, cut);
		assert_int_equal(pst_gguf_open_mem(part, cut, &g, &d),
				 -EBADMSG);
		assert_string_not_equal(d.text, "");
		assert_true(d.off_bytes == UINT64_MAX || d.off_bytes <= size);
		free(part);
	}
	assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
	pst_gguf_close(g);
	free(file);
}

static void other_magics_are_refused(void **state)
{
	static const char *const magics[] = { "GGML", "FUGG", "GGUf", "ggjt" };
	struct pst_gguf *g;
	uint8_t file[24] = { 0 };

	file[4] = 3;
	for (size_t i = 0; i < PST_ARRAY_SIZE(magics); i++) {
		memcpy(file, magics[i], 4);
		assert_int_equal(pst_gguf_open_mem(file, 24, &g, NULL),
				 -EBADMSG);
	}
	memcpy(file, "GGUF", 4);
	assert_int_equal(pst_gguf_open_mem(file, 24, &g, NULL), 0);
	pst_gguf_close(g);
}

static void other_versions_are_refused(void **state)
{
	static const struct {
		uint32_t version;
		const char *word;
	} bad[] = {
		{ 1, "version" },	   { 4, "version" },
		{ UINT32_MAX, "version" }, { 0x03000000, "endian" },
		{ 0x02000000, "endian" },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		struct gguf_builder b = { .version = bad[i].version };

		open_refused(&b, -EBADMSG, bad[i].word);
	}
}

static void version_zero_is_refused(void **state)
{
	struct pst_gguf *g;
	uint8_t file[24] = "GGUF";

	assert_int_equal(pst_gguf_open_mem(file, 24, &g, NULL), -EBADMSG);
}

static void claimed_counts_cost_no_memory(void **state)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(huge); i++) {
		struct gguf_builder kv = { 0 }, ten = { 0 };

		gb_u32(&kv, "k", 1);
		kv.nr_kv = huge[i];
		gb_u32(&ten, "k", 1);
		ten.nr_tensors = huge[i];
		alloc_hook_reset();
		open_refused(&kv, -EBADMSG, "metadata pairs");
		open_refused(&ten, -EBADMSG, "tensors");
		assert_true(alloc_hook_bytes() < 64 * PST_KIB);
	}
}

/* A count that the file could just hold is believed only as far as it goes. */
static void a_count_below_the_bound_still_ends_at_the_file(void **state)
{
	struct gguf_builder b = { 0 };
	uint8_t zeros[13 * 1000] = { 0 };

	gb_raw_kv(&b, zeros, sizeof(zeros));
	b.nr_kv = 1000;
	alloc_hook_reset();
	open_refused(&b, -EBADMSG, "key");
	assert_true(alloc_hook_bytes() < 64 * PST_KIB);
}

static void claimed_lengths_cost_no_memory(void **state)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(huge); i++) {
		struct gguf_builder key = { 0 }, val = { 0 }, elem = { 0 };
		uint64_t len = huge[i];

		gb_raw_kv(&key, &len, 8);
		gb_raw_kv(&key, "general.name----", 16);
		key.nr_kv = 1;
		gb_value(&val, "k", PST_GGUF_STRING, &len, 8);
		gb_array(&elem, "k", PST_GGUF_STRING, 1, &len, 8);
		alloc_hook_reset();
		open_refused(&key, -EBADMSG, "truncated");
		open_refused(&val, -EBADMSG, "truncated");
		open_refused(&elem, -EBADMSG, "truncated");
		assert_true(alloc_hook_bytes() < 64 * PST_KIB);
	}
}

static void claimed_array_lengths_cost_no_memory(void **state)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(huge); i++) {
		for (uint32_t type = 0; type < PST_GGUF_VTYPE_COUNT; type++) {
			struct gguf_builder b = { 0 };
			uint8_t some[64] = { 0 };

			gb_array(&b, "k", type, huge[i], some, sizeof(some));
			alloc_hook_reset();
			open_refused(&b, -EBADMSG, "");
			assert_true(alloc_hook_bytes() < 64 * PST_KIB);
		}
	}
}

static void unknown_value_types_are_refused(void **state)
{
	static const uint32_t types[] = {
		13, 14, 255, 256, 1u << 31, UINT32_MAX
	};
	uint8_t some[64] = { 0 };

	for (size_t i = 0; i < PST_ARRAY_SIZE(types); i++) {
		struct gguf_builder scalar = { 0 }, array = { 0 };

		gb_value(&scalar, "k", types[i], some, sizeof(some));
		open_refused(&scalar, -EBADMSG, "type");
		gb_array(&array, "k", types[i], 1, some, sizeof(some));
		open_refused(&array, -EBADMSG, "type");
	}
}

static void arrays_of_arrays_are_refused(void **state)
{
	struct gguf_builder b = { 0 };
	uint8_t level[12] = { PST_GGUF_ARRAY, 0, 0, 0, 1 };
	uint8_t deep[12 * 4000];

	for (size_t i = 0; i < 4000; i++)
		memcpy(deep + 12 * i, level, 12);
	gb_array(&b, "k", PST_GGUF_ARRAY, 1, deep, sizeof(deep));
	open_refused(&b, -EBADMSG, "array of arrays");
}

static void an_empty_key_is_refused(void **state)
{
	struct gguf_builder b = { 0 };

	gb_u32(&b, "", 1);
	open_refused(&b, -EBADMSG, "key");
}

static void a_key_with_nul_is_refused(void **state)
{
	static const uint8_t pair[] = { 3,   0, 0,   0, 0, 0, 0, 0,
					'a', 0, 'b', 0, 0, 0, 0, 7 };
	struct gguf_builder b = { .nr_kv = 1 };

	gb_raw_kv(&b, pair, sizeof(pair));
	open_refused(&b, -EBADMSG, "NUL");
}

static void a_key_of_any_length_in_the_file_is_bounded(void **state)
{
	char *key = malloc(65537);

	for (size_t len = 65535; len <= 65536; len++) {
		struct gguf_builder b = { 0 };
		struct opened o;

		memset(key, 'k', len);
		key[len] = 0;
		gb_u32(&b, key, 1);
		if (len == 65535) {
			open_ok(&b, &o);
			assert_non_null(pst_gguf_find(o.g, key));
			opened_close(&o);
		} else {
			open_refused(&b, -EBADMSG, "65535");
		}
	}
	free(key);
}

static void a_key_twice_is_refused(void **state)
{
	struct gguf_builder b = { 0 };

	gb_u32(&b, "a.key", 1);
	gb_u32(&b, "b.key", 1);
	gb_f32(&b, "a.key", 1.0f);
	open_refused(&b, -EBADMSG, "'a.key' appears twice");
}

static void a_long_key_in_a_message_stays_one_short_line(void **state)
{
	struct gguf_builder b = { 0 };
	char key[3000];

	memset(key, '\n', sizeof(key) - 1);
	key[sizeof(key) - 1] = 0;
	gb_u32(&b, key, 1);
	gb_u32(&b, key, 1);
	open_refused(&b, -EBADMSG, "????");
}

/* 4 MiB of the shortest pairs that exist: the parser's worst header. */
static void the_worst_header_is_parsed_at_once(void **state)
{
	const uint64_t nr = 4 * PST_MIB / 17;
	struct gguf_builder b = { 0 };
	struct opened o;
	uint64_t start;
	char key[16];

	for (uint64_t i = 0; i < nr; i++) {
		snprintf(key, sizeof(key), "%05llx", (unsigned long long)i);
		gb_value(&b, key, PST_GGUF_U8, "", 1);
	}
	start = pst_now_ns();
	open_ok(&b, &o);
	assert_int_equal(pst_gguf_nr_kv(o.g), nr);
	assert_in_range(pst_now_ns() - start, 0, 3000000000ULL);
	opened_close(&o);
}

/* The same length again, all of it one array of empty strings. */
static void many_empty_strings_are_walked_at_once(void **state)
{
	const uint64_t nr = 512 * 1024;
	struct gguf_builder b = { 0 };
	uint8_t *zeros = calloc(nr, 8);
	struct opened o;
	uint64_t start;

	gb_array(&b, "k", PST_GGUF_STRING, nr, zeros, nr * 8);
	free(zeros);
	start = pst_now_ns();
	alloc_hook_reset();
	open_ok(&b, &o);
	assert_in_range(pst_now_ns() - start, 0, 3000000000ULL);
	opened_close(&o);
}

static void memory_is_proportional_to_the_header(void **state)
{
	struct gguf_builder b = { 0 };
	struct pst_gguf *g;
	size_t size;
	uint8_t *file;
	char key[16];

	for (int i = 0; i < 20000; i++) {
		snprintf(key, sizeof(key), "%05x", i);
		gb_value(&b, key, PST_GGUF_U8, "", 1);
	}
	file = gb_finish(&b, &size);
	alloc_hook_reset();
	assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
	/* Doubling arrays are counted at every step. */
	assert_true(alloc_hook_bytes() < 20 * size);
	pst_gguf_close(g);
	free(file);
}

static void every_failed_allocation_is_an_error(void **state)
{
	struct gguf_builder b = { 0 };
	struct pst_gguf *g = NULL;
	uint64_t nr, failed = 0;
	size_t size;
	uint8_t *file;
	char key[16];

	for (int i = 0; i < 200; i++) {
		struct gb_tensor t = { .nr_dims = 1, .ne = { 8 } };

		snprintf(key, sizeof(key), "n%d", i);
		gb_u32(&b, key, 1);
		t.name = key;
		gb_tensor(&b, &t, NULL, 32);
	}
	file = gb_finish(&b, &size);
	alloc_hook_reset();
	assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
	nr = alloc_hook_nr();
	pst_gguf_close(g);
	for (uint64_t i = 1; i <= nr; i++) {
		struct pst_diag d;

		pst_diag_init(&d);
		g = NULL;
		alloc_hook_fail_at(i);
		if (pst_gguf_open_mem(file, size, &g, &d) == 0) {
			pst_gguf_close(g);
			continue;
		}
		failed++;
		assert_int_equal(d.err, -ENOMEM);
		assert_null(g);
	}
	assert_int_equal(failed, nr);
	alloc_hook_reset();
	free(file);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_cut_is_refused),
		cmocka_unit_test(other_magics_are_refused),
		cmocka_unit_test(other_versions_are_refused),
		cmocka_unit_test(version_zero_is_refused),
		cmocka_unit_test(claimed_counts_cost_no_memory),
		cmocka_unit_test(
			a_count_below_the_bound_still_ends_at_the_file),
		cmocka_unit_test(claimed_lengths_cost_no_memory),
		cmocka_unit_test(claimed_array_lengths_cost_no_memory),
		cmocka_unit_test(unknown_value_types_are_refused),
		cmocka_unit_test(arrays_of_arrays_are_refused),
		cmocka_unit_test(an_empty_key_is_refused),
		cmocka_unit_test(a_key_with_nul_is_refused),
		cmocka_unit_test(a_key_of_any_length_in_the_file_is_bounded),
		cmocka_unit_test(a_key_twice_is_refused),
		cmocka_unit_test(a_long_key_in_a_message_stays_one_short_line),
		cmocka_unit_test(the_worst_header_is_parsed_at_once),
		cmocka_unit_test(many_empty_strings_are_walked_at_once),
		cmocka_unit_test(memory_is_proportional_to_the_header),
		cmocka_unit_test(every_failed_allocation_is_an_error),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
