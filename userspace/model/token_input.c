// SPDX-License-Identifier: MIT
/*
 * What a token gives to every block by itself (Gemma 4's small models): each
 * block has a vector of its own for each token of the vocabulary, mixed with a
 * projection of the token's embedding, and adds it to the stream through a gate
 * that the stream opens.
 *
 * A block's vectors are made when it runs: all blocks' together would be as
 * large as the residual stream many times over.  The table is the largest
 * tensor of such a model: it stays on the drive (rows.c).
 */
#include <errno.h>
#include <math.h>

#include "fwd_priv.h"

/* Scratch of one pass. */
struct work {
	float *own; /* [n][n_embd_block]: the token's vector for this block */
	struct act gate; /* [n][n_embd_block] */
};

struct job {
	struct pst_fwd *f;
	uint32_t layer;
	struct work s;
};

static bool cuts_blocks(const struct pst_binder *b, const struct pst_weight *w)
{
	return b->m->hp.n_embd_block % b->k->types[w->type].block_elems;
}

void pst_token_input_bind_global(struct pst_binder *b)
{
	struct pst_model *m = b->m;
	uint32_t width = m->hp.n_embd_block;
	uint32_t all = width * m->hp.n_layers;

	if (!width)
		return;
	pst_bind_global_mat(b, "per_layer_model_proj.weight", m->hp.n_embd, all,
			    true, &m->block_proj);
	pst_bind_global_vec(b, "per_layer_proj_norm.weight", width, true,
			    &m->block_proj_norm);
	if (pst_bind_table(b, "per_layer_token_embd.weight", all, m->hp.n_vocab,
			   &m->block_embd) &&
	    cuts_blocks(b, &m->block_embd))
		pst_bind_fail(b, -ENOTSUP,
			      "has a type whose blocks do not end where a "
			      "layer's part does: not supported");
}

void pst_token_input_bind(struct pst_binder *b, struct pst_layer *l)
{
	uint32_t n = b->m->hp.n_embd, width = b->m->hp.n_embd_block;

	if (!width)
		return;
	pst_bind_mat(b, "inp_gate", n, width, &l->in_gate);
	pst_bind_mat(b, "proj", width, n, &l->in_proj);
	pst_bind_vec(b, "post_norm.weight", n, true, &l->in_post_norm);
}

static void lay_out(const struct pst_fwd *f, struct carve *c, struct work *s)
{
	uint32_t width = f->m->hp.n_embd_block;

	s->own = pst_carve(c, (uint64_t)f->n_batch * width, sizeof(float));
	pst_carve_act(f, c, &s->gate, f->n_batch, width);
}

uint64_t pst_token_input_work_bytes(const struct pst_fwd *f)
{
	struct carve c = { 0 };
	struct work s;

	lay_out(f, &c, &s);
	return c.at;
}

/* The residual stream as it is, for a product. */
static void copy_stream(struct pst_fwd *f, struct act *to,
			const struct pst_weight *w, uint32_t n)
{
	pst_norm_quantize(f, f->x, (struct pst_norm){ NULL }, to, n,
			  pst_needs_q8(f, w));
}

void pst_token_input_begin(struct pst_fwd *f, uint32_t n)
{
	if (f->m->hp.n_embd_block)
		copy_stream(f, &f->x0, &f->m->block_proj, n);
}

/*
 * (norm(p / sqrt(n_embd)) + e sqrt(width)) / sqrt(2), where p is the projection
 * and e the vector of the table.
 */
static void own_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct job *j = ctx;
	struct pst_fwd *f = j->f;
	const struct pst_hparams *hp = &f->m->hp;
	const struct pst_weight *w = &f->m->block_embd;
	const struct pst_ktype_ops *type = &f->k->types[w->type];
	uint32_t width = hp->n_embd_block;
	size_t at = (size_t)j->layer * width / type->block_elems *
		    type->block_bytes;
	float *row = f->scratch + worker * f->scratch_stride;
	float *y = j->s.own + (size_t)t * width;
	float scale = 1.0f / sqrtf((float)hp->n_embd);

	type->dequant(row, pst_fwd_row(f, w, t) + at, width);
	for (uint32_t i = 0; i < width; i++)
		y[i] *= scale;
	f->k->rms_norm(y, y, f->m->block_proj_norm, width, hp->eps);
	for (uint32_t i = 0; i < width; i++)
		y[i] = (y[i] + row[i] * sqrtf((float)width)) * (float)M_SQRT1_2;
}

static void gate_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct job *j = ctx;
	uint32_t width = j->f->m->hp.n_embd_block;

	(void)worker;
	pst_glu(j->f, j->s.gate.f32 + t * j->s.gate.stride,
		j->s.own + (size_t)t * width, width, 0.0f);
}

void pst_token_input_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
			 uint32_t layer)
{
	const struct pst_layer *l = &f->m->layers[layer];
	uint32_t width = f->m->hp.n_embd_block;
	struct carve c = { .base = f->work };
	struct job j = { .f = f, .layer = layer };
	struct pst_weight proj = f->m->block_proj;
	struct lin_item items[] = {
		{ .w = &proj,
		  .x = &f->x0.k,
		  .nr_x = pass->n,
		  .y_stride = width },
		{ .w = &l->in_gate, .x = &f->xn.k, .nr_x = pass->n }
	};

	if (!width)
		return;
	lay_out(f, &c, &j.s);
	proj.data += (size_t)layer * width * proj.row_bytes;
	proj.n_out = width;
	items[0].y = j.s.own;
	items[1].y = j.s.gate.f32;
	items[1].y_stride = j.s.gate.stride;
	copy_stream(f, &f->xn, &l->in_gate, pass->n);
	pst_linear(f, items, 2);
	pst_pool_run(f->pool, own_chunk, &j, pass->n);
	pst_pool_run(f->pool, gate_chunk, &j, pass->n);
	pst_mixer_out(f, &l->in_proj, &j.s.gate, pass->n);
	pst_add_normed(f, (struct pst_norm){ .w = l->in_post_norm }, pass->n);
}
