/* SPDX-License-Identifier: MIT */
/*
 * Products of F32, F16 and BF16 weights with float activations, for any
 * instruction set.  Included by a file that has defined
 *
 *	LANES, vec             floats of a vector, the vector
 *	ONE_ROWS, FEW_ROWS     rows of a tile, 4 at most, of one token and of a few
 *	ROWS, TOKENS           a tile of a panel: its sums stay in registers
 *	vzero(), vload(p)
 *	vload_part(p, nr)      the first nr < LANES, zero behind them
 *	vkeep(v)               the same, in a register: one load for all uses
 *	vfma(a, b, c)          a * b + c
 *	vsum(v)                of all lanes
 *	row_f32(row, i, nr), row_f16(), row_bf16()
 *	                       values i..i + nr - 1 of a row, nr <= LANES, zero
 *	                       behind them
 *
 * Any n; weights need no alignment; nothing past a row is read.  The result of
 * a pair is one chain of fused multiply-adds a lane, in the order of columns,
 * and the sum of the lanes: the same in both ways to get there.
 *
 *	few tokens	tiles of rows and tokens, straight from memory
 *	more		BLOCK_COLUMNS of ROWS rows are made float once, which L1
 *			holds, and meet all tokens of a panel, which L2 holds
 */
#ifndef PST_MUL_FLOAT_TMPL_H
#define PST_MUL_FLOAT_TMPL_H

#include "pst_tile.h"

enum {
	FEW_TOKENS = 4,
	FEW_MOST = 4, /* rows of such a tile */
	BLOCK_COLUMNS = 256,
	PANEL_FEWEST = 9,
	PANEL_TOKENS = 32
};

/* One element type: how it is read, and its bytes. */
struct fmt {
	vec (*row)(const uint8_t *row, uint32_t i, uint32_t nr);
	uint32_t bytes;
};

static const struct fmt fmt_f32 = { row_f32, 4 };
static const struct fmt fmt_f16 = { row_f16, 2 };
static const struct fmt fmt_bf16 = { row_bf16, 2 };

PST_K_INLINE const float *float_row(const struct pst_kmul *m, uint32_t i)
{
	return m->x->f32 + pst_k_xrow(m, i) * m->x->stride;
}

/* Weight rows of a tile: each is @apart rows below the one before. */
struct float_rows {
	uint32_t first;
	uint32_t apart;
};

PST_K_INLINE uint32_t nth_row(struct float_rows at, uint32_t i)
{
	return at.first + i * at.apart;
}

/* Rows and tokens of a tile that is read straight from memory. */
struct float_tile {
	const uint8_t *w[FEW_MOST];
	const float *x[FEW_TOKENS];
	vec acc[FEW_MOST][FEW_TOKENS];
};

/* Columns c..c + left - 1, LANES at most. */
PST_K_INLINE void tile_step(struct float_tile *t, uint32_t c, uint32_t left,
			    const int rows, const int tokens,
			    const struct fmt *f)
{
	vec w[FEW_MOST];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = f->row(t->w[r], c, left);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		vec x = left == LANES ? vload(t->x[i] + c)
				      : vload_part(t->x[i] + c, left);

		x = vkeep(x);
#pragma GCC unroll 4
		for (r = 0; r < rows; r++)
			t->acc[r][i] = vfma(w[r], x, t->acc[r][i]);
	}
}

/* @rows of them times @tokens from @i0. */
PST_K_INLINE void tile_float(const struct pst_kmul *m, struct float_rows at,
			     uint32_t i0, const int rows, const int tokens,
			     const struct fmt *f)
{
	const size_t ahead = pst_kconfig_of_product(m)->float_ahead_bytes;
	struct float_tile t;
	uint32_t c, j;
	int r, i;

#pragma GCC unroll 4
	for (i = 0; i < tokens; i++)
		t.x[i] = float_row(m, i0 + (uint32_t)i);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, nth_row(at, (uint32_t)r));
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			t.acc[r][i] = vzero();
	}
	for (c = 0; c + 64 <= m->n; c += 64) {
#pragma GCC unroll 4
		for (r = 0; r < rows; r++)
			prefetch(t.w[r] + (size_t)c * f->bytes, ahead,
				 64 * f->bytes);
#pragma GCC unroll 8
		for (j = c; j < c + 64; j += LANES)
			tile_step(&t, j, LANES, rows, tokens, f);
	}
	for (; c + LANES <= m->n; c += LANES)
		tile_step(&t, c, LANES, rows, tokens, f);
	if (c < m->n)
		tile_step(&t, c, m->n - c, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride +
			     nth_row(at, (uint32_t)r)] = vsum(t.acc[r][i]);
}

