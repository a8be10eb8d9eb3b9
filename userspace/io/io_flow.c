// SPDX-License-Identifier: MIT
/*
 * The way of a read through io: two queues by class, bounded hand-over to the
 * backend, continuation of attempts that came back short, accounting.  It
 * knows nothing of how a backend moves bytes, and backends know nothing of
 * classes and of requests that need more than one attempt.
 */
#include <errno.h>
#include <string.h>

#include "io_priv.h"
#include "probe.h"

/* Attempts in a row without a new byte before a read is given up. */
#define STALLS_MAX 16

static void busy_enter(struct pst_io_busy *b, uint64_t now_ns)
{
	if (!b->nr++)
		b->since_ns = now_ns;
}

static void busy_leave(struct pst_io_busy *b, uint64_t now_ns)
{
	if (!--b->nr)
		b->sum_ns += now_ns - b->since_ns;
}

static uint64_t busy_sum(const struct pst_io_busy *b)
{
	return b->sum_ns + (b->nr ? pst_now_ns() - b->since_ns : 0);
}

static bool is_idle(const struct pst_io_read *r)
{
	return r->prio == PST_IO_IDLE;
}

static struct pst_io_list *queue_of(struct pst_io *io,
				    const struct pst_io_read *r)
{
	return &io->waiting[is_idle(r)];
}

static bool in_region(const struct pst_io *io, const struct pst_io_read *r)
{
	const struct pst_io_region *reg;
	uintptr_t a = (uintptr_t)r->buf;

	if (r->region < 0)
		return true;
	if ((uint32_t)r->region >= io->nr_regions)
		return false;
	reg = &io->regions[r->region];
	return !reg->dropped && a >= reg->addr &&
	       a - reg->addr <= reg->size_bytes &&
	       r->len_bytes <= reg->size_bytes - (a - reg->addr);
}

static bool well_formed(const struct pst_io *io, const struct pst_io_read *r)
{
	uint64_t mask = io->align - 1;

	if (r->file >= io->nr_sources || !r->len_bytes ||
	    r->need_bytes > r->len_bytes || r->off_bytes > INT64_MAX)
		return false;
	if ((r->off_bytes | r->len_bytes | (uintptr_t)r->buf) & mask)
		return false;
	return in_region(io, r);
}

/* A read becomes io's: counted until leave(). */
static void enter(struct pst_io *io, struct pst_io_read *r, uint64_t now_ns)
{
	r->result = 0;
	r->done_bytes = 0;
	r->retries = 0;
	r->stalls = 0;
	r->submit_ns = now_ns;
	r->tried = 0;
	PST_PROBE4(submit, r, r->file, r->off_bytes, r->len_bytes);
	busy_enter(&io->all, now_ns);
	if (!is_idle(r))
		busy_enter(&io->demand, now_ns);
	if (well_formed(io, r)) {
		r->src = io->sources[r->file].nr > 1
				 ? PST_IO_NO_FILE
				 : io->sources[r->file].file[0];
		if (r->region >= 0)
			io->regions[r->region].nr_reads++;
		r->state = PST_IO_WAITING;
		pst_io_list_add(queue_of(io, r), r);
	} else {
		r->result = -EINVAL;
		r->state = PST_IO_REFUSED;
		pst_io_list_add(&io->refused, r);
	}
}

/* A read is the caller's again. */
static void leave(struct pst_io *io, struct pst_io_read *r, uint64_t now_ns)
{
	busy_leave(&io->all, now_ns);
	if (!is_idle(r))
		busy_leave(&io->demand, now_ns);
	if (r->region >= 0 && r->state != PST_IO_REFUSED)
		io->regions[r->region].nr_reads--;
	r->state = PST_IO_HOME;
}

/* The next read that may be handed over; NULL when none may. */
static struct pst_io_read *next_read(const struct pst_io *io)
{
	struct pst_io_read *r = io->waiting[PST_IO_DEMAND].head;

