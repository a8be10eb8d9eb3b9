// SPDX-License-Identifier: MIT
/*
 * Speed of the products, one thread, weights out of cache: bytes of weights
 * per second, as they are and as a part of what a plain read of the same
 * memory reaches.  Prints CSV.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>

#include "kcheck.h"

enum {
	WEIGHTS_BYTES = 256 << 20, /* several times a large L3 */
	CALL_ROWS = 512, /* rows of one call, as of one expert */
	MAX_X = 512,
	ONCE_ROWS = 4,
	CREW_ROUNDS = 51,
	CREW_BYTES = 32 << 20, /* of a thread in a round */
	CREW_MOST = 64,
};

#define ROUND_NS 10000000ULL
#define TOTAL_NS 200000000ULL

typedef uint64_t vec __attribute__((vector_size(64)));

/* Processor time, so that other work on the machine is not counted. */
static uint64_t cpu_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_THREAD_CPUTIME_ID, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Reads a buffer, asking for lines ahead of their turn as the kernels do. */
static uint64_t read_all(const uint8_t *p, size_t bytes)
{
	const vec *v = (const vec *)p;
	vec sum[8] = { { 0 } };
	size_t i, j;

	for (i = 0; i + 8 <= bytes / sizeof(vec); i += 8)
		for (j = 0; j < 8; j++) {
			__builtin_prefetch(v + i + j + 32);
			sum[j] ^= v[i + j];
		}
	for (j = 1; j < 8; j++)
		sum[0] ^= sum[j];
	return sum[0][0];
}

static double read_gbs(const uint8_t *w)
{
	const size_t piece = WEIGHTS_BYTES / 8;
	double best = 0;
	size_t i;

	for (i = 0; i < 64; i++) {
		uint64_t start = cpu_ns();
		volatile uint64_t sink = read_all(w + i % 8 * piece, piece);

		(void)sink;
		best = fmax(best, (double)piece / (double)(cpu_ns() - start));
	}
	return best;
}

struct bench {
	uint32_t n, nr_x;
	const char *tokens; /* of a product: a list */
	uint8_t *w;
	struct pst_kact act;
	float *y, *scratch;
	const struct pst_kconfig *config;
	double read_gbs;
};

/* The best round counts: what else runs on the machine only slows. */
static double mul_gbs(const struct bench *b, const struct pst_ktype_ops *ops,
		      uint32_t nr_x)
{
	size_t row_bytes = (size_t)b->n / ops->block_elems * ops->block_bytes;
	size_t call_bytes = row_bytes * CALL_ROWS, at = 0;
	uint64_t start = cpu_ns(), round_start = start, bytes = 0, now;
	double best = 0;

	do {
		struct pst_kmul m = {
			.w = b->w + at,
			.row_bytes = row_bytes,
			.n = b->n,
			.nr_rows = CALL_ROWS,
			.x = &b->act,
			.nr_x = nr_x,
			.y = b->y,
			.y_stride = CALL_ROWS,
			.scratch = b->scratch,
			.config = b->config,
		};

		ops->mul(&m);
		bytes += call_bytes;
		at += call_bytes;
		if (at + call_bytes > WEIGHTS_BYTES)
			at = 0;
		now = cpu_ns();
		if (now - round_start < ROUND_NS)
			continue;
		best = fmax(best, (double)bytes / (double)(now - round_start));
		round_start = now;
		bytes = 0;
	} while (now - start < TOTAL_NS);
	return best;
}

/* The next of a list, "1,4,32"; 0 behind its end or where it is no number. */
static uint32_t next_of(const char **list)
{
	char *end;
	unsigned long v = strtoul(*list, &end, 10);

	*list = *end == ',' ? end + 1 : end;
	return v <= MAX_X ? (uint32_t)v : 0;
}

/* One random piece over and over: the values do not change speed. */
static void fill_weights(const struct bench *b, const struct ktest_type *t,
			 const struct pst_ktype_ops *ops)
{
	size_t unit = (size_t)ops->block_bytes * 4096, at;

	rnd_blocks(b->w, t->type, ops, 4096, true);
	for (at = unit; at + unit <= WEIGHTS_BYTES; at += unit)
		memcpy(b->w + at, b->w, unit);
	memcpy(b->w + at, b->w, WEIGHTS_BYTES - at);
}

