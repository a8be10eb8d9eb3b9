// SPDX-License-Identifier: MIT
/*
 * Vocabularies that are malformed, and those that are only odd: an error with
 * one line that says why, or a warning, and never a crash.
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

#define TOKENS "tokenizer.ggml.tokens"
#define TYPES  "tokenizer.ggml.token_type"
#define SCORES "tokenizer.ggml.scores"
#define MERGES "tokenizer.ggml.merges"

static const char *const three[] = { "a", "b", "ab" };

/* The builder must be refused with @err, the text naming @key. */
static void check_refused(struct gguf_builder *b, int err, const char *key)
{
	struct pst_vocab *v = (struct pst_vocab *)&three;
	struct pst_diag d;

	pst_diag_init(&d);
	assert_int_equal(tv_create_from(b, &v, &d), err);
	assert_int_equal(d.err, err);
	assert_non_null(strstr(d.text, key));
	assert_null(strchr(d.text, '\n'));
	assert_ptr_equal(v, &three);
}

static void check_accepted(struct gguf_builder *b)
{
	struct pst_vocab *v;
	struct pst_diag d;

	pst_diag_init(&d);
	if (tv_create_from(b, &v, &d))
		fail_msg("%s", d.text);
	pst_vocab_destroy(v);
}

static void init(struct gguf_builder *b, const char *model)
{
	gb_init(b);
	gb_str(b, "tokenizer.ggml.model", model);
	gb_str(b, "tokenizer.ggml.pre", "qwen2");
}

static void the_model_must_be_known(void **state)
{
	struct gguf_builder b;

	gb_init(&b);
	gb_strs(&b, TOKENS, three, 3);
	check_refused(&b, -EBADMSG, "tokenizer.ggml.model");
	gb_u32(&b, "tokenizer.ggml.model", 1);
	check_refused(&b, -EBADMSG, "tokenizer.ggml.model");
	init(&b, "t5");
	check_refused(&b, -ENOTSUP, "t5");
}

static void the_pre_tokenizer_must_be_known(void **state)
{
	struct gguf_builder b;

	gb_init(&b);
	gb_str(&b, "tokenizer.ggml.model", "gpt2");
	gb_str(&b, "tokenizer.ggml.pre", "what\nis this");
	check_refused(&b, -ENOTSUP, "is this");
	gb_str(&b, "tokenizer.ggml.model", "gpt2");
	gb_bool(&b, "tokenizer.ggml.pre", true);
	check_refused(&b, -EBADMSG, "tokenizer.ggml.pre");
}

static void count_warnings(void *ctx, enum pst_log_level level,
			   const char *line)
{
	if (level == PST_LOG_WARN)
		++*(int *)ctx;
}

static void a_missing_pre_tokenizer_is_the_default_one(void **state)
{
	int nr = 0;
	const struct pst_log log = { count_warnings, &nr };
	struct gguf_builder b;
	struct pst_gguf *g;
	struct pst_vocab *v;
	size_t size;
	uint8_t *file;

	gb_init(&b);
	gb_str(&b, "tokenizer.ggml.model", "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_strs(&b, MERGES, NULL, 0);
	file = gb_finish(&b, &size);
	assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
	assert_int_equal(pst_vocab_create(g, &v, &log, NULL), 0);
	assert_int_equal(nr, 1);
	pst_vocab_destroy(v);
	pst_gguf_close(g);
	free(file);
}

static void tokens_must_be_strings_and_some(void **state)
{
	struct gguf_builder b;

	init(&b, "gpt2");
	check_refused(&b, -EBADMSG, TOKENS);
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 0);
	check_refused(&b, -EBADMSG, TOKENS);
	init(&b, "gpt2");
	gb_i32s(&b, TOKENS, (int32_t[]){ 1, 2 }, 2);
	check_refused(&b, -EBADMSG, TOKENS);
	init(&b, "gpt2");
	gb_str(&b, TOKENS, "a");
	check_refused(&b, -EBADMSG, TOKENS);
}

static void types_must_be_as_many_as_tokens(void **state)
{
	static const int32_t types[] = { 1, 1, 1, 1 };
	struct gguf_builder b;

	for (size_t nr = 0; nr <= 4; nr++) {
		init(&b, "gpt2");
		gb_strs(&b, TOKENS, three, 3);
		gb_strs(&b, MERGES, NULL, 0);
		gb_i32s(&b, TYPES, types, nr);
		if (nr == 3)
			check_accepted(&b);
		else
			check_refused(&b, -EBADMSG, TYPES);
	}
}

