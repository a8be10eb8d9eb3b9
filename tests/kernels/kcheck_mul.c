// SPDX-License-Identifier: MIT
/*
 * Dequantisation and products of every type: against the reference, against
 * themselves in other batches, and between guard pages.
 *
 * Bound of a product: a sum of n terms in float, each wrong by a few roundings,
 * is wrong by at most about n u sum|w x| (u = 2^-24), and by sqrt(n) u sum|w x|
 * when the roundings are independent.  Kernels add in 8 or more partial sums
 * and multiply two or three scales: (8 + 2 sqrt(n)) u sum|w x| leaves a factor
 * of ten to what is seen, and a single wrong code or scale exceeds it.
 */
#include "kcheck.h"

enum {
	MAX_ROWS = 18,
	MAX_X = PST_K_PANEL_TOKENS + 3
};

/* One product with everything it needs between guard pages. */
struct setup {
	struct pst_kmul mul;
	struct pst_kact act;
	struct gbuf w, f32, q8, d, sum, y, scratch;
	uint32_t nr_act;
};

static const uint8_t *row_of(const struct setup *s, uint32_t r)
{
	return (const uint8_t *)s->mul.w + (size_t)r * s->mul.row_bytes;
}

/* |scale x code| + |minimum| of each weight: what a bound is scaled by. */
static void weight_mass(float *mass, const struct pst_ktype_ops *ref,
			enum pst_ktype type, const uint8_t *row, uint32_t n)
{
	uint32_t nr = n / ref->block_elems, min_hi = 0, i;
	uint8_t *flipped = malloc((size_t)nr * ref->block_bytes);
	float *other = malloc(n * sizeof(float));

	assert_non_null(flipped);
	assert_non_null(other);
	memcpy(flipped, row, (size_t)nr * ref->block_bytes);
	if (type == PST_K_Q4_K || type == PST_K_Q5_K || type == PST_K_Q4_1 ||
	    type == PST_K_Q5_1)
		min_hi = 3;
	else if (type == PST_K_Q2_K)
		min_hi = 83;
	/* With the sign of the minimum flipped, one of the two is the sum. */
	for (i = 0; i < nr && min_hi; i++)
		flipped[(size_t)i * ref->block_bytes + min_hi] ^= 0x80;
	ref->dequant(mass, row, n);
	ref->dequant(other, flipped, n);
	for (i = 0; i < n; i++)
		mass[i] = fmaxf(fabsf(mass[i]), fabsf(other[i]));
	free(other);
	free(flipped);
}

static void setup_get(struct setup *s, enum pst_ktype type,
		      const struct pst_kernels *ref, uint32_t n,
		      enum gbuf_side side)
{
	const struct pst_ktype_ops *ops = &ref->types[type];
	uint32_t stride = (n + 63) / 64 * 64, i;
	uint32_t nr_rows = s->mul.nr_rows, nr_act = s->nr_act;
	size_t row_bytes = (size_t)n / ops->block_elems * ops->block_bytes;

	gbuf_get(&s->w, row_bytes * nr_rows, 1, side);
	gbuf_get(&s->f32, (size_t)nr_act * stride * 4, 64, side);
	gbuf_get(&s->q8, (size_t)nr_act * stride, 64, side);
	gbuf_get(&s->d, (size_t)nr_act * (stride / 32) * 4, 4, side);
	gbuf_get(&s->sum, (size_t)nr_act * (stride / 32) * 4, 4, side);
	gbuf_get(&s->y, (size_t)s->mul.nr_x * nr_rows * 4, 4, side);
	gbuf_get(&s->scratch, pst_kmul_scratch_floats(n) * 4, 64, side);
	rnd_blocks(s->w.p, type, ops, row_bytes / ops->block_bytes * nr_rows,
		   false);
	s->act = (struct pst_kact){ s->f32.p, s->q8.p, s->d.p, s->sum.p,
				    stride };
	/* What lies past n must not matter: NaN, and codes of a pattern. */
	memset(s->f32.p, 0xff, s->f32.bytes);
	memset(s->d.p, 0xff, s->d.bytes);
	for (i = 0; i < nr_act; i++) {
		float *x = (float *)s->f32.p + (size_t)i * stride;

		rnd_activations(x, n);
		ref->quantize((int8_t *)s->q8.p + (size_t)i * stride,
			      (float *)s->d.p + (size_t)i * (stride / 32),
			      (int32_t *)s->sum.p + (size_t)i * (stride / 32),
			      x, n / 32 * 32);
	}
	s->mul.w = s->w.p;
	s->mul.row_bytes = row_bytes;
	s->mul.n = n;
	s->mul.x = &s->act;
	s->mul.y = s->y.p;
	s->mul.y_stride = nr_rows;
	s->mul.scratch = s->scratch.p;
}

