// SPDX-License-Identifier: MIT
/*
 * Attention of one query head over stored keys and values, float or half.
 * Scores and sums are taken in double.  No alignment is asked of keys and
 * values.
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

static float score(const struct pst_kattn *a, const uint8_t *key, load_fn load)
{
	double sum = 0;
	uint32_t i;

	for (i = 0; i < a->hd_k; i++)
		sum += (double)a->q[i] * (double)load(key, i);
	return (float)(sum * (double)a->scale);
}

static void attend(const struct pst_kattn *a, load_fn load)
{
	const uint8_t *k = a->k, *v = a->v;
	float max = -INFINITY;
	double total = 0;
	uint32_t s, i;

	for (s = 0; s < a->nr_kv; s++) {
		a->scores[s] = score(a, k + s * a->k_stride_bytes, load);
		max = a->scores[s] > max ? a->scores[s] : max;
	}
	for (s = 0; s < a->nr_kv; s++) {
		double e = exp((double)a->scores[s] - (double)max);

		a->scores[s] = (float)e;
		total += e;
	}
	if (a->sink)
		total += exp((double)*a->sink - (double)max);
	for (i = 0; i < a->hd_v; i++) {
		double sum = 0;

		for (s = 0; s < a->nr_kv; s++)
			sum += (double)a->scores[s] *
			       (double)load(v + s * a->v_stride_bytes, i);
		a->out[i] = (float)(sum / total);
	}
}

static void pst_k_attn_f32_c(const struct pst_kattn *a)
{
	attend(a, load_f32);
}

static void pst_k_attn_f16_c(const struct pst_kattn *a)
{
	attend(a, load_f16);
}

void pst_k_fill_attn_c(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_c;
	k->attn_f16 = pst_k_attn_f16_c;
}
