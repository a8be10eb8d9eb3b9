/* SPDX-License-Identifier: MIT */
/*
 * penstock's engine: a model that is open, and sessions that compute with it.
 *
 * An engine belongs to the thread that opened it; so do its sessions.  All
 * memory is reserved while it opens and stays below the ceiling that was
 * given; after that nothing is allocated on the way of a token.
 */
#ifndef PENSTOCK_ENGINE_H
#define PENSTOCK_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct pst_diag;
struct pst_log;
struct pst_gguf;
struct pst_gguf_tensor;
struct pst_vocab;
struct pst_engine;
struct pst_session;
struct pst_observer;

/* Reads in flight in decode by default: beyond it a single drive gets no faster, and some
 * get slower (Documentation/bench/iobench.rst).
 */
#define PST_ENGINE_QUEUE_DEPTH 16

enum pst_engine_io {
	PST_ENGINE_IO_AUTO, /* io_uring, else pread, said in the log */
	PST_ENGINE_IO_URING, /* io_uring or fail */
	PST_ENGINE_IO_PREAD, /* threads with pread */
	PST_ENGINE_IO_MMAP /* page faults on the mapping: the baseline */
};

enum pst_tristate {
	PST_AUTO,
	PST_ON,
	PST_OFF
};

/* In what unit the expert cache was given. */
enum pst_cache_unit {
	PST_CACHE_AUTO, /* what the memory ceiling leaves */
	PST_CACHE_BYTES,
	PST_CACHE_PERCENT, /* of all experts */
	PST_CACHE_EXPERTS
};

/* Page size of big regions. */
enum pst_engine_huge {
	PST_HUGE_AUTO,
	PST_HUGE_1G,
	PST_HUGE_2M,
	PST_HUGE_THP,
	PST_HUGE_OFF
};

/* How io_uring hears of work and of its end.  Which is fastest is a matter of
 * the drive and the processor: pst_drive_choose_mode().
 */
enum pst_engine_io_mode {
	PST_ENGINE_MODE_AUTO, /* nothing was found: as IRQ */
	PST_ENGINE_MODE_IRQ, /* a system call hands over, interrupts end */
	PST_ENGINE_MODE_SQPOLL, /* a thread of the kernel looks for reads */
	PST_ENGINE_MODE_IOPOLL, /* the drive is asked; it needs poll queues */
	PST_ENGINE_NR_MODES
};

/** pst_engine_mode_name() - "auto", "irq", "sqpoll", "iopoll" */
const char *pst_engine_mode_name(enum pst_engine_io_mode mode);

/* Where the memory of the expert cache comes from. */
enum pst_engine_pool {
	PST_POOL_AUTO, /* anonymous memory; with a name the kernel module */
	PST_POOL_ANON,
	PST_POOL_UDMABUF, /* memfds, which /dev/udmabuf can export */
	PST_POOL_KMOD /* the kernel module */
};

/* How keys and values are kept. */
enum pst_engine_kv {
	PST_ENGINE_KV_F32,
	PST_ENGINE_KV_F16, /* half of that */
	PST_ENGINE_KV_Q8_0 /* 17/64; rows of multiples of 32 numbers only */
};

/* To what activations are rounded for products with quantised weights. */
enum pst_engine_act {
	PST_ENGINE_ACT_Q8, /* 8 bits in blocks of 32 */
	PST_ENGINE_ACT_Q16 /* and what that leaves to 8 bits more */
};

/* Latent attention in chunks of a prompt. */
enum pst_engine_mla {
	PST_ENGINE_MLA_ABSORBED, /* as in decode, bit for bit */
	PST_ENGINE_MLA_DECOMPRESSED /* where that is less work */
};

/* Reading experts before they are wanted. */
enum pst_prefetch {
	PST_PREFETCH_AUTO, /* the next block's, while that makes it faster */
	PST_PREFETCH_OFF,
	PST_PREFETCH_NEXT, /* the next block's, always */
	PST_PREFETCH_NEXT2 /* those of the next two blocks, always */
};

