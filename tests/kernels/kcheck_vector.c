// SPDX-License-Identifier: MIT
/*
 * The operations on rows of floats: quantize and f32_to_f16 have the bits of
 * the reference, the others a few roundings (u = 2^-24) of each value.
 */
#include "kcheck.h"

enum {
	MAX_N = 4100
};

/* The tables, the reference among them, and vectors between guard pages. */
struct setup {
	struct pst_kernels ref;
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables;
	struct gbuf a, b, out;
	float *x, *z, *y; /* [n] in a, b and out */
	float want[MAX_N];
};

static void setup_get(struct setup *s, uint32_t n, enum gbuf_side side)
{
	uint32_t i;

	pst_kernels_init(&s->ref, 0);
	s->nr_tables = kcheck_tables(s->tables);
	gbuf_get(&s->a, n * sizeof(float), 4, side);
	gbuf_get(&s->b, n * sizeof(float), 4, side);
	gbuf_get(&s->out, n * sizeof(float), 4, side);
	s->x = s->a.p;
	s->z = s->b.p;
	s->y = s->out.p;
	for (i = 0; i < n; i++) {
		s->x[i] = rnd_normal() * 3;
		s->z[i] = rnd_normal();
	}
}

static void setup_put(struct setup *s)
{
	gbuf_put(&s->a);
	gbuf_put(&s->b);
	gbuf_put(&s->out);
}

typedef void (*check_fn)(struct setup *s, uint32_t n);

/* Short lengths all, then odd strides; at both guard pages. */
static void at_every_length(check_fn check, uint32_t step)
{
	struct setup *s = calloc(1, sizeof(*s));
	uint32_t n;
	int side;

	assert_non_null(s);
	for (n = step; n <= 4096; n += n < 130 ? step : 331 * step)
		for (side = 0; side < GBUF_NR_SIDES; side++) {
			setup_get(s, n, (enum gbuf_side)side);
			check(s, n);
			setup_put(s);
		}
	free(s);
}

static void expect(float got, float want, double bound, const char *isa,
		   uint32_t i)
{
	if (!(fabs((double)got - (double)want) <= bound))
		fail_msg("%s: value %u is %a, not %a", isa, i, (double)got,
			 (double)want);
}

static void check_rms_norm(struct setup *s, uint32_t n)
{
	double bound = (8 + n / 32.0) * KCHECK_U;
	size_t m;
	uint32_t i;
	int weighted;

	for (weighted = 0; weighted < 2; weighted++)
		for (m = 0; m < s->nr_tables; m++) {
			const float *w = weighted ? s->z : NULL;

			s->ref.rms_norm(s->want, s->x, w, n, 1e-5f);
			memcpy(s->y, s->x, n * sizeof(float));
			s->tables[m].rms_norm(s->y, s->y, w, n, 1e-5f);
			for (i = 0; i < n; i++)
				expect(s->y[i], s->want[i],
				       bound * fabs((double)s->want[i]),
				       s->tables[m].name, i);
		}
}

static void rms_norm_works_in_place_and_without_weights(void **state)
{
	(void)state;
	at_every_length(check_rms_norm, 1);
}

static void check_swiglu(struct setup *s, uint32_t n)
{
	size_t m;
	uint32_t i;

	for (i = 0; i < n; i += 5)
		s->x[i] *= 40; /* where exp overflows or vanishes */
	for (m = 0; m < s->nr_tables; m++) {
		s->ref.swiglu(s->want, s->x, s->z, n);
		memcpy(s->y, s->x, n * sizeof(float));
		s->tables[m].swiglu(s->y, s->y, s->z, n);
		for (i = 0; i < n; i++)
			expect(s->y[i], s->want[i],
			       8 * KCHECK_U * fabs((double)s->want[i]) +
				       1e-35 * fabs((double)s->z[i]),
			       s->tables[m].name, i);
	}
}

static void swiglu_is_right_to_a_few_ulp(void **state)
{
	(void)state;
	at_every_length(check_swiglu, 1);
}

static void check_gate(struct setup *s, uint32_t n)
{
	size_t m;
	uint32_t i;

	for (i = 0; i < n; i += 5)
		s->x[i] *= 40;
	for (m = 0; m < s->nr_tables; m++) {
		s->ref.gate(s->want, s->x, s->z, n);
		memcpy(s->y, s->z, n * sizeof(float));
		s->tables[m].gate(s->y, s->x, s->y, n);
		for (i = 0; i < n; i++)
			expect(s->y[i], s->want[i],
			       8 * KCHECK_U * fabs((double)s->want[i]) +
				       1e-35 * fabs((double)s->z[i]),
			       s->tables[m].name, i);
	}
}

static void gate_is_right_to_a_few_ulp(void **state)
{
	(void)state;
	at_every_length(check_gate, 1);
}

