/* SPDX-License-Identifier: MIT */
/*
 * Private to kernels/: number formats in portable C, block layouts, and the
 * functions with which each ISA fills the table.  Must not name an intrinsic:
 * it is included by files of every ISA and of none.
 */
#ifndef PST_KPRIV_H
#define PST_KPRIV_H

#include <string.h>

#include "pst_kernels.h"

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__,
	       "tensor blocks are read in their little-endian file layout");

/* Bytes of a block; the fields are named in the file that reads them. */
enum {
	PST_K_SUPER = 256, /* weights in a super-block of the K formats */
	PST_K_Q4_0_BYTES = 18,
	PST_K_Q4_1_BYTES = 20,
	PST_K_Q5_0_BYTES = 22,
	PST_K_Q5_1_BYTES = 24,
	PST_K_Q8_0_BYTES = 34,
	PST_K_Q2_K_BYTES = 84,
	PST_K_Q3_K_BYTES = 110,
	PST_K_Q4_K_BYTES = 144,
	PST_K_Q5_K_BYTES = 176,
	PST_K_Q6_K_BYTES = 210,
	PST_K_IQ4_NL_BYTES = 18,
	PST_K_IQ4_XS_BYTES = 136,
	PST_K_MXFP4_BYTES = 17,
};

/* Values of the 4-bit codes of IQ4_NL and IQ4_XS. */
static const int8_t pst_k_iq4_values[16] = { -127, -104, -83, -65, -49, -35,
					     -22,  -10,	 1,   13,  25,	38,
					     53,   69,	 89,  113 };

/* Twice the E2M1 value of each code: the scale is halved to match. */
static const int8_t pst_k_mxfp4_values[16] = { 0, 1,  2,  3,  4,  6,  8,  12,
					       0, -1, -2, -3, -4, -6, -8, -12 };

/* Its configuration, or the default. */
const struct pst_kconfig *pst_kconfig_of_product(const struct pst_kmul *m);

