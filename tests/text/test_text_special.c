// SPDX-License-Identifier: MIT
/*
 * Special tokens: where text is cut, what ends a reply, what single families
 * do, and agreement of the cutting with a plain implementation.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "test_seed.h"
#include "text_priv.h"
#include "text_vocab.h"

static void control_tokens_are_cut_only_when_asked_for(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t c, u;

	tv_init_bpe(&p, "gpt-2");
	c = tv_add(&p, "<c>", PST_TOKEN_CONTROL, 0);
	u = tv_add(&p, "<u>", PST_TOKEN_USER, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, "a<c><u>", PST_TOKENIZE_SPECIAL, 'a', c, u);
	TV_CHECK(v, "a<c><u>", 0, 'a', '<', 'c', '>', u);
	pst_vocab_destroy(v);
}

static void the_longest_token_is_cut_first(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t ab, bcd;

	tv_init_bpe(&p, "gpt-2");
	ab = tv_add(&p, "@ab", PST_TOKEN_CONTROL, 0);
	bcd = tv_add(&p, "b@cd", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, "@ab@cd@ab", PST_TOKENIZE_SPECIAL, '@', 'a', bcd, ab);
	pst_vocab_destroy(v);
}

/* A token of half a character must not cut a character in two. */
static void a_token_that_is_no_utf8_is_not_cut(void **state)
{
	static const char *const halves[] = { "\xbd", "\xef\xbf", "\xef",
					      "\xbf\xbd" };

	for (size_t i = 0; i < PST_ARRAY_SIZE(halves); i++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;

		tv_init_spm(&p);
		tv_add(&p, halves[i], PST_TOKEN_CONTROL, 0);
		tv_add(&p, halves[i], PST_TOKEN_USER, 0);
		gb_bool(&p.b, "tokenizer.ggml.add_space_prefix", false);
		v = tv_create_ok(&p);
		/* Not valid: becomes U+FFFD, three bytes from id 3 on. */
		TV_CHECK(v, "\xff", PST_TOKENIZE_SPECIAL, 3 + 0xef, 3 + 0xbf,
			 3 + 0xbd);
		pst_vocab_destroy(v);
		tv_init_bpe(&p, "gpt-2");
		tv_add(&p, halves[i], PST_TOKEN_CONTROL, 0);
		v = tv_create_ok(&p);
		TV_CHECK(v, "\xff", PST_TOKENIZE_SPECIAL, 0xef, 0xbf, 0xbd);
		pst_vocab_destroy(v);
	}
}

