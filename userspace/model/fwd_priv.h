/* SPDX-License-Identifier: MIT */
/*
 * Private to the forward pass: its buffers and the layer kinds.
 */
#ifndef PST_FWD_PRIV_H
#define PST_FWD_PRIV_H

#include <penstock/observe.h>

#include "deal.h"
#include "forward.h"
#include "model_priv.h"

/* Logits rows that are computed together: one sweep over the output matrix. */
#define LOGITS_GROUP 8

/* Rows of activations, as a product reads them: see activations.c. */
struct act_rows {
	struct pst_kact first;
	size_t rest; /* from a row's codes to those of what they left; 0: none */
};

/* Activations with room for their quantised form. */
struct act {
	struct act_rows k;
	float *f32;
	int8_t *q8;
	float *d;
	int32_t *sum;
	size_t stride;
};

/* What the observer is told at the end of a layer or a pass. */
struct watch {
	uint32_t first_pos; /* of the pass */
	uint64_t pass_ns, layer_ns, experts_ns, logits_ns; /* when each began */
	struct pst_store_stats before; /* of the layer */
	struct pst_layer_sample sample;
};

/* Blocks that the predictor looks ahead at most. */
#define PREDICT_AHEAD_MAX 2
/* Classes of guesses: by the margin of a router's score, and by the share of past
 * tokens that took the expert.
 */
#define PREDICT_MARGINS 16
#define PREDICT_SHARES	16
#define PREDICT_BUCKETS (PREDICT_MARGINS + PREDICT_SHARES)

/* What was guessed for one token of a block, until it has chosen. */
struct predict_said {
	uint32_t layer; /* UINT32_MAX: none */
	uint32_t nr, nr_router; /* all, and in front those of the router */
	uint32_t *ids; /* [n_expert] best first */
	uint8_t *bucket; /* [n_expert] */
	bool *trusted; /* [n_expert] worth a read by its chance */
};

/* How often guesses were right, by bucket. */
struct predict_trust {
	uint32_t tried[PREDICT_BUCKETS], right[PREDICT_BUCKETS];
};

/* See predict.c. */
struct predict {
	uint32_t ahead; /* blocks, 0: off */
	bool known; /* what follows from the tokens is told */
	bool whole; /* every expert of the next block will be wanted */
	float *logits; /* [LOGITS_GROUP][n_expert] */
	float *scores; /* [n_expert] */
	float spread; /* decayed mean: best score less the last chosen's */
	uint32_t *rank, *ids; /* [n_expert] */
	uint32_t nr_sure; /* of ids, in front: hardly ever wrong */
	bool *taken; /* [n_expert] by some token of the batch */
	struct predict_said said[PREDICT_AHEAD_MAX];
	struct predict_trust all; /* of all blocks together */
	struct predict_trust *block; /* [n_layers] */
	struct pst_predict_stats *stats; /* [n_layers] */
};

/* Parallel residual streams: see residual_streams.c. */
struct streams {
	struct act x; /* the streams, as the factor of a product */
	float *mix; /* [n_batch][mix_stride] weights of the running half */
	float *in; /* [n_batch][n_embd]: what it reads */
	float *mix_aside, *in_aside; /* the same of what is only looked at */
	uint32_t mix_stride;
	bool quantised; /* x, whenever it changes */
};

/* Earlier sums of the residual stream: see residual_sums.c. */
struct sums {
	float *in; /* [n_batch][n_embd]: what the running half reads */
	float *in_aside; /* the same of what is only looked at */
	uint32_t done; /* sums before the latest */
	bool ends; /* the running half's result begins a new one */
};

/* Rows of one table that stays on the drive: see rows.c. */
struct row_cache {
	const struct pst_table *table;
	uint32_t nr_slots;
	uint32_t hand; /* the next slot to be looked at for a victim */
	uint64_t slot_bytes;
	uint8_t *mem; /* [nr_slots][slot_bytes] */
	uint32_t *slot_of; /* [n_vocab] */
	uint32_t *token_of; /* [nr_slots] */
	uint64_t *pass; /* [nr_slots] that wanted it last, 0: long ago */
	uint32_t *at; /* [n_batch] slot of each token of the pass */
};

