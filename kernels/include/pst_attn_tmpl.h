/* SPDX-License-Identifier: MIT */
/*
 * Attention in tiles of positions, for any instruction set and element type:
 * a tile's keys and values are made float once, the keys transposed, and all
 * queries of the call use them.  Included by a file that has defined
 *
 *	LANES, vec             floats of a vector (16 at most), the vector
 *	VECS                   vectors of a block in registers, for 4 queries
 *	vload(p), vstore(p, v) no alignment
 *	vload_part(p, nr), vstore_part(p, v, nr)
 *	                       the first nr <= LANES, when loaded zero behind
 *	vset(f), vmul(a, b), vsub(a, b), vadd(a, b), vmax(a, b)
 *	vfma(a, b, c)          a * b + c
 *	vexp(v)                e^v, exactly 1 for 0, 0 for minus infinity
 *	vsum(v), vtop(v)       of all lanes: the sum, the largest
 *	vturn(v)               transposes LANES vectors
 *
 * What a query's bits depend on: a score is the sum over blocks of PANEL
 * elements, each a chain of multiply-adds in order.  Of a tile, the visible
 * positions go in order into a chain of multiply-adds from zero for each
 * element of the output, which is then added to the output so far, scaled if
 * the maximum grew.  Other queries have no part in any of this: blocks of
 * queries only share loads.
 */
#ifndef PST_ATTN_TMPL_H
#define PST_ATTN_TMPL_H

#include "pst_tile.h"

enum {
	TILE = PST_K_ATTN_TILE,
	PANEL = 64, /* elements of a key or value that are used at a time */
	BLOCK = 4, /* queries in registers */
	DIRECT = 8, /* queries for which values are used as they are stored */
};

/* A query while it goes through the tiles. */
struct attn_state {
	float p[TILE]; /* scores, then their exponentials */
	float sum[16]; /* of those of all tiles, by lane */
	float max; /* of the scores of all tiles */
	float fix; /* what this tile does to the sums before it */
	uint32_t lo, hi; /* visible positions of the tile */
	float pad[12];
};

_Static_assert(sizeof(struct attn_state) == PST_K_ATTN_QUERY_BYTES,
	       "the caller reserves it");

/* Elements i..i + nr - 1 of a key or value, zero behind them; nr <= LANES. */
typedef vec (*attn_row_fn)(const uint8_t *row, uint32_t i, uint32_t nr);

/* A call, and its present tile. */
struct attn_job {
	const struct pst_kattn *a;
	struct attn_state *state;
	float *keys; /* [hd_k][TILE] */
	float *values; /* panels of [TILE][PANEL] */
	uint32_t at; /* position of the tile */
	uint32_t lo, hi; /* its positions that some query may see */
};

PST_K_INLINE uint32_t least(uint32_t a, uint32_t b)
{
	return a < b ? a : b;
}

PST_K_INLINE uint32_t most(uint32_t a, uint32_t b)
{
	return a > b ? a : b;
}

PST_K_INLINE const uint8_t *attn_row(const struct attn_job *j, const void *rows,
				     size_t stride_bytes, uint32_t s)
{
	return (const uint8_t *)rows +
	       (size_t)(j->at + s - j->a->first) * stride_bytes;
}

/* LANES positions from @s and as many elements from @c, transposed. */
PST_K_INLINE void turn_keys(const struct attn_job *j, uint32_t s, uint32_t c,
			    attn_row_fn row)
{
	uint32_t nr = least(j->a->hd_k - c, LANES), i;
	size_t stride = j->a->k_stride_bytes;
	float *to = j->keys + (size_t)c * TILE + s;
	vec v[LANES];

	if (s >= j->lo && s + LANES <= j->hi && nr == LANES) {
		const uint8_t *key = attn_row(j, j->a->k, stride, s);

#pragma GCC unroll 16
		for (i = 0; i < LANES; i++)
			v[i] = row(key + i * stride, c, LANES);
		vturn(v);
#pragma GCC unroll 16
		for (i = 0; i < LANES; i++)
			vstore(to + (size_t)i * TILE, v[i]);
		return;
	}
	for (i = 0; i < LANES; i++) {
		v[i] = vset(0);
		if (s + i >= j->lo && s + i < j->hi)
			v[i] = row(attn_row(j, j->a->k, stride, s + i), c, nr);
	}
	vturn(v);
	for (i = 0; i < nr; i++)
		vstore(to + (size_t)i * TILE, v[i]);
}

