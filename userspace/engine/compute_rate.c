// SPDX-License-Identifier: MIT
/*
 * Timing of kernels and of plain reads.  The weights are one byte repeated,
 * with which every format has small finite scales.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "compute_rate.h"
#include "deal.h"
#include "mem.h"

/* As a half this is 0.01, as a bfloat 5e-19, as an exponent 2^-94. */
#define FILL	    0x21
#define MAX_JOBS    256
#define CHUNK_BYTES (256 * PST_KIB)
/* Of a plain read: enough that its two ends do not count. */
#define READ_BYTES (256 * PST_MIB)
#define REPEATS	   3
#define JOBS	   2000
#define WAKES	   16
/* Queries of a KV head and positions that they look at. */
#define QUERIES	  4
#define POSITIONS 128
#define ATTENDS	  200
/* Longer ones, should there be any, are as fast. */
#define HEAD_MAX 1024u
#define WAIT_NS	 1000000

struct bench {
	const struct pst_kernels *k;
	struct pst_pool *pool;
	struct pst_mem weights;
	uint64_t weights_bytes; /* what is gone over of the weights */
	uint32_t max_in, max_rows; /* of any job */
	uint32_t columns; /* of products that round */

	/* The present job. */
	uint32_t type;
	struct pst_weight w; /* a matrix; not where it is */
	uint32_t nr;
	struct deal deal;
	const uint8_t *first;
	uint64_t apart_bytes; /* from one matrix to the next */

	struct pst_kact x; /* one row */
	const float *before; /* [max_in] what is normed into it, and by what */
	float *y; /* [columns][max_rows] */
	float *scratch; /* [nr_workers][max_in + 64] */
	void *block; /* what x, before, y and scratch lie in */
};

/* Queries over the same positions, for each chunk its own. */
struct attention {
	const struct pst_kernels *k;
	const float *keys; /* [POSITIONS][head], and values as many */
	uint32_t head;
	uint8_t *work; /* [nr_workers][work_bytes], 64-byte aligned */
	size_t work_bytes;
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

	size_bytes = PST_MIN(size_bytes, READ_BYTES);
	r.nr_words = size_bytes / sizeof(uint64_t);
	chunks = (uint32_t)(size_bytes / CHUNK_BYTES);
	if (!addr || !chunks)
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
	static const uint32_t same[PST_COMPUTE_COLUMNS] = { 0 };
	const struct bench *b = ctx;
	const struct pst_ktype_ops *ops = &b->k->types[b->type];
	struct deal_piece piece = pst_deal_piece(&b->deal, chunk);
	struct deal_part part;
	struct pst_kmul m = {
		.row_bytes = b->w.row_bytes,
		.n = b->w.n_in,
		.x = &b->x,
		.idx = same,
		.nr_x = ops->act == PST_KACT_Q8 ? b->columns : 1,
		.y_stride = b->max_rows,
		.config = b->k->config,
		.scratch = b->scratch +
			   worker * pst_kmul_scratch_floats(b->max_in),
	};

	for (uint32_t i = 0; i < b->nr; i++) {
		if (!pst_deal_part(&b->deal, &piece, b->w.n_out, &part))
			continue;
		m.w = b->first + i * b->apart_bytes + part.row * b->w.row_bytes;
		m.nr_rows = part.nr;
		m.y = b->y + i * b->w.n_out + part.row;
		ops->mul(&m);
	}
}

/* Dealt like the products of a token, and like theirs its row is new: one thread
 * has just made it, the others do not have it.
 */
static void run_job(struct bench *b, const uint8_t *first)
{
	b->k->rms_norm((float *)b->x.f32, b->before, b->before, b->w.n_in,
		       1e-6f);
	if (b->k->types[b->type].act == PST_KACT_Q8)
		b->k->quantize((int8_t *)b->x.q8, (float *)b->x.d,
			       (int32_t *)b->x.sum, b->x.f32, b->w.n_in);
	b->first = first;
	pst_deal_begin(&b->deal, PST_DEAL_ROWS, pst_pool_nr_workers(b->pool));
	for (uint32_t i = 0; i < b->nr; i++)
		pst_deal_add(&b->deal, &b->w, 1);
	pst_pool_run(b->pool, mul_chunk, b, pst_deal_end(&b->deal));
}

