// SPDX-License-Identifier: MIT
/*
 * The K formats: super-blocks of 256 weights with integer scales per 16 or 32
 * weights and half-precision scales over those: Q2_K, Q3_K, Q4_K, Q5_K, Q6_K.
 * n is a multiple of 256; no alignment.
 */
#include "pst_kpriv.h"

/* u8 scales[16]; u8 qs[64]; f16 d; f16 dmin */
static void super_q2_k(float *y, const uint8_t *p)
{
	const uint8_t *qs = p + 16;
	float d = pst_k_load_f16(p + 80);
	float dmin = pst_k_load_f16(p + 82);
	int e;

	for (e = 0; e < PST_K_SUPER; e++) {
		int half = e / 128, shift = 2 * (e % 128 / 32);
		int q = qs[32 * half + e % 32] >> shift & 3;
		int sc = p[e / 16];

		y[e] = d * (float)(sc & 15) * (float)q -
		       dmin * (float)(sc >> 4);
	}
}

/* u8 hmask[32]; u8 qs[64]; u8 scales[12]; f16 d */
static void super_q3_k(float *y, const uint8_t *p)
{
	const uint8_t *qs = p + 32, *b = p + 96;
	float d = pst_k_load_f16(p + 108);
	int e;

	for (e = 0; e < PST_K_SUPER; e++) {
		int half = e / 128, group = e / 32, i = e / 16;
		int low = qs[32 * half + e % 32] >> 2 * (group % 4) & 3;
		int q = low - (p[e % 32] >> group & 1 ? 0 : 4);
		int sc = i < 8 ? b[i] & 15 : b[i - 8] >> 4;

		sc |= (b[8 + i % 4] >> 2 * (i / 4) & 3) << 4;
		y[e] = d * (float)(sc - 32) * (float)q;
	}
}

/* f16 d; f16 dmin; u8 scales[12]; u8 qs[128] */
static void super_q4_k(float *y, const uint8_t *p)
{
	const uint8_t *qs = p + 16;
	float d = pst_k_load_f16(p);
	float dmin = pst_k_load_f16(p + 2);
	uint8_t sc[8], mn[8];
	int e;

	pst_k_unpack_k4(p + 4, sc, mn);
	for (e = 0; e < PST_K_SUPER; e++) {
		int sub = e / 32;
		int q = qs[32 * (sub / 2) + e % 32] >> 4 * (sub % 2) & 15;

		y[e] = d * (float)sc[sub] * (float)q - dmin * (float)mn[sub];
	}
}

/* f16 d; f16 dmin; u8 scales[12]; u8 qh[32]; u8 qs[128] */
static void super_q5_k(float *y, const uint8_t *p)
{
	const uint8_t *qh = p + 16, *qs = p + 48;
	float d = pst_k_load_f16(p);
	float dmin = pst_k_load_f16(p + 2);
	uint8_t sc[8], mn[8];
	int e;

	pst_k_unpack_k4(p + 4, sc, mn);
	for (e = 0; e < PST_K_SUPER; e++) {
		int sub = e / 32;
		int q = qs[32 * (sub / 2) + e % 32] >> 4 * (sub % 2) & 15;

		q |= (qh[e % 32] >> sub & 1) << 4;
		y[e] = d * (float)sc[sub] * (float)q - dmin * (float)mn[sub];
	}
}

/* u8 ql[128]; u8 qh[64]; i8 scales[16]; f16 d */
static void super_q6_k(float *y, const uint8_t *p)
{
	const int8_t *sc = (const int8_t *)p + 192;
	float d = pst_k_load_f16(p + 208);
	int e;

	for (e = 0; e < PST_K_SUPER; e++) {
		int half = e / 128, group = e % 128 / 32;
		int low = p[64 * half + e % 64] >> 4 * (group / 2) & 15;
		int high = p[128 + 32 * half + e % 32] >> 2 * group & 3;

		y[e] = d * (float)sc[e / 16] * (float)((low | high << 4) - 32);
	}
}

static void pst_k_dequant_q2_k_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q2_K_BYTES)
		super_q2_k(y + i, p);
}

static void pst_k_dequant_q3_k_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q3_K_BYTES)
		super_q3_k(y + i, p);
}

static void pst_k_dequant_q4_k_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q4_K_BYTES)
		super_q4_k(y + i, p);
}

static void pst_k_dequant_q5_k_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q5_K_BYTES)
		super_q5_k(y + i, p);
}

static void pst_k_dequant_q6_k_c(float *y, const void *row, uint32_t n)
{
	const uint8_t *p = row;
	uint32_t i;

	for (i = 0; i < n; i += PST_K_SUPER, p += PST_K_Q6_K_BYTES)
		super_q6_k(y + i, p);
}

static void set_type(struct pst_ktype_ops *t, uint32_t bytes,
		     pst_k_dequant_fn dequant)
{
	t->block_elems = PST_K_SUPER;
	t->block_bytes = bytes;
	t->act = PST_KACT_Q8;
	t->dequant = dequant;
}

void pst_k_fill_dequant_k_c(struct pst_kernels *k)
{
	set_type(&k->types[PST_K_Q2_K], PST_K_Q2_K_BYTES, pst_k_dequant_q2_k_c);
	set_type(&k->types[PST_K_Q3_K], PST_K_Q3_K_BYTES, pst_k_dequant_q3_k_c);
	set_type(&k->types[PST_K_Q4_K], PST_K_Q4_K_BYTES, pst_k_dequant_q4_k_c);
	set_type(&k->types[PST_K_Q5_K], PST_K_Q5_K_BYTES, pst_k_dequant_q5_k_c);
	set_type(&k->types[PST_K_Q6_K], PST_K_Q6_K_BYTES, pst_k_dequant_q6_k_c);
}
