/* SPDX-License-Identifier: MIT */
/*
 * Private to gguf/: the model under construction and the parser's entry.
 */
#ifndef PST_GGUF_PRIV_H
#define PST_GGUF_PRIV_H

#include "gguf.h"

#define PST_GGUF_MAGIC	       "GGUF"
#define PST_GGUF_DEFAULT_ALIGN 32
#define PST_GGUF_MAX_FILES     65535

/* Open-addressing set of indices, keyed by the caller's strings. */
struct gguf_hash {
	uint32_t *slots; /* index + 1, 0 when free */
	uint64_t mask;
	uint64_t seed;
};

struct pst_gguf {
	uint32_t version;
	struct pst_gguf_file *files; /* [nr_files] */
	uint32_t nr_files;
	struct pst_gguf_kv *kvs; /* [nr_kv] */
	uint64_t nr_kv, cap_kv;
	struct pst_gguf_tensor *tensors; /* [nr_tensors] */
	uint64_t nr_tensors, cap_tensors;
	struct gguf_hash by_key;
	struct gguf_hash by_name;
	bool owns_maps;
	bool header_only; /* tensors may lie beyond the end */
};

/**
 * pst_gguf_parse() - parse one file's header into the model
 * @g: kvs of file 0 are kept, those of later files only checked; tensors of
 *	every file are appended
 * @file: index of a mapped file
 * @split_no: out, the file's split.no, UINT64_MAX when it has none
 *
 * Return: 0, -EBADMSG, -ENOTSUP, -ENOMEM.
 */
int pst_gguf_parse(struct pst_gguf *g, uint32_t file, uint64_t *split_no,
		   struct pst_diag *diag);

/** pst_gguf_add_file() - append a file to the list; takes @path (heap) */
int pst_gguf_add_file(struct pst_gguf *g, char *path, const uint8_t *map,
		      uint64_t size_bytes);

/** pst_gguf_map_file() - open and map one file, append it */
int pst_gguf_map_file(struct pst_gguf *g, const char *path,
		      struct pst_diag *diag);

/** pst_gguf_open_parts() - map and parse files 2.. of a split model */
int pst_gguf_open_parts(struct pst_gguf *g, uint64_t split_no,
			struct pst_diag *diag);

/** pst_gguf_vtype_bytes() - bytes of a scalar type, 0 for string and array */
uint32_t pst_gguf_vtype_bytes(uint32_t type);

#endif
