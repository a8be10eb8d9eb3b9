// SPDX-License-Identifier: MIT
/*
 * WordPiece (BERT): text is reduced to plain lower-case words, each of which is
 * the longest token at its start, then the longest at what is left, and so on.
 * A word that cannot be made of tokens is unknown as a whole.
 *
 * Where llama.cpp and the authors' tokenizer differ this follows the former,
 * whose files these are: of a composed character the first part is kept (of
 * Hangul only the first letter), and all marks are dropped, not only those that
 * take no space.
 */
#include <string.h>

#include "text_priv.h"
#include "unicode.h"

#define HANGUL_FIRST   0xac00u
#define HANGUL_LAST    0xd7a3u
#define HANGUL_LETTERS 588 /* syllables that begin with the same letter */
#define HANGUL_INITIAL 0x1100u
#define ASCII_LAST     0x7eu
/* Longer tokens are not looked for: no part of a word is, and a file could make
 * each place of a text cost as much as its longest token.
 */
#define MAX_PART_BYTES 256

bool text_char_is(const struct text_char_ranges *kind, uint32_t cp)
{
	uint32_t lo = 0, hi = kind->nr;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (cp < kind->v[mid].first)
			hi = mid;
		else if (cp > kind->v[mid].last)
			lo = mid + 1;
		else
			return true;
	}
	return false;
}

uint32_t text_char_to(const struct text_char_maps *maps, uint32_t cp)
{
	uint32_t lo = 0, hi = maps->nr;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct text_char_map *m = &maps->v[mid];

		if (cp < m->first)
			hi = mid;
		else if (cp - m->first >= m->count)
			lo = mid + 1;
		else
			return maps->to[m->at + (cp - m->first)];
	}
	return cp;
}

static uint32_t base_of(uint32_t cp)
{
	if (cp >= HANGUL_FIRST && cp <= HANGUL_LAST)
		return HANGUL_INITIAL + (cp - HANGUL_FIRST) / HANGUL_LETTERS;
	return text_char_to(&text_base, cp);
}

/* Chinese characters are words; the fifth range is as published, not as meant. */
static bool is_chinese(uint32_t cp)
{
	static const struct text_char_range ranges[] = {
		{ 0x3400, 0x4dbf },   { 0x4e00, 0x9fff },
		{ 0xf900, 0xfaff },   { 0x20000, 0x2a6df },
		{ 0x2a700, 0x2b73f }, { 0x2b740, 0x2b81f },
		{ 0x2b920, 0x2ceaf }, { 0x2f800, 0x2fa1f },
	};
	static const struct text_char_ranges chinese = {
		ranges, PST_ARRAY_SIZE(ranges)
	};

	return text_char_is(&chinese, cp);
}

/* Printable ASCII that is neither letter nor digit is punctuation too. */
static bool is_ascii_symbol(uint32_t cp)
{
	return cp > ' ' && cp <= ASCII_LAST && !(cp >= '0' && cp <= '9') &&
	       !(cp >= 'a' && cp <= 'z') && !(cp >= 'A' && cp <= 'Z');
}

static bool stands_alone(uint32_t cp)
{
	return is_ascii_symbol(cp) || text_char_is(&text_puncts, cp) ||
	       is_chinese(cp);
}

static bool is_dropped(const struct pst_vocab *v, uint32_t cp)
{
	return !cp || cp == 0xfffd || text_char_is(&text_drops, cp) ||
	       (v->strip_accents && text_char_is(&text_marks, cp));
}

/* The longest token at the start, -1 when there is none. */
static int32_t longest(const struct pst_vocab *v, const uint8_t *s, size_t len,
		       size_t *used)
{
	size_t most =
		PST_MIN(len, (size_t)PST_MIN(v->max_text_len, MAX_PART_BYTES));

	for (size_t n = most; n; n--) {
		struct text_probe p;
		int32_t id;

		text_index_probe(v, s, n, &p);
		id = text_index_find_plain(v, &p);
		if (id < 0)
			continue;
		*used = n;
		return id;
	}
	return -1;
}

/* The word that is in s->buf behind its mark. */
static int end_word(const struct pst_vocab *v, const uint8_t *word, size_t len,
		    struct pst_tokens *out)
{
	size_t nr = out->nr, i = 0, used = 0;
	int rc = 0;

	if (len <= TEXT_SPACE_LEN)
		return 0;
	while (i < len && !rc) {
		int32_t id = longest(v, word + i, len - i, &used);

		if (id < 0) {
			out->nr = nr;
			return v->unk < 0 ? 0 : pst_tokens_push(out, v->unk);
		}
		rc = pst_tokens_push(out, id);
		i += used;
	}
	return rc;
}

int text_wordpiece_tokenize(const struct pst_vocab *v, const uint8_t *text,
			    size_t len, struct text_scratch *s,
			    struct pst_tokens *out)
{
	size_t n = TEXT_SPACE_LEN;
	/* A character grows by half at most. */
	int rc = text_grow((void **)&s->buf, &s->buf_cap,
			   2 * len + TEXT_SPACE_LEN + 4, 1);

	if (rc)
		return rc;
	memcpy(s->buf, TEXT_SPACE, TEXT_SPACE_LEN);
	for (size_t i = 0; i < len && !rc;) {
		bool valid, alone;
		size_t used = text_utf8_step(text + i, len - i, &valid);
		uint32_t cp = text_utf8_decode(text + i, used);

		i += used;
		if (v->strip_accents)
			cp = base_of(cp);
		alone = stands_alone(cp);
		if (alone || text_char_is(&text_spaces, cp)) {
			rc = end_word(v, s->buf, n, out);
			n = TEXT_SPACE_LEN;
		}
		if (rc || is_dropped(v, cp) || text_char_is(&text_spaces, cp))
			continue;
		n += text_utf8_encode(
			v->lower_case ? text_char_to(&text_lower, cp) : cp,
			s->buf + n);
		if (!alone)
			continue;
		rc = end_word(v, s->buf, n, out);
		n = TEXT_SPACE_LEN;
	}
	return rc ? rc : end_word(v, s->buf, n, out);
}
