// SPDX-License-Identifier: MIT
/*
 * Attention, AVX-512; see pst_attn_tmpl.h.  No alignment; lanes past a key or
 * a value are masked, not read.
 */
#include "avx512_util.h"
#include "x86_priv.h"

#define LANES 16
#define VECS  4

typedef __m512 vec;

PST_K_INLINE vec vload(const float *p)
{
	return _mm512_loadu_ps(p);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	return _mm512_maskz_loadu_ps(first_lanes(nr), p);
}

PST_K_INLINE void vstore(float *p, vec v)
{
	_mm512_storeu_ps(p, v);
}

PST_K_INLINE void vstore_part(float *p, vec v, uint32_t nr)
{
	_mm512_mask_storeu_ps(p, first_lanes(nr), v);
}

PST_K_INLINE vec vset(float f)
{
	return _mm512_set1_ps(f);
}

PST_K_INLINE vec vmul(vec a, vec b)
{
	return _mm512_mul_ps(a, b);
}

PST_K_INLINE vec vsub(vec a, vec b)
{
	return _mm512_sub_ps(a, b);
}

PST_K_INLINE vec vadd(vec a, vec b)
{
	return _mm512_add_ps(a, b);
}

PST_K_INLINE vec vmax(vec a, vec b)
{
	return _mm512_max_ps(a, b);
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm512_fmadd_ps(a, b, c);
}

PST_K_INLINE vec vexp(vec v)
{
	return exp512(v);
}

PST_K_INLINE float vsum(vec v)
{
	return _mm512_reduce_add_ps(v);
}

PST_K_INLINE float vtop(vec v)
{
	return _mm512_reduce_max_ps(v);
}

/* Quarters of @a, @b, @c, @d: the @i-th ones, in order. */
PST_K_INLINE vec quarters(vec a, vec b, vec c, vec d, const int i)
{
	vec ab = i & 1 ? _mm512_shuffle_f32x4(a, b, 0xdd)
		       : _mm512_shuffle_f32x4(a, b, 0x88);
	vec cd = i & 1 ? _mm512_shuffle_f32x4(c, d, 0xdd)
		       : _mm512_shuffle_f32x4(c, d, 0x88);

	return i & 2 ? _mm512_shuffle_f32x4(ab, cd, 0xdd)
		     : _mm512_shuffle_f32x4(ab, cd, 0x88);
}

/* Within each quarter of four vectors: 4 x 4 turned. */
PST_K_INLINE void turn_quarters(vec *v)
{
	__m512d ab_lo = _mm512_castps_pd(_mm512_unpacklo_ps(v[0], v[1]));
	__m512d ab_hi = _mm512_castps_pd(_mm512_unpackhi_ps(v[0], v[1]));
	__m512d cd_lo = _mm512_castps_pd(_mm512_unpacklo_ps(v[2], v[3]));
	__m512d cd_hi = _mm512_castps_pd(_mm512_unpackhi_ps(v[2], v[3]));

	v[0] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_lo, cd_lo));
	v[1] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_lo, cd_lo));
	v[2] = _mm512_castpd_ps(_mm512_unpacklo_pd(ab_hi, cd_hi));
	v[3] = _mm512_castpd_ps(_mm512_unpackhi_pd(ab_hi, cd_hi));
}

PST_K_INLINE void vturn(vec *v)
{
	int i;

#pragma GCC unroll 4
	for (i = 0; i < 16; i += 4)
		turn_quarters(v + i);
#pragma GCC unroll 4
	for (i = 0; i < 4; i++) {
		vec a = v[i], b = v[i + 4], c = v[i + 8], d = v[i + 12];

		v[i] = quarters(a, b, c, d, 0);
		v[i + 4] = quarters(a, b, c, d, 1);
		v[i + 8] = quarters(a, b, c, d, 2);
		v[i + 12] = quarters(a, b, c, d, 3);
	}
}

#include "pst_attn_tmpl.h"

PST_K_INLINE vec row_f32(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + 4 * (size_t)i;

	if (nr == LANES)
		return _mm512_loadu_ps(p);
	return _mm512_maskz_loadu_ps(first_lanes(nr), p);
}

PST_K_INLINE vec row_f16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + 2 * (size_t)i;

	if (nr == LANES)
		return _mm512_cvtph_ps(_mm256_loadu_si256((const __m256i *)p));
	return _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(first_lanes(nr), p));
}

/* Sixteen of the 32 numbers of a block, which have a scale. */
PST_K_INLINE vec row_q8_0(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + i / 32 * PST_K_Q8_0_BYTES;
	__m128i q = _mm_loadu_si128((const __m128i *)(p + 2 + i % 32));

	(void)nr;
	return _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(q)),
			     _mm512_set1_ps(load_f16(p)));
}

static void pst_k_attn_f32_avx512(const struct pst_kattn *a)
{
	attend(a, row_f32);
}

static void pst_k_attn_f16_avx512(const struct pst_kattn *a)
{
	attend(a, row_f16);
}

static void pst_k_attn_q8_0_avx512(const struct pst_kattn *a)
{
	attend(a, row_q8_0);
}

void pst_k_fill_attn_avx512(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_avx512;
	k->attn_f16 = pst_k_attn_f16_avx512;
	k->attn_q8_0 = pst_k_attn_q8_0_avx512;
}
