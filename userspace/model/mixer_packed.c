// SPDX-License-Identifier: MIT
/*
 * Attention to a window and to packed rows (DeepSeek-V4): one key for all
 * heads, which is their value as well, for the last positions; and before and
 * within the window a row for each whole run of positions (pack.c), all of
 * them or chosen ones.
 *
 * The end of a key is rotated, and since it is a value too, the end of each
 * head's result is rotated back by the query's position: what is left depends
 * on the distance only.
 */
#include <errno.h>
#include <math.h>
#include <string.h>

#include "packed.h"

/* Tokens whose rows are gathered at a time; no number depends on it. */
#define SLICE 8

/* Scratch of one pass. */
struct work {
	struct act qa; /* [n][q_rank] */
	float *q; /* [n][n_head * hd] */
	float *kv; /* [n][hd] */
	float *back; /* [n][n_rot] rotation the other way */
	struct act att; /* [n][n_head * hd] */
	struct act oa; /* [n][out_groups * out_rank] */
	struct packer pack, ix_pack;
	float *ix_q; /* [n][index_heads * index_hd] */
	float *ix_w; /* [n][index_heads] */
	float *dots; /* [n_workers][index_heads][PST_INDEX_ROWS] */
	uint32_t *picked; /* [slice][index_top_k] */
	uint8_t *rows; /* [slice][nr_rows] of the cache */
	struct attn_work attn;
	uint32_t nr_rows;
};

struct job {
	struct pack_pass pass;
	const struct pst_layer_hp *lh;
	const struct pst_packed_hp *p;
	const struct pst_packed *w;
	const struct pst_rope_params *rope;
	struct work s;
	uint32_t first; /* token of the slice */
	uint32_t share; /* queries of a call */
};

static void bind_index(struct pst_binder *b, struct pst_packed *w)
{
	const struct pst_packed_hp *p = &b->m->hp.packed;

	pst_bind_mat(b, "indexer.attn_q_b", p->q_rank,
		     p->index_heads * p->index_hd, &w->ix_q);
	pst_bind_mat(b, "indexer.proj", b->m->hp.n_embd, p->index_heads,
		     &w->ix_w);
	pst_pack_bind(b, "indexer_compressor", p->index_hd, &w->ix_pack);
}

static void bind(struct pst_binder *b, struct pst_layer *l)
{
	const struct pst_hparams *hp = &b->m->hp;
	const struct pst_layer_hp *lh = &hp->layer[b->layer];
	const struct pst_packed_hp *p = &hp->packed;
	uint32_t all = lh->n_head * lh->hd_k, n = hp->n_embd;
	struct pst_packed *w = &l->packed;

	pst_bind_mat(b, "attn_q_a", n, p->q_rank, &w->wq_a);
	pst_bind_vec(b, "attn_q_a_norm.weight", p->q_rank, true, &w->q_norm);
	pst_bind_mat(b, "attn_q_b", p->q_rank, all, &w->wq);
	pst_bind_mat(b, "attn_kv", n, lh->hd_k, &w->wkv);
	pst_bind_vec(b, "attn_kv_a_norm.weight", lh->hd_k, true, &w->kv_norm);
	pst_bind_vec(b, "attn_sinks.weight", lh->n_head, true, &w->sinks);
	pst_bind_mat(b, "attn_output_a", all / p->out_groups,
		     p->out_groups * p->out_rank, &w->wo_a);
	pst_bind_mat(b, "attn_output_b", p->out_groups * p->out_rank, n,
		     &w->wo_b);
	if (lh->pack)
		pst_pack_bind(b, "attn_compressor", lh->hd_k, &w->pack);
	if (lh->pack_chosen)
		bind_index(b, w);
}

/* The packers of a block: one, two or none. */
static uint32_t init_packers(const struct pst_hparams *hp, uint32_t layer,
			     struct packer *rows, struct packer *keys)
{
	const struct pst_layer_hp *lh = &hp->layer[layer];
	uint32_t state;

