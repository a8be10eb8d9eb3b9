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
	uint32_t nr;
	uint32_t rows; /* weight rows per chunk, a multiple of a quant block */
	float *y;
};

/* h = glu(gate, up) for a block of rows, quantised for the down product. */
static void activate(struct ffn_job *j, const struct ffn_item *it, uint32_t row,
		     uint32_t nr)
{
	struct pst_fwd *f = j->f;
	bool q8 = pst_needs_q8(f, &it->down);

	for (uint32_t i = 0; i < it->nr; i++) {
		size_t at = (it->row + i) * f->h.stride + row;

		pst_glu(f, f->h.f32 + at, f->up + at, nr, it->limit);
		if (q8)
			f->k->quantize(f->h.q8 + at, f->h.d + at / PST_K_QBLOCK,
				       f->h.sum + at / PST_K_QBLOCK,
				       f->h.f32 + at, nr);
	}
}

static const struct ffn_item *find_item(const struct ffn_job *j, bool down,
					uint32_t *chunk)
{
	const struct ffn_item *it = j->items;

	for (;; it++) {
		uint32_t n = down ? it->down.n_out : it->gate.n_out;
		uint32_t chunks = (n + j->rows - 1) / j->rows;

		if (*chunk < chunks)
			return it;
		*chunk -= chunks;
	}
}

static void gate_up_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct ffn_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct ffn_item *it = find_item(j, false, &chunk);
	uint32_t row = chunk * j->rows;
	uint32_t nr = PST_MIN(j->rows, it->gate.n_out - row);
	struct pst_kmul m = {
		.nr_rows = nr,
		.x = &it->x,
		.idx = it->idx,
		.nr_x = it->nr,
		.y = f->h.f32 + it->row * f->h.stride,
		.y_stride = f->h.stride,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	pst_mul_rows(f, &it->gate, &m, row);
	m.y = f->up + it->row * f->h.stride;
	if (it->up.n_out)
		pst_mul_rows(f, &it->up, &m, row);
	activate(j, it, row, nr);
}

static void down_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct ffn_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct ffn_item *it = find_item(j, true, &chunk);
	uint32_t row = chunk * j->rows, n = it->down.n_out;
	struct pst_kact h = pst_act_row(&f->h, it->row);
	struct pst_kmul m = {
		.nr_rows = PST_MIN(j->rows, it->down.n_out - row),
		.x = &h,
		.nr_x = it->nr,
		.y = j->y + (size_t)it->row * n,
		.y_stride = n,
		.scratch = f->scratch + worker * f->scratch_stride,
	};

	pst_mul_rows(f, &it->down, &m, row);
}

static void run_phase(struct ffn_job *j, bool down, pst_pool_fn fn)
{
	uint32_t n = down ? j->items->down.n_out : j->items->gate.n_out;
	uint64_t total = (uint64_t)n * j->nr;

	j->rows = (uint32_t)pst_align_up(total / (j->f->n_workers * 8) + 1,
					 PST_K_QBLOCK);
	pst_pool_run(j->f->pool, fn, j, j->nr * ((n + j->rows - 1) / j->rows));
}

void pst_ffn_begin(struct pst_fwd *f, const struct ffn_item *items, uint32_t nr)
{
	struct ffn_job j = { .f = f, .items = items, .nr = nr };

	if (nr)
		run_phase(&j, false, gate_up_chunk);
}

void pst_ffn_finish(struct pst_fwd *f, const struct ffn_item *items,
		    uint32_t nr, float *y)
{
	struct ffn_job j = { .f = f, .items = items, .nr = nr, .y = y };

	if (nr)
		run_phase(&j, true, down_chunk);
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
	pst_carve_act(c, &f->h, rows, ff);
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
