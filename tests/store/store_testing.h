/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the store share: files in memory whose bytes follow from
 * their place, layers that lie in them at awkward offsets, and a store over
 * the loopback.
 */
#ifndef PST_STORE_TESTING_H
#define PST_STORE_TESTING_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "io_priv.h"
#include "store_priv.h"
#include "test_seed.h"

#define MAX_LAYERS  8
#define MAX_EXPERTS 64

/**
 * struct sshape - what a store is made over
 * @nr_parts: matrices of an expert
 * @part_bytes: bytes of one expert's matrix
 * @gap_bytes: put before each matrix in the file: makes offsets awkward
 * @dense: bit l: layer l has no experts
 * @policy: name, NULL for lru
 * @nr_per_token: as for pst_store_create()
 * @region_bytes: memory that is given back at once, 0 for the default
 * @early: experts may be given before their last matrix is there
 * @pool, @keep: as for pst_store_create()
 * @fault: text of pst_io_fault_parse(), NULL for none
 */
struct sshape {
	uint32_t nr_layers, nr_experts, nr_slots;
	uint32_t nr_parts;
	uint64_t part_bytes[PST_STORE_PARTS];
	uint64_t gap_bytes;
	uint32_t split_bytes;
	uint32_t dense;
	uint32_t queue_depth;
	const char *policy;
	uint32_t nr_per_token;
	uint64_t region_bytes;
	bool early;
	struct pst_mem_pool *pool;
	const struct pst_store_keep *keep;
	const char *fault;
};

/* A store with the files below it; two files, parts alternate. */
struct sbed {
	struct sshape shape;
	struct pst_io_loopfile files[2];
	struct pst_io_loopdisk disk;
	struct pst_store_layer layers[MAX_LAYERS];
	struct pst_io *io;
	struct pst_store *s;
};

/** sbed_open() - all of it; what goes wrong ends the test */
void sbed_open(struct sbed *b, const struct sshape *shape);
void sbed_close(struct sbed *b);

/** sbed_check() - are the bytes that an expert is given with the file's? */
void sbed_check(const struct sbed *b, uint32_t layer,
		const struct pst_expert *e);

/**
 * sbed_run() - want a set, take it in bites of @max, check every expert
 *
 * Each is to come whole exactly once, and at most once before that.  Return: 0 or the error of a take, after the
 * set has been ended.
 */
int sbed_run(struct sbed *b, uint32_t layer, const uint32_t *ids, uint32_t nr,
	     uint32_t max, struct pst_diag *diag);

/** sbed_run_ok() - the same, one by one, and it must succeed */
void sbed_run_ok(struct sbed *b, uint32_t layer, const uint32_t *ids,
		 uint32_t nr);

#define RUN_OK(b, layer, ...)                                    \
	sbed_run_ok(b, layer, (const uint32_t[]){ __VA_ARGS__ }, \
		    sizeof((const uint32_t[]){ __VA_ARGS__ }) /  \
			    sizeof(uint32_t))

/** sbed_resident() - does the store hold this expert (or is it on its way)? */
bool sbed_resident(const struct sbed *b, uint32_t layer, uint32_t expert);

/** sbed_invariants() - what must hold between any two calls */
void sbed_invariants(const struct sbed *b);

#endif
