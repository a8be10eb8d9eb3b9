// SPDX-License-Identifier: MIT
/*
 * The gated delta rule and the short convolution, AVX-512; see
 * recur_x86_tmpl.h.
 */
#include "avx512_util.h"
#include "x86_priv.h"

#define LANES 16

typedef __m512 vec;
typedef __mmask16 lanes;

PST_K_INLINE vec vload(const float *p, lanes m)
{
	return _mm512_maskz_loadu_ps(m, p);
}

PST_K_INLINE void vstore(float *p, lanes m, vec v)
{
	_mm512_mask_storeu_ps(p, m, v);
}

PST_K_INLINE vec vpick(const float *p, uint32_t step, lanes m)
{
	const __m512i up = _mm512_set_epi32(15, 14, 13, 12, 11, 10, 9, 8, 7, 6,
					    5, 4, 3, 2, 1, 0);

	return _mm512_mask_i32gather_ps(
		_mm512_setzero_ps(), m,
		_mm512_mullo_epi32(up, _mm512_set1_epi32((int)step)), p, 4);
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

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm512_fmadd_ps(a, b, c);
}

PST_K_INLINE vec vsilu(vec v)
{
	__m512 e = exp512(_mm512_sub_ps(_mm512_setzero_ps(), v));

	return _mm512_div_ps(v, _mm512_add_ps(_mm512_set1_ps(1.0f), e));
}

#include "recur_x86_tmpl.h"

void pst_k_fill_recur_avx512(struct pst_kernels *k)
{
	k->delta = delta;
	k->conv = conv;
}
