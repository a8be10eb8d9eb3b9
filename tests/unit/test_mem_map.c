// SPDX-License-Identifier: MIT
/*
 * Regions: what they are made of, that they are there, and what is said when
 * they cannot be had.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem_priv.h"

#define HUGE_2M (2 * PST_MIB)

/* All pages of a region are in memory, which is what touching is for. */
static void check_resident(const struct pst_mem *m)
{
	uint64_t nr_pages = m->size_bytes / 4096;
	unsigned char *vec = malloc(nr_pages);

	assert_int_equal(mincore(m->addr, m->size_bytes, vec), 0);
	for (uint64_t i = 0; i < nr_pages; i++)
		assert_true(vec[i] & 1);
	free(vec);
}

static void check_region(struct pst_mem *m, uint64_t asked_bytes)
{
	unsigned char *p = m->addr;

	assert_int_equal((uintptr_t)m->addr % m->page_bytes, 0);
	assert_int_equal(m->size_bytes % m->page_bytes, 0);
	assert_true(m->size_bytes >= asked_bytes);
	assert_true(m->size_bytes - asked_bytes < m->page_bytes);
	check_resident(m);
	for (uint64_t i = 0; i < m->size_bytes; i += 4096)
		assert_int_equal(p[i], 0);
	memset(p, 0x5a, m->size_bytes);
}

static void small_pages_are_always_to_be_had(void **s)
{
	struct pst_mem_args args = { .size_bytes = 3 * PST_MIB + 1,
				     .want = PST_MEM_SMALL,
				     .node = -1 };
	struct pst_mem m;

	assert_int_equal(pst_mem_map(&args, &m, NULL), 0);
	assert_int_equal(m.kind, PST_MEM_KIND_SMALL);
	assert_int_equal(m.page_bytes, 4096);
	assert_int_equal(m.node, -1);
	assert_string_equal(pst_mem_kind_name(&m), "4 KiB pages");
	check_region(&m, args.size_bytes);
	pst_mem_unmap(&m);
	assert_null(m.addr);
	pst_mem_unmap(&m);
}

