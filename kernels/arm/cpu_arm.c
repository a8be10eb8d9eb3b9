// SPDX-License-Identifier: MIT
/*
 * Which of our instruction sets the running 64-bit ARM CPU has, by the word of
 * the operating system, and the order in which their kernels go over the
 * table.  Compiled for the base ISA.
 */
#include <asm/hwcap.h>
#include <sys/auxv.h>

#include "pst_kpriv.h"

uint32_t pst_cpu_detect(void)
{
	unsigned long has = getauxval(AT_HWCAP);

	if (!(has & HWCAP_ASIMD))
		return 0;
	if (!(has & HWCAP_ASIMDDP))
		return PST_CPU_NEON;
	return PST_CPU_NEON | PST_CPU_DOTPROD;
}

/* Nobody has timed these kernels on a real ARM CPU, so there is one row. */
void pst_kcpu_detect(struct pst_kcpu *cpu)
{
	*cpu = (struct pst_kcpu){ .vendor = PST_KCPU_OTHER };
}

/* The wider set counts only where the one below it is in the mask too. */
void pst_k_overlay_isa(struct pst_kernels *k, uint32_t cpu_mask)
{
	if (!(cpu_mask & PST_CPU_NEON))
		return;
	pst_k_overlay_neon(k);
	if (cpu_mask & PST_CPU_DOTPROD)
		pst_k_overlay_dotprod(k);
}
