// SPDX-License-Identifier: MIT
/*
 * The gated feed-forward block, for a dense layer and for experts alike:
 * down(glu(gate x, up x)) (Shazeer, GLU Variants Improve Transformer); and the
 * dense kind of ffn, which is one of them.
 */
#include "fwd_priv.h"

struct ffn_job {
	struct pst_fwd *f;
	const struct ffn_item *items;
	struct deal deal;
	float *y;
};

/* h = glu(gate, up) for a block of rows, quantised for the down product. */
static void activate(const struct ffn_job *j, const struct ffn_item *it,
		     uint32_t row, uint32_t nr)
{
	struct pst_fwd *f = j->f;
	bool q8 = pst_needs_q8(f, &it->down);

	for (uint32_t i = 0; i < it->nr; i++) {
		size_t at = (it->row + i) * f->h.stride + row;

		pst_glu(f, f->h.f32 + at, f->up + at, nr, it->limit);
		if (q8)
			pst_quantize_at(f, &f->h, at, nr);
	}
}

static void gate_up(struct ffn_job *j, const struct ffn_item *it,
		    const struct deal_part *part, uint32_t worker)
{
	struct pst_fwd *f = j->f;
	struct pst_kmul m = {
		.nr_rows = part->nr,
		.idx = it->idx,
		.nr_x = it->nr,
		.y = f->h.f32 + it->row * f->h.stride,
		.y_stride = f->h.stride,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	pst_mul_rows(f, &it->gate, &it->x, &m, part->row);
	m.y = f->up + it->row * f->h.stride;
	if (it->up.n_out)
		pst_mul_rows(f, &it->up, &it->x, &m, part->row);
	activate(j, it, part->row, part->nr);
}

static void gate_up_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct ffn_job *j = ctx;
	struct deal_piece piece = pst_deal_piece(&j->deal, chunk);
	struct deal_part part;

	for (const struct ffn_item *it = j->items; piece.nr; it++)
		if (pst_deal_part(&j->deal, &piece, it->gate.n_out, &part))
			gate_up(j, it, &part, worker);
}

static void down(const struct ffn_job *j, const struct ffn_item *it,
		 const struct deal_part *part, uint32_t worker)
{
	struct pst_fwd *f = j->f;
	uint32_t n = it->down.n_out;
	struct act_rows h = pst_act_row(&f->h, it->row);
	struct pst_kmul m = {
		.nr_rows = part->nr,
		.nr_x = it->nr,
		.y = j->y + (size_t)it->row * n,
		.y_stride = n,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	pst_mul_rows(f, &it->down, &h, &m, part->row);
}

static void down_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct ffn_job *j = ctx;
	struct deal_piece piece = pst_deal_piece(&j->deal, chunk);
	struct deal_part part;

	for (const struct ffn_item *it = j->items; piece.nr; it++)
		if (pst_deal_part(&j->deal, &piece, it->down.n_out, &part))
			down(j, it, &part, worker);
}

/* Pieces of gate and up begin at blocks of the quantised product of both. */
void pst_ffn_begin(struct pst_fwd *f, const struct ffn_item *items, uint32_t nr)
{
	struct ffn_job j = { .f = f, .items = items };

	pst_deal_begin(&j.deal, PST_K_QBLOCK, f->n_workers);
	for (uint32_t i = 0; i < nr; i++)
		pst_deal_add(&j.deal, &items[i].gate, items[i].nr);
	pst_pool_run(f->pool, gate_up_chunk, &j, pst_deal_end(&j.deal));
}

void pst_ffn_finish(struct pst_fwd *f, const struct ffn_item *items,
		    uint32_t nr, float *y)
{
	struct ffn_job j = { .f = f, .items = items, .y = y };

	pst_deal_begin(&j.deal, PST_DEAL_ROWS, f->n_workers);
	for (uint32_t i = 0; i < nr; i++)
		pst_deal_add(&j.deal, &items[i].down, items[i].nr);
	pst_pool_run(f->pool, down_chunk, &j, pst_deal_end(&j.deal));
}

void pst_ffn_run(struct pst_fwd *f, const struct ffn_item *items, uint32_t nr,
		 float *y)
{
	pst_ffn_begin(f, items, nr);
	pst_ffn_finish(f, items, nr, y);
}

void pst_ffn_work(struct pst_fwd *f, struct carve *c, uint64_t rows,
		  uint32_t ff)
{
	pst_carve_act(f, c, &f->h, rows, ff);
	f->up = pst_carve(c, rows * f->h.stride, sizeof(float));
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	uint32_t n = b->m->hp.n_embd, ff = b->m->hp.layer[b->layer].n_ff;

	if (b->m->hp.glu == PST_GLU_GELU) {
		/* What the activation is of stands in gate's place. */
		pst_bind_mat(b, "ffn_up", n, ff, &l->gate);
	} else if (b->m->arch->ffn_fused &&
		   !pst_bind_has(b, "ffn_gate.weight")) {
		struct pst_weight *const both[] = { &l->gate, &l->up };

		l->gate.n_out = ff;
		l->up.n_out = ff;
		pst_bind_split(b, "ffn_up", n, both, 2);
	} else {
		pst_bind_mat(b, "ffn_gate", n, ff, &l->gate);
		pst_bind_mat(b, "ffn_up", n, ff, &l->up);
	}
	pst_bind_mat(b, "ffn_down", ff, n, &l->down);
}

static uint64_t work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	struct carve c = { 0 };
	struct pst_fwd sizes = *f;

	pst_ffn_work(&sizes, &c, f->n_batch, f->m->hp.layer[layer].n_ff);
	return c.at;
}

static int run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
	       uint32_t layer, struct pst_diag *diag)
{
	const struct pst_layer *l = &f->m->layers[layer];
	struct carve c = { .base = f->work };
	struct ffn_item it = { .gate = l->gate,
			       .up = l->up,
			       .down = l->down,
			       .x = f->xn.k,
			       .nr = pass->n };

	(void)diag;
	pst_ffn_work(f, &c, f->n_batch, l->gate.n_out);
	pst_ffn_run(f, &it, 1, f->tmp);
	return 0;
}

const struct pst_ffn pst_ffn_dense = {
	.name = "dense",
	.bind = bind,
	.work_bytes = work_bytes,
	.run = run,
};
