// SPDX-License-Identifier: MIT
/*
 * Reference products with 8-bit activations: the formats in blocks of 32, Q2_K
 * to Q6_K and IQ4_XS.
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

/* The minimum meets the sum of the activations: sum of (d q + m) x. */
static double block_q4_1(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	double d = pst_k_load_f16(p), min = pst_k_load_f16(p + 2);
	int8_t w[32];
	int j;

	for (j = 0; j < 16; j++) {
		w[j] = (int8_t)(p[4 + j] & 15);
		w[j + 16] = (int8_t)(p[4 + j] >> 4);
	}
	return x->d[b] *
	       (d * dot_i8(w, x->q + 32 * (size_t)b, 32) + min * x->sum[b]);
}

/* Fifth bits in a word at @p, the nibbles behind it. */
static void fives(int8_t w[32], const uint8_t *p)
{
	uint32_t qh = pst_k_load_u32(p);
	int j;

	for (j = 0; j < 16; j++) {
		int h0 = (int)(qh >> j & 1) << 4;
		int h1 = (int)(qh >> (j + 16) & 1) << 4;

		w[j] = (int8_t)((p[4 + j] & 15) | h0);
		w[j + 16] = (int8_t)((p[4 + j] >> 4) | h1);
	}
}

static double block_q5_0(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	int8_t w[32];
	int j;

	fives(w, p + 2);
	for (j = 0; j < 32; j++)
		w[j] = (int8_t)(w[j] - 16);
	return (double)pst_k_load_f16(p) * x->d[b] *
	       dot_i8(w, x->q + 32 * (size_t)b, 32);
}

static double block_q5_1(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	double d = pst_k_load_f16(p), min = pst_k_load_f16(p + 2);
	int8_t w[32];

	fives(w, p + 4);
	return x->d[b] *
	       (d * dot_i8(w, x->q + 32 * (size_t)b, 32) + min * x->sum[b]);
}

/* 32 weights whose codes index a table of 16. */
static int dot_table(const uint8_t *qs, const int8_t values[16],
		     const int8_t *x)
{
	int8_t w[32];
	int j;

	for (j = 0; j < 16; j++) {
		w[j] = values[qs[j] & 15];
		w[j + 16] = values[qs[j] >> 4];
	}
	return dot_i8(w, x, 32);
}

static double block_iq4_nl(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	return (double)pst_k_load_f16(p) * x->d[b] *
	       dot_table(p + 2, pst_k_iq4_values, x->q + 32 * (size_t)b);
}

static double block_mxfp4(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	return (double)pst_k_mxfp4_scale(p[0]) * x->d[b] *
	       dot_table(p + 1, pst_k_mxfp4_values, x->q + 32 * (size_t)b);
}

static double super_iq4_xs(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	int high = pst_k_load_u16(p + 2);
	double y = 0;
	uint32_t sub;

	for (sub = 0; sub < 8; sub++) {
		uint32_t xb = 8 * b + sub;
		int sc = p[4 + sub / 2] >> 4 * (sub % 2) & 15;

		sc |= (high >> 2 * sub & 3) << 4;
		y += (double)x->d[xb] * (sc - 32) *
		     dot_table(p + 8 + 16 * sub, pst_k_iq4_values,
			       x->q + 32 * (size_t)xb);
	}
	return y * pst_k_load_f16(p);
}

/* 32 weights of Q2_K and Q3_K in their two lower bits. */
static void low_pairs(int8_t w[32], const uint8_t *qs, uint32_t sub)
{
	uint32_t j;

	for (j = 0; j < 32; j++)
		w[j] = (int8_t)(qs[32 * (sub / 4) + j] >> 2 * (sub % 4) & 3);
}

static double super_q2_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	static const int8_t ones[16] = { 1, 1, 1, 1, 1, 1, 1, 1,
					 1, 1, 1, 1, 1, 1, 1, 1 };
	double d = pst_k_load_f16(p + 80), dmin = pst_k_load_f16(p + 82), y = 0;
	int8_t w[32];
	uint32_t i;

	for (i = 0; i < 16; i++) {
		const int8_t *xq = x->q + 256 * (size_t)b + 16 * i;

		low_pairs(w, p + 16, i / 2);
		y += x->d[8 * b + i / 2] *
		     (d * (p[i] & 15) * dot_i8(w + 16 * (i % 2), xq, 16) -
		      dmin * (p[i] >> 4) * dot_i8(ones, xq, 16));
	}
	return y;
}

