// SPDX-License-Identifier: MIT
/*
 * The worker pool.  A token is hundreds of short jobs, so handing one over
 * must cost well under a microsecond: workers spin for a while before they
 * sleep, and chunks are taken with one compare-and-swap.  Knows nothing of
 * what it runs.
 */
#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "topo_priv.h"

#define WORKERS_MAX 1024
/* Longer than the serial work between two jobs of a token. */
#define SPIN_NS 100000
/* Looking at the clock costs as much as a few pauses. */
#define SPINS_PER_LOOK 64
#define CACHE_LINE     64
/* cpu_set_t ends at 1024 CPUs; the kernel goes to 8192. */
#define CPU_SETS 8

struct worker {
	struct pst_pool *pool;
	pthread_t thread;
	uint32_t index;
};

/*
 * A job is published by storing its chunk count to @left.  To take a chunk is
 * to lower @left by one from a value that was not 0.  Whoever succeeded holds
 * back the end of the job (@pending), so fn, ctx and nr_chunks are stable for
 * it and were written before the store it saw.  A worker who comes late from
 * job N and succeeds in job N+1 has taken a chunk of N+1 with all its rights:
 * it reads fn and ctx only afterwards.  Thus no generation is needed.
 */
struct pst_pool {
	/* Written by the owner between jobs. */
	pst_pool_fn fn;
	void *ctx;
	uint32_t nr_chunks;

	_Atomic uint32_t left __attribute__((aligned(CACHE_LINE)));
	_Atomic uint32_t seq; /* futex: jobs published */
	_Atomic uint32_t nr_asleep; /* workers in the futex or on the way */
	_Atomic bool stop;

	_Atomic uint32_t pending
		__attribute__((aligned(CACHE_LINE))); /* futex: not yet done */
	_Atomic bool owner_asleep;

	uint32_t nr_workers __attribute__((aligned(CACHE_LINE)));
	uint64_t spin_ns; /* 0 with fewer CPUs than workers */
	bool pinned;
	cpu_set_t owner_cpus[CPU_SETS]; /* to be restored */
	struct worker workers[]; /* [nr_workers], 0 being the owner */
};

/* Leaves the core to its other thread for a moment, where there is a way. */
static void cpu_relax(void)
{
#if defined(__x86_64__) || defined(__i386__)
	__builtin_ia32_pause();
#elif defined(__aarch64__)
	__asm__ volatile("isb" : : : "memory"); /* yield is a nop on most */
#endif
}

static void futex_wait(_Atomic uint32_t *word, uint32_t seen)
{
	syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, seen, NULL, NULL, 0);
}

static void futex_wake(_Atomic uint32_t *word, uint32_t nr)
{
	syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, PST_MIN(nr, INT_MAX), NULL,
		NULL, 0);
}

static bool take_chunk(struct pst_pool *p, uint32_t *left_out)
{
	uint32_t left = atomic_load_explicit(&p->left, memory_order_relaxed);

	while (left) {
		if (atomic_compare_exchange_weak_explicit(
			    &p->left, &left, left - 1, memory_order_acquire,
			    memory_order_relaxed)) {
			*left_out = left;
			return true;
		}
	}
	return false;
}

/*
 * Work until no chunk is left.  The chunks done are reported together, when
 * the caller leaves: one more write to the shared line per job, not per chunk.
 */
static uint32_t run_chunks(struct pst_pool *p, uint32_t worker)
{
	uint32_t left, nr_done = 0;

	while (take_chunk(p, &left)) {
		p->fn(p->ctx, p->nr_chunks - left, worker);
		nr_done++;
	}
	return nr_done;
}

/* Sequentially consistent against owner_asleep, see wait_pending(). */
static void report_done(struct pst_pool *p, uint32_t nr_done)
{
	if (!nr_done)
		return;
	if (atomic_fetch_sub(&p->pending, nr_done) == nr_done &&
	    atomic_load(&p->owner_asleep))
		futex_wake(&p->pending, 1);
}

/* Spin until a job or the end is there, for a bounded time. */
static bool spin_for_job(struct pst_pool *p)
{
	uint64_t end_ns = p->spin_ns ? pst_now_ns() + p->spin_ns : 0;

	do {
		for (uint32_t i = 0; i < SPINS_PER_LOOK; i++) {
			if (atomic_load_explicit(&p->left,
						 memory_order_relaxed) ||
			    atomic_load_explicit(&p->stop,
						 memory_order_relaxed))
				return true;
			cpu_relax();
		}
	} while (p->spin_ns && pst_now_ns() < end_ns);
	return false;
}

/*
 * The owner publishes left, then seq, then looks at nr_asleep; a worker raises
 * nr_asleep after it read seq and before it looks at left.  All of these are
 * sequentially consistent, so either the owner sees the sleeper and wakes it,
 * or the sleeper sees the job, or the futex finds seq changed.
 */
static void sleep_for_job(struct pst_pool *p)
{
	uint32_t seen = atomic_load(&p->seq);

	atomic_fetch_add(&p->nr_asleep, 1);
	if (!atomic_load(&p->left) && !atomic_load(&p->stop))
		futex_wait(&p->seq, seen);
	atomic_fetch_sub(&p->nr_asleep, 1);
}

static void *worker_main(void *arg)
{
	const struct worker *w = arg;
	struct pst_pool *p = w->pool;

	while (!atomic_load_explicit(&p->stop, memory_order_acquire)) {
		report_done(p, run_chunks(p, w->index));
		if (!spin_for_job(p))
			sleep_for_job(p);
	}
	return NULL;
}

