// SPDX-License-Identifier: MIT
/*
 * The trunk: everything that every token needs, read once through the ring
 * into huge pages, so that no page of it lives in the page cache where expert
 * traffic would evict it.  And what is left out of it: long tables of which a
 * token needs but one row (rows.c).
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

/* Neighbours closer than this are read in one sweep: cheaper than a seek. */
#define MERGE_GAP_BYTES (64 * PST_KIB)
#define READ_BYTES	(4 * PST_MIB)
#define READS_IN_FLIGHT 16
/* Extents start on this boundary in memory: holds for every O_DIRECT rule. */
#define EXTENT_ALIGN 4096

int pst_model_add_ref(struct pst_model *m, const struct pst_gguf_tensor *t,
		      uint64_t off_bytes, const void **dst)
{
	if (m->nr_refs == m->cap_refs) {
		uint32_t cap = m->cap_refs ? m->cap_refs * 2 : 256;
		void *p = reallocarray(m->refs, cap, sizeof(*m->refs));

		if (!p)
			return -ENOMEM;
		m->refs = p;
		m->cap_refs = cap;
	}
	m->refs[m->nr_refs++] = (struct pst_trunk_ref){ .t = t,
							.off_bytes = off_bytes,
							.dst = dst };
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct pst_trunk_extent *x = a, *y = b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->off_bytes != y->off_bytes)
		return x->off_bytes < y->off_bytes ? -1 : 1;
	return 0;
}

/* Merge sorted ranges that touch or nearly touch; returns how many remain. */
static uint32_t merge(struct pst_trunk_extent *e, uint32_t nr)
{
	uint32_t out = 0;

	for (uint32_t i = 0; i < nr; i++) {
		struct pst_trunk_extent *last = &e[out ? out - 1 : 0];

		if (out && last->file == e[i].file &&
		    e[i].off_bytes <= last->end_bytes + MERGE_GAP_BYTES)
			last->end_bytes =
				PST_MAX(last->end_bytes, e[i].end_bytes);
		else
			e[out++] = e[i];
	}
	return out;
}

/* Is a tensor only there to have rows picked from it? */
static bool is_table(const struct pst_model *m, const struct pst_trunk_ref *r)
{
	for (uint32_t i = 0; i < m->nr_refs; i++)
		if (m->refs[i].t == r->t && !m->refs[i].table)
			return false;
	return r->table;
}

static void leave_tables(struct pst_model *m, uint64_t min_bytes)
{
	m->nr_tables = 0;
	m->table_bytes = 0;
	for (uint32_t i = 0; i < m->nr_refs; i++) {
		struct pst_trunk_ref *r = &m->refs[i];

		r->left = r->t->size_bytes >= min_bytes && is_table(m, r);
		if (!r->left)
			continue;
		assert(m->nr_tables < PST_MAX_TABLES);
		m->tables[m->nr_tables++] =
			(struct pst_table){ .t = r->t, .w = r->table };
		m->table_bytes += r->t->size_bytes;
	}
}

int pst_model_leave_tables(struct pst_model *m, uint64_t min_bytes,
			   struct pst_diag *diag)
{
	struct pst_trunk_extent *e = pst_calloc(m->nr_refs, sizeof(*e));
	uint64_t at = 0;
	uint32_t nr = 0;

	if (!e)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	leave_tables(m, min_bytes);
	for (uint32_t i = 0; i < m->nr_refs; i++) {
		const struct pst_gguf_tensor *t = m->refs[i].t;

		if (m->refs[i].left)
			continue;
		e[nr].file = t->file;
		e[nr].off_bytes = pst_align_down(t->off_bytes, EXTENT_ALIGN);
		e[nr++].end_bytes = t->off_bytes + t->size_bytes;
	}
	qsort(e, nr, sizeof(*e), by_place);
	m->nr_extents = merge(e, nr);
	for (uint32_t i = 0; i < m->nr_extents; i++) {
		e[i].mem_off = at;
		at += pst_align_up(e[i].end_bytes - e[i].off_bytes,
				   EXTENT_ALIGN);
	}
	free(m->extents);
	m->extents = e;
	m->trunk_bytes = at;
	return 0;
}

uint64_t pst_model_row_bytes(const struct pst_model *m)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < m->nr_tables; i++)
		sum += m->tables[i].w->row_bytes;
	return sum;
}

static const void *addr_of(const struct pst_model *m,
			   const struct pst_trunk_ref *r)
{
	uint64_t at = r->t->off_bytes;

	for (uint32_t lo = 0, hi = m->nr_extents; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;
		const struct pst_trunk_extent *e = &m->extents[mid];

		if (e->file < r->t->file ||
		    (e->file == r->t->file && e->end_bytes <= at))
			lo = mid + 1;
		else if (e->file > r->t->file || e->off_bytes > at)
			hi = mid;
		else
			return (const uint8_t *)m->trunk.addr + e->mem_off +
			       (at - e->off_bytes) + r->off_bytes;
	}
	return NULL;
}

