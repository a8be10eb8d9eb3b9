// SPDX-License-Identifier: MIT
/*
 * Products with 8-bit activations, AVX2: the code-book formats; see
 * mul_q8_256_tmpl.h.  Integer parts are those of the reference; the float sums
 * are bounded by a few eps times the sum of |scale x code x activation|.
 */
#include "books_x86.h"
#include "dot_avx2.h"
#include "mul_q8_256_tmpl.h"
#include "x86_priv.h"

/* Codes with the offset, mirrored at it where a sign is set. */
PST_K_INLINE __m256i mirror(__m256i codes, uint32_t signs)
{
	__m256i minus = mask32(signs);
	__m256i two = _mm256_set1_epi8((char)(2 * BOOK_OFFSET + 1));

	return _mm256_add_epi8(_mm256_xor_si256(codes, minus),
			       _mm256_and_si256(minus, two));
}

/* Bytes of 7 signs get the eighth that makes their number even. */
PST_K_INLINE uint32_t even_signs(uint32_t signs)
{
	uint32_t x = signs ^ signs >> 4;

	x ^= x >> 2;
	x ^= x >> 1;
	return signs | (x & 0x01010101) << 7;
}

/* The same of 4 x 7 signs. */
PST_K_INLINE uint32_t even_signs28(uint32_t x)
{
	x = (x & 0x00003fff) | (x & 0x0fffc000) << 2;
	x = (x & 0x007f007f) | (x & 0x3f803f80) << 1;
	return even_signs(x);
}

PST_K_INLINE __m256i codes_iq2_xxs(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + 2 + 8 * c;
	__m128i lower = entries2(pst_k_iq2_xxs_codes, q[0], q[1]);
	__m128i upper = entries2(pst_k_iq2_xxs_codes, q[2], q[3]);

	return mirror(_mm256_set_m128i(upper, lower),
		      even_signs28(pst_k_load_u32(q + 4)));
}

PST_K_INLINE __m256i codes_iq2_xs(const uint8_t *p, uint32_t c)
{
	uint64_t q = load_u64(p + 2 + 8 * c), signs;

	signs = q >> 9 & 0x007f007f007f007f;
	signs |= signs >> 8;
	signs = (signs & 0xffff) | (signs >> 16 & 0xffff0000);
	return mirror(entries4(pst_k_iq2_xs_codes, q & 0x01ff01ff01ff01ff),
		      even_signs((uint32_t)signs));
}

PST_K_INLINE __m256i codes_iq2_s(const uint8_t *p, uint32_t c)
{
	return mirror(entries4(pst_k_iq2_s_codes, index_iq2_s(p, c)),
		      pst_k_load_u32(p + 34 + 4 * c));
}

/* Four entries of a book of 3-bit digits. */
PST_K_INLINE __m128i entries4_iq3(const uint32_t *book, uint64_t i0,
				  uint64_t i1, uint64_t i2, uint64_t i3)
{
	__m128i v = _mm_cvtsi32_si128((int)book[i0]);

	v = _mm_insert_epi32(v, (int)book[i1], 1);
	v = _mm_insert_epi32(v, (int)book[i2], 2);
	return _mm_insert_epi32(v, (int)book[i3], 3);
}

PST_K_INLINE __m256i codes_iq3_xxs(const uint8_t *p, uint32_t c)
{
	const uint32_t *book = pst_k_iq3_xxs_codes;
	const uint8_t *q = p + 2 + 8 * c;
	__m128i lower = entries4_iq3(book, q[0], q[1], q[2], q[3]);
	__m128i upper = entries4_iq3(book, q[4], q[5], q[6], q[7]);

	return mirror(_mm256_set_m128i(upper, lower),
		      even_signs28(pst_k_load_u32(p + 66 + 4 * c)));
}

/* Bit 8 of index k is bit k of @h. */
PST_K_INLINE __m128i entries4_iq3_s(const uint8_t *q, uint32_t h)
{
	return entries4_iq3(pst_k_iq3_s_codes, q[0] | (h & 1) << 8,
			    q[1] | (h & 2) << 7, q[2] | (h & 4) << 6,
			    q[3] | (h & 8) << 5);
}

PST_K_INLINE __m256i codes_iq3_s(const uint8_t *p, uint32_t c)
{
	const uint8_t *q = p + 2 + 8 * c;
	__m128i lower = entries4_iq3_s(q, p[66 + c]);
	__m128i upper = entries4_iq3_s(q + 4, p[66 + c] >> 4);

	return mirror(_mm256_set_m128i(upper, lower),
		      pst_k_load_u32(p + 74 + 4 * c));
}

/* A sign takes an eighth away instead of adding it: 2 in these codes. */
PST_K_INLINE __m256i codes_iq1_s(const uint8_t *p, uint32_t c)
{
	__m256i v = entries4(pst_k_iq1_codes, index_iq1_s(p, c));
	uint32_t two = pst_k_load_u16(p + 34 + 2 * c) >> 15 << 1;

	return _mm256_sub_epi8(v, _mm256_set1_epi8((char)two));
}

PST_K_INLINE __m256i codes_iq1_m(const uint8_t *p, uint32_t c)
{
	const __m256i at = _mm256_set_epi64x(48, 52, 56, 60);
	__m256i v = entries4(pst_k_iq1_codes, index_iq1_m(p, c));
	__m256i h = _mm256_set1_epi64x(pst_k_load_u16(p + 32 + 2 * c));

	h = _mm256_cmpgt_epi64(_mm256_setzero_si256(),
			       _mm256_sllv_epi64(h, at));
	return _mm256_sub_epi8(v, _mm256_and_si256(h, _mm256_set1_epi8(2)));
}

/* (2 s + 1) d */
PST_K_INLINE __m256 odd_ps(__m256i s, float d)
{
	s = _mm256_add_epi32(_mm256_add_epi32(s, s), _mm256_set1_epi32(1));
	return _mm256_mul_ps(_mm256_cvtepi32_ps(s), _mm256_set1_ps(d));
}

PST_K_INLINE struct wscale book_scale(struct book_scales b)
{
	struct wscale s = NO_SCALES;

	s.scale = odd_ps(b.lower, b.d);
	s.scale_upper = odd_ps(b.upper, b.d);
	return s;
}

#define DEFINE_BOOK(type, name, kind, by16)                         \
	PST_K_INLINE struct wscale wscales_##name(const uint8_t *p, \
						  uint32_t nr)      \
	{                                                           \
		(void)nr;                                           \
		return book_scale(scales_##name(p));                \
	}                                                           \
                                                                    \
	static const struct fmt fmt_##name = {                      \
		.bytes = PST_K_##type##_BYTES,                      \
		.offset = BOOK_OFFSET,                              \
		.sub16 = by16,                                      \
		.scales = wscales_##name,                           \
		.codes = codes_##name,                              \
		.dot = dot_u8,                                      \
	};

PST_K_BOOK_TYPES(DEFINE_BOOK)
PST_K_BOOK_TYPES(DEFINE_MUL)

void pst_k_fill_mul_books_avx2(struct pst_kernels *k)
{
	PST_K_BOOK_TYPES(PST_K_SET_MUL)
}
