/* SPDX-License-Identifier: MIT */
/*
 * The tiny model as a network that can be trained: its shape, its parameters,
 * one pass forward and one back over a microbatch.  Knows nothing of files or
 * of how parameters are updated.
 */
#ifndef TINY_NET_H
#define TINY_NET_H

#include "product.h"

enum {
	LAYERS = 6,
	VOCAB = 3072,
	DIM = 192,
	HEADS = 6,
	KV_HEADS = 2,
	HEAD = 32,
	EXPERTS = 32,
	USED = 4,
	FF = 64,
	CTX = 512,
	SEQS = 8, /* sequences in a microbatch */
	MICROS = 2, /* microbatches in a step */
	QUERIES = 128, /* queries in a block of attention */
	LOGIT_ROWS = 1024, /* tokens in a block of the output matrix */
	TOKENS = SEQS * CTX,
	Q = HEADS * HEAD,
	KV = KV_HEADS * HEAD,
	QKV = Q + 2 * KV,
	BLOCK_PARAMS = 12,
	NR_PARAMS = LAYERS * BLOCK_PARAMS + 2,
};

enum kind {
	NORM,
	TABLE, /* the embedding and routers: updated by AdamW */
	MATRIX, /* rows (in) by cols (out): updated by Muon */
};

struct param {
	const char *name;
	enum kind kind;
	int rows, cols, count;
	float *w, *g, *m, *v; /* weights, gradient, moments */
};

struct block {
	struct param *attn_norm, *q, *k, *v, *q_norm, *k_norm, *o;
	struct param *ffn_norm, *router, *gate, *up, *down;
};

/* What a layer remembers of the way forward. */
struct acts {
	float *x, *rstd, *qkv, *qr, *kr, *q_rstd, *k_rstd, *lse, *o;
	float *mid, *mid_rstd, *p, *w, *gu;
	int *pick, *order, start[EXPERTS + 1];
};

struct net {
	struct param params[NR_PARAMS];
	struct param *embed, *out_norm;
	struct block blocks[LAYERS];
	struct acts acts[LAYERS];
	uint64_t random;
	float balance; /* weight of the loss that balances the experts */
	double load[LAYERS][EXPERTS];
	uint16_t ids[TOKENS], targets[TOKENS];

	/* Scratch. */
	float *x_out, *xn, *dx, *dxn, *dqkv, *dqr, *dkr, *scratch;
	float *score, *dscore, *logits, *moe_in, *moe_h, *moe_d, *drow, *dprob;
	float *final_rstd;
	struct factor a;
	struct panels b, b2;
	float cos_of[CTX][HEAD / 2], sin_of[CTX][HEAD / 2];
};

/* splitmix64. */
uint64_t net_random(struct net *n);

size_t param_size(const struct param *p);

struct net *net_new(uint64_t seed);

/*
 * The sum of the losses of n->targets after n->ids.  With @back also the
 * gradient where the logits are made; net_backward() takes it from there and
 * adds to the parameters' gradients those of the mean loss of a step.
 */
double net_forward(struct net *n, bool back);
void net_backward(struct net *n);

#endif
