// SPDX-License-Identifier: MIT
/*
 * The merge rules of BPE: from pairs of texts in the model's metadata to a hash
 * table over pairs of ids.
 *
 * There are some 450,000 rules, each of three texts to look up in an index
 * larger than the caches.  They are resolved in batches, each memory access
 * announced by a prefetch one step ahead.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

#define KEY_MERGES    "tokenizer.ggml.merges"
#define BATCH_RULES   32
#define MIN_BUF_BYTES 8192

enum {
	LEFT,
	RIGHT,
	RESULT,
	NR_PARTS
};

/** struct job - a rule on its way; rank is its place in the array */
struct job {
	uint32_t rank;
	struct text_probe part[NR_PARTS];
};

/** struct batch - @buf holds the joined texts of the jobs */
struct batch {
	struct pst_vocab *v;
	uint32_t nr;
	struct job jobs[BATCH_RULES];
	uint8_t *buf;
	size_t cap;
	size_t used;
};

static uint32_t pair_slot(const struct pst_vocab *v, int32_t l, int32_t r)
{
	uint64_t key = (uint64_t)(uint32_t)l << 32 | (uint32_t)r;

	return (uint32_t)text_mix(key ^ v->seed,
				  0x9fb21c651e98df25ULL ^ v->seed << 1) &
	       v->merges.mask;
}

int64_t text_merges_find(const struct pst_vocab *v, int32_t l, int32_t r)
{
	const struct text_merges *m = &v->merges;
	uint32_t i = pair_slot(v, l, r);

	for (; m->slots[i]; i = (i + 1) & m->mask) {
		uint32_t rank = m->slots[i] - 1;

		if (m->rules[rank].left == l && m->rules[rank].right == r)
			return rank;
	}
	return -1;
}

/*
 * The first rule of a pair wins; leaving the others out keeps a file that
 * repeats one rule from making a chain of it.
 */
static void add_rule(struct pst_vocab *v, uint32_t rank)
{
	struct text_merges *m = &v->merges;
	const struct text_merge *rule = &m->rules[rank];
	uint32_t i = pair_slot(v, rule->left, rule->right);

	for (; m->slots[i]; i = (i + 1) & m->mask) {
		const struct text_merge *o = &m->rules[m->slots[i] - 1];

		if (o->left == rule->left && o->right == rule->right)
			return;
	}
	m->slots[i] = rank + 1;
}

/* Rules that name unknown tokens can never apply. */
static void resolve(struct batch *b, const struct job *j)
{
	struct pst_vocab *v = b->v;
	struct text_merge *rule = &v->merges.rules[j->rank];

	rule->right = text_index_find_plain(v, &j->part[RIGHT]);
	rule->result = text_index_find_plain(v, &j->part[RESULT]);
	rule->left = -1;
	if (rule->right < 0 || rule->result < 0)
		return;
	rule->left = text_index_find_plain(v, &j->part[LEFT]);
	if (rule->left >= 0)
		__builtin_prefetch(
			&v->merges.slots[pair_slot(v, rule->left, rule->right)],
			1);
}

static void flush(struct batch *b)
{
	for (uint32_t i = 0; i < b->nr; i++)
		for (int p = 0; p < NR_PARTS; p++)
			text_index_prefetch_token(b->v, &b->jobs[i].part[p]);
	for (uint32_t i = 0; i < b->nr; i++)
		for (int p = 0; p < NR_PARTS; p++)
			text_index_prefetch_text(b->v, &b->jobs[i].part[p]);
	for (uint32_t i = 0; i < b->nr; i++)
		resolve(b, &b->jobs[i]);
	for (uint32_t i = 0; i < b->nr; i++)
		if (b->v->merges.rules[b->jobs[i].rank].left >= 0)
			add_rule(b->v, b->jobs[i].rank);
	b->nr = 0;
	b->used = 0;
}

/* "left right": the first space from the second byte on parts them. */
static int take(struct batch *b, uint32_t rank, const struct pst_str *s)
{
	const char *space = s->len < 3 ? NULL
				       : memchr(s->s + 1, ' ', s->len - 2);
	size_t nl, nr;
	uint8_t *join;
	struct job *j;

	if (!space)
		return -EBADMSG;
	nl = (size_t)(space - s->s);
	nr = (size_t)s->len - nl - 1;
	if (nl + nr > b->v->max_text_len) {
		b->v->merges.rules[rank].left = -1;
		return 0;
	}
	if (b->nr == BATCH_RULES || nl + nr > b->cap - b->used)
		flush(b);
	join = b->buf + b->used;
	memcpy(join, s->s, nl);
	memcpy(join + nl, space + 1, nr);
	b->used += nl + nr;
	j = &b->jobs[b->nr++];
	j->rank = rank;
	text_index_probe(b->v, join, nl, &j->part[LEFT]);
	text_index_probe(b->v, join + nl, nr, &j->part[RIGHT]);
	text_index_probe(b->v, join, nl + nr, &j->part[RESULT]);
	return 0;
}

static int fill(struct pst_vocab *v, struct pst_gguf_strings *it,
		struct pst_diag *diag)
{
	struct batch b = { .v = v };
	struct pst_str s;
	int rc = 0;

	b.cap = PST_MAX(v->max_text_len, MIN_BUF_BYTES);
	b.buf = malloc(b.cap);
	if (!b.buf)
		return -ENOMEM;
	for (uint32_t i = 0; i < v->merges.nr && !rc; i++) {
		if (pst_gguf_strings_next(it, &s))
			rc = take(&b, i, &s);
		else
			rc = -EBADMSG;
		if (rc)
			pst_diag_set(diag, rc,
				     KEY_MERGES ": entry %u is not two tokens "
						"with a space between",
				     i);
	}
	flush(&b);
	free(b.buf);
	return rc;
}

static int alloc(struct text_merges *m, uint64_t nr)
{
	uint64_t nr_slots = 16;

	while (nr_slots < 2 * nr)
		nr_slots *= 2;
	m->rules = pst_calloc(nr, sizeof(*m->rules));
	m->slots = pst_calloc(nr_slots, sizeof(*m->slots));
	if (!m->rules || !m->slots)
		return -ENOMEM;
	m->nr = (uint32_t)nr;
	m->mask = (uint32_t)(nr_slots - 1);
	return 0;
}

static void find_bytes(struct pst_vocab *v)
{
	for (int b = 0; b < 256; b++) {
		uint8_t ch[4];
		struct text_probe p;

		text_index_probe(v, ch,
				 text_utf8_encode(text_bytemap_char((uint8_t)b),
						  ch),
				 &p);
		v->byte_ids[b] = text_index_find_plain(v, &p);
	}
}

int text_load_merges(struct pst_vocab *v, const struct pst_gguf *g,
		     struct pst_diag *diag)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, KEY_MERGES);
	struct pst_gguf_strings it;
	int rc;

	if (!kv)
		return pst_diag_set(diag, -EBADMSG, KEY_MERGES ": missing");
	if (pst_gguf_strings_init(&it, kv))
		return pst_diag_set(diag, -EBADMSG,
				    KEY_MERGES ": not an array of strings");
	if (kv->count > INT32_MAX)
		return pst_diag_set(diag, -EBADMSG, KEY_MERGES ": %llu entries",
				    (unsigned long long)kv->count);
	rc = alloc(&v->merges, kv->count);
	if (rc)
		return rc;
	if (!v->kind->spaces)
		find_bytes(v);
	return fill(v, &it, diag);
}
