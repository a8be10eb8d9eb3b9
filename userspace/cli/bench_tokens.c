// SPDX-License-Identifier: MIT
/*
 * Records of decoded tokens.  A run is as fast as its tokens together; what bounds
 * it, the drive or the cores, may be another for each of them.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "base.h"
#include "bench_tokens.h"

int cli_bench_tokens_init(struct cli_bench_tokens *t, uint32_t max)
{
	*t = (struct cli_bench_tokens){
		.ns = pst_calloc(PST_MAX(max, 1u), sizeof(*t->ns)),
		.needed = pst_calloc(PST_MAX(max, 1u), sizeof(*t->needed)),
	};
	if (t->ns && t->needed)
		return 0;
	cli_bench_tokens_fini(t);
	return -ENOMEM;
}

void cli_bench_tokens_fini(struct cli_bench_tokens *t)
{
	free(t->ns);
	free(t->needed);
	*t = (struct cli_bench_tokens){ 0 };
}

void cli_bench_tokens_add(struct cli_bench_tokens *t,
			  const struct pst_counters *before,
			  const struct pst_counters *after, uint64_t ns)
{
	t->ns[t->nr] = ns;
	t->needed[t->nr++] =
		(uint32_t)(after->misses - before->misses +
			   after->prefetch_used - before->prefetch_used);
}

void cli_bench_tokens_json(const struct cli_bench_tokens *t)
{
	printf("\"token_s\":[");
	for (uint32_t i = 0; i < t->nr; i++)
		printf("%s%.6f", i ? "," : "", (double)t->ns[i] * 1e-9);
	printf("],\"token_needed_experts\":[");
	for (uint32_t i = 0; i < t->nr; i++)
		printf("%s%" PRIu32, i ? "," : "", t->needed[i]);
	printf("]");
}
