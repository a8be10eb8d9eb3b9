// SPDX-License-Identifier: MIT
/*
 * Random calls from a seed, and processes that race.  Nothing is checked but
 * that the kernel stays silent, the bytes of pools stay theirs, and everything
 * is given back.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kt.h"

#define NR_FDS	 12
#define NR_CALLS 100000

struct fuzz {
	uint64_t rng;
	int fds[NR_FDS];
	unsigned long nr_ok;
	unsigned int names; /* so that racing processes meet */
};

static uint64_t below(struct fuzz *f, uint64_t n)
{
	return kt_random(&f->rng) % n;
}

/* Numbers that are often wrong in interesting ways. */
static uint64_t number(struct fuzz *f)
{
	static const uint64_t odd[] = { 0,
					1,
					4095,
					4096,
					4097,
					KT_CHUNK,
					KT_CHUNK * 2,
					UINT32_MAX,
					INT64_MAX,
					UINT64_MAX,
					UINT64_MAX - 4095 };

	switch (below(f, 4)) {
	case 0:
		return odd[below(f, sizeof(odd) / sizeof(*odd))];
	case 1:
		return kt_random(&f->rng);
	case 2:
		return below(f, 16) * 4096;
	default:
		return below(f, 8) * KT_CHUNK;
	}
}

static unsigned long command(struct fuzz *f)
{
	static const unsigned long known[] = {
		PENSTOCK_INFO,	 PENSTOCK_CREATE,   PENSTOCK_OPEN,
		PENSTOCK_UNLINK, PENSTOCK_STAT,	    PENSTOCK_CHUNKS,
		PENSTOCK_EXPORT, PENSTOCK_WAIT_IDLE
	};

	if (!below(f, 50))
		return kt_random(&f->rng);
	return known[below(f, sizeof(known) / sizeof(*known))];
}

static void small_create(struct fuzz *f, struct penstock_create *args)
{
	*args = (struct penstock_create){ .size = sizeof(*args),
					  .bytes = below(f, 4) * KT_CHUNK,
					  .order = (uint32_t)below(f, 12),
					  .nodes = below(f, 5) };
	args->min_order = (uint32_t)below(f, args->order + 2);
	args->flags = (uint32_t)below(f, 4);
	if (args->flags & PENSTOCK_C_NAMED)
		args->name[0] = (char)('a' + below(f, f->names));
}

/* Nearly right arguments get further than random ones. */
static void fill(struct fuzz *f, unsigned long cmd, char *args, size_t size)
{
	uint64_t *words = (uint64_t *)args;
	struct penstock_open *open = (void *)args;
	size_t i;

	memset(args, 0, size);
	if (cmd == PENSTOCK_CREATE && below(f, 10)) {
		small_create(f, (void *)args);
	} else if (cmd == PENSTOCK_OPEN || cmd == PENSTOCK_UNLINK) {
		open->size = cmd == PENSTOCK_OPEN
				     ? sizeof(*open)
				     : sizeof(struct penstock_unlink);
		open->flags = (uint32_t)below(f, cmd == PENSTOCK_OPEN ? 5 : 2);
		open->name[0] = (char)('a' + below(f, f->names));
		if (cmd == PENSTOCK_OPEN)
			open->timeout_ns = below(f, 2000000);
	} else {
		for (i = 1; i < 8; i++)
			words[i] = number(f);
		words[0] = below(f, 700);
		if (cmd == PENSTOCK_WAIT_IDLE)
			words[3] = below(f, 2000000);
		if (cmd == PENSTOCK_CHUNKS && below(f, 4))
			words[2] = (uintptr_t)(args + 512);
		if (cmd == PENSTOCK_CHUNKS)
			words[3] = 16 | (uint64_t)24 << 32;
		if (cmd == PENSTOCK_EXPORT && below(f, 2))
			words[0] = sizeof(struct penstock_export), words[3] = 0;
	}
	if (!below(f, 8))
		args[below(f, 128)] ^= (char)(1 << below(f, 8));
	/* The fuzzer would wait for itself, and for hours. */
	if (cmd == PENSTOCK_OPEN)
		open->timeout_ns &= (1 << 21) - 1;
	if (cmd == PENSTOCK_WAIT_IDLE)
		words[3] &= (1 << 21) - 1;
}

static int result_fd(unsigned long cmd, const char *args)
{
	switch (cmd) {
	case PENSTOCK_CREATE:
		return ((const struct penstock_create *)(const void *)args)->fd;
	case PENSTOCK_OPEN:
		return ((const struct penstock_open *)(const void *)args)->fd;
	case PENSTOCK_EXPORT:
		return ((const struct penstock_export *)(const void *)args)->fd;
	default:
		return -1;
	}
}

static void touch_or_close(struct fuzz *f, unsigned int slot)
{
	char *at;

	if (below(f, 2)) {
		close(f->fds[slot]);
		f->fds[slot] = -1;
		return;
	}
	at = mmap(NULL, KT_CHUNK, PROT_READ | PROT_WRITE, MAP_SHARED,
		  f->fds[slot], (off_t)(below(f, 3) * KT_MIB));
	if (at == MAP_FAILED)
		return;
	at[below(f, KT_CHUNK)] = 1;
	if (below(f, 2))
		madvise(at, KT_MIB, MADV_DONTNEED);
	munmap(at, KT_CHUNK);
}

