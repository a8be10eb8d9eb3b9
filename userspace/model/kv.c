// SPDX-License-Identifier: MIT
/*
 * The memory of keys and values.
 */
#include <errno.h>
#include <string.h>

#include "forward.h"

static uint64_t half_bytes(const struct pst_hparams *hp, uint32_t hd,
			   enum pst_kv_type type, uint32_t n_ctx)
{
	uint64_t v = (uint64_t)hp->n_layers * hp->n_head_kv * hd *
		     (type == PST_KV_F32 ? 4 : 2);

	if (!pst_mul_u64(v, n_ctx, &v) || v > INT64_MAX / 4)
		return UINT64_MAX;
	return pst_align_up(v, 64);
}

uint64_t pst_kv_bytes(const struct pst_hparams *hp, enum pst_kv_type type,
		      uint32_t n_ctx)
{
	uint64_t k = half_bytes(hp, hp->hd_k, type, n_ctx);
	uint64_t v = half_bytes(hp, hp->hd_v, type, n_ctx);

	if (k == UINT64_MAX || v == UINT64_MAX)
		return UINT64_MAX;
	return k + v;
}

int pst_kv_init(struct pst_kv *kv, const struct pst_hparams *hp,
		const struct pst_kv_args *args, struct pst_diag *diag)
{
	struct pst_mem_args want = {
		.size_bytes = pst_kv_bytes(hp, args->type, args->n_ctx),
		.want = args->huge,
		.node = args->node,
	};

	memset(kv, 0, sizeof(*kv));
	kv->type = args->type;
	kv->n_ctx = args->n_ctx;
	kv->v_off_bytes = half_bytes(hp, hp->hd_k, args->type, args->n_ctx);
	return pst_mem_map(&want, &kv->mem, diag);
}

void pst_kv_fini(struct pst_kv *kv)
{
	pst_mem_unmap(&kv->mem);
}
