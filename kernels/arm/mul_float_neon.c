// SPDX-License-Identifier: MIT
/*
 * Weights in F32, F16 and BF16, NEON: products with float activations, and
 * dequantisation.  Any n; weights need no alignment and nothing past a row is
 * read.  Products are fused and summed in 8 partial sums.
 */
#include "arm_priv.h"
#include "neon_util.h"

enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 4,
	TILE_NR = 2
};

/* One element type: how 8 values are read, and its bytes. */
struct fmt {
	float32x4x2_t (*load8)(const uint8_t *row, uint32_t i);
	uint32_t bytes;
};

static const struct fmt fmt_f32 = { load8_f32, 4 };
static const struct fmt fmt_f16 = { load8_f16, 2 };
static const struct fmt fmt_bf16 = { load8_bf16, 2 };

struct tile {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	const float *x[TILE_TOKENS];
	float32x4x2_t acc[TILE_ROWS][TILE_TOKENS];
};

/* Values @c to @c + @nr of a row, zero behind them: the end is copied. */
PST_K_INLINE float32x4x2_t load_row(const uint8_t *row, uint32_t c, uint32_t nr,
				    const struct fmt *f)
{
	uint8_t part[32] = { 0 };

	if (nr == 8)
		return f->load8(row, c);
	memcpy(part, row + (size_t)c * f->bytes, nr * f->bytes);
	return f->load8(part, 0);
}

/* @nr <= 8 columns from @c */
PST_K_INLINE void step(struct tile *t, uint32_t c, uint32_t nr, int rows,
		       int tokens, const struct fmt *f)
{
	float32x4x2_t w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = load_row(t->w[r], c, nr, f);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		float32x4x2_t x =
			load_row((const uint8_t *)t->x[i], c, nr, &fmt_f32);

#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			float32x4x2_t *acc = &t->acc[r][i];

			acc->val[0] =
				vfmaq_f32(acc->val[0], w[r].val[0], x.val[0]);
			acc->val[1] =
				vfmaq_f32(acc->val[1], w[r].val[1], x.val[1]);
		}
	}
}

/* 32 columns from @c, a whole number of cache lines. */
PST_K_INLINE void steps(struct tile *t, uint32_t c, int rows, int tokens,
			const struct fmt *f)
{
	uint32_t j;
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		prefetch(t->w[r] + (size_t)c * f->bytes, t->ahead_bytes,
			 32 * f->bytes);
#pragma GCC unroll 4
	for (j = 0; j < 32; j += 8)
		step(t, c + j, 8, rows, tokens, f);
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
			t.acc[r][i].val[0] = t.acc[r][i].val[1] =
				vdupq_n_f32(0);
	}
	for (c = 0; c + 32 <= m->n; c += 32)
		steps(&t, c, rows, tokens, f);
	for (; c + 8 <= m->n; c += 8)
		step(&t, c, 8, rows, tokens, f);
	if (c < m->n)
		step(&t, c, m->n - c, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] =
				vaddvq_f32(vaddq_f32(t.acc[r][i].val[0],
						     t.acc[r][i].val[1]));
}

PST_K_INLINE void tile_f32(const struct pst_kmul *m, uint32_t r, uint32_t i,
			   int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_f32);
}

static void pst_k_mul_f32_neon(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_f32);
}

PST_K_INLINE void tile_f16(const struct pst_kmul *m, uint32_t r, uint32_t i,
			   int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_f16);
}

static void pst_k_mul_f16_neon(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_f16);
}

PST_K_INLINE void tile_bf16(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_float(m, r, i, nr, nt, &fmt_bf16);
}

static void pst_k_mul_bf16_neon(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_bf16);
}

PST_K_INLINE void dequant(float *y, const uint8_t *row, uint32_t n,
			  const struct fmt *f)
{
	float32x4x2_t v;
	uint32_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		v = f->load8(row, i);
		vst1q_f32(y + i, v.val[0]);
		vst1q_f32(y + i + 4, v.val[1]);
	}
	if (i < n) {
		v = load_row(row, i, n - i, f);
		store_part(y + i, v.val[0], n - i < 4 ? n - i : 4);
		if (n - i > 4)
			store_part(y + i + 4, v.val[1], n - i - 4);
	}
}

static void pst_k_dequant_f16_neon(float *y, const void *row, uint32_t n)
{
	dequant(y, row, n, &fmt_f16);
}

static void pst_k_dequant_bf16_neon(float *y, const void *row, uint32_t n)
{
	dequant(y, row, n, &fmt_bf16);
}

void pst_k_fill_mul_float_neon(struct pst_kernels *k)
{
	k->types[PST_K_F32].mul = pst_k_mul_f32_neon;
	k->types[PST_K_F16].mul = pst_k_mul_f16_neon;
	k->types[PST_K_BF16].mul = pst_k_mul_bf16_neon;
	k->types[PST_K_F16].dequant = pst_k_dequant_f16_neon;
	k->types[PST_K_BF16].dequant = pst_k_dequant_bf16_neon;
}
