// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX2: Q8_0, Q4_0, Q5_0, Q4_K and Q6_K.
 * Integer parts are those of the reference; the float sums are bounded by a
 * few eps times the sum of |scale x code x activation|.
 *
 * Weights are taken 256 at a time, in eight chunks of 32.  Codes are unsigned
 * with an offset (those of Q8_0 keep their sign); the 8 partial integer sums of
 * a chunk are exact.  Per 256 weights the scales of weights and activations are
 * multiplied once; each chunk spreads the one or two that it needs over its 8
 * lanes.  Reads nothing past a row.
 */
#include "avx2_util.h"
#include "x86_priv.h"

/* The largest tile: 16 registers hold the sums and scales of four pairs. */
enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 2,
	TILE_NR = 2
};

/* Scales of 256 weights: one per 32, or one per 16 in @scale and @upper. */
struct wscale {
	__m256 scale;
	__m256 upper;
	__m256 min; /* of Q4_K */
};

/**
 * struct fmt - one format
 * @bytes: of 256 weights
 * @offset: of the codes
 * @sub16: whether a scale covers 16 weights, else 32
 * @has_min: whether wscale.min is used
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c
 * @dot: of 32 bytes; lane l has the products of bytes 4l..4l+3
 */
struct fmt {
	uint32_t bytes;
	int offset;
	bool sub16;
	bool has_min;
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

/* Scale products, and the minima, of the @nr blocks of 32 from block @b. */
PST_K_INLINE void scales(struct tile *t, uint32_t b, uint32_t nr, int rows,
			 int tokens, const struct fmt *f)
{
	const __m256i k = first_lanes(nr);
	const __m256i twice = _mm256_set_epi32(3, 3, 2, 2, 1, 1, 0, 0);
	const __m256i twice_upper = _mm256_set_epi32(7, 7, 6, 6, 5, 5, 4, 4);
	struct wscale ws[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		ws[r] = f->scales(t->w[r], nr);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m256 d = _mm256_maskload_ps(t->x[i].d + b, k);
		__m256 lo = d, hi = d, sum = d;

		if (f->has_min)
			sum = _mm256_mul_ps(
				d, _mm256_cvtepi32_ps(_mm256_maskload_epi32(
					   t->x[i].sum + b, k)));
		if (f->sub16) {
			lo = _mm256_permutevar8x32_ps(d, twice);
			hi = _mm256_permutevar8x32_ps(d, twice_upper);
		}
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			t->scale[r][i] = _mm256_mul_ps(ws[r].scale, lo);
			if (f->sub16)
				t->upper[r][i] = _mm256_mul_ps(ws[r].upper, hi);
			if (f->has_min)
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

/* Half-precision scales of blocks @bytes apart. */
PST_K_INLINE struct wscale block_scales(const uint8_t *p, uint32_t nr,
					uint32_t bytes)
{
	struct wscale s = { .upper = _mm256_setzero_ps(),
			    .min = _mm256_setzero_ps() };
	__m128i h = _mm_setzero_si128();
	uint16_t part[8] = { 0 };
	uint32_t i;

	if (nr == 8) {
		h = _mm_insert_epi16(h, pst_k_load_u16(p), 0);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + bytes), 1);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 2 * bytes), 2);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 3 * bytes), 3);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 4 * bytes), 4);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 5 * bytes), 5);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 6 * bytes), 6);
		h = _mm_insert_epi16(h, pst_k_load_u16(p + 7 * bytes), 7);
	} else {
		for (i = 0; i < nr; i++)
			part[i] = pst_k_load_u16(p + i * bytes);
		h = _mm_loadu_si128((const __m128i *)part);
	}
	s.scale = _mm256_cvtph_ps(h);
	return s;
}

/* 16 bytes: their low, then their high nibbles. */
PST_K_INLINE __m256i nibbles(const uint8_t *p)
{
	__m128i q = _mm_loadu_si128((const __m128i *)p);
	__m256i v = _mm256_inserti128_si256(_mm256_castsi128_si256(q),
					    _mm_srli_epi16(q, 4), 1);

	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

PST_K_INLINE struct wscale scales_q8_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q8_0_BYTES);
}

PST_K_INLINE __m256i codes_q8_0(const uint8_t *p, uint32_t c)
{
	return _mm256_loadu_si256(
		(const __m256i *)(p + c * PST_K_Q8_0_BYTES + 2));
}

static const struct fmt fmt_q8_0 = {
	.bytes = 8 * PST_K_Q8_0_BYTES,
	.has_tail = true,
	.scales = scales_q8_0,
	.codes = codes_q8_0,
	.dot = dot_i8,
};

PST_K_INLINE struct wscale scales_q4_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q4_0_BYTES);
}

PST_K_INLINE __m256i codes_q4_0(const uint8_t *p, uint32_t c)
{
	return nibbles(p + c * PST_K_Q4_0_BYTES + 2);
}