/* What is read ahead in a prompt. */
enum pst_prefill_way {
	PST_PREFILL_AUTO, /* whole blocks where the last chunk wanted nearly all */
	PST_PREFILL_UNION, /* what the next router would take for the chunk */
	PST_PREFILL_WHOLE /* all experts of the next block, in file order */
};

/* On which NUMA node weights, keys and values lie. */
enum pst_numa {
	PST_NUMA_AUTO, /* the drive's node, if there are several and it fits */
	PST_NUMA_OFF, /* where the kernel puts them */
	PST_NUMA_NODE /* on numa_node or fail */
};

/* Copies beside the model itself. */
#define PST_ENGINE_MIRRORS_MAX 7

/**
 * struct pst_engine_opts - how to open; zero means the default throughout
 * @ram_bytes: ceiling of everything this process holds; 0: from the cgroup's
 *	limit and MemAvailable, less a reserve
 * @cache_unit: unit of @cache_value
 * @cache_value: size of the expert cache
 * @extra_bytes: what the caller will allocate besides; counted against the
 *	ceiling
 * @ctx_size: tokens of a session; 0: the model's, at most 4096
 * @threads: workers; 0: one per physical core
 * @batch_size: tokens per prefill chunk; 0: up to 512, as memory allows, or
 *	more where that saves passes over the experts for @prompt_tokens
 * @prompt_tokens: how long the first prompt will be, about; 0: unknown
 * @drive_bps: the drive's measured bandwidth, 0 when it is not known; for the
 *	choice of a batch and, of a small model, the expected time of a prompt
 * @drive_read_ns: its measured time for each read beside the bytes, for both
 * @queue_depth: reads in flight; 0: PST_ENGINE_QUEUE_DEPTH in
 *	decode, more in prefill
 * @split_bytes: longer reads are split, a multiple of 4 KiB; 0: 1 MiB
 * @io: backend; @direct: O_DIRECT
 * @io_mode: of io_uring; where it is refused interrupts serve, which the log
 *	says
 * @resident: load every expert and every table at open, stream nothing
 * @no_pin: do not pin worker threads to cores
 * @kv_type: how keys and values are kept: with less memory than the default,
 *	and a rounding that it does not have
 * @activations: how finely activations are rounded; finer costs products
 * @mla: form of latent attention; decompressed, the bits depend on how a prompt
 *	is cut into chunks
 * @huge: page kind of trunk, KV and slots
 * @pool: where the slots' memory comes from; what is not there is an error
 * @pool_name: of a pool of the kernel module that outlives this process, for
 *	the next one to begin with; NULL for none
 * @numa: placement; @numa_node: for PST_NUMA_NODE
 * @cpu_mask: PST_CPU_* that kernels may use; @cpu_mask_set says it is given
 * @policy: name of the eviction policy, NULL for the default
 * @prefetch: which experts are read before they are wanted
 * @prefill: of a prompt, which of these; to be measured
 * @mirrors: [nr_mirrors] copies of the model, on other drives: a file, the first
 *	part of a split model, or a directory with files of the same names, of
 *	a split model also with some of them only
 * @no_governor: keep the expert cache's size, whatever happens to memory
 * @warm_dir: state directory from which the expert cache is filled at the
 *	opening and to which it is noted at the close; NULL for neither
 * @fault: fault injection text for tests, NULL for none
 * @header_only: of pst_plan_make(): the files may end behind their headers
 * @states_do: a model that gives states and no logits may be opened too
 * @observer: hooks (<penstock/observe.h>), NULL for none
 * @log: notices, may be NULL
 * @progress: stage name, done and all (bytes or experts); may be NULL
 */
