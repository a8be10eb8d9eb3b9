// SPDX-License-Identifier: MIT
/*
 * How the rows of a job's matrices are dealt to threads: in pieces that get
 * smaller towards the end, each a part of what is left.  The first are long,
 * for a thread begins each with weights that nobody asked for ahead of time;
 * the last are short, so that no thread waits long for another.  Knows nothing
 * of what is done with the rows.
 */
#include "deal.h"

/* A thread's share of what is left is taken in so many pieces. */
#define PIECES 2

/* One token: a piece of less would be begun rather than read. */
#define LEAST_BYTES (32 << 10)
/* More tokens: each piece lays their activations out anew, which is worth some
 * rows; at the end a thread waits for such a part of its share at most.
 */
#define LEAST_PARTS 32

void pst_deal_begin(struct deal *d, uint32_t unit, uint32_t nr_workers)
{
	d->unit = unit;
	d->nr_workers = nr_workers;
	d->total = 0;
	d->nr_x = 0;
	d->row_bytes = 0;
}

void pst_deal_add(struct deal *d, const struct pst_weight *w, uint32_t nr_x)
{
	d->total += (w->n_out + d->unit - 1) / d->unit;
	d->row_bytes = PST_MAX(d->row_bytes, w->row_bytes);
	d->nr_x = PST_MAX(d->nr_x, nr_x);
}

static uint32_t least_of(const struct deal *d)
{
	uint64_t unit_bytes = d->unit * PST_MAX(d->row_bytes, (uint64_t)1);
	uint64_t most = d->total / (4 * d->nr_workers);
	uint64_t least = LEAST_BYTES / unit_bytes;

	if (d->nr_x > 1)
		least = d->total / (LEAST_PARTS * d->nr_workers);
	least = PST_MIN(least, most);
	/* Never more pieces than there is room for. */
	most = (d->total + PST_DEAL_PIECES - 1) / PST_DEAL_PIECES;
	return (uint32_t)PST_MAX(least, PST_MAX(most, (uint64_t)1));
}

uint32_t pst_deal_end(struct deal *d)
{
	uint32_t parts = PIECES * d->nr_workers, least = least_of(d);
	uint32_t count = 0, at = 0;

	while (at < d->total) {
		uint32_t left = d->total - at;
		uint32_t nr = PST_MAX((left + parts - 1) / parts, least);

		d->from[count++] = at;
		at += d->nr_workers == 1 ? left : PST_MIN(nr, left);
	}
	d->from[count] = at;
	return count;
}

struct deal_piece pst_deal_piece(const struct deal *d, uint32_t index)
{
	return (struct deal_piece){ .from = d->from[index],
				    .nr = d->from[index + 1] - d->from[index] };
}

bool pst_deal_part(const struct deal *d, struct deal_piece *p, uint32_t nr_rows,
		   struct deal_part *out)
{
	uint32_t units = (nr_rows + d->unit - 1) / d->unit, nr;

	if (p->from >= units) {
		p->from -= units;
		return false;
	}
	nr = PST_MIN(units - p->from, p->nr);
	out->row = p->from * d->unit;
	out->nr = PST_MIN(nr * d->unit, nr_rows - out->row);
	p->from = 0;
	p->nr -= nr;
	return true;
}
