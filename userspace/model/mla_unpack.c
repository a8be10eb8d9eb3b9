// SPDX-License-Identifier: MIT
/*
 * Latent attention in its decompressed form, for chunks of a long prompt: keys
 * and values of the heads are made of the compressed rows, a tile of positions
 * at a time, and attended to as those of any attention.  A head costs a query
 * and position as many multiplications as it has numbers, not as many as the
 * compressed row; making a row of them is paid once by all tokens of the chunk.
 *
 * The numbers are others than those of the absorbed form (mixer_mla.c), which
 * every token by itself takes.  Which form a chunk takes follows from its length
 * and place alone, never from time.
 */
#include <errno.h>
#include <string.h>

#include "mla.h"

/* Positions whose keys and values exist at a time, and heads. */
#define TILE  256
#define GROUP 8
/* Rows of a chunk of work. */
#define ROWS 64

_Static_assert(TILE % PST_K_ATTN_TILE == 0, "calls meet between tiles");

/* Numbers between the rows of a K_h that is turned: rows whose distance is a
 * power of two would share a few sets of the cache.
 */
#define TURN_PAD 16

static bool is_used(const struct pst_fwd *f)
{
	return f->mla == PST_MLA_DECOMPRESSED && f->n_batch > 1;
}

/* The halves in tensors of their own: that of the keys is transposed. */
static bool is_split(const struct pst_mla *w)
{
	return !w->wkv_b.n_out;
}

static size_t turn_stride(const struct pst_mla_hp *p)
{
	return (size_t)p->kv_rank + TURN_PAD;
}

void pst_mla_unpack_work(const struct pst_fwd *f, uint32_t layer,
			 struct carve *c, struct mla_unpack *s)
{
	const struct pst_mla_hp *p = &f->m->hp.mla;
	uint64_t group = PST_MIN(GROUP, f->m->hp.layer[layer].n_head);

	if (!is_used(f))
		return;
	pst_carve_act(f, c, &s->rows, TILE, p->kv_rank + p->hd_rope);
	s->k = pst_carve(c, group * TILE * (p->hd_nope + p->hd_rope),
			 sizeof(float));
	s->v = pst_carve(c, group * TILE * p->hd_v, sizeof(float));
	if (is_split(&f->m->layers[layer].mla))
		s->turned = pst_carve(c, group * p->hd_nope * turn_stride(p),
				      sizeof(float));
	s->carry = pst_carve(c, group * f->n_batch, PST_K_ATTN_QUERY_BYTES);
	pst_carve_attn(f, c, &s->attn,
		       &(struct pst_kattn){ .nr = PST_ATTN_QUERIES,
					    .hd_k = p->hd_nope + p->hd_rope,
					    .hd_v = p->hd_v });
}

/* A group of heads on its way through the positions. */
struct unpack_job {
	struct mla_job *j;
	struct mla_unpack *s;
	uint32_t head; /* the first of the group */
	uint32_t nr_heads;
	uint32_t nr; /* tokens, from the first */
	uint32_t share; /* queries of a call */
	uint32_t pos; /* the tile's first position */
	uint32_t nr_pos;
};

/* K_h of the transposed one, made float. */
static void turn_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	const struct unpack_job *u = ctx;
	const struct pst_mla_hp *p = u->j->p;
	const struct pst_weight *w = &u->j->w->wk_b;
	const struct pst_fwd *f = u->j->f;
	uint64_t first = (uint64_t)(u->head + i) * p->kv_rank;
	float *row = f->scratch + worker * f->scratch_stride;
	size_t stride = turn_stride(p);
	float *to = u->s->turned + i * p->hd_nope * stride;

	for (uint32_t c = 0; c < p->kv_rank; c++) {
		f->k->types[w->type].dequant(
			row, w->data + (first + c) * w->row_bytes, p->hd_nope);
		for (uint32_t r = 0; r < p->hd_nope; r++)
			to[r * stride + c] = row[r];
	}
}

/* Some rows of the cache, as they are multiplied. */
static void take_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct unpack_job *u = ctx;
	const struct mla_job *j = u->j;
	const struct pst_mla_hp *p = j->p;
	const struct pst_ktype_ops *ops =
		&j->f->k->types[pst_kv_ktype(j->kv->type, PST_KV_K)];
	const struct pst_weight *w = is_split(j->w) ? &j->w->wv_b
						    : &j->w->wkv_b;
	uint32_t end = PST_MIN((chunk + 1) * ROWS, u->nr_pos);

	(void)worker;
	for (uint32_t i = chunk * ROWS; i < end; i++) {
		ops->dequant(u->s->rows.f32 + i * u->s->rows.stride,
			     pst_kv_at(j->kv, j->layer, PST_KV_K, 0,
				       u->pos + i),
			     p->kv_rank + p->hd_rope);
		if (pst_needs_q8(j->f, w))
			pst_quantize_row(j->f, &u->s->rows, i, p->kv_rank);
	}
}

