// SPDX-License-Identifier: MIT
/*
 * The result of iobench as text, JSON or CSV, and the fio job that makes the
 * same reads.
 */
#include <inttypes.h>
#include <string.h>

#include "iobench.h"

static double gb_s(const struct pst_drive_figures *f)
{
	return (double)pst_drive_figures_bps(f) * 1e-9;
}

static double cpu_s_gb(const struct pst_drive_figures *f)
{
	return (double)pst_drive_figures_cpu(f) * 1e-9;
}

static double ms(uint64_t ns)
{
	return (double)ns * 1e-6;
}

/* Half the way from the slowest to the fastest round. */
static double spread_pct(const struct iobench *b, uint32_t i)
{
	uint64_t bps = pst_drive_figures_bps(&b->f[i]);

	return bps ? 50.0 * (double)(b->high_bps[i] - b->low_bps[i]) /
			       (double)bps
		   : 0;
}

static bool is_expert(const struct iobench *b, uint32_t size_bytes)
{
	for (uint32_t i = 0; i < b->target.nr_experts; i++)
		if (b->target.expert_bytes[i] == size_bytes)
			return true;
	return false;
}

static void print_text(const char *s)
{
	cli_print_text(stdout, s, strlen(s), SIZE_MAX);
}

static void print_head(const struct iobench *b)
{
	char size[32];

	printf("drive   %s", b->drive.name[0] ? b->drive.name : "unknown");
	if (b->info.model[0]) {
		printf(", ");
		print_text(b->info.model);
	}
	printf(", %s", b->target.is_block ? "as it is, without a file system"
					  : b->drive.fs_type);
	if (b->info.link_speed[0])
		printf(", link %s x%s", b->info.link_speed, b->info.link_width);
	printf("\nfile    ");
	if (b->target.is_dir)
		printf("temporary, in ");
	print_text(b->target.path);
	printf(", %s, read at random (seed %" PRIu64 ")\n",
	       cli_bytes_text(b->target.size_bytes, size, sizeof(size)),
	       b->o->sample.seed);
	printf("reads   %s, into %s; %s\n", pst_drive_bench_io(b->bench),
	       pst_drive_bench_memory(b->bench),
	       pst_drive_bench_direct(b->bench)
		       ? "past the page cache"
		       : "through the page cache: the figures may be those of "
			 "memory");
	if (b->hole_bytes)
		printf("holes   %s of the file are not on the drive: the "
		       "figures are too good\n",
		       cli_bytes_text(b->hole_bytes, size, sizeof(size)));
}

/* One line each, the one in use being marked. */
static void print_modes(const struct iobench *b)
{
	for (uint32_t m = PST_ENGINE_MODE_IRQ; m < PST_ENGINE_NR_MODES; m++) {
		struct pst_drive_figures f;

		printf("%-8s%-6s  ", m == PST_ENGINE_MODE_IRQ ? "modes" : "",
		       pst_engine_mode_name((enum pst_engine_io_mode)m));
		if (!b->looks[m].had) {
			printf("not here: %s\n", b->refused[m]);
			continue;
		}
		pst_drive_looks_median(&b->looks[m], &f);
		printf("%6.2f GB/s  %.4f CPU s/GB%s\n", gb_s(&f), cpu_s_gb(&f),
		       m == b->mode ? "  <- to be used" : "");
	}
}

static void print_end(const struct iobench *b)
{
	const struct pst_drive_figures *f = &b->again;
	double first = gb_s(&b->f[b->knee]);
	char size[32];

	printf("knee    %u reads of %s: %.2f GB/s when measured again, p50 "
	       "%.2f ms, p99 %.2f ms\n",
	       f->depth, cli_bytes_text(f->size_bytes, size, sizeof(size)),
	       gb_s(f), ms(f->p50_ns), ms(f->p99_ns));
	if (gb_s(f) < 0.85 * first || gb_s(f) > 1.15 * first)
		printf("        %.2f GB/s before: the drive is not steady; "
		       "something else uses it, or it is throttled\n",
		       first);
	if (b->looked)
		print_modes(b);
	if (b->brief.short_rate)
		printf("short   one read of 4 KiB alone takes %.3f ms; with %d "
		       "in flight %.0f end in a second\n",
		       ms(b->brief.short_latency_ns), PST_DRIVE_SHORT_DEPTH,
		       (double)b->brief.short_rate);
	if (b->stored)
		printf("profile stored for this drive\n");
	else
		printf("profile not stored: %s\n", b->why_not);
}