PST_K_INLINE void take_keys(const struct attn_job *j, attn_row_fn row)
{
	const uint32_t width = VECS * LANES;
	uint32_t end = (j->hi + width - 1) / width * width, s, c;

	for (s = j->lo / width * width; s < end; s += LANES) {
		for (c = 0; c < j->a->hd_k; c += LANES)
			turn_keys(j, s, c, row);
	}
}

PST_K_INLINE void take_values(const struct attn_job *j, attn_row_fn row)
{
	uint32_t hd = j->a->hd_v, s, c;

	for (s = j->lo; s < j->hi; s++) {
		const uint8_t *v =
			attn_row(j, j->a->v, j->a->v_stride_bytes, s);
		float *to = j->values + (size_t)s * PANEL;

		for (c = 0; c + LANES <= hd; c += LANES)
			vstore(to + (size_t)(c / PANEL) * TILE * PANEL +
				       c % PANEL,
			       row(v, c, LANES));
		if (c < hd)
			vstore(to + (size_t)(c / PANEL) * TILE * PANEL +
				       c % PANEL,
			       row(v, c, hd - c));
	}
}

/* @nr queries from @i and VECS vectors of positions from @s, @len elements
 * from @c.
 */
PST_K_INLINE void score(const struct attn_job *j, uint32_t i, uint32_t s,
			uint32_t c, uint32_t len, const int nr)
{
	const float *key = j->keys + (size_t)c * TILE + s;
	const float *q[BLOCK];
	vec acc[BLOCK][VECS], k[VECS];
	uint32_t n;
	int b, v;

#pragma GCC unroll 4
	for (b = 0; b < nr; b++) {
		q[b] = j->a->query[i + (uint32_t)b].q + c;
#pragma GCC unroll 8
		for (v = 0; v < VECS; v++)
			acc[b][v] = vset(0);
	}
	for (n = 0; n < len; n++, key += TILE) {
#pragma GCC unroll 8
		for (v = 0; v < VECS; v++)
			k[v] = vload(key + v * LANES);
#pragma GCC unroll 4
		for (b = 0; b < nr; b++)
#pragma GCC unroll 8
			for (v = 0; v < VECS; v++)
				acc[b][v] =
					vfma(vset(q[b][n]), k[v], acc[b][v]);
	}
#pragma GCC unroll 4
	for (b = 0; b < nr; b++) {
		float *p = j->state[i + (uint32_t)b].p + s;

#pragma GCC unroll 8
		for (v = 0; v < VECS; v++, p += LANES)
			vstore(p, c ? vadd(vload(p), acc[b][v]) : acc[b][v]);
	}
}

/* Does any of @nr queries from @i see a position of the tile? */
PST_K_INLINE bool some_see(const struct attn_job *j, uint32_t i, uint32_t nr)
{
	uint32_t b;

	for (b = i; b < i + nr; b++)
		if (j->state[b].lo < j->state[b].hi)
			return true;
	return false;
}

static void score_panel(const struct attn_job *j, uint32_t c)
{
	uint32_t len = least(j->a->hd_k - c, PANEL), nr = j->a->nr;
	const uint32_t width = VECS * LANES;
	uint32_t i, s;

	for (i = 0; i < nr; i += BLOCK) {
		uint32_t left = least(nr - i, BLOCK);

		if (!some_see(j, i, left))
			continue;
		for (s = j->lo / width * width; s < j->hi; s += width) {
			if (left == BLOCK)
				score(j, i, s, c, len, BLOCK);
			if (left == 2 || left == 3)
				score(j, i, s, c, len, 2);
			if (left == 1 || left == 3)
				score(j, i + left - 1, s, c, len, 1);
		}
	}
}

