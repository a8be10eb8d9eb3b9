// SPDX-License-Identifier: MIT
/*
 * The gated delta rule and the short convolution, against the reference.
 *
 * Bounds: the keys have length one and the factors are below one, so that the
 * state stays of the size of the values (about 4) and an error of one token
 * does not grow in the next; a token adds the roundings of two sums over dk.
 */
#include <stdio.h>

#include "kcheck.h"

enum {
	MAX_DK = 140,
	MAX_DV = 150,
	MAX_NR = 6,
};

struct shape {
	uint32_t dk;
	uint32_t dv;
	uint32_t nr;
	bool by_channel;
};

/* Numbers of one head, each array between guard pages. */
struct setup {
	struct pst_kdelta d;
	struct gbuf state, q, k, v, decay, beta, out;
};

static void fill_unit(float *x, uint32_t n)
{
	double sum = 1e-6;

	for (uint32_t i = 0; i < n; i++) {
		x[i] = rnd_normal();
		sum += (double)x[i] * (double)x[i];
	}
	for (uint32_t i = 0; i < n; i++)
		x[i] = (float)(x[i] / sqrt(sum));
}

static void fill_01(float *x, size_t n)
{
	for (size_t i = 0; i < n; i++)
		x[i] = (float)(rnd_below(1000) + 1) / 1001.0f;
}

static void setup_get(struct setup *s, const struct shape *h,
		      enum gbuf_side side)
{
	size_t f = sizeof(float), nr_decay = h->by_channel ? h->dk : 1;

	gbuf_get(&s->state, (size_t)h->dk * h->dv * f, 4, side);
	gbuf_get(&s->q, (size_t)h->nr * h->dk * f, 4, side);
	gbuf_get(&s->k, (size_t)h->nr * h->dk * f, 4, side);
	gbuf_get(&s->v, (size_t)h->nr * h->dv * f, 4, side);
	gbuf_get(&s->decay, h->nr * nr_decay * f, 4, side);
	gbuf_get(&s->beta, h->nr * f, 4, side);
	gbuf_get(&s->out, (size_t)h->nr * h->dv * f, 4, side);
	s->d = (struct pst_kdelta){ .state = s->state.p,
				    .nr = h->nr,
				    .dk = h->dk,
				    .dv = h->dv,
				    .q = s->q.p,
				    .k = s->k.p,
				    .v = s->v.p,
				    .decay = s->decay.p,
				    .beta = s->beta.p,
				    .out = s->out.p,
				    .qk_stride = h->dk,
				    .v_stride = h->dv,
				    .decay_stride = nr_decay,
				    .beta_stride = 1,
				    .out_stride = h->dv,
				    .by_channel = h->by_channel };
	for (uint32_t i = 0; i < h->nr; i++) {
		fill_unit((float *)s->q.p + (size_t)i * h->dk, h->dk);
		fill_unit((float *)s->k.p + (size_t)i * h->dk, h->dk);
	}
	for (size_t i = 0; i < (size_t)h->nr * h->dv; i++)
		((float *)s->v.p)[i] = rnd_normal();
	fill_01(s->decay.p, h->nr * nr_decay);
	fill_01(s->beta.p, h->nr);
}

static void setup_put(struct setup *s)
{
	struct gbuf *all[] = { &s->state, &s->q,    &s->k,  &s->v,
			       &s->decay, &s->beta, &s->out };

	for (size_t i = 0; i < PST_ARRAY_SIZE(all); i++)
		gbuf_put(all[i]);
}

static void fill_state(float *x, const struct shape *h)
{
	uint64_t rng = 7;

	for (size_t i = 0; i < (size_t)h->dk * h->dv; i++)
		x[i] = (float)(pst_rng_next(&rng) % 2001) / 1000.0f - 1.0f;
}

static void expect_near(const float *got, const float *want, size_t n,
			double bound, const char *what)
{
	for (size_t i = 0; i < n; i++)
		if (!(fabs((double)got[i] - (double)want[i]) <= bound))
			fail_msg("%s: value %zu is %a, not %a", what, i,
				 (double)got[i], (double)want[i]);
}

static void check_delta(const struct shape *h, enum gbuf_side side)
{
	static float want[MAX_NR * MAX_DV], after[MAX_DK * MAX_DV];
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables);
	double bound = h->nr * (16 + h->dk) * 8 * KCHECK_U;
	struct setup s;
	char what[96];

	pst_kernels_init(&ref, 0);
	setup_get(&s, h, side);
	fill_state(s.d.state, h);
	ref.delta(&s.d);
	memcpy(want, s.out.p, s.out.bytes);
	memcpy(after, s.state.p, s.state.bytes);
	for (size_t m = 0; m < nr_tables; m++) {
		snprintf(what, sizeof(what), "%s %ux%u, %u tokens, %s",
			 tables[m].name, h->dk, h->dv, h->nr,
			 h->by_channel ? "by channel" : "by head");
		fill_state(s.d.state, h);
		memset(s.out.p, 0xff, s.out.bytes);
		tables[m].delta(&s.d);
		expect_near(s.out.p, want, (size_t)h->nr * h->dv, bound, what);
		expect_near(s.state.p, after, (size_t)h->dk * h->dv, bound,
			    what);
	}
	setup_put(&s);
}

static void delta_is_that_of_the_reference(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 400; i++) {
		struct shape h = { .dk = 1 + rnd_below(MAX_DK),
				   .dv = 1 + rnd_below(MAX_DV),
				   .nr = 1 + rnd_below(MAX_NR),
				   .by_channel = i & 2 };

		if (i % 5 == 0)
			h.dk = h.dv = 128;
		check_delta(&h, (enum gbuf_side)(i % GBUF_NR_SIDES));
	}
}