	if (r || !io->idle_bytes_max)
		return r;
	r = io->waiting[PST_IO_IDLE].head;
	if (r && io->idle_flying_bytes &&
	    io->idle_flying_bytes + r->len_bytes > io->idle_bytes_max)
		return NULL;
	return r;
}

/* Say where each read of a batch goes; continued ones stay where they were. */
static void direct(struct pst_io *io, struct pst_io_read *batch)
{
	uint64_t now_ns = batch ? pst_now_ns() : 0;

	for (; batch; batch = batch->next) {
		if (batch->src == PST_IO_NO_FILE)
			pst_io_copy_choose(io, batch, now_ns);
		pst_io_copy_begin(io, batch, now_ns);
	}
}

/* Give the backend as much of the queues as it may hold, in one batch. */
static void pump(struct pst_io *io)
{
	struct pst_io_list batch = { 0 };
	struct pst_io_read *r;

	while (io->nr_inflight < io->depth && (r = next_read(io))) {
		pst_io_list_del(queue_of(io, r), r);
		pst_io_list_add(&batch, r);
		r->state = PST_IO_FLYING;
		io->nr_inflight++;
		if (is_idle(r))
			io->idle_flying_bytes += r->len_bytes;
	}
	if (io->nr_copies)
		direct(io, batch.head);
	if (batch.head)
		io->be->ops->issue(io->be, batch.head);
}

void pst_io_submit(struct pst_io *io, struct pst_io_read *list)
{
	uint64_t now_ns = pst_now_ns();
	struct pst_io_read *next;

	for (; list; list = next) {
		next = list->next;
		enter(io, list, now_ns);
	}
	pump(io);
}

void pst_io_set_depth(struct pst_io *io, uint32_t depth)
{
	io->depth = PST_MIN(PST_MAX(depth, 1u), io->setup.depth);
	pump(io);
}

void pst_io_set_idle_bytes(struct pst_io *io, uint64_t bytes)
{
	io->idle_bytes_max = bytes;
	pump(io);
}

void pst_io_promote(struct pst_io *io, struct pst_io_read *r)
{
	if (r->state == PST_IO_HOME || !is_idle(r))
		return;
	if (r->state == PST_IO_WAITING)
		pst_io_list_del(queue_of(io, r), r);
	else if (r->state == PST_IO_FLYING)
		io->idle_flying_bytes -= r->len_bytes;
	r->prio = PST_IO_DEMAND;
	busy_enter(&io->demand, pst_now_ns());
	io->stats.promoted++;
	if (r->state == PST_IO_WAITING) {
		pst_io_list_add(queue_of(io, r), r);
		pump(io);
	}
}

bool pst_io_withdraw(struct pst_io *io, struct pst_io_read *r)
{
	if (r->state != PST_IO_WAITING)
		return false;
	pst_io_list_del(queue_of(io, r), r);
	leave(io, r, pst_now_ns());
	io->stats.withdrawn++;
	return true;
}

/*
 * An attempt brought no new byte.  @err is what it said, 0 for bytes that had
 * landed before.  Return: true when the request is over.
 */
static bool stalled(struct pst_io *io, struct pst_io_read *r, int err)
{
	if (++r->stalls < STALLS_MAX)
		return false;
	r->result = -EIO;
	pst_log(io->setup.log, PST_LOG_WARN,
		"%s: given up after %u attempts that brought nothing: %u of %u "
		"bytes at offset %llu (%s)",
		io->files.v[r->src].path, r->stalls, r->done_bytes,
		r->need_bytes, (unsigned long long)r->off_bytes,
		err ? strerror(-err) : "does the file end early?");
	return true;
}

static bool ended_early(struct pst_io *io, struct pst_io_read *r)
{
	r->result = -EIO;
	pst_log(io->setup.log, PST_LOG_WARN,
		"%s: file ends early: %u of %u bytes at offset %llu",
		io->files.v[r->src].path, r->done_bytes, r->need_bytes,
		(unsigned long long)r->off_bytes);
	return true;
}

/*
 * Look at what an attempt brought.  With O_DIRECT a transfer may end at any
 * byte, yet only start at a block: the next attempt reads the broken block
 * again, so progress is measured against what had landed before.
 *
 * Return: true when the request is over, its result set.
 */