static void transparent_huge_pages_are_counted(void **s)
{
	struct pst_mem_args args = { .size_bytes = 9 * PST_MIB,
				     .want = PST_MEM_THP,
				     .node = -1 };
	struct pst_diag diag;
	struct pst_mem m;
	int ret;

	pst_diag_init(&diag);
	ret = pst_mem_map(&args, &m, &diag);
	if (ret == -ENOMEM) {
		print_message("left out: %s\n", diag.text);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_int_equal(m.kind, PST_MEM_KIND_THP);
	assert_int_equal(m.size_bytes, 10 * PST_MIB);
	assert_true(m.thp_bytes <= m.size_bytes);
	assert_int_equal(m.thp_bytes % HUGE_2M, 0);
	print_message("%llu of %llu MiB in huge pages\n",
		      (unsigned long long)(m.thp_bytes / PST_MIB),
		      (unsigned long long)(m.size_bytes / PST_MIB));
	assert_string_equal(pst_mem_kind_name(&m), "transparent huge pages");
	check_region(&m, args.size_bytes);
	pst_mem_unmap(&m);
}

static void auto_takes_the_best_kind_there_is(void **s)
{
	struct pst_mem_args args = { .size_bytes = 8 * PST_MIB,
				     .want = PST_MEM_AUTO,
				     .node = -1 };
	uint64_t pool_bytes = pst_mem_hugetlb_free("", HUGE_2M, -1);
	struct pst_mem m;

	assert_int_equal(pst_mem_map(&args, &m, NULL), 0);
	if (pool_bytes >= args.size_bytes)
		assert_int_equal(m.kind, PST_MEM_KIND_HUGETLB);
	else
		assert_int_not_equal(m.kind, PST_MEM_KIND_HUGETLB);
	if (m.kind == PST_MEM_KIND_THP)
		assert_true(m.thp_bytes > 0);
	print_message("auto: %s\n", pst_mem_kind_name(&m));
	check_region(&m, args.size_bytes);
	pst_mem_unmap(&m);
}

static void an_empty_pool_is_named_with_its_numbers(void **s)
{
	static const enum pst_mem_want wants[] = { PST_MEM_HUGE_2M,
						   PST_MEM_HUGE_1G };
	static const uint64_t pages[] = { HUGE_2M, PST_GIB };
	struct pst_mem m = { .size_bytes = 7 };
	struct pst_diag diag;

	for (int i = 0; i < 2; i++) {
		struct pst_mem_args args = {
			.size_bytes =
				pst_mem_hugetlb_free("", pages[i], -1) + 1,
			.want = wants[i],
			.node = -1
		};

		pst_diag_init(&diag);
		assert_int_equal(pst_mem_map(&args, &m, &diag), -ENOMEM);
		assert_non_null(strstr(diag.text, i ? "1024 MiB huge pages"
						    : "2 MiB huge pages"));
		assert_non_null(strstr(diag.text, i ? "1048576kB/nr_hugepages"
						    : "vm.nr_hugepages"));
		assert_int_equal(m.size_bytes, 7);
	}
}

static void a_filled_pool_is_used(void **s)
{
	struct pst_mem_args args = { .size_bytes = HUGE_2M + 1,
				     .want = PST_MEM_HUGE_2M,
				     .node = -1 };
	struct pst_mem m;

	if (pst_mem_hugetlb_free("", HUGE_2M, -1) < 2 * HUGE_2M) {
		print_message("no pool of huge pages here\n");
		skip();
	}
	assert_int_equal(pst_mem_map(&args, &m, NULL), 0);
	assert_int_equal(m.kind, PST_MEM_KIND_HUGETLB);
	assert_int_equal(m.size_bytes, 2 * HUGE_2M);
	assert_string_equal(pst_mem_kind_name(&m), "hugetlb 2 MiB");
	check_region(&m, args.size_bytes);
	pst_mem_unmap(&m);
}

static void a_region_is_bound_to_its_node(void **s)
{
	struct pst_mem_args args = { .size_bytes = PST_MIB,
				     .want = PST_MEM_SMALL };
	struct pst_diag diag;
	struct pst_mem m;
	char *maps, key[32];
	const char *line;
	int ret;

	pst_diag_init(&diag);
	ret = pst_mem_map(&args, &m, &diag);
	if (ret && access("/sys/devices/system/node/node0", F_OK)) {
		print_message("left out: %s\n", diag.text);
		skip();
	}
	assert_int_equal(ret, 0);
	assert_int_equal(m.node, 0);
	assert_int_equal(pst_mem_slurp(&maps, "/proc/self/numa_maps"), 0);
	snprintf(key, sizeof(key), "%08lx ", (unsigned long)m.addr);
	line = pst_mem_find_key(maps, key);
	assert_non_null(line);
	assert_int_equal(strncmp(line, "bind:0", 6), 0);
	free(maps);
	check_region(&m, args.size_bytes);
	pst_mem_unmap(&m);
}

static void a_node_that_is_not_there_is_refused(void **s)
{
	static const int nodes[] = { 1023, 1024, 1 << 30 };
	struct pst_mem_args args = { .size_bytes = PST_MIB,
				     .want = PST_MEM_SMALL };
	struct pst_diag diag;
	struct pst_mem m;

	for (size_t i = 0; i < PST_ARRAY_SIZE(nodes); i++) {
		pst_diag_init(&diag);
		args.node = nodes[i];
		assert_int_equal(pst_mem_map(&args, &m, &diag), -EINVAL);
		assert_non_null(strstr(diag.text, "NUMA node"));
	}
}

static void impossible_sizes_are_refused(void **s)
{
	struct pst_mem_args args = { .want = PST_MEM_SMALL, .node = -1 };
	struct pst_diag diag;
	struct pst_mem m;

	pst_diag_init(&diag);
	assert_int_equal(pst_mem_map(&args, &m, &diag), -EINVAL);
	args.size_bytes = UINT64_MAX;
	assert_int_equal(pst_mem_map(&args, &m, NULL), -EINVAL);
	for (int want = PST_MEM_AUTO; want <= PST_MEM_SMALL; want++) {
		args.want = (enum pst_mem_want)want;
		args.size_bytes = 1ULL << 60;
		pst_diag_init(&diag);
		assert_int_equal(pst_mem_map(&args, &m, &diag), -ENOMEM);
		assert_true(*diag.text);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(small_pages_are_always_to_be_had),
		cmocka_unit_test(transparent_huge_pages_are_counted),
		cmocka_unit_test(auto_takes_the_best_kind_there_is),
		cmocka_unit_test(an_empty_pool_is_named_with_its_numbers),
		cmocka_unit_test(a_filled_pool_is_used),
		cmocka_unit_test(a_region_is_bound_to_its_node),
		cmocka_unit_test(a_node_that_is_not_there_is_refused),
		cmocka_unit_test(impossible_sizes_are_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
