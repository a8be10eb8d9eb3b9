// SPDX-License-Identifier: MIT
/*
 * What an engine does when the world is not as wished: no O_DIRECT, no
 * io_uring, no locked memory, no file.  Restrictions that cannot be taken back
 * are put on a child process.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/vfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "io_testing.h"

/* A regular file of the kernel that refuses O_DIRECT everywhere. */
#define NO_DIRECT_PATH "/proc/self/status"
#define FILE_BYTES     (64 * BLOCK)
/* Exit status of a child that could not set its stage. */
#define CHILD_SKIP 77

static int setup(void **s)
{
	return tstate_make(s, sizeof(struct tstate), FILE_BYTES);
}

static struct pst_io *open_engine(enum pst_io_kind kind,
				  enum pst_io_direct direct, struct tlog *log)
{
	struct pst_io_args args = { .kind = kind,
				    .direct = direct,
				    .log = &log->sink };
	struct pst_io *io = NULL;

	tlog_init(log);
	assert_int_equal(pst_io_create(&args, &io, NULL), 0);
	return io;
}

static void a_fallback_to_the_page_cache_is_said(void **s)
{
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_AUTO, &log);

	assert_int_equal(pst_io_add_file(io, NO_DIRECT_PATH, NULL), 0);
	assert_non_null(strstr(log.text, NO_DIRECT_PATH));
	assert_non_null(strstr(log.text, "on proc"));
	assert_non_null(strstr(log.text, "page cache"));
	assert_non_null(strstr(pst_io_name(io), "buffered"));
	assert_null(strstr(pst_io_name(io), "O_DIRECT"));
	assert_string_equal(pst_io_path(io, 0), NO_DIRECT_PATH);
	pst_io_destroy(io);
}

static void demanded_direct_io_fails_where_it_cannot_be_had(void **s)
{
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_ON, &log);
	struct pst_diag diag;

	pst_diag_init(&diag);
	assert_true(pst_io_add_file(io, NO_DIRECT_PATH, &diag) < 0);
	assert_non_null(strstr(diag.text, "O_DIRECT"));
	assert_string_equal(diag.file, NO_DIRECT_PATH);
	assert_string_equal(log.text, "");
	pst_io_destroy(io);
}

static void tmpfs_reads_directly_or_says_so(void **s)
{
	struct tlog log;
	struct pst_io *io;
	struct tfile f;
	struct statfs sf;
	char name[32];
	void *buf;

	if (statfs("/dev/shm", &sf) || access("/dev/shm", W_OK)) {
		print_message("no /dev/shm here\n");
		skip();
	}
	io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_AUTO, &log);
	snprintf(name, sizeof(name), "pst-io-%d", (int)getpid());
	tfile_make(&f, "/dev/shm", name, 3 * BLOCK + 1);
	assert_int_equal(pst_io_add_file(io, f.path, NULL), 0);
	/* Exactly one of the two; which one depends on the kernel. */
	assert_true(!strstr(pst_io_name(io), "O_DIRECT") ==
		    !!strstr(log.text, f.path));
	buf = tbuf_alloc(4 * BLOCK);
	assert_int_equal(tread(io, buf, 0, 4 * BLOCK, 3 * BLOCK + 1), 0);
	tfile_check(&f, buf, 0, 3 * BLOCK + 1);
	free(buf);
	pst_io_destroy(io);
	tfile_free(&f);
}

static void buffered_reads_are_silent_when_asked_for(void **s)
{
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_OFF, &log);
	void *buf = tbuf_alloc(BLOCK);

	assert_int_equal(pst_io_add_file(io, st->file.path, NULL), 0);
	assert_string_equal(pst_io_name(io), "pread threads, buffered");
	assert_string_equal(log.text, "");
	assert_int_equal(tread(io, buf, BLOCK, BLOCK, BLOCK), 0);
	tfile_check(&st->file, buf, BLOCK, BLOCK);
	free(buf);
	pst_io_destroy(io);
}

