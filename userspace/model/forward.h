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

/* How numbers of the cache are kept.  Q8_0 is the format of that name: 32
 * numbers share a scale.
 */
enum pst_kv_type {
	PST_KV_F16,
	PST_KV_F32,
	PST_KV_Q8_0
};

/* Streams of what a block remembers; attention uses the first two, an indexer
 * the third; the fourth holds rows that stand for several positions.
 */
#define PST_KV_K       0
#define PST_KV_V       1
#define PST_KV_INDEX   2
#define PST_KV_PACKED  3
#define PST_KV_STREAMS 4

/* Copies of what a block remembers of the whole sequence: what the last pass
 * left, what the next one leaves, and one that can be come back to.
 */
#define PST_KV_COPIES 3

/**
 * struct pst_kv_shape - what one block remembers
 * @heads, @width: of each position: @heads rows of @width numbers in a stream;
 *	0 for none
 * @step: positions that share a row; 0 or 1: each has its own.  A row stands for
 *	whole runs of so many positions, from the first position on, and is kept
 *	whatever the window
 * @most: rows that a token reads at most, 0 for all that are there
 * @window: positions that are looked back at, the newest included; 0 for all
 * @state: floats of the whole sequence, whatever its length; 0 for none
 */
struct pst_kv_shape {
	uint32_t heads[PST_KV_STREAMS];
	uint32_t width[PST_KV_STREAMS];
	uint32_t step[PST_KV_STREAMS];
	uint32_t most[PST_KV_STREAMS];
	uint32_t window;
	uint32_t state;
};

/**
 * struct pst_kv_layer - where a block's memory lies
 * @off_bytes: of a stream: [heads][rows][width]; rows are cap, or n_ctx / step
 * @state_off_bytes: [PST_KV_COPIES][state], each copy aligned to 64
 * @cap: positions that fit
 * @base: the first position that is held; more than 0 with a window only
 */
struct pst_kv_layer {
	struct pst_kv_shape shape;
	uint64_t off_bytes[PST_KV_STREAMS];
	uint64_t state_off_bytes;
	uint32_t cap;
	uint32_t base;
};

/**
 * struct pst_kv - what all blocks remember of one sequence
 * @layers: [nr_layers]
 * @n_ctx: positions that fit
 * @n_used: positions that hold a token; lowered by pst_kv_truncate() only
 * @has_state: some block remembers more than positions
 * @copy_pos: tokens that each copy of the state has seen, PST_KV_NOTHING for
 *	a copy that holds none
 * @now, @next: the copy that a pass starts from, and the one that it leaves
 * @kept: the one that passes spare; @now when there is none
 * @keep: tokens of this pass after which the state goes to @middle as well, 0
 *	for none
 */
struct pst_kv {
	struct pst_mem mem;
	enum pst_kv_type type;
	struct pst_kv_layer *layers;
	uint32_t nr_layers;
	uint32_t n_ctx;
	uint32_t n_used;
	bool has_state;
	uint32_t copy_pos[PST_KV_COPIES];
	uint32_t now, next, middle, kept;
	uint32_t keep;
};

#define PST_KV_NOTHING UINT32_MAX

/**
 * struct pst_kv_args - what to reserve
 * @type: one that pst_kv_check() does not refuse
 * @n_ctx: positions
 * @n_batch: tokens per pass at most, as in struct pst_fwd_args
 * @huge: page kind
 * @node: NUMA node, -1 for the kernel's choice
 */
struct pst_kv_args {
	enum pst_kv_type type;
	uint32_t n_ctx;
	uint32_t n_batch;
	enum pst_mem_want huge;
	int node;
};

/**
 * pst_kv_stream_type() - what a stream of a cache of @type is kept in
 *
 * Keys that only choose are few and their order counts: F16 at the least.
 */
static inline enum pst_kv_type pst_kv_stream_type(enum pst_kv_type type,
						  uint32_t stream)
{
	return type == PST_KV_Q8_0 && stream == PST_KV_INDEX ? PST_KV_F16
							     : type;
}

/** pst_kv_row_bytes() - of a row of @width numbers of a stream */
size_t pst_kv_row_bytes(enum pst_kv_type type, uint32_t stream, uint32_t width);

/**
 * pst_kv_check() - can this model's rows be kept in that type?
 *
 * Return: 0; -EINVAL for Q8_0 where a row is no multiple of 32 numbers.
 */
