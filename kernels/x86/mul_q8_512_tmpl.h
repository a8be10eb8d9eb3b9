/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations on 512-bit vectors, for any format that a
 * struct fmt512 describes.  Included after dot_avx512.h or dot_vnni.h, which
 * differ only in how bytes are multiplied, and before the formats.
 *
 * Weights are taken 256 at a time, in four chunks of 64 that an instruction
 * multiplies to 16 partial integer sums each.  Those of four chunks are brought
 * together so that a lane has the sum of 16 weights: they meet the scales once
 * per 256 weights.  All of this is exact; what follows is one sequence of float
 * operations per (row, token), the same in both ways to get there:
 *
 *   few tokens	chunks are multiplied as they lie, and the sums transposed
 *   many	chunks are unpacked and transposed once for a block of rows
 *		and tokens, and the four products added up in place
 *
 * Reads nothing past a row; activations to the end of the last 64.
 */
#ifndef PST_K_MUL_Q8_512_TMPL_H
#define PST_K_MUL_Q8_512_TMPL_H

#include "pst_ktypes.h"

enum {
	TILE_ROWS = 4, /* of few tokens */
	MANY_TOKENS = 4, /* from here on, blocks */
	BLOCK_ROWS = 16, /* a block and its sums fit in 48 KB of L1 */
	BLOCK_TOKENS = 16,
	GROUP_CHUNKS = PST_K_SUPER / 64
};

/* Whether a format has minima, and of how many weights each is. */
enum min512 {
	NO_MIN,
	MIN32,
	MIN16
};

/* Of 256 weights: one per 16 weights, or one per 32 in the lower 8 lanes. */
struct wscale512 {
	__m512 scale;
	__m512 min;
};

/**
 * struct fmt512 - one format
 * @bytes: of 256 weights
 * @offset: of the codes, which are unsigned
 * @sub16: whether a scale covers 16 weights, else 32
 * @min: what wscale512.min is used for; MIN16 only with @sub16
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c; the second half is zero where only @nr = 1 block is left
 * @dot: dot_u8 or dot_i8
 */
struct fmt512 {
	uint32_t bytes;
	int offset;
	bool sub16;
	enum min512 min;
	bool has_tail;
	struct wscale512 (*scales)(const uint8_t *p, uint32_t nr);
	__m512i (*codes)(const uint8_t *p, uint32_t c, uint32_t nr);
	__m512i (*dot)(__m512i init, __m512i w, __m512i x);
};

struct xrow512 {
	const int8_t *q;
	const float *d;
	const int32_t *sum;
};

/* 256 activations of a token, apart from their codes. */
struct xscale512 {
	__m512 d; /* of each lane */
	__m512 sum; /* what a minimum is multiplied with */
	__m512i init; /* minus the offset times the activations */
};

/*
 * Lane 4 q + c of transposed sums has the group 4 c + q of 16 weights: lane q
 * of 128 bits of chunk c.
 */
PST_K_INLINE __m512i lanes512(bool sub16)
{
	const __m512i by16 = _mm512_set_epi32(15, 11, 7, 3, 14, 10, 6, 2, 13, 9,
					      5, 1, 12, 8, 4, 0);

	return sub16 ? by16 : _mm512_srli_epi32(by16, 1);
}

/* Dword j of lane q of chunk c to lane 4 q + c of chunk j. */
PST_K_INLINE void transpose512(__m512i v[GROUP_CHUNKS])
{
	__m512i a = _mm512_unpacklo_epi32(v[0], v[1]);
	__m512i b = _mm512_unpackhi_epi32(v[0], v[1]);
	__m512i c = _mm512_unpacklo_epi32(v[2], v[3]);
	__m512i d = _mm512_unpackhi_epi32(v[2], v[3]);

	v[0] = _mm512_unpacklo_epi64(a, c);
	v[1] = _mm512_unpackhi_epi64(a, c);
	v[2] = _mm512_unpacklo_epi64(b, d);
	v[3] = _mm512_unpackhi_epi64(b, d);
}

