/* SPDX-License-Identifier: MIT */
/*
 * forward: the layers' arithmetic over a batch of tokens of one sequence.
 *
 * All memory is reserved by pst_fwd_create().  The result of a token depends
 * on the tokens before it only: not on the batch it came in, the number of
 * threads, or the order in which experts arrived.
 */
#ifndef PST_FORWARD_H
#define PST_FORWARD_H

#include "model.h"
#include "topo.h"

enum pst_kv_type {
	PST_KV_F16,
	PST_KV_F32
};

/**
 * struct pst_kv - keys and values of one sequence
 * @mem: [n_layers][n_head_kv][n_ctx][hd_k], then the same for values with hd_v
 * @n_ctx: positions that fit
 * @n_used: positions that hold a token
 */
struct pst_kv {
	struct pst_mem mem;
	enum pst_kv_type type;
	uint32_t n_ctx;
	uint32_t n_used;
	uint64_t v_off_bytes;
};

/** pst_kv_bytes() - memory of a cache, UINT64_MAX when it overflows */
uint64_t pst_kv_bytes(const struct pst_hparams *hp, enum pst_kv_type type,
		      uint32_t n_ctx);

/**
 * struct pst_kv_args - what to reserve
 * @n_ctx: positions
 * @huge: page kind
 * @node: NUMA node, -1 for the kernel's choice
 */
struct pst_kv_args {
	enum pst_kv_type type;
	uint32_t n_ctx;
	enum pst_mem_want huge;
	int node;
};

/** pst_kv_init() - reserve; pst_kv_fini().  Return: 0, -ENOMEM, -EINVAL */
int pst_kv_init(struct pst_kv *kv, const struct pst_hparams *hp,
		const struct pst_kv_args *args, struct pst_diag *diag);
void pst_kv_fini(struct pst_kv *kv);

struct pst_fwd;

/**
 * struct pst_fwd_args - what a forward pass works with; all must outlive it
 * @n_batch: tokens per pass at most, >= 1
 * @n_ctx: positions of the longest sequence
 * @node: NUMA node of the scratch memory, -1 for the kernel's choice
 */
struct pst_fwd_args {
	const struct pst_model *model;
	const struct pst_kernels *kernels;
	struct pst_pool *pool;
	uint32_t n_batch;
	uint32_t n_ctx;
	enum pst_mem_want huge;
	int node;
};

/** pst_fwd_bytes() - scratch memory for these arguments */
uint64_t pst_fwd_bytes(const struct pst_fwd_args *args);

/** pst_fwd_create() - Return: 0 or -ENOMEM; pst_fwd_destroy() */
int pst_fwd_create(const struct pst_fwd_args *args, struct pst_fwd **out,
		   struct pst_diag *diag);
void pst_fwd_destroy(struct pst_fwd *f);

/** pst_fwd_set_store() - the experts' source; before the first pass of a MoE */
void pst_fwd_set_store(struct pst_fwd *f, struct pst_store *s);

/**
 * struct pst_fwd_pass - one pass
 * @kv: the sequence; @n tokens are appended at kv->n_used
 * @tokens: [n], each below n_vocab
 * @n: 1..n_batch, and kv->n_used + n <= kv->n_ctx
 * @first_logits: logits are computed for tokens first_logits..n-1
 * @logits: called for each of those, in order, with [n_vocab] floats that are
 *	valid during the call; non-zero stops the pass with that value
 * @progress: layers done and all, called after each layer, may be NULL
 * @ctx: handed to both
 */
struct pst_fwd_pass {
	struct pst_kv *kv;
	const int32_t *tokens;
	uint32_t n;
	uint32_t first_logits;
	int (*logits)(void *ctx, uint32_t token, const float *logits);
	void (*progress)(void *ctx, uint32_t done, uint32_t all);
	void *ctx;
};

/**
 * pst_fwd_run() - compute a batch
 *
 * Return: 0; the error of an expert's read (the sequence is then as before the
 * call); what the logits callback gave.
 */
int pst_fwd_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		struct pst_diag *diag);

#endif
