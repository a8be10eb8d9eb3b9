/* SPDX-License-Identifier: MIT */
/*
 * Private to grouped-query attention: what its two files share.  mixer_gqa.c
 * attends, gqa_runs.c says to which runs of positions.
 */
#ifndef PST_GQA_H
#define PST_GQA_H

#include "fwd_priv.h"

/* Scratch of the choice of runs. */
struct gqa_runs {
	float *q; /* [n][n_head_kv * runs.hd] */
	float *k; /* [n][runs.hd] */
	float *dots; /* [n_workers][PST_RUNS_DOTS] */
	uint32_t *picked; /* [n_workers][top_k] */
	uint8_t *rows; /* [n_workers] chosen keys, then their values */
	uint64_t rows_bytes; /* of a worker */
};

/* Scratch of one pass. */
struct gqa_work {
	float *q, *k, *v; /* [n][heads * hd] */
	float *qg; /* [n][n_head][2 * hd_k]: q, gate; where heads have one */
	struct act att; /* [n][n_head * hd_v] */
	struct attn_work attn;
	struct gqa_runs runs;
};

struct gqa_job {
	struct pst_fwd *f;
	const struct pst_layer_hp *lh;
	const struct pst_gqa *w;
	struct pst_kv *kv;
	struct gqa_work s;
	uint32_t kv_layer; /* where keys and values are */
	uint32_t pos0; /* position of the batch's first token */
	uint32_t n; /* tokens of the batch */
	uint32_t share; /* queries of a call */
};

/* Positions whose scores are computed together. */
#define PST_RUNS_DOTS 64

/** pst_gqa_norm_each() - each head by itself; @w may be NULL */
void pst_gqa_norm_each(const struct gqa_job *j, float *x, const float *w,
		       uint32_t n_head, uint32_t hd);

/** pst_gqa_rotate() - the block's rotation of @n_head heads of token @t */
void pst_gqa_rotate(const struct gqa_job *j, float *x, uint32_t t,
		    uint32_t n_head, uint32_t hd);

/** pst_gqa_runs_bind() - the tensors of the heads that choose */
void pst_gqa_runs_bind(struct pst_binder *b, struct pst_gqa *w);

/** pst_gqa_runs_work() - lay out the scratch of the choice */
void pst_gqa_runs_work(const struct pst_fwd *f, const struct pst_layer_hp *lh,
		       struct carve *c, struct gqa_runs *s);

/** pst_gqa_runs_project() - queries and keys of @n tokens for the choice */
void pst_gqa_runs_project(const struct gqa_job *j, uint32_t n);

/** pst_gqa_runs_keep() - token @t: its key into the cache, its queries ready */
void pst_gqa_runs_keep(const struct gqa_job *j, uint32_t t);

/**
 * pst_gqa_runs_narrow() - leave only the chosen runs to attend to
 * @t: token, @kvh: KV head
 * @a: with keys and values of all positions, replaced when some are left out
 * @n_pos: positions up to the token's own
 *
 * Return: positions that are left; their numbers begin with 0.
 */
uint32_t pst_gqa_runs_narrow(const struct gqa_job *j, uint32_t t, uint32_t kvh,
			     uint32_t worker, uint32_t n_pos,
			     struct pst_kattn *a);

#endif
