/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations on 512-bit vectors, for any format that a
 * struct fmt512 describes.  Included after dot_avx512.h or dot_vnni.h, which
 * differ only in how bytes are multiplied, and before the formats.
 *
 * Weights are taken 256 at a time.  Their integer sums over what one scale
 * covers fill a vector: of one row where that is 16 weights, of two rows (a
 * strip) where it is 32.  All of this is exact; what follows is one sequence
 * of float operations per (row, token), the same in both ways to get there:
 *
 *   one token	weights are multiplied as they lie, and the sums collected
 *   more	weights are unpacked and transposed once for a block of
 *		strips and tokens, and the products added up in place
 *
 * A row may be read past its end, where the next one is; nothing past the last
 * row, and activations to the end of the last 64.
 */
#ifndef PST_K_MUL_Q8_512_TMPL_H
#define PST_K_MUL_Q8_512_TMPL_H

#include "pst_ktypes.h"

enum {
	BLOCK_STRIPS = 4, /* a block and its sums fit in 48 KB of L1 */
	GROUP_CHUNKS = PST_K_SUPER / 64,
	TILE_ROWS = 4, /* of one token */
	SHORT_ROW_BYTES = 512, /* rows below are read one after the other */
	TAIL_BYTES = 8 * PST_K_Q8_0_BYTES, /* the most of 256 weights */
	TILE_VECTORS = 16, /* of weights that are held in registers */
	STRIP_VECTORS = 8, /* of a strip's 256 columns, at most */
	MAX_STRIPS = TILE_VECTORS / GROUP_CHUNKS
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
 * @min: what wscale512.min is used for; MIN16 only with @sub16, MIN32 without
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the 256 weights at @p
 * @codes: of their chunk @c, 64 of them
 * @dot: dot_u8 or dot_i8
 */
struct fmt512 {
	uint32_t bytes;
	int offset;
	bool sub16;
	enum min512 min;
	bool has_tail;
	struct wscale512 (*scales)(const uint8_t *p);
	__m512i (*codes)(const uint8_t *p, uint32_t c);
	__m512i (*dot)(__m512i init, __m512i w, __m512i x);
};

/* 256 activations of a token, apart from their codes. */
struct xscale512 {
	__m512 d; /* of each lane */
	__m512 sum; /* what a minimum is multiplied with */
	__m512i init; /* minus the offset times the activations */
};

/* Rows of a strip: what fills a vector of sums. */
PST_K_INLINE int strip_rows(const struct fmt512 *f)
{
	return f->sub16 ? 1 : 2;
}

/* Strips that are multiplied side by side. */
PST_K_INLINE int tile_strips(const struct fmt512 *f)
{
	return f->sub16 ? 4 : 2;
}

/*
 * The order of sums.  Lane 8 h + l belongs to block (0, 2, 4, 6, 1, 3, 5, 7)[l]
 * of 32 weights: with scales of 16 to half h of it, else to row h of a strip.
 */
PST_K_INLINE __m512i lanes_by16(void)
{
	return _mm512_set_epi32(15, 11, 7, 3, 13, 9, 5, 1, 14, 10, 6, 2, 12, 8,
				4, 0);
}

PST_K_INLINE __m512i lanes_by32(void)
{
	return _mm512_set_epi32(15, 13, 11, 9, 14, 12, 10, 8, 7, 5, 3, 1, 6, 4,
				2, 0);
}

/* The same eight lanes in both halves. */
PST_K_INLINE __m512i twice512(__m256i v)
{
	return _mm512_broadcast_i64x4(v);
}

/* Lanes of a block's sum, 128 bits each: from the order of collect512(). */
PST_K_INLINE __m512i halves_apart(__m512i v)
{
	return _mm512_shuffle_i32x4(v, v, 0xd8);
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

/* The codes of 256 weights as they lie. */
PST_K_INLINE void load_w512(__m512i v[GROUP_CHUNKS], const uint8_t *p,
			    const struct fmt512 *f)
{
	uint32_t c;

#pragma GCC unroll 4
	for (c = 0; c < GROUP_CHUNKS; c++)
		v[c] = f->codes(p, c);
}

/* Sums of 16 activations as they lie, in the order of lanes. */
PST_K_INLINE __m512i sums16(const __m512i x[GROUP_CHUNKS])
{
	__m512i v[GROUP_CHUNKS];
	int c;

#pragma GCC unroll 4
	for (c = 0; c < GROUP_CHUNKS; c++)
		v[c] = dot_u8(_mm512_setzero_si512(), _mm512_set1_epi8(1),
			      x[c]);
	return halves_apart(collect512(v));
}

/* The @nr blocks of 32 from block @b, whose codes @q lie as they are. */
PST_K_INLINE struct xscale512 xscale512(const struct xrow *x, uint32_t b,
					uint32_t nr,
					const __m512i q[GROUP_CHUNKS],
					const struct fmt512 *f)
{
	const __mmask8 k = (__mmask8)((1u << nr) - 1);
	const __m256i order = _mm512_castsi512_si256(lanes_by32());
	__m256 d = _mm256_maskz_loadu_ps(k, x->d + b);
	__m256i sum = _mm256_maskz_loadu_epi32(k, x->sum + b);
	__m512i sums;
	struct xscale512 s;

	d = _mm256_permutevar8x32_ps(d, order);
	sum = _mm256_permutevar8x32_epi32(sum, order);
	s.d = _mm512_castsi512_ps(twice512(_mm256_castps_si256(d)));
	sums = f->sub16 && (f->offset || f->min) ? sums16(q) : twice512(sum);
	s.sum = s.d;
	if (f->min != NO_MIN)
		s.sum = _mm512_mul_ps(s.d, _mm512_cvtepi32_ps(sums));
	s.init = _mm512_setzero_si512();
	if (f->offset)
		s.init =
			_mm512_mullo_epi32(sums, _mm512_set1_epi32(-f->offset));
	return s;
}

/* Two vectors' lower halves. */
PST_K_INLINE __m512 join512(__m512 a, __m512 b)
{
	return _mm512_insertf32x8(a, _mm512_castps512_ps256(b), 1);
}

/* What a row has of @nr blocks; zero for those of eight that follow. */
PST_K_INLINE struct wscale512 row_scale512(const uint8_t *p, uint32_t nr,
					   const struct fmt512 *f)
{
	struct wscale512 s = f->scales(p);

	if (nr < 8) {
		__mmask16 k = (__mmask16)((1u << (f->sub16 ? 2 * nr : nr)) - 1);

		s.scale = _mm512_maskz_mov_ps(k, s.scale);
		s.min = _mm512_maskz_mov_ps(k, s.min);
	}
	return s;
}

/* Scales and minima of the rows at @p, in the order of lanes. */
PST_K_INLINE struct wscale512
strip_scale512(const uint8_t *const p[2], uint32_t nr, const struct fmt512 *f)
{
	const __m512i order = f->sub16 ? lanes_by16() : lanes_by32();
	struct wscale512 s = row_scale512(p[0], nr, f);

	if (!f->sub16) {
		struct wscale512 t = row_scale512(p[1], nr, f);

		s.scale = join512(s.scale, t.scale);
		s.min = join512(s.min, t.min);
	}
	s.scale = _mm512_permutexvar_ps(order, s.scale);
	if (f->min != NO_MIN)
		s.min = _mm512_permutexvar_ps(order, s.min);
	return s;
}

/* The float operations of a strip and a token. */
PST_K_INLINE __m512 add_strip512(__m512 acc, __m512i sums, struct wscale512 w,
				 __m512 x_d, __m512 x_sum,
				 const struct fmt512 *f)
{
	if (f->min != NO_MIN)
		acc = _mm512_fnmadd_ps(w.min, x_sum, acc);
	return _mm512_fmadd_ps(_mm512_cvtepi32_ps(sums),
			       _mm512_mul_ps(w.scale, x_d), acc);
}

/* The results of a strip's rows, a second one's @apart of the first. */
PST_K_INLINE void store_strip512(float *y, __m512 acc, size_t apart,
				 const struct fmt512 *f)
{
	if (f->sub16)
		acc = _mm512_add_ps(acc, _mm512_shuffle_f32x4(acc, acc, 0x4e));
	/* The sum of eight lanes in each half, in both at once. */
	acc = _mm512_add_ps(acc, _mm512_shuffle_f32x4(acc, acc, 0xb1));
	acc = _mm512_add_ps(acc, _mm512_permute_ps(acc, 0x4e));
	acc = _mm512_add_ps(acc, _mm512_permute_ps(acc, 0xb1));
	y[0] = _mm512_cvtss_f32(acc);
	if (!f->sub16 && apart)
		y[apart] = _mm256_cvtss_f32(_mm512_extractf32x8_ps(acc, 1));
}

/*
 * The results of @nr rows of a block's strips, all of their sums at once: the
 * same additions as store_strip512() makes of one.  With scales of 32 the two
 * halves of a vector are two rows.
 */
PST_K_INLINE void store_strips512(float *y, const __m512 acc[BLOCK_STRIPS],
				  uint32_t nr, const struct fmt512 *f)
{
	const int lo = f->sub16 ? 0x44 : 0x88, hi = f->sub16 ? 0xee : 0xdd;
	__m512 a = _mm512_add_ps(_mm512_shuffle_f32x4(acc[0], acc[1], lo),
				 _mm512_shuffle_f32x4(acc[0], acc[1], hi));
	__m512 b = _mm512_add_ps(_mm512_shuffle_f32x4(acc[2], acc[3], lo),
				 _mm512_shuffle_f32x4(acc[2], acc[3], hi));
	__m512i order = _mm512_set_epi32(0, 0, 0, 0, 0, 0, 0, 0, 14, 10, 6, 2,
					 12, 8, 4, 0);

	if (f->sub16) {
		a = _mm512_add_ps(_mm512_shuffle_f32x4(a, b, 0x88),
				  _mm512_shuffle_f32x4(a, b, 0xdd));
		b = a;
	}
	a = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44),
			  _mm512_shuffle_ps(a, b, 0xee));
	a = _mm512_add_ps(a, _mm512_permute_ps(a, 0xb1));
	a = _mm512_permutexvar_ps(order, a);
	_mm256_mask_storeu_ps(y, (__mmask8)((1u << nr) - 1),
			      _mm512_castps512_ps256(a));
}

