// SPDX-License-Identifier: MIT
/*
 * Overlays of a CPU for which there are only the portable kernels.
 */
#include "pst_kpriv.h"

void pst_k_overlay_isa(struct pst_kernels *k, uint32_t cpu_mask)
{
	(void)k;
	(void)cpu_mask;
}

void pst_kcpu_detect(struct pst_kcpu *cpu)
{
	*cpu = (struct pst_kcpu){ .vendor = PST_KCPU_OTHER };
}

uint32_t pst_cpu_detect(void)
{
	return 0;
}
