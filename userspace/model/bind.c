// SPDX-License-Identifier: MIT
/*
 * Which tensor is which matrix.  Every tensor's type and shape is compared
 * with what the keys promise before a pointer to it exists.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

struct binder {
	struct pst_model *m;
	const struct pst_kernels *k;
	struct pst_diag *diag;
	uint32_t layer;
	char name[96];
	int rc; /* the first failure; later steps are skipped */
};

struct shape {
	uint64_t ne[3];
};

static void fail(struct binder *b, int err, const char *what)
{
	if (!b->rc)
		b->rc = pst_diag_set_at(b->diag, err,
					pst_gguf_file(b->m->g, 0)->path,
					UINT64_MAX, "tensor '%s' %s", b->name,
					what);
}

static const struct pst_gguf_tensor *find(struct binder *b, const char *name)
{
	return pst_gguf_find_tensor(b->m->g, name);
}

static void layer_name(struct binder *b, const char *name)
{
	snprintf(b->name, sizeof(b->name), "blk.%u.%s", b->layer, name);
}

static void add_ref(struct binder *b, const struct pst_gguf_tensor *t,
		    uint64_t off_bytes, const void **dst)
{
	int rc;

	if (b->rc)
		return;
	rc = pst_model_add_ref(b->m, t, off_bytes, dst);
	if (rc)
		b->rc = pst_diag_set(b->diag, rc, "out of memory");
}

static bool check_shape(struct binder *b, const struct pst_gguf_tensor *t,
			struct shape want)
{
	char what[128];

	if (t->ne[0] == want.ne[0] && t->ne[1] == want.ne[1] &&
	    t->ne[2] == want.ne[2] && t->ne[3] == 1)
		return true;
	snprintf(what, sizeof(what),
		 "has shape [%" PRIu64 ", %" PRIu64 ", %" PRIu64
		 "], the keys ask for [%" PRIu64 ", %" PRIu64 ", %" PRIu64 "]",
		 t->ne[0], t->ne[1], t->ne[2], want.ne[0], want.ne[1],
		 want.ne[2]);
	fail(b, -EBADMSG, what);
	return false;
}

static bool check_type(struct binder *b, const struct pst_gguf_tensor *t)
{
	char what[64];

	if (t->type < PST_KTYPE_COUNT && b->k->types[t->type].block_elems)
		return true;
	snprintf(what, sizeof(what), "has type %s: not supported yet",
		 pst_gguf_type(t->type)->name);
	fail(b, -ENOTSUP, what);
	return false;
}

/* What is read as floats; a file may align its tensors to less. */
static bool check_floats(struct binder *b, const struct pst_gguf_tensor *t)
{
	if (t->type != PST_K_F32)
		fail(b, -ENOTSUP, "is not F32");
	else if (t->off_bytes % sizeof(float))
		fail(b, -ENOTSUP, "is not aligned to 4 bytes: not supported");
	else
		return true;
	return false;
}

/* An F32 vector under b->name; Return: whether it is there. */
static bool bind_vec(struct binder *b, uint64_t n, bool required,
		     const float **dst)
{
	const struct pst_gguf_tensor *t = b->rc ? NULL : find(b, b->name);

	if (b->rc)
		return false;
	if (!t) {
		if (required)
			fail(b, -EBADMSG, "is missing");
		return false;
	}
	if (!check_floats(b, t) ||
	    !check_shape(b, t, (struct shape){ { n, 1, 1 } }))
		return false;
	add_ref(b, t, 0, (const void **)dst);
	return true;
}

static bool layer_vec(struct binder *b, const char *name, uint64_t n,
		      bool required, const float **dst)
{
	layer_name(b, name);
	return bind_vec(b, n, required, dst);
}

static void set_weight(struct pst_weight *w, const struct pst_gguf_tensor *t,
		       uint32_t n_out)
{
	const struct pst_gguf_type *ty = pst_gguf_type(t->type);

	w->type = t->type;
	w->n_in = (uint32_t)t->ne[0];
	w->n_out = n_out;
	w->row_bytes = (size_t)(t->ne[0] / ty->block_elems) * ty->block_bytes;
}

/* A matrix {n_in, n_out} under b->name. */
static bool bind_mat(struct binder *b, uint32_t n_in, uint32_t n_out,
		     bool required, struct pst_weight *w)
{
	const struct pst_gguf_tensor *t = b->rc ? NULL : find(b, b->name);

	if (b->rc)
		return false;
	if (!t) {
		if (required)
			fail(b, -EBADMSG, "is missing");
		return false;
	}
	if (!check_type(b, t) ||
	    !check_shape(b, t, (struct shape){ { n_in, n_out, 1 } }))
		return false;
	set_weight(w, t, n_out);
	add_ref(b, t, 0, (const void **)&w->data);
	return true;
}

