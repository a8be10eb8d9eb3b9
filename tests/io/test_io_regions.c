// SPDX-License-Identifier: MIT
/*
 * Memory regions that come and go: dropped ones give their pages back, renewed
 * ones receive bytes in the pages that are there then.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "io_testing.h"

#define FILE_BYTES   (64 * BLOCK)
#define REGION_BYTES (16 * BLOCK)

static int setup(void **s)
{
	return tstate_make(s, sizeof(struct tstate), FILE_BYTES);
}

static unsigned char *map_pages(uint64_t size_bytes)
{
	void *p = mmap(NULL, size_bytes, PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	assert_ptr_not_equal(p, MAP_FAILED);
	return p;
}

static struct pst_io_read read_into(unsigned char *buf, int region)
{
	return (struct pst_io_read){ .off_bytes = BLOCK,
				     .len_bytes = REGION_BYTES,
				     .need_bytes = REGION_BYTES,
				     .buf = buf,
				     .region = region };
}

static int run_one(struct pst_io *io, struct pst_io_read *r)
{
	pst_io_submit(io, r);
	assert_ptr_equal(pst_io_reap(io, true), r);
	return r->result;
}

static void a_renewed_region_reads_into_fresh_pages(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = map_pages(2 * REGION_BYTES);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		struct pst_io_read r;

		if (!tbed_open(&b, &tengines[i], &st->file, 4))
			continue;
		assert_int_equal(pst_io_add_region(b.io, mem, REGION_BYTES), 0);
		assert_int_equal(pst_io_add_region(b.io, mem + REGION_BYTES,
						   REGION_BYTES),
				 1);
		r = read_into(mem + REGION_BYTES, 1);
		assert_int_equal(run_one(b.io, &r), 0);
		for (uint32_t k = 0; k < 3; k++) {
			assert_int_equal(pst_io_drop_region(b.io, 1), 0);
			assert_int_equal(madvise(mem + REGION_BYTES,
						 REGION_BYTES, MADV_DONTNEED),
					 0);
			assert_int_equal(mem[REGION_BYTES], 0);
			assert_int_equal(run_one(b.io, &r), -EINVAL);
			assert_int_equal(mem[REGION_BYTES], 0);
			assert_int_equal(pst_io_renew_region(b.io, 1), 0);
			assert_int_equal(run_one(b.io, &r), 0);
			tfile_check(&st->file, mem + REGION_BYTES, BLOCK,
				    REGION_BYTES);
		}
		/* The other one has not noticed. */
		r = read_into(mem, 0);
		assert_int_equal(run_one(b.io, &r), 0);
		tbed_close(&b);
	}
	munmap(mem, 2 * REGION_BYTES);
}

static void a_region_with_reads_outstanding_is_not_dropped(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(2 * REGION_BYTES);
	struct pst_io_read r[3];
	struct tbed b;

	assert_true(tbed_open(&b, &tengines[2], &st->file, 1));
	for (int i = 0; i < 2; i++)
		assert_int_equal(pst_io_add_region(
					 b.io, mem + (uint64_t)i * REGION_BYTES,
					 REGION_BYTES),
				 i);
	for (int i = 0; i < 3; i++) {
		r[i] = read_into(mem, 0);
		r[i].next = i < 2 ? &r[i + 1] : NULL;
	}
	/* Malformed: names a region that does not hold it. */
	r[2].region = 1;
	r[1].prio = PST_IO_IDLE;
	pst_io_submit(b.io, r);
	assert_int_equal(pst_io_drop_region(b.io, 0), -EBUSY);
	/* Nor does a read that was never begun count for its region. */
	assert_int_equal(pst_io_drop_region(b.io, 1), 0);
	/* One in flight, one waiting: both must go. */
	assert_true(pst_io_withdraw(b.io, &r[1]));
	assert_int_equal(pst_io_drop_region(b.io, 0), -EBUSY);
	while (pst_io_outstanding(b.io))
		assert_non_null(pst_io_reap(b.io, true));
	assert_int_equal(r[0].result, 0);
	assert_int_equal(r[2].result, -EINVAL);
	assert_int_equal(pst_io_drop_region(b.io, 0), 0);
	tbed_close(&b);
	free(mem);
}

