// SPDX-License-Identifier: MIT
/*
 * Short forms of the module's calls and other things that several tests want.
 * Runs in the guest; knows nothing of single tests.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/utsname.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "kt.h"

void kt_fail(const char *file, int line, const char *what)
{
	printf("# %s:%d: %s (errno %d, %s)\n", file, line, what, errno,
	       strerror(errno));
	fflush(stdout);
	_exit(1);
}

void kt_equal(const char *file, int line, const char *what, long long got,
	      long long want)
{
	if (got == want)
		return;
	printf("# %s:%d: %s is %lld, not %lld\n", file, line, what, got, want);
	fflush(stdout);
	_exit(1);
}

void kt_skip(const char *why)
{
	printf("# skip: %s\n", why);
	fflush(stdout);
	_exit(KT_SKIP);
}

void kt_note(const char *format, ...)
{
	va_list args;

	va_start(args, format);
	printf("# ");
	vprintf(format, args);
	printf("\n");
	va_end(args);
	fflush(stdout);
}

int kt_call(int fd, unsigned long cmd, void *args)
{
	int rc = ioctl(fd, cmd, args);

	return rc < 0 ? -errno : rc;
}

int kt_device(void)
{
	int fd = open(PENSTOCK_DEVICE, O_RDWR | O_CLOEXEC);

	KT_CHECK(fd >= 0);
	return fd;
}

/* One call on the device. */
static int device_call(unsigned long cmd, void *args)
{
	int fd = kt_device();
	int rc = kt_call(fd, cmd, args);

	close(fd);
	return rc;
}

struct penstock_info kt_info(void)
{
	struct penstock_info args = { .size = sizeof(args) };

	KT_EQUAL(device_call(PENSTOCK_INFO, &args), 0);
	return args;
}

struct penstock_stat kt_stat(int pool)
{
	struct penstock_stat args = { .size = sizeof(args) };

	KT_EQUAL(kt_call(pool, PENSTOCK_STAT, &args), 0);
	return args;
}

int kt_create(struct penstock_create *args)
{
	int rc;

	args->size = sizeof(*args);
	rc = device_call(PENSTOCK_CREATE, args);
	return rc ? rc : args->fd;
}

int kt_pool(uint64_t bytes)
{
	struct penstock_create args = { .bytes = bytes,
					.order = KT_ORDER,
					.min_order = KT_ORDER };
	int fd = kt_create(&args);

	KT_CHECK(fd >= 0);
	return fd;
}

int kt_named(const char *name, uint64_t bytes)
{
	struct penstock_create args = { .flags = PENSTOCK_C_NAMED,
					.bytes = bytes,
					.order = KT_ORDER,
					.min_order = KT_ORDER };

	memcpy(args.name, name, strnlen(name, sizeof(args.name)));
	return kt_create(&args);
}

int kt_open(const char *name, uint32_t flags, uint64_t timeout_ms,
	    struct penstock_open *out)
{
	struct penstock_open args = { .size = sizeof(args),
				      .flags = flags,
				      .timeout_ns = timeout_ms * 1000000 };
	int rc;

	memcpy(args.name, name, strnlen(name, sizeof(args.name)));
	rc = device_call(PENSTOCK_OPEN, &args);
	if (out)
		*out = args;
	return rc ? rc : args.fd;
}

int kt_unlink(const char *name)
{
	struct penstock_unlink args = { .size = sizeof(args) };

	memcpy(args.name, name, strnlen(name, sizeof(args.name)));
	return device_call(PENSTOCK_UNLINK, &args);
}

void kt_unlink_all(void)
{
	FILE *f = fopen("/sys/kernel/debug/penstock/pools", "re");
	char line[512], state[16], name[PENSTOCK_NAME_LEN];
	unsigned int uid;

	while (f && fgets(line, sizeof(line), f)) {
		struct penstock_unlink args = { .size = sizeof(args),
						.flags = PENSTOCK_U_UID };
		int fd;

		if (sscanf(line, "%*u %u %*u %*u %*u %*u %15s %63s", &uid,
			   state, name) != 3)
			continue;
		args.uid = uid;
		memcpy(args.name, name, strlen(name));
		fd = kt_device();
		kt_call(fd, PENSTOCK_UNLINK, &args);
		close(fd);
	}
	if (f)
		fclose(f);
}

int kt_export(int pool, uint64_t off_bytes, uint64_t bytes, uint32_t flags)
{
	struct penstock_export args = { .size = sizeof(args),
					.flags = flags,
					.offset = off_bytes,
					.bytes = bytes };
	int rc = kt_call(pool, PENSTOCK_EXPORT, &args);

	return rc ? rc : args.fd;
}

int kt_wait_idle(int pool, uint64_t off_bytes, uint64_t bytes,
		 uint64_t timeout_ms)
{
	struct penstock_wait_idle args = { .size = sizeof(args),
					   .offset = off_bytes,
					   .bytes = bytes,
					   .timeout_ns = timeout_ms * 1000000 };

	return kt_call(pool, PENSTOCK_WAIT_IDLE, &args);
}

