// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX-512 without VNNI: the large code
 * books and the formats of pst_k16.h without one; see mul_q8_512_tmpl.h.
 * Integer parts are those of the reference; the float sums are bounded by a few
 * eps times the sum of |scale x code x activation|.
 */
#include "dot_avx512.h"
#include "fmt_books_512_tmpl.h"
#include "fmt_k16_512_tmpl.h"
#include "x86_priv.h"

PST_K_LARGE_BOOK_TYPES(DEFINE_BOOK512)
PST_K_LARGE_BOOK_TYPES(DEFINE_MUL512)
PST_K_PLAIN16_TYPES(DEFINE_MUL512)

void pst_k_fill_mul_k16_avx512(struct pst_kernels *k)
{
	PST_K_LARGE_BOOK_TYPES(PST_K_SET_MUL)
	PST_K_PLAIN16_TYPES(PST_K_SET_MUL)
}
