// SPDX-License-Identifier: MIT
/*
 * How a tensor is bound: its type and shape are compared with what the keys
 * promise before a pointer to it exists.  Knows no family and no kind of block.
 */
#include <assert.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "model_priv.h"

/* Of the container; no kernel computes with it. */
#define TYPE_I32 26

struct shape {
	uint64_t ne[3];
};

void pst_bind_fail(struct pst_binder *b, int err, const char *what)
{
	if (!b->rc)
		b->rc = pst_diag_set_at(b->diag, err,
					pst_gguf_file(b->m->g, 0)->path,
					UINT64_MAX, "tensor '%s' %s", b->name,
					what);
}

static void layer_name(struct pst_binder *b, const char *name,
		       const char *suffix)
{
	snprintf(b->name, sizeof(b->name), "blk.%u.%s%s", b->layer, name,
		 suffix);
}

/* The tensor b->name; one that is required and missing is a failure. */
static const struct pst_gguf_tensor *find(struct pst_binder *b, bool required)
{
	const struct pst_gguf_tensor *t;

	if (b->rc)
		return NULL;
	t = pst_gguf_find_tensor(b->m->g, b->name);
	if (!t && required)
		pst_bind_fail(b, -EBADMSG, "is missing");
	return t;
}

bool pst_bind_has(struct pst_binder *b, const char *name)
{
	layer_name(b, name, "");
	return find(b, false) != NULL;
}

static void add_ref(struct pst_binder *b, const struct pst_gguf_tensor *t,
		    uint64_t off_bytes, const void **dst)
{
	int rc;

	if (b->rc)
		return;
	rc = pst_model_add_ref(b->m, t, off_bytes, dst);
	if (rc)
		b->rc = pst_diag_set(b->diag, rc, "out of memory");
}

static bool check_shape(struct pst_binder *b, const struct pst_gguf_tensor *t,
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
	pst_bind_fail(b, -EBADMSG, what);
	return false;
}

static bool check_type(struct pst_binder *b, const struct pst_gguf_tensor *t)
{
	char what[64];

	if (t->type < PST_KTYPE_COUNT && b->k->types[t->type].block_elems)
		return true;
	snprintf(what, sizeof(what), "has type %s: not supported yet",
		 pst_gguf_type(t->type)->name);
	pst_bind_fail(b, -ENOTSUP, what);
	return false;
}

/* What is read as floats; a file may align its tensors to less. */
static bool check_floats(struct pst_binder *b, const struct pst_gguf_tensor *t)
{
	if (t->type != PST_K_F32)
		pst_bind_fail(b, -ENOTSUP, "is not F32");
	else if (t->off_bytes % sizeof(float))
		pst_bind_fail(b, -ENOTSUP,
			      "is not aligned to 4 bytes: not supported");
	else
		return true;
	return false;
}

/* Floats of one shape under b->name. */
static bool bind_floats(struct pst_binder *b, struct shape want, bool required,
			const float **dst)
{
	const struct pst_gguf_tensor *t = find(b, required);

	if (!t || !check_floats(b, t) || !check_shape(b, t, want))
		return false;
	add_ref(b, t, 0, (const void **)dst);
	return true;
}

bool pst_bind_global_vec(struct pst_binder *b, const char *name, uint64_t n,
			 bool required, const float **dst)
{
	snprintf(b->name, sizeof(b->name), "%s", name);
	return bind_floats(b, (struct shape){ { n, 1, 1 } }, required, dst);
}

bool pst_bind_vec(struct pst_binder *b, const char *name, uint64_t n,
		  bool required, const float **dst)
{
	layer_name(b, name, "");
	return bind_floats(b, (struct shape){ { n, 1, 1 } }, required, dst);
}

/* The dimensions other than one, in order; the rest is one. */
static struct shape squeezed(const uint64_t *ne, uint32_t nr)
{
	struct shape s = { { 1, 1, 1 } };
	uint32_t at = 0;

	for (uint32_t i = 0; i < nr; i++)
		if (ne[i] != 1 && at < 3)
			s.ne[at++] = ne[i];
	return s;
}

void pst_bind_array(struct pst_binder *b, const char *name, uint64_t n0,
		    uint64_t n1, const float **dst)
{
	struct shape want = { { n0, n1, 1 } }, have;
	const struct pst_gguf_tensor *t;

	layer_name(b, name, "");
	t = find(b, true);
	if (!t || !check_floats(b, t))
		return;
	have = squeezed(t->ne, 4);
	want = squeezed(want.ne, 3);
	if (memcmp(&have, &want, sizeof(have)))
		check_shape(b, t, (struct shape){ { n0, n1, 1 } });
	else
		add_ref(b, t, 0, (const void **)dst);
}

void pst_bind_ids(struct pst_binder *b, const char *name, uint32_t n,
		  uint32_t nr, const uint8_t **dst)
{
	const struct pst_gguf_tensor *t;

	layer_name(b, name, "");
	t = find(b, true);
	if (t && t->type != TYPE_I32)
		pst_bind_fail(b, -ENOTSUP, "is not I32");
	if (!t || b->rc || !check_shape(b, t, (struct shape){ { n, nr, 1 } }))
		return;
	add_ref(b, t, 0, (const void **)dst);
	if (!b->rc)
		b->m->refs[b->m->nr_refs - 1].ids = true;
}