struct row_read;

#define PST_ROWS_DEFAULT 512

struct rows {
	struct pst_io *io; /* NULL where no table stays on the drive */
	uint32_t least; /* slots of a cache, unless the table has fewer rows */
	uint64_t align;
	struct row_cache cache[PST_MAX_TABLES]; /* of the model's tables */
	struct row_read *reads; /* [tables * n_batch], NULL: no tables */
	uint32_t nr_pending;
	uint64_t pass; /* counted from 1 */
	struct pst_row_stats stats;
};

struct pst_fwd {
	const struct pst_model *m;
	const struct pst_kernels *k;
	struct pst_pool *pool;
	struct pst_store *store;
	const struct pst_observer *observer; /* NULL for none */
	struct watch w;
	uint32_t n_used; /* experts of a token in the present layer */
	uint32_t n_batch, n_ctx, n_workers;
	enum pst_activations activations;
	enum pst_mla_form mla;
	struct pst_mem mem;

	const struct pst_residual *residual;
	float *x; /* [n_batch][x_width]: the residual stream */
	uint32_t x_width;
	struct streams streams;
	const int32_t *tokens; /* [n] of the pass */
	struct sums sums;
	const float *in; /* [n_batch][n_embd]: xn before its norm */
	struct act xn; /* [n_batch][n_embd]: what a half reads */
	float *tmp; /* [n_batch][n_embd]: what a half adds */
	struct act x0; /* [n_batch][n_embd]: the embeddings, with n_embd_block */
	float *cs[PST_ROPES]; /* [n_batch][n_rot] */
	uint32_t *picked; /* [n_batch][index_top_k], kept between blocks */
	float *scores; /* [n_workers][n_ctx + pad], where rows are chosen */
	float *scratch; /* [n_workers][scratch_stride] */
	size_t scratch_stride, scores_stride;
	uint8_t *work; /* of the half that runs; it lays it out itself */

	struct act xe; /* what experts read: xn, or rows of its own */
	struct act h; /* [n_pairs][ff]: gate, then glu(gate, up) */
	float *up; /* [n_pairs][ff] */
	float *contrib; /* [n_pairs][expert width]: a row per token and expert */
	size_t n_pairs;

	float *router; /* [n_batch][n_expert] logits, then weights */
	float *choice; /* [n_batch][n_expert] what the choice is made by */
	uint32_t *sel; /* [n_batch][n_used] experts by rank */
	float *sel_w; /* [n_batch][n_used] their weights */
	uint32_t *pair_of; /* [n_batch][n_used] row of h and contrib */
	uint32_t *tok_of; /* [n_pairs] token of each row */
	uint32_t *first; /* [n_expert + 1] first row of each expert */
	uint32_t *ids; /* [n_expert] the union */
	struct pst_expert *taken; /* [TAKE_MAX] */
	struct ffn_item *items; /* [TAKE_MAX] */

	float *logits; /* [LOGITS_GROUP][n_vocab] */
	struct act out; /* [LOGITS_GROUP][n_embd] */
	struct predict predict;
	struct rows rows;
};

/* Experts computed in one job: enough for the threads, few enough that the
 * ring is served in between.
 */
#define TAKE_MAX 8

/* Hands out pieces of one region; with base NULL it only adds up. */
struct carve {
	uint8_t *base;
	uint64_t at;
};

/** pst_carve() - the next @nr * @elem_bytes, aligned to 64 */
void *pst_carve(struct carve *c, uint64_t nr, uint64_t elem_bytes);

/* activations.c */

/** pst_carve_act() - activations: @rows of @width */
void pst_carve_act(const struct pst_fwd *f, struct carve *c, struct act *a,
		   uint64_t rows, uint64_t width);

/** pst_carve_codes() - the quantised form of @rows; f32 and stride are set */
void pst_carve_codes(const struct pst_fwd *f, struct carve *c, struct act *a,
		     uint64_t rows);

