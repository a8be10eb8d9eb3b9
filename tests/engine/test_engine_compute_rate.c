// SPDX-License-Identifier: MIT
/*
 * Products are timed whatever their shape: the figures are those of the machine,
 * so what is checked is which shapes get one, and that larger ones get more.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "compute_rate.h"

struct bed {
	struct pst_kernels k;
	struct pst_pool *pool;
	struct pst_compute_args args;
	struct pst_compute_rate rate;
};

static int setup(void **state)
{
	static struct bed b;

	pst_kernels_init(&b.k, pst_cpu_detect());
	b.args = (struct pst_compute_args){ .k = &b.k,
					    .columns = 1,
					    .head = 72 };
	*state = &b;
	if (pst_pool_create(2, false, &b.pool))
		return -1;
	b.args.pool = b.pool;
	return 0;
}

static int teardown(void **state)
{
	struct bed *b = *state;

	pst_pool_destroy(b->pool);
	return 0;
}

static void every_shape_with_a_kernel_gets_a_time(void **state)
{
	struct bed *b = *state;
	struct pst_compute_shape shapes[] = {
		{ .type = PST_K_Q4_K, .n_in = 512, .n_out = 1, .nr = 1 },
		{ .type = PST_K_F32, .n_in = 96, .n_out = 17, .nr = 1 },
		{ .type = PST_K_Q8_0, .n_in = 4096, .n_out = 300, .nr = 10 },
		{ .type = PST_KTYPE_COUNT, .n_in = 512, .n_out = 16, .nr = 1 },
		/* Blocks are of 256 weights. */
		{ .type = PST_K_Q4_K, .n_in = 320, .n_out = 16, .nr = 1 },
		{ .type = PST_K_F32, .n_in = 64, .n_out = 0, .nr = 1 },
		{ .type = PST_K_F32, .n_in = 64, .n_out = 16, .nr = 0 },
		/* Larger than what is measured with, a row of each. */
		{ .type = PST_K_F32, .n_in = 4096, .n_out = 16, .nr = 4096 },
	};

	assert_int_equal(
		pst_compute_rate_measure(&b->args, shapes, 8, &b->rate), 0);
	for (int i = 0; i < 3; i++)
		assert_true(shapes[i].s > 0.0);
	for (int i = 3; i < 8; i++)
		assert_true(shapes[i].s == 0.0);
	assert_true(b->rate.mem_bps > 0.0);
	assert_true(b->rate.job_s > 0.0 && b->rate.wake_s > 0.0);
	assert_true(b->rate.attend_s > 0.0);
}

/* 160 MiB as one job where 16 are measured. */
static void a_matrix_larger_than_the_memory_is_reckoned_up(void **state)
{
	struct bed *b = *state;
	struct pst_compute_shape shapes[] = {
		{ .type = PST_K_F32, .n_in = 4096, .n_out = 512, .nr = 1 },
		{ .type = PST_K_F32, .n_in = 4096, .n_out = 10240, .nr = 1 },
	};

	assert_int_equal(
		pst_compute_rate_measure(&b->args, shapes, 2, &b->rate), 0);
	/* 20 times the rows; noise of a busy machine is far from four times. */
	assert_true(shapes[1].s > 5.0 * shapes[0].s);
}

/* Files say what they like: more than what is measured with could hold. */
static void heads_of_any_length_get_a_rate(void **state)
{
	static const uint32_t head[] = { 1, 72, 1 << 20, UINT32_MAX };
	struct bed *b = *state;

	for (int i = 0; i < 4; i++) {
		b->args.head = head[i];
		assert_int_equal(pst_compute_rate_measure(&b->args, NULL, 0,
							  &b->rate),
				 0);
		assert_true(b->rate.attend_s > 0.0 && b->rate.attend_s < 1e-3);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_shape_with_a_kernel_gets_a_time),
		cmocka_unit_test(
			a_matrix_larger_than_the_memory_is_reckoned_up),
		cmocka_unit_test(heads_of_any_length_get_a_rate),
	};

	return cmocka_run_group_tests(tests, setup, teardown);
}
