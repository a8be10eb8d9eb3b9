/* SPDX-License-Identifier: MIT */
/*
 * model: what the keys and tensors of a GGUF mean, and the layers' arithmetic.
 *
 * A family is a row in a file arch_<family>.c; its blocks are made of shared
 * kinds: a mixer (mixer_<kind>.c) and an ffn (ffn_<kind>.c).  Where experts are
 * and how they come is the store's business; where time goes is the engine's.
 */
#ifndef PST_MODEL_H
#define PST_MODEL_H

#include "base.h"
#include "gguf.h"
#include "io.h"
#include "mem.h"
#include "pst_kernels.h"
#include "store.h"

/* Tables of a model of which a token needs one row. */
#define PST_MAX_TABLES 2
/* Blocks of the deepest model that is accepted. */
#define PST_MAX_LAYERS 512
/* Groups of heads on their way through an output in two steps, at most. */
#define PST_MAX_OUT_GROUPS 64
/* Parallel residual streams at most. */
#define PST_MAX_STREAMS 8
/* Matrices of a block besides its experts. */
#define PST_MAX_MATS 32
/* Experts of a block at most. */
#define PST_MAX_EXPERTS 1024
/* Kinds of rotation that the blocks of one model may use. */
#define PST_ROPES 2
/* pst_layer_hp.rope of a block without rotation. */
#define PST_ROPE_NONE 0xff

enum pst_rope_style {
	PST_ROPE_NORM,
	PST_ROPE_NEOX
};
enum pst_rope_scaling {
	PST_ROPE_SCALE_NONE,
	PST_ROPE_SCALE_LINEAR,
	PST_ROPE_SCALE_YARN
};
/* How the states of a text become one vector; the numbers of pooling_type. */
enum pst_pooling {
	PST_POOLING_NONE,
	PST_POOLING_MEAN = 1,
	PST_POOLING_FIRST = 2,
	PST_POOLING_LAST = 3
};

/* Of the residual stream; see norm.c. */
enum pst_norm_kind {
	PST_NORM_RMS,
	PST_NORM_MEAN
};

enum pst_qk_norm {
	PST_QK_NORM_NONE,
	PST_QK_NORM_HEAD,
	PST_QK_NORM_FULL
};

/* How router logits become weights; the numbers of expert_gating_func, and those
 * that no file asks for.
 */
enum pst_gating {
	PST_GATING_SOFTMAX = 1,
	PST_GATING_SIGMOID = 2,
	PST_GATING_SOFTMAX_CHOSEN = 3, /* softmax over the chosen logits */
	PST_GATING_SQRT_SOFTPLUS = 4,
	PST_GATING_SPARSEMIXER = 64
};

/* How gate and up become the input of down; see glu.c. */
enum pst_glu {
	PST_GLU_SWIGLU,
	PST_GLU_SWIGLU_OAI,
	PST_GLU_GEGLU,
	PST_GLU_GELU, /* no gate: of up alone */
	PST_GLU_SITU
};

/* The halves of a block, and what the output matrix reads. */
enum pst_half {
	PST_HALF_MIXER,
	PST_HALF_FFN,
	PST_HALF_OUT
};

struct pst_arch;
struct pst_mixer;
struct pst_ffn;

/** pst_arch_find() - by general.architecture, NULL when there is no row */
const struct pst_arch *pst_arch_find(const char *name, uint64_t len);

/** pst_arch_at() - row @i, NULL past the last */
const struct pst_arch *pst_arch_at(uint32_t i);

/** pst_arch_name() - general.architecture of a row */
const char *pst_arch_name(const struct pst_arch *arch);

/** pst_mixer_name() - how blocks of a kind look at other tokens */
const char *pst_mixer_name(const struct pst_mixer *mixer);

/**
 * struct pst_rope_params - rotary position embedding
 * @style: which elements form a rotated pair
 * @n_rot: leading elements of a head that are rotated, even
 * @base: theta_i = pos * base^(-2i / n_rot)
 * @factor: context extension, 1 for none
 * @ctx_orig: context length before the extension
 */
