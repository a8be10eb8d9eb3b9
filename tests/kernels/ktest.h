/* SPDX-License-Identifier: MIT */
/*
 * What the tests of the kernels share: names of the types, the tables that the
 * running CPU allows, and the exactness they are all held to.
 */
#ifndef PST_KTEST_H
#define PST_KTEST_H

#include "pst_kernels.h"

struct ktest_type {
	enum pst_ktype type;
	const char *name;
};

static const struct ktest_type ktest_types[] = {
	{ PST_K_F32, "F32" },	      { PST_K_F16, "F16" },
	{ PST_K_BF16, "BF16" },	      { PST_K_Q4_0, "Q4_0" },
	{ PST_K_Q4_1, "Q4_1" },	      { PST_K_Q5_0, "Q5_0" },
	{ PST_K_Q5_1, "Q5_1" },	      { PST_K_Q8_0, "Q8_0" },
	{ PST_K_Q2_K, "Q2_K" },	      { PST_K_Q3_K, "Q3_K" },
	{ PST_K_Q4_K, "Q4_K" },	      { PST_K_Q5_K, "Q5_K" },
	{ PST_K_Q6_K, "Q6_K" },	      { PST_K_IQ4_NL, "IQ4_NL" },
	{ PST_K_IQ4_XS, "IQ4_XS" },   { PST_K_MXFP4, "MXFP4" },
	{ PST_K_IQ2_XXS, "IQ2_XXS" }, { PST_K_IQ2_XS, "IQ2_XS" },
	{ PST_K_IQ2_S, "IQ2_S" },     { PST_K_IQ3_XXS, "IQ3_XXS" },
	{ PST_K_IQ3_S, "IQ3_S" },     { PST_K_IQ1_S, "IQ1_S" },
	{ PST_K_IQ1_M, "IQ1_M" },     { PST_K_TQ1_0, "TQ1_0" },
	{ PST_K_TQ2_0, "TQ2_0" },     { PST_K_NVFP4, "NVFP4" },
	{ PST_K_Q1_0, "Q1_0" },	      { PST_K_Q2_0, "Q2_0" },
};

#define KTEST_NR_TYPES (sizeof(ktest_types) / sizeof(ktest_types[0]))

/* Masks of the tables that there are, the reference first. */
static const uint32_t ktest_masks[] = {
	0,
	PST_CPU_AVX2,
	PST_CPU_AVX2 | PST_CPU_AVXVNNI,
	PST_CPU_AVX2 | PST_CPU_AVX512,
	PST_CPU_AVX2 | PST_CPU_AVX512 | PST_CPU_VNNI,
	PST_CPU_NEON,
	PST_CPU_NEON | PST_CPU_DOTPROD,
};

#define KTEST_NR_MASKS (sizeof(ktest_masks) / sizeof(ktest_masks[0]))

/* Whether the running CPU can run the table of a mask. */
static inline bool ktest_can_run(uint32_t mask)
{
	return (mask & pst_cpu_detect()) == mask;
}

#endif