static void only_what_is_there_is_dropped_and_renewed(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = tbuf_alloc(REGION_BYTES);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 1))
			continue;
		assert_int_equal(pst_io_drop_region(b.io, 0), -EINVAL);
		assert_int_equal(pst_io_drop_region(b.io, -1), -EINVAL);
		assert_int_equal(pst_io_renew_region(b.io, 0), -EINVAL);
		assert_int_equal(pst_io_add_region(b.io, mem, REGION_BYTES), 0);
		assert_int_equal(pst_io_renew_region(b.io, 0), -EINVAL);
		assert_int_equal(pst_io_drop_region(b.io, 0), 0);
		assert_int_equal(pst_io_drop_region(b.io, 0), -EINVAL);
		assert_null(strstr(pst_io_name(b.io), "registered"));
		assert_int_equal(pst_io_renew_region(b.io, -1), -EINVAL);
		assert_int_equal(pst_io_renew_region(b.io, 0), 0);
		tbed_close(&b);
	}
	free(mem);
}

/* VmPin of this process in KiB. */
static long pinned_kib(void)
{
	FILE *f = fopen("/proc/self/status", "r");
	char line[128];
	long v = -1;

	assert_non_null(f);
	while (v < 0 && fgets(line, sizeof(line), f))
		sscanf(line, "VmPin: %ld kB", &v);
	fclose(f);
	return v;
}

static void a_region_is_pinned_until_it_is_dropped_or_all_is_closed(void **s)
{
	struct tstate *st = *s;
	unsigned char *mem = map_pages(REGION_BYTES);
	long before, held, after;
	struct tbed b;

	if (!tbed_open(&b, &tengines[0], &st->file, 4))
		skip();
	before = pinned_kib();
	assert_int_equal(pst_io_add_region(b.io, mem, REGION_BYTES), 0);
	held = pinned_kib();
	if (held < before + (long)(REGION_BYTES / 1024)) {
		print_message("this kernel does not count pinned pages, or "
			      "refused to register: %s\n",
			      pst_io_name(b.io));
		tbed_close(&b);
		munmap(mem, REGION_BYTES);
		skip();
	}
	assert_int_equal(pst_io_drop_region(b.io, 0), 0);
	/* Older kernels let go a moment later. */
	for (int i = 0; i < 1000 && (after = pinned_kib()) != before; i++)
		pst_sleep_ns(1000000);
	assert_int_equal(after, before);
	assert_int_equal(pst_io_renew_region(b.io, 0), 0);
	assert_int_equal(pinned_kib(), held);
	/* At once: the next program counts what is free. */
	tbed_close(&b);
	assert_int_equal(pinned_kib(), before);
	munmap(mem, REGION_BYTES);
}

static void a_thousand_regions_are_registered_and_read_into(void **s)
{
	enum {
		NR = PST_IO_REGIONS_MAX
	};
	struct tstate *st = *s;
	unsigned char *mem = map_pages((uint64_t)NR * BLOCK);
	struct tbed b;

	for (uint32_t i = 0; i < nr_tengines; i++) {
		if (!tbed_open(&b, &tengines[i], &st->file, 16))
			continue;
		for (int k = 0; k < NR; k++)
			assert_int_equal(
				pst_io_add_region(
					b.io, mem + (uint64_t)k * BLOCK, BLOCK),
				k);
		assert_int_equal(pst_io_add_region(b.io, mem, BLOCK), -ENOSPC);
		for (int k = NR - 1; k >= 0; k -= 93) {
			struct pst_io_read r = {
				.off_bytes = (uint64_t)(k % 64) * BLOCK,
				.len_bytes = BLOCK,
				.need_bytes = BLOCK,
				.buf = mem + (uint64_t)k * BLOCK,
				.region = k,
			};

			assert_int_equal(run_one(b.io, &r), 0);
			tfile_check(&st->file, r.buf, r.off_bytes, BLOCK);
		}
		assert_null(strstr(pst_io_name(b.io), "partly registered"));
		tbed_close(&b);
	}
	munmap(mem, (uint64_t)NR * BLOCK);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_renewed_region_reads_into_fresh_pages),
		cmocka_unit_test(
			a_region_with_reads_outstanding_is_not_dropped),
		cmocka_unit_test(only_what_is_there_is_dropped_and_renewed),
		cmocka_unit_test(
			a_region_is_pinned_until_it_is_dropped_or_all_is_closed),
		cmocka_unit_test(
			a_thousand_regions_are_registered_and_read_into),
	};

	return cmocka_run_group_tests(tests, setup, tstate_free);
}
