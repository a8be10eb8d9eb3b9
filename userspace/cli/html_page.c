// SPDX-License-Identifier: MIT
/*
 * The page: tables and SVG.  All text that a file brought goes through text(),
 * which leaves nothing of it that HTML would read as markup.
 */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "html_page.h"

/* Of a drawing, in its own units. */
#define WIDTH	 900
#define HEIGHT	 240
#define LEFT	 56
#define BOTTOM	 34
#define TOP	 12
#define PLOT_W	 (WIDTH - LEFT - 12)
#define PLOT_H	 (HEIGHT - TOP - BOTTOM)
#define TICKS	 4
#define MAX_BARS 450
/* Cells of the heat map at most; more layers or experts share one. */
#define HEAT_ROWS 128
#define HEAT_COLS 256

static const char *const part_names[NR_PARTS] = {
	[PART_WAIT] = "waiting for the drive",
	[PART_EXPERTS] = "computing experts",
	[PART_ATTENTION] = "computing attention",
	[PART_LOGITS] = "computing logits",
	[PART_REST] = "computing the rest",
};
static const char *const part_colours[NR_PARTS] = {
	[PART_WAIT] = "#d55e00",      [PART_EXPERTS] = "#0072b2",
	[PART_ATTENTION] = "#56b4e9", [PART_LOGITS] = "#009e73",
	[PART_REST] = "#b8b8b8",
};
static const char *const source_names[NR_SOURCES] = {
	[SOURCE_CACHE] = "from the cache",
	[SOURCE_AHEAD] = "read ahead and used",
	[SOURCE_DEMAND] = "read on demand",
	[SOURCE_WASTED] = "read ahead for nothing",
};
static const char *const source_colours[NR_SOURCES] = {
	[SOURCE_CACHE] = "#009e73",
	[SOURCE_AHEAD] = "#56b4e9",
	[SOURCE_DEMAND] = "#d55e00",
	[SOURCE_WASTED] = "#b8b8b8",
};
static const char *const curve_colours[PAGE_CURVES] = {
	"#0072b2", "#d55e00", "#009e73", "#cc79a7",
	"#e69f00", "#56b4e9", "#7f6000", "#999999",
};

static const char style[] =
	"body{font:15px/1.45 system-ui,sans-serif;margin:2rem auto;"
	"max-width:960px;padding:0 1rem;color:#1b1b1b;background:#fff}"
	"h1{font-size:1.5rem;margin:0 0 .8rem;overflow-wrap:anywhere}"
	"h2{font-size:1.1rem;margin:2rem 0 .3rem}"
	"p{margin:.2rem 0 .5rem;color:#555}"
	"table{border-collapse:collapse}"
	"td,th{padding:.15rem 1.2rem .15rem 0;text-align:left;"
	"vertical-align:top;font-weight:normal;overflow-wrap:anywhere}"
	"th{color:#555}td.n{text-align:right}"
	"svg{width:100%;height:auto;display:block}"
	"svg text{font:12px system-ui,sans-serif;fill:#444}"
	".k{display:inline-block;width:.8em;height:.8em;margin:0 .35em 0 1em;"
	"vertical-align:-.05em}.k:first-child{margin-left:0}";

void page_fact(struct page *p, const char *name, const char *fmt, ...)
{
	struct page_fact *f = &p->facts[p->nr_facts];
	va_list ap;

	if (p->nr_facts == PAGE_FACTS)
		return;
	f->name = name;
	va_start(ap, fmt);
	vsnprintf(f->value, sizeof(f->value), fmt, ap);
	va_end(ap);
	p->nr_facts++;
}

/* Untrusted text: markup is spelled out, what is no character is dropped. */
static void text(FILE *f, const char *s)
{
	for (; *s; s++) {
		unsigned char c = (unsigned char)*s;

		if (c == '&')
			fputs("&amp;", f);
		else if (c == '<')
			fputs("&lt;", f);
		else if (c == '>')
			fputs("&gt;", f);
		else if (c == '"')
			fputs("&quot;", f);
		else if (c == '\'')
			fputs("&#39;", f);
		else if (c < 0x20 || c >= 0x7f)
			fputs("&#xfffd;", f);
		else
			fputc(c, f);
	}
}

