// SPDX-License-Identifier: MIT
/*
 * The measuring loop: random reads of one size at one depth through io, into
 * registered memory as the expert cache has it.  Knows of bytes per second,
 * nothing of models, nothing of where figures go.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <penstock/profile.h>

#include "engine_priv.h"
#include "io.h"
#include "mem.h"

#define MEMORY_MAX PST_GIB
#define DEPTH_MAX  1024
/* Enough to find that a file is not dense; a dense one has one. */
#define EXTENTS_MAX 65536

/* The probe: what most drives are fast with. */
#define PROBE_SIZE     (1 * PST_MIB)
#define PROBE_DEPTH    16
#define PROBE_MS_MIN   10
#define PROBE_MS_MAX   1000
#define KNEE_SHARE_PCT 95

/* Longer reads save little processor time, and parts of experts are short. */
#define HANDY_BYTES (1 * PST_MIB)

/*
 * Latencies: 32 buckets for each power of two, so that a percentile is exact
 * to 3 % whatever the drive, in memory that does not grow with time.
 */
#define SUB_BITS   5
#define SUB	   (1u << SUB_BITS)
#define NR_BUCKETS ((64 - SUB_BITS + 1) * SUB)

struct pst_drive_bench {
	struct pst_drive_bench_args args;
	struct pst_io *io;
	struct pst_mem mem;
	int region;
	uint32_t depth_max;
	uint64_t file_bytes;
	uint64_t rng;
	char *path;
	uint64_t bucket[NR_BUCKETS];
	struct pst_io_read reads[]; /* [depth_max] */
};

static uint32_t bucket_of(uint64_t ns)
{
	uint32_t shift;

	if (ns < SUB)
		return (uint32_t)ns;
	shift = 63 - (uint32_t)__builtin_clzll(ns) - SUB_BITS;
	return (shift + 1) * SUB + (uint32_t)((ns >> shift) & (SUB - 1));
}

/* The middle of a bucket. */
static uint64_t bucket_ns(uint32_t i)
{
	uint32_t shift;

	if (i < SUB)
		return i;
	shift = i / SUB - 1;
	return ((uint64_t)(SUB + i % SUB) << shift) + (1ULL << shift) / 2;
}

static uint64_t percentile(const struct pst_drive_bench *b, uint64_t nr,
			   uint32_t pct)
{
	uint64_t rank = (nr * pct + 99) / 100, seen = 0;

	for (uint32_t i = 0; i < NR_BUCKETS; i++) {
		seen += b->bucket[i];
		if (seen >= rank)
			return bucket_ns(i);
	}
	return 0;
}

static uint64_t timeval_ns(struct timeval tv)
{
	return (uint64_t)tv.tv_sec * 1000000000ULL +
	       (uint64_t)tv.tv_usec * 1000ULL;
}

/* All threads: pread threads and the kernel's workers for the ring are ours. */
static uint64_t cpu_now_ns(void)
{
	struct rusage u;

	if (getrusage(RUSAGE_SELF, &u))
		return 0;
	return timeval_ns(u.ru_utime) + timeval_ns(u.ru_stime);
}

static int open_io(const struct pst_drive_bench *b, struct pst_io **out,
		   struct pst_diag *diag)
{
	const struct pst_drive_bench_args *args = &b->args;
	struct pst_io_args io = {
		.must_mode = args->io_mode > PST_ENGINE_MODE_IRQ,
		.queue_depth = args->depth_max,
		.nr_threads = PST_MIN(args->depth_max, 64u),
		.fault = args->fault,
		.log = args->log,
	};
	int ret;

	pst_engine_choose_io(args->io, args->io_mode, args->direct, &io);
	ret = pst_io_create(&io, out, diag);
	if (ret)
		return ret;
	ret = pst_io_add_file(*out, args->path, diag);
	if (ret >= 0)
		return 0;
	pst_io_destroy(*out);
	*out = NULL;
	return ret;
}

static int read_length(struct pst_drive_bench *b, struct pst_diag *diag)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	off_t end = fd < 0 ? -1 : lseek(fd, 0, SEEK_END);
	int ret = end < 0 ? -errno : 0;

	if (fd >= 0)
		close(fd);
	if (ret)
		return pst_diag_set_at(diag, ret, b->path, UINT64_MAX,
				       "its length cannot be read: %s",
				       strerror(-ret));
	b->file_bytes = (uint64_t)end;
	return 0;
}

