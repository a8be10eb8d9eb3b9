/* SPDX-License-Identifier: MIT */
/*
 * What io learns of a drive: how long a read will take there.  Times come from
 * the caller, so that a test can make its own drives.
 */
#ifndef PST_IO_DRIVE_H
#define PST_IO_DRIVE_H

#include "base.h"

/**
 * struct pst_io_drive - one block device
 * @id: device number
 * @name: "nvme0n1", or the device number
 * @path: a file on it, for messages; not owned
 * @inflight_bytes: handed over and not ended
 * @latency_ns, @ns_per_byte: what is expected of a read, see
 *	pst_io_drive_expect_ns()
 * @sum_w, @sum_q, @sum_t, @sum_qq, @sum_qt: decayed sums over samples: one,
 *	bytes queued, time, and their products
 * @progress_ns: when a read ended last, or when the first of those in flight
 *	was handed over
 * @issue_ns: when a read was handed over last
 * @reads, @read_bytes, @errors: attempts that brought bytes, the bytes, and
 *	failures, since creation
 * @window_bytes: handed over since the last look at shares
 * @trouble: errors, each success takes a little off
 * @left_out: has failed too often; read from only where no other copy is left
 * @said_error, @said_slow: the log has been told
 */
struct pst_io_drive {
	uint64_t id;
	char name[32];
	const char *path;
	uint64_t inflight_bytes;
	double latency_ns;
	double ns_per_byte;
	double sum_w, sum_q, sum_t, sum_qq, sum_qt;
	uint64_t progress_ns;
	uint64_t issue_ns;
	uint64_t reads;
	uint64_t read_bytes;
	uint64_t errors;
	uint64_t window_bytes;
	double trouble;
	bool left_out;
	bool said_error;
	bool said_slow;
};

/** pst_io_drive_init() - an unknown drive: taken for 1 GB/s and 100 us */
void pst_io_drive_init(struct pst_io_drive *d, uint64_t id);

/** pst_io_drive_begin() - an attempt at @len_bytes was handed over */
void pst_io_drive_begin(struct pst_io_drive *d, uint32_t len_bytes,
			uint64_t now_ns);

/** pst_io_drive_end() - an attempt at @len_bytes has ended, well or not */
void pst_io_drive_end(struct pst_io_drive *d, uint32_t len_bytes,
		      uint64_t now_ns);

/**
 * pst_io_drive_learn() - an attempt brought all that it asked for
 * @queued_bytes: in flight right after it was handed over, itself included
 * @took_ns: from hand-over to completion
 */
void pst_io_drive_learn(struct pst_io_drive *d, uint64_t queued_bytes,
			uint64_t took_ns);

/**
 * pst_io_drive_failed() - an attempt has failed for good
 *
 * Return: true when the drive is left out from now on.
 */
bool pst_io_drive_failed(struct pst_io_drive *d);

/** pst_io_drive_brought() - an attempt has brought bytes */
void pst_io_drive_brought(struct pst_io_drive *d, uint32_t bytes);

/**
 * pst_io_drive_expect_ns() - when a further read would have ended
 * @seen_ns: up to when completions have been seen
 *
 * Latency and the time of all bytes that are queued by then.  A drive that has
 * been silent for longer than that is expected to stay silent for as long
 * again: it may hang.
 */
double pst_io_drive_expect_ns(const struct pst_io_drive *d, uint32_t len_bytes,
			      uint64_t seen_ns);

/**
 * pst_io_drive_pick() - where a read is expected to end first
 * @cand: [nr], nr >= 1; of those on one drive the first is picked
 * @now_ns: time
 * @seen_ns: as above, <= @now_ns
 *
 * Now and then a slow drive is tried, in no more than one fiftieth of the time,
 * so that one that has recovered is noticed.  Drives that were left out are
 * picked only when all are.
 *
 * Return: index into @cand.
 */
uint32_t pst_io_drive_pick(struct pst_io_drive *const *cand, uint32_t nr,
			   uint32_t len_bytes, uint64_t now_ns,
			   uint64_t seen_ns);

#endif
