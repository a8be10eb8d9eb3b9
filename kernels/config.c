// SPDX-License-Identifier: MIT
/*
 * The table of configurations: how far ahead products ask for weights and how
 * many activations they keep at hand, by family of CPUs.  No result depends
 * on a row.  To add one: measure with kcheck --bench --config, name the CPUs
 * in cpus[], and say below whether it was measured.
 */
#include "pst_kpriv.h"

enum config {
	DEFAULT,
	ZEN5,
	ZEN4,
	ZEN,
	INTEL_SERVER,
	INTEL_HYBRID,
	INTEL_256K
};

/*
 * Only Zen 5 was measured (Documentation/bench/kernels.rst).  The others have
 * its distances, and panels of at most half of a core's second level, which is
 * what the rule of Zen 5 would give them: 256 KB and 512 KB on older cores.
 */
static const struct pst_kconfig configs[] = {
	[DEFAULT] = { "default", 3072, 8192, 2048, 512 << 10 },
	[ZEN5] = { "zen5", 3072, 8192, 2048, 512 << 10 },
	[ZEN4] = { "zen4", 3072, 8192, 2048, 512 << 10 },
	[ZEN] = { "zen", 3072, 8192, 2048, 256 << 10 },
	[INTEL_SERVER] = { "intel-server", 3072, 8192, 2048, 512 << 10 },
	[INTEL_HYBRID] = { "intel-hybrid", 3072, 8192, 2048, 256 << 10 },
	[INTEL_256K] = { "intel-256k", 3072, 8192, 2048, 128 << 10 },
};

/* The first row that fits a CPU counts. */
static const struct {
	enum pst_kcpu_vendor vendor;
	uint8_t family;
	uint8_t first_model, last_model;
	uint8_t config;
} cpus[] = {
	{ PST_KCPU_AMD, 0x1a, 0x00, 0xff, ZEN5 },
	{ PST_KCPU_AMD, 0x19, 0x10, 0x1f, ZEN4 },
	{ PST_KCPU_AMD, 0x19, 0x60, 0x7f, ZEN4 },
	{ PST_KCPU_AMD, 0x19, 0xa0, 0xaf, ZEN4 },
	{ PST_KCPU_AMD, 0x19, 0x00, 0xff, ZEN }, /* Zen 3 */
	{ PST_KCPU_AMD, 0x17, 0x00, 0xff, ZEN },
	/* Skylake to Cooper Lake, Ice Lake, Sapphire to Granite Rapids. */
	{ PST_KCPU_INTEL, 6, 0x55, 0x55, INTEL_SERVER },
	{ PST_KCPU_INTEL, 6, 0x6a, 0x6c, INTEL_SERVER },
	{ PST_KCPU_INTEL, 6, 0x8f, 0x8f, INTEL_SERVER },
	{ PST_KCPU_INTEL, 6, 0xcf, 0xcf, INTEL_SERVER },
	{ PST_KCPU_INTEL, 6, 0xad, 0xae, INTEL_SERVER },
	/* Alder and Raptor Lake: four small cores share a second level. */
	{ PST_KCPU_INTEL, 6, 0x97, 0x9a, INTEL_HYBRID },
	{ PST_KCPU_INTEL, 6, 0xb7, 0xbf, INTEL_HYBRID },
	/* Haswell and Broadwell, then Skylake to Comet Lake. */
	{ PST_KCPU_INTEL, 6, 0x3c, 0x3f, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0x45, 0x4f, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0x56, 0x56, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0x5e, 0x5e, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0x8e, 0x8e, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0x9e, 0x9e, INTEL_256K },
	{ PST_KCPU_INTEL, 6, 0xa5, 0xa6, INTEL_256K },
};

const struct pst_kconfig *pst_kconfig_at(uint32_t i)
{
	return i < sizeof(configs) / sizeof(*configs) ? &configs[i] : NULL;
}

const struct pst_kconfig *pst_kconfig_of(const struct pst_kcpu *cpu)
{
	for (size_t i = 0; i < sizeof(cpus) / sizeof(*cpus); i++)
		if (cpu->vendor == cpus[i].vendor &&
		    cpu->family == cpus[i].family &&
		    cpu->model >= cpus[i].first_model &&
		    cpu->model <= cpus[i].last_model)
			return &configs[cpus[i].config];
	return &configs[DEFAULT];
}

const struct pst_kconfig *pst_kconfig_of_product(const struct pst_kmul *m)
{
	return m->config ? m->config : &configs[DEFAULT];
}
