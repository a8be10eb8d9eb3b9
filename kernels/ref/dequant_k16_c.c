// SPDX-License-Identifier: MIT
/*
 * The formats of pst_k16.h: IQ1, IQ2 and IQ3, TQ1_0, TQ2_0, Q1_0, Q2_0 and
 * NVFP4; dequantisation, and products with 8-bit activations: groups of 16 in
 * integers, what joins them in double.  n is a multiple of the type's block; no
 * alignment.
 */
#include "pst_k16.h"

static void put(float *y, const struct pst_k16 *v)
{
	int8_t code[16];
	int j;

	memcpy(code, v->codes, sizeof(code));
	for (j = 0; j < 16; j++)
		y[j] = v->scale * (float)code[j];
}

/* The group of 16 weights times its activations, which are of block @d. */
static double dot(const struct pst_k16 *v, const int8_t *x, float d)
{
	int8_t code[16];
	int j, sum = 0;

	memcpy(code, v->codes, sizeof(code));
	for (j = 0; j < 16; j++)
		sum += code[j] * x[j];
	return (double)v->scale * d * sum;
}

typedef double (*row_fn)(const uint8_t *p, const int8_t *q, const float *d,
			 uint32_t n);

static void mul_rows(const struct pst_kmul *m, row_fn row)
{
	const struct pst_kact *a = m->x;
	uint32_t r, i;

	for (i = 0; i < m->nr_x; i++) {
		size_t x = pst_k_xrow(m, i);

		for (r = 0; r < m->nr_rows; r++)
			m->y[i * m->y_stride + r] = (float)row(
				pst_k_row(m, r), a->q8 + x * a->stride,
				a->d + x * (a->stride / 32), m->n);
	}
}

/* Three functions for each type. */
#define DEFINE(type, name, elems, kind)                                   \
	static void pst_k_dequant_##name##_c(float *y, const void *row,   \
					     uint32_t n)                  \
	{                                                                 \
		const uint8_t *p = row;                                   \
		uint32_t i, g;                                            \
                                                                          \
		for (i = 0; i < n; i += elems, p += PST_K_##type##_BYTES) \
			for (g = 0; g < elems / 16; g++) {                \
				struct pst_k16 v = pst_k16_expand_##kind( \
					pst_k16_##name(p, g));            \
                                                                          \
				put(y + i + 16 * g, &v);                  \
			}                                                 \
	}                                                                 \
                                                                          \
	static double row_##name(const uint8_t *p, const int8_t *q,       \
				 const float *d, uint32_t n)              \
	{                                                                 \
		double y = 0;                                             \
		uint32_t i, g;                                            \
                                                                          \
		for (i = 0; i < n; i += elems, p += PST_K_##type##_BYTES) \
			for (g = 0; g < elems / 16; g++) {                \
				struct pst_k16 v = pst_k16_expand_##kind( \
					pst_k16_##name(p, g));            \
				uint32_t at = i + 16 * g;                 \
                                                                          \
				y += dot(&v, q + at, d[at / 32]);         \
			}                                                 \
		return y;                                                 \
	}                                                                 \
                                                                          \
	static void pst_k_mul_##name##_c(const struct pst_kmul *m)        \
	{                                                                 \
		mul_rows(m, row_##name);                                  \
	}

PST_K16_TYPES(DEFINE)

#define ENTRY(type, name, elems, kind)                                         \
	k->types[PST_K_##type] =                                               \
		(struct pst_ktype_ops){ elems, PST_K_##type##_BYTES,           \
					PST_KACT_Q8, pst_k_dequant_##name##_c, \
					pst_k_mul_##name##_c };

void pst_k_fill_dequant_k16_c(struct pst_kernels *k)
{
	PST_K16_TYPES(ENTRY)
}
