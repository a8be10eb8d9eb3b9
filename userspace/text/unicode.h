/* SPDX-License-Identifier: MIT */
/*
 * What a tokenizer asks about single characters: generated tables and how they
 * are searched.
 */
#ifndef PST_TEXT_UNICODE_H
#define PST_TEXT_UNICODE_H

#include "base.h"

/* Both ends included. */
struct text_char_range {
	uint32_t first;
	uint32_t last;
};

/* Sorted ranges of characters of one kind. */
struct text_char_ranges {
	const struct text_char_range *v;
	uint32_t nr;
};

/* @count characters from @first on become to[at], to[at + 1], ... */
struct text_char_map {
	uint32_t first;
	uint32_t count;
	uint32_t at;
};

/* Sorted runs; characters outside stay what they are. */
struct text_char_maps {
	const struct text_char_map *v;
	uint32_t nr;
	const uint32_t *to;
};

extern const struct text_char_ranges text_spaces;
extern const struct text_char_ranges text_drops; /* control, format, private */
extern const struct text_char_ranges text_marks;
extern const struct text_char_ranges text_puncts;
extern const struct text_char_maps text_lower;
/* First character of the canonical decomposition, Hangul left out. */
extern const struct text_char_maps text_base;

/** text_char_is() - is it of a kind? */
bool text_char_is(const struct text_char_ranges *kind, uint32_t cp);

/** text_char_to() - what it is mapped to */
uint32_t text_char_to(const struct text_char_maps *maps, uint32_t cp);

#endif
