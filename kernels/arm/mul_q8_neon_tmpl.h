/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations for any format that a struct fmt describes,
 * and its dequantisation.  Included by the file of an ISA after it has defined
 *
 *	dot16(acc, w, x)  acc + w x of 16 signed bytes, four to each lane
 *
 * Weights are taken 256 at a time, in chunks of 32.  Four integer sums that
 * have a scale each, of 32 or of 16 weights, are brought into the lanes of one
 * vector, a unit; so they meet their scales, the offset of the codes and the
 * minima without anything being spread.  Integer parts are those of the
 * reference; the float sums are bounded by a few eps times the sum of
 * |scale x code x activation|.  Reads nothing past a row.
 */
#ifndef PST_K_MUL_Q8_NEON_TMPL_H
#define PST_K_MUL_Q8_NEON_TMPL_H

#include "neon_util.h"
#include "pst_ktypes.h"

/* Tiles: 32 registers hold what four pairs need. */
enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 2,
	TILE_NR = 2,
	UNITS = 4 /* at most, in 256 weights */
};

/* The codes of 32 weights. */
struct codes {
	int8x16_t half[2];
};

/* Of 256 weights, a vector for each unit. */
struct wscale {
	float32x4_t scale[UNITS];
	float32x4_t min[UNITS];
};

/**
 * struct fmt - one format: weight = scale x (code - offset) - min
 * @bytes: of 256 weights
 * @offset: of the codes
 * @sub16: whether a scale and a minimum cover 16 weights, else 32
 * @has_min: whether there are minima
 * @has_tail: whether a row may end within 256 weights
 * @long_codes: whether @codes is so much that one copy of it for each unit
 *	would cost more than knowing the unit beforehand gains
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c, signed bytes
 */
struct fmt {
	uint32_t bytes;
	int offset;
	bool sub16;
	bool has_min;
	bool has_tail;
	bool long_codes;
	struct wscale (*scales)(const uint8_t *p, uint32_t nr);
	struct codes (*codes)(const uint8_t *p, uint32_t c);
};

struct tile {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	struct xrow x[TILE_TOKENS];
	float32x4_t acc[TILE_ROWS][TILE_TOKENS];
	struct wscale ws[TILE_ROWS];
	int32x4_t p[TILE_ROWS][TILE_TOKENS][4]; /* sums of a unit */
};

PST_K_INLINE struct wscale no_scales(void)
{
	struct wscale s;
	int u;

#pragma GCC unroll 4
	for (u = 0; u < UNITS; u++)
		s.scale[u] = s.min[u] = vdupq_n_f32(0);
	return s;
}

PST_K_INLINE uint32_t unit_chunks(const struct fmt *f)
{
	return f->sub16 ? 2 : 4;
}

/* Lane l has the sum of the lanes of p[l]. */
PST_K_INLINE int32x4_t sums4(const int32x4_t p[4])
{
	return vpaddq_s32(vpaddq_s32(p[0], p[1]), vpaddq_s32(p[2], p[3]));
}

/* Scales of the activations of a unit, of which @nr chunks are there. */
PST_K_INLINE float32x4_t x_scales(const float *d, uint32_t nr,
				  const struct fmt *f)
{
	float32x2_t two;

	if (!f->sub16)
		return load_part(d, nr);
	two = nr == 2 ? vld1_f32(d) : vset_lane_f32(*d, vdup_n_f32(0), 0);
	return vzip1q_f32(vcombine_f32(two, two), vcombine_f32(two, two));
}

/* Sums of the codes of the activations of a unit. */
PST_K_INLINE int32x4_t x_sums(const struct xrow *x, uint32_t nr,
			      const struct fmt *f)
{
	int32_t part[4] = { 0 };
	int32x4_t p[4];
	uint32_t l;

	if (f->sub16) {
#pragma GCC unroll 4
		for (l = 0; l < 4; l++) {
			p[l] = vdupq_n_s32(0);
			if (l < 2 * nr)
				p[l] = dot16(p[l], vdupq_n_s8(1),
					     vld1q_s8(x->q + 16 * l));
		}
		return sums4(p);
	}
	if (nr == 4)
		return vld1q_s32(x->sum);
	memcpy(part, x->sum, nr * sizeof(*part));
	return vld1q_s32(part);
}

