// SPDX-License-Identifier: MIT
/*
 * The doctor's check of io_uring: each feature that penstock uses is used here
 * once, on memory and a file of our own, because what a kernel announces is not
 * what a container allows.
 */
#include <errno.h>
#include <liburing.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "doctor.h"

#define TEST_BYTES 65536

struct features {
	bool single_issuer;
	bool deferred;
	bool files;
	bool buffers;
	bool reads;
};

/* From the best ring to a plain one; 0 or -errno. */
static int open_ring(struct io_uring *ring, struct features *f)
{
	int ret = io_uring_queue_init(4, ring,
				      IORING_SETUP_SINGLE_ISSUER |
					      IORING_SETUP_DEFER_TASKRUN |
					      IORING_SETUP_TASKRUN_FLAG);

	f->single_issuer = f->deferred = !ret;
	if (ret != -EINVAL)
		return ret;
	ret = io_uring_queue_init(4, ring, IORING_SETUP_SINGLE_ISSUER);
	f->single_issuer = !ret;
	return ret == -EINVAL ? io_uring_queue_init(4, ring, 0) : ret;
}

static bool add_file(struct io_uring *ring, int fd)
{
	return !io_uring_register_files_sparse(ring, 4) &&
	       io_uring_register_files_update(ring, 0, &fd, 1) == 1;
}

static bool add_buffer(struct io_uring *ring, void *buf)
{
	struct iovec iov = { .iov_base = buf, .iov_len = TEST_BYTES };
	__u64 tag = 0;

	return !io_uring_register_buffers_sparse(ring, 4) &&
	       io_uring_register_buffers_update_tag(ring, 0, &iov, &tag, 1) ==
		       1;
}

bool doctor_uring_register(void *buf)
{
	struct features f;
	struct io_uring ring;
	bool ok;

	if (open_ring(&ring, &f))
		return false;
	ok = add_buffer(&ring, buf);
	io_uring_queue_exit(&ring);
	return ok;
}

/* One read the way experts are read, as far as the ring can. */
static bool try_read(struct io_uring *ring, const struct features *f, int fd,
		     unsigned char *buf)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);
	struct io_uring_cqe *cqe;
	bool ok;

	if (!sqe)
		return false;
	if (f->files)
		fd = 0;
	if (f->buffers)
		io_uring_prep_read_fixed(sqe, fd, buf, TEST_BYTES, 0, 0);
	else
		io_uring_prep_read(sqe, fd, buf, TEST_BYTES, 0);
	if (f->files)
		sqe->flags |= IOSQE_FIXED_FILE;
	if (io_uring_submit(ring) != 1 || io_uring_wait_cqe(ring, &cqe))
		return false;
	ok = cqe->res == TEST_BYTES && buf[TEST_BYTES - 1] == 0x5a;
	io_uring_cqe_seen(ring, cqe);
	return ok;
}

static void try_features(struct io_uring *ring, struct features *f)
{
	unsigned char *buf = mmap(NULL, TEST_BYTES, PROT_READ | PROT_WRITE,
				  MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	int fd = memfd_create("penstock-doctor", MFD_CLOEXEC);

	if (buf != MAP_FAILED && fd >= 0) {
		memset(buf, 0x5a, TEST_BYTES);
		if (write(fd, buf, TEST_BYTES) == TEST_BYTES) {
			memset(buf, 0, TEST_BYTES);
			f->files = add_file(ring, fd);
			f->buffers = add_buffer(ring, buf);
			f->reads = try_read(ring, f, fd, buf);
		}
	}
	/* The ring, which its caller closes, no longer writes there. */
	if (fd >= 0)
		close(fd);
	if (buf != MAP_FAILED)
		munmap(buf, TEST_BYTES);
}

static void say_none(struct doctor_finding *f, int err)
{
	bool forbidden = err == -EPERM || err == -EACCES;

	doctor_say(f, DOCTOR_WARN,
		   forbidden ? "io_uring is forbidden here (%s); threads with "
			       "pread are used"
			     : "io_uring cannot be had (%s); threads with "
			       "pread are used",
		   strerror(-err));
	doctor_mend(f, err == -ENOMEM
			       ? "ulimit -l unlimited: old kernels count rings "
				 "against memlock"
			       : "sysctl kernel.io_uring_disabled=0, or a "
				 "container profile that allows "
				 "io_uring_setup");
}

static const char *yes(bool there, const char *name)
{
	return there ? name : "";
}

void doctor_uring(const char *path, struct doctor_finding *f)
{
	struct features got = { 0 };
	struct io_uring ring;
	int err = open_ring(&ring, &got);

	if (err) {
		say_none(f, err);
		return;
	}
	try_features(&ring, &got);
	io_uring_queue_exit(&ring);
	if (!got.reads) {
		doctor_say(f, DOCTOR_WARN,
			   "a ring can be had, but a read through it failed; "
			   "threads with pread are used");
		doctor_mend(f, "a kernel of 5.19 or newer");
		return;
	}
	doctor_say(f, DOCTOR_OK, "works%s%s%s%s",
		   yes(got.single_issuer, ", single issuer"),
		   yes(got.deferred, ", deferred task work"),
		   yes(got.files, ", registered files"),
		   yes(got.buffers, ", registered buffers"));
	if (got.buffers && got.files && got.deferred)
		return;
	f->status = DOCTOR_WARN;
	if (!got.buffers)
		doctor_mend(f, "buffers cannot be registered, and each read "
			       "pins its pages: see memlock; a kernel of 5.19 "
			       "or newer");
	else
		doctor_mend(f, "a kernel of 6.1 or newer has deferred task "
			       "work, registered files without gaps since "
			       "5.19");
}
