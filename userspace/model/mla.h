/* SPDX-License-Identifier: MIT */
/*
 * Private to multi-head latent attention: what its files share.  mixer_mla.c
 * attends, mla_unpack.c does so in another form, mla_index.c says what to.
 */
#ifndef PST_MLA_H
#define PST_MLA_H

#include "fwd_priv.h"

/* Scratch of the indexer. */
struct mla_index {
	float *q; /* [n][index_heads * index_hd] */
	float *k; /* [n][index_hd] */
	float *w; /* [n][index_heads] */
	float *dots; /* [n_workers][index_heads][PST_INDEX_ROWS] */
};

/* Scratch of the decompressed form: a tile of positions, a group of heads. */
struct mla_unpack {
	struct act rows; /* [tile][kv_rank + hd_rope]: of the cache */
	float *k; /* [group][tile][hd_nope + hd_rope] */
	float *v; /* [group][tile][hd_v] */
	float *turned; /* [group][hd_nope][kv_rank + pad]: K_h, where it is turned */
	uint8_t *carry; /* [group][n]: queries between two tiles */
	struct attn_work attn;
};

/* Scratch of one pass; a slice is a few of its tokens. */
struct mla_work {
	struct act qa; /* [n][q_rank] */
	float *q; /* [n][n_head * (hd_nope + hd_rope)] */
	float *ckv; /* [n][kv_rank + hd_rope] */
	struct act att; /* [n][n_head * hd_v] */
	float *gate; /* [n][n_head * hd_v], where there is one */
	struct act nope; /* [slice * n_head][hd_nope] */
	float *query; /* [slice][n_head][kv_rank + hd_rope] */
	struct act sum; /* [slice * n_head][kv_rank] */
	struct attn_work attn;
	uint8_t *rows; /* [slice][index_top_k] rows of the cache */
	struct mla_unpack unpack; /* in the place of what slices use */
	struct mla_index index;
};

struct mla_job {
	struct pst_fwd *f;
	const struct pst_mla_hp *p;
	const struct pst_mla *w;
	struct pst_kv *kv;
	struct mla_work s;
	uint32_t layer;
	uint32_t n_head;
	uint32_t n; /* tokens */
	uint32_t pos0; /* position of the first */
	uint32_t first; /* of the slice */
	uint32_t share; /* queries of a call */
};

/** pst_mla_index_bind() - the indexer's tensors, if the block has one */
void pst_mla_index_bind(struct pst_binder *b, struct pst_mla *w);

/** pst_mla_index_work() - lay out its scratch */
void pst_mla_index_work(const struct pst_fwd *f, struct carve *c,
			struct mla_index *s);

/** pst_mla_index_run() - remember keys, choose positions: fills f->picked */
void pst_mla_index_run(struct mla_job *j);

/** pst_mla_is_sparse() - does a token there attend to chosen positions only? */
static inline bool pst_mla_is_sparse(const struct pst_mla_hp *p, uint32_t pos)
{
	return p->index_top_k && pos >= p->index_top_k;
}

/** pst_mla_unpack_work() - lay out the scratch, if the form is asked for */
void pst_mla_unpack_work(const struct pst_fwd *f, uint32_t layer,
			 struct carve *c, struct mla_unpack *s);

/**
 * pst_mla_unpack_run() - attend in the decompressed form where that is less work
 *
 * The queries of the tokens that it did are rotated.  Return: how many, from the
 * first; 0 for none.
 */
uint32_t pst_mla_unpack_run(struct mla_job *j);

/** pst_mla_query() - a head's query, [hd_nope + hd_rope] */
float *pst_mla_query(const struct mla_job *j, uint32_t t, uint32_t head);

/** pst_mla_rotate() - the rotated part of a key or query of token @t */
void pst_mla_rotate(const struct mla_job *j, float *x, uint32_t t);

/** pst_mla_scale() - what the scores of a position's queries are multiplied by */
float pst_mla_scale(const struct mla_job *j, uint32_t pos);

/** pst_mla_rows() - rows @row.. of a weight as one of its own */
struct pst_weight pst_mla_rows(const struct pst_weight *w, uint64_t row,
			       uint32_t n_out);

/** pst_mla_store() - numbers into a row of the cache */
void pst_mla_store(const struct mla_job *j, uint32_t stream, uint32_t pos,
		   const float *src, uint32_t n);

#endif
