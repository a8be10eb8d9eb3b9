// SPDX-License-Identifier: MIT
/*
 * io over io_uring: one ring, registered files and buffers, one system call
 * per batch; on wish a ring that polls.  The creating thread must be the one
 * that submits and reaps.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "io_priv.h"

/* Files past this many are used by descriptor. */
#define FIXED_FILES_MAX 256
#define CQE_BATCH	64
/* For how long the kernel's thread looks in vain before it sleeps: about what
 * a read takes.  While it looks it has a core, which computing would need.
 */
#define SQPOLL_IDLE_MS 2

/*
 * @region: what is registered, by index; without a length where nothing is
 * @issued: reads were: this ring is the one to stay
 */
struct uring {
	struct pst_io_backend base;
	const struct pst_io_setup *setup;
	enum pst_io_mode mode;
	bool issued;
	struct io_uring ring;
	bool has_fixed_files;
	bool has_fixed_buffers;
	bool said_unregistered;
	bool fixed_file[FIXED_FILES_MAX];
	struct iovec region[PST_IO_REGIONS_MAX];
	struct pst_io_list failed; /* the kernel would not take these */
};

/*
 * From the best to what every kernel with IORING_OP_READ has.  DEFER_TASKRUN:
 * completions are processed when we look, not as interruptions of a kernel
 * that computes.  TASKRUN_FLAG: looking costs no system call when there is
 * nothing to process.
 */
static const unsigned int setup_flags[] = {
	IORING_SETUP_CLAMP | IORING_SETUP_SINGLE_ISSUER |
		IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_TASKRUN_FLAG,
	IORING_SETUP_CLAMP | IORING_SETUP_COOP_TASKRUN |
		IORING_SETUP_TASKRUN_FLAG,
	IORING_SETUP_CLAMP,
	0,
};

/**
 * struct mode_row - what a mode changes
 * @add, @drop: setup flags
 * @need: IORING_FEAT_* without which the kernel's own rules forbid it
 * @entries: of the submission queue, for each read in flight.  A polling thread
 *	takes a batch and gives its entries back at the end of it, when reads
 *	of the same batch may have been reaped and followed by others.
 */
struct mode_row {
	unsigned int add;
	unsigned int drop;
	unsigned int need;
	uint32_t entries;
};

static const struct mode_row mode_rows[PST_IO_NR_MODES] = {
	[PST_IO_IRQ] = { .entries = 1 },
	[PST_IO_SQPOLL] = { .add = IORING_SETUP_SQPOLL,
			    .drop = IORING_SETUP_DEFER_TASKRUN |
				    IORING_SETUP_COOP_TASKRUN |
				    IORING_SETUP_TASKRUN_FLAG,
			    .need = IORING_FEAT_SQPOLL_NONFIXED,
			    .entries = 2 },
	[PST_IO_IOPOLL] = { .add = IORING_SETUP_IOPOLL, .entries = 1 },
};

static struct uring *to_uring(struct pst_io_backend *be)
{
	return (struct uring *)be;
}

static int ring_open(struct io_uring *ring, uint32_t depth,
		     enum pst_io_mode mode)
{
	const struct mode_row *m = &mode_rows[mode];
	struct io_uring_params p;
	int ret = -EINVAL;

	for (size_t i = 0; i < PST_ARRAY_SIZE(setup_flags); i++) {
		memset(&p, 0, sizeof(p));
		p.flags = (setup_flags[i] & ~m->drop) | m->add;
		p.sq_thread_idle = SQPOLL_IDLE_MS;
		ret = io_uring_queue_init_params(depth * m->entries, ring, &p);
		if (ret != -EINVAL)
			break;
	}
	if (ret || (p.features & m->need) == m->need)
		return ret;
	io_uring_queue_exit(ring);
	return -EOPNOTSUPP;
}

static bool ring_can_read(struct io_uring *ring)
{
	struct io_uring_probe *probe = io_uring_get_probe_ring(ring);
	bool can;

	if (!probe)
		return false;
	can = io_uring_opcode_supported(probe, IORING_OP_READ) &&
	      io_uring_opcode_supported(probe, IORING_OP_READ_FIXED);
	io_uring_free_probe(probe);
	return can;
}

static bool file_register(struct uring *u, uint32_t index, int fd)
{
	return u->has_fixed_files && index < FIXED_FILES_MAX &&
	       io_uring_register_files_update(&u->ring, index, &fd, 1) == 1;
}