/* blk.N.<name>.weight with an optional .scale and .bias */
static void layer_mat(struct binder *b, const char *name, uint32_t n_in,
		      uint32_t n_out, struct pst_weight *w)
{
	char full[64];

	snprintf(full, sizeof(full), "%s.weight", name);
	layer_name(b, full);
	bind_mat(b, n_in, n_out, true, w);
	snprintf(full, sizeof(full), "%s.scale", name);
	layer_vec(b, full, 1, false, &w->scale);
	snprintf(full, sizeof(full), "%s.bias", name);
	layer_vec(b, full, n_out, false, &w->bias);
}

/* Rows of a fused attn_qkv: q, then k, then v. */
static void bind_fused_qkv(struct binder *b, struct pst_layer *l,
			   const struct pst_gguf_tensor *t)
{
	const struct pst_hparams *hp = &b->m->hp;
	uint32_t nq = hp->n_head * hp->hd_k, nk = hp->n_head_kv * hp->hd_k;
	uint32_t nv = hp->n_head_kv * hp->hd_v;
	struct pst_weight *w[3] = { &l->wq, &l->wk, &l->wv };
	uint32_t rows[3] = { nq, nk, nv }, at = 0;
	const struct pst_gguf_tensor *bias;

	if (!check_type(b, t) ||
	    !check_shape(b, t,
			 (struct shape){ { hp->n_embd, nq + nk + nv, 1 } }))
		return;
	layer_name(b, "attn_qkv.bias");
	bias = find(b, b->name);
	if (bias &&
	    (!check_floats(b, bias) ||
	     !check_shape(b, bias, (struct shape){ { nq + nk + nv, 1, 1 } })))
		return;
	for (int i = 0; i < 3; i++) {
		layer_vec(b, "attn_qkv.scale", 1, false, &w[i]->scale);
		set_weight(w[i], t, rows[i]);
		add_ref(b, t, at * w[i]->row_bytes, (const void **)&w[i]->data);
		if (bias)
			add_ref(b, bias, at * sizeof(float),
				(const void **)&w[i]->bias);
		at += rows[i];
	}
}

static void need_biases(struct binder *b)
{
	static const char *const names[] = { "attn_q.bias", "attn_k.bias",
					     "attn_v.bias" };

	for (int i = 0; i < 3 && !b->rc; i++) {
		layer_name(b, names[i]);
		if (!find(b, b->name))
			fail(b, -EBADMSG, "is missing");
	}
}

static void bind_qkv(struct binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;
	const struct pst_gguf_tensor *fused;

	layer_name(b, "attn_qkv.weight");
	fused = find(b, b->name);
	if (fused) {
		bind_fused_qkv(b, l, fused);
	} else {
		layer_mat(b, "attn_q", hp->n_embd, hp->n_head * hp->hd_k,
			  &l->wq);
		layer_mat(b, "attn_k", hp->n_embd, hp->n_head_kv * hp->hd_k,
			  &l->wk);
		layer_mat(b, "attn_v", hp->n_embd, hp->n_head_kv * hp->hd_v,
			  &l->wv);
	}
	if (b->m->arch->qkv_bias && !fused)
		need_biases(b);
}

static void bind_attention(struct binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;
	enum pst_qk_norm qk = b->m->arch->qk_norm;
	bool full = qk == PST_QK_NORM_FULL;

	layer_vec(b, "attn_norm.weight", hp->n_embd, true, &l->attn_norm);
	bind_qkv(b, l);
	layer_mat(b, "attn_output", hp->n_head * hp->hd_v, hp->n_embd, &l->wo);
	if (qk == PST_QK_NORM_NONE)
		return;
	layer_vec(b, "attn_q_norm.weight",
		  (uint64_t)hp->hd_k * (full ? hp->n_head : 1), true,
		  &l->q_norm);
	layer_vec(b, "attn_k_norm.weight",
		  (uint64_t)hp->hd_k * (full ? hp->n_head_kv : 1), true,
		  &l->k_norm);
}

/* blk.N.<name>.bias {n_out, n_expert}, optional. */
static void expert_bias(struct binder *b, const char *name, uint32_t n_out,
			struct pst_weight *w)
{
	const struct pst_gguf_tensor *t;
	char full[64];

	snprintf(full, sizeof(full), "%s.bias", name);
	layer_name(b, full);
	t = b->rc ? NULL : find(b, b->name);
	if (!t)
		return;
	if (check_floats(b, t) &&
	    check_shape(b, t,
			(struct shape){ { n_out, b->m->hp.n_expert, 1 } }))
		add_ref(b, t, 0, (const void **)&w->bias);
}

/* One matrix of all experts {n_in, n_out, n_expert}: its shape goes to @w, its
 * place to the store's table.
 */
