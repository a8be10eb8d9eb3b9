// SPDX-License-Identifier: MIT
/*
 * io over io_uring: one ring, registered files and buffers, one system call
 * per batch.  The creating thread must be the one that submits and reaps.
 */
#include <errno.h>
#include <liburing.h>
#include <stdlib.h>
#include <string.h>

#include "io_priv.h"

/* Files past this many are used by descriptor. */
#define FIXED_FILES_MAX 256
#define CQE_BATCH	64

struct uring {
	struct pst_io_backend base;
	const struct pst_io_setup *setup;
	struct io_uring ring;
	bool has_fixed_files;
	bool has_fixed_buffers;
	bool said_unregistered;
	bool fixed_file[FIXED_FILES_MAX];
	bool fixed_region[PST_IO_REGIONS_MAX];
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

static struct uring *to_uring(struct pst_io_backend *be)
{
	return (struct uring *)be;
}

static int ring_open(struct io_uring *ring, uint32_t depth)
{
	struct io_uring_params p;
	int ret = -EINVAL;

	for (size_t i = 0; i < PST_ARRAY_SIZE(setup_flags); i++) {
		memset(&p, 0, sizeof(p));
		p.flags = setup_flags[i];
		ret = io_uring_queue_init_params(depth, ring, &p);
		if (ret != -EINVAL)
			break;
	}
	return ret;
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

static void uring_destroy(struct pst_io_backend *be)
{
	struct uring *u = to_uring(be);

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
	if (u->has_fixed_files && index < FIXED_FILES_MAX)
		u->fixed_file[index] =
			io_uring_register_files_update(&u->ring, index,
						       &out->fd, 1) == 1;
	return 0;
}

static int uring_add_region(struct pst_io_backend *be, uint32_t index,
			    void *addr, uint64_t size_bytes)
{
	struct uring *u = to_uring(be);
	struct iovec iov = { .iov_base = addr, .iov_len = size_bytes };
	__u64 tag = 0;
	int ret = -EOPNOTSUPP;

	if (u->has_fixed_buffers)
		ret = io_uring_register_buffers_update_tag(&u->ring, index,
							   &iov, &tag, 1);
	if (ret == 1) {
		u->fixed_region[index] = true;
		return 0;
	}
	if (ret >= 0)
		ret = -EIO;
	if (u->said_unregistered)
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
	__u64 tag = 0;
	int ret;

	ret = io_uring_register_buffers_update_tag(&u->ring, index, &none, &tag,
						   1);
	if (ret != 1)
		return ret < 0 ? ret : -EIO;
	u->fixed_region[index] = false;
	return 0;
}

static void prepare(struct uring *u, struct io_uring_sqe *sqe,
		    struct pst_io_read *r)
{
	const struct pst_io_file *f = &u->setup->files->v[r->src];
	struct pst_io_span s = pst_io_span_of(r, f);
	bool fixed = r->src < FIXED_FILES_MAX && u->fixed_file[r->src];
	int fd = fixed ? (int)r->src : f->fd;

	if (r->region >= 0 && u->fixed_region[r->region])
		io_uring_prep_read_fixed(sqe, fd, s.buf, s.len_bytes,
					 s.off_bytes, r->region);
	else
		io_uring_prep_read(sqe, fd, s.buf, s.len_bytes, s.off_bytes);
	if (fixed)
		sqe->flags |= IOSQE_FIXED_FILE;
	io_uring_sqe_set_data(sqe, r);
}

/*
 * Take back what the kernel has not consumed, with an error.  Without SQPOLL
 * it reads the submission queue only inside our own io_uring_enter(), so the
 * tail may be moved back.
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

/* -EAGAIN, -EBUSY: the kernel is short of memory for now; they stay queued. */
static void flush(struct uring *u)
{
	int ret;

	do {
		ret = io_uring_submit(&u->ring);
	} while (ret == -EINTR);
	if (ret < 0 && ret != -EAGAIN && ret != -EBUSY)
		fail_unsubmitted(u, ret);
}

static void uring_issue(struct pst_io_backend *be, struct pst_io_read *list)
{
	struct uring *u = to_uring(be);
	struct io_uring_sqe *sqe;
	struct pst_io_read *next;

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
	if (ret == -EAGAIN || ret == -EBUSY)
		pst_sleep_ns(50000);
	else
		fail_unsubmitted(u, ret);
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

static const struct pst_io_ops uring_ops = {
	.name = "io_uring",
	.destroy = uring_destroy,
	.add_file = uring_add_file,
	.add_region = uring_add_region,
	.drop_region = uring_drop_region,
	.issue = uring_issue,
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

int pst_io_uring_create(const struct pst_io_setup *setup,
			struct pst_io_backend **out, struct pst_diag *diag)
{
	struct uring *u = calloc(1, sizeof(*u));
	int ret;

	if (!u)
		return pst_diag_set(diag, -ENOMEM, "no memory for a ring");
	u->base.ops = &uring_ops;
	u->setup = setup;
	ret = ring_open(&u->ring, setup->depth);
	if (ret) {
		ret = say_no_ring(ret, diag);
		goto free_uring;
	}
	if (!ring_can_read(&u->ring)) {
		ret = pst_diag_set(diag, -ENOSYS,
				   "this kernel's io_uring cannot read files");
		goto exit_ring;
	}
	u->has_fixed_files =
		!io_uring_register_files_sparse(&u->ring, FIXED_FILES_MAX);
	u->has_fixed_buffers =
		!io_uring_register_buffers_sparse(&u->ring, PST_IO_REGIONS_MAX);
	*out = &u->base;
	return 0;

exit_ring:
	io_uring_queue_exit(&u->ring);
free_uring:
	free(u);
	return ret;
}
