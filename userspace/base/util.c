// SPDX-License-Identifier: MIT
/*
 * Clock, log sink, checked allocation and the parsing of sizes.
 */
#include <errno.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include "base.h"

uint64_t pst_now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return (uint64_t)ts.tv_sec * 1000000000ULL + (uint64_t)ts.tv_nsec;
}

void pst_sleep_ns(uint64_t ns)
{
	struct timespec ts = { .tv_sec = (time_t)(ns / 1000000000ULL),
			       .tv_nsec = (long)(ns % 1000000000ULL) };

	while (clock_nanosleep(CLOCK_MONOTONIC, 0, &ts, &ts) == EINTR)
		;
}

void pst_log(const struct pst_log *log, enum pst_log_level level,
	     const char *fmt, ...)
{
	char line[512];
	va_list ap;

	if (!log || !log->fn)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof(line), fmt, ap);
	va_end(ap);
	log->fn(log->ctx, level, line);
}

void *pst_calloc(uint64_t nr, uint64_t size_bytes)
{
	uint64_t total;

	if (!pst_mul_u64(nr, size_bytes, &total) || total > SIZE_MAX)
		return NULL;
	return calloc(1, total ? (size_t)total : 1);
}

uint64_t pst_median_u64(uint64_t *v, uint32_t nr)
{
	for (uint32_t i = 1; i < nr; i++)
		for (uint32_t j = i; j && v[j] < v[j - 1]; j--) {
			uint64_t t = v[j];

			v[j] = v[j - 1];
			v[j - 1] = t;
		}
	return (v[(nr - 1) / 2] + v[nr / 2]) / 2;
}

struct unit {
	const char *name;
	double factor;
};

static const struct unit units[] = {
	{ "", 1 },
	{ "B", 1 },
	{ "K", 1024.0 },
	{ "KiB", 1024.0 },
	{ "KB", 1e3 },
	{ "M", 1048576.0 },
	{ "MiB", 1048576.0 },
	{ "MB", 1e6 },
	{ "G", 1073741824.0 },
	{ "GiB", 1073741824.0 },
	{ "GB", 1e9 },
	{ "T", 1099511627776.0 },
	{ "TiB", 1099511627776.0 },
	{ "TB", 1e12 },
};

int pst_parse_size(const char *s, uint64_t *out)
{
	double v;
	char *end;

	if (*s < '0' || *s > '9')
		return -EINVAL;
	v = strtod(s, &end);
	while (*end == ' ')
		end++;
	for (size_t i = 0; i < PST_ARRAY_SIZE(units); i++) {
		if (strcasecmp(end, units[i].name))
			continue;
		v *= units[i].factor;
		if (!isfinite(v) || v >= 9.2e18)
			return -ERANGE;
		*out = (uint64_t)v;
		return 0;
	}
	return -EINVAL;
}
