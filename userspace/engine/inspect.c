// SPDX-License-Identifier: MIT
/*
 * What can be said and done without an engine: whether a model is supported,
 * which kernels this CPU gets, and the values of one tensor.  Reserves nothing
 * and loads no weights.
 */
#include <errno.h>
#include <stdlib.h>

#include "engine_priv.h"

/* Values per call of the sink: whole blocks of every type. */
#define CHUNK_VALUES 65536
/* Pages of the mapping are given back after this many bytes. */
#define DROP_BYTES (64 * PST_MIB)

int pst_engine_supports(const struct pst_gguf *g, struct pst_diag *diag)
{
	struct pst_kernels k;
	struct pst_model *m = NULL;
	struct pst_vocab *v = NULL;
	int rc;

	pst_kernels_init(&k, pst_cpu_detect());
	rc = pst_model_create(g, &k, &m, diag);
	if (!rc)
		rc = pst_vocab_create(g, &v, NULL, diag);
	pst_vocab_destroy(v);
	pst_model_destroy(m);
	return rc;
}

uint32_t pst_cpu_mask(void)
{
	return pst_cpu_detect();
}

const char *pst_cpu_kernels_name(uint32_t cpu_mask)
{
	struct pst_kernels k;

	pst_kernels_init(&k, cpu_mask & pst_cpu_detect());
	return k.name;
}

const char *pst_cpu_config_name(void)
{
	struct pst_kcpu cpu;

	pst_kcpu_detect(&cpu);
	return pst_kconfig_of(&cpu)->name;
}

static uint64_t nr_values(const struct pst_gguf_tensor *t)
{
	uint64_t n = 1;

	for (uint32_t i = 0; i < t->nr_dims; i++)
		n *= t->ne[i];
	return n;
}

/* The container has checked that shape, type and size agree. */
static int dequant_all(const struct pst_gguf *g,
		       const struct pst_gguf_tensor *t,
		       const struct pst_ktype_ops *ops,
		       const struct pst_tensor_sink *sink, float *buf)
{
	const uint8_t *row = pst_gguf_tensor_data(g, t);
	uint64_t left = nr_values(t), kept = 0;
	int rc = 0;

	while (left && !rc) {
		uint32_t n = (uint32_t)PST_MIN(left, (uint64_t)CHUNK_VALUES);
		uint64_t bytes =
			n / ops->block_elems * (uint64_t)ops->block_bytes;

		ops->dequant(buf, row, n);
		rc = sink->put(sink->ctx, buf, n);
		row += bytes;
		left -= n;
		kept += bytes;
		if (kept >= DROP_BYTES) {
			pst_gguf_drop_pages(g);
			kept = 0;
		}
	}
	pst_gguf_drop_pages(g);
	return rc;
}

int pst_tensor_dequant(const struct pst_gguf *g,
		       const struct pst_gguf_tensor *t,
		       const struct pst_tensor_sink *sink,
		       struct pst_diag *diag)
{
	const struct pst_gguf_type *type = pst_gguf_type(t->type);
	struct pst_kernels k;
	float *buf;
	int rc;

	/* The portable kernels are the definition of every type. */
	pst_kernels_init(&k, 0);
	if (t->type >= PST_KTYPE_COUNT || !k.types[t->type].dequant)
		return pst_diag_set(diag, -ENOTSUP,
				    "tensor '%s' is %s, which cannot be "
				    "dequantised",
				    t->name, type ? type->name : "unknown");
	if (!sink)
		return 0;
	buf = malloc(CHUNK_VALUES * sizeof(*buf));
	if (!buf)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	rc = dequant_all(g, t, &k.types[t->type], sink, buf);
	free(buf);
	return rc;
}
