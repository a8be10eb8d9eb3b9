/* SPDX-License-Identifier: MIT */
/*
 * Shared by the parts of kcheck: memory between guard pages, seeded numbers,
 * and what the parts offer to main().
 */
#ifndef PST_KCHECK_H
#define PST_KCHECK_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base.h"
#include "ktest.h"

#define KCHECK_U 0x1p-24 /* unit roundoff of float */

/**
 * struct gbuf - memory with an inaccessible page on each side
 * @p: the bytes asked for
 * @bytes: how many
 * @map: the accessible pages
 * @map_bytes: their size
 *
 * The bytes of the pages outside [p, p + bytes) hold a pattern that
 * gbuf_check() looks for.
 */
struct gbuf {
	void *p;
	size_t bytes;
	uint8_t *map;
	size_t map_bytes;
};

/* Where the bytes lie within their pages. */
enum gbuf_side {
	GBUF_END,
	GBUF_START,
	GBUF_NR_SIDES
};

/**
 * gbuf_get() - pages with @bytes at one side
 * @b: filled
 * @bytes: may be 0
 * @align: at GBUF_END the start is moved down to a multiple of this
 * @side: next to which guard page
 */
void gbuf_get(struct gbuf *b, size_t bytes, size_t align, enum gbuf_side side);

/* Fails the test if a byte around the buffer was written, and frees it. */
void gbuf_put(struct gbuf *b);

/* The generator of the running test, seeded by $PENSTOCK_SEED. */
uint64_t *kcheck_rng(void);

/* Uniform in [0, nr). */
uint32_t rnd_below(uint32_t nr);

/* Roughly normal, mean 0, deviation 1. */
float rnd_normal(void);

/* @n values in blocks of 32 of which some are zero, tiny, huge or extreme. */
void rnd_activations(float *x, size_t n);

/* Random valid bytes of @nr blocks of a type; extremes unless @plain. */
void rnd_blocks(uint8_t *p, enum pst_ktype type,
		const struct pst_ktype_ops *ops, size_t nr, bool plain);

/* Where the half-precision fields of a block are, -1 for none. */
void kcheck_scale_offsets(enum pst_ktype type, int off[2]);

/* Tables that the CPU can run, other than the reference. */
size_t kcheck_tables(struct pst_kernels tables[KTEST_NR_MASKS]);

/* The same with the reference first. */
size_t kcheck_all_tables(struct pst_kernels tables[KTEST_NR_MASKS]);

/* Tests of the parts. */
int kcheck_mul_tests(void);
int kcheck_vector_tests(void);
int kcheck_attn_tests(void);
int kcheck_recur_tests(void);

/**
 * kcheck_bench() - time the products and print a table
 * @n: row length, a multiple of 256
 * @only: the name of a type, NULL for all
 * @tokens: of a product: a list, "1,4,32", up to 512
 *
 * Return: 0 or 1.
 */
int kcheck_bench(uint32_t n, const char *only, const char *tokens);

/**
 * kcheck_crew() - time the product of one token, by threads at once
 * @nr: of them; each has weights of its own
 * @n: row length, a multiple of 256
 * @only: one type, NULL for all
 *
 * Wall-clock time: other work on the machine counts.  Return: exit status.
 */
int kcheck_crew(uint32_t nr, uint32_t n, const char *only);

/**
 * kcheck_once() - one product of 4 rows, with the widest table
 * @name: of a type
 * @n: row length, a multiple of 256
 * @nr_x: activation rows, at most 32
 * @times: how often; what one more costs is to be counted from outside
 *
 * Return: 0 or 1.
 */
int kcheck_once(const char *name, uint32_t n, uint32_t nr_x, uint32_t times);

#endif
