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

struct pst_kact pst_act_row(const struct act *a, size_t row)
{
	return (struct pst_kact){
		.f32 = a->f32 + row * a->stride,
		.q8 = a->q8 + row * a->stride,
		.d = a->d + row * (a->stride / PST_K_QBLOCK),
		.sum = a->sum + row * (a->stride / PST_K_QBLOCK),
		.stride = a->stride,
	};
}

bool pst_needs_q8(const struct pst_fwd *f, const struct pst_weight *w)
{
	return f->k->types[w->type].act == PST_KACT_Q8;
}

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
		  const struct pst_kmul *shape, uint32_t row)
{
	struct pst_kmul m = *shape;

	m.w = w->data + row * w->row_bytes;
	m.row_bytes = w->row_bytes;
	m.n = w->n_in;
	m.y = shape->y + row;
	f->k->types[w->type].mul(&m);
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
		.x = it->x,
		.idx = it->idx,
		.nr_x = it->nr_x,
		.y = it->y,
		.y_stride = it->y_stride,
		.scratch = j->f->scratch + worker * j->f->scratch_stride,
	};

	pst_mul_rows(j->f, it->w, &m, part->row);
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
	pst_pool_run(f->pool, lin_chunk, &j, pst_deal_count(&j.deal));
}

void pst_quantize_row(const struct pst_fwd *f, const struct act *a, size_t row,
		      uint32_t width)
{
	size_t b = row * (a->stride / PST_K_QBLOCK);

	f->k->quantize(a->q8 + row * a->stride, a->d + b, a->sum + b,
		       a->f32 + row * a->stride, width);
}

struct quantize_job {
	struct pst_fwd *f;
	struct act *a;
	uint32_t width;
};

static void quantize_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct quantize_job *j = ctx;

	(void)worker;
	pst_quantize_row(j->f, j->a, t, j->width);
}

void pst_quantize_rows(struct pst_fwd *f, struct act *a, uint32_t width,
		       uint32_t n)
{
	struct quantize_job j = { .f = f, .a = a, .width = width };

	pst_pool_run(f->pool, quantize_chunk, &j, n);
}
