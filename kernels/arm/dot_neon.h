/* SPDX-License-Identifier: MIT */
/*
 * Sums of products of signed bytes with ARMv8.0: products in 16 bits, then
 * pairs of them in 32.
 */
#ifndef PST_K_DOT_NEON_H
#define PST_K_DOT_NEON_H

#include <arm_neon.h>

#include "pst_tile.h"

/*
 * acc + w x.  Each lane gets the products of four bytes, which four is not
 * said.  Two products meet in 16 bits: 2 x 128 x 127 fits, since no activation
 * is -128.
 */
PST_K_INLINE int32x4_t dot16(int32x4_t acc, int8x16_t w, int8x16_t x)
{
	int16x8_t p = vmull_s8(vget_low_s8(w), vget_low_s8(x));

	return vpadalq_s16(acc, vmlal_high_s8(p, w, x));
}

#endif
