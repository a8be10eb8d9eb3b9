// SPDX-License-Identifier: MIT
/*
 * UTF-8: checking, decoding and the replacement of what is not valid.  An
 * ill-formed sequence is replaced by one U+FFFD for each maximal subpart, as
 * the Unicode standard recommends (chapter 3, "U+FFFD Substitution").
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

/*
 * The second byte decides overlong forms, surrogates and the end of Unicode:
 * Unicode standard, table 3-7.
 */
static size_t lead(uint8_t b, uint8_t *lo, uint8_t *hi)
{
	*lo = 0x80;
	*hi = 0xbf;
	if (b < 0x80)
		return 1;
	if (b < 0xc2 || b > 0xf4)
		return 0;
	if (b < 0xe0)
		return 2;
	if (b == 0xe0)
		*lo = 0xa0;
	if (b == 0xed)
		*hi = 0x9f;
	if (b < 0xf0)
		return 3;
	if (b == 0xf0)
		*lo = 0x90;
	if (b == 0xf4)
		*hi = 0x8f;
	return 4;
}

size_t text_utf8_step(const uint8_t *s, size_t len, bool *valid)
{
	uint8_t lo, hi;
	size_t need = lead(s[0], &lo, &hi);
	size_t i;

	*valid = false;
	if (!need)
		return 1;
	for (i = 1; i < need; i++) {
		if (i == len)
			return 0;
		if (s[i] < lo || s[i] > hi)
			return i;
		lo = 0x80;
		hi = 0xbf;
	}
	*valid = true;
	return need;
}

uint32_t text_utf8_decode(const uint8_t *s, size_t len)
{
	switch (len) {
	case 1:
		return s[0];
	case 2:
		return (s[0] & 0x1fu) << 6 | (s[1] & 0x3fu);
	case 3:
		return (s[0] & 0x0fu) << 12 | (s[1] & 0x3fu) << 6 |
		       (s[2] & 0x3fu);
	default:
		return (s[0] & 0x07u) << 18 | (s[1] & 0x3fu) << 12 |
		       (s[2] & 0x3fu) << 6 | (s[3] & 0x3fu);
	}
}

size_t text_utf8_encode(uint32_t cp, uint8_t *out)
{
	if (cp < 0x80) {
		out[0] = (uint8_t)cp;
		return 1;
	}
	if (cp < 0x800) {
		out[0] = (uint8_t)(0xc0 | cp >> 6);
		out[1] = (uint8_t)(0x80 | (cp & 0x3f));
		return 2;
	}
	if (cp < 0x10000) {
		out[0] = (uint8_t)(0xe0 | cp >> 12);
		out[1] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
		out[2] = (uint8_t)(0x80 | (cp & 0x3f));
		return 3;
	}
	out[0] = (uint8_t)(0xf0 | cp >> 18);
	out[1] = (uint8_t)(0x80 | (cp >> 12 & 0x3f));
	out[2] = (uint8_t)(0x80 | (cp >> 6 & 0x3f));
	out[3] = (uint8_t)(0x80 | (cp & 0x3f));
	return 4;
}

/* Length of the valid start; ASCII goes eight bytes at a time. */
static size_t valid_prefix(const uint8_t *s, size_t len)
{
	size_t i = 0, n;
	uint64_t w;
	bool valid;

	while (i < len) {
		while (len - i >= 8) {
			memcpy(&w, s + i, 8);
			if (w & 0x8080808080808080ULL)
				break;
			i += 8;
		}
		if (i == len)
			break;
		n = text_utf8_step(s + i, len - i, &valid);
		if (!valid)
			break;
		i += n;
	}
	return i;
}

bool text_utf8_valid(const uint8_t *s, size_t len)
{
	return valid_prefix(s, len) == len;
}

/* One pass over the text; with @out NULL it only counts. */
static size_t repair(const uint8_t *s, size_t len, uint8_t *out)
{
	size_t i = 0, o = 0, n;
	bool valid;

	while (i < len) {
		n = valid_prefix(s + i, len - i);
		if (out)
			memcpy(out + o, s + i, n);
		i += n;
		o += n;
		if (i == len)
			break;
		n = text_utf8_step(s + i, len - i, &valid);
		i += n ? n : len - i;
		if (out)
			memcpy(out + o, TEXT_REPLACEMENT, TEXT_REPLACEMENT_LEN);
		o += TEXT_REPLACEMENT_LEN;
	}
	return o;
}

int text_utf8_repair(const uint8_t *s, size_t len, uint8_t **out,
		     size_t *out_len)
{
	uint8_t *mem;
	size_t n;

	*out = NULL;
	*out_len = len;
	if (text_utf8_valid(s, len))
		return 0;
	n = repair(s, len, NULL);
	if (n > INT32_MAX)
		return -E2BIG;
	mem = malloc(n);
	if (!mem)
		return -ENOMEM;
	repair(s, len, mem);
	*out = mem;
	*out_len = n;
	return 0;
}
