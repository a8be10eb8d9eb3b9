// SPDX-License-Identifier: MIT
/*
 * Attention over float and half keys and values, against the reference.
 *
 * Bound: a score is a product and wrong as such (see kcheck_mul.c); an error e
 * of the scores changes each probability by a factor within e^(2e); the
 * exponentials and their sum add a few roundings, and so does the sum of the
 * values.  All of it scales with the largest value of a column.
 */
#include "kcheck.h"

struct shape {
	uint32_t hd_k;
	uint32_t hd_v;
	uint32_t nr_kv;
};

struct setup {
	struct pst_kattn a;
	struct gbuf q, k, v, scores, out;
	bool half;
};

/* One key or value: @n elements, float or half. */
static void fill(struct gbuf *b, uint32_t nr, uint32_t n, bool half)
{
	struct pst_kernels ref;
	uint32_t s, i;

	pst_kernels_init(&ref, 0);
	for (s = 0; s < nr; s++) {
		for (i = 0; i < n; i++) {
			size_t at = (size_t)s * n + i;
			float x = rnd_normal();

			if (half)
				ref.f32_to_f16((uint16_t *)b->p + at, &x, 1);
			else
				((float *)b->p)[at] = x;
		}
	}
}

static void setup_get(struct setup *s, const struct shape *h, bool half,
		      enum gbuf_side side)
{
	size_t elem = half ? 2 : 4;
	uint32_t i;

	gbuf_get(&s->q, h->hd_k * sizeof(float), 4, side);
	gbuf_get(&s->k, (size_t)h->nr_kv * h->hd_k * elem, elem, side);
	gbuf_get(&s->v, (size_t)h->nr_kv * h->hd_v * elem, elem, side);
	gbuf_get(&s->scores, h->nr_kv * sizeof(float), 4, side);
	gbuf_get(&s->out, h->hd_v * sizeof(float), 4, side);
	for (i = 0; i < h->hd_k; i++)
		((float *)s->q.p)[i] = rnd_normal() * 3;
	fill(&s->k, h->nr_kv, h->hd_k, half);
	fill(&s->v, h->nr_kv, h->hd_v, half);
	s->half = half;
	s->a = (struct pst_kattn){
		.q = s->q.p,
		.k = s->k.p,
		.v = s->v.p,
		.k_stride_bytes = h->hd_k * elem,
		.v_stride_bytes = h->hd_v * elem,
		.nr_kv = h->nr_kv,
		.hd_k = h->hd_k,
		.hd_v = h->hd_v,
		.scale = 1 / sqrtf((float)h->hd_k),
		.scores = s->scores.p,
		.out = s->out.p,
	};
}

static void setup_put(struct setup *s)
{
	gbuf_put(&s->q);
	gbuf_put(&s->k);
	gbuf_put(&s->v);
	gbuf_put(&s->scores);
	gbuf_put(&s->out);
}

static void attend(const struct setup *s, const struct pst_kernels *k)
{
	(s->half ? k->attn_f16 : k->attn_f32)(&s->a);
}

/* Keys, queries are at most about 6 and 18; values at most about 6. */
static double out_bound(const struct shape *h)
{
	double n = h->hd_k;
	double score_err = (8 + 2 * sqrt(n)) * KCHECK_U * 3 * n / sqrt(n);

	return 6 * (2 * score_err + (32 + h->nr_kv / 8.0) * KCHECK_U);
}

static void check_shape(const struct shape *h, bool half, enum gbuf_side side)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), m;
	float want[600], again[600];
	struct setup s;
	uint32_t i;

	pst_kernels_init(&ref, 0);
	setup_get(&s, h, half, side);
	attend(&s, &ref);
	memcpy(want, s.a.out, s.out.bytes);
	for (m = 0; m < nr_tables; m++) {
		memset(s.a.scores, 0xff, s.scores.bytes);
		memset(s.a.out, 0xff, s.out.bytes);
		attend(&s, &tables[m]);
		memcpy(again, s.a.out, s.out.bytes);
		for (i = 0; i < h->hd_v; i++)
			if (!(fabs((double)again[i] - (double)want[i]) <=
			      out_bound(h)))
				fail_msg("%s %s hd %u/%u kv %u: value %u is "
					 "%g, not %g",
					 tables[m].name, half ? "f16" : "f32",
					 h->hd_k, h->hd_v, h->nr_kv, i,
					 (double)again[i], (double)want[i]);
		attend(&s, &tables[m]);
		assert_memory_equal(s.a.out, again, s.out.bytes);
	}
	setup_put(&s);
}

