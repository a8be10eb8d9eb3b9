// SPDX-License-Identifier: MIT
/*
 * Rows of tables that stay on the drive: a token needs one row of each, known
 * before its pass.  All rows of a pass are read as one batch before the first
 * block; those of the last passes stay at hand, as texts repeat their tokens.
 *
 * Knows of a table only where its rows lie.
 */
#include <errno.h>
#include <string.h>

#include "fwd_priv.h"

#define NO_SLOT UINT32_MAX

/* What io gives back is the first member. */
struct row_read {
	struct pst_io_read io;
	struct row_cache *cache;
	uint32_t slot;
};

/* Whole blocks are read: a row may begin and end inside one. */
static uint64_t slot_bytes(const struct pst_table *t, uint64_t align)
{
	return pst_align_up(t->w->row_bytes, align) + align;
}

static void carve_cache(const struct pst_fwd *f, struct carve *c,
			const struct pst_table *t, struct row_cache *rc)
{
	uint32_t rows = t->w->n_out;

	*rc = (struct row_cache){
		.table = t,
		.nr_slots = PST_MIN(rows, PST_MAX(f->n_batch, f->rows.least)),
		.slot_bytes = slot_bytes(t, f->rows.align),
	};
	/* One block more, for a start at the beginning of a block. */
	rc->mem =
		pst_carve(c, rc->nr_slots * rc->slot_bytes + f->rows.align, 1);
	rc->slot_of = pst_carve(c, rows, sizeof(uint32_t));
	rc->token_of = pst_carve(c, rc->nr_slots, sizeof(uint32_t));
	rc->pass = pst_carve(c, rc->nr_slots, sizeof(uint64_t));
	rc->at = pst_carve(c, f->n_batch, sizeof(uint32_t));
	if (!c->base)
		return;
	rc->mem = (uint8_t *)pst_align_up((uintptr_t)rc->mem, f->rows.align);
	for (uint32_t i = 0; i < rows; i++)
		rc->slot_of[i] = NO_SLOT;
	for (uint32_t i = 0; i < rc->nr_slots; i++)
		rc->token_of[i] = NO_SLOT;
}

void pst_rows_carve(struct pst_fwd *f, struct carve *c)
{
	uint32_t nr = f->m->nr_tables;

	if (!nr || !f->rows.io)
		return;
	f->rows.align = pst_io_align(f->rows.io);
	for (uint32_t i = 0; i < nr; i++)
		carve_cache(f, c, &f->m->tables[i], &f->rows.cache[i]);
	f->rows.reads = pst_carve(c, (uint64_t)nr * f->n_batch,
				  sizeof(struct row_read));
}

/* First byte of a row in the file. */
static uint64_t place(const struct row_cache *rc, uint32_t token)
{
	return rc->table->t->off_bytes + token * rc->table->w->row_bytes;
}

const uint8_t *pst_fwd_row(const struct pst_fwd *f, const struct pst_weight *w,
			   uint32_t t)
{
	uint32_t token = (uint32_t)f->tokens[t];
	const struct row_cache *rc = f->rows.cache;

	if (w->data)
		return w->data + token * w->row_bytes;
	while (rc->table->w != w)
		rc++;
	return rc->mem + rc->at[t] * rc->slot_bytes +
	       place(rc, token) % f->rows.align;
}

/*
 * A slot for a row that is not at hand.  The hand goes round: rows of this pass
 * stay, one that was wanted since the hand last came by stays once.
 */
static uint32_t claim(struct row_cache *rc, uint64_t pass)
{
	uint32_t slot;

	for (;;) {
		slot = rc->hand++;
		rc->hand %= rc->nr_slots;
		if (!rc->pass[slot])
			break;
		if (rc->pass[slot] != pass)
			rc->pass[slot] = 0;
	}
	if (rc->token_of[slot] != NO_SLOT)
		rc->slot_of[rc->token_of[slot]] = NO_SLOT;
	return slot;
}

