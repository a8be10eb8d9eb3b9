// SPDX-License-Identifier: MIT
/*
 * Texts, types and scores of the tokens, copied out of the model and checked.
 * All bytes lie in one blob: for each token the text as stored, and behind it
 * the bytes that it stands for where these differ.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

#define KEY_TOKENS "tokenizer.ggml.tokens"
#define KEY_TYPES  "tokenizer.ggml.token_type"
#define KEY_SCORES "tokenizer.ggml.scores"

/* "<0x0A>" names a byte; -1 for any other text. */
static int parse_byte(const uint8_t *s, size_t len)
{
	static const char digits[] = "0123456789ABCDEF";
	const char *hi, *lo;

	if (len != 6 || memcmp(s, "<0x", 3) || s[5] != '>' || !s[3] || !s[4])
		return -1;
	hi = strchr(digits, s[3]);
	lo = strchr(digits, s[4]);
	return hi && lo ? (int)((hi - digits) << 4 | (lo - digits)) : -1;
}

static size_t unescape_spaces(const uint8_t *s, size_t len, uint8_t *out)
{
	size_t i = 0, o = 0;

	while (i < len) {
		if (len - i >= TEXT_SPACE_LEN &&
		    !memcmp(s + i, TEXT_SPACE, TEXT_SPACE_LEN)) {
			out[o++] = ' ';
			i += TEXT_SPACE_LEN;
		} else {
			out[o++] = s[i++];
		}
	}
	return o;
}

/* The bytes that a token stands for; never more than its text has. */
static size_t make_piece(const struct pst_vocab *v, uint32_t id,
			 const uint8_t *s, size_t len, uint8_t *out)
{
	int byte = v->kind->spaces ? parse_byte(s, len) : -1;

	if (v->types[id] == PST_TOKEN_BYTE && byte >= 0) {
		*out = (uint8_t)byte;
		return 1;
	}
	if (v->types[id] != PST_TOKEN_NORMAL) {
		memcpy(out, s, len);
		return len;
	}
	return v->kind->spaces ? unescape_spaces(s, len, out)
			       : text_bytemap_decode(s, len, out);
}

/* SentencePiece: is there a space behind another character? */
static bool joins_words(const uint8_t *s, size_t len)
{
	size_t i = 0;

	while (len - i >= TEXT_SPACE_LEN &&
	       !memcmp(s + i, TEXT_SPACE, TEXT_SPACE_LEN))
		i += TEXT_SPACE_LEN;
	return memmem(s + i, len - i, TEXT_SPACE, TEXT_SPACE_LEN) != NULL;
}

static void add_token(struct pst_vocab *v, uint32_t id,
		      const struct pst_str *str)
{
	struct text_token *t = &v->tokens[id];
	uint8_t *text = v->blob + v->blob_bytes;
	size_t len = (size_t)str->len, n;

	memcpy(text, str->s, len);
	t->text_off = (uint32_t)v->blob_bytes;
	t->text_len = (uint32_t)len;
	v->blob_bytes += len;
	n = make_piece(v, id, text, len, text + len);
	t->piece_len = (uint32_t)n;
	t->piece_off = t->text_off;
	if (n != len || memcmp(text, text + len, n)) {
		t->piece_off = (uint32_t)v->blob_bytes;
		v->blob_bytes += n;
	}
	v->max_text_len = PST_MAX(v->max_text_len, t->text_len);
	if (v->types[id] != PST_TOKEN_CONTROL && joins_words(text, len))
		v->words_apart = false;
	if (v->types[id] == PST_TOKEN_BYTE && v->kind->spaces) {
		int byte = parse_byte(text, len);

		if (byte >= 0 && v->byte_ids[byte] < 0)
			v->byte_ids[byte] = (int32_t)id;
	}
}

static int load_texts(struct pst_vocab *v, const struct pst_gguf_kv *kv,
		      struct pst_diag *diag)
{
	uint64_t total = 0;
	struct pst_gguf_strings it;
	struct pst_str s;
	uint8_t *shrunk;

	if (pst_gguf_strings_init(&it, kv))
		return pst_diag_set(diag, -EBADMSG,
				    KEY_TOKENS ": not an array of strings");
	/* The array lies inside the file: its bytes bound the sum. */
	while (pst_gguf_strings_next(&it, &s))
		total += s.len;
	if (total > INT32_MAX)
		return pst_diag_set(diag, -EBADMSG,
				    KEY_TOKENS ": %llu bytes of text",
				    (unsigned long long)total);
	v->blob = malloc(2 * total + 1);
	if (!v->blob)
		return -ENOMEM;
	pst_gguf_strings_init(&it, kv);
	for (uint32_t id = 0; id < v->nr; id++) {
		if (!pst_gguf_strings_next(&it, &s))
			return pst_diag_set(diag, -EBADMSG,
					    KEY_TOKENS ": ends early");
		add_token(v, id, &s);
	}
	shrunk = realloc(v->blob, v->blob_bytes + 1);
	if (shrunk)
		v->blob = shrunk;
	return 0;
}

