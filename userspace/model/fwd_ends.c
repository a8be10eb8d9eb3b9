// SPDX-License-Identifier: MIT
/*
 * The two ends of a pass: tokens to the residual stream, and the stream to what
 * the caller is given, logits or the states themselves.
 */
#include <math.h>

#include "fwd_priv.h"

struct embed_job {
	struct pst_fwd *f;
	const struct pst_fwd_pass *pass;
};

/* Chosen once, by the context in use, as the models' authors do. */
static const float *rope_freqs(const struct pst_fwd *f, uint32_t r)
{
	const float *far = f->m->rope_freqs_long[r];

	return far && f->n_ctx > f->m->hp.rope[r].ctx_orig
		       ? far
		       : f->m->rope_freqs[r];
}

static void dequant_row(const struct pst_fwd *f, const struct pst_weight *w,
			uint32_t row, float *out)
{
	f->k->types[w->type].dequant(out, w->data + (size_t)row * w->row_bytes,
				     w->n_in);
}

/* What is added to a token's embedding besides: of its place, and of the text
 * that it belongs to, which is always the first.
 */
static void add_tables(const struct pst_fwd *f, uint32_t pos, float *row,
		       float *x)
{
	const struct pst_weight *tables[] = { &f->m->token_types,
					      &f->m->position_embd };
	const uint32_t at[] = { 0, pos };

	for (size_t i = 0; i < PST_ARRAY_SIZE(tables); i++) {
		if (!tables[i]->data)
			continue;
		dequant_row(f, tables[i], at[i], row);
		f->k->add(x, row, tables[i]->n_in);
	}
}

static void embed_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct embed_job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_weight *embd = &f->m->tok_embd;
	float *x = f->x + (size_t)t * f->x_width;
	uint32_t pos = j->pass->kv->n_used + t;

	f->k->types[embd->type].dequant(x, pst_fwd_row(f, embd, t), embd->n_in);
	for (uint32_t i = 0; hp->embd_scale != 1.0f && i < hp->n_embd; i++)
		x[i] *= hp->embd_scale;
	add_tables(f, pos, f->scratch + worker * f->scratch_stride, x);
	if (f->m->embd_norm.w)
		pst_norm_row(f, x, x, &f->m->embd_norm);
	f->residual->start(f, t);
	for (uint32_t r = 0; r < hp->nr_ropes; r++)
		pst_rope_table(&hp->rope[r], rope_freqs(f, r), pos,
			       f->cs[r] + (size_t)t * hp->rope[r].n_rot);
}

void pst_fwd_embed(struct pst_fwd *f, const struct pst_fwd_pass *pass)
{
	struct embed_job j = { .f = f, .pass = pass };

	pst_pool_run(f->pool, embed_chunk, &j, pass->n);
}

/* The scale and the soft cap of a family, on one row of logits. */
static void finish_logits(const struct pst_hparams *hp, float *y)
{
	float cap = hp->logit_softcap;

	for (uint32_t i = 0; hp->logit_scale != 1.0f && i < hp->n_vocab; i++)
		y[i] *= hp->logit_scale;
	for (uint32_t i = 0; cap != 0.0f && i < hp->n_vocab; i++)
		y[i] = cap * tanhf(y[i] / cap);
}

/* The states behind the last norm, in f->out. */
static void give_states(struct pst_fwd *f, uint32_t first, uint32_t nr, bool q8)
{
	struct pst_read at = {
		.half = PST_HALF_OUT, .first = first, .nr = nr, .aside = true
	};

	pst_norm_quantize(f, f->residual->read(f, &at), f->m->output_norm,
			  &f->out, nr, q8);
}

static void make_logits(struct pst_fwd *f, uint32_t nr)
{
	const struct pst_hparams *hp = &f->m->hp;
	struct lin_item item = { .w = &f->m->output,
				 .x = &f->out.k,
				 .nr_x = nr,
				 .y = f->logits,
				 .y_stride = hp->n_vocab };

	pst_linear(f, &item, 1);
	for (uint32_t i = 0; i < nr; i++)
		finish_logits(hp, f->logits + (size_t)i * hp->n_vocab);
}

/* A few rows at a time: one sweep over the output matrix each. */
int pst_fwd_give(struct pst_fwd *f, const struct pst_fwd_pass *pass)
{
	const struct pst_weight *w = &f->m->output;
	bool states = pass->states || !w->data;
	const float *from = states ? f->out.f32 : f->logits;
	size_t stride = states ? f->out.stride : f->m->hp.n_vocab;

	for (uint32_t t = pass->first_logits; t < pass->n; t += LOGITS_GROUP) {
		uint32_t nr = PST_MIN(LOGITS_GROUP, pass->n - t);

		give_states(f, t, nr, !states && pst_needs_q8(f, w));
		if (!states)
			make_logits(f, nr);
		for (uint32_t i = 0; i < nr; i++) {
			int rc = pass->logits(pass->ctx, t + i,
					      from + i * stride);

			if (rc)
				return rc;
		}
	}
	return 0;
}