static void setup_put(struct setup *s)
{
	gbuf_put(&s->w);
	gbuf_put(&s->f32);
	gbuf_put(&s->q8);
	gbuf_put(&s->d);
	gbuf_put(&s->sum);
	gbuf_put(&s->y);
	gbuf_put(&s->scratch);
}

/* sum |w x|, x as the kernel sees it */
static double pair_mass(const struct setup *s, enum pst_kact_kind act,
			const float *mass, uint32_t x_row)
{
	const size_t stride = s->act.stride;
	const float *f32 = s->act.f32 + x_row * stride;
	const int8_t *q8 = s->act.q8 + x_row * stride;
	const float *d = s->act.d + x_row * (stride / 32);
	double sum = 0;
	uint32_t i;

	for (i = 0; i < s->mul.n; i++) {
		double x = (double)f32[i];

		if (act == PST_KACT_Q8)
			x = (double)q8[i] * (double)d[i / 32];
		sum += fabs((double)mass[i] * x);
	}
	return sum;
}

/* The result of one table within the bound of every pair. */
static void compare(const struct setup *s, const struct ktest_type *t,
		    const struct pst_ktype_ops *ref, const char *isa,
		    const float *want)
{
	uint32_t n = s->mul.n, nr_rows = s->mul.nr_rows, r, i;
	float *mass = malloc(n * sizeof(float));

	assert_non_null(mass);
	for (r = 0; r < nr_rows; r++) {
		weight_mass(mass, ref, t->type, row_of(s, r), n);
		for (i = 0; i < s->mul.nr_x; i++) {
			size_t at = (size_t)i * nr_rows + r;
			double got = (double)s->mul.y[at];
			double err = fabs(got - (double)want[at]);
			double bound = (8 + 2 * sqrt(n)) * KCHECK_U *
				       pair_mass(s, ref->act, mass, i);

			if (!(err <= bound + 1e-37))
				fail_msg("%s %s n %u row %u token %u: %g, "
					 "not %g: %.3g of the bound",
					 isa, t->name, n, r, i, got,
					 (double)want[at], err / bound);
		}
	}
	free(mass);
}

/* One shape: every table against the reference. */
static void check_shape(const struct ktest_type *t, uint32_t n,
			uint32_t nr_rows, uint32_t nr_x, enum gbuf_side side)
{
	struct setup s = { .mul = { .nr_rows = nr_rows, .nr_x = nr_x },
			   .nr_act = nr_x };
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), m;
	float *want = malloc((size_t)nr_x * nr_rows * sizeof(float));

	assert_non_null(want);
	pst_kernels_init(&ref, 0);
	setup_get(&s, t->type, &ref, n, side);
	ref.types[t->type].mul(&s.mul);
	memcpy(want, s.mul.y, s.y.bytes);
	for (m = 0; m < nr_tables; m++) {
		const struct pst_ktype_ops *ops = &tables[m].types[t->type];

		assert_int_equal(ops->act, ref.types[t->type].act);
		memset(s.mul.y, 0xff, s.y.bytes);
		ops->mul(&s.mul);
		compare(&s, t, &ref.types[t->type], tables[m].name, want);
	}
	setup_put(&s);
	free(want);
}

/* Row lengths of a type: all blocks up to 4096, or odd lengths. */
static uint32_t next_n(const struct pst_ktype_ops *ops, uint32_t n)
{
	if (ops->block_elems > 1)
		return n + ops->block_elems;
	if (n < 70)
		return n + 1;
	return n + 509;
}

static void mul_stays_near_the_reference_at_every_length(void **state)
{
	struct pst_kernels ref;
	uint32_t n;
	size_t i;
	int side;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		const struct pst_ktype_ops *ops =
			&ref.types[ktest_types[i].type];

		for (n = next_n(ops, 0); n <= 4096; n = next_n(ops, n))
			for (side = 0; side < GBUF_NR_SIDES; side++)
				check_shape(&ktest_types[i], n,
					    1 + rnd_below(2), 1 + rnd_below(5),
					    (enum gbuf_side)side);
	}
}