static double super_q3_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	const uint8_t *s = p + 96;
	double y = 0;
	int8_t w[32];
	uint32_t i, j;

	for (i = 0; i < 16; i++) {
		const int8_t *xq = x->q + 256 * (size_t)b + 16 * i;
		int sc = i < 8 ? s[i] & 15 : s[i - 8] >> 4;

		sc |= (s[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
		low_pairs(w, p + 32, i / 2);
		for (j = 0; j < 32; j++)
			w[j] = (int8_t)(w[j] - (p[j] >> i / 2 & 1 ? 0 : 4));
		y += (double)x->d[8 * b + i / 2] * (sc - 32) *
		     dot_i8(w + 16 * (i % 2), xq, 16);
	}
	return y * pst_k_load_f16(p + 108);
}

/*
 * Q4_K, and Q5_K whose fifth bits are at @qh.  The minima meet the sums of the
 * activations: sum of (d sc q - dmin mn) x.
 */
static double super_q45_k(const uint8_t *p, const uint8_t *qh,
			  const uint8_t *qs, const struct xrow *x, uint32_t b)
{
	double d = pst_k_load_f16(p), dmin = pst_k_load_f16(p + 2), y = 0;
	uint8_t sc[8], mn[8];
	int8_t w[32];
	uint32_t sub, j;

	pst_k_unpack_k4(p + 4, sc, mn);
	for (sub = 0; sub < 8; sub++) {
		uint32_t xb = 8 * b + sub;
		int s;

		for (j = 0; j < 32; j++) {
			int q = qs[32 * (sub / 2) + j] >> 4 * (sub % 2) & 15;

			if (qh)
				q |= (qh[j] >> sub & 1) << 4;
			w[j] = (int8_t)q;
		}
		s = dot_i8(w, x->q + 32 * (size_t)xb, 32);
		y += x->d[xb] * (d * sc[sub] * s - dmin * mn[sub] * x->sum[xb]);
	}
	return y;
}

static double super_q4_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	return super_q45_k(p, NULL, p + 16, x, b);
}

static double super_q5_k(const uint8_t *p, const struct xrow *x, uint32_t b)
{
	return super_q45_k(p, p + 16, p + 48, x, b);
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

static void pst_k_mul_q4_1_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_Q4_1_BYTES, block_q4_1);
}

static void pst_k_mul_q5_1_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_Q5_1_BYTES, block_q5_1);
}

static void pst_k_mul_iq4_nl_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_IQ4_NL_BYTES, block_iq4_nl);
}

static void pst_k_mul_mxfp4_c(const struct pst_kmul *m)
{
	mul_blocks(m, 32, PST_K_MXFP4_BYTES, block_mxfp4);
}

static void pst_k_mul_q2_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q2_K_BYTES, super_q2_k);
}

static void pst_k_mul_q3_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q3_K_BYTES, super_q3_k);
}

static void pst_k_mul_q4_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q4_K_BYTES, super_q4_k);
}

static void pst_k_mul_q5_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q5_K_BYTES, super_q5_k);
}

static void pst_k_mul_q6_k_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_Q6_K_BYTES, super_q6_k);
}

static void pst_k_mul_iq4_xs_c(const struct pst_kmul *m)
{
	mul_blocks(m, PST_K_SUPER, PST_K_IQ4_XS_BYTES, super_iq4_xs);
}

void pst_k_fill_mul_q8_c(struct pst_kernels *k)
{
	k->types[PST_K_Q8_0].mul = pst_k_mul_q8_0_c;
	k->types[PST_K_Q4_0].mul = pst_k_mul_q4_0_c;
	k->types[PST_K_Q4_1].mul = pst_k_mul_q4_1_c;
	k->types[PST_K_Q5_0].mul = pst_k_mul_q5_0_c;
	k->types[PST_K_Q5_1].mul = pst_k_mul_q5_1_c;
	k->types[PST_K_IQ4_NL].mul = pst_k_mul_iq4_nl_c;
	k->types[PST_K_MXFP4].mul = pst_k_mul_mxfp4_c;
	k->types[PST_K_Q2_K].mul = pst_k_mul_q2_k_c;
	k->types[PST_K_Q3_K].mul = pst_k_mul_q3_k_c;
	k->types[PST_K_Q4_K].mul = pst_k_mul_q4_k_c;
	k->types[PST_K_Q5_K].mul = pst_k_mul_q5_k_c;
	k->types[PST_K_Q6_K].mul = pst_k_mul_q6_k_c;
	k->types[PST_K_IQ4_XS].mul = pst_k_mul_iq4_xs_c;
}
