// SPDX-License-Identifier: MIT
/*
 * BPE over characters (Gemma 4): spaces become U+2581 as in SentencePiece, and
 * neighbours merge by rules.  Text is cut at line ends only: a run of them that
 * is a token is that token, whatever the rules say.
 */
#include "text_priv.h"

/* Length of the run of line ends, or of other bytes, at the start. */
static size_t run_len(const uint8_t *s, size_t len)
{
	size_t n = 1;

	while (n < len && (s[n] == '\n') == (s[0] == '\n'))
		n++;
	return n;
}

static int32_t whole_run(const struct pst_vocab *v, const uint8_t *s,
			 size_t len)
{
	struct text_probe p;

	if (*s != '\n' || len > v->max_text_len)
		return -1;
	text_index_probe(v, s, len, &p);
	return text_index_find_plain(v, &p);
}

int text_char_bpe_tokenize(const struct pst_vocab *v, const uint8_t *text,
			   size_t len, struct text_scratch *s,
			   struct pst_tokens *out)
{
	size_t n = 0, i = 0;
	int rc = text_escape_spaces(v, text, len, s, &n);

	while (i < n && !rc) {
		size_t r = run_len(s->buf + i, n - i);
		int32_t id = whole_run(v, s->buf + i, r);

		rc = id >= 0 ? pst_tokens_push(out, id)
			     : text_merge_chars(v, s->buf + i, r, &s->merger,
						text_bpe_pair, out);
		i += r;
	}
	return rc;
}