/* All remainders of tiles, for lengths with and without a tail. */
static void mul_stays_near_the_reference_at_every_shape(void **state)
{
	static const uint32_t nr_xs[] = { 1, 2, 3, 4, 5, 7, 8, 17, MAX_X };
	static const uint32_t rows[] = { 1, 2, 3, 4, 5, 7, 13, 18 };
	struct pst_kernels ref;
	size_t t, i, r;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (t = 0; t < KTEST_NR_TYPES; t++) {
		uint32_t elems = ref.types[ktest_types[t].type].block_elems;
		uint32_t n = elems == 1 ? 301 : elems == 32 ? 288 : 512;

		for (i = 0; i < PST_ARRAY_SIZE(nr_xs); i++)
			for (r = 0; r < PST_ARRAY_SIZE(rows); r++)
				check_shape(&ktest_types[t], n, rows[r],
					    nr_xs[i], GBUF_END);
	}
}

/* The pair (row @r, activation @x_row) alone. */
static float mul_one(const struct setup *s, const struct pst_ktype_ops *ops,
		     uint32_t r, uint32_t x_row)
{
	struct pst_kmul one = s->mul;
	float y = -1;

	one.w = row_of(s, r);
	one.nr_rows = 1;
	one.nr_x = 1;
	one.idx = &x_row;
	one.y = &y;
	one.y_stride = 1;
	ops->mul(&one);
	return y;
}

/* The first @nr_x of a permutation in which activations repeat. */
static void check_batch(struct setup *s, const struct pst_ktype_ops *ops,
			const float *alone, uint32_t nr_x)
{
	uint32_t nr_rows = s->mul.nr_rows, idx[MAX_X], i, r;
	struct pst_kmul batch = s->mul;

	for (i = 0; i < nr_x; i++)
		idx[i] = rnd_below(s->nr_act);
	batch.idx = idx;
	batch.nr_x = nr_x;
	batch.nr_rows = 1 + rnd_below(nr_rows);
	memset(s->mul.y, 0xff, s->y.bytes);
	ops->mul(&batch);
	for (i = 0; i < MAX_X; i++) {
		for (r = 0; r < nr_rows; r++) {
			float y = s->mul.y[(size_t)i * s->mul.y_stride + r];

			if (i >= nr_x || r >= batch.nr_rows)
				assert_true(isnan(y)); /* not written */
			else
				assert_memory_equal(
					&y, &alone[idx[i] * nr_rows + r],
					sizeof(y));
		}
	}
}

/* Batches of rows of @n, of every size from @fewest. */
static void check_batches(enum pst_ktype type, uint32_t n, uint32_t fewest)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	float alone[MAX_X * MAX_ROWS];
	struct setup s = { .mul = { .nr_rows = MAX_ROWS, .nr_x = MAX_X },
			   .nr_act = MAX_X };
	uint32_t i, r;

	pst_kernels_init(&ref, 0);
	setup_get(&s, type, &ref, n, GBUF_END);
	for (m = 0; m < nr_tables; m++) {
		const struct pst_ktype_ops *ops = &tables[m].types[type];

		for (i = 0; i < MAX_X; i++)
			for (r = 0; r < MAX_ROWS; r++)
				alone[i * MAX_ROWS + r] =
					mul_one(&s, ops, r, i);
		for (i = fewest; i <= MAX_X; i++)
			check_batch(&s, ops, alone, i);
	}
	setup_put(&s);
}

static void mul_of_a_pair_has_the_same_bits_in_any_batch(void **state)
{
	struct pst_kernels ref;
	size_t t;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (t = 0; t < KTEST_NR_TYPES; t++) {
		enum pst_ktype type = ktest_types[t].type;
		uint32_t elems = ref.types[type].block_elems;

		check_batches(type,
			      elems == 1    ? 1013
			      : elems == 32 ? 2336
					    : 1280,
			      1);
	}
}