static void types_must_be_small_integers(void **state)
{
	static const int32_t bad[] = { -1, 7, INT32_MIN, INT32_MAX };
	struct gguf_builder b;

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		init(&b, "gpt2");
		gb_strs(&b, TOKENS, three, 3);
		gb_i32s(&b, TYPES, (int32_t[]){ 1, bad[i], 1 }, 3);
		check_refused(&b, -EBADMSG, TYPES);
	}
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_str(&b, TYPES, "abc");
	check_refused(&b, -EBADMSG, TYPES);
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_strs(&b, TYPES, three, 3);
	check_refused(&b, -EBADMSG, TYPES);
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_f32s(&b, TYPES, (float[]){ 1, 1, 1 }, 3);
	check_refused(&b, -EBADMSG, TYPES);
}

static void scores_must_be_floats_as_many_as_tokens(void **state)
{
	static const float scores[] = { 1, 2, 3, 4 };
	struct gguf_builder b;

	for (size_t nr = 0; nr <= 4; nr++) {
		init(&b, "llama");
		gb_strs(&b, TOKENS, three, 3);
		gb_f32s(&b, SCORES, scores, nr);
		if (nr == 3)
			check_accepted(&b);
		else
			check_refused(&b, -EBADMSG, SCORES);
	}
	init(&b, "llama");
	gb_strs(&b, TOKENS, three, 3);
	gb_i32s(&b, SCORES, (int32_t[]){ 1, 1, 1 }, 3);
	check_refused(&b, -EBADMSG, SCORES);
	init(&b, "llama");
	gb_strs(&b, TOKENS, three, 3);
	gb_f32(&b, SCORES, 1);
	check_refused(&b, -EBADMSG, SCORES);
}

static void merges_must_be_two_tokens_with_a_space_between(void **state)
{
	static const char *const bad[] = {
		"", " ", "a", "ab", "a ", " a", " a "
	};
	struct gguf_builder b;

	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		const char *merges[] = { "a b", bad[i] };

		init(&b, "gpt2");
		gb_strs(&b, TOKENS, three, 3);
		gb_strs(&b, MERGES, merges, 2);
		check_refused(&b, -EBADMSG, MERGES ": entry 1");
	}
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	check_refused(&b, -EBADMSG, MERGES);
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_i32s(&b, MERGES, (int32_t[]){ 1 }, 1);
	check_refused(&b, -EBADMSG, MERGES);
}

static void special_ids_must_be_integers(void **state)
{
	static const char *const keys[] = { "tokenizer.ggml.bos_token_id",
					    "tokenizer.ggml.eot_token_id" };
	struct gguf_builder b;

	for (size_t i = 0; i < PST_ARRAY_SIZE(keys); i++) {
		init(&b, "gpt2");
		gb_strs(&b, TOKENS, three, 3);
		gb_str(&b, keys[i], "1");
		check_refused(&b, -EBADMSG, keys[i]);
	}
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, three, 3);
	gb_u32(&b, "tokenizer.ggml.add_bos_token", 1);
	check_refused(&b, -EBADMSG, "tokenizer.ggml.add_bos_token");
}

static void special_ids_outside_are_ignored(void **state)
{
	struct gguf_builder b;
	struct pst_vocab *v;
	struct pst_diag d;

	init(&b, "llama");
	gb_strs(&b, TOKENS, three, 3);
	gb_u32(&b, "tokenizer.ggml.bos_token_id", 3);
	gb_i32(&b, "tokenizer.ggml.eos_token_id", -1);
	gb_u32(&b, "tokenizer.ggml.eot_token_id", UINT32_MAX);
	pst_diag_init(&d);
	assert_int_equal(tv_create_from(&b, &v, &d), 0);
	assert_int_equal(pst_vocab_bos(v), -1);
	assert_int_equal(pst_vocab_eos(v), -1);
	for (int32_t id = 0; id < 3; id++)
		assert_false(pst_vocab_is_eog(v, id));
	pst_vocab_destroy(v);
}

static void special_ids_have_the_defaults_of_the_model(void **state)
{
	static const char *const models[] = { "llama", "gpt2" };

	for (int i = 0; i < 2; i++) {
		struct gguf_builder b;
		struct pst_vocab *v;

		init(&b, models[i]);
		gb_strs(&b, TOKENS, three, 3);
		gb_strs(&b, MERGES, NULL, 0);
		assert_int_equal(tv_create_from(&b, &v, NULL), 0);
		assert_int_equal(pst_vocab_bos(v), i ? -1 : 1);
		assert_int_equal(pst_vocab_eos(v), i ? -1 : 2);
		pst_vocab_destroy(v);
	}
}

