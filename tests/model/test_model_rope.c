// SPDX-License-Identifier: MIT
/*
 * The table of angles against closed forms, and against a second computation
 * in long double that follows the papers step by step.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "model_priv.h"
#include "test_seed.h"

#define MAX_ROT 256

static const uint32_t positions[] = { 0,    1,	   2,	   17,	   4095,
				      4096, 32768, 131071, 1000000 };

static struct pst_rope_params plain(uint32_t n_rot, float base)
{
	return (struct pst_rope_params){ .n_rot = n_rot,
					 .base = base,
					 .factor = 1.0f,
					 .ctx_orig = 4096,
					 .attn_factor = 1.0f,
					 .beta_fast = 32.0f,
					 .beta_slow = 1.0f };
}

/* Where the ramp from extrapolation to interpolation begins and ends. */
static long double turns_at(const struct pst_rope_params *r, long double turns)
{
	long double base = (long double)r->base;

	/* Wavelength 2 pi base^(2d/n) makes @turns in ctx_orig: for d. */
	return r->n_rot / 2.0L *
	       (logl(r->ctx_orig / (2.0L * M_PIl * turns)) / logl(base));
}

static long double slow_theta(const struct pst_rope_params *r,
			      const float *freqs, uint32_t pos, uint32_t i)
{
	long double theta = pos;
	long double lo, hi, gamma;

	theta /= powl((long double)r->base, 2.0L * i / r->n_rot);
	if (freqs)
		theta /= (long double)freqs[i];
	if (r->scaling == PST_ROPE_SCALE_LINEAR)
		return theta / (long double)r->factor;
	if (r->scaling != PST_ROPE_SCALE_YARN)
		return theta;
	lo = floorl(turns_at(r, (long double)r->beta_fast));
	hi = ceill(turns_at(r, (long double)r->beta_slow));
	lo = lo < 0 ? 0 : lo;
	hi = hi > r->n_rot - 1 ? r->n_rot - 1 : hi;
	/* 1 below lo: extrapolate; 0 above hi: interpolate. */
	if (i <= lo)
		gamma = 1;
	else if (i >= hi)
		gamma = 0;
	else
		gamma = 1 - (i - lo) / (hi - lo);
	gamma *= (long double)r->ext_factor;
	return gamma * theta + (1 - gamma) * theta / (long double)r->factor;
}

static void compare(const struct pst_rope_params *r, const float *freqs)
{
	float cs[MAX_ROT];

	for (size_t p = 0; p < PST_ARRAY_SIZE(positions); p++) {
		long double scale = (long double)r->attn_factor;

		if (r->scaling == PST_ROPE_SCALE_YARN && r->ext_factor != 0.0f)
			scale *= 1 + 0.1L * logl((long double)r->factor);
		pst_rope_table(r, freqs, positions[p], cs);
		for (uint32_t i = 0; i < r->n_rot / 2; i++) {
			long double t = slow_theta(r, freqs, positions[p], i);

			if (fabsl(cs[2 * i] - cosl(t) * scale) > 2e-7L ||
			    fabsl(cs[2 * i + 1] - sinl(t) * scale) > 2e-7L)
				fail_msg("position %u pair %u: %.9g %.9g, not "
					 "%.9Lg %.9Lg",
					 positions[p], i, (double)cs[2 * i],
					 (double)cs[2 * i + 1], cosl(t) * scale,
					 sinl(t) * scale);
		}
	}
}

static void position_zero_does_not_rotate(void **state)
{
	struct pst_rope_params r = plain(64, 10000.0f);
	float cs[MAX_ROT];

	pst_rope_table(&r, NULL, 0, cs);
	for (uint32_t i = 0; i < 32; i++) {
		assert_true(cs[2 * i] == 1.0f);
		assert_true(cs[2 * i + 1] == 0.0f);
	}
}

/* base 16, n_rot 4: theta is pos and pos / 4. */
static void angles_have_their_closed_form(void **state)
{
	struct pst_rope_params r = plain(4, 16.0f);
	float cs[4];

	pst_rope_table(&r, NULL, 6, cs);
	assert_true(fabs(cs[0] - cos(6.0)) < 1e-7);
	assert_true(fabs(cs[1] - sin(6.0)) < 1e-7);
	assert_true(fabs(cs[2] - cos(1.5)) < 1e-7);
	assert_true(fabs(cs[3] - sin(1.5)) < 1e-7);
	r.scaling = PST_ROPE_SCALE_LINEAR;
	r.factor = 4.0f;
	pst_rope_table(&r, NULL, 6, cs);
	assert_true(fabs(cs[0] - cos(1.5)) < 1e-7);
	assert_true(fabs(cs[3] - sin(0.375)) < 1e-7);
	pst_rope_table(&r, (float[]){ 2.0f, 1.0f }, 6, cs);
	assert_true(fabs(cs[0] - cos(0.75)) < 1e-7);
	assert_true(fabs(cs[3] - sin(0.375)) < 1e-7);
}

