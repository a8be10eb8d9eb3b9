/* SPDX-License-Identifier: MIT */
/*
 * Counts the bytes that the code under test takes from the heap and makes a
 * chosen allocation fail.  Linked with --wrap, which only reaches our own
 * objects; see tests/support/meson.build.
 */
#ifndef PST_ALLOC_HOOK_H
#define PST_ALLOC_HOOK_H

#include <stddef.h>
#include <stdint.h>

/** alloc_hook_reset() - count from zero, nothing fails */
void alloc_hook_reset(void);

/** alloc_hook_fail_at() - the @nth allocation from now on (1..) fails, once */
void alloc_hook_fail_at(uint64_t nth);

/** alloc_hook_nr() - allocations since the reset */
uint64_t alloc_hook_nr(void);

/** alloc_hook_bytes() - bytes asked for since the reset, never less for free */
uint64_t alloc_hook_bytes(void);

#endif
