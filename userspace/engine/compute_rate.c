// SPDX-License-Identifier: MIT
/*
 * Timing of kernels and of plain reads.  The weights are one byte repeated,
 * with which every format has small finite scales.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute_rate.h"
#include "mem.h"

/* As a half this is 0.01, as a bfloat 5e-19, as an exponent 2^-94. */
#define FILL 0x21
/* Length of a row: a multiple of every block. */
#define ROW_WEIGHTS 2048
#define CHUNK_ROWS  64
#define CHUNK_BYTES (256 * PST_KIB)
#define REPEATS	    3
#define JOBS	    2000

struct bench {
	const struct pst_kernels *k;
	struct pst_pool *pool;
	struct pst_mem weights;
	uint32_t type, nr_rows;
	size_t row_bytes;
	struct pst_kact x; /* one row */
	float *y; /* [nr_workers][CHUNK_ROWS] */
	float *scratch; /* [nr_workers][ROW_WEIGHTS + 64] */
	void *block; /* what x, y and scratch lie in */
};

struct reading {
	const uint64_t *p;
	uint64_t nr_words;
	uint64_t sums[16]; /* one per chunk, modulo: keeps the loads alive */
};

static void read_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct reading *r = ctx;
	uint64_t per = CHUNK_BYTES / sizeof(uint64_t);
	uint64_t at = chunk * per;
	uint64_t end = PST_MIN(at + per, r->nr_words) & ~3ULL;
	uint64_t s[4] = { 0 };

	for (; at < end; at += 4)
		for (int i = 0; i < 4; i++)
			s[i] += r->p[at + (uint64_t)i];
	__atomic_fetch_xor(&r->sums[chunk % 16], s[0] ^ s[1] ^ s[2] ^ s[3],
			   __ATOMIC_RELAXED);
}

double pst_mem_read_bps(struct pst_pool *pool, const void *addr,
			uint64_t size_bytes)
{
	struct reading r = { .p = addr };
	uint64_t best = UINT64_MAX;
	uint32_t chunks;

	size_bytes = PST_MIN(size_bytes, 4 * PST_COMPUTE_RATE_BYTES);
	r.nr_words = size_bytes / sizeof(uint64_t);
	chunks = (uint32_t)(size_bytes / CHUNK_BYTES);
	/* What a cache may hold says nothing of memory. */
	if (!addr || size_bytes < PST_COMPUTE_RATE_BYTES)
		return 0.0;
	for (int i = 0; i < REPEATS; i++) {
		uint64_t start = pst_now_ns();

		pst_pool_run(pool, read_chunk, &r, chunks);
		best = PST_MIN(best, pst_now_ns() - start);
	}
	return (double)chunks * CHUNK_BYTES * 1e9 / (double)PST_MAX(best, 1u);
}

static void mul_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct bench *b = ctx;
	uint32_t row = chunk * CHUNK_ROWS;
	struct pst_kmul m = {
		.w = (const uint8_t *)b->weights.addr + row * b->row_bytes,
		.row_bytes = b->row_bytes,
		.n = ROW_WEIGHTS,
		.nr_rows = PST_MIN(CHUNK_ROWS, b->nr_rows - row),
		.x = &b->x,
		.nr_x = 1,
		.y = b->y + (size_t)worker * CHUNK_ROWS,
		.y_stride = CHUNK_ROWS,
		.scratch = b->scratch + (size_t)worker * (ROW_WEIGHTS + 64),
	};

	b->k->types[b->type].mul(&m);
}

static double type_bps(struct bench *b, uint32_t type)
{
	const struct pst_ktype_ops *ops = &b->k->types[type];
	uint64_t best = UINT64_MAX;

	b->type = type;
	b->row_bytes =
		(size_t)ROW_WEIGHTS / ops->block_elems * ops->block_bytes;
	b->nr_rows = (uint32_t)(b->weights.size_bytes / b->row_bytes);
	for (int i = 0; i < REPEATS; i++) {
		uint64_t start = pst_now_ns();

		pst_pool_run(b->pool, mul_chunk, b,
			     (b->nr_rows + CHUNK_ROWS - 1) / CHUNK_ROWS);
		best = PST_MIN(best, pst_now_ns() - start);
	}
	return (double)b->nr_rows * (double)b->row_bytes * 1e9 /
	       (double)PST_MAX(best, 1u);
}

static void no_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
}

static double job_s(struct pst_pool *pool)
{
	uint64_t start = pst_now_ns();

	for (int i = 0; i < JOBS; i++)
		pst_pool_run(pool, no_chunk, NULL, pst_pool_nr_workers(pool));
	return (double)(pst_now_ns() - start) * 1e-9 / JOBS;
}

/* One activation row and each worker's place, in one aligned block. */
static int make_rows(struct bench *b)
{
	uint32_t workers = pst_pool_nr_workers(b->pool);
	size_t blocks = ROW_WEIGHTS / PST_K_QBLOCK;
	size_t floats = ROW_WEIGHTS + blocks +
			workers * (CHUNK_ROWS + ROW_WEIGHTS + 64);
	size_t bytes =
		floats * sizeof(float) + blocks * sizeof(int32_t) + ROW_WEIGHTS;
	float *f32;
	int8_t *q8;

	b->block = aligned_alloc(64, pst_align_up(bytes, 64));
	if (!b->block)
		return -ENOMEM;
	memset(b->block, 0, bytes);
	f32 = b->block;
	b->scratch = f32 + ROW_WEIGHTS;
	b->y = b->scratch + (size_t)workers * (ROW_WEIGHTS + 64);
	b->x = (struct pst_kact){ .f32 = f32, .stride = ROW_WEIGHTS };
	q8 = (int8_t *)(b->y + (size_t)workers * CHUNK_ROWS);
	b->x.q8 = q8;
	b->x.d = (float *)(void *)(q8 + ROW_WEIGHTS);
	b->x.sum =
		(int32_t *)(void *)(q8 + ROW_WEIGHTS + blocks * sizeof(float));
	for (uint32_t i = 0; i < ROW_WEIGHTS; i++)
		f32[i] = (float)((int)(i % 7) - 3);
	b->k->quantize(q8, (float *)b->x.d, (int32_t *)b->x.sum, f32,
		       ROW_WEIGHTS);
	return 0;
}

int pst_compute_rate_measure(const struct pst_kernels *k, struct pst_pool *pool,
			     const bool *wanted, struct pst_compute_rate *out)
{
	struct bench b = { .k = k, .pool = pool };
	struct pst_mem_args args = { .size_bytes = PST_COMPUTE_RATE_BYTES,
				     .want = PST_MEM_THP,
				     .node = -1 };
	struct pst_compute_rate r = { .job_s = 0.0 };
	int rc = make_rows(&b);

	if (!rc)
		rc = pst_mem_map(&args, &b.weights, NULL);
	if (rc)
		goto out;
	memset(b.weights.addr, FILL, b.weights.size_bytes);
	for (uint32_t t = 0; t < PST_KTYPE_COUNT; t++)
		if (wanted[t] && k->types[t].mul)
			r.weight_bps[t] = type_bps(&b, t);
	r.mem_bps =
		pst_mem_read_bps(pool, b.weights.addr, b.weights.size_bytes);
	r.job_s = job_s(pool);
	*out = r;
	pst_mem_unmap(&b.weights);
out:
	free(b.block);
	return rc;
}