static int announce_memory(struct pst_drive_bench *b, struct pst_diag *diag)
{
	/* Huge pages round up past what one buffer of the ring may be. */
	b->region = pst_io_add_region(b->io, b->mem.addr,
				      PST_MIN(b->mem.size_bytes, PST_GIB));
	return b->region < 0 ? pst_diag_set(diag, b->region,
					    "memory cannot be announced to "
					    "the I/O: %s",
					    strerror(-b->region))
			     : 0;
}

static int map_memory(struct pst_drive_bench *b, struct pst_diag *diag)
{
	struct pst_drive drive = { .numa_node = -1 };
	struct pst_topo topo = { .nr_nodes = 1 };
	struct pst_mem_args want = {
		.size_bytes = b->args.memory_bytes,
		.want = pst_engine_huge_want(b->args.huge),
		.node = -1,
	};
	int ret;

	/* As an engine would: next to the drive, where nodes differ. */
	if (!pst_drive_of_path(b->path, &drive) && drive.numa_node >= 0 &&
	    !pst_topo_read(&topo) && topo.nr_nodes > 1)
		want.node = drive.numa_node;
	ret = pst_mem_map(&want, &b->mem, diag);
	return ret ? ret : announce_memory(b, diag);
}

int pst_drive_bench_open(const struct pst_drive_bench_args *args,
			 struct pst_drive_bench **out, struct pst_diag *diag)
{
	struct pst_drive_bench *b;
	int ret;

	if (!args->depth_max || args->depth_max > DEPTH_MAX ||
	    !args->memory_bytes || args->memory_bytes > MEMORY_MAX ||
	    args->io == PST_ENGINE_IO_MMAP)
		return pst_diag_set(diag, -EINVAL,
				    "%u reads in flight, %llu bytes together: "
				    "1 to %u reads and 1 GiB can be measured",
				    args->depth_max,
				    (unsigned long long)args->memory_bytes,
				    DEPTH_MAX);
	b = calloc(1, sizeof(*b) + args->depth_max * sizeof(b->reads[0]));
	if (!b)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	b->depth_max = args->depth_max;
	b->rng = args->seed;
	b->path = strdup(args->path);
	b->args = *args;
	b->args.path = b->path;
	ret = b->path ? open_io(b, &b->io, diag) : -ENOMEM;
	if (!ret)
		ret = read_length(b, diag);
	if (!ret)
		ret = map_memory(b, diag);
	if (ret) {
		pst_drive_bench_close(b);
		return pst_diag_set(diag, ret, "out of memory");
	}
	*out = b;
	return 0;
}

int pst_drive_bench_set_mode(struct pst_drive_bench *b,
			     enum pst_engine_io_mode mode,
			     struct pst_diag *diag)
{
	enum pst_engine_io_mode before = b->args.io_mode;
	struct pst_io *io;
	int ret;

	if (mode == before)
		return 0;
	b->args.io_mode = mode;
	ret = open_io(b, &io, diag);
	if (ret) {
		b->args.io_mode = before;
		return ret;
	}
	pst_io_destroy(b->io);
	b->io = io;
	return announce_memory(b, diag);
}

void pst_drive_bench_close(struct pst_drive_bench *b)
{
	if (!b)
		return;
	/* First: the drive may still write into the memory. */
	pst_io_destroy(b->io);
	pst_mem_unmap(&b->mem);
	free(b->path);
	free(b);
}

uint32_t pst_drive_bench_align(const struct pst_drive_bench *b)
{
	return pst_io_align(b->io);
}

uint64_t pst_drive_bench_bytes(const struct pst_drive_bench *b)
{
	return b->file_bytes;
}

uint64_t pst_drive_bench_hole_bytes(const struct pst_drive_bench *b)
{
	int fd = open(b->path, O_RDONLY | O_CLOEXEC);
	uint64_t holes = 0;
	off_t at = 0;
	struct stat st;

	if (fd < 0)
		return 0;
	if (fstat(fd, &st) || !S_ISREG(st.st_mode))
		st.st_size = 0;
	for (uint32_t i = 0; i < EXTENTS_MAX && at < st.st_size; i++) {
		off_t hole = lseek(fd, at, SEEK_HOLE), data;

		if (hole < 0 || hole >= st.st_size)
			break;
		data = lseek(fd, hole, SEEK_DATA);
		at = data < 0 || data > st.st_size ? st.st_size : data;
		holes += (uint64_t)(at - hole);
	}
	close(fd);
	return holes;
}

bool pst_drive_bench_direct(const struct pst_drive_bench *b)
{
	return strstr(pst_io_name(b->io), "O_DIRECT");
}

