// SPDX-License-Identifier: MIT
/*
 * Runs the tests in the guest and speaks TAP on the serial line.  After each
 * one it looks for bad lines in the kernel's log, and whether the module has
 * given back what the test had.
 *
 *	kt [PATTERN...]		tests whose name contains one of the patterns
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kt.h"

/* Emulation with a checking kernel takes its time. */
#define TEST_LIMIT_S 400

/*
 * Mappings that devices have; not those of the drives, whose driver gathers
 * memory as it goes.  -1 without DMA-API debugging.
 */
static long dma_entries(void)
{
	FILE *f = fopen("/sys/kernel/debug/dma-api/dump", "re");
	char line[512];
	long nr = 0;

	if (!f)
		return -1;
	while (fgets(line, sizeof(line), f))
		nr += !strstr(line, "nvme");
	fclose(f);
	return nr;
}

/* Before the injected failures, the first of which turns the count off. */
static void every_dma_mapping_is_undone(void)
{
	long start = strtol(getenv("KT_DMA_ENTRIES"), NULL, 10);
	int tries;

	if (start < 0)
		kt_skip("no DMA-API debugging in this kernel");
	for (tries = 0; tries < 40 && dma_entries() != start; tries++)
		kt_sleep_ms(50);
	KT_EQUAL(dma_entries(), start);
}

static const struct kt_test kt_debug_tests[] = {
	{ "debug: every DMA mapping is undone", every_dma_mapping_is_undone },
	{}
};

static const struct kt_test *const lists[] = {
	kt_place_tests, kt_call_tests,	kt_io_tests,	kt_export_tests,
	kt_life_tests,	kt_lease_tests, kt_limit_tests, kt_fuzz_tests,
	kt_debug_tests, kt_fault_tests,
};

static const char *const bad_lines[] = {
	"BUG:",
	"WARNING:",
	"Oops",
	"KASAN",
	"UBSAN",
	"general protection",
	"possible circular",
	"inconsistent lock",
	"suspicious RCU",
	"INFO: task",
	"refcount_t",
	"Bad page",
	"Bad rss",
	"Call Trace",
	"suspected memory leaks",
};

static bool is_bad(const char *record)
{
	size_t i;

	/* What fault injection itself says comes with a trace, too. */
	if (strstr(record, "FAULT_INJECTION"))
		return false;
	for (i = 0; i < sizeof(bad_lines) / sizeof(*bad_lines); i++)
		if (strstr(record, bad_lines[i]))
			return true;
	return false;
}

/* The kernel's log since the last look; the number of bad lines. */
static int bad_kernel_lines(int kmsg)
{
	int nr_bad = 0, nr_show = 0;
	char record[8192];
	ssize_t n;

	for (;;) {
		n = read(kmsg, record, sizeof(record) - 1);
		if (n < 0 && errno == EPIPE)
			continue;
		if (n <= 0)
			return nr_bad;
		record[n] = 0;
		if (is_bad(record)) {
			nr_bad++;
			nr_show = nr_show ? nr_show : 40;
		}
		if (!nr_show)
			continue;
		/* What follows says where it happened. */
		nr_show--;
		strtok(record, "\n");
		printf("# kernel: %.160s\n", strchr(record, ';') + 1);
	}
}

static bool module_is_empty(void)
{
	int tries;

	for (tries = 0; tries < 100; tries++) {
		if (access(PENSTOCK_DEVICE, F_OK))
			return true;
		if (!kt_info().total_bytes)
			return true;
		kt_sleep_ms(50);
	}
	printf("# %llu bytes of pools are left\n",
	       (unsigned long long)kt_info().total_bytes);
	return false;
}

static int run_one(const struct kt_test *test)
{
	int status;
	pid_t child;

	fflush(stdout);
	child = fork();
	if (!child) {
		alarm(TEST_LIMIT_S);
		test->run();
		fflush(stdout);
		_exit(0);
	}
	if (child < 0 || waitpid(child, &status, 0) != child)
		return 1;
	if (WIFEXITED(status))
		return WEXITSTATUS(status);
	printf("# ended by signal %d\n", WTERMSIG(status));
	return 1;
}

static bool is_wanted(const char *name, int nr, char **patterns)
{
	int i;

	for (i = 0; i < nr; i++)
		if (strstr(name, patterns[i]))
			return true;
	return !nr;
}

int main(int argc, char **argv)
{
	int kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	int nr = 0, nr_bad = 0;
	char text[24];
	size_t i;

	snprintf(text, sizeof(text), "%ld", dma_entries());
	setenv("KT_DMA_ENTRIES", text, 1);
	setvbuf(stdout, NULL, _IOLBF, 0);
	printf("TAP version 13\n");
	nr_bad = bad_kernel_lines(kmsg);
	for (i = 0; i < sizeof(lists) / sizeof(*lists); i++) {
		const struct kt_test *test;

		for (test = lists[i]; test->name; test++) {
			uint64_t start_ns = kt_now_ns();
			int rc;

			if (!is_wanted(test->name, argc - 1, argv + 1))
				continue;
			rc = run_one(test);
			if (rc && rc != KT_SKIP)
				kt_unlink_all();
			if (!module_is_empty()) {
				kt_unlink_all();
				rc = 1;
			}
			if (bad_kernel_lines(kmsg))
				rc = 1;
			nr_bad += rc && rc != KT_SKIP;
			printf("%s %d - %s%s # %.1f s\n",
			       rc && rc != KT_SKIP ? "not ok" : "ok", ++nr,
			       test->name, rc == KT_SKIP ? " # SKIP" : "",
			       (double)(kt_now_ns() - start_ns) * 1e-9);
		}
	}
	printf("1..%d\n", nr);
	return nr_bad != 0;
}
