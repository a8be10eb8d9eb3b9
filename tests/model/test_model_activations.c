// SPDX-License-Identifier: MIT
/*
 * Activations that are rounded twice: how near they are, and that products
 * with them depend on nothing but the row and the token.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_testing.h"

#define ALL_CPU UINT32_MAX /* that the processor has */

enum {
	WIDTH = 96, /* of a row: not a multiple of 64 */
	STRIDE = 128,
	NR_TOKENS = 41,
	NR_ROWS = 5000, /* more than are multiplied at a time */
	Q8_0_BYTES = 34,
	ROW_BYTES = WIDTH / 32 * Q8_0_BYTES,
};

/* A forward pass without a model: kernels, memory and how to round. */
struct bed {
	struct pst_kernels k;
	struct pst_model m;
	struct pst_fwd f;
	struct act x;
	void *mem;
};

static float noise(uint64_t *rng)
{
	return (float)((double)(pst_rng_next(rng) >> 11) * 0x1p-53 - 0.5);
}

static void bed_open(struct bed *b, uint32_t mask, enum pst_activations how)
{
	struct carve c = { 0 };
	uint64_t rng = 20261121;

	memset(b, 0, sizeof(*b));
	pst_kernels_init(&b->k, mask & pst_cpu_detect());
	b->m.widest = WIDTH;
	b->f.k = &b->k;
	b->f.m = &b->m;
	b->f.activations = how;
	for (int pass = 0; pass < 2; pass++) {
		pst_carve_act(&b->f, &c, &b->x, NR_TOKENS, WIDTH);
		b->f.scratch = pst_carve(&c, pst_mul_scratch_floats(&b->f),
					 sizeof(float));
		if (pass)
			break;
		b->mem = aligned_alloc(64, c.at);
		assert_non_null(b->mem);
		memset(b->mem, 0, c.at);
		c = (struct carve){ .base = b->mem };
	}
	assert_int_equal(b->x.stride, STRIDE);
	for (int t = 0; t < NR_TOKENS; t++)
		for (int i = 0; i < WIDTH; i++)
			b->x.f32[t * STRIDE + i] =
				noise(&rng) * (i / 32 == 1 ? 1e-3f : 3.0f);
	for (int t = 0; t < NR_TOKENS; t++)
		pst_quantize_row(&b->f, &b->x, (size_t)t, WIDTH);
}

static void bed_close(struct bed *b)
{
	free(b->mem);
}

/* What a product sees of a number. */
static double seen(const struct act *x, size_t at)
{
	double v = (double)x->d[at / 32] * x->q8[at];

	at += x->k.rest;
	if (x->k.rest)
		v += (double)x->d[at / 32] * x->q8[at];
	return v;
}

static void a_second_rounding_is_254_times_as_fine(void **state)
{
	static const enum pst_activations how[] = { PST_ACT_Q8, PST_ACT_Q16 };
	static const double steps[] = { 254, 254 * 253 };

	for (int w = 0; w < 2; w++) {
		double worst = 0;
		struct bed b;

		bed_open(&b, ALL_CPU, how[w]);
		for (size_t i = 0; i < (size_t)NR_TOKENS * STRIDE; i += 32) {
			double most = 0;

			if (i % STRIDE >= WIDTH)
				continue;
			for (size_t j = i; j < i + 32; j++)
				most = fmax(most, fabs((double)b.x.f32[j]));
			for (size_t j = i; j < i + 32; j++)
				worst = fmax(worst, fabs((double)b.x.f32[j] -
							 seen(&b.x, j)) /
							    most);
		}
		assert_true(worst < 1.001 / steps[w]);
		assert_true(worst > 0.5 / steps[w]);
		bed_close(&b);
	}
}

/* Weights of Q8_0; heap. */
static uint8_t *make_weights(void)
{
	uint8_t *w = calloc(NR_ROWS, ROW_BYTES);
	uint64_t rng = 7;

	assert_non_null(w);
	for (size_t i = 0; i < (size_t)NR_ROWS * ROW_BYTES; i += Q8_0_BYTES) {
		w[i + 1] = 0x1c; /* the half 0x1cxx is 0.004 to 0.008 */
		w[i] = (uint8_t)pst_rng_next(&rng);
		for (int j = 2; j < Q8_0_BYTES; j++)
			w[i + j] = (uint8_t)pst_rng_next(&rng);
	}
	return w;
}

static void multiply(struct bed *b, const uint8_t *w, const uint32_t *idx,
		     uint32_t nr, uint32_t nr_rows, float *y)
{
	struct pst_kmul m = { .w = w,
			      .row_bytes = ROW_BYTES,
			      .n = WIDTH,
			      .nr_rows = nr_rows,
			      .idx = idx,
			      .nr_x = nr,
			      .y = y,
			      .y_stride = NR_ROWS,
			      .scratch = b->f.scratch };

	pst_act_mul(&b->f, PST_K_Q8_0, &b->x.k, &m);
}

/* As it would be in exact arithmetic, and the sum of magnitudes. */
static double exact(const struct bed *b, const uint8_t *row, size_t token,
		    double *size)
{
	double sum = 0;
	float w[WIDTH];

	b->k.types[PST_K_Q8_0].dequant(w, row, WIDTH);
	*size = 0;
	for (size_t i = 0; i < WIDTH; i++) {
		double v = (double)w[i] * (double)b->x.f32[token * STRIDE + i];

		sum += v;
		*size += fabs(v);
	}
	return sum;
}