static void attention_is_that_of_the_reference_at_every_shape(void **state)
{
	static const uint32_t hd[][2] = {
		{ 64, 64 }, { 80, 80 },	  { 100, 101 }, { 128, 128 },
		{ 7, 3 },   { 192, 128 }, { 576, 512 }, { 256, 256 },
	};
	static const uint32_t nr_kv[] = { 1, 2, 3, 4, 5, 8, 15, 17, 33, 130 };
	size_t i, j;
	int side;

	(void)state;
	for (i = 0; i < PST_ARRAY_SIZE(hd); i++)
		for (j = 0; j < PST_ARRAY_SIZE(nr_kv); j++)
			for (side = 0; side < 2 * GBUF_NR_SIDES; side++) {
				struct shape h = { hd[i][0], hd[i][1],
						   nr_kv[j] };

				check_shape(&h, side & 1,
					    (enum gbuf_side)(side / 2));
			}
}

/* Heads lie side by side in a cache: the strides are not the lengths. */
static void attention_keeps_to_its_strides(void **state)
{
	enum {
		HD = 32,
		NR = 9,
		WIDE = 3 * HD
	};
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	float cache[NR * WIDE], packed[NR * HD], q[HD], scores[NR];
	float want[HD], got[HD];
	struct pst_kattn a = { q,  packed, packed, HD * 4, HD * 4, NR,
			       HD, HD,	   0.2f,   scores, want,   NULL };
	uint32_t i;

	(void)state;
	for (i = 0; i < NR * WIDE; i++)
		cache[i] = i % WIDE / HD == 1 ? rnd_normal() : NAN;
	for (i = 0; i < NR * HD; i++)
		packed[i] = cache[i / HD * WIDE + HD + i % HD];
	for (i = 0; i < HD; i++)
		q[i] = rnd_normal();
	for (m = 0; m < nr_tables; m++) {
		struct pst_kattn wide = a;

		wide.k = wide.v = cache + HD;
		wide.k_stride_bytes = wide.v_stride_bytes = WIDE * 4;
		wide.out = got;
		tables[m].attn_f32(&a);
		tables[m].attn_f32(&wide);
		assert_memory_equal(got, want, sizeof(want));
	}
}

/* Equal keys: the output is the mean of the values. */
static void equal_scores_give_the_mean_of_the_values(void **state)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	float q[2] = { 1, 1 }, k[8] = { 0 }, scores[4], out[2];
	float v[8] = { 1, 10, 2, 20, 3, 30, 6, 60 };
	struct pst_kattn a = { q, k, v, 8, 8, 4, 2, 2, 1, scores, out, NULL };

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		tables[m].attn_f32(&a);
		assert_true(out[0] == 3 && out[1] == 30);
	}
}

/* A sink is a position whose value is zero. */
static void a_sink_takes_its_share_of_the_softmax(void **state)
{
	static const float sinks[] = { -200, -3, 0, 4, 300 };
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m, i;
	float q[1] = { 1 }, k[4] = { 1, 2, -1, 0.5f }, scores[5], with[1];
	float v[4] = { 1, 2, 3, 4 }, want[1];

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		for (i = 0; i < PST_ARRAY_SIZE(sinks); i++) {
			float k5[5], v5[5] = { 1, 2, 3, 4, 0 };
			struct pst_kattn a = {
				q, k, v, 4,	 4,    4,
				1, 1, 1, scores, with, &sinks[i]
			};
			struct pst_kattn b = { q, k5, v5, 4,	  4,	5,
					       1, 1,  1,  scores, want, NULL };

			memcpy(k5, k, sizeof(k));
			k5[4] = sinks[i];
			tables[m].attn_f32(&a);
			tables[m].attn_f32(&b);
			assert_true(fabsf(with[0] - want[0]) <=
				    1e-5f * fabsf(want[0]) + 1e-30f);
		}
	}
}

int kcheck_attn_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(
			attention_is_that_of_the_reference_at_every_shape),
		cmocka_unit_test(attention_keeps_to_its_strides),
		cmocka_unit_test(a_sink_takes_its_share_of_the_softmax),
		cmocka_unit_test(equal_scores_give_the_mean_of_the_values),
	};

	return cmocka_run_group_tests_name("attn", tests, NULL, NULL);
}
