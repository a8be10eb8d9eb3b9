/* SPDX-License-Identifier: MIT */
/*
 * Private to model/: what a family's row says, how keys are read and tensors
 * bound.  Everything here runs once, when a model is opened.
 */
#ifndef PST_MODEL_PRIV_H
#define PST_MODEL_PRIV_H

#include "model.h"

enum pst_experts {
	PST_EXPERTS_NONE,
	PST_EXPERTS_OPTIONAL,
	PST_EXPERTS_ALWAYS
};

struct pst_keys;
struct pst_binder;

/**
 * struct pst_arch - one model family: a row, alone in its file with its hook
 * @name: general.architecture
 * @rope: which elements form a rotated pair
 * @norm: kind of the norms of the residual stream; their biases are optional
 * @qk_norm: RMS norm on q and k: none, per head, or over the whole projection
 * @qk_norm_need: whether the norm's tensors must be there; 0 stands for yes
 * @qk_norm_late: the norm comes after the rotation
 * @v_norm: value heads are normed too, without weights
 * @v_is_k: a block without attn_v takes its keys, before their norm, as values
 * @q_gated: attn_q has a gate behind each head's query: its sigmoid multiplies
 *	the head's output
 * @out_gate: blocks of latent attention have attn_gate
 * @qkv_bias: attn_{q,k,v}.bias must be there (elsewhere they are optional)
 * @sinks: attn_sinks must be there
 * @experts: whether blocks have routed experts
 * @ff_is_expert: feed_forward_length is the width of one expert when
 *	expert_feed_forward_length is missing
 * @gating: how logits become weights when the file does not say; 0: softmax
 * @gatings: bits 1 << enum pst_gating that a file may ask for besides
 * @choice_bias: whether blocks have exp_probs_b
 * @norm_topk: the chosen experts' weights are made to sum to one
 * @shared_expert: blocks with experts have a shared one where the keys give it
 *	a width
 * @shared_gated: ffn_gate_inp_shexp weighs it
 * @dense_beside: the shared expert is a dense block's tensors; it, the experts
 *	and the router have norms of their own
 * @groups: experts may be chosen by groups
 * @nextn: the file may end in prediction blocks, which are left out
 * @glu: what joins gate and up
 * @ffn_fused: without ffn_gate, ffn_up holds the rows of gate, then of up
 * @rope_factors: rope_factors_short and _long divide the angles where the file
 *	has them
 * @out_scale: blocks may have a layer_output_scale
 * @residual: how the halves' results add up; NULL: a plain sum
 * @eps_key: of the norms; NULL: "attention.layer_norm_rms_epsilon"
 * @norms_behind: none before the halves; those after are of the sum, and there
 *	is one of the embeddings
 * @ffn_norm: name of the norm before the feed-forward half; NULL: "ffn_norm"
 * @attn_post_norm, @ffn_post_norm: norms after the two halves; NULL: none
 * @reads: names of keys that @keys computes with: they are refused in other
 *	families; NULL-terminated
 * @keys: reads the family's own keys and says what kind each block is; NULL
 *	when the defaults (grouped-query attention over all positions, experts
 *	in every block) hold
 */
struct pst_arch {
	const char *name;
	enum pst_rope_style rope;
	enum pst_norm_kind norm;
	enum pst_qk_norm qk_norm;
	enum pst_need qk_norm_need;
	bool qk_norm_late;
	bool v_norm;
	bool v_is_k;
	bool q_gated;
	enum pst_need out_gate;
	bool qkv_bias;
	bool sinks;
	enum pst_experts experts;
	bool ff_is_expert;
	enum pst_gating gating;
	uint32_t gatings;
	enum pst_need choice_bias;
	bool norm_topk;
	bool shared_expert;
	bool shared_gated;
	bool dense_beside;
	bool groups;
	bool nextn;
	enum pst_glu glu;
	bool ffn_fused;
	bool rope_factors;
	bool out_scale;
	const struct pst_residual *residual;
	const char *eps_key;
	bool norms_behind;
	const char *ffn_norm;
	const char *attn_post_norm;
	const char *ffn_post_norm;
	const char *const *reads;
	void (*keys)(struct pst_keys *r, struct pst_hparams *hp);
};

