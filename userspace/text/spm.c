// SPDX-License-Identifier: MIT
/*
 * SentencePiece with scores: spaces become U+2581, then the neighbours whose
 * concatenation is the token of the highest score merge first.  Characters that
 * are no token become byte tokens.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "text_priv.h"

/* Higher scores come first; NaN comes last. */
static uint32_t score_prio(float score)
{
	uint32_t bits;

	if (isnan(score))
		return UINT32_MAX;
	score += 0.0f; /* one zero */
	memcpy(&bits, &score, sizeof(bits));
	return bits & 0x80000000u ? bits : ~(bits | 0x80000000u);
}

static int32_t find(const struct pst_vocab *v, const uint8_t *s, size_t len)
{
	struct text_probe p;

	if (len > v->max_text_len)
		return -1;
	text_index_probe(v, s, len, &p);
	return text_index_find_plain(v, &p);
}

static int32_t spm_pair(const struct pst_vocab *v, const uint8_t *text,
			const struct text_sym *l, const struct text_sym *r,
			uint32_t *prio)
{
	int32_t id = find(v, text + l->off, (size_t)l->len + r->len);

	if (id >= 0)
		*prio = score_prio(v->scores[id]);
	return id;
}

static int push_bytes(const struct pst_vocab *v, const uint8_t *s, size_t len,
		      struct pst_tokens *out)
{
	int rc = 0;

	for (size_t i = 0; i < len && !rc; i++) {
		int32_t id = v->byte_ids[s[i]];

		if (id < 0)
			id = v->unk;
		if (id >= 0)
			rc = pst_tokens_push(out, id);
	}
	return rc;
}

int text_merge_chars(const struct pst_vocab *v, const uint8_t *s, size_t len,
		     struct text_merger *m, text_pair_fn pair,
		     struct pst_tokens *out)
{
	size_t nr = 0;
	bool valid;
	int rc;

	rc = text_merger_reserve(m, len);
	if (rc)
		return rc;
	for (size_t i = 0; i < len; nr++) {
		struct text_sym *y = &m->syms[nr];
		size_t n = text_utf8_step(s + i, len - i, &valid);

		y->off = (uint32_t)i;
		y->len = (uint32_t)n;
		y->id = find(v, s + i, n);
		i += n;
	}
	m->nr = nr;
	text_merger_run(m, v, s, pair);
	for (int32_t i = 0; i >= 0 && !rc; i = m->syms[i].next) {
		const struct text_sym *y = &m->syms[i];

		rc = y->id >= 0 ? pst_tokens_push(out, y->id)
				: push_bytes(v, s + y->off, y->len, out);
	}
	return rc;
}

/* Length of a run at the start that no token reaches out of: it ends before a
 * space behind a word.
 */
static size_t run_len(const struct pst_vocab *v, const uint8_t *s, size_t len)
{
	bool word = false;

	if (!v->words_apart)
		return len;
	for (size_t i = 0; i < len;) {
		bool space = len - i >= TEXT_SPACE_LEN &&
			     !memcmp(s + i, TEXT_SPACE, TEXT_SPACE_LEN);

		if (space && word)
			return i;
		word = !space;
		i += space ? TEXT_SPACE_LEN : 1;
	}
	return len;
}

/*
 * Before a raw fragment there is the start of the text or a special token, and
 * both ask for the space prefix.
 */
int text_escape_spaces(const struct pst_vocab *v, const uint8_t *text,
		       size_t len, struct text_scratch *s, size_t *out_len)
{
	size_t need = len, o = 0;
	int rc;

	for (size_t i = 0; i < len; i++)
		need += text[i] == ' ' ? TEXT_SPACE_LEN - 1 : 0;
	need += v->add_space_prefix ? TEXT_SPACE_LEN : 0;
	if (need > INT32_MAX)
		return -E2BIG;
	rc = text_grow((void **)&s->buf, &s->buf_cap, need, 1);
	if (rc)
		return rc;
	if (v->add_space_prefix) {
		memcpy(s->buf, TEXT_SPACE, TEXT_SPACE_LEN);
		o = TEXT_SPACE_LEN;
	}
	for (size_t i = 0; i < len; i++) {
		if (text[i] != ' ') {
			s->buf[o++] = text[i];
			continue;
		}
		memcpy(s->buf + o, TEXT_SPACE, TEXT_SPACE_LEN);
		o += TEXT_SPACE_LEN;
	}
	*out_len = o;
	return 0;
}

int text_spm_tokenize(const struct pst_vocab *v, const uint8_t *text,
		      size_t len, struct text_scratch *s,
		      struct pst_tokens *out)
{
	size_t n = 0, i = 0;
	int rc = text_escape_spaces(v, text, len, s, &n);

	while (i < n && !rc) {
		size_t r = run_len(v, s->buf + i, n - i);

		rc = text_merge_chars(v, s->buf + i, r, &s->merger, spm_pair,
				      out);
		i += r;
	}
	return rc;
}
