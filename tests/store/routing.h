/* SPDX-License-Identifier: MIT */
/*
 * Made-up routings of known character, for policies and the replay.
 */
#ifndef PST_TEST_ROUTING_H
#define PST_TEST_ROUTING_H

#include "trace.h"

/**
 * struct routing - the character of a routing
 * @skew: expert of rank r in its layer weighs r^-skew; 0 is uniform
 * @repeat: chance that a choice is taken over from the token before
 * @drift: tokens after which each layer's ranks are dealt anew, 0 for never
 */
struct routing {
	uint32_t nr_layers, nr_experts, nr_used;
	uint32_t nr_prefill, nr_decode; /* tokens */
	double skew, repeat;
	uint32_t drift;
	uint64_t seed;
};

/** routing_make() - draw it; pst_trace_fini() by the caller */
void routing_make(const struct routing *r, struct pst_trace *out);

#endif
