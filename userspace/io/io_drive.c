// SPDX-License-Identifier: MIT
/*
 * A model of a drive: the time of a read is a latency plus the bytes that are
 * queued over a bandwidth.  Both are fitted to what was seen, the past being
 * forgotten by and by, and at once where it no longer explains the present.
 */
#include <string.h>

#include "io_drive.h"

/* Of an unknown drive. */
#define FIRST_LATENCY_NS  1e5
#define FIRST_NS_PER_BYTE 1.0
/* Each sample takes this from the weight of those before it. */
#define FORGET (1.0 / 64)
/* A time this far from what was expected makes them count for little. */
#define SURPRISE	2.0
#define SURPRISE_FORGET 0.75
/* A drive is tried when it was left alone for so many times its read time. */
#define TRY_AFTER 50.0
/* Errors that put a drive out; one in this many reads never does. */
#define TROUBLE_MAX    3.5
#define TROUBLE_FORGET (1.0 / 128)

static void sample(struct pst_io_drive *d, double keep, double q, double t)
{
	d->sum_w = d->sum_w * keep + 1;
	d->sum_q = d->sum_q * keep + q;
	d->sum_t = d->sum_t * keep + t;
	d->sum_qq = d->sum_qq * keep + q * q;
	d->sum_qt = d->sum_qt * keep + q * t;
}

void pst_io_drive_init(struct pst_io_drive *d, uint64_t id)
{
	static const double q[] = { 64 << 10, 4 << 20 };

	memset(d, 0, sizeof(*d));
	d->id = id;
	d->latency_ns = FIRST_LATENCY_NS;
	d->ns_per_byte = FIRST_NS_PER_BYTE;
	for (size_t i = 0; i < PST_ARRAY_SIZE(q); i++)
		sample(d, 1, q[i], FIRST_LATENCY_NS + q[i] * FIRST_NS_PER_BYTE);
}

void pst_io_drive_begin(struct pst_io_drive *d, uint32_t len_bytes,
			uint64_t now_ns)
{
	if (!d->inflight_bytes)
		d->progress_ns = now_ns;
	d->inflight_bytes += len_bytes;
	d->window_bytes += len_bytes;
	d->issue_ns = now_ns;
}

void pst_io_drive_end(struct pst_io_drive *d, uint32_t len_bytes,
		      uint64_t now_ns)
{
	d->inflight_bytes -= len_bytes;
	d->progress_ns = now_ns;
}

/*
 * A line through the samples.  Where all queues were about equally long its
 * slope means nothing: then latency and slope are scaled alike.
 */
static void fit(struct pst_io_drive *d)
{
	double q = d->sum_q / d->sum_w, t = d->sum_t / d->sum_w;
	double var = d->sum_qq / d->sum_w - q * q;
	double cov = d->sum_qt / d->sum_w - q * t;
	double f;

	if (var > 0.01 * q * q) {
		/* Not flat: no drive is endlessly fast. */
		d->ns_per_byte = PST_MAX(cov / var, t / q / 64);
		d->latency_ns = t - q * d->ns_per_byte;
		if (d->latency_ns >= 0)
			return;
		d->latency_ns = 0;
		d->ns_per_byte = t / q;
		return;
	}
	f = t / (d->latency_ns + q * d->ns_per_byte);
	d->latency_ns *= f;
	d->ns_per_byte *= f;
}

void pst_io_drive_learn(struct pst_io_drive *d, uint64_t queued_bytes,
			uint64_t took_ns)
{
	double q = (double)queued_bytes, t = (double)PST_MAX(took_ns, 1);
	double expected = d->latency_ns + q * d->ns_per_byte;
	double forget = FORGET;

	if (t > expected * SURPRISE || t < expected / SURPRISE)
		forget = SURPRISE_FORGET;
	sample(d, 1 - forget, q, t);
	fit(d);
}

bool pst_io_drive_failed(struct pst_io_drive *d)
{
	d->errors++;
	d->trouble += 1;
	if (d->left_out || d->trouble < TROUBLE_MAX)
		return false;
	d->left_out = true;
	return true;
}

void pst_io_drive_brought(struct pst_io_drive *d, uint32_t bytes)
{
	d->reads++;
	d->read_bytes += bytes;
	d->trouble -= d->trouble * TROUBLE_FORGET;
}

double pst_io_drive_expect_ns(const struct pst_io_drive *d, uint32_t len_bytes,
			      uint64_t seen_ns)
{
	double queued = (double)(d->inflight_bytes + len_bytes);
	double ns = d->latency_ns + queued * d->ns_per_byte;
	double silent;

	if (!d->inflight_bytes || seen_ns <= d->progress_ns)
		return ns;
	silent =
		(double)(seen_ns - d->progress_ns) + len_bytes * d->ns_per_byte;
	return PST_MAX(ns, silent);
}

static bool worth_a_try(const struct pst_io_drive *d, uint32_t len_bytes,
			uint64_t now_ns)
{
	double alone = (double)(now_ns - d->issue_ns);

	return !d->inflight_bytes &&
	       alone > TRY_AFTER * pst_io_drive_expect_ns(d, len_bytes, now_ns);
}

uint32_t pst_io_drive_pick(struct pst_io_drive *const *cand, uint32_t nr,
			   uint32_t len_bytes, uint64_t now_ns,
			   uint64_t seen_ns)
{
	uint32_t best = 0;
	double best_ns = 0;

	for (uint32_t i = 0; i < nr; i++) {
		const struct pst_io_drive *d = cand[i];
		double ns = pst_io_drive_expect_ns(d, len_bytes, seen_ns);
		bool out = d->left_out, best_out = cand[best]->left_out;

		if (i && out && !best_out)
			continue;
		if (!i || ns < best_ns || (!out && best_out)) {
			best = i;
			best_ns = ns;
		}
	}
	for (uint32_t i = 0; i < nr; i++)
		if (cand[i] != cand[best] && !cand[i]->left_out &&
		    worth_a_try(cand[i], len_bytes, now_ns))
			return i;
	return best;
}