static void direct_reads_report_their_alignment(void **s)
{
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_AUTO, &log);

	assert_int_equal(pst_io_add_file(io, st->file.path, NULL), 0);
	assert_true(pst_is_pow2(pst_io_align(io)));
	assert_true(pst_io_align(io) >= 4096);
	if (*log.text) {
		print_message("no O_DIRECT here: %s", log.text);
		pst_io_destroy(io);
		skip();
	}
	assert_string_equal(pst_io_name(io), "pread threads, O_DIRECT");
	pst_io_destroy(io);
}

static void what_is_no_file_is_refused(void **s)
{
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_PREAD, PST_IO_DIRECT_AUTO, &log);
	struct pst_diag diag;
	char fifo[300];

	pst_diag_init(&diag);
	assert_int_equal(pst_io_add_file(io, "/no/such/file", &diag), -ENOENT);
	assert_string_equal(diag.file, "/no/such/file");
	assert_int_equal(pst_io_add_file(io, st->dir, NULL), -EINVAL);
	snprintf(fifo, sizeof(fifo), "%s/fifo", st->dir);
	assert_int_equal(mkfifo(fifo, 0600), 0);
	assert_int_equal(pst_io_add_file(io, fifo, NULL), -EINVAL);
	unlink(fifo);
	/* Failures leave no holes. */
	assert_int_equal(pst_io_add_file(io, st->file.path, NULL), 0);
	pst_io_destroy(io);
}

/* io_uring fails reads of such files with EAGAIN when the drive is busy. */
static void no_file_stays_nonblocking(void **s)
{
	struct tstate *st = *s;
	static const enum pst_io_direct direct[] = { PST_IO_DIRECT_AUTO,
						     PST_IO_DIRECT_OFF };

	for (size_t i = 0; i < PST_ARRAY_SIZE(direct); i++) {
		struct pst_io_setup how = { .direct = direct[i] };
		struct pst_io_file f;

		assert_int_equal(
			pst_io_file_open(&how, st->file.path, &f, NULL), 0);
		assert_false(fcntl(f.fd, F_GETFL) & O_NONBLOCK);
		assert_int_equal(!!(fcntl(f.fd, F_GETFL) & O_DIRECT), f.direct);
		close(f.fd);
	}
}

static void an_empty_file_can_be_opened(void **s)
{
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_AUTO, PST_IO_DIRECT_AUTO, &log);
	void *buf = tbuf_alloc(BLOCK);
	struct tfile f;

	tfile_make(&f, st->dir, "empty", 0);
	assert_int_equal(pst_io_add_file(io, f.path, NULL), 0);
	assert_int_equal(tread(io, buf, 0, BLOCK, 0), 0);
	assert_int_equal(tread(io, buf, 0, BLOCK, 1), -EIO);
	assert_non_null(strstr(log.text, "ends early"));
	pst_io_destroy(io);
	tfile_free(&f);
	free(buf);
}

static void many_files_keep_their_indices(void **s)
{
	enum {
		NR_FILES = 300
	};
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_engine(PST_IO_AUTO, PST_IO_DIRECT_AUTO, &log);
	struct tfile *f = calloc(NR_FILES, sizeof(*f));
	unsigned char *buf = tbuf_alloc(BLOCK);
	char name[16];

	for (uint32_t i = 0; i < NR_FILES; i++) {
		snprintf(name, sizeof(name), "part%u", i);
		tfile_make(&f[i], st->dir, name, BLOCK + i);
		assert_int_equal(pst_io_add_file(io, f[i].path, NULL), i);
	}
	for (uint32_t i = 0; i < NR_FILES; i += 7) {
		struct pst_io_read r = { .file = i,
					 .len_bytes = BLOCK,
					 .need_bytes = BLOCK,
					 .buf = buf,
					 .region = -1 };

		pst_io_submit(io, &r);
		assert_ptr_equal(pst_io_reap(io, true), &r);
		assert_int_equal(r.result, 0);
		tfile_check(&f[i], buf, 0, BLOCK);
	}
	pst_io_destroy(io);
	for (uint32_t i = 0; i < NR_FILES; i++)
		tfile_free(&f[i]);
	free(f);
	free(buf);
}

static struct pst_io *open_ring(enum pst_io_mode mode, struct tlog *log)
{
	struct pst_io_args args = { .kind = PST_IO_URING,
				    .mode = mode,
				    .queue_depth = 4,
				    .log = &log->sink };
	struct pst_io *io = NULL;
	int ret;

