// SPDX-License-Identifier: MIT
/*
 * How fast a batch is computed: multiplications counted from the weights, and
 * time measured on one block of each kind, with tokens that nobody said and
 * experts that are not there.  For predictions only.
 */
#include "fwd_priv.h"

/* Tokens that are tried: enough for the kernels' blocks of rows. */
#define SAMPLE 64
/* How far back they look when that is tried. */
#define SAMPLE_DEPTH 1024

static double macs_of(const struct pst_weight *w)
{
	return (double)w->n_in * w->n_out;
}

static double layer_macs(const struct pst_model *m, uint32_t layer)
{
	const struct pst_layer *l = &m->layers[layer];
	double sum = 0.0;

	for (uint32_t j = 0; j < l->nr_mats; j++)
		sum += macs_of(l->mats[j]);
	if (m->experts[layer].nr_parts)
		sum += m->hp.n_expert_used *
		       (macs_of(&l->gate) + macs_of(&l->up) +
			macs_of(&l->down));
	return sum;
}

double pst_model_macs(const struct pst_model *m)
{
	double sum = 0.0;

	for (uint32_t i = 0; i < m->hp.n_layers; i++)
		sum += layer_macs(m, i);
	return sum;
}

/* Finite and different from each other: routers shall find an order. */
static void fill_stream(struct pst_fwd *f, uint32_t n)
{
	uint64_t rng = 1;

	for (size_t i = 0; i < (size_t)n * f->x_width; i++)
		f->x[i] = (float)(pst_rng_next(&rng) % 2001) * 1e-3f - 1.0f;
}

/* Seconds of the half; whatever it did to the sequence is taken back. */
static double mixer_s(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		      uint32_t layer, uint32_t depth)
{
	uint64_t ns = 0;

	/* The first time warms the caches. */
	for (int i = 0; i < 2; i++) {
		fill_stream(f, pass->n);
		pass->kv->n_used = depth;
		pst_kv_begin(pass->kv, pass->n, 0);
		ns = pst_now_ns();
		pst_half_enter(f, layer, PST_HALF_MIXER, pass->n);
		f->m->hp.layer[layer].mixer->run(f, pass, layer);
		pst_half_leave(f, layer, PST_HALF_MIXER, pass->n);
		ns = pst_now_ns() - ns;
		pst_kv_truncate(pass->kv, 0);
		pass->kv->n_used = 0;
	}
	return (double)ns * 1e-9;
}

/* Per token: what all take, and its experts when each is taken by @rows. */
static double ffn_token_s(struct pst_fwd *f, const struct pst_fwd_pass *pass,
			  uint32_t layer, uint32_t rows)
{
	const struct pst_ffn *ffn = f->m->hp.layer[layer].ffn;
	bool experts = f->m->experts[layer].nr_parts;
	double row_s = 0.0;
	uint64_t ns = 0;

	for (int i = 0; i < 2; i++) {
		fill_stream(f, pass->n);
		ns = pst_now_ns();
		pst_half_enter(f, layer, PST_HALF_FFN, pass->n);
		if (experts)
			pst_moe_try_rest(f, layer, pass->n);
		else
			ffn->run(f, pass, layer, NULL); /* reads no expert */
		pst_half_leave(f, layer, PST_HALF_FFN, pass->n);
		ns = pst_now_ns() - ns;
		if (experts)
			row_s = pst_moe_try_row_s(f, layer, pass->n, rows);
	}
	return (double)ns * 1e-9 / pass->n + row_s * f->m->hp.n_expert_used;
}

/* Blocks of a kind differ in their numbers only. */
static bool same_kind(const struct pst_model *m, uint32_t a, uint32_t b)
{
	const struct pst_hparams *hp = &m->hp;

	return hp->layer[a].mixer == hp->layer[b].mixer &&
	       hp->layer[a].ffn == hp->layer[b].ffn &&
	       hp->layer[a].n_head == hp->layer[b].n_head &&
	       hp->layer[a].window == hp->layer[b].window &&
	       hp->layer[a].by_token == hp->layer[b].by_token &&
	       m->layers[a].gate.type == m->layers[b].gate.type &&
	       m->layers[a].down.type == m->layers[b].down.type &&
	       m->layers[a].nr_mats == m->layers[b].nr_mats &&
	       layer_macs(m, a) == layer_macs(m, b);
}

static uint32_t count_kind(const struct pst_model *m, uint32_t layer)
{
	uint32_t nr = 0;

	for (uint32_t i = 0; i < m->hp.n_layers; i++) {
		if (!same_kind(m, i, layer))
			continue;
		if (i < layer)
			return 0;
		nr++;
	}
	return nr;
}

/* A choice by the token's number asks for tokens. */
static bool can_try(const struct pst_model *m, uint32_t layer)
{
	return !m->hp.layer[layer].by_token;
}

void pst_fwd_try(struct pst_fwd *f, struct pst_kv *kv, uint32_t nr,
		 uint32_t rows, struct pst_pace *out)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct pst_fwd_pass pass = { .kv = kv };
	double bytes = 0.0, deep_s = 0.0;
	uint32_t depth;

	*out = (struct pst_pace){ .token_s = 0.0 };
	pass.n = PST_MIN(PST_MIN(nr, f->n_batch), SAMPLE);
	nr = PST_MIN(nr, kv->n_ctx);
	depth = nr > 2 * pass.n ? PST_MIN(nr - pass.n, SAMPLE_DEPTH) : 0;
	for (uint32_t l = 0; l < hp->n_layers; l++) {
		uint32_t kind = can_try(f->m, l) ? count_kind(f->m, l) : 0;
		double s, more;

		if (!kind || kv->n_used)
			continue;
		s = mixer_s(f, &pass, l, 0);
		out->token_s +=
			kind * (s / pass.n + ffn_token_s(f, &pass, l, rows));
		/* What remembers more than positions was never there. */
		if (!depth || kv->has_state)
			continue;
		more = (double)pst_kv_read_bytes(hp, kv->type, l,
						 depth + pass.n / 2) -
		       (double)pst_kv_read_bytes(hp, kv->type, l, pass.n / 2);
		if (more <= 0.0)
			continue;
		bytes += kind * more * pass.n;
		deep_s += kind * PST_MAX(mixer_s(f, &pass, l, depth) - s, 0.0);
	}
	if (bytes > 0.0)
		out->kv_byte_s = deep_s / bytes;
}
