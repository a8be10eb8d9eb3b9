/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations on 256-bit vectors, for any format that a
 * struct fmt describes.  Included after a dot_*.h, which differ only in how
 * bytes are multiplied, and before the formats.
 *
 * Weights are taken 256 at a time, in eight chunks of 32.  The integer sums of
 * the eight chunks fill a vector, or two where scales cover 16 weights.  All of
 * this is exact; what follows is one sequence of float operations per (row,
 * token), the same in both ways to get there:
 *
 *   one token	weights are multiplied as they lie, and the sums collected
 *   more	weights are unpacked and transposed once for a block of rows
 *		and tokens, and the products added up in place
 *
 * Reads nothing past a row.
 */
#ifndef PST_K_MUL_Q8_256_TMPL_H
#define PST_K_MUL_Q8_256_TMPL_H

#include "pst_ktypes.h"

enum {
	TILE_ROWS = 4, /* of one token: as many streams from memory */
	BLOCK_ROWS =
		8, /* a block, its sums and its tokens fit in 32 KB of L1 */
	GROUP_CHUNKS = PST_K_SUPER / 32,
	HALF_CHUNKS = GROUP_CHUNKS / 2
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
 * @offset: of the codes, which are unsigned (those of dot_i8() may be signed)
 * @max: the largest code, 0 for up to 128; not for dot_i8()
 * @sub16: whether a scale covers 16 weights, else 32
 * @min: what wscale.min is used for; MIN16 only with @sub16, MIN32 without
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c
 * @dot: dot_u8 or dot_i8
 */
struct fmt {
	uint32_t bytes;
	int offset;
	int max;
	bool sub16;
	enum min min;
	bool has_tail;
	struct wscale (*scales)(const uint8_t *p, uint32_t nr);
	__m256i (*codes)(const uint8_t *p, uint32_t c);
	__m256i (*dot)(__m256i init, __m256i w, __m256i x);
};

/*
 * Of 256 weights or activations: a lane for each chunk of 32; where 16 have a
 * value of their own, [0] is of the first halves of chunks 0 to 3, then of
 * their second halves, and [1] the same of chunks 4 to 7.
 */
struct sums256 {
	__m256i v[2];
};

/* 256 activations of a token, apart from their codes. */
struct xscale {
	__m256 d[2];
	__m256 sum[2]; /* what a minimum is multiplied with */
	__m256i init[2]; /* minus the offset times the activations */
};

/* Of 256 weights, in the order of struct sums256. */
struct row_scale {
	__m256 scale[2];
	__m256 min[2];
};

/* Vectors of sums. */
PST_K_INLINE int nr_sums(const struct fmt *f)
{
	return f->sub16 ? 2 : 1;
}

/*
 * Dword j of chunk c to lane c of chunk j; for @sub16 dword j of a half of a
 * chunk to its lane of struct sums256, of chunks j and 4 + j.
 */
PST_K_INLINE void transpose256(__m256i v[GROUP_CHUNKS], bool sub16)
{
	int i;

#pragma GCC unroll 2
	for (i = 0; i < 8; i += 4) {
		__m256i a = _mm256_unpacklo_epi32(v[i], v[i + 1]);
		__m256i b = _mm256_unpackhi_epi32(v[i], v[i + 1]);
		__m256i c = _mm256_unpacklo_epi32(v[i + 2], v[i + 3]);
		__m256i d = _mm256_unpackhi_epi32(v[i + 2], v[i + 3]);

		v[i] = _mm256_unpacklo_epi64(a, c);
		v[i + 1] = _mm256_unpackhi_epi64(a, c);
		v[i + 2] = _mm256_unpacklo_epi64(b, d);
		v[i + 3] = _mm256_unpackhi_epi64(b, d);
	}
	if (sub16)
		return;
#pragma GCC unroll 4
	for (i = 0; i < 4; i++) {
		__m256i a = v[i], b = v[i + 4];

		v[i] = _mm256_permute2x128_si256(a, b, 0x20);
		v[i + 4] = _mm256_permute2x128_si256(a, b, 0x31);
	}
}

/* The sums over what transpose256() would bring together. */
PST_K_INLINE struct sums256 collect256(const __m256i v[GROUP_CHUNKS],
				       bool sub16)
{
	__m256i a = _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]),
				      _mm256_hadd_epi32(v[2], v[3]));
	__m256i b = _mm256_hadd_epi32(_mm256_hadd_epi32(v[4], v[5]),
				      _mm256_hadd_epi32(v[6], v[7]));
	struct sums256 s = { { a, b } };

	if (!sub16)
		s.v[0] =
			_mm256_add_epi32(_mm256_permute2x128_si256(a, b, 0x20),
					 _mm256_permute2x128_si256(a, b, 0x31));
	return s;
}

