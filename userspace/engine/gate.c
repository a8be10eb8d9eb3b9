// SPDX-License-Identifier: MIT
/*
 * The trial: windows of a few tokens with and without reading ahead, in turns
 * at first, later one in many.  A window's median keeps one slow token from
 * deciding; the means decay, so that a drive that gets busy is noticed.
 */
#include "gate.h"

/* Windows of each state before the first judgement. */
#define FIRST_WINDOWS 4
/* Windows in the better state between two trials of the other. */
#define QUIET_WINDOWS 16
/* Weight of a new window in the means. */
#define WEIGHT 0.25
/* The state in use is left for one that is faster by this share. */
#define MARGIN 0.01

bool pst_gate_ask(const struct pst_gate *g)
{
	return g->off == g->trial;
}

static bool first_round(const struct pst_gate *g)
{
	return g->windows[0] < FIRST_WINDOWS || g->windows[1] < FIRST_WINDOWS;
}

static void judge(struct pst_gate *g)
{
	double here = g->median_ns[!g->off], there = g->median_ns[g->off];

	if (there < here * (1.0 - MARGIN))
		g->off = !g->off;
}

/* A window is full: what is the next one to show? */
static void next_window(struct pst_gate *g)
{
	if (first_round(g)) {
		g->trial = !g->trial;
	} else if (g->trial || !g->judged) {
		judge(g);
		g->judged = true;
		g->trial = false;
		g->left = QUIET_WINDOWS;
	} else if (!--g->left) {
		g->trial = true;
	}
}

void pst_gate_tell(struct pst_gate *g, uint64_t ns)
{
	bool with = pst_gate_ask(g);
	double m;

	g->window_ns[g->in_window++] = ns;
	if (g->in_window < PST_GATE_WINDOW)
		return;
	g->in_window = 0;
	m = (double)pst_median_u64(g->window_ns, PST_GATE_WINDOW);
	g->median_ns[with] +=
		(g->windows[with] ? WEIGHT : 1.0) * (m - g->median_ns[with]);
	g->windows[with]++;
	next_window(g);
}
