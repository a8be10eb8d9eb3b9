// SPDX-License-Identifier: MIT
/*
 * kcheck: every kernel of every instruction set that the CPU has, against the
 * portable reference.  This file owns the program, the memory and the random
 * numbers; the checks are in kcheck_*.c.
 *
 *	kcheck                      check; $PENSTOCK_SEED replays a run
 *	kcheck --bench [n [type [tokens]]]
 *				    time the products with rows of n weights;
 *				    tokens is a list, 1,4,32,128
 *	kcheck --threads NR [n [type]]
 *				    the product of one token, by threads at once
 *	kcheck --once TYPE N TOKENS TIMES
 *				    that product so often, to count instructions
 */
#include <stdio.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#include "kcheck.h"

enum {
	PATTERN = 0xa5
};

/* A page of the machine, which may be 4 KB, 16 KB or 64 KB. */
static size_t guard_bytes(void)
{
	return (size_t)sysconf(_SC_PAGESIZE);
}

/* Only the test program keeps state in a file: cmocka's tests share it. */
static uint64_t rng_state;

uint64_t *kcheck_rng(void)
{
	return &rng_state;
}

void gbuf_get(struct gbuf *b, size_t bytes, size_t align, enum gbuf_side side)
{
	size_t guard = guard_bytes();
	size_t pages = (bytes + guard) / guard * guard;
	uint8_t *all = mmap(NULL, pages + 2 * guard, PROT_NONE,
			    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_true(all != MAP_FAILED);
	b->map = all + guard;
	b->map_bytes = pages;
	b->bytes = bytes;
	assert_int_equal(mprotect(b->map, pages, PROT_READ | PROT_WRITE), 0);
	memset(b->map, PATTERN, pages);
	b->p = b->map;
	if (side == GBUF_END)
		b->p = b->map + (pages - bytes) / align * align;
}

void gbuf_put(struct gbuf *b)
{
	size_t before = (size_t)((uint8_t *)b->p - b->map), i;

	for (i = 0; i < b->map_bytes; i++)
		if ((i < before || i >= before + b->bytes) &&
		    b->map[i] != PATTERN)
			fail_msg("byte %zd outside of a buffer was written",
				 (ssize_t)i - (ssize_t)before);
	munmap(b->map - guard_bytes(), b->map_bytes + 2 * guard_bytes());
}

uint32_t rnd_below(uint32_t nr)
{
	return (uint32_t)(pst_rng_next(&rng_state) % nr);
}

float rnd_normal(void)
{
	double sum = 0;
	int i;

	for (i = 0; i < 12; i++)
		sum += (double)(pst_rng_next(&rng_state) >> 11) * 0x1p-53;
	return (float)(sum - 6);
}

void rnd_activations(float *x, size_t n)
{
	size_t i, j;

	for (i = 0; i < n; i += 32) {
		uint32_t kind = rnd_below(16);
		float scale = 1;

		if (kind == 0)
			scale = 0;
		else if (kind == 1)
			scale = 0x1p-130f; /* denormal */
		else if (kind == 2)
			scale = 300;
		for (j = i; j < i + 32 && j < n; j++) {
			x[j] = rnd_normal() * scale;
			if (kind == 3) /* every code is -127 or 127 */
				x[j] = x[j] < 0 ? -2 : 2;
			else if (kind == 4)
				x[j] = 1;
		}
		if (kind == 5)
			x[i] = -50; /* an outlier: the other codes are small */
	}
}

/* Half-precision scales of both signs, some zero, some denormal. */
static uint16_t rnd_scale(bool plain)
{
	uint16_t sign = (uint16_t)(rnd_below(2) << 15);
	uint32_t kind = plain ? 15 : rnd_below(16);

	if (kind == 0)
		return sign;
	if (kind == 1)
		return (uint16_t)(sign | rnd_below(0x400));
	return (uint16_t)(sign | (5 + rnd_below(7)) << 10 | rnd_below(0x400));
}

void kcheck_scale_offsets(enum pst_ktype type, int off[2])
{
	off[0] = 0;
	off[1] = -1;
	if (type == PST_K_Q4_1 || type == PST_K_Q5_1 || type == PST_K_Q4_K ||
	    type == PST_K_Q5_K) {
		off[1] = 2;
	} else if (type == PST_K_Q2_K) {
		off[0] = 80;
		off[1] = 82;
	} else if (type == PST_K_Q3_K) {
		off[0] = 108;
	} else if (type == PST_K_Q6_K) {
		off[0] = 208;
	} else if (type == PST_K_TQ1_0) {
		off[0] = 52;
	} else if (type == PST_K_TQ2_0) {
		off[0] = 64;
	} else if (type == PST_K_MXFP4 || type == PST_K_NVFP4 ||
		   type == PST_K_IQ1_M) {
		off[0] = -1;
	}
}

/* The scale of IQ1_M lies in the upper nibbles of four words. */
static void rnd_iq1_m_scale(uint8_t *words, bool plain)
{
	uint16_t h = rnd_scale(plain);
	int j;

	for (j = 0; j < 4; j++)
		words[2 * j + 1] = (uint8_t)((words[2 * j + 1] & 15) |
					     (h >> 4 * j & 15) << 4);
}

static void rnd_value(uint8_t *p, enum pst_ktype type, bool plain)
{
	float v = rnd_normal();
	uint16_t h = rnd_scale(plain);
	uint32_t bits;

	if (type == PST_K_F16) {
		memcpy(p, &h, sizeof(h));
		return;
	}
	memcpy(&bits, &v, sizeof(bits));
	if (type == PST_K_BF16) {
		h = (uint16_t)(bits >> 16);
		memcpy(p, &h, sizeof(h));
		return;
	}
	memcpy(p, &v, sizeof(v));
}

void rnd_blocks(uint8_t *p, enum pst_ktype type,
		const struct pst_ktype_ops *ops, size_t nr, bool plain)
{
	size_t i, j;
	int off[2];

	kcheck_scale_offsets(type, off);
	for (i = 0; i < nr; i++, p += ops->block_bytes) {
		uint32_t kind = plain ? 15 : rnd_below(16);

		if (ops->block_elems == 1) {
			rnd_value(p, type, plain);
			continue;
		}
		for (j = 0; j < ops->block_bytes; j++) {
			p[j] = (uint8_t)rnd_below(256);
			if (kind == 0) /* the most negative codes of Q8_0 */
				p[j] = 0x80;
			else if (kind == 1)
				p[j] = 0xff;
			else if (kind == 2)
				p[j] = 0;
		}
		for (j = 0; j < 2; j++) {
			uint16_t h = rnd_scale(plain);

			if (off[j] >= 0)
				memcpy(p + off[j], &h, sizeof(h));
		}
		if (type == PST_K_MXFP4)
			p[0] = (uint8_t)(kind < 3 ? kind : 110 + rnd_below(20));
		else if (type == PST_K_IQ1_M)
			rnd_iq1_m_scale(p + 48, plain);
	}
}

static size_t fill_tables(struct pst_kernels tables[KTEST_NR_MASKS],
			  size_t first)
{
	size_t m, nr = 0;

	for (m = first; m < KTEST_NR_MASKS; m++)
		if (ktest_can_run(ktest_masks[m]))
			pst_kernels_init(&tables[nr++], ktest_masks[m]);
	return nr;
}

size_t kcheck_tables(struct pst_kernels tables[KTEST_NR_MASKS])
{
	return fill_tables(tables, 1);
}

size_t kcheck_all_tables(struct pst_kernels tables[KTEST_NR_MASKS])
{
	return fill_tables(tables, 0);
}

static void print_tables(void)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr = kcheck_all_tables(tables), m;

	printf("tables:");
	for (m = 0; m < nr; m++)
		printf(" %s", tables[m].name);
	printf("\n");
}

