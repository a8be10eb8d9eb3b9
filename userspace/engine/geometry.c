// SPDX-License-Identifier: MIT
/*
 * What a model is made of and what a token of it costs in bytes, by its header
 * alone.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine_priv.h"

/* What O_DIRECT asks of most drives, where none was opened. */
#define BLOCK_BYTES 4096

/* "3 latent attention, 1 gated delta net": in the order of their coming. */
static void name_mixers(const struct pst_hparams *hp, char *out, size_t size)
{
	size_t at = 0;

	for (uint32_t i = 0; i < hp->n_layers; i++) {
		const struct pst_mixer *kind = hp->layer[i].mixer;
		uint32_t nr = 0, first = 0;

		while (hp->layer[first].mixer != kind)
			first++;
		if (first < i)
			continue;
		for (uint32_t j = i; j < hp->n_layers; j++)
			nr += hp->layer[j].mixer == kind;
		if (at < size)
			at += (size_t)snprintf(out + at, size - at, "%s%u %s",
					       at ? ", " : "", nr,
					       pst_mixer_name(kind));
	}
}

static int by_tensor(const void *a, const void *b)
{
	const struct pst_gguf_tensor *const *x = a, *const *y = b;

	return *x < *y ? -1 : *x > *y;
}

/* Tensors that every token needs; one may serve for two. */
static int resident_bytes(const struct pst_model *m, uint64_t *out)
{
	const struct pst_gguf_tensor **t =
		pst_calloc(m->nr_refs, sizeof(struct pst_gguf_tensor *));

	*out = 0;
	if (!t)
		return -ENOMEM;
	for (uint32_t i = 0; i < m->nr_refs; i++)
		t[i] = m->refs[i].t;
	qsort(t, m->nr_refs, sizeof(*t), by_tensor);
	for (uint32_t i = 0; i < m->nr_refs; i++)
		if (!i || t[i] != t[i - 1])
			*out += t[i]->size_bytes;
	*out -= m->table_bytes;
	free(t);
	return 0;
}

static uint64_t kv_bytes(const struct pst_hparams *hp)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < hp->n_layers; i++)
		sum += pst_kv_position_bytes(hp, PST_KV_F16, i);
	return sum;
}

static void count_layers(const struct pst_model *m, struct pst_geometry *out)
{
	const struct pst_hparams *hp = &m->hp;

	for (uint32_t i = 0; i < hp->n_layers; i++) {
		const struct pst_store_layer *sl = &m->experts[i];

		out->window_layers += hp->layer[i].window != 0;
		out->window = PST_MAX(out->window, hp->layer[i].window);
		out->moe_layers += sl->nr_parts != 0;
		for (uint32_t p = 0; p < sl->nr_parts; p++)
			out->token_expert_bytes +=
				hp->n_expert_used * sl->part[p].size_bytes;
	}
}

static int fill(const struct pst_model *m, struct pst_geometry *out)
{
	const struct pst_hparams *hp = &m->hp;
	uint64_t all = 0;
	int rc;

	*out = (struct pst_geometry){
		.layers = hp->n_layers,
		.width = hp->n_embd,
		.heads = hp->layer[0].n_head,
		.experts = hp->n_expert,
		.experts_used = hp->n_expert_used,
		.expert_width = hp->n_expert ? hp->n_ff_exp : 0,
		.shared_width = hp->n_expert ? hp->n_ff_shexp : 0,
		.expert_bytes = m->expert_bytes,
		.table_bytes = m->table_bytes,
		.token_row_bytes = pst_model_row_bytes(m),
		.kv_token_bytes = kv_bytes(hp),
	};
	name_mixers(hp, out->mixers, sizeof(out->mixers));
	count_layers(m, out);
	rc = resident_bytes(m, &out->resident_bytes);
	for (uint64_t i = 0; i < pst_gguf_nr_tensors(m->g); i++)
		all += pst_gguf_tensor(m->g, i)->size_bytes;
	out->unused_bytes =
		all - m->expert_bytes - m->table_bytes - out->resident_bytes;
	return rc;
}

int pst_engine_geometry(const struct pst_gguf *g, struct pst_geometry *out,
			struct pst_diag *diag)
{
	struct pst_kernels k;
	struct pst_model *m;
	int rc;

	pst_kernels_init(&k, pst_cpu_detect());
	rc = pst_model_create(g, &k, &m, diag);
	if (rc)
		return rc;
	rc = fill(m, out);
	pst_model_destroy(m);
	return rc;
}

struct pst_expert_read pst_engine_expert_read(const struct pst_engine *e,
					      uint32_t layer)
{
	const struct pst_store_layer *l = &e->model->experts[layer];
	uint32_t nr = e->model->hp.n_expert, split = pst_engine_split(e);
	uint64_t align = e->io ? pst_io_align(e->io) : BLOCK_BYTES;
	uint64_t bytes = 0, reads = 0;

	for (uint32_t p = 0; p < l->nr_parts; p++)
		for (uint32_t i = 0; i < nr; i++) {
			uint64_t size = l->part[p].size_bytes;
			uint64_t at = l->part[p].off_bytes + i * size;
			uint64_t n = pst_align_up(at + size, align) -
				     pst_align_down(at, align);

			bytes += n;
			reads += (n + split - 1) / split;
		}
	if (!nr)
		return (struct pst_expert_read){ 0 };
	return (struct pst_expert_read){ .bytes = (double)bytes / nr,
					 .reads = (double)reads / nr };
}
