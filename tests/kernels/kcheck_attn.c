// SPDX-License-Identifier: MIT
/*
 * Attention over keys and values of each type, against the reference.
 *
 * Bound: a score is a product and wrong as such (see kcheck_mul.c); an error e
 * of the scores changes each probability by a factor within e^(2e); the
 * exponentials and their sum add a few roundings, and so does the sum of the
 * values.  All of it scales with the largest value of a column.
 */
#include "kcheck.h"

enum {
	MAX_QUERIES = 23,
	MAX_HD = 576,
};

struct shape {
	uint32_t hd_k;
	uint32_t hd_v;
	uint32_t first; /* position of the first row */
	uint32_t nr_kv; /* rows */
	uint32_t nr; /* queries */
	uint32_t window; /* of a query at most, 0 for no limit */
	bool sinks;
};

/* A call; each buffer lies between guard pages. */
struct setup {
	const struct shape *h;
	const struct kind *kind;
	struct pst_kattn a;
	struct pst_kattn_query query[MAX_QUERIES];
	float sink[MAX_QUERIES];
	struct gbuf q, k, v, scratch, out;
};

/* An element type of keys and values. */
struct kind {
	const char *name;
	uint32_t block; /* numbers */
	size_t block_bytes;
	void (*fill)(const struct pst_kernels *ref, void *to, const float *x,
		     uint32_t n);
	void (*(*of)(const struct pst_kernels *k))(const struct pst_kattn *a);
};

static void fill_f32(const struct pst_kernels *ref, void *to, const float *x,
		     uint32_t n)
{
	(void)ref;
	memcpy(to, x, n * sizeof(*x));
}

static void fill_f16(const struct pst_kernels *ref, void *to, const float *x,
		     uint32_t n)
{
	ref->f32_to_f16(to, x, n);
}

static void fill_q8_0(const struct pst_kernels *ref, void *to, const float *x,
		      uint32_t n)
{
	uint8_t *p = to;
	int8_t q[32];
	int32_t sum;
	uint32_t i;
	float d;

	for (i = 0; i < n; i += 32, p += 34) {
		ref->quantize(q, &d, &sum, x + i, 32);
		ref->f32_to_f16((uint16_t *)(void *)p, &d, 1);
		memcpy(p + 2, q, sizeof(q));
	}
}

typedef void (*attn_fn)(const struct pst_kattn *a);

static attn_fn of_f32(const struct pst_kernels *k)
{
	return k->attn_f32;
}

static attn_fn of_f16(const struct pst_kernels *k)
{
	return k->attn_f16;
}

static attn_fn of_q8_0(const struct pst_kernels *k)
{
	return k->attn_q8_0;
}

static const struct kind kinds[] = {
	{ "f32", 1, 4, fill_f32, of_f32 },
	{ "f16", 1, 2, fill_f16, of_f16 },
	{ "q8_0", 32, 34, fill_q8_0, of_q8_0 },
};

static size_t row_bytes(const struct kind *kind, uint32_t n)
{
	return (n + kind->block - 1) / kind->block * kind->block_bytes;
}

static void fill(const struct kind *kind, struct gbuf *b, uint32_t nr,
		 uint32_t n)
{
	struct pst_kernels ref;
	uint32_t whole = n + -n % kind->block, s, i;
	float x[MAX_HD];

	pst_kernels_init(&ref, 0);
	for (s = 0; s < nr; s++) {
		for (i = 0; i < whole; i++)
			x[i] = rnd_normal();
		kind->fill(&ref, (uint8_t *)b->p + s * row_bytes(kind, n), x,
			   whole);
	}
}

/* What query @i sees: all that is there, or some of it. */
static void choose_view(struct setup *s, uint32_t i)
{
	const struct shape *h = s->h;
	uint32_t to = 1 + rnd_below(h->nr_kv), from = 0;

	if (h->nr == 1)
		to = h->nr_kv;
	if (h->window && to > h->window)
		from = to - 1 - rnd_below(h->window);
	s->query[i].from = h->first + from;
	s->query[i].to = h->first + to;
}

