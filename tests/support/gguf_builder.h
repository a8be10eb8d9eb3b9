/* SPDX-License-Identifier: MIT */
/*
 * Writes GGUF files into memory, whole ones and wrong ones, for tests.
 * Memory that runs out ends the test.
 */
#ifndef PST_GGUF_BUILDER_H
#define PST_GGUF_BUILDER_H

#include "gguf.h"

/* Bytes that grow. */
struct gb_buf {
	uint8_t *bytes; /* [nr] */
	size_t nr;
	size_t cap;
};

/**
 * struct gguf_builder - a file that grows; all zero is an empty one
 * @kv: the finished pairs
 * @infos: the finished tensor records
 * @data: the data section
 * @nr_kv: pairs, as the file will claim; change it to make it lie
 * @nr_tensors: tensors, likewise
 * @version: 0 stands for 3
 * @align: of the data section and of the tensors in it, 0 stands for 32;
 *	does not write general.alignment
 */
struct gguf_builder {
	struct gb_buf kv;
	struct gb_buf infos;
	struct gb_buf data;
	uint64_t nr_kv;
	uint64_t nr_tensors;
	uint32_t version;
	uint32_t align;
};

/**
 * struct gb_tensor - a tensor record as it is written, right or wrong
 * @off_bytes: from the start of the data section
 */
struct gb_tensor {
	const char *name;
	uint32_t type;
	uint32_t nr_dims;
	uint64_t ne[8];
	uint64_t off_bytes;
};

void gb_init(struct gguf_builder *b);
void gb_fini(struct gguf_builder *b);

void gb_str(struct gguf_builder *b, const char *key, const char *value);
void gb_u32(struct gguf_builder *b, const char *key, uint32_t value);
void gb_i32(struct gguf_builder *b, const char *key, int32_t value);
void gb_bool(struct gguf_builder *b, const char *key, bool value);
void gb_f32(struct gguf_builder *b, const char *key, float value);

/* Arrays of @nr values. */
void gb_strs(struct gguf_builder *b, const char *key, const char *const *values,
	     size_t nr);
void gb_i32s(struct gguf_builder *b, const char *key, const int32_t *values,
	     size_t nr);
void gb_f32s(struct gguf_builder *b, const char *key, const float *values,
	     size_t nr);

/** gb_value() - a pair of any type from the bytes of its value */
void gb_value(struct gguf_builder *b, const char *key, uint32_t type,
	      const void *bytes, size_t size);

/** gb_array() - an array that claims @nr elements, followed by any bytes */
void gb_array(struct gguf_builder *b, const char *key, uint32_t elem_type,
	      uint64_t nr, const void *bytes, size_t size);

/** gb_raw_kv() - bytes in place of a pair, which the caller counts */
void gb_raw_kv(struct gguf_builder *b, const void *bytes, size_t size);

/** gb_raw_info() - bytes in place of a tensor record, likewise */
void gb_raw_info(struct gguf_builder *b, const void *bytes, size_t size);

/** gb_tensor_info() - a record alone, as it is given */
void gb_tensor_info(struct gguf_builder *b, const struct gb_tensor *t);

/**
 * gb_tensor() - a tensor with its data, at the next aligned offset
 * @t: off_bytes is ignored
 * @bytes: [size], NULL for zeros
 */
void gb_tensor(struct gguf_builder *b, const struct gb_tensor *t,
	       const void *bytes, size_t size);

/**
 * gb_finish() - the whole file
 * @size: its bytes
 *
 * Return: heap of exactly that size, owned by the caller, so that a sanitizer
 * sees every read past its end; the builder is empty afterwards.
 */
uint8_t *gb_finish(struct gguf_builder *b, size_t *size);

#endif