int pst_kv_check(const struct pst_hparams *hp, enum pst_kv_type type,
		 struct pst_diag *diag);

/** pst_kv_bytes() - memory of a cache, UINT64_MAX when it overflows */
uint64_t pst_kv_bytes(const struct pst_hparams *hp,
		      const struct pst_kv_args *args);

/**
 * pst_kv_read_bytes() - what a token after @depth others reads in a block
 *
 * A state is read and written: it counts twice.
 */
uint64_t pst_kv_read_bytes(const struct pst_hparams *hp, enum pst_kv_type type,
			   uint32_t layer, uint32_t depth);

/**
 * pst_kv_read_macs() - the products of that token's heads with it
 *
 * A row that is both key and value counts once; states and what happens to them
 * count nothing.
 */
uint64_t pst_kv_read_macs(const struct pst_hparams *hp, uint32_t layer,
			  uint32_t depth);

/**
 * pst_kv_position_bytes() - what a block remembers of a position
 *
 * Of a row that stands for several its share; a state is of none of them.
 */
uint64_t pst_kv_position_bytes(const struct pst_hparams *hp,
			       enum pst_kv_type type, uint32_t layer);

/** pst_kv_init() - reserve; pst_kv_fini().  Return: 0, -ENOMEM, -EINVAL */
int pst_kv_init(struct pst_kv *kv, const struct pst_hparams *hp,
		const struct pst_kv_args *args, struct pst_diag *diag);
void pst_kv_fini(struct pst_kv *kv);

/**
 * pst_kv_truncate() - forget the tokens from position @n on
 *
 * A block with a window forgets old positions, and a state cannot be taken
 * back: it is there after the last pass, before it, and where it was kept.
 * What is left is the longest beginning, of at most @n tokens, that all blocks
 * still know; that may be nothing.  Return: its length.
 */
uint32_t pst_kv_truncate(struct pst_kv *kv, uint32_t n);

/** pst_kv_keep() - spare the present state until another one is kept */
void pst_kv_keep(struct pst_kv *kv);

/**
 * pst_kv_begin() - a pass of @n tokens begins
 * @keep: the state after so many of them, 1..n, is kept; 0: as it was
 *
 * Makes room: window blocks move what they still need to the front.  Nothing
 * is changed for good before pst_kv_commit(): a pass that fails is forgotten
 * by not calling it, but for a state that was kept, if another was to be.
 */
void pst_kv_begin(struct pst_kv *kv, uint32_t n, uint32_t keep);

/** pst_kv_commit() - the @n tokens of the pass are held */
void pst_kv_commit(struct pst_kv *kv, uint32_t n);

/**
 * pst_kv_at() - first byte of a head's row; @pos is held or has room
 *
 * Where positions share rows @pos is one of the row's.
 */
uint8_t *pst_kv_at(const struct pst_kv *kv, uint32_t layer, uint32_t stream,
		   uint32_t head, uint32_t pos);

/* Copies of the state during a pass. */
enum pst_kv_copy {
	PST_KV_BEFORE, /* where it starts; not to be written */
	PST_KV_AFTER, /* where it ends; holds anything */
	PST_KV_MIDDLE /* after kv->keep of its tokens; holds anything */
};

/**
 * pst_kv_state() - a block's state, [shape.state] floats aligned to 64
 *
 * Return: NULL for PST_KV_MIDDLE when kv->keep is 0.
 */
float *pst_kv_state(const struct pst_kv *kv, uint32_t layer,
		    enum pst_kv_copy copy);

struct pst_fwd;
struct pst_observer;

/* To what activations are rounded for products with quantised weights: to 8
 * bits, or what that leaves to 8 bits once more.
 */
enum pst_activations {
	PST_ACT_Q8,
	PST_ACT_Q16
};

/* Latent attention over the compressed rows as they are, or for chunks of a
 * prompt over keys and values that are made of them.  The second gives other
 * bits, which depend on how the prompt is cut into chunks.
 */
enum pst_mla_form {
	PST_MLA_ABSORBED,
	PST_MLA_DECOMPRESSED
};

/** pst_mla_check() - Return: 0; -EINVAL where the form means nothing */
int pst_mla_check(const struct pst_model *m, enum pst_mla_form form,
		  struct pst_diag *diag);

