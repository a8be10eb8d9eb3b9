// SPDX-License-Identifier: MIT
/*
 * Matrix products over the pool: rows of the weights are dealt in chunks, so
 * which thread computes a row changes nothing.
 */
#include "fwd_priv.h"

struct lin_job {
	struct pst_fwd *f;
	const struct lin_item *items;
	struct deal deal;
};

static void add_bias(const struct pst_kmul *m, const float *bias)
{
	for (uint32_t i = 0; i < m->nr_x; i++) {
		float *y = m->y + i * m->y_stride;

		for (uint32_t r = 0; r < m->nr_rows; r++)
			y[r] += bias[r];
	}
}

static void multiply(const struct pst_kmul *m, float scale)
{
	for (uint32_t i = 0; i < m->nr_x; i++) {
		float *y = m->y + i * m->y_stride;

		for (uint32_t r = 0; r < m->nr_rows; r++)
			y[r] *= scale;
	}
}

void pst_mul_rows(const struct pst_fwd *f, const struct pst_weight *w,
		  const struct act_rows *x, const struct pst_kmul *shape,
		  uint32_t row)
{
	struct pst_kmul m = *shape;

	m.w = w->data + row * w->row_bytes;
	m.row_bytes = w->row_bytes;
	m.n = w->n_in;
	m.y = shape->y + row;
	pst_act_mul(f, w->type, x, &m);
	if (w->scale)
		multiply(&m, *w->scale);
	if (w->bias)
		add_bias(&m, w->bias + row);
}

static void mul_part(const struct lin_job *j, const struct lin_item *it,
		     const struct deal_part *part, uint32_t worker)
{
	struct pst_kmul m = {
		.nr_rows = part->nr,
		.idx = it->idx,
		.nr_x = it->nr_x,
		.y = it->y,
		.y_stride = it->y_stride,
		.scratch = j->f->scratch + worker * j->f->scratch_stride,
	};

	pst_mul_rows(j->f, it->w, it->x, &m, part->row);
}

static void lin_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct lin_job *j = ctx;
	struct deal_piece piece = pst_deal_piece(&j->deal, chunk);
	struct deal_part part;

	for (const struct lin_item *it = j->items; piece.nr; it++)
		if (pst_deal_part(&j->deal, &piece, it->w->n_out, &part))
			mul_part(j, it, &part, worker);
}

void pst_linear(struct pst_fwd *f, const struct lin_item *items, uint32_t nr)
{
	struct lin_job j = { .f = f, .items = items };

	pst_deal_begin(&j.deal, PST_DEAL_ROWS, f->n_workers);
	for (uint32_t i = 0; i < nr; i++)
		pst_deal_add(&j.deal, items[i].w, items[i].nr_x);
	if (f->store)
		pst_store_poll(f->store);
	pst_pool_run(f->pool, lin_chunk, &j, pst_deal_end(&j.deal));
}
