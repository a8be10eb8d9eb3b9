// SPDX-License-Identifier: MIT
/*
 * Where memory comes from and what is in it: nodes, orders, zeroes.
 */
#include <fcntl.h>
#include <liburing.h>
#include <numaif.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kt.h"

#define NODE_PERCENT "/sys/module/penstock/parameters/node_percent"
#define CEILING_MB   "/sys/module/penstock/parameters/ceiling_mb"

static int node_of(void *at)
{
	int node = -1;

	KT_EQUAL(get_mempolicy(&node, NULL, 0, at, MPOL_F_NODE | MPOL_F_ADDR),
		 0);
	return node;
}

static void on_node(unsigned int node)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 8 * KT_CHUNK,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 1ULL << node };
	struct penstock_stat stat;
	int pool = kt_create(&args);
	unsigned int i;
	char *at;

	KT_CHECK(pool >= 0);
	stat = kt_stat(pool);
	KT_EQUAL(stat.bytes_on_node[node], args.bytes);
	KT_EQUAL(stat.nr_chunks, 8);
	at = kt_map(pool, 0, args.bytes);
	for (i = 0; i < 8; i++) {
		at[i * KT_CHUNK] = 1;
		KT_EQUAL(node_of(at + i * KT_CHUNK), node);
	}
	close(pool);
}

static void a_pool_is_where_it_was_asked_for(void)
{
	on_node(0);
	on_node(1);
}

static void chunks_alternate_between_nodes(void)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 8 * KT_CHUNK,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 3 };
	struct penstock_chunk chunks[9];
	struct penstock_chunks list = { .size = sizeof(list),
					.array = (uintptr_t)chunks,
					.count = 9,
					.chunk_size = sizeof(chunks[0]) };
	int pool = kt_create(&args);
	unsigned int i;

	KT_CHECK(pool >= 0);
	KT_EQUAL(kt_call(pool, PENSTOCK_CHUNKS, &list), 0);
	KT_EQUAL(list.count, 8);
	for (i = 0; i < 8; i++) {
		KT_EQUAL(chunks[i].node, i % 2);
		KT_EQUAL(chunks[i].order, KT_ORDER);
		KT_EQUAL(chunks[i].offset, i * KT_CHUNK);
		KT_EQUAL(chunks[i].refs, 0);
		KT_EQUAL(chunks[i].maps, 0);
	}
}

static void a_strict_node_that_is_full_is_an_error(void)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 1024 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 2 };

	KT_EQUAL(kt_write_file(CEILING_MB, "2048"), 0);
	KT_EQUAL(kt_create(&args), -ENOMEM);
	KT_EQUAL(kt_write_file(CEILING_MB, "0"), 0);
	KT_CHECK(args.got_bytes_by_order[KT_ORDER] > 0);
	KT_CHECK(args.got_bytes_by_order[KT_ORDER] < args.bytes);
	kt_note("got %llu of 1024 MiB, and gave it back",
		(unsigned long long)args.got_bytes_by_order[KT_ORDER] >> 20);
	KT_EQUAL(kt_info().total_bytes, 0);
}

static void a_node_that_does_not_exist_is_enodev(void)
{
	struct penstock_create args = { .bytes = KT_CHUNK,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 1ULL << 63 };

	KT_EQUAL(kt_create(&args), -ENODEV);
}

static void every_order_works(void)
{
	unsigned int order;

	for (order = 0; order <= kt_info().max_order; order++) {
		struct penstock_create args = { .bytes = 8 * KT_MIB,
						.order = order,
						.min_order = order };
		int pool = kt_create(&args);
		char *at;

		KT_CHECK(pool >= 0);
		KT_EQUAL(args.got_bytes_by_order[order], 8 * KT_MIB);
		at = kt_map(pool, 0, 8 * KT_MIB);
		KT_CHECK(kt_is_zero(at, 8 * KT_MIB));
		memset(at, 0x5a, 8 * KT_MIB);
		KT_EQUAL(kt_byte_sum(at, 8 * KT_MIB), 0x5aULL * 8 * KT_MIB);
		kt_unmap(at, 8 * KT_MIB);
		close(pool);
	}
}

/* How much of node 1 there is in chunks of 2 MiB. */
static uint64_t largest_on_node_1(void)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 1024 * KT_MIB,
					.order = KT_ORDER,
					.min_order = KT_ORDER,
					.nodes = 2 };

	KT_EQUAL(kt_create(&args), -ENOMEM);
	return args.got_bytes_by_order[KT_ORDER];
}

/*
 * Leaves free memory without large pieces on node 1: a pool of small chunks is
 * gone but for one page per MiB, which io_uring still has.
 */
static void fragment_node_1(struct io_uring *ring)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = largest_on_node_1() -
						 64 * KT_MIB,
					.nodes = 2 };
	unsigned int nr = (unsigned int)(args.bytes / KT_MIB), i;
	struct iovec *iov = calloc(nr, sizeof(*iov));
	int pool = kt_create(&args);
	char *at;

	KT_CHECK(pool >= 0 && iov);
	KT_EQUAL(args.got_bytes_by_order[0], args.bytes);
	at = kt_map(pool, 0, args.bytes);
	for (i = 0; i < nr; i++)
		iov[i] = (struct iovec){ at + i * KT_MIB, 4096 };
	KT_EQUAL(io_uring_queue_init(4, ring, 0), 0);
	KT_EQUAL(io_uring_register_buffers(ring, iov, nr), 0);
	kt_unmap(at, args.bytes);
	close(pool);
	KT_EQUAL(kt_info().zombie_bytes, nr * 4096);
	free(iov);
}

