// SPDX-License-Identifier: MIT
/*
 * Reference products with 8-bit activations: Q8_0, Q4_0, Q5_0, Q4_K and Q6_K.
 * Per block of 32 weights the codes are multiplied with the codes of the
 * activations in integers; the two scales join afterwards, in double, so that
 * the one rounding is that of the result.
 */
#include "pst_kpriv.h"

/* One activation row as the dot products below see it. */
struct xrow {
	const int8_t *q;
	const float *d;
	const int32_t *sum;
};

static int dot_i8(const int8_t *w, const int8_t *x, int n)
{
	int i, sum = 0;

	for (i = 0; i < n; i++)
		sum += w[i] * x[i];
	return sum;
}

static double block_q8_0(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	int s = dot_i8((const int8_t *)p + 2, x->q + 32 * (size_t)b, 32);

	return (double)pst_k_load_f16(p) * x->d[b] * s;
}

static double block_q4_0(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	int8_t w[32];
	int j;

	for (j = 0; j < 16; j++) {
		w[j] = (int8_t)((p[2 + j] & 15) - 8);
		w[j + 16] = (int8_t)((p[2 + j] >> 4) - 8);
	}
	return (double)pst_k_load_f16(p) * x->d[b] *
	       dot_i8(w, x->q + 32 * (size_t)b, 32);
}

static double block_q5_0(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	uint32_t qh = pst_k_load_u32(p + 2);
	int8_t w[32];
	int j;

	for (j = 0; j < 16; j++) {
		int h0 = (int)(qh >> j & 1) << 4;
		int h1 = (int)(qh >> (j + 16) & 1) << 4;

		w[j] = (int8_t)(((p[6 + j] & 15) | h0) - 16);
		w[j + 16] = (int8_t)(((p[6 + j] >> 4) | h1) - 16);
	}
	return (double)pst_k_load_f16(p) * x->d[b] *
	       dot_i8(w, x->q + 32 * (size_t)b, 32);
}

/* The minima meet the sums of the activations: sum of (d sc q - dmin mn) x. */
static double super_q4_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	double d = pst_k_load_f16(p), dmin = pst_k_load_f16(p + 2), y = 0;
	uint8_t sc[8], mn[8];
	int8_t w[32];
	uint32_t sub, j;

	pst_k_unpack_k4(p + 4, sc, mn);
	for (sub = 0; sub < 8; sub++) {
		const uint8_t *qs = p + 16 + 32 * (sub / 2);
		uint32_t xb = 8 * b + sub;
		int s;

		for (j = 0; j < 32; j++)
			w[j] = (int8_t)(qs[j] >> 4 * (sub % 2) & 15);
		s = dot_i8(w, x->q + 32 * (size_t)xb, 32);
		y += x->d[xb] * (d * sc[sub] * s - dmin * mn[sub] * x->sum[xb]);
	}
	return y;
}

static double super_q6_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	const int8_t *sc = (const int8_t *)p + 192;
	double y = 0;
	int8_t w[32];
	uint32_t sub, j;

	for (sub = 0; sub < 8; sub++) {
		uint32_t half = sub / 4, group = sub % 4, xb = 8 * b + sub;
		const uint8_t *ql = p + 64 * half + 32 * (group % 2);
		const uint8_t *qh = p + 128 + 32 * half;
		const int8_t *xq = x->q + 32 * (size_t)xb;

		for (j = 0; j < 32; j++) {
			int low = ql[j] >> 4 * (group / 2) & 15;
			int high = qh[j] >> 2 * group & 3;

			w[j] = (int8_t)((low | high << 4) - 32);
		}
		y += (double)x->d[xb] *
		     (sc[2 * sub] * dot_i8(w, xq, 16) +
		      sc[2 * sub + 1] * dot_i8(w + 16, xq + 16, 16));
	}
	return y * pst_k_load_f16(p + 208);
}

typedef double (*block_fn)(const uint8_t *p, const struct xrow *x, uint32_t b);

static void mul_blocks(const struct pst_kmul *m, uint32_t elems, uint32_t bytes,
		       block_fn block)
{
	const struct pst_kact *a = m->x;
	uint32_t r, i, b;

	for (i = 0; i < m->nr_x; i++) {
		size_t row = pst_k_xrow(m, i);
		struct xrow x = { a->q8 + row * a->stride,
				  a->d + row * (a->stride / 32),
				  a->sum + row * (a->stride / 32) };

		for (r = 0; r < m->nr_rows; r++) {
			const uint8_t *p = pst_k_row(m, r);
			double y = 0;

			for (b = 0; b < m->n / elems; b++)
				y += block(p + (size_t)b * bytes, &x, b);
			m->y[i * m->y_stride + r] = (float)y;
		}
	}
}

static void pst_k_mul_q8_0_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_Q8_0_BYTES, block_q8_0);
}

static void pst_k_mul_q4_0_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_Q4_0_BYTES, block_q4_0);
}

static void pst_k_mul_q5_0_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_Q5_0_BYTES, block_q5_0);
}

static void pst_k_mul_q4_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q4_K_BYTES, super_q4_k);
}

static void pst_k_mul_q6_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q6_K_BYTES, super_q6_k);
}

void pst_k_fill_mul_q8_c(struct pst_kernels *k)
{
	k->types[PST_K_Q8_0].mul = pst_k_mul_q8_0_c;
	k->types[PST_K_Q4_0].mul = pst_k_mul_q4_0_c;
	k->types[PST_K_Q5_0].mul = pst_k_mul_q5_0_c;
	k->types[PST_K_Q4_K].mul = pst_k_mul_q4_k_c;
	k->types[PST_K_Q6_K].mul = pst_k_mul_q6_k_c;
}
