// SPDX-License-Identifier: MIT
/*
 * The indexer of sparse latent attention (DeepSeek-V3.2 report, section 2.1):
 * small heads whose products say which positions a token attends to.
 *
 * score(t, s) = sum over heads of w_h max(0, q_h . k_s); the best index_top_k
 * positions are chosen.  Of equal ones at the edge (zeros, where no head has a
 * positive product) those stay that the heap kept, as in the reference.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "mla.h"

#define NORM_EPS 1e-6f

void pst_mla_index_bind(struct pst_binder *b, struct pst_mla *w)
{
	const struct pst_mla_hp *p = &b->m->hp.mla;
	uint32_t n = b->m->hp.n_embd;

	if (p->index_reused[b->layer])
		return;
	pst_bind_mat(b, "indexer.attn_q_b", p->q_rank,
		     p->index_heads * p->index_hd, &w->ix_q);
	pst_bind_mat(b, "indexer.attn_k", n, p->index_hd, &w->ix_k);
	pst_bind_mat(b, "indexer.proj", n, p->index_heads, &w->ix_w);
	pst_bind_vec(b, "indexer.k_norm.weight", p->index_hd, true,
		     &w->ix_norm.w);
	pst_bind_vec(b, "indexer.k_norm.bias", p->index_hd, true,
		     &w->ix_norm.b);
}

void pst_mla_index_work(const struct pst_fwd *f, struct carve *c,
			struct mla_index *s)
{
	const struct pst_mla_hp *p = &f->m->hp.mla;
	uint64_t n = f->n_batch;

	s->q = pst_carve(c, n * p->index_heads * p->index_hd, sizeof(float));
	s->k = pst_carve(c, n * p->index_hd, sizeof(float));
	s->w = pst_carve(c, n * p->index_heads, sizeof(float));
	s->dots = pst_carve(
		c, (uint64_t)f->n_workers * p->index_heads * INDEX_POSITIONS,
		sizeof(float));
}

static void rotate(const struct mla_job *j, float *x, uint32_t t)
{
	pst_rotate(j->f, 0, j->p->index_rope, x, t);
}

/* One token: its key into the cache, its queries rotated. */
static void remember_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	float *k = j->s.index.k + (size_t)t * p->index_hd;
	float *q = j->s.index.q + (size_t)t * p->index_heads * p->index_hd;

	(void)worker;
	pst_layer_norm(k, k, &j->w->ix_norm, p->index_hd, NORM_EPS);
	rotate(j, k, t);
	pst_mla_store(j, PST_KV_INDEX, j->pos0 + t, k, p->index_hd);
	for (uint32_t h = 0; h < p->index_heads; h++)
		rotate(j, q + (size_t)h * p->index_hd, t);
}

/* Scores of positions @at.. of one token. */
static void score_some(const struct mla_job *j, uint32_t t, uint32_t at,
		       uint32_t worker, float *scores, uint32_t nr)
{
	const struct pst_mla_hp *p = j->p;
	const struct pst_fwd *f = j->f;
	struct pst_kact x = { .f32 = j->s.index.q +
				     (size_t)t * p->index_heads * p->index_hd,
			      .stride = p->index_hd };
	const float *w = j->s.index.w + (size_t)t * p->index_heads;
	struct pst_kmul m = {
		.w = pst_kv_at(j->kv, j->layer, PST_KV_INDEX, 0, at),
		.row_bytes = p->index_hd * pst_kv_elem(j->kv),
		.n = p->index_hd,
		.nr_rows = nr,
		.x = &x,
		.nr_x = p->index_heads,
		.y = j->s.index.dots +
		     (size_t)worker * p->index_heads * INDEX_POSITIONS,
		.y_stride = INDEX_POSITIONS,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	f->k->types[j->kv->type == PST_KV_F32 ? PST_K_F32 : PST_K_F16].mul(&m);
	for (uint32_t s = 0; s < nr; s++) {
		float sum = 0.0f;

		for (uint32_t h = 0; h < p->index_heads; h++)
			sum += w[h] * fmaxf(m.y[h * m.y_stride + s], 0.0f);
		scores[s] = sum;
	}
}

/*
 * Puts @pos into the heap below @top, where there is a hole: the hole sinks to
 * a leaf along the worse children, then @pos rises from there.  The root is the
 * worst.
 */
static void heap_put(const float *scores, uint32_t *heap, uint32_t nr,
		     uint32_t top, uint32_t pos)
{
	uint32_t hole = top, child;

	for (; (child = 2 * hole + 2) <= nr; hole = child) {
		if (child == nr ||
		    scores[heap[child]] > scores[heap[child - 1]])
			child--;
		heap[hole] = heap[child];
	}
	while (hole > top && scores[heap[(hole - 1) / 2]] > scores[pos]) {
		heap[hole] = heap[(hole - 1) / 2];
		hole = (hole - 1) / 2;
	}
	heap[hole] = pos;
}

/* The best @k of @n positions, in no order. */
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

static void pick_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct mla_job *j = ctx;
	struct pst_fwd *f = j->f;
	uint32_t n = j->pos0 + t + 1, k = j->p->index_top_k;
	float *scores = f->scores + worker * f->scores_stride;

	if (!pst_mla_is_sparse(j->p, n - 1))
		return;
	for (uint32_t at = 0; at < n; at += INDEX_POSITIONS)
		score_some(j, t, at, worker, scores + at,
			   PST_MIN(INDEX_POSITIONS, n - at));
	pick(scores, n, k, f->picked + (size_t)t * k);
}

void pst_mla_index_run(struct mla_job *j)
{
	struct lin_item items[3] = {
		{ .w = &j->w->ix_q, .x = &j->s.qa.k, .y = j->s.index.q },
		{ .w = &j->w->ix_k, .x = &j->f->xn.k, .y = j->s.index.k },
		{ .w = &j->w->ix_w, .x = &j->f->xn.k, .y = j->s.index.w },
	};

	for (int i = 0; i < 3; i++) {
		items[i].nr_x = j->n;
		items[i].y_stride = items[i].w->n_out;
	}
	pst_linear(j->f, items, 3);
	pst_pool_run(j->f->pool, remember_chunk, j, j->n);
	pst_pool_run(j->f->pool, pick_chunk, j, j->n);
}