/* Return: 0 or -errno. */
static int region_register(struct uring *u, uint32_t index,
			   const struct iovec *iov)
{
	__u64 tag = 0;
	int ret = -EOPNOTSUPP;

	if (u->has_fixed_buffers)
		ret = io_uring_register_buffers_update_tag(&u->ring, index, iov,
							   &tag, 1);
	if (ret != 1)
		return ret < 0 ? ret : -EIO;
	u->region[index] = *iov;
	return 0;
}

/* The ring learns of all that the one before it knew. */
static void ring_fill(struct uring *u)
{
	const struct pst_io_files *files = u->setup->files;

	u->has_fixed_files =
		!io_uring_register_files_sparse(&u->ring, FIXED_FILES_MAX);
	u->has_fixed_buffers =
		!io_uring_register_buffers_sparse(&u->ring, PST_IO_REGIONS_MAX);
	for (uint32_t i = 0; i < PST_MIN(files->nr, FIXED_FILES_MAX); i++)
		u->fixed_file[i] = file_register(u, i, files->v[i].fd);
	for (uint32_t i = 0; i < PST_IO_REGIONS_MAX; i++) {
		struct iovec iov = u->region[i];

		u->region[i].iov_len = 0;
		if (iov.iov_len)
			(void)region_register(u, i, &iov);
	}
}

/* Return: 0, or -errno with the old ring in its place. */
static int ring_replace(struct uring *u, enum pst_io_mode mode)
{
	struct io_uring ring;
	int ret = ring_open(&ring, u->setup->depth, mode);

	if (ret)
		return ret;
	/* First: what is pinned twice may be more than may be locked. */
	io_uring_queue_exit(&u->ring);
	u->ring = ring;
	u->mode = mode;
	ring_fill(u);
	return 0;
}

/* Read the first block of a file over a ring that polls: 0 or -errno. */
static int read_polled(const struct pst_io_file *f)
{
	struct io_uring_cqe *cqe;
	struct io_uring ring;
	void *buf;
	int ret;

	if (!f->direct)
		return -EOPNOTSUPP;
	if (posix_memalign(&buf, f->align, f->align))
		return -ENOMEM;
	ret = ring_open(&ring, 1, PST_IO_IOPOLL);
	if (ret)
		goto free_buf;
	io_uring_prep_read(io_uring_get_sqe(&ring), f->fd, buf, f->align, 0);
	ret = io_uring_submit(&ring);
	while (ret >= 0) {
		ret = io_uring_wait_cqe(&ring, &cqe);
		if (ret != -EINTR)
			break;
		ret = 0;
	}
	if (!ret)
		ret = PST_MIN(cqe->res, 0);
	io_uring_queue_exit(&ring);
free_buf:
	free(buf);
	return ret;
}

/* A drive without poll queues is found by a read, as O_DIRECT is. */
static int check_polled(struct uring *u, const char *path,
			const struct pst_io_file *f, struct pst_diag *diag)
{
	int ret = read_polled(f);

	if (ret != -EOPNOTSUPP && ret != -EINVAL)
		return 0;
	if (u->setup->must_mode || u->issued)
		return pst_diag_set_at(diag, -EOPNOTSUPP, path, UINT64_MAX,
				       "its drive cannot be polled: %s",
				       f->direct ? "it has no poll queues"
						 : "O_DIRECT is needed");
	pst_log(u->setup->log, PST_LOG_WARN,
		"%s: its drive cannot be polled (%s); interrupts are used",
		path, f->direct ? "it has no poll queues" : "no O_DIRECT");
	ret = ring_replace(u, PST_IO_IRQ);
	return ret ? pst_diag_set(diag, ret, "io_uring cannot be had: %s",
				  strerror(-ret))
		   : 0;
}

static void uring_destroy(struct pst_io_backend *be)
{
	struct uring *u = to_uring(be);

	/* The kernel takes a ring apart after we have gone, and what it still had
	 * pinned would be missing from the memory of who comes next.
	 */
	if (u->has_fixed_buffers)
		io_uring_unregister_buffers(&u->ring);
	io_uring_queue_exit(&u->ring);
	free(u);
}