static void the_first_of_equal_tokens_is_found(void **state)
{
	static const char *const tokens[] = { "x", "dup", "", "dup" };
	struct gguf_builder b;
	struct pst_vocab *v;

	init(&b, "llama");
	gb_strs(&b, TOKENS, tokens, 4);
	assert_int_equal(tv_create_from(&b, &v, NULL), 0);
	assert_int_equal(pst_vocab_nr_tokens(v), 4);
	assert_int_equal(pst_vocab_find(v, "dup", 3), 1);
	assert_int_equal(pst_vocab_find(v, "", 0), 2);
	assert_int_equal(pst_vocab_find(v, "dupe", 4), -1);
	pst_vocab_destroy(v);
}

static void a_long_token_is_a_token(void **state)
{
	char *tokens[2] = { calloc(1, 30001), "b" };
	struct pst_tokens t = { 0 };
	struct gguf_builder b;
	struct pst_vocab *v;

	memset(tokens[0], 'a', 30000);
	init(&b, "gpt2");
	gb_strs(&b, TOKENS, (const char **)tokens, 2);
	gb_strs(&b, MERGES, NULL, 0);
	assert_int_equal(tv_create_from(&b, &v, NULL), 0);
	assert_int_equal(pst_vocab_find(v, tokens[0], 30000), 0);
	/* No byte tokens: what cannot be said is left out. */
	assert_int_equal(pst_vocab_tokenize(v, "abc", 3, 0, &t), 0);
	assert_int_equal(t.nr, 1);
	assert_int_equal(t.ids[0], 1);
	pst_tokens_fini(&t);
	pst_vocab_destroy(v);
	free(tokens[0]);
}

static void every_token_is_found_by_its_text(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	tv_init_spm(&p);
	v = tv_create_ok(&p);
	for (int32_t id = 0; id < (int32_t)v->nr; id++)
		assert_int_equal(pst_vocab_find(v, (const char *)text_of(v, id),
						v->tokens[id].text_len),
				 id);
	pst_vocab_destroy(v);
}

/* Damage a valid file: it loads or it is refused, but it does not crash. */
static void damaged_files_never_crash(void **state)
{
	uint64_t seed = test_seed();
	struct text_vocab_plan p;
	uint8_t *file, *copy;
	size_t size, loaded = 0;

	tv_init_spm(&p);
	tv_add(&p, "<|im_end|>", PST_TOKEN_CONTROL, 0);
	tv_add(&p, TEXT_SPACE "a", PST_TOKEN_NORMAL, 1);
	gb_u32(&p.b, "tokenizer.ggml.eos_token_id", 2);
	file = tv_finish(&p, &size);
	copy = malloc(size);
	for (int round = 0; round < 3000; round++) {
		struct pst_tokens t = { 0 };
		struct pst_gguf *g;
		struct pst_vocab *v;

		memcpy(copy, file, size);
		for (int i = 0; i < 1 + round % 4; i++) {
			uint64_t r = pst_rng_next(&seed);

			copy[r % size] = (uint8_t)(r >> 48);
		}
		if (pst_gguf_open_mem(copy, size, &g, NULL))
			continue;
		if (!pst_vocab_create(g, &v, NULL, NULL)) {
			loaded++;
			assert_int_equal(
				pst_vocab_tokenize(v, "a <s>\xc3\xa9 a", 9,
						   PST_TOKENIZE_SPECIAL |
							   PST_TOKENIZE_BOS,
						   &t),
				0);
			pst_tokens_fini(&t);
			pst_vocab_destroy(v);
		}
		pst_gguf_close(g);
	}
	assert_true(loaded > 0);
	free(copy);
	free(file);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(the_model_must_be_known),
		cmocka_unit_test(the_pre_tokenizer_must_be_known),
		cmocka_unit_test(a_missing_pre_tokenizer_is_the_default_one),
		cmocka_unit_test(tokens_must_be_strings_and_some),
		cmocka_unit_test(types_must_be_as_many_as_tokens),
		cmocka_unit_test(types_must_be_small_integers),
		cmocka_unit_test(scores_must_be_floats_as_many_as_tokens),
		cmocka_unit_test(
			merges_must_be_two_tokens_with_a_space_between),
		cmocka_unit_test(special_ids_must_be_integers),
		cmocka_unit_test(special_ids_outside_are_ignored),
		cmocka_unit_test(special_ids_have_the_defaults_of_the_model),
		cmocka_unit_test(the_first_of_equal_tokens_is_found),
		cmocka_unit_test(a_long_token_is_a_token),
		cmocka_unit_test(every_token_is_found_by_its_text),
		cmocka_unit_test(damaged_files_never_crash),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