/* 256 activations as they lie, zeros after the @nr blocks of 32 that are. */
PST_K_INLINE void load_x(__m256i v[GROUP_CHUNKS], const int8_t *q, uint32_t nr)
{
	uint32_t c;

#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++) {
		v[c] = _mm256_setzero_si256();
		if (nr == 8 || c < nr)
			v[c] = _mm256_loadu_si256(
				(const __m256i *)(q + 32 * c));
	}
}

/* The codes of 256 weights as they lie, the same. */
PST_K_INLINE void load_w(__m256i v[GROUP_CHUNKS], const uint8_t *p, uint32_t nr,
			 const struct fmt *f)
{
	uint32_t c;

#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++) {
		v[c] = _mm256_setzero_si256();
		if (nr == 8 || c < nr)
			v[c] = f->codes(p, c);
	}
}

/* Sums of 16 activations as they lie. */
PST_K_INLINE struct sums256 sums16(const __m256i x[GROUP_CHUNKS])
{
	const __m256i one = _mm256_set1_epi8(1);
	__m256i v[GROUP_CHUNKS];
	int c;

#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++)
		v[c] = dot_u8(_mm256_setzero_si256(), one, x[c]);
	return collect256(v, true);
}

/* The @nr blocks of 32 from block @b, whose codes @q lie as they are. */
PST_K_INLINE struct xscale x_scale(const struct xrow *x, uint32_t b,
				   uint32_t nr, const __m256i q[GROUP_CHUNKS],
				   const struct fmt *f)
{
	const __m256i k = first_lanes(nr);
	const __m256i offset = _mm256_set1_epi32(-f->offset);
	struct sums256 sums = { { _mm256_maskload_epi32(x->sum + b, k) } };
	__m256 d = _mm256_maskload_ps(x->d + b, k);
	struct xscale s = { .d = { d } };
	int h;

	if (f->sub16) {
		s.d[0] = _mm256_permute2f128_ps(d, d, 0x00);
		s.d[1] = _mm256_permute2f128_ps(d, d, 0x11);
	}
	if (f->sub16 && (f->offset || f->min))
		sums = sums16(q);
#pragma GCC unroll 2
	for (h = 0; h < nr_sums(f); h++) {
		s.init[h] = _mm256_setzero_si256();
		if (f->offset)
			s.init[h] = _mm256_mullo_epi32(sums.v[h], offset);
		s.sum[h] = s.d[h];
		if (f->min != NO_MIN)
			s.sum[h] = _mm256_mul_ps(s.d[h],
						 _mm256_cvtepi32_ps(sums.v[h]));
	}
	return s;
}

/* First the even lanes, then the odd ones. */
PST_K_INLINE __m256 even_first(__m256 v)
{
	return _mm256_permutevar8x32_ps(v, _mm256_set_epi32(7, 5, 3, 1, 6, 4, 2,
							    0));
}

PST_K_INLINE struct row_scale row_scale(const uint8_t *p, uint32_t nr,
					const struct fmt *f)
{
	struct wscale w = f->scales(p, nr);
	struct row_scale s = { { w.scale, w.scale_upper },
			       { w.min, w.min_upper } };
	int h;

	if (!f->sub16)
		return s;
#pragma GCC unroll 2
	for (h = 0; h < 2; h++) {
		s.scale[h] = even_first(s.scale[h]);
		if (f->min != NO_MIN)
			s.min[h] = even_first(s.min[h]);
	}
	return s;
}

/* The float operations of a pair. */
PST_K_INLINE __m256 add_pair(__m256 acc, const struct sums256 *sums,
			     const struct row_scale *w, const struct xscale *x,
			     const struct fmt *f)
{
	int h;

#pragma GCC unroll 2
	for (h = 0; h < nr_sums(f); h++) {
		if (f->min != NO_MIN)
			acc = _mm256_fnmadd_ps(w->min[h], x->sum[h], acc);
		acc = _mm256_fmadd_ps(_mm256_cvtepi32_ps(sums->v[h]),
				      _mm256_mul_ps(w->scale[h], x->d[h]), acc);
	}
	return acc;
}

struct tile {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	struct xrow x;
	__m256 acc[TILE_ROWS];
};

