// SPDX-License-Identifier: MIT
/*
 * Attention, AVX2; see pst_attn_tmpl.h.  No alignment; nothing past a key or a
 * value is read.
 */
#include "avx2_util.h"
#include "x86_priv.h"

#define LANES 8
#define VECS  2

typedef __m256 vec;

PST_K_INLINE vec vload(const float *p)
{
	return _mm256_loadu_ps(p);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	return _mm256_maskload_ps(p, first_lanes(nr));
}

PST_K_INLINE void vstore(float *p, vec v)
{
	_mm256_storeu_ps(p, v);
}

PST_K_INLINE void vstore_part(float *p, vec v, uint32_t nr)
{
	_mm256_maskstore_ps(p, first_lanes(nr), v);
}

PST_K_INLINE vec vset(float f)
{
	return _mm256_set1_ps(f);
}

PST_K_INLINE vec vmul(vec a, vec b)
{
	return _mm256_mul_ps(a, b);
}

PST_K_INLINE vec vsub(vec a, vec b)
{
	return _mm256_sub_ps(a, b);
}

PST_K_INLINE vec vadd(vec a, vec b)
{
	return _mm256_add_ps(a, b);
}

PST_K_INLINE vec vmax(vec a, vec b)
{
	return _mm256_max_ps(a, b);
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}

PST_K_INLINE vec vexp(vec v)
{
	return exp8(v);
}

PST_K_INLINE float vsum(vec v)
{
	return sum8(v);
}

PST_K_INLINE float vtop(vec v)
{
	return max8(v);
}

/* Within each half of four vectors: 4 x 4 turned. */
PST_K_INLINE void turn_halves(vec *v)
{
	__m256d ab_lo = _mm256_castps_pd(_mm256_unpacklo_ps(v[0], v[1]));
	__m256d ab_hi = _mm256_castps_pd(_mm256_unpackhi_ps(v[0], v[1]));
	__m256d cd_lo = _mm256_castps_pd(_mm256_unpacklo_ps(v[2], v[3]));
	__m256d cd_hi = _mm256_castps_pd(_mm256_unpackhi_ps(v[2], v[3]));

	v[0] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_lo, cd_lo));
	v[1] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_lo, cd_lo));
	v[2] = _mm256_castpd_ps(_mm256_unpacklo_pd(ab_hi, cd_hi));
	v[3] = _mm256_castpd_ps(_mm256_unpackhi_pd(ab_hi, cd_hi));
}

PST_K_INLINE void vturn(vec *v)
{
	int i;

	turn_halves(v);
	turn_halves(v + 4);
#pragma GCC unroll 4
	for (i = 0; i < 4; i++) {
		vec a = v[i], b = v[i + 4];

		v[i] = _mm256_permute2f128_ps(a, b, 0x20);
		v[i + 4] = _mm256_permute2f128_ps(a, b, 0x31);
	}
}

#include "pst_attn_tmpl.h"

/* Eight of the 32 numbers of a block, which have a scale. */
PST_K_INLINE vec row_q8_0(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + i / 32 * PST_K_Q8_0_BYTES;
	__m128i q = _mm_loadl_epi64((const __m128i *)(p + 2 + i % 32));

	(void)nr;
	return _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(q)),
			     _mm256_set1_ps(load_f16(p)));
}

static void pst_k_attn_f32_avx2(const struct pst_kattn *a)
{
	attend(a, load_row_f32);
}

static void pst_k_attn_f16_avx2(const struct pst_kattn *a)
{
	attend(a, load_row_f16);
}

static void pst_k_attn_q8_0_avx2(const struct pst_kattn *a)
{
	attend(a, row_q8_0);
}

void pst_k_fill_attn_avx2(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_avx2;
	k->attn_f16 = pst_k_attn_f16_avx2;
	k->attn_q8_0 = pst_k_attn_q8_0_avx2;
}
