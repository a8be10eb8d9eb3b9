/* SPDX-License-Identifier: MIT */
/*
 * deal: the rows of a job's matrices, one after the other, cut into pieces for
 * threads.  For whoever multiplies, or measures what multiplying takes.
 */
#ifndef PST_DEAL_H
#define PST_DEAL_H

#include "model.h"

/* Rows that stay together: kernels take as many at a time. */
#define PST_DEAL_ROWS 16
/* Pieces of a job at most, whatever the number of threads. */
#define PST_DEAL_PIECES 512

/**
 * struct deal - the rows of a job
 * @unit: rows that stay together
 * @total: units of all matrices; each begins one
 * @row_bytes: of the widest row
 * @nr_x: tokens, the most of any matrix
 * @from: first unit of each piece, then the end
 */
struct deal {
	uint32_t unit, nr_workers, total, nr_x;
	uint64_t row_bytes;
	uint32_t from[PST_DEAL_PIECES + 1];
};

/* Units that a thread computes at once, and what of them one matrix has. */
struct deal_piece {
	uint32_t from, nr;
};

struct deal_part {
	uint32_t row, nr;
};

/** pst_deal_begin() - no rows yet; then pst_deal_add() for each, _end() */
void pst_deal_begin(struct deal *d, uint32_t unit, uint32_t nr_workers);
void pst_deal_add(struct deal *d, const struct pst_weight *w, uint32_t nr_x);

/**
 * pst_deal_end() - cuts the job
 *
 * Return: pieces, PST_DEAL_PIECES at most.
 */
uint32_t pst_deal_end(struct deal *d);

/** pst_deal_piece() - one of them, in the order in which they are begun */
struct deal_piece pst_deal_piece(const struct deal *d, uint32_t index);

/**
 * pst_deal_part() - what a piece has of the next matrix
 * @p: what is left of the piece, counted from that matrix on
 * @nr_rows: of that matrix
 *
 * Return: whether it is anything.
 */
bool pst_deal_part(const struct deal *d, struct deal_piece *p, uint32_t nr_rows,
		   struct deal_part *out);

#endif