/* The sums over what transpose512() would bring together. */
PST_K_INLINE __m512i collect512(const __m512i v[GROUP_CHUNKS])
{
	__m512i a = _mm512_add_epi32(_mm512_unpacklo_epi32(v[0], v[1]),
				     _mm512_unpackhi_epi32(v[0], v[1]));
	__m512i b = _mm512_add_epi32(_mm512_unpacklo_epi32(v[2], v[3]),
				     _mm512_unpackhi_epi32(v[2], v[3]));

	return _mm512_add_epi32(_mm512_unpacklo_epi64(a, b),
				_mm512_unpackhi_epi64(a, b));
}

/* 256 activations as they lie, zeros after the @nr blocks of 32 that are. */
PST_K_INLINE void load_x512(__m512i v[GROUP_CHUNKS], const int8_t *q,
			    uint32_t nr)
{
	uint32_t c;

#pragma GCC unroll 4
	for (c = 0; c < GROUP_CHUNKS; c++) {
		v[c] = _mm512_setzero_si512();
		if (nr == 8 || 2 * c < nr)
			v[c] = _mm512_loadu_si512(q + 64 * c);
	}
}

/* The codes of 256 weights as they lie, the same. */
PST_K_INLINE void load_w512(__m512i v[GROUP_CHUNKS], const uint8_t *p,
			    uint32_t nr, const struct fmt512 *f)
{
	uint32_t c;

#pragma GCC unroll 4
	for (c = 0; c < GROUP_CHUNKS; c++) {
		if (nr == 8 || 2 * c + 1 < nr)
			v[c] = f->codes(p, c, 2);
		else if (2 * c < nr)
			v[c] = f->codes(p, c, 1);
		else
			v[c] = _mm512_setzero_si512();
	}
}

/* Sums of 16 activations times @by, from 256 as they lie or transposed. */
PST_K_INLINE __m512i sums512(const __m512i x[GROUP_CHUNKS], int by,
			     bool transposed)
{
	const __m512i w = _mm512_set1_epi8((char)by);
	__m512i v[GROUP_CHUNKS], sum = _mm512_setzero_si512();
	int c;

#pragma GCC unroll 4
	for (c = 0; c < GROUP_CHUNKS; c++) {
		v[c] = dot_u8(sum, w, x[c]);
		if (transposed)
			sum = v[c];
	}
	return transposed ? sum : collect512(v);
}

/* The @nr blocks of 32 from block @b; @q are the codes of all 8, which the few
 * tokens leave as they lie. */
PST_K_INLINE struct xscale512 xscale512(const struct xrow512 *x, uint32_t b,
					uint32_t nr,
					const __m512i q[GROUP_CHUNKS],
					bool transposed, const struct fmt512 *f)
{
	const __mmask16 k = (__mmask16)((1u << nr) - 1);
	const __m512 d = _mm512_maskz_loadu_ps(k, x->d + b);
	struct xscale512 s = { .sum = d, .init = _mm512_setzero_si512() };

	s.d = _mm512_permutexvar_ps(lanes512(false), d);
	if (f->min == MIN32)
		s.sum = _mm512_mul_ps(
			d, _mm512_cvtepi32_ps(
				   _mm512_maskz_loadu_epi32(k, x->sum + b)));
	if (f->min == MIN16)
		s.sum = _mm512_mul_ps(
			s.d, _mm512_cvtepi32_ps(sums512(q, 1, transposed)));
	if (f->offset)
		s.init = _mm512_sub_epi32(s.init,
					  sums512(q, f->offset, transposed));
	return s;
}

/* Scales and minima in the order of lanes; MIN32 stays as it is. */
PST_K_INLINE struct wscale512 row_scale512(const uint8_t *p, uint32_t nr,
					   const struct fmt512 *f)
{
	struct wscale512 s = f->scales(p, nr);

	s.scale = _mm512_permutexvar_ps(lanes512(f->sub16), s.scale);
	if (f->min == MIN16)
		s.min = _mm512_permutexvar_ps(lanes512(true), s.min);
	return s;
}

