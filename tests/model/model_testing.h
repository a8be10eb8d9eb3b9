/* SPDX-License-Identifier: MIT */
/*
 * A model file opened for forward passes, with everything below it.
 */
#ifndef PST_MODEL_TESTING_H
#define PST_MODEL_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "fwd_priv.h"
#include "tiny_model.h"

/**
 * struct mbed_args - how to open
 * @path: model file
 * @threads: workers of the pool
 * @n_batch: tokens per pass at most
 * @n_ctx: positions
 * @nr_slots: expert slots, 0 for as few as one token needs
 * @early: experts may be begun before their last matrix is there
 * @region_bytes: of the slots' memory, 0 for the default
 * @fault: text of pst_io_fault_parse(), NULL for none
 * @tables: all tables stay on the drive, whatever their size
 * @nr_rows: of these, rows at hand at least; 0 for the default
 * @activations: what products with quantised weights read
 * @mla: form of latent attention
 */
struct mbed_args {
	const char *path;
	uint32_t threads;
	uint32_t n_batch;
	uint32_t n_ctx;
	uint32_t nr_slots;
	uint32_t cpu_mask;
	enum pst_kv_type kv;
	uint64_t region_bytes;
	bool early;
	const char *fault;
	bool tables;
	uint32_t nr_rows;
	enum pst_activations activations;
	enum pst_mla_form mla;
};

/* All that a forward pass needs. */
struct mbed {
	struct pst_gguf *g;
	struct pst_kernels k;
	struct pst_model *m;
	struct pst_pool *pool;
	struct pst_io *io;
	struct pst_store *store;
	struct pst_fwd *f;
	struct pst_kv kv;
};

/** mbed_open() - what goes wrong ends the test */
void mbed_open(struct mbed *b, const struct mbed_args *args);
void mbed_close(struct mbed *b);

/**
 * mbed_eval() - append tokens in passes of n_batch, logits of all
 * @out: [nr][n_vocab]
 *
 * Return: 0 or what pst_fwd_run() gave.
 */
int mbed_eval(struct mbed *b, const int32_t *tokens, uint32_t nr,
	      uint32_t n_batch, float *out);

/**
 * mbed_logits() - open, append the first @nr tokens of a fixed random text in
 *	passes of @pass, close
 * @n_vocab: filled in
 *
 * Return: [nr][n_vocab], to be freed.
 */
float *mbed_logits(const struct mbed_args *args, uint32_t nr, uint32_t pass,
		   uint32_t *n_vocab);

/** mbed_nmse() - squared error of @got beside the square of @want */
double mbed_nmse(const float *want, const float *got, size_t nr);

/** mbed_write() - a tiny model into a temporary file; its path, to be freed */
char *mbed_write(const struct tiny_model *m);

/** mbed_data() - path below tests/data, to be freed */
char *mbed_data(const char *name);

#endif
