// SPDX-License-Identifier: MIT
/*
 * Every order of destroying what holds a pool, and what mm calls do to its
 * mappings.
 */
#include <fcntl.h>
#include <liburing.h>
#include <setjmp.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "kt.h"

#define BYTES (2 * KT_CHUNK)
#define SMALL (32UL << 10)

/* The holders of a pool, each of which can go at any time. */
enum holder {
	HOLDER_FILE,
	HOLDER_MAP,
	HOLDER_DMABUF,
	HOLDER_DMABUF_MAP,
	HOLDER_IMPORT,
	HOLDER_RING,
	NR_HOLDERS
};

struct scene {
	int pool;
	char *at;
	int dmabuf;
	char *dmabuf_at;
	int importer;
	struct io_uring ring;
	bool has_ring;
};

static void build(struct scene *s)
{
	struct penstock_create create = { .bytes = SMALL,
					  .order = 2,
					  .min_order = 2 };
	struct kt_import args = { .flags = KT_F_KEEP };
	struct iovec iov;

	s->pool = kt_create(&create);
	s->at = kt_map(s->pool, 0, SMALL);
	memset(s->at, 0x11, SMALL);
	s->dmabuf = kt_export(s->pool, 0, SMALL, 0);
	s->dmabuf_at = kt_map(s->dmabuf, 0, SMALL);
	s->importer = kt_importer();
	KT_EQUAL(kt_import(s->importer, s->dmabuf, &args), 0);
	iov = (struct iovec){ s->at, SMALL };
	KT_EQUAL(io_uring_queue_init(4, &s->ring, 0), 0);
	s->has_ring = !io_uring_register_buffers(&s->ring, &iov, 1);
}

static void destroy(struct scene *s, enum holder which)
{
	switch (which) {
	case HOLDER_FILE:
		close(s->pool);
		break;
	case HOLDER_MAP:
		kt_unmap(s->at, SMALL);
		break;
	case HOLDER_DMABUF:
		close(s->dmabuf);
		break;
	case HOLDER_DMABUF_MAP:
		KT_EQUAL(kt_byte_sum(s->dmabuf_at, SMALL), 0x11ULL * SMALL);
		kt_unmap(s->dmabuf_at, SMALL);
		break;
	case HOLDER_IMPORT:
		close(s->importer);
		break;
	default:
		io_uring_queue_exit(&s->ring);
	}
}

/* The n-th permutation of the holders. */
static void permute(unsigned int n, enum holder *order)
{
	enum holder left[NR_HOLDERS];
	unsigned int i, k, nr = NR_HOLDERS;

	for (i = 0; i < NR_HOLDERS; i++)
		left[i] = (enum holder)i;
	for (i = 0; i < NR_HOLDERS; i++, nr--) {
		k = n % nr;
		n /= nr;
		order[i] = left[k];
		memmove(&left[k], &left[k + 1], (nr - 1 - k) * sizeof(left[0]));
	}
}

static void wait_until_empty(void)
{
	int tries;

	for (tries = 0; tries < 200; tries++) {
		if (!kt_info().used_bytes)
			return;
		kt_sleep_ms(10);
	}
	KT_EQUAL(kt_info().used_bytes, 0);
}

static void every_order_of_destruction_works(void)
{
	const unsigned int nr = 720; /* 6! */
	unsigned int n, k, nr_left;

	for (n = 0; n < nr; n++) {
		enum holder order[NR_HOLDERS];
		struct scene s;

		permute(n, order);
		build(&s);
		nr_left = NR_HOLDERS - !s.has_ring;
		for (k = 0; k < NR_HOLDERS; k++) {
			/* Charged until the last one is gone. */
			KT_EQUAL(kt_info().used_bytes, nr_left ? SMALL : 0);
			destroy(&s, order[k]);
			nr_left -= order[k] != HOLDER_RING || s.has_ring;
		}
		wait_until_empty();
	}
}

static void registered_buffers_are_zombies_and_stay_charged(void)
{
	struct penstock_info info;
	struct iovec iov;
	struct io_uring ring;
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, BYTES);

	if (kt_is_61())
		kt_skip("6.1: io_uring refuses to register a device mapping");
	iov = (struct iovec){ at, KT_CHUNK };
	KT_EQUAL(io_uring_queue_init(4, &ring, 0), 0);
	KT_EQUAL(io_uring_register_buffers(&ring, &iov, 1), 0);
	kt_unmap(at, BYTES);
	close(pool);
	/* One of the two chunks is free. */
	info = kt_info();
	KT_EQUAL(info.used_bytes, KT_CHUNK);
	KT_EQUAL(info.zombie_bytes, KT_CHUNK);
	io_uring_queue_exit(&ring);
	wait_until_empty();
}

static long delete_module(const char *name)
{
	return syscall(SYS_delete_module, name, O_NONBLOCK) ? -errno : 0;
}

