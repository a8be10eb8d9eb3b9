// SPDX-License-Identifier: MIT
/*
 * penstock iobench: the drive below a path with our read sizes and depths,
 * through our own I/O.  Finds the knee of the sweep, measures it once more,
 * and keeps it as the profile of that drive.
 */
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "iobench.h"
#include "mem.h"
#include "state.h"

#define SECONDS_MAX    3600.0
#define SIZE_MAX_BYTES (256 * PST_MIB)
#define DEPTH_MAX      1024
/* Of the time, for the last looks at the knee. */
#define AGAIN_SHARE 0.2
/* And for reads so short that only their number counts. */
#define SHORT_SHARE 0.05
/* A shorter bench says too little of a drive that drifts. */
#define PROFILE_SECONDS_MIN 5.0f
/* A queue that takes longer than this many times a point is left out. */
#define DRAIN_POINTS 2

static const uint32_t default_sizes[] = { 65536,   131072,  262144, 524288,
					  1048576, 2097152, 4194304 };
static const uint32_t default_depths[] = { 1, 2, 4, 8, 16, 32, 64 };

static void insert(uint32_t *list, uint32_t *nr, uint32_t v)
{
	uint32_t at = 0;

	while (at < *nr && list[at] < v)
		at++;
	if ((at < *nr && list[at] == v) || *nr == IOBENCH_LIST_MAX)
		return;
	memmove(&list[at + 1], &list[at], (*nr - at) * sizeof(*list));
	list[at] = v;
	(*nr)++;
}

static bool parse_size(const char *s, uint32_t *out)
{
	uint64_t v;

	if (pst_parse_size(s, &v) || v < 4096 || v > SIZE_MAX_BYTES || v % 4096)
		return false;
	*out = (uint32_t)v;
	return true;
}

static bool parse_depth(const char *s, uint32_t *out)
{
	unsigned long v;
	char *end;

	v = strtoul(s, &end, 10);
	if (*s < '0' || *s > '9' || *end || !v || v > DEPTH_MAX)
		return false;
	*out = (uint32_t)v;
	return true;
}

/* A list with commas of the option @name, sorted, each once. */
static int parse_list(const char *name, const char *text, uint32_t *list,
		      uint32_t *nr)
{
	bool is_size = !strcmp(name, "size");
	char *copy = strdup(text), *save = NULL, *word;
	int rc = copy ? EXIT_OK : cli_fail(-ENOMEM, NULL);
	uint32_t v, given = 0;

	for (word = copy ? strtok_r(copy, ",", &save) : NULL; word && !rc;
	     word = strtok_r(NULL, ",", &save)) {
		if (is_size ? parse_size(word, &v) : parse_depth(word, &v)) {
			insert(list, nr, v);
			given++;
		} else {
			rc = EXIT_USAGE;
		}
	}
	free(copy);
	if (!rc && given && given <= IOBENCH_LIST_MAX)
		return EXIT_OK;
	cli_error("--%s '%s': not a list of 1 to %d %s", name, text,
		  IOBENCH_LIST_MAX,
		  is_size ? "multiples of 4096 up to 256 MiB"
			  : "numbers from 1 to 1024");
	return rc ? rc : EXIT_USAGE;
}

/* What has to be known before anything is opened or written. */
static int parse_lists(struct iobench *b)
{
	const struct cli_opts *o = b->o;
	int rc = EXIT_OK;

	b->swept = !o->sizes && !o->depths;
	if (o->sizes)
		rc = parse_list("size", o->sizes, b->sizes, &b->nr_sizes);
	if (!rc && o->depths)
		rc = parse_list("depth", o->depths, b->depths, &b->nr_depths);
	if (!rc && (!(o->seconds > 0) || o->seconds > SECONDS_MAX)) {
		cli_error("--seconds '%g': not from above 0 to %g",
			  (double)o->seconds, SECONDS_MAX);
		rc = EXIT_USAGE;
	}
	if (!rc && o->print_fio && o->output != OUT_TEXT) {
		cli_error("--print-fio prints a job for fio: it has no form "
			  "of its own for -o");
		rc = EXIT_USAGE;
	}
	return rc;
}