static bool bind_experts(struct binder *b, const char *name, uint32_t n_in,
			 uint32_t n_out, bool required, struct pst_weight *w)
{
	struct pst_store_layer *sl = &b->m->experts[b->layer];
	const struct pst_hparams *hp = &b->m->hp;
	const struct pst_gguf_tensor *t;
	char full[64];

	snprintf(full, sizeof(full), "%s.weight", name);
	layer_name(b, full);
	t = b->rc ? NULL : find(b, b->name);
	if (!t) {
		if (required)
			fail(b, -EBADMSG, "is missing");
		return false;
	}
	if (!check_type(b, t) ||
	    !check_shape(b, t, (struct shape){ { n_in, n_out, hp->n_expert } }))
		return false;
	set_weight(w, t, n_out);
	sl->part[sl->nr_parts++] = (struct pst_store_part){
		.file = t->file,
		.off_bytes = t->off_bytes,
		.size_bytes = t->size_bytes / hp->n_expert,
		.map = pst_gguf_tensor_data(b->m->g, t),
	};
	b->m->expert_bytes += t->size_bytes;
	snprintf(full, sizeof(full), "%s.scale", name);
	layer_vec(b, full, hp->n_expert, false, &w->scale);
	expert_bias(b, name, n_out, w);
	return true;
}

/* Gate rows, then up rows, of each expert in one tensor.  A scale or bias of
 * such a tensor would have to be split as well; no family has one.
 */
static bool bind_fused_experts(struct binder *b, struct pst_layer *l)
{
	static const char *const extras[] = { "ffn_gate_up_exps.scale",
					      "ffn_gate_up_exps.bias" };
	const struct pst_hparams *hp = &b->m->hp;

	for (size_t i = 0; i < PST_ARRAY_SIZE(extras); i++) {
		layer_name(b, extras[i]);
		if (find(b, b->name))
			fail(b, -ENOTSUP, "is not supported");
	}
	if (!bind_experts(b, "ffn_gate_up_exps", hp->n_embd, 2 * hp->n_ff_exp,
			  false, &l->gate))
		return false;
	l->fused_gate_up = true;
	l->gate.n_out = hp->n_ff_exp;
	l->up = l->gate;
	return true;
}

static void bind_moe(struct binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;

	layer_mat(b, "ffn_gate_inp", hp->n_embd, hp->n_expert, &l->router);
	if (!bind_fused_experts(b, l)) {
		bind_experts(b, "ffn_gate_exps", hp->n_embd, hp->n_ff_exp, true,
			     &l->gate);
		bind_experts(b, "ffn_up_exps", hp->n_embd, hp->n_ff_exp, true,
			     &l->up);
	}
	bind_experts(b, "ffn_down_exps", hp->n_ff_exp, hp->n_embd, true,
		     &l->down);
	b->m->nr_moe_layers++;
}

static void bind_layer(struct binder *b)
{
	const struct pst_hparams *hp = &b->m->hp;
	struct pst_layer *l = &b->m->layers[b->layer];

	bind_attention(b, l);
	layer_vec(b, "ffn_norm.weight", hp->n_embd, true, &l->ffn_norm);
	if (hp->n_expert) {
		bind_moe(b, l);
		return;
	}
	if (!hp->n_ff) {
		layer_name(b, "ffn_gate.weight");
		fail(b, -EBADMSG, "has no width: feed_forward_length is 0");
		return;
	}
	layer_mat(b, "ffn_gate", hp->n_embd, hp->n_ff, &l->gate);
	layer_mat(b, "ffn_up", hp->n_embd, hp->n_ff, &l->up);
	layer_mat(b, "ffn_down", hp->n_ff, hp->n_embd, &l->down);
}

static void bind_global(struct binder *b)
{
	struct pst_model *m = b->m;
	const struct pst_hparams *hp = &m->hp;

	snprintf(b->name, sizeof(b->name), "token_embd.weight");
	bind_mat(b, hp->n_embd, hp->n_vocab, true, &m->tok_embd);
	snprintf(b->name, sizeof(b->name), "output_norm.weight");
	bind_vec(b, hp->n_embd, true, &m->output_norm);
	snprintf(b->name, sizeof(b->name), "output.weight");
	if (!bind_mat(b, hp->n_embd, hp->n_vocab, false, &m->output) &&
	    !b->rc) {
		snprintf(b->name, sizeof(b->name), "token_embd.weight");
		bind_mat(b, hp->n_embd, hp->n_vocab, true, &m->output);
	}
	snprintf(b->name, sizeof(b->name), "rope_freqs.weight");
	bind_vec(b, hp->rope.n_rot / 2, false, &m->rope_freqs);
}

int pst_model_bind(struct pst_model *m, const struct pst_kernels *k,
		   struct pst_diag *diag)
{
	struct binder b = { .m = m, .k = k, .diag = diag };

	bind_global(&b);
	for (b.layer = 0; b.layer < m->hp.n_layers && !b.rc; b.layer++)
		bind_layer(&b);
	return b.rc;
}
