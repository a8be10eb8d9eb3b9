// SPDX-License-Identifier: MIT
/*
 * The governor in an engine: reads what there is, asks for advice, moves the
 * memory and says so.  Between passes only, and not more often than ten times
 * a second.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"
#include "mem_pressure.h"

#define CHECK_NS  100000000ULL
#define REFUSE_NS 10000000000ULL

static double mib(int64_t bytes)
{
	return (double)bytes / (double)PST_MIB;
}

static bool can_give(const struct pst_engine *e)
{
	const struct pst_mem *m = e->store ? pst_store_mem(e->store) : NULL;

	return m && pst_mem_can_give(m) && pst_store_region_bytes(e->store);
}

void pst_engine_govern_start(struct pst_engine *e)
{
	struct pst_govern *g = &e->govern;
	struct pst_mem_usage own = { 0 };
	struct pst_mem_reading r;
	int64_t room;

	if (e->opts.no_governor || !can_give(e))
		return;
	if (pst_mem_pressure_open(&g->pressure) ||
	    pst_mem_pressure_read(g->pressure, INT64_MAX, &r)) {
		pst_log(e->opts.log, PST_LOG_INFO,
			"memory cannot be watched: the expert cache keeps its "
			"size");
		pst_engine_govern_stop(e);
		return;
	}
	pst_mem_usage_read(&own);
	room = PST_MIN(r.machine_room_bytes, r.group_room_bytes);
	pst_governor_init(
		&g->logic,
		&(struct pst_governor_conf){
			.max_slots = e->plan.nr_slots,
			.min_slots = e->plan.nr_used,
			.region_slots = PST_MAX(
				(uint32_t)(pst_store_region_bytes(e->store) /
					   e->plan.slot),
				1),
			.region_bytes = pst_store_region_bytes(e->store),
			.reserve_bytes = pst_governor_reserve(room, own.rss),
			.machine_low_bytes = r.machine_total_bytes / 8,
		});
	g->on = true;
}

void pst_engine_govern_stop(struct pst_engine *e)
{
	pst_mem_pressure_close(e->govern.pressure);
	e->govern.pressure = NULL;
	e->govern.on = false;
}

/* Once for each change of direction, so that nobody is flooded. */
static void say(struct pst_engine *e, const struct pst_governor_advice *a,
		uint32_t before)
{
	uint32_t now = pst_store_nr_slots(e->store);
	enum pst_governor_why why =
		a->why == PST_GOVERNOR_STALL ? PST_GOVERNOR_ROOM : a->why;

	if (now == before || why == e->govern.said)
		return;
	e->govern.said = why;
	if (a->why == PST_GOVERNOR_FREE)
		pst_log(e->opts.log, PST_LOG_INFO,
			"%.0f MiB of memory are free again: the expert cache "
			"grows from %u to %u experts, at most %u",
			mib(a->room_bytes), before, now,
			e->govern.logic.ceiling_slots);
	else if (a->why == PST_GOVERNOR_SLOWER)
		pst_log(e->opts.log, PST_LOG_INFO,
			"tokens became slower with a larger expert cache: back "
			"from %u to %u experts",
			before, now);
	else
		pst_log(e->opts.log, PST_LOG_INFO,
			"memory is short (%.0f MiB of room, %.0f are kept "
			"free%s): the expert cache shrinks from %u to %u "
			"experts",
			mib(a->room_bytes),
			mib(e->govern.logic.conf.reserve_bytes),
			a->why == PST_GOVERNOR_STALL ? ", tasks wait for it"
						     : "",
			before, now);
}

static void warn_small(struct pst_engine *e)
{
	uint32_t now = pst_store_nr_slots(e->store);

	if (e->govern.warned_small || now >= e->plan.nr_token ||
	    e->plan.nr_slots < e->plan.nr_token)
		return;
	e->govern.warned_small = true;
	e->govern.warnings++;
	pst_log(e->opts.log, PST_LOG_WARN,
		"memory is short: the expert cache is down to %u experts, one "
		"token uses %u: most of them are now read again for each token",
		now, e->plan.nr_token);
}

static void warn_spent(struct pst_engine *e,
		       const struct pst_governor_advice *a)
{
	if (e->govern.warned_spent || !a->short_bytes)
		return;
	e->govern.warned_spent = true;
	e->govern.warnings++;
	pst_log(e->opts.log, PST_LOG_WARN,
		"memory is short by %.0f MiB and the expert cache of %u "
		"experts cannot give more: the kernel may slow or kill this "
		"process",
		mib(a->short_bytes), pst_store_nr_slots(e->store));
}

static void follow(struct pst_engine *e, const struct pst_governor_advice *a)
{
	struct pst_govern *g = &e->govern;
	uint32_t before = pst_store_nr_slots(e->store), now;
	struct pst_diag diag;
	int rc = 0;

	pst_diag_init(&diag);
	if (a->nr_slots < before)
		rc = pst_store_shrink(e->store, a->nr_slots);
	else if (a->nr_slots > before)
		rc = pst_store_grow(e->store, a->nr_slots, &diag);
	now = pst_store_nr_slots(e->store);
	if (now < before)
		g->given_slots += before - now;
	else
		g->taken_slots += now - before;
	/* What tokens took with another cache says nothing of this one. */
	if (now != before)
		memset(&e->gate, 0, sizeof(e->gate));
	say(e, a, before);
	warn_small(e);
	warn_spent(e, a);
	if (!rc)
		return;
	g->next_ns = pst_now_ns() + REFUSE_NS;
	if (g->warned_refused)
		return;
	g->warned_refused = true;
	g->warnings++;
	pst_log(e->opts.log, PST_LOG_WARN,
		"the kernel does not %s memory of the expert cache: %s",
		a->nr_slots < before ? "take back" : "give back",
		strerror(-rc));
}

void pst_engine_govern(struct pst_engine *e)
{
	struct pst_govern *g = &e->govern;
	uint64_t now = g->on ? pst_now_ns() : 0;
	struct pst_governor_advice a;
	struct pst_mem_reading r;

	if (!g->on || now < g->next_ns)
		return;
	g->next_ns = now + CHECK_NS;
	if (pst_mem_pressure_read(g->pressure,
				  2 * g->logic.conf.reserve_bytes +
					  (int64_t)g->logic.conf.region_bytes,
				  &r))
		return;
	a = pst_governor_decide(
		&g->logic, &(struct pst_governor_sample){
				   .now_ns = now,
				   .nr_slots = pst_store_nr_slots(e->store),
				   .machine_room_bytes = r.machine_room_bytes,
				   .group_room_bytes = r.group_room_bytes,
				   .machine_stall_ns = r.machine_stall_ns,
				   .group_stall_ns = r.group_stall_ns,
			   });
	if (a.why != PST_GOVERNOR_STAY || a.short_bytes)
		follow(e, &a);
}

void pst_engine_govern_token(struct pst_engine *e, uint64_t ns)
{
	bool settled = e->opts.prefetch != PST_PREFETCH_AUTO ||
		       (e->gate.judged && !e->gate.trial);

	/* A trial of the gate would be taken for the cache's doing. */
	if (e->govern.on && settled)
		pst_governor_token(&e->govern.logic, ns);
}
