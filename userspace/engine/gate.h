/* SPDX-License-Identifier: MIT */
/*
 * gate: does reading ahead pay?  Judged by the wall clock of decoded tokens,
 * with and without it, in turns; not by hit rates.
 */
#ifndef PST_GATE_H
#define PST_GATE_H

#include "base.h"

/* Tokens that are measured in one state before the median is taken. */
#define PST_GATE_WINDOW 4

/**
 * struct pst_gate - starts zeroed
 * @median_ns: decayed mean of the windows' medians, [0] without, [1] with
 * @least_ns, @most_ns: of the windows' medians, likewise
 * @windows: how many went into each
 * @window_ns: of the present window
 * @in_window: how many of it are filled
 * @quiet: windows between two trials of it
 * @left: windows until the state is tried that is not in use
 * @off: reading ahead is not in use; it is until the clock says otherwise
 * @trial: the present window tries the other state
 * @judged: the first round is over
 */
struct pst_gate {
	double median_ns[2];
	double least_ns[2];
	double most_ns[2];
	uint32_t windows[2];
	uint64_t window_ns[PST_GATE_WINDOW];
	uint32_t in_window;
	uint32_t quiet;
	uint32_t left;
	bool off;
	bool trial;
	bool judged;
};

/** pst_gate_ask() - shall the next token be decoded with reading ahead? */
bool pst_gate_ask(const struct pst_gate *g);

/** pst_gate_tell() - the token that was asked for took this long */
void pst_gate_tell(struct pst_gate *g, uint64_t ns);

#endif
