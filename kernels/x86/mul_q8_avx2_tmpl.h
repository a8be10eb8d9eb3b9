/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations, AVX2, for any format that a struct fmt
 * describes; included before the formats.
 *
 * Weights are taken 256 at a time, in eight chunks of 32.  Codes are unsigned
 * with an offset (those that use dot_i8() keep their sign); the 8 partial
 * integer sums of a chunk are exact.  Per 256 weights the scales of weights and
 * activations are multiplied once; each chunk spreads the one or two that it
 * needs over its 8 lanes.  Reads nothing past a row.
 */
#ifndef PST_K_MUL_Q8_AVX2_TMPL_H
#define PST_K_MUL_Q8_AVX2_TMPL_H

#include "avx2_util.h"
#include "pst_ktypes.h"

/* The largest tile: 16 registers hold the sums and scales of four pairs. */
enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 2,
	TILE_NR = 2
};

/* Whether a format has minima, and of how many weights each is. */
enum min {
	NO_MIN,
	MIN32,
	MIN16
};

/* Of 256 weights: one per 32, or one per 16, the second half in *upper. */
struct wscale {
	__m256 scale;
	__m256 scale_upper;
	__m256 min;
	__m256 min_upper;
};

#define NO_SCALES                                                              \
	{                                                                      \
		_mm256_setzero_ps(), _mm256_setzero_ps(), _mm256_setzero_ps(), \
			_mm256_setzero_ps()                                    \
	}

/**
 * struct fmt - one format
 * @bytes: of 256 weights
 * @offset: of the codes
 * @sub16: whether a scale covers 16 weights, else 32
 * @min: what wscale.min is used for; MIN16 only with @sub16
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c
 * @dot: of 32 bytes; lane l has the products of bytes 4l..4l+3
 */
struct fmt {
	uint32_t bytes;
	int offset;
	bool sub16;
	enum min min;
	bool has_tail;
	struct wscale (*scales)(const uint8_t *p, uint32_t nr);
	__m256i (*codes)(const uint8_t *p, uint32_t c);
	__m256i (*dot)(__m256i w, __m256i x);
};

struct xrow {
	const int8_t *q;
	const float *d;
	const int32_t *sum;
};

struct tile {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	struct xrow x[TILE_TOKENS];
	__m256 acc[TILE_ROWS][TILE_TOKENS];
	__m256 scale[TILE_ROWS][TILE_TOKENS];
	__m256 upper[TILE_ROWS][TILE_TOKENS];
};

/* Unsigned codes of at most 128, so that two products fit in 16 bits. */
PST_K_INLINE __m256i dot_u8(__m256i w, __m256i x)
{
	return _mm256_madd_epi16(_mm256_maddubs_epi16(w, x),
				 _mm256_set1_epi16(1));
}

/* Signed codes: the sign of w moves to x. */
PST_K_INLINE __m256i dot_i8(__m256i w, __m256i x)
{
	return dot_u8(_mm256_abs_epi8(w), _mm256_sign_epi8(x, w));
}

/* Sums of 16 activations each, of 128. */
PST_K_INLINE __m256 sums16(const int8_t *x)
{
	const __m256i order = _mm256_set_epi32(7, 3, 6, 2, 5, 1, 4, 0);
	const __m256i ones = _mm256_set1_epi8(1);
	__m256i v[4];
	int c;

#pragma GCC unroll 4
	for (c = 0; c < 4; c++)
		v[c] = dot_u8(ones, _mm256_loadu_si256(
					    (const __m256i *)(x + 32 * c)));
	v[0] = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]),
				 _mm256_hadd_epi32(v[2], v[3]));
	/* Lane 4 h + c has the half h of chunk c. */
	return _mm256_cvtepi32_ps(_mm256_permutevar8x32_epi32(v[0], order));
}

/* Scale products, and the minima, of token @i, whose scales are @d. */
PST_K_INLINE void scales16(struct tile *t, int i, __m256 d, int rows,
			   const struct wscale *ws, const struct fmt *f)
{
	const __m256i twice = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
	const __m256i twice_upper = _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4);
	__m256 lo = _mm256_permutevar8x32_ps(d, twice);
	__m256 hi = _mm256_permutevar8x32_ps(d, twice_upper);
	__m256 sum_lo = lo, sum_hi = hi;
	int r;

	if (f->min == MIN16) {
		sum_lo = _mm256_mul_ps(lo, sums16(t->x[i].q));
		sum_hi = _mm256_mul_ps(hi, sums16(t->x[i].q + 128));
	}
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t->scale[r][i] = _mm256_mul_ps(ws[r].scale, lo);
		t->upper[r][i] = _mm256_mul_ps(ws[r].scale_upper, hi);
		if (f->min == NO_MIN)
			continue;
		t->acc[r][i] =
			_mm256_fnmadd_ps(ws[r].min, sum_lo, t->acc[r][i]);
		t->acc[r][i] =
			_mm256_fnmadd_ps(ws[r].min_upper, sum_hi, t->acc[r][i]);
	}
}

