// SPDX-License-Identifier: MIT
/*
 * Products with float activations, AVX-512: weights in F32, F16 and BF16.  Any
 * n; weights need no alignment; lanes past the end of a row are masked, not
 * read.  Products are fused and summed in 16 partial sums.
 */
#include "avx512_util.h"
#include "x86_priv.h"

enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 4,
	TILE_NR = 4
};

/* Values i..i + 15 of a row, those of the lanes in @k. */
typedef __m512 (*load_fn)(const uint8_t *row, uint32_t i, __mmask16 k);

PST_K_INLINE __m512 load_row_f32(const uint8_t *row, uint32_t i, __mmask16 k)
{
	return _mm512_maskz_loadu_ps(k, row + 4 * (size_t)i);
}

PST_K_INLINE __m512 load_row_f16(const uint8_t *row, uint32_t i, __mmask16 k)
{
	return _mm512_cvtph_ps(
		_mm256_maskz_loadu_epi16(k, row + 2 * (size_t)i));
}

PST_K_INLINE __m512 load_row_bf16(const uint8_t *row, uint32_t i, __mmask16 k)
{
	return bf16_ps(_mm256_maskz_loadu_epi16(k, row + 2 * (size_t)i));
}

/* One element type: how it is read, and its bytes. */
struct fmt {
	load_fn load;
	uint32_t bytes;
};

static const struct fmt fmt_f32 = { load_row_f32, 4 };
static const struct fmt fmt_f16 = { load_row_f16, 2 };
static const struct fmt fmt_bf16 = { load_row_bf16, 2 };

struct tile {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	const float *x[TILE_TOKENS];
	__m512 acc[TILE_ROWS][TILE_TOKENS];
};

PST_K_INLINE void step(struct tile *t, uint32_t c, __mmask16 k, int rows,
		       int tokens, load_fn load)
{
	__m512 w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = load(t->w[r], c, k);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m512 x = _mm512_maskz_loadu_ps(k, t->x[i] + c);

#pragma GCC unroll 4
		for (r = 0; r < rows; r++)
			t->acc[r][i] = _mm512_fmadd_ps(w[r], x, t->acc[r][i]);
	}
}

/* 64 columns from @c, a whole number of cache lines. */
PST_K_INLINE void steps(struct tile *t, uint32_t c, int rows, int tokens,
			const struct fmt *f)
{
	uint32_t j;
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		prefetch(t->w[r] + (size_t)c * f->bytes, t->ahead_bytes,
			 64 * f->bytes);
#pragma GCC unroll 4
	for (j = 0; j < 64; j += 16)
		step(t, c + j, 0xffff, rows, tokens, f->load);
}

PST_K_INLINE void tile_float(const struct pst_kmul *m, uint32_t r0, uint32_t i0,
			     int rows, int tokens, const struct fmt *f)
{
	struct tile t;
	uint32_t c;
	int r, i;

	t.ahead_bytes = (size_t)rows * m->row_bytes;
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++)
		t.x[i] = m->x->f32 +
			 pst_k_xrow(m, i0 + (uint32_t)i) * m->x->stride;
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, r0 + (uint32_t)r);
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			t.acc[r][i] = _mm512_setzero_ps();
	}
	for (c = 0; c + 64 <= m->n; c += 64)
		steps(&t, c, rows, tokens, f);
	for (; c + 16 <= m->n; c += 16)
		step(&t, c, 0xffff, rows, tokens, f->load);
	if (c < m->n)
		step(&t, c, first_lanes(m->n - c), rows, tokens, f->load);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] = _mm512_reduce_add_ps(t.acc[r][i]);
}

#include "pst_mul_float_tmpl.h"

void pst_k_fill_mul_float_avx512(struct pst_kernels *k)
{
	fill_mul_float(k);
}
