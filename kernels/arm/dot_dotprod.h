/* SPDX-License-Identifier: MIT */
/*
 * Sums of products of signed bytes with ARMv8.2 SDOT.
 */
#ifndef PST_K_DOT_DOTPROD_H
#define PST_K_DOT_DOTPROD_H

#include <arm_neon.h>

#include "pst_tile.h"

/* acc + w x; each lane gets the products of four bytes. */
PST_K_INLINE int32x4_t dot16(int32x4_t acc, int8x16_t w, int8x16_t x)
{
	return vdotq_s32(acc, w, x);
}

#endif
