// SPDX-License-Identifier: MIT
/*
 * Dequantisation of a row, AVX2; see dequant_x86_tmpl.h.  The same bits as the
 * reference.
 */
#include "avx2_util.h"
#include "x86_priv.h"

PST_K_INLINE void put_scaled(float *y, __m128i codes, float d)
{
	const __m256 scale = _mm256_set1_ps(d);
	__m256i a = _mm256_cvtepi8_epi32(codes);
	__m256i b = _mm256_cvtepi8_epi32(_mm_srli_si128(codes, 8));

	_mm256_storeu_ps(y, _mm256_mul_ps(_mm256_cvtepi32_ps(a), scale));
	_mm256_storeu_ps(y + 8, _mm256_mul_ps(_mm256_cvtepi32_ps(b), scale));
}

PST_K_INLINE void put_affine(float *y, __m128i codes, float d, float m)
{
	const __m256 scale = _mm256_set1_ps(d), min = _mm256_set1_ps(m);
	__m256i a = _mm256_cvtepu8_epi32(codes);
	__m256i b = _mm256_cvtepu8_epi32(_mm_srli_si128(codes, 8));

	_mm256_storeu_ps(y, _mm256_fmadd_ps(_mm256_cvtepi32_ps(a), scale, min));
	_mm256_storeu_ps(y + 8,
			 _mm256_fmadd_ps(_mm256_cvtepi32_ps(b), scale, min));
}

#include "dequant_x86_tmpl.h"
#include "dequant_k16_x86_tmpl.h"

static void pst_k_dequant_f16_avx2(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i, load8_f16(p, i));
	for (; i < n; i++)
		y[i] = load_f16(p + 2 * (size_t)i);
}

static void pst_k_dequant_bf16_avx2(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8)
		_mm256_storeu_ps(y + i, load8_bf16(p, i));
	for (; i < n; i++)
		y[i] = load_bf16(p + 2 * (size_t)i);
}

void pst_k_fill_dequant_avx2(struct pst_kernels *k)
{
	set_dequant(k);
	set_k16(k);
	k->types[PST_K_F16].dequant = pst_k_dequant_f16_avx2;
	k->types[PST_K_BF16].dequant = pst_k_dequant_bf16_avx2;
}