static void fill_lists(struct iobench *b)
{
	if (!b->o->sizes) {
		for (size_t i = 0; i < PST_ARRAY_SIZE(default_sizes); i++)
			insert(b->sizes, &b->nr_sizes, default_sizes[i]);
		for (uint32_t i = 0; i < b->target.nr_experts; i++)
			insert(b->sizes, &b->nr_sizes,
			       b->target.expert_bytes[i]);
	}
	if (!b->o->depths)
		for (size_t i = 0; i < PST_ARRAY_SIZE(default_depths); i++)
			insert(b->depths, &b->nr_depths, default_depths[i]);
}

/* Half of what is there: the rest of the machine wants to live, too. */
static uint64_t memory_room(void)
{
	struct pst_mem_limits m;

	if (pst_mem_limits_read(&m))
		return IOBENCH_MEMORY_MAX;
	return PST_MIN(pst_mem_room(&m) / 2, IOBENCH_MEMORY_MAX);
}

/*
 * The points that the file and the memory allow.  Return: bytes in flight of
 * the largest one, 0 when there is none.
 */
static uint64_t make_points(struct iobench *b, uint64_t room)
{
	uint64_t most = 0;

	for (uint32_t s = 0; s < b->nr_sizes; s++)
		for (uint32_t d = 0; d < b->nr_depths; d++) {
			uint64_t flight = (uint64_t)b->sizes[s] * b->depths[d];

			if (b->sizes[s] > b->target.size_bytes || flight > room)
				continue;
			b->f[b->nr_points++] = (struct pst_drive_figures){
				.size_bytes = b->sizes[s], .depth = b->depths[d]
			};
			most = PST_MAX(most, flight);
		}
	return most;
}

static int plan_points(struct iobench *b, uint64_t *memory_bytes)
{
	uint64_t room = memory_room();
	char text[3][32];

	fill_lists(b);
	*memory_bytes = make_points(b, room);
	if (b->sizes[0] > b->target.size_bytes) {
		cli_error("%s: %s, less than one read of %s: give a longer "
			  "file or a smaller --size",
			  b->target.path,
			  cli_bytes_text(b->target.size_bytes, text[0], 32),
			  cli_bytes_text(b->sizes[0], text[1], 32));
		return EXIT_DATA;
	}
	if (!b->nr_points) {
		cli_error("%u reads of %s are more than the %s of memory that "
			  "can be had: a smaller --size or --depth would fit",
			  b->depths[0],
			  cli_bytes_text(b->sizes[0], text[0], 32),
			  cli_bytes_text(room, text[1], 32));
		return EXIT_OS;
	}
	if (b->nr_points < b->nr_sizes * b->nr_depths)
		fprintf(stderr,
			"penstock: %u of %u points are left out: longer than "
			"the file (%s) or more than %s in flight\n",
			b->nr_sizes * b->nr_depths - b->nr_points,
			b->nr_sizes * b->nr_depths,
			cli_bytes_text(b->target.size_bytes, text[0], 32),
			cli_bytes_text(room, text[1], 32));
	return EXIT_OK;
}

/* The temporary file has no name that would help anybody. */
static int fail_at_target(const struct iobench *b, int err, struct pst_diag *d)
{
	if (b->target.is_dir && !strcmp(d->file, b->target.source))
		snprintf(d->file, sizeof(d->file), "temporary file in %s",
			 b->target.path);
	return cli_fail(err, d);
}

static int open_bench(struct iobench *b, uint64_t memory_bytes)
{
	const struct pst_engine_opts *e = &b->o->engine;
	struct pst_drive_bench_args args = {
		.path = b->target.source,
		.io = e->io,
		.io_mode = e->io_mode,
		.direct = e->direct,
		.huge = e->huge,
		.depth_max = b->depths[b->nr_depths - 1],
		.memory_bytes = memory_bytes,
		.seed = b->o->sample.seed,
		.fault = e->fault,
		.log = &b->o->log,
	};
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	rc = pst_drive_bench_open(&args, &b->bench, &diag);
	return rc ? fail_at_target(b, rc, &diag) : EXIT_OK;
}

