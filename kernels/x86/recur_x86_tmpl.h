/* SPDX-License-Identifier: MIT */
/*
 * The gated delta rule and the short convolution.  Included by the file of an
 * ISA after it has defined
 *
 *	LANES, vec, lanes          floats of a vector, the vector, a mask
 *	vload(p, m), vstore(p, m, v)  of the lanes in a mask, no alignment
 *	vpick(p, step, m)          p[0], p[step], ... in the lanes of a mask
 *	vset(f), vmul(a, b), vsub(a, b), vadd(a, b)
 *	vfma(a, b, c)              a * b + c
 *	vsilu(v)                   v / (1 + e^-v)
 *	first_lanes(n)             the mask of the first n lanes
 *
 * A column of the state is computed by the same operations in any block, and a
 * block goes through all tokens while it is in the nearest cache.  Differs from
 * the reference by the rounding of float sums.
 */
#ifndef PST_K_RECUR_X86_TMPL_H
#define PST_K_RECUR_X86_TMPL_H

/* Vectors of a block of columns. */
#define DELTA_VECS 4

/* A token's numbers, and the block of columns from @j on. */
struct delta_token {
	const float *q, *k, *g;
	float *state;
	uint32_t dv;
	uint32_t j;
	lanes m;
	bool by_channel;
};

PST_K_INLINE void delta_seen(const struct delta_token *t, uint32_t i, vec *sum,
			     const int nr)
{
	const float *s = t->state + (size_t)i * t->dv + t->j;
	vec k = vset(t->k[i] * t->g[t->by_channel ? i : 0]);

#pragma GCC unroll 4
	for (int v = 0; v < nr; v++)
		sum[v] = vfma(k, vload(s + v * LANES, t->m), sum[v]);
}

PST_K_INLINE void delta_change(const struct delta_token *t, uint32_t i,
			       const vec *change, vec *out, const int nr)
{
	float *s = t->state + (size_t)i * t->dv + t->j;
	vec q = vset(t->q[i]), k = vset(t->k[i]);
	vec g = vset(t->g[t->by_channel ? i : 0]);

#pragma GCC unroll 4
	for (int v = 0; v < nr; v++) {
		vec x = vmul(g, vload(s + v * LANES, t->m));

		x = vfma(k, change[v], x);
		vstore(s + v * LANES, t->m, x);
		out[v] = vfma(q, x, out[v]);
	}
}

/* One token in a block of columns.  Rows take turns at two sums, because each
 * addition waits for the one before.
 */
PST_K_INLINE void delta_block(const struct pst_kdelta *d, uint32_t token,
			      uint32_t j, lanes m, const int nr)
{
	const struct delta_token t = {
		.q = d->q + token * d->qk_stride,
		.k = d->k + token * d->qk_stride,
		.g = d->decay + token * d->decay_stride,
		.state = d->state,
		.dv = d->dv,
		.j = j,
		.m = m,
		.by_channel = d->by_channel,
	};
	const float *value = d->v + token * d->v_stride + j;
	vec beta = vset(d->beta[token * d->beta_stride]);
	vec a[DELTA_VECS], b[DELTA_VECS], change[DELTA_VECS];
	uint32_t i;

	for (int v = 0; v < nr; v++)
		a[v] = b[v] = vset(0.0f);
	for (i = 0; i + 2 <= d->dk; i += 2) {
		delta_seen(&t, i, a, nr);
		delta_seen(&t, i + 1, b, nr);
	}
	if (i < d->dk)
		delta_seen(&t, i, a, nr);
	for (int v = 0; v < nr; v++) {
		vec x = vload(value + v * LANES, m);

		change[v] = vmul(beta, vsub(x, vadd(a[v], b[v])));
		a[v] = b[v] = vset(0.0f);
	}
	for (i = 0; i + 2 <= d->dk; i += 2) {
		delta_change(&t, i, change, a, nr);
		delta_change(&t, i + 1, change, b, nr);
	}
	if (i < d->dk)
		delta_change(&t, i, change, a, nr);
	for (int v = 0; v < nr; v++)
		vstore(d->out + token * d->out_stride + j + v * LANES, m,
		       vadd(a[v], b[v]));
}

static void delta(const struct pst_kdelta *d)
{
	const lanes all = first_lanes(LANES);
	uint32_t j = 0, t;

	for (; j + DELTA_VECS * LANES <= d->dv; j += DELTA_VECS * LANES)
		for (t = 0; t < d->nr; t++)
			delta_block(d, t, j, all, DELTA_VECS);
	for (; j < d->dv; j += LANES)
		for (t = 0; t < d->nr; t++)
			delta_block(d, t, j, first_lanes(d->dv - j), 1);
}

/* A vector of channels: its taps are picked once for all tokens. */
PST_K_INLINE void conv_block(const struct pst_kconv *c, uint32_t i, lanes m)
{
	vec w[PST_K_MAX_TAPS];
	uint32_t t, j;

	for (j = 0; j < c->taps; j++)
		w[j] = vpick(c->w + (size_t)i * c->taps + j, c->taps, m);
	for (t = 0; t < c->nr; t++) {
		const float *x = c->x + t * c->stride + i;
		vec sum = vmul(w[0], vload(x, m));

		for (j = 1; j < c->taps; j++)
			sum = vfma(w[j], vload(x + j * c->stride, m), sum);
		vstore(c->y + t * c->y_stride + i, m, vsilu(sum));
	}
}

static void conv(const struct pst_kconv *c)
{
	for (uint32_t i = 0; i < c->channels; i += LANES)
		conv_block(c, i, first_lanes(c->channels - i));
}

#endif