static inline uint16_t pst_k_load_u16(const void *p)
{
	uint16_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline uint32_t pst_k_load_u32(const void *p)
{
	uint32_t v;

	memcpy(&v, p, sizeof(v));
	return v;
}

static inline float pst_k_bits_f32(uint32_t bits)
{
	float f;

	memcpy(&f, &bits, sizeof(f));
	return f;
}

static inline uint32_t pst_k_f32_bits(float f)
{
	uint32_t bits;

	memcpy(&bits, &f, sizeof(bits));
	return bits;
}

static inline float pst_k_f16_f32(uint16_t h)
{
	uint32_t sign = (uint32_t)(h & 0x8000) << 16;
	uint32_t mag = h & 0x7fff;
	float sub;

	if (mag > 0x7c00) /* NaN: made quiet, as the hardware does */
		return pst_k_bits_f32(sign | 0x7fc00000 | mag << 13);
	if (mag == 0x7c00)
		return pst_k_bits_f32(sign | 0x7f800000);
	if (mag >= 0x0400)
		return pst_k_bits_f32(sign | ((mag << 13) + (112u << 23)));
	sub = (float)mag * 0x1p-24f; /* exact */
	return pst_k_bits_f32(sign | pst_k_f32_bits(sub));
}

/* Round to nearest even; what rounds past 65504 becomes infinite. */
static inline uint16_t pst_k_f32_f16(float f)
{
	uint32_t bits = pst_k_f32_bits(f);
	uint16_t sign = (uint16_t)(bits >> 16 & 0x8000);
	uint32_t mag = bits & 0x7fffffff;
	float sub;

	if (mag > 0x7f800000)
		return (uint16_t)(sign | 0x7e00 | (mag >> 13 & 0x3ff));
	if (mag >= 0x477ff000)
		return (uint16_t)(sign | 0x7c00);
	if (mag >= 0x38800000) {
		mag += 0xfff + (mag >> 13 & 1);
		return (uint16_t)(sign | ((mag >> 13) - (112u << 10)));
	}
	/* Half denormals: adding 0.5 leaves the rounding to the float adder,
	 * whose last bit is then worth 2^-24. */
	sub = pst_k_bits_f32(mag) + 0.5f;
	return (uint16_t)(sign | (pst_k_f32_bits(sub) - 0x3f000000));
}

static inline float pst_k_load_f16(const void *p)
{
	return pst_k_f16_f32(pst_k_load_u16(p));
}

/*
 * Half of 2^(e - 127); the two smallest are float denormals.  Both cases are
 * worked out, so that a compiler may choose without a jump.
 */
static inline float pst_k_mxfp4_scale(uint8_t e)
{
	uint32_t normal = ((uint32_t)e - 1) << 23;
	uint32_t tiny = 0x00200000u << (e & 1);

	return pst_k_bits_f32(e < 2 ? tiny : normal);
}

/*
 * The 12 bytes of Q4_K and Q5_K hold eight 6-bit scales and eight 6-bit
 * minima; the last four of each have their upper two bits in the bytes of the
 * first four.
 */
static inline void pst_k_unpack_k4(const uint8_t s[12], uint8_t sc[8],
				   uint8_t mn[8])
{
	int j;

	for (j = 0; j < 4; j++) {
		sc[j] = s[j] & 63;
		mn[j] = s[j + 4] & 63;
		sc[j + 4] = (uint8_t)((s[j + 8] & 15) | (s[j] >> 6) << 4);
		mn[j + 4] = (uint8_t)((s[j + 8] >> 4) | (s[j + 4] >> 6) << 4);
	}
}

static inline const uint8_t *pst_k_row(const struct pst_kmul *m, uint32_t r)
{
	return (const uint8_t *)m->w + (size_t)r * m->row_bytes;
}

static inline size_t pst_k_xrow(const struct pst_kmul *m, uint32_t i)
{
	return m->idx ? m->idx[i] : i;
}

typedef void (*pst_k_dequant_fn)(float *y, const void *row, uint32_t n);

/**
 * pst_k_mul_dequant_c() - mul of a type by way of its float values
 * @m: as for any mul
 * @dequant: makes one row float
 */
void pst_k_mul_dequant_c(const struct pst_kmul *m, pst_k_dequant_fn dequant);

/* Each of these puts its functions over what the table holds already. */
void pst_k_fill_dequant_float_c(struct pst_kernels *k);
void pst_k_fill_dequant_q32_c(struct pst_kernels *k);
void pst_k_fill_dequant_k_c(struct pst_kernels *k);
void pst_k_fill_dequant_iq4_c(struct pst_kernels *k);
void pst_k_fill_dequant_k16_c(struct pst_kernels *k);
void pst_k_fill_mul_q8_c(struct pst_kernels *k);
void pst_k_fill_quantize_c(struct pst_kernels *k);
void pst_k_fill_vector_c(struct pst_kernels *k);
void pst_k_fill_rope_c(struct pst_kernels *k);
void pst_k_fill_attn_c(struct pst_kernels *k);
void pst_k_fill_recur_c(struct pst_kernels *k);

/**
 * pst_k_overlay_isa() - what this build has for the sets in a mask
 * @k: filled with the reference
 * @cpu_mask: PST_CPU_*
 */
void pst_k_overlay_isa(struct pst_kernels *k, uint32_t cpu_mask);

/** pst_k_overlay_avx2() - needs PST_CPU_AVX2 */
void pst_k_overlay_avx2(struct pst_kernels *k);

/** pst_k_overlay_avxvnni() - needs PST_CPU_AVX2 and PST_CPU_AVXVNNI */
void pst_k_overlay_avxvnni(struct pst_kernels *k);

/** pst_k_overlay_avx512() - needs PST_CPU_AVX2 and PST_CPU_AVX512 */
void pst_k_overlay_avx512(struct pst_kernels *k);

/** pst_k_overlay_vnni() - needs those and PST_CPU_VNNI */
void pst_k_overlay_vnni(struct pst_kernels *k);

/** pst_k_overlay_neon() - needs PST_CPU_NEON */
void pst_k_overlay_neon(struct pst_kernels *k);

/** pst_k_overlay_dotprod() - needs PST_CPU_NEON and PST_CPU_DOTPROD */
void pst_k_overlay_dotprod(struct pst_kernels *k);

#endif
