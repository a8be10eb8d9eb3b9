// SPDX-License-Identifier: MIT
/*
 * Ids to text: pieces, whole texts, and the incremental way that never cuts a
 * character.
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

#define BAD TEXT_REPLACEMENT

static bool is_valid(const char *s, size_t len)
{
	uint8_t *fixed;

	assert_int_equal(
		text_utf8_repair((const uint8_t *)s, len, &fixed, &len), 0);
	free(fixed);
	return !fixed;
}

/* Feed single bytes; ids of byte-level BPE's byte tokens are the bytes. */
static void check_stream(const struct pst_vocab *v, const char *bytes,
			 const char *want)
{
	struct pst_detok d;
	char out[256];
	size_t o = 0;

	pst_detok_init(&d, v, true, false);
	for (size_t i = 0; bytes[i]; i++) {
		int n = pst_detok_push(&d, (uint8_t)bytes[i], out + o, 32);

		assert_true(n >= 0);
		assert_true(is_valid(out + o, (size_t)n));
		o += (size_t)n;
	}
	o += (size_t)pst_detok_flush(&d, out + o, 12);
	out[o] = '\0';
	assert_string_equal(out, want);
}

static void characters_come_out_whole(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	struct pst_detok d;
	char out[16];

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	pst_detok_init(&d, v, false, false);
	assert_int_equal(pst_detok_push(&d, 0xf0, out, 16), 0);
	assert_int_equal(pst_detok_push(&d, 0x9f, out, 16), 0);
	assert_int_equal(pst_detok_push(&d, 0x98, out, 16), 0);
	assert_int_equal(pst_detok_push(&d, 0x80, out, 16), 4);
	assert_memory_equal(out, "\xf0\x9f\x98\x80", 4);
	assert_int_equal(pst_detok_flush(&d, out, 12), 0);
	pst_vocab_destroy(v);
}

static void what_is_no_character_is_replaced(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	check_stream(v, "a\xff z", "a" BAD " z");
	check_stream(v, "\xe2\x82", BAD);
	check_stream(v,
		     "\xe2\x82"
		     "a",
		     BAD "a");
	check_stream(v, "\xf0\x9f\xf0\x9f\x98\x80", BAD "\xf0\x9f\x98\x80");
	check_stream(v, "\xed\xa0\x80", BAD BAD BAD);
	check_stream(v, "\xc0\xaf", BAD BAD);
	check_stream(v, "\xc3\xc3\xa9", BAD "\xc3\xa9");
	pst_vocab_destroy(v);
}

static void random_bytes_come_out_as_repair_makes_them(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	uint64_t seed = test_seed();

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	for (int round = 0; round < 5000; round++) {
		static const char some[] = "a\xc3\xa9\xe2\x82\xac\xf0\x9f\x98"
					   "\xed\xa0\xf4\x90\xff\xe0\xc0";
		char bytes[33] = "", want[128];
		uint8_t *fixed;
		size_t n = pst_rng_next(&seed) % 32, len;

		for (size_t i = 0; i < n; i++)
			bytes[i] =
				some[pst_rng_next(&seed) % (sizeof(some) - 1)];
		assert_int_equal(
			text_utf8_repair((uint8_t *)bytes, n, &fixed, &len), 0);
		memcpy(want, fixed ? (char *)fixed : bytes, len);
		want[len] = '\0';
		check_stream(v, bytes, want);
		free(fixed);
	}
	pst_vocab_destroy(v);
}

static void a_short_buffer_consumes_nothing(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	struct pst_detok d;
	char out[64];
	int32_t word, bad;

	tv_init_bpe(&p, "gpt-2");
	word = tv_add(&p, "hello", PST_TOKEN_NORMAL, 0);
	/* Eight bytes 0xff: each becomes three. */
	bad = tv_add(&p,
		     "\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf\xc3\xbf"
		     "\xc3\xbf\xc3\xbf",
		     PST_TOKEN_NORMAL, 0);
	v = tv_create_ok(&p);
	pst_detok_init(&d, v, false, false);
	assert_int_equal(pst_detok_push(&d, 0xe2, out, 16), 0);
	assert_int_equal(pst_detok_push(&d, word, out, 16), -ENOSPC);
	assert_int_equal(pst_detok_push(&d, bad, out, 26), -ENOSPC);
	assert_int_equal(pst_detok_push(&d, word, out, 17), 8);
	assert_memory_equal(out, BAD "hello", 8);
	assert_int_equal(pst_detok_push(&d, bad, out, 24), 24);
	pst_vocab_destroy(v);
}

