// SPDX-License-Identifier: MIT
/*
 * SentencePiece: order of merges, spaces, bytes, and agreement with a plain
 * implementation on random scores and texts.
 */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "test_seed.h"
#include "text_priv.h"
#include "text_vocab.h"

#define BYTE(b) (3 + (b))

static void highest_score_merges_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t sp, a, bc;

	tv_init_spm(&p);
	sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, -9);
	a = tv_add(&p, "a", PST_TOKEN_NORMAL, -9);
	tv_add(&p, "b", PST_TOKEN_NORMAL, -9);
	tv_add(&p, "c", PST_TOKEN_NORMAL, -9);
	tv_add(&p, "ab", PST_TOKEN_NORMAL, -2);
	bc = tv_add(&p, "bc", PST_TOKEN_NORMAL, 1);
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, sp, a, bc);
	pst_vocab_destroy(v);
}

static void leftmost_of_equal_scores_merges_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t sp, c, ab;

	tv_init_spm(&p);
	sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, -9);
	c = tv_add(&p, "c", PST_TOKEN_NORMAL, -9);
	ab = tv_add(&p, "ab", PST_TOKEN_NORMAL, -0.0f);
	tv_add(&p, "bc", PST_TOKEN_NORMAL, 0.0f);
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, sp, ab, c);
	pst_vocab_destroy(v);
}

static void a_score_that_is_no_number_comes_last(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t sp, bc;

	tv_init_spm(&p);
	sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, -9);
	tv_add(&p, "ab", PST_TOKEN_NORMAL, NAN);
	bc = tv_add(&p, "bc", PST_TOKEN_NORMAL, -1e30f);
	v = tv_create_ok(&p);
	TV_CHECK(v, "abc", 0, sp, BYTE('a'), bc);
	pst_vocab_destroy(v);
}

static void characters_without_a_token_become_bytes(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	tv_init_spm(&p);
	gb_bool(&p.b, "tokenizer.ggml.add_space_prefix", false);
	v = tv_create_ok(&p);
	TV_CHECK(v, "\xc3\xa9 x", 0, BYTE(0xc3), BYTE(0xa9), BYTE(0xe2),
		 BYTE(0x96), BYTE(0x81), BYTE('x'));
	pst_vocab_destroy(v);
}

static void without_byte_tokens_unknown_is_given(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t x;

	memset(&p, 0, sizeof(p));
	gb_str(&p.b, "tokenizer.ggml.model", "llama");
	gb_bool(&p.b, "tokenizer.ggml.add_space_prefix", false);
	tv_add(&p, "<unk>", PST_TOKEN_UNKNOWN, 0);
	x = tv_add(&p, "x", PST_TOKEN_NORMAL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, "xy", 0, x, 0);
	pst_vocab_destroy(v);
}

static void a_space_is_put_first_and_behind_special_tokens(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t sp, a, cut;

	tv_init_spm(&p);
	sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, -9);
	a = tv_add(&p, "a", PST_TOKEN_NORMAL, -9);
	cut = tv_add(&p, "<cut>", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, "a<cut>a a", PST_TOKENIZE_SPECIAL | PST_TOKENIZE_BOS, 1, sp,
		 a, cut, sp, a, sp, a);
	pst_vocab_destroy(v);
}

static void no_space_is_put_where_the_key_forbids_it(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t a;

	tv_init_spm(&p);
	gb_bool(&p.b, "tokenizer.ggml.add_space_prefix", false);
	a = tv_add(&p, "a", PST_TOKEN_NORMAL, -9);
	v = tv_create_ok(&p);
	TV_CHECK(v, "a", 0, a);
	pst_vocab_destroy(v);
}

static void text_never_merges_into_a_control_token(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t sp, lt, s, tail;

	tv_init_spm(&p);
	sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, -9);
	lt = tv_add(&p, "<", PST_TOKEN_NORMAL, -9);
	tv_add(&p, ">", PST_TOKEN_NORMAL, -9);
	s = tv_add(&p, "s", PST_TOKEN_NORMAL, -9);
	tail = tv_add(&p, "s>", PST_TOKEN_NORMAL, -20);
	v = tv_create_ok(&p);
	TV_CHECK(v, "<s", 0, sp, lt, s);
	TV_CHECK(v, "<s>", PST_TOKENIZE_SPECIAL, 1);
	TV_CHECK(v, "<s>", 0, sp, lt, tail);
	pst_vocab_destroy(v);
}