struct pst_rope_params {
	enum pst_rope_style style;
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
 * struct pst_layer_hp - the numbers and kinds of one block
 * @mixer: how its tokens look at each other
 * @ffn: what each token goes through by itself
 * @n_head: query heads, a multiple of @n_head_kv
 * @hd_k: length of a query and key head; @hd_v: of a value head
 * @window: positions that a token sees, itself included; 0: all before it
 * @both_ways: it sees those after it too
 * @chunked: of these, only those of its own run of @window positions
 * @rope: index of pst_hparams.rope, or PST_ROPE_NONE
 * @qk_rms: heads of q and k are normed without weights after the rotation
 * @q_temp: q grows with the position, see pst_hparams.temp_scale
 * @kv_back: so many blocks before is the one whose keys and values are read;
 *	0: its own
 * @runs_chosen: each KV head attends to chosen runs of positions only, see
 *	struct pst_runs_hp
 * @glu_limit, @glu_limit_shared: gate and up of experts and of the shared one
 *	are cut there, see glu.c; 0: not at all
 * @by_token: experts follow from the token alone; the router only weighs them
 * @pack: positions of a packed row, see struct pst_packed_hp; 0: no such rows
 * @pack_chosen: a packed row tells of the run before its own as well, and a
 *	token attends to chosen ones
 * @n_ff: width of a dense feed-forward block, 0 when there is none
 */
struct pst_layer_hp {
	const struct pst_mixer *mixer;
	const struct pst_ffn *ffn;
	uint32_t n_head;
	uint32_t n_head_kv;
	uint32_t hd_k;
	uint32_t hd_v;
	uint32_t window;
	bool both_ways;
	bool chunked;
	uint32_t rope;
	bool qk_rms;
	bool q_temp;
	uint32_t kv_back;
	bool runs_chosen;
	float glu_limit;
	float glu_limit_shared;
	bool by_token;
	uint32_t pack;
	bool pack_chosen;
	uint32_t n_ff;
};

/**
 * struct pst_router_hp - how experts are chosen and weighed
 * @gating: what makes probabilities of the logits
 * @bias: blk.N.exp_probs_b: added for the choice, never to the weights
 * @n_group: consecutive groups of experts; 0 or 1 for none
 * @n_group_used: groups whose experts may be chosen
 * @norm: the chosen experts' weights are made to sum to one
 * @scale: multiplies the weights after that, 1 for none
 * @logit_scale: multiplies the logits, 0 for none
 * @by_logits: the choice is made by the logits themselves
 * @on_input: the weight multiplies what goes into an expert, not what comes out
 */
struct pst_router_hp {
	enum pst_gating gating;
	enum pst_need {
		PST_NEVER,
		PST_OPTIONAL,
		PST_REQUIRED
	} bias;
	uint32_t n_group;
	uint32_t n_group_used;
	bool norm;
	float scale;
	float logit_scale;
	bool by_logits;
	bool on_input;
};

/**
 * struct pst_mla_hp - multi-head latent attention
 * @q_rank: width of the compressed query, 0 when it is not compressed
 * @kv_rank: width of what is remembered instead of keys and values
 * @hd_nope: part of a key head that is not rotated, unpacked from that
 * @hd_rope: part that is rotated, one for all heads
 * @hd_v: length of a value head
 * @temp_scale: queries of position p are multiplied by
 *	1 + @temp_scale * log(floor(p / @temp_len) + 1), 0 for not at all
 * @index_top_k: positions that a token attends to at most, chosen by the
 *	indexer; 0 without one
 * @index_heads, @index_hd: heads of the indexer, and their length
 * @index_rope: how its leading @hd_rope elements are rotated
 * @index_reused: [n_layers] the block has the choice of the one before it
 */
struct pst_mla_hp {
	uint32_t q_rank;
	uint32_t kv_rank;
	uint32_t hd_nope;
	uint32_t hd_rope;
	uint32_t hd_v;
	float temp_scale;
	uint32_t temp_len;
	uint32_t index_top_k;
	uint32_t index_heads;
	uint32_t index_hd;
	enum pst_rope_style index_rope;
	bool index_reused[PST_MAX_LAYERS];
};

/**
 * struct pst_runs_hp - choice of positions by runs (MiniMax M3)
 * @len: positions of a run; run r begins at position r * @len
 * @top_k: runs that a KV head attends to at most
 * @nr_local: of these, the newest ones that are always taken
 * @hd: length of the small heads that choose, one for each KV head
 */
struct pst_runs_hp {
	uint32_t len;
	uint32_t top_k;
	uint32_t nr_local;
	uint32_t hd;
};

/**
 * struct pst_packed_hp - attention to a window and to packed rows before it
 * @q_rank: width of the compressed query
 * @out_groups: heads go through the output in so many groups, each to
 * @out_rank: numbers
 * @index_top_k: packed rows that a token attends to at most where pack_chosen
 * @index_heads, @index_hd: heads that choose them, and their length
 */
struct pst_packed_hp {
	uint32_t q_rank;
	uint32_t out_groups;
	uint32_t out_rank;
	uint32_t index_top_k;
	uint32_t index_heads;
	uint32_t index_hd;
};

/**
 * struct pst_streams_hp - a residual stream that is several in parallel
 * @nr: streams; 0: one, a plain sum
 * @rounds: how often the matrix that mixes them is normalised
 * @eps: added to its elements and sums, and to the weights of what is read
 */
struct pst_streams_hp {
	uint32_t nr;
	uint32_t rounds;
	float eps;
};

/**
 * struct pst_delta_hp - recurrent blocks: the gated delta rule
 * @taps: tokens that the short convolution sees, 2..PST_K_MAX_TAPS
 * @n_k: heads of queries and keys, @hd_k their length
 * @n_v: heads of values, a multiple of @n_k; @hd_v their length
 * @tiled: value head h has the query and key of head h % @n_k; else of head
 *	h / (@n_v / @n_k)
 * @gate_rank: the output's gate goes through so many numbers, 0: at once
 * @decay_rank: so does the decay, where it is by channel
 * @decay_bound: logarithm of the strongest decay, below 0; 0: unbounded
 * @unit_eps: of the norm that gives queries and keys length one
 */
struct pst_delta_hp {
	uint32_t taps;
	uint32_t n_k;
	uint32_t hd_k;
	uint32_t n_v;
	uint32_t hd_v;
	bool tiled;
	uint32_t gate_rank;
	uint32_t decay_rank;
	float decay_bound;
	float unit_eps;
};

/**
 * struct pst_hparams - the numbers of a model, all validated
 * @n_layers: blocks that are executed
 * @n_embd: width of the residual stream
 * @encoder: it gives states, not logits, and reads a text in one pass
 * @pooling: how the states are meant to become one vector
 * @n_positions: rows of the table of positions, 0 for none
 * @n_token_types: rows of the table of token types, 0 for none
 * @n_embd_block: of the vector that a token gives to each block, 0 for none
 * @attn_scale: multiplies q.k
 * @embd_scale: multiplies the embeddings; @residual_scale: what a block adds;
 *	@logit_scale: the logits; each 1 for none
 * @logit_softcap: logits become cap * tanh(logit / cap), 0 for none
 * @temp_scale, @temp_len, @temp_off: in blocks with q_temp, q is multiplied by
 *	1 + scale * ln(1 + floor((pos + off) / len))
 * @rope: [nr_ropes]
 * @n_expert: routed experts of a block, 0 for a dense model
 * @n_expert_used: experts per token, 1..@n_expert
 * @n_ff_exp: width of one expert
 * @n_latent: numbers that a routed expert reads and gives, 0 for @n_embd
 * @n_ff_shexp: width of the shared expert of a block with experts, 0 for none
 * @situ_beta, @situ_linear_beta: of PST_GLU_SITU, see glu.c
 * @mla, @delta: of blocks with these mixers
 * @runs: of blocks with runs_chosen
 * @packed: of blocks with that mixer
 * @streams: of the residual stream
 * @sum_blocks: blocks whose results make one sum of it, where halves attend to
 *	earlier sums
 * @layer: [n_layers]
 */
struct pst_hparams {
	uint32_t n_layers;
	uint32_t n_embd;
	bool encoder;
	enum pst_pooling pooling;
	uint32_t n_positions;
	uint32_t n_token_types;
	uint32_t n_embd_block;
	uint32_t n_vocab;
	uint32_t n_ctx_train;
	float eps;
	float attn_scale;
	float embd_scale;
	float residual_scale;
	float logit_scale;
	float logit_softcap;
	float temp_scale;
	uint32_t temp_len;
	uint32_t temp_off;
	struct pst_rope_params rope[PST_ROPES];
	uint32_t nr_ropes;
	uint32_t n_expert;
	uint32_t n_expert_used;
	uint32_t n_ff_exp;
	uint32_t n_latent;
	uint32_t n_ff_shexp;
	struct pst_router_hp router;
	enum pst_glu glu;
	float situ_beta;
	float situ_linear_beta;
	struct pst_mla_hp mla;
	struct pst_delta_hp delta;
	struct pst_runs_hp runs;
	struct pst_packed_hp packed;
	struct pst_streams_hp streams;
	uint32_t sum_blocks;
	struct pst_layer_hp layer[PST_MAX_LAYERS];
};

/** pst_expert_width() - numbers that a routed expert reads and gives */
static inline uint32_t pst_expert_width(const struct pst_hparams *hp)
{
	return hp->n_latent ? hp->n_latent : hp->n_embd;
}

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
 * struct pst_norm - the weights of a norm of the residual stream
 * @w: [n_embd], NULL where there is no norm
 * @b: [n_embd], added after that, or NULL
 */
struct pst_norm {
	const float *w;
	const float *b;
};

/**
 * struct pst_gqa - the weights of grouped-query attention
 * @wv: n_out is 0 where the values are the keys before their norm; so is that
 *	of @wk where another block's keys and values are read
 * @q_norm, @k_norm: [hd_k], or the whole projection; NULL when not there
 * @sinks: [n_head] logits that only weigh in the softmax's sum, or NULL
 * @ix_q, @ix_k: queries and the key of the heads that choose runs
 * @ix_q_norm, @ix_k_norm: [runs.hd], norms of each of these
 */
struct pst_gqa {
	struct pst_weight wq, wk, wv, wo;
	const float *q_norm;
	const float *k_norm;
	const float *sinks;
	struct pst_weight ix_q, ix_k;
	const float *ix_q_norm;
	const float *ix_k_norm;
};

/**
 * struct pst_mla - the weights of multi-head latent attention
 * @wq_a, @q_norm: to the compressed query, or nothing
 * @wq: from that, or from the input, to all heads
 * @wkv_a, @kv_norm: to what is remembered
 * @wk_b: of each head, kv_rank rows of hd_nope: the unpacking of its keys,
 *	turned around
 * @wv_b: of each head, hd_v rows of kv_rank
 * @wkv_b: or both in one: of each head, hd_nope + hd_v rows of kv_rank
 * @gate: from the input to a gate whose sigmoid multiplies the heads' output,
 *	or nothing
 * @ix_q, @ix_k, @ix_w: the indexer's queries, keys, and weights of heads
 * @ix_norm: [index_hd], of its keys
 */
struct pst_mla {
	struct pst_weight wq_a, wq, wkv_a, wk_b, wv_b, wkv_b, gate, wo;
	const float *q_norm;
	const float *kv_norm;
	struct pst_weight ix_q, ix_k, ix_w;
	struct pst_norm ix_norm;
};

/**
 * struct pst_delta - the weights of a recurrent block
 * @wq, @wk, @wv: to queries, keys and values before the convolution
 * @w_in: or to all of them and the gate, by key heads: of each its query, its
 *	key, its values, their gates
 * @wz_a, @wz: to the gate of the output, through @wz_a where it has rows
 * @wa_a, @wa: likewise to the decay
 * @wb: to beta; or, without @wa, by key heads: beta of each of its value heads,
 *	then their decay
 * @conv: [channels][taps] of queries, keys and values; or the first is of all
 * @a: [n_v] multiplies the decay's logarithm
 * @dt: [n_v] or, by channel, [n_v][hd_k], added before
 * @norm: [hd_v], of each head's output
 */
struct pst_delta {
	struct pst_weight wq, wk, wv, w_in, wz_a, wz, wa_a, wa, wb, wo;
	const float *conv[3];
	const float *a;
	const float *dt;
	const float *norm;
};

/**
 * struct pst_pack - what makes one row of several
 * @kv: a position's part of the row, @gate: how much it weighs, by channel
 * @place: added to that, by its place in the run
 * @norm: of the row
 */
struct pst_pack {
	struct pst_weight kv, gate, place;
	const float *norm;
};

/**
 * struct pst_packed - the weights of attention to a window and packed rows
 * @wq_a, @q_norm: to the compressed query; @wq: from that to all heads
 * @wkv, @kv_norm: to the one key of all heads, which is the value as well
 * @wo_a: for each group of heads, out_rank rows; @wo_b: from all these
 * @sinks: [n_head] logits that only weigh in the softmax's sum
 * @pack: where rows are packed
 * @ix_q, @ix_w, @ix_pack: queries, weights and packed keys of the heads that
 *	choose
 */
struct pst_packed {
	struct pst_weight wq_a, wq, wkv, wo_a, wo_b;
	const float *q_norm;
	const float *kv_norm;
	const float *sinks;
	struct pst_pack pack;
	struct pst_weight ix_q, ix_w;
	struct pst_pack ix_pack;
};

/**
 * struct pst_moe - the weights of a block with experts that every token needs
 * @router: {n_embd, n_expert}
 * @choice_bias: [n_expert], added for the choice only, or NULL
 * @by_token: [n_vocab][n_expert_used] experts of each token, int32_t and each
 *	below n_expert, aligned to nothing; or NULL
 * @sh_gate, @sh_up, @sh_down: the shared expert; n_out is 0 without one
 * @sh_router: [n_embd]: sigmoid(sh_router . x) multiplies it, or NULL
 * @router_norm, @expert_norm: [n_embd], norms of what the router and the experts
 *	read, in place of the block's own; NULL for that
 * @sh_post_norm, @expert_post_norm: [n_embd], norms of what the shared expert
 *	and the experts together give, or NULL
 * @narrow, @widen: to what experts of another width read, and back from what
 *	they give together; n_out is 0 without
 * @latent_norm: [n_latent], in between, or NULL
 * @fused_gate_up: an expert's part 0 holds gate rows, then up rows
 */
struct pst_moe {
	struct pst_weight router;
	const float *choice_bias;
	const uint8_t *by_token;
	struct pst_weight sh_gate, sh_up, sh_down;
	const float *sh_router;
	const float *router_norm;
	const float *expert_norm;
	const float *sh_post_norm;
	const float *expert_post_norm;
	struct pst_weight narrow, widen;
	const float *latent_norm;
	bool fused_gate_up;
};

/**
 * struct pst_mix - how a half reads parallel residual streams and adds to them
 * @fn: from all streams of a token to the weights, before @scale and @base
 * @base: [outputs of @fn]
 * @scale: of the weights that are read with, then of those that are added
 *	with, then of those that mix; of what the output reads only the first
 */
struct pst_mix {
	struct pst_weight fn;
	const float *base;
	const float *scale;
};

/**
 * struct pst_layer - one block: what its mixer and its ffn bound
 * @attn_norm, @ffn_norm: before the two halves
 * @attn_post_norm, @ffn_post_norm: after them, before the sum
 * @in_gate, @in_proj, @in_post_norm: the way in for what the token gives to the
 *	block by itself; see token_input.c
 * @out_scale: [1] multiplies the residual stream after the block, or NULL
 * @mix: of the two halves, where there are parallel streams
 * @sum_score: [n_embd] of the two halves, where these attend to earlier sums
 * @gate, @up, @down: the dense block's matrices, or the shape of one expert's
 *	(data stays NULL: it comes from the store; scale is [n_expert] and bias
 *	[n_expert][n_out] then)
 * @mats: [nr_mats] the matrices that every token passes, experts left out
 */
struct pst_layer {
	struct pst_norm attn_norm;
	struct pst_norm attn_post_norm;
	struct pst_norm ffn_norm;
	struct pst_norm ffn_post_norm;
	const float *out_scale;
	struct pst_mix mix[2];
	const float *sum_score[2];
	union {
		struct pst_mla mla;
		struct pst_gqa gqa;
		struct pst_delta delta;
		struct pst_packed packed;
	};
	struct pst_weight gate, up, down;
	struct pst_weight in_gate, in_proj;
	const float *in_post_norm;
	struct pst_moe moe;
	const struct pst_weight *mats[PST_MAX_MATS];
	uint32_t nr_mats;
};

/* A pointer that is filled in when the trunk has been loaded. */
struct pst_trunk_ref {
	const struct pst_gguf_tensor *t;
	bool ids; /* experts, see pst_bind_ids() */
	const struct pst_weight *table; /* see pst_bind_table(), or NULL */
	bool left; /* on the drive, see pst_model_leave_tables() */
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
 * struct pst_table - a matrix that stays on the drive
 * @t: where it lies
 * @w: its shape; data stays NULL
 */
struct pst_table {
	const struct pst_gguf_tensor *t;
	const struct pst_weight *w;
};

/**
 * struct pst_model - a bound model
 * @tables: [nr_tables], of which rows are read when a token asks for them;
 *	@table_bytes: theirs in the files
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
	struct pst_weight token_types, position_embd; /* data NULL: none */
	struct pst_norm embd_norm;
	struct pst_weight output; /* data NULL in an encoder */
	struct pst_norm output_norm;
	struct pst_mix output_mix; /* where there are parallel streams */
	const float *output_sum_score; /* [n_embd] or NULL */
	/* Of what a token gives to each block: rows of all blocks. */
	struct pst_weight block_embd, block_proj;
	const float *block_proj_norm;
	const float *rope_freqs[PST_ROPES]; /* [n_rot / 2] or NULL */
	/* For contexts longer than the one trained on, or NULL for the same. */
	const float *rope_freqs_long[PST_ROPES];
	uint32_t widest; /* longest row of any matrix, in weights */