/*
 * How far below its own a tile of @nr_rows asks for weights: the whole tiles
 * that come nearest to the configured bytes, of short rows several.
 */
PST_K_INLINE size_t ahead_of(const struct pst_kmul *m, uint32_t nr_rows)
{
	size_t tile_bytes = nr_rows * m->row_bytes;
	uint32_t ahead = pst_kconfig_of_product(m)->block_ahead_bytes;
	size_t tiles = (ahead + tile_bytes / 2) / tile_bytes;

	return (tiles ? tiles : 1) * tile_bytes;
}

/* The rows from @r0; one that is missing is replaced by the one before. */
PST_K_INLINE void strip_at(const uint8_t *p[2], const struct pst_kmul *m,
			   uint32_t r0)
{
	p[0] = pst_k_row(m, r0);
	p[1] = r0 + 1 < m->nr_rows ? pst_k_row(m, r0 + 1) : p[0];
}

/* The last weights of the last rows, with zeros behind them. */
struct tail512 {
	uint8_t bytes[TAIL_BYTES];
};

/*
 * Where the last @nr blocks at @p can be read as if they were eight: what
 * follows them counts for nothing, but has to be there.
 */
PST_K_INLINE const uint8_t *tail_at(const struct pst_kmul *m, const uint8_t *p,
				    uint32_t nr, struct tail512 *copy,
				    const struct fmt512 *f)
{
	const uint8_t *end = (const uint8_t *)m->w + m->nr_rows * m->row_bytes;

	if ((size_t)(end - p) >= f->bytes)
		return p;
	memset(copy, 0, sizeof(*copy));
	memcpy(copy, p, nr * f->bytes / 8);
	return copy->bytes;
}