	if (!lh->pack)
		return 0;
	pst_packer_init(rows, lh, PST_KV_PACKED, lh->hd_k, 0);
	state = pst_packer_state(rows);
	if (!lh->pack_chosen)
		return state;
	pst_packer_init(keys, lh, PST_KV_INDEX, hp->packed.index_hd, state);
	return state + pst_packer_state(keys);
}

static void shape(const struct pst_hparams *hp, uint32_t layer,
		  struct pst_kv_shape *out)
{
	const struct pst_layer_hp *lh = &hp->layer[layer];
	struct packer rows, keys;

	out->heads[PST_KV_K] = 1;
	out->width[PST_KV_K] = lh->hd_k;
	out->window = lh->window;
	out->state = init_packers(hp, layer, &rows, &keys);
	if (!lh->pack)
		return;
	out->heads[PST_KV_PACKED] = 1;
	out->width[PST_KV_PACKED] = lh->hd_k;
	out->step[PST_KV_PACKED] = lh->pack;
	if (!lh->pack_chosen)
		return;
	out->most[PST_KV_PACKED] = hp->packed.index_top_k;
	out->heads[PST_KV_INDEX] = 1;
	out->width[PST_KV_INDEX] = hp->packed.index_hd;
	out->step[PST_KV_INDEX] = lh->pack;
}

static void lay_out_index(const struct pst_fwd *f, struct carve *c,
			  struct work *s)
{
	const struct pst_packed_hp *p = &f->m->hp.packed;
	uint64_t n = f->n_batch;

	pst_packer_work(f, c, &s->ix_pack);
	s->ix_q = pst_carve(c, n * p->index_heads * p->index_hd, sizeof(float));
	s->ix_w = pst_carve(c, n * p->index_heads, sizeof(float));
	s->dots = pst_carve(
		c, (uint64_t)f->n_workers * p->index_heads * PST_INDEX_ROWS,
		sizeof(float));
	if (p->index_top_k < f->n_ctx) /* else none is left out */
		s->picked = pst_carve(c, (uint64_t)SLICE * p->index_top_k,
				      sizeof(uint32_t));
}

static void lay_out(const struct pst_fwd *f, uint32_t layer, struct carve *c,
		    struct work *s)
{
	const struct pst_layer_hp *lh = &f->m->hp.layer[layer];
	const struct pst_packed_hp *p = &f->m->hp.packed;
	uint64_t n = f->n_batch, all = (uint64_t)lh->n_head * lh->hd_k;

	init_packers(&f->m->hp, layer, &s->pack, &s->ix_pack);
	pst_carve_act(f, c, &s->qa, n, p->q_rank);
	s->q = pst_carve(c, n * all, sizeof(float));
	s->kv = pst_carve(c, n * lh->hd_k, sizeof(float));
	s->back =
		pst_carve(c, n * f->m->hp.rope[lh->rope].n_rot, sizeof(float));
	pst_carve_act(f, c, &s->att, n, all);
	pst_carve_act(f, c, &s->oa, n, p->out_groups * p->out_rank);
	s->nr_rows = PST_MIN(lh->window, f->n_ctx);
	if (lh->pack) {
		uint32_t most = f->n_ctx / lh->pack;

		if (lh->pack_chosen)
			most = PST_MIN(most, p->index_top_k);
		s->nr_rows += most;
		pst_packer_work(f, c, &s->pack);
		s->rows = pst_carve(c, (uint64_t)SLICE * s->nr_rows,
				    lh->hd_k * sizeof(float));
	}
	if (lh->pack_chosen)
		lay_out_index(f, c, s);
	pst_carve_attn(f, c, &s->attn,
		       &(struct pst_kattn){ .nr = PST_ATTN_QUERIES,
					    .hd_k = lh->hd_k,
					    .hd_v = lh->hd_k });
}

