// SPDX-License-Identifier: MIT
/*
 * How fast a batch is computed: counted from the weights, and measured on one
 * of them.  For predictions only.
 */
#include "fwd_priv.h"

static double macs_of(const struct pst_weight *w)
{
	return (double)w->n_in * w->n_out;
}

double pst_model_macs(const struct pst_model *m)
{
	double sum = 0.0;

	for (uint32_t i = 0; i < m->hp.n_layers; i++) {
		const struct pst_layer *l = &m->layers[i];

		for (uint32_t j = 0; j < l->nr_mats; j++)
			sum += macs_of(l->mats[j]);
		if (m->experts[i].nr_parts)
			sum += m->hp.n_expert_used *
			       (macs_of(&l->gate) + macs_of(&l->up) +
				macs_of(&l->down));
	}
	return sum;
}

/* Tokens that one expert gets of a full batch. */
static uint32_t rows_of(const struct pst_fwd *f)
{
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t n = f->n_batch;

	if (hp->n_expert)
		n = n * hp->n_expert_used / hp->n_expert;
	return (uint32_t)PST_MAX(n, 1);
}

static const struct pst_weight *some_matrix(const struct pst_model *m)
{
	for (uint32_t i = 0; i < m->hp.n_layers; i++)
		for (uint32_t j = 0; j < m->layers[i].nr_mats; j++)
			if (m->layers[i].mats[j]->n_in == m->hp.n_embd &&
			    m->layers[i].mats[j]->data)
				return m->layers[i].mats[j];
	return NULL;
}

double pst_fwd_mac_rate(struct pst_fwd *f)
{
	const struct pst_weight *m = some_matrix(f->m);
	const struct pst_hparams *hp = &f->m->hp;
	uint64_t start = 0, ns;
	struct pst_weight w;
	struct lin_item item;

	if (!m)
		return 0.0;
	w = *m;
	w.n_out = PST_MIN(w.n_out, hp->n_embd); /* what tmp holds */
	item = (struct lin_item){ .w = &w,
				  .x = &f->xn.k,
				  .nr_x = rows_of(f),
				  .y = f->tmp,
				  .y_stride = hp->n_embd };
	pst_norm_quantize(f, f->x, f->m->layers[0].ffn_norm, &f->xn, item.nr_x,
			  pst_needs_q8(f, &w));
	/* The first time warms the caches. */
	for (int i = 0; i < 2; i++) {
		start = pst_now_ns();
		pst_linear(f, &item, 1);
	}
	ns = pst_now_ns() - start;
	return ns ? macs_of(&w) * item.nr_x * 1e9 / (double)ns : 0.0;
}
