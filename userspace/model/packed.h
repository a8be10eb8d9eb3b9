/* SPDX-License-Identifier: MIT */
/*
 * Private to attention to packed rows: what its two files share.
 * mixer_packed.c attends, pack.c makes the rows.
 */
#ifndef PST_PACKED_H
#define PST_PACKED_H

#include "fwd_priv.h"

/**
 * struct packer - the packing of one stream of a block
 * @w: weights
 * @stream: where the rows go
 * @hd: numbers of a row
 * @run: positions that it stands for
 * @overlap: it tells of the run before as well
 * @held: rows of earlier tokens in front of @kv and @gate
 * @state: of these, where they begin in the block's state
 * @kv, @gate: [held + n][width]
 * @acc: [n_workers][3 * hd]
 */
struct packer {
	const struct pst_pack *w;
	uint32_t stream;
	uint32_t hd;
	uint32_t run;
	bool overlap;
	uint32_t held;
	uint32_t state;
	float *kv, *gate;
	float *acc;
};

/* What both kinds of packed rows of a block share. */
struct pack_pass {
	struct pst_fwd *f;
	struct pst_kv *kv;
	uint32_t layer;
	uint32_t n; /* tokens */
	uint32_t pos0; /* position of the first */
};

/** pst_pack_bind() - <name>_kv, _gate, _ape and _norm */
void pst_pack_bind(struct pst_binder *b, const char *name, uint32_t hd,
		   struct pst_pack *w);

/** pst_packer_init() - the packer of a stream; @at: floats of state before */
void pst_packer_init(struct packer *p, const struct pst_layer_hp *lh,
		     uint32_t stream, uint32_t hd, uint32_t at);

/** pst_packer_state() - floats that it remembers of the sequence */
uint32_t pst_packer_state(const struct packer *p);

/** pst_packer_work() - lay out its scratch */
void pst_packer_work(const struct pst_fwd *f, struct carve *c,
		     struct packer *p);

/** pst_packer_run() - the rows of all runs that end in the pass */
void pst_packer_run(const struct packer *p, const struct pack_pass *pass);

#endif