/* An array that runs along the tokens: its type and its length. */
static int check_parallel(const struct pst_vocab *v,
			  const struct pst_gguf_kv *kv, const char *key,
			  struct pst_diag *diag)
{
	if (kv->type != PST_GGUF_ARRAY)
		return pst_diag_set(diag, -EBADMSG, "%s: not an array", key);
	if (kv->count != v->nr)
		return pst_diag_set(diag, -EBADMSG,
				    "%s: %llu entries for %u tokens", key,
				    (unsigned long long)kv->count, v->nr);
	return 0;
}

static int load_types(struct pst_vocab *v, const struct pst_gguf *g,
		      struct pst_diag *diag)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, KEY_TYPES);
	int rc;

	memset(v->types, PST_TOKEN_NORMAL, v->nr);
	if (!kv)
		return 0;
	rc = check_parallel(v, kv, KEY_TYPES, diag);
	if (!rc && kv->elem_type == PST_GGUF_BOOL)
		rc = pst_diag_set(diag, -EBADMSG, KEY_TYPES ": not integers");
	if (rc)
		return rc;
	for (uint32_t id = 0; id < v->nr; id++) {
		int64_t t;

		if (pst_gguf_elem_i64(kv, id, &t))
			return pst_diag_set(diag, -EBADMSG,
					    KEY_TYPES ": not integers");
		if (t < 0 || t > PST_TOKEN_BYTE)
			return pst_diag_set(diag, -EBADMSG,
					    KEY_TYPES ": token %u: type %lld",
					    id, (long long)t);
		if (t)
			v->types[id] = (uint8_t)t;
	}
	return 0;
}

static int load_scores(struct pst_vocab *v, const struct pst_gguf *g,
		       const struct pst_log *log, struct pst_diag *diag)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, KEY_SCORES);
	int rc;

	if (!kv && v->kind->scores)
		pst_log(log, PST_LOG_WARN,
			KEY_SCORES ": missing, all tokens score 0");
	if (!kv)
		return 0;
	rc = check_parallel(v, kv, KEY_SCORES, diag);
	if (!rc && kv->elem_type != PST_GGUF_F32 &&
	    kv->elem_type != PST_GGUF_F64)
		rc = pst_diag_set(diag, -EBADMSG, KEY_SCORES ": not floats");
	for (uint32_t id = 0; id < v->nr && !rc; id++) {
		double d = 0;

		if (!v->scores)
			break;
		rc = pst_gguf_elem_f64(kv, id, &d);
		if (rc)
			rc = pst_diag_set(diag, -EBADMSG,
					  KEY_SCORES ": token %u: no number",
					  id);
		v->scores[id] = (float)d;
	}
	return rc;
}

int text_load_tokens(struct pst_vocab *v, const struct pst_gguf *g,
		     const struct pst_log *log, struct pst_diag *diag)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, KEY_TOKENS);
	int rc;

	if (!kv || kv->type != PST_GGUF_ARRAY ||
	    kv->elem_type != PST_GGUF_STRING)
		return pst_diag_set(diag, -EBADMSG, KEY_TOKENS ": %s",
				    kv ? "not an array of strings" : "missing");
	if (!kv->count || kv->count > INT32_MAX)
		return pst_diag_set(diag, -EBADMSG, KEY_TOKENS ": %llu tokens",
				    (unsigned long long)kv->count);
	v->nr = (uint32_t)kv->count;
	v->words_apart = true;
	memset(v->byte_ids, 0xff, sizeof(v->byte_ids));
	v->tokens = pst_calloc(v->nr, sizeof(*v->tokens));
	v->types = pst_calloc(v->nr, sizeof(*v->types));
	v->attrs = pst_calloc(v->nr, sizeof(*v->attrs));
	if (v->kind->scores)
		v->scores = pst_calloc(v->nr, sizeof(*v->scores));
	if (!v->tokens || !v->types || !v->attrs ||
	    (v->kind->scores && !v->scores))
		return -ENOMEM;
	rc = load_types(v, g, diag);
	if (!rc)
		rc = load_texts(v, kv, diag);
	if (!rc)
		rc = load_scores(v, g, log, diag);
	return rc;
}