struct pst_engine_opts {
	uint64_t ram_bytes;
	enum pst_cache_unit cache_unit;
	uint64_t cache_value;
	uint64_t extra_bytes;
	uint32_t ctx_size;
	uint32_t threads;
	uint32_t batch_size;
	uint32_t prompt_tokens;
	uint64_t drive_bps;
	uint64_t drive_read_ns;
	uint32_t queue_depth;
	uint32_t split_bytes;
	enum pst_engine_io io;
	enum pst_engine_io_mode io_mode;
	enum pst_tristate direct;
	bool header_only;
	bool states_do;
	bool resident;
	bool no_pin;
	enum pst_engine_kv kv_type;
	enum pst_engine_act activations;
	enum pst_engine_mla mla;
	enum pst_engine_huge huge;
	enum pst_engine_pool pool;
	const char *pool_name;
	enum pst_numa numa;
	uint32_t numa_node;
	bool cpu_mask_set;
	uint32_t cpu_mask;
	const char *policy;
	enum pst_prefetch prefetch;
	enum pst_prefill_way prefill;
	const char *mirrors[PST_ENGINE_MIRRORS_MAX];
	uint32_t nr_mirrors;
	bool no_governor;
	const char *warm_dir;
	const char *fault;
	const struct pst_observer *observer;
	const struct pst_log *log;
	void (*progress)(void *ctx, const char *stage, uint64_t done,
			 uint64_t all);
	void *progress_ctx;
};

/**
 * struct pst_plan - where the memory goes, in bytes unless said otherwise
 * @ram: the ceiling
 * @process: code, tables, vocabulary, thread stacks
 * @trunk: what every token needs
 * @kv: keys and values of @ctx_size tokens
 * @scratch: buffers of a batch of @batch_size tokens
 * @slot: one expert in memory, block slack included
 * @cache: the expert cache: @nr_slots slots
 * @nr_experts: experts of the whole model (layers times experts)
 * @nr_used: experts that one token selects in one layer
 * @nr_token: experts that one token selects in all layers
 * @expert_file: all experts in the files
 * @table_file: tables that stay in the files, of which a token needs one row
 * @token_rows: its rows
 * @model_file: all files
 */
struct pst_plan {
	uint64_t ram;
	uint64_t process;
	uint64_t trunk;
	uint64_t kv;
	uint64_t scratch;
	uint64_t slot;
	uint64_t cache;
	uint32_t nr_slots;
	uint32_t nr_experts;
	uint32_t nr_used;
	uint32_t nr_token;
	uint32_t ctx_size;
	uint32_t batch_size;
	uint32_t threads;
	uint64_t expert_file;
	uint64_t table_file;
	uint64_t token_rows;
	uint64_t model_file;
};

/**
 * struct pst_counters - what an engine has done since it opened
 * @hits, @misses: wanted experts that were (not) in memory or on their way
 * @distinct: different experts that were wanted
 * @prefetch_reads: experts that were read before they were wanted; of these
 *	@prefetch_used were wanted, @prefetch_late of them while they were still
 *	on their way; @prefetch_wasted were dropped unused and
 *	@prefetch_withdrawn taken back half-way
 * @predict_said, @predict_right: guesses of the next block's experts in decode,
 *	as many as a token takes, and how many of them were chosen
 * @prefetch_on: reading ahead is in use at present
 * @read_bytes: by streaming, the load excluded
 * @reads: of those bytes
 * @rows: rows of tables that tokens needed, @rows_read: of these, not at hand
 * @wait_ns: time in which nothing could be computed for want of a read
 * @io_busy_ns: time in which at least one read was outstanding
 * @warm_reads: experts that were read because an earlier run held them
 * @begun_early: experts whose gate and up were multiplied while down was read
 * @kept: experts that the last process left in the named pool; @kept_dropped
 *	were there, but not whole
 * @nr_slots: experts that fit in memory at present
 * @given_slots, @taken_slots: how many fewer or more that became in mid-run
 *	because memory was short or free again, added up
 * @memory_warnings: warnings about memory in mid-run
 * @peak_bytes: highest resident set of the process plus its hugetlb pages
 * @written_bytes: by this process to any storage
 */
struct pst_counters {
	uint64_t hits;
	uint64_t misses;
	uint64_t evictions;
	uint64_t distinct;
	uint64_t prefetch_reads;
	uint64_t prefetch_used;
	uint64_t prefetch_late;
	uint64_t prefetch_wasted;
	uint64_t prefetch_withdrawn;
	uint64_t predict_said;
	uint64_t predict_right;
	bool prefetch_on;
	uint64_t read_bytes;
	uint64_t reads;
	uint64_t rows;
	uint64_t rows_read;
	uint64_t wait_ns;
	uint64_t io_busy_ns;
	uint64_t warm_reads;
	uint64_t kept;
	uint64_t kept_dropped;
	uint64_t begun_early;
	uint32_t nr_slots;
	uint64_t given_slots;
	uint64_t taken_slots;
	uint32_t memory_warnings;
	uint64_t peak_bytes;
	uint64_t written_bytes;
};

