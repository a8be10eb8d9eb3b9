/* SPDX-License-Identifier: MIT */
/*
 * kernels: pure functions over caller's memory; no allocation, no threads, no
 * I/O, no global state.  Reached through a table that is filled for a CPU mask.
 *
 * Exactness contract, for every kernel of every ISA: the result of one
 * (weight row, activation row) pair or of one token depends on that pair only,
 * not on how many rows, tokens or heads are in the call.  Tables for different
 * CPU masks may differ in rounding; within one table all is deterministic.
 */
#ifndef PST_KERNELS_H
#define PST_KERNELS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Tensor types, with the numbers of the GGUF format. */
enum pst_ktype {
	PST_K_F32 = 0,
	PST_K_F16 = 1,
	PST_K_Q4_0 = 2,
	PST_K_Q4_1 = 3,
	PST_K_Q5_0 = 6,
	PST_K_Q5_1 = 7,
	PST_K_Q8_0 = 8,
	PST_K_Q2_K = 10,
	PST_K_Q3_K = 11,
	PST_K_Q4_K = 12,
	PST_K_Q5_K = 13,
	PST_K_Q6_K = 14,
	PST_K_IQ2_XXS = 16,
	PST_K_IQ2_XS = 17,
	PST_K_IQ3_XXS = 18,
	PST_K_IQ1_S = 19,
	PST_K_IQ4_NL = 20,
	PST_K_IQ3_S = 21,
	PST_K_IQ2_S = 22,
	PST_K_IQ4_XS = 23,
	PST_K_IQ1_M = 29,
	PST_K_BF16 = 30,
	PST_K_TQ1_0 = 34,
	PST_K_TQ2_0 = 35,
	PST_K_MXFP4 = 39,
	PST_K_NVFP4 = 40, /* without the scale of the tensor */
	PST_K_Q1_0 = 41,
	PST_K_Q2_0 = 42,
	PST_KTYPE_COUNT = 43
};

/* Activations are quantised in blocks of this many values. */
#define PST_K_QBLOCK 32

/**
 * struct pst_kact - rows of activations, one per token
 * @f32: [nr_rows][stride]
 * @q8: [nr_rows][stride]: round(x / d), -127..127; 64-byte aligned rows
 * @d: [nr_rows][stride / 32]: scale of each block, max|x| / 127, may be 0
 * @sum: [nr_rows][stride / 32]: sum of a block's q8 values
 * @stride: values from one row to the next, a multiple of 64, >= n
 *
 * @f32 is always there.  @q8, @d and @sum may be NULL when only weights whose
 * table entry says PST_KACT_F32 are multiplied.
 */
struct pst_kact {
	const float *f32;
	const int8_t *q8;
	const float *d;
	const int32_t *sum;
	size_t stride;
};

/* Which form of the activations a type's mul reads. */
enum pst_kact_kind {
	PST_KACT_F32,
	PST_KACT_Q8
};

/**
 * struct pst_kconfig - what the memory of a family of CPUs likes
 * @name: of the row of the table, kernels/config.c
 * @row_ahead_bytes: how far a product of one token asks for weights ahead of
 *	what it reads, in each row of a tile
 * @block_ahead_bytes: the same of several tokens, for a block of whole rows
 * @float_ahead_bytes: as @row_ahead_bytes where weights are floats
 * @panel_bytes: activations that a product keeps at hand, half of a core's
 *	second-level cache and at most PST_K_PANEL_BYTES
 *
 * Results never depend on it.
 */
struct pst_kconfig {
	const char *name;
	uint32_t row_ahead_bytes;
	uint32_t block_ahead_bytes;
	uint32_t float_ahead_bytes;
	uint32_t panel_bytes;
};

/**
 * struct pst_kmul - y[i][r] = sum over n of W[r][n] * x[idx[i]][n]
 * @w: first row; rows lie @row_bytes apart, no alignment promised
 * @n: row length in weights, a multiple of the type's block
 * @nr_rows: weight rows
 * @x: activations
 * @idx: [nr_x] row of @x for each i, NULL for the identity
 * @nr_x: activation rows to multiply with
 * @y: result; row i starts at y + i * y_stride
 * @scratch: [pst_kmul_scratch_floats(n)], 64-byte aligned, contents undefined
 *	before and after; does not alias anything else
 * @config: NULL for the default
 */