	tlog_init(log);
	ret = pst_io_create(&args, &io, NULL);
	if (ret == -ENOSYS || ret == -EPERM)
		skip();
	assert_int_equal(ret, 0);
	return io;
}

/* What no drive backs cannot be polled, anywhere. */
static void a_file_that_cannot_be_polled_is_said_once(void **s)
{
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_ring(PST_IO_IOPOLL, &log);
	unsigned char *buf = tbuf_alloc(2 * BLOCK);
	struct pst_io_read r = { .file = 1,
				 .off_bytes = BLOCK,
				 .len_bytes = BLOCK,
				 .need_bytes = BLOCK,
				 .buf = buf,
				 .region = 0 };
	char *said;

	/* Memory that was registered with the ring that gave way is with the
	 * next one.
	 */
	assert_int_equal(pst_io_add_region(io, buf, 2 * BLOCK), 0);
	assert_int_equal(pst_io_add_file(io, NO_DIRECT_PATH, NULL), 0);
	assert_int_equal(pst_io_add_file(io, st->file.path, NULL), 1);
	said = strstr(log.text, "cannot be polled");
	assert_non_null(said);
	assert_null(strstr(said + 1, "cannot be polled"));
	assert_int_equal(pst_io_mode(io), PST_IO_IRQ);
	assert_null(strstr(pst_io_name(io), "iopoll"));
	pst_io_submit(io, &r);
	assert_ptr_equal(pst_io_reap(io, true), &r);
	assert_int_equal(r.result, 0);
	tfile_check(&st->file, buf, BLOCK, BLOCK);
	assert_int_equal(pst_io_drop_region(io, 0), 0);
	pst_io_destroy(io);
	free(buf);
}

static void a_demanded_mode_fails_where_it_cannot_be_had(void **s)
{
	struct pst_io_args args = { .kind = PST_IO_AUTO,
				    .mode = PST_IO_IOPOLL,
				    .must_mode = true };
	struct pst_diag diag;
	struct pst_io *io;

	pst_diag_init(&diag);
	if (!pst_io_create(&args, &io, &diag)) {
		assert_int_equal(pst_io_add_file(io, NO_DIRECT_PATH, &diag),
				 -EOPNOTSUPP);
		assert_string_equal(diag.file, NO_DIRECT_PATH);
		pst_io_destroy(io);
	}
	assert_true(*diag.text);
	args.kind = PST_IO_PREAD;
	pst_diag_init(&diag);
	assert_int_equal(pst_io_create(&args, &io, &diag), -EINVAL);
	assert_non_null(strstr(diag.text, "iopoll"));
}

static void threads_say_that_they_have_no_modes(void **s)
{
	struct pst_io_args args = { .kind = PST_IO_PREAD,
				    .mode = PST_IO_SQPOLL };
	struct pst_io *io;
	struct tlog log;

	tlog_init(&log);
	args.log = &log.sink;
	assert_int_equal(pst_io_create(&args, &io, NULL), 0);
	assert_non_null(strstr(log.text, "sqpoll"));
	assert_int_equal(pst_io_mode(io), PST_IO_IRQ);
	pst_io_destroy(io);
}

/* Between two reads it finds nothing to do, sleeps, and has to be woken; more
 * reads than the queue takes are handed over while it is awake.
 */