static void a_fallback_is_reported(void)
{
	struct penstock_create args = { .flags = PENSTOCK_C_STRICT_NODES,
					.bytes = 256 * KT_MIB,
					.order = KT_ORDER,
					.nodes = 2 };
	struct penstock_stat stat;
	struct io_uring ring;
	uint64_t small = 0;
	unsigned int order;
	int pool;
	char *at;

	if (kt_is_61())
		kt_skip("6.1: io_uring refuses to register a device mapping");
	KT_EQUAL(kt_write_file(NODE_PERCENT, "100"), 0);
	KT_EQUAL(kt_write_file(CEILING_MB, "2048"), 0);
	fragment_node_1(&ring);
	args.min_order = KT_ORDER;
	KT_EQUAL(kt_create(&args), -ENOMEM);
	args.min_order = 0;
	pool = kt_create(&args);
	KT_EQUAL(kt_write_file(NODE_PERCENT, "80"), 0);
	KT_EQUAL(kt_write_file(CEILING_MB, "0"), 0);
	KT_CHECK(pool >= 0);
	for (order = 0; order < KT_ORDER; order++)
		small += args.got_bytes_by_order[order];
	kt_note("%llu of 256 MiB in smaller chunks",
		(unsigned long long)small >> 20);
	KT_CHECK(small >= KT_CHUNK);
	KT_EQUAL(small + args.got_bytes_by_order[KT_ORDER], args.bytes);
	stat = kt_stat(pool);
	KT_CHECK(stat.nr_chunks > args.bytes / KT_CHUNK);
	KT_EQUAL(stat.bytes_on_node[1], args.bytes);
	/* Chunks of many sizes, and works all the same. */
	at = kt_map(pool, 0, args.bytes);
	KT_CHECK(kt_is_zero(at, args.bytes));
	memset(at + 64 * KT_MIB, 1, 128 * KT_MIB);
	KT_EQUAL(kt_byte_sum(at, args.bytes), 128 * KT_MIB);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
	io_uring_queue_exit(&ring);
}

static void memory_of_a_dead_pool_comes_back_zeroed(void)
{
	int round;

	for (round = 0; round < 2; round++) {
		int pool = kt_pool(128 * KT_MIB);
		char *at = kt_map(pool, 0, 128 * KT_MIB);

		KT_CHECK(kt_is_zero(at, 128 * KT_MIB));
		memset(at, 0xa5, 128 * KT_MIB);
		kt_unmap(at, 128 * KT_MIB);
		close(pool);
		KT_EQUAL(kt_info().used_bytes, 0);
	}
}

static void one_fault_maps_one_chunk(void)
{
	int pool = kt_pool(16 * KT_CHUNK);
	char *at = kt_map(pool, 0, 16 * KT_CHUNK);

	memset(at, 1, 16 * KT_CHUNK);
	KT_EQUAL(kt_stat(pool).faults, 16);
	KT_EQUAL(kt_stat(pool).maps, 1);
	KT_EQUAL(kt_stat(pool).busy_chunks, 0);
	kt_unmap(at, 16 * KT_CHUNK);
	KT_EQUAL(kt_stat(pool).maps, 0);
}

static void fdinfo_tells_size_and_name(void)
{
	int pool = kt_named("fdinfo.test", 2 * KT_CHUNK);
	char path[64], text[1024] = "";
	int fd;

	KT_CHECK(pool >= 0);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", pool);
	fd = open(path, O_RDONLY);
	KT_CHECK(fd >= 0 && read(fd, text, sizeof(text) - 1) > 0);
	KT_EQUAL(kt_unlink("fdinfo.test"), 0);
	KT_CHECK(strstr(text, "penstock-name:\tfdinfo.test\n"));
	KT_CHECK(strstr(text, "penstock-bytes:\t4194304\n"));
	KT_CHECK(strstr(text, "penstock-busy:\t0\n"));
	KT_CHECK(strstr(text, "penstock-generation:\t1\n"));
}

const struct kt_test kt_place_tests[] = {
	{ "place: a pool is on the node it was asked for",
	  a_pool_is_where_it_was_asked_for },
	{ "place: chunks alternate between nodes",
	  chunks_alternate_between_nodes },
	{ "place: a strict node that is full is ENOMEM and leaks nothing",
	  a_strict_node_that_is_full_is_an_error },
	{ "place: a node that does not exist is ENODEV",
	  a_node_that_does_not_exist_is_enodev },
	{ "place: every order works", every_order_works },
	{ "place: a fallback is reported", a_fallback_is_reported },
	{ "place: memory of a dead pool comes back zeroed",
	  memory_of_a_dead_pool_comes_back_zeroed },
	{ "place: one fault maps one chunk", one_fault_maps_one_chunk },
	{ "place: fdinfo tells size and name", fdinfo_tells_size_and_name },
	{}
};
