// SPDX-License-Identifier: MIT
/*
 * Products with float activations, AVX-512: weights in F32, F16 and BF16; see
 * pst_mul_float_tmpl.h.  Lanes past the end of a row are masked, not read.
 */
#include "avx512_util.h"
#include "x86_priv.h"

#define ONE_ROWS 2
#define FEW_ROWS 4
#define LANES	 16
#define ROWS	 8
#define TOKENS	 3

typedef __m512 vec;

PST_K_INLINE vec vzero(void)
{
	return _mm512_setzero_ps();
}

PST_K_INLINE vec vload(const float *p)
{
	return _mm512_loadu_ps(p);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	return _mm512_maskz_loadu_ps(first_lanes(nr), p);
}

PST_K_INLINE vec vkeep(vec v)
{
	__asm__("" : "+v"(v));
	return v;
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm512_fmadd_ps(a, b, c);
}

PST_K_INLINE float vsum(vec v)
{
	return _mm512_reduce_add_ps(v);
}

PST_K_INLINE vec row_f32(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const float *p = (const float *)(row + 4 * (size_t)i);

	return nr == LANES ? vload(p) : vload_part(p, nr);
}

/* 16 halves. */
PST_K_INLINE __m256i row_halves(const uint8_t *row, uint32_t i, uint32_t nr)
{
	const uint8_t *p = row + 2 * (size_t)i;

	if (nr == LANES)
		return _mm256_loadu_si256((const __m256i *)p);
	return _mm256_maskz_loadu_epi16(first_lanes(nr), p);
}

PST_K_INLINE vec row_f16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	return _mm512_cvtph_ps(row_halves(row, i, nr));
}

PST_K_INLINE vec row_bf16(const uint8_t *row, uint32_t i, uint32_t nr)
{
	return bf16_ps(row_halves(row, i, nr));
}

#include "pst_mul_float_tmpl.h"

void pst_k_fill_mul_float_avx512(struct pst_kernels *k)
{
	fill_mul_float(k);
}