/* The last chunks are with other workers: spin, then sleep until they end. */
static void wait_pending(struct pst_pool *p)
{
	uint64_t end_ns = 0;
	uint32_t seen;

	for (uint32_t i = 1;
	     atomic_load_explicit(&p->pending, memory_order_acquire); i++) {
		cpu_relax();
		if (i % SPINS_PER_LOOK)
			continue;
		if (!end_ns)
			end_ns = pst_now_ns() + p->spin_ns;
		else if (pst_now_ns() >= end_ns)
			break;
	}
	if (!atomic_load_explicit(&p->pending, memory_order_acquire))
		return;
	atomic_store(&p->owner_asleep, true);
	while ((seen = atomic_load(&p->pending)))
		futex_wait(&p->pending, seen);
	atomic_store_explicit(&p->owner_asleep, false, memory_order_relaxed);
}

void pst_pool_run(struct pst_pool *p, pst_pool_fn fn, void *ctx,
		  uint32_t nr_chunks)
{
	uint32_t nr_asleep;

	if (nr_chunks <= 1 || p->nr_workers == 1) {
		for (uint32_t i = 0; i < nr_chunks; i++)
			fn(ctx, i, 0);
		return;
	}
	p->fn = fn;
	p->ctx = ctx;
	p->nr_chunks = nr_chunks;
	atomic_store_explicit(&p->pending, nr_chunks, memory_order_relaxed);
	atomic_store(&p->left, nr_chunks);
	atomic_fetch_add(&p->seq, 1);
	nr_asleep = atomic_load(&p->nr_asleep);
	if (nr_asleep)
		futex_wake(&p->seq, PST_MIN(nr_asleep, nr_chunks - 1));
	report_done(p, run_chunks(p, 0));
	wait_pending(p);
}

uint32_t pst_pool_nr_workers(const struct pst_pool *p)
{
	return p->nr_workers;
}

static void pin(pthread_t thread, uint32_t cpu)
{
	cpu_set_t set[CPU_SETS] = { 0 };

	/* Refused only when the mask shrank under us: it stays unpinned. */
	if (cpu < sizeof(set) * CHAR_BIT) {
		CPU_SET_S(cpu, sizeof(set), set);
		pthread_setaffinity_np(thread, sizeof(set), set);
	}
}

static void pin_all(struct pst_pool *p, const uint32_t *cpus)
{
	if (pthread_getaffinity_np(pthread_self(), sizeof(p->owner_cpus),
				   p->owner_cpus))
		return;
	p->pinned = true;
	for (uint32_t i = 0; i < p->nr_workers; i++)
		pin(p->workers[i].thread, cpus[i]);
}

/*
 * Signals are the main thread's: workers start with all blocked but those that
 * a thread raises by what it does.  While one of these is blocked the kernel
 * kills instead of calling the handler, as for a mapped file that shrank.
 */
static int start_workers(struct pst_pool *p, uint32_t nr_workers)
{
	sigset_t all, old;
	int ret = 0;

	sigfillset(&all);
	sigdelset(&all, SIGBUS);
	sigdelset(&all, SIGSEGV);
	sigdelset(&all, SIGFPE);
	sigdelset(&all, SIGILL);
	pthread_sigmask(SIG_SETMASK, &all, &old);
	while (p->nr_workers < nr_workers && !ret) {
		struct worker *w = &p->workers[p->nr_workers];

		w->pool = p;
		w->index = p->nr_workers;
		ret = pthread_create(&w->thread, NULL, worker_main, w);
		if (!ret)
			p->nr_workers++;
	}
	pthread_sigmask(SIG_SETMASK, &old, NULL);
	return -ret;
}

static struct pst_pool *pool_alloc(uint32_t nr_workers)
{
	size_t bytes =
		sizeof(struct pst_pool) + nr_workers * sizeof(struct worker);
	struct pst_pool *p;

	if (posix_memalign((void **)&p, CACHE_LINE, bytes))
		return NULL;
	memset(p, 0, bytes);
	return p;
}

int pst_pool_create(uint32_t nr_workers, bool pin_workers,
		    struct pst_pool **out)
{
	uint32_t *cpus, nr_cpus = 1;
	struct pst_pool *p;
	int nr_cores, ret;

	if (!nr_workers || nr_workers > WORKERS_MAX)
		return -EINVAL;
	cpus = pst_calloc(nr_workers, sizeof(*cpus));
	if (!cpus)
		return -ENOMEM;
	ret = -ENOMEM;
	p = pool_alloc(nr_workers);
	if (!p)
		goto free_cpus;
	/* A machine that cannot be read: a pool without pins or spinning. */
	nr_cores = pst_topo_cores(cpus, nr_workers, &nr_cpus);
	p->spin_ns = nr_workers <= nr_cpus ? SPIN_NS : 0;
	p->nr_workers = 1;
	p->workers[0].thread = pthread_self();
	ret = start_workers(p, nr_workers);
	if (ret) {
		pst_pool_destroy(p);
		goto free_cpus;
	}
	if (pin_workers && nr_cores >= 0 && (uint32_t)nr_cores >= nr_workers)
		pin_all(p, cpus);
	*out = p;
free_cpus:
	free(cpus);
	return ret;
}

void pst_pool_destroy(struct pst_pool *p)
{
	if (!p)
		return;
	atomic_store(&p->stop, true);
	atomic_fetch_add(&p->seq, 1);
	futex_wake(&p->seq, INT_MAX);
	for (uint32_t i = 1; i < p->nr_workers; i++)
		pthread_join(p->workers[i].thread, NULL);
	if (p->pinned)
		pthread_setaffinity_np(p->workers[0].thread,
				       sizeof(p->owner_cpus), p->owner_cpus);
	free(p);
}