static void legend(FILE *f, const char *const *names,
		   const char *const *colours, uint32_t nr)
{
	fputs("<p>", f);
	for (uint32_t i = 0; i < nr; i++)
		fprintf(f, "<span class=k style=\"background:%s\"></span>%s",
			colours[i], names[i]);
	fputs("</p>\n", f);
}

static void svg_begin(FILE *f, int height, const char *what)
{
	fprintf(f,
		"<svg viewBox=\"0 0 %d %d\" role=\"img\" aria-label=\"%s\">\n",
		WIDTH, height, what);
}

/* A round number at or above @v: 1, 2 or 5 times a power of ten. */
static double nice(double v)
{
	double unit = pow(10.0, floor(log10(v)));

	if (!(v > 0.0) || !isfinite(unit))
		return 1.0;
	if (v <= unit)
		return unit;
	if (v <= 2.0 * unit)
		return 2.0 * unit;
	return v <= 5.0 * unit ? 5.0 * unit : 10.0 * unit;
}

struct axes {
	double x0, x1, y1;
	const char *x_name, *y_name;
	bool whole; /* x counts something */
};

static double at_x(const struct axes *a, double x)
{
	return LEFT + (x - a->x0) / (a->x1 - a->x0) * PLOT_W;
}

static double at_y(const struct axes *a, double y)
{
	return TOP + PLOT_H - PST_MIN(y / a->y1, 1.0) * PLOT_H;
}

static void draw_axes(FILE *f, const struct axes *a)
{
	for (int i = 0; i <= TICKS; i++) {
		double y = a->y1 * i / TICKS;
		double x = a->x0 + (a->x1 - a->x0) * i / TICKS;

		if (a->whole)
			x = floor(x);

		fprintf(f,
			"<line x1=\"%d\" x2=\"%d\" y1=\"%.1f\" y2=\"%.1f\" "
			"stroke=\"#e4e4e4\"/><text x=\"%d\" y=\"%.1f\" "
			"text-anchor=\"end\">%.4g</text>\n",
			LEFT, LEFT + PLOT_W, at_y(a, y), at_y(a, y), LEFT - 6,
			at_y(a, y) + 4, y);
		fprintf(f,
			"<text x=\"%.1f\" y=\"%d\" text-anchor=\"%s\">%.4g"
			"</text>\n",
			at_x(a, x), TOP + PLOT_H + 16,
			i == TICKS ? "end" : "middle", x);
	}
	fprintf(f,
		"<text x=\"%d\" y=\"%d\" text-anchor=\"middle\">%s</text>"
		"<text transform=\"translate(13 %d) rotate(-90)\" "
		"text-anchor=\"middle\">%s</text>\n",
		LEFT + PLOT_W / 2, HEIGHT - 3, a->x_name, TOP + PLOT_H / 2,
		a->y_name);
}

static double step_ms(const struct page_step *s)
{
	double sum = 0.0;

	for (int i = 0; i < NR_PARTS; i++)
		sum += s->ms[i];
	return sum;
}

/* The mean of @nr steps, so that a long run fits into one drawing. */
static struct page_step mean(const struct page_step *s, uint32_t nr)
{
	struct page_step m = { .hits = 0.0 };

	for (uint32_t i = 0; i < nr; i++) {
		for (int k = 0; k < NR_PARTS; k++)
			m.ms[k] += s[i].ms[k] / nr;
		m.hits += s[i].hits;
		m.misses += s[i].misses;
	}
	return m;
}

static uint32_t per_bar(uint32_t nr)
{
	return (nr + MAX_BARS - 1) / MAX_BARS;
}

/* Bars of stacked times: of tokens, or of layers. */
struct bars {
	const struct page_step *v;
	uint32_t nr;
	const char *title, *what; /* above, and to those who cannot see it */
	const char *unit, *x_name;
};

