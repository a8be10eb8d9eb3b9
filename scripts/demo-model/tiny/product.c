// SPDX-License-Identifier: MIT
/*
 * Packing and the kernel.  Twelve rows by two vectors of sums stay in
 * registers; one row of a panel is loaded for each pair and each pair of A is
 * broadcast.  Knows nothing of what is multiplied.
 */
#include "product.h"

#include <immintrin.h>

enum {
	TILE = 12, /* rows of sums in registers */
	BLOCK_ROWS = 768, /* rows of A that stay in the second cache */
	BLOCK_PAIRS = 256, /* pairs summed at once */
};

static inline __m256i half(__m512 x)
{
	return (__m256i)_mm512_cvtneps_pbh(x);
}

static inline __m512i two_rows(const float *at, int ld, bool second)
{
	__m512 lo = _mm512_loadu_ps(at);
	__m512 hi = second ? _mm512_loadu_ps(at + ld) : _mm512_setzero_ps();

	return _mm512_or_si512(
		_mm512_cvtepu16_epi32(half(lo)),
		_mm512_slli_epi32(_mm512_cvtepu16_epi32(half(hi)), 16));
}

static void row_pairs(uint32_t *dst, const float *src, int n)
{
	for (int j = 0; j < n; j += 16)
		_mm256_storeu_si256((void *)(dst + j / 2),
				    half(_mm512_loadu_ps(src + j)));
}

void factor_of(struct factor *f, struct mat a)
{
	f->row = (size_t)a.cols / 2;
	f->pair = 1;
	f->rows = a.rows;
	for (int i = 0; i < a.rows; i++)
		row_pairs(f->p + i * f->row, a.p + (size_t)i * a.ld, a.cols);
}

void factor_of_transposed(struct factor *f, struct mat a)
{
	f->row = 1;
	f->pair = (size_t)a.cols;
	f->rows = a.cols;
	for (int i = 0; i < a.rows; i += 2)
		for (int j = 0; j < a.cols; j += 16)
			_mm512_storeu_si512(f->p + (size_t)i / 2 * f->pair + j,
					    two_rows(a.p + (size_t)i * a.ld + j,
						     a.ld, i + 1 < a.rows));
}

void panels_put(struct panels *f, int col, struct mat b)
{
	f->nr_pairs = (b.rows + 1) / 2;
	f->cols = col + b.cols;
	for (int c = 0; c < b.cols; c += PANEL) {
		uint32_t *dst = f->p + (size_t)(col + c) * f->nr_pairs;

		for (int i = 0; i < b.rows; i += 2)
			for (int j = 0; j < PANEL; j += 16)
				_mm512_storeu_si512(
					dst + i / 2 * PANEL + j,
					two_rows(b.p + (size_t)i * b.ld + c + j,
						 b.ld, i + 1 < b.rows));
	}
}

void panels_put_transposed(struct panels *f, int pair, struct mat b)
{
	uint32_t row[4096];

	f->cols = b.rows;
	for (int c = 0; c < b.rows; c++) {
		uint32_t *dst = f->p +
				(size_t)(c / PANEL * PANEL) * f->nr_pairs +
				pair * PANEL + c % PANEL;

		row_pairs(row, b.p + (size_t)c * b.ld, b.cols);
		for (int i = 0; i < b.cols / 2; i++)
			dst[i * PANEL] = row[i];
	}
}

static inline void store_row(float *at, bool add, __m512 x, __m512 y)
{
	if (add) {
		x = _mm512_add_ps(x, _mm512_loadu_ps(at));
		y = _mm512_add_ps(y, _mm512_loadu_ps(at + 16));
	}
	_mm512_storeu_ps(at, x);
	_mm512_storeu_ps(at + 16, y);
}

/* One tile; of @c only c.rows are written, of @a a whole tile is read. */
static void tile(struct mat c, bool add, struct factor a,
		 const uint32_t *restrict b, int nr_pairs)
{
	__m512 acc[TILE][2];

#pragma GCC unroll 12
	for (int i = 0; i < TILE; i++)
		acc[i][0] = acc[i][1] = _mm512_setzero_ps();
	for (int k = 0; k < nr_pairs; k++) {
		__m512bh b0 = (__m512bh)_mm512_loadu_si512(b + k * PANEL);
		__m512bh b1 = (__m512bh)_mm512_loadu_si512(b + k * PANEL + 16);
		const uint32_t *at = a.p + k * a.pair;

#pragma GCC unroll 12
		for (int i = 0; i < TILE; i++) {
			__m512bh x =
				(__m512bh)_mm512_set1_epi32((int)at[i * a.row]);

			acc[i][0] = _mm512_dpbf16_ps(acc[i][0], x, b0);
			acc[i][1] = _mm512_dpbf16_ps(acc[i][1], x, b1);
		}
	}
#pragma GCC unroll 12
	for (int i = 0; i < TILE; i++)
		if (i < c.rows)
			store_row(c.p + (size_t)i * c.ld, add, acc[i][0],
				  acc[i][1]);
}

/* The rows from first on, at most a block of them. */
static void block(struct mat c, bool add, const struct factor *a,
		  const struct panels *b, int first, int pair)
{
	int end = c.rows - first < BLOCK_ROWS ? c.rows : first + BLOCK_ROWS;
	int nr = b->nr_pairs - pair < BLOCK_PAIRS ? b->nr_pairs - pair
						  : BLOCK_PAIRS;

	for (int j = 0; j < b->cols; j += PANEL)
		for (int i = first; i < end; i += TILE) {
			struct factor at = *a;
			struct mat to = mat(c.p + (size_t)i * c.ld + j, c.ld,
					    end - i, PANEL);

			at.p += i * a->row + pair * a->pair;
			tile(to, add, at,
			     b->p + (size_t)j * b->nr_pairs +
				     (size_t)pair * PANEL,
			     nr);
		}
}

void product(struct mat c, bool add, const struct factor *a,
	     const struct panels *b)
{
	c.rows = a->rows;
	for (int pair = 0; pair < b->nr_pairs; pair += BLOCK_PAIRS)
		for (int first = 0; first < c.rows; first += BLOCK_ROWS)
			block(c, add || pair, a, b, first, pair);
}