static void bench_type(struct bench *b, const struct ktest_type *t,
		       const struct pst_kernels *tables, size_t nr_tables)
{
	const struct pst_ktype_ops *ops = &tables[0].types[t->type];
	size_t m;

	fill_weights(b, t, ops);
	for (m = 0; m < nr_tables; m++) {
		const char *list = b->tokens;
		uint32_t nr_x;

		while ((nr_x = next_of(&list))) {
			double gbs =
				mul_gbs(b, &tables[m].types[t->type], nr_x);

			printf("%s,%s,%u,%u,%.2f,%.2f\n", t->name,
			       tables[m].name, b->n, nr_x, gbs,
			       gbs / b->read_gbs);
			fflush(stdout);
		}
	}
}

/* Page-aligned memory, in huge pages where the system gives them. */
static void *get_pages(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	if (p == MAP_FAILED)
		return NULL;
	madvise(p, bytes, MADV_HUGEPAGE);
	return p;
}

/* The row that $PENSTOCK_CPU_CONFIG names, else that of the running CPU. */
static const struct pst_kconfig *bench_config(const struct pst_kernels *k)
{
	const char *wanted = getenv("PENSTOCK_CPU_CONFIG");
	const struct pst_kconfig *c;
	uint32_t i;

	if (!wanted)
		return k->config;
	for (i = 0; (c = pst_kconfig_at(i)); i++)
		if (!strcmp(c->name, wanted))
			return c;
	fprintf(stderr, "PENSTOCK_CPU_CONFIG '%s' is no row of config.c\n",
		wanted);
	return NULL;
}

/* Memory and activations for @b->n and @b->nr_x. */
static int bench_get(struct bench *b, const struct pst_kernels *k,
		     size_t weights_bytes)
{
	size_t nr = (size_t)b->nr_x * b->n;
	float *x = get_pages(nr * sizeof(float));
	int8_t *q8 = get_pages(nr);
	float *d = get_pages(nr / 32 * sizeof(float));
	int32_t *sum = get_pages(nr / 32 * sizeof(int32_t));
	size_t i;

	b->config = bench_config(k);
	if (!b->config)
		return 1;
	b->w = get_pages(weights_bytes);
	b->y = get_pages((size_t)MAX_X * CALL_ROWS * sizeof(float));
	b->scratch = get_pages(pst_kmul_scratch_floats(b->n) * sizeof(float));
	if (!x || !q8 || !d || !sum || !b->w || !b->y || !b->scratch)
		return 1;
	for (i = 0; i < nr; i++)
		x[i] = rnd_normal();
	k->quantize(q8, d, sum, x, (uint32_t)nr);
	memset(b->w, 1, weights_bytes);
	b->act = (struct pst_kact){ x, q8, d, sum, b->n };
	return 0;
}

int kcheck_bench(uint32_t n, const char *only, const char *tokens)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), i;
	struct bench b = { .n = n, .nr_x = MAX_X, .tokens = tokens };

	if (bench_get(&b, &tables[0], WEIGHTS_BYTES))
		return 1;
	b.read_gbs = read_gbs(b.w);
	printf("# memory read, one thread: %.1f GB/s\n", b.read_gbs);
	printf("type,isa,n,nr_x,weights_GBps,of_read\n");
	for (i = 0; i < KTEST_NR_TYPES; i++)
		if (!only || !strcmp(only, ktest_types[i].name))
			bench_type(&b, &ktest_types[i], tables, nr_tables);
	return 0;
}

/* Threads that read together, each a part of the weights of its own. */
struct crew {
	struct bench b;
	pthread_barrier_t gate;
	const struct pst_ktype_ops *ops; /* NULL for a plain read */
	uint32_t nr;
	uint64_t ns[CREW_ROUNDS];
};

struct hand {
	pthread_t id;
	struct crew *crew;
	uint32_t nr;
	float *y, *scratch;
};

static uint64_t wall_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000 + (uint64_t)ts.tv_nsec;
}

/* Bytes of one call; a round takes as many calls as make CREW_BYTES. */
static size_t crew_call_bytes(const struct crew *c)
{
	if (!c->ops)
		return 1 << 20;
	return (size_t)c->b.n / c->ops->block_elems * c->ops->block_bytes *
	       CALL_ROWS;
}

static void hand_round(const struct hand *h, uint32_t round)
{
	const struct crew *c = h->crew;
	size_t call = crew_call_bytes(c), part = WEIGHTS_BYTES / c->nr / call;
	size_t first = round * (CREW_BYTES / call), i;

	for (i = first; i < first + CREW_BYTES / call; i++) {
		/* Whole calls from the start, or blocks are cut in two. */
		uint8_t *w = c->b.w + (h->nr * part + i % part) * call;
		struct pst_kmul m = {
			.w = w,
			.row_bytes = call / CALL_ROWS,
			.n = c->b.n,
			.nr_rows = CALL_ROWS,
			.x = &c->b.act,
			.nr_x = 1,
			.y = h->y,
			.y_stride = CALL_ROWS,
			.scratch = h->scratch,
			.config = c->b.config,
		};
		volatile uint64_t sink;

		if (c->ops)
			c->ops->mul(&m);
		else
			sink = read_all(w, call);
		(void)sink;
	}
}