static uint64_t work_bytes(const struct pst_fwd *f, uint32_t layer)
{
	struct carve c = { 0 };
	struct work s = { 0 };

	lay_out(f, layer, &c, &s);
	return c.at;
}

/* One token: its key into the cache, its compressed query. */
static void compress_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct job *j = ctx;
	struct pst_fwd *f = j->pass.f;
	uint32_t hd = j->lh->hd_k, n_rot = j->rope->n_rot;
	float *kv = j->s.kv + (size_t)t * hd;
	float *qa = j->s.qa.f32 + t * j->s.qa.stride;
	const float *cs = f->cs[j->lh->rope] + (size_t)t * n_rot;
	float *back = j->s.back + (size_t)t * n_rot;

	(void)worker;
	f->k->rms_norm(kv, kv, j->w->kv_norm, hd, f->m->hp.eps);
	f->k->rope_norm(kv + hd - n_rot, cs, n_rot);
	pst_kv_put(f, j->pass.kv, PST_KV_K,
		   pst_kv_at(j->pass.kv, j->pass.layer, PST_KV_K, 0,
			     j->pass.pos0 + t),
		   kv, hd);
	f->k->rms_norm(qa, qa, j->w->q_norm, j->p->q_rank, f->m->hp.eps);
	if (j->p->q_rank % PST_K_QBLOCK == 0)
		pst_quantize_row(f, &j->s.qa, t, j->p->q_rank);
	for (uint32_t i = 0; i < n_rot; i += 2) {
		back[i] = cs[i];
		back[i + 1] = -cs[i + 1];
	}
}

/* One token's queries. */
static void prepare_chunk(void *ctx, uint32_t t, uint32_t worker)
{
	const struct job *j = ctx;
	struct pst_fwd *f = j->pass.f;
	uint32_t hd = j->lh->hd_k, n_rot = j->rope->n_rot;
	const float *cs = f->cs[j->lh->rope] + (size_t)t * n_rot;
	uint32_t heads = j->lh->pack_chosen ? j->p->index_heads : 0;

	(void)worker;
	for (uint32_t h = 0; h < j->lh->n_head; h++) {
		float *q = j->s.q + ((size_t)t * j->lh->n_head + h) * hd;

		f->k->rms_norm(q, q, NULL, hd, f->m->hp.eps);
		f->k->rope_norm(q + hd - n_rot, cs, n_rot);
	}
	for (uint32_t h = 0; h < heads; h++) {
		float *q = j->s.ix_q + ((size_t)t * heads + h) * j->p->index_hd;

		f->k->rope_norm(q + j->p->index_hd - n_rot, cs, n_rot);
	}
}

static void project(struct job *j)
{
	struct pst_fwd *f = j->pass.f;
	struct lin_item in[3] = {
		{ .w = &j->w->wkv, .y = j->s.kv, .y_stride = j->lh->hd_k },
		{ .w = &j->w->wq_a,
		  .y = j->s.qa.f32,
		  .y_stride = j->s.qa.stride },
		{ .w = &j->w->ix_w,
		  .y = j->s.ix_w,
		  .y_stride = j->p->index_heads },
	};
	struct lin_item q[2] = {
		{ .w = &j->w->wq, .y = j->s.q, .y_stride = j->w->wq.n_out },
		{ .w = &j->w->ix_q,
		  .y = j->s.ix_q,
		  .y_stride = j->w->ix_q.n_out },
	};

	for (int i = 0; i < 3; i++) {
		in[i].x = &f->xn.k;
		in[i].nr_x = j->pass.n;
	}
	for (int i = 0; i < 2; i++) {
		q[i].x = &j->s.qa.k;
		q[i].nr_x = j->pass.n;
	}
	pst_linear(f, in, j->lh->pack_chosen ? 3 : 2);
	pst_pool_run(f->pool, compress_chunk, j, j->pass.n);
	pst_linear(f, q, j->lh->pack_chosen ? 2 : 1);
	pst_pool_run(f->pool, prepare_chunk, j, j->pass.n);
}

