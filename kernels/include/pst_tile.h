/* SPDX-License-Identifier: MIT */
/*
 * How a product is cut into tiles of weight rows x activation rows that are
 * held in registers, and what products share.  Knows no instruction set and no
 * format.
 *
 * A tile function computes every (row, token) pair of its tile by the same
 * sequence of operations, whatever the shape; so the cut never shows in the
 * result.  Shapes are constants where the tile function is inlined.
 */
#ifndef PST_TILE_H
#define PST_TILE_H

#include "pst_kpriv.h"

#define PST_K_INLINE static inline __attribute__((always_inline))

PST_K_INLINE uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* A token's activations in 8 bits. */
struct xrow {
	const int8_t *q;
	const float *d;
	const int32_t *sum;
};

PST_K_INLINE struct xrow x_row(const struct pst_kmul *m, uint32_t i)
{
	size_t row = pst_k_xrow(m, i);

	return (struct xrow){ m->x->q8 + row * m->x->stride,
			      m->x->d + row * (m->x->stride / 32),
			      m->x->sum + row * (m->x->stride / 32) };
}

/*
 * Asks for the @bytes at @p + @ahead_bytes.  Several rows are read side by
 * side, each in steps that are no multiple of a cache line: the processor does
 * not see that they will be followed by the rows below them.  What is asked
 * for may lie past the weights: a prefetch does not fault.
 */
PST_K_INLINE void prefetch(const uint8_t *p, size_t ahead_bytes, size_t bytes)
{
	uintptr_t at = (uintptr_t)p + ahead_bytes;
	size_t i;

#pragma GCC unroll 8
	for (i = 0; i < bytes; i += 64)
		__builtin_prefetch((const void *)(at + i));
}

/* Rows [r, r + nr) times tokens [i, i + nt). */
typedef void (*tile_fn)(const struct pst_kmul *m, uint32_t r, uint32_t i,
			int nr, int nt);

/*
 * Four rows at a time.  Tokens share a row that was unpacked in tiles of
 * @nr x @nt; one token alone, or what is left of them, takes the four rows at
 * once, for as many independent sums and streams from memory.  Three shapes
 * only, since each is compiled for every format.
 */
PST_K_INLINE void tile_mul(const struct pst_kmul *m, int nr, int nt,
			   tile_fn tile)
{
	uint32_t r = 0, sub, i;

	for (; r + 4 <= m->nr_rows; r += 4) {
		for (sub = 0; sub < 4; sub += (uint32_t)nr)
			for (i = 0; i + (uint32_t)nt <= m->nr_x;
			     i += (uint32_t)nt)
				tile(m, r + sub, i, nr, nt);
		for (i = m->nr_x / (uint32_t)nt * (uint32_t)nt; i < m->nr_x;
		     i++)
			tile(m, r, i, 4, 1);
	}
	for (; r < m->nr_rows; r++)
		for (i = 0; i < m->nr_x; i++)
			tile(m, r, i, 1, 1);
}

#endif
