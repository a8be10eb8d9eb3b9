/* SPDX-License-Identifier: MIT */
/*
 * gguf: the GGUF container, versions 2 and 3, little-endian, one file or split.
 *
 * The files are untrusted input.  Everything that this interface returns has
 * been checked against the file's size: strings and arrays lie inside the
 * mapping, tensors lie inside the data section, aligned, and do not overlap.
 * What a key means is not known here.
 */
#ifndef PST_GGUF_H
#define PST_GGUF_H

#include "base.h"

/* Value types of metadata, the numbers of the format. */
enum pst_gguf_vtype {
	PST_GGUF_U8,
	PST_GGUF_I8,
	PST_GGUF_U16,
	PST_GGUF_I16,
	PST_GGUF_U32,
	PST_GGUF_I32,
	PST_GGUF_F32,
	PST_GGUF_BOOL,
	PST_GGUF_STRING,
	PST_GGUF_ARRAY,
	PST_GGUF_U64,
	PST_GGUF_I64,
	PST_GGUF_F64,
	PST_GGUF_VTYPE_COUNT
};

#define PST_GGUF_MAX_DIMS 4

/**
 * struct pst_str - a byte string inside the mapping, not NUL-terminated
 */
struct pst_str {
	const char *s;
	uint64_t len;
};

/**
 * struct pst_gguf_kv - one metadata pair
 * @key: never empty, unique in the model
 * @type: enum pst_gguf_vtype
 * @elem_type: element type when @type is an array, else equal to @type
 * @count: elements of an array, 1 otherwise
 * @data: the first element in the mapping, unaligned, little-endian
 * @size_bytes: bytes of all elements, a string's length field included
 */
struct pst_gguf_kv {
	struct pst_str key;
	uint32_t type;
	uint32_t elem_type;
	uint64_t count;
	const uint8_t *data;
	uint64_t size_bytes;
};

/**
 * struct pst_gguf_type - a tensor type of the format
 * @name: as people write it ("Q4_K"), NULL for ids that are not in use
 * @block_elems: weights in a block; a row is a whole number of blocks
 * @block_bytes: bytes of a block
 */
struct pst_gguf_type {
	const char *name;
	uint32_t block_elems;
	uint32_t block_bytes;
};

/**
 * struct pst_gguf_tensor - one tensor
 * @name: NUL-terminated, 1 to 63 bytes
 * @type: id of the format, always one that pst_gguf_type() knows
 * @nr_dims: 1 to 4
 * @ne: elements per dimension, ne[0] contiguous; unused ones are 1
 * @file: index of the file that holds the data
 * @off_bytes: offset of the first byte from the start of that file
 * @size_bytes: bytes of the data
 */
struct pst_gguf_tensor {
	char name[64];
	uint32_t type;
	uint32_t nr_dims;
	uint64_t ne[PST_GGUF_MAX_DIMS];
	uint32_t file;
	uint64_t off_bytes;
	uint64_t size_bytes;
};

/**
 * struct pst_gguf_file - one file of the model
 * @path: as it was opened
 * @map: read-only mapping of the whole file
 * @size_bytes: size when it was opened
 * @whole_bytes: the same, or the end of the last tensor if that is later
 */
struct pst_gguf_file {
	char *path;
	const uint8_t *map;
	uint64_t size_bytes;
	uint64_t whole_bytes;
	uint64_t data_off_bytes;
	uint64_t alignment;
};

struct pst_gguf;

/**
 * pst_gguf_type() - what the format says of a tensor type
 * @id: any number
 *
 * Return: the entry, or NULL for unknown and removed types.
 */
const struct pst_gguf_type *pst_gguf_type(uint32_t id);

/**
 * pst_gguf_open() - map a model and check its header
 * @path: a single file, or part 1 of a split model
 * @out: the model on success, untouched otherwise; pst_gguf_close()
 * @diag: says what is wrong and where
 *
 * Time and memory are bounded by the size of the header.  Blocks on the drive.
 *
 * Return: 0; -ENOENT, -EACCES and what open() gives; -EBADMSG for a malformed
 * file, one of the other endianness or of a version other than 2 and 3;
 * -ENOMEM.
 */
int pst_gguf_open(const char *path, struct pst_gguf **out,
		  struct pst_diag *diag);