static void draw_bar(FILE *f, const struct axes *a, const struct page_step *s,
		     const char *unit, uint32_t first, double width)
{
	double y = TOP + PLOT_H, all = step_ms(s);

	fprintf(f, "<g><title>%s %u: %.3g ms, waiting %.3g ms</title>", unit,
		first, all, s->ms[PART_WAIT]);
	for (int k = 0; k < NR_PARTS; k++) {
		double h = s->ms[k] / a->y1 * PLOT_H;

		/* What sticks out is cut at the top of the drawing. */
		h = PST_MIN(h, y - TOP);
		if (h < 0.02)
			continue;
		y -= h;
		fprintf(f,
			"<rect x=\"%.2f\" y=\"%.2f\" width=\"%.2f\" "
			"height=\"%.2f\" fill=\"%s\"/>",
			at_x(a, first), y, width, h, part_colours[k]);
	}
	fputs("</g>\n", f);
}

static void draw_times(const struct bars *b, FILE *f)
{
	uint32_t per = per_bar(b->nr);
	struct axes a = { .x1 = PST_MAX(b->nr, 1u),
			  .x_name = b->x_name,
			  .whole = true,
			  .y_name = "ms" };
	double most = 0.0, width = (double)PLOT_W * per / a.x1;

	for (uint32_t i = 0; i < b->nr; i += per) {
		struct page_step m = mean(b->v + i, PST_MIN(per, b->nr - i));

		most = PST_MAX(most, step_ms(&m));
	}
	if (!(most > 0.0))
		return;
	a.y1 = nice(most);
	fprintf(f, "<h2>%s</h2>\n", b->title);
	legend(f, part_names, part_colours, NR_PARTS);
	svg_begin(f, HEIGHT, b->what);
	draw_axes(f, &a);
	for (uint32_t i = 0; i < b->nr; i += per) {
		uint32_t nr = PST_MIN(per, b->nr - i);
		struct page_step m = mean(b->v + i, nr);

		draw_bar(f, &a, &m, b->unit, i, width * nr / per * 0.92);
	}
	fputs("</svg>\n", f);
}

static void draw_all_times(const struct page *p, FILE *f)
{
	struct bars tokens = {
		.v = p->steps,
		.nr = p->nr_steps,
		.title = "Time of each token",
		.what = "time of each token, stacked by what it went to",
		.unit = "token",
		.x_name = "decoded token",
	};
	struct bars layers = {
		.v = p->layers,
		.nr = p->nr_timed,
		.title = "Time of each layer, mean of the decoded tokens",
		.what = "time of each layer, stacked by what it went to",
		.unit = "layer",
		.x_name = "layer",
	};

	draw_times(&tokens, f);
	draw_times(&layers, f);
}

static void draw_hits(const struct page *p, FILE *f)
{
	uint32_t per = per_bar(p->nr_steps);
	struct axes a = { .x1 = PST_MAX(p->nr_steps, 2u) - 1,
			  .y1 = 100.0,
			  .x_name = "decoded token",
			  .whole = true,
			  .y_name = "% hit" };
	double wanted = 0.0;

	for (uint32_t i = 0; i < p->nr_steps; i++)
		wanted += p->steps[i].hits + p->steps[i].misses;
	if (!(wanted > 0.0) || p->nr_steps < 2)
		return;
	fprintf(f, "<h2>Hit rate over time</h2>\n<p>");
	text(f, p->hit_note);
	fputs("</p>\n", f);
	svg_begin(f, HEIGHT, "share of experts found in memory, by token");
	draw_axes(f, &a);
	fputs("<polyline fill=\"none\" stroke=\"#0072b2\" "
	      "stroke-width=\"1.6\" points=\"",
	      f);
	for (uint32_t i = 0; i < p->nr_steps; i += per) {
		struct page_step m =
			mean(p->steps + i, PST_MIN(per, p->nr_steps - i));

		wanted = m.hits + m.misses;
		if (wanted > 0.0)
			fprintf(f, "%.1f,%.1f ", at_x(&a, i),
				at_y(&a, 100.0 * m.hits / wanted));
	}
	fputs("\"/>\n</svg>\n", f);
}

struct heat {
	uint32_t rows, cols, per_row, per_col;
	double w, h;
	double most;
};

static double heat_at(const struct page *p, const struct heat *h, uint32_t row,
		      uint32_t col)
{
	double sum = 0.0;
	uint32_t l1 = PST_MIN((row + 1) * h->per_row, p->nr_layers);
	uint32_t e1 = PST_MIN((col + 1) * h->per_col, p->nr_experts);

	for (uint32_t l = row * h->per_row; l < l1; l++)
		for (uint32_t e = col * h->per_col; e < e1; e++)
			sum += p->use[(size_t)l * p->nr_experts + e];
	return sum;
}

