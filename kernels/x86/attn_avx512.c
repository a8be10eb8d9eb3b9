// SPDX-License-Identifier: MIT
/*
 * Attention of one query head, AVX-512, keys and values float or half.  No
 * alignment; lanes past a key or a value are masked, not read.  Products are
 * fused and scores summed in 16 partial sums.
 */
#include "avx512_util.h"
#include "x86_priv.h"

enum {
	NR_KEYS = 4,
	NR_CHUNKS = 8
};

/* Values i..i + 15 of a key or value, those of the lanes in @k. */
typedef __m512 (*load_fn)(const uint8_t *p, uint32_t i, __mmask16 k);

PST_K_INLINE __m512 load_f32(const uint8_t *p, uint32_t i, __mmask16 k)
{
	return _mm512_maskz_loadu_ps(k, p + 4 * (size_t)i);
}

PST_K_INLINE __m512 load_half(const uint8_t *p, uint32_t i, __mmask16 k)
{
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(k, p + 2 * (size_t)i));
}

/* Scores of @nr positions from @s: that many sums run side by side. */
PST_K_INLINE void score(const struct pst_kattn *a, uint32_t s, int nr,
			load_fn load)
{
	const uint8_t *key = (const uint8_t *)a->k + s * a->k_stride_bytes;
	__m512 acc[NR_KEYS];
	uint32_t c;
	int j;

#pragma GCC unroll 4
	for (j = 0; j < nr; j++)
		acc[j] = _mm512_setzero_ps();
	for (c = 0; c < a->hd_k; c += 16) {
		__mmask16 k = first_lanes(a->hd_k - c);
		__m512 q = _mm512_maskz_loadu_ps(k, a->q + c);

#pragma GCC unroll 4
		for (j = 0; j < nr; j++)
			acc[j] = _mm512_fmadd_ps(
				q,
				load(key + (size_t)j * a->k_stride_bytes, c, k),
				acc[j]);
	}
#pragma GCC unroll 4
	for (j = 0; j < nr; j++)
		a->scores[s + (uint32_t)j] =
			_mm512_reduce_add_ps(acc[j]) * a->scale;
}

/* @nr times 16 values of the output from @c; the last has the lanes in @k. */
PST_K_INLINE void values(const struct pst_kattn *a, uint32_t c, int nr,
			 __mmask16 k, float inv, load_fn load)
{
	const uint8_t *v = a->v;
	__m512 acc[NR_CHUNKS];
	uint32_t s;
	int j;

#pragma GCC unroll 8
	for (j = 0; j < nr; j++)
		acc[j] = _mm512_setzero_ps();
	for (s = 0; s < a->nr_kv; s++, v += a->v_stride_bytes) {
		__m512 p = _mm512_set1_ps(a->scores[s]);

#pragma GCC unroll 8
		for (j = 0; j < nr; j++)
			acc[j] = _mm512_fmadd_ps(
				p, load(v, c + 16 * (uint32_t)j, k), acc[j]);
	}
#pragma GCC unroll 8
	for (j = 0; j < nr; j++)
		_mm512_mask_storeu_ps(a->out + c + 16 * j, k,
				      _mm512_mul_ps(acc[j],
						    _mm512_set1_ps(inv)));
}

PST_K_INLINE void attend(const struct pst_kattn *a, load_fn load)
{
	uint32_t s = 0, c = 0;
	float inv;

	for (; s + NR_KEYS <= a->nr_kv; s += NR_KEYS)
		score(a, s, NR_KEYS, load);
	for (; s < a->nr_kv; s++)
		score(a, s, 1, load);
	inv = 1.0f / exp_row512(a->scores, a->nr_kv, a->sink);
	for (; c + 16 * NR_CHUNKS <= a->hd_v; c += 16 * NR_CHUNKS)
		values(a, c, NR_CHUNKS, 0xffff, inv, load);
	for (; c + 64 <= a->hd_v; c += 64)
		values(a, c, 4, 0xffff, inv, load);
	for (; c < a->hd_v; c += 16)
		values(a, c, 1, first_lanes(a->hd_v - c), inv, load);
}

static void pst_k_attn_f32_avx512(const struct pst_kattn *a)
{
	attend(a, load_f32);
}

static void pst_k_attn_f16_avx512(const struct pst_kattn *a)
{
	attend(a, load_half);
}

void pst_k_fill_attn_avx512(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_avx512;
	k->attn_f16 = pst_k_attn_f16_avx512;
}