static const struct fmt fmt_q4_0 = {
	.bytes = 8 * PST_K_Q4_0_BYTES,
	.offset = 8,
	.has_tail = true,
	.scales = scales_q4_0,
	.codes = codes_q4_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q5_0(const uint8_t *p, uint32_t nr)
{
	return block_scales(p, nr, PST_K_Q5_0_BYTES);
}

PST_K_INLINE __m256i codes_q5_0(const uint8_t *p, uint32_t c)
{
	const uint8_t *b = p + c * PST_K_Q5_0_BYTES;
	const __m256i spread = _mm256_set_epi64x(
		0x0303030303030303, 0x0202020202020202, 0x0101010101010101, 0);
	const __m256i bit = _mm256_set1_epi64x((int64_t)0x8040201008040201ULL);
	__m256i high = _mm256_set1_epi32((int)pst_k_load_u32(b + 2));

	high = _mm256_and_si256(_mm256_shuffle_epi8(high, spread), bit);
	high = _mm256_and_si256(_mm256_cmpeq_epi8(high, bit),
				_mm256_set1_epi8(16));
	return _mm256_or_si256(nibbles(b + 6), high);
}

static const struct fmt fmt_q5_0 = {
	.bytes = 8 * PST_K_Q5_0_BYTES,
	.offset = 16,
	.has_tail = true,
	.scales = scales_q5_0,
	.codes = codes_q5_0,
	.dot = dot_u8,
};

/* Eight scales and eight minima, see pst_k_unpack_k4(). */
PST_K_INLINE struct wscale scales_q4_k(const uint8_t *p, uint32_t nr)
{
	const uint32_t a = pst_k_load_u32(p + 4), b = pst_k_load_u32(p + 8);
	const uint32_t c = pst_k_load_u32(p + 12);
	const uint32_t sc_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
	const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
	__m128i sc = _mm_set_epi32(0, 0, (int)sc_hi, (int)(a & 0x3f3f3f3f));
	__m128i mn = _mm_set_epi32(0, 0, (int)mn_hi, (int)(b & 0x3f3f3f3f));
	__m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)pst_k_load_u32(p)));
	struct wscale s = { .upper = _mm256_setzero_ps() };

	(void)nr;
	s.scale = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(sc)),
				_mm256_broadcastss_ps(d));
	s.min = _mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepu8_epi32(mn)),
			      _mm256_broadcastss_ps(_mm_movehdup_ps(d)));
	return s;
}

PST_K_INLINE __m256i codes_q4_k(const uint8_t *p, uint32_t c)
{
	__m256i v =
		_mm256_loadu_si256((const __m256i *)(p + 16 + 32 * (c / 2)));

	if (c % 2)
		v = _mm256_srli_epi16(v, 4);
	return _mm256_and_si256(v, _mm256_set1_epi8(15));
}

static const struct fmt fmt_q4_k = {
	.bytes = PST_K_Q4_K_BYTES,
	.has_min = true,
	.scales = scales_q4_k,
	.codes = codes_q4_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale scales_q6_k(const uint8_t *p, uint32_t nr)
{
	const __m256 d = _mm256_set1_ps(load_f16(p + 208));
	__m128i sc = _mm_loadu_si128((const __m128i *)(p + 192));
	struct wscale s = { .min = _mm256_setzero_ps() };

	(void)nr;
	s.scale =
		_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc)), d);
	sc = _mm_srli_si128(sc, 8);
	s.upper =
		_mm256_mul_ps(_mm256_cvtepi32_ps(_mm256_cvtepi8_epi32(sc)), d);
	return s;
}

PST_K_INLINE __m256i codes_q6_k(const uint8_t *p, uint32_t c)
{
	const uint8_t *ql = p + 64 * (c / 4) + 32 * (c % 2);
	const uint8_t *qh = p + 128 + 32 * (c / 4);
	__m256i low = _mm256_loadu_si256((const __m256i *)ql);
	__m256i high = _mm256_loadu_si256((const __m256i *)qh);

	/* The two upper bits come to rest at bits 4 and 5. */
	if (c % 4 == 0)
		high = _mm256_slli_epi16(high, 4);
	else if (c % 4 == 1)
		high = _mm256_slli_epi16(high, 2);
	else if (c % 4 == 3)
		high = _mm256_srli_epi16(high, 2);
	if (c % 4 >= 2)
		low = _mm256_srli_epi16(low, 4);
	return _mm256_or_si256(_mm256_and_si256(low, _mm256_set1_epi8(15)),
			       _mm256_and_si256(high, _mm256_set1_epi8(0x30)));
}

static const struct fmt fmt_q6_k = {
	.bytes = PST_K_Q6_K_BYTES,
	.offset = 32,
	.sub16 = true,
	.scales = scales_q6_k,
	.codes = codes_q6_k,
	.dot = dot_u8,
};

PST_K_INLINE void tile_q8_0(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8(m, r, i, nr, nt, &fmt_q8_0);
}

static void pst_k_mul_q8_0_avx2(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q8_0);
}

PST_K_INLINE void tile_q4_0(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8(m, r, i, nr, nt, &fmt_q4_0);
}

static void pst_k_mul_q4_0_avx2(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q4_0);
}

PST_K_INLINE void tile_q5_0(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8(m, r, i, nr, nt, &fmt_q5_0);
}

static void pst_k_mul_q5_0_avx2(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q5_0);
}

PST_K_INLINE void tile_q4_k(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8(m, r, i, nr, nt, &fmt_q4_k);
}

static void pst_k_mul_q4_k_avx2(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q4_k);
}

PST_K_INLINE void tile_q6_k(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8(m, r, i, nr, nt, &fmt_q6_k);
}

static void pst_k_mul_q6_k_avx2(const struct pst_kmul *m)
{
	tile_mul(m, TILE_NR, TILE_TOKENS, tile_q6_k);
}

void pst_k_fill_mul_q8_avx2(struct pst_kernels *k)
{
	k->types[PST_K_Q8_0].mul = pst_k_mul_q8_0_avx2;
	k->types[PST_K_Q4_0].mul = pst_k_mul_q4_0_avx2;
	k->types[PST_K_Q5_0].mul = pst_k_mul_q5_0_avx2;
	k->types[PST_K_Q4_K].mul = pst_k_mul_q4_k_avx2;
	k->types[PST_K_Q6_K].mul = pst_k_mul_q6_k_avx2;
}