struct tile512 {
	const uint8_t *w[MAX_STRIPS][2];
	size_t ahead_bytes;
	struct xrow x;
	__m512 acc[MAX_STRIPS];
};

/* Sums of the rows at @p as they lie, in the order of lanes. */
PST_K_INLINE __m512i strip_sums512(const uint8_t *const p[2],
				   const __m512i x[GROUP_CHUNKS],
				   const struct fmt512 *f)
{
	const __m512i zero = _mm512_setzero_si512();
	__m512i w[GROUP_CHUNKS], sums[2];
	int r, c;

#pragma GCC unroll 2
	for (r = 0; r < strip_rows(f); r++) {
		load_w512(w, p[r], f);
#pragma GCC unroll 4
		for (c = 0; c < GROUP_CHUNKS; c++)
			w[c] = f->dot(zero, w[c], x[c]);
		sums[r] = collect512(w);
	}
	if (f->sub16)
		return halves_apart(sums[0]);
	return _mm512_add_epi32(_mm512_shuffle_i32x4(sums[0], sums[1], 0x88),
				_mm512_shuffle_i32x4(sums[0], sums[1], 0xdd));
}

PST_K_INLINE void tile_group512(struct tile512 *t, uint32_t b, uint32_t nr,
				int strips, const struct fmt512 *f)
{
	__m512i x[GROUP_CHUNKS];
	struct xscale512 xs;
	int s, r;

	load_x512(x, t->x.q + 32 * (size_t)b, nr);
	xs = xscale512(&t->x, b, nr, x, f);
#pragma GCC unroll 4
	for (s = 0; s < strips; s++) {
		struct wscale512 ws = strip_scale512(t->w[s], nr, f);
		__m512i sums;

#pragma GCC unroll 2
		for (r = 0; r < strip_rows(f); r++)
			prefetch(t->w[s][r], t->ahead_bytes, f->bytes);
		sums = strip_sums512(t->w[s], x, f);
		if (f->offset)
			sums = _mm512_add_epi32(sums, xs.init);
		t->acc[s] = add_strip512(t->acc[s], sums, ws, xs.d, xs.sum, f);
#pragma GCC unroll 2
		for (r = 0; r < strip_rows(f); r++)
			t->w[s][r] += f->bytes;
	}
}

