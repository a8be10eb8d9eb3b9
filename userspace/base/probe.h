/* SPDX-License-Identifier: MIT */
/*
 * probe: static probe points (USDT) of the provider "penstock", for bpftrace
 * and the like.  A point that nobody watches is one nop; without <sys/sdt.h>
 * at build time it is nothing.  Documentation/tracing.rst lists the points and
 * their arguments.
 */
#ifndef PST_PROBE_H
#define PST_PROBE_H

#ifdef PST_HAVE_SDT
#include <sys/sdt.h>
#define PST_PROBE2(name, a, b)	     DTRACE_PROBE2(penstock, name, a, b)
#define PST_PROBE3(name, a, b, c)    DTRACE_PROBE3(penstock, name, a, b, c)
#define PST_PROBE4(name, a, b, c, d) DTRACE_PROBE4(penstock, name, a, b, c, d)
#else
#define PST_PROBE2(name, a, b)	  ((void)(a), (void)(b))
#define PST_PROBE3(name, a, b, c) ((void)(a), (void)(b), (void)(c))
#define PST_PROBE4(name, a, b, c, d) \
	((void)(a), (void)(b), (void)(c), (void)(d))
#endif

#endif
