// SPDX-License-Identifier: MIT
/*
 * Which kernels the environment asks for: the one place that reads
 * PENSTOCK_CPU.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"

#ifdef __aarch64__
const struct cli_choice cli_cpu_levels[] = {
	{ "c", 0 }, { "neon", 8 }, { "dotprod", 24 }, { NULL, 0 }
};
#else
const struct cli_choice cli_cpu_levels[] = {
	{ "c", 0 },	 { "avx2", 1 }, { "avxvnni", 33 },
	{ "avx512", 3 }, { "vnni", 7 }, { NULL, 0 },
};
#endif

void cli_cpu_env(struct cli_cpu *out)
{
	const char *wanted = getenv("PENSTOCK_CPU");
	uint32_t has = pst_cpu_mask();
	size_t len = 0;

	if (wanted && !*wanted)
		wanted = NULL;
	*out = (struct cli_cpu){ .wanted = wanted,
				 .known = !wanted,
				 .mask = has };
	for (const struct cli_choice *c = cli_cpu_levels; c->name; c++) {
		uint32_t mask = (uint32_t)c->value;

		if ((mask & has) != mask)
			continue;
		len += (size_t)snprintf(out->levels + len,
					sizeof(out->levels) - len, "%s%s",
					len ? ", " : "", c->name);
		if (!wanted || strcmp(wanted, c->name))
			continue;
		out->known = true;
		out->mask = mask;
	}
}

int cli_cpu_opts(struct pst_engine_opts *e)
{
	struct cli_cpu cpu;

	if (e->cpu_mask_set)
		return 0;
	cli_cpu_env(&cpu);
	if (!cpu.known) {
		cli_error("PENSTOCK_CPU '%s': this processor has %s; set one "
			  "of these, or nothing",
			  cpu.wanted, cpu.levels);
		return EXIT_USAGE;
	}
	e->cpu_mask_set = cpu.wanted;
	e->cpu_mask = cpu.mask;
	return 0;
}