/* The float operations of a pair. */
PST_K_INLINE __m512 add_pair512(__m512 acc, __m512i sums, struct wscale512 w,
				__m512 x_d, __m512 x_sum,
				const struct fmt512 *f)
{
	if (f->min != NO_MIN)
		acc = _mm512_fnmadd_ps(w.min, x_sum, acc);
	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums),
			       _mm512_mul_ps(w.scale, x_d), acc);
}

PST_K_INLINE struct xrow512 xrow512(const struct pst_kmul *m, uint32_t i)
{
	size_t row = pst_k_xrow(m, i);
	struct xrow512 x = { m->x->q8 + row * m->x->stride,
			     m->x->d + row * (m->x->stride / 32),
			     m->x->sum + row * (m->x->stride / 32) };

	return x;
}

struct tile512 {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	struct xrow512 x;
	__m512 acc[TILE_ROWS];
};

PST_K_INLINE void tile_group512(struct tile512 *t, uint32_t b, uint32_t nr,
				int rows, const struct fmt512 *f)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i x[GROUP_CHUNKS], w[GROUP_CHUNKS];
	struct xscale512 xs;
	int r, c;

	load_x512(x, t->x.q + 32 * (size_t)b, nr);
	xs = xscale512(&t->x, b, nr, x, false, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		struct wscale512 ws = row_scale512(t->w[r], nr, f);
		__m512i sums;

		prefetch(t->w[r], t->ahead_bytes, f->bytes);
		load_w512(w, t->w[r], nr, f);
#pragma GCC unroll 4
		for (c = 0; c < GROUP_CHUNKS; c++)
			w[c] = f->dot(zero, w[c], x[c]);
		sums = collect512(w);
		if (f->offset)
			sums = _mm512_add_epi32(sums, xs.init);
		t->acc[r] = add_pair512(t->acc[r], sums, ws, xs.d, xs.sum, f);
		t->w[r] += f->bytes;
	}
}

/* Rows from @r0 times token @i. */
PST_K_INLINE void tile_q8_512(const struct pst_kmul *m, uint32_t r0, uint32_t i,
			      int rows, const struct fmt512 *f)
{
	uint32_t nr_blocks = m->n / 32, b;
	struct tile512 t = { .ahead_bytes = (size_t)rows * m->row_bytes,
			     .x = xrow512(m, i) };
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, r0 + (uint32_t)r);
		t.acc[r] = _mm512_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		tile_group512(&t, b, 8, rows, f);
	if (f->has_tail && b < nr_blocks)
		tile_group512(&t, b, nr_blocks - b, rows, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		m->y[i * m->y_stride + r0 + (uint32_t)r] =
			_mm512_reduce_add_ps(t.acc[r]);
}

PST_K_INLINE uint32_t min_u32(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

/* A block of rows and tokens, of which 256 columns are unpacked. */
struct block512 {
	uint32_t nr_rows;
	uint32_t nr_tokens;
	size_t ahead_bytes;
	const uint8_t *row[BLOCK_ROWS];
	struct xrow512 token[BLOCK_TOKENS];
	__m512i w[BLOCK_ROWS][GROUP_CHUNKS];
	struct wscale512 ws[BLOCK_ROWS];
	__m512i x[BLOCK_TOKENS][GROUP_CHUNKS];
	struct xscale512 xs[BLOCK_TOKENS];
	__m512 acc[BLOCK_ROWS][BLOCK_TOKENS];
};

/* The @nr blocks of 32 from block @b. */
PST_K_INLINE void unpack512(struct block512 *t, uint32_t b, uint32_t nr,
			    const struct fmt512 *f)
{
	__m512i v[GROUP_CHUNKS];
	uint32_t i;
	int c;

	for (i = 0; i < t->nr_tokens; i++) {
		load_x512(v, t->token[i].q + 32 * (size_t)b, nr);
		transpose512(v);
		t->xs[i] = xscale512(&t->token[i], b, nr, v, true, f);
#pragma GCC unroll 4
		for (c = 0; c < GROUP_CHUNKS; c++)
			t->x[i][c] = v[c];
	}
	for (i = 0; i < t->nr_rows; i++) {
		prefetch(t->row[i], t->ahead_bytes, f->bytes);
		t->ws[i] = row_scale512(t->row[i], nr, f);
		load_w512(v, t->row[i], nr, f);
		transpose512(v);
#pragma GCC unroll 4
		for (c = 0; c < GROUP_CHUNKS; c++)
			t->w[i][c] = v[c];
		t->row[i] += f->bytes;
	}
}

/* Rows [r0, r0 + rows) times all tokens, 256 columns. */
PST_K_INLINE void block_rows512(struct block512 *t, uint32_t r0, int rows,
				const struct fmt512 *f)
{
	__m512i w[TILE_ROWS][GROUP_CHUNKS];
	uint32_t i;
	int r, c;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (c = 0; c < GROUP_CHUNKS; c++)
			w[r][c] = t->w[r0 + (uint32_t)r][c];
	for (i = 0; i < t->nr_tokens; i++) {
		const struct xscale512 *xs = &t->xs[i];

#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			__m512 *acc = &t->acc[r0 + (uint32_t)r][i];
			__m512i sums = xs->init;

#pragma GCC unroll 4
			for (c = 0; c < GROUP_CHUNKS; c++)
				sums = f->dot(sums, w[r][c], t->x[i][c]);
			*acc = add_pair512(*acc, sums, t->ws[r0 + (uint32_t)r],
					   xs->d, xs->sum, f);
		}
	}
}

