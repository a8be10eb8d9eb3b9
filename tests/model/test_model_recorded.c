// SPDX-License-Identifier: MIT
/*
 * Every family's tiny model gives the logits that were recorded when the family
 * agreed with its reference: a checkout without the large references still
 * notices a family whose arithmetic changed.
 *
 * PENSTOCK_RECORD=1 writes the records anew: only where the references hold.
 */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "model_testing.h"

/* More than the windows, the runs and the chosen positions hold. */
#define NR_TOKENS 24
#define NR_VALUES (NR_TOKENS * TM_VOCAB)
/* Another order of additions, at most. */
#define MAX_NMSE 1e-9

static const uint32_t levels[] = { 0, PST_CPU_AVX2, ~0u };

static char *record_path(const struct tm_family *f)
{
	char name[96];

	snprintf(name, sizeof(name), "recorded/%s%s.f32", f->arch,
		 f->moe ? "-experts" : "");
	return mbed_data(name);
}

static void compute(const struct tm_family *f, uint32_t cpu_mask, float *out)
{
	struct mbed_args args = { .n_ctx = 64,
				  .n_batch = NR_TOKENS,
				  .threads = 1,
				  .nr_slots = TM_EXPERTS,
				  .cpu_mask = cpu_mask,
				  .kv = PST_KV_F32 };
	int32_t tokens[NR_TOKENS];
	struct tiny_model tm;
	struct mbed b;
	char *path;

	for (int32_t i = 0; i < NR_TOKENS; i++)
		tokens[i] = i * 7 % TM_VOCAB;
	tm_init(&tm, f->arch, f->moe);
	path = mbed_write(&tm);
	args.path = path;
	mbed_open(&b, &args);
	assert_int_equal(mbed_eval(&b, tokens, NR_TOKENS, NR_TOKENS, out), 0);
	mbed_close(&b);
	unlink(path);
	free(path);
}

static void write_record(const struct tm_family *f)
{
	char *path = record_path(f);
	FILE *file = fopen(path, "wb");
	float out[NR_VALUES];

	assert_non_null(file);
	compute(f, 0, out);
	assert_int_equal(fwrite(out, sizeof(*out), NR_VALUES, file), NR_VALUES);
	assert_int_equal(fclose(file), 0);
	free(path);
}

static void read_record(const struct tm_family *f, float *out)
{
	char *path = record_path(f);
	FILE *file = fopen(path, "rb");

	if (!file)
		fail_msg("%s is missing", path);
	assert_int_equal(fread(out, sizeof(*out), NR_VALUES, file), NR_VALUES);
	fclose(file);
	free(path);
}

static void every_family_gives_its_recorded_logits(void **state)
{
	uint32_t failed = 0;

	for (size_t i = 0; i < tm_nr_families; i++) {
		const struct tm_family *f = &tm_families[i];
		float want[NR_VALUES], got[NR_VALUES];

		if (getenv("PENSTOCK_RECORD"))
			write_record(f);
		read_record(f, want);
		for (size_t l = 0; l < PST_ARRAY_SIZE(levels); l++) {
			double err;

			compute(f, levels[l], got);
			err = mbed_nmse(want, got, NR_VALUES);
			if (err <= MAX_NMSE)
				continue;
			print_error("%s%s, CPU mask %#x: NMSE %g\n", f->arch,
				    f->moe ? " with experts" : "", levels[l],
				    err);
			failed++;
		}
	}
	assert_int_equal(failed, 0);
}

/* A record that another family's model met too would tell nothing. */
static void no_two_families_have_the_same_record(void **state)
{
	float a[NR_VALUES], b[NR_VALUES];

	for (size_t i = 0; i < tm_nr_families; i++)
		for (size_t j = 0; j < i; j++) {
			read_record(&tm_families[i], a);
			read_record(&tm_families[j], b);
			if (mbed_nmse(a, b, NR_VALUES) < 1e-3)
				fail_msg("%s is like %s", tm_families[i].arch,
					 tm_families[j].arch);
		}
}

int main(void)
{
	static const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_family_gives_its_recorded_logits),
		cmocka_unit_test(no_two_families_have_the_same_record),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