/* Rows so long that fewer tokens than usual fit into the scratch. */
static void mul_of_a_long_row_has_the_same_bits_in_a_batch(void **state)
{
	const uint32_t n = 64 * 1024;

	(void)state;
	assert_in_range(pst_kmul_panel_tokens(n, PST_K_PANEL_BYTES),
			PST_K_PANEL_FEWEST, PST_K_PANEL_TOKENS - 1);
	check_batches(PST_K_Q8_0, n + 32, MAX_X);
	check_batches(PST_K_Q6_K, n, MAX_X);
}

/* Rows of @parity are made NaN: the others' results stay as in @want. */
static void check_neighbours(struct setup *s, const struct pst_ktype_ops *ops,
			     const float *want, uint32_t parity)
{
	uint32_t nr_rows = s->mul.nr_rows, i, r;
	uint8_t *kept = malloc(s->w.bytes);

	assert_non_null(kept);
	memcpy(kept, s->w.p, s->w.bytes);
	for (r = parity; r < nr_rows; r += 2)
		memset((uint8_t *)s->w.p + r * s->mul.row_bytes, 0xff,
		       s->mul.row_bytes);
	ops->mul(&s->mul);
	for (i = 0; i < s->mul.nr_x; i++)
		for (r = 1 - parity; r < nr_rows; r += 2)
			assert_memory_equal(&s->mul.y[i * nr_rows + r],
					    &want[i * nr_rows + r],
					    sizeof(*want));
	memcpy(s->w.p, kept, s->w.bytes);
	free(kept);
}

static void mul_of_a_row_does_not_see_the_rows_beside_it(void **state)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), t, m;
	uint32_t nr_x;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (t = 0; t < KTEST_NR_TYPES; t++) {
		enum pst_ktype type = ktest_types[t].type;
		uint32_t n = 256 + ref.types[type].block_elems;

		for (nr_x = 1; nr_x <= 3; nr_x++) {
			struct setup s = { .mul = { .nr_rows = MAX_ROWS,
						    .nr_x = nr_x },
					   .nr_act = nr_x };
			float want[3 * MAX_ROWS];

			setup_get(&s, type, &ref, n, GBUF_END);
			for (m = 0; m < nr_tables; m++) {
				const struct pst_ktype_ops *ops =
					&tables[m].types[type];

				ops->mul(&s.mul);
				memcpy(want, s.mul.y, s.y.bytes);
				check_neighbours(&s, ops, want, 0);
				check_neighbours(&s, ops, want, 1);
			}
			setup_put(&s);
		}
	}
}

static void mul_does_not_ask_for_aligned_weights(void **state)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), t, m, shift;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (t = 0; t < KTEST_NR_TYPES; t++) {
		struct setup s = { .mul = { .nr_rows = 5, .nr_x = 1 },
				   .nr_act = 1 };
		enum pst_ktype type = ktest_types[t].type;
		float want[5];
		uint8_t *copy;

		setup_get(&s, type, &ref, 512, GBUF_START);
		copy = malloc(s.w.bytes + 64);
		assert_non_null(copy);
		for (m = 0; m < nr_tables; m++) {
			s.mul.w = s.w.p;
			tables[m].types[type].mul(&s.mul);
			memcpy(want, s.mul.y, sizeof(want));
			for (shift = 1; shift < 64; shift += 2) {
				memcpy(copy + shift, s.w.p, s.w.bytes);
				s.mul.w = copy + shift;
				tables[m].types[type].mul(&s.mul);
				assert_memory_equal(s.mul.y, want,
						    sizeof(want));
			}
		}
		free(copy);
		setup_put(&s);
	}
}

/* Bytes of a block, the bits of them that stay random, and bits that are set:
 * what makes scales small. */