static void setup_get(struct setup *s, const struct shape *h,
		      const struct kind *kind, enum gbuf_side side)
{
	size_t k_bytes = row_bytes(kind, h->hd_k);
	size_t v_bytes = row_bytes(kind, h->hd_v);
	uint32_t i;

	*s = (struct setup){ .h = h, .kind = kind };
	gbuf_get(&s->q, (size_t)h->nr * h->hd_k * sizeof(float), 4, side);
	gbuf_get(&s->k, h->nr_kv * k_bytes, 2, side);
	gbuf_get(&s->v, h->nr_kv * v_bytes, 2, side);
	gbuf_get(&s->scratch, pst_kattn_scratch_bytes(h->hd_k, h->hd_v, h->nr),
		 64, side);
	gbuf_get(&s->out, (size_t)h->nr * h->hd_v * sizeof(float), 4, side);
	for (i = 0; i < h->nr * h->hd_k; i++)
		((float *)s->q.p)[i] = rnd_normal() * 3;
	fill(kind, &s->k, h->nr_kv, h->hd_k);
	fill(kind, &s->v, h->nr_kv, h->hd_v);
	for (i = 0; i < h->nr; i++) {
		s->query[i] = (struct pst_kattn_query){
			.q = (float *)s->q.p + (size_t)i * h->hd_k,
			.out = (float *)s->out.p + (size_t)i * h->hd_v,
			.scale = 1 / sqrtf((float)h->hd_k),
		};
		choose_view(s, i);
		s->sink[i] = rnd_normal() * 4;
		if (h->sinks)
			s->query[i].sink = &s->sink[i];
	}
	s->a = (struct pst_kattn){
		.query = s->query,
		.nr = h->nr,
		.k = s->k.p,
		.v = s->v.p,
		.k_stride_bytes = k_bytes,
		.v_stride_bytes = v_bytes,
		.first = h->first,
		.hd_k = h->hd_k,
		.hd_v = h->hd_v,
		.scratch = s->scratch.p,
	};
}

static void setup_put(struct setup *s)
{
	gbuf_put(&s->q);
	gbuf_put(&s->k);
	gbuf_put(&s->v);
	gbuf_put(&s->scratch);
	gbuf_put(&s->out);
}

/* Nothing of what was in scratch and output may reach the result. */
static void attend(const struct setup *s, const struct pst_kattn *a,
		   const struct pst_kernels *k)
{
	memset(s->scratch.p, 0xff, s->scratch.bytes);
	s->kind->of(k)(a);
}

/* Keys, queries are at most about 6 and 18; values at most about 6. */
static double out_bound(const struct shape *h)
{
	double n = h->hd_k;
	double score_err = (8 + 2 * sqrt(n)) * KCHECK_U * 3 * n / sqrt(n);

	return 6 * (2 * score_err + (32 + h->nr_kv / 8.0) * KCHECK_U);
}

/* Each query in a call of its own, over its own rows only. */
static void check_alone(const struct setup *s, const struct pst_kernels *k,
			const float *want)
{
	const struct shape *h = s->h;
	uint32_t i;

	for (i = 0; i < h->nr; i++) {
		struct pst_kattn one = s->a;
		size_t skip = s->query[i].from - h->first;

		one.query = &s->query[i];
		one.nr = 1;
		one.first = s->query[i].from;
		one.k = (uint8_t *)s->k.p + skip * one.k_stride_bytes;
		one.v = (uint8_t *)s->v.p + skip * one.v_stride_bytes;
		memset(s->query[i].out, 0xff, h->hd_v * sizeof(float));
		attend(s, &one, k);
		if (memcmp(s->query[i].out, want + (size_t)i * h->hd_v,
			   h->hd_v * sizeof(float)))
			fail_msg("%s %s hd %u/%u: query %u of %u depends on "
				 "the others",
				 k->name, s->kind->name, h->hd_k, h->hd_v, i,
				 h->nr);
	}
}

/* The positions below @end that no call before had. */
static void attend_part(const struct setup *s, const struct pst_kernels *k,
			uint8_t *carry, uint32_t from, uint32_t end)
{
	struct pst_kattn_query part[MAX_QUERIES];
	struct pst_kattn a = s->a;
	uint32_t i;

	for (i = 0; i < s->h->nr; i++) {
		part[i] = s->query[i];
		if (part[i].from < from)
			part[i].from = from;
		if (part[i].to > end)
			part[i].to = end;
	}
	a.query = part;
	a.carry = carry;
	a.first = from;
	a.k = (uint8_t *)s->k.p + (from - s->h->first) * a.k_stride_bytes;
	a.v = (uint8_t *)s->v.p + (from - s->h->first) * a.v_stride_bytes;
	a.goes_on = from > s->h->first;
	a.unfinished = end < s->h->first + s->h->nr_kv;
	attend(s, &a, k);
}