/* K_h, in whichever layout. */
static struct pst_weight keys_of(const struct unpack_job *u, uint32_t i)
{
	const struct pst_mla_hp *p = u->j->p;
	const struct pst_mla *w = u->j->w;
	size_t each = p->hd_nope * turn_stride(p);

	if (!is_split(w))
		return pst_mla_rows(&w->wkv_b,
				    (uint64_t)(u->head + i) *
					    (p->hd_nope + p->hd_v),
				    p->hd_nope);
	return (struct pst_weight){
		.data = (const uint8_t *)(u->s->turned + i * each),
		.scale = w->wk_b.scale,
		.type = PST_K_F32,
		.n_in = p->kv_rank,
		.n_out = p->hd_nope,
		.row_bytes = turn_stride(p) * sizeof(float),
	};
}

static struct pst_weight values_of(const struct unpack_job *u, uint32_t i)
{
	const struct pst_mla_hp *p = u->j->p;
	const struct pst_mla *w = u->j->w;
	uint64_t head = u->head + i;

	if (!is_split(w))
		return pst_mla_rows(&w->wkv_b,
				    head * (p->hd_nope + p->hd_v) + p->hd_nope,
				    p->hd_v);
	return pst_mla_rows(&w->wv_b, head * p->hd_v, p->hd_v);
}

static uint32_t parts_of(const struct unpack_job *u)
{
	return (u->nr_pos + ROWS - 1) / ROWS;
}

/* Keys and values of one head for some positions of the tile. */
static void unpack_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct unpack_job *u = ctx;
	const struct mla_job *j = u->j;
	const struct pst_mla_hp *p = j->p;
	uint32_t i = chunk / parts_of(u), at = chunk % parts_of(u) * ROWS;
	uint32_t hd = p->hd_nope + p->hd_rope;
	size_t row = (size_t)i * TILE + at;
	struct pst_weight keys = keys_of(u, i), values = values_of(u, i);
	struct act_rows x = pst_act_row(&u->s->rows, at);
	struct pst_kmul m = {
		.nr_rows = p->hd_nope,
		.nr_x = PST_MIN(ROWS, u->nr_pos - at),
		.y = u->s->k + row * hd,
		.y_stride = hd,
		.scratch = j->f->scratch + worker * j->f->scratch_stride,
	};

	pst_mul_rows(j->f, &keys, &x, &m, 0);
	for (uint32_t r = 0; r < m.nr_x; r++)
		memcpy(u->s->k + (row + r) * hd + p->hd_nope,
		       x.first.f32 + r * x.first.stride + p->kv_rank,
		       p->hd_rope * sizeof(float));
	m.nr_rows = p->hd_v;
	m.y = u->s->v + row * p->hd_v;
	m.y_stride = p->hd_v;
	pst_mul_rows(j->f, &values, &x, &m, 0);
}

static uint32_t calls_of(const struct unpack_job *u)
{
	return (u->nr + u->share - 1) / u->share;
}

static struct pst_kattn_query query_of(const struct unpack_job *u,
				       uint32_t head, uint32_t t)
{
	struct mla_job *j = u->j;
	uint32_t end = u->pos + u->nr_pos, pos = j->pos0 + t;

	return (struct pst_kattn_query){
		.q = pst_mla_query(j, t, head),
		.out = j->s.att.f32 + t * j->s.att.stride +
		       (size_t)head * j->p->hd_v,
		.scale = pst_mla_scale(j, pos),
		.from = u->pos,
		.to = PST_MIN(pos + 1, end),
	};
}

/* One head of some tokens goes over the tile. */
static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct unpack_job *u = ctx;
	const struct mla_job *j = u->j;
	const struct pst_mla_hp *p = j->p;
	uint32_t i = chunk / calls_of(u), t = chunk % calls_of(u) * u->share;
	uint32_t end = u->pos + u->nr_pos, hd = p->hd_nope + p->hd_rope;
	struct pst_kattn a = {
		.nr = PST_MIN(u->share, u->nr - t),
		.k = u->s->k + (size_t)i * TILE * hd,
		.v = u->s->v + (size_t)i * TILE * p->hd_v,
		.k_stride_bytes = hd * sizeof(float),
		.v_stride_bytes = p->hd_v * sizeof(float),
		.first = u->pos,
		.hd_k = hd,
		.hd_v = p->hd_v,
		.carry = u->s->carry + ((size_t)i * j->f->n_batch + t) *
					       PST_K_ATTN_QUERY_BYTES,
		.goes_on = u->pos != 0,
	};
	uint32_t last = j->pos0 + t + a.nr - 1;
	struct pst_kattn_query *query;

	if (last < u->pos) /* all of them are done */
		return;
	a.unfinished = last >= end;
	query = pst_attn_begin(&u->s->attn, worker, &a);
	for (uint32_t q = 0; q < a.nr; q++)
		query[q] = query_of(u, u->head + i, t + q);
	j->f->k->attn_f32(&a);
}

