// SPDX-License-Identifier: MIT
/*
 * BPE over characters: order of merges, spaces, line ends and bytes.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "text_priv.h"
#include "text_vocab.h"

#define BYTE(b) (3 + (b))

/* 259 tokens as SentencePiece has them, a space, "a" to "d" and no rules. */
static void init(struct text_vocab_plan *p)
{
	tv_init_spm_as(p, "gemma4");
	tv_add(p, TEXT_SPACE, PST_TOKEN_NORMAL, 0);
	for (char c = 'a'; c <= 'd'; c++)
		tv_add(p, (char[]){ c, '\0' }, PST_TOKEN_NORMAL, 0);
}

#define SPACE	  259
#define LETTER(c) (SPACE + 1 + (c) - 'a')

static void lowest_rank_merges_first_and_scores_do_not_count(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t bc, ab;

	init(&p);
	ab = tv_add(&p, "ab", PST_TOKEN_NORMAL, 100);
	bc = tv_merge(&p, "b", "c");
	tv_merge(&p, "a", "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, LETTER('a'), bc);
	TV_CHECK(v, "abd", 0, ab, LETTER('d'));
	pst_vocab_destroy(v);
}

static void a_space_is_a_character_and_none_is_put_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t word;

	init(&p);
	word = tv_merge(&p, TEXT_SPACE, "a");
	v = tv_create_ok(&p);
	TV_CHECK(v, "a a", 0, LETTER('a'), word);
	TV_CHECK(v, "  a", 0, SPACE, word);
	pst_vocab_destroy(v);
}

static void what_is_no_token_becomes_bytes(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	init(&p);
	v = tv_create_ok(&p);
	TV_CHECK(v,
		 "a\xc3\xa9"
		 "b",
		 0, LETTER('a'), BYTE(0xc3), BYTE(0xa9), LETTER('b'));
	pst_vocab_destroy(v);
}

static void no_rule_reaches_over_a_line_end(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t line;

	init(&p);
	line = tv_add(&p, "\n", PST_TOKEN_NORMAL, 0);
	tv_merge(&p, "a", "\n");
	tv_merge(&p, "\n", "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "a\nb", 0, LETTER('a'), line, LETTER('b'));
	pst_vocab_destroy(v);
}

static void a_run_of_line_ends_that_is_a_token_is_one(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t one, three;

	init(&p);
	one = tv_add(&p, "\n", PST_TOKEN_NORMAL, 0);
	three = tv_add(&p, "\n\n\n", PST_TOKEN_NORMAL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v,
		 "\n\n\n"
		 "a\n\n",
		 0, three, LETTER('a'), one, one);
	pst_vocab_destroy(v);
}

static void bos_is_put_first_when_the_file_does_not_say(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	init(&p);
	gb_u32(&p.b, "tokenizer.ggml.bos_token_id", 1);
	v = tv_create_ok(&p);
	TV_CHECK(v, "a", PST_TOKENIZE_BOS, 1, LETTER('a'));
	pst_vocab_destroy(v);
}

static void ids_give_the_text_back(void **state)
{
	static const char text[] = "a\xc3\xa9 b\n";
	struct text_vocab_plan p;
	struct pst_tokens t = { 0 };
	struct pst_vocab *v;
	size_t len;
	char *back;

	init(&p);
	v = tv_create_ok(&p);
	assert_int_equal(pst_vocab_tokenize(v, text, strlen(text), 0, &t), 0);
	assert_int_equal(
		pst_vocab_detokenize(v, t.ids, t.nr, true, &back, &len), 0);
	assert_string_equal(back, text);
	free(back);
	pst_tokens_fini(&t);
	pst_vocab_destroy(v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			lowest_rank_merges_first_and_scores_do_not_count),
		cmocka_unit_test(a_space_is_a_character_and_none_is_put_first),
		cmocka_unit_test(what_is_no_token_becomes_bytes),
		cmocka_unit_test(no_rule_reaches_over_a_line_end),
		cmocka_unit_test(a_run_of_line_ends_that_is_a_token_is_one),
		cmocka_unit_test(bos_is_put_first_when_the_file_does_not_say),
		cmocka_unit_test(ids_give_the_text_back),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