static int uring_add_file(struct pst_io_backend *be, const char *path,
			  uint32_t index, struct pst_io_file *out,
			  struct pst_diag *diag)
{
	struct uring *u = to_uring(be);
	int ret;

	ret = pst_io_file_open(u->setup, path, out, diag);
	if (ret)
		return ret;
	if (u->mode == PST_IO_IOPOLL)
		ret = check_polled(u, path, out, diag);
	if (ret) {
		close(out->fd);
		return ret;
	}
	if (index < FIXED_FILES_MAX)
		u->fixed_file[index] = file_register(u, index, out->fd);
	return 0;
}

static int uring_add_region(struct pst_io_backend *be, uint32_t index,
			    void *addr, uint64_t size_bytes)
{
	struct uring *u = to_uring(be);
	struct iovec iov = { .iov_base = addr, .iov_len = size_bytes };
	int ret = region_register(u, index, &iov);

	if (!ret || u->said_unregistered)
		return ret;
	u->said_unregistered = true;
	pst_log(u->setup->log, PST_LOG_WARN,
		"cannot register %llu MiB with io_uring (%s%s); reads into it "
		"pin pages one by one",
		(unsigned long long)(size_bytes / PST_MIB), strerror(-ret),
		ret == -ENOMEM ? ", see ulimit -l" : "");
	return ret;
}

/* An empty buffer takes the place of the old one, which is unpinned. */
static int uring_drop_region(struct pst_io_backend *be, uint32_t index)
{
	struct uring *u = to_uring(be);
	struct iovec none = { 0 };

	return u->region[index].iov_len ? region_register(u, index, &none) : 0;
}

static void prepare(struct uring *u, struct io_uring_sqe *sqe,
		    struct pst_io_read *r)
{
	const struct pst_io_file *f = &u->setup->files->v[r->src];
	struct pst_io_span s = pst_io_span_of(r, f);
	bool fixed = r->src < FIXED_FILES_MAX && u->fixed_file[r->src];
	int fd = fixed ? (int)r->src : f->fd;

	if (r->region >= 0 && u->region[r->region].iov_len)
		io_uring_prep_read_fixed(sqe, fd, s.buf, s.len_bytes,
					 s.off_bytes, r->region);
	else
		io_uring_prep_read(sqe, fd, s.buf, s.len_bytes, s.off_bytes);
	if (fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, r);
}

/*
 * Will what is queued be taken after this error?  -EAGAIN, -EBUSY: the kernel
 * is short of memory for now.  A polling thread takes it in any case, unless it
 * is no more.
 */
static bool stays_queued(const struct uring *u, int err)
{
	return err == -EAGAIN || err == -EBUSY ||
	       (u->mode == PST_IO_SQPOLL && err != -EOWNERDEAD);
}

/*
 * Take back what the kernel has not consumed, with an error.  Where no thread
 * of it polls it reads the submission queue only inside our own
 * io_uring_enter(), so the tail may be moved back.
 */
static void fail_unsubmitted(struct uring *u, int err)
{
	struct io_uring_sq *sq = &u->ring.sq;
	unsigned int head = *sq->khead;

	for (unsigned int i = head; i != sq->sqe_tail; i++) {
		struct io_uring_sqe *sqe = &sq->sqes[i & *sq->kring_mask];
		struct pst_io_read *r =
			(struct pst_io_read *)(uintptr_t)sqe->user_data;

		r->result = err;
		pst_io_list_add(&u->failed, r);
	}
	sq->sqe_head = head;
	sq->sqe_tail = head;
	io_uring_smp_store_release(sq->ktail, head);
}

static void flush(struct uring *u)
{
	int ret;

	do {
		ret = io_uring_submit(&u->ring);
	} while (ret == -EINTR);
	if (ret < 0 && !stays_queued(u, ret))
		fail_unsubmitted(u, ret);
}

static void uring_issue(struct pst_io_backend *be, struct pst_io_read *list)
{
	struct uring *u = to_uring(be);
	struct io_uring_sqe *sqe;
	struct pst_io_read *next;

	u->issued = true;
	for (; list; list = next) {
		next = list->next;
		sqe = io_uring_get_sqe(&u->ring);
		if (!sqe) {
			list->result = -EAGAIN;
			pst_io_list_add(&u->failed, list);
			continue;
		}
		prepare(u, sqe, list);
	}
	flush(u);
}

