// SPDX-License-Identifier: MIT
/*
 * The tensors of a whole model: those outside the blocks, the norms around the
 * halves of a block, and for each block what its mixer and its ffn bind.
 */
#include <stdio.h>

#include "model_priv.h"

static void bind_norms(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_arch *a = b->m->arch;
	const char *ffn_norm = a->ffn_norm ? a->ffn_norm : "ffn_norm";
	const struct {
		const char *name;
		struct pst_norm *dst;
	} norms[] = {
		{ a->norms_behind ? NULL : "attn_norm", &l->attn_norm },
		{ a->norms_behind ? NULL : ffn_norm, &l->ffn_norm },
		{ a->attn_post_norm, &l->attn_post_norm },
		{ a->ffn_post_norm, &l->ffn_post_norm },
	};

	for (size_t i = 0; i < PST_ARRAY_SIZE(norms); i++) {
		char full[64];

		if (!norms[i].name)
			continue;
		snprintf(full, sizeof(full), "%s.weight", norms[i].name);
		pst_bind_vec(b, full, b->m->hp.n_embd, true, &norms[i].dst->w);
		snprintf(full, sizeof(full), "%s.bias", norms[i].name);
		pst_bind_vec(b, full, b->m->hp.n_embd, false, &norms[i].dst->b);
	}
}

static void bind_layer(struct pst_binder *b)
{
	const struct pst_layer_hp *lh = &b->m->hp.layer[b->layer];
	const struct pst_residual *r = pst_residual_of(b->m->arch);
	struct pst_layer *l = &b->m->layers[b->layer];

	bind_norms(b, l);
	if (r->bind)
		r->bind(b, l);
	if (b->m->arch->out_scale)
		pst_bind_vec(b, "layer_output_scale.weight", 1, false,
			     &l->out_scale);
	lh->mixer->bind(b, l);
	lh->ffn->bind(b, l);
	pst_token_input_bind(b, l);
}

/* What divides the angles; short and long come together. */
static void bind_rope(struct pst_binder *b)
{
	uint32_t n = b->m->hp.rope[0].n_rot / 2;
	struct pst_model *m = b->m;

	pst_bind_global_vec(b, "rope_freqs.weight", n, false,
			    &m->rope_freqs[0]);
	if (m->arch->rope_factors &&
	    pst_bind_global_vec(b, "rope_factors_short.weight", n, false,
				&m->rope_freqs[0]))
		pst_bind_global_vec(b, "rope_factors_long.weight", n, true,
				    &m->rope_freqs_long[0]);
}

/* What is added to the embeddings, and their norm. */
static void bind_tables(struct pst_binder *b)
{
	struct pst_model *m = b->m;
	const struct pst_hparams *hp = &m->hp;

	if (hp->n_token_types)
		pst_bind_global_mat(b, "token_types.weight", hp->n_embd,
				    hp->n_token_types, false, &m->token_types);
	if (hp->n_positions)
		pst_bind_global_mat(b, "position_embd.weight", hp->n_embd,
				    hp->n_positions, true, &m->position_embd);
	if (!m->arch->norms_behind)
		return;
	pst_bind_global_vec(b, "token_embd_norm.weight", hp->n_embd, true,
			    &m->embd_norm.w);
	pst_bind_global_vec(b, "token_embd_norm.bias", hp->n_embd, false,
			    &m->embd_norm.b);
}

static void bind_global(struct pst_binder *b)
{
	struct pst_model *m = b->m;
	const struct pst_hparams *hp = &m->hp;
	const struct pst_residual *r = pst_residual_of(m->arch);

	pst_bind_table(b, "token_embd.weight", hp->n_embd, hp->n_vocab,
		       &m->tok_embd);
	bind_tables(b);
	bind_rope(b);
	pst_token_input_bind_global(b);
	if (hp->encoder)
		return;
	pst_bind_global_vec(b, "output_norm.weight", hp->n_embd, true,
			    &m->output_norm.w);
	pst_bind_global_vec(b, "output_norm.bias", hp->n_embd, false,
			    &m->output_norm.b);
	if (!pst_bind_global_mat(b, "output.weight", hp->n_embd, hp->n_vocab,
				 false, &m->output))
		pst_bind_global_mat(b, "token_embd.weight", hp->n_embd,
				    hp->n_vocab, true, &m->output);
	pst_bind_global_vec(b, "output.bias", hp->n_vocab, false,
			    &m->output.bias);
	if (r->bind_out)
		r->bind_out(b);
}

int pst_model_bind(struct pst_model *m, const struct pst_kernels *k,
		   struct pst_diag *diag)
{
	struct pst_binder b = { .m = m, .k = k, .diag = diag };

	bind_global(&b);
	for (; b.layer < m->hp.n_layers && !b.rc; b.layer++)
		bind_layer(&b);
	return b.rc;
}