static void check_add(struct setup *s, uint32_t n)
{
	size_t m;
	uint32_t i;

	for (m = 0; m < s->nr_tables; m++) {
		memcpy(s->y, s->z, n * sizeof(float));
		s->tables[m].add(s->y, s->x, n);
		for (i = 0; i < n; i++)
			assert_true(s->y[i] == s->z[i] + s->x[i]);
		memcpy(s->y, s->z, n * sizeof(float));
		memcpy(s->want, s->z, n * sizeof(float));
		s->ref.axpy(s->want, 0.3f, s->x, n);
		s->tables[m].axpy(s->y, 0.3f, s->x, n);
		for (i = 0; i < n; i++)
			expect(s->y[i], s->want[i],
			       2 * KCHECK_U *
				       (fabs((double)s->x[i]) +
					fabs((double)s->z[i])),
			       s->tables[m].name, i);
	}
}

static void add_is_exact_and_axpy_nearly(void **state)
{
	(void)state;
	at_every_length(check_add, 1);
}

static void check_softmax(struct setup *s, uint32_t n)
{
	float max = -INFINITY;
	size_t m;
	uint32_t i;

	for (i = 0; i < n; i++) {
		s->x[i] *= 10;
		if (i % 7 == 3)
			s->x[i] = -INFINITY; /* a masked position */
		max = fmaxf(max, s->x[i]);
	}
	memcpy(s->want, s->x, n * sizeof(float));
	s->ref.softmax(s->want, n);
	for (m = 0; m < s->nr_tables; m++) {
		memcpy(s->y, s->x, n * sizeof(float));
		s->tables[m].softmax(s->y, n);
		for (i = 0; i < n; i++) {
			double far = fmin((double)(max - s->x[i]), 200);

			/* The difference is rounded before e is raised. */
			expect(s->y[i], s->want[i],
			       (16 + far + n / 16.0) * KCHECK_U *
					       (double)s->want[i] +
				       1e-37,
			       s->tables[m].name, i);
		}
	}
}

static void softmax_takes_masked_positions(void **state)
{
	(void)state;
	at_every_length(check_softmax, 1);
}

static void check_rope(struct setup *s, uint32_t n)
{
	size_t m;
	uint32_t i;
	int neox;

	for (neox = 0; neox < 2; neox++) {
		memcpy(s->want, s->x, n * sizeof(float));
		(neox ? s->ref.rope_neox : s->ref.rope_norm)(s->want, s->z, n);
		for (m = 0; m < s->nr_tables; m++) {
			const struct pst_kernels *k = &s->tables[m];

			memcpy(s->y, s->x, n * sizeof(float));
			(neox ? k->rope_neox : k->rope_norm)(s->y, s->z, n);
			for (i = 0; i < n; i++) {
				uint32_t p = neox ? i % (n / 2) : i / 2;
				uint32_t a = neox ? p : 2 * p;
				uint32_t b = neox ? p + n / 2 : 2 * p + 1;
				double x = fabs((double)s->x[a]) +
					   fabs((double)s->x[b]);
				double c = fabs((double)s->z[2 * p]) +
					   fabs((double)s->z[2 * p + 1]);

				expect(s->y[i], s->want[i],
				       3 * KCHECK_U * x * c, k->name, i);
			}
		}
	}
}

static void both_rotations_are_those_of_the_reference(void **state)
{
	(void)state;
	at_every_length(check_rope, 2);
}

static void rotation_by_a_quarter_swaps_a_pair(void **state)
{
	struct pst_kernels k;
	float cs[4] = { 0, 1, 1, 0 }, norm[4] = { 1, 2, 3, 4 };
	float neox[4] = { 1, 2, 3, 4 };

	(void)state;
	pst_kernels_init(&k, 0);
	k.rope_norm(norm, cs, 4);
	assert_true(norm[0] == -2 && norm[1] == 1 && norm[2] == 3 &&
		    norm[3] == 4);
	k.rope_neox(neox, cs, 4);
	assert_true(neox[0] == -3 && neox[2] == 1 && neox[1] == 2 &&
		    neox[3] == 4);
}

static void check_quantize(struct setup *s, uint32_t n)
{
	static int8_t want[MAX_N];
	float want_d[MAX_N / 32];
	int32_t want_sum[MAX_N / 32];
	struct gbuf q, d, sum;
	size_t m;

	gbuf_get(&q, n, 1, GBUF_END);
	gbuf_get(&d, n / 32 * sizeof(float), 4, GBUF_END);
	gbuf_get(&sum, n / 32 * sizeof(int32_t), 4, GBUF_END);
	rnd_activations(s->x, n);
	if (rnd_below(3) == 0)
		s->x[rnd_below(n)] = rnd_below(2) ? INFINITY : NAN;
	s->ref.quantize(want, want_d, want_sum, s->x, n);
	for (m = 0; m < s->nr_tables; m++) {
		s->tables[m].quantize(q.p, d.p, sum.p, s->x, n);
		assert_memory_equal(q.p, want, q.bytes);
		assert_memory_equal(d.p, want_d, d.bytes);
		assert_memory_equal(sum.p, want_sum, sum.bytes);
	}
	gbuf_put(&q);
	gbuf_put(&d);
	gbuf_put(&sum);
}