static struct pst_io_read *read_row(struct pst_fwd *f, struct row_cache *rc,
				    uint32_t token, uint32_t slot)
{
	struct row_read *r = &f->rows.reads[f->rows.nr_pending++];
	uint64_t align = f->rows.align, at = place(rc, token);
	uint64_t first = pst_align_down(at, align);
	uint64_t end = at + rc->table->w->row_bytes;

	*r = (struct row_read){
		.io = { .file = rc->table->t->file,
			.off_bytes = first,
			.len_bytes =
				(uint32_t)(pst_align_up(end, align) - first),
			.need_bytes = (uint32_t)(end - first),
			.buf = rc->mem + slot * rc->slot_bytes,
			.region = -1,
			.owner = &f->rows },
		.cache = rc,
		.slot = slot,
	};
	return &r->io;
}

/* The rows of the pass's tokens; returns the reads of those not at hand. */
static struct pst_io_read *want(struct pst_fwd *f, uint32_t n)
{
	struct pst_io_read *list = NULL, **tail = &list;
	uint64_t pass = ++f->rows.pass;

	for (uint32_t i = 0; i < f->m->nr_tables; i++) {
		struct row_cache *rc = &f->rows.cache[i];

		for (uint32_t t = 0; t < n; t++) {
			uint32_t token = (uint32_t)f->tokens[t];
			uint32_t *slot = &rc->slot_of[token];

			if (*slot == NO_SLOT) {
				*slot = claim(rc, pass);
				rc->token_of[*slot] = token;
				*tail = read_row(f, rc, token, *slot);
				tail = &(*tail)->next;
			}
			rc->pass[*slot] = pass;
			rc->at[t] = *slot;
		}
	}
	return list;
}

/* What could not be read is not at hand; the first failure is told. */
static int failed(struct pst_fwd *f, const struct row_read *r,
		  struct pst_diag *diag)
{
	struct row_cache *rc = r->cache;
	uint32_t token = rc->token_of[r->slot];

	rc->slot_of[token] = NO_SLOT;
	rc->token_of[r->slot] = NO_SLOT;
	rc->pass[r->slot] = 0;
	return pst_diag_set_at(diag, -EIO, pst_io_path(f->rows.io, r->io.file),
			       r->io.off_bytes + r->io.done_bytes,
			       "cannot read row %u of '%s': %s; see dmesg",
			       token, rc->table->t->name,
			       strerror(-r->io.result));
}

/* What has landed: rows, and experts that the last pass had read ahead. */
static int collect(struct pst_fwd *f, struct pst_diag *diag)
{
	struct pst_io_read *r = pst_io_reap(f->rows.io, true), *next;
	struct pst_io_read *others = NULL, **tail = &others;
	int rc = 0;

	for (; r; r = next) {
		next = r->next;
		if (r->owner != &f->rows) {
			*tail = r;
			tail = &r->next;
			continue;
		}
		f->rows.nr_pending--;
		if (r->result)
			rc = failed(f, (struct row_read *)r, diag);
	}
	*tail = NULL;
	if (others)
		pst_store_landed(f->store, others);
	return rc;
}

int pst_rows_fetch(struct pst_fwd *f, uint32_t n, struct pst_diag *diag)
{
	uint64_t start = pst_now_ns();
	struct pst_io_read *list;
	int rc = 0;

	if (!f->rows.reads)
		return 0;
	list = want(f, n);
	f->rows.stats.wanted += (uint64_t)n * f->m->nr_tables;
	f->rows.stats.read += f->rows.nr_pending;
	if (list)
		pst_io_submit(f->rows.io, list);
	while (f->rows.nr_pending) {
		int err = collect(f, diag);

		rc = rc ? rc : err;
	}
	f->rows.stats.wait_ns += pst_now_ns() - start;
	return rc;
}

void pst_fwd_row_stats(const struct pst_fwd *f, struct pst_row_stats *out)
{
	*out = f->rows.stats;
}
