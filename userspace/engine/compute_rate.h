/* SPDX-License-Identifier: MIT */
/*
 * compute_rate: how fast this machine computes weights of each type, measured
 * with the kernels themselves on more memory than a cache holds, and how fast
 * its threads read memory at all.  Takes a fraction of a second; not on the
 * way of a token.
 */
#ifndef PST_COMPUTE_RATE_H
#define PST_COMPUTE_RATE_H

#include "base.h"
#include "pst_kernels.h"
#include "topo.h"

/**
 * struct pst_compute_shape - a product as a token makes it
 * @type: of the weights
 * @n_in: length of a row; @n_out: rows of a matrix
 * @nr: such matrices that are one job
 * @s: out: seconds of the job, 0 for a type without a kernel and for rows of which
 *	@nr are more than what is measured with
 */
struct pst_compute_shape {
	uint32_t type;
	uint32_t n_in;
	uint32_t n_out;
	uint32_t nr;
	double s;
};

#define PST_COMPUTE_COLUMNS 2

/* Weights that one measurement goes over, at least and at most. */
#define PST_COMPUTE_RATE_BYTES	   (16 * PST_MIB)
#define PST_COMPUTE_RATE_MAX_BYTES (PST_GIB)
/* Weights of so many times the caches' size: it is memory that is measured then.
 * At twice their size products look half as fast again.
 */
#define PST_COMPUTE_RATE_CACHES 8

/**
 * struct pst_compute_args - what to measure
 * @k: kernels
 * @pool: threads
 * @columns: roundings of an activation, each a column of the product; at most
 *	PST_COMPUTE_COLUMNS
 * @head: numbers of a head of attention, 0 for a model without
 * @weights_bytes: memory to take for weights; rounded to the limits above
 */
struct pst_compute_args {
	const struct pst_kernels *k;
	struct pst_pool *pool;
	uint32_t columns;
	uint32_t head;
	uint64_t weights_bytes;
};

/**
 * struct pst_compute_rate - what the cores do
 * @mem_bps: bytes per second that all threads together read
 * @job_s: handing a job to all threads and back
 * @wake_s: the same after a wait in which the threads fell asleep
 * @attend_s: a multiplication of a query with what is remembered, by all threads
 *	together, as long as the caches hold that
 */
struct pst_compute_rate {
	double mem_bps;
	double job_s;
	double wake_s;
	double attend_s;
};

/**
 * pst_compute_rate_measure() - measure
 * @shapes: [nr], their times are filled in
 *
 * Takes the memory for weights and gives it back.  Return: 0, -ENOMEM.
 */
int pst_compute_rate_measure(const struct pst_compute_args *args,
			     struct pst_compute_shape *shapes, uint32_t nr,
			     struct pst_compute_rate *out);

/**
 * pst_mem_read_bps() - all threads read @size_bytes at @addr
 *
 * What fits in the caches says nothing of memory: that is for the caller.
 * Return: bytes per second, 0 if there are too few to tell.
 */
double pst_mem_read_bps(struct pst_pool *pool, const void *addr,
			uint64_t size_bytes);

#endif
