/* SPDX-License-Identifier: MIT */
/*
 * bench_tokens: what each decoded token of a bench took, and needed of the drive.
 */
#ifndef PST_BENCH_TOKENS_H
#define PST_BENCH_TOKENS_H

#include <penstock/engine.h>

/**
 * struct cli_bench_tokens - in the order in which they were decoded
 * @ns: [nr] from one token to the next
 * @needed: [nr] experts that were not in memory and were wanted, read ahead or not
 */
struct cli_bench_tokens {
	uint32_t nr;
	uint64_t *ns;
	uint32_t *needed;
};

/** cli_bench_tokens_init() - room for @max; cli_bench_tokens_fini().  0, -ENOMEM */
int cli_bench_tokens_init(struct cli_bench_tokens *t, uint32_t max);
void cli_bench_tokens_fini(struct cli_bench_tokens *t);

/** cli_bench_tokens_add() - another one, by the counters before and after it */
void cli_bench_tokens_add(struct cli_bench_tokens *t,
			  const struct pst_counters *before,
			  const struct pst_counters *after, uint64_t ns);

/** cli_bench_tokens_json() - two members of an object, without a comma behind */
void cli_bench_tokens_json(const struct cli_bench_tokens *t);

#endif
