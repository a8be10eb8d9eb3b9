// SPDX-License-Identifier: MIT
/*
 * Attention of queries over stored keys and values of any type.  Each query
 * by itself; scores and sums are taken in double.  No alignment is asked of
 * keys and values.
 */
#include <math.h>

#include "pst_kpriv.h"

typedef float (*load_fn)(const uint8_t *p, uint32_t i);

static float load_f32(const uint8_t *p, uint32_t i)
{
	return pst_k_bits_f32(pst_k_load_u32(p + 4 * (size_t)i));
}

static float load_f16(const uint8_t *p, uint32_t i)
{
	return pst_k_load_f16(p + 2 * (size_t)i);
}

static float load_q8_0(const uint8_t *p, uint32_t i)
{
	p += i / 32 * PST_K_Q8_0_BYTES;
	return pst_k_load_f16(p) * (float)(int8_t)p[2 + i % 32];
}

static double score(const struct pst_kattn *a, const struct pst_kattn_query *q,
		    uint32_t s, load_fn load)
{
	const uint8_t *key = a->k;
	double sum = 0;
	uint32_t i;

	key += (size_t)(s - a->first) * a->k_stride_bytes;
	for (i = 0; i < a->hd_k; i++)
		sum += (double)q->q[i] * (double)load(key, i);
	return sum * (double)q->scale;
}

/* A query after some of its positions; its output is not divided yet. */
struct way {
	double max; /* of the scores */
	double total; /* of e^(score - max) */
};

static struct way begin(const struct pst_kattn *a, uint32_t i)
{
	const struct pst_kattn_query *q = &a->query[i];
	const uint8_t *carry = a->carry;
	struct way w = { .max = -INFINITY };

	if (a->goes_on) {
		memcpy(&w, carry + i * (size_t)PST_K_ATTN_QUERY_BYTES,
		       sizeof(w));
		return w;
	}
	memset(q->out, 0, a->hd_v * sizeof(*q->out));
	if (q->sink)
		w = (struct way){ .max = (double)*q->sink, .total = 1 };
	return w;
}

static void attend_one(const struct pst_kattn *a, uint32_t query, load_fn load)
{
	const struct pst_kattn_query *q = &a->query[query];
	struct way w = begin(a, query);
	double *acc = a->scratch, max = w.max, total = w.total, fix = 1;
	uint32_t s, i;

	for (s = q->from; s < q->to; s++)
		max = fmax(max, score(a, q, s, load));
	if (max > w.max)
		fix = exp(w.max - max);
	total *= fix;
	for (i = 0; i < a->hd_v; i++)
		acc[i] = fix * (double)q->out[i];
	for (s = q->from; s < q->to; s++) {
		const uint8_t *v = a->v;
		double e = exp(score(a, q, s, load) - max);

		v += (size_t)(s - a->first) * a->v_stride_bytes;
		total += e;
		for (i = 0; i < a->hd_v; i++)
			acc[i] += e * (double)load(v, i);
	}
	for (i = 0; i < a->hd_v; i++)
		q->out[i] = (float)(a->unfinished ? acc[i] : acc[i] / total);
	w = (struct way){ .max = max, .total = total };
	if (a->unfinished)
		memcpy((uint8_t *)a->carry +
			       query * (size_t)PST_K_ATTN_QUERY_BYTES,
		       &w, sizeof(w));
}

static void attend(const struct pst_kattn *a, load_fn load)
{
	uint32_t i;

	for (i = 0; i < a->nr; i++)
		attend_one(a, i, load);
}

static void pst_k_attn_f32_c(const struct pst_kattn *a)
{
	attend(a, load_f32);
}

static void pst_k_attn_f16_c(const struct pst_kattn *a)
{
	attend(a, load_f16);
}

static void pst_k_attn_q8_0_c(const struct pst_kattn *a)
{
	attend(a, load_q8_0);
}

void pst_k_fill_attn_c(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_c;
	k->attn_f16 = pst_k_attn_f16_c;
	k->attn_q8_0 = pst_k_attn_q8_0_c;
}