/**
 * pst_engine_open() - open a model
 * @path: GGUF file, or part 1 of a split model
 * @opts: copied; strings and sinks must outlive the engine
 * @out: owned by the caller, pst_engine_close()
 * @diag: may be NULL
 *
 * Return: 0; -ENOENT, -EACCES; -EBADMSG for a malformed model; -ENOTSUP for
 * one that is not supported; -ENOMEM when it does not fit (the sum is spelled
 * out in @diag); -EIO and others for the drive; -EINVAL for options.
 */
int pst_engine_open(const char *path, const struct pst_engine_opts *opts,
		    struct pst_engine **out, struct pst_diag *diag);

/** pst_engine_close() - sessions have been destroyed before; NULL allowed */
void pst_engine_close(struct pst_engine *e);

/**
 * pst_plan_make() - what pst_engine_open() would do, without doing it
 *
 * Return: as pst_engine_open(); -ENOMEM when it does not fit, @out is then
 * filled all the same.
 */
int pst_plan_make(const char *path, const struct pst_engine_opts *opts,
		  struct pst_plan *out, struct pst_diag *diag);

/**
 * pst_engine_supports() - would this model run, given memory?
 * @g: an open model; its weights are not read
 * @diag: the first reason why not, may be NULL
 *
 * Return: 0; -EBADMSG, -ENOTSUP or -ENOMEM as pst_engine_open().
 */
int pst_engine_supports(const struct pst_gguf *g, struct pst_diag *diag);

/**
 * struct pst_geometry - what a model is made of, what a token of it costs
 * @mixers: how many blocks look at other tokens in which way
 * @layers: blocks that are executed; @moe_layers: of these, with experts;
 *	@window_layers: of these, that look back @window positions
 * @heads: of the first block
 * @expert_width, @shared_width: of an expert, of the one that all tokens take
 * @expert_bytes: all experts; @token_expert_bytes: those that a token takes
 * @resident_bytes: tensors that every token needs
 * @table_bytes: tables that stay on the drive, @token_row_bytes: a token's rows
 * @unused_bytes: tensors that are left out, prediction blocks for example
 * @kv_token_bytes: what a position adds to keys and values in F16, below all
 *	windows
 */
struct pst_geometry {
	char mixers[160];
	uint32_t layers;
	uint32_t moe_layers;
	uint32_t window_layers;
	uint32_t window;
	uint32_t width;
	uint32_t heads;
	uint32_t experts;
	uint32_t experts_used;
	uint32_t expert_width;
	uint32_t shared_width;
	uint64_t expert_bytes;
	uint64_t token_expert_bytes;
	uint64_t resident_bytes;
	uint64_t table_bytes;
	uint64_t token_row_bytes;
	uint64_t unused_bytes;
	uint64_t kv_token_bytes;
};

/** pst_engine_geometry() - by the header alone; as pst_engine_supports() */
int pst_engine_geometry(const struct pst_gguf *g, struct pst_geometry *out,
			struct pst_diag *diag);

/** pst_cpu_mask() - PST_CPU_* of what this CPU has */
uint32_t pst_cpu_mask(void);

/**
 * pst_cpu_kernels_name() - the instruction set that kernels get
 * @cpu_mask: PST_CPU_* that they may use, of those that this CPU has
 */
const char *pst_cpu_kernels_name(uint32_t cpu_mask);

/**
 * pst_cpu_config_name() - the row of the kernels' configurations that the
 *	running CPU has: "zen5", "default", ...
 */
const char *pst_cpu_config_name(void);

/**
 * struct pst_tensor_sink - takes the values of a tensor in order
 * @put: [n] values, valid during the call; non-zero stops with that value
 */
struct pst_tensor_sink {
	int (*put)(void *ctx, const float *values, uint32_t n);
	void *ctx;
};

