// SPDX-License-Identifier: MIT
/*
 * The code books in the forms in which they are looked up; see
 * book_tables_x86.h.  Compiled for the base ISA.
 */
#include "book_tables_x86.h"

#include "pst_iq_books.h"
#include "pst_k16.h"

/* What digit @d of @values stands for, as byte @k of an entry. */
#define CODE(values, d, k) \
	(((((values) >> 8 * (d)) + BOOK_OFFSET) & 0xff) << 8 * (k))

/* Weight @k of entry @e, with digits of 2 and of 3 bits. */
#define CODE2(values, e, k) CODE(values, (e) >> 2 * (k)&3, k)
#define CODE3(values, e, k) CODE(values, (e) >> 3 * (k)&7, k)

#define EIGHT(values, e)                                                   \
	(CODE2(values, e, 0) | CODE2(values, e, 1) | CODE2(values, e, 2) | \
	 CODE2(values, e, 3) | CODE2(values, e, 4) | CODE2(values, e, 5) | \
	 CODE2(values, e, 6) | CODE2(values, e, 7))
#define FOUR(values, e)                                        \
	(uint32_t)(CODE3(values, e, 0) | CODE3(values, e, 1) | \
		   CODE3(values, e, 2) | CODE3(values, e, 3))

#define IQ1(e)	   EIGHT((uint64_t)PST_K16_IQ1_VALUES, e),
#define IQ2(e)	   EIGHT((uint64_t)PST_K16_IQ2_VALUES, e),
#define IQ3_XXS(e) FOUR((uint64_t)PST_K16_IQ3_XXS_VALUES, e),
#define IQ3_S(e)   FOUR((uint64_t)PST_K16_IQ3_S_VALUES, e),
#define NIBBLES(e) \
	((e)&7) | ((e)&0x38) << 1 | ((e)&0x1c0) << 2 | ((e)&0xe00) << 3,

const uint64_t pst_k_iq2_xxs_codes[256] = { PST_K_IQ2_XXS_BOOK(IQ2) };
const uint64_t pst_k_iq2_xs_codes[512] = { PST_K_IQ2_XS_BOOK(IQ2) };
const uint64_t pst_k_iq2_s_codes[1024] = { PST_K_IQ2_S_BOOK(IQ2) };
const uint64_t pst_k_iq1_codes[2048] = { PST_K_IQ1_BOOK(IQ1) };
const uint32_t pst_k_iq3_xxs_codes[256] = { PST_K_IQ3_XXS_BOOK(IQ3_XXS) };
const uint32_t pst_k_iq3_s_codes[512] = { PST_K_IQ3_S_BOOK(IQ3_S) };
const uint16_t pst_k_iq3_xxs_nibbles[256] = { PST_K_IQ3_XXS_BOOK(NIBBLES) };
const uint16_t pst_k_iq3_s_nibbles[512] = { PST_K_IQ3_S_BOOK(NIBBLES) };