/* In several calls, each over some tiles; the reference rounds in between. */
static void check_parts(const struct setup *s, const struct pst_kernels *k,
			const float *want)
{
	const struct shape *h = s->h;
	uint32_t at = h->first, end = h->first + h->nr_kv, to;
	size_t n = (size_t)h->nr * h->hd_v, i;
	struct gbuf carry;

	gbuf_get(&carry, (size_t)h->nr * PST_K_ATTN_QUERY_BYTES, 64, GBUF_END);
	memset(carry.p, 0xff, carry.bytes);
	memset(s->out.p, 0xff, s->out.bytes);
	for (; at < end; at = to) {
		to = (at / PST_K_ATTN_TILE + 1 + rnd_below(2)) *
		     PST_K_ATTN_TILE;
		if (to > end)
			to = end;
		attend_part(s, k, carry.p, at, to);
	}
	for (i = 0; i < n; i++) {
		double err =
			fabs((double)((float *)s->out.p)[i] - (double)want[i]);

		if (!(err <= (strcmp(k->name, "c") ? 0 : out_bound(h))))
			fail_msg("%s %s hd %u/%u: in parts, value %zu of query "
				 "%zu is %g off",
				 k->name, s->kind->name, h->hd_k, h->hd_v,
				 i % h->hd_v, i / h->hd_v, err);
	}
	gbuf_put(&carry);
}

static void check_shape(const struct shape *h, const struct kind *kind,
			enum gbuf_side side)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	size_t n = (size_t)h->nr * h->hd_v, i;
	float *want = malloc(n * sizeof(*want));
	float *got = malloc(n * sizeof(*got));
	struct setup s;

	assert_true(want && got);
	setup_get(&s, h, kind, side);
	for (m = 0; m < nr_tables; m++) {
		memset(s.out.p, 0xff, s.out.bytes);
		attend(&s, &s.a, &tables[m]);
		memcpy(m ? got : want, s.out.p, s.out.bytes);
		for (i = 0; m && i < n; i++)
			if (!(fabs((double)got[i] - (double)want[i]) <=
			      out_bound(h)))
				fail_msg("%s %s hd %u/%u kv %u: value %zu of "
					 "query %zu is %g, not %g",
					 tables[m].name, kind->name, h->hd_k,
					 h->hd_v, h->nr_kv, i % h->hd_v,
					 i / h->hd_v, (double)got[i],
					 (double)want[i]);
		check_alone(&s, &tables[m], m ? got : want);
		check_parts(&s, &tables[m], m ? got : want);
	}
	setup_put(&s);
	free(want);
	free(got);
}

static void check_everywhere(const struct shape *h)
{
	size_t k;
	int side;

	for (k = 0; k < PST_ARRAY_SIZE(kinds); k++) {
		struct shape whole = *h;

		whole.hd_k += -h->hd_k % kinds[k].block;
		for (side = 0; side < GBUF_NR_SIDES; side++)
			check_shape(&whole, &kinds[k], (enum gbuf_side)side);
	}
}

static void attention_is_that_of_the_reference_at_every_shape(void **state)
{
	static const uint32_t hd[][2] = {
		{ 64, 64 }, { 80, 80 },	  { 100, 101 }, { 128, 128 },
		{ 7, 3 },   { 192, 128 }, { 576, 512 }, { 256, 256 },
	};
	static const uint32_t nr_kv[] = { 1, 2, 5, 16, 33, 64, 65, 130 };
	size_t i, j;

	(void)state;
	for (i = 0; i < PST_ARRAY_SIZE(hd); i++)
		for (j = 0; j < PST_ARRAY_SIZE(nr_kv); j++)
			check_everywhere(&(struct shape){ .hd_k = hd[i][0],
							  .hd_v = hd[i][1],
							  .nr_kv = nr_kv[j],
							  .nr = 1 });
}

/* Several queries, each with its own part of the positions. */
static void queries_of_a_call_have_nothing_to_do_with_each_other(void **state)
{
	uint32_t i;

	(void)state;
	for (i = 0; i < 60; i++) {
		struct shape h = {
			.hd_k = 1 + rnd_below(140),
			.hd_v = 1 + rnd_below(140),
			.first = rnd_below(3) * rnd_below(200),
			.nr_kv = 1 + rnd_below(300),
			.nr = 1 + rnd_below(MAX_QUERIES),
			.window = rnd_below(2) * (1 + rnd_below(100)),
			.sinks = rnd_below(2),
		};

		check_everywhere(&h);
	}
	check_everywhere(&(struct shape){
		.hd_k = 576, .hd_v = 512, .nr_kv = 140, .nr = 9 });
}

/* A call with one query, all in the caller's memory. */
struct small {
	struct pst_kattn_query query;
	struct pst_kattn a;
	_Alignas(64) uint8_t
		scratch[128 * PST_K_ATTN_TILE * 4 + PST_K_ATTN_QUERY_BYTES];
};