	struct pst_trunk_ref *refs;
	uint32_t nr_refs, cap_refs;
	struct pst_trunk_extent *extents;
	uint32_t nr_extents;
	uint64_t trunk_bytes;
	struct pst_table tables[PST_MAX_TABLES];
	uint32_t nr_tables;
	uint64_t table_bytes;
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
 * -ENOTSUP (an unknown architecture, a tensor type without a kernel), -ENOMEM.
 */
int pst_model_create(const struct pst_gguf *g, const struct pst_kernels *k,
		     struct pst_model **out, struct pst_diag *diag);
void pst_model_destroy(struct pst_model *m);

/* Smaller tables are not worth the memory of the rows that are at hand. */
#define PST_TABLE_MIN_BYTES (16 * PST_MIB)

/**
 * pst_model_leave_tables() - which tables stay on the drive
 * @min_bytes: those that are so long, and of which nothing but rows is needed;
 *	UINT64_MAX: none.  PST_TABLE_MIN_BYTES at creation
 *
 * Before the trunk is loaded.  Return: 0 or -ENOMEM.
 */
int pst_model_leave_tables(struct pst_model *m, uint64_t min_bytes,
			   struct pst_diag *diag);

/** pst_model_row_bytes() - a token's rows of all tables on the drive */
uint64_t pst_model_row_bytes(const struct pst_model *m);

/**
 * struct pst_trunk_args - how to load the trunk
 * @io: with the model's files added in order
 * @use_map: point into the mapping instead of reading (the mmap baseline); what
 *	would stay on the drive as well
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