const char *pst_drive_bench_io(const struct pst_drive_bench *b)
{
	return pst_io_name(b->io);
}

const char *pst_drive_bench_memory(const struct pst_drive_bench *b)
{
	return pst_mem_kind_name(&b->mem);
}

/* The next place, anywhere that an aligned read fits. */
static void aim(struct pst_drive_bench *b, struct pst_io_read *r)
{
	uint64_t align = pst_io_align(b->io);
	uint64_t places = (b->file_bytes - r->len_bytes) / align + 1;

	r->off_bytes = pst_rng_next(&b->rng) % places * align;
}

static struct pst_io_read *first_reads(struct pst_drive_bench *b,
				       uint32_t size_bytes, uint32_t depth)
{
	for (uint32_t i = 0; i < depth; i++) {
		struct pst_io_read *r = &b->reads[i];

		*r = (struct pst_io_read){
			.len_bytes = size_bytes,
			.need_bytes = size_bytes,
			.buf = (char *)b->mem.addr + (uint64_t)i * size_bytes,
			.region = b->region,
			.next = i + 1 < depth ? r + 1 : NULL,
		};
		aim(b, r);
	}
	return b->reads;
}

/* What has come back: counted, and up to @end_ns sent out again. */
static int turn_around(struct pst_drive_bench *b, struct pst_io_read *done,
		       uint64_t end_ns, struct pst_drive_figures *f,
		       struct pst_diag *diag)
{
	struct pst_io_read *again = NULL, *next;
	bool more = pst_now_ns() < end_ns;
	int ret = 0;

	for (; done; done = next) {
		next = done->next;
		if (done->result) {
			ret = pst_diag_set_at(diag, done->result, b->path,
					      done->off_bytes,
					      "a read of %u bytes failed: %s",
					      done->len_bytes,
					      strerror(-done->result));
			continue;
		}
		f->reads++;
		b->bucket[bucket_of(done->done_ns - done->submit_ns)]++;
		if (!more)
			continue;
		aim(b, done);
		done->next = again;
		again = done;
	}
	if (again && !ret)
		pst_io_submit(b->io, again);
	return ret;
}

int pst_drive_bench_run(struct pst_drive_bench *b, uint32_t size_bytes,
			uint32_t depth, uint64_t time_ns,
			struct pst_drive_figures *out, struct pst_diag *diag)
{
	struct pst_drive_figures f = { .size_bytes = size_bytes,
				       .depth = depth };
	uint64_t start_ns, cpu_ns, end_ns;
	int ret = 0;

	if (!size_bytes || size_bytes % pst_io_align(b->io) ||
	    (uint64_t)size_bytes * depth > b->mem.size_bytes || !depth ||
	    depth > b->depth_max || size_bytes > b->file_bytes)
		return pst_diag_set_at(diag, -EINVAL, b->path, UINT64_MAX,
				       "%u reads of %u bytes do not go with a "
				       "file of %llu bytes",
				       depth, size_bytes,
				       (unsigned long long)b->file_bytes);
	memset(b->bucket, 0, sizeof(b->bucket));
	cpu_ns = cpu_now_ns();
	start_ns = pst_now_ns();
	end_ns = start_ns + time_ns;
	pst_io_submit(b->io, first_reads(b, size_bytes, depth));
	while (pst_io_outstanding(b->io)) {
		struct pst_io_read *done = pst_io_reap(b->io, true);
		/* After a failure what is out is only waited for. */
		int rc = turn_around(b, done, ret ? 0 : end_ns, &f, diag);

		ret = ret ? ret : rc;
	}
	f.elapsed_ns = PST_MAX(pst_now_ns() - start_ns, 1ULL);
	f.cpu_ns = cpu_now_ns() - cpu_ns;
	if (ret)
		return ret;
	f.p50_ns = percentile(b, f.reads, 50);
	f.p99_ns = percentile(b, f.reads, 99);
	*out = f;
	return 0;
}

uint64_t pst_drive_figures_bps(const struct pst_drive_figures *f)
{
	if (!f->elapsed_ns)
		return 0;
	return (uint64_t)((double)f->reads * f->size_bytes * 1e9 /
			  (double)f->elapsed_ns);
}

/* Of two sizes the longer one, but rather not above 1 MiB. */
static bool is_handier(uint32_t a_bytes, uint32_t b_bytes)
{
	if (a_bytes <= HANDY_BYTES)
		return b_bytes > HANDY_BYTES || a_bytes > b_bytes;
	return b_bytes > HANDY_BYTES && a_bytes < b_bytes;
}

