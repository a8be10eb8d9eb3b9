/* SPDX-License-Identifier: MIT */
/*
 * Small vocabularies for the tests of the text module, built through GGUF as
 * real ones are.
 */
#ifndef PST_TEXT_VOCAB_H
#define PST_TEXT_VOCAB_H

#include "gguf_builder.h"
#include "tokenizer.h"

#define TV_MAX_TOKENS 1024

/**
 * struct text_vocab_plan - the arrays of a vocabulary on their way to a file
 * @b: pairs besides the arrays; add more before tv_create()
 */
struct text_vocab_plan {
	struct gguf_builder b;
	char *texts[TV_MAX_TOKENS];
	int32_t types[TV_MAX_TOKENS];
	float scores[TV_MAX_TOKENS];
	size_t nr;
	char *merges[TV_MAX_TOKENS];
	size_t nr_merges;
};

/** tv_init_bpe() - 256 tokens, one for each byte, and no merges */
void tv_init_bpe(struct text_vocab_plan *p, const char *pre);

/** tv_init_spm() - <unk>, <s>, </s> and 256 byte tokens from id 3 on */
void tv_init_spm(struct text_vocab_plan *p);

/** tv_init_spm_as() - the same tokens for another model that writes them so */
void tv_init_spm_as(struct text_vocab_plan *p, const char *model);

/** tv_add() - one token; returns its id */
int32_t tv_add(struct text_vocab_plan *p, const char *text, int type,
	       float score);

/** tv_merge() - a rule, and its result as a token if there is none; its id */
int32_t tv_merge(struct text_vocab_plan *p, const char *left,
		 const char *right);

/** tv_find() - id of a planned text, -1 when there is none */
int32_t tv_find(const struct text_vocab_plan *p, const char *text);

/** tv_finish() - the plan as a file on the heap; frees the plan */
uint8_t *tv_finish(struct text_vocab_plan *p, size_t *size);

/** tv_create() - build and free the plan; returns pst_vocab_create()'s */
int tv_create(struct text_vocab_plan *p, struct pst_vocab **out,
	      struct pst_diag *diag);

/** tv_create_ok() - the same, and it must succeed */
struct pst_vocab *tv_create_ok(struct text_vocab_plan *p);

/** tv_create_from() - from the pairs of a builder alone */
int tv_create_from(struct gguf_builder *b, struct pst_vocab **out,
		   struct pst_diag *diag);

/** tv_check() - tokenize and compare with @nr ids */
void tv_check(const struct pst_vocab *v, const char *text, unsigned int flags,
	      const int32_t *want, size_t nr);

#define TV_CHECK(v, text, flags, ...)                       \
	do {                                                \
		const int32_t want_[] = { __VA_ARGS__ };    \
		tv_check(v, text, flags, want_,             \
			 sizeof(want_) / sizeof(want_[0])); \
	} while (0)

#endif
