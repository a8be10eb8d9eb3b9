// SPDX-License-Identifier: MIT
/*
 * The choice of runs in block-sparse attention (MiniMax M3): positions are
 * taken in runs of equal length, and each KV head attends to the best few.
 *
 * A small head per KV head says what a position is worth: q . k, with a key
 * that these heads share.  A run is worth as much as its best position; the
 * newest runs are taken in any case.  As long as no more runs are there than
 * may be taken, nothing is left out.
 */
#include <math.h>
#include <string.h>

#include "gqa.h"

void pst_gqa_runs_bind(struct pst_binder *b, struct pst_gqa *w)
{
	const struct pst_hparams *hp = &b->m->hp;
	uint32_t heads = hp->layer[b->layer].n_head_kv;

	pst_bind_mat(b, "indexer.q_proj", hp->n_embd, heads * hp->runs.hd,
		     &w->ix_q);
	pst_bind_mat(b, "indexer.k_proj", hp->n_embd, hp->runs.hd, &w->ix_k);
	pst_bind_vec(b, "indexer.q_norm.weight", hp->runs.hd, true,
		     &w->ix_q_norm);
	pst_bind_vec(b, "indexer.k_norm.weight", hp->runs.hd, true,
		     &w->ix_k_norm);
}

/* Chosen positions of a token at most. */
static uint64_t most_positions(const struct pst_runs_hp *p)
{
	return (uint64_t)p->top_k * p->len;
}

void pst_gqa_runs_work(const struct pst_fwd *f, const struct pst_layer_hp *lh,
		       struct carve *c, struct gqa_runs *s)
{
	const struct pst_runs_hp *p = &f->m->hp.runs;
	uint64_t n = f->n_batch, most = most_positions(p);

	s->q = pst_carve(c, n * lh->n_head_kv * p->hd, sizeof(float));
	s->k = pst_carve(c, n * p->hd, sizeof(float));
	s->dots = pst_carve(c, (uint64_t)f->n_workers * PST_RUNS_DOTS,
			    sizeof(float));
	if (most >= f->n_ctx) /* none is left out */
		return;
	s->picked = pst_carve(c, (uint64_t)f->n_workers * p->top_k,
			      sizeof(uint32_t));
	s->rows_bytes =
		pst_align_up(most * (lh->hd_k + lh->hd_v) * sizeof(float), 64);
	s->rows = pst_carve(c, f->n_workers, s->rows_bytes);
}

void pst_gqa_runs_project(const struct gqa_job *j, uint32_t n)
{
	struct lin_item items[2] = {
		{ .w = &j->w->ix_q, .y = j->s.runs.q },
		{ .w = &j->w->ix_k, .y = j->s.runs.k },
	};

	for (int i = 0; i < 2; i++) {
		items[i].x = &j->f->xn.k;
		items[i].nr_x = n;
		items[i].y_stride = items[i].w->n_out;
	}
	pst_linear(j->f, items, 2);
}

void pst_gqa_runs_keep(const struct gqa_job *j, uint32_t t)
{
	uint32_t hd = j->f->m->hp.runs.hd, heads = j->lh->n_head_kv;
	float *q = j->s.runs.q + (size_t)t * heads * hd;
	float *k = j->s.runs.k + (size_t)t * hd;

	pst_gqa_norm_each(j, q, j->w->ix_q_norm, heads, hd);
	pst_gqa_rotate(j, q, t, heads, hd);
	pst_gqa_norm_each(j, k, j->w->ix_k_norm, 1, hd);
	pst_gqa_rotate(j, k, t, 1, hd);
	pst_kv_put(j->f, j->kv, PST_KV_INDEX,
		   pst_kv_at(j->kv, j->kv_layer, PST_KV_INDEX, 0, j->pos0 + t),
		   k, hd);
}

/* Raises the scores of runs by the positions from @at on. */
static void score_some(const struct gqa_job *j, const float *q, uint32_t at,
		       uint32_t nr, uint32_t worker, float *scores)
{
	const struct pst_fwd *f = j->f;
	const struct pst_runs_hp *p = &f->m->hp.runs;
	struct pst_kact x = { .f32 = q, .stride = p->hd };
	struct pst_kmul m = {
		.w = pst_kv_at(j->kv, j->kv_layer, PST_KV_INDEX, 0, at),
		.row_bytes = pst_kv_row_bytes(j->kv->type, PST_KV_INDEX, p->hd),
		.n = p->hd,
		.nr_rows = nr,
		.x = &x,
		.nr_x = 1,
		.y = j->s.runs.dots + (size_t)worker * PST_RUNS_DOTS,
		.y_stride = PST_RUNS_DOTS,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	f->k->types[pst_kv_ktype(j->kv->type, PST_KV_INDEX)].mul(&m);
	for (uint32_t i = 0; i < nr; i++) {
		float *best = &scores[(at + i) / p->len];

		*best = fmaxf(*best, m.y[i]);
	}
}

/* The chosen ones of @nr_runs runs, in order. */
static const uint32_t *choose(const struct gqa_job *j, const float *q,
			      uint32_t n_pos, uint32_t nr_runs, uint32_t worker)
{
	const struct pst_runs_hp *p = &j->f->m->hp.runs;
	float *scores = j->f->scores + worker * j->f->scores_stride;
	uint32_t *picked = j->s.runs.picked + (size_t)worker * p->top_k;

	for (uint32_t r = 0; r < nr_runs; r++)
		scores[r] = -INFINITY;
	for (uint32_t at = 0; at < n_pos; at += PST_RUNS_DOTS)
		score_some(j, q, at, PST_MIN(PST_RUNS_DOTS, n_pos - at), worker,
			   scores);
	for (uint32_t r = 0; r < PST_MIN(p->nr_local, nr_runs); r++)
		scores[nr_runs - 1 - r] = INFINITY;
	pst_top_k(scores, nr_runs, p->top_k, picked);
	/* By position, as when none is left out. */
	for (uint32_t i = 1; i < p->top_k; i++) {
		uint32_t run = picked[i], at = i;

		for (; at && picked[at - 1] > run; at--)
			picked[at] = picked[at - 1];
		picked[at] = run;
	}
	return picked;
}

uint32_t pst_gqa_runs_narrow(const struct gqa_job *j, uint32_t t, uint32_t kvh,
			     uint32_t worker, uint32_t n_pos,
			     struct pst_kattn *a)
{
	const struct pst_runs_hp *p = &j->f->m->hp.runs;
	uint32_t nr_runs = (n_pos - 1) / p->len + 1, left = 0;
	uint8_t *k = j->s.runs.rows + worker * j->s.runs.rows_bytes;
	uint8_t *v = k + most_positions(p) * a->k_stride_bytes;
	const uint32_t *run;

	if (nr_runs <= p->top_k)
		return n_pos;
	run = choose(j,
		     j->s.runs.q + ((size_t)t * j->lh->n_head_kv + kvh) * p->hd,
		     n_pos, nr_runs, worker);
	for (uint32_t i = 0; i < p->top_k; i++) {
		uint32_t from = run[i] * p->len;
		uint32_t nr = PST_MIN(p->len, n_pos - from);

		memcpy(k + left * a->k_stride_bytes,
		       (const uint8_t *)a->k + from * a->k_stride_bytes,
		       nr * a->k_stride_bytes);
		memcpy(v + left * a->v_stride_bytes,
		       (const uint8_t *)a->v + from * a->v_stride_bytes,
		       nr * a->v_stride_bytes);
		left += nr;
	}
	a->k = k;
	a->v = v;
	return left;
}
