// SPDX-License-Identifier: MIT
/*
 * Memory that runs out at any place: -ENOMEM, nothing leaked, nothing half
 * done.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "alloc_hook.h"
#include "text_vocab.h"

/* Of every kind of vocabulary. */
enum {
	BYTE_BPE,
	SPM,
	CHAR_BPE,
	WORDPIECE,
	NR_KINDS
};

static void plan(struct text_vocab_plan *p, int kind)
{
	static const char *const models[] = {
		[SPM] = "llama", [CHAR_BPE] = "gemma4", [WORDPIECE] = "bert"
	};

	if (kind == BYTE_BPE)
		tv_init_bpe(p, "deepseek-v3");
	else
		tv_init_spm_as(p, models[kind]);
	tv_add(p, "<c>", PST_TOKEN_CONTROL, 0);
	if (kind == BYTE_BPE || kind == CHAR_BPE)
		tv_merge(p, "a", "b");
}

static void creation_fails_whole(void **state)
{
	for (int kind = 0; kind < NR_KINDS; kind++) {
		struct text_vocab_plan p;
		struct pst_gguf *g;
		uint8_t *file;
		size_t size;
		uint64_t total = 1, nr_failed = 0;

		plan(&p, kind);
		file = tv_finish(&p, &size);
		assert_int_equal(pst_gguf_open_mem(file, size, &g, NULL), 0);
		for (uint64_t n = 0; n <= total; n++) {
			struct pst_vocab *v = NULL;
			int rc;

			alloc_hook_reset();
			if (n)
				alloc_hook_fail_at(n);
			rc = pst_vocab_create(g, &v, NULL, NULL);
			assert_true(rc ? n && rc == -ENOMEM && !v : !!v);
			if (!n)
				total = alloc_hook_nr();
			nr_failed += rc != 0;
			pst_vocab_destroy(v);
		}
		assert_true(nr_failed > 5);
		pst_gguf_close(g);
		free(file);
	}
	alloc_hook_reset();
}

static void tokenizing_fails_whole(void **state)
{
	static const char text[] = "abc ab<c>\xff 12345 words\n";

	for (int kind = 0; kind < NR_KINDS; kind++) {
		struct text_vocab_plan p;
		struct pst_vocab *v;
		uint64_t total = 1;

		plan(&p, kind);
		v = tv_create_ok(&p);
		for (uint64_t n = 0; n <= total; n++) {
			struct pst_tokens t = { 0 };
			int rc;

			assert_int_equal(pst_tokens_push(&t, 7), 0);
			alloc_hook_reset();
			if (n)
				alloc_hook_fail_at(n);
			rc = pst_vocab_tokenize(v, text, sizeof(text) - 1,
						PST_TOKENIZE_SPECIAL, &t);
			assert_int_equal(rc, n ? -ENOMEM : 0);
			assert_int_equal(t.ids[0], 7);
			assert_true(rc ? t.nr == 1 : t.nr > 4);
			if (!n)
				total = alloc_hook_nr();
			pst_tokens_fini(&t);
		}
		assert_true(total > 3);
		pst_vocab_destroy(v);
	}
	alloc_hook_reset();
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(creation_fails_whole),
		cmocka_unit_test(tokenizing_fails_whole),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