static bool settle(struct pst_io *io, struct pst_io_read *r)
{
	uint32_t start = pst_io_start_of(r, &io->files.v[r->src]);
	int res = r->result;
	uint32_t landed;

	r->result = 0;
	if (res == -EAGAIN || res == -EINTR)
		return stalled(io, r, res);
	if (res < 0) {
		r->result = res;
		return true;
	}
	io->stats.read_bytes += (uint32_t)res;
	pst_io_drive_brought(&io->drives[io->files.v[r->src].drive],
			     (uint32_t)res);
	if (is_idle(r))
		io->stats.idle_bytes += (uint32_t)res;
	landed = start + (uint32_t)res;
	if (landed > r->done_bytes) {
		r->done_bytes = landed;
		r->stalls = 0;
		return landed >= r->need_bytes;
	}
	if (r->done_bytes >= r->need_bytes)
		return true;
	return res ? stalled(io, r, 0) : ended_early(io, r);
}

/* Sort ended attempts into finished requests and ones to go on with. */
static void sort_attempts(struct pst_io *io, struct pst_io_read *ended,
			  struct pst_io_list *done)
{
	struct pst_io_list again = { 0 };
	struct pst_io_read *next, *r;

	for (; ended; ended = next) {
		next = ended->next;
		io->nr_inflight--;
		if (is_idle(ended))
			io->idle_flying_bytes -= ended->len_bytes;
		if (io->nr_copies)
			pst_io_copy_end(io, ended);
		if (!settle(io, ended)) {
			ended->retries++;
			io->stats.continued++;
			pst_io_list_push(&again, ended);
		} else if (ended->result && pst_io_copy_retry(io, ended)) {
			pst_io_list_push(&again, ended);
		} else {
			ended->state = PST_IO_ENDED;
			pst_io_list_add(done, ended);
		}
	}
	/* They are older than anything that waits: the first goes in last. */
	while ((r = pst_io_list_pop(&again))) {
		r->state = PST_IO_WAITING;
		pst_io_list_push(queue_of(io, r), r);
	}
}

static void account(struct pst_io *io, struct pst_io_read *done)
{
	uint64_t now_ns = pst_now_ns();

	for (; done; done = done->next) {
		done->done_ns = now_ns;
		PST_PROBE3(complete, done, done->result,
			   now_ns - done->submit_ns);
		leave(io, done, now_ns);
		if (done->result) {
			io->stats.errors++;
			continue;
		}
		io->stats.reads++;
		if (is_idle(done))
			io->stats.idle_reads++;
	}
}

/*
 * Ask the backend.  With copies it matters when a read ended: what is there
 * already did so at an unknown time, what is waited for does so now.
 */
static struct pst_io_read *look(struct pst_io *io, bool wait)
{
	const struct pst_io_ops *ops = io->be->ops;
	struct pst_io_read *ended;

	if (!io->nr_copies)
		return ops->reap(io->be, wait);
	ended = ops->reap(io->be, false);
	io->blind_ns = pst_now_ns() - io->seen_ns;
	if (!ended && wait) {
		ended = ops->reap(io->be, true);
		io->blind_ns = 0;
	}
	io->seen_ns = pst_now_ns();
	return ended;
}

struct pst_io_read *pst_io_reap(struct pst_io *io, bool wait)
{
	struct pst_io_list done = io->refused;

	io->refused.head = NULL;
	while (io->nr_inflight) {
		sort_attempts(io, look(io, wait && !done.head), &done);
		pump(io);
		if (!wait || done.head)
			break;
	}
	if (done.head)
		account(io, done.head);
	return done.head;
}

uint32_t pst_io_outstanding(const struct pst_io *io)
{
	return io->all.nr;
}

void pst_io_stats_read(const struct pst_io *io, struct pst_io_stats *out)
{
	*out = io->stats;
	out->busy_ns = busy_sum(&io->all);
	out->demand_busy_ns = busy_sum(&io->demand);
}