struct loader {
	struct pst_model *m;
	const struct pst_trunk_args *args;
	struct pst_diag *diag;
	struct pst_io_read reads[READS_IN_FLIGHT];
	struct pst_io_read *free[READS_IN_FLIGHT];
	uint32_t nr_free;
	uint64_t done_bytes;
	uint32_t extent; /* next to issue */
	uint64_t off_bytes;
	int region; /* io's index of the trunk's memory, -1 for none */
	int rc;
};

/* The next read of the sweep, or false at its end. */
static bool issue_next(struct loader *l)
{
	const struct pst_trunk_extent *e = &l->m->extents[l->extent];
	struct pst_io_read *r;
	uint64_t align = pst_io_align(l->args->io);
	uint64_t stop;

	if (l->extent == l->m->nr_extents || l->rc)
		return false;
	if (l->off_bytes < e->off_bytes)
		l->off_bytes = e->off_bytes;
	stop = PST_MIN(e->end_bytes, l->off_bytes + READ_BYTES);
	r = l->free[--l->nr_free];
	*r = (struct pst_io_read){
		.file = e->file,
		.off_bytes = l->off_bytes,
		.len_bytes =
			(uint32_t)(pst_align_up(stop, align) - l->off_bytes),
		.need_bytes = (uint32_t)(stop - l->off_bytes),
		.buf = (uint8_t *)l->m->trunk.addr + e->mem_off +
		       (l->off_bytes - e->off_bytes),
		.region = l->region,
		.owner = l,
	};
	pst_io_submit(l->args->io, r);
	l->off_bytes = stop;
	if (stop == e->end_bytes) {
		l->extent++;
		l->off_bytes = 0;
	}
	return true;
}

static void collect(struct loader *l)
{
	struct pst_io_read *r = pst_io_reap(l->args->io, true), *next;

	for (; r; r = next) {
		next = r->next;
		l->free[l->nr_free++] = r;
		l->done_bytes += r->need_bytes;
		if (!r->result || l->rc)
			continue;
		l->rc = pst_diag_set_at(l->diag, -EIO,
					pst_io_path(l->args->io, r->file),
					r->off_bytes + r->done_bytes,
					"cannot read the trunk: %s; see dmesg",
					strerror(-r->result));
	}
	if (l->args->progress)
		l->args->progress(l->args->progress_ctx, l->done_bytes,
				  l->m->trunk_bytes);
}

static int read_trunk(struct pst_model *m, const struct pst_trunk_args *args,
		      struct pst_diag *diag)
{
	struct loader *l = calloc(1, sizeof(*l));
	int rc;

	if (!l)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	l->m = m;
	l->args = args;
	l->diag = diag;
	l->region = -1;
	for (uint32_t i = 0; i < READS_IN_FLIGHT; i++)
		l->free[l->nr_free++] = &l->reads[i];
	for (;;) {
		while (l->nr_free && issue_next(l))
			;
		if (!pst_io_outstanding(args->io))
			break;
		collect(l);
	}
	rc = l->rc;
	free(l);
	return rc;
}

/* Experts by number: one that does not exist would be looked for in memory. */
static int check_ids(const struct pst_model *m, const struct pst_trunk_ref *r,
		     struct pst_diag *diag)
{
	const uint8_t *ids = *r->dst;

	for (uint64_t i = 0; i < r->t->size_bytes; i += sizeof(uint32_t)) {
		uint32_t id;

		memcpy(&id, ids + i, sizeof(id));
		if (id >= m->hp.n_expert)
			return pst_diag_set_at(
				diag, -EBADMSG,
				pst_gguf_file(m->g, r->t->file)->path,
				r->t->off_bytes + i,
				"tensor '%s' names expert %" PRId32
				", there are %u",
				r->t->name, (int32_t)id, m->hp.n_expert);
	}
	return 0;
}

int pst_model_load_trunk(struct pst_model *m, const struct pst_trunk_args *args,
			 struct pst_diag *diag)
{
	struct pst_mem_args want = { .size_bytes = m->trunk_bytes,
				     .want = args->huge,
				     .node = args->node };
	int rc = 0;

	if (!args->use_map) {
		rc = pst_mem_map(&want, &m->trunk, diag);
		if (!rc)
			rc = read_trunk(m, args, diag);
		if (rc)
			return rc;
	}
	for (uint32_t i = 0; !rc && i < m->nr_refs; i++) {
		const struct pst_trunk_ref *r = &m->refs[i];

		if (r->left && !args->use_map)
			continue;
		*r->dst = args->use_map ? pst_gguf_tensor_data(m->g, r->t) +
						  r->off_bytes
					: addr_of(m, r);
		if (r->ids)
			rc = check_ids(m, r, diag);
	}
	return rc;
}
