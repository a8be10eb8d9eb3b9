// SPDX-License-Identifier: MIT
/*
 * Which kernels --cpu and the environment ask for, and whether the processor
 * has them: the one place that reads PENSTOCK_CPU.
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

/* --cpu, which is a level by name; the processor may lack it. */
static int check_option(uint32_t mask, const struct cli_cpu *cpu)
{
	const struct cli_choice *c = cli_cpu_levels;

	if ((mask & pst_cpu_mask()) == mask)
		return 0;
	while (c->name && (uint32_t)c->value != mask)
		c++;
	cli_error("--cpu %s: this processor has %s; name one of these, or "
		  "leave it out",
		  c->name, cpu->levels);
	return EXIT_USAGE;
}

int cli_cpu_opts(struct pst_engine_opts *e)
{
	struct cli_cpu cpu;

	cli_cpu_env(&cpu);
	if (e->cpu_mask_set)
		return check_option(e->cpu_mask, &cpu);
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
