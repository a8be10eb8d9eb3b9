// SPDX-License-Identifier: MIT
/*
 * A model from its GGUF: family, numbers, tensors; its destruction.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "model_priv.h"

/* "a, b, c": the names of the rows, as many as fit. */
static void list_archs(char *out, size_t size)
{
	static const char more[] = ", ...";
	const struct pst_arch *a;
	size_t at = 0;

	for (uint32_t i = 0; (a = pst_arch_at(i)); i++) {
		const char *name = pst_arch_name(a);

		if (at + strlen(name) + 2 + sizeof(more) > size) {
			snprintf(out + at, size - at, "%s", more);
			return;
		}
		at += (size_t)snprintf(out + at, size - at, "%s%s",
				       i ? ", " : "", name);
	}
}

static int find_arch(struct pst_model *m, struct pst_diag *diag)
{
	const char *path = pst_gguf_file(m->g, 0)->path;
	struct pst_str name;
	char known[768];

	if (pst_gguf_get_str(m->g, "general.architecture", &name))
		return pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				       "key general.architecture is missing or "
				       "no string");
	m->arch = pst_arch_find(name.s, name.len);
	if (m->arch)
		return 0;
	list_archs(known, sizeof(known));
	return pst_diag_set_at(diag, -ENOTSUP, path, UINT64_MAX,
			       "architecture '%.*s' is not supported; known: "
			       "%s",
			       (int)PST_MIN(name.len, 64), name.s, known);
}

static int alloc_layers(struct pst_model *m, struct pst_diag *diag)
{
	m->layers = pst_calloc(m->hp.n_layers, sizeof(*m->layers));
	m->experts = pst_calloc(m->hp.n_layers, sizeof(*m->experts));
	if (m->layers && m->experts)
		return 0;
	return pst_diag_set(diag, -ENOMEM, "out of memory");
}

int pst_model_create(const struct pst_gguf *g, const struct pst_kernels *k,
		     struct pst_model **out, struct pst_diag *diag)
{
	struct pst_model *m = calloc(1, sizeof(*m));
	int rc;

	if (!m)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	m->g = g;
	rc = find_arch(m, diag);
	if (!rc)
		rc = pst_hparams_read(g, m->arch, &m->hp, diag);
	if (!rc)
		rc = alloc_layers(m, diag);
	if (!rc)
		rc = pst_model_bind(m, k, diag);
	if (!rc)
		rc = pst_model_leave_tables(m, PST_TABLE_MIN_BYTES, diag);
	if (rc) {
		pst_model_destroy(m);
		return rc;
	}
	*out = m;
	return 0;
}

void pst_model_destroy(struct pst_model *m)
{
	if (!m)
		return;
	pst_mem_unmap(&m->trunk);
	free(m->layers);
	free(m->experts);
	free(m->refs);
	free(m->extents);
	free(m);
}