struct pst_kmul {
	const void *w;
	size_t row_bytes;
	uint32_t n;
	uint32_t nr_rows;
	const struct pst_kact *x;
	const uint32_t *idx;
	uint32_t nr_x;
	float *y;
	size_t y_stride;
	float *scratch;
	const struct pst_kconfig *config;
};

/* What a product may put into its scratch: some tokens' activations, with
 * PST_K_PANEL_GROUP_BYTES for 256 of them, in an order of its own. */
enum {
	PST_K_PANEL_GROUP_BYTES = 448,
	PST_K_PANEL_TOKENS = 32,
	PST_K_PANEL_FEWEST = 4,
	PST_K_PANEL_BYTES = 512 << 10, /* the most of a configuration */
};

static inline size_t pst_kmul_panel_token_bytes(uint32_t n)
{
	return ((size_t)n + 255) / 256 * PST_K_PANEL_GROUP_BYTES;
}

/** pst_kmul_panel_tokens() - tokens whose rows of @n fit, >= the fewest */
static inline uint32_t pst_kmul_panel_tokens(uint32_t n, uint32_t panel_bytes)
{
	size_t nr = panel_bytes / (pst_kmul_panel_token_bytes(n) + 1);

	if (nr < PST_K_PANEL_FEWEST)
		return PST_K_PANEL_FEWEST;
	return nr > PST_K_PANEL_TOKENS ? PST_K_PANEL_TOKENS : (uint32_t)nr;
}

/**
 * pst_kmul_scratch_floats() - what products of rows of up to @n need
 *
 * Return: a multiple of 16, never less for a larger @n.
 */
static inline size_t pst_kmul_scratch_floats(uint32_t n)
{
	size_t token = pst_kmul_panel_token_bytes(n);
	size_t bytes = ((size_t)n + 64) * sizeof(float);
	size_t panel = PST_K_PANEL_TOKENS * token;

	if (panel > PST_K_PANEL_BYTES)
		panel = PST_K_PANEL_BYTES;
	if (panel < PST_K_PANEL_FEWEST * token)
		panel = PST_K_PANEL_FEWEST * token;
	if (bytes < panel)
		bytes = panel;
	return (bytes + 63) / 64 * 16;
}

/* Positions that attention takes at a time: n * this and those that follow. */
#define PST_K_ATTN_TILE 64
/* Scratch of a query. */
#define PST_K_ATTN_QUERY_BYTES 384

/**
 * struct pst_kattn_query - one head of one token
 * @q: [hd_k], 64-byte alignment not promised
 * @out: [hd_v], sum over s of softmax(scale * q.k_s) * v_s; no part of what
 *	is read
 * @sink: one more logit of the softmax, with a value of zero; NULL for none
 * @scale: multiplies q.k before the softmax
 * @from, @to: it attends to positions from..to - 1, at least one
 */
struct pst_kattn_query {
	const float *q;
	float *out;
	const float *sink;
	float scale;
	uint32_t from;
	uint32_t to;
};

/**
 * struct pst_kattn - queries against the keys and values of one KV head
 * @query: [nr]
 * @k: key of position @first; that of s is (s - first) * k_stride_bytes further
 * @v: value of position @first, likewise
 * @first: no query's @from is less
 * @hd_k: length of a key
 * @hd_v: length of a value
 * @scratch: pst_kattn_scratch_bytes(), 64-byte aligned
 * @carry: [nr][PST_K_ATTN_QUERY_BYTES], 64-byte aligned: what a query takes from
 *	one call to the next where its positions come in several calls, in order;
 *	NULL where they all come in this one
 * @goes_on: a call with the same queries, @carry and outputs was before
 * @unfinished: another follows; until then the outputs are sums
 *
 * With @carry a query may have no position in a call: @from is not below @to.
 * Calls that meet at multiples of PST_K_ATTN_TILE give the bits of one call; the
 * portable kernels round the sums in between.
 *
 * Faster the more queries share keys.  The result of a query depends on it and
 * on its positions, their numbers included: not on the other queries, nor on
 * @first.  Rows between those of two queries may be read: they are there.
 */
