/* SPDX-License-Identifier: MIT */
/*
 * The code books in the forms in which they are looked up; see
 * pst_iq_books.h.  An entry as the codes of its weights, a byte each, is a load
 * and nothing else: for AVX2, and on 512-bit vectors for books that do not fit
 * in registers.  Those that do are looked up there as they are packed; digits
 * of 3 bits have a nibble each.
 */
#ifndef PST_K_BOOK_TABLES_X86_H
#define PST_K_BOOK_TABLES_X86_H

#include <stdint.h>

/* Codes of the books, of at most 62, are made unsigned by adding this. */
#define BOOK_OFFSET 64

extern const uint64_t pst_k_iq2_xxs_codes[256];
extern const uint64_t pst_k_iq2_xs_codes[512];
extern const uint64_t pst_k_iq2_s_codes[1024];
extern const uint64_t pst_k_iq1_codes[2048];
extern const uint32_t pst_k_iq3_xxs_codes[256];
extern const uint32_t pst_k_iq3_s_codes[512];
extern const uint16_t pst_k_iq3_xxs_nibbles[256];
extern const uint16_t pst_k_iq3_s_nibbles[512];

#endif
