/* SPDX-License-Identifier: MIT */
/*
 * Products with 8-bit activations on 512-bit vectors: Q8_0, Q4_0, Q5_0, Q4_K
 * and Q6_K.  Included after dot_avx512.h or dot_vnni.h, which differ only in
 * how bytes are multiplied.
 *
 * Weights are taken 256 at a time, in four chunks of 64.  Codes are unsigned
 * with an offset; 16 partial integer sums of a chunk start at minus the offset
 * times the activations, and are exact.  Per 256 weights the scales of weights
 * and activations are multiplied once (8 or 16 products); each chunk spreads
 * the ones it needs over its 16 lanes.  Reads nothing past a row; activations
 * to the end of the last 64.
 */
#ifndef PST_K_MUL_Q8_512_TMPL_H
#define PST_K_MUL_Q8_512_TMPL_H

/* The largest tile: sums and scale products must fit in 32 registers. */
enum {
	TILE_ROWS = 4,
	TILE_TOKENS = 4,
	TILE_NR = 2
};

/* Scales of 256 weights: one per 16 lanes, or one per 32 in the lower 8. */
struct wscale512 {
	__m512 scale;
	__m512 min; /* lower 8 lanes; of Q4_K */
};

/**
 * struct fmt512 - one format
 * @bytes: of 256 weights
 * @offset: of the codes
 * @sub16: whether a scale covers 16 weights, else 32
 * @has_min: whether wscale512.min is used
 * @has_tail: whether a row may end within 256 weights
 * @scales: of the first @nr blocks of 32 at @p, zero for others
 * @codes: of chunk @c; the second half is zero where only @nr = 1 block is left
 * @dot: dot_u8 or dot_q8_0
 */
struct fmt512 {
	uint32_t bytes;
	int offset;
	bool sub16;
	bool has_min;
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

struct tile512 {
	const uint8_t *w[TILE_ROWS];
	size_t ahead_bytes;
	struct xrow512 x[TILE_TOKENS];
	__m512 acc[TILE_ROWS][TILE_TOKENS];
	__m512 scale[TILE_ROWS][TILE_TOKENS];
};

/* Which scale each lane of chunk @c takes. */
PST_K_INLINE __m512i lane_scale512(uint32_t c, bool sub16)
{
	const __m512i by4 = _mm512_set_epi32(3, 3, 3, 3, 2, 2, 2, 2, 1, 1, 1, 1,
					     0, 0, 0, 0);
	const __m512i by8 = _mm512_set_epi32(1, 1, 1, 1, 1, 1, 1, 1, 0, 0, 0, 0,
					     0, 0, 0, 0);

	if (sub16)
		return _mm512_add_epi32(by4, _mm512_set1_epi32(4 * (int)c));
	return _mm512_add_epi32(by8, _mm512_set1_epi32(2 * (int)c));
}

/* Scale products, and the minima, of the @nr blocks of 32 from block @b. */
PST_K_INLINE void scales512(struct tile512 *t, uint32_t b, uint32_t nr,
			    int rows, int tokens, const struct fmt512 *f)
{
	const __mmask16 k = (__mmask16)((1u << nr) - 1);
	const __m512i twice = _mm512_set_epi32(7, 7, 6, 6, 5, 5, 4, 4, 3, 3, 2,
					       2, 1, 1, 0, 0);
	struct wscale512 ws[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		ws[r] = f->scales(t->w[r], nr);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m512 d = _mm512_maskz_loadu_ps(k, t->x[i].d + b);
		__m512 sum = d;

		if (f->has_min)
			sum = _mm512_mul_ps(
				d, _mm512_cvtepi32_ps(_mm512_maskz_loadu_epi32(
					   k, t->x[i].sum + b)));
		if (f->sub16)
			d = _mm512_permutexvar_ps(twice, d);
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			t->scale[r][i] = _mm512_mul_ps(ws[r].scale, d);
			if (f->has_min)
				t->acc[r][i] = _mm512_fnmadd_ps(ws[r].min, sum,
								t->acc[r][i]);
		}
	}
}

/* One chunk of 64 weights, of which @nr blocks of 32 are there. */
PST_K_INLINE void chunk512(struct tile512 *t, uint32_t c, uint32_t nr, int rows,
			   int tokens, const struct fmt512 *f)
{
	const __m512i zero = _mm512_setzero_si512();
	const __m512i offset = _mm512_set1_epi8((char)f->offset);
	const __m512i lanes = lane_scale512(c, f->sub16);
	__m512i w[TILE_ROWS];
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		w[r] = f->codes(t->w[r], c, nr);
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++) {
		__m512i x = _mm512_loadu_si512(t->x[i].q + 64 * c);
		__m512i init = zero;

		if (f->offset)
			init = _mm512_sub_epi32(zero, dot_u8(zero, offset, x));
#pragma GCC unroll 4
		for (r = 0; r < rows; r++) {
			__m512 s = _mm512_cvtepi32_ps(f->dot(init, w[r], x));

			t->acc[r][i] = _mm512_fmadd_ps(
				s, _mm512_permutexvar_ps(lanes, t->scale[r][i]),
				t->acc[r][i]);
		}
	}
}

