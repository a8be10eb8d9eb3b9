/* SPDX-License-Identifier: MIT */
/*
 * Private to the forward pass: its buffers and the layer kinds.
 */
#ifndef PST_FWD_PRIV_H
#define PST_FWD_PRIV_H

#include "forward.h"

/* Logits rows that are computed together: one sweep over the output matrix. */
#define LOGITS_GROUP 8

/* Activations with room for their quantised form. */
struct act {
	struct pst_kact k;
	float *f32;
	int8_t *q8;
	float *d;
	int32_t *sum;
	size_t stride;
};

struct pst_fwd {
	const struct pst_model *m;
	const struct pst_kernels *k;
	struct pst_pool *pool;
	struct pst_store *store;
	uint32_t n_batch, n_ctx, n_workers;
	struct pst_mem mem;

	float *x; /* [n_batch][n_embd]: the residual stream */
	struct act xn; /* [n_batch][n_embd]: normalised */
	float *q, *kk, *v; /* [n_batch][heads * hd] */
	struct act att; /* [n_batch][n_head * hd_v] */
	float *cs; /* [n_batch][n_rot] */
	float *tmp; /* [n_batch][n_embd] */
	float *scores; /* [n_workers][n_ctx + pad] */
	float *scratch; /* [n_workers][scratch_stride] */
	size_t scratch_stride, scores_stride;

	struct act h; /* [n_pairs][ff]: gate, then silu(gate) * up */
	float *up; /* [n_pairs][ff] */
	float *contrib; /* [n_pairs][n_embd]: one row per token and expert */
	size_t n_pairs;

	float *router; /* [n_batch][n_expert] logits, then weights */
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
};

/* Experts computed in one job: enough for the threads, few enough that the
 * ring is served in between.
 */
#define TAKE_MAX 8

/* One product of a job: y[i][r] = w[r] . x[idx[i]] (+ bias). */
struct lin_item {
	const struct pst_weight *w;
	const struct pst_kact *x;
	const uint32_t *idx;
	uint32_t nr_x;
	float *y;
	size_t y_stride;
};

/* One feed-forward block: dense, or an expert over the tokens routed to it. */
struct ffn_item {
	struct pst_weight gate, up, down;
	const uint32_t *idx; /* [nr] rows of the input, NULL for 0..nr-1 */
	uint32_t nr;
	uint32_t row; /* first row of h, up and the output */
};

/** pst_linear() - up to 3 products as one job */
void pst_linear(struct pst_fwd *f, const struct lin_item *items, uint32_t nr);

/**
 * pst_mul_rows() - rows @row.. of a weight times activations, scale and bias
 * @shape: nr_rows, x, idx, nr_x, y (of row 0), y_stride and scratch
 */
void pst_mul_rows(const struct pst_fwd *f, const struct pst_weight *w,
		  const struct pst_kmul *shape, uint32_t row);

/** pst_act_row() - the part of activations that starts at a row */
struct pst_kact pst_act_row(const struct act *a, size_t row);

/** pst_needs_q8() - does a product with this weight read quantised input? */
bool pst_needs_q8(const struct pst_fwd *f, const struct pst_weight *w);

/** pst_norm_quantize() - out = rms(x) * w for @n rows, quantised if asked */
void pst_norm_quantize(struct pst_fwd *f, const float *x, const float *w,
		       struct act *out, uint32_t n, bool q8);

/** pst_add_residual() - x += tmp for @n rows */
void pst_add_residual(struct pst_fwd *f, uint32_t n);

/** pst_attention() - x += attn_output(attention(qkv(rms(x)))) */
void pst_attention(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		   uint32_t layer);

/** pst_ffn_run() - y[row + i] = down(silu(gate x) * up x) for all items */
void pst_ffn_run(struct pst_fwd *f, const struct ffn_item *items, uint32_t nr,
		 float *y);

/** pst_ffn_dense() - x += ffn(rms(x)) */
void pst_ffn_dense(struct pst_fwd *f, uint32_t layer, uint32_t n);

/** pst_router() - choose experts and weights for @n tokens */
void pst_router(struct pst_fwd *f, uint32_t layer, uint32_t n);

/** pst_moe() - x += sum over ranks of weight * expert(rms(x)) */
int pst_moe(struct pst_fwd *f, uint32_t layer, uint32_t n,
	    struct pst_diag *diag);

#endif