/** pst_arch_reads() - does the row's hook read this key itself? */
bool pst_arch_reads(const struct pst_arch *arch, const char *key);

/* keys.c: typed reading.  The first failure is kept, later reads do nothing. */

/**
 * struct pst_keys - the keys of a model while they are read
 * @n_blocks: blocks in the file, the left-out ones included; 0 until known
 * @key: full name of the key that was read last
 * @rc: the first failure
 */
struct pst_keys {
	const struct pst_gguf *g;
	const struct pst_arch *arch;
	struct pst_diag *diag;
	uint32_t n_blocks;
	char key[128];
	int rc;
};

/** pst_keys_name() - make "<arch>.<name>" the key that a failure names */
const char *pst_keys_name(struct pst_keys *r, const char *name);

/** pst_keys_fail() - the last key is malformed: "key K <what>", -EBADMSG */
void pst_keys_fail(struct pst_keys *r, const char *what);

/** pst_keys_unsupported() - valid, but cannot be run: -ENOTSUP */
void pst_keys_unsupported(struct pst_keys *r, const char *what);

/**
 * pst_keys_u32() - an integer in [lo, hi], the same for all blocks
 *
 * An array of one value per block is taken when all are equal.
 * Return: whether it was there and good; *out is untouched otherwise.
 */
bool pst_keys_u32(struct pst_keys *r, const char *name, uint32_t lo,
		  uint32_t hi, uint32_t *out);

/** pst_keys_need_u32() - the same, but it must be there */
void pst_keys_need_u32(struct pst_keys *r, const char *name, uint32_t lo,
		       uint32_t hi, uint32_t *out);

/**
 * pst_keys_u32s() - an integer for each block, or one for all of them
 * @out: [PST_MAX_LAYERS], filled for n_blocks
 */
bool pst_keys_u32s(struct pst_keys *r, const char *name, uint32_t lo,
		   uint32_t hi, uint32_t *out);

/**
 * pst_keys_flags() - a bool or an integer for each block
 * @out: [PST_MAX_LAYERS], 0 or 1, filled for n_blocks
 */
bool pst_keys_flags(struct pst_keys *r, const char *name, uint32_t *out);

/** pst_keys_f32() - a finite float; Return: as pst_keys_u32() */
bool pst_keys_f32(struct pst_keys *r, const char *name, float *out);

/**
 * pst_keys_f32s() - a finite float for each block, or one for all of them
 * @out: [PST_MAX_LAYERS], filled for n_blocks
 */
bool pst_keys_f32s(struct pst_keys *r, const char *name, float *out);

bool pst_keys_str(struct pst_keys *r, const char *name, struct pst_str *out);
bool pst_keys_bool(struct pst_keys *r, const char *name, bool *out);

/* hparams.c: groups of keys that several families share; for pst_arch.keys. */

/**
 * pst_keys_window() - sliding windows on some blocks
 * @period: of the pattern, when the file has no sliding_window_pattern: block
 *	i has the window unless i % period == period - 1; 0: all blocks
 */
void pst_keys_window(struct pst_keys *r, struct pst_hparams *hp,
		     uint32_t period);

/**
 * pst_keys_window_rope() - blocks with a window rotate by a base of their own
 * @base: when the file has no rope.freq_base_swa
 *
 * No scaling is applied to it.
 */
void pst_keys_window_rope(struct pst_keys *r, struct pst_hparams *hp,
			  float base);

/** pst_keys_moe_step() - interleave_moe_layer_step: one in so many has experts */
void pst_keys_moe_step(struct pst_keys *r, struct pst_hparams *hp);

/** pst_keys_leading_dense() - the first blocks have no experts */
void pst_keys_leading_dense(struct pst_keys *r, struct pst_hparams *hp);

/** pst_keys_mla_widths() - of latent attention, and its scale */
void pst_keys_mla_widths(struct pst_keys *r, struct pst_hparams *hp);

/* binder.c: tensors of a block, checked and remembered.  The
 * first failure is kept, later steps do nothing.
 */