/* The same of the @nr blocks of 32 from block @b, for all tokens. */
PST_K_INLINE void scales(struct tile *t, uint32_t b, uint32_t nr, int rows,
			 int tokens, const struct fmt *f)
{
	const __m256i k = first_lanes(nr);
	struct wscale ws[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		ws[r] = f->scales(t->w[r], nr);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m256 d = _mm256_maskload_ps(t->x[i].d + b, k), sum = d;

		if (f->sub16) {
			scales16(t, i, d, rows, ws, f);
			continue;
		}
		if (f->min == MIN32)
			sum = _mm256_mul_ps(
				d, _mm256_cvtepi32_ps(_mm256_maskload_epi32(
					   t->x[i].sum + b, k)));
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			t->scale[r][i] = _mm256_mul_ps(ws[r].scale, d);
			if (f->min == MIN32)
				t->acc[r][i] = _mm256_fnmadd_ps(ws[r].min, sum,
								t->acc[r][i]);
		}
	}
}

/* What each lane of chunk @c is multiplied with. */
PST_K_INLINE __m256 lane_scale(const struct tile *t, int r, int i, uint32_t c,
			       bool sub16)
{
	const __m256i by4 = _mm256_set_epi32(1, 1, 1, 1, 0, 0, 0, 0);
	const __m256i lanes =
		_mm256_add_epi32(by4, _mm256_set1_epi32(2 * (int)(c % 4)));

	if (!sub16)
		return _mm256_permutevar8x32_ps(t->scale[r][i],
						_mm256_set1_epi32((int)c));
	return _mm256_permutevar8x32_ps(c < 4 ? t->scale[r][i] : t->upper[r][i],
					lanes);
}

/* One chunk of 32 weights. */
PST_K_INLINE void chunk(struct tile *t, uint32_t c, int rows, int tokens,
			const struct fmt *f)
{
	const __m256i offset = _mm256_set1_epi8((char)f->offset);
	__m256i w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = f->codes(t->w[r], c);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m256i x = _mm256_loadu_si256(
			(const __m256i *)(t->x[i].q + 32 * c));
		__m256i less = _mm256_setzero_si256();

		if (f->offset)
			less = dot_u8(offset, x);
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			__m256i s = f->dot(w[r], x);

			if (f->offset)
				s = _mm256_sub_epi32(s, less);
			t->acc[r][i] = _mm256_fmadd_ps(
				_mm256_cvtepi32_ps(s),
				lane_scale(t, r, i, c, f->sub16), t->acc[r][i]);
		}
	}
}

PST_K_INLINE void group(struct tile *t, uint32_t b, uint32_t nr, int rows,
			int tokens, const struct fmt *f)
{
	uint32_t c;
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		prefetch(t->w[r], t->ahead_bytes, f->bytes);
	scales(t, b, nr, rows, tokens, f);
	if (nr == 8) {
#pragma GCC unroll 8
		for (c = 0; c < 8; c++)
			chunk(t, c, rows, tokens, f);
	} else {
		for (c = 0; c < nr; c++)
			chunk(t, c, rows, tokens, f);
	}
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		t->w[r] += f->bytes;
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++)
		t->x[i].q += PST_K_SUPER;
}

PST_K_INLINE void tile_q8(const struct pst_kmul *m, uint32_t r0, uint32_t i0,
			  int rows, int tokens, const struct fmt *f)
{
	uint32_t nr_blocks = m->n / 32, b;
	struct tile t;
	int r, i;

	t.ahead_bytes = (size_t)rows * m->row_bytes;
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		size_t row = pst_k_xrow(m, i0 + (uint32_t)i);

		t.x[i].q = m->x->q8 + row * m->x->stride;
		t.x[i].d = m->x->d + row * (m->x->stride / 32);
		t.x[i].sum = m->x->sum + row * (m->x->stride / 32);
	}
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, r0 + (uint32_t)r);
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			t.acc[r][i] = _mm256_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		group(&t, b, 8, rows, tokens, f);
	if (f->has_tail && b < nr_blocks)
		group(&t, b, nr_blocks - b, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] = sum8(t.acc[r][i]);
}

/* 16 bytes: their low, then their high nibbles. */
PST_K_INLINE __m256i nibbles(const uint8_t *p)
{
	__m128i q = _mm_loadu_si128((const __m128i *)p);
	__m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(q),
					    _mm_srli_epi16(q, 4), 1);

	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

/* What nibbles stand for, with an offset that makes the dot product's codes. */
PST_K_INLINE __m256i lookup(__m256i nibbles, const int8_t values[16],
			    int offset)
{
	__m128i table = _mm_loadu_si128((const __m128i *)values);

	table = _mm_add_epi8(table, _mm_set1_epi8((char)offset));
	return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(table), nibbles);
}

/* Two bits of each weight of chunk @c; 32 bytes hold four chunks. */
PST_K_INLINE __m256i pairs(const uint8_t *qs, uint32_t c)
{
	__m256i v = _mm256_loadu_si256((const __m256i *)(qs + 32 * (c / 4)));

	v = _mm256_srli_epi16(v, (int)(2 * (c % 4)));
	return _mm256_and_si256(v, _mm256_set1_epi8(3));
}

/* The product of a row of pst_ktypes.h. */
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

#endif
