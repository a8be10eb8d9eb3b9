// SPDX-License-Identifier: MIT
/*
 * The mixture-of-experts block over a batch: the union of the batch's experts
 * is wanted once from the store; each expert is computed for all its tokens as
 * soon as it is there; contributions are summed by rank, so that the order of
 * arrival leaves no trace in the result.
 */
#include <string.h>

#include "fwd_priv.h"

/* Sort (token, rank) pairs by expert: rows of one expert are neighbours. */
static uint32_t group_by_expert(struct pst_fwd *f, uint32_t n)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint32_t nr_pairs = n * hp->n_expert_used, nr_ids = 0;
	uint32_t *first = f->first;

	memset(first, 0, (hp->n_expert + 1) * sizeof(*first));
	for (uint32_t i = 0; i < nr_pairs; i++)
		first[f->sel[i] + 1]++;
	for (uint32_t e = 0; e < hp->n_expert; e++) {
		if (first[e + 1])
			f->ids[nr_ids++] = e;
		first[e + 1] += first[e];
	}
	for (uint32_t i = 0; i < nr_pairs; i++) {
		uint32_t row = first[f->sel[i]]++;

		f->pair_of[i] = row;
		f->tok_of[row] = i / hp->n_expert_used;
	}
	/* first[e] has advanced to the end of e: shift back. */
	memmove(first + 1, first, hp->n_expert * sizeof(*first));
	first[0] = 0;
	return nr_ids;
}

/* One expert's scale and bias out of all experts'. */
static void pick_expert(struct pst_weight *w, uint32_t expert,
			const uint8_t *data)
{
	w->data = data;
	if (w->scale)
		w->scale += expert;
	if (w->bias)
		w->bias += (size_t)expert * w->n_out;
}

static void make_item(const struct pst_fwd *f, const struct pst_layer *l,
		      const struct pst_expert *e, struct ffn_item *it)
{
	it->gate = l->gate;
	it->up = l->up;
	it->down = l->down;
	pick_expert(&it->gate, e->expert, e->part[0]);
	if (l->fused_gate_up) {
		pick_expert(&it->up, e->expert,
			    e->part[0] + l->gate.n_out * l->gate.row_bytes);
		pick_expert(&it->down, e->expert, e->part[1]);
	} else {
		pick_expert(&it->up, e->expert, e->part[1]);
		pick_expert(&it->down, e->expert, e->part[2]);
	}
	it->row = f->first[e->expert];
	it->nr = f->first[e->expert + 1] - it->row;
	it->idx = f->tok_of + it->row;
}

static int run_experts(struct pst_fwd *f, uint32_t layer, uint32_t nr_ids,
		       struct pst_diag *diag)
{
	const struct pst_layer *l = &f->m->layers[layer];
	int nr;

	pst_store_begin(f->store, layer, f->ids, nr_ids);
	while ((nr = pst_store_take(f->store, f->taken, TAKE_MAX, true, diag)) >
	       0) {
		for (int i = 0; i < nr; i++)
			make_item(f, l, &f->taken[i], &f->items[i]);
		pst_ffn_run(f, f->items, (uint32_t)nr, f->contrib);
		for (int i = 0; i < nr; i++)
			pst_store_done(f->store, f->taken[i].expert);
	}
	pst_store_end(f->store);
	return nr;
}

static void combine_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	struct pst_fwd *f = ctx;
	const struct pst_hparams *hp = &f->m->hp;
	size_t at = (size_t)t * hp->n_expert_used;
	float *sum = f->tmp + (size_t)t * hp->n_embd;

	(void)worker;
	memset(sum, 0, hp->n_embd * sizeof(*sum));
	for (uint32_t r = 0; r < hp->n_expert_used; r++)
		f->k->axpy(sum, f->sel_w[at + r],
			   f->contrib + (size_t)f->pair_of[at + r] * hp->n_embd,
			   hp->n_embd);
	f->k->add(f->x + (size_t)t * hp->n_embd, sum, hp->n_embd);
}

int pst_moe(struct pst_fwd *f, uint32_t layer, uint32_t n,
	    struct pst_diag *diag)
{
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_layer *l = &f->m->layers[layer];
	bool q8 = pst_needs_q8(f, &l->gate) || pst_needs_q8(f, &l->up) ||
		  pst_needs_q8(f, &l->router);
	uint32_t nr_ids;
	int rc;

	pst_norm_quantize(f, f->x, l->ffn_norm, &f->xn, n, q8);
	pst_router(f, layer, n);
	nr_ids = group_by_expert(f, n);
	pst_store_route(f->store, layer, f->sel, n, hp->n_expert_used);
	rc = run_experts(f, layer, nr_ids, diag);
	if (rc)
		return rc;
	pst_pool_run(f->pool, combine_chunk, f, n);
	return 0;
}
