// SPDX-License-Identifier: MIT
/*
 * The gated delta rule and the short convolution, AVX2; see
 * recur_x86_tmpl.h.
 */
#include "avx2_util.h"
#include "x86_priv.h"

#define LANES 8

typedef __m256 vec;
typedef __m256i lanes;

PST_K_INLINE vec vload(const float *p, lanes m)
{
	return _mm256_maskload_ps(p, m);
}

PST_K_INLINE void vstore(float *p, lanes m, vec v)
{
	_mm256_maskstore_ps(p, m, v);
}

PST_K_INLINE vec vpick(const float *p, uint32_t step, lanes m)
{
	const __m256i up = _mm256_set_epi32(7, 6, 5, 4, 3, 2, 1, 0);

	return _mm256_mask_i32gather_ps(
		_mm256_setzero_ps(), p,
		_mm256_mullo_epi32(up, _mm256_set1_epi32((int)step)),
		_mm256_castsi256_ps(m), 4);
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

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}

PST_K_INLINE vec vsilu(vec v)
{
	__m256 e = exp8(_mm256_sub_ps(_mm256_setzero_ps(), v));

	return _mm256_div_ps(v, _mm256_add_ps(_mm256_set1_ps(1.0f), e));
}

#include "recur_x86_tmpl.h"

void pst_k_fill_recur_avx2(struct pst_kernels *k)
{
	k->delta = delta;
	k->conv = conv;
}
