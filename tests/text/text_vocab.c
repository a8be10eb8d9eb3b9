// SPDX-License-Identifier: MIT
/*
 * See text_vocab.h.
 */
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <setjmp.h>
#include <cmocka.h>

#include "text_priv.h"
#include "text_vocab.h"

void tv_init_bpe(struct text_vocab_plan *p, const char *pre)
{
	memset(p, 0, sizeof(*p));
	gb_str(&p->b, "tokenizer.ggml.model", "gpt2");
	if (pre)
		gb_str(&p->b, "tokenizer.ggml.pre", pre);
	for (int b = 0; b < 256; b++) {
		uint8_t ch[5] = { 0 };

		text_utf8_encode(text_bytemap_char((uint8_t)b), ch);
		tv_add(p, (char *)ch, PST_TOKEN_NORMAL, 0);
	}
}

void tv_init_spm(struct text_vocab_plan *p)
{
	tv_init_spm_as(p, "llama");
}

void tv_init_spm_as(struct text_vocab_plan *p, const char *model)
{
	char name[8];

	memset(p, 0, sizeof(*p));
	gb_str(&p->b, "tokenizer.ggml.model", model);
	tv_add(p, "<unk>", PST_TOKEN_UNKNOWN, 0);
	tv_add(p, "<s>", PST_TOKEN_CONTROL, 0);
	tv_add(p, "</s>", PST_TOKEN_CONTROL, 0);
	for (int b = 0; b < 256; b++) {
		snprintf(name, sizeof(name), "<0x%02X>", b);
		tv_add(p, name, PST_TOKEN_BYTE, 0);
	}
}

int32_t tv_add(struct text_vocab_plan *p, const char *text, int type,
	       float score)
{
	assert_true(p->nr < TV_MAX_TOKENS);
	p->texts[p->nr] = strdup(text);
	p->types[p->nr] = type;
	p->scores[p->nr] = score;
	return (int32_t)p->nr++;
}

int32_t tv_find(const struct text_vocab_plan *p, const char *text)
{
	for (size_t i = 0; i < p->nr; i++)
		if (!strcmp(p->texts[i], text))
			return (int32_t)i;
	return -1;
}

int32_t tv_merge(struct text_vocab_plan *p, const char *left, const char *right)
{
	char *rule, *joined;
	int32_t id;

	assert_true(p->nr_merges < TV_MAX_TOKENS);
	assert_true(asprintf(&rule, "%s %s", left, right) > 0);
	assert_true(asprintf(&joined, "%s%s", left, right) > 0);
	p->merges[p->nr_merges++] = rule;
	id = tv_find(p, joined);
	if (id < 0)
		id = tv_add(p, joined, PST_TOKEN_NORMAL, 0);
	free(joined);
	return id;
}

static int create(const uint8_t *file, size_t size, struct pst_vocab **out,
		  struct pst_diag *diag)
{
	struct pst_gguf *g;
	struct pst_diag d;
	int rc;

	pst_diag_init(&d);
	if (pst_gguf_open_mem(file, size, &g, &d))
		fail_msg("builder: %s", d.text);
	rc = pst_vocab_create(g, out, NULL, diag);
	pst_gguf_close(g);
	return rc;
}

/* Whoever still points into the file is to be found out. */
static void shred(uint8_t *file, size_t size)
{
	memset(file, 0xa5, size);
	free(file);
}

int tv_create_from(struct gguf_builder *b, struct pst_vocab **out,
		   struct pst_diag *diag)
{
	size_t size;
	uint8_t *file = gb_finish(b, &size);
	int rc = create(file, size, out, diag);

	shred(file, size);
	return rc;
}

uint8_t *tv_finish(struct text_vocab_plan *p, size_t *size)
{
	gb_strs(&p->b, "tokenizer.ggml.tokens", (const char **)p->texts, p->nr);
	gb_i32s(&p->b, "tokenizer.ggml.token_type", p->types, p->nr);
	gb_f32s(&p->b, "tokenizer.ggml.scores", p->scores, p->nr);
	gb_strs(&p->b, "tokenizer.ggml.merges", (const char **)p->merges,
		p->nr_merges);
	for (size_t i = 0; i < p->nr; i++)
		free(p->texts[i]);
	for (size_t i = 0; i < p->nr_merges; i++)
		free(p->merges[i]);
	p->nr = 0;
	p->nr_merges = 0;
	return gb_finish(&p->b, size);
}

int tv_create(struct text_vocab_plan *p, struct pst_vocab **out,
	      struct pst_diag *diag)
{
	size_t size;
	uint8_t *file = tv_finish(p, &size);
	int rc = create(file, size, out, diag);

	shred(file, size);
	return rc;
}

struct pst_vocab *tv_create_ok(struct text_vocab_plan *p)
{
	struct pst_vocab *v = NULL;
	struct pst_diag d;

	pst_diag_init(&d);
	if (tv_create(p, &v, &d))
		fail_msg("vocabulary: %s", d.text);
	return v;
}

void tv_check(const struct pst_vocab *v, const char *text, unsigned int flags,
	      const int32_t *want, size_t nr)
{
	struct pst_tokens t = { 0 };

	assert_int_equal(pst_vocab_tokenize(v, text, strlen(text), flags, &t),
			 0);
	for (size_t i = 0; i < t.nr && (t.nr != nr || t.ids[i] != want[i]); i++)
		print_message("\"%s\": [%zu] = %d\n", text, i, t.ids[i]);
	assert_int_equal(t.nr, nr);
	for (size_t i = 0; i < nr; i++)
		assert_int_equal(t.ids[i], want[i]);
	pst_tokens_fini(&t);
}
