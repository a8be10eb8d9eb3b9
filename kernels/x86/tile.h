/* SPDX-License-Identifier: MIT */
/*
 * How a product is cut into tiles of weight rows x activation rows that are
 * held in registers.  Knows no instruction set and no format.
 *
 * A tile function computes every (row, token) pair of its tile by the same
 * sequence of operations, whatever the shape; so the cut never shows in the
 * result.  Shapes are constants where the tile function is inlined.
 */
#ifndef PST_K_TILE_H
#define PST_K_TILE_H

#include "pst_kpriv.h"

#define PST_K_INLINE static inline __attribute__((always_inline))

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

/* All tokens against the rows [r, r + nr). */
PST_K_INLINE void tile_tokens(const struct pst_kmul *m, uint32_t r, int nr,
			      int nt, tile_fn tile)
{
	uint32_t i = 0;

	for (; i + (uint32_t)nt <= m->nr_x; i += (uint32_t)nt)
		tile(m, r, i, nr, nt);
	for (; i < m->nr_x; i++)
		tile(m, r, i, nr, 1);
}

/*
 * One token alone takes four rows at once, for as many independent sums and
 * streams from memory; more tokens share each row that was unpacked.
 */
PST_K_INLINE void tile_mul(const struct pst_kmul *m, int nr, int nt,
			   tile_fn tile)
{
	uint32_t r = 0;

	if (m->nr_x == 1) {
		for (; r + 4 <= m->nr_rows; r += 4)
			tile(m, r, 0, 4, 1);
		for (; r < m->nr_rows; r++)
			tile(m, r, 0, 1, 1);
		return;
	}
	for (; r + (uint32_t)nr <= m->nr_rows; r += (uint32_t)nr)
		tile_tokens(m, r, nr, nt, tile);
	for (; r < m->nr_rows; r++)
		tile_tokens(m, r, 1, nt, tile);
}

#endif
