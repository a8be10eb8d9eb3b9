/* SPDX-License-Identifier: MIT */
/*
 * Private to the recurrent mixers: what they share.  A mixer's file says which
 * matrices there are and how a token's decay and beta come about; delta.c does
 * the convolution, the rule over the tokens and the output.
 */
#ifndef PST_DELTA_H
#define PST_DELTA_H

#include "fwd_priv.h"

/* Scratch of one pass. */
struct delta_work {
	float *in; /* [n][w_in.n_out], where there is such a matrix */
	float *rows; /* [taps - 1 + n][channels], before the convolution */
	float *qkv; /* [n][channels], after it */
	float *z; /* [n][n_v * hd_v]: the output's gate */
	struct act low_z; /* [n][gate_rank] */
	struct act low_a; /* [n][decay_rank] */
	float *decay; /* [n][n_v], or by channel [n][n_v * hd_k] */
	float *beta; /* [n][n_v], or with the decay [n][2 * n_v] */
	struct act att; /* [n][n_v * hd_v] */
};

struct delta_job;

/**
 * struct delta_kind - in what the recurrent mixers differ
 * @by_channel: each channel of a key decays by itself
 * @one_conv: the convolution's weights are one array
 * @silu_gate: silu of the gate multiplies the output, else its sigmoid
 * @prepare: token @t's decay (as a factor) and beta, from what was projected;
 *	NULL: @prepare_head does it
 * @prepare_head: the same of all tokens for one head; NULL: nothing is left to do
 */
struct delta_kind {
	bool by_channel;
	bool one_conv;
	bool silu_gate;
	void (*prepare)(const struct delta_job *j, uint32_t t);
	void (*prepare_head)(const struct delta_job *j, uint32_t head);
};

struct delta_job {
	struct pst_fwd *f;
	const struct delta_kind *kind;
	const struct pst_delta_hp *p;
	const struct pst_delta *w;
	struct pst_kv *kv;
	struct delta_work s;
	uint32_t layer;
	uint32_t n; /* tokens */
};

/* Of queries, keys and values together. */
static inline uint32_t delta_channels(const struct pst_delta_hp *p)
{
	return 2 * p->n_k * p->hd_k + p->n_v * p->hd_v;
}

/** pst_delta_softplus() - log(1 + e^x) */
float pst_delta_softplus(float x);

/** pst_delta_sigmoid() - 1 / (1 + e^-x) */
float pst_delta_sigmoid(float x);

/** pst_delta_shape() - of struct pst_mixer */
void pst_delta_shape(const struct pst_hparams *hp, uint32_t layer,
		     struct pst_kv_shape *out);

/** pst_delta_work_bytes() - the same */
uint64_t pst_delta_work_bytes(const struct pst_fwd *f, uint32_t layer);

/** pst_delta_run() - the pass through a block of this kind */
void pst_delta_run(const struct delta_kind *kind, struct pst_fwd *f,
		   const struct pst_fwd_pass *pass, uint32_t layer);

#endif
