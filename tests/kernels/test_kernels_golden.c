// SPDX-License-Identifier: MIT
/*
 * Dequantisation and products against what ggml makes of the same bytes, for
 * the table of each instruction set that the CPU has.  The rows in
 * tests/data/quants are always there; the full matrices with their products
 * are golden data and may be missing.
 */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "ktest.h"

enum {
	NR_COLS = 1024,
	NR_ROWS = 16,
	SMALL_COLS = 512,
	SMALL_ROWS = 5,
};

static void golden_dir(char *dir, size_t len)
{
	const char *golden = getenv("PENSTOCK_GOLDEN");
	const char *src = getenv("PENSTOCK_SRC");

	if (golden)
		snprintf(dir, len, "%s/quants", golden);
	else
		snprintf(dir, len, "%s/../shared/golden/quants",
			 src ? src : ".");
}

static void small_dir(char *dir, size_t len)
{
	const char *src = getenv("PENSTOCK_SRC");

	snprintf(dir, len, "%s/tests/data/quants", src ? src : ".");
}

/* Reads exactly @bytes; a file that is missing or shorter fails the test. */
static void *read_file(const char *dir, const char *name, const char *suffix,
		       size_t bytes)
{
	char path[1024];
	void *p = aligned_alloc(64, (bytes + 63) / 64 * 64);
	size_t got;
	FILE *f;

	snprintf(path, sizeof(path), "%s/%s%s", dir, name, suffix);
	f = fopen(path, "rb");
	if (!f)
		fail_msg("cannot open %s", path);
	assert_non_null(p);
	got = fread(p, 1, bytes, f);
	fclose(f);
	if (got != bytes)
		fail_msg("%s is shorter than %zu bytes", path, bytes);
	return p;
}

static bool file_exists(const char *dir, const char *name)
{
	char path[1024];

	snprintf(path, sizeof(path), "%s/%s", dir, name);
	return access(path, R_OK) == 0;
}

static size_t row_bytes(const struct pst_ktype_ops *ops, uint32_t cols)
{
	return (size_t)cols / ops->block_elems * ops->block_bytes;
}

/* Rows of one file, every bit. */
static void check_dequant(const char *dir, const char *name,
			  enum pst_ktype type, uint32_t rows, uint32_t cols)
{
	size_t nr = (size_t)rows * cols;
	struct pst_kernels k;
	float *want, *got;
	uint8_t *bin;
	size_t i, m;

	pst_kernels_init(&k, 0);
	bin = read_file(dir, name, ".bin",
			rows * row_bytes(&k.types[type], cols));
	want = read_file(dir, name, ".f32", nr * sizeof(float));
	got = malloc(nr * sizeof(float));
	assert_non_null(got);
	for (m = 0; m < KTEST_NR_MASKS; m++) {
		if (!ktest_can_run(ktest_masks[m]))
			continue;
		pst_kernels_init(&k, ktest_masks[m]);
		for (i = 0; i < rows; i++)
			k.types[type].dequant(
				got + i * cols,
				bin + i * row_bytes(&k.types[type], cols),
				cols);
		for (i = 0; i < nr; i++)
			if (memcmp(got + i, want + i, sizeof(float)))
				fail_msg("%s %s: value %zu is %a, not %a", name,
					 k.name, i, (double)got[i],
					 (double)want[i]);
	}
	free(got);
	free(want);
	free(bin);
}

static void dequant_of_the_small_rows_is_bit_exact(void **state)
{
	char dir[900];
	size_t i;

	(void)state;
	small_dir(dir, sizeof(dir));
	for (i = 0; i < KTEST_NR_TYPES; i++)
		if (ktest_types[i].type != PST_K_F32)
			check_dequant(dir, ktest_types[i].name,
				      ktest_types[i].type, SMALL_ROWS,
				      SMALL_COLS);
}

static void dequant_of_the_golden_matrices_is_bit_exact(void **state)
{
	char dir[900], name[64];
	size_t i;

	(void)state;
	golden_dir(dir, sizeof(dir));
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		if (ktest_types[i].type == PST_K_F32)
			continue;
		check_dequant(dir, ktest_types[i].name, ktest_types[i].type,
			      NR_ROWS, NR_COLS);
		snprintf(name, sizeof(name), "%s-rnd", ktest_types[i].name);
		check_dequant(dir, name, ktest_types[i].type, NR_ROWS, NR_COLS);
	}
}

/* The golden activations in both forms. */
struct acts {
	struct pst_kact act;
	float *x;
	int8_t q8[NR_COLS] __attribute__((aligned(64)));
	float d[NR_COLS / 32];
	int32_t sum[NR_COLS / 32];
};

static void load_acts(struct acts *a, const struct pst_kernels *k,
		      const char *dir)
{
	a->x = read_file(dir, "x", ".f32", NR_COLS * sizeof(float));
	k->quantize(a->q8, a->d, a->sum, a->x, NR_COLS);
	a->act = (struct pst_kact){ a->x, a->q8, a->d, a->sum, NR_COLS };
}

static void run_mul(const struct pst_kernels *k, enum pst_ktype type,
		    const uint8_t *bin, const struct acts *a, float *y)
{
	static _Alignas(64) float scratch[NR_COLS + 64];
	struct pst_kmul mul = {
		.w = bin,
		.row_bytes = row_bytes(&k->types[type], NR_COLS),
		.n = NR_COLS,
		.nr_rows = NR_ROWS,
		.x = &a->act,
		.nr_x = 1,
		.y = y,
		.y_stride = NR_ROWS,
		.scratch = scratch,
	};

	k->types[type].mul(&mul);
}

