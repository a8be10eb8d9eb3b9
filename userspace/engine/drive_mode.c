// SPDX-License-Identifier: MIT
/*
 * How a drive is to be read: what the engine's options mean to io, and which mode
 * of io_uring it is after looks at each in turns.  Knows figures, not how they were
 * measured.
 */
#include <stdlib.h>
#include <string.h>

#include <penstock/profile.h>

#include "engine_priv.h"

/* Polling takes a core from other work: it has to bring this much. */
#define GAIN_PCT     103
#define SAME_PCT     99
#define LESS_CPU_PCT 80

static enum pst_io_mode ring_mode(enum pst_engine_io_mode mode)
{
	static const enum pst_io_mode of[PST_ENGINE_NR_MODES] = {
		[PST_ENGINE_MODE_AUTO] = PST_IO_IRQ,
		[PST_ENGINE_MODE_IRQ] = PST_IO_IRQ,
		[PST_ENGINE_MODE_SQPOLL] = PST_IO_SQPOLL,
		[PST_ENGINE_MODE_IOPOLL] = PST_IO_IOPOLL,
	};

	return of[mode];
}

const char *pst_engine_mode_name(enum pst_engine_io_mode mode)
{
	return mode == PST_ENGINE_MODE_AUTO ? "auto"
					    : pst_io_mode_name(ring_mode(mode));
}

void pst_engine_choose_io(enum pst_engine_io io, enum pst_engine_io_mode mode,
			  enum pst_tristate direct, struct pst_io_args *out)
{
	static const enum pst_io_direct direct_of[] = {
		[PST_AUTO] = PST_IO_DIRECT_AUTO,
		[PST_ON] = PST_IO_DIRECT_ON,
		[PST_OFF] = PST_IO_DIRECT_OFF,
	};

	out->kind = io == PST_ENGINE_IO_URING	? PST_IO_URING
		    : io == PST_ENGINE_IO_PREAD ? PST_IO_PREAD
						: PST_IO_AUTO;
	out->mode = ring_mode(mode);
	out->direct = direct_of[direct];
}

uint64_t pst_drive_figures_cpu(const struct pst_drive_figures *f)
{
	double bytes = (double)f->reads * f->size_bytes;

	return bytes > 0 ? (uint64_t)((double)f->cpu_ns * 1e9 / bytes) : 0;
}

static int by_bandwidth(const void *a, const void *b)
{
	uint64_t x = pst_drive_figures_bps(a), y = pst_drive_figures_bps(b);

	return (x > y) - (x < y);
}

void pst_drive_looks_median(const struct pst_drive_looks *l,
			    struct pst_drive_figures *out)
{
	struct pst_drive_figures f[PST_DRIVE_LOOKS];

	memcpy(f, l->f, sizeof(f));
	qsort(f, PST_DRIVE_LOOKS, sizeof(*f), by_bandwidth);
	*out = f[PST_DRIVE_LOOKS / 2];
}

/* Was it faster in each turn?  A drive that drifts favours one by chance. */
static bool always_faster(const struct pst_drive_looks *a,
			  const struct pst_drive_looks *b)
{
	for (uint32_t i = 0; i < PST_DRIVE_LOOKS; i++)
		if (pst_drive_figures_bps(&a->f[i]) <=
		    pst_drive_figures_bps(&b->f[i]))
			return false;
	return true;
}

/* Is @a worth more than interrupts are? */
static bool gains(const struct pst_drive_looks *a,
		  const struct pst_drive_looks *irq)
{
	struct pst_drive_figures x, y;
	uint64_t bps, irq_bps;

	pst_drive_looks_median(a, &x);
	pst_drive_looks_median(irq, &y);
	bps = pst_drive_figures_bps(&x);
	irq_bps = pst_drive_figures_bps(&y);
	if (bps >= irq_bps / 100 * GAIN_PCT && always_faster(a, irq))
		return true;
	return bps >= irq_bps / 100 * SAME_PCT &&
	       pst_drive_figures_cpu(&x) <
		       pst_drive_figures_cpu(&y) * LESS_CPU_PCT / 100;
}

enum pst_engine_io_mode
pst_drive_choose_mode(const struct pst_drive_looks looks[PST_ENGINE_NR_MODES])
{
	const struct pst_drive_looks *irq = &looks[PST_ENGINE_MODE_IRQ];
	enum pst_engine_io_mode best = PST_ENGINE_MODE_IRQ;
	struct pst_drive_figures x, y;

	for (uint32_t m = best + 1; m < PST_ENGINE_NR_MODES; m++) {
		if (!looks[m].had || !gains(&looks[m], irq))
			continue;
		pst_drive_looks_median(&looks[m], &x);
		pst_drive_looks_median(&looks[best], &y);
		if (best == PST_ENGINE_MODE_IRQ || by_bandwidth(&x, &y) > 0)
			best = (enum pst_engine_io_mode)m;
	}
	return best;
}
