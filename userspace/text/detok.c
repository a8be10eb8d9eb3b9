// SPDX-License-Identifier: MIT
/*
 * Ids to text: whole, byte for byte, or token by token in complete characters.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

void pst_detok_init(struct pst_detok *d, const struct pst_vocab *v,
		    bool special, bool strip_start)
{
	*d = (struct pst_detok){
		.v = v,
		.special = special,
		.at_start = strip_start && v->kind->spaces &&
			    v->add_space_prefix,
	};
}

/* Give out what the held bytes make complete; @out may be NULL to count. */
static size_t release(struct pst_detok *d, bool last, char *out)
{
	size_t o = 0;

	while (d->nr_held) {
		bool valid = false;
		size_t n = text_utf8_step(d->held, d->nr_held, &valid);
		const void *from = valid ? (const void *)d->held
					 : TEXT_REPLACEMENT;
		size_t len = valid ? n : TEXT_REPLACEMENT_LEN;

		if (!n && !last)
			break;
		if (!n)
			n = d->nr_held;
		if (out)
			memcpy(out + o, from, len);
		o += len;
		d->nr_held = (uint8_t)(d->nr_held - n);
		memmove(d->held, d->held + n, d->nr_held);
	}
	return o;
}

static size_t feed(struct pst_detok *d, const char *s, size_t len, char *out)
{
	size_t o = 0;

	for (size_t i = 0; i < len; i++) {
		d->held[d->nr_held++] = (uint8_t)s[i];
		o += release(d, false, out ? out + o : NULL);
	}
	return o;
}

int pst_detok_push(struct pst_detok *d, int32_t id, char *out, size_t cap)
{
	struct pst_detok trial = *d;
	const char *s;
	int len = pst_vocab_piece(d->v, id, d->special, &s);
	bool strip;

	if (len < 0)
		return len;
	if (cap < (size_t)len + 4 * TEXT_REPLACEMENT_LEN)
		return -ENOSPC;
	strip = d->at_start && len && *s == ' ';
	if (feed(&trial, s + strip, (size_t)len - strip, NULL) > cap)
		return -ENOSPC;
	if (len)
		d->at_start = false;
	return (int)feed(d, s + strip, (size_t)len - strip, out);
}

int pst_detok_flush(struct pst_detok *d, char *out, size_t cap)
{
	struct pst_detok trial = *d;

	if (release(&trial, true, NULL) > cap)
		return -ENOSPC;
	return (int)release(d, true, out);
}

int pst_vocab_detokenize(const struct pst_vocab *v, const int32_t *ids,
			 size_t nr, bool special, char **out, size_t *len)
{
	size_t total = 0, o = 0;
	const char *s;
	char *mem;

	for (size_t i = 0; i < nr; i++) {
		int n = pst_vocab_piece(v, ids[i], special, &s);

		if (n < 0)
			return n;
		total += (size_t)n;
	}
	mem = malloc(total + 1);
	if (!mem)
		return -ENOMEM;
	for (size_t i = 0; i < nr; i++) {
		int n = pst_vocab_piece(v, ids[i], special, &s);

		memcpy(mem + o, s, (size_t)n);
		o += (size_t)n;
	}
	mem[o] = '\0';
	*out = mem;
	*len = o;
	return 0;
}