/* Packed rows that a token at @pos may attend to. */
static uint32_t packed_before(const struct job *j, uint32_t pos)
{
	return j->lh->pack ? (pos + 1) / j->lh->pack : 0;
}

/* The chosen ones for token @i of the slice; NULL: all. */
static const uint32_t *choose(const struct job *j, uint32_t i, uint32_t nr,
			      uint32_t worker)
{
	const struct pst_packed_hp *p = j->p;
	uint32_t t = j->first + i;
	struct pst_index ix;

	if (!j->lh->pack_chosen || nr <= p->index_top_k)
		return NULL;
	ix = (struct pst_index){
		.q = j->s.ix_q + (size_t)t * p->index_heads * p->index_hd,
		.w = j->s.ix_w + (size_t)t * p->index_heads,
		.heads = p->index_heads,
		.hd = p->index_hd,
		.nr = nr,
		.top_k = p->index_top_k,
		.dots = j->s.dots,
		.best = j->s.picked + (size_t)i * p->index_top_k,
		.keys = pst_kv_at(j->pass.kv, j->pass.layer, PST_KV_INDEX, 0,
				  0),
	};
	pst_index_pick(j->pass.f, j->pass.kv->type, &ix, worker);
	return ix.best;
}

static uint32_t window_from(const struct job *j, uint32_t pos)
{
	return pos >= j->lh->window ? pos - j->lh->window + 1 : 0;
}

static size_t row_bytes(const struct job *j)
{
	return pst_kv_row_bytes(j->pass.kv->type, PST_KV_K, j->lh->hd_k);
}

static uint8_t *rows_of(const struct job *j, uint32_t i)
{
	return j->s.rows + (size_t)i * j->s.nr_rows * row_bytes(j);
}

/* What token @i of the slice attends to, in one piece. */
static void gather_chunk(void *ctx, uint32_t i, uint32_t worker)
{
	const struct job *j = ctx;
	uint32_t pos = j->pass.pos0 + j->first + i, from = window_from(j, pos);
	uint32_t nr = packed_before(j, pos);
	size_t bytes = row_bytes(j), window = (pos - from + 1) * bytes;
	const uint8_t *packed =
		pst_kv_at(j->pass.kv, j->pass.layer, PST_KV_PACKED, 0, 0);
	const uint32_t *best;
	uint8_t *rows = rows_of(j, i);

	if (!nr)
		return;
	memcpy(rows, pst_kv_at(j->pass.kv, j->pass.layer, PST_KV_K, 0, from),
	       window);
	rows += window;
	best = choose(j, i, nr, worker);
	if (!best) {
		memcpy(rows, packed, nr * bytes);
		return;
	}
	for (uint32_t r = 0; r < j->p->index_top_k; r++)
		memcpy(rows + r * bytes, packed + best[r] * bytes, bytes);
}

static uint32_t calls_of(const struct job *j)
{
	return (j->lh->n_head + j->share - 1) / j->share;
}

