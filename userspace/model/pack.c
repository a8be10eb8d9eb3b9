// SPDX-License-Identifier: MIT
/*
 * Packed rows (DeepSeek-V4 report, compressed attention): runs of positions of
 * equal length, each made into one row.  A position brings a part and a weight
 * for each channel; the weights of a run, made to sum to one, mix its parts.
 * Where rows overlap a position has two parts: one for the row of its own run,
 * one for the next.
 *
 * What the positions of an unfinished run, and of the one before it, have
 * brought is the block's state.
 */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "packed.h"

/* Numbers that a position brings. */
static uint32_t width_of(const struct packer *p)
{
	return p->overlap ? 2 * p->hd : p->hd;
}

void pst_pack_bind(struct pst_binder *b, const char *name, uint32_t hd,
		   struct pst_pack *w)
{
	const struct pst_layer_hp *lh = &b->m->hp.layer[b->layer];
	uint32_t n = b->m->hp.n_embd;
	char full[64];

	if (lh->pack_chosen)
		hd *= 2;
	snprintf(full, sizeof(full), "%s_kv", name);
	pst_bind_mat(b, full, n, hd, &w->kv);
	snprintf(full, sizeof(full), "%s_gate", name);
	pst_bind_mat(b, full, n, hd, &w->gate);
	snprintf(full, sizeof(full), "%s_ape", name);
	pst_bind_bare(b, full, hd, lh->pack, &w->place);
	snprintf(full, sizeof(full), "%s_norm.weight", name);
	pst_bind_vec(b, full, lh->pack_chosen ? hd / 2 : hd, true, &w->norm);
}

void pst_packer_init(struct packer *p, const struct pst_layer_hp *lh,
		     uint32_t stream, uint32_t hd, uint32_t at)
{
	*p = (struct packer){
		.stream = stream,
		.hd = hd,
		.run = lh->pack,
		.overlap = lh->pack_chosen,
		.held = (lh->pack_chosen ? 2 * lh->pack : lh->pack) - 1,
		.state = at,
	};
}

uint32_t pst_packer_state(const struct packer *p)
{
	return 2 * p->held * width_of(p);
}

void pst_packer_work(const struct pst_fwd *f, struct carve *c, struct packer *p)
{
	uint64_t nr = ((uint64_t)p->held + f->n_batch) * width_of(p);

	p->kv = pst_carve(c, nr, sizeof(float));
	p->gate = pst_carve(c, nr, sizeof(float));
	p->acc =
		pst_carve(c, (uint64_t)f->n_workers * 3 * p->hd, sizeof(float));
}

struct pack_job {
	const struct packer *p;
	const struct pack_pass *pass;
};

/* What the positions before the pass brought. */
static void restore(const struct packer *p, const struct pack_pass *pass)
{
	const float *s =
		pst_kv_state(pass->kv, pass->layer, PST_KV_BEFORE) + p->state;
	size_t nr = (size_t)p->held * width_of(p);

	memcpy(p->kv, s, nr * sizeof(*s));
	memcpy(p->gate, s + nr, nr * sizeof(*s));
}

/* The same for after @n tokens of the pass. */
static void save(const struct packer *p, float *state, uint32_t n)
{
	size_t nr = (size_t)p->held * width_of(p);
	size_t at = (size_t)n * width_of(p);

	memcpy(state + p->state, p->kv + at, nr * sizeof(*state));
	memcpy(state + p->state + nr, p->gate + at, nr * sizeof(*state));
}

/* What the tokens of the pass bring. */
static void project(const struct packer *p, const struct pack_pass *pass)
{
	size_t at = (size_t)p->held * width_of(p);
	struct lin_item items[2] = { { .w = &p->w->kv, .y = p->kv + at },
				     { .w = &p->w->gate, .y = p->gate + at } };

	for (int i = 0; i < 2; i++) {
		items[i].x = &pass->f->xn.k;
		items[i].nr_x = pass->n;
		items[i].y_stride = width_of(p);
	}
	pst_linear(pass->f, items, 2);
}

/* The weight of a token's place in its run. */
static void place_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct pack_job *j = ctx;
	const struct packer *p = j->p;
	const struct pst_fwd *f = j->pass->f;
	const struct pst_weight *w = &p->w->place;
	float *row = f->scratch + worker * f->scratch_stride;

	f->k->types[w->type].dequant(
		row, w->data + (j->pass->pos0 + t) % p->run * w->row_bytes,
		width_of(p));
	f->k->add(p->gate + ((size_t)p->held + t) * width_of(p), row,
		  width_of(p));
}

/* One channel after the other: their weights, made to sum to one, mix @kv. */
static void mix(const struct packer *p, size_t first, uint32_t nr, float *acc)
{
	uint32_t hd = p->hd, width = width_of(p);
	float *most = acc + hd, *sum = most + hd;

	for (uint32_t c = 0; c < hd; c++) {
		most[c] = -INFINITY;
		sum[c] = 0.0f;
		acc[c] = 0.0f;
	}
	for (int turn = 0; turn < 2; turn++) {
		for (uint32_t i = 0; i < nr; i++) {
			/* The older run's part is in front. */
			size_t at = (first + i) * width +
				    (p->overlap && i + p->run >= nr ? hd : 0);
			const float *g = p->gate + at, *kv = p->kv + at;

			for (uint32_t c = 0; !turn && c < hd; c++)
				most[c] = fmaxf(most[c], g[c]);
			for (uint32_t c = 0; turn && c < hd; c++) {
				float e = expf(g[c] - most[c]);

				sum[c] += e;
				acc[c] += e * kv[c];
			}
		}
	}
	for (uint32_t c = 0; c < hd; c++)
		acc[c] /= sum[c];
}

/* The row of one run that ends in the pass. */
static void pack_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	const struct pack_job *j = ctx;
	const struct packer *p = j->p;
	const struct pack_pass *pass = j->pass;
	const struct pst_fwd *f = pass->f;
	uint32_t rope = f->m->hp.layer[pass->layer].rope;
	const struct pst_rope_params *r = &f->m->hp.rope[rope];
	uint32_t pos = (pass->pos0 / p->run + i) * p->run;
	uint32_t before = p->overlap && pos ? p->run : 0;
	float *acc = p->acc + (size_t)worker * 3 * p->hd;
	float *cs = f->scratch + worker * f->scratch_stride;

	mix(p, (size_t)p->held + pos - before - pass->pos0, p->run + before,
	    acc);
	f->k->rms_norm(acc, acc, p->w->norm, p->hd, f->m->hp.eps);
	pst_rope_table(r, NULL, pos, cs);
	f->k->rope_norm(acc + p->hd - r->n_rot, cs, r->n_rot);
	pst_kv_put(f, pass->kv, p->stream,
		   pst_kv_at(pass->kv, pass->layer, p->stream, 0, pos), acc,
		   p->hd);
}

void pst_packer_run(const struct packer *p, const struct pack_pass *pass)
{
	struct pack_job j = { .p = p, .pass = pass };
	struct pst_pool *pool = pass->f->pool;
	uint32_t first = pass->pos0 / p->run;
	float *middle = pst_kv_state(pass->kv, pass->layer, PST_KV_MIDDLE);

	restore(p, pass);
	project(p, pass);
	pst_pool_run(pool, place_chunk, &j, pass->n);
	pst_pool_run(pool, pack_chunk, &j,
		     (pass->pos0 + pass->n) / p->run - first);
	save(p, pst_kv_state(pass->kv, pass->layer, PST_KV_AFTER), pass->n);
	if (middle)
		save(p, middle, pass->kv->keep);
}