/* The rule itself: what was written under a key is read with it. */
static void delta_reads_what_it_wrote(void **state)
{
	float s[2 * 3] = { 9, 9, 9, 9, 9, 9 }, out[6];
	const float q[4] = { 0, 1, 1, 0 }, k[4] = { 0, 1, 1, 0 };
	const float v[6] = { 1, 2, 3, 4, 5, 6 }, beta[2] = { 1, 0.5f };
	const float decay[2] = { 0, 1 };
	const struct pst_kdelta d = { .state = s,
				      .nr = 2,
				      .dk = 2,
				      .dv = 3,
				      .q = q,
				      .k = k,
				      .v = v,
				      .decay = decay,
				      .beta = beta,
				      .out = out,
				      .qk_stride = 2,
				      .v_stride = 3,
				      .decay_stride = 1,
				      .beta_stride = 1,
				      .out_stride = 3 };
	const float want[6] = { 1, 2, 3, 2, 2.5f, 3 };
	const float left[6] = { 2, 2.5f, 3, 1, 2, 3 };
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables);

	(void)state;
	for (size_t m = 0; m < nr_tables; m++) {
		for (int i = 0; i < 6; i++)
			s[i] = 9;
		tables[m].delta(&d);
		assert_memory_equal(out, want, sizeof(want));
		assert_memory_equal(s, left, sizeof(left));
	}
}

/* Tokens one by one have the bits of all in one call. */
static void delta_does_not_see_the_batch(void **state)
{
	static float want[MAX_NR * MAX_DV], after[MAX_DK * MAX_DV];
	struct pst_kernels tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_all_tables(tables);

	(void)state;
	for (uint32_t i = 0; i < 100; i++) {
		struct shape h = { .dk = 1 + rnd_below(MAX_DK),
				   .dv = 1 + rnd_below(MAX_DV),
				   .nr = MAX_NR,
				   .by_channel = i & 1 };
		const struct pst_kernels *k = &tables[i % nr_tables];
		struct setup s;

		setup_get(&s, &h, GBUF_END);
		fill_state(s.d.state, &h);
		k->delta(&s.d);
		memcpy(want, s.out.p, s.out.bytes);
		memcpy(after, s.state.p, s.state.bytes);
		fill_state(s.d.state, &h);
		s.d.nr = 1;
		for (uint32_t t = 0; t < h.nr; t++) {
			k->delta(&s.d);
			s.d.q += s.d.qk_stride;
			s.d.k += s.d.qk_stride;
			s.d.v += s.d.v_stride;
			s.d.decay += s.d.decay_stride;
			s.d.beta += s.d.beta_stride;
			s.d.out += s.d.out_stride;
		}
		assert_memory_equal(s.out.p, want, s.out.bytes);
		assert_memory_equal(s.state.p, after, s.state.bytes);
		setup_put(&s);
	}
}

/* Tokens in calls of @each. */
static void run_conv(const struct pst_kernels *k, struct pst_kconv c, float *y,
		     uint32_t each)
{
	uint32_t left = c.nr;

	c.y = y;
	while (left) {
		c.nr = left < each ? left : each;
		k->conv(&c);
		c.x += c.nr * c.stride;
		c.y += c.nr * c.y_stride;
		left -= c.nr;
	}
}

static void check_conv(struct pst_kconv *c, enum gbuf_side side)
{
	struct pst_kernels ref, tables[KTEST_NR_MASKS];
	size_t nr_tables = kcheck_tables(tables), f = sizeof(float);
	struct gbuf w, x, y, one;
	size_t nr_y = c->nr * c->y_stride;
	float *want = calloc(nr_y, f);

	pst_kernels_init(&ref, 0);
	gbuf_get(&w, (size_t)c->channels * c->taps * f, 4, side);
	gbuf_get(&x, (c->nr + c->taps - 1) * c->stride * f, 4, side);
	gbuf_get(&y, nr_y * f, 4, side);
	gbuf_get(&one, nr_y * f, 4, side);
	for (size_t i = 0; i < w.bytes / f; i++)
		((float *)w.p)[i] = rnd_normal();
	for (size_t i = 0; i < x.bytes / f; i++)
		((float *)x.p)[i] = rnd_normal() * (i % 9 ? 1.0f : 40.0f);
	c->w = w.p;
	c->x = x.p;
	run_conv(&ref, *c, want, c->nr);
	for (size_t m = 0; m < nr_tables; m++) {
		run_conv(&tables[m], *c, y.p, c->nr);
		expect_near(y.p, want, nr_y, PST_K_MAX_TAPS * 300 * KCHECK_U,
			    tables[m].name);
		run_conv(&tables[m], *c, one.p, 1);
		assert_memory_equal(one.p, y.p, y.bytes);
	}
	free(want);
	gbuf_put(&w);
	gbuf_put(&x);
	gbuf_put(&y);
	gbuf_put(&one);
}

static void conv_is_that_of_the_reference(void **state)
{
	(void)state;
	for (uint32_t i = 0; i < 300; i++) {
		struct pst_kconv c = { .taps = 1 + rnd_below(PST_K_MAX_TAPS),
				       .channels = 1 + rnd_below(100),
				       .nr = 1 + rnd_below(MAX_NR) };

		if (i % 2)
			c.taps = 4;
		c.stride = c.channels;
		c.y_stride = c.channels;
		check_conv(&c, (enum gbuf_side)(i % GBUF_NR_SIDES));
	}
}

int kcheck_recur_tests(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(delta_is_that_of_the_reference),
		cmocka_unit_test(delta_reads_what_it_wrote),
		cmocka_unit_test(delta_does_not_see_the_batch),
		cmocka_unit_test(conv_is_that_of_the_reference),
	};

	return cmocka_run_group_tests_name("recur", tests, NULL, NULL);
}