static const struct exact_bytes {
	enum pst_ktype type;
	int at, nr, step;
	uint8_t keep, set;
} exact_bytes[] = {
	{ PST_K_MXFP4, 0, 1, 1, 0, 125 },
	{ PST_K_NVFP4, 0, 4, 1, 0x08, 0x30 },
	{ PST_K_Q4_K, 4, 8, 1, 0x03, 0 },
	{ PST_K_Q4_K, 12, 4, 1, 0x33, 0 },
	{ PST_K_Q5_K, 4, 8, 1, 0x03, 0 },
	{ PST_K_Q5_K, 12, 4, 1, 0x33, 0 },
	{ PST_K_IQ4_XS, 2, 2, 1, 0, 0xaa },
	{ PST_K_IQ4_XS, 4, 4, 1, 0x11, 0 },
	{ PST_K_IQ2_XXS, 9, 8, 8, 0x1f, 0 },
	{ PST_K_IQ2_XS, 66, 8, 1, 0x11, 0 },
	{ PST_K_IQ2_S, 74, 8, 1, 0x11, 0 },
	{ PST_K_IQ3_XXS, 69, 8, 4, 0x1f, 0 },
	{ PST_K_IQ3_S, 106, 4, 1, 0x11, 0 },
	{ PST_K_IQ1_S, 35, 8, 2, 0x9f, 0 },
	{ PST_K_IQ1_M, 48, 4, 2, 0x49, 0 },
	{ PST_K_IQ1_M, 49, 3, 2, 0x02, 0 },
	{ PST_K_IQ1_M, 55, 1, 1, 0x02, 0x30 },
};

/* Scales of a block that are small multiples of a power of two. */
static void exact_block(uint8_t *p, enum pst_ktype type)
{
	const uint16_t h = 0x3000; /* 2^-3 */
	int off[2], j;
	size_t i;

	kcheck_scale_offsets(type, off);
	for (j = 0; j < 2; j++)
		if (off[j] >= 0)
			memcpy(p + off[j], &h, sizeof(h));
	for (i = 0; i < PST_ARRAY_SIZE(exact_bytes); i++) {
		const struct exact_bytes *e = &exact_bytes[i];

		for (j = 0; e->type == type && j < e->nr; j++) {
			uint8_t *b = p + e->at + j * e->step;

			*b = (uint8_t)((*b & e->keep) | e->set);
		}
	}
	for (j = 0; type == PST_K_Q6_K && j < 16; j++)
		p[192 + j] = (uint8_t)(int8_t)((int)rnd_below(7) - 3);
}

/* The same of all weights and activations, so that float sums are exact. */
static void exact_scales(struct setup *s, enum pst_ktype type,
			 const struct pst_ktype_ops *ops)
{
	size_t nr = s->w.bytes / ops->block_bytes, i;

	for (i = 0; i < nr; i++)
		exact_block((uint8_t *)s->w.p + i * ops->block_bytes, type);
	for (i = 0; i < s->d.bytes / sizeof(float); i++)
		((float *)s->d.p)[i] = 0x1p-5f;
}

/* 512 weights: the largest partial sum of codes stays below 2^24. */
static void integer_parts_are_exact_in_every_table(void **state)
{
	static const enum pst_ktype types[] = {
		PST_K_Q8_0,    PST_K_Q4_0,    PST_K_Q4_1,   PST_K_Q5_0,
		PST_K_Q5_1,    PST_K_IQ4_NL,  PST_K_MXFP4,  PST_K_Q2_K,
		PST_K_Q3_K,    PST_K_Q4_K,    PST_K_Q5_K,   PST_K_Q6_K,
		PST_K_IQ4_XS,  PST_K_IQ2_XXS, PST_K_IQ2_XS, PST_K_IQ2_S,
		PST_K_IQ3_XXS, PST_K_IQ3_S,   PST_K_IQ1_S,  PST_K_IQ1_M,
		PST_K_TQ1_0,   PST_K_TQ2_0,   PST_K_NVFP4,  PST_K_Q1_0,
		PST_K_Q2_0,
	};
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), t, m, round;
	float want[15];

	(void)state;
	pst_kernels_init(&ref, 0);
	for (t = 0; t < PST_ARRAY_SIZE(types); t++)
		for (round = 0; round < 50; round++) {
			struct setup s = { .mul = { .nr_rows = 5, .nr_x = 3 },
					   .nr_act = 3 };
			const struct pst_ktype_ops *ops = &ref.types[types[t]];

			setup_get(&s, types[t], &ref, 512, GBUF_END);
			exact_scales(&s, types[t], ops);
			ops->mul(&s.mul);
			memcpy(want, s.mul.y, sizeof(want));
			for (m = 0; m < nr_tables; m++) {
				tables[m].types[types[t]].mul(&s.mul);
				assert_memory_equal(s.mul.y, want,
						    sizeof(want));
			}
			setup_put(&s);
		}
}