static void print_table(const struct iobench *b)
{
	char size[32];

	print_head(b);
	printf("\n      size  depth    GB/s  +- %%    p50 ms    p99 ms  "
	       "CPU s/GB\n");
	for (uint32_t i = 0; i < b->nr_points; i++) {
		const struct pst_drive_figures *f = &b->f[i];

		printf("%10s  %5u  ",
		       cli_bytes_text(f->size_bytes, size, sizeof(size)),
		       f->depth);
		if (f->reads)
			printf("%6.2f  %4.0f  %8.3f  %8.3f  %8.4f", gb_s(f),
			       spread_pct(b, i), ms(f->p50_ns), ms(f->p99_ns),
			       cpu_s_gb(f));
		else
			printf("     -     -         -         -         -");
		printf("%s%s\n", i == b->knee ? "  <- knee" : "",
		       is_expert(b, f->size_bytes) ? "  expert" : "");
	}
	putchar('\n');
	print_end(b);
}

static void print_json_figures(const struct iobench *b,
			       const struct pst_drive_figures *f)
{
	printf("\"size_bytes\":%u,\"depth\":%u,\"reads\":%" PRIu64
	       ",\"bandwidth_bytes_s\":%" PRIu64 ",\"p50_s\":%.9f,"
	       "\"p99_s\":%.9f,\"cpu_s_per_gb\":%.6f,\"elapsed_s\":%.6f,"
	       "\"expert\":%s",
	       f->size_bytes, f->depth, f->reads, pst_drive_figures_bps(f),
	       (double)f->p50_ns * 1e-9, (double)f->p99_ns * 1e-9, cpu_s_gb(f),
	       (double)f->elapsed_ns * 1e-9,
	       is_expert(b, f->size_bytes) ? "true" : "false");
}

static void json_str(const char *name, const char *s)
{
	printf("\"%s\":", name);
	cli_json_string(stdout, s, strlen(s));
}

static void print_json_modes(const struct iobench *b)
{
	for (uint32_t m = PST_ENGINE_MODE_IRQ; m < PST_ENGINE_NR_MODES; m++) {
		struct pst_drive_figures f;

		printf("%s{", m == PST_ENGINE_MODE_IRQ ? "" : ",");
		json_str("io_mode",
			 pst_engine_mode_name((enum pst_engine_io_mode)m));
		putchar(',');
		if (b->looks[m].had) {
			pst_drive_looks_median(&b->looks[m], &f);
			print_json_figures(b, &f);
		} else {
			json_str("refused", b->refused[m]);
		}
		putchar('}');
	}
}

static void print_json(const struct iobench *b)
{
	bool comma = false;

	printf("{\"schema\":\"penstock.iobench.1\",");
	json_str("path", b->target.path);
	printf(",\"temporary\":%s,\"file_bytes\":%" PRIu64
	       ",\"hole_bytes\":%" PRIu64 ",\"seed\":%" PRIu64 ",\"drive\":{",
	       b->target.is_dir ? "true" : "false", b->target.size_bytes,
	       b->hole_bytes, b->o->sample.seed);
	json_str("name", b->drive.name);
	putchar(',');
	json_str("model", b->info.model);
	putchar(',');
	json_str("fs", b->drive.fs_type);
	putchar(',');
	json_str("scheduler", b->info.scheduler);
	putchar(',');
	json_str("link_speed", b->info.link_speed);
	putchar(',');
	json_str("link_width", b->info.link_width);
	printf("},");
	json_str("io", pst_drive_bench_io(b->bench));
	putchar(',');
	json_str("memory", pst_drive_bench_memory(b->bench));
	printf(",\"direct\":%s,\"results\":[",
	       pst_drive_bench_direct(b->bench) ? "true" : "false");
	for (uint32_t i = 0; i < b->nr_points; i++) {
		if (!b->f[i].reads)
			continue;
		if (comma)
			putchar(',');
		putchar('{');
		print_json_figures(b, &b->f[i]);
		printf(",\"low_bytes_s\":%" PRIu64 ",\"high_bytes_s\":%" PRIu64
		       "}",
		       b->low_bps[i], b->high_bps[i]);
		comma = true;
	}
	printf("],\"knee\":{");
	print_json_figures(b, &b->again);
	printf("},\"short\":{\"latency_ns\":%" PRIu64
	       ",\"reads_per_s\":%" PRIu64 "},",
	       b->brief.short_latency_ns, b->brief.short_rate);
	json_str("io_mode", pst_engine_mode_name(b->mode));
	printf(",\"modes\":[");
	if (b->looked)
		print_json_modes(b);
	printf("],\"stored\":%s,", b->stored ? "true" : "false");
	json_str("why_not_stored", b->why_not);
	puts("}");
}