/* A query's scores to exponentials; the sum and the maximum go on. */
PST_K_INLINE void soften(struct attn_state *t, float scale)
{
	vec v[TILE / LANES], top, sum;
	float max;
	uint32_t i;

#pragma GCC unroll 16
	for (i = 0; i < TILE / LANES; i++)
		vstore(t->p + i * LANES,
		       vmul(vload(t->p + i * LANES), vset(scale)));
	for (i = 0; i < t->lo; i++)
		t->p[i] = -__builtin_inff();
	for (i = t->hi; i < TILE; i++)
		t->p[i] = -__builtin_inff();
	top = v[0] = vload(t->p);
#pragma GCC unroll 16
	for (i = 1; i < TILE / LANES; i++) {
		v[i] = vload(t->p + i * LANES);
		top = vmax(top, v[i]);
	}
	max = vtop(top);
	max = max > t->max ? max : t->max;
	vstore_part(&t->fix, vexp(vset(t->max - max)), 1);
	t->max = max;
	sum = vmul(vload(t->sum), vset(t->fix));
#pragma GCC unroll 16
	for (i = 0; i < TILE / LANES; i++) {
		v[i] = vexp(vsub(v[i], vset(max)));
		vstore(t->p + i * LANES, v[i]);
		sum = vadd(sum, v[i]);
	}
	vstore(t->sum, sum);
}

static void soften_all(const struct attn_job *j)
{
	uint32_t i;

	for (i = 0; i < j->a->nr; i++)
		if (j->state[i].lo < j->state[i].hi)
			soften(&j->state[i], j->a->query[i].scale);
}

/* Where a vector of values is had from: a position of the tile, an element. */
PST_K_INLINE vec value_at(const struct attn_job *j, uint32_t s, uint32_t c,
			  uint32_t left, attn_row_fn row)
{
	if (!row)
		return vload(j->values + (size_t)(c / PANEL) * TILE * PANEL +
			     (size_t)s * PANEL + c % PANEL);
	return row(attn_row(j, j->a->v, j->a->v_stride_bytes, s), c, left);
}

/* @nr queries from @i, which see the same, and @vecs vectors of the output
 * from @c.  @row: values as they are stored, NULL: of the tile.
 */
PST_K_INLINE void blend(const struct attn_job *j, uint32_t i, uint32_t c,
			const int nr, const int vecs, attn_row_fn row)
{
	uint32_t left = vecs == 1 ? least(j->a->hd_v - c, LANES) : LANES;
	const struct attn_state *t = &j->state[i];
	vec acc[BLOCK][VECS], x[VECS];
	uint32_t s;
	int b, v;

#pragma GCC unroll 4
	for (b = 0; b < nr; b++)
#pragma GCC unroll 8
		for (v = 0; v < vecs; v++)
			acc[b][v] = vset(0);
	for (s = t->lo; s < t->hi; s++) {
#pragma GCC unroll 8
		for (v = 0; v < vecs; v++)
			x[v] = value_at(j, s, c + (uint32_t)v * LANES, left,
					row);
#pragma GCC unroll 4
		for (b = 0; b < nr; b++)
#pragma GCC unroll 8
			for (v = 0; v < vecs; v++)
				acc[b][v] =
					vfma(vset(t[b].p[s]), x[v], acc[b][v]);
	}
#pragma GCC unroll 4
	for (b = 0; b < nr; b++) {
		float *out = j->a->query[i + (uint32_t)b].out + c;
		vec fix = vset(t[b].fix);

		if (left < LANES) {
			vstore_part(out,
				    vfma(fix, vload_part(out, left), acc[b][0]),
				    left);
			continue;
		}
#pragma GCC unroll 8
		for (v = 0; v < vecs; v++, out += LANES)
			vstore(out, vfma(fix, vload(out), acc[b][v]));
	}
}

/* @nr queries from @i that see the same: a panel of their output from @c. */
PST_K_INLINE void blend_panel(const struct attn_job *j, uint32_t i, uint32_t c,
			      const int nr, attn_row_fn row)
{
	uint32_t end = least(j->a->hd_v, c + PANEL);

	for (; c + VECS * LANES <= end; c += VECS * LANES)
		blend(j, i, c, nr, VECS, row);
	for (; c < end; c += LANES)
		blend(j, i, c, nr, 1, row);
}