static void the_module_stays_while_a_pool_does(void)
{
	int pool = kt_named("rmmod", KT_CHUNK);

	KT_CHECK(pool >= 0);
	KT_CHECK(delete_module("penstock") < 0);
	close(pool);
	/* The name alone holds the pool, and the pool the module. */
	KT_CHECK(delete_module("penstock") < 0);
	KT_EQUAL(kt_unlink("rmmod"), 0);
}

static void a_child(void *arg)
{
	char *at = arg;

	at[0] = 2;
}

static void fork_leaves_the_mapping_out(void)
{
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, BYTES);

	at[0] = 1;
	KT_CHECK(kt_dies_of(SIGSEGV, a_child, at));
	KT_EQUAL(at[0], 1);
	KT_EQUAL(madvise(at, BYTES, MADV_DOFORK), 0);
	KT_EQUAL(kt_in_child(a_child, at), 0);
	KT_EQUAL(at[0], 2);
	KT_EQUAL(kt_stat(pool).maps, 1);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
}

static void mremap_moves_and_shrinks_but_does_not_grow(void)
{
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, KT_CHUNK), *to;

	at[5] = 7;
	KT_CHECK(mremap(at, KT_CHUNK, BYTES, MREMAP_MAYMOVE) == MAP_FAILED);
	KT_CHECK(mremap(at, 0, KT_CHUNK, MREMAP_MAYMOVE) == MAP_FAILED);
	to = mmap(NULL, KT_CHUNK, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		  0);
	KT_CHECK(to != MAP_FAILED);
	KT_CHECK(mremap(at, KT_CHUNK, KT_CHUNK, MREMAP_MAYMOVE | MREMAP_FIXED,
			to) == to);
	KT_EQUAL(to[5], 7);
	KT_CHECK(mremap(to, KT_CHUNK, 8192, 0) == to);
	KT_EQUAL(to[5], 7);
	KT_EQUAL(to[4096], 0);
	KT_EQUAL(kt_stat(pool).maps, 1);
	kt_unmap(to, 8192);
	KT_EQUAL(kt_stat(pool).maps, 0);
}

static void a_hole_in_a_mapping_keeps_the_rest(void)
{
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, BYTES);

	memset(at, 3, BYTES);
	kt_unmap(at + KT_MIB, KT_MIB);
	KT_EQUAL(kt_stat(pool).maps, 2);
	KT_EQUAL(at[KT_MIB - 1], 3);
	KT_EQUAL(at[KT_CHUNK], 3);
	KT_EQUAL(kt_byte_sum(at + KT_CHUNK, KT_CHUNK), 3 * KT_CHUNK);
}

static void dontneed_drops_entries_not_bytes(void)
{
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, BYTES);

	memset(at, 9, BYTES);
	KT_EQUAL(madvise(at, BYTES, MADV_DONTNEED), 0);
	KT_EQUAL(kt_byte_sum(at, BYTES), 9 * BYTES);
	/* Only a part: the fault finds entries that are there already. */
	KT_EQUAL(madvise(at + 8192, 4096, MADV_DONTNEED), 0);
	KT_EQUAL(at[8192], 9);
	KT_EQUAL(kt_byte_sum(at, BYTES), 9 * BYTES);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
	/* What must not touch pinned memory. */
	KT_CHECK(madvise(at, BYTES, MADV_REMOVE) < 0);
}

static void mprotect_takes_and_gives_back(void)
{
	int pool = kt_pool(BYTES);
	char *at = kt_map(pool, 0, BYTES);

	at[1] = 4;
	KT_EQUAL(mprotect(at, BYTES, PROT_READ), 0);
	KT_CHECK(kt_dies_of(SIGSEGV, a_child, at));
	KT_EQUAL(at[1], 4);
	KT_EQUAL(mprotect(at, 8192, PROT_READ | PROT_WRITE), 0);
	at[1] = 5;
	KT_EQUAL(at[1], 5);
	KT_EQUAL(mprotect(at, BYTES, PROT_NONE), 0);
	KT_EQUAL(mprotect(at, BYTES, PROT_READ), 0);
	KT_EQUAL(at[1], 5);
}

const struct kt_test kt_life_tests[] = {
	{ "life: every order of destruction works (720)",
	  every_order_of_destruction_works },
	{ "life: registered buffers are zombies and stay charged",
	  registered_buffers_are_zombies_and_stay_charged },
	{ "life: the module stays while a pool does",
	  the_module_stays_while_a_pool_does },
	{ "life: fork leaves the mapping out", fork_leaves_the_mapping_out },
	{ "life: mremap moves and shrinks but does not grow",
	  mremap_moves_and_shrinks_but_does_not_grow },
	{ "life: a hole in a mapping keeps the rest",
	  a_hole_in_a_mapping_keeps_the_rest },
	{ "life: MADV_DONTNEED drops entries, not bytes",
	  dontneed_drops_entries_not_bytes },
	{ "life: mprotect takes and gives back",
	  mprotect_takes_and_gives_back },
	{}
};
