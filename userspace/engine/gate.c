// SPDX-License-Identifier: MIT
/*
 * The trial: windows of a few tokens with and without reading ahead, in turns
 * at first, later one in many.  A window's median keeps one slow token from
 * deciding; the means decay, so that a drive that gets busy is noticed.
 */
#include "gate.h"

/* Windows of each state before the first judgement; fewer do where every one of
 * a state is faster than every one of the other, and by a good share.
 */
#define FIRST_WINDOWS 4
#define CLEAR_WINDOWS 2
#define CLEAR_SHARE   0.05
/* Windows in the better state between two trials of the other: few after a change
 * of mind, which noise may have brought about, twice as many after each trial that
 * confirms the state, and at once the most where the first round was clear.
 */
#define FEW_WINDOWS   4
#define QUIET_WINDOWS 16
/* Weight of a new window in the means. */
#define WEIGHT 0.25
/* The state in use is left for one that is faster by this share. */
#define MARGIN 0.01

bool pst_gate_ask(const struct pst_gate *g)
{
	return g->off == g->trial;
}

static bool clear(const struct pst_gate *g)
{
	double most = 1.0 - CLEAR_SHARE;

	return g->most_ns[0] < g->least_ns[1] * most ||
	       g->most_ns[1] < g->least_ns[0] * most;
}

static bool first_round(const struct pst_gate *g)
{
	uint32_t nr = PST_MIN(g->windows[0], g->windows[1]);

	return !g->judged && nr < FIRST_WINDOWS &&
	       (nr < CLEAR_WINDOWS || !clear(g));
}

static void judge(struct pst_gate *g)
{
	double here = g->median_ns[!g->off], there = g->median_ns[g->off];

	if (there < here * (1.0 - MARGIN)) {
		g->off = !g->off;
		g->quiet = FEW_WINDOWS;
	} else if (!g->judged && clear(g)) {
		g->quiet = QUIET_WINDOWS;
	} else {
		g->quiet = g->quiet ? PST_MIN(2 * g->quiet, QUIET_WINDOWS)
				    : FEW_WINDOWS;
	}
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
		g->left = g->quiet;
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
	if (!g->windows[with])
		g->median_ns[with] = g->least_ns[with] = g->most_ns[with] = m;
	g->median_ns[with] += WEIGHT * (m - g->median_ns[with]);
	g->least_ns[with] = PST_MIN(g->least_ns[with], m);
	g->most_ns[with] = PST_MAX(g->most_ns[with], m);
	g->windows[with]++;
	next_window(g);
}