static struct heat measure_heat(const struct page *p)
{
	struct heat h = { .per_row = (p->nr_layers + HEAT_ROWS - 1) / HEAT_ROWS,
			  .per_col =
				  (p->nr_experts + HEAT_COLS - 1) / HEAT_COLS };

	h.rows = (p->nr_layers + h.per_row - 1) / h.per_row;
	h.cols = (p->nr_experts + h.per_col - 1) / h.per_col;
	h.w = (double)PLOT_W / h.cols;
	h.h = PST_MAX(3.0, PST_MIN(14.0, 420.0 / h.rows));
	for (uint32_t r = 0; r < h.rows; r++)
		for (uint32_t c = 0; c < h.cols; c++)
			h.most = PST_MAX(h.most, heat_at(p, &h, r, c));
	return h;
}

/* White to dark blue; the root lifts what is seldom. */
static void draw_cell(FILE *f, const struct heat *h, uint32_t row, uint32_t col,
		      double v)
{
	double t = sqrt(v / h->most);

	fprintf(f,
		"<rect x=\"%.1f\" y=\"%.1f\" width=\"%.2f\" height=\"%.2f\" "
		"fill=\"#%02x%02x%02x\"/>",
		LEFT + col * h->w, TOP + row * h->h, h->w, h->h,
		(unsigned int)(240.0 - 232.0 * t),
		(unsigned int)(244.0 - 196.0 * t),
		(unsigned int)(250.0 - 143.0 * t));
}

static void draw_heat(const struct page *p, FILE *f)
{
	struct heat h;
	int height;

	if (!p->use)
		return;
	h = measure_heat(p);
	if (!(h.most > 0.0))
		return;
	height = TOP + (int)(h.rows * h.h) + BOTTOM;
	fprintf(f,
		"<h2>Use of experts</h2>\n<p>A row for each %s, a column for "
		"each %s; the darkest was taken %.0f times.</p>\n",
		h.per_row > 1 ? "few layers" : "layer",
		h.per_col > 1 ? "few experts" : "expert", h.most);
	svg_begin(f, height, "how often each expert of each layer was taken");
	for (uint32_t r = 0; r < h.rows; r++) {
		for (uint32_t c = 0; c < h.cols; c++)
			draw_cell(f, &h, r, c, heat_at(p, &h, r, c));
		if (r % ((h.rows + 7) / 8) == 0)
			fprintf(f,
				"\n<text x=\"%d\" y=\"%.1f\" "
				"text-anchor=\"end\">%u</text>",
				LEFT - 6, TOP + (r + 0.5) * h.h + 4,
				r * h.per_row);
		fputc('\n', f);
	}
	fprintf(f,
		"<text x=\"%d\" y=\"%d\">expert 0</text><text x=\"%d\" "
		"y=\"%d\" text-anchor=\"end\">%u</text>"
		"<text transform=\"translate(13 %d) rotate(-90)\" "
		"text-anchor=\"middle\">layer</text>\n</svg>\n",
		LEFT, height - BOTTOM + 16, LEFT + PLOT_W, height - BOTTOM + 16,
		p->nr_experts - 1, (height - BOTTOM + TOP) / 2);
}

static void draw_bytes(const struct page *p, FILE *f)
{
	double all = 0.0, x = 0.0;

	for (int i = 0; i < NR_SOURCES; i++)
		all += p->bytes[i];
	if (!(all > 0.0))
		return;
	fputs("<h2>Expert bytes by source, decode</h2>\n", f);
	legend(f, source_names, source_colours, NR_SOURCES);
	svg_begin(f, 40, "expert bytes by where they came from");
	for (int i = 0; i < NR_SOURCES; i++) {
		double w = p->bytes[i] / all * WIDTH;

		fprintf(f,
			"<rect x=\"%.2f\" y=\"4\" width=\"%.2f\" height=\"30\" "
			"fill=\"%s\"><title>%s: %.3f GB</title></rect>\n",
			x, w, source_colours[i], source_names[i],
			p->bytes[i] * 1e-9);
		x += w;
	}
	fputs("</svg>\n<table>\n", f);
	for (int i = 0; i < NR_SOURCES; i++)
		fprintf(f,
			"<tr><th>%s</th><td class=n>%.3f GB</td>"
			"<td class=n>%.1f %%</td></tr>\n",
			source_names[i], p->bytes[i] * 1e-9,
			100.0 * p->bytes[i] / all);
	fputs("</table>\n", f);
}