static void a_polling_thread_of_the_kernel_takes_every_read(void **s)
{
	enum {
		NR = 16,
		PAUSES = 20
	};
	struct tstate *st = *s;
	struct tlog log;
	struct pst_io *io = open_ring(PST_IO_SQPOLL, &log);
	unsigned char *buf = tbuf_alloc(NR * BLOCK);
	struct pst_io_read r[NR], *done;
	uint32_t nr;

	/* One of the two: it polls, or the log says why not. */
	assert_int_equal(pst_io_mode(io) == PST_IO_SQPOLL, !*log.text);
	assert_int_equal(pst_io_mode(io) == PST_IO_SQPOLL,
			 !!strstr(pst_io_name(io), "sqpoll"));
	assert_int_equal(pst_io_add_file(io, st->file.path, NULL), 0);
	for (uint32_t k = 0; k < PAUSES; k++) {
		nr = 0;
		for (uint32_t i = 0; i < NR; i++)
			r[i] = (struct pst_io_read){
				.off_bytes = (k + i) * BLOCK,
				.len_bytes = BLOCK,
				.need_bytes = BLOCK,
				.buf = buf + i * BLOCK,
				.region = -1,
				.next = i + 1 < NR ? &r[i + 1] : NULL,
			};
		pst_io_submit(io, r);
		/* In turns by looking and by waiting. */
		while (pst_io_outstanding(io))
			for (done = pst_io_reap(io, k % 2); done;
			     done = done->next) {
				assert_int_equal(done->result, 0);
				nr++;
			}
		assert_int_equal(nr, NR);
		for (uint32_t i = 0; i < NR; i++)
			tfile_check(&st->file, buf + i * BLOCK, (k + i) * BLOCK,
				    BLOCK);
		pst_sleep_ns(10000000);
	}
	pst_io_destroy(io);
	free(buf);
}

static bool forbid_ring(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS,
			 offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_io_uring_setup, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog prog = { .len = PST_ARRAY_SIZE(code),
				   .filter = code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &prog);
}

/* Return: exit status for the parent; 0 is success, else a place. */
static int child_without_ring(const struct tfile *f)
{
	struct pst_io_args args = { .kind = PST_IO_URING };
	struct pst_diag diag;
	struct tlog log;
	struct pst_io *io;
	void *buf;
	int ok;

	if (!forbid_ring())
		return CHILD_SKIP;
	pst_diag_init(&diag);
	if (pst_io_create(&args, &io, &diag) != -EPERM)
		return 1;
	if (diag.err != -EPERM || !strstr(diag.text, "forbidden"))
		return 2;
	tlog_init(&log);
	args.kind = PST_IO_AUTO;
	args.log = &log.sink;
	if (pst_io_create(&args, &io, NULL))
		return 3;
	if (!strstr(pst_io_name(io), "pread") || !strstr(log.text, "pread"))
		return 4;
	if (pst_io_add_file(io, f->path, NULL))
		return 5;
	buf = tbuf_alloc(BLOCK);
	ok = !tread(io, buf, 0, BLOCK, BLOCK) && !memcmp(buf, f->data, BLOCK);
	free(buf);
	pst_io_destroy(io);
	return ok ? 0 : 6;
}

/* What is left suffices for the ring itself, which some kernels count. */
static bool drop_lock_right(void)
{
	struct __user_cap_header_struct head = {
		.version = _LINUX_CAPABILITY_VERSION_3
	};
	struct __user_cap_data_struct data[2];
	struct rlimit rl = { .rlim_cur = 512 << 10, .rlim_max = 512 << 10 };

	if (syscall(SYS_capget, &head, data))
		return false;
	data[0].effective &= ~(1U << CAP_IPC_LOCK);
	data[0].permitted &= ~(1U << CAP_IPC_LOCK);
	return !syscall(SYS_capset, &head, data) &&
	       !setrlimit(RLIMIT_MEMLOCK, &rl);
}

static int child_without_locked_memory(const struct tfile *f)
{
	enum {
		BYTES = 1 << 20
	};
	struct pst_io_args args = { .kind = PST_IO_URING };
	struct pst_io_read r = { .len_bytes = BLOCK,
				 .need_bytes = BLOCK,
				 .region = 0 };
	struct tlog log;
	struct pst_io *io;

	if (!drop_lock_right())
		return CHILD_SKIP;
	tlog_init(&log);
	args.log = &log.sink;
	if (pst_io_create(&args, &io, NULL))
		return CHILD_SKIP;
	if (pst_io_add_file(io, f->path, NULL))
		return 1;
	r.buf = tbuf_alloc(BYTES);
	if (pst_io_add_region(io, r.buf, BYTES))
		return 2;
	if (!strstr(log.text, "cannot register 1 MiB") ||
	    !strstr(log.text, "ulimit -l"))
		return 3;
	if (strstr(pst_io_name(io), "registered"))
		return 4;
	pst_io_submit(io, &r);
	if (pst_io_reap(io, true) != &r || r.result)
		return 5;
	if (memcmp(r.buf, f->data, BLOCK))
		return 6;
	pst_io_destroy(io);
	free(r.buf);
	return 0;
}

