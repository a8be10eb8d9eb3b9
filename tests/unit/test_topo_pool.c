// SPDX-License-Identifier: MIT
/*
 * The worker pool: every chunk exactly once, and nothing before the job is
 * given or after it has ended.
 */
#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "topo_priv.h"

#define CHUNKS_MAX  512
#define WORKERS_MAX 8

static uint64_t seed_read(void)
{
	const char *s = getenv("PENSTOCK_SEED");
	uint64_t seed = s ? strtoull(s, NULL, 0) : pst_now_ns();

	print_message("PENSTOCK_SEED=%llu\n", (unsigned long long)seed);
	return seed;
}

/* Plain memory on purpose: a race shows as a wrong sum and under TSAN. */
struct job {
	uint64_t value;
	uint32_t nr_chunks;
	uint32_t nr_workers;
	uint64_t out[CHUNKS_MAX];
	uint32_t nr_calls[CHUNKS_MAX];
	uint64_t per_worker[WORKERS_MAX];
	_Atomic uint32_t nr_bad;
};

static void count_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct job *j = ctx;

	if (chunk >= j->nr_chunks || worker >= j->nr_workers) {
		atomic_fetch_add(&j->nr_bad, 1);
		return;
	}
	j->out[chunk] = j->value * (chunk + 1);
	j->nr_calls[chunk]++;
	j->per_worker[worker]++;
}

static void check_job(struct job *j)
{
	for (uint32_t c = 0; c < j->nr_chunks; c++) {
		assert_int_equal(j->nr_calls[c], 1);
		assert_true(j->out[c] == j->value * (c + 1));
		j->nr_calls[c] = 0;
	}
	assert_int_equal(atomic_load(&j->nr_bad), 0);
}

static void run_jobs(uint32_t nr_workers, uint32_t nr_jobs, bool pauses,
		     uint64_t seed)
{
	struct job *j = calloc(1, sizeof(*j));
	uint64_t nr_chunks = 0, nr_counted = 0;
	struct pst_pool *p;

	assert_int_equal(pst_pool_create(nr_workers, false, &p), 0);
	assert_int_equal(pst_pool_nr_workers(p), nr_workers);
	j->nr_workers = nr_workers;
	for (uint32_t i = 0; i < nr_jobs; i++) {
		uint64_t r = pst_rng_next(&seed);

		/* Mostly few chunks: that is where hand-over races live. */
		j->nr_chunks = (uint32_t)(r % (r & 0x10000 ? 8 : CHUNKS_MAX));
		j->value = r;
		pst_pool_run(p, count_chunk, j, j->nr_chunks);
		check_job(j);
		nr_chunks += j->nr_chunks;
		if (pauses && i % 8 == 0)
			pst_sleep_ns(r % 300000);
	}
	for (uint32_t w = 0; w < nr_workers; w++)
		nr_counted += j->per_worker[w];
	assert_int_equal(nr_counted, nr_chunks);
	pst_pool_destroy(p);
	free(j);
}

static void every_chunk_runs_exactly_once(void **s)
{
	run_jobs(2, 100000, false, seed_read());
}

static void more_workers_than_cores_do_the_same(void **s)
{
	run_jobs(7, 3000, false, seed_read());
}

static void one_worker_runs_alone(void **s)
{
	run_jobs(1, 1000, false, seed_read());
}

static void sleeping_workers_are_woken(void **s)
{
	run_jobs(2, 2000, true, seed_read());
	run_jobs(5, 500, true, seed_read());
}

struct meeting {
	_Atomic uint32_t nr_inside;
};

/* Ends only when two chunks run at the same time. */
static void meet(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct meeting *m = ctx;

	atomic_fetch_add(&m->nr_inside, 1);
	while (atomic_load(&m->nr_inside) < 2)
		sched_yield();
}

static void chunks_run_at_the_same_time(void **s)
{
	struct pst_pool *p;

	assert_int_equal(pst_pool_create(2, false, &p), 0);
	for (int i = 0; i < 20; i++) {
		struct meeting m = { 0 };

		pst_pool_run(p, meet, &m, 2);
		pst_sleep_ns((uint64_t)i * 20000);
	}
	pst_pool_destroy(p);
}

static void wait_a_little(void *ctx, uint32_t chunk, uint32_t worker)
{
	uint32_t *seen = ctx;

	if (chunk) {
		pst_sleep_ns(2000000);
		seen[chunk]++;
	}
}

static void the_owner_waits_for_slow_workers(void **s)
{
	uint32_t seen[4] = { 0 };
	struct pst_pool *p;

	assert_int_equal(pst_pool_create(4, false, &p), 0);
	for (uint32_t i = 1; i <= 10; i++) {
		pst_pool_run(p, wait_a_little, seen, 4);
		for (int c = 1; c < 4; c++)
			assert_int_equal(seen[c], i);
	}
	pst_pool_destroy(p);
}

static void one_chunk_runs_on_the_caller(void **s)
{
	struct job *j = calloc(1, sizeof(*j));
	struct pst_pool *p;

	assert_int_equal(pst_pool_create(2, false, &p), 0);
	j->nr_chunks = 1;
	j->nr_workers = 1;
	for (int i = 0; i < 100; i++) {
		pst_pool_run(p, count_chunk, j, 1);
		check_job(j);
	}
	pst_pool_run(p, count_chunk, j, 0);
	assert_int_equal(j->per_worker[0], 100);
	pst_pool_destroy(p);
	free(j);
}