/* The optimum is black everywhere. */
static const char *curve_colour(const struct page *p, uint32_t i)
{
	return strcmp(p->curves[i].name, "min") ? curve_colours[i] : "#000000";
}

static void draw_curves(const struct page *p, FILE *f)
{
	struct axes a = { .x_name = "experts in memory, % of all",
			  .y_name = "% missed" };

	for (uint32_t i = 0; i < p->nr_curves; i++)
		for (uint32_t k = 0; k < p->curves[i].nr; k++) {
			a.x1 = PST_MAX(a.x1, p->curves[i].x[k]);
			a.y1 = PST_MAX(a.y1, p->curves[i].y[k]);
		}
	if (!(a.x1 > 0.0) || !(a.y1 > 0.0))
		return;
	a.y1 = PST_MIN(nice(a.y1), 100.0);
	fputs("<h2>Misses by cache size</h2>\n<p>This routing, replayed; min "
	      "is the optimum, which knows the future.</p>\n<p>",
	      f);
	for (uint32_t i = 0; i < p->nr_curves; i++) {
		fprintf(f, "<span class=k style=\"background:%s\"></span>",
			curve_colour(p, i));
		text(f, p->curves[i].name);
	}
	fputs("</p>\n", f);
	svg_begin(f, HEIGHT, "share of experts missed, by cache size");
	draw_axes(f, &a);
	for (uint32_t i = 0; i < p->nr_curves; i++) {
		bool min = !strcmp(p->curves[i].name, "min");

		fprintf(f,
			"<polyline fill=\"none\" stroke=\"%s\" "
			"stroke-width=\"1.8\"%s points=\"",
			curve_colour(p, i),
			min ? " stroke-dasharray=\"5 3\"" : "");
		for (uint32_t k = 0; k < p->curves[i].nr; k++)
			fprintf(f, "%.1f,%.1f ", at_x(&a, p->curves[i].x[k]),
				at_y(&a, p->curves[i].y[k]));
		fputs("\"/>\n", f);
	}
	fputs("</svg>\n", f);
}

static void draw_gains(const struct page *p, FILE *f)
{
	if (!p->nr_gains)
		return;
	fputs("<h2>What would help</h2>\n<p>By the cost model, not measured."
	      "</p>\n<table>\n<tr><th>change</th><th>tok/s</th><th>factor"
	      "</th></tr>\n",
	      f);
	for (uint32_t i = 0; i < p->nr_gains; i++) {
		fputs("<tr><td>", f);
		text(f, p->gains[i].what);
		fprintf(f,
			"</td><td class=n>%.2f</td><td class=n>%.2f</td>"
			"</tr>\n",
			p->gains[i].tok_s, p->gains[i].factor);
	}
	fputs("</table>\n", f);
}

void page_write(const struct page *p, FILE *f)
{
	fputs("<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
	      "<meta charset=\"utf-8\">\n<meta name=\"viewport\" "
	      "content=\"width=device-width\">\n<title>",
	      f);
	text(f, p->title);
	fprintf(f, "</title>\n<style>%s</style>\n</head>\n<body>\n<h1>", style);
	text(f, p->title);
	fputs("</h1>\n<table>\n", f);
	for (uint32_t i = 0; i < p->nr_facts; i++) {
		fprintf(f, "<tr><th>%s</th><td>", p->facts[i].name);
		text(f, p->facts[i].value);
		fputs("</td></tr>\n", f);
	}
	fputs("</table>\n", f);
	draw_all_times(p, f);
	draw_bytes(p, f);
	draw_hits(p, f);
	draw_curves(p, f);
	draw_gains(p, f);
	draw_heat(p, f);
	fputs("</body>\n</html>\n", f);
}

void page_fini(struct page *p)
{
	free(p->steps);
	free(p->layers);
	free(p->use);
	*p = (struct page){ .nr_facts = 0 };
}