static void white_space_beside_special_tokens_stays(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t c;

	tv_init_bpe(&p, "gpt-2");
	c = tv_add(&p, "<c>", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	TV_CHECK(v, " <c>\n", PST_TOKENIZE_SPECIAL, ' ', c, '\n');
	pst_vocab_destroy(v);
}

static void phi_3_drops_white_space_behind_added_tokens(void **state)
{
	static const char *const names[] = { "Phi-3-mini", "My PHI3 tune",
					     "phi-2" };

	for (int i = 0; i < 3; i++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		int32_t user, eot;

		tv_init_bpe(&p, "gpt-2");
		gb_str(&p.b, "general.name", names[i]);
		user = tv_add(&p, "<|user|>", PST_TOKEN_CONTROL, 0);
		eot = tv_add(&p, "<|endoftext|>", PST_TOKEN_CONTROL, 0);
		v = tv_create_ok(&p);
		if (i < 2)
			TV_CHECK(v, "<|user|> \n\ta<|endoftext|>\na",
				 PST_TOKENIZE_SPECIAL, user, 'a', eot, '\n',
				 'a');
		else
			TV_CHECK(v, "<|user|>\n<|endoftext|>",
				 PST_TOKENIZE_SPECIAL, user, '\n', eot);
		pst_vocab_destroy(v);
	}
}

static void ends_of_replies_are_known_by_id_and_by_text(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t eos, eot, im_end, word;

	tv_init_bpe(&p, "gpt-2");
	eos = tv_add(&p, "<my-eos>", PST_TOKEN_CONTROL, 0);
	eot = tv_add(&p, "<my-eot>", PST_TOKEN_CONTROL, 0);
	im_end = tv_add(&p, "<|im_end|>", PST_TOKEN_NORMAL, 0);
	word = tv_add(&p, "<|im_start|>", PST_TOKEN_CONTROL, 0);
	gb_u32(&p.b, "tokenizer.ggml.eos_token_id", (uint32_t)eos);
	gb_u32(&p.b, "tokenizer.ggml.eot_token_id", (uint32_t)eot);
	v = tv_create_ok(&p);
	assert_true(pst_vocab_is_eog(v, eos));
	assert_true(pst_vocab_is_eog(v, eot));
	assert_true(pst_vocab_is_eog(v, im_end));
	assert_false(pst_vocab_is_eog(v, word));
	assert_false(pst_vocab_is_eog(v, 'a'));
	assert_false(pst_vocab_is_eog(v, -1));
	assert_false(pst_vocab_is_eog(v, word + 1));
	/* The file calls it normal; it is a control token all the same. */
	assert_int_equal(pst_vocab_type(v, im_end), PST_TOKEN_CONTROL);
	pst_vocab_destroy(v);
}

static void the_end_of_a_harmony_message_is_no_end_of_a_reply(void **state)
{
	for (int with_call = 0; with_call < 2; with_call++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		const char *s;
		int32_t end, ret;

		tv_init_bpe(&p, "gpt-2");
		end = tv_add(&p, "<|end|>", PST_TOKEN_CONTROL, 0);
		ret = tv_add(&p, "<|return|>", PST_TOKEN_CONTROL, 0);
		if (with_call)
			tv_add(&p, "<|call|>", PST_TOKEN_CONTROL, 0);
		v = tv_create_ok(&p);
		assert_true(pst_vocab_is_eog(v, ret));
		assert_int_equal(pst_vocab_is_eog(v, end), !with_call);
		/* Its text is given for the parser, but never cut from text. */
		assert_int_equal(pst_vocab_piece(v, end, false, &s),
				 with_call ? 7 : 0);
		assert_int_equal(pst_vocab_piece(v, ret, false, &s), 0);
		TV_CHECK(v, "<|end|>", 0, '<', '|', 'e', 'n', 'd', '|', '>');
		pst_vocab_destroy(v);
	}
}

static void a_tool_response_token_takes_the_end_from_slash_s(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t resp;

	tv_init_spm(&p);
	gb_u32(&p.b, "tokenizer.ggml.eos_token_id", 1);
	resp = tv_add(&p, "<|tool_response>", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	assert_true(pst_vocab_is_eog(v, resp));
	assert_false(pst_vocab_is_eog(v, 2));
	pst_vocab_destroy(v);
}

/* The definition: by length, then by id, each cut wherever it still occurs. */
static void plain_cut(const struct pst_vocab *v, const char *text, size_t len,
		      int32_t *owner)
{
	bool done[TV_MAX_TOKENS] = { 0 };

	for (size_t i = 0; i < len; i++)
		owner[i] = -1;
	for (;;) {
		int32_t best = -1;
		size_t n;

		for (uint32_t id = 256; id < v->nr; id++)
			if (!done[id] &&
			    (best < 0 ||
			     v->tokens[id].text_len > v->tokens[best].text_len))
				best = (int32_t)id;
		if (best < 0)
			return;
		done[best] = true;
		n = v->tokens[best].text_len;
		for (size_t i = 0; i + n <= len; i++) {
			bool hit = !memcmp(text + i, text_of(v, best), n);

			for (size_t k = 0; k < n; k++)
				hit &= owner[i + k] == -1;
			for (size_t k = 0; hit && k < n; k++)
				owner[i + k] = best;
		}
	}
}

static void random_texts_are_cut_as_the_plain_way_does(void **state)
{
	uint64_t seed = test_seed();

	for (int round = 0; round < 300; round++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		struct text_frags f = { 0 };
		char text[200], name[8];
		int32_t owner[200];
		size_t at = 0;

		tv_init_bpe(&p, "gpt-2");
		for (int i = 0; i < 12; i++) {
			size_t n = 2 + pst_rng_next(&seed) % 5;

			for (size_t k = 0; k < n; k++)
				name[k] = (char)('a' + pst_rng_next(&seed) % 2);
			name[n] = '\0';
			if (tv_find(&p, name) < 0)
				tv_add(&p, name, PST_TOKEN_USER, 0);
		}
		v = tv_create_ok(&p);
		for (size_t i = 0; i < sizeof(text); i++)
			text[i] = "aabbc"[pst_rng_next(&seed) % 5];
		plain_cut(v, text, sizeof(text), owner);
		assert_int_equal(text_partition(v, (uint8_t *)text,
						sizeof(text), true, &f),
				 0);
		for (size_t i = 0; i < f.nr; i++) {
			assert_int_equal(f.v[i].off, at);
			for (size_t k = 0; k < f.v[i].len; k++)
				assert_int_equal(owner[at + k], f.v[i].id);
			at += f.v[i].len;
		}
		assert_int_equal(at, sizeof(text));
		free(f.v);
		pst_vocab_destroy(v);
	}
}

static void overlong_special_tokens_are_left_alone(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	char name[TEXT_MAX_SPECIAL_BYTES + 2];
	struct pst_tokens t = { 0 };

	memset(name, 'z', sizeof(name));
	name[sizeof(name) - 1] = '\0';
	tv_init_bpe(&p, "gpt-2");
	tv_add(&p, name, PST_TOKEN_CONTROL, 0);
	tv_add(&p, "", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	assert_int_equal(pst_vocab_tokenize(v, name, strlen(name),
					    PST_TOKENIZE_SPECIAL, &t),
			 0);
	assert_int_equal(t.nr, strlen(name));
	pst_tokens_fini(&t);
	pst_vocab_destroy(v);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(control_tokens_are_cut_only_when_asked_for),
		cmocka_unit_test(the_longest_token_is_cut_first),
		cmocka_unit_test(a_token_that_is_no_utf8_is_not_cut),
		cmocka_unit_test(white_space_beside_special_tokens_stays),
		cmocka_unit_test(phi_3_drops_white_space_behind_added_tokens),
		cmocka_unit_test(ends_of_replies_are_known_by_id_and_by_text),
		cmocka_unit_test(
			the_end_of_a_harmony_message_is_no_end_of_a_reply),
		cmocka_unit_test(
			a_tool_response_token_takes_the_end_from_slash_s),
		cmocka_unit_test(random_texts_are_cut_as_the_plain_way_does),
		cmocka_unit_test(overlong_special_tokens_are_left_alone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