static void ids_outside_are_refused(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	struct pst_detok d;
	const char *s;
	char out[64], *text;
	size_t len;

	tv_init_bpe(&p, "gpt-2");
	v = tv_create_ok(&p);
	pst_detok_init(&d, v, false, false);
	assert_int_equal(pst_detok_push(&d, -1, out, 64), -EINVAL);
	assert_int_equal(pst_detok_push(&d, 256, out, 64), -EINVAL);
	assert_int_equal(pst_vocab_piece(v, 256, true, &s), -EINVAL);
	assert_int_equal(pst_vocab_type(v, INT32_MIN), -EINVAL);
	assert_int_equal(pst_vocab_detokenize(v, (int32_t[]){ 'a', 256 }, 2,
					      true, &text, &len),
			 -EINVAL);
	pst_vocab_destroy(v);
}

static void control_tokens_have_text_only_when_asked_for(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t ids[3] = { 'a', 0, 'b' };
	char *text;
	size_t len;

	tv_init_bpe(&p, "gpt-2");
	ids[1] = tv_add(&p, "<c>", PST_TOKEN_CONTROL, 0);
	v = tv_create_ok(&p);
	assert_int_equal(pst_vocab_detokenize(v, ids, 3, true, &text, &len), 0);
	assert_string_equal(text, "a<c>b");
	assert_int_equal(len, 5);
	free(text);
	assert_int_equal(pst_vocab_detokenize(v, ids, 3, false, &text, &len),
			 0);
	assert_string_equal(text, "ab");
	free(text);
	pst_vocab_destroy(v);
}

static void sentencepiece_tokens_give_spaces_and_bytes(void **state)
{
	struct text_vocab_plan p;
	struct pst_vocab *v;
	int32_t ids[4];
	char *text;
	size_t len;

	tv_init_spm(&p);
	ids[0] = tv_add(&p, TEXT_SPACE "a" TEXT_SPACE, PST_TOKEN_NORMAL, 0);
	ids[1] = 3 + '\n';
	ids[2] = 3 + 0;
	ids[3] = tv_add(&p, TEXT_SPACE "u", PST_TOKEN_USER, 0);
	v = tv_create_ok(&p);
	assert_int_equal(pst_vocab_detokenize(v, ids, 4, false, &text, &len),
			 0);
	assert_int_equal(len, 5 + 4);
	assert_memory_equal(text, " a \n\0" TEXT_SPACE "u", 9);
	free(text);
	pst_vocab_destroy(v);
}

static void one_leading_space_is_dropped_when_asked_for(void **state)
{
	static const struct {
		bool strip, key;
		const char *want;
	} cases[] = {
		{ true, true, "  a a" },
		{ false, true, "   a a" },
		{ true, false, "   a a" },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(cases); i++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		struct pst_detok d;
		char out[64];
		int32_t sp, a;
		int o = 0;

		tv_init_spm(&p);
		gb_bool(&p.b, "tokenizer.ggml.add_space_prefix", cases[i].key);
		sp = tv_add(&p, TEXT_SPACE, PST_TOKEN_NORMAL, 0);
		a = tv_add(&p, TEXT_SPACE "a", PST_TOKEN_NORMAL, 0);
		v = tv_create_ok(&p);
		pst_detok_init(&d, v, false, cases[i].strip);
		/* An invisible token is no start of the text. */
		o += pst_detok_push(&d, 1, out + o, 32);
		o += pst_detok_push(&d, sp, out + o, 32);
		o += pst_detok_push(&d, sp, out + o, 32);
		o += pst_detok_push(&d, a, out + o, 32);
		o += pst_detok_push(&d, a, out + o, 32);
		out[o] = '\0';
		assert_string_equal(out, cases[i].want);
		pst_vocab_destroy(v);
	}
}

static void every_byte_survives_the_byte_map(void **state)
{
	for (int b = 0; b < 256; b++) {
		uint32_t cp = text_bytemap_char((uint8_t)b);

		assert_int_equal(text_bytemap_byte(cp), b);
		assert_true(cp > 32 && cp < 0x144);
	}
	assert_int_equal(text_bytemap_byte(0x144), -1);
	assert_int_equal(text_bytemap_byte(' '), -1);
	assert_int_equal(text_bytemap_char(' '), 0x120);
	assert_int_equal(text_bytemap_char('\n'), 0x10a);
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(characters_come_out_whole),
		cmocka_unit_test(what_is_no_character_is_replaced),
		cmocka_unit_test(random_bytes_come_out_as_repair_makes_them),
		cmocka_unit_test(a_short_buffer_consumes_nothing),
		cmocka_unit_test(ids_outside_are_refused),
		cmocka_unit_test(control_tokens_have_text_only_when_asked_for),
		cmocka_unit_test(sentencepiece_tokens_give_spaces_and_bytes),
		cmocka_unit_test(one_leading_space_is_dropped_when_asked_for),
		cmocka_unit_test(every_byte_survives_the_byte_map),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