/* One product of a job: y[i][r] = w[r] . x[idx[i]] (+ bias). */
struct lin_item {
	const struct pst_weight *w;
	const struct act_rows *x;
	const uint32_t *idx;
	uint32_t nr_x;
	float *y;
	size_t y_stride;
};

/* One feed-forward block: dense, or an expert over the tokens routed to it. */
struct ffn_item {
	struct pst_weight gate, up, down;
	struct act_rows x; /* the input */
	const uint32_t *idx; /* [nr] rows of the input, NULL for 0..nr-1 */
	uint32_t nr;
	uint32_t row; /* first row of h, up and the output */
	float limit; /* of gate and up, 0 for none */
};

/** pst_linear() - several products as one job */
void pst_linear(struct pst_fwd *f, const struct lin_item *items, uint32_t nr);

/**
 * pst_mul_rows() - rows @row.. of a weight times activations, scale and bias
 * @shape: nr_rows, idx, nr_x, y (of row 0), y_stride and scratch
 */
void pst_mul_rows(const struct pst_fwd *f, const struct pst_weight *w,
		  const struct act_rows *x, const struct pst_kmul *shape,
		  uint32_t row);

/**
 * pst_act_mul() - a product with activations
 * @shape: all but x; its scratch is that of a worker
 */
void pst_act_mul(const struct pst_fwd *f, enum pst_ktype type,
		 const struct act_rows *x, const struct pst_kmul *shape);

/** pst_mul_scratch_floats() - what products want of a worker's scratch */
size_t pst_mul_scratch_floats(const struct pst_fwd *f);

/** pst_act_row() - the part of activations that starts at a row */
struct act_rows pst_act_row(const struct act *a, size_t row);

/** pst_act_from() - or at the @at-th number, where a block of 32 begins */
struct act_rows pst_act_from(const struct act *a, size_t at);

/** pst_needs_q8() - does a product with this weight read quantised input? */
bool pst_needs_q8(const struct pst_fwd *f, const struct pst_weight *w);

/** pst_quantize_rows() - the quantised form of @n rows of @width */
void pst_quantize_rows(struct pst_fwd *f, struct act *a, uint32_t width,
		       uint32_t n);

/** pst_quantize_at() - the same of @n numbers from the @at-th of all */
void pst_quantize_at(const struct pst_fwd *f, const struct act *a, size_t at,
		     uint32_t n);

/** pst_quantize_row() - the same of row @row only */
void pst_quantize_row(const struct pst_fwd *f, const struct act *a, size_t row,
		      uint32_t width);

/* norm.c */

/** pst_layer_norm() - the kind PST_NORM_MEAN; @norm may have no bias */
void pst_layer_norm(float *y, const float *x, const struct pst_norm *norm,
		    uint32_t n, float eps);

/** pst_norm_row() - n_embd numbers, by the family's kind */
void pst_norm_row(const struct pst_fwd *f, float *y, const float *x,
		  const struct pst_norm *norm);

/** pst_norm_quantize() - @n rows into @out, quantised if asked; no w: a copy */
void pst_norm_quantize(struct pst_fwd *f, const float *x, struct pst_norm norm,
		       struct act *out, uint32_t n, bool q8);

/** pst_rotate() - the leading elements of a head of the pass's token @t */
void pst_rotate(const struct pst_fwd *f, uint32_t rope,
		enum pst_rope_style style, float *x, uint32_t t);

/** pst_kv_put() - @n numbers into a row of a stream, in the type of that */
void pst_kv_put(const struct pst_fwd *f, const struct pst_kv *kv,
		uint32_t stream, uint8_t *row, const float *src, uint32_t n);

/** pst_kv_ktype() - the format of a stream's rows, as a product knows it */
enum pst_ktype pst_kv_ktype(enum pst_kv_type type, uint32_t stream);

/* Queries of a call that share keys, at most: of a tile's cost a part of this
 * size is for each, and that is where it no longer matters.
 */
#define PST_ATTN_QUERIES 64

/* Scratch of attention: for each worker the queries of a call, and the call's. */
struct attn_work {
	uint8_t *base;
	uint64_t queries_bytes, worker_bytes;
};

