// SPDX-License-Identifier: MIT
/*
 * WordPiece: longest matches, unknown words, and what is made of characters
 * before that.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "text_priv.h"
#include "text_vocab.h"
#include "unicode.h"

enum {
	UNK,
	CLS,
	SEP,
	LOW,
	EST,
	LOWE,
	COMMA,
	E,
	HAN,
	PLUS,
	KIYEOK
};

static void init(struct text_vocab_plan *p)
{
	static const char *const words[] = {
		TEXT_SPACE "low",  "est",
		TEXT_SPACE "lowe", TEXT_SPACE ",",
		TEXT_SPACE "e",	   TEXT_SPACE "\xe4\xb8\xad",
		TEXT_SPACE "+",	   TEXT_SPACE "\xe1\x84\x80",
	};

	memset(p, 0, sizeof(*p));
	gb_str(&p->b, "tokenizer.ggml.model", "bert");
	gb_u32(&p->b, "tokenizer.ggml.unknown_token_id", UNK);
	gb_u32(&p->b, "tokenizer.ggml.cls_token_id", CLS);
	gb_u32(&p->b, "tokenizer.ggml.seperator_token_id", SEP);
	tv_add(p, "[UNK]", PST_TOKEN_UNKNOWN, 0);
	tv_add(p, "[CLS]", PST_TOKEN_CONTROL, 0);
	tv_add(p, "[SEP]", PST_TOKEN_CONTROL, 0);
	for (size_t i = 0; i < PST_ARRAY_SIZE(words); i++)
		tv_add(p, words[i], PST_TOKEN_NORMAL, 0);
}

static struct pst_vocab *create(void)
{
	struct text_vocab_plan p;

	init(&p);
	return tv_create_ok(&p);
}

static void the_longest_token_is_taken_even_if_no_end_fits(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "low est", 0, LOW, UNK);
	TV_CHECK(v, "loweest", 0, LOWE, EST);
	/* "low" + "est" would do, but "lowe" is longer. */
	TV_CHECK(v, "lowest", 0, UNK);
	pst_vocab_destroy(v);
}

static void a_word_with_an_unknown_part_is_unknown_once(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "lowxlowx low", 0, UNK, LOW);
	pst_vocab_destroy(v);
}

static void punctuation_and_chinese_are_words(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "low,low+low", 0, LOW, COMMA, LOW, PLUS, LOW);
	TV_CHECK(v, "low\xe4\xb8\xadlow", 0, LOW, HAN, LOW);
	pst_vocab_destroy(v);
}

static void case_and_accents_are_left_out(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "LOW \xc3\x89 e\xcc\x81", 0, LOW, E, E);
	/* Of a Hangul syllable the first letter is kept. */
	TV_CHECK(v, "\xea\xb0\x80", 0, KIYEOK);
	pst_vocab_destroy(v);
}

static void controls_vanish_and_white_space_of_any_kind_parts(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "l\x01o\xe2\x80\x8dw\xef\xbf\xbd", 0, LOW);
	TV_CHECK(v, "low\xe3\x80\x80low\tlow", 0, LOW, LOW, LOW);
	TV_CHECK(v, " \n ", PST_TOKENIZE_BOS, CLS, SEP);
	pst_vocab_destroy(v);
}

static void the_ends_are_marked_and_marks_in_text_are_not(void **state)
{
	struct pst_vocab *v = create();

	TV_CHECK(v, "low", PST_TOKENIZE_BOS, CLS, LOW, SEP);
	TV_CHECK(v, "low[SEP]", PST_TOKENIZE_SPECIAL, LOW, SEP);
	TV_CHECK(v, "[SEP]", 0, UNK, UNK, UNK);
	pst_vocab_destroy(v);
}

static void a_file_may_keep_case_and_accents(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t upper;

	init(&p);
	gb_bool(&p.b, "tokenizer.ggml.normalizer.lowercase", false);
	upper = tv_add(&p, TEXT_SPACE "\xc3\x89", PST_TOKEN_NORMAL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, "\xc3\x89 LOW low", 0, upper, UNK, LOW);
	pst_vocab_destroy(v);
}

static void the_tables_are_sorted_and_map_into_unicode(void **state)
{
	static const struct text_char_ranges *const kinds[] = {
		&text_spaces, &text_drops, &text_marks, &text_puncts
	};
	static const struct text_char_maps *const maps[] = { &text_lower,
							     &text_base };

	for (size_t k = 0; k < PST_ARRAY_SIZE(kinds); k++)
		for (uint32_t i = 0; i < kinds[k]->nr; i++) {
			assert_true(kinds[k]->v[i].first <=
				    kinds[k]->v[i].last);
			assert_true(!i || kinds[k]->v[i].first >
						  kinds[k]->v[i - 1].last + 1);
		}
	for (size_t k = 0; k < PST_ARRAY_SIZE(maps); k++)
		for (uint32_t cp = 0; cp < 0x110000; cp++) {
			uint32_t to = text_char_to(maps[k], cp);

			assert_true(to < 0x110000);
			/* Nothing grows by more than half. */
			if (to != cp)
				assert_true(to < 0x800 || cp >= 0x80);
		}
	assert_int_equal(text_char_to(&text_lower, 0x10400), 0x10428);
	assert_int_equal(text_char_to(&text_base, 0x1e9b), 0x17f);
	assert_int_equal(text_char_to(&text_base, 0x2fa1d), 0x2a600);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			the_longest_token_is_taken_even_if_no_end_fits),
		cmocka_unit_test(a_word_with_an_unknown_part_is_unknown_once),
		cmocka_unit_test(punctuation_and_chinese_are_words),
		cmocka_unit_test(case_and_accents_are_left_out),
		cmocka_unit_test(
			controls_vanish_and_white_space_of_any_kind_parts),
		cmocka_unit_test(the_ends_are_marked_and_marks_in_text_are_not),
		cmocka_unit_test(a_file_may_keep_case_and_accents),
		cmocka_unit_test(the_tables_are_sorted_and_map_into_unicode),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
