// SPDX-License-Identifier: MIT
/*
 * Activations as products with quantised weights read them: rounded to 8 bits
 * in blocks of 32, and where more is asked for what that leaves, rounded in the
 * same way: q1 d1 + q2 d2, about 15 bits.  The second rounding is another row
 * of the same product, so that weights are read and unpacked once; the two
 * results are added up in one float addition, whatever else is in the call.
 *
 * Only this file knows how often activations are rounded.
 */
#include "fwd_priv.h"

/* Tokens and sums of a call with both roundings: twice as many rows fill the
 * panels that products make, and the sums stay in the first cache.
 */
#define BOTH_TOKENS 16
#define BOTH_SUMS   8192
/* Numbers whose remainders are at hand at a time. */
#define LEFT_RUN 256

_Static_assert(2 * BOTH_TOKENS == PST_K_PANEL_TOKENS, "a panel is full");

void pst_carve_codes(const struct pst_fwd *f, struct carve *c, struct act *a,
		     uint64_t rows)
{
	uint64_t times = f->activations == PST_ACT_Q16 ? 2 : 1;
	uint64_t n = times * rows * a->stride;

	a->q8 = pst_carve(c, n, 1);
	a->d = pst_carve(c, n / PST_K_QBLOCK, sizeof(float));
	a->sum = pst_carve(c, n / PST_K_QBLOCK, sizeof(int32_t));
	a->k = (struct act_rows){
		.first = { .f32 = a->f32,
			   .q8 = a->q8,
			   .d = a->d,
			   .sum = a->sum,
			   .stride = a->stride },
		.rest = (times - 1) * rows * a->stride,
	};
}

void pst_carve_act(const struct pst_fwd *f, struct carve *c, struct act *a,
		   uint64_t rows, uint64_t width)
{
	a->stride = pst_align_up(width, 64);
	a->f32 = pst_carve(c, rows * a->stride, sizeof(float));
	pst_carve_codes(f, c, a, rows);
}

struct act_rows pst_act_from(const struct act *a, size_t at)
{
	return (struct act_rows){
		.first = { .f32 = a->f32 + at,
			   .q8 = a->q8 + at,
			   .d = a->d + at / PST_K_QBLOCK,
			   .sum = a->sum + at / PST_K_QBLOCK,
			   .stride = a->stride },
		.rest = a->k.rest,
	};
}

struct act_rows pst_act_row(const struct act *a, size_t row)
{
	return pst_act_from(a, row * a->stride);
}

bool pst_needs_q8(const struct pst_fwd *f, const struct pst_weight *w)
{
	return f->k->types[w->type].act == PST_KACT_Q8;
}

/* What the rounding of a number leaves is a number of at most d / 2. */
static void quantize_rest(const struct pst_fwd *f, const struct act *a,
			  size_t at, uint32_t n)
{
	_Alignas(64) float left[LEFT_RUN];

	for (uint32_t i = 0; i < n; i += LEFT_RUN) {
		uint32_t nr = PST_MIN(LEFT_RUN, n - i);
		size_t from = at + i, to = from + a->k.rest;

		for (uint32_t j = 0; j < nr; j++)
			left[j] = a->f32[from + j] -
				  a->d[(from + j) / PST_K_QBLOCK] *
					  (float)a->q8[from + j];
		f->k->quantize(a->q8 + to, a->d + to / PST_K_QBLOCK,
			       a->sum + to / PST_K_QBLOCK, left, nr);
	}
}

void pst_quantize_at(const struct pst_fwd *f, const struct act *a, size_t at,
		     uint32_t n)
{
	f->k->quantize(a->q8 + at, a->d + at / PST_K_QBLOCK,
		       a->sum + at / PST_K_QBLOCK, a->f32 + at, n);
	if (a->k.rest)
		quantize_rest(f, a, at, n);
}

void pst_quantize_row(const struct pst_fwd *f, const struct act *a, size_t row,
		      uint32_t width)
{
	pst_quantize_at(f, a, row * a->stride, width);
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

size_t pst_mul_scratch_floats(const struct pst_fwd *f)
{
	size_t n = pst_kmul_scratch_floats(f->m->widest);

	return f->activations == PST_ACT_Q16 ? n + BOTH_SUMS : n;
}

/* y[i][r] = sums[i][r] + sums[nr + i][r] for @nr tokens. */
static void add_both(float *y, size_t y_stride, const float *sums,
		     uint32_t stride, uint32_t nr, uint32_t nr_rows)
{
	for (uint32_t i = 0; i < nr; i++) {
		const float *a = sums + (size_t)i * stride;
		const float *b = sums + (size_t)(nr + i) * stride;

		for (uint32_t r = 0; r < nr_rows; r++)
			y[i * y_stride + r] = a[r] + b[r];
	}
}

/* @nr tokens from the @from-th, by all rows. */
static void mul_both(const struct pst_fwd *f, const struct pst_ktype_ops *ops,
		     const struct act_rows *x, const struct pst_kmul *all,
		     uint32_t from, uint32_t nr)
{
	float *sums = all->scratch + pst_kmul_scratch_floats(f->m->widest);
	uint32_t rest = (uint32_t)(x->rest / x->first.stride);
	uint32_t most = BOTH_SUMS / (2 * nr) / 16 * 16;
	uint32_t idx[2 * BOTH_TOKENS];
	struct pst_kmul m = *all;

	m.idx = idx;
	m.nr_x = 2 * nr;
	m.y = sums;
	for (uint32_t i = 0; i < nr; i++) {
		idx[i] = all->idx ? all->idx[from + i] : from + i;
		idx[nr + i] = idx[i] + rest;
	}
	for (uint32_t r = 0; r < all->nr_rows; r += most) {
		m.w = (const uint8_t *)all->w + r * all->row_bytes;
		m.nr_rows = PST_MIN(most, all->nr_rows - r);
		m.y_stride = m.nr_rows;
		ops->mul(&m);
		add_both(all->y + from * all->y_stride + r, all->y_stride, sums,
			 m.nr_rows, nr, m.nr_rows);
	}
}

void pst_act_mul(const struct pst_fwd *f, enum pst_ktype type,
		 const struct act_rows *x, const struct pst_kmul *shape)
{
	const struct pst_ktype_ops *ops = &f->k->types[type];
	struct pst_kmul m = *shape;

	m.config = f->k->config;
	m.x = &x->first;
	if (!x->rest || ops->act != PST_KACT_Q8) {
		ops->mul(&m);
		return;
	}
	for (uint32_t i = 0; i < m.nr_x; i += BOTH_TOKENS)
		mul_both(f, ops, x, &m, i, PST_MIN(BOTH_TOKENS, m.nr_x - i));
}