static void check_dequant(const struct ktest_type *t, uint32_t n,
			  enum gbuf_side side)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), m;
	float *want = malloc(n * sizeof(float));
	const struct pst_ktype_ops *ops;
	struct gbuf w, y;
	uint32_t nr;

	assert_non_null(want);
	pst_kernels_init(&ref, 0);
	ops = &ref.types[t->type];
	nr = n / ops->block_elems;
	gbuf_get(&w, (size_t)nr * ops->block_bytes, 1, side);
	gbuf_get(&y, (size_t)n * sizeof(float), 4, side);
	rnd_blocks(w.p, t->type, ops, nr, false);
	ops->dequant(want, w.p, n);
	for (m = 0; m < nr_tables; m++) {
		memset(y.p, 0xff, y.bytes);
		tables[m].types[t->type].dequant(y.p, w.p, n);
		if (memcmp(y.p, want, y.bytes))
			fail_msg("%s %s n %u differs", tables[m].name, t->name,
				 n);
	}
	gbuf_put(&w);
	gbuf_put(&y);
	free(want);
}

static void dequant_has_the_bits_of_the_reference(void **state)
{
	struct pst_kernels ref;
	uint32_t n;
	size_t i;
	int side;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		const struct pst_ktype_ops *ops =
			&ref.types[ktest_types[i].type];

		for (n = next_n(ops, 0); n <= 4096; n = next_n(ops, n))
			for (side = 0; side < GBUF_NR_SIDES; side++)
				check_dequant(&ktest_types[i], n,
					      (enum gbuf_side)side);
	}
}

/* Far from every row of the table, so that each number is read. */
static const struct pst_kconfig odd_configs[] = {
	{ "none", 0, 1, 0, 1 },
	{ "far", 1 << 20, 1 << 20, 1 << 20, PST_K_PANEL_BYTES },
	{ "few", 64, 300, 64, 8 * PST_K_PANEL_GROUP_BYTES },
};

static void check_configs(const struct pst_ktype_ops *ops, struct setup *s,
			  uint32_t nr_x)
{
	const uint32_t nr_rows = s->mul.nr_rows;
	float want[MAX_X * MAX_ROWS];
	size_t i;

	s->mul.nr_x = nr_x;
	s->mul.config = NULL;
	ops->mul(&s->mul);
	memcpy(want, s->mul.y, nr_x * nr_rows * sizeof(*want));
	for (i = 0; i < sizeof(odd_configs) / sizeof(*odd_configs); i++) {
		memset(s->mul.y, 0xff, s->y.bytes);
		s->mul.config = &odd_configs[i];
		ops->mul(&s->mul);
		assert_memory_equal(s->mul.y, want,
				    nr_x * nr_rows * sizeof(*want));
	}
	s->mul.config = NULL;
}

static void mul_has_the_same_bits_with_any_configuration(void **state)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m, i;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		struct setup s = { .mul = { .nr_rows = MAX_ROWS,
					    .nr_x = MAX_X },
				   .nr_act = MAX_X };

		setup_get(&s, ktest_types[i].type, &ref, 4096, GBUF_END);
		s.mul.idx = NULL;
		for (m = 0; m < nr_tables; m++) {
			const struct pst_ktype_ops *ops =
				&tables[m].types[ktest_types[i].type];

			check_configs(ops, &s, 1);
			check_configs(ops, &s, MAX_X);
		}
		setup_put(&s);
	}
}

static bool is_config(const char *name, enum pst_kcpu_vendor vendor,
		      uint32_t family, uint32_t model)
{
	struct pst_kcpu cpu = { vendor, family, model };

	return !strcmp(pst_kconfig_of(&cpu)->name, name);
}

static void a_cpu_finds_its_configuration_by_family_and_model(void **state)
{
	(void)state;
	assert_true(is_config("zen5", PST_KCPU_AMD, 0x1a, 2));
	assert_true(is_config("zen4", PST_KCPU_AMD, 0x19, 0x61));
	assert_true(is_config("zen", PST_KCPU_AMD, 0x19, 0x21));
	assert_true(is_config("intel-server", PST_KCPU_INTEL, 6, 0x8f));
	assert_true(is_config("intel-256k", PST_KCPU_INTEL, 6, 0x8e));
	assert_true(is_config("default", PST_KCPU_INTEL, 6, 0x01));
	assert_true(is_config("default", PST_KCPU_AMD, 6, 0x8f));
	assert_true(is_config("default", PST_KCPU_OTHER, 0x1a, 2));
}