struct pst_kattn {
	const struct pst_kattn_query *query;
	uint32_t nr;
	const void *k;
	const void *v;
	size_t k_stride_bytes;
	size_t v_stride_bytes;
	uint32_t first;
	uint32_t hd_k;
	uint32_t hd_v;
	void *scratch;
	void *carry;
	bool goes_on;
	bool unfinished;
};

/** pst_kattn_scratch_bytes() - for calls of at most @nr queries */
static inline size_t pst_kattn_scratch_bytes(uint32_t hd_k, uint32_t hd_v,
					     uint32_t nr)
{
	size_t wide = ((size_t)hd_v + 63) / 64 * 64 + hd_k;

	return wide * PST_K_ATTN_TILE * sizeof(float) +
	       (size_t)nr * PST_K_ATTN_QUERY_BYTES;
}

/**
 * struct pst_kdelta - the gated delta rule: one head, tokens in order
 * @state: [dk][dv], S, changed in place
 * @nr: tokens
 * @dk: length of a key and query; @dv: of a value
 * @q, @k: [dk], those of token t start t * @qk_stride further
 * @v: [dv], t * @v_stride further
 * @decay: one factor for all of S, or [dk] when @by_channel, t * @decay_stride
 *	further
 * @beta: one, t * @beta_stride further
 * @out: [dv], t * @out_stride further
 *
 * For each token: S_ij *= decay_i; d_j = beta (v_j - sum_i S_ij k_i);
 * S_ij += k_i d_j; out_j = sum_i S_ij q_i (Yang et al. 2024, Gated Delta
 * Networks; by channel: Kimi Linear, 2025).
 */
struct pst_kdelta {
	float *state;
	uint32_t nr;
	uint32_t dk;
	uint32_t dv;
	const float *q;
	const float *k;
	const float *v;
	const float *decay;
	const float *beta;
	float *out;
	size_t qk_stride;
	size_t v_stride;
	size_t decay_stride;
	size_t beta_stride;
	size_t out_stride;
	bool by_channel;
};

/* Taps of a short convolution at most. */
#define PST_K_MAX_TAPS 8

/**
 * struct pst_kconv - a short causal convolution along the tokens, then silu
 * @w: [channels][taps], the last tap is that of the present token
 * @taps: 1..PST_K_MAX_TAPS
 * @x: rows of [channels], @stride apart; the first taps - 1 are those of the
 *	tokens before
 * @nr: tokens
 * @y: rows of [channels], @y_stride apart; no part of @x
 *
 * y[t][c] = silu(sum over j of w[c][j] * x[t + j][c]).
 */
struct pst_kconv {
	const float *w;
	uint32_t taps;
	uint32_t channels;
	const float *x;
	size_t stride;
	uint32_t nr;
	float *y;
	size_t y_stride;
};

/**
 * struct pst_ktype_ops - what the table knows of one tensor type
 * @block_elems: weights in a block, 0 when the type is not supported
 * @block_bytes: bytes of a block
 * @act: what @mul reads of the activations
 * @dequant: y[0..n) = exact value of a row's first n weights
 * @mul: matrix times activation rows, see struct pst_kmul
 */
struct pst_ktype_ops {
	uint32_t block_elems;
	uint32_t block_bytes;
	enum pst_kact_kind act;
	void (*dequant)(float *y, const void *row, uint32_t n);
	void (*mul)(const struct pst_kmul *m);
};