static void run_group(struct unpack_job *u)
{
	struct pst_pool *pool = u->j->f->pool;
	uint32_t end = u->j->pos0 + u->nr;

	if (is_split(u->j->w))
		pst_pool_run(pool, turn_chunk, u, u->nr_heads);
	for (u->pos = 0; u->pos < end; u->pos += TILE) {
		u->nr_pos = PST_MIN(TILE, end - u->pos);
		pst_pool_run(pool, take_chunk, u, parts_of(u));
		pst_pool_run(pool, unpack_chunk, u, u->nr_heads * parts_of(u));
		pst_pool_run(pool, attend_chunk, u, u->nr_heads * calls_of(u));
	}
}

/* The rotated ends of a token's queries, where they lie. */
static void rotate_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct unpack_job *u = ctx;

	(void)worker;
	for (uint32_t h = 0; h < u->j->n_head; h++)
		pst_mla_rotate(u->j,
			       pst_mla_query(u->j, t, h) + u->j->p->hd_nope, t);
}

/*
 * What a multiplication costs, one of attention being 1: of quantised weights
 * with many rows, of float ones, and where absorbing takes the rows of K_h as
 * they lie; measured in Documentation/latent-attention.rst.
 */
#define COST_Q8	  0.4
#define COST_F32  1.2
#define COST_ROWS 7.0
/* Of attention to heads of their own: keys serve fewer queries. */
#define COST_HEADS 1.15

static double cost_of(const struct pst_fwd *f, const struct pst_weight *w)
{
	return pst_needs_q8(f, w) ? COST_Q8 : COST_F32;
}

/* Is it less work to unpack what @nr tokens see, of each head? */
static bool pays(const struct mla_job *j, uint32_t nr)
{
	const struct pst_mla_hp *p = j->p;
	const struct pst_mla *w = j->w;
	bool split = is_split(w);
	double seen = nr * (j->pos0 + (nr + 1) * 0.5), rank = p->kv_rank;
	double values = cost_of(j->f, split ? &w->wv_b : &w->wkv_b);
	double keys = split ? COST_F32 : values;
	double absorb = split ? cost_of(j->f, &w->wk_b) : COST_ROWS;
	double unpacked =
		rank * (p->hd_nope * keys + p->hd_v * values) * (j->pos0 + nr);
	double absorbed = rank * (p->hd_nope * absorb + p->hd_v * values) * nr;

	unpacked += COST_HEADS * seen * (p->hd_nope + p->hd_rope + p->hd_v);
	absorbed += seen * (2 * rank + p->hd_rope);
	return unpacked < absorbed;
}

/* The first tokens, which see all positions before them. */
static uint32_t nr_dense(const struct mla_job *j)
{
	if (!j->p->index_top_k)
		return j->n;
	if (j->pos0 >= j->p->index_top_k)
		return 0;
	return PST_MIN(j->n, j->p->index_top_k - j->pos0);
}

uint32_t pst_mla_unpack_run(struct mla_job *j)
{
	uint32_t nr = nr_dense(j);
	struct unpack_job u = { .j = j, .s = &j->s.unpack, .nr = nr };

	if (!is_used(j->f) || nr < 2 || !pays(j, nr))
		return 0;
	pst_pool_run(j->f->pool, rotate_chunk, &u, nr);
	for (; u.head < j->n_head; u.head += GROUP) {
		u.nr_heads = PST_MIN(GROUP, j->n_head - u.head);
		u.share = pst_attn_share(j->f, nr, u.nr_heads);
		run_group(&u);
	}
	return nr;
}

int pst_mla_check(const struct pst_model *m, enum pst_mla_form form,
		  struct pst_diag *diag)
{
	for (uint32_t i = 0; i < m->hp.n_layers; i++)
		if (m->hp.layer[i].mixer == &pst_mixer_mla)
			return 0;
	if (form == PST_MLA_ABSORBED)
		return 0;
	return pst_diag_set(diag, -EINVAL,
			    "family '%s' has no latent attention that could be "
			    "decompressed: leave --mla out",
			    m->arch->name);
}