static void print_csv(const struct iobench *b)
{
	puts("size_bytes,depth,gb_s,low_gb_s,high_gb_s,p50_ms,p99_ms,"
	     "cpu_s_per_gb,knee");
	for (uint32_t i = 0; i < b->nr_points; i++) {
		const struct pst_drive_figures *f = &b->f[i];

		if (f->reads)
			printf("%u,%u,%.4f,%.4f,%.4f,%.4f,%.4f,%.6f,%s\n",
			       f->size_bytes, f->depth, gb_s(f),
			       (double)b->low_bps[i] * 1e-9,
			       (double)b->high_bps[i] * 1e-9, ms(f->p50_ns),
			       ms(f->p99_ns), cpu_s_gb(f),
			       i == b->knee ? "true" : "false");
	}
}

void iobench_print(const struct iobench *b)
{
	if (b->o->output == OUT_JSON)
		print_json(b);
	else if (b->o->output == OUT_CSV)
		print_csv(b);
	else
		print_table(b);
	/* Tables that are read by programs have no place for this. */
	if (b->o->output != OUT_TEXT && !b->stored && b->swept)
		fprintf(stderr, "penstock: profile not stored: %s\n",
			b->why_not);
}

/* fio splits names at colons. */
static void print_fio_name(const char *path)
{
	for (; *path; path++) {
		if (*path == ':' || *path == '\\')
			putchar('\\');
		putchar(*path);
	}
}

/*
 * A drive may be several times faster into huge pages, which is what we read
 * into; fio has them from the reserved pool only.
 */
static void print_fio_memory(const struct iobench *b)
{
	enum pst_engine_huge huge = b->o->engine.huge;
	bool big = huge == PST_HUGE_1G;
	uint64_t page_bytes = big ? PST_GIB : 2 * PST_MIB, most = 0;

	if (huge == PST_HUGE_OFF) {
		printf("iomem=mmap\n");
		return;
	}
	for (uint32_t i = 0; i < b->nr_points; i++)
		most = PST_MAX(most,
			       (uint64_t)b->f[i].size_bytes * b->f[i].depth);
	printf("; %" PRIu64 " reserved huge pages are needed: %s\n",
	       pst_align_up(most, page_bytes) / page_bytes + 1,
	       big ? "hugepages-1048576kB/nr_hugepages below "
		     "/sys/kernel/mm/hugepages"
		   : "sysctl vm.nr_hugepages");
	printf("iomem=mmaphuge\nhugepage-size=%s\n", big ? "1g" : "2m");
}

void iobench_print_fio(const struct iobench *b)
{
	const struct pst_engine_opts *e = &b->o->engine;
	bool pread = e->io == PST_ENGINE_IO_PREAD;

	printf("[global]\n");
	if (b->target.is_dir) {
		printf("directory=");
		print_fio_name(b->target.path);
		printf("\nsize=%" PRIu64 "\nunlink=1\n", b->target.size_bytes);
	} else {
		printf("filename=");
		print_fio_name(b->target.path);
		putchar('\n');
	}
	printf("rw=randread\nnorandommap\nrandom_generator=tausworthe64\n"
	       "randseed=%" PRIu64 "\nblockalign=4096\ndirect=%d\n",
	       b->o->sample.seed, e->direct != PST_OFF);
	printf(pread ? "ioengine=psync\nthread\n"
		     : "ioengine=io_uring\nfixedbufs=1\nregisterfiles=1\n"
		       "nonvectored=1\n");
	print_fio_memory(b);
	printf("time_based=1\nruntime=%.0fms\ngroup_reporting\n"
	       "percentile_list=50:99\n",
	       (double)b->o->seconds * 1e3 / PST_MAX(b->nr_points, 1u));
	for (uint32_t i = 0; i < b->nr_points; i++)
		printf("\n[%uk-depth-%u]\nstonewall\nbs=%u\n%s=%u\n",
		       b->f[i].size_bytes / 1024, b->f[i].depth,
		       b->f[i].size_bytes, pread ? "numjobs" : "iodepth",
		       b->f[i].depth);
}
