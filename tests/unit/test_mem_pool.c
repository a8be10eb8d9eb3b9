// SPDX-License-Identifier: MIT
/*
 * One set of properties for every source of regions.  A source that this
 * machine lacks is left out, and why is said; in the guests of "make check-kmod"
 * the same program meets the kernel module.
 */
#include <errno.h>
#include <fcntl.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "mem_priv.h"

#define REGION_BYTES (4 * PST_MIB)
#define NAME	     "test-mem-pool"

struct source {
	enum pst_mem_source source;
	struct pst_mem_pool *pool;
};

static int open_source(void **s)
{
	struct source *src = *s;
	struct pst_diag diag;

	pst_diag_init(&diag);
	if (!pst_mem_pool_open(src->source, NULL, &src->pool, &diag))
		return 0;
	print_message("left out: %s\n", diag.text);
	src->pool = NULL;
	return 0;
}

static int close_source(void **s)
{
	struct source *src = *s;

	pst_mem_pool_close(src->pool);
	return 0;
}

/* A region of the source at hand; skips where it cannot be had. */
static struct source *region(void **s, struct pst_mem *m, uint64_t size_bytes,
			     enum pst_mem_want want)
{
	struct source *src = *s;
	struct pst_mem_args args = { .size_bytes = size_bytes,
				     .want = want,
				     .node = -1 };
	struct pst_diag diag;

	if (!src->pool)
		skip();
	args.pool = src->pool;
	pst_diag_init(&diag);
	if (pst_mem_map(&args, m, &diag))
		fail_msg("%s: %s", pst_mem_source_name(src->source), diag.text);
	return src;
}

static void check_bytes(const struct pst_mem *m, unsigned char value)
{
	const unsigned char *p = m->addr;

	for (uint64_t i = 0; i < m->size_bytes; i += 4096)
		assert_int_equal(p[i], value);
}

static void a_region_is_zeroed_aligned_and_there(void **s)
{
	struct pst_mem m;

	region(s, &m, 3 * PST_MIB + 1, PST_MEM_AUTO);
	print_message("%s\n", pst_mem_kind_name(&m));
	assert_int_equal((uintptr_t)m.addr % m.page_bytes, 0);
	assert_int_equal(m.size_bytes % m.page_bytes, 0);
	assert_true(m.size_bytes > 3 * PST_MIB && m.size_bytes <= 4 * PST_MIB);
	check_bytes(&m, 0);
	memset(m.addr, 0x5a, m.size_bytes);
	check_bytes(&m, 0x5a);
	pst_mem_unmap(&m);
	assert_null(m.addr);
	pst_mem_unmap(&m);
}

static void small_pages_can_be_asked_for(void **s)
{
	struct pst_mem m;

	region(s, &m, 4097, PST_MEM_SMALL);
	assert_int_equal(m.page_bytes, 4096);
	assert_int_equal(m.size_bytes, 8192);
	check_bytes(&m, 0);
	pst_mem_unmap(&m);
}

static void regions_do_not_share_bytes(void **s)
{
	struct pst_mem m[3];

	for (int i = 0; i < 3; i++)
		region(s, &m[i], REGION_BYTES, PST_MEM_AUTO);
	for (int i = 0; i < 3; i++)
		memset(m[i].addr, i + 1, REGION_BYTES);
	for (int i = 0; i < 3; i++) {
		check_bytes(&m[i], (unsigned char)(i + 1));
		pst_mem_unmap(&m[i]);
	}
}

/*
 * Resident bytes of this process, anonymous or shared or a device's.  Linux 6.1
 * keeps what up to 64 faults have mapped to itself, which may be 128 MiB of the
 * module's; unmapping anything makes it say so.
 */
static uint64_t resident(void)
{
	struct pst_mem_usage u;
	char *p = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_POPULATE, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	munmap(p, 4096);
	assert_int_equal(pst_mem_usage_read(&u), 0);
	return u.rss + u.hugetlb;
}

static void a_region_goes_and_comes_at_its_place(void **s)
{
	struct pst_mem m, kept;
	uint64_t before, gone;

	region(s, &m, 32 * PST_MIB, PST_MEM_AUTO);
	region(s, &kept, REGION_BYTES, PST_MEM_AUTO);
	memset(m.addr, 0x77, m.size_bytes);
	memset(kept.addr, 0x33, kept.size_bytes);
	before = resident();
	for (int round = 0; round < 3; round++) {
		void *place = m.addr;

		assert_int_equal(pst_mem_discard(&m), 0);
		gone = resident();
		if (gone + 24 * PST_MIB >= before)
			fail_msg("%llu of %llu KiB are still there",
				 (unsigned long long)(gone / PST_KIB),
				 (unsigned long long)(before / PST_KIB));
		assert_int_equal(pst_mem_refill(&m, NULL), 0);
		assert_ptr_equal(m.addr, place);
		assert_true(resident() + 4 * PST_MIB > before);
		check_bytes(&m, 0);
		memset(m.addr, 0x78, m.size_bytes);
	}
	check_bytes(&kept, 0x33);
	pst_mem_unmap(&kept);
	pst_mem_unmap(&m);
}