/* Strips of row @r0 and those each @apart of the one before, one token. */
PST_K_INLINE void tile_q8_512(const struct pst_kmul *m, uint32_t r0,
			      uint32_t apart, int strips,
			      const struct fmt512 *f)
{
	const int rows = strip_rows(f);
	uint32_t nr_blocks = m->n / 32, b;
	struct tile512 t = { .x = x_row(m, 0) };
	float *y = m->y + r0;
	int s;

	t.ahead_bytes = m->row_bytes < SHORT_ROW_BYTES
				? ahead_of(m, TILE_ROWS)
				: pst_kconfig_of_product(m)->row_ahead_bytes;
#pragma GCC unroll 4
	for (s = 0; s < strips; s++) {
		uint32_t r = r0 + (uint32_t)(s * rows) * apart;

		t.w[s][0] = pst_k_row(m, r);
		t.w[s][1] = pst_k_row(m, r + apart);
		t.acc[s] = _mm512_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		tile_group512(&t, b, 8, strips, f);
	if (f->has_tail && b < nr_blocks) {
		struct tail512 tail[MAX_STRIPS][2];
		int r;

#pragma GCC unroll 4
		for (s = 0; s < strips; s++)
#pragma GCC unroll 2
			for (r = 0; r < strip_rows(f); r++)
				t.w[s][r] = tail_at(m, t.w[s][r], nr_blocks - b,
						    &tail[s][r], f);
		tile_group512(&t, b, nr_blocks - b, strips, f);
	}
#pragma GCC unroll 4
	for (s = 0; s < strips; s++)
		store_strip512(y + (size_t)(s * rows) * apart, t.acc[s], apart,
			       f);
}

/*
 * One token: each of four parts of the rows is read from its start to its end,
 * which the processor's own prefetcher follows; rows side by side it does not,
 * but short ones follow each other soon.
 */
PST_K_INLINE void tiles_q8_512(const struct pst_kmul *m, const struct fmt512 *f)
{
	const int strips = tile_strips(f);
	uint32_t part = m->nr_rows / TILE_ROWS, i;
	bool side = m->row_bytes < SHORT_ROW_BYTES;

	for (i = 0; i < part; i++)
		tile_q8_512(m, side ? i * TILE_ROWS : i, side ? 1 : part,
			    strips, f);
	for (i = part * TILE_ROWS; i < m->nr_rows; i++)
		tile_q8_512(m, i, 0, 1, f);
}

/*
 * 256 activations of a token as blocks want them: dword 4 h + j of every block
 * of 32 weights, in the order of lanes, at q[2 j + h].
 */
struct xgroup512 {
	__m256i q[2 * GROUP_CHUNKS];
	struct xscale512 scale;
};

_Static_assert(sizeof(struct xgroup512) == PST_K_PANEL_GROUP_BYTES,
	       "the size of pst_kmul's scratch counts these");

/* Tokens of a block, their groups in the scratch: [nr_groups][nr]. */
struct panel512 {
	struct xgroup512 *group;
	uint32_t first;
	uint32_t nr;
};

/* A block of strips and tokens, of which 256 columns are unpacked. */
struct block512 {
	uint32_t nr_strips;
	uint32_t nr_tokens;
	size_t ahead_bytes;
	const uint8_t *row[BLOCK_STRIPS][2];
	__m512i w[BLOCK_STRIPS][STRIP_VECTORS];
	struct wscale512 ws[BLOCK_STRIPS];
	__m512 acc[PST_K_PANEL_TOKENS][BLOCK_STRIPS];
};

PST_K_INLINE void pack_group512(struct xgroup512 *g, const struct xrow *x,
				uint32_t b, uint32_t nr, const struct fmt512 *f)
{
	__m512i v[GROUP_CHUNKS];
	int j;

	load_x512(v, x->q + 32 * (size_t)b, nr);
	g->scale = xscale512(x, b, nr, v, f);
	transpose512(v);
#pragma GCC unroll 4
	for (j = 0; j < GROUP_CHUNKS; j++)
		_mm512_store_si512(&g->q[2 * j], halves_apart(v[j]));
}

PST_K_INLINE void pack_panel512(struct panel512 *t, const struct pst_kmul *m,
				const struct fmt512 *f)
{
	uint32_t nr_blocks = m->n / 32, b, i;

	for (i = 0; i < t->nr; i++) {
		struct xrow x = x_row(m, t->first + i);
		struct xgroup512 *g = t->group + i;

		for (b = 0; b + 8 <= nr_blocks; b += 8, g += t->nr)
			pack_group512(g, &x, b, 8, f);
		if (f->has_tail && b < nr_blocks)
			pack_group512(g, &x, b, nr_blocks - b, f);
	}
}

PST_K_INLINE void unpack_strip512(struct block512 *t, uint32_t s, uint32_t nr,
				  const struct fmt512 *f)
{
	__m512i v[2][GROUP_CHUNKS], *w = t->w[s];
	int r, j;

	t->ws[s] = strip_scale512(t->row[s], nr, f);
#pragma GCC unroll 2
	for (r = 0; r < strip_rows(f); r++) {
		prefetch(t->row[s][r], t->ahead_bytes, f->bytes);
		load_w512(v[r], t->row[s][r], f);
		transpose512(v[r]);
		t->row[s][r] += f->bytes;
	}
#pragma GCC unroll 4
	for (j = 0; j < GROUP_CHUNKS; j++) {
		if (f->sub16) {
			w[j] = halves_apart(v[0][j]);
			continue;
		}
		w[2 * j] = _mm512_shuffle_i32x4(v[0][j], v[1][j], 0x88);
		w[2 * j + 1] = _mm512_shuffle_i32x4(v[0][j], v[1][j], 0xdd);
	}
}

/* Vector @j of a strip's columns meets this. */
PST_K_INLINE __m512i x_vector512(const struct xgroup512 *g, int j,
				 const struct fmt512 *f)
{
	if (f->sub16)
		return _mm512_load_si512(&g->q[2 * j]);
	return twice512(_mm256_load_si256(&g->q[j]));
}

/* @strips of them from @s0 times all tokens of @x, 256 columns. */
PST_K_INLINE void block_strips512(struct block512 *t, uint32_t s0, int strips,
				  const struct xgroup512 *x,
				  const struct fmt512 *f)
{
	const int vectors = f->sub16 ? GROUP_CHUNKS : STRIP_VECTORS;
	__m512i w[MAX_STRIPS][STRIP_VECTORS], sums[MAX_STRIPS];
	uint32_t i;
	int s, j;

#pragma GCC unroll 4
	for (s = 0; s < strips; s++)
#pragma GCC unroll 8
		for (j = 0; j < vectors; j++)
			w[s][j] = t->w[s0 + (uint32_t)s][j];
	for (i = 0; i < t->nr_tokens; i++, x++) {
#pragma GCC unroll 4
		for (s = 0; s < strips; s++)
			sums[s] = f->offset ? x->scale.init
					    : _mm512_setzero_si512();
#pragma GCC unroll 8
		for (j = 0; j < vectors; j++) {
			__m512i v = x_vector512(x, j, f);

			/* One load for all strips: loads are what binds. */
			__asm__("" : "+v"(v));
#pragma GCC unroll 4
			for (s = 0; s < strips; s++)
				sums[s] = f->dot(sums[s], w[s][j], v);
		}
#pragma GCC unroll 4
		for (s = 0; s < strips; s++) {
			__m512 *acc = &t->acc[i][s0 + (uint32_t)s];

			*acc = add_strip512(*acc, sums[s],
					    t->ws[s0 + (uint32_t)s], x->scale.d,
					    x->scale.sum, f);
		}
	}
}

PST_K_INLINE void block_group512(struct block512 *t, const struct xgroup512 *x,
				 uint32_t nr, const struct fmt512 *f)
{
	const uint32_t step = (uint32_t)tile_strips(f);
	uint32_t s;

	for (s = 0; s < t->nr_strips; s++)
		unpack_strip512(t, s, nr, f);
	for (s = 0; s + step <= t->nr_strips; s += step)
		block_strips512(t, s, (int)step, x, f);
	for (; s < t->nr_strips; s++)
		block_strips512(t, s, 1, x, f);
}

/* Rows from @r0, as many as a block takes, times the tokens of a panel. */
PST_K_INLINE void block_q8_512(const struct pst_kmul *m, uint32_t r0,
			       const struct panel512 *x, const struct fmt512 *f)
{
	const uint32_t rows = (uint32_t)strip_rows(f);
	const struct xgroup512 *g = x->group;
	uint32_t nr_blocks = m->n / 32, b, s, i;
	uint32_t nr = min_u32(m->nr_rows - r0, rows * BLOCK_STRIPS);
	struct block512 t;

	t.nr_strips = (nr + rows - 1) / rows;
	t.nr_tokens = x->nr;
	t.ahead_bytes = ahead_of(m, t.nr_strips * rows);
	for (s = 0; s < t.nr_strips; s++)
		strip_at(t.row[s], m, r0 + s * rows);
	for (i = 0; i < t.nr_tokens; i++)
		for (s = 0; s < BLOCK_STRIPS; s++)
			t.acc[i][s] = _mm512_setzero_ps();
	for (b = 0; b + 8 <= nr_blocks; b += 8, g += x->nr)
		block_group512(&t, g, 8, f);
	if (f->has_tail && b < nr_blocks) {
		struct tail512 tail[BLOCK_STRIPS][2];
		uint32_t r;

		for (s = 0; s < t.nr_strips; s++)
			for (r = 0; r < rows; r++)
				t.row[s][r] = tail_at(m, t.row[s][r],
						      nr_blocks - b,
						      &tail[s][r], f);
		block_group512(&t, g, nr_blocks - b, f);
	}
	for (i = 0; i < t.nr_tokens; i++)
		store_strips512(m->y + (x->first + i) * m->y_stride + r0,
				t.acc[i], nr, f);
}

/* All rows times blocks of tokens. */
PST_K_INLINE void blocks_q8_512(const struct pst_kmul *m,
				const struct fmt512 *f)
{
	const uint32_t rows = BLOCK_STRIPS * (uint32_t)strip_rows(f);
	const uint32_t most = pst_kmul_panel_tokens(
		m->n, pst_kconfig_of_product(m)->panel_bytes);
	struct panel512 x = { .group = (void *)m->scratch };
	uint32_t r;

	for (; x.first < m->nr_x; x.first += x.nr) {
		x.nr = min_u32(m->nr_x - x.first, most);
		pack_panel512(&x, m, f);
		for (r = 0; r < m->nr_rows; r += rows)
			block_q8_512(m, r, &x, f);
	}
}

PST_K_INLINE void mul_q8_512(const struct pst_kmul *m, const struct fmt512 *f)
{
	if (m->nr_x == 1)
		tiles_q8_512(m, f);
	else
		blocks_q8_512(m, f);
}

/* The product of a row of pst_ktypes.h. */
#define DEFINE_MUL512(type, name, ...)                   \
	static void mul_##name(const struct pst_kmul *m) \
	{                                                \
		mul_q8_512(m, &fmt_##name);              \
	}

#endif