/**
 * pst_tensor_dequant() - all values of one tensor, in bounded memory
 * @t: a tensor of @g
 * @sink: NULL only asks whether the type has values
 *
 * Blocks on the drive.  Return: 0; -ENOTSUP for a type that has no float
 * value here, named in @diag; -ENOMEM; what the sink returned.
 */
int pst_tensor_dequant(const struct pst_gguf *g,
		       const struct pst_gguf_tensor *t,
		       const struct pst_tensor_sink *sink,
		       struct pst_diag *diag);

const struct pst_plan *pst_engine_plan(const struct pst_engine *e);
const struct pst_vocab *pst_engine_vocab(const struct pst_engine *e);
const struct pst_gguf *pst_engine_gguf(const struct pst_engine *e);
uint32_t pst_engine_nr_vocab(const struct pst_engine *e);

/** pst_engine_is_encoder() - does it give states and no logits? */
bool pst_engine_is_encoder(const struct pst_engine *e);

/** pst_engine_nr_out() - numbers of a row: of states, or of logits */
uint32_t pst_engine_nr_out(const struct pst_engine *e, bool states);

/* How the states of a text become one vector. */
enum pst_states {
	PST_STATES_MODEL, /* as the file says */
	PST_STATES_MEAN,
	PST_STATES_FIRST, /* of the token that stands for the whole text */
	PST_STATES_LAST
};

/** pst_engine_pooling() - what PST_STATES_MODEL means; itself where nothing */
enum pst_states pst_engine_pooling(const struct pst_engine *e);

/**
 * pst_session_embed() - a whole text to one vector, not normalised
 * @out: [pst_engine_nr_out()] of states
 *
 * Forgets the sequence before and after.  Return: as pst_session_eval();
 * -ENOTSUP where PST_STATES_MODEL means nothing; -ENOMEM.
 */
int pst_session_embed(struct pst_session *s, const int32_t *tokens, uint32_t nr,
		      enum pst_states how, float *out, struct pst_diag *diag);
void pst_engine_counters(const struct pst_engine *e, struct pst_counters *out);

/** pst_engine_io_name() - how reads are made, in words */
const char *pst_engine_io_name(const struct pst_engine *e);

/** pst_engine_mem_name() - what the expert slots are made of, in words */
const char *pst_engine_mem_name(const struct pst_engine *e);

/** pst_engine_kernels_name() - the instruction set in use */
const char *pst_engine_kernels_name(const struct pst_engine *e);

/** pst_engine_activations_name() - "q8" or "q16" */
const char *pst_engine_activations_name(const struct pst_engine *e);

/** pst_engine_mla_name() - "absorbed" or "decompressed" */
const char *pst_engine_mla_name(const struct pst_engine *e);

/**
 * pst_session_create() - a sequence of tokens with its keys and values
 *
 * The engine reserves memory for one session.  Return: 0, -EBUSY, -ENOMEM.
 */
int pst_session_create(struct pst_engine *e, struct pst_session **out);
void pst_session_destroy(struct pst_session *s);

/** pst_session_nr_tokens() - tokens that the sequence holds */
uint32_t pst_session_nr_tokens(const struct pst_session *s);

/**
 * pst_session_truncate() - forget all tokens from position @n on
 *
 * A model with sliding windows has forgotten old positions, and one with a
 * recurrent state can be taken back to a few places only: before the last
 * evaluation, and to 16 tokens before the end of the last evaluation of more
 * than one token.  Of the first @n tokens, the longest beginning stays that
 * the model still knows, which may be none of them.  pst_session_nr_tokens()
 * says how many are left: what follows them is to be evaluated again.
 */
void pst_session_truncate(struct pst_session *s, uint32_t n);

/**
 * pst_engine_idle() - the caller waits for something else than the engine
 *
 * To be called again and again while there is nothing to compute: the cache
 * goes on to be filled with what an earlier run held, and memory is given when
 * others need it.  Blocks for one read at most.
 *
 * Return: true while it wants to be called again at once; else ten times a
 * second are enough.
 */
bool pst_engine_idle(struct pst_engine *e);

