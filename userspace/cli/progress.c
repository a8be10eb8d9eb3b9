// SPDX-License-Identifier: MIT
/*
 * Progress bars on stderr: drawn over themselves on a terminal, as lines of
 * JSON for programs, and silent otherwise.
 */
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

#define BAR_CELLS 20
#define REDRAW_NS 50000000ULL
/* A prompt that takes less is read before the estimate is. */
#define WORTH_SAYING_S 2.0
#define SHOW_AFTER_NS  300000000ULL

void cli_bar_init(struct cli_bar *b, enum cli_progress mode)
{
	const char *term = getenv("TERM");

	memset(b, 0, sizeof(*b));
	b->mode = mode;
	if (mode == PROGRESS_AUTO)
		b->mode = isatty(STDERR_FILENO) && term && strcmp(term, "dumb")
				  ? PROGRESS_ALWAYS
				  : PROGRESS_NEVER;
}

static void draw(const struct cli_bar *b, uint64_t done, uint64_t all,
		 const char *unit, double seconds)
{
	uint32_t full = all ? (uint32_t)(done * BAR_CELLS / all) : 0;

	fprintf(stderr, "\r%-15s \xe2\x96\x95", b->stage);
	for (uint32_t i = 0; i < BAR_CELLS; i++)
		fputs(i < full ? "\xe2\x96\x88" : " ", stderr);
	fprintf(stderr, "\xe2\x96\x8f %3u %%  ",
		all ? (unsigned int)(done * 100 / all) : 0);
	if (!strcmp(unit, "B"))
		fprintf(stderr, "%.1f GiB", (double)done / (double)PST_GIB);
	else
		fprintf(stderr, "%llu/%llu %s", (unsigned long long)done,
			(unsigned long long)all, unit);
	fprintf(stderr, "  %.1f s\033[K", seconds);
	fflush(stderr);
}

void cli_bar_update(struct cli_bar *b, const char *stage, uint64_t done,
		    uint64_t all, const char *unit)
{
	uint64_t now = pst_now_ns();
	bool last = done >= all;

	if (b->mode == PROGRESS_NEVER)
		return;
	if (strcmp(b->stage, stage)) {
		cli_bar_clear(b);
		snprintf(b->stage, sizeof(b->stage), "%s", stage);
		b->start_ns = now;
		b->last_ns = 0;
	}
	if (now - b->last_ns < REDRAW_NS && !last)
		return;
	/* What is over at once needs no bar. */
	if (b->mode != PROGRESS_JSON && !b->active &&
	    now - b->start_ns < SHOW_AFTER_NS)
		return;
	b->last_ns = now;
	if (b->mode == PROGRESS_JSON) {
		fprintf(stderr,
			"{\"schema\":\"penstock.progress.1\",\"stage\":\"%s\","
			"\"done\":%llu,\"all\":%llu,\"unit\":\"%s\","
			"\"seconds\":%.3f}\n",
			stage, (unsigned long long)done,
			(unsigned long long)all, unit,
			(double)(now - b->start_ns) * 1e-9);
		return;
	}
	draw(b, done, all, unit, (double)(now - b->start_ns) * 1e-9);
	b->active = true;
}

void cli_bar_clear(struct cli_bar *b)
{
	if (b->active)
		fputc('\n', stderr);
	b->active = false;
	b->stage[0] = 0;
}

void cli_expect(struct pst_engine *e, const struct cli_bar *b,
		uint32_t nr_tokens)
{
	struct pst_prompt_estimate x;

	if (b->mode == PROGRESS_NEVER)
		return;
	pst_engine_estimate_prompt(e, nr_tokens, &x);
	if (b->mode == PROGRESS_JSON) {
		fprintf(stderr,
			"{\"schema\":\"penstock.estimate.1\",\"tokens\":%u,"
			"\"passes\":%u,\"drive_bytes\":%llu,"
			"\"drive_s\":%.3f,\"compute_s\":%.3f,"
			"\"total_s\":%.3f}\n",
			nr_tokens, x.chunks, (unsigned long long)x.drive_bytes,
			x.drive_s, x.compute_s, x.total_s);
		return;
	}
	if (x.total_s < WORTH_SAYING_S)
		return;
	fprintf(stderr, "prompt of %u tokens: the reply begins in about %.0f s",
		nr_tokens, x.total_s);
	if (x.drive_s > x.compute_s)
		fprintf(stderr, ", %.1f GB in %u %s over the experts",
			(double)x.drive_bytes * 1e-9, x.chunks,
			x.chunks == 1 ? "pass" : "passes");
	fputc('\n', stderr);
}
