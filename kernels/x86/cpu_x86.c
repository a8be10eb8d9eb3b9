// SPDX-License-Identifier: MIT
/*
 * Which of our instruction sets the running x86 CPU has and the kernel saves
 * (cpuid and xgetbv), and the order in which their kernels go over the table.
 * Compiled for the base ISA.
 */
#include <cpuid.h>

#include "pst_kpriv.h"

/* State components of XCR0. */
#define XCR0_AVX    0x06u /* SSE and AVX registers */
#define XCR0_AVX512 0xe6u /* those, opmasks and both parts of the ZMM */

#define LEAF1_ECX_AVX2 (bit_FMA | bit_OSXSAVE | bit_AVX | bit_F16C)
#define LEAF7_EBX_AVX512 \
	(bit_AVX512F | bit_AVX512BW | bit_AVX512VL | bit_AVX512DQ | bit_BMI2)

#ifndef bit_AVXVNNI
#define bit_AVXVNNI (1u << 4)
#endif

static uint32_t read_xcr0(void)
{
	uint32_t eax, edx;

	__asm__ volatile("xgetbv" : "=a"(eax), "=d"(edx) : "c"(0));
	return eax;
}

uint32_t pst_cpu_detect(void)
{
	uint32_t eax, ebx, ecx, edx, xcr0, mask = 0;

	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx) ||
	    (ecx & LEAF1_ECX_AVX2) != LEAF1_ECX_AVX2)
		return 0;
	if (!__get_cpuid_count(7, 0, &eax, &ebx, &ecx, &edx))
		return 0;
	xcr0 = read_xcr0();
	if ((xcr0 & XCR0_AVX) == XCR0_AVX && (ebx & bit_AVX2))
		mask |= PST_CPU_AVX2;
	if (mask && (xcr0 & XCR0_AVX512) == XCR0_AVX512 &&
	    (ebx & LEAF7_EBX_AVX512) == LEAF7_EBX_AVX512)
		mask |= PST_CPU_AVX512;
	if ((mask & PST_CPU_AVX512) && (ecx & bit_AVX512VNNI))
		mask |= PST_CPU_VNNI;
	if (mask && __get_cpuid_count(7, 1, &eax, &ebx, &ecx, &edx) &&
	    (eax & bit_AVXVNNI))
		mask |= PST_CPU_AVXVNNI;
	return mask;
}

void pst_kcpu_detect(struct pst_kcpu *cpu)
{
	uint32_t eax, ebx, ecx, edx;

	*cpu = (struct pst_kcpu){ .vendor = PST_KCPU_OTHER };
	if (!__get_cpuid(0, &eax, &ebx, &ecx, &edx))
		return;
	if (ebx == signature_AMD_ebx)
		cpu->vendor = PST_KCPU_AMD;
	else if (ebx == signature_INTEL_ebx)
		cpu->vendor = PST_KCPU_INTEL;
	if (!__get_cpuid(1, &eax, &ebx, &ecx, &edx))
		return;
	/* Two fields each; the upper one of the family counts behind 15. */
	cpu->family = eax >> 8 & 0xf;
	if (cpu->family == 0xf)
		cpu->family += eax >> 20 & 0xff;
	cpu->model = (eax >> 4 & 0xf) | (eax >> 12 & 0xf0);
}

/* A wider set counts only where those below it are in the mask too. */
void pst_k_overlay_isa(struct pst_kernels *k, uint32_t cpu_mask)
{
	if (!(cpu_mask & PST_CPU_AVX2))
		return;
	pst_k_overlay_avx2(k);
	if (cpu_mask & PST_CPU_AVXVNNI)
		pst_k_overlay_avxvnni(k);
	if (!(cpu_mask & PST_CPU_AVX512))
		return;
	pst_k_overlay_avx512(k);
	if (cpu_mask & PST_CPU_VNNI)
		pst_k_overlay_vnni(k);
}
