/* SPDX-License-Identifier: MIT */
/*
 * text: vocabularies and tokenizers: text to token ids and back.
 * Knows the tokenizer.* keys of GGUF; knows nothing of models.
 */
#ifndef PST_TOKENIZER_H
#define PST_TOKENIZER_H

#include "gguf.h"

struct pst_vocab;

/* Types of tokens, the numbers of the format. */
enum pst_token_type {
	PST_TOKEN_NORMAL = 1,
	PST_TOKEN_UNKNOWN = 2,
	PST_TOKEN_CONTROL = 3,
	PST_TOKEN_USER = 4,
	PST_TOKEN_UNUSED = 5,
	PST_TOKEN_BYTE = 6
};

/**
 * struct pst_tokens - a growing list of token ids
 * @ids: [nr], heap, owned by whoever owns the struct; pst_tokens_fini()
 */
struct pst_tokens {
	int32_t *ids;
	size_t nr;
	size_t cap;
};

int pst_tokens_push(struct pst_tokens *t, int32_t id); /* 0 or -ENOMEM */
void pst_tokens_fini(struct pst_tokens *t);

/**
 * pst_vocab_create() - build a tokenizer from a model's metadata
 * @g: only read during the call; nothing of it is kept
 * @out: owned by the caller, pst_vocab_destroy()
 * @log: warnings (a missing pre-tokenizer name, ids out of range), may be NULL
 *
 * Return: 0; -EBADMSG for malformed vocabularies (types, counts, ids);
 * -ENOTSUP for an unknown model or pre-tokenizer, named in @diag; -ENOMEM.
 */
int pst_vocab_create(const struct pst_gguf *g, struct pst_vocab **out,
		     const struct pst_log *log, struct pst_diag *diag);
void pst_vocab_destroy(struct pst_vocab *v);

uint32_t pst_vocab_nr_tokens(const struct pst_vocab *v);

/* Special ids, -1 when the vocabulary has none. */
int32_t pst_vocab_bos(const struct pst_vocab *v);
int32_t pst_vocab_eos(const struct pst_vocab *v);

/** pst_vocab_is_eog() - does this token end a reply? */
bool pst_vocab_is_eog(const struct pst_vocab *v, int32_t id);

/** pst_vocab_find() - id of a token by its stored text, -1 when there is none */
int32_t pst_vocab_find(const struct pst_vocab *v, const char *text, size_t len);

/** pst_vocab_type() - enum pst_token_type of an id in range */
int pst_vocab_type(const struct pst_vocab *v, int32_t id);

#define PST_TOKENIZE_SPECIAL 1u /* parse control tokens in the text */
#define PST_TOKENIZE_BOS     2u /* add BOS and EOS where the model asks for it */

/**
 * pst_vocab_tokenize() - text to ids, appended to @out
 * @text: [len_bytes], UTF-8; bytes that are not valid become U+FFFD as a whole
 *	maximal subpart, never a crash
 * @flags: PST_TOKENIZE_*
 *
 * Return: 0, -ENOMEM, -E2BIG for more than 2^31 - 1 bytes.
 */
int pst_vocab_tokenize(const struct pst_vocab *v, const char *text,
		       size_t len_bytes, unsigned int flags,
		       struct pst_tokens *out);

/**
 * pst_vocab_piece() - the bytes that one token stands for
 * @special: also give the text of control tokens (otherwise they are empty)
 * @out: bytes inside the vocabulary, valid while it lives
 *
 * The bytes of one token need not be valid UTF-8 by themselves.
 *
 * Return: length in bytes, -EINVAL for an id outside the vocabulary.
 */
int pst_vocab_piece(const struct pst_vocab *v, int32_t id, bool special,
		    const char **out);

/**
 * struct pst_detok - incremental detokenisation that never cuts a character
 *
 * Bytes of an unfinished UTF-8 sequence are held back until it is complete.
 */
struct pst_detok {
	const struct pst_vocab *v;
	bool special;
	bool at_start;
	uint8_t held[4];
	uint8_t nr_held;
};

/**
 * pst_detok_init() - start a text
 * @strip_start: drop the one leading space that a SentencePiece vocabulary
 *	with add_space_prefix puts before the first word
 */
void pst_detok_init(struct pst_detok *d, const struct pst_vocab *v,
		    bool special, bool strip_start);

/**
 * pst_detok_push() - add a token
 * @out: [cap] bytes of complete UTF-8
 *
 * Return: bytes written, -EINVAL for a bad id, -ENOSPC when @cap is smaller
 * than the piece + 4 * 3 or than what would be written: at most the piece * 3 +
 * 4 * 3, as each byte that is no UTF-8 becomes three (nothing is consumed).
 */
int pst_detok_push(struct pst_detok *d, int32_t id, char *out, size_t cap);

/** pst_detok_flush() - bytes held back, replaced by U+FFFD; at most 12 bytes */
int pst_detok_flush(struct pst_detok *d, char *out, size_t cap);

/**
 * pst_vocab_detokenize() - ids to bytes, whole
 * @special: give control tokens as text
 * @out: heap, NUL-terminated, owned by the caller (free())
 * @len: bytes without the NUL
 *
 * The concatenation of pst_vocab_piece(), byte for byte.
 */
int pst_vocab_detokenize(const struct pst_vocab *v, const int32_t *ids,
			 size_t nr, bool special, char **out, size_t *len);

#endif