/* Keys and values of @hd <= 64 floats, one after the other. */
static void small_get(struct small *s, const float *q, float *out, uint32_t nr,
		      uint32_t hd)
{
	s->query = (struct pst_kattn_query){
		.q = q, .out = out, .scale = 1, .to = nr
	};
	s->a = (struct pst_kattn){ .query = &s->query,
				   .nr = 1,
				   .k_stride_bytes = hd * sizeof(float),
				   .v_stride_bytes = hd * sizeof(float),
				   .hd_k = hd,
				   .hd_v = hd,
				   .scratch = s->scratch };
	assert_true(pst_kattn_scratch_bytes(hd, hd, 1) <= sizeof(s->scratch));
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
	float cache[NR * WIDE], packed[NR * HD], q[HD];
	float want[HD], got[HD];
	struct small s;
	uint32_t i;

	(void)state;
	for (i = 0; i < NR * WIDE; i++)
		cache[i] = i % WIDE / HD == 1 ? rnd_normal() : NAN;
	for (i = 0; i < NR * HD; i++)
		packed[i] = cache[i / HD * WIDE + HD + i % HD];
	for (i = 0; i < HD; i++)
		q[i] = rnd_normal();
	for (m = 0; m < nr_tables; m++) {
		small_get(&s, q, want, NR, HD);
		s.a.k = s.a.v = packed;
		tables[m].attn_f32(&s.a);
		small_get(&s, q, got, NR, HD);
		s.a.k = s.a.v = cache + HD;
		s.a.k_stride_bytes = s.a.v_stride_bytes = WIDE * 4;
		tables[m].attn_f32(&s.a);
		assert_memory_equal(got, want, sizeof(want));
	}
}

/* Equal keys: the output is the mean of the values. */
static void equal_scores_give_the_mean_of_the_values(void **state)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	float q[2] = { 1, 1 }, k[8] = { 0 }, out[2];
	float v[8] = { 1, 10, 2, 20, 3, 30, 6, 60 };
	struct small s;

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		small_get(&s, q, out, 4, 2);
		s.a.k = k;
		s.a.v = v;
		tables[m].attn_f32(&s.a);
		assert_true(out[0] == 3 && out[1] == 30);
	}
}

/* What a query may not see may be infinite: a token's successors, say. */
static void what_is_not_visible_may_be_anything(void **state)
{
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m;
	float q[2] = { 1, 1 }, out[2][2], k[6] = { 0, 0, 0, 0, INFINITY, NAN };
	float v[6] = { 1, 10, 3, 30, NAN, INFINITY };
	struct pst_kattn_query two[2];
	struct small s;
	uint8_t scratch[sizeof(s.scratch)] __attribute__((aligned(64)));

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		small_get(&s, q, out[0], 2, 2);
		two[0] = two[1] = s.query;
		two[1].out = out[1];
		two[1].to = 3;
		s.a.query = two;
		s.a.nr = 2;
		s.a.k = k;
		s.a.v = v;
		s.a.scratch = scratch;
		tables[m].attn_f32(&s.a);
		assert_true(out[0][0] == 2 && out[0][1] == 20);
	}
}

/* A sink is a position whose value is zero. */
static void a_sink_takes_its_share_of_the_softmax(void **state)
{
	static const float sinks[] = { -200, -3, 0, 4, 300 };
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables), m, i;
	float q[1] = { 1 }, k[5] = { 1, 2, -1, 0.5f }, with[1];
	float v[5] = { 1, 2, 3, 4, 0 }, want[1];
	struct small s;

	(void)state;
	for (m = 0; m < nr_tables; m++) {
		for (i = 0; i < PST_ARRAY_SIZE(sinks); i++) {
			k[4] = sinks[i];
			small_get(&s, q, with, 4, 1);
			s.a.k = k;
			s.a.v = v;
			s.query.sink = &sinks[i];
			tables[m].attn_f32(&s.a);
			small_get(&s, q, want, 5, 1);
			s.a.k = k;
			s.a.v = v;
			tables[m].attn_f32(&s.a);
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
		cmocka_unit_test(
			queries_of_a_call_have_nothing_to_do_with_each_other),
		cmocka_unit_test(attention_keeps_to_its_strides),
		cmocka_unit_test(a_sink_takes_its_share_of_the_softmax),
		cmocka_unit_test(equal_scores_give_the_mean_of_the_values),
		cmocka_unit_test(what_is_not_visible_may_be_anything),
	};

	return cmocka_run_group_tests_name("attn", tests, NULL, NULL);
}