/* Largest and root-mean-square error of a product over its rows, each row's
 * relative to |W_row| |x|; rows of zeros say nothing. */
struct errors {
	double max;
	double rms;
};

static double norm(const float *v, uint32_t n)
{
	double sum = 0;
	uint32_t i;

	for (i = 0; i < n; i++)
		sum += (double)v[i] * (double)v[i];
	return sqrt(sum);
}

static struct errors row_errors(const float *y, const float *y_true,
				const float *w, const float *x)
{
	struct errors e = { 0, 0 };
	double norm_x = norm(x, NR_COLS);
	int r;

	for (r = 0; r < NR_ROWS; r++) {
		double scale = norm(w + r * NR_COLS, NR_COLS) * norm_x;
		double err = fabs((double)y[r] - (double)y_true[r]);

		if (scale == 0) {
			assert_true(y[r] == 0);
			continue;
		}
		assert_true(isfinite(y[r]));
		e.max = fmax(e.max, err / scale);
		e.rms += err / scale * (err / scale) / NR_ROWS;
	}
	e.rms = sqrt(e.rms);
	return e;
}

/*
 * A single row's error is luck, and so nearly is that of one matrix of 16 rows:
 * ggml rounds the scales of the activations to half precision and takes blocks
 * of 256 for the K types, so its error and ours are different draws.  The
 * largest and the mean over all golden matrices of a type compare.
 */
struct yardstick {
	struct errors ours[KTEST_NR_MASKS], ggml;
	uint32_t nr; /* matrices */
};

static void add_errors(struct errors *sum, const struct errors *e)
{
	sum->max = fmax(sum->max, e->max);
	sum->rms += e->rms * e->rms;
}

static void check_mul(const char *dir, const char *name, enum pst_ktype type,
		      struct yardstick *y_sum)
{
	float y[NR_ROWS], *w, *y_true, *y_ggml;
	struct pst_kernels k;
	struct errors e;
	uint8_t *bin;
	size_t m;

	pst_kernels_init(&k, 0);
	bin = read_file(dir, name, ".bin",
			NR_ROWS * row_bytes(&k.types[type], NR_COLS));
	w = read_file(dir, name, ".f32", NR_ROWS * NR_COLS * sizeof(float));
	y_true = read_file(dir, name, ".y_true.f32", sizeof(y));
	y_ggml = read_file(dir, name, ".y_ggml.f32", sizeof(y));
	for (m = 0; m < KTEST_NR_MASKS; m++) {
		struct acts a;

		if (!ktest_can_run(ktest_masks[m]))
			continue;
		pst_kernels_init(&k, ktest_masks[m]);
		load_acts(&a, &k, dir);
		run_mul(&k, type, bin, &a, y);
		e = row_errors(y, y_true, w, a.x);
		add_errors(&y_sum->ours[m], &e);
		if (k.types[type].act == PST_KACT_F32)
			assert_true(e.max <= 1e-6);
		if (m == 0) {
			e = row_errors(y_ggml, y_true, w, a.x);
			add_errors(&y_sum->ggml, &e);
		}
		free(a.x);
	}
	y_sum->nr++;
	free(y_ggml);
	free(y_true);
	free(w);
	free(bin);
}

static void compare(const char *name, const struct yardstick *y)
{
	double ggml_rms = sqrt(y->ggml.rms / y->nr);

	for (size_t m = 0; m < KTEST_NR_MASKS; m++) {
		double rms = sqrt(y->ours[m].rms / y->nr);

		if (!ktest_can_run(ktest_masks[m]))
			continue;
		print_message("%-8s level %zu max %.2e rms %.2e, ggml max "
			      "%.2e rms %.2e\n",
			      name, m, y->ours[m].max, rms, y->ggml.max,
			      ggml_rms);
		assert_true(y->ours[m].max <= fmax(1.05 * y->ggml.max, 1e-6));
		assert_true(rms <= fmax(1.05 * ggml_rms, 1e-6));
	}
}

static void mul_is_no_further_from_the_truth_than_ggml(void **state)
{
	char dir[900], name[64];
	size_t i;

	(void)state;
	golden_dir(dir, sizeof(dir));
	for (i = 0; i < KTEST_NR_TYPES; i++) {
		struct yardstick y = { .nr = 0 };

		if (ktest_types[i].type == PST_K_F32)
			continue;
		check_mul(dir, ktest_types[i].name, ktest_types[i].type, &y);
		snprintf(name, sizeof(name), "%s-rnd", ktest_types[i].name);
		check_mul(dir, name, ktest_types[i].type, &y);
		compare(ktest_types[i].name, &y);
	}
}

int main(void)
{
	const struct CMUnitTest always[] = {
		cmocka_unit_test(dequant_of_the_small_rows_is_bit_exact),
	};
	const struct CMUnitTest golden[] = {
		cmocka_unit_test(dequant_of_the_golden_matrices_is_bit_exact),
		cmocka_unit_test(mul_is_no_further_from_the_truth_than_ggml),
	};
	char dir[900];

	if (cmocka_run_group_tests(always, NULL, NULL))
		return 1;
	golden_dir(dir, sizeof(dir));
	if (!file_exists(dir, "x.f32")) {
		printf("skipped: no golden data in %s\n", dir);
		return 77;
	}
	return cmocka_run_group_tests(golden, NULL, NULL);
}
