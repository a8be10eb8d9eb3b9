/* SPDX-License-Identifier: MIT */
/*
 * Very small models for tests: right by construction, then changed at one
 * place.  Weights are seeded and small, so that a forward pass stays finite.
 */
#ifndef PST_TINY_MODEL_H
#define PST_TINY_MODEL_H

#include "gguf_builder.h"

#define TM_MAX_KV      64
#define TM_MAX_TENSORS 96
#define TM_VOCAB       40

/* A pair; @text is used by strings, @f by floats, @u by the other types. */
struct tm_kv {
	char key[96];
	uint32_t type;
	uint64_t u;
	double f;
	char text[64];
};

#define TM_I32 26

/* A tensor; I32 is filled with experts, types other than F32 with zeros. */
struct tm_tensor {
	char name[64];
	uint32_t type;
	uint32_t nr_dims;
	uint64_t ne[4];
};

/**
 * struct tiny_model - the pairs and tensors of a model on their way to a file
 * @seed: of the weights
 * @zero_router: the router's weights are zero: all experts tie
 * @vectors_first: order of the data: vectors, one stray byte, the rest
 * @no_vocab: leave tokenizer.* out
 * @align: of the data section, 0 stands for 32
 */
struct tiny_model {
	const char *arch;
	struct tm_kv kvs[TM_MAX_KV];
	uint32_t nr_kv;
	struct tm_tensor tensors[TM_MAX_TENSORS];
	uint32_t nr_tensors;
	uint64_t seed;
	bool zero_router;
	bool vectors_first;
	bool no_vocab;
	uint32_t align;
};

/* The numbers of every tiny model. */
enum {
	TM_LAYERS = 2,
	TM_EMBD = 64,
	TM_HEADS = 4,
	TM_HEADS_KV = 2,
	TM_HD = 16,
	TM_FF = 96,
	TM_EXPERTS = 8,
	TM_USED = 2,
	TM_FF_EXP = 32,
	TM_WINDOW = 6,
	TM_EMBD_BLOCK = 24,
	/* Of latent attention. */
	TM_Q_RANK = 48,
	TM_KV_RANK = 56,
	TM_NOPE = 12,
	TM_ROPE = 8,
	TM_INDEX_HD = 64,
	TM_TOP_K = 7,
	/* Of recurrent blocks. */
	TM_TAPS = 4,
	TM_DELTA_HEADS_K = 2,
	TM_DELTA_HEADS = 4,
	TM_DELTA_HD_V = 8,
	/* Of packed rows and parallel streams. */
	TM_STREAMS = 3,
	TM_MIX = (2 + TM_STREAMS) * TM_STREAMS,
	TM_PACKED_HD = 64,
	TM_OUT_GROUPS = 2,
	TM_OUT_RANK = 24,
	/* Of experts in a space of their own. */
	TM_LATENT = 48
};

/* Every family, with and without experts where it has both. */
struct tm_family {
	const char *arch;
	bool moe;
};

extern const struct tm_family tm_families[];
extern const size_t tm_nr_families;

/**
 * struct tm_plain - what a family of plain blocks has besides
 * @biases: of q, k and v
 * @head_norms, @wide_norms: of q and k
 * @shared: an expert for all tokens
 * @choice: a bias for the choice of experts
 */
struct tm_plain {
	const char *arch;
	bool biases;
	bool head_norms, wide_norms;
	bool shared;
	bool choice;
};

/** tm_plain_of() - all false for other families */
struct tm_plain tm_plain_of(const struct tiny_model *m);
void tm_plain_keys(struct tiny_model *m);

/** tm_init() - @arch: a family; @moe: with experts, where it is optional */
void tm_init(struct tiny_model *m, const char *arch, bool moe);

/* Set or add the pair "<arch>.<name>"; "%" before a name leaves arch out. */
void tm_u32(struct tiny_model *m, const char *name, uint32_t v);
void tm_f32(struct tiny_model *m, const char *name, float v);
void tm_str(struct tiny_model *m, const char *name, const char *v);
void tm_bool(struct tiny_model *m, const char *name, bool v);

/* An array of @nr elements of @elem_type, all equal to @v. */
void tm_array(struct tiny_model *m, const char *name, uint32_t elem_type,
	      uint32_t nr, uint32_t v);

/** tm_flags() - an array of U32, one for each digit */
void tm_flags(struct tiny_model *m, const char *name, const char *digits);

/** tm_drop() - leave a pair out; it must be there */
void tm_drop(struct tiny_model *m, const char *name);

/** tm_tensor() - the record of a tensor that is there, to be changed */
struct tm_tensor *tm_tensor(struct tiny_model *m, const char *name);

/** tm_add() - one more F32 tensor {n0, n1, n2}; unused sizes are 1 */
void tm_add(struct tiny_model *m, const char *name, uint64_t n0, uint64_t n1,
	    uint64_t n2);

/** tm_drop_tensor() - leave a tensor out; it must be there */
void tm_drop_tensor(struct tiny_model *m, const char *name);

/** tm_build() - the file, as gb_finish() gives it; @m may be built again */
uint8_t *tm_build(const struct tiny_model *m, size_t *size);

#endif
