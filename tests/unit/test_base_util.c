// SPDX-License-Identifier: MIT
/*
 * What every module leans on: diagnostics, checked arithmetic, sizes as people
 * write them, the log sink and the generator.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"

static void the_first_failure_wins(void **state)
{
	struct pst_diag d;

	pst_diag_init(&d);
	assert_int_equal(d.err, 0);
	assert_int_equal(d.text[0], 0);
	assert_int_equal(d.off_bytes, UINT64_MAX);
	assert_int_equal(pst_diag_set_at(&d, -EIO, "a.gguf", 7, "first %d", 1),
			 -EIO);
	assert_int_equal(pst_diag_set(&d, -ENOMEM, "second"), -ENOMEM);
	assert_int_equal(pst_diag_set_at(&d, -EBADMSG, "b", 9, "third"),
			 -EBADMSG);
	assert_int_equal(d.err, -EIO);
	assert_string_equal(d.text, "first 1");
	assert_string_equal(d.file, "a.gguf");
	assert_int_equal(d.off_bytes, 7);
}

static void a_diag_may_be_null(void **state)
{
	assert_int_equal(pst_diag_set(NULL, -EIO, "x"), -EIO);
	assert_int_equal(pst_diag_set_at(NULL, -EIO, "f", 1, "x"), -EIO);
}

static void long_text_is_cut_and_terminated(void **state)
{
	char big[2000];
	struct pst_diag d;

	memset(big, 'x', sizeof(big) - 1);
	big[sizeof(big) - 1] = 0;
	pst_diag_init(&d);
	pst_diag_set_at(&d, -EIO, big, 0, "%s", big);
	assert_int_equal(strlen(d.text), sizeof(d.text) - 1);
	assert_int_equal(strlen(d.file), sizeof(d.file) - 1);
}

/* The text of a file may end up in a message: it stays one line. */
static void a_message_is_one_printable_line(void **state)
{
	struct pst_diag d;

	pst_diag_init(&d);
	pst_diag_set(&d, -EBADMSG, "key '%s'", "a\nb\033[31mc\r\x7f");
	for (const char *c = d.text; *c; c++)
		assert_true((unsigned char)*c >= ' ' && *c != 0x7f);
	assert_non_null(strstr(d.text, "key 'a"));
}

static void sums_and_products_are_refused_when_they_wrap(void **state)
{
	uint64_t out = 42;

	assert_false(pst_add_u64(UINT64_MAX, 1, &out));
	assert_false(pst_mul_u64(1ULL << 32, 1ULL << 32, &out));
	assert_int_equal(out, 42);
	assert_true(pst_add_u64(UINT64_MAX - 1, 1, &out));
	assert_int_equal(out, UINT64_MAX);
	assert_true(pst_mul_u64(UINT32_MAX, UINT32_MAX, &out));
	assert_int_equal(out, 0xfffffffe00000001ULL);
}

static void rounding_keeps_multiples(void **state)
{
	assert_int_equal(pst_align_up(0, 4096), 0);
	assert_int_equal(pst_align_up(1, 4096), 4096);
	assert_int_equal(pst_align_up(4096, 4096), 4096);
	assert_int_equal(pst_align_down(4095, 4096), 0);
	assert_int_equal(pst_align_down(8191, 4096), 4096);
	assert_true(pst_is_pow2(1));
	assert_true(pst_is_pow2(1ULL << 63));
	assert_false(pst_is_pow2(0));
	assert_false(pst_is_pow2(3));
}

static void calloc_refuses_a_product_that_wraps(void **state)
{
	uint8_t *p = pst_calloc(0, 8);

	assert_non_null(p);
	free(p);
	assert_null(pst_calloc(1ULL << 32, 1ULL << 33));
	p = pst_calloc(3, 5);
	assert_non_null(p);
	for (int i = 0; i < 15; i++)
		assert_int_equal(p[i], 0);
	free(p);
}