static void pools_come_and_go(void **s)
{
	cpu_set_t before, after;
	struct pst_pool *p;

	CPU_ZERO(&before);
	CPU_ZERO(&after);
	pthread_getaffinity_np(pthread_self(), sizeof(before), &before);
	for (uint32_t i = 0; i < 50; i++) {
		assert_int_equal(pst_pool_create(1 + i % 5, i % 2, &p), 0);
		pst_pool_destroy(p);
	}
	/* No pin is left on the caller. */
	pthread_getaffinity_np(pthread_self(), sizeof(after), &after);
	assert_true(CPU_EQUAL(&before, &after));
	pst_pool_destroy(NULL);
	assert_int_equal(pst_pool_create(0, false, &p), -EINVAL);
	assert_int_equal(pst_pool_create(1000000, false, &p), -EINVAL);
}

struct places {
	_Atomic uint32_t nr_inside;
	uint32_t nr;
	cpu_set_t cpus[WORKERS_MAX];
};

static void note_place(void *ctx, uint32_t chunk, uint32_t worker)
{
	struct places *p = ctx;

	pthread_getaffinity_np(pthread_self(), sizeof(cpu_set_t),
			       &p->cpus[worker]);
	/* Hold on, so that every worker takes one chunk. */
	atomic_fetch_add(&p->nr_inside, 1);
	while (atomic_load(&p->nr_inside) < p->nr)
		sched_yield();
}

static void workers_are_pinned_apart_and_the_caller_is_freed(void **s)
{
	cpu_set_t before, after, both;
	struct places pl = { 0 };
	struct pst_topo topo;
	struct pst_pool *p;

	if (pthread_getaffinity_np(pthread_self(), sizeof(before), &before)) {
		print_message("more CPUs than this test can count\n");
		skip();
	}
	assert_int_equal(pst_topo_read(&topo), 0);
	pl.nr = PST_MIN(topo.nr_cores, WORKERS_MAX);
	assert_int_equal(pst_pool_create(pl.nr, true, &p), 0);
	pst_pool_run(p, note_place, &pl, pl.nr);
	if (pl.nr == 1)
		note_place(&pl, 0, 0);
	for (uint32_t i = 0; i < pl.nr; i++) {
		assert_int_equal(CPU_COUNT(&pl.cpus[i]), 1);
		for (uint32_t k = 0; k < i; k++) {
			CPU_AND(&both, &pl.cpus[i], &pl.cpus[k]);
			assert_int_equal(CPU_COUNT(&both), 0);
		}
	}
	pst_pool_destroy(p);
	assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(after),
						&after),
			 0);
	assert_true(CPU_EQUAL(&before, &after));
}

static void the_machine_can_be_read(void **s)
{
	struct pst_topo t;
	uint32_t cpus[WORKERS_MAX], nr_cpus;
	int nr;

	assert_int_equal(pst_topo_read(&t), 0);
	assert_true(t.nr_cores >= 1 && t.nr_nodes >= 1);
	assert_true(t.mem_bytes > 64 * PST_MIB);
	print_message("%s: %u cores, %u nodes, caches of %llu KiB\n",
		      t.cpu_name, t.nr_cores, t.nr_nodes,
		      (unsigned long long)(t.cache_bytes / PST_KIB));
	nr = pst_topo_cores(cpus, WORKERS_MAX, &nr_cpus);
	assert_int_equal(nr, PST_MIN(t.nr_cores, WORKERS_MAX));
	assert_true(nr_cpus >= t.nr_cores);
}

static void a_narrow_mask_has_fewer_cores(void **s)
{
	cpu_set_t before, one;
	uint32_t cpus[WORKERS_MAX], nr_cpus;
	struct pst_topo t;

	if (pst_topo_cores(cpus, WORKERS_MAX, &nr_cpus) < 2 ||
	    pthread_getaffinity_np(pthread_self(), sizeof(before), &before)) {
		print_message("needs two cores\n");
		skip();
	}
	CPU_ZERO(&one);
	CPU_SET(cpus[1], &one);
	assert_int_equal(
		pthread_setaffinity_np(pthread_self(), sizeof(one), &one), 0);
	assert_int_equal(pst_topo_read(&t), 0);
	assert_int_equal(t.nr_cores, 1);
	assert_int_equal(pst_topo_cores(&cpus[2], 4, &nr_cpus), 1);
	assert_int_equal(cpus[2], cpus[1]);
	assert_int_equal(nr_cpus, 1);
	pthread_setaffinity_np(pthread_self(), sizeof(before), &before);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(every_chunk_runs_exactly_once),
		cmocka_unit_test(more_workers_than_cores_do_the_same),
		cmocka_unit_test(one_worker_runs_alone),
		cmocka_unit_test(sleeping_workers_are_woken),
		cmocka_unit_test(chunks_run_at_the_same_time),
		cmocka_unit_test(the_owner_waits_for_slow_workers),
		cmocka_unit_test(one_chunk_runs_on_the_caller),
		cmocka_unit_test(pools_come_and_go),
		cmocka_unit_test(
			workers_are_pinned_apart_and_the_caller_is_freed),
		cmocka_unit_test(the_machine_can_be_read),
		cmocka_unit_test(a_narrow_mask_has_fewer_cores),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
