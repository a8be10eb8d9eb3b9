/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Tracepoints, /sys/kernel/tracing/events/penstock.  Pools appear by their id,
 * as in fdinfo.
 */
/* clang-format off */
#undef TRACE_SYSTEM
#define TRACE_SYSTEM penstock

#if !defined(PST_PENSTOCK_TRACE_H) || defined(TRACE_HEADER_MULTI_READ)
#define PST_PENSTOCK_TRACE_H

#include <linux/tracepoint.h>

#include "kmod.h"

TRACE_EVENT(penstock_create,
	TP_PROTO(const struct pst_pool *pool, int rc),
	TP_ARGS(pool, rc),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, bytes)
		__field(u64, alloc_ns)
		__field(u32, order)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->bytes = pool->bytes;
		__entry->alloc_ns = pool->alloc_ns;
		__entry->order = pool->order;
		__entry->rc = rc;
	),
	TP_printk("pool=%llu bytes=%llu order=%u alloc_ns=%llu rc=%d",
		  __entry->id, __entry->bytes, __entry->order,
		  __entry->alloc_ns, __entry->rc)
);

TRACE_EVENT(penstock_free,
	TP_PROTO(const struct pst_pool *pool),
	TP_ARGS(pool),
	TP_STRUCT__entry(
		__field(u64, id)
	),
	TP_fast_assign(
		__entry->id = pool->id;
	),
	TP_printk("pool=%llu", __entry->id)
);

TRACE_EVENT(penstock_fault,
	TP_PROTO(const struct pst_pool *pool, unsigned long page,
		 unsigned long nr_pages, int rc),
	TP_ARGS(pool, page, nr_pages, rc),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(unsigned long, page)
		__field(unsigned long, nr_pages)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->page = page;
		__entry->nr_pages = nr_pages;
		__entry->rc = rc;
	),
	TP_printk("pool=%llu page=%lu nr_pages=%lu rc=%d", __entry->id,
		  __entry->page, __entry->nr_pages, __entry->rc)
);

TRACE_EVENT(penstock_export,
	TP_PROTO(const struct pst_pool *pool, u64 offset, u64 bytes),
	TP_ARGS(pool, offset, bytes),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, offset)
		__field(u64, bytes)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->offset = offset;
		__entry->bytes = bytes;
	),
	TP_printk("pool=%llu offset=%llu bytes=%llu", __entry->id,
		  __entry->offset, __entry->bytes)
);

TRACE_EVENT(penstock_map,
	TP_PROTO(const struct pst_pool *pool, u64 bytes, unsigned int segments,
		 int rc),
	TP_ARGS(pool, bytes, segments, rc),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, bytes)
		__field(unsigned int, segments)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->bytes = bytes;
		__entry->segments = segments;
		__entry->rc = rc;
	),
	TP_printk("pool=%llu bytes=%llu segments=%u rc=%d", __entry->id,
		  __entry->bytes, __entry->segments, __entry->rc)
);

TRACE_EVENT(penstock_lease,
	TP_PROTO(const struct pst_pool *pool, u64 wait_ns, u64 busy_chunks,
		 int rc),
	TP_ARGS(pool, wait_ns, busy_chunks, rc),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, generation)
		__field(u64, wait_ns)
		__field(u64, busy_chunks)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->generation = READ_ONCE(pool->generation);
		__entry->wait_ns = wait_ns;
		__entry->busy_chunks = busy_chunks;
		__entry->rc = rc;
	),
	TP_printk("pool=%llu generation=%llu wait_ns=%llu busy=%llu rc=%d",
		  __entry->id, __entry->generation, __entry->wait_ns,
		  __entry->busy_chunks, __entry->rc)
);

#endif /* PST_PENSTOCK_TRACE_H */

#undef TRACE_INCLUDE_PATH
#define TRACE_INCLUDE_PATH .
#undef TRACE_INCLUDE_FILE
#define TRACE_INCLUDE_FILE penstock_trace
#include <trace/define_trace.h>
