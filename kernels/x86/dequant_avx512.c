// SPDX-License-Identifier: MIT
/*
 * Dequantisation of a row, AVX-512; see dequant_x86_tmpl.h.  The same bits as the
 * reference.
 */
#include "avx512_util.h"
#include "x86_priv.h"

PST_K_INLINE void put_scaled(float *y, __m128i codes, float d)
{
	__m512 v = _mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(codes));

	_mm512_storeu_ps(y, _mm512_mul_ps(v, _mm512_set1_ps(d)));
}

PST_K_INLINE void put_affine(float *y, __m128i codes, float d, float m)
{
	__m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(codes));

	_mm512_storeu_ps(y, _mm512_fmadd_ps(v, _mm512_set1_ps(d),
					    _mm512_set1_ps(m)));
}

#include "dequant_x86_tmpl.h"
#include "dequant_k16_x86_tmpl.h"

static void pst_k_dequant_f16_avx512(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm512_mask_storeu_ps(y + i, k,
				      _mm512_cvtph_ps(_mm256_maskz_loadu_epi16(
					      k, p + 2 * (size_t)i)));
	}
}

static void pst_k_dequant_bf16_avx512(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += 16) {
		__mmask16 k = first_lanes(n - i);

		_mm512_mask_storeu_ps(y + i, k,
				      bf16_ps(_mm256_maskz_loadu_epi16(
					      k, p + 2 * (size_t)i)));
	}
}

void pst_k_fill_dequant_avx512(struct pst_kernels *k)
{
	set_dequant(k);
	set_k16(k);
	k->types[PST_K_F16].dequant = pst_k_dequant_f16_avx512;
	k->types[PST_K_BF16].dequant = pst_k_dequant_bf16_avx512;
}