/**
 * struct pst_kernels - the table
 * @name: the highest ISA in use: "c", "avx2", "avx-vnni", "avx512",
 *	"avx512-vnni",
 *	"neon", "dotprod"
 * @config: for the running CPU; products take it in their struct pst_kmul
 * @types: by enum pst_ktype
 * @quantize: q8, d and sum of one row (see struct pst_kact), n a multiple of
 *	32; d = max|x| / 127; q = round to nearest even of x * (1 / d), 0 where
 *	d is 0
 * @rms_norm: y = x * w / sqrt(mean(x^2) + eps); y may be x; w may be NULL (1)
 * @swiglu: y = silu(g) * u, silu(g) = g / (1 + exp(-g)); y may be g
 * @gate: y = u / (1 + exp(-g)); y may be g or u
 * @add: y += x
 * @axpy: y += a * x
 * @softmax: in place, the maximum subtracted first
 * @rope_norm: rotates pairs (2i, 2i + 1) of x[0..n_rot) by cs[2i] = cos,
 *	cs[2i + 1] = sin
 * @rope_neox: rotates pairs (i, i + n_rot / 2), the same cs
 * @f32_to_f16: round to nearest even, y unaligned
 * @attn_f32: attention to F32 keys and values
 * @attn_f16: attention to F16 keys and values
 * @attn_q8_0: attention to rows of blocks of PST_K_Q8_0; @hd_k a multiple of
 *	32
 * @delta: the gated delta rule
 * @conv: a short convolution
 */
struct pst_kernels {
	const char *name;
	const struct pst_kconfig *config;
	struct pst_ktype_ops types[PST_KTYPE_COUNT];
	void (*quantize)(int8_t *q, float *d, int32_t *sum, const float *x,
			 uint32_t n);
	void (*rms_norm)(float *y, const float *x, const float *w, uint32_t n,
			 float eps);
	void (*swiglu)(float *y, const float *g, const float *u, uint32_t n);
	void (*gate)(float *y, const float *g, const float *u, uint32_t n);
	void (*add)(float *y, const float *x, uint32_t n);
	void (*axpy)(float *y, float a, const float *x, uint32_t n);
	void (*softmax)(float *x, uint32_t n);
	void (*rope_norm)(float *x, const float *cs, uint32_t n_rot);
	void (*rope_neox)(float *x, const float *cs, uint32_t n_rot);
	void (*f32_to_f16)(uint16_t *y, const float *x, uint32_t n);
	void (*attn_f32)(const struct pst_kattn *a);
	void (*attn_f16)(const struct pst_kattn *a);
	void (*attn_q8_0)(const struct pst_kattn *a);
	void (*delta)(const struct pst_kdelta *d);
	void (*conv)(const struct pst_kconv *c);
};

/* CPU mask: what the table may use. */
#define PST_CPU_AVX2	(1u << 0) /* AVX2 + FMA + F16C */
#define PST_CPU_AVX512	(1u << 1) /* F + BW + VL + DQ + BMI2 */
#define PST_CPU_VNNI	(1u << 2) /* AVX512_VNNI */
#define PST_CPU_NEON	(1u << 3) /* 64-bit ARM, ARMv8.0 */
#define PST_CPU_DOTPROD (1u << 4) /* ARMv8.2 SDOT */
#define PST_CPU_AVXVNNI (1u << 5) /* VNNI of 256 bits, without AVX-512 */

/** pst_cpu_detect() - mask of the running CPU, OS support included */
uint32_t pst_cpu_detect(void);

enum pst_kcpu_vendor {
	PST_KCPU_OTHER,
	PST_KCPU_AMD,
	PST_KCPU_INTEL
};

/** struct pst_kcpu - a family of CPUs, as cpuid numbers them */
struct pst_kcpu {
	enum pst_kcpu_vendor vendor;
	uint32_t family;
	uint32_t model;
};

/** pst_kcpu_detect() - the running CPU; only those of x86 are told apart */
void pst_kcpu_detect(struct pst_kcpu *cpu);

/** pst_kconfig_of() - its row, or that of no known CPU, "default" */
const struct pst_kconfig *pst_kconfig_of(const struct pst_kcpu *cpu);

/** pst_kconfig_at() - row @i of the table, NULL behind the last */
const struct pst_kconfig *pst_kconfig_at(uint32_t i);

/**
 * pst_kernels_init() - fill the table: reference first, overlays in order
 * @k: caller's memory
 * @cpu_mask: PST_CPU_*; 0 gives the portable reference
 */
void pst_kernels_init(struct pst_kernels *k, uint32_t cpu_mask);

#endif
