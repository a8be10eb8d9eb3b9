// SPDX-License-Identifier: MIT
/*
 * The index from token texts to ids: open addressing over 8-byte slots, at most
 * half full.  The texts come from untrusted files, so the hash is seeded: a
 * file cannot be made to collide.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <xxhash.h>

#include "text_priv.h"

void text_index_probe(const struct pst_vocab *v, const void *text, size_t len,
		      struct text_probe *out)
{
	out->text = text;
	out->len = len;
	out->hash = XXH3_64bits_withSeed(text, len, v->seed);
	__builtin_prefetch(&v->slots[out->hash & v->slot_mask]);
}

void text_index_prefetch_token(const struct pst_vocab *v,
			       const struct text_probe *p)
{
	const struct text_slot *s = &v->slots[p->hash & v->slot_mask];

	if (s->id_plus_1)
		__builtin_prefetch(&v->tokens[s->id_plus_1 - 1]);
}

void text_index_prefetch_text(const struct pst_vocab *v,
			      const struct text_probe *p)
{
	const struct text_slot *s = &v->slots[p->hash & v->slot_mask];

	if (s->id_plus_1)
		__builtin_prefetch(text_of(v, (int32_t)(s->id_plus_1 - 1)));
}

/* The slot of a text, or the empty one where it belongs. */
static struct text_slot *find_slot(const struct pst_vocab *v,
				   const struct text_probe *p)
{
	uint32_t tag = (uint32_t)(p->hash >> 32);
	uint32_t i = (uint32_t)p->hash & v->slot_mask;

	for (; v->slots[i].id_plus_1; i = (i + 1) & v->slot_mask) {
		int32_t id = (int32_t)(v->slots[i].id_plus_1 - 1);

		if (v->slots[i].tag == tag &&
		    v->tokens[id].text_len == p->len &&
		    !memcmp(text_of(v, id), p->text, p->len))
			break;
	}
	return &v->slots[i];
}

int32_t text_index_find(const struct pst_vocab *v, const struct text_probe *p)
{
	return (int32_t)(find_slot(v, p)->id_plus_1 - 1);
}

int32_t text_index_find_plain(const struct pst_vocab *v,
			      const struct text_probe *p)
{
	int32_t id = text_index_find(v, p);

	if (id < 0)
		return -1;
	switch (v->types[id]) {
	case PST_TOKEN_CONTROL:
	case PST_TOKEN_UNKNOWN:
	case PST_TOKEN_BYTE:
		return -1;
	default:
		return id;
	}
}

int text_index_build(struct pst_vocab *v)
{
	uint64_t nr_slots = 16;

	while (nr_slots < 2ULL * v->nr)
		nr_slots *= 2;
	v->slots = pst_calloc(nr_slots, sizeof(*v->slots));
	if (!v->slots)
		return -ENOMEM;
	v->slot_mask = (uint32_t)(nr_slots - 1);
	for (uint32_t id = 0; id < v->nr; id++) {
		struct text_probe p;
		struct text_slot *s;

		text_index_probe(v, text_of(v, (int32_t)id),
				 v->tokens[id].text_len, &p);
		s = find_slot(v, &p);
		if (s->id_plus_1)
			continue;
		s->tag = (uint32_t)(p.hash >> 32);
		s->id_plus_1 = id + 1;
	}
	return 0;
}