/* Every second round runs backwards, so that a drift favours nobody. */
static int measure_round(struct iobench *b, uint32_t round, uint64_t point_ns,
			 uint64_t *best_bps, struct pst_diag *diag)
{
	uint32_t nr = b->nr_points;
	int rc = 0;

	for (uint32_t i = 0; i < nr && !rc; i++) {
		uint32_t at = round % 2 ? nr - 1 - i : i;
		struct pst_drive_figures *f = &b->rounds[round][at];
		double flight;

		*f = b->f[at];
		flight = (double)f->size_bytes * f->depth;
		cli_bar_update(&b->o->bar, "measuring", round * nr + i,
			       IOBENCH_ROUNDS * nr, "points");
		/* Waiting for such a queue would break the promised time. */
		if (f->depth > 1 && *best_bps &&
		    flight * 1e9 / (double)*best_bps >
			    DRAIN_POINTS * (double)point_ns)
			continue;
		rc = pst_drive_bench_run(b->bench, f->size_bytes, f->depth,
					 point_ns, f, diag);
		if (!rc)
			*best_bps =
				PST_MAX(*best_bps, pst_drive_figures_bps(f));
	}
	return rc;
}

static int by_bandwidth(const void *a, const void *b)
{
	uint64_t x = pst_drive_figures_bps(a), y = pst_drive_figures_bps(b);

	return (x > y) - (x < y);
}

static void take_medians(struct iobench *b)
{
	for (uint32_t i = 0; i < b->nr_points; i++) {
		struct pst_drive_figures got[IOBENCH_ROUNDS];
		uint32_t nr = 0;

		for (uint32_t r = 0; r < IOBENCH_ROUNDS; r++)
			if (b->rounds[r][i].reads)
				got[nr++] = b->rounds[r][i];
		if (!nr)
			continue;
		qsort(got, nr, sizeof(*got), by_bandwidth);
		b->f[i] = got[nr / 2];
		b->low_bps[i] = pst_drive_figures_bps(&got[0]);
		b->high_bps[i] = pst_drive_figures_bps(&got[nr - 1]);
	}
}

/* No engine makes longer reads than an expert's parts: points are by size. */
static uint32_t find_knee(const struct iobench *b)
{
	const struct iobench_target *t = &b->target;
	uint32_t nr = b->nr_points;

	if (t->nr_experts)
		while (nr && b->f[nr - 1].size_bytes >
				     t->expert_bytes[t->nr_experts - 1])
			nr--;
	return pst_drive_knee(b->f, nr ? nr : b->nr_points);
}

static int sweep(struct iobench *b)
{
	double sweep_ns =
		(double)b->o->seconds * (1.0 - AGAIN_SHARE - SHORT_SHARE) * 1e9;
	uint64_t point_ns =
		(uint64_t)(sweep_ns / (IOBENCH_ROUNDS * b->nr_points));
	uint64_t best_bps = 0;
	struct pst_diag diag;
	int rc = 0;

	pst_diag_init(&diag);
	for (uint32_t r = 0; r < IOBENCH_ROUNDS && !rc; r++)
		rc = measure_round(b, r, point_ns, &best_bps, &diag);
	if (!rc) {
		take_medians(b);
		b->knee = find_knee(b);
		/* The best of many noisy looks is too good: look once more. */
		rc = iobench_look_again(
			b, (uint64_t)(b->o->seconds * AGAIN_SHARE * 1e9),
			&diag);
		if (!rc)
			rc = pst_drive_bench_short(
				b->bench,
				(uint64_t)(b->o->seconds * SHORT_SHARE * 1e9),
				&b->brief, &diag);
		cli_bar_update(&b->o->bar, "measuring", 1, 1, "points");
	}
	cli_bar_clear(&b->o->bar);
	return rc ? fail_at_target(b, rc, &diag) : EXIT_OK;
}