static void a_discarded_region_can_be_unmapped(void **s)
{
	uint64_t before = resident();
	struct pst_mem m;

	region(s, &m, 32 * PST_MIB, PST_MEM_AUTO);
	assert_int_equal(pst_mem_discard(&m), 0);
	pst_mem_unmap(&m);
	assert_true(resident() < before + 8 * PST_MIB);
}

static void unmapping_gives_the_memory_back(void **s)
{
	struct pst_mem_limits l;
	struct pst_mem m;
	uint64_t before;

	/* A source that leaked would have no memory left after a while. */
	assert_int_equal(pst_mem_limits_read(&l), 0);
	before = resident();
	for (uint64_t sum = 0; sum < 2 * PST_GIB; sum += 256 * PST_MIB) {
		if (l.mem_available < PST_GIB)
			break;
		region(s, &m, 256 * PST_MIB, PST_MEM_AUTO);
		pst_mem_unmap(&m);
	}
	assert_true(resident() < before + 64 * PST_MIB);
}

static void a_node_is_kept_to_or_refused(void **s)
{
	struct pst_mem_args args = { .size_bytes = REGION_BYTES };
	struct source *src = *s;
	struct pst_diag diag;
	struct pst_mem m;

	if (!src->pool)
		skip();
	args.pool = src->pool;
	if (!pst_mem_map(&args, &m, NULL)) {
		assert_int_equal(m.node, 0);
		pst_mem_unmap(&m);
	}
	for (args.node = 1023; args.node <= 1024; args.node++) {
		pst_diag_init(&diag);
		assert_int_equal(pst_mem_map(&args, &m, &diag), -EINVAL);
		assert_non_null(strstr(diag.text, "NUMA node"));
	}
}

static void impossible_sizes_are_refused(void **s)
{
	struct pst_mem_args args = { .node = -1 };
	struct source *src = *s;
	struct pst_diag diag;
	struct pst_mem m;

	if (!src->pool)
		skip();
	args.pool = src->pool;
	assert_int_equal(pst_mem_map(&args, &m, NULL), -EINVAL);
	args.size_bytes = UINT64_MAX;
	assert_int_equal(pst_mem_map(&args, &m, NULL), -EINVAL);
	args.size_bytes = 1ULL << 60;
	pst_diag_init(&diag);
	assert_int_equal(pst_mem_map(&args, &m, &diag), -ENOMEM);
	assert_true(*diag.text);
}

/* What is exported is the region's memory itself, not a copy of it. */
static void check_dmabuf(int fd, const struct pst_mem *m, uint64_t off_bytes)
{
	volatile unsigned char *in = (unsigned char *)m->addr + off_bytes;
	volatile unsigned char *out =
		mmap(NULL, PST_MIB, PROT_READ, MAP_SHARED, fd, 0);

	assert_ptr_not_equal(out, MAP_FAILED);
	in[5] = 0x42;
	assert_int_equal(out[5], 0x42);
	in[5] = 0x43;
	assert_int_equal(out[5], 0x43);
	munmap((void *)(uintptr_t)out, PST_MIB);
}

static void what_can_be_exported_is_the_same_memory(void **s)
{
	struct pst_mem_offer offer;
	struct source *src;
	struct pst_diag diag;
	struct pst_mem m;
	int fd;

	src = region(s, &m, REGION_BYTES, PST_MEM_AUTO);
	pst_mem_offer_read(src->source, &offer);
	pst_diag_init(&diag);
	fd = pst_mem_export(&m, PST_MIB, PST_MIB, &diag);
	if (offer.exports) {
		if (fd < 0)
			fail_msg("%s", diag.text);
		check_dmabuf(fd, &m, PST_MIB);
		close(fd);
	} else {
		assert_true(fd < 0);
		print_message("%s\n", diag.text);
		assert_true(*diag.text);
	}
	assert_int_equal(pst_mem_export(&m, 1, 4096, NULL), -EINVAL);
	assert_int_equal(pst_mem_export(&m, 0, 0, NULL), -EINVAL);
	assert_int_equal(pst_mem_export(&m, 4096, m.size_bytes, NULL), -EINVAL);
	assert_int_equal(pst_mem_export(&m, m.size_bytes + 4096, 4096, NULL),
			 -EINVAL);
	pst_mem_unmap(&m);
}