/**
 * pst_gguf_open_header() - the same where the data may be missing
 *
 * Tensors may lie beyond the end of their file: nothing may be read through
 * pst_gguf_tensor_data() then.
 */
int pst_gguf_open_header(const char *path, struct pst_gguf **out,
			 struct pst_diag *diag);

/**
 * pst_gguf_open_mem() - the same over bytes in memory, for the fuzzer
 * @bytes: [size_bytes], must outlive the model; a split header is refused
 */
int pst_gguf_open_mem(const uint8_t *bytes, uint64_t size_bytes,
		      struct pst_gguf **out, struct pst_diag *diag);

/** pst_gguf_close() - unmap and free; NULL is allowed */
void pst_gguf_close(struct pst_gguf *g);

/**
 * pst_gguf_drop_pages() - give the touched pages of the mappings back
 *
 * The pointers stay valid; a later access reads the page again.  Keeps the
 * header out of the process's resident set once it has been used.
 */
void pst_gguf_drop_pages(const struct pst_gguf *g);

/** pst_gguf_begins() - has this file the first bytes of a GGUF?  Never waits. */
bool pst_gguf_begins(const char *path);

uint32_t pst_gguf_version(const struct pst_gguf *g);
uint32_t pst_gguf_nr_files(const struct pst_gguf *g);

/** pst_gguf_files_bytes() - their sizes together */
uint64_t pst_gguf_files_bytes(const struct pst_gguf *g);
const struct pst_gguf_file *pst_gguf_file(const struct pst_gguf *g, uint32_t i);
uint64_t pst_gguf_nr_kv(const struct pst_gguf *g);
const struct pst_gguf_kv *pst_gguf_kv(const struct pst_gguf *g, uint64_t i);
uint64_t pst_gguf_nr_tensors(const struct pst_gguf *g);
const struct pst_gguf_tensor *pst_gguf_tensor(const struct pst_gguf *g,
					      uint64_t i);

/** pst_gguf_find() - the pair of a key, NULL when the model has none */
const struct pst_gguf_kv *pst_gguf_find(const struct pst_gguf *g,
					const char *key);

/** pst_gguf_find_tensor() - a tensor by name, NULL when there is none */
const struct pst_gguf_tensor *pst_gguf_find_tensor(const struct pst_gguf *g,
						   const char *name);

/** pst_gguf_tensor_data() - the tensor's bytes in the mapping */
const uint8_t *pst_gguf_tensor_data(const struct pst_gguf *g,
				    const struct pst_gguf_tensor *t);

/*
 * Typed access.  Return: 0, -ENOENT when the key is missing, -EINVAL when it
 * has another type or does not fit; @out is untouched on failure.  Integers
 * of any width and sign are converted when the value fits.
 */
int pst_gguf_get_u64(const struct pst_gguf *g, const char *key, uint64_t *out);
int pst_gguf_get_f32(const struct pst_gguf *g, const char *key, float *out);
int pst_gguf_get_bool(const struct pst_gguf *g, const char *key, bool *out);
int pst_gguf_get_str(const struct pst_gguf *g, const char *key,
		     struct pst_str *out);

/*
 * Element @i of an array or, with @i == 0, a scalar.  Return as above, -ERANGE
 * when @i is outside.
 */
int pst_gguf_elem_u64(const struct pst_gguf_kv *kv, uint64_t i, uint64_t *out);
int pst_gguf_elem_i64(const struct pst_gguf_kv *kv, uint64_t i, int64_t *out);
int pst_gguf_elem_f64(const struct pst_gguf_kv *kv, uint64_t i, double *out);

/**
 * struct pst_gguf_strings - walks an array of strings once, in order
 */
struct pst_gguf_strings {
	const uint8_t *pos;
	uint64_t left;
};

/**
 * pst_gguf_strings_init() - start walking
 *
 * Return: 0, or -EINVAL when @kv is not an array of strings.
 */
int pst_gguf_strings_init(struct pst_gguf_strings *it,
			  const struct pst_gguf_kv *kv);

/** pst_gguf_strings_next() - false after the last string */
bool pst_gguf_strings_next(struct pst_gguf_strings *it, struct pst_str *out);

#endif
