// SPDX-License-Identifier: MIT
/*
 * The passes.  Attention keeps no matrix of probabilities: the way back makes
 * them again from the sums of the way forward.  Experts work on the tokens
 * that chose them, gathered into one matrix each.
 */
#include "net.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static const float eps = 1e-6f;
static const double rope_base = 10000;

uint64_t net_random(struct net *n)
{
	uint64_t z = (n->random += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

static float gauss(struct net *n)
{
	double u = ((double)(net_random(n) >> 11) + 0.5) / 9007199254740992.0;
	double v = (double)(net_random(n) >> 11) / 9007199254740992.0;

	return (float)(sqrt(-2 * log(u)) * cos(6.283185307179586 * v));
}

size_t param_size(const struct param *p)
{
	return (size_t)p->rows * p->cols * p->count;
}

/* Zeroed, with room behind: tiles of a product read past the end. */
static void *zalloc(size_t bytes)
{
	size_t size = (bytes + 8191) / 64 * 64;
	void *p = aligned_alloc(64, size);

	if (!p)
		abort();
	return memset(p, 0, size);
}

static float *floats(size_t n)
{
	return zalloc(n * sizeof(float));
}

static struct param *fill(struct net *n, struct param *p, struct param shape,
			  float std)
{
	size_t size = param_size(&shape);

	*p = shape;
	p->w = floats(size);
	p->g = floats(size);
	p->m = floats(size);
	p->v = p->kind == MATRIX ? NULL : floats(size);
	for (size_t i = 0; i < size; i++)
		p->w[i] = p->kind == NORM ? 1.0f : std * gauss(n);
	return p;
}

#define SHAPE(name, ...) ((struct param){ name, __VA_ARGS__, 0, 0, 0, 0 })

static struct param *fill_block(struct net *n, struct block *b, struct param *p)
{
	float in = 0.6f / sqrtf(DIM), back = 0.6f / sqrtf(2 * LAYERS);
	float o = back / sqrtf(Q), down = back / sqrtf(FF);

	b->attn_norm = fill(n, p++, SHAPE("attn_norm", NORM, 1, DIM, 1), 0);
	b->q = fill(n, p++, SHAPE("attn_q", MATRIX, DIM, Q, 1), in);
	b->k = fill(n, p++, SHAPE("attn_k", MATRIX, DIM, KV, 1), in);
	b->v = fill(n, p++, SHAPE("attn_v", MATRIX, DIM, KV, 1), in);
	b->q_norm = fill(n, p++, SHAPE("attn_q_norm", NORM, 1, HEAD, 1), 0);
	b->k_norm = fill(n, p++, SHAPE("attn_k_norm", NORM, 1, HEAD, 1), 0);
	b->o = fill(n, p++, SHAPE("attn_output", MATRIX, Q, DIM, 1), o);
	b->ffn_norm = fill(n, p++, SHAPE("ffn_norm", NORM, 1, DIM, 1), 0);
	b->router =
		fill(n, p++, SHAPE("router", TABLE, DIM, EXPERTS, 1), 0.02f);
	b->gate = fill(n, p++, SHAPE("gate", MATRIX, DIM, FF, EXPERTS), in);
	b->up = fill(n, p++, SHAPE("up", MATRIX, DIM, FF, EXPERTS), in);
	b->down = fill(n, p++, SHAPE("down", MATRIX, FF, DIM, EXPERTS), down);
	return p;
}

static void alloc_acts(struct acts *a)
{
	a->x = floats((size_t)TOKENS * DIM);
	a->rstd = floats(TOKENS);
	a->qkv = floats((size_t)TOKENS * QKV);
	a->qr = floats((size_t)TOKENS * Q);
	a->kr = floats((size_t)TOKENS * KV);
	a->q_rstd = floats((size_t)TOKENS * HEADS);
	a->k_rstd = floats((size_t)TOKENS * KV_HEADS);
	a->lse = floats((size_t)TOKENS * HEADS);
	a->o = floats((size_t)TOKENS * Q);
	a->mid = floats((size_t)TOKENS * DIM);
	a->mid_rstd = floats(TOKENS);
	a->p = floats((size_t)TOKENS * EXPERTS);
	a->w = floats((size_t)TOKENS * USED);
	a->gu = floats((size_t)TOKENS * USED * 2 * FF);
	a->pick = zalloc((size_t)TOKENS * USED * sizeof(int));
	a->order = zalloc((size_t)TOKENS * USED * sizeof(int));
}

static void alloc_scratch(struct net *n)
{
	n->x_out = floats((size_t)TOKENS * DIM);
	n->xn = floats((size_t)TOKENS * DIM);
	n->dx = floats((size_t)TOKENS * DIM);
	n->dxn = floats((size_t)TOKENS * DIM);
	n->dqkv = floats((size_t)TOKENS * QKV);
	n->dqr = floats((size_t)TOKENS * Q);
	n->dkr = floats((size_t)TOKENS * KV);
	n->scratch = floats((size_t)TOKENS * QKV);
	n->score = floats(QUERIES * CTX);
	n->dscore = floats(QUERIES * CTX);
	n->logits = floats((size_t)LOGIT_ROWS * VOCAB);
	n->moe_in = floats((size_t)TOKENS * DIM);
	n->moe_h = floats((size_t)TOKENS * 2 * FF);
	n->moe_d = floats((size_t)TOKENS * DIM);
	n->drow = floats(TOKENS);
	n->dprob = floats((size_t)TOKENS * EXPERTS);
	n->final_rstd = floats(TOKENS);
	n->a.p = zalloc((size_t)TOKENS * VOCAB * 2);
	n->b.p = zalloc((size_t)TOKENS * VOCAB * 2);
	n->b2.p = zalloc((size_t)TOKENS * QKV * 4);
}

struct net *net_new(uint64_t seed)
{
	struct net *n = zalloc(sizeof(*n));
	struct param *p = n->params;

	n->random = seed;
	n->balance = 0.01f;
	n->embed =
		fill(n, p++, SHAPE("token_embd", TABLE, VOCAB, DIM, 1), 0.02f);
	for (int l = 0; l < LAYERS; l++) {
		p = fill_block(n, &n->blocks[l], p);
		alloc_acts(&n->acts[l]);
	}
	n->out_norm = fill(n, p, SHAPE("output_norm", NORM, 1, DIM, 1), 0);
	alloc_scratch(n);
	for (int t = 0; t < CTX; t++)
		for (int i = 0; i < HEAD / 2; i++) {
			double at = t * pow(rope_base, -2.0 * i / HEAD);

			n->cos_of[t][i] = (float)cos(at);
			n->sin_of[t][i] = (float)sin(at);
		}
	return n;
}

/* ---- parts --------------------------------------------------------------- */

/* The matrix of a parameter, or one expert's of it. */
static struct mat weights(const struct param *p, int expert)
{
	return mat(p->w + (size_t)expert * p->rows * p->cols, p->cols, p->rows,
		   p->cols);
}

static struct mat gradient(const struct param *p, int expert)
{
	return mat(p->g + (size_t)expert * p->rows * p->cols, p->cols, p->rows,
		   p->cols);
}

static struct mat whole(float *p, int cols)
{
	return mat(p, cols, TOKENS, cols);
}

static void linear(struct net *n, struct mat y, struct mat x, struct mat w)
{
	factor_of(&n->a, x);
	panels_put(&n->b, 0, w);
	product(y, false, &n->a, &n->b);
}

static void linear_dx(struct net *n, struct mat gx, bool add, struct mat dy,
		      struct mat w)
{
	factor_of(&n->a, dy);
	n->b.nr_pairs = w.cols / 2;
	panels_put_transposed(&n->b, 0, w);
	product(gx, add, &n->a, &n->b);
}

static void linear_dw(struct net *n, struct mat gw, struct mat x, struct mat dy)
{
	factor_of_transposed(&n->a, x);
	panels_put(&n->b, 0, dy);
	product(gw, true, &n->a, &n->b);
}

static void norm(struct mat y, struct mat x, const float *restrict w,
		 float *restrict rstd)
{
	for (int i = 0; i < x.rows; i++) {
		const float *restrict a = x.p + (size_t)i * x.ld;
		float *restrict b = y.p + (size_t)i * y.ld;
		float s = 0;

		for (int j = 0; j < x.cols; j++)
			s += a[j] * a[j];
		rstd[i] = s = 1.0f / sqrtf(s / x.cols + eps);
		for (int j = 0; j < x.cols; j++)
			b[j] = a[j] * s * w[j];
	}
}

/* The gradient through a norm; gx lies as x does. */
static void norm_back(float *gx, bool add, const struct param *p, struct mat dy,
		      struct mat x, const float *rstd)
{
	const float *restrict w = p->w;
	float *restrict gw = p->g;

	for (int i = 0; i < x.rows; i++) {
		const float *restrict a = x.p + (size_t)i * x.ld;
		const float *restrict e = dy.p + (size_t)i * dy.ld;
		float *restrict b = gx + (size_t)i * x.ld;
		float s = 0, r = rstd[i];

		for (int j = 0; j < x.cols; j++) {
			s += e[j] * w[j] * a[j];
			gw[j] += e[j] * a[j] * r;
		}
		s *= r * r * r / x.cols;
		for (int j = 0; j < x.cols; j++)
			b[j] = (add ? b[j] : 0) + e[j] * w[j] * r - a[j] * s;
	}
}

/* Turns the halves of each head against each other; sign -1 turns back. */
static void rope(const struct net *n, float *x, int heads, float sign)
{
	for (int i = 0; i < TOKENS * heads; i++) {
		float *a = x + (size_t)i * HEAD;
		const float *c = n->cos_of[i / heads % CTX];
		const float *s = n->sin_of[i / heads % CTX];

		for (int j = 0; j < HEAD / 2; j++) {
			float u = a[j], v = a[j + HEAD / 2];

			a[j] = u * c[j] - sign * v * s[j];
			a[j + HEAD / 2] = v * c[j] + sign * u * s[j];
		}
	}
}

/* ---- attention ----------------------------------------------------------- */

static const float att_scale = 0.17677669529663687f; /* 1 / sqrt(HEAD) */

/* A block of queries of one head of one sequence. */
struct span {
	struct acts *a;
	int h, g; /* head, and the head of keys and values that it uses */
	int q0, seen; /* first query; keys that any query of the block sees */
	size_t t0; /* first token of the sequence */
};

/* rows of a buffer of @ld columns, from row @row of the sequence on. */
static struct mat part(const struct span *s, float *p, int ld, int col, int row,
		       int rows)
{
	return mat(p + (s->t0 + row) * ld + col, ld, rows, HEAD);
}

static struct mat queries(const struct span *s, float *p)
{
	return part(s, p, Q, s->h * HEAD, s->q0, QUERIES);
}

static struct mat keys(const struct span *s, float *p, int rows)
{
	return part(s, p, KV, s->g * HEAD, 0, rows);
}

static struct mat values(const struct span *s, float *p, int rows)
{
	return part(s, p, QKV, Q + KV + s->g * HEAD, 0, rows);
}

static void scores(struct net *n, const struct span *s)
{
	factor_of(&n->a, queries(s, s->a->qr));
	n->b.cols = s->seen;
	product(mat(n->score, CTX, QUERIES, s->seen), false, &n->a, &n->b);
}

static void pack_keys(struct net *n, const struct span *s)
{
	n->b.nr_pairs = HEAD / 2;
	panels_put_transposed(&n->b, 0, keys(s, s->a->kr, CTX));
}

/* Probabilities of one query in place of its scores; their log-sum. */
static float soften(float *s, int seen, int all)
{
	float top = -1e30f, sum = 0, scale;

	for (int j = 0; j < seen; j++)
		top = fmaxf(top, s[j]);
	for (int j = 0; j < seen; j++)
		sum += s[j] = expf((s[j] - top) * att_scale);
	scale = 1 / sum;
	for (int j = 0; j < seen; j++)
		s[j] *= scale;
	for (int j = seen; j < all; j++)
		s[j] = 0;
	return top * att_scale + logf(sum);
}

static void attend(struct net *n, struct span *s)
{
	struct acts *a = s->a;

	pack_keys(n, s);
	for (s->q0 = 0; s->q0 < CTX; s->q0 += QUERIES) {
		s->seen = s->q0 + QUERIES;
		scores(n, s);
		for (int i = 0; i < QUERIES; i++)
			a->lse[(s->t0 + s->q0 + i) * HEADS + s->h] = soften(
				n->score + i * CTX, s->q0 + i + 1, s->seen);
		panels_put(&n->b2, 0, values(s, a->qkv, s->seen));
		factor_of(&n->a, mat(n->score, CTX, QUERIES, s->seen));
		product(queries(s, a->o), false, &n->a, &n->b2);
	}
}

/* Probabilities again, and the gradients of the scores. */
static void soften_back(struct net *n, const struct span *s, const float *dxo,
			const float *o)
{
	for (int i = 0; i < QUERIES; i++) {
		float *p = n->score + i * CTX, *ds = n->dscore + i * CTX;
		float lse = s->a->lse[(s->t0 + s->q0 + i) * HEADS + s->h];
		float sum = 0;
		int seen = s->q0 + i + 1;

		for (int j = 0; j < HEAD; j++)
			sum += dxo[i * Q + j] * o[i * Q + j];
		for (int j = 0; j < seen; j++) {
			p[j] = expf(p[j] * att_scale - lse);
			ds[j] = p[j] * (ds[j] - sum) * att_scale;
		}
		for (int j = seen; j < s->seen; j++)
			p[j] = ds[j] = 0;
	}
}

/* From the gradient of o, in scratch, to those of q, k and v. */
static void attend_back(struct net *n, struct span *s)
{
	struct acts *a = s->a;

	for (s->q0 = 0; s->q0 < CTX; s->q0 += QUERIES) {
		struct mat dxo = queries(s, n->scratch);
		struct mat p, ds;

		s->seen = s->q0 + QUERIES;
		p = mat(n->score, CTX, QUERIES, s->seen);
		ds = mat(n->dscore, CTX, QUERIES, s->seen);
		pack_keys(n, s);
		scores(n, s);
		n->b2.nr_pairs = HEAD / 2;
		panels_put_transposed(&n->b2, 0, values(s, a->qkv, s->seen));
		factor_of(&n->a, dxo);
		product(ds, false, &n->a, &n->b2);
		soften_back(n, s, dxo.p, queries(s, a->o).p);
		linear_dw(n, values(s, n->dqkv, s->seen), p, dxo);
		linear_dw(n, keys(s, n->dkr, s->seen), ds, queries(s, a->qr));
		linear(n, queries(s, n->dqr), ds, keys(s, a->kr, s->seen));
	}
}

static void each_head(struct net *n, struct acts *a,
		      void (*what)(struct net *n, struct span *s))
{
	for (int i = 0; i < SEQS; i++)
		for (int h = 0; h < HEADS; h++) {
			struct span s = { .a = a, .h = h };

			s.g = h / (HEADS / KV_HEADS);
			s.t0 = (size_t)i * CTX;
			what(n, &s);
		}
}

static void attention(struct net *n, const struct block *b, struct acts *a)
{
	norm(whole(n->xn, DIM), whole(a->x, DIM), b->attn_norm->w, a->rstd);
	factor_of(&n->a, whole(n->xn, DIM));
	panels_put(&n->b, 0, weights(b->q, 0));
	panels_put(&n->b, Q, weights(b->k, 0));
	panels_put(&n->b, Q + KV, weights(b->v, 0));
	product(whole(a->qkv, QKV), false, &n->a, &n->b);
	for (int i = 0; i < TOKENS; i++) {
		float *at = a->qkv + (size_t)i * QKV;

		norm(mat(a->qr + (size_t)i * Q, HEAD, HEADS, HEAD),
		     mat(at, HEAD, HEADS, HEAD), b->q_norm->w,
		     a->q_rstd + i * HEADS);
		norm(mat(a->kr + (size_t)i * KV, HEAD, KV_HEADS, HEAD),
		     mat(at + Q, HEAD, KV_HEADS, HEAD), b->k_norm->w,
		     a->k_rstd + i * KV_HEADS);
	}
	rope(n, a->qr, HEADS, 1);
	rope(n, a->kr, KV_HEADS, 1);
	each_head(n, a, attend);
	linear(n, whole(a->mid, DIM), whole(a->o, Q), weights(b->o, 0));
	for (size_t i = 0; i < (size_t)TOKENS * DIM; i++)
		a->mid[i] += a->x[i];
}

static void qk_norms_back(struct net *n, const struct block *b, struct acts *a)
{
	for (int i = 0; i < TOKENS; i++) {
		float *at = a->qkv + (size_t)i * QKV;
		float *d = n->dqkv + (size_t)i * QKV;

		norm_back(d, false, b->q_norm,
			  mat(n->dqr + (size_t)i * Q, HEAD, HEADS, HEAD),
			  mat(at, HEAD, HEADS, HEAD), a->q_rstd + i * HEADS);
		norm_back(d + Q, false, b->k_norm,
			  mat(n->dkr + (size_t)i * KV, HEAD, KV_HEADS, HEAD),
			  mat(at + Q, HEAD, KV_HEADS, HEAD),
			  a->k_rstd + i * KV_HEADS);
	}
}

/* n->dx: the gradient of mid on entry, of x on return. */
static void attention_back(struct net *n, const struct block *b, struct acts *a)
{
	struct mat xn = whole(n->xn, DIM), dx = whole(n->dx, DIM);

	linear_dx(n, whole(n->scratch, Q), false, dx, weights(b->o, 0));
	linear_dw(n, gradient(b->o, 0), whole(a->o, Q), dx);
	memset(n->dqkv, 0, sizeof(float) * TOKENS * QKV);
	memset(n->dkr, 0, sizeof(float) * TOKENS * KV);
	each_head(n, a, attend_back);
	rope(n, n->dqr, HEADS, -1);
	rope(n, n->dkr, KV_HEADS, -1);
	qk_norms_back(n, b, a);
	norm(xn, whole(a->x, DIM), b->attn_norm->w, a->rstd);
	linear_dw(n, gradient(b->q, 0), xn, mat(n->dqkv, QKV, TOKENS, Q));
	linear_dw(n, gradient(b->k, 0), xn, mat(n->dqkv + Q, QKV, TOKENS, KV));
	linear_dw(n, gradient(b->v, 0), xn,
		  mat(n->dqkv + Q + KV, QKV, TOKENS, KV));
	factor_of(&n->a, whole(n->dqkv, QKV));
	n->b.nr_pairs = QKV / 2;
	panels_put_transposed(&n->b, 0, weights(b->q, 0));
	panels_put_transposed(&n->b, Q / 2, weights(b->k, 0));
	panels_put_transposed(&n->b, (Q + KV) / 2, weights(b->v, 0));
	product(whole(n->dxn, DIM), false, &n->a, &n->b);
	norm_back(n->dx, true, b->attn_norm, whole(n->dxn, DIM),
		  whole(a->x, DIM), a->rstd);
}

/* ---- experts ------------------------------------------------------------- */

/* Softmax over all experts, the USED best of them, their shares. */
static void choose(float *p, int *pick, float *w)
{
	float top = p[0], sum = 0, left[EXPERTS];

	for (int e = 1; e < EXPERTS; e++)
		top = fmaxf(top, p[e]);
	for (int e = 0; e < EXPERTS; e++)
		sum += p[e] = expf(p[e] - top);
	for (int e = 0; e < EXPERTS; e++)
		left[e] = p[e] /= sum;
	sum = 0;
	for (int r = 0; r < USED; r++) {
		int best = 0;

		for (int e = 1; e < EXPERTS; e++)
			best = left[e] > left[best] ? e : best;
		left[best] = -1;
		pick[r] = best;
		sum += w[r] = p[best];
	}
	for (int r = 0; r < USED; r++)
		w[r] /= sum;
}

/* Choices, and for each expert the list of those that fell on it. */
static void route(struct acts *a)
{
	int nr[EXPERTS] = { 0 };

	for (int t = 0; t < TOKENS; t++)
		choose(a->p + (size_t)t * EXPERTS, a->pick + t * USED,
		       a->w + t * USED);
	for (int i = 0; i < TOKENS * USED; i++)
		nr[a->pick[i]]++;
	a->start[0] = 0;
	for (int e = 0; e < EXPERTS; e++)
		a->start[e + 1] = a->start[e] + nr[e];
	memset(nr, 0, sizeof(nr));
	for (int i = 0; i < TOKENS * USED; i++)
		a->order[a->start[a->pick[i]] + nr[a->pick[i]]++] = i;
}

static void gather(float *dst, const float *src, const int *order, int n)
{
	for (int i = 0; i < n; i++)
		memcpy(dst + (size_t)i * DIM,
		       src + (size_t)(order[i] / USED) * DIM,
		       DIM * sizeof(float));
}

static void scatter(float *dst, const float *src, const int *order, int n,
		    const float *w)
{
	for (int i = 0; i < n; i++) {
		float *restrict to = dst + (size_t)(order[i] / USED) * DIM;
		const float *restrict from = src + (size_t)i * DIM;
		float by = w ? w[order[i]] : 1;

		for (int j = 0; j < DIM; j++)
			to[j] += by * from[j];
	}
}

static void glu(float *restrict h, const float *restrict gu, int n)
{
	for (int i = 0; i < n; i++)
		for (int j = 0; j < FF; j++) {
			float x = gu[(size_t)i * 2 * FF + j];

			h[(size_t)i * FF + j] = x / (1 + expf(-x)) *
						gu[(size_t)i * 2 * FF + FF + j];
		}
}

static void expert(struct net *n, const struct block *b, struct acts *a, int e,
		   float *out)
{
	int nr = a->start[e + 1] - a->start[e];
	const int *order = a->order + a->start[e];
	float *gu = a->gu + (size_t)a->start[e] * 2 * FF;

	gather(n->moe_in, n->xn, order, nr);
	factor_of(&n->a, mat(n->moe_in, DIM, nr, DIM));
	panels_put(&n->b, 0, weights(b->gate, e));
	panels_put(&n->b, FF, weights(b->up, e));
	product(mat(gu, 2 * FF, nr, 2 * FF), false, &n->a, &n->b);
	glu(n->moe_h, gu, nr);
	linear(n, mat(n->moe_d, DIM, nr, DIM), mat(n->moe_h, FF, nr, FF),
	       weights(b->down, e));
	scatter(out, n->moe_d, order, nr, a->w);
}

static void experts(struct net *n, const struct block *b, struct acts *a,
		    float *out)
{
	norm(whole(n->xn, DIM), whole(a->mid, DIM), b->ffn_norm->w,
	     a->mid_rstd);
	linear(n, whole(a->p, EXPERTS), whole(n->xn, DIM),
	       weights(b->router, 0));
	route(a);
	memcpy(out, a->mid, sizeof(float) * TOKENS * DIM);
	for (int e = 0; e < EXPERTS; e++)
		if (a->start[e + 1] > a->start[e])
			expert(n, b, a, e, out);
}

/* Through the product of gate and up; @dh has no weight of the router yet. */
static void glu_back(float *d, const float *x, const float *dh, float w)
{
	for (int j = 0; j < FF; j++) {
		float s = 1 / (1 + expf(-x[j])), g = w * dh[j];

		d[j] = g * x[FF + j] * s * (1 + x[j] * (1 - s));
		d[FF + j] = g * x[j] * s;
	}
}

/*
 * One expert's part.  n->dx is the gradient of the block's output; a->w turns
 * into the gradient of the weights, which themselves move to scratch.
 */
static void expert_back(struct net *n, const struct block *b, struct acts *a,
			int e)
{
	int nr = a->start[e + 1] - a->start[e];
	const int *order = a->order + a->start[e];
	const float *gu = a->gu + (size_t)a->start[e] * 2 * FF;
	struct mat d = mat(n->moe_d, DIM, nr, DIM);
	struct mat dgu = mat(n->moe_h, 2 * FF, nr, 2 * FF);
	struct mat in = mat(n->moe_in, DIM, nr, DIM);

	gather(d.p, n->dx, order, nr);
	linear_dx(n, mat(n->moe_in, FF, nr, FF), false, d, weights(b->down, e));
	glu(n->moe_h, gu, nr);
	for (int i = 0; i < nr; i++) {
		float w = a->w[order[i]], s = 0;

		for (int j = 0; j < FF; j++)
			s += n->moe_h[(size_t)i * FF + j] *
			     n->moe_in[(size_t)i * FF + j];
		n->drow[i] = s;
		for (int j = 0; j < DIM; j++)
			d.p[(size_t)i * DIM + j] *= w;
	}
	linear_dw(n, gradient(b->down, e), mat(n->moe_h, FF, nr, FF), d);
	for (int i = 0; i < nr; i++) {
		float w = a->w[order[i]];

		a->w[order[i]] = n->drow[i];
		n->scratch[order[i]] = w;
		glu_back(n->moe_h + (size_t)i * 2 * FF, gu + (size_t)i * 2 * FF,
			 n->moe_in + (size_t)i * FF, w);
	}
	gather(in.p, n->xn, order, nr);
	linear_dw(n, gradient(b->gate, e), in, mat(dgu.p, dgu.ld, nr, FF));
	linear_dw(n, gradient(b->up, e), in, mat(dgu.p + FF, dgu.ld, nr, FF));
	factor_of(&n->a, dgu);
	n->b.nr_pairs = FF;
	panels_put_transposed(&n->b, 0, weights(b->gate, e));
	panels_put_transposed(&n->b, FF / 2, weights(b->up, e));
	product(d, false, &n->a, &n->b);
	scatter(n->dxn, d.p, order, nr, NULL);
}

/* The gradient of the router's logits: of the choice's shares and of balance. */
static void route_back(struct net *n, const struct acts *a, const float *share)
{
	for (int t = 0; t < TOKENS; t++) {
		const float *p = a->p + (size_t)t * EXPERTS;
		const float *dw = a->w + t * USED, *w = n->scratch + t * USED;
		const int *pick = a->pick + t * USED;
		float *dp = n->dprob + (size_t)t * EXPERTS;
		float mean = 0, sum = 0, dot = 0;

		for (int e = 0; e < EXPERTS; e++)
			dp[e] = n->balance * EXPERTS * share[e] /
				(TOKENS * MICROS);
		for (int r = 0; r < USED; r++) {
			mean += dw[r] * w[r];
			sum += p[pick[r]];
		}
		for (int r = 0; r < USED; r++)
			dp[pick[r]] += (dw[r] - mean) / sum;
		for (int e = 0; e < EXPERTS; e++)
			dot += p[e] * dp[e];
		for (int e = 0; e < EXPERTS; e++)
			dp[e] = p[e] * (dp[e] - dot);
	}
}

static void experts_back(struct net *n, int layer)
{
	const struct block *b = &n->blocks[layer];
	struct acts *a = &n->acts[layer];
	struct mat xn = whole(n->xn, DIM), dp = whole(n->dprob, EXPERTS);
	float share[EXPERTS];

	norm(xn, whole(a->mid, DIM), b->ffn_norm->w, a->mid_rstd);
	memset(n->dxn, 0, sizeof(float) * TOKENS * DIM);
	for (int e = 0; e < EXPERTS; e++) {
		share[e] = (float)(a->start[e + 1] - a->start[e]) /
			   (TOKENS * USED);
		n->load[layer][e] += share[e];
		if (a->start[e + 1] > a->start[e])
			expert_back(n, b, a, e);
	}
	route_back(n, a, share);
	linear_dw(n, gradient(b->router, 0), xn, dp);
	linear_dx(n, whole(n->dxn, DIM), true, dp, weights(b->router, 0));
	norm_back(n->dx, true, b->ffn_norm, whole(n->dxn, DIM),
		  whole(a->mid, DIM), a->mid_rstd);
}

/* ---- the whole ----------------------------------------------------------- */

/* The loss of one token; its gradient takes the place of the logits. */
static float cross_entropy(float *z, int target)
{
	float top = z[0], sum = 0, want, scale;

	for (int j = 0; j < VOCAB; j++)
		top = fmaxf(top, z[j]);
	want = z[target] - top;
	for (int j = 0; j < VOCAB; j++)
		sum += z[j] = expf(z[j] - top);
	scale = 1 / (sum * TOKENS * MICROS);
	for (int j = 0; j < VOCAB; j++)
		z[j] *= scale;
	z[target] -= 1.0f / (TOKENS * MICROS);
	return logf(sum) - want;
}

static double head(struct net *n, bool back)
{
	double loss = 0;

	norm(whole(n->xn, DIM), whole(n->x_out, DIM), n->out_norm->w,
	     n->final_rstd);
	for (int t = 0; t < TOKENS; t += LOGIT_ROWS) {
		struct mat x =
			mat(n->xn + (size_t)t * DIM, DIM, LOGIT_ROWS, DIM);
		struct mat z = mat(n->logits, VOCAB, LOGIT_ROWS, VOCAB);
		struct mat dx = x;

		linear_dx(n, z, false, x, weights(n->embed, 0));
		for (int i = 0; i < LOGIT_ROWS; i++)
			loss += cross_entropy(z.p + (size_t)i * VOCAB,
					      n->targets[t + i]);
		if (!back)
			continue;
		dx.p = n->dxn + (size_t)t * DIM;
		linear(n, dx, z, weights(n->embed, 0));
		linear_dw(n, gradient(n->embed, 0), z, x);
	}
	return loss;
}

double net_forward(struct net *n, bool back)
{
	for (int i = 0; i < TOKENS; i++)
		memcpy(n->acts[0].x + (size_t)i * DIM,
		       n->embed->w + (size_t)n->ids[i] * DIM,
		       DIM * sizeof(float));
	for (int l = 0; l < LAYERS; l++) {
		attention(n, &n->blocks[l], &n->acts[l]);
		experts(n, &n->blocks[l], &n->acts[l],
			l + 1 < LAYERS ? n->acts[l + 1].x : n->x_out);
	}
	return head(n, back);
}

void net_backward(struct net *n)
{
	norm_back(n->dx, false, n->out_norm, whole(n->dxn, DIM),
		  whole(n->x_out, DIM), n->final_rstd);
	for (int l = LAYERS; l-- > 0;) {
		experts_back(n, l);
		attention_back(n, &n->blocks[l], &n->acts[l]);
	}
	for (int i = 0; i < TOKENS; i++)
		for (int j = 0; j < DIM; j++)
			n->embed->g[(size_t)n->ids[i] * DIM + j] +=
				n->dx[(size_t)i * DIM + j];
}