/* A chunk: lane (or lanes) @l of the unit's sums. */
PST_K_INLINE void chunk(int32x4_t p[4], uint32_t l, const struct codes *w,
			const int8x16_t x[2], const struct fmt *f)
{
	const int32x4_t zero = vdupq_n_s32(0);

	if (f->sub16) {
		p[2 * l] = dot16(zero, w->half[0], x[0]);
		p[2 * l + 1] = dot16(zero, w->half[1], x[1]);
	} else {
		p[l] = dot16(dot16(zero, w->half[0], x[0]), w->half[1], x[1]);
	}
}

/*
 * The sums of unit @u, of which @nr chunks are there, meet their scales; the
 * activations move on.
 */
PST_K_INLINE void join(struct tile *t, uint32_t u, uint32_t nr, int rows,
		       int tokens, const struct fmt *f)
{
	int r, i;

#pragma GCC unroll 2
	for (i = 0; i < tokens; i++) {
		struct xrow *x = &t->x[i];
		float32x4_t d = x_scales(x->d, nr, f), d_sum = d;
		int32x4_t sum = vdupq_n_s32(0);

		if (f->offset || f->has_min)
			sum = x_sums(x, nr, f);
		if (f->has_min)
			d_sum = vmulq_f32(d, vcvtq_f32_s32(sum));
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			float32x4_t *acc = &t->acc[r][i];
			int32x4_t s = sums4(t->p[r][i]);

			if (f->offset)
				s = vmlsq_n_s32(s, sum, f->offset);
			if (f->has_min)
				*acc = vfmsq_f32(*acc, t->ws[r].min[u], d_sum);
			*acc = vfmaq_f32(*acc, vcvtq_f32_s32(s),
					 vmulq_f32(t->ws[r].scale[u], d));
		}
		x->q += 32 * nr;
		x->d += nr;
		x->sum += nr;
	}
}

/* Chunk @c of 256 weights, the one at @l of its unit. */
PST_K_INLINE void chunks_at(struct tile *t, uint32_t c, uint32_t l, int rows,
			    int tokens, const struct fmt *f)
{
	struct codes w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = f->codes(t->w[r], c);
#pragma GCC unroll 2
	for (i = 0; i < tokens; i++) {
		const int8_t *q = t->x[i].q + 32 * l;
		const int8x16_t x[2] = { vld1q_s8(q), vld1q_s8(q + 16) };

#pragma GCC unroll 4
		for (r = 0; r < rows; r++)
			chunk(t->p[r][i], l, &w[r], x, f);
	}
}

PST_K_INLINE void unit(struct tile *t, uint32_t u, int rows, int tokens,
		       const struct fmt *f)
{
	const uint32_t chunks = unit_chunks(f);
	uint32_t l;

#pragma GCC unroll 4
	for (l = 0; l < chunks; l++)
		chunks_at(t, u * chunks + l, l, rows, tokens, f);
	join(t, u, chunks, rows, tokens, f);
}

/* 256 weights. */
PST_K_INLINE void group(struct tile *t, int rows, int tokens,
			const struct fmt *f)
{
	const uint32_t chunks = unit_chunks(f);
	uint32_t u;
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		prefetch(t->w[r], t->ahead_bytes, f->bytes);
		t->ws[r] = f->scales(t->w[r], 8);
	}
	if (f->long_codes) {
#pragma GCC unroll 1
		for (u = 0; u < 8 / chunks; u++)
			unit(t, u, rows, tokens, f);
	} else {
#pragma GCC unroll 4
		for (u = 0; u < 8 / chunks; u++)
			unit(t, u, rows, tokens, f);
	}
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		t->w[r] += f->bytes;
}

/*
 * The last @nr < 8 blocks of 32.  On a copy, since what is indexed by a variable
 * lies in memory and not in registers.
 */