/* @rows of them times all tokens. */
PST_K_INLINE void tile_tokens(const struct pst_kmul *m, struct float_rows at,
			      const int rows, const struct fmt *f)
{
	uint32_t i;

	for (i = 0; i + FEW_TOKENS <= m->nr_x; i += FEW_TOKENS)
		tile_float(m, at, i, rows, FEW_TOKENS, f);
	if (m->nr_x - i == 3)
		tile_float(m, at, i, rows, 3, f);
	else if (m->nr_x - i == 2)
		tile_float(m, at, i, rows, 2, f);
	else if (i < m->nr_x)
		tile_float(m, at, i, rows, 1, f);
}

/*
 * Few tokens: each of some equal parts of the rows is read from its start to
 * its end.  The processor follows that further ahead than rows side by side.
 */
PST_K_INLINE void mul_few(const struct pst_kmul *m, const int rows,
			  const struct fmt *f)
{
	uint32_t part = m->nr_rows / (uint32_t)rows, r;

	for (r = 0; r < part; r++)
		tile_tokens(m, (struct float_rows){ r, part }, rows, f);
	for (r = part * (uint32_t)rows; r < m->nr_rows; r++)
		tile_tokens(m, (struct float_rows){ r, 0 }, 1, f);
}

/* One token: nothing but reading. */
PST_K_INLINE void mul_one(const struct pst_kmul *m, const struct fmt *f)
{
	uint32_t part = m->nr_rows / ONE_ROWS, r;

	for (r = 0; r < part; r++)
		tile_float(m, (struct float_rows){ r, part }, 0, ONE_ROWS, 1,
			   f);
	for (r = part * ONE_ROWS; r < m->nr_rows; r++)
		tile_float(m, (struct float_rows){ r, 0 }, 0, 1, 1, f);
}

/* Some columns of ROWS rows, and their sums with the tokens of a panel. */
struct float_block {
	vec w[BLOCK_COLUMNS / LANES][ROWS];
	vec acc[PANEL_TOKENS][ROWS];
	const uint8_t *row[ROWS]; /* the columns that come next */
	uint32_t asked; /* rows of which more was asked for */
};

/*
 * The next @len columns made float, with zeros behind them to the end of a
 * vector.  Those after them are asked for: they come while tokens are met.
 */
PST_K_INLINE void unpack_rows(struct float_block *b, uint32_t len,
			      const struct fmt *f)
{
	uint32_t r, c;

	for (r = 0; r < ROWS; r++) {
		const uint8_t *row = b->row[r];

		for (c = 0; c + LANES <= len; c += LANES)
			b->w[c / LANES][r] = f->row(row, c, LANES);
		if (c < len)
			b->w[c / LANES][r] = f->row(row, c, len - c);
		b->row[r] = row + (size_t)len * f->bytes;
	}
}

/* @left columns, LANES at most, of all rows times @nr tokens. */
PST_K_INLINE void meet_step(vec acc[TOKENS][ROWS], const vec w[ROWS],
			    const float *const x[TOKENS], uint32_t c,
			    uint32_t left, const int nr)
{
	vec v[TOKENS];
	int r, t;

#pragma GCC unroll 8
	for (t = 0; t < nr; t++)
		v[t] = left == LANES ? vload(x[t] + c)
				     : vload_part(x[t] + c, left);
#pragma GCC unroll 8
	for (r = 0; r < ROWS; r++) {
		vec row = vkeep(w[r]);

#pragma GCC unroll 8
		for (t = 0; t < nr; t++)
			acc[t][r] = vfma(row, v[t], acc[t][r]);
	}
}

/* @len columns of all rows times @nr tokens from @i of the panel. */
PST_K_INLINE void meet(struct float_block *b, const float *const *x, uint32_t i,
		       uint32_t len, const int nr)
{
	vec acc[TOKENS][ROWS];
	uint32_t c;
	int r, t;

	x += i;
#pragma GCC unroll 8
	for (t = 0; t < nr; t++)
#pragma GCC unroll 8
		for (r = 0; r < ROWS; r++)
			acc[t][r] = b->acc[i + (uint32_t)t][r];
	for (c = 0; c + LANES <= len; c += LANES)
		meet_step(acc, b->w[c / LANES], x, c, LANES, nr);
	if (c < len)
		meet_step(acc, b->w[c / LANES], x, c, len - c, nr);
#pragma GCC unroll 8
	for (t = 0; t < nr; t++)
#pragma GCC unroll 8
		for (r = 0; r < ROWS; r++)
			b->acc[i + (uint32_t)t][r] = acc[t][r];
}

