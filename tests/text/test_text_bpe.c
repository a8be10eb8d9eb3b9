// SPDX-License-Identifier: MIT
/*
 * Byte-level BPE: order of merges, the flags of pre-tokenizers, and agreement
 * with a plain implementation on random rules and texts.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "test_seed.h"
#include "text_priv.h"
#include "text_vocab.h"

/* How byte-level BPE writes a space. */
#define SP "\xc4\xa0"

static void lowest_rank_merges_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t bc, ab;

	tv_init_bpe(&p, "gpt-2");
	bc = tv_merge(&p, "b", "c");
	ab = tv_merge(&p, "a", "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, 'a', bc);
	TV_CHECK(v, "abd", 0, ab, 'd');
	pst_vocab_destroy(v);
}

static void leftmost_of_equal_rank_merges_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t aa;

	tv_init_bpe(&p, "gpt-2");
	aa = tv_merge(&p, "a", "a");
	v = tv_create_ok(&p);
	TV_CHECK(v, "aaaaa", 0, aa, aa, 'a');
	pst_vocab_destroy(v);
}

static void merges_do_not_cross_pieces(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t spb;

	tv_init_bpe(&p, "gpt-2");
	tv_merge(&p, "a", SP);
	spb = tv_merge(&p, SP, "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "a b", 0, 'a', spb);
	pst_vocab_destroy(v);
}

static void a_rule_with_an_unknown_token_is_ignored(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t ab;

	tv_init_bpe(&p, "gpt-2");
	p.merges[p.nr_merges++] = strdup("zz b");
	p.merges[p.nr_merges++] = strdup("b zz");
	p.merges[p.nr_merges++] = strdup("b c");
	ab = tv_merge(&p, "a", "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, ab, 'c');
	pst_vocab_destroy(v);
}

static void the_first_of_equal_rules_counts(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t ab;

	tv_init_bpe(&p, "gpt-2");
	ab = tv_merge(&p, "a", "b");
	tv_merge(&p, "b", "c");
	tv_merge(&p, "a", "b");
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, ab, 'c');
	pst_vocab_destroy(v);
}

static void a_rule_may_start_with_a_space_of_its_own(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t id;

	tv_init_bpe(&p, "gpt-2");
	id = tv_add(&p, " x", PST_TOKEN_NORMAL, 0);
	tv_add(&p, " ", PST_TOKEN_NORMAL, 0);
	p.merges[p.nr_merges++] = strdup("  x");
	v = tv_create_ok(&p);
	assert_true(text_merges_find(v, id + 1, 'x') == 0);
	pst_vocab_destroy(v);
}

static void whole_pieces_need_no_merges_where_the_name_says_so(void **state)
{
	static const char *const pre[] = { "llama-bpe", "qwen2" };

	for (int i = 0; i < 2; i++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		int32_t word;

		tv_init_bpe(&p, pre[i]);
		word = tv_add(&p, SP "cat", PST_TOKEN_NORMAL, 0);
		v = tv_create_ok(&p);
		if (i == 0)
			TV_CHECK(v, " cat", 0, word);
		else
			TV_CHECK(v, " cat", 0, ' ', 'c', 'a', 't');
		pst_vocab_destroy(v);
	}
}

static void bos_and_eos_follow_the_name_and_the_keys(void **state)
{
	static const struct {
		const char *pre;
		int add_bos, add_eos; /* -1: no key */
		bool bos, eos;
	} cases[] = {
		{ "llama-bpe", -1, -1, true, false },
		{ "llama-bpe", 0, 1, false, true },
		{ "qwen2", -1, -1, false, false },
		{ "qwen2", 1, 1, true, true },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(cases); i++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		int32_t bos, eos, want[3];
		size_t n = 0;

		tv_init_bpe(&p, cases[i].pre);
		bos = tv_add(&p, "<b>", PST_TOKEN_CONTROL, 0);
		eos = tv_add(&p, "<e>", PST_TOKEN_CONTROL, 0);
		gb_u32(&p.b, "tokenizer.ggml.bos_token_id", (uint32_t)bos);
		gb_u32(&p.b, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
		if (cases[i].add_bos >= 0)
			gb_bool(&p.b, "tokenizer.ggml.add_bos_token",
				cases[i].add_bos);
		if (cases[i].add_eos >= 0)
			gb_bool(&p.b, "tokenizer.ggml.add_eos_token",
				cases[i].add_eos);
		v = tv_create_ok(&p);
		if (cases[i].bos)
			want[n++] = bos;
		want[n++] = 'x';
		if (cases[i].eos)
			want[n++] = eos;
		tv_check(v, "x", PST_TOKENIZE_BOS, want, n);
		TV_CHECK(v, "x", 0, 'x');
		pst_vocab_destroy(v);
	}
}

/* Merge by looking at all pairs again after each merge. */
static size_t plain_bpe(const struct pst_vocab *v, int32_t *ids, size_t n)
{
	for (;;) {
		int64_t best = INT64_MAX;
		size_t at = 0;

		for (size_t i = 0; i + 1 < n; i++) {
			int64_t r = text_merges_find(v, ids[i], ids[i + 1]);

			if (r >= 0 && r < best) {
				best = r;
				at = i;
			}
		}
		if (best == INT64_MAX)
			return n;
		ids[at] = v->merges.rules[best].result;
		memmove(&ids[at + 1], &ids[at + 2],
			(n - at - 2) * sizeof(*ids));
		n--;
	}
}

static struct pst_vocab *random_rules(uint64_t *seed)
{
	struct text_vocab_plan p;

	tv_init_bpe(&p, "gpt-2");
	for (int i = 0; i < 60; i++) {
		uint64_t r = pst_rng_next(seed);
		char l[64], rt[64];

		/* Letters a to d, and what earlier rules made of them. */
		strcpy(l, p.texts[r % 3 && p.nr > 256
					  ? 256 + (r >> 8) % (p.nr - 256)
					  : 'a' + (r >> 8) % 4]);
		strcpy(rt, p.texts[r % 5 && p.nr > 256
					   ? 256 + (r >> 32) % (p.nr - 256)
					   : 'a' + (r >> 32) % 4]);
		if (strlen(l) + strlen(rt) < 60)
			tv_merge(&p, l, rt);
	}
	return tv_create_ok(&p);
}

static void random_texts_merge_as_the_plain_way_does(void **state)
{
	uint64_t seed = test_seed();

	for (int round = 0; round < 200; round++) {
		struct pst_vocab *v = random_rules(&seed);
		char text[201];
		int32_t ids[200];
		size_t n = 1 + pst_rng_next(&seed) % 200;

		for (size_t i = 0; i < n; i++) {
			text[i] = (char)('a' + pst_rng_next(&seed) % 4);
			ids[i] = text[i];
		}
		text[n] = '\0';
		n = plain_bpe(v, ids, n);
		tv_check(v, text, 0, ids, n);
		pst_vocab_destroy(v);
	}
}

static void ill_formed_text_becomes_replacement_characters(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t bad;

	tv_init_bpe(&p, "gpt-2");
	/* EF BF BD as byte-level BPE writes it. */
	tv_merge(&p, "\xc3\xaf", "\xc2\xbf");
	bad = tv_merge(&p, "\xc3\xaf\xc2\xbf", "\xc2\xbd");
	v = tv_create_ok(&p);
	TV_CHECK(v,
		 "a\xff"
		 "b",
		 0, 'a', bad, 'b');
	TV_CHECK(v, "\xe2\x82", 0, bad);
	TV_CHECK(v, "\xf0\x9f\x98 x", 0, bad, ' ', 'x');
	pst_vocab_destroy(v);
}

static void empty_text_gives_nothing(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	tv_check(v, "", PST_TOKENIZE_SPECIAL, NULL, 0);
	pst_vocab_destroy(v);
}

static void ids_are_appended(void **state)
{
	struct text_vocab_plan p;
	struct pst_tokens t = { 0 };
	struct pst_vocab *v;

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	assert_int_equal(pst_vocab_tokenize(v, "a", 1, 0, &t), 0);
	assert_int_equal(pst_vocab_tokenize(v, "b", 1, 0, &t), 0);
	assert_int_equal(t.nr, 2);
	assert_int_equal(t.ids[0], 'a');
	assert_int_equal(t.ids[1], 'b');
	pst_tokens_fini(&t);
	pst_vocab_destroy(v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(lowest_rank_merges_first),
		cmocka_unit_test(leftmost_of_equal_rank_merges_first),
		cmocka_unit_test(merges_do_not_cross_pieces),
		cmocka_unit_test(a_rule_with_an_unknown_token_is_ignored),
		cmocka_unit_test(the_first_of_equal_rules_counts),
		cmocka_unit_test(a_rule_may_start_with_a_space_of_its_own),
		cmocka_unit_test(
			whole_pieces_need_no_merges_where_the_name_says_so),
		cmocka_unit_test(bos_and_eos_follow_the_name_and_the_keys),
		cmocka_unit_test(random_texts_merge_as_the_plain_way_does),
		cmocka_unit_test(
			ill_formed_text_becomes_replacement_characters),
		cmocka_unit_test(empty_text_gives_nothing),
		cmocka_unit_test(ids_are_appended),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