static void an_offer_and_what_is_had_agree(void **s)
{
	struct pst_mem_offer offer;
	struct source *src = *s;

	pst_mem_offer_read(src->source, &offer);
	print_message("%s%s%s\n", offer.text, offer.mend[0] ? ": " : "",
		      offer.mend);
	assert_true(*offer.text);
	assert_int_equal(offer.there, src->pool != NULL);
	assert_true(offer.there || !offer.exports);
}

static void a_missing_module_is_an_error_with_the_next_step(void **s)
{
	struct pst_mem_pool *p = NULL;
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	rc = pst_mem_pool_open(PST_MEM_SOURCE_KMOD, NULL, &p, &diag);
	if (!rc) {
		pst_mem_pool_close(p);
		skip();
	}
	assert_true(rc == -ENOSYS || rc == -EACCES);
	assert_null(p);
	assert_non_null(strstr(diag.text, "--pool anon"));
}

static void only_the_module_keeps_names(void **s)
{
	static const enum pst_mem_source without[] = { PST_MEM_SOURCE_ANON,
						       PST_MEM_SOURCE_UDMABUF };
	struct pst_mem_pool *p;
	struct pst_diag diag;

	for (size_t i = 0; i < PST_ARRAY_SIZE(without); i++) {
		pst_diag_init(&diag);
		assert_int_equal(pst_mem_pool_open(without[i], "x", &p, &diag),
				 -EINVAL);
		assert_non_null(strstr(diag.text, "--pool kmod"));
	}
}

static void a_name_has_letters_that_a_file_name_has(void **s)
{
	static const char *const names[] = {
		"", "a b", "a/b", "\xc3\xa4",
		"0123456789012345678901234567890123456789012345678901234567890123"
	};
	struct pst_mem_pool *p;
	struct pst_diag diag;

	for (size_t i = 0; i < PST_ARRAY_SIZE(names); i++) {
		pst_diag_init(&diag);
		assert_int_equal(pst_mem_pool_open(PST_MEM_SOURCE_KMOD,
						   names[i], &p, &diag),
				 -EINVAL);
		assert_non_null(strstr(diag.text, "1 to 63"));
	}
}

static void auto_is_anonymous_memory(void **s)
{
	struct pst_mem_pool *p;

	assert_int_equal(pst_mem_pool_open(PST_MEM_SOURCE_AUTO, NULL, &p, NULL),
			 0);
	assert_int_equal(pst_mem_pool_source(p), PST_MEM_SOURCE_ANON);
	assert_false(pst_mem_pool_named(p));
	pst_mem_pool_close(p);
	assert_int_equal(pst_mem_pool_source(NULL), PST_MEM_SOURCE_ANON);
	pst_mem_pool_close(NULL);
}

/* Named pools. */

static struct pst_mem_pool *take(uint64_t size_bytes, struct pst_mem_take *take)
{
	struct pst_mem_pool *p;
	struct pst_diag diag;

	pst_diag_init(&diag);
	if (pst_mem_pool_open(PST_MEM_SOURCE_AUTO, NAME, &p, &diag)) {
		print_message("left out: %s\n", diag.text);
		skip();
	}
	*take = (struct pst_mem_take){ .size_bytes = size_bytes,
				       .node = -1,
				       .wait_ns = 1000000000 };
	if (pst_mem_pool_take(p, take, &diag))
		fail_msg("%s", diag.text);
	return p;
}

static void part(struct pst_mem_pool *p, struct pst_mem *m, uint64_t size_bytes)
{
	struct pst_mem_args args = { .size_bytes = size_bytes,
				     .node = -1,
				     .pool = p };

	assert_int_equal(pst_mem_map(&args, m, NULL), 0);
}