PST_K_INLINE void tail(struct tile *tile, uint32_t nr, int rows, int tokens,
		       const struct fmt *f)
{
	const uint32_t chunks = unit_chunks(f);
	struct tile t = *tile;
	uint32_t u, l;
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		t.ws[r] = f->scales(t.w[r], nr);
#pragma GCC unroll 1
	for (u = 0; u * chunks < nr; u++) {
		uint32_t left = min_u32(nr - u * chunks, chunks);

		memset(t.p, 0, sizeof(t.p));
#pragma GCC unroll 1
		for (l = 0; l < left; l++)
			chunks_at(&t, u * chunks + l, l, rows, tokens, f);
		join(&t, u, left, rows, tokens, f);
	}
	memcpy(tile->acc, t.acc, sizeof(t.acc));
}

PST_K_INLINE void tile_q8(const struct pst_kmul *m, uint32_t r0, uint32_t i0,
			  int rows, int tokens, const struct fmt *f)
{
	uint32_t nr_blocks = m->n / 32, b;
	struct tile t;
	int r, i;

	t.ahead_bytes = (size_t)rows * m->row_bytes;
#pragma GCC unroll 2
	for (i = 0; i < tokens; i++)
		t.x[i] = x_row(m, i0 + (uint32_t)i);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, r0 + (uint32_t)r);
#pragma GCC unroll 2
		for (i = 0; i < tokens; i++)
			t.acc[r][i] = vdupq_n_f32(0);
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		group(&t, rows, tokens, f);
	if (f->has_tail && b < nr_blocks)
		tail(&t, nr_blocks - b, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 2
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] = vaddvq_f32(t.acc[r][i]);
}

/* y[0..16) = d * code + m, which is one rounding as in the reference. */
PST_K_INLINE void put16(float *y, int8x16_t codes, float d, float m,
			bool has_min)
{
	int16x8_t h[2] = { vmovl_s8(vget_low_s8(codes)), vmovl_high_s8(codes) };
	int j;

#pragma GCC unroll 4
	for (j = 0; j < 4; j++) {
		int32x4_t q = j % 2 ? vmovl_high_s16(h[j / 2])
				    : vmovl_s16(vget_low_s16(h[j / 2]));
		float32x4_t v = vcvtq_f32_s32(q);

		/* A zero that is added would take the sign of a product's. */
		if (has_min)
			v = vfmaq_f32(vdupq_n_f32(m), v, vdupq_n_f32(d));
		else
			v = vmulq_n_f32(v, d);
		vst1q_f32(y + 4 * j, v);
	}
}

/* Chunk @c of a row, its scales among those of 256 weights. */
PST_K_INLINE void dequant_chunk(float *y, const uint8_t *p,
				const struct wscale *ws, uint32_t c,
				const struct fmt *f)
{
	const int8x16_t offset = vdupq_n_s8((int8_t)f->offset);
	struct codes w = f->codes(p, c);
	uint32_t h;

#pragma GCC unroll 2
	for (h = 0; h < 2; h++) {
		uint32_t l = f->sub16 ? 2 * c + h : c;

		put16(y + 16 * h, vsubq_s8(w.half[h], offset),
		      ws->scale[l / 4][l % 4], -ws->min[l / 4][l % 4],
		      f->has_min);
	}
}

/*
 * A row's first @n weights.  A scale times a code is exact in float, so fusing
 * the minimum is harmless: the bits of the reference.
 */
PST_K_INLINE void dequant_row(float *y, const uint8_t *p, uint32_t n,
			      const struct fmt *f)
{
	uint32_t i, c;

	for (i = 0; i < n; i += PST_K_SUPER, p += f->bytes) {
		uint32_t nr = min_u32((n - i) / 32, 8);
		struct wscale ws = f->scales(p, nr);

		for (c = 0; c < nr; c++)
			dequant_chunk(y + i + 32 * c, p, &ws, c, f);
	}
}

PST_K_INLINE uint8x16_t low_nibbles(uint8x16_t v)
{
	return vandq_u8(v, vdupq_n_u8(15));
}

