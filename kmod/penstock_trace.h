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

/* The life of a pool. */
DECLARE_EVENT_CLASS(penstock_life,
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

DEFINE_EVENT(penstock_life, penstock_create,
	TP_PROTO(const struct pst_pool *pool, int rc),
	TP_ARGS(pool, rc)
);

DEFINE_EVENT(penstock_life, penstock_free,
	TP_PROTO(const struct pst_pool *pool, int rc),
	TP_ARGS(pool, rc)
);

/* Something was done to a part of a pool; in penstock_map rc counts segments. */
DECLARE_EVENT_CLASS(penstock_range,
	TP_PROTO(const struct pst_pool *pool, u64 offset, u64 bytes, int rc),
	TP_ARGS(pool, offset, bytes, rc),
	TP_STRUCT__entry(
		__field(u64, id)
		__field(u64, offset)
		__field(u64, bytes)
		__field(int, rc)
	),
	TP_fast_assign(
		__entry->id = pool->id;
		__entry->offset = offset;
		__entry->bytes = bytes;
		__entry->rc = rc;
	),
	TP_printk("pool=%llu offset=%llu bytes=%llu rc=%d", __entry->id,
		  __entry->offset, __entry->bytes, __entry->rc)
);

DEFINE_EVENT(penstock_range, penstock_fault,
	TP_PROTO(const struct pst_pool *pool, u64 offset, u64 bytes, int rc),
	TP_ARGS(pool, offset, bytes, rc)
);

DEFINE_EVENT(penstock_range, penstock_export,
	TP_PROTO(const struct pst_pool *pool, u64 offset, u64 bytes, int rc),
	TP_ARGS(pool, offset, bytes, rc)
);

DEFINE_EVENT(penstock_range, penstock_map,
	TP_PROTO(const struct pst_pool *pool, u64 offset, u64 bytes, int rc),
	TP_ARGS(pool, offset, bytes, rc)
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
