// SPDX-License-Identifier: MIT
/*
 * Pre-tokenizers: every row of the table compiles and loses no byte, the pieces
 * of typical texts, and time that grows with the text and no faster.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <setjmp.h>
#include <cmocka.h>

#include "text_priv.h"
#include "text_vocab.h"

/* Cut @text and compare with the pieces that @want joins by '|'. */
static void check_pieces(const char *pre, const char *text, const char *want)
{
	const struct text_pre_row *row = text_pre_find(pre, strlen(pre));
	struct text_cuts a = { 0 }, b = { 0 };
	struct text_pretok *p;
	char got[512] = "";
	size_t o = 0;

	assert_non_null(row);
	assert_int_equal(text_pretok_create(row, &p, NULL), 0);
	assert_int_equal(text_pretok_split(p, (const uint8_t *)text,
					   strlen(text), &a, &b),
			 0);
	for (size_t i = 0; i < a.nr; i++) {
		o += (size_t)snprintf(got + o, sizeof(got) - o, "%s%.*s",
				      i ? "|" : "", (int)a.lens[i], text);
		text += a.lens[i];
	}
	assert_string_equal(got, want);
	free(a.lens);
	free(b.lens);
	text_pretok_destroy(p);
}

static void typical_texts_are_cut_as_the_models_do(void **state)
{
	check_pieces("gpt-2", "I'LL it's 12345  ok",
		     "I|'|LL| it|'s| 12345| | ok");
	check_pieces("llama-bpe", "I'LL it's 12345  ok",
		     "I|'LL| it|'s| |123|45| | ok");
	check_pieces("qwen2", "x 123\n\n y", "x| |1|2|3|\n\n| y");
	check_pieces("qwen35",
		     "a\xcc\x81"
		     "b",
		     "a\xcc\x81"
		     "b");
	check_pieces("qwen2",
		     "a\xcc\x81"
		     "b",
		     "a|\xcc\x81"
		     "b");
	check_pieces("smollm", "ab 12", "ab| |1|2");
	check_pieces("default", "a...b 1234", "a|...|b| |123|4");
	check_pieces("falcon", "a`b 1234", "a|`|b| |123|4");
	check_pieces("gpt-4o", "helloWorld HTTPServer don't",
		     "hello|World| HTTPServer| don't");
	check_pieces("tekken", "fooBar don't 12", "foo|Bar| don|'t| |1|2");
	check_pieces("kimi-k2",
		     "\xe4\xb8\xad\xe6\x96\x87"
		     "aB",
		     "\xe4\xb8\xad\xe6\x96\x87|a|B");
	check_pieces("deepseek-llm", "Hi there\n 42", "Hi| there|\n| |42");
	check_pieces("deepseek-v3", "f(x) 1234", "f|(x|)| |123|4");
	check_pieces("deepseek-coder", "a b(1", "a| b|(|1");
	check_pieces("bailingmoe", "a\n\nb", "a|\n\n|b");
	check_pieces("seed-coder", "a ,\nb", "a| ,|\n|b");
}

/* U+180E is a white-space character to PCRE2, but not to Unicode. */
static void white_space_is_what_unicode_says(void **state)
{
	static const uint32_t spaces[] = {
		0x9,	0xa,	0xb,	0xc,	0xd,	0x85,	0xa0,	0x1680,
		0x2000, 0x2001, 0x2002, 0x2003, 0x2004, 0x2005, 0x2006, 0x2007,
		0x2008, 0x2009, 0x200a, 0x2028, 0x2029, 0x202f, 0x205f, 0x3000,
	};
	static const uint32_t others[] = { 0x8,	   0xe,	   0x1c,   0x1f,
					   0x180e, 0x200b, 0x2060, 0xfeff };
	uint8_t text[8], want[8];

	for (size_t i = 0; i < PST_ARRAY_SIZE(spaces); i++) {
		size_t n = text_utf8_encode(spaces[i], text);

		memcpy(want, text, n);
		strcpy((char *)text + n, "!");
		strcpy((char *)want + n, "|!");
		check_pieces("gpt-2", (char *)text, (char *)want);
	}
	for (size_t i = 0; i < PST_ARRAY_SIZE(others); i++) {
		size_t n = text_utf8_encode(others[i], text);

		strcpy((char *)text + n, "!");
		check_pieces("gpt-2", (char *)text, (char *)text);
	}
}