static void set_weight(struct pst_binder *b, struct pst_weight *w,
		       const struct pst_gguf_tensor *t, uint32_t n_out)
{
	const struct pst_gguf_type *ty = pst_gguf_type(t->type);

	w->type = t->type;
	w->n_in = (uint32_t)t->ne[0];
	w->n_out = n_out;
	w->row_bytes = (size_t)(t->ne[0] / ty->block_elems) * ty->block_bytes;
	b->m->widest = PST_MAX(b->m->widest, w->n_in);
}

/* One of those that every token passes, for who adds up their cost. */
static void note_mat(struct pst_binder *b, const struct pst_weight *w)
{
	struct pst_layer *l = &b->m->layers[b->layer];

	assert(l->nr_mats < PST_MAX_MATS);
	l->mats[l->nr_mats++] = w;
}

/* The matrix b->name. */
static bool bind_mat(struct pst_binder *b, struct shape want, bool required,
		     struct pst_weight *w)
{
	const struct pst_gguf_tensor *t = find(b, required);

	if (!t || !check_type(b, t) || !check_shape(b, t, want))
		return false;
	set_weight(b, w, t, (uint32_t)want.ne[1]);
	add_ref(b, t, 0, (const void **)&w->data);
	return true;
}

bool pst_bind_global_mat(struct pst_binder *b, const char *name, uint32_t n_in,
			 uint32_t n_out, bool required, struct pst_weight *w)
{
	snprintf(b->name, sizeof(b->name), "%s", name);
	return bind_mat(b, (struct shape){ { n_in, n_out, 1 } }, required, w);
}

bool pst_bind_table(struct pst_binder *b, const char *name, uint32_t n_in,
		    uint32_t nr_rows, struct pst_weight *w)
{
	if (!pst_bind_global_mat(b, name, n_in, nr_rows, true, w) || b->rc)
		return false;
	b->m->refs[b->m->nr_refs - 1].table = w;
	return true;
}

void pst_bind_bare(struct pst_binder *b, const char *name, uint32_t n_in,
		   uint32_t n_out, struct pst_weight *w)
{
	layer_name(b, name, ".weight");
	if (bind_mat(b, (struct shape){ { n_in, n_out, 1 } }, true, w))
		note_mat(b, w);
}

void pst_bind_mat(struct pst_binder *b, const char *name, uint32_t n_in,
		  uint32_t n_out, struct pst_weight *w)
{
	pst_bind_bare(b, name, n_in, n_out, w);
	layer_name(b, name, ".scale");
	bind_floats(b, (struct shape){ { 1, 1, 1 } }, false, &w->scale);
	layer_name(b, name, ".bias");
	bind_floats(b, (struct shape){ { n_out, 1, 1 } }, false, &w->bias);
}

void pst_bind_stack(struct pst_binder *b, const char *name,
		    const uint32_t ne[3], struct pst_weight *w)
{
	layer_name(b, name, ".weight");
	if (bind_mat(b, (struct shape){ { ne[0], ne[1], ne[2] } }, true, w)) {
		w->n_out = ne[1] * ne[2];
		note_mat(b, w);
	}
	layer_name(b, name, ".scale");
	bind_floats(b, (struct shape){ { 1, 1, 1 } }, false, &w->scale);
}

void pst_bind_split(struct pst_binder *b, const char *name, uint32_t n_in,
		    struct pst_weight *const *w, uint32_t nr)
{
	const struct pst_gguf_tensor *t, *bias;
	uint64_t rows = 0, at = 0;

	for (uint32_t i = 0; i < nr; i++)
		rows += w[i]->n_out;
	layer_name(b, name, ".weight");
	t = find(b, true);
	if (!t || !check_type(b, t) ||
	    !check_shape(b, t, (struct shape){ { n_in, rows, 1 } }))
		return;
	layer_name(b, name, ".bias");
	bias = find(b, false);
	if (bias && (!check_floats(b, bias) ||
		     !check_shape(b, bias, (struct shape){ { rows, 1, 1 } })))
		return;
	layer_name(b, name, ".scale");
	for (uint32_t i = 0; i < nr; i++) {
		bind_floats(b, (struct shape){ { 1, 1, 1 } }, false,
			    &w[i]->scale);
		set_weight(b, w[i], t, w[i]->n_out);
		add_ref(b, t, at * w[i]->row_bytes, (const void **)&w[i]->data);
		if (bias)
			add_ref(b, bias, at * sizeof(float),
				(const void **)&w[i]->bias);
		note_mat(b, w[i]);
		at += w[i]->n_out;
	}
}

bool pst_bind_experts(struct pst_binder *b, const char *name, uint32_t n_in,
		      uint32_t n_out, bool required, struct pst_weight *w)
{
	struct pst_store_layer *sl = &b->m->experts[b->layer];
	uint32_t n_expert = b->m->hp.n_expert;
	const struct pst_gguf_tensor *t;

	layer_name(b, name, ".weight");
	t = find(b, required);
	if (!t || !check_type(b, t) ||
	    !check_shape(b, t, (struct shape){ { n_in, n_out, n_expert } }))
		return false;
	set_weight(b, w, t, n_out);
	sl->part[sl->nr_parts++] = (struct pst_store_part){
		.file = t->file,
		.off_bytes = t->off_bytes,
		.size_bytes = t->size_bytes / n_expert,
		.map = pst_gguf_tensor_data(b->m->g, t),
	};
	b->m->expert_bytes += t->size_bytes;
	layer_name(b, name, ".scale");
	bind_floats(b, (struct shape){ { n_expert, 1, 1 } }, false, &w->scale);
	layer_name(b, name, ".bias");
	bind_floats(b, (struct shape){ { n_out, n_expert, 1 } }, false,
		    &w->bias);
	return true;
}