int kt_importer(void)
{
	int fd = open(KT_IMPORTER_DEVICE, O_RDWR | O_CLOEXEC);

	KT_CHECK(fd >= 0);
	return fd;
}

int kt_import(int importer, int dmabuf, struct kt_import *args)
{
	args->fd = dmabuf;
	return kt_call(importer, KT_IMPORT, args);
}

void *kt_map(int fd, uint64_t off_bytes, uint64_t bytes)
{
	void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			(off_t)off_bytes);

	KT_CHECK(at != MAP_FAILED);
	return at;
}

void *kt_map_read(int fd, uint64_t off_bytes, uint64_t bytes)
{
	void *at =
		mmap(NULL, bytes, PROT_READ, MAP_SHARED, fd, (off_t)off_bytes);

	KT_CHECK(at != MAP_FAILED);
	return at;
}

void kt_unmap(void *at, uint64_t bytes)
{
	KT_EQUAL(munmap(at, bytes), 0);
}

uint64_t kt_word(uint64_t i)
{
	return (i + 1) * 0x9e3779b97f4a7c15ULL;
}

bool kt_is_drive_data(const void *at, uint64_t off_bytes, uint64_t bytes)
{
	const uint64_t *words = at;
	uint64_t i;

	for (i = 0; i < bytes / 8; i++)
		if (words[i] != kt_word(off_bytes / 8 + i))
			return false;
	return true;
}

bool kt_is_zero(const void *at, uint64_t bytes)
{
	const uint64_t *words = at;
	uint64_t i;

	for (i = 0; i < bytes / 8; i++)
		if (words[i])
			return false;
	return true;
}

uint64_t kt_byte_sum(const void *at, uint64_t bytes)
{
	const uint8_t *byte = at;
	uint64_t i, sum = 0;

	for (i = 0; i < bytes; i++)
		sum += byte[i];
	return sum;
}

static int drive_number(const char *serial)
{
	char path[64], line[64];
	int i;

	for (i = 0; i < 4; i++) {
		bool found;
		FILE *f;

		snprintf(path, sizeof(path),
			 "/sys/block/nvme%dn1/device/serial", i);
		f = fopen(path, "re");
		if (!f)
			continue;
		found = fgets(line, sizeof(line), f) &&
			!strncmp(line, serial, strlen(serial));
		fclose(f);
		if (found)
			return i;
	}
	kt_skip("no emulated drive");
}

int kt_drive(const char *serial)
{
	char path[64];
	int fd;

	snprintf(path, sizeof(path), "/dev/nvme%dn1", drive_number(serial));
	fd = open(path, O_RDONLY | O_DIRECT | O_CLOEXEC);
	KT_CHECK(fd >= 0);
	return fd;
}

long kt_drive_reads(const char *serial)
{
	char path[64];

	snprintf(path, sizeof(path), "/sys/block/nvme%dn1/stat",
		 drive_number(serial));
	return kt_read_number(path);
}

static int wait_for(pid_t child)
{
	int status;

	KT_EQUAL(waitpid(child, &status, 0), child);
	return status;
}

static pid_t start_child(void (*run)(void *), void *arg)
{
	pid_t child;

	fflush(stdout);
	child = fork();
	KT_CHECK(child >= 0);
	if (!child) {
		run(arg);
		_exit(0);
	}
	return child;
}

int kt_in_child(void (*run)(void *), void *arg)
{
	int status = wait_for(start_child(run, arg));

	return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

bool kt_dies_of(int sig, void (*run)(void *), void *arg)
{
	int status = wait_for(start_child(run, arg));

	return WIFSIGNALED(status) && WTERMSIG(status) == sig;
}

void kt_become(unsigned int uid)
{
	KT_EQUAL(setresgid(uid, uid, uid), 0);
	KT_EQUAL(setresuid(uid, uid, uid), 0);
}

void kt_sleep_ms(unsigned int ms)
{
	struct timespec t = { ms / 1000, ms % 1000 * 1000000L };

	nanosleep(&t, NULL);
}

uint64_t kt_now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

int kt_write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;
	int rc;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	rc = n < 0 ? -errno : 0;
	close(fd);
	return rc;
}

long kt_read_number(const char *path)
{
	char text[64] = "";
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = read(fd, text, sizeof(text) - 1);
	close(fd);
	return n < 0 ? -EIO : strtol(text, NULL, 10);
}

bool kt_is_61(void)
{
	struct utsname name;

	KT_EQUAL(uname(&name), 0);
	return !strncmp(name.release, "6.1.", 4);
}

uint64_t kt_seed(void)
{
	const char *text = getenv("PENSTOCK_SEED");

	return text && *text ? strtoull(text, NULL, 0) : 1;
}

/* splitmix64 */
uint64_t kt_random(uint64_t *state)
{
	uint64_t z = *state += 0x9e3779b97f4a7c15ULL;

	z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9ULL;
	z = (z ^ (z >> 27)) * 0x94d049bb133111ebULL;
	return z ^ (z >> 31);
}