static void quantize_has_the_bits_of_the_reference(void **state)
{
	int round;

	(void)state;
	for (round = 0; round < 20; round++)
		at_every_length(check_quantize, 32);
}

static void quantize_rounds_to_even_and_sums_its_codes(void **state)
{
	float x[64] = { 127, 0.5f, 1.5f, 2.5f, -0.5f, -1.5f, -127, 3.49f };
	struct pst_kernels k;
	int32_t sum[2];
	int8_t q[64];
	float d[2];

	(void)state;
	pst_kernels_init(&k, 0);
	k.quantize(q, d, sum, x, 64);
	assert_true(d[0] == 1 && d[1] == 0);
	assert_true(q[0] == 127 && q[1] == 0 && q[2] == 2 && q[3] == 2);
	assert_true(q[4] == 0 && q[5] == -2 && q[6] == -127 && q[7] == 3);
	assert_int_equal(sum[0], 5);
	assert_int_equal(sum[1], 0);
}

static void a_nan_activation_spoils_its_block(void **state)
{
	float x[64] = { 1, 2, NAN, [40] = -INFINITY };
	struct pst_kernels k;
	int32_t sum[2];
	int8_t q[64];
	float d[2];

	(void)state;
	pst_kernels_init(&k, 0);
	k.quantize(q, d, sum, x, 64);
	assert_true(isnan(d[0]) && isinf(d[1]));
	assert_true(sum[0] == 0 && sum[1] == 0);
}

static void check_f16(struct setup *s, uint32_t n)
{
	uint16_t want[MAX_N];
	struct gbuf h;
	uint32_t i;
	size_t m;

	gbuf_get(&h, n * sizeof(uint16_t), 1, GBUF_END);
	for (i = 0; i < n; i++) {
		uint32_t bits = (uint32_t)pst_rng_next(kcheck_rng());

		if (i % 4) /* most floats are out of the range of a half */
			bits = (bits & 0x8fffffff) | 0x30000000;
		memcpy(s->x + i, &bits, sizeof(bits));
		if (i % 8 == 7)
			s->x[i] = (float)(int)rnd_below(4096) * 0x1p-25f;
	}
	s->ref.f32_to_f16(want, s->x, n);
	for (m = 0; m < s->nr_tables; m++) {
		s->tables[m].f32_to_f16(h.p, s->x, n);
		assert_memory_equal(h.p, want, h.bytes);
	}
	gbuf_put(&h);
}

static void halves_have_the_bits_of_the_reference(void **state)
{
	int round;

	(void)state;
	for (round = 0; round < 10; round++)
		at_every_length(check_f16, 1);
}

static void every_half_survives_the_way_to_float_and_back(void **state)
{
	static uint16_t all[0x10000], back[0x10000];
	static float f[0x10000];
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	uint32_t i;

	(void)state;
	for (i = 0; i < 0x10000; i++)
		all[i] = (uint16_t)i;
	for (m = 0; m < nr_tables; m++) {
		tables[m].types[PST_K_F16].dequant(f, all, 0x10000);
		tables[m].f32_to_f16(back, f, 0x10000);
		for (i = 0; i < 0x10000; i++)
			if (isnan(f[i]))
				assert_int_equal(back[i], i | 0x200);
			else
				assert_int_equal(back[i], i);
	}
}

int kcheck_vector_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(rms_norm_works_in_place_and_without_weights),
		cmocka_unit_test(swiglu_is_right_to_a_few_ulp),
		cmocka_unit_test(gate_is_right_to_a_few_ulp),
		cmocka_unit_test(add_is_exact_and_axpy_nearly),
		cmocka_unit_test(softmax_takes_masked_positions),
		cmocka_unit_test(both_rotations_are_those_of_the_reference),
		cmocka_unit_test(rotation_by_a_quarter_swaps_a_pair),
		cmocka_unit_test(quantize_has_the_bits_of_the_reference),
		cmocka_unit_test(quantize_rounds_to_even_and_sums_its_codes),
		cmocka_unit_test(a_nan_activation_spoils_its_block),
		cmocka_unit_test(halves_have_the_bits_of_the_reference),
		cmocka_unit_test(every_half_survives_the_way_to_float_and_back),
	};

	return cmocka_run_group_tests_name("vector", tests, NULL, NULL);
}