/** pst_carve_attn() - for calls of @nr queries at most */
void pst_carve_attn(const struct pst_fwd *f, struct carve *c,
		    struct attn_work *s, const struct pst_kattn *shape);

/**
 * pst_attn_share() - queries of a call
 * @nr: that share keys
 * @sets: of as many queries
 */
uint32_t pst_attn_share(const struct pst_fwd *f, uint32_t nr, uint32_t sets);

/** pst_attn_begin() - where the queries of @a go; its scratch is set */
struct pst_kattn_query *pst_attn_begin(const struct attn_work *s,
				       uint32_t worker, struct pst_kattn *a);

/** pst_attend() - queries over rows of the cache */
void pst_attend(const struct pst_fwd *f, const struct pst_kv *kv,
		const struct pst_kattn *a);

/** pst_mixer_out() - tmp = @w times the @n rows of @x, quantised if need be */
void pst_mixer_out(struct pst_fwd *f, const struct pst_weight *w, struct act *x,
		   uint32_t n);

/*
 * token_input.c: what the tokens give to each block by themselves, nothing
 * where n_embd_block is 0.  Begins when the embeddings are in f->x; runs after
 * a block's two halves.
 */
uint64_t pst_token_input_work_bytes(const struct pst_fwd *f);
void pst_token_input_begin(struct pst_fwd *f, uint32_t n);
void pst_token_input_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
			 uint32_t layer);

/*
 * rows.c: tables that stay on the drive.  Before a pass its tokens' rows are
 * fetched; a failure leaves everything as it was.
 */
void pst_rows_carve(struct pst_fwd *f, struct carve *c);
int pst_rows_fetch(struct pst_fwd *f, uint32_t n, struct pst_diag *diag);

/** pst_fwd_row() - of a table, for token @t of the pass */
const uint8_t *pst_fwd_row(const struct pst_fwd *f, const struct pst_weight *w,
			   uint32_t t);

/* Rows whose scores are computed together. */
#define PST_INDEX_ROWS 64

/**
 * struct pst_index - a choice among remembered rows
 * @q: [heads][hd], @w: [heads]: queries and their weights, of one token
 * @keys: [nr][hd] in the cache's type
 * @nr: rows, more than @top_k; at most n_ctx
 * @dots: [n_workers][heads][PST_INDEX_ROWS] scratch
 * @best: [top_k] the chosen rows, in no order
 */
struct pst_index {
	const float *q, *w;
	const uint8_t *keys;
	uint32_t heads, hd, nr, top_k;
	float *dots;
	uint32_t *best;
};

/** pst_index_pick() - fill @best */
void pst_index_pick(const struct pst_fwd *f, enum pst_kv_type type,
		    const struct pst_index *ix, uint32_t worker);

/** pst_half_enter() - what a half reads, into f->in and normed into f->xn */
void pst_half_enter(struct pst_fwd *f, uint32_t layer, enum pst_half half,
		    uint32_t n);

/*
 * fwd_ends.c: tokens to f->x and the angles of their positions; and the rows
 * that the caller asked for, which may end the pass with an error of its own.
 */
void pst_fwd_embed(struct pst_fwd *f, const struct pst_fwd_pass *pass);
int pst_fwd_give(struct pst_fwd *f, const struct pst_fwd_pass *pass);

/** pst_block_leave() - x *= scale */
void pst_block_leave(struct pst_fwd *f, float scale, uint32_t n);

/** pst_add_normed() - f->tmp is added; @norm before that, if it has a weight */
void pst_add_normed(struct pst_fwd *f, struct pst_norm norm, uint32_t n);

/** pst_half_leave() - f->tmp is added, its norm done before */
void pst_half_leave(struct pst_fwd *f, uint32_t layer, enum pst_half half,
		    uint32_t n);

/**
 * pst_glu() - what joins gate and up: h = glu(gate, up) in place of gate
 * @u: may be changed
 * @limit: gate is cut there, up there and at its negative; 0: neither
 */
void pst_glu(const struct pst_fwd *f, float *h, float *u, uint32_t n,
	     float limit);

