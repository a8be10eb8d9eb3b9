// SPDX-License-Identifier: MIT
/*
 * See alloc_hook.h.  The one place with state at file scope: the linker's
 * wrappers have no other way to reach it.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "alloc_hook.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t nr, size_t size);
void *__real_realloc(void *p, size_t size);
void *__real_reallocarray(void *p, size_t nr, size_t size);
char *__real_strdup(const char *s);

void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t nr, size_t size);
void *__wrap_realloc(void *p, size_t size);
void *__wrap_reallocarray(void *p, size_t nr, size_t size);
char *__wrap_strdup(const char *s);

static struct {
	uint64_t nr;
	uint64_t bytes;
	uint64_t fail_at; /* 0 for never */
} hook;

void alloc_hook_reset(void)
{
	memset(&hook, 0, sizeof(hook));
}

void alloc_hook_fail_at(uint64_t nth)
{
	hook.fail_at = hook.nr + nth;
}

uint64_t alloc_hook_nr(void)
{
	return hook.nr;
}

uint64_t alloc_hook_bytes(void)
{
	return hook.bytes;
}

/* Sizes whose product overflows are the allocator's to refuse. */
static int allowed(size_t nr, size_t size)
{
	hook.nr++;
	hook.bytes += nr * size;
	if (hook.nr != hook.fail_at)
		return 1;
	errno = ENOMEM;
	return 0;
}

void *__wrap_malloc(size_t size)
{
	return allowed(1, size) ? __real_malloc(size) : NULL;
}

void *__wrap_calloc(size_t nr, size_t size)
{
	return allowed(nr, size) ? __real_calloc(nr, size) : NULL;
}

void *__wrap_realloc(void *p, size_t size)
{
	return allowed(1, size) ? __real_realloc(p, size) : NULL;
}

void *__wrap_reallocarray(void *p, size_t nr, size_t size)
{
	return allowed(nr, size) ? __real_reallocarray(p, nr, size) : NULL;
}

char *__wrap_strdup(const char *s)
{
	return allowed(1, strlen(s) + 1) ? __real_strdup(s) : NULL;
}
