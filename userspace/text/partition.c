// SPDX-License-Identifier: MIT
/*
 * Cutting a text at special tokens.  The meaning is simple: take the tokens
 * from the longest to the shortest and cut each out wherever it still occurs,
 * from left to right.  As few of them occur in any text, one walk over the text
 * finds out which; only those are searched for.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

static int by_bytes(const void *pa, const void *pb, void *ctx)
{
	const struct pst_vocab *v = ctx;
	int32_t a = *(const int32_t *)pa, b = *(const int32_t *)pb;
	uint32_t la = v->tokens[a].text_len, lb = v->tokens[b].text_len;
	int c = memcmp(text_of(v, a), text_of(v, b), PST_MIN(la, lb));

	if (c)
		return c;
	if (la != lb)
		return la < lb ? -1 : 1;
	return a < b ? -1 : a > b;
}

static int by_length(const void *pa, const void *pb, void *ctx)
{
	const struct pst_vocab *v = ctx;
	int32_t a = v->specials.by_text[*(const uint32_t *)pa];
	int32_t b = v->specials.by_text[*(const uint32_t *)pb];
	uint32_t la = v->tokens[a].text_len, lb = v->tokens[b].text_len;

	if (la != lb)
		return la > lb ? -1 : 1;
	return a < b ? -1 : a > b;
}

/*
 * A text that is no UTF-8 could match inside a character and leave half of it
 * to those who rely on whole ones.
 */
static bool is_candidate(const struct pst_vocab *v, uint32_t id)
{
	uint32_t len = v->tokens[id].text_len;
	uint8_t t = v->types[id];

	return len &&
	       (t == PST_TOKEN_CONTROL || t == PST_TOKEN_UNKNOWN ||
		t == PST_TOKEN_USER) &&
	       text_utf8_valid(text_of(v, (int32_t)id), len);
}

static uint32_t collect(const struct pst_vocab *v, int32_t *ids,
			const struct pst_log *log)
{
	uint32_t nr = 0, nr_long = 0;

	for (uint32_t id = 0; id < v->nr; id++) {
		if (!is_candidate(v, id))
			continue;
		if (v->tokens[id].text_len > TEXT_MAX_SPECIAL_BYTES) {
			nr_long++;
			continue;
		}
		ids[nr++] = (int32_t)id;
	}
	if (nr_long)
		pst_log(log, PST_LOG_WARN,
			"%u special tokens of more than %d bytes are not "
			"looked for in texts",
			nr_long, TEXT_MAX_SPECIAL_BYTES);
	return nr;
}

int text_specials_build(struct pst_vocab *v, const struct pst_log *log)
{
	struct text_specials *s = &v->specials;
	uint32_t nr = 0;

	for (uint32_t id = 0; id < v->nr; id++)
		nr += is_candidate(v, id);
	s->by_text = pst_calloc(nr, sizeof(*s->by_text));
	s->by_len = pst_calloc(nr, sizeof(*s->by_len));
	if (!s->by_text || !s->by_len)
		return -ENOMEM;
	s->nr = collect(v, s->by_text, log);
	qsort_r(s->by_text, s->nr, sizeof(*s->by_text), by_bytes, v);
	for (uint32_t i = 0; i < s->nr; i++) {
		s->by_len[i] = i;
		s->first[text_of(v, s->by_text[i])[0] + 1]++;
	}
	for (int b = 0; b < 256; b++)
		s->first[b + 1] += s->first[b];
	qsort_r(s->by_len, s->nr, sizeof(*s->by_len), by_length, v);
	return 0;
}

void text_specials_fini(struct text_specials *s)
{
	free(s->by_text);
	free(s->by_len);
}

/* First of by_text[lo .. hi) whose byte at @depth is @byte or more. */
static uint32_t lower_bound(const struct pst_vocab *v, uint32_t lo, uint32_t hi,
			    uint32_t depth, unsigned int byte)
{
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (text_of(v, v->specials.by_text[mid])[depth] < byte)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/*
 * Mark the tokens that @s starts with: the ordered texts serve as a trie, a
 * range of them as its node.
 */
static void mark_here(const struct pst_vocab *v, const uint8_t *s, size_t len,
		      uint8_t *present)
{
	const struct text_specials *sp = &v->specials;
	uint32_t lo = sp->first[s[0]], hi = sp->first[s[0] + 1];
	uint32_t depth = 1;

	for (; lo < hi; depth++) {
		while (lo < hi && v->tokens[sp->by_text[lo]].text_len == depth)
			present[lo++] = 1;
		if (depth == len || (hi - lo == 1 && present[lo]))
			return;
		lo = lower_bound(v, lo, hi, depth, s[depth]);
		hi = lower_bound(v, lo, hi, depth, s[depth] + 1u);
	}
}

static int add(struct text_frags *f, size_t off, size_t len, int32_t id)
{
	int rc;

	if (!len)
		return 0;
	rc = text_grow((void **)&f->v, &f->cap, f->nr + 1, sizeof(*f->v));
	if (rc)
		return rc;
	f->v[f->nr++] = (struct text_frag){ (uint32_t)off, (uint32_t)len, id };
	return 0;
}

static bool is_white(uint8_t c)
{
	return c == ' ' || (c >= '\t' && c <= '\r');
}

/* Cut one raw fragment at one token. */
static int cut_frag(const struct pst_vocab *v, const uint8_t *text,
		    const struct text_frag *f, int32_t id,
		    struct text_frags *out)
{
	size_t n = v->tokens[id].text_len;
	size_t pos = f->off, end = (size_t)f->off + f->len;
	int rc = 0;

	while (!rc && end - pos >= n) {
		const uint8_t *hit =
			memmem(text + pos, end - pos, text_of(v, id), n);
		size_t at;

		if (!hit)
			break;
		at = (size_t)(hit - text);
		rc = add(out, pos, at - pos, -1);
		if (!rc)
			rc = add(out, at, n, id);
		pos = at + n;
		if (v->attrs[id] & TEXT_ATTR_RSTRIP)
			while (pos < end && is_white(text[pos]))
				pos++;
	}
	return rc ? rc : add(out, pos, end - pos, -1);
}

static int cut_all(const struct pst_vocab *v, const uint8_t *text, int32_t id,
		   struct text_frags *f, struct text_frags *spare)
{
	struct text_frags t = *f;
	int rc = 0;

	spare->nr = 0;
	for (size_t i = 0; i < f->nr && !rc; i++) {
		if (f->v[i].id < 0)
			rc = cut_frag(v, text, &f->v[i], id, spare);
		else
			rc = add(spare, f->v[i].off, f->v[i].len, f->v[i].id);
	}
	*f = *spare;
	*spare = t;
	return rc;
}

int text_partition(const struct pst_vocab *v, const uint8_t *text, size_t len,
		   bool special, struct text_frags *out)
{
	const struct text_specials *s = &v->specials;
	struct text_frags spare = { 0 };
	uint8_t *present = calloc(1, s->nr + 1u);
	int rc;

	if (!present)
		return -ENOMEM;
	for (size_t i = 0; i < len; i++)
		if (s->first[text[i]] < s->first[text[i] + 1])
			mark_here(v, text + i, len - i, present);
	rc = add(out, 0, len, -1);
	for (uint32_t i = 0; i < s->nr && !rc; i++) {
		int32_t id = s->by_text[s->by_len[i]];

		if (!present[s->by_len[i]] ||
		    (!special && v->types[id] != PST_TOKEN_USER))
			continue;
		rc = cut_all(v, text, id, out, &spare);
	}
	free(spare.v);
	free(present);
	return rc;
}