/**
 * struct pst_eval - append tokens and compute
 * @tokens: [nr]
 * @first_logits: logits are given for tokens first_logits..nr-1 of this call
 * @states: the states that logits would be made of are wanted instead
 * @logits: called in order with the token's index in this call and
 *	pst_engine_nr_out() floats valid during the call; non-zero stops with that value
 * @progress: tokens done (in fractions by layer: done of all, in layer-tokens)
 * @stop: asked after each layer, may be NULL; true ends it with -ECANCELED
 * @ctx: handed to all
 */
struct pst_eval {
	const int32_t *tokens;
	uint32_t nr;
	uint32_t first_logits;
	bool states;
	int (*logits)(void *ctx, uint32_t index, const float *logits);
	void (*progress)(void *ctx, uint64_t done, uint64_t all);
	bool (*stop)(void *ctx);
	void *ctx;
};

/**
 * struct pst_prompt_estimate - what reading a prompt will take
 * @chunks: passes over the experts
 * @drive_bytes: what has to be read
 * @drive_s, @compute_s: either by itself
 * @total_s: until the first token; real routers choose less evenly than this
 *	expects, so it is rather too long
 */
struct pst_prompt_estimate {
	uint32_t chunks;
	uint64_t drive_bytes;
	double drive_s;
	double compute_s;
	double total_s;
};

/**
 * pst_engine_estimate_prompt() - how long will @nr_tokens take?
 *
 * From the drive's rate while the trunk was loaded, or since, and a measurement
 * of the cores that takes milliseconds.  Between evaluations.
 */
void pst_engine_estimate_prompt(struct pst_engine *e, uint32_t nr_tokens,
				struct pst_prompt_estimate *out);

/**
 * pst_session_eval() - run a batch of any length, in chunks
 *
 * Return: 0; -E2BIG when the tokens exceed the context (both numbers in
 * @diag), -EINVAL for a token outside the vocabulary, the error of a read; on
 * failure the sequence holds the chunks that were finished.
 */
int pst_session_eval(struct pst_session *s, const struct pst_eval *ev,
		     struct pst_diag *diag);

/**
 * struct pst_engine_drive - a block device that holds the model or a mirror
 * @name: "nvme0n1", or the device number of a file system without one
 * @path: one of its files
 * @reads: transfers since opening, the load included
 * @read_bytes: of those
 * @errors: reads that failed there, also if another copy served them
 * @bytes_per_s, @latency_ns: learned; 0 without mirrors
 * @left_out: failed too often; read only where no other copy is left
 */
struct pst_engine_drive {
	const char *name;
	const char *path;
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t errors;
	uint64_t bytes_per_s;
	uint64_t latency_ns;
	bool left_out;
};

/** pst_engine_nr_drives() - drives that are read from */
uint32_t pst_engine_nr_drives(const struct pst_engine *e);

/** pst_engine_drive() - Return: 0, -EINVAL when there is no drive @i */
int pst_engine_drive(const struct pst_engine *e, uint32_t i,
		     struct pst_engine_drive *out);

/**
 * struct pst_sampler_opts - how a token is drawn from logits
 * @temp: 0 or less: the most probable token (greedy)
 * @top_k: keep the k most probable, 0 for all
 * @top_p: keep the smallest set with this probability mass, 1 for all
 * @min_p: drop tokens below this share of the most probable one
 * @seed: of the generator
 */
struct pst_sampler_opts {
	float temp;
	uint32_t top_k;
	float top_p;
	float min_p;
	uint64_t seed;
};

struct pst_sampler;

/** pst_sampler_create() - Return: 0, -EINVAL (a NaN or negative), -ENOMEM */
int pst_sampler_create(const struct pst_sampler_opts *opts, uint32_t nr_vocab,
		       struct pst_sampler **out);
void pst_sampler_destroy(struct pst_sampler *s);

/**
 * pst_sampler_draw() - a token id; ties go to the lower id
 *
 * Return: the id, or -1 when a logit is NaN or the best one is infinite.
 */
int32_t pst_sampler_draw(struct pst_sampler *s, const float *logits);

#endif
