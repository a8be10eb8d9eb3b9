// SPDX-License-Identifier: MIT
/*
 * Products with float activations, AVX2: weights in F32, F16 and BF16; see
 * pst_mul_float_tmpl.h.
 */
#include "avx2_util.h"
#include "x86_priv.h"

#define ONE_ROWS 4
#define FEW_ROWS 2
#define LANES	 8
#define ROWS	 4
#define TOKENS	 3

typedef __m256 vec;

PST_K_INLINE vec vzero(void)
{
	return _mm256_setzero_ps();
}

PST_K_INLINE vec vload(const float *p)
{
	return _mm256_loadu_ps(p);
}

PST_K_INLINE vec vload_part(const float *p, uint32_t nr)
{
	return _mm256_maskload_ps(p, first_lanes(nr));
}

PST_K_INLINE vec vkeep(vec v)
{
	__asm__("" : "+v"(v));
	return v;
}

PST_K_INLINE vec vfma(vec a, vec b, vec c)
{
	return _mm256_fmadd_ps(a, b, c);
}

PST_K_INLINE float vsum(vec v)
{
	return sum8(v);
}

#define row_f32	 load_row_f32
#define row_f16	 load_row_f16
#define row_bf16 load_row_bf16

#include "pst_mul_float_tmpl.h"

void pst_k_fill_mul_float_avx2(struct pst_kernels *k)
{
	fill_mul_float(k);
}
