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
	float32x4x2_t (*load8)(const uint8_t *row, size_t i);
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

/* @nr <= 8 values, zero behind them: the end of a row is copied. */
PST_K_INLINE float32x4x2_t load_row(const uint8_t *p, uint32_t nr,
				    const struct fmt *f)
{
	uint8_t part[32] = { 0 };

	if (nr == 8)
		return f->load8(p, 0);
	memcpy(part, p, nr * f->bytes);
	return f->load8(part, 0);
}

/* @nr <= 8 columns, @c on from where the tile is. */
PST_K_INLINE void step(struct tile *t, uint32_t c, uint32_t nr, int rows,
		       int tokens, const struct fmt *f)
{
	float32x4x2_t w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = load_row(t->w[r] + c * f->bytes, nr, f);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		float32x4x2_t x =
			load_row((const uint8_t *)(t->x[i] + c), nr, &fmt_f32);

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

PST_K_INLINE void advance(struct tile *t, uint32_t nr, int rows, int tokens,
			  const struct fmt *f)
{
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		t->w[r] += nr * f->bytes;
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++)
		t->x[i] += nr;
}

/* 32 columns, a whole number of cache lines. */
PST_K_INLINE void steps(struct tile *t, int rows, int tokens,
			const struct fmt *f)
{
	uint32_t j;
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		prefetch(t->w[r], t->ahead_bytes, 32 * f->bytes);
#pragma GCC unroll 4
	for (j = 0; j < 32; j += 8)
		step(t, j, 8, rows, tokens, f);
	advance(t, 32, rows, tokens, f);
}

PST_K_INLINE void tile_float(const struct pst_kmul *m, uint32_t r0, uint32_t i0,
			     int rows, int tokens, const struct fmt *f)
{
	uint32_t left = m->n;
	struct tile t;
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
	for (; left >= 32; left -= 32)
		steps(&t, rows, tokens, f);
	for (; left >= 8; left -= 8) {
		step(&t, 0, 8, rows, tokens, f);
		advance(&t, 8, rows, tokens, f);
	}
	if (left)
		step(&t, 0, left, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] =
				vaddvq_f32(vaddq_f32(t.acc[r][i].val[0],
						     t.acc[r][i].val[1]));
}

#include "pst_mul_float_tmpl.h"

PST_K_INLINE void dequant(float *y, const uint8_t *row, uint32_t n,
			  const struct fmt *f)
{
	float32x4x2_t v;
	size_t i;

	for (i = 0; i + 8 <= n; i += 8) {
		v = f->load8(row, i);
		vst1q_f32(y + i, v.val[0]);
		vst1q_f32(y + i + 4, v.val[1]);
	}
	if (i < n) {
		uint32_t left = n - (uint32_t)i;

		v = load_row(row + i * f->bytes, left, f);
		store_part(y + i, v.val[0], left < 4 ? left : 4);
		if (left > 4)
			store_part(y + i + 4, v.val[1], left - 4);
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
	fill_mul_float(k);
	k->types[PST_K_F16].dequant = pst_k_dequant_f16_neon;
	k->types[PST_K_BF16].dequant = pst_k_dequant_bf16_neon;
}