static bool has_kernel(const struct bench *b, const struct pst_compute_shape *s)
{
	return s->type < PST_KTYPE_COUNT && b->k->types[s->type].mul &&
	       s->n_in && s->n_out && s->nr &&
	       s->n_in % b->k->types[s->type].block_elems == 0;
}

static uint64_t row_bytes_of(const struct bench *b,
			     const struct pst_compute_shape *s)
{
	const struct pst_ktype_ops *ops = &b->k->types[s->type];

	return (uint64_t)s->n_in / ops->block_elems * ops->block_bytes;
}

/* Of each matrix as many rows as there is memory for, 0 if not even one. */
static uint32_t rows_of(const struct bench *b,
			const struct pst_compute_shape *s)
{
	uint64_t each_bytes = b->weights_bytes / s->nr;

	each_bytes -= PST_MIN(each_bytes, 64u);
	return (uint32_t)PST_MIN(s->n_out, each_bytes / row_bytes_of(b, s));
}

/* Job after job through all of the memory, so that no weight is in a cache, and
 * the matrices of each far from one another, as experts are.
 */
static double shape_s(struct bench *b, const struct pst_compute_shape *s)
{
	uint64_t each_bytes = b->weights_bytes / s->nr;
	uint64_t start = 0, step_bytes, row_bytes = row_bytes_of(b, s);
	uint32_t jobs;

	b->type = s->type;
	b->nr = s->nr;
	b->w = (struct pst_weight){
		.n_in = s->n_in,
		.n_out = rows_of(b, s),
		.row_bytes = row_bytes,
	};
	if (!b->w.n_out)
		return 0.0;
	jobs = (uint32_t)PST_MIN(
		each_bytes / pst_align_up(b->w.n_out * row_bytes, 64),
		MAX_JOBS);
	step_bytes = each_bytes / jobs / 64 * 64;
	b->apart_bytes = step_bytes * jobs;
	/* The first round only warms up; a mean, since a run is one, too. */
	for (int i = 0; i <= REPEATS; i++) {
		if (i == 1)
			start = pst_now_ns();
		for (uint32_t n = 0; n < jobs; n++)
			run_job(b, (const uint8_t *)b->weights.addr +
					   n * step_bytes);
	}
	return (double)(pst_now_ns() - start) * 1e-9 / REPEATS / jobs *
	       s->n_out / b->w.n_out;
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

/* A wait for reads lasts longer than threads spin. */
static double wake_s(struct pst_pool *pool)
{
	uint64_t sum = 0;

	for (int i = 0; i < WAKES; i++) {
		uint64_t start;

		pst_sleep_ns(WAIT_NS);
		start = pst_now_ns();
		pst_pool_run(pool, no_chunk, NULL, pst_pool_nr_workers(pool));
		sum += pst_now_ns() - start;
	}
	return (double)sum * 1e-9 / WAKES;
}

static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct attention *at = ctx;
	uint8_t *work = at->work + worker * at->work_bytes;
	float *out =
		(float *)(void *)(work + at->work_bytes) - QUERIES * at->head;
	struct pst_kattn_query q[QUERIES];
	struct pst_kattn a = {
		.query = q,
		.nr = QUERIES,
		.k = at->keys,
		.v = at->keys + (size_t)POSITIONS * at->head,
		.k_stride_bytes = at->head * sizeof(float),
		.v_stride_bytes = at->head * sizeof(float),
		.hd_k = at->head,
		.hd_v = at->head,
		.scratch = work,
	};

	for (uint32_t i = 0; i < QUERIES; i++)
		q[i] = (struct pst_kattn_query){
			.q = at->keys,
			.out = out + (size_t)i * at->head,
			.scale = 1.0f,
			.to = POSITIONS,
		};
	at->k->attn_f32(&a);
}

/* Seconds of a multiplication; what is looked at stays in the caches, for how fast
 * memory is is known.
 */