PST_K_INLINE struct codes codes_of(uint8x16_t a, uint8x16_t b)
{
	struct codes c = { { vreinterpretq_s8_u8(a), vreinterpretq_s8_u8(b) } };

	return c;
}

/* 16 bytes: their low, then their high nibbles. */
PST_K_INLINE struct codes nibbles(const uint8_t *p)
{
	uint8x16_t v = vld1q_u8(p);

	return codes_of(low_nibbles(v), vshrq_n_u8(v, 4));
}

/* What codes of 4 bits stand for. */
PST_K_INLINE struct codes lookup(struct codes q, const int8_t values[16])
{
	const int8x16_t table = vld1q_s8(values);
	struct codes c = { { vqtbl1q_s8(table, vreinterpretq_u8_s8(q.half[0])),
			     vqtbl1q_s8(table,
					vreinterpretq_u8_s8(q.half[1])) } };

	return c;
}

/* Two bits of each weight of chunk @c; 32 bytes hold four chunks. */
PST_K_INLINE struct codes pairs(const uint8_t *qs, uint32_t c)
{
	const uint8_t *p = qs + 32 * (c / 4);
	int shift = (int)(2 * (c % 4));

	return codes_of(vandq_u8(vld1q_u8(p) >> shift, vdupq_n_u8(3)),
			vandq_u8(vld1q_u8(p + 16) >> shift, vdupq_n_u8(3)));
}

/* 255 in the bytes whose bit is set in @bits. */
PST_K_INLINE struct codes bit_masks(uint32_t bits)
{
	static const uint8_t spread[32] = { 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1,
					    1, 1, 1, 1, 1, 2, 2, 2, 2, 2, 2,
					    2, 2, 3, 3, 3, 3, 3, 3, 3, 3 };
	const uint8x16_t bit =
		vreinterpretq_u8_u64(vdupq_n_u64(0x8040201008040201ULL));
	uint8x16_t v = vreinterpretq_u8_u32(vdupq_n_u32(bits));

	return codes_of(vtstq_u8(vqtbl1q_u8(v, vld1q_u8(spread)), bit),
			vtstq_u8(vqtbl1q_u8(v, vld1q_u8(spread + 16)), bit));
}

/* Sixteen integers of 8 bits times @d to four units. */
PST_K_INLINE void scale16(float32x4_t out[4], int8x16_t v, float d)
{
	int16x8_t h[2] = { vmovl_s8(vget_low_s8(v)), vmovl_high_s8(v) };
	int j;

#pragma GCC unroll 4
	for (j = 0; j < 4; j++) {
		int32x4_t q = j % 2 ? vmovl_high_s16(h[j / 2])
				    : vmovl_s16(vget_low_s16(h[j / 2]));

		out[j] = vmulq_n_f32(vcvtq_f32_s32(q), d);
	}
}

/* Eight integers of 16 bits times @d to two units. */
PST_K_INLINE void scale8(float32x4_t out[2], int16x8_t v, float d)
{
	out[0] = vmulq_n_f32(vcvtq_f32_s32(vmovl_s16(vget_low_s16(v))), d);
	out[1] = vmulq_n_f32(vcvtq_f32_s32(vmovl_high_s16(v)), d);
}

/* The functions of a row of pst_ktypes.h. */
#define DEFINE_MUL(type, name, ...)                                         \
	PST_K_INLINE void tile_##name(const struct pst_kmul *m, uint32_t r, \
				      uint32_t i, int nr, int nt)           \
	{                                                                   \
		tile_q8(m, r, i, nr, nt, &fmt_##name);                      \
	}                                                                   \
                                                                            \
	static void mul_##name(const struct pst_kmul *m)                    \
	{                                                                   \
		tile_mul(m, TILE_NR, TILE_TOKENS, tile_##name);             \
	}

#define DEFINE_DEQUANT(type, name, ...)                                   \
	static void dequant_##name(float *y, const void *row, uint32_t n) \
	{                                                                 \
		dequant_row(y, row, n, &fmt_##name);                      \
	}

#define SET_DEQUANT(type, name, ...) \
	k->types[PST_K_##type].dequant = dequant_##name;

#endif
