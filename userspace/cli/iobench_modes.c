// SPDX-License-Identifier: MIT
/*
 * The last looks of iobench: at the knee, in turns with interrupts and with
 * polling where kernel and drive take it.  Which mode wins is decided in
 * engine.
 */
#include <errno.h>
#include <string.h>

#include "iobench.h"

/* What is tried before it counts. */
static void find_modes(struct iobench *b)
{
	struct pst_diag why;

	b->looks[PST_ENGINE_MODE_IRQ].had = true;
	for (uint32_t m = PST_ENGINE_MODE_SQPOLL; m < PST_ENGINE_NR_MODES;
	     m++) {
		pst_diag_init(&why);
		b->looks[m].had = !pst_drive_bench_set_mode(
			b->bench, (enum pst_engine_io_mode)m, &why);
		if (!b->looks[m].had)
			snprintf(b->refused[m], sizeof(b->refused[m]), "%.159s",
				 why.text);
	}
}

static uint32_t nr_had(const struct iobench *b)
{
	uint32_t nr = 0;

	for (uint32_t m = 0; m < PST_ENGINE_NR_MODES; m++)
		nr += b->looks[m].had;
	return nr;
}

static int look(struct iobench *b, enum pst_engine_io_mode mode,
		uint64_t time_ns, struct pst_drive_figures *out,
		struct pst_diag *diag)
{
	const struct pst_drive_figures *knee = &b->f[b->knee];
	int rc = pst_drive_bench_set_mode(b->bench, mode, diag);

	return rc ? rc
		  : pst_drive_bench_run(b->bench, knee->size_bytes, knee->depth,
					time_ns, out, diag);
}

/* Every second turn runs backwards, so that a drift favours nobody. */
static int look_in_turns(struct iobench *b, uint64_t time_ns,
			 struct pst_diag *diag)
{
	uint32_t last = PST_ENGINE_NR_MODES - 1;
	int rc = 0;

	for (uint32_t i = 0; i < PST_DRIVE_LOOKS; i++)
		for (uint32_t k = 0; k <= last && !rc; k++) {
			uint32_t m = i % 2 ? last - k : k;

			if (b->looks[m].had)
				rc = look(b, (enum pst_engine_io_mode)m,
					  time_ns, &b->looks[m].f[i], diag);
		}
	return rc;
}

int iobench_look_again(struct iobench *b, uint64_t time_ns,
		       struct pst_diag *diag)
{
	enum pst_engine_io_mode asked = b->o->engine.io_mode;
	int rc;

	b->mode = asked;
	/* pread has no modes, and who names one wants no other. */
	b->looked = asked == PST_ENGINE_MODE_AUTO &&
		    b->o->engine.io != PST_ENGINE_IO_PREAD;
	if (!b->looked)
		return look(b, asked, time_ns, &b->again, diag);
	find_modes(b);
	rc = look_in_turns(b, time_ns / PST_DRIVE_LOOKS / nr_had(b), diag);
	if (rc)
		return rc;
	b->mode = pst_drive_choose_mode(b->looks);
	pst_drive_looks_median(&b->looks[b->mode], &b->again);
	return pst_drive_bench_set_mode(b->bench, asked, diag);
}
