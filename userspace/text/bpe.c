// SPDX-License-Identifier: MIT
/*
 * Byte-level BPE over a text that holds no special tokens.  A symbol starts as
 * one byte, for each byte is one character of the vocabulary's alphabet.
 */
#include "text_priv.h"

int32_t text_bpe_pair(const struct pst_vocab *v, const uint8_t *text,
		      const struct text_sym *l, const struct text_sym *r,
		      uint32_t *prio)
{
	int64_t rank;

	(void)text;
	if (l->id < 0 || r->id < 0)
		return -1;
	rank = text_merges_find(v, l->id, r->id);
	if (rank < 0)
		return -1;
	*prio = (uint32_t)rank;
	return v->merges.rules[rank].result;
}

/* The token that a whole piece is, -1 when it is none. */
static int32_t whole_piece(const struct pst_vocab *v, const uint8_t *s,
			   size_t len, uint8_t *buf)
{
	struct text_probe p;

	if (len > v->max_text_len)
		return -1;
	text_index_probe(v, buf, text_bytemap_encode(s, len, buf), &p);
	return text_index_find_plain(v, &p);
}

static int piece(const struct pst_vocab *v, const uint8_t *s, size_t len,
		 struct text_scratch *sc, struct pst_tokens *out)
{
	struct text_merger *m = &sc->merger;
	int32_t id = -1;
	int rc;

	if (v->ignore_merges)
		id = whole_piece(v, s, len, sc->buf);
	if (id >= 0)
		return pst_tokens_push(out, id);
	rc = text_merger_reserve(m, len);
	if (rc)
		return rc;
	m->nr = len;
	for (size_t i = 0; i < len; i++) {
		m->syms[i].off = (uint32_t)i;
		m->syms[i].len = 1;
		m->syms[i].id = v->byte_ids[s[i]];
	}
	text_merger_run(m, v, s, text_bpe_pair);
	/* A byte that the vocabulary lacks has no token to stand for it. */
	for (int32_t i = 0; i >= 0 && !rc; i = m->syms[i].next)
		if (m->syms[i].id >= 0)
			rc = pst_tokens_push(out, m->syms[i].id);
	return rc;
}

int text_bpe_tokenize(const struct pst_vocab *v, const uint8_t *text,
		      size_t len, struct text_scratch *s,
		      struct pst_tokens *out)
{
	int rc = text_grow((void **)&s->buf, &s->buf_cap,
			   2 * (size_t)v->max_text_len + 1, 1);

	if (!rc)
		rc = text_pretok_split(v->pretok, text, len, &s->cuts[0],
				       &s->cuts[1]);
	for (size_t i = 0; i < s->cuts[0].nr && !rc; i++) {
		rc = piece(v, text, s->cuts[0].lens[i], s, out);
		text += s->cuts[0].lens[i];
	}
	return rc;
}
