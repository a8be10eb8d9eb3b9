/* SPDX-License-Identifier: MIT */
/*
 * governor: how many experts may stay in memory while others want memory, too.
 *
 * Decides only: samples go in, a number of slots comes out.  It reads no clock
 * and no file and moves no memory, so that any course of events can be played
 * to it.
 */
#ifndef PST_GOVERNOR_H
#define PST_GOVERNOR_H

#include "base.h"

/* Decoded tokens of which the median is taken. */
#define PST_GOVERNOR_WINDOW 8

/**
 * struct pst_governor_conf - what it works within
 * @max_slots: as reserved at the opening; never more
 * @min_slots: one token's experts of one layer; never fewer
 * @region_slots: slots that are given or taken at once
 * @region_bytes: of those
 * @reserve_bytes: room that is to be left to others
 * @machine_low_bytes: while the machine has more room than this, a stall
 *	somewhere is not ours to mend
 */
struct pst_governor_conf {
	uint32_t max_slots;
	uint32_t min_slots;
	uint32_t region_slots;
	uint64_t region_bytes;
	int64_t reserve_bytes;
	int64_t machine_low_bytes;
};

/**
 * struct pst_governor_sample - what was read
 * @now_ns: any clock that does not go back
 * @nr_slots: at present
 * @machine_room_bytes, @group_room_bytes: as in struct pst_mem_reading, and
 *	so are the stalls: totals, not differences
 */
struct pst_governor_sample {
	uint64_t now_ns;
	uint32_t nr_slots;
	int64_t machine_room_bytes;
	int64_t group_room_bytes;
	uint64_t machine_stall_ns;
	uint64_t group_stall_ns;
};

enum pst_governor_why {
	PST_GOVERNOR_STAY,
	PST_GOVERNOR_ROOM, /* less room than the reserve */
	PST_GOVERNOR_STALL, /* tasks wait for memory */
	PST_GOVERNOR_SLOWER, /* the larger cache was slower */
	PST_GOVERNOR_FREE /* there has been room for a while */
};

/**
 * struct pst_governor_advice - what to do
 * @nr_slots: to have from now on; as they are for PST_GOVERNOR_STAY
 * @room_bytes: the smaller of both rooms
 * @short_bytes: what is missing although nothing more can be given
 */
struct pst_governor_advice {
	enum pst_governor_why why;
	uint32_t nr_slots;
	int64_t room_bytes;
	int64_t short_bytes;
};

/* Whether the last growth has made tokens slower. */
struct pst_governor_trial {
	bool on;
	uint32_t from_slots;
	uint64_t before_ns; /* median at from_slots */
	uint32_t windows; /* judged since the last growth */
	uint32_t slower; /* of them in a row */
};

/**
 * struct pst_governor - its memory; pst_governor_init()
 * @calm_since_ns: since when there has been room to grow, 0 for not at present
 * @hold_ns: how long that has to last
 * @grown_ns, @given_ns: when that happened last, 0 for never
 * @psi_ns: when the stalls were taken down, 0 for not
 * @ceiling_slots: lowered for a time when more has proved slower
 * @ceiling_ns: until then; @ceiling_hold_ns: how long next time
 * @token_ns: the last decoded tokens at the present size
 */
struct pst_governor {
	struct pst_governor_conf conf;
	uint64_t calm_since_ns;
	uint64_t hold_ns;
	uint64_t grown_ns;
	uint64_t given_ns;
	uint64_t psi_ns;
	uint64_t machine_stall_ns;
	uint64_t group_stall_ns;
	uint32_t ceiling_slots;
	uint64_t ceiling_ns;
	uint64_t ceiling_hold_ns;
	uint64_t token_ns[PST_GOVERNOR_WINDOW];
	uint32_t nr_tokens;
	struct pst_governor_trial trial;
};

/**
 * pst_governor_reserve() - room to keep, by what there was at the start
 * @room_bytes: when everything had been reserved
 * @own_bytes: what this process holds
 *
 * As much as a process that divides a machine for itself would leave, but no
 * more than half of what was there: who asked for nearly everything got it,
 * and is to notice a change, not the beginning.
 */
int64_t pst_governor_reserve(int64_t room_bytes, uint64_t own_bytes);

void pst_governor_init(struct pst_governor *g,
		       const struct pst_governor_conf *conf);

/**
 * pst_governor_decide() - look at a sample
 *
 * The caller does what it is advised, or as much of it as can be done, before
 * the next sample.
 */
struct pst_governor_advice
pst_governor_decide(struct pst_governor *g,
		    const struct pst_governor_sample *s);

/** pst_governor_token() - one token was decoded, in this time */
void pst_governor_token(struct pst_governor *g, uint64_t ns);

#endif