static int attend_s(const struct bench *b, uint32_t head, double *out)
{
	uint32_t workers = pst_pool_nr_workers(b->pool);
	struct attention at = {
		.k = b->k,
		.keys = b->weights.addr,
		.head = (uint32_t)pst_align_up(PST_MIN(head, HEAD_MAX), 16),
	};
	uint64_t start;

	at.work_bytes = pst_align_up(pst_kattn_scratch_bytes(at.head, at.head,
							     QUERIES) +
					     QUERIES * at.head * sizeof(float),
				     64);
	at.work = aligned_alloc(64, workers * at.work_bytes);
	if (!at.work)
		return -ENOMEM;
	start = pst_now_ns();
	for (int i = 0; i < ATTENDS; i++)
		pst_pool_run(b->pool, attend_chunk, &at, workers);
	*out = (double)(pst_now_ns() - start) * 1e-9 / ATTENDS / workers /
	       ((double)QUERIES * POSITIONS * 2 * at.head);
	free(at.work);
	return 0;
}

/* One activation row and each worker's place, in one aligned block. */
static int make_rows(struct bench *b)
{
	uint32_t workers = pst_pool_nr_workers(b->pool);
	size_t n = b->max_in, blocks = n / PST_K_QBLOCK;
	size_t scratch = pst_kmul_scratch_floats(b->max_in);
	size_t y = (size_t)b->columns * b->max_rows;
	size_t floats = 2 * n + blocks + y + workers * scratch;
	size_t bytes = floats * sizeof(float) + blocks * sizeof(int32_t) + n;
	float *f32, *before;
	int8_t *q8;

	b->block = aligned_alloc(64, pst_align_up(bytes, 64));
	if (!b->block)
		return -ENOMEM;
	memset(b->block, 0, bytes);
	f32 = b->block;
	before = f32 + n;
	b->before = before;
	b->scratch = before + n;
	b->y = b->scratch + workers * scratch;
	q8 = (int8_t *)(b->y + y);
	b->x = (struct pst_kact){
		.f32 = f32,
		.q8 = q8,
		.d = (float *)(void *)(q8 + n),
		.sum = (int32_t *)(void *)(q8 + n + blocks * sizeof(float)),
		.stride = n,
	};
	for (size_t i = 0; i < n; i++)
		before[i] = (float)((int)(i % 7) - 3);
	return 0;
}

int pst_compute_rate_measure(const struct pst_compute_args *args,
			     struct pst_compute_shape *shapes, uint32_t nr,
			     struct pst_compute_rate *out)
{
	struct bench b = { .k = args->k,
			   .pool = args->pool,
			   .max_in = 64,
			   .max_rows = PST_DEAL_ROWS,
			   .columns = args->columns };
	struct pst_mem_args mem = { .want = PST_MEM_THP, .node = -1 };
	struct pst_compute_rate r = { .job_s = 0.0 };
	int rc;

	mem.size_bytes = PST_MAX(args->weights_bytes, PST_COMPUTE_RATE_BYTES);
	mem.size_bytes = PST_MIN(mem.size_bytes, PST_COMPUTE_RATE_MAX_BYTES);
	b.weights_bytes = mem.size_bytes;
	for (uint32_t i = 0; i < nr; i++) {
		b.max_in = PST_MAX(b.max_in,
				   (uint32_t)pst_align_up(shapes[i].n_in, 64));
		if (has_kernel(&b, &shapes[i]))
			b.max_rows =
				PST_MAX(b.max_rows,
					rows_of(&b, &shapes[i]) * shapes[i].nr);
	}
	rc = make_rows(&b);
	if (!rc)
		rc = pst_mem_map(&mem, &b.weights, NULL);
	if (rc)
		goto out;
	memset(b.weights.addr, FILL, b.weights.size_bytes);
	for (uint32_t i = 0; i < nr; i++)
		shapes[i].s = has_kernel(&b, &shapes[i])
				      ? shape_s(&b, &shapes[i])
				      : 0.0;
	r.mem_bps =
		pst_mem_read_bps(b.pool, b.weights.addr, b.weights.size_bytes);
	r.job_s = job_s(b.pool);
	r.wake_s = wake_s(b.pool);
	rc = args->head ? attend_s(&b, args->head, &r.attend_s) : 0;
	if (!rc)
		*out = r;
	pst_mem_unmap(&b.weights);
out:
	free(b.block);
	return rc;
}