/** pst_ffn_work() - lay out f->h and f->up for @rows rows of width @ff */
void pst_ffn_work(struct pst_fwd *f, struct carve *c, uint64_t rows,
		  uint32_t ff);

/** pst_ffn_begin() - h[row + i] = glu(gate x, up x) for all items */
void pst_ffn_begin(struct pst_fwd *f, const struct ffn_item *items,
		   uint32_t nr);

/** pst_ffn_finish() - y[row + i] = down h for all items, which were begun */
void pst_ffn_finish(struct pst_fwd *f, const struct ffn_item *items,
		    uint32_t nr, float *y);

/** pst_ffn_run() - y[row + i] = down(glu(gate x, up x)) for all items */
void pst_ffn_run(struct pst_fwd *f, const struct ffn_item *items, uint32_t nr,
		 float *y);

/**
 * pst_router() - choose experts and weights for @n tokens
 *
 * Reads f->xe where the block's router has a norm of its own, else f->xn.
 */
void pst_router(struct pst_fwd *f, uint32_t layer, uint32_t n);

/**
 * pst_router_scores() - one token's logits to what the choice is made by
 * @bias: [n_expert] added for the choice, or NULL
 * @p: [n_expert] logits; probabilities afterwards
 * @s: [n_expert] the scores; -INFINITY: out of the choice
 */
void pst_router_scores(const struct pst_fwd *f, const float *bias, float *p,
		       float *s);

/* For predictions: a block of experts without its experts, and the time of one
 * row in one of them when @rows of @n tokens take each; 0 for unknown.
 */
void pst_moe_try_rest(struct pst_fwd *f, uint32_t layer, uint32_t n);
double pst_moe_try_row_s(struct pst_fwd *f, uint32_t layer, uint32_t n,
			 uint32_t rows);

/** pst_moe_by_token() - a token's experts, where they follow from it alone */
void pst_moe_by_token(const struct pst_fwd *f, const uint8_t *by_token,
		      int32_t token, uint32_t *sel);

/** pst_latent_bind() - how experts of another width are reached */
void pst_latent_bind(struct pst_binder *b, struct pst_moe *m);

/** pst_latent_narrow() - f->xe = what the experts read, where they have one */
void pst_latent_narrow(struct pst_fwd *f, const struct pst_layer *l,
		       uint32_t n);

/** pst_latent_widen() - tmp += what they gave; f->xe and contrib are lost */
void pst_latent_widen(struct pst_fwd *f, const struct pst_layer *l, uint32_t n);

/** pst_top_k() - indices of the @k largest, best first; ties: lower first */
void pst_top_k(const float *p, uint32_t n, uint32_t k, uint32_t *sel);

/** pst_predict_known() - tell the store what follows from the tokens alone */
void pst_predict_known(struct pst_fwd *f, uint32_t n);

/** pst_predict_first() - of one token: what its first blocks will want */
void pst_predict_first(struct pst_fwd *f, uint32_t n);

/** pst_predict() - tell the store what blocks after @layer will want */
void pst_predict(struct pst_fwd *f, uint32_t layer, uint32_t n);

/** pst_predict_score() - @layer has chosen: was the guess right? */
void pst_predict_score(struct pst_fwd *f, uint32_t layer, uint32_t n);

/*
 * The observer's clocks, in the order of a pass; all return at once without
 * one.  pst_observe_route() also applies a forced choice and sets n_used.
 */
void pst_observe_begin(struct pst_fwd *f, uint32_t first_pos);
void pst_observe_layer_begin(struct pst_fwd *f, uint32_t layer);
void pst_observe_attention_end(struct pst_fwd *f);
void pst_observe_route(struct pst_fwd *f, uint32_t layer, uint32_t nr_tokens);
void pst_observe_experts_begin(struct pst_fwd *f);
void pst_observe_experts_end(struct pst_fwd *f);
void pst_observe_layer_end(struct pst_fwd *f, uint32_t layer);
void pst_observe_logits_begin(struct pst_fwd *f);
void pst_observe_end(struct pst_fwd *f, uint32_t nr_tokens);

#endif