/* A larger panel would not fit into the scratch that callers give. */
static void every_configuration_fits_into_the_scratch(void **state)
{
	struct pst_kernels k;
	uint32_t nr = 0, own = 0, i;

	(void)state;
	pst_kernels_init(&k, 0);
	for (; pst_kconfig_at(nr); nr++) {
		const struct pst_kconfig *c = pst_kconfig_at(nr);

		own += c == k.config;
		assert_in_range(c->panel_bytes, 1, PST_K_PANEL_BYTES);
		for (i = 0; i < nr; i++)
			assert_true(strcmp(c->name, pst_kconfig_at(i)->name));
	}
	assert_int_equal(own, 1);
}

/* Infinities and NaN included: all there are. */
static void every_half_is_decoded_as_in_the_reference(void **state)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), m;
	static uint16_t all[0x10000];
	static float want[0x10000], got[0x10000];
	uint32_t i;

	(void)state;
	pst_kernels_init(&ref, 0);
	for (i = 0; i < 0x10000; i++)
		all[i] = (uint16_t)i;
	ref.types[PST_K_F16].dequant(want, all, 0x10000);
	assert_true(want[0x3c00] == 1 && want[0x0001] == 0x1p-24f &&
		    want[0xfbff] == -65504 && isinf(want[0x7c00]) &&
		    isnan(want[0x7c01]));
	for (m = 0; m < nr_tables; m++) {
		tables[m].types[PST_K_F16].dequant(got, all, 0x10000);
		assert_memory_equal(got, want, sizeof(want));
	}
}

/* e = 0 and 1 give float denormals, 255 is a power of two like any other. */
static void mxfp4_scales_are_powers_of_two(void **state)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	uint8_t block[17] = { 0, [1] = 0x91 }; /* codes 1 and 9: 1 and -1 */
	float y[32];
	int e;

	(void)state;
	for (m = 0; m < nr_tables; m++)
		for (e = 0; e < 256; e++) {
			block[0] = (uint8_t)e;
			tables[m].types[PST_K_MXFP4].dequant(y, block, 32);
			assert_true(y[0] == ldexpf(1, e - 128));
			assert_true(y[16] == -ldexpf(1, e - 128));
			assert_true(y[1] == 0);
		}
}

static void a_type_outside_of_the_list_is_marked_unsupported(void **state)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m, i;
	uint32_t type;

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		uint32_t nr = 0;

		for (type = 0; type < PST_KTYPE_COUNT; type++)
			nr += tables[m].types[type].block_elems != 0;
		assert_int_equal(nr, KTEST_NR_TYPES);
		for (i = 0; i < KTEST_NR_TYPES; i++) {
			const struct pst_ktype_ops *ops =
				&tables[m].types[ktest_types[i].type];

			assert_true(ops->block_elems && ops->block_bytes);
			assert_true(ops->dequant && ops->mul);
		}
	}
}

int kcheck_mul_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			a_type_outside_of_the_list_is_marked_unsupported),
		cmocka_unit_test(dequant_has_the_bits_of_the_reference),
		cmocka_unit_test(every_half_is_decoded_as_in_the_reference),
		cmocka_unit_test(mxfp4_scales_are_powers_of_two),
		cmocka_unit_test(mul_stays_near_the_reference_at_every_length),
		cmocka_unit_test(mul_stays_near_the_reference_at_every_shape),
		cmocka_unit_test(mul_of_a_pair_has_the_same_bits_in_any_batch),
		cmocka_unit_test(
			mul_of_a_long_row_has_the_same_bits_in_a_batch),
		cmocka_unit_test(mul_has_the_same_bits_with_any_configuration),
		cmocka_unit_test(
			a_cpu_finds_its_configuration_by_family_and_model),
		cmocka_unit_test(every_configuration_fits_into_the_scratch),
		cmocka_unit_test(mul_of_a_row_does_not_see_the_rows_beside_it),
		cmocka_unit_test(mul_does_not_ask_for_aligned_weights),
		cmocka_unit_test(integer_parts_are_exact_in_every_table),
	};

	return cmocka_run_group_tests_name("mul", tests, NULL, NULL);
}