static void unknown_names_have_no_row(void **state)
{
	assert_null(text_pre_find("gpt-", 4));
	assert_null(text_pre_find("gpt-22", 6));
	assert_null(text_pre_find("", 0));
}

static void names_are_listed_once(void **state)
{
	const struct text_pre_row *r;

	for (size_t i = 0; (r = text_pre_row_at(i)); i++)
		assert_ptr_equal(text_pre_find(r->name, strlen(r->name)), r);
}

static size_t fill(char *out, size_t cap, const char *unit, const char *tail)
{
	size_t n = 0, l = strlen(unit), t = strlen(tail);

	for (; n + l + t <= cap; n += l)
		memcpy(out + n, unit, l);
	memcpy(out + n, tail, t);
	return n + t;
}

#define LONG_BYTES (1 << 20)
#define LIMIT_NS   (5ULL * 1000000000)

static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

/* Quadratic work takes minutes; an instrumented program is slow by itself. */
static bool too_slow(uint64_t since_ns)
{
	const char *tool = getenv("PENSTOCK_TOOL");

	return !(tool && *tool) && cpu_ns() - since_ns > LIMIT_NS;
}

/* A quadratic pattern would take hours for one of these. */
static void no_row_is_slow_on_long_runs(void **state)
{
	static const char *const units[][2] = {
		{ "a", "" },
		{ "A", "1" },
		{ " ", "x" },
		{ " ", "\xe0\xa4\x95" },
		{ "\n", "x" },
		{ " \n", "x" },
		{ "1", "" },
		{ "!", "a" },
		{ "'", "s" },
		{ "\xcc\x81", "1" },
		{ "A\xcc\x81", "1" },
		{ "\t", "!" },
		{ "\xe4\xb8\xad", "a" },
		{ "\xe3\x80\x80", "\xe0\xa4\x95" },
	};
	char *text = malloc(LONG_BYTES + 8);
	struct text_cuts a = { 0 }, b = { 0 };
	const struct text_pre_row *r;
	const char *const *done = NULL;

	assert_non_null(text);
	for (size_t i = 0; (r = text_pre_row_at(i)); i++) {
		struct text_pretok *p;

		/* Rows of one list of patterns stand together. */
		if (r->patterns == done)
			continue;
		done = r->patterns;
		assert_int_equal(text_pretok_create(r, &p, NULL), 0);
		for (size_t u = 0; u < PST_ARRAY_SIZE(units); u++) {
			size_t len = fill(text, LONG_BYTES, units[u][0],
					  units[u][1]);
			size_t sum = 0;
			uint64_t t0 = cpu_ns();

			assert_int_equal(text_pretok_split(p, (uint8_t *)text,
							   len, &a, &b),
					 0);
			if (too_slow(t0))
				fail_msg("%s: slow on run %zu", r->name, u);
			for (size_t k = 0; k < a.nr; k++) {
				assert_true(a.lens[k] > 0);
				sum += a.lens[k];
			}
			assert_int_equal(sum, len);
		}
		text_pretok_destroy(p);
	}
	free(a.lens);
	free(b.lens);
	free(text);
}

static void long_words_merge_in_little_time(void **state)
{
	static const char *const rules[] = { "a", "aa", "aaaa", "aaaaaaaa" };
	struct text_vocab_plan p;
	struct pst_tokens t = { 0 };
	struct pst_vocab *v;
	char *text = malloc(LONG_BYTES);
	uint64_t t0;

	assert_non_null(text);
	memset(text, 'a', LONG_BYTES);
	tv_init_bpe(&p, "qwen2");
	for (size_t i = 0; i < PST_ARRAY_SIZE(rules); i++)
		tv_merge(&p, rules[i], rules[i]);
	v = tv_create_ok(&p);
	t0 = cpu_ns();
	assert_int_equal(pst_vocab_tokenize(v, text, LONG_BYTES, 0, &t), 0);
	assert_false(too_slow(t0));
	assert_int_equal(t.nr, LONG_BYTES / 16);
	pst_tokens_fini(&t);
	pst_vocab_destroy(v);
	free(text);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(typical_texts_are_cut_as_the_models_do),
		cmocka_unit_test(white_space_is_what_unicode_says),
		cmocka_unit_test(unknown_names_have_no_row),
		cmocka_unit_test(names_are_listed_once),
		cmocka_unit_test(no_row_is_slow_on_long_runs),
		cmocka_unit_test(long_words_merge_in_little_time),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
