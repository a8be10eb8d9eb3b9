// SPDX-License-Identifier: MIT
/*
 * Gives quickly, takes slowly.
 *
 * What is missing is given at once: somebody else's next page decides whether
 * the kernel kills.  Growth waits until there has been room for a while, goes
 * in small steps, waits longer each time it had to be taken back soon after,
 * and is undone when tokens became slower by it: a cache that makes the kernel
 * drop and fetch other pages is worse than a smaller one.
 */
#include <string.h>

#include "governor.h"

#define MS 1000000ULL
#define S  (1000 * MS)

/* Reserve: as the budget has it when no ceiling is given. */
#define RESERVE_MIN_BYTES (512 * PST_MIB)
#define RESERVE_SHARE	  16
/* Stalls are averaged over this at least; more than a twentieth is too much. */
#define PSI_WINDOW_NS (500 * MS)
#define PSI_SHARE     20
/* Calm before a growth, at first and at most; then steps follow faster. */
#define HOLD_MIN_NS (2 * S)
#define HOLD_MAX_NS (300 * S)
#define STEP_NS	    (250 * MS)
/* A loss so soon after a growth, in holds, means that it came too early. */
#define TOO_EARLY_HOLDS 4
/* After so many quiet holds it may come earlier again. */
#define QUIET_HOLDS 16
/* A growth is undone when so many windows in a row are slower by a share. */
#define SLOWER_SHARE   5
#define SLOWER_WINDOWS 2
#define TRIAL_WINDOWS  4
#define CEILING_NS     (60 * S)
#define CEILING_MAX_NS (3600 * S)

int64_t pst_governor_reserve(int64_t room_bytes, uint64_t own_bytes)
{
	int64_t room = PST_MAX(room_bytes, 0);
	int64_t own = (int64_t)PST_MIN(own_bytes, (uint64_t)INT64_MAX / 2);
	int64_t want = PST_MIN(room, INT64_MAX / 2) / RESERVE_SHARE +
		       own / RESERVE_SHARE;

	return PST_MIN(PST_MAX(want, (int64_t)RESERVE_MIN_BYTES), room / 2);
}

void pst_governor_init(struct pst_governor *g,
		       const struct pst_governor_conf *conf)
{
	memset(g, 0, sizeof(*g));
	g->conf = *conf;
	g->hold_ns = HOLD_MIN_NS;
	g->ceiling_slots = conf->max_slots;
	g->ceiling_hold_ns = CEILING_NS;
}

static uint64_t median(const uint64_t *values)
{
	uint64_t v[PST_GOVERNOR_WINDOW];

	/* The values are a ring: their order is to stay. */
	memcpy(v, values, sizeof(v));
	return pst_median_u64(v, PST_GOVERNOR_WINDOW);
}

/* Totals that could not be read are zero: no difference then. */
static uint64_t since(uint64_t now, uint64_t before)
{
	return now > before && before ? now - before : 0;
}

/* Do tasks wait for memory, and can we help it? */
static bool stalled(struct pst_governor *g, const struct pst_governor_sample *s)
{
	uint64_t took = s->now_ns - g->psi_ns, group, machine, lost;
	bool first = !g->psi_ns;

	if (!first && took < PSI_WINDOW_NS)
		return false;
	group = since(s->group_stall_ns, g->group_stall_ns);
	machine = since(s->machine_stall_ns, g->machine_stall_ns);
	g->psi_ns = s->now_ns;
	g->group_stall_ns = s->group_stall_ns;
	g->machine_stall_ns = s->machine_stall_ns;
	lost = s->machine_room_bytes < g->conf.machine_low_bytes ? machine : 0;
	lost = PST_MAX(lost, group);
	return !first && lost > took / PSI_SHARE;
}

/* Moving memory is a stall of our own making: begin to count anew. */
static void moved(struct pst_governor *g)
{
	g->psi_ns = 0;
	g->calm_since_ns = 0;
}

static uint32_t less(const struct pst_governor *g, uint32_t nr_slots,
		     int64_t bytes)
{
	uint64_t regions = ((uint64_t)bytes + g->conf.region_bytes - 1) /
			   g->conf.region_bytes;
	uint64_t spare =
		nr_slots > g->conf.min_slots ? nr_slots - g->conf.min_slots : 0;

	regions = PST_MIN(regions, spare / g->conf.region_slots);
	return nr_slots - (uint32_t)regions * g->conf.region_slots;
}