PST_K_INLINE void block_group512(struct block512 *t, uint32_t b, uint32_t nr,
				 const struct fmt512 *f)
{
	uint32_t r = 0;

	unpack512(t, b, nr, f);
	for (; r + TILE_ROWS <= t->nr_rows; r += TILE_ROWS)
		block_rows512(t, r, TILE_ROWS, f);
	for (; r < t->nr_rows; r++)
		block_rows512(t, r, 1, f);
}

/* Rows from @r0 times tokens from @i0, as many as a block takes. */
PST_K_INLINE void block_q8_512(const struct pst_kmul *m, uint32_t r0,
			       uint32_t i0, const struct fmt512 *f)
{
	uint32_t nr_blocks = m->n / 32, b, r, i;
	struct block512 t;

	t.nr_rows = min_u32(m->nr_rows - r0, BLOCK_ROWS);
	t.nr_tokens = min_u32(m->nr_x - i0, BLOCK_TOKENS);
	t.ahead_bytes = t.nr_rows * m->row_bytes;
	for (i = 0; i < t.nr_tokens; i++)
		t.token[i] = xrow512(m, i0 + i);
	for (r = 0; r < t.nr_rows; r++) {
		t.row[r] = pst_k_row(m, r0 + r);
		for (i = 0; i < t.nr_tokens; i++)
			t.acc[r][i] = _mm512_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		block_group512(&t, b, 8, f);
	if (f->has_tail && b < nr_blocks)
		block_group512(&t, b, nr_blocks - b, f);
	for (r = 0; r < t.nr_rows; r++)
		for (i = 0; i < t.nr_tokens; i++)
			m->y[(i0 + i) * m->y_stride + r0 + r] =
				_mm512_reduce_add_ps(t.acc[r][i]);
}

PST_K_INLINE void mul_q8_512(const struct pst_kmul *m, const struct fmt512 *f)
{
	uint32_t r = 0, i;

	if (m->nr_x >= MANY_TOKENS) {
		for (; r < m->nr_rows; r += BLOCK_ROWS)
			for (i = 0; i < m->nr_x; i += BLOCK_TOKENS)
				block_q8_512(m, r, i, f);
		return;
	}
	for (; r + TILE_ROWS <= m->nr_rows; r += TILE_ROWS)
		for (i = 0; i < m->nr_x; i++)
			tile_q8_512(m, r, i, TILE_ROWS, f);
	for (; r < m->nr_rows; r++)
		for (i = 0; i < m->nr_x; i++)
			tile_q8_512(m, r, i, 1, f);
}

/* The product of a row of pst_ktypes.h. */
#define DEFINE_MUL512(type, name, ...)                   \
	static void mul_##name(const struct pst_kmul *m) \
	{                                                \
		mul_q8_512(m, &fmt_##name);              \
	}

#endif