static void step(struct fuzz *f, int device, char *args)
{
	unsigned int slot = (unsigned int)below(f, NR_FDS);
	unsigned long cmd = command(f);
	int fd, got;

	if (f->fds[slot] >= 0 && !below(f, 4)) {
		touch_or_close(f, slot);
		return;
	}
	fill(f, cmd, args, 1024);
	fd = below(f, 3) && f->fds[slot] >= 0 ? f->fds[slot] : device;
	if (cmd == PENSTOCK_INFO || cmd == PENSTOCK_CREATE ||
	    cmd == PENSTOCK_OPEN || cmd == PENSTOCK_UNLINK)
		fd = below(f, 20) ? device : fd;
	if (!below(f, 200))
		args = NULL;
	if (ioctl(fd, cmd, args) || !args)
		return;
	f->nr_ok++;
	got = result_fd(cmd, args);
	if (got < 0)
		return;
	slot = (unsigned int)below(f, NR_FDS);
	if (f->fds[slot] >= 0)
		close(f->fds[slot]);
	f->fds[slot] = got;
}

static void fuzz(uint64_t seed, unsigned long nr_calls, unsigned int names)
{
	static char args[8192] __attribute__((aligned(8)));
	struct fuzz f = { .rng = seed, .names = names };
	int device = kt_device();
	unsigned long i;

	for (i = 0; i < NR_FDS; i++)
		f.fds[i] = -1;
	for (i = 0; i < nr_calls; i++)
		step(&f, device, args);
	kt_note("%lu of %lu calls succeeded", f.nr_ok, nr_calls);
	KT_CHECK(f.nr_ok > nr_calls / 20);
}

static unsigned long nr_calls(void)
{
	const char *text = getenv("KT_FUZZ_CALLS");

	return text && *text ? strtoul(text, NULL, 10) : NR_CALLS;
}

static void random_calls_do_no_harm(void)
{
	kt_note("PENSTOCK_SEED=%llu", (unsigned long long)kt_seed());
	fuzz(kt_seed(), nr_calls(), 4);
	kt_unlink_all();
}

static void two_fuzzers_race(void)
{
	int status, i;

	for (i = 0; i < 2; i++) {
		if (fork())
			continue;
		fuzz(kt_seed() + 100 + (uint64_t)i, nr_calls() / 5, 2);
		_exit(0);
	}
	for (i = 0; i < 2; i++) {
		KT_CHECK(wait(&status) > 0);
		KT_EQUAL(status, 0);
	}
	kt_unlink_all();
}

/* Two processes fight for the ownership of one pool: one at a time has it. */
static void contender(int *inside, unsigned int rounds)
{
	while (rounds--) {
		int owner = kt_open("fight",
				    PENSTOCK_O_OWNER | PENSTOCK_O_WAIT_IDLE,
				    30000, NULL);
		char *at;

		KT_CHECK(owner >= 0);
		KT_EQUAL(__atomic_fetch_add(inside, 1, __ATOMIC_SEQ_CST), 0);
		at = kt_map(owner, 0, KT_CHUNK);
		at[0]++;
		kt_unmap(at, KT_CHUNK);
		__atomic_fetch_sub(inside, 1, __ATOMIC_SEQ_CST);
		close(owner);
	}
}

static void two_processes_own_in_turns(void)
{
	int *inside = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
			   MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	struct penstock_open open;
	int status, i, fd = kt_named("fight", KT_CHUNK);
	char *at;

	KT_CHECK(fd >= 0);
	close(fd);
	for (i = 0; i < 2; i++) {
		if (fork())
			continue;
		contender(inside, 50);
		_exit(0);
	}
	for (i = 0; i < 2; i++) {
		KT_CHECK(wait(&status) > 0);
		KT_EQUAL(status, 0);
	}
	fd = kt_open("fight", PENSTOCK_O_OWNER, 0, &open);
	KT_CHECK(fd >= 0);
	KT_EQUAL(open.generation, 102);
	at = kt_map(fd, 0, KT_CHUNK);
	KT_EQUAL(at[0], 100);
	KT_EQUAL(kt_unlink("fight"), 0);
}

/* Faults of one process on pages that another drops all the time. */
static void faults_race_with_dontneed(void)
{
	int pool = kt_pool(4 * KT_CHUNK);
	char *at = kt_map(pool, 0, 4 * KT_CHUNK);
	int status, round;
	pid_t child;

	memset(at, 6, 4 * KT_CHUNK);
	KT_EQUAL(madvise(at, 4 * KT_CHUNK, MADV_DOFORK), 0);
	child = fork();
	if (!child) {
		for (;;)
			madvise(at, 4 * KT_CHUNK, MADV_DONTNEED);
	}
	for (round = 0; round < 20; round++) {
		KT_EQUAL(madvise(at, 3 * KT_CHUNK, MADV_DONTNEED), 0);
		KT_EQUAL(kt_byte_sum(at, 4 * KT_CHUNK), 6 * 4 * KT_CHUNK);
	}
	KT_EQUAL(kill(child, SIGKILL), 0);
	KT_EQUAL(waitpid(child, &status, 0), child);
	KT_EQUAL(kt_wait_idle(pool, 0, 4 * KT_CHUNK, 2000), 0);
}

const struct kt_test kt_fuzz_tests[] = {
	{ "fuzz: random calls do no harm", random_calls_do_no_harm },
	{ "race: two fuzzers", two_fuzzers_race },
	{ "race: two processes own in turns", two_processes_own_in_turns },
	{ "race: faults against MADV_DONTNEED", faults_race_with_dontneed },
	{}
};
