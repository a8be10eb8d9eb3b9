/* SPDX-License-Identifier: MIT */
/*
 * The part of cmocka that the tests of the kernels use, for a build that has
 * the C library of another machine and nothing else.  A test that fails prints
 * why and ends; the others run.
 */
#ifndef PST_STANDIN_CMOCKA_H
#define PST_STANDIN_CMOCKA_H

#include <setjmp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct CMUnitTest {
	const char *name;
	void (*run)(void **state);
};

/* Where a failing test returns to; one test runs at a time. */
static inline jmp_buf *standin_exit(void)
{
	static jmp_buf env;

	return &env;
}

#define cmocka_unit_test(f)             \
	{                               \
		.name = #f, .run = (f), \
	}
#define print_message(...) ((void)printf(__VA_ARGS__))
#define fail_msg(...)                                           \
	do {                                                    \
		fprintf(stderr, "%s:%d: ", __FILE__, __LINE__); \
		fprintf(stderr, __VA_ARGS__);                   \
		fputc('\n', stderr);                            \
		longjmp(*standin_exit(), 1);                    \
	} while (0)
#define assert_true(x)                      \
	do {                                \
		if (!(x))                   \
			fail_msg("%s", #x); \
	} while (0)
#define assert_non_null(p) assert_true((p) != NULL)
#define assert_in_range(x, least, most) \
	assert_true((x) >= (least) && (x) <= (most))

#define assert_int_equal(a, b)                                        \
	do {                                                          \
		long long a_ = (long long)(a), b_ = (long long)(b);   \
                                                                      \
		if (a_ != b_)                                         \
			fail_msg("%s is %lld, not %lld", #a, a_, b_); \
	} while (0)
#define assert_memory_equal(a, b, bytes) assert_true(!memcmp((a), (b), (bytes)))

static inline int standin_run(const char *group, const struct CMUnitTest *tests,
			      size_t nr)
{
	volatile size_t i;
	volatile int failed = 0;

	for (i = 0; i < nr; i++) {
		void *state = NULL;
		int bad = setjmp(*standin_exit());

		if (!bad)
			tests[i].run(&state);
		printf("%s %s: %s\n", bad ? "FAILED" : "OK", group,
		       tests[i].name);
		failed += bad;
	}
	return failed;
}

#define cmocka_run_group_tests_name(group, tests, setup, teardown) \
	standin_run((group), (tests), sizeof(tests) / sizeof((tests)[0]))
#define cmocka_run_group_tests(tests, setup, teardown) \
	cmocka_run_group_tests_name(#tests, tests, setup, teardown)

#endif