PST_K_INLINE void group512(struct tile512 *t, uint32_t b, uint32_t nr, int rows,
			   int tokens, const struct fmt512 *f)
{
	uint32_t c;
	int r, i;

#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		prefetch(t->w[r], t->ahead_bytes, f->bytes);
	scales512(t, b, nr, rows, tokens, f);
	if (nr == 8) {
#pragma GCC unroll 4
		for (c = 0; c < 4; c++)
			chunk512(t, c, 2, rows, tokens, f);
	} else {
		for (c = 0; c < nr / 2; c++)
			chunk512(t, c, 2, rows, tokens, f);
		if (nr % 2)
			chunk512(t, c, 1, rows, tokens, f);
	}
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
		t->w[r] += f->bytes;
#pragma GCC unroll 4
	for (i = 0; i < tokens; i++)
		t->x[i].q += PST_K_SUPER;
}

PST_K_INLINE void tile_q8_512(const struct pst_kmul *m, uint32_t r0,
			      uint32_t i0, int rows, int tokens,
			      const struct fmt512 *f)
{
	uint32_t nr_blocks = m->n / 32, b;
	struct tile512 t;
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
			t.acc[r][i] = _mm512_setzero_ps();
	}
	for (b = 0; b + 8 <= nr_blocks; b += 8)
		group512(&t, b, 8, rows, tokens, f);
	if (f->has_tail && b < nr_blocks)
		group512(&t, b, nr_blocks - b, rows, tokens, f);
#pragma GCC unroll 4
	for (r = 0; r < rows; r++)
#pragma GCC unroll 4
		for (i = 0; i < tokens; i++)
			m->y[(i0 + (uint32_t)i) * m->y_stride + r0 +
			     (uint32_t)r] = _mm512_reduce_add_ps(t.acc[r][i]);
}

/* Half-precision scales of blocks @bytes apart. */
PST_K_INLINE struct wscale512 block_scales512(const uint8_t *p, uint32_t nr,
					      uint32_t bytes)
{
	struct wscale512 s = { .min = _mm512_setzero_ps() };
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
	s.scale = _mm512_zextps256_ps512(_mm256_cvtph_ps(h));
	return s;
}

/* 16 bytes of each of two blocks: their low, then their high nibbles. */
PST_K_INLINE __m512i nibbles512(const uint8_t *p0, const uint8_t *p1)
{
	__m256i q =
		_mm256_castsi128_si256(_mm_loadu_si128((const __m128i *)p0));
	__m512i v;

	if (p1)
		q = _mm256_inserti128_si256(
			q, _mm_loadu_si128((const __m128i *)p1), 1);
	else
		q = _mm256_zextsi128_si256(_mm256_castsi256_si128(q));
	v = _mm512_permutexvar_epi64(_mm512_set_epi64(3, 2, 3, 2, 1, 0, 1, 0),
				     _mm512_castsi256_si512(q));
	v = _mm512_mask_srli_epi16(v, 0xff00ff00, v, 4);
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

PST_K_INLINE struct wscale512 scales_q8_0(const uint8_t *p, uint32_t nr)
{
	return block_scales512(p, nr, PST_K_Q8_0_BYTES);
}

PST_K_INLINE __m512i codes_q8_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *b = p + 2 * c * PST_K_Q8_0_BYTES;
	__m256i lo = _mm256_loadu_si256((const __m256i *)(b + 2));

	if (nr < 2)
		return _mm512_zextsi256_si512(lo);
	b += PST_K_Q8_0_BYTES;
	return _mm512_inserti64x4(_mm512_castsi256_si512(lo),
				  _mm256_loadu_si256((const __m256i *)(b + 2)),
				  1);
}

static const struct fmt512 fmt_q8_0 = {
	.bytes = 8 * PST_K_Q8_0_BYTES,
	.has_tail = true,
	.offset = DOT_Q8_0_OFFSET,
	.scales = scales_q8_0,
	.codes = codes_q8_0,
	.dot = dot_q8_0,
};

PST_K_INLINE struct wscale512 scales_q4_0(const uint8_t *p, uint32_t nr)
{
	return block_scales512(p, nr, PST_K_Q4_0_BYTES);
}

PST_K_INLINE __m512i codes_q4_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *b = p + 2 * c * PST_K_Q4_0_BYTES + 2;

	return nibbles512(b, nr < 2 ? NULL : b + PST_K_Q4_0_BYTES);
}