/* A row length, 0 if it is none. */
static uint32_t parse_n(const char *arg)
{
	long n = atol(arg);

	if (n <= 0 || n % 256 || n > 1 << 20) {
		fprintf(stderr, "n must be a multiple of 256\n");
		return 0;
	}
	return (uint32_t)n;
}

int main(int argc, char **argv)
{
	const char *seed = getenv("PENSTOCK_SEED");
	int failed = 0;
	uint32_t n;

	if (argc > 1 && !strcmp(argv[1], "--bench")) {
		n = parse_n(argc > 2 ? argv[2] : "2048");
		return n ? kcheck_bench(n, argc > 3 ? argv[3] : NULL,
					argc > 4 ? argv[4] : "1,4,32,128")
			 : 1;
	}
	if (argc > 2 && !strcmp(argv[1], "--threads")) {
		n = parse_n(argc > 3 ? argv[3] : "4096");
		return n ? kcheck_crew((uint32_t)atol(argv[2]), n,
				       argc > 4 ? argv[4] : NULL)
			 : 1;
	}
	if (argc == 6 && !strcmp(argv[1], "--once")) {
		n = parse_n(argv[3]);
		return n ? kcheck_once(argv[2], n, (uint32_t)atol(argv[4]),
				       (uint32_t)atol(argv[5]))
			 : 1;
	}
	rng_state = seed ? strtoull(seed, NULL, 0) : (uint64_t)time(NULL);
	printf("PENSTOCK_SEED=%llu\n", (unsigned long long)rng_state);
	print_tables();
	fflush(stdout);
	failed |= kcheck_mul_tests();
	failed |= kcheck_vector_tests();
	failed |= kcheck_attn_tests();
	failed |= kcheck_recur_tests();
	return failed ? 1 : 0;
}