/**
 * struct pst_fwd_args - what a forward pass works with; all must outlive it
 * @n_batch: tokens per pass at most, >= 1
 * @n_ctx: positions of the longest sequence
 * @activations: rounding of what is multiplied
 * @mla: one that pst_mla_check() does not refuse
 * @node: NUMA node of the scratch memory, -1 for the kernel's choice
 * @io: with the model's files added in order; needed where the model has tables
 * @nr_rows: rows of a table that are at hand at least, 0 for the default (tests)
 * @observer: <penstock/observe.h>, NULL for none
 */
struct pst_fwd_args {
	const struct pst_model *model;
	const struct pst_kernels *kernels;
	struct pst_pool *pool;
	uint32_t n_batch;
	uint32_t n_ctx;
	enum pst_activations activations;
	enum pst_mla_form mla;
	enum pst_mem_want huge;
	int node;
	struct pst_io *io;
	uint32_t nr_rows;
	const struct pst_observer *observer;
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
 * @keep: the state after so many of the tokens can be come back to, see
 *	pst_kv_begin(); 0: no such wish
 * @predict_ahead: blocks whose experts are guessed and read ahead, 0 for none
 * @predict_known: experts that follow from the tokens alone are read ahead
 * @predict_whole: the guess is all of a block's experts
 * @states: not logits are given but the states that they would be made of, as
 *	an encoder always does
 * @logits: called for each of those, in order, with [n_vocab] floats ([n_embd]
 *	of states) that are valid during the call; non-zero stops the pass with
 *	that value
 * @progress: layers done and all, called after each layer, may be NULL
 * @stop: asked after each layer, may be NULL; true ends the pass with
 *	-ECANCELED
 * @ctx: handed to both
 */
struct pst_fwd_pass {
	struct pst_kv *kv;
	const int32_t *tokens;
	uint32_t n;
	uint32_t first_logits;
	bool states;
	uint32_t keep;
	uint32_t predict_ahead;
	bool predict_known;
	bool predict_whole;
	int (*logits)(void *ctx, uint32_t token, const float *logits);
	void (*progress)(void *ctx, uint32_t done, uint32_t all);
	bool (*stop)(void *ctx);
	void *ctx;
};

/**
 * pst_fwd_run() - compute a batch
 *
 * Return: 0; the error of a read, of an expert or of a token's row (the
 * sequence is then as before the call); what the logits callback gave.
 */
int pst_fwd_run(struct pst_fwd *f, const struct pst_fwd_pass *pass,
		struct pst_diag *diag);

/**
 * struct pst_pace - how fast a batch is computed
 * @token_s: a token in all blocks, what it looks back at aside; 0 for unknown
 * @kv_byte_s: each byte of pst_kv_read_bytes() beside that
 */
struct pst_pace {
	double token_s;
	double kv_byte_s;
};

/**
 * pst_fwd_try() - measure on one block of each kind
 * @kv: an empty sequence, which it is again afterwards; of one that holds
 *	tokens nothing is learned
 * @nr: tokens that the measure is for, > 0
 * @rows: of them, those that take the same expert
 *
 * In scratch memory; experts are stood in for by other weights.  Takes some
 * milliseconds for a large model.
 */
void pst_fwd_try(struct pst_fwd *f, struct pst_kv *kv, uint32_t nr,
		 uint32_t rows, struct pst_pace *out);

/**
 * struct pst_row_stats - rows of tables that stay on the drive, since creation
 * @wanted: by tokens, a row of each table counted; @read: of these, not at hand
 * @wait_ns: time in which the passes waited for them
 */
struct pst_row_stats {
	uint64_t wanted;
	uint64_t read;
	uint64_t wait_ns;
};

void pst_fwd_row_stats(const struct pst_fwd *f, struct pst_row_stats *out);

/** pst_model_macs() - multiplications of a token in all layers */
double pst_model_macs(const struct pst_model *m);

/**
 * struct pst_predict_stats - how good the guesses for one block were
 * @said: experts guessed: as many as a token takes, each time
 * @right: of these, chosen
 * @wanted: experts chosen, whenever something had been guessed
 * @trusted: experts that were worth a read by their chance, further ranks
 *	included, whether they were in memory or not
 * @trusted_right: of these, chosen
 */
struct pst_predict_stats {
	uint64_t said;
	uint64_t right;
	uint64_t wanted;
	uint64_t trusted;
	uint64_t trusted_right;
};

/** pst_fwd_predict_stats() - of decode, since creation */
void pst_fwd_predict_stats(const struct pst_fwd *f, uint32_t layer,
			   struct pst_predict_stats *out);

#endif
