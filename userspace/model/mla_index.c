// SPDX-License-Identifier: MIT
/*
 * The indexer of sparse latent attention (DeepSeek-V3.2 report, section 2.1):
 * small heads whose products say which positions a token attends to.
 *
 * The choice itself is in index_pick.c.
 */
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
		c, (uint64_t)f->n_workers * p->index_heads * PST_INDEX_ROWS,
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

static void pick_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct mla_job *j = ctx;
	const struct pst_mla_hp *p = j->p;
	struct pst_fwd *f = j->f;
	struct pst_index ix = {
		.q = j->s.index.q + (size_t)t * p->index_heads * p->index_hd,
		.w = j->s.index.w + (size_t)t * p->index_heads,
		.keys = pst_kv_at(j->kv, j->layer, PST_KV_INDEX, 0, 0),
		.heads = p->index_heads,
		.hd = p->index_hd,
		.nr = j->pos0 + t + 1,
		.top_k = p->index_top_k,
		.dots = j->s.index.dots,
	};

	if (!pst_mla_is_sparse(p, ix.nr - 1))
		return;
	ix.best = f->picked + (size_t)t * p->index_top_k;
	pst_index_pick(f, j->kv->type, &ix, worker);
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
