/* SPDX-License-Identifier: MIT */
/*
 * Products of matrices from BF16 factors with sums in F32, on one core with
 * AVX512-BF16.  Both factors are first put into pairs: two numbers that are
 * neighbours in the summed dimension, in one 32-bit word, as the instruction
 * takes them.
 */
#ifndef TINY_PRODUCT_H
#define TINY_PRODUCT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Panels of B have this many columns; widths of all results are multiples. */
enum {
	PANEL = 32
};

/* A view of rows x cols floats; rows lie ld floats apart. */
struct mat {
	float *p;
	int ld, rows, cols;
};

static inline struct mat mat(float *p, int ld, int rows, int cols)
{
	return (struct mat){ p, ld, rows, cols };
}

/* Pairs of A: of row i, pair k at p[i * row + k * pair]. */
struct factor {
	uint32_t *p;
	size_t row, pair;
	int rows;
};

/* Pairs of B: panels of PANEL columns, each of nr_pairs rows. */
struct panels {
	uint32_t *p;
	int nr_pairs, cols;
};

/* A = a; its columns must be a multiple of 16. */
void factor_of(struct factor *f, struct mat a);

/* A = a transposed. */
void factor_of_transposed(struct factor *f, struct mat a);

/* The columns of B from col on become b, whose rows are B's rows. */
void panels_put(struct panels *f, int col, struct mat b);

/* The rows of B from 2 * pair on become b transposed. */
void panels_put_transposed(struct panels *f, int pair, struct mat b);

/* c = A B, or c += A B. */
void product(struct mat c, bool add, const struct factor *a,
	     const struct panels *b);

#endif
