// SPDX-License-Identifier: MIT
/*
 * The code books of the IQ formats as they are packed: see pst_iq_books.h.
 */
#include "pst_iq_books.h"
#include "pst_k16.h"

#define ENTRY(digits) digits,

const uint16_t pst_k_iq2_xxs_grid[256] = { PST_K_IQ2_XXS_BOOK(ENTRY) };
const uint16_t pst_k_iq2_xs_grid[512] = { PST_K_IQ2_XS_BOOK(ENTRY) };
const uint16_t pst_k_iq2_s_grid[1024] = { PST_K_IQ2_S_BOOK(ENTRY) };
const uint16_t pst_k_iq1_grid[2048] = { PST_K_IQ1_BOOK(ENTRY) };
const uint16_t pst_k_iq3_xxs_grid[256] = { PST_K_IQ3_XXS_BOOK(ENTRY) };
const uint16_t pst_k_iq3_s_grid[512] = { PST_K_IQ3_S_BOOK(ENTRY) };