static const struct fmt512 fmt_q4_0 = {
	.bytes = 8 * PST_K_Q4_0_BYTES,
	.has_tail = true,
	.offset = 8,
	.scales = scales_q4_0,
	.codes = codes_q4_0,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q5_0(const uint8_t *p, uint32_t nr)
{
	return block_scales512(p, nr, PST_K_Q5_0_BYTES);
}

PST_K_INLINE __m512i codes_q5_0(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *b0 = p + 2 * c * PST_K_Q5_0_BYTES;
	const uint8_t *b1 = b0 + PST_K_Q5_0_BYTES;
	uint64_t high = pst_k_load_u32(b0 + 2);
	__m512i v;

	if (nr == 2)
		high |= (uint64_t)pst_k_load_u32(b1 + 2) << 32;
	v = nibbles512(b0 + 6, nr < 2 ? NULL : b1 + 6);
	return _mm512_mask_add_epi8(v, high, v, _mm512_set1_epi8(16));
}

static const struct fmt512 fmt_q5_0 = {
	.bytes = 8 * PST_K_Q5_0_BYTES,
	.has_tail = true,
	.offset = 16,
	.scales = scales_q5_0,
	.codes = codes_q5_0,
	.dot = dot_u8,
};

/* Eight scales and eight minima, see pst_k_unpack_k4(). */
PST_K_INLINE struct wscale512 scales_q4_k(const uint8_t *p, uint32_t nr)
{
	const uint32_t a = pst_k_load_u32(p + 4), b = pst_k_load_u32(p + 8);
	const uint32_t c = pst_k_load_u32(p + 12);
	const uint32_t sc_hi = (c & 0x0f0f0f0f) | (a >> 2 & 0x30303030);
	const uint32_t mn_hi = (c >> 4 & 0x0f0f0f0f) | (b >> 2 & 0x30303030);
	__m128i bytes = _mm_set_epi32((int)mn_hi, (int)(b & 0x3f3f3f3f),
				      (int)sc_hi, (int)(a & 0x3f3f3f3f));
	__m128 d = _mm_cvtph_ps(_mm_cvtsi32_si128((int)pst_k_load_u32(p)));
	__m512 v = _mm512_cvtepi32_ps(_mm512_cvtepu8_epi32(bytes));
	__m512 both = _mm512_insertf32x8(
		_mm512_broadcastss_ps(d),
		_mm256_broadcastss_ps(_mm_movehdup_ps(d)), 1);
	struct wscale512 s;

	(void)nr;
	v = _mm512_mul_ps(v, both);
	s.scale = v;
	s.min = _mm512_zextps256_ps512(_mm512_extractf32x8_ps(v, 1));
	return s;
}

PST_K_INLINE __m512i codes_q4_k(const uint8_t *p, uint32_t c, uint32_t nr)
{
	__m512i v = _mm512_broadcast_i64x4(
		_mm256_loadu_si256((const __m256i *)(p + 16 + 32 * c)));

	(void)nr;
	v = _mm512_mask_srli_epi16(v, 0xffff0000, v, 4);
	return _mm512_and_si512(v, _mm512_set1_epi8(15));
}

static const struct fmt512 fmt_q4_k = {
	.bytes = PST_K_Q4_K_BYTES,
	.has_min = true,
	.scales = scales_q4_k,
	.codes = codes_q4_k,
	.dot = dot_u8,
};

PST_K_INLINE struct wscale512 scales_q6_k(const uint8_t *p, uint32_t nr)
{
	__m128i sc = _mm_loadu_si128((const __m128i *)(p + 192));
	struct wscale512 s = { .min = _mm512_setzero_ps() };

	(void)nr;
	s.scale = _mm512_mul_ps(_mm512_cvtepi32_ps(_mm512_cvtepi8_epi32(sc)),
				_mm512_set1_ps(load_f16(p + 208)));
	return s;
}

/* Chunks 0 and 2 are the low nibbles of 64 bytes, 1 and 3 the high ones. */
PST_K_INLINE __m512i codes_q6_k(const uint8_t *p, uint32_t c, uint32_t nr)
{
	const uint8_t *qh = p + 128 + 32 * (c / 2);
	__m512i low = _mm512_loadu_si512(p + 64 * (c / 2));
	__m512i high =
		_mm512_broadcast_i64x4(_mm256_loadu_si256((const __m256i *)qh));

	(void)nr;
	if (c % 2) {
		low = _mm512_srli_epi16(low, 4);
		high = _mm512_mask_srli_epi16(high, 0xffff0000, high, 2);
	} else {
		high = _mm512_sllv_epi16(
			high, _mm512_inserti64x4(_mm512_set1_epi16(4),
						 _mm256_set1_epi16(2), 1));
	}
	low = _mm512_and_si512(low, _mm512_set1_epi8(15));
	/* low | (high & 0x30) */
	return _mm512_ternarylogic_epi64(low, high, _mm512_set1_epi8(0x30),
					 0xf8);
}

static const struct fmt512 fmt_q6_k = {
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
	tile_q8_512(m, r, i, nr, nt, &fmt_q8_0);
}

PST_K_INLINE void tile_q4_0(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8_512(m, r, i, nr, nt, &fmt_q4_0);
}

PST_K_INLINE void tile_q5_0(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8_512(m, r, i, nr, nt, &fmt_q5_0);
}

PST_K_INLINE void tile_q4_k(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8_512(m, r, i, nr, nt, &fmt_q4_k);
}

PST_K_INLINE void tile_q6_k(const struct pst_kmul *m, uint32_t r, uint32_t i,
			    int nr, int nt)
{
	tile_q8_512(m, r, i, nr, nt, &fmt_q6_k);
}

#endif
