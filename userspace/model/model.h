/* SPDX-License-Identifier: MIT */
/*
 * model: what the keys and tensors of a GGUF mean, and the layers' arithmetic.
 *
 * A family is a row in arch.c; its layers are made of the shared kinds here
 * (linear, attention, ffn, moe, norm, rope).  Where experts are and how they
 * come is the store's business; where time goes is the engine's.
 */
#ifndef PST_MODEL_H
#define PST_MODEL_H

#include "base.h"
#include "gguf.h"
#include "io.h"
#include "mem.h"
#include "pst_kernels.h"
#include "store.h"

enum pst_rope_style {
	PST_ROPE_NORM,
	PST_ROPE_NEOX
};
enum pst_qk_norm {
	PST_QK_NORM_NONE,
	PST_QK_NORM_HEAD,
	PST_QK_NORM_FULL
};
enum pst_experts {
	PST_EXPERTS_NONE,
	PST_EXPERTS_OPTIONAL,
	PST_EXPERTS_ALWAYS
};

/* How router logits become weights; the numbers of expert_gating_func. */
enum pst_gating {
	PST_GATING_SOFTMAX = 1
};

/**
 * struct pst_arch - one model family: a row of the table in arch.c
 * @name: general.architecture
 * @rope: which elements form a rotated pair
 * @qk_norm: RMS norm on q and k: none, per head, or over the whole projection
 * @qkv_bias: attn_{q,k,v}.bias must be there (elsewhere they are optional)
 * @experts: whether blocks have routed experts
 * @ff_is_expert: feed_forward_length is the width of one expert when
 *	expert_feed_forward_length is missing
 * @norm_topk: the selected experts' weights are made to sum to one
 */
struct pst_arch {
	const char *name;
	enum pst_rope_style rope;
	enum pst_qk_norm qk_norm;
	bool qkv_bias;
	enum pst_experts experts;
	bool ff_is_expert;
	bool norm_topk;
};

/** pst_arch_find() - by general.architecture, NULL when there is no row */
const struct pst_arch *pst_arch_find(const char *name, uint64_t len);

/** pst_arch_at() - row @i, NULL past the last */
const struct pst_arch *pst_arch_at(uint32_t i);

enum pst_rope_scaling {
	PST_ROPE_SCALE_NONE,
	PST_ROPE_SCALE_LINEAR,
	PST_ROPE_SCALE_YARN
};

/**
 * struct pst_rope_params - rotary position embedding
 * @n_rot: leading elements of a head that are rotated, even
 * @base: theta_i = pos * base^(-2i / n_rot)
 * @factor: context extension, 1 for none
 * @ctx_orig: context length before the extension
 */
struct pst_rope_params {
	uint32_t n_rot;
	float base;
	enum pst_rope_scaling scaling;
	float factor;
	uint32_t ctx_orig;
	float attn_factor;
	float ext_factor;
	float beta_fast;
	float beta_slow;
};

/**
 * struct pst_hparams - the numbers of a model, all validated
 * @n_layers: blocks that are executed
 * @n_embd: width of the residual stream
 * @n_head: query heads, a multiple of @n_head_kv
 * @hd_k: length of a query and key head; @hd_v: of a value head
 * @n_ff: width of a dense feed-forward block, 0 when there is none
 * @n_expert: routed experts of a block, 0 for a dense model
 * @n_expert_used: experts per token, 1..@n_expert
 * @n_ff_exp: width of one expert
 * @w_scale: multiplies the experts' weights, 1 for none
 */
struct pst_hparams {
	uint32_t n_layers;
	uint32_t n_embd;
	uint32_t n_head;
	uint32_t n_head_kv;
	uint32_t hd_k;
	uint32_t hd_v;
	uint32_t n_ff;
	uint32_t n_vocab;
	uint32_t n_ctx_train;
	float eps;
	float attn_scale;
	struct pst_rope_params rope;
	uint32_t n_expert;
	uint32_t n_expert_used;
	uint32_t n_ff_exp;
	bool norm_topk;
	float w_scale;
};

