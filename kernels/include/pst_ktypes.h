/* SPDX-License-Identifier: MIT */
/*
 * The formats that every instruction set multiplies in integers, by the shape
 * of their blocks.  A format is a row here and, for each set, a struct fmt or
 * fmt512 of that name.
 */
#ifndef PST_KTYPES_H
#define PST_KTYPES_H

/* Blocks of 32 weights: X(type, name). */
#define PST_K_Q32_TYPES(X) \
	X(Q8_0, q8_0)      \
	X(Q4_0, q4_0)      \
	X(Q4_1, q4_1)      \
	X(Q5_0, q5_0)      \
	X(Q5_1, q5_1)      \
	X(IQ4_NL, iq4_nl)  \
	X(MXFP4, mxfp4)

/* Super-blocks of 256 weights. */
#define PST_K_SUPER_TYPES(X) \
	X(Q2_K, q2_k)        \
	X(Q3_K, q3_k)        \
	X(Q4_K, q4_k)        \
	X(Q5_K, q5_k)        \
	X(Q6_K, q6_k)        \
	X(IQ4_XS, iq4_xs)

/*
 * Code books: X(type, name, how digits become codes, scales of 16).  The small
 * ones have 256 or 512 entries, the large ones 1024 or 2048.
 */
#define PST_K_SMALL_BOOK_TYPES(X)           \
	X(IQ2_XXS, iq2_xxs, iq2, false)     \
	X(IQ2_XS, iq2_xs, iq2, true)        \
	X(IQ3_XXS, iq3_xxs, iq3_xxs, false) \
	X(IQ3_S, iq3_s, iq3_s, false)

#define PST_K_LARGE_BOOK_TYPES(X)   \
	X(IQ2_S, iq2_s, iq2, true)  \
	X(IQ1_S, iq1_s, iq1, false) \
	X(IQ1_M, iq1_m, iq1, true)

#define PST_K_BOOK_TYPES(X)       \
	PST_K_SMALL_BOOK_TYPES(X) \
	PST_K_LARGE_BOOK_TYPES(X)

/* The others of pst_k16.h. */
#define PST_K_PLAIN16_TYPES(X) \
	X(TQ1_0, tq1_0)        \
	X(TQ2_0, tq2_0)        \
	X(NVFP4, nvfp4)        \
	X(Q1_0, q1_0)          \
	X(Q2_0, q2_0)

/* The table's entry of a row of these lists. */
#define PST_K_SET_MUL(type, name, ...) k->types[PST_K_##type].mul = mul_##name;

#endif