/* Less in flight, or as much in handier reads. */
static bool is_leaner(const struct pst_drive_figures *a,
		      const struct pst_drive_figures *b)
{
	uint64_t x = (uint64_t)a->size_bytes * a->depth;
	uint64_t y = (uint64_t)b->size_bytes * b->depth;

	return x < y || (x == y && is_handier(a->size_bytes, b->size_bytes));
}

uint32_t pst_drive_knee(const struct pst_drive_figures *f, uint32_t nr)
{
	uint64_t best_bps = 0;
	uint32_t knee = nr;

	for (uint32_t i = 0; i < nr; i++)
		best_bps = PST_MAX(best_bps, pst_drive_figures_bps(&f[i]));
	for (uint32_t i = 0; i < nr; i++) {
		uint64_t bps = pst_drive_figures_bps(&f[i]);

		if (!bps || bps < best_bps / 100 * KNEE_SHARE_PCT)
			continue;
		if (knee == nr || is_leaner(&f[i], &f[knee]))
			knee = i;
	}
	return knee == nr ? 0 : knee;
}

int pst_drive_bench_short(struct pst_drive_bench *b, uint64_t time_ns,
			  struct pst_drive_profile *out, struct pst_diag *diag)
{
	uint32_t size_bytes = PST_DRIVE_SHORT_BYTES;
	uint32_t depth = PST_DRIVE_SHORT_DEPTH;
	struct pst_drive_figures one, many;
	int ret;

	out->short_latency_ns = out->short_rate = 0;
	if (size_bytes % pst_io_align(b->io) || depth > b->depth_max ||
	    (uint64_t)size_bytes * depth > b->mem.size_bytes)
		return 0;
	ret = pst_drive_bench_run(b, size_bytes, 1, time_ns / 2, &one, diag);
	if (!ret)
		ret = pst_drive_bench_run(b, size_bytes, depth, time_ns / 2,
					  &many, diag);
	if (ret)
		return ret;
	out->short_latency_ns = one.p50_ns;
	out->short_rate =
		(uint64_t)((double)many.reads * 1e9 / (double)many.elapsed_ns);
	return 0;
}

/* Of the time a quarter for one read alone, a half for many, the rest for short
 * ones.
 */
static int probe_open(struct pst_drive_bench *b, uint64_t time_ns,
		      struct pst_drive_profile *out, struct pst_diag *diag)
{
	uint64_t room = pst_align_down(b->file_bytes, pst_io_align(b->io));
	uint32_t size_bytes = (uint32_t)PST_MIN(room, PROBE_SIZE);
	struct pst_drive_figures one, many;
	uint32_t depth = PROBE_DEPTH;
	int ret =
		pst_drive_bench_run(b, size_bytes, 1, time_ns / 4, &one, diag);

	if (ret)
		return ret;
	/* On a slow drive a deep queue alone would exceed the budget. */
	while (depth > 1 && one.p50_ns * depth > time_ns / 2)
		depth /= 2;
	ret = pst_drive_bench_run(b, size_bytes, depth, time_ns / 2, &many,
				  diag);
	if (ret)
		return ret;
	*out = (struct pst_drive_profile){
		.bandwidth_bps = PST_MAX(pst_drive_figures_bps(&many),
					 pst_drive_figures_bps(&one)),
		.latency_ns = one.p50_ns,
		.depth = depth,
		.split_bytes = size_bytes,
		.when_s = (int64_t)time(NULL),
		.direct = pst_drive_bench_direct(b),
	};
	return pst_drive_bench_short(b, time_ns / 4, out, diag);
}

int pst_drive_probe(const char *path, uint32_t ms_budget,
		    struct pst_drive_profile *out, struct pst_diag *diag)
{
	struct pst_drive_bench_args args = { .path = path,
					     .depth_max = PROBE_DEPTH,
					     .memory_bytes =
						     PROBE_SIZE * PROBE_DEPTH,
					     .seed = pst_now_ns() };
	struct pst_drive_bench *b;
	int ret;

	if (ms_budget < PROBE_MS_MIN || ms_budget > PROBE_MS_MAX)
		return pst_diag_set(diag, -EINVAL,
				    "a probe of %u ms: %d to %d ms are "
				    "possible",
				    ms_budget, PROBE_MS_MIN, PROBE_MS_MAX);
	ret = pst_drive_bench_open(&args, &b, diag);
	if (ret)
		return ret;
	ret = probe_open(b, ms_budget * 1000000ULL, out, diag);
	pst_drive_bench_close(b);
	return ret;
}