/**
 * struct pst_binder - the tensors of a model while they are bound
 * @layer: the block that is bound
 * @name: full name of the tensor that was looked at last
 * @rc: the first failure
 */
struct pst_binder {
	struct pst_model *m;
	const struct pst_kernels *k;
	struct pst_diag *diag;
	uint32_t layer;
	char name[96];
	int rc;
};

/** pst_bind_has() - is blk.N.<name> there? */
bool pst_bind_has(struct pst_binder *b, const char *name);

/** pst_bind_global_vec() - a vector outside the blocks, by its full name */
bool pst_bind_global_vec(struct pst_binder *b, const char *name, uint64_t n,
			 bool required, const float **dst);
bool pst_bind_global_mat(struct pst_binder *b, const char *name, uint32_t n_in,
			 uint32_t n_out, bool required, struct pst_weight *w);

/**
 * pst_bind_table() - the same, required, and only rows of it are looked at
 *
 * w->data may stay NULL: rows are reached with pst_fwd_row().
 */
bool pst_bind_table(struct pst_binder *b, const char *name, uint32_t n_in,
		    uint32_t nr_rows, struct pst_weight *w);

/** pst_bind_fail() - "tensor '<the last one>' <what>" */
void pst_bind_fail(struct pst_binder *b, int err, const char *what);

/**
 * pst_bind_vec() - an F32 vector, blk.N.<name>
 * @name: with its ".weight" or ".bias"
 *
 * Return: whether it is there; *dst is filled in when the trunk is loaded.
 */
bool pst_bind_vec(struct pst_binder *b, const char *name, uint64_t n,
		  bool required, const float **dst);

/**
 * pst_bind_array() - F32 numbers [n1][n0] that must be there
 * @name: in full, without "blk.N."
 *
 * The file may write dimensions of one anywhere, or leave them out.
 */
void pst_bind_array(struct pst_binder *b, const char *name, uint64_t n0,
		    uint64_t n1, const float **dst);

/**
 * pst_bind_ids() - experts by name: a tensor of I32 {n, nr}, each an expert
 * @dst: gets its first byte; aligned to nothing
 *
 * The numbers themselves are looked at when the trunk has been read.
 */
void pst_bind_ids(struct pst_binder *b, const char *name, uint32_t n,
		  uint32_t nr, const uint8_t **dst);

/**
 * pst_bind_mat() - a matrix {n_in, n_out}: blk.N.<name>.weight, with its
 * optional .scale and .bias
 */
void pst_bind_mat(struct pst_binder *b, const char *name, uint32_t n_in,
		  uint32_t n_out, struct pst_weight *w);

/** pst_bind_bare() - the same without scale and bias */
void pst_bind_bare(struct pst_binder *b, const char *name, uint32_t n_in,
		   uint32_t n_out, struct pst_weight *w);

/**
 * pst_bind_stack() - matrices in one tensor
 * @ne: inputs and outputs of each, how many
 * @w: gets the rows of all
 *
 * blk.N.<name>.weight with optional .scale.
 */
void pst_bind_stack(struct pst_binder *b, const char *name,
		    const uint32_t ne[3], struct pst_weight *w);

/**
 * pst_bind_split() - one matrix whose rows are those of several
 * @w: [nr], their n_out set
 *
 * blk.N.<name>.weight with optional .scale and .bias.
 */
void pst_bind_split(struct pst_binder *b, const char *name, uint32_t n_in,
		    struct pst_weight *const *w, uint32_t nr);

/**
 * pst_bind_experts() - one matrix of all experts {n_in, n_out, n_expert}
 *
 * Its shape goes to @w, its place to the store's table.  Return: whether it is
 * there.
 */
bool pst_bind_experts(struct pst_binder *b, const char *name, uint32_t n_in,
		      uint32_t n_out, bool required, struct pst_weight *w);

/** pst_token_input_bind_global() - token_input.c: what stands outside blocks */
void pst_token_input_bind_global(struct pst_binder *b);
void pst_token_input_bind(struct pst_binder *b, struct pst_layer *l);

/* The two halves of a block.  Both read the normalised f->xn and leave their
 * sum in f->tmp; residual.c does what comes before and after.
 */