static void *hand_main(void *arg)
{
	const struct hand *h = arg;
	struct crew *c = h->crew;
	uint32_t round;

	for (round = 0; round < CREW_ROUNDS; round++) {
		uint64_t start;

		pthread_barrier_wait(&c->gate);
		start = wall_ns();
		hand_round(h, round);
		pthread_barrier_wait(&c->gate);
		if (h->nr == 0)
			c->ns[round] = wall_ns() - start;
	}
	return NULL;
}

static int by_ns(const void *a, const void *b)
{
	const uint64_t *x = a, *y = b;

	return (*x > *y) - (*x < *y);
}

/* GB/s of all together, the median of the rounds. */
static double crew_gbs(struct crew *c, struct hand *hands)
{
	size_t call = crew_call_bytes(c);
	uint32_t i;

	for (i = 1; i < c->nr; i++)
		if (pthread_create(&hands[i].id, NULL, hand_main, &hands[i]))
			abort();
	hand_main(&hands[0]);
	for (i = 1; i < c->nr; i++)
		pthread_join(hands[i].id, NULL);
	qsort(c->ns, CREW_ROUNDS, sizeof(c->ns[0]), by_ns);
	return (double)(CREW_BYTES / call * call * c->nr) /
	       (double)c->ns[CREW_ROUNDS / 2];
}

static int crew_get(struct crew *c, struct hand *hands)
{
	uint32_t i;

	for (i = 0; i < c->nr; i++) {
		hands[i] = (struct hand){ .crew = c, .nr = i };
		hands[i].y = get_pages(CALL_ROWS * sizeof(float));
		hands[i].scratch = get_pages(pst_kmul_scratch_floats(c->b.n) *
					     sizeof(float));
		if (!hands[i].y || !hands[i].scratch)
			return 1;
	}
	return pthread_barrier_init(&c->gate, NULL, c->nr);
}

int kcheck_crew(uint32_t nr, uint32_t n, const char *only)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	const struct pst_kernels *k = &tables[kcheck_all_tables(tables) - 1];
	struct crew c = { .b = { .n = n, .nr_x = 1 }, .nr = nr };
	struct hand hands[CREW_MOST];
	double read;
	size_t i;

	if (nr < 1 || nr > CREW_MOST || bench_get(&c.b, k, WEIGHTS_BYTES) ||
	    crew_get(&c, hands))
		return 1;
	read = crew_gbs(&c, hands);
	printf("# memory read, %u threads: %.1f GB/s\n", nr, read);
	printf("type,isa,n,threads,weights_GBps,of_read\n");
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		double gbs;

		if (only && strcmp(only, ktest_types[i].name))
			continue;
		c.ops = &k->types[ktest_types[i].type];
		fill_weights(&c.b, &ktest_types[i], c.ops);
		gbs = crew_gbs(&c, hands);
		printf("%s,%s,%u,%u,%.2f,%.2f\n", ktest_types[i].name, k->name,
		       n, nr, gbs, gbs / read);
	}
	pthread_barrier_destroy(&c.gate);
	return 0;
}

/* The product that is counted: one tile of rows. */
static void mul_times(struct bench *b, const struct pst_kernels *k,
		      const struct ktest_type *t, uint32_t times)
{
	const struct pst_ktype_ops *ops = &k->types[t->type];
	size_t blocks = b->n / ops->block_elems;
	struct pst_kmul m = {
		.w = b->w,
		.row_bytes = blocks * ops->block_bytes,
		.n = b->n,
		.nr_rows = ONCE_ROWS,
		.x = &b->act,
		.nr_x = b->nr_x,
		.y = b->y,
		.y_stride = ONCE_ROWS,
		.scratch = b->scratch,
		.config = b->config,
	};

	rnd_blocks(b->w, t->type, ops, blocks * ONCE_ROWS, true);
	while (times--)
		ops->mul(&m);
}

int kcheck_once(const char *name, uint32_t n, uint32_t nr_x, uint32_t times)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	const struct pst_kernels *widest;
	struct bench b = { .n = n, .nr_x = nr_x };
	size_t i;

	widest = &tables[kcheck_all_tables(tables) - 1];
	if (nr_x > MAX_X || bench_get(&b, widest, (size_t)ONCE_ROWS * n * 4))
		return 1;
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		if (strcmp(name, ktest_types[i].name))
			continue;
		mul_times(&b, widest, &ktest_types[i], times);
		return 0;
	}
	return 1;
}
