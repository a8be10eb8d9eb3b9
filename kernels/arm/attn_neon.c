// SPDX-License-Identifier: MIT
/*
 * Attention of one query head, NEON, keys and values float or half.  No
 * alignment; nothing past a key or a value is read.  Products are fused and
 * scores summed in 8 partial sums.
 */
#include "arm_priv.h"
#include "neon_util.h"

enum {
	NR_KEYS = 4,
	NR_CHUNKS = 8
};

/* How one element type is read: 8 values, or one. */
struct fmt {
	float32x4x2_t (*load8)(const uint8_t *p, size_t i);
	float (*load1)(const uint8_t *p, size_t i);
};

PST_K_INLINE float load1_f32(const uint8_t *p, size_t i)
{
	return pst_k_bits_f32(pst_k_load_u32(p + 4 * i));
}

PST_K_INLINE float load1_f16(const uint8_t *p, size_t i)
{
	return load_f16(p + 2 * i);
}

static const struct fmt fmt_f32 = { load8_f32, load1_f32 };
static const struct fmt fmt_f16 = { load8_f16, load1_f16 };

/* Scores of @nr positions from @s: that many sums run side by side. */
PST_K_INLINE void score(const struct pst_kattn *a, uint32_t s, int nr,
			const struct fmt *f)
{
	const uint8_t *key[NR_KEYS];
	float32x4x2_t acc[NR_KEYS];
	float rest[NR_KEYS];
	size_t c;
	int j;

#pragma GCC unroll 4
	for (j = 0; j < nr; j++) {
		key[j] = (const uint8_t *)a->k +
			 (s + (size_t)j) * a->k_stride_bytes;
		acc[j].val[0] = acc[j].val[1] = vdupq_n_f32(0);
		rest[j] = 0;
	}
	for (c = 0; c + 8 <= a->hd_k; c += 8) {
		float32x4_t q0 = vld1q_f32(a->q + c);
		float32x4_t q1 = vld1q_f32(a->q + c + 4);

#pragma GCC unroll 4
		for (j = 0; j < nr; j++) {
			float32x4x2_t k = f->load8(key[j], c);

			acc[j].val[0] = vfmaq_f32(acc[j].val[0], q0, k.val[0]);
			acc[j].val[1] = vfmaq_f32(acc[j].val[1], q1, k.val[1]);
		}
	}
	for (; c < a->hd_k; c++)
#pragma GCC unroll 4
		for (j = 0; j < nr; j++)
			rest[j] += a->q[c] * f->load1(key[j], c);
#pragma GCC unroll 4
	for (j = 0; j < nr; j++)
		a->scores[s + (uint32_t)j] =
			(vaddvq_f32(vaddq_f32(acc[j].val[0], acc[j].val[1])) +
			 rest[j]) *
			a->scale;
}

/* @nr times 8 values of the output from @c */
PST_K_INLINE void values(const struct pst_kattn *a, size_t c, int nr, float inv,
			 const struct fmt *f)
{
	const uint8_t *v = a->v;
	float32x4x2_t acc[NR_CHUNKS];
	uint32_t s;
	int j;

#pragma GCC unroll 8
	for (j = 0; j < nr; j++)
		acc[j].val[0] = acc[j].val[1] = vdupq_n_f32(0);
	for (s = 0; s < a->nr_kv; s++, v += a->v_stride_bytes) {
		float32x4_t p = vdupq_n_f32(a->scores[s]);

#pragma GCC unroll 8
		for (j = 0; j < nr; j++) {
			float32x4x2_t x = f->load8(v, c + 8 * (size_t)j);

			acc[j].val[0] = vfmaq_f32(acc[j].val[0], p, x.val[0]);
			acc[j].val[1] = vfmaq_f32(acc[j].val[1], p, x.val[1]);
		}
	}
#pragma GCC unroll 8
	for (j = 0; j < nr; j++) {
		float *out = a->out + c + 8 * j;

		vst1q_f32(out, vmulq_n_f32(acc[j].val[0], inv));
		vst1q_f32(out + 4, vmulq_n_f32(acc[j].val[1], inv));
	}
}

PST_K_INLINE void attend(const struct pst_kattn *a, const struct fmt *f)
{
	const uint8_t *v = a->v;
	uint32_t s = 0;
	size_t c = 0;
	float inv;

	for (; s + NR_KEYS <= a->nr_kv; s += NR_KEYS)
		score(a, s, NR_KEYS, f);
	for (; s < a->nr_kv; s++)
		score(a, s, 1, f);
	inv = 1.0f / exp_row(a->scores, a->nr_kv, a->sink);
	for (; c + 8 * NR_CHUNKS <= a->hd_v; c += 8 * NR_CHUNKS)
		values(a, c, NR_CHUNKS, inv, f);
	for (; c + 8 <= a->hd_v; c += 8)
		values(a, c, 1, inv, f);
	for (; c < a->hd_v; c++) {
		float sum = 0;

		for (s = 0; s < a->nr_kv; s++)
			sum += a->scores[s] *
			       f->load1(v + s * a->v_stride_bytes, c);
		a->out[c] = sum * inv;
	}
}

static void pst_k_attn_f32_neon(const struct pst_kattn *a)
{
	attend(a, &fmt_f32);
}

static void pst_k_attn_f16_neon(const struct pst_kattn *a)
{
	attend(a, &fmt_f16);
}

void pst_k_fill_attn_neon(struct pst_kernels *k)
{
	k->attn_f32 = pst_k_attn_f32_neon;
	k->attn_f16 = pst_k_attn_f16_neon;
}
