// SPDX-License-Identifier: MIT
/*
 * What the kinds of attention share: rotation of a head, a row into the cache,
 * queries over rows of the cache, and the matrix behind it all.  Knows neither
 * heads nor windows.
 */
#include <string.h>

#include "fwd_priv.h"

void pst_rotate(const struct pst_fwd *f, uint32_t rope,
		enum pst_rope_style style, float *x, uint32_t t)
{
	uint32_t n_rot = f->m->hp.rope[rope].n_rot;
	const float *cs = f->cs[rope] + (size_t)t * n_rot;

	if (style == PST_ROPE_NORM)
		f->k->rope_norm(x, cs, n_rot);
	else
		f->k->rope_neox(x, cs, n_rot);
}

static void put_f16(const struct pst_kernels *k, uint8_t *row, const float *src,
		    uint32_t n)
{
	k->f32_to_f16((uint16_t *)(void *)row, src, n);
}

static void put_f32(const struct pst_kernels *k, uint8_t *row, const float *src,
		    uint32_t n)
{
	(void)k;
	memcpy(row, src, n * sizeof(*src));
}

/* A half-precision scale, then the numbers. */
static void put_q8_0(const struct pst_kernels *k, uint8_t *row,
		     const float *src, uint32_t n)
{
	_Alignas(64) int8_t q[PST_K_QBLOCK];
	uint16_t half;
	int32_t sum;
	float d;

	for (uint32_t i = 0; i < n; i += PST_K_QBLOCK) {
		k->quantize(q, &d, &sum, src + i, PST_K_QBLOCK);
		k->f32_to_f16(&half, &d, 1);
		memcpy(row, &half, sizeof(half));
		memcpy(row + sizeof(half), q, sizeof(q));
		row += sizeof(half) + sizeof(q);
	}
}

void pst_kv_put(const struct pst_fwd *f, const struct pst_kv *kv,
		uint32_t stream, uint8_t *row, const float *src, uint32_t n)
{
	static void (*const put[])(const struct pst_kernels *k, uint8_t *row,
				   const float *src, uint32_t n) = {
		[PST_KV_F16] = put_f16,
		[PST_KV_F32] = put_f32,
		[PST_KV_Q8_0] = put_q8_0,
	};

	put[pst_kv_stream_type(kv->type, stream)](f->k, row, src, n);
}

enum pst_ktype pst_kv_ktype(enum pst_kv_type type, uint32_t stream)
{
	static const enum pst_ktype of[] = {
		[PST_KV_F16] = PST_K_F16,
		[PST_KV_F32] = PST_K_F32,
		[PST_KV_Q8_0] = PST_K_Q8_0,
	};

	return of[pst_kv_stream_type(type, stream)];
}

void pst_carve_attn(const struct pst_fwd *f, struct carve *c,
		    struct attn_work *s, const struct pst_kattn *shape)
{
	s->queries_bytes =
		pst_align_up(shape->nr * sizeof(struct pst_kattn_query), 64);
	s->worker_bytes =
		s->queries_bytes +
		pst_align_up(pst_kattn_scratch_bytes(shape->hd_k, shape->hd_v,
						     shape->nr),
			     64);
	s->base = pst_carve(c, f->n_workers, s->worker_bytes);
}

uint32_t pst_attn_share(const struct pst_fwd *f, uint32_t nr, uint32_t sets)
{
	uint32_t parts = (f->n_workers + sets - 1) / sets;
	uint32_t share = (nr + parts - 1) / parts;

	/* Kernels take four queries at a time. */
	return PST_MIN((share + 3) / 4 * 4, PST_ATTN_QUERIES);
}

struct pst_kattn_query *pst_attn_begin(const struct attn_work *s,
				       uint32_t worker, struct pst_kattn *a)
{
	uint8_t *base = s->base + worker * s->worker_bytes;
	struct pst_kattn_query *query = (struct pst_kattn_query *)(void *)base;

	a->query = query;
	a->scratch = base + s->queries_bytes;
	return query;
}

void pst_attend(const struct pst_fwd *f, const struct pst_kv *kv,
		const struct pst_kattn *a)
{
	switch (kv->type) {
	case PST_KV_F16:
		f->k->attn_f16(a);
		break;
	case PST_KV_F32:
		f->k->attn_f32(a);
		break;
	case PST_KV_Q8_0:
		f->k->attn_q8_0(a);
		break;
	}
}

void pst_mixer_out(struct pst_fwd *f, const struct pst_weight *w, struct act *x,
		   uint32_t n)
{
	struct lin_item out = { .w = w,
				.x = &x->k,
				.nr_x = n,
				.y = f->tmp,
				.y_stride = f->m->hp.n_embd };

	if (pst_needs_q8(f, w))
		pst_quantize_rows(f, x, w->n_in, n);
	pst_linear(f, &out, 1);
}