static void sizes_are_read_as_people_write_them(void **state)
{
	static const struct {
		const char *text;
		uint64_t bytes;
	} ok[] = {
		{ "0", 0 },
		{ "123", 123 },
		{ "8G", 8 * PST_GIB },
		{ "8GiB", 8 * PST_GIB },
		{ "8gib", 8 * PST_GIB },
		{ "8GB", 8000000000ULL },
		{ "1.5G", 3 * PST_GIB / 2 },
		{ "512M", 512 * PST_MIB },
		{ "512 MiB", 512 * PST_MIB },
		{ "1K", 1024 },
		{ "1KB", 1000 },
		{ "2T", 2048 * PST_GIB },
		{ "7B", 7 },
	};
	uint64_t v;

	for (size_t i = 0; i < PST_ARRAY_SIZE(ok); i++) {
		v = 1;
		assert_int_equal(pst_parse_size(ok[i].text, &v), 0);
		assert_int_equal(v, ok[i].bytes);
	}
}

static void nonsense_is_no_size(void **state)
{
	static const char *const bad[] = {
		"",   " ",   "G",   "-1",  "-8G", "8X",	  "8GG", "8G ",
		"1e", "nan", "inf", "+8G", ".5G", "8,5G", "8G8", "8 G B",
	};
	uint64_t v = 42;

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		if (pst_parse_size(bad[i], &v) != -EINVAL)
			fail_msg("'%s' was accepted as %llu", bad[i],
				 (unsigned long long)v);
	}
	assert_int_equal(v, 42);
}

static void sizes_past_2_63_are_refused(void **state)
{
	uint64_t v = 42;

	assert_int_equal(pst_parse_size("9999999999999T", &v), -ERANGE);
	assert_int_equal(pst_parse_size("99999999999999999999999999", &v),
			 -ERANGE);
	assert_int_equal(v, 42);
}

static void keep_line(void *ctx, enum pst_log_level level, const char *line)
{
	strcpy(ctx, line);
}

static void a_log_without_a_sink_is_silent(void **state)
{
	char line[512] = "";
	struct pst_log none = { .fn = NULL };
	struct pst_log log = { .fn = keep_line, .ctx = line };

	pst_log(NULL, PST_LOG_WARN, "x");
	pst_log(&none, PST_LOG_WARN, "x");
	pst_log(&log, PST_LOG_WARN, "%d experts", 3);
	assert_string_equal(line, "3 experts");
}

static void the_clock_does_not_go_back(void **state)
{
	uint64_t a = pst_now_ns(), b;

	pst_sleep_ns(2000000);
	b = pst_now_ns();
	assert_true(b >= a + 2000000);
}

/* First outputs of splitmix64 from seed 0, from its published definition. */
static void the_generator_is_splitmix64(void **state)
{
	uint64_t s = 0;

	assert_int_equal(pst_rng_next(&s), 0xe220a8397b1dcdafULL);
	assert_int_equal(pst_rng_next(&s), 0x6e789e6aa1b965f4ULL);
	assert_int_equal(pst_rng_next(&s), 0x06c45d188009454fULL);
}

static void the_median_does_not_care_for_the_order(void **state)
{
	uint64_t odd[] = { 9, 1, 5 }, even[] = { 40, 10, 20, 30 },
		 one[] = { 7 };

	assert_int_equal(pst_median_u64(odd, 3), 5);
	assert_int_equal(pst_median_u64(even, 4), 25);
	assert_int_equal(pst_median_u64(one, 1), 7);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_first_failure_wins),
		cmocka_unit_test(a_diag_may_be_null),
		cmocka_unit_test(long_text_is_cut_and_terminated),
		cmocka_unit_test(a_message_is_one_printable_line),
		cmocka_unit_test(sums_and_products_are_refused_when_they_wrap),
		cmocka_unit_test(rounding_keeps_multiples),
		cmocka_unit_test(calloc_refuses_a_product_that_wraps),
		cmocka_unit_test(sizes_are_read_as_people_write_them),
		cmocka_unit_test(nonsense_is_no_size),
		cmocka_unit_test(sizes_past_2_63_are_refused),
		cmocka_unit_test(a_log_without_a_sink_is_silent),
		cmocka_unit_test(the_clock_does_not_go_back),
		cmocka_unit_test(the_generator_is_splitmix64),
		cmocka_unit_test(the_median_does_not_care_for_the_order),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
