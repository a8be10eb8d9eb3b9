// SPDX-License-Identifier: MIT
/*
 * Text to ids: repair of the UTF-8, cutting at special tokens, the model's
 * algorithm for what lies between, and the tokens at the ends.
 */
#include <errno.h>
#include <stdlib.h>

#include "text_priv.h"

int text_grow(void **p, size_t *cap, size_t need, size_t elem_bytes)
{
	size_t n = *cap ? *cap : 64;
	void *mem;

	if (need <= *cap)
		return 0;
	while (n < need)
		n *= 2;
	mem = reallocarray(*p, n, elem_bytes);
	if (!mem)
		return -ENOMEM;
	*p = mem;
	*cap = n;
	return 0;
}

int pst_tokens_push(struct pst_tokens *t, int32_t id)
{
	int rc = text_grow((void **)&t->ids, &t->cap, t->nr + 1,
			   sizeof(*t->ids));

	if (!rc)
		t->ids[t->nr++] = id;
	return rc;
}

void pst_tokens_fini(struct pst_tokens *t)
{
	free(t->ids);
	*t = (struct pst_tokens){ 0 };
}

static int tokenize_frags(const struct pst_vocab *v, const uint8_t *text,
			  const struct text_frags *f, struct pst_tokens *out)
{
	struct text_scratch s = { 0 };
	int rc = 0;

	for (size_t i = 0; i < f->nr && !rc; i++) {
		const uint8_t *from = text + f->v[i].off;
		size_t len = f->v[i].len;

		if (f->v[i].id >= 0)
			rc = pst_tokens_push(out, f->v[i].id);
		else
			rc = v->kind->tokenize(v, from, len, &s, out);
	}
	free(s.merger.syms);
	free(s.merger.heap);
	free(s.cuts[0].lens);
	free(s.cuts[1].lens);
	free(s.buf);
	return rc;
}

static int tokenize_text(const struct pst_vocab *v, const uint8_t *text,
			 size_t len, unsigned int flags, struct pst_tokens *out)
{
	struct text_frags frags = { 0 };
	uint8_t *repaired;
	int rc = text_utf8_repair(text, len, &repaired, &len);

	if (rc)
		return rc;
	if (repaired)
		text = repaired;
	rc = text_partition(v, text, len, flags & PST_TOKENIZE_SPECIAL, &frags);
	if (!rc)
		rc = tokenize_frags(v, text, &frags, out);
	free(frags.v);
	free(repaired);
	return rc;
}

int pst_vocab_tokenize(const struct pst_vocab *v, const char *text,
		       size_t len_bytes, unsigned int flags,
		       struct pst_tokens *out)
{
	size_t nr = out->nr;
	int rc = 0;

	if (len_bytes > INT32_MAX)
		return -E2BIG;
	if (flags & PST_TOKENIZE_BOS && v->add_bos && v->bos >= 0)
		rc = pst_tokens_push(out, v->bos);
	if (!rc && len_bytes)
		rc = tokenize_text(v, (const uint8_t *)text, len_bytes, flags,
				   out);
	if (!rc && flags & PST_TOKENIZE_BOS && v->add_eos && v->eos >= 0)
		rc = pst_tokens_push(out, v->eos);
	if (!rc && flags & PST_TOKENIZE_BOS && v->add_sep && v->sep >= 0)
		rc = pst_tokens_push(out, v->sep);
	if (rc)
		out->nr = nr;
	return rc;
}