/* A row's sums as they lie. */
PST_K_INLINE struct sums256 row_sums(const uint8_t *p,
				     const __m256i x[GROUP_CHUNKS], uint32_t nr,
				     const struct xscale *xs,
				     const struct fmt *f)
{
	__m256i w[GROUP_CHUNKS];
	struct sums256 s;
	int c, h;

	load_w(w, p, nr, f);
#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++)
		w[c] = f->dot(_mm256_setzero_si256(), w[c], x[c]);
	s = collect256(w, f->sub16);
#pragma GCC unroll 2
	for (h = 0; h < nr_sums(f); h++)
		if (f->offset)
			s.v[h] = _mm256_add_epi32(s.v[h], xs->init[h]);
	return s;
}

PST_K_INLINE void tile_group(struct tile *t, uint32_t b, uint32_t nr, int rows,
			     const struct fmt *f)
{
	__m256i x[GROUP_CHUNKS];
	struct xscale xs;
	int r;

	load_x(x, t->x.q + 32 * (size_t)b, nr);
	xs = x_scale(&t->x, b, nr, x, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		struct row_scale ws = row_scale(t->w[r], nr, f);
		struct sums256 s;

		prefetch(t->w[r], t->ahead_bytes, f->bytes);
		s = row_sums(t->w[r], x, nr, &xs, f);
		t->acc[r] = add_pair(t->acc[r], &s, &ws, &xs, f);
		t->w[r] += f->bytes;
	}
}