/* Some heads of one token of the slice. */
static void attend_chunk(void *ctx, uint32_t chunk, uint32_t worker)
{
	const struct job *j = ctx;
	struct pst_fwd *f = j->pass.f;
	uint32_t i = chunk / calls_of(j), t = j->first + i;
	uint32_t h = chunk % calls_of(j) * j->share;
	uint32_t pos = j->pass.pos0 + t, from = window_from(j, pos);
	uint32_t nr = packed_before(j, pos), n_rot = j->rope->n_rot;
	uint32_t hd = j->lh->hd_k;
	struct pst_kattn a = {
		.nr = PST_MIN(j->share, j->lh->n_head - h),
		.k = nr ? rows_of(j, i)
			: pst_kv_at(j->pass.kv, j->pass.layer, PST_KV_K, 0,
				    from),
		.k_stride_bytes = row_bytes(j),
		.v_stride_bytes = row_bytes(j),
		.hd_k = hd,
		.hd_v = hd,
	};
	struct pst_kattn_query *query = pst_attn_begin(&j->s.attn, worker, &a);

	if (j->lh->pack_chosen)
		nr = PST_MIN(nr, j->p->index_top_k);
	a.v = a.k;
	for (uint32_t q = 0; q < a.nr; q++, h++)
		query[q] = (struct pst_kattn_query){
			.q = j->s.q + ((size_t)t * j->lh->n_head + h) * hd,
			.out = j->s.att.f32 + t * j->s.att.stride +
			       (size_t)h * hd,
			.sink = j->w->sinks + h,
			.scale = f->m->hp.attn_scale,
			.to = pos - from + 1 + nr,
		};
	pst_attend(f, j->pass.kv, &a);
	for (uint32_t q = 0; q < a.nr; q++)
		f->k->rope_norm(query[q].out + hd - n_rot,
				j->s.back + (size_t)t * n_rot, n_rot);
}

/* Each group of heads by its own rows of the first output matrix. */
static void project_out(struct job *j)
{
	struct pst_fwd *f = j->pass.f;
	uint32_t part = j->w->wo_a.n_in, rank = j->p->out_rank;
	struct pst_weight w[PST_MAX_OUT_GROUPS];
	struct act_rows x[PST_MAX_OUT_GROUPS];
	struct lin_item items[PST_MAX_OUT_GROUPS];

	if (pst_needs_q8(f, &j->w->wo_a))
		pst_quantize_rows(f, &j->s.att, j->p->out_groups * part,
				  j->pass.n);
	for (uint32_t g = 0; g < j->p->out_groups; g++) {
		w[g] = j->w->wo_a;
		w[g].data += g * rank * w[g].row_bytes;
		w[g].n_out = rank;
		if (w[g].bias)
			w[g].bias += g * rank;
		x[g] = pst_act_from(&j->s.att, (size_t)g * part);
		items[g] = (struct lin_item){ .w = &w[g],
					      .x = &x[g],
					      .nr_x = j->pass.n,
					      .y = j->s.oa.f32 + g * rank,
					      .y_stride = j->s.oa.stride };
	}
	pst_linear(f, items, j->p->out_groups);
	pst_mixer_out(f, &j->w->wo_b, &j->s.oa, j->pass.n);
}

static void run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		uint32_t layer)
{
	struct carve c = { .base = f->work };
	struct job j = { .pass = { .f = f,
				   .kv = pass->kv,
				   .layer = layer,
				   .n = pass->n,
				   .pos0 = pass->kv->n_used },
			 .lh = &f->m->hp.layer[layer],
			 .p = &f->m->hp.packed,
			 .w = &f->m->layers[layer].packed };
	uint32_t nr;

	j.rope = &f->m->hp.rope[j.lh->rope];
	lay_out(f, layer, &c, &j.s);
	j.s.pack.w = &j.w->pack;
	j.s.ix_pack.w = &j.w->ix_pack;
	project(&j);
	if (j.lh->pack)
		pst_packer_run(&j.s.pack, &j.pass);
	if (j.lh->pack_chosen)
		pst_packer_run(&j.s.ix_pack, &j.pass);
	for (; j.first < pass->n; j.first += nr) {
		nr = pass->n - j.first;
		if (j.lh->pack) {
			nr = PST_MIN(SLICE, nr);
			pst_pool_run(f->pool, gather_chunk, &j, nr);
		}
		j.share = pst_attn_share(f, j.lh->n_head, nr);
		pst_pool_run(f->pool, attend_chunk, &j, nr * calls_of(&j));
	}
	project_out(&j);
}

const struct pst_mixer pst_mixer_packed = {
	.name = "attention to packed rows",
	.bind = bind,
	.shape = shape,
	.work_bytes = work_bytes,
	.run = run,
};