static void plain_and_linear_agree_with_the_slow_way(void **state)
{
	static const uint32_t rots[] = { 2, 4, 64, 80, 128, 256 };
	static const float bases[] = { 10000.0f, 500000.0f, 1e6f, 5e6f };

	for (size_t n = 0; n < PST_ARRAY_SIZE(rots); n++) {
		for (size_t b = 0; b < PST_ARRAY_SIZE(bases); b++) {
			struct pst_rope_params r = plain(rots[n], bases[b]);

			compare(&r, NULL);
			r.scaling = PST_ROPE_SCALE_LINEAR;
			r.factor = 8.0f;
			compare(&r, NULL);
		}
	}
}

static void frequency_factors_divide(void **state)
{
	struct pst_rope_params r = plain(64, 500000.0f);
	uint64_t rng = test_seed();
	float freqs[32];

	for (int i = 0; i < 32; i++)
		freqs[i] = 1.0f + (float)(pst_rng_next(&rng) % 700) / 100.0f;
	compare(&r, freqs);
}

static void yarn_agrees_with_the_slow_way(void **state)
{
	static const float factors[] = { 1.0f, 2.0f, 4.0f, 40.0f };
	static const uint32_t ctxs[] = { 32, 4096, 32768, 262144 };

	for (size_t f = 0; f < PST_ARRAY_SIZE(factors); f++) {
		for (size_t c = 0; c < PST_ARRAY_SIZE(ctxs); c++) {
			struct pst_rope_params r = plain(128, 1e6f);

			r.scaling = PST_ROPE_SCALE_YARN;
			r.factor = factors[f];
			r.ctx_orig = ctxs[c];
			r.ext_factor = 1.0f;
			compare(&r, NULL);
			r.ext_factor = 0.5f;
			r.attn_factor = 0.75f;
			compare(&r, NULL);
			r.ext_factor = 0.0f;
			r.beta_fast = 4.0f;
			compare(&r, NULL);
		}
	}
}

/* The fastest pair keeps its speed, the slowest is slowed by the factor. */
static void yarn_reaches_both_limits(void **state)
{
	struct pst_rope_params r = plain(128, 1e6f);
	float yarn[MAX_ROT], fast[MAX_ROT], slow[MAX_ROT];
	float m = 1.0f + 0.1f * logf(4.0f);

	pst_rope_table(&r, NULL, 1234, fast);
	r.factor = 4.0f;
	r.scaling = PST_ROPE_SCALE_LINEAR;
	pst_rope_table(&r, NULL, 1234, slow);
	r.scaling = PST_ROPE_SCALE_YARN;
	r.ext_factor = 1.0f;
	pst_rope_table(&r, NULL, 1234, yarn);
	for (int i = 0; i < 2; i++) {
		assert_true(fabsf(yarn[i] - fast[i] * m) < 1e-6f);
		assert_true(fabsf(yarn[126 + i] - slow[126 + i] * m) < 1e-6f);
	}
	/* No extrapolation at all: linear, and no change of magnitude. */
	r.ext_factor = 0.0f;
	pst_rope_table(&r, NULL, 1234, yarn);
	for (int i = 0; i < 128; i++)
		assert_true(fabsf(yarn[i] - slow[i]) < 1e-6f);
}

/* Keys of a file may be silly; the table is still written, all of it. */
static void silly_parameters_write_the_whole_table(void **state)
{
	static const float bases[] = { 1.0f, 1e-30f, 3e38f, 0.5f };
	static const float betas[] = { 0.0f, -1.0f, 1e38f };

	for (size_t b = 0; b < PST_ARRAY_SIZE(bases); b++) {
		for (size_t k = 0; k < PST_ARRAY_SIZE(betas); k++) {
			struct pst_rope_params r = plain(8, bases[b]);
			float cs[10];

			for (int i = 0; i < 10; i++)
				cs[i] = 99.0f;
			r.scaling = PST_ROPE_SCALE_YARN;
			r.factor = 1e-30f;
			r.ext_factor = 1.0f;
			r.ctx_orig = 1;
			r.beta_fast = betas[k];
			r.beta_slow = betas[k];
			pst_rope_table(&r, NULL, UINT32_MAX, cs);
			for (int i = 0; i < 8; i++)
				assert_false(cs[i] == 99.0f);
			assert_true(cs[8] == 99.0f && cs[9] == 99.0f);
		}
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(position_zero_does_not_rotate),
		cmocka_unit_test(angles_have_their_closed_form),
		cmocka_unit_test(plain_and_linear_agree_with_the_slow_way),
		cmocka_unit_test(frequency_factors_divide),
		cmocka_unit_test(yarn_agrees_with_the_slow_way),
		cmocka_unit_test(yarn_reaches_both_limits),
		cmocka_unit_test(silly_parameters_write_the_whole_table),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
