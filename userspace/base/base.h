/* SPDX-License-Identifier: MIT */
/*
 * base: what every module may use: error text, checked arithmetic, a clock, a
 * log sink and bounds on untrusted sizes.  Depends on nothing of ours.
 */
#ifndef PST_BASE_H
#define PST_BASE_H

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define PST_PRINTF(fmt_idx, arg_idx) \
	__attribute__((format(printf, fmt_idx, arg_idx)))
#define PST_ARRAY_SIZE(a) (sizeof(a) / sizeof((a)[0]))
#define PST_MIN(a, b)	  ((a) < (b) ? (a) : (b))
#define PST_MAX(a, b)	  ((a) > (b) ? (a) : (b))

#define PST_KIB (1024ULL)
#define PST_MIB (1024ULL * 1024)
#define PST_GIB (1024ULL * 1024 * 1024)

/**
 * struct pst_diag - where and why the first failure happened
 * @err: negative errno of the first failure, 0 while nothing failed
 * @text: one line without a newline: the object, the cause, the number
 * @file: path of the file concerned, or empty
 * @off_bytes: offset in @file, or UINT64_MAX where it means nothing
 *
 * The first failure wins: later ones leave it alone.  Every function that
 * takes a diag accepts NULL.
 */
struct pst_diag {
	int err;
	char text[1024];
	char file[512];
	uint64_t off_bytes;
};

/**
 * pst_diag_init() - make a diag empty
 * @d: caller's memory, not NULL
 */
void pst_diag_init(struct pst_diag *d);

/**
 * pst_diag_set() - record a failure unless one is recorded already
 * @d: may be NULL
 * @err: negative errno
 * @fmt: printf format of the one-line text
 *
 * Return: @err, so that callers can write "return pst_diag_set(...)".
 */
int pst_diag_set(struct pst_diag *d, int err, const char *fmt, ...)
	PST_PRINTF(3, 4);

/**
 * pst_diag_set_at() - record a failure that happened at a place in a file
 * @d: may be NULL
 * @err: negative errno
 * @file: path, copied
 * @off_bytes: offset in the file, UINT64_MAX for none
 * @fmt: printf format of the one-line text
 *
 * Return: @err.
 */
int pst_diag_set_at(struct pst_diag *d, int err, const char *file,
		    uint64_t off_bytes, const char *fmt, ...) PST_PRINTF(5, 6);

/* Checked arithmetic: true on success, the result untouched on overflow. */
static inline bool pst_add_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t r;

	if (__builtin_add_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

static inline bool pst_mul_u64(uint64_t a, uint64_t b, uint64_t *out)
{
	uint64_t r;

	if (__builtin_mul_overflow(a, b, &r))
		return false;
	*out = r;
	return true;
}

/* Round up to a power of two; the caller knows that it cannot overflow. */
static inline uint64_t pst_align_up(uint64_t v, uint64_t align)
{
	return (v + align - 1) & ~(align - 1);
}

static inline uint64_t pst_align_down(uint64_t v, uint64_t align)
{
	return v & ~(align - 1);
}

static inline bool pst_is_pow2(uint64_t v)
{
	return v && !(v & (v - 1));
}

/** pst_median_u64() - of a few values, > 0 of them; sorts them */
uint64_t pst_median_u64(uint64_t *v, uint32_t nr);

/** pst_now_ns() - CLOCK_MONOTONIC in nanoseconds */
uint64_t pst_now_ns(void);

/** pst_sleep_ns() - sleep at least this long, resumed after signals */
void pst_sleep_ns(uint64_t ns);

enum pst_log_level {
	PST_LOG_INFO,
	PST_LOG_WARN
};

/**
 * struct pst_log - where notices go; nothing below cli/ prints
 * @fn: called with one line without a newline, may be NULL
 * @ctx: handed to @fn
 */
struct pst_log {
	void (*fn)(void *ctx, enum pst_log_level level, const char *line);
	void *ctx;
};

/**
 * pst_log() - hand one line to the sink
 * @log: may be NULL: the line is dropped
 */
void pst_log(const struct pst_log *log, enum pst_log_level level,
	     const char *fmt, ...) PST_PRINTF(3, 4);

/**
 * pst_calloc() - zeroed array, refusing a product that overflows
 *
 * Return: memory owned by the caller (free()), or NULL.
 */
void *pst_calloc(uint64_t nr, uint64_t size_bytes);

/**
 * pst_parse_size() - "8G", "8GiB" (1024^3), "8GB" (10^9), "512M", plain bytes
 * @s: NUL-terminated text, a fraction is allowed ("1.5G")
 * @out: bytes
 *
 * Return: 0, -EINVAL for malformed text, -ERANGE past 2^63.
 */
int pst_parse_size(const char *s, uint64_t *out);

/**
 * pst_rng_next() - splitmix64: the seeded generator of tests and sampling
 * @state: advanced by each call
 */
static inline uint64_t pst_rng_next(uint64_t *state)
{
	uint64_t z = (*state += 0x9e3779b97f4a7c15ULL);

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}

#endif