struct pst_fwd;
struct pst_fwd_pass;
struct pst_kv_shape;
struct carve;

/**
 * struct pst_mixer - a kind of token mixer, all of it in mixer_<kind>.c
 * @bind: its tensors into the layer
 * @shape: what it remembers of each position and of the whole sequence (pre-set
 *	to nothing)
 * @work_bytes: scratch memory for a pass through this block
 * @run: the pass; cannot fail
 */
struct pst_mixer {
	const char *name;
	void (*bind)(struct pst_binder *b, struct pst_layer *l);
	void (*shape)(const struct pst_hparams *hp, uint32_t layer,
		      struct pst_kv_shape *out);
	uint64_t (*work_bytes)(const struct pst_fwd *f, uint32_t layer);
	void (*run)(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		    uint32_t layer);
};

/**
 * struct pst_ffn - a kind of feed-forward half, in ffn_<kind>.c
 * @run: Return: 0 or the error of an expert's read
 */
struct pst_ffn {
	const char *name;
	void (*bind)(struct pst_binder *b, struct pst_layer *l);
	uint64_t (*work_bytes)(const struct pst_fwd *f, uint32_t layer);
	int (*run)(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		   uint32_t layer, struct pst_diag *diag);
};

/**
 * struct pst_read - what is read of the residual stream
 * @layer, @half: for which half; @layer is nothing for PST_HALF_OUT
 * @first, @nr: tokens
 * @aside: only looked at: not what the running half reads; LOGITS_GROUP
 *	tokens at most
 */
struct pst_read {
	uint32_t layer;
	enum pst_half half;
	uint32_t first, nr;
	bool aside;
};

/**
 * struct pst_residual - what becomes of the halves' results
 * @width: numbers of the stream of a token
 * @bind: tensors of a block, @bind_out: of what the output reads; NULL: none
 * @carve: memory of its own, NULL: none
 * @start: an embedding stands at the beginning of the token's stream
 * @read: Return: [nr][n_embd], what a half reads before its norm
 * @add: one token's result of the half that has read last
 */
struct pst_residual {
	const char *name;
	uint32_t (*width)(const struct pst_hparams *hp);
	void (*bind)(struct pst_binder *b, struct pst_layer *l);
	void (*bind_out)(struct pst_binder *b);
	void (*carve)(struct pst_fwd *f, struct carve *c);
	void (*start)(struct pst_fwd *f, uint32_t t);
	const float *(*read)(struct pst_fwd *f, const struct pst_read *r);
	void (*add)(struct pst_fwd *f, uint32_t t, const float *y);
};

extern const struct pst_residual pst_residual_sum;
extern const struct pst_residual pst_residual_streams;
extern const struct pst_residual pst_residual_sums;

/** pst_residual_of() - the kind of a family */
const struct pst_residual *pst_residual_of(const struct pst_arch *arch);

extern const struct pst_mixer pst_mixer_gdn;
extern const struct pst_mixer pst_mixer_kda;
extern const struct pst_mixer pst_mixer_mla;
extern const struct pst_mixer pst_mixer_gqa;
extern const struct pst_mixer pst_mixer_packed;
extern const struct pst_ffn pst_ffn_dense;
extern const struct pst_ffn pst_ffn_moe;

/** pst_model_add_ref() - remember a pointer to fill in once the trunk is read */
int pst_model_add_ref(struct pst_model *m, const struct pst_gguf_tensor *t,
		      uint64_t off_bytes, const void **dst);

/** pst_model_bind() - fill layers, experts and refs from the tensor table */
int pst_model_bind(struct pst_model *m, const struct pst_kernels *k,
		   struct pst_diag *diag);

/**
 * pst_rope_table() - cos and sin of one position
 * @freqs: [n_rot / 2] divisors of theta, or NULL
 * @pos: position of the token
 * @cs: [n_rot], cs[2i] = cos, cs[2i + 1] = sin of pair i
 *
 * theta_i = pos * base^(-2i/n_rot) (Su et al., RoFormer); YaRN interpolation
 * after Peng et al. 2023, section 3.
 */
void pst_rope_table(const struct pst_rope_params *r, const float *freqs,
		    uint32_t pos, float *cs);

#endif