/* Why the knee is no profile of the drive, or NULL. */
static const char *why_no_profile(const struct iobench *b)
{
	if (!b->swept)
		return "only some sizes or depths were measured";
	if (b->o->engine.fault)
		return "faults were injected";
	if (b->o->engine.io == PST_ENGINE_IO_PREAD)
		return "pread was asked for";
	if (b->o->engine.io_mode != PST_ENGINE_MODE_AUTO)
		return "--io-mode was given: modes were not compared";
	if (!pst_drive_bench_direct(b->bench))
		return "reads went through the page cache";
	if (b->target.is_block)
		return "a device was read, not a file on its file system";
	if (b->hole_bytes > b->target.size_bytes / 100)
		return "the file has holes";
	if (b->target.size_bytes < IOBENCH_FILE_MIN)
		return "the file is shorter than 256 MiB";
	if (b->o->seconds < PROFILE_SECONDS_MIN)
		return "--seconds was below 5";
	return NULL;
}

static uint64_t latency_at_knee(const struct iobench *b)
{
	for (uint32_t i = 0; i < b->nr_points; i++)
		if (b->f[i].size_bytes == b->f[b->knee].size_bytes &&
		    b->f[i].depth == 1 && b->f[i].reads)
			return b->f[i].p50_ns;
	return b->f[b->knee].p50_ns;
}

static void note_looks(const struct iobench *b, struct pst_drive_profile *p)
{
	for (uint32_t m = 0; m < PST_ENGINE_NR_MODES; m++) {
		struct pst_drive_figures f;

		if (!b->looks[m].had)
			continue;
		pst_drive_looks_median(&b->looks[m], &f);
		p->looks[m].bandwidth_bps = pst_drive_figures_bps(&f);
		p->looks[m].cpu_ns_gb = pst_drive_figures_cpu(&f);
	}
}

static void store_profile(struct iobench *b)
{
	const char *why = why_no_profile(b);
	struct pst_drive_profile p = {
		.bandwidth_bps = pst_drive_figures_bps(&b->again),
		.latency_ns = latency_at_knee(b),
		.depth = b->again.depth,
		.split_bytes = b->again.size_bytes,
		.when_s = (int64_t)time(NULL),
		.direct = true,
		.short_latency_ns = b->brief.short_latency_ns,
		.short_rate = b->brief.short_rate,
		.io_mode = b->mode,
	};
	char dir[PST_STATE_DIR_MAX];
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	if (why) {
		snprintf(b->why_not, sizeof(b->why_not), "%s", why);
		return;
	}
	note_looks(b, &p);
	/* A file size limit shall be an error of write(), not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	rc = cli_state_dir(dir);
	if (!rc)
		rc = pst_profile_store(dir, b->target.path, &p,
				       pst_drive_bench_io(b->bench), &diag);
	b->stored = !rc;
	if (!rc)
		return;
	if (diag.file[0])
		snprintf(b->why_not, sizeof(b->why_not), "%.120s: %.120s",
			 diag.file, diag.text);
	else
		snprintf(b->why_not, sizeof(b->why_not), "%s", strerror(-rc));
}

static int measure(struct iobench *b, uint64_t memory_bytes)
{
	int rc = open_bench(b, memory_bytes);

	if (rc)
		return rc;
	b->hole_bytes = pst_drive_bench_hole_bytes(b->bench);
	rc = sweep(b);
	if (!rc) {
		store_profile(b);
		iobench_print(b);
	}
	pst_drive_bench_close(b->bench);
	return rc;
}

int cmd_iobench(struct cli_opts *o)
{
	struct iobench *b = calloc(1, sizeof(*b));
	uint64_t memory_bytes;
	int rc;

	if (!b)
		return cli_fail(-ENOMEM, NULL);
	b->o = o;
	cli_log_init(o);
	if (!o->seed_given)
		o->sample.seed = (uint64_t)time(NULL);
	rc = parse_lists(b);
	if (!rc)
		rc = iobench_target_open(&b->target, o, !o->print_fio);
	if (rc)
		goto out;
	if (!pst_drive_of_path(b->target.path, &b->drive))
		pst_drive_info(b->drive.name, &b->info);
	rc = plan_points(b, &memory_bytes);
	if (!rc && o->print_fio)
		iobench_print_fio(b);
	else if (!rc)
		rc = measure(b, memory_bytes);
	iobench_target_close(&b->target);
out:
	free(b);
	return rc;
}