/* Merge by looking at all pairs again after each merge. */
static size_t plain_spm(const struct text_vocab_plan *p, const char *text,
			int32_t *ids)
{
	char *syms[256], joined[512];
	size_t n = 0, nr_ids = 0;

	for (; *text; n++) {
		size_t len = (*text & 0xe0) == 0xe0 ? 3 : 1;

		syms[n] = strndup(text, len);
		text += len;
	}
	for (;;) {
		float best = -INFINITY;
		size_t at = n;

		for (size_t i = 0; i + 1 < n; i++) {
			int32_t id;

			snprintf(joined, sizeof(joined), "%s%s", syms[i],
				 syms[i + 1]);
			id = tv_find(p, joined);
			if (id >= 0 && p->scores[id] > best) {
				best = p->scores[id];
				at = i;
			}
		}
		if (at == n)
			break;
		snprintf(joined, sizeof(joined), "%s%s", syms[at],
			 syms[at + 1]);
		free(syms[at]);
		free(syms[at + 1]);
		syms[at] = strdup(joined);
		memmove(&syms[at + 1], &syms[at + 2],
			(n - at - 2) * sizeof(*syms));
		n--;
	}
	for (size_t i = 0; i < n; i++) {
		ids[nr_ids++] = tv_find(p, syms[i]);
		free(syms[i]);
	}
	return nr_ids;
}

static bool all_spaces(const char *s)
{
	while (!strncmp(s, TEXT_SPACE, TEXT_SPACE_LEN))
		s += TEXT_SPACE_LEN;
	return !*s;
}

/* Letters, and pairs of earlier tokens; some with a space in the middle. */
static void random_tokens(struct text_vocab_plan *p, uint64_t *seed,
			  bool across)
{
	static const char *const first[] = { TEXT_SPACE, "a", "b", "c" };
	size_t base = p->nr;
	char joined[128];

	for (int i = 0; i < 4; i++)
		tv_add(p, first[i], PST_TOKEN_NORMAL, -50);
	for (int i = 0; i < 60; i++) {
		uint64_t r = pst_rng_next(seed);
		const char *l = p->texts[base + r % (p->nr - base)];
		const char *rt = p->texts[base + (r >> 16) % (p->nr - base)];

		if (strlen(l) + strlen(rt) > 40 ||
		    (!across && strstr(rt, TEXT_SPACE) && !all_spaces(l)))
			continue;
		snprintf(joined, sizeof(joined), "%s%s", l, rt);
		if (tv_find(p, joined) < 0)
			tv_add(p, joined, PST_TOKEN_NORMAL,
			       (float)((r >> 40) % 9));
	}
}

static void random_texts_merge_as_the_plain_way_does(void **state)
{
	uint64_t seed = test_seed();
	int apart = 0, rounds = 300;

	for (int round = 0; round < rounds; round++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		char text[128] = "", spaced[512] = TEXT_SPACE;
		int32_t ids[256];
		size_t n = 1 + pst_rng_next(&seed) % 100;

		tv_init_spm(&p);
		random_tokens(&p, &seed, round & 1);
		for (size_t i = 0; i < n; i++) {
			char c = " abc"[pst_rng_next(&seed) % 4];

			text[i] = c;
			text[i + 1] = '\0';
			strcat(spaced,
			       c == ' ' ? TEXT_SPACE : (char[]){ c, '\0' });
		}
		n = plain_spm(&p, spaced, ids);
		v = tv_create_ok(&p);
		apart += v->words_apart;
		tv_check(v, text, 0, ids, n);
		pst_vocab_destroy(v);
	}
	/* Both ways of cutting have been seen. */
	assert_true(apart > 0 && apart < rounds);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(highest_score_merges_first),
		cmocka_unit_test(leftmost_of_equal_scores_merges_first),
		cmocka_unit_test(a_score_that_is_no_number_comes_last),
		cmocka_unit_test(characters_without_a_token_become_bytes),
		cmocka_unit_test(without_byte_tokens_unknown_is_given),
		cmocka_unit_test(
			a_space_is_put_first_and_behind_special_tokens),
		cmocka_unit_test(no_space_is_put_where_the_key_forbids_it),
		cmocka_unit_test(text_never_merges_into_a_control_token),
		cmocka_unit_test(random_texts_merge_as_the_plain_way_does),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