/* Rows from @r0 times the one token. */
PST_K_INLINE void tile_q8(const struct pst_kmul *m, uint32_t r0, int rows,
			  const struct fmt *f)
{
	uint32_t nr_blocks = m->n / 32, b;
	struct tile t = { .ahead_bytes = (size_t)rows * m->row_bytes,
			  .x = x_row(m, 0) };
	int r;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++) {
		t.w[r] = pst_k_row(m, r0 + (uint32_t)r);
		t.acc[r] = _mm256_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		tile_group(&t, b, 8, rows, f);
	if (f->has_tail && b < nr_blocks)
		tile_group(&t, b, nr_blocks - b, rows, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		m->y[r0 + (uint32_t)r] = sum8(t.acc[r]);
}

/* 256 activations of a token, transposed. */
struct xgroup {
	__m256i q[GROUP_CHUNKS];
	struct xscale scale;
};

_Static_assert(sizeof(struct xgroup) <= PST_K_PANEL_GROUP_BYTES,
	       "the size of pst_kmul's scratch counts these");

/* Tokens of a block, their groups in the scratch: [nr_groups][nr]. */
struct panel {
	struct xgroup *group;
	uint32_t first;
	uint32_t nr;
};

/* A block of rows and tokens, of which 256 columns are unpacked. */
struct block {
	uint32_t nr_rows;
	uint32_t nr_tokens;
	size_t ahead_bytes;
	const uint8_t *row[BLOCK_ROWS];
	__m256i w[BLOCK_ROWS][GROUP_CHUNKS];
	struct row_scale ws[BLOCK_ROWS];
	__m256 acc[BLOCK_ROWS][PST_K_PANEL_TOKENS];
};

PST_K_INLINE void pack_group(struct xgroup *g, const struct xrow *x, uint32_t b,
			     uint32_t nr, const struct fmt *f)
{
	__m256i v[GROUP_CHUNKS];
	int c;

	load_x(v, x->q + 32 * (size_t)b, nr);
	g->scale = x_scale(x, b, nr, v, f);
	transpose256(v, f->sub16);
#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++)
		g->q[c] = v[c];
}

PST_K_INLINE void pack_panel(struct panel *t, const struct pst_kmul *m,
			     const struct fmt *f)
{
	uint32_t nr_blocks = m->n / 32, b, i;

	for (i = 0; i < t->nr; i++) {
		struct xrow x = x_row(m, t->first + i);
		struct xgroup *g = t->group + i;

		for (b = 0; b + 8 <= nr_blocks; b += 8, g += t->nr)
			pack_group(g, &x, b, 8, f);
		if (f->has_tail && b < nr_blocks)
			pack_group(g, &x, b, nr_blocks - b, f);
	}
}

PST_K_INLINE void unpack_row(struct block *t, uint32_t r, uint32_t nr,
			     const struct fmt *f)
{
	__m256i v[GROUP_CHUNKS];
	int c;

	t->ws[r] = row_scale(t->row[r], nr, f);
	prefetch(t->row[r], t->ahead_bytes, f->bytes);
	load_w(v, t->row[r], nr, f);
	transpose256(v, f->sub16);
#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++)
		t->w[r][c] = v[c];
	t->row[r] += f->bytes;
}

/* init + products of @nr vectors. */
PST_K_INLINE __m256i dots(__m256i init, const __m256i *w, const __m256i *x,
			  int nr, const struct fmt *f)
{
	int j;

	if (f->max)
		return dots_u8(init, w, x, nr, f->max);
#pragma GCC unroll 8
	for (j = 0; j < nr; j++)
		init = f->dot(init, w[j], x[j]);
	return init;
}

/* Row @r times all tokens of @x, 256 columns. */
PST_K_INLINE void block_row(struct block *t, uint32_t r, const struct xgroup *x,
			    const struct fmt *f)
{
	const int nr = f->sub16 ? HALF_CHUNKS : GROUP_CHUNKS;
	const struct row_scale ws = t->ws[r];
	__m256i w[GROUP_CHUNKS];
	uint32_t i;
	int c, h;

#pragma GCC unroll 8
	for (c = 0; c < GROUP_CHUNKS; c++)
		w[c] = t->w[r][c];
	for (i = 0; i < t->nr_tokens; i++, x++) {
		struct sums256 s;

#pragma GCC unroll 2
		for (h = 0; h < nr_sums(f); h++)
			s.v[h] = dots(x->scale.init[h], w + HALF_CHUNKS * h,
				      x->q + HALF_CHUNKS * h, nr, f);
		t->acc[r][i] = add_pair(t->acc[r][i], &s, &ws, &x->scale, f);
	}
}

PST_K_INLINE void block_group(struct block *t, const struct xgroup *x,
			      uint32_t nr, const struct fmt *f)
{
	uint32_t r;

	for (r = 0; r < t->nr_rows; r++) {
		unpack_row(t, r, nr, f);
		block_row(t, r, x, f);
	}
}

/* Rows from @r0, as many as a block takes, times the tokens of a panel. */
PST_K_INLINE void block_q8(const struct pst_kmul *m, uint32_t r0,
			   const struct panel *x, const struct fmt *f)
{
	const struct xgroup *g = x->group;
	uint32_t nr_blocks = m->n / 32, b, r, i;
	struct block t;

	t.nr_rows = min_u32(m->nr_rows - r0, BLOCK_ROWS);
	t.nr_tokens = x->nr;
	t.ahead_bytes = t.nr_rows * m->row_bytes;
	for (r = 0; r < t.nr_rows; r++)
		t.row[r] = pst_k_row(m, r0 + r);
	for (i = 0; i < t.nr_tokens; i++)
		for (r = 0; r < t.nr_rows; r++)
			t.acc[r][i] = _mm256_setzero_ps();
	for (b = 0; b + 8 <= nr_blocks; b += 8, g += x->nr)
		block_group(&t, g, 8, f);
	if (f->has_tail && b < nr_blocks)
		block_group(&t, g, nr_blocks - b, f);
	for (i = 0; i < t.nr_tokens; i++)
		for (r = 0; r < t.nr_rows; r++)
			m->y[(x->first + i) * m->y_stride + r0 + r] =
				sum8(t.acc[r][i]);
}

/* All rows times blocks of tokens. */
PST_K_INLINE void blocks_q8(const struct pst_kmul *m, const struct fmt *f)
{
	const uint32_t most = pst_kmul_panel_tokens(
		m->n, pst_kconfig_of_product(m)->panel_bytes);
	struct panel x = { .group = (void *)m->scratch };
	uint32_t r;

	for (; x.first < m->nr_x; x.first += x.nr) {
		x.nr = min_u32(m->nr_x - x.first, most);
		pack_panel(&x, m, f);
		for (r = 0; r < m->nr_rows; r += BLOCK_ROWS)
			block_q8(m, r, &x, f);
	}
}

PST_K_INLINE void mul_q8(const struct pst_kmul *m, const struct fmt *f)
{
	uint32_t r = 0;

	if (m->nr_x != 1) {
		blocks_q8(m, f);
		return;
	}
	for (; r + TILE_ROWS <= m->nr_rows; r += TILE_ROWS)
		tile_q8(m, r, TILE_ROWS, f);
	for (; r < m->nr_rows; r++)
		tile_q8(m, r, 1, f);
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
#define DEFINE_MUL(type, name, ...)                      \
	static void mul_##name(const struct pst_kmul *m) \
	{                                                \
		mul_q8(m, &fmt_##name);                  \
	}

#endif