/* Queries from @i on that see the same as it, @nr_most of them at most. */
PST_K_INLINE uint32_t same_view(const struct attn_job *j, uint32_t i,
				uint32_t nr_most)
{
	const struct attn_state *t = &j->state[i];
	uint32_t nr = 1;

	while (nr < nr_most && t[nr].lo == t->lo && t[nr].hi == t->hi)
		nr++;
	return nr;
}

PST_K_INLINE void blend_all(const struct attn_job *j, uint32_t c,
			    attn_row_fn row)
{
	uint32_t i, nr;

	for (i = 0; i < j->a->nr; i += nr) {
		nr = same_view(j, i, least(j->a->nr - i, BLOCK));
		if (nr == 3)
			nr = 2;
		if (j->state[i].lo >= j->state[i].hi)
			continue;
		if (nr == BLOCK)
			blend_panel(j, i, c, BLOCK, row);
		else if (nr == 2)
			blend_panel(j, i, c, 2, row);
		else
			blend_panel(j, i, c, 1, row);
	}
}

static void blend_tile(const struct attn_job *j, uint32_t c)
{
	blend_all(j, c, NULL);
}

static void attn_begin(const struct attn_job *j)
{
	uint32_t i;

	for (i = 0; i < j->a->nr; i++) {
		const struct pst_kattn_query *q = &j->a->query[i];
		struct attn_state *t = &j->state[i];

		memset(t->sum, 0, sizeof(t->sum));
		t->max = -__builtin_inff();
		if (q->sink) {
			t->max = *q->sink;
			t->sum[0] = 1;
		}
		memset(q->out, 0, j->a->hd_v * sizeof(*q->out));
	}
}

static void attn_end(const struct attn_job *j)
{
	uint32_t i, c;

	for (i = 0; i < j->a->nr; i++) {
		float *out = j->a->query[i].out;
		vec inv = vset(1.0f / vsum(vload(j->state[i].sum)));

		for (c = 0; c + LANES <= j->a->hd_v; c += LANES)
			vstore(out + c, vmul(inv, vload(out + c)));
		if (c < j->a->hd_v) {
			uint32_t left = j->a->hd_v - c;

			vstore_part(out + c,
				    vmul(inv, vload_part(out + c, left)), left);
		}
	}
}

/* What each query sees of the tile; true if one sees anything. */
static bool attn_look(struct attn_job *j)
{
	bool some = false;
	uint32_t i;

	j->lo = TILE;
	j->hi = 0;
	for (i = 0; i < j->a->nr; i++) {
		const struct pst_kattn_query *q = &j->a->query[i];
		struct attn_state *t = &j->state[i];

		t->lo = q->from > j->at ? least(q->from - j->at, TILE) : 0;
		t->hi = q->to > j->at ? least(q->to - j->at, TILE) : 0;
		if (t->lo >= t->hi)
			continue;
		some = true;
		j->lo = least(j->lo, t->lo);
		j->hi = most(j->hi, t->hi);
	}
	return some;
}

PST_K_INLINE void attend(const struct pst_kattn *a, attn_row_fn row)
{
	struct attn_state *states = a->scratch;
	struct attn_job j = { .a = a,
			      .state = a->carry ? a->carry : a->scratch };
	uint32_t from = UINT32_MAX, to = 0, i, c;

	j.keys = (float *)(void *)(states + a->nr);
	j.values = j.keys + (size_t)a->hd_k * TILE;
	for (i = 0; i < a->nr; i++) {
		from = least(from, a->query[i].from);
		to = most(to, a->query[i].to);
	}
	if (!a->goes_on)
		attn_begin(&j);
	for (j.at = from / TILE * TILE; j.at < to; j.at += TILE) {
		if (!attn_look(&j))
			continue;
		take_keys(&j, row);
		for (c = 0; c < a->hd_k; c += PANEL)
			score_panel(&j, c);
		soften_all(&j);
		if (a->nr > DIRECT)
			take_values(&j, row);
		for (c = 0; c < a->hd_v; c += PANEL)
			if (a->nr > DIRECT)
				blend_tile(&j, c);
			else
				blend_all(&j, c, row);
	}
	if (!a->unfinished)
		attn_end(&j);
}

#endif