static void check_products(uint32_t mask)
{
	uint32_t backwards[NR_TOKENS];
	uint8_t *w = make_weights();
	float *all = calloc((size_t)NR_TOKENS * NR_ROWS, sizeof(*all));
	float *one = calloc(NR_ROWS, sizeof(*one));
	struct bed b;

	for (uint32_t i = 0; i < NR_TOKENS; i++)
		backwards[i] = NR_TOKENS - 1 - i;
	bed_open(&b, mask, PST_ACT_Q16);
	multiply(&b, w, backwards, NR_TOKENS, NR_ROWS, all);
	for (uint32_t i = 0; i < NR_TOKENS; i++) {
		/* One token, by rows in two calls. */
		uint32_t t = backwards[i], half = 2999;
		float *y = all + (size_t)i * NR_ROWS;

		multiply(&b, w, &t, 1, half, one);
		multiply(&b, w + (size_t)half * ROW_BYTES, &t, 1,
			 NR_ROWS - half, one + half);
		assert_memory_equal(one, y, NR_ROWS * sizeof(*one));
		for (uint32_t r = 0; r < NR_ROWS; r += 97) {
			double size,
				want = exact(&b, w + r * ROW_BYTES, t, &size);

			assert_true(fabs((double)y[r] - want) < 1e-5 * size);
		}
	}
	bed_close(&b);
	free(one);
	free(all);
	free(w);
}

static void products_see_both_roundings_whoever_else_is_there(void **state)
{
	static const uint32_t masks[] = { 0, PST_CPU_AVX2, ALL_CPU };

	for (size_t i = 0; i < PST_ARRAY_SIZE(masks); i++)
		check_products(masks[i]);
}

/* A scale that is not a number must not vanish. */
static void what_is_no_number_spoils_the_product(void **state)
{
	uint8_t *w = make_weights();
	const uint32_t token = 3;
	struct bed b;
	float y[2];

	bed_open(&b, ALL_CPU, PST_ACT_Q16);
	b.x.f32[token * STRIDE + 40] = NAN;
	pst_quantize_row(&b.f, &b.x, token, WIDTH);
	multiply(&b, w, &token, 1, 2, y);
	assert_true(isnan(y[0]) && isnan(y[1]));
	b.x.f32[token * STRIDE + 40] = INFINITY;
	pst_quantize_row(&b.f, &b.x, token, WIDTH);
	multiply(&b, w, &token, 1, 2, y);
	assert_true(!isfinite(y[0]) && !isfinite(y[1]));
	bed_close(&b);
	free(w);
}

static const char *const models[] = { "logits/q-qwen3moe-Q4_K/model.gguf",
				      "logits/q-llama-Q6_K/model.gguf" };

#define TEXT 40

static void check_model(const char *name, uint32_t mask)
{
	static const uint32_t batches[] = { 1, 7, 33 };
	char *path = mbed_data(name);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = TEXT,
				  .threads = 1,
				  .nr_slots = 64,
				  .cpu_mask = mask,
				  .kv = PST_KV_F32,
				  .activations = PST_ACT_Q16 };
	uint32_t n_vocab;
	float *want = mbed_logits(&args, TEXT, args.n_batch, &n_vocab), *coarse;

	for (uint32_t i = 0; i < PST_ARRAY_SIZE(batches); i++) {
		float *got;

		args.n_batch = batches[i];
		args.threads = 1 + i;
		args.nr_slots = i ? 0 : 9;
		got = mbed_logits(&args, TEXT, args.n_batch, &n_vocab);
		assert_memory_equal(got, want,
				    (size_t)TEXT * n_vocab * sizeof(*got));
		free(got);
	}
	args.activations = PST_ACT_Q8;
	coarse = mbed_logits(&args, TEXT, args.n_batch, &n_vocab);
	assert_memory_not_equal(coarse, want,
				(size_t)TEXT * n_vocab * sizeof(*want));
	free(coarse);
	free(want);
	free(path);
}

static void batch_threads_and_slots_change_no_bit(void **state)
{
	static const uint32_t masks[] = { 0, PST_CPU_AVX2, ALL_CPU };

	for (size_t i = 0; i < PST_ARRAY_SIZE(masks); i++)
		for (size_t m = 0; m < PST_ARRAY_SIZE(models); m++)
			check_model(models[m], masks[i]);
}

static uint64_t scratch_bytes(struct mbed *b, enum pst_activations how)
{
	struct pst_fwd_args args = { .model = b->m,
				     .kernels = &b->k,
				     .pool = b->pool,
				     .n_batch = 32,
				     .n_ctx = 64,
				     .activations = how };

	return pst_fwd_bytes(&args);
}

/* A code for each number, a scale and a sum for 32 of them. */
static void their_memory_is_counted(void **state)
{
	char *path = mbed_data(models[0]);
	struct mbed_args args = { .path = path,
				  .n_ctx = 64,
				  .n_batch = 32,
				  .threads = 1,
				  .nr_slots = 64,
				  .kv = PST_KV_F32 };
	struct mbed b;

	mbed_open(&b, &args);
	assert_true(scratch_bytes(&b, PST_ACT_Q16) >=
		    scratch_bytes(&b, PST_ACT_Q8) +
			    32 * b.m->hp.n_embd / 8 * 10);
	mbed_close(&b);
	free(path);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_second_rounding_is_254_times_as_fine),
		cmocka_unit_test(
			products_see_both_roundings_whoever_else_is_there),
		cmocka_unit_test(what_is_no_number_spoils_the_product),
		cmocka_unit_test(batch_threads_and_slots_change_no_bit),
		cmocka_unit_test(their_memory_is_counted),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