static void a_named_pool_keeps_its_bytes_for_the_next_process(void **s)
{
	struct pst_mem_take t;
	struct pst_mem_pool *p;
	struct pst_mem a, b;
	int status;

	/* Skips here rather than in the child. */
	pst_mem_pool_close(take(8 * PST_MIB, &t));
	if (!fork()) {
		p = take(8 * PST_MIB, &t);
		part(p, &a, 2 * PST_MIB);
		part(p, &b, 6 * PST_MIB);
		memset(a.addr, 0x11, a.size_bytes);
		memset(b.addr, 0x22, b.size_bytes);
		raise(SIGKILL);
	}
	wait(&status);
	assert_true(WIFSIGNALED(status));
	p = take(8 * PST_MIB, &t);
	assert_true(t.adopted);
	assert_int_equal(pst_mem_pool_held(p), 8 * PST_MIB);
	part(p, &a, 2 * PST_MIB);
	part(p, &b, 6 * PST_MIB);
	check_bytes(&a, 0x11);
	check_bytes(&b, 0x22);
	assert_false(pst_mem_can_give(&a));
	assert_int_equal(pst_mem_discard(&a), -EOPNOTSUPP);
	pst_mem_unmap(&a);
	pst_mem_unmap(&b);
	pst_mem_pool_close(p);
}

static void a_pool_of_another_size_is_given_up(void **s)
{
	struct pst_mem_take t;
	struct pst_mem_pool *p = take(8 * PST_MIB, &t);
	struct pst_mem m;

	part(p, &m, 8 * PST_MIB);
	memset(m.addr, 0x11, m.size_bytes);
	pst_mem_unmap(&m);
	pst_mem_pool_close(p);
	p = take(4 * PST_MIB, &t);
	assert_false(t.adopted);
	part(p, &m, 4 * PST_MIB);
	check_bytes(&m, 0);
	pst_mem_unmap(&m);
	pst_mem_pool_close(p);
}

static void a_dropped_pool_is_gone(void **s)
{
	struct pst_mem_take t;
	struct pst_diag diag;

	pst_mem_pool_close(take(8 * PST_MIB, &t));
	assert_int_equal(pst_mem_pool_drop(NAME, NULL), 0);
	pst_diag_init(&diag);
	assert_int_equal(pst_mem_pool_drop(NAME, &diag), -ENOENT);
	assert_non_null(strstr(diag.text, NAME));
	pst_mem_pool_close(take(8 * PST_MIB, &t));
	assert_false(t.adopted);
	assert_int_equal(pst_mem_pool_drop(NAME, NULL), 0);
}

static void a_pool_has_one_owner(void **s)
{
	struct pst_mem_take t, other = { .size_bytes = 8 * PST_MIB,
					 .node = -1,
					 .wait_ns = 1000000 };
	struct pst_mem_pool *p = take(8 * PST_MIB, &t), *q;
	struct pst_diag diag;

	pst_diag_init(&diag);
	assert_int_equal(
		pst_mem_pool_open(PST_MEM_SOURCE_KMOD, NAME, &q, &diag), 0);
	assert_int_equal(pst_mem_pool_take(q, &other, &diag), -EBUSY);
	assert_non_null(strstr(diag.text, "owns the pool"));
	pst_mem_pool_close(q);
	pst_mem_pool_close(p);
}

static struct source all[] = { { .source = PST_MEM_SOURCE_ANON },
			       { .source = PST_MEM_SOURCE_UDMABUF },
			       { .source = PST_MEM_SOURCE_KMOD } };

#define WITH(i, fn)                                                      \
	{                                                                \
		.name = #fn, .test_func = fn, .setup_func = open_source, \
		.teardown_func = close_source, .initial_state = &all[i]  \
	}
#define EACH(fn) WITH(0, fn), WITH(1, fn), WITH(2, fn)

int main(void)
{
	const struct CMUnitTest tests[] = {
		EACH(a_region_is_zeroed_aligned_and_there),
		EACH(small_pages_can_be_asked_for),
		EACH(regions_do_not_share_bytes),
		EACH(a_region_goes_and_comes_at_its_place),
		EACH(a_discarded_region_can_be_unmapped),
		EACH(unmapping_gives_the_memory_back),
		EACH(a_node_is_kept_to_or_refused),
		EACH(impossible_sizes_are_refused),
		EACH(what_can_be_exported_is_the_same_memory),
		EACH(an_offer_and_what_is_had_agree),
		cmocka_unit_test(
			a_missing_module_is_an_error_with_the_next_step),
		cmocka_unit_test(only_the_module_keeps_names),
		cmocka_unit_test(a_name_has_letters_that_a_file_name_has),
		cmocka_unit_test(auto_is_anonymous_memory),
		cmocka_unit_test(
			a_named_pool_keeps_its_bytes_for_the_next_process),
		cmocka_unit_test(a_pool_of_another_size_is_given_up),
		cmocka_unit_test(a_pool_has_one_owner),
		cmocka_unit_test(a_dropped_pool_is_gone),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