/**
 * pst_hparams_read() - read and validate the keys of a family
 *
 * Return: 0; -EBADMSG for a missing key, a wrong type or an impossible value;
 * -ENOTSUP for a variant that is not supported.  The key is named in @diag.
 */
int pst_hparams_read(const struct pst_gguf *g, const struct pst_arch *arch,
		     struct pst_hparams *out, struct pst_diag *diag);

/**
 * struct pst_weight - a matrix {n_in, n_out}: n_out rows of n_in weights
 * @data: first row, NULL until the trunk is loaded
 * @scale: [1], multiplies the product, or NULL
 * @bias: [n_out], added after that, or NULL
 */
struct pst_weight {
	const uint8_t *data;
	uint32_t type;
	uint32_t n_in;
	uint32_t n_out;
	size_t row_bytes;
	const float *scale;
	const float *bias;
};

/**
 * struct pst_layer - one block
 * @router: {n_embd, n_expert}; n_out is 0 in a dense block
 * @gate, @up, @down: the dense block's matrices, or the shape of one expert's
 *	(data stays NULL: it comes from the store; scale is [n_expert] and bias
 *	[n_expert][n_out] then)
 * @fused_gate_up: an expert's part 0 holds gate rows, then up rows
 */
struct pst_layer {
	const float *attn_norm;
	const float *q_norm;
	const float *k_norm;
	const float *ffn_norm;
	struct pst_weight wq, wk, wv, wo;
	struct pst_weight router;
	struct pst_weight gate, up, down;
	bool fused_gate_up;
};

/* A pointer that is filled in when the trunk has been loaded. */
struct pst_trunk_ref {
	const struct pst_gguf_tensor *t;
	uint64_t off_bytes;
	const void **dst;
};

/* A run of neighbouring trunk tensors in a file, read as one. */
struct pst_trunk_extent {
	uint32_t file;
	uint64_t off_bytes;
	uint64_t end_bytes;
	uint64_t mem_off; /* in the trunk's memory, of the aligned start */
};

/**
 * struct pst_model - a bound model
 * @experts: [n_layers], where the experts lie; nr_parts is 0 in dense blocks
 * @trunk_bytes: memory that the trunk needs, block slack included
 * @expert_bytes: all experts in the files
 */
struct pst_model {
	const struct pst_gguf *g;
	const struct pst_arch *arch;
	struct pst_hparams hp;
	struct pst_layer *layers;
	struct pst_store_layer *experts;
	struct pst_weight tok_embd;
	struct pst_weight output;
	const float *output_norm;
	const float *rope_freqs; /* [n_rot / 2] or NULL */

	struct pst_trunk_ref *refs;
	uint32_t nr_refs, cap_refs;
	struct pst_trunk_extent *extents;
	uint32_t nr_extents;
	uint64_t trunk_bytes;
	uint64_t expert_bytes;
	uint32_t nr_moe_layers;
	struct pst_mem trunk;
};

/**
 * pst_model_create() - find the family, check every tensor's shape and type
 * @g: must outlive the model
 * @k: which tensor types can be computed
 * @out: owned by the caller, pst_model_destroy()
 *
 * Loads nothing.  Return: 0, -EBADMSG (malformed: the key or tensor is named),
 * -ENOTSUP (a tensor type without a kernel), -ENOMEM.
 */
int pst_model_create(const struct pst_gguf *g, const struct pst_kernels *k,
		     struct pst_model **out, struct pst_diag *diag);
void pst_model_destroy(struct pst_model *m);

/**
 * struct pst_trunk_args - how to load the trunk
 * @io: with the model's files added in order
 * @use_map: point into the mapping instead of reading (the mmap baseline)
 * @progress: bytes done and all, may be NULL
 */
struct pst_trunk_args {
	struct pst_io *io;
	bool use_map;
	enum pst_mem_want huge;
	int node;
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	void *progress_ctx;
};

/**
 * pst_model_load_trunk() - read everything that every token needs
 *
 * Return: 0, -ENOMEM, or the error of a read with file and offset in @diag.
 */
int pst_model_load_trunk(struct pst_model *m, const struct pst_trunk_args *args,
			 struct pst_diag *diag);

#endif
