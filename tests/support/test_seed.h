/* SPDX-License-Identifier: MIT */
/*
 * The seed of a randomised test, printed so that a failure can be replayed.
 */
#ifndef PST_TEST_SEED_H
#define PST_TEST_SEED_H

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"

/** test_seed() - $PENSTOCK_SEED, else the clock */
static inline uint64_t test_seed(void)
{
	const char *env = getenv("PENSTOCK_SEED");
	uint64_t seed = env ? strtoull(env, NULL, 0) : pst_now_ns();

	printf("PENSTOCK_SEED=%" PRIu64 "\n", seed);
	/* Also before an abort. */
	fflush(stdout);
	return seed;
}

#endif
