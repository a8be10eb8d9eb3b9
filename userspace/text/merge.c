// SPDX-License-Identifier: MIT
/*
 * Merging of neighbours by priority, shared by BPE (rank of the rule) and
 * SentencePiece (score of the token).  The queue is a binary heap of 64-bit
 * keys with lazy deletion: a key is stale when its left symbol is gone or has
 * another best merge by now.  Knows nothing of what priorities mean.
 */
#include <errno.h>
#include <stdlib.h>

#include "text_priv.h"

static void heap_push(struct text_merger *m, uint64_t key)
{
	size_t i = m->nr_heap++;

	while (i) {
		size_t up = (i - 1) / 2;

		if (m->heap[up] <= key)
			break;
		m->heap[i] = m->heap[up];
		i = up;
	}
	m->heap[i] = key;
}

static uint64_t heap_pop(struct text_merger *m)
{
	uint64_t top = m->heap[0];
	uint64_t key = m->heap[--m->nr_heap];
	size_t i = 0, child;

	while ((child = 2 * i + 1) < m->nr_heap) {
		if (child + 1 < m->nr_heap &&
		    m->heap[child + 1] < m->heap[child])
			child++;
		if (key <= m->heap[child])
			break;
		m->heap[i] = m->heap[child];
		i = child;
	}
	m->heap[i] = key;
	return top;
}

int text_merger_reserve(struct text_merger *m, size_t nr)
{
	size_t cap = m->cap ? m->cap : 64;
	struct text_sym *syms;
	uint64_t *heap;

	if (nr <= m->cap)
		return 0;
	if (nr > INT32_MAX)
		return -E2BIG;
	while (cap < nr)
		cap *= 2;
	syms = realloc(m->syms, cap * sizeof(*syms));
	if (!syms)
		return -ENOMEM;
	m->syms = syms;
	/* n - 1 first pairs; each of n - 1 merges takes one and adds two. */
	heap = realloc(m->heap, 2 * cap * sizeof(*heap));
	if (!heap)
		return -ENOMEM;
	m->heap = heap;
	m->cap = cap;
	return 0;
}

struct merge_call {
	struct text_merger *m;
	const struct pst_vocab *v;
	const uint8_t *text;
	text_pair_fn pair;
};

/* Find the merge of a symbol with its next one, and queue it. */
static void look(const struct merge_call *c, int32_t left)
{
	struct text_sym *l = &c->m->syms[left];

	l->pair = -1;
	if (l->next < 0)
		return;
	l->pair = c->pair(c->v, c->text, l, &c->m->syms[l->next], &l->prio);
	if (l->pair >= 0)
		heap_push(c->m, (uint64_t)l->prio << 32 | (uint32_t)left);
}

static void merge(const struct merge_call *c, int32_t left)
{
	struct text_sym *l = &c->m->syms[left];
	struct text_sym *r = &c->m->syms[l->next];

	l->id = l->pair;
	l->len += r->len;
	l->next = r->next;
	if (r->next >= 0)
		c->m->syms[r->next].prev = left;
	r->pair = -1;
	look(c, left);
	if (l->prev >= 0)
		look(c, l->prev);
}

void text_merger_run(struct text_merger *m, const struct pst_vocab *v,
		     const uint8_t *text, text_pair_fn pair)
{
	struct merge_call c = { m, v, text, pair };
	int32_t nr = (int32_t)m->nr;

	m->nr_heap = 0;
	for (int32_t i = 0; i < nr; i++) {
		m->syms[i].prev = i - 1;
		m->syms[i].next = i + 1 < nr ? i + 1 : -1;
	}
	for (int32_t i = 0; i < nr; i++)
		look(&c, i);
	while (m->nr_heap) {
		uint64_t key = heap_pop(m);
		int32_t left = (int32_t)(uint32_t)key;
		const struct text_sym *l = &m->syms[left];

		if (l->pair >= 0 && l->prio == (uint32_t)(key >> 32))
			merge(&c, left);
	}
}