static void give(struct pst_governor *g, const struct pst_governor_sample *s,
		 int64_t bytes, struct pst_governor_advice *a)
{
	uint32_t left = less(g, s->nr_slots, bytes);

	g->calm_since_ns = 0;
	g->trial.on = false;
	if (left == s->nr_slots) {
		a->why = PST_GOVERNOR_STAY;
		a->short_bytes = bytes;
		return;
	}
	a->nr_slots = left;
	if (g->grown_ns &&
	    s->now_ns - g->grown_ns < TOO_EARLY_HOLDS * g->hold_ns)
		g->hold_ns = PST_MIN(2 * g->hold_ns, HOLD_MAX_NS);
	g->given_ns = s->now_ns;
	g->nr_tokens = 0;
	moved(g);
}

static bool has_room(const struct pst_governor *g, int64_t room_bytes)
{
	int64_t reserve = g->conf.reserve_bytes;

	return room_bytes - (int64_t)g->conf.region_bytes >=
	       reserve + reserve / 2;
}

/* One trial covers all steps of a growth: it ends some windows after the last,
 * and what tokens took before the first is what they are compared with.
 */
static void begin_trial(struct pst_governor *g, uint32_t nr_slots)
{
	struct pst_governor_trial *t = &g->trial;

	t->windows = 0;
	if (t->on || g->nr_tokens < PST_GOVERNOR_WINDOW)
		return;
	t->on = true;
	t->from_slots = nr_slots;
	t->before_ns = median(g->token_ns);
	t->slower = 0;
	g->nr_tokens = 0;
}

/* There is room: has it been there for long enough? */
static void take(struct pst_governor *g, const struct pst_governor_sample *s,
		 struct pst_governor_advice *a)
{
	uint64_t hold = g->hold_ns;

	/* In the middle of growing, the wait is behind us. */
	if (g->grown_ns > g->given_ns && s->now_ns - g->grown_ns < hold)
		hold = STEP_NS;
	if (!g->calm_since_ns)
		g->calm_since_ns = s->now_ns;
	if (s->now_ns - g->calm_since_ns < hold)
		return;
	if (g->given_ns && s->now_ns - g->given_ns > QUIET_HOLDS * g->hold_ns)
		g->hold_ns = PST_MAX(g->hold_ns / 2, HOLD_MIN_NS);
	begin_trial(g, s->nr_slots);
	a->why = PST_GOVERNOR_FREE;
	a->nr_slots =
		PST_MIN(s->nr_slots + g->conf.region_slots, g->ceiling_slots);
	g->grown_ns = s->now_ns;
	moved(g);
}

/* More has proved to be slower: back, and not again for a while. */
static void undo(struct pst_governor *g, const struct pst_governor_sample *s,
		 struct pst_governor_advice *a)
{
	a->why = PST_GOVERNOR_SLOWER;
	a->nr_slots = PST_MIN(g->trial.from_slots, s->nr_slots);
	g->ceiling_slots = a->nr_slots;
	g->ceiling_ns = s->now_ns + g->ceiling_hold_ns;
	g->ceiling_hold_ns = PST_MIN(2 * g->ceiling_hold_ns, CEILING_MAX_NS);
	g->trial.on = false;
	g->given_ns = s->now_ns;
	g->nr_tokens = 0;
	moved(g);
}

struct pst_governor_advice
pst_governor_decide(struct pst_governor *g, const struct pst_governor_sample *s)
{
	struct pst_governor_advice a = { .why = PST_GOVERNOR_STAY,
					 .nr_slots = s->nr_slots };
	bool stall = stalled(g, s);

	a.room_bytes = PST_MIN(s->machine_room_bytes, s->group_room_bytes);
	if (g->ceiling_ns && s->now_ns >= g->ceiling_ns) {
		g->ceiling_ns = 0;
		g->ceiling_slots = g->conf.max_slots;
	}
	if (a.room_bytes < g->conf.reserve_bytes) {
		a.why = PST_GOVERNOR_ROOM;
		give(g, s, g->conf.reserve_bytes - a.room_bytes, &a);
	} else if (stall) {
		a.why = PST_GOVERNOR_STALL;
		give(g, s, 1, &a);
	} else if (g->trial.on && g->trial.slower >= SLOWER_WINDOWS) {
		undo(g, s, &a);
	} else if (s->nr_slots < g->ceiling_slots &&
		   has_room(g, a.room_bytes)) {
		take(g, s, &a);
	} else {
		g->calm_since_ns = 0;
	}
	return a;
}

void pst_governor_token(struct pst_governor *g, uint64_t ns)
{
	struct pst_governor_trial *t = &g->trial;
	uint64_t now;

	g->token_ns[g->nr_tokens++ % PST_GOVERNOR_WINDOW] = ns;
	if (!t->on || g->nr_tokens % PST_GOVERNOR_WINDOW)
		return;
	now = median(g->token_ns);
	t->slower = now > t->before_ns + t->before_ns / SLOWER_SHARE
			    ? t->slower + 1
			    : 0;
	t->windows++;
	if (t->windows >= TRIAL_WINDOWS && !t->slower)
		t->on = false;
}
