/* SPDX-License-Identifier: MIT */
/*
 * html_page: one page of HTML about a run, with its drawings inside: no
 * scripts, no fonts, nothing from elsewhere.  Knows what is drawn, not which
 * file it came from.
 */
#ifndef PST_HTML_PAGE_H
#define PST_HTML_PAGE_H

#include "cli.h"

#define PAGE_CURVES 8
#define PAGE_POINTS 16
#define PAGE_FACTS  16
#define PAGE_GAINS  8

/* Parts of a pass, as stacked in the time line. */
enum page_part {
	PART_WAIT,
	PART_EXPERTS,
	PART_ATTENTION,
	PART_LOGITS,
	PART_REST,
	NR_PARTS
};

/* Where expert bytes came from. */
enum page_source {
	SOURCE_CACHE,
	SOURCE_AHEAD,
	SOURCE_DEMAND,
	SOURCE_WASTED,
	NR_SOURCES
};

/**
 * struct page_step - one decoded token, or one layer of the mean of them
 * @ms: [NR_PARTS]; all zero when no times are known
 */
struct page_step {
	double ms[NR_PARTS];
	double hits, misses;
};

/**
 * struct page_curve - miss ratio by cache size
 * @x: share of all experts in percent, ascending; @y: misses in percent
 */
struct page_curve {
	char name[32];
	uint32_t nr;
	double x[PAGE_POINTS], y[PAGE_POINTS];
};

struct page_fact {
	const char *name; /* static text */
	char value[128];
};

struct page_gain {
	char what[64];
	double tok_s, factor;
};

/**
 * struct page - all that is on the page; texts are untrusted
 * @steps: [nr_steps]
 * @layers: [nr_timed] times of a token by layer, NULL when they are not known
 * @use: [nr_layers][nr_experts], NULL without experts
 * @bytes: [NR_SOURCES] of decode, all zero when not known
 * @hit_note: what the hit rates are of
 */
struct page {
	char title[128];
	struct page_fact facts[PAGE_FACTS];
	uint32_t nr_facts;
	struct page_step *steps;
	uint32_t nr_steps;
	struct page_step *layers;
	uint32_t nr_timed;
	uint32_t nr_layers, nr_experts;
	uint32_t *use;
	double bytes[NR_SOURCES];
	char hit_note[128];
	struct page_curve curves[PAGE_CURVES];
	uint32_t nr_curves;
	struct page_gain gains[PAGE_GAINS];
	uint32_t nr_gains;
};

/** page_fact() - a line of the table at the top */
void page_fact(struct page *p, const char *name, const char *fmt, ...)
	PST_PRINTF(3, 4);

/** page_write() - errors stay in the stream */
void page_write(const struct page *p, FILE *f);

/** page_fini() - frees steps, layers and use */
void page_fini(struct page *p);

#endif