/* Tokens of a panel. */
struct float_panel {
	const float *x[PANEL_TOKENS]; /* the columns that come next */
	uint32_t first;
	uint32_t nr;
};

/*
 * Asks for what @nr rows have next: all of them at once would fill the
 * processor's queue and hold it up.
 */
PST_K_INLINE void ask_rows(struct float_block *b, uint32_t nr,
			   const struct fmt *f)
{
	for (; nr && b->asked < ROWS; nr--, b->asked++)
		prefetch(b->row[b->asked], 0, BLOCK_COLUMNS * f->bytes);
}

/* @len columns times all tokens of a panel. */
PST_K_INLINE void meet_panel(struct float_block *b, const struct float_panel *x,
			     uint32_t len, const struct fmt *f)
{
	uint32_t nr = ROWS * TOKENS / x->nr + 1, i;

	b->asked = 0;
	for (i = 0; i + TOKENS <= x->nr; i += TOKENS) {
		ask_rows(b, nr, f);
		meet(b, x->x, i, len, TOKENS);
	}
	ask_rows(b, ROWS, f);
	if (TOKENS > 2 && x->nr - i == 2)
		meet(b, x->x, i, len, 2);
	else if (x->nr > i)
		meet(b, x->x, i, len, 1);
}

/* @nr_rows of them, ROWS at most, times the tokens of a panel. */
PST_K_INLINE void block_float(const struct pst_kmul *m, struct float_rows at,
			      uint32_t nr_rows, const struct float_panel *panel,
			      const struct fmt *f)
{
	struct float_panel x = *panel;
	struct float_block b;
	uint32_t c, r, i;

	/* A row that is missing is replaced by the last. */
	for (r = 0; r < ROWS; r++)
		b.row[r] = pst_k_row(m, nth_row(at, min_u32(r, nr_rows - 1)));
	for (i = 0; i < x.nr; i++)
		for (r = 0; r < ROWS; r++)
			b.acc[i][r] = vzero();
	for (c = 0; c < m->n; c += BLOCK_COLUMNS) {
		uint32_t len = min_u32(m->n - c, BLOCK_COLUMNS);

		unpack_rows(&b, len, f);
		meet_panel(&b, &x, len, f);
		for (i = 0; i < x.nr; i++)
			x.x[i] += len;
	}
	for (i = 0; i < x.nr; i++)
		for (r = 0; r < nr_rows; r++)
			m->y[(x.first + i) * m->y_stride + nth_row(at, r)] =
				vsum(b.acc[i][r]);
}

PST_K_INLINE void mul_panel(const struct pst_kmul *m,
			    const struct float_panel *x, const struct fmt *f)
{
	uint32_t part = m->nr_rows / ROWS, r;

	for (r = 0; r < part; r++)
		block_float(m, (struct float_rows){ r, part }, ROWS, x, f);
	r = part * ROWS;
	if (r < m->nr_rows)
		block_float(m, (struct float_rows){ r, 1 }, m->nr_rows - r, x,
			    f);
}

PST_K_INLINE void mul_float(const struct pst_kmul *m, const struct fmt *f)
{
	struct float_panel x = { .first = 0 };
	uint32_t i;

	if (m->nr_x == 1) {
		mul_one(m, f);
		return;
	}
	if (m->nr_x < PANEL_FEWEST) {
		mul_few(m, FEW_ROWS, f);
		return;
	}
	for (; x.first < m->nr_x; x.first += x.nr) {
		x.nr = min_u32(m->nr_x - x.first, PANEL_TOKENS);
		for (i = 0; i < x.nr; i++)
			x.x[i] = float_row(m, x.first + i);
		mul_panel(m, &x, f);
	}
}

static void mul_f32(const struct pst_kmul *m)
{
	mul_float(m, &fmt_f32);
}

static void mul_f16(const struct pst_kmul *m)
{
	mul_float(m, &fmt_f16);
}

static void mul_bf16(const struct pst_kmul *m)
{
	mul_float(m, &fmt_bf16);
}

static void fill_mul_float(struct pst_kernels *k)
{
	k->types[PST_K_F32].mul = mul_f32;
	k->types[PST_K_F16].mul = mul_f16;
	k->types[PST_K_BF16].mul = mul_bf16;
}

#endif
