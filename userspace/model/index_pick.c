// SPDX-License-Identifier: MIT
/*
 * Which remembered rows a token attends to, by small heads (DeepSeek-V3.2
 * report, section 2.1): score(s) = sum over heads of w_h max(0, q_h . k_s), and
 * the best are chosen.  Of equal ones at the edge (zeros, where no head has a
 * positive product) those stay that the heap kept, as in the reference.
 * Knows nothing of what the rows stand for.
 */
#include <math.h>

#include "fwd_priv.h"

/* Scores of rows @at.. */
static void score_some(const struct pst_fwd *f, enum pst_kv_type type,
		       const struct pst_index *ix, struct pst_kmul *m,
		       uint32_t at, float *scores)
{
	m->w = ix->keys + at * m->row_bytes;
	m->nr_rows = PST_MIN(PST_INDEX_ROWS, ix->nr - at);
	f->k->types[pst_kv_ktype(type, PST_KV_INDEX)].mul(m);
	for (uint32_t s = 0; s < m->nr_rows; s++) {
		float sum = 0.0f;

		for (uint32_t h = 0; h < ix->heads; h++)
			sum += ix->w[h] *
			       fmaxf(m->y[h * m->y_stride + s], 0.0f);
		scores[at + s] = sum;
	}
}

/*
 * Puts @row into the heap below @top, where there is a hole: the hole sinks to
 * a leaf along the worse children, then @row rises from there.  The root is the
 * worst.
 */
static void heap_put(const float *scores, uint32_t *heap, uint32_t nr,
		     uint32_t top, uint32_t row)
{
	uint32_t hole = top, child;

	for (; (child = 2 * hole + 2) <= nr; hole = child) {
		if (child == nr ||
		    scores[heap[child]] > scores[heap[child - 1]])
			child--;
		heap[hole] = heap[child];
	}
	while (hole > top && scores[heap[(hole - 1) / 2]] > scores[row]) {
		heap[hole] = heap[(hole - 1) / 2];
		hole = (hole - 1) / 2;
	}
	heap[hole] = row;
}

/* The best @k of @n rows, in no order. */
static void pick(const float *scores, uint32_t n, uint32_t k, uint32_t *best)
{
	for (uint32_t s = 0; s < k; s++)
		best[s] = s;
	for (uint32_t i = k / 2; i-- > 0;)
		heap_put(scores, best, k, i, best[i]);
	for (uint32_t s = k; s < n; s++)
		if (scores[s] > scores[best[0]])
			heap_put(scores, best, k, 0, s);
}

void pst_index_pick(const struct pst_fwd *f, enum pst_kv_type type,
		    const struct pst_index *ix, uint32_t worker)
{
	float *scores = f->scores + worker * f->scores_stride;
	struct pst_kact x = { .f32 = ix->q, .stride = ix->hd };
	struct pst_kmul m = {
		.row_bytes = pst_kv_row_bytes(type, PST_KV_INDEX, ix->hd),
		.n = ix->hd,
		.x = &x,
		.nr_x = ix->heads,
		.y = ix->dots + (size_t)worker * ix->heads * PST_INDEX_ROWS,
		.y_stride = PST_INDEX_ROWS,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	for (uint32_t at = 0; at < ix->nr; at += PST_INDEX_ROWS)
		score_some(f, type, ix, &m, at, scores);
	pick(scores, ix->nr, ix->top_k, ix->best);
}