static void in_child(const struct tfile *f, int (*fn)(const struct tfile *f))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid)
		_exit(fn(f));
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFEXITED(status));
	if (WEXITSTATUS(status) == CHILD_SKIP) {
		print_message("the restriction cannot be put on here\n");
		skip();
	}
	assert_int_equal(WEXITSTATUS(status), 0);
}

static void a_forbidden_ring_gives_way_to_threads(void **s)
{
	struct tstate *st = *s;

	in_child(&st->file, child_without_ring);
}

static void refused_registration_is_said_and_reads_work(void **s)
{
	struct tstate *st = *s;

	in_child(&st->file, child_without_locked_memory);
}

struct foreign {
	struct pst_io *io;
	struct pst_io_read reads[3];
	uint32_t nr_polled;
	uint32_t nr_reaped;
};

static void *submit_elsewhere(void *arg)
{
	struct foreign *f = arg;
	struct pst_io_read *r;

	pst_io_submit(f->io, f->reads);
	/* By looking and by waiting: neither may depend on the other. */
	for (int i = 0; i < 2000 && !f->nr_reaped; i++) {
		for (r = pst_io_reap(f->io, false); r; r = r->next)
			f->nr_reaped++;
		pst_sleep_ns(1000000);
	}
	f->nr_polled = f->nr_reaped;
	while ((r = pst_io_reap(f->io, true)))
		for (; r; r = r->next)
			f->nr_reaped++;
	return NULL;
}

/* A programmer's error; the kernel refuses it, and nobody must hang on it. */
static void reads_from_a_foreign_thread_come_back(void **s)
{
	struct tstate *st = *s;
	unsigned char *buf = tbuf_alloc(3 * BLOCK);
	struct foreign f = { 0 };
	pthread_t thread;
	struct tbed b;

	if (!tbed_open(&b, &tengines[0], &st->file, 4))
		skip();
	f.io = b.io;
	for (uint32_t i = 0; i < 3; i++)
		f.reads[i] = (struct pst_io_read){
			.len_bytes = BLOCK,
			.need_bytes = BLOCK,
			.buf = buf + i * BLOCK,
			.region = -1,
			.next = i < 2 ? &f.reads[i + 1] : NULL,
		};
	assert_int_equal(pthread_create(&thread, NULL, submit_elsewhere, &f),
			 0);
	pthread_join(thread, NULL);
	assert_true(f.nr_polled > 0);
	assert_int_equal(f.nr_reaped, 3);
	for (uint32_t i = 0; i < 3; i++)
		if (!f.reads[i].result)
			tfile_check(&st->file, buf + i * BLOCK, 0, BLOCK);
	/* And the owner can go on. */
	assert_int_equal(tread(b.io, buf, BLOCK, BLOCK, BLOCK), 0);
	tfile_check(&st->file, buf, BLOCK, BLOCK);
	tbed_close(&b);
	free(buf);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_fallback_to_the_page_cache_is_said),
		cmocka_unit_test(
			demanded_direct_io_fails_where_it_cannot_be_had),
		cmocka_unit_test(tmpfs_reads_directly_or_says_so),
		cmocka_unit_test(buffered_reads_are_silent_when_asked_for),
		cmocka_unit_test(direct_reads_report_their_alignment),
		cmocka_unit_test(what_is_no_file_is_refused),
		cmocka_unit_test(no_file_stays_nonblocking),
		cmocka_unit_test(an_empty_file_can_be_opened),
		cmocka_unit_test(many_files_keep_their_indices),
		cmocka_unit_test(a_file_that_cannot_be_polled_is_said_once),
		cmocka_unit_test(a_demanded_mode_fails_where_it_cannot_be_had),
		cmocka_unit_test(threads_say_that_they_have_no_modes),
		cmocka_unit_test(
			a_polling_thread_of_the_kernel_takes_every_read),
		cmocka_unit_test(a_forbidden_ring_gives_way_to_threads),
		cmocka_unit_test(refused_registration_is_said_and_reads_work),
		cmocka_unit_test(reads_from_a_foreign_thread_come_back),
	};

	return cmocka_run_group_tests(tests, setup, tstate_free);
}