/* May end without one: after a signal, or when the kernel is out of memory. */
static void wait_for_one(struct uring *u)
{
	int ret = io_uring_submit_and_wait(&u->ring, 1);

	if (ret >= 0 || ret == -EINTR)
		return;
	if (!stays_queued(u, ret))
		fail_unsubmitted(u, ret);
	if (!u->failed.head)
		pst_sleep_ns(50000);
}

static void collect(struct uring *u, struct pst_io_list *done)
{
	struct io_uring_cqe *cqes[CQE_BATCH];
	unsigned int nr;

	do {
		nr = io_uring_peek_batch_cqe(&u->ring, cqes, CQE_BATCH);
		for (unsigned int i = 0; i < nr; i++) {
			struct pst_io_read *r = io_uring_cqe_get_data(cqes[i]);

			r->result = cqes[i]->res;
			pst_io_list_add(done, r);
		}
		io_uring_cq_advance(&u->ring, nr);
	} while (nr == CQE_BATCH);
}

static struct pst_io_read *uring_reap(struct pst_io_backend *be, bool wait)
{
	struct uring *u = to_uring(be);
	struct pst_io_list done = { 0 };

	if (io_uring_sq_ready(&u->ring))
		flush(u);
	/* A drive that is polled tells only who asks; waiting does ask. */
	if (u->mode == PST_IO_IOPOLL && !wait)
		(void)io_uring_get_events(&u->ring);
	for (;;) {
		struct pst_io_read *r;

		while ((r = pst_io_list_pop(&u->failed)))
			pst_io_list_add(&done, r);
		collect(u, &done);
		if (done.head || !wait)
			return done.head;
		wait_for_one(u);
	}
}

static enum pst_io_mode uring_mode(const struct pst_io_backend *be)
{
	return ((const struct uring *)be)->mode;
}

static const struct pst_io_ops uring_ops = {
	.name = "io_uring",
	.destroy = uring_destroy,
	.add_file = uring_add_file,
	.add_region = uring_add_region,
	.drop_region = uring_drop_region,
	.issue = uring_issue,
	.mode = uring_mode,
	.reap = uring_reap,
};

static int say_no_ring(int ret, struct pst_diag *diag)
{
	if (ret == -EPERM || ret == -EACCES)
		return pst_diag_set(diag, -EPERM,
				    "io_uring is forbidden here (sysctl "
				    "kernel.io_uring_disabled or seccomp)");
	if (ret == -EINVAL)
		ret = -ENOSYS;
	return pst_diag_set(diag, ret, "io_uring cannot be had: %s",
			    strerror(-ret));
}

/* A ring of the mode that was asked for, or of the one that always works. */
static int ring_choose(struct uring *u, struct pst_diag *diag)
{
	const struct pst_io_setup *setup = u->setup;
	const char *name = pst_io_mode_name(setup->mode);
	int ret = ring_open(&u->ring, setup->depth, setup->mode), why;

	u->mode = setup->mode;
	if (!ret)
		return 0;
	if (setup->must_mode)
		return pst_diag_set(diag, -EOPNOTSUPP,
				    "io_uring has no %s here: %s", name,
				    strerror(-ret));
	if (setup->mode == PST_IO_IRQ)
		return say_no_ring(ret, diag);
	u->mode = PST_IO_IRQ;
	why = ret;
	ret = ring_open(&u->ring, setup->depth, PST_IO_IRQ);
	if (ret)
		return say_no_ring(ret, diag);
	pst_log(setup->log, PST_LOG_WARN,
		"io_uring has no %s here (%s); interrupts are used", name,
		strerror(-why));
	return 0;
}

int pst_io_uring_create(const struct pst_io_setup *setup,
			struct pst_io_backend **out, struct pst_diag *diag)
{
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return pst_diag_set(diag, -ENOMEM, "no memory for a ring");
	u->base.ops = &uring_ops;
	u->setup = setup;
	ret = ring_choose(u, diag);
	if (ret)
		goto free_uring;
	if (!ring_can_read(&u->ring)) {
		ret = pst_diag_set(diag, -ENOSYS,
				   "this kernel's io_uring cannot read files");
		goto exit_ring;
	}
	ring_fill(u);
	*out = &u->base;
	return 0;

exit_ring:
	io_uring_queue_exit(&u->ring);
free_uring:
	free(u);
	return ret;
}
