// SPDX-License-Identifier: MIT
/*
 * The state directory: where it is, names in it, whole-file writes that either
 * happen or do not, and bounded reads.  Knows nothing of what the files mean.
 */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "state.h"

/* Legible characters of a key in a name; the hash does the telling apart. */
#define LEGIBLE_CHARS 64
#define PATH_BYTES    (PST_STATE_DIR_MAX + PST_STATE_NAME_MAX + 16)

int pst_state_dir(const struct pst_state_env *env, char *out)
{
	char dir[PST_STATE_DIR_MAX];
	int n;

	if (env->override && *env->override)
		n = snprintf(dir, sizeof(dir), "%s", env->override);
	else if (env->xdg_state_home && *env->xdg_state_home == '/')
		n = snprintf(dir, sizeof(dir), "%s/penstock",
			     env->xdg_state_home);
	else if (env->home && *env->home == '/')
		n = snprintf(dir, sizeof(dir), "%s/.local/state/penstock",
			     env->home);
	else
		n = snprintf(dir, sizeof(dir), "/var/lib/penstock");
	if (n < 0 || (size_t)n >= sizeof(dir))
		return -ENAMETOOLONG;
	strcpy(out, dir);
	return 0;
}

void pst_state_name(const char *kind, const char *key, char *out)
{
	char legible[LEGIBLE_CHARS + 1];
	uint64_t hash = 0xcbf29ce484222325ULL;
	size_t n = 0;

	for (const char *c = key; *c; c++) {
		/* FNV-1a: names need to differ, nobody needs to be kept out. */
		hash = (hash ^ (unsigned char)*c) * 0x100000001b3ULL;
		if (n < LEGIBLE_CHARS)
			legible[n++] = isalnum((unsigned char)*c) ? *c : '_';
	}
	legible[n] = 0;
	snprintf(out, PST_STATE_NAME_MAX, "%.32s-%s-%016llx", kind, legible,
		 (unsigned long long)hash);
}

/* "mkdir -p -m 700": parents that are there keep their mode. */
static int make_dirs(const char *dir, struct pst_diag *diag)
{
	char path[PST_STATE_DIR_MAX];
	struct stat st;
	int n = snprintf(path, sizeof(path), "%s", dir);

	if (n <= 0 || (size_t)n >= sizeof(path))
		return pst_diag_set(diag, -ENAMETOOLONG,
				    "the name of the state directory is empty "
				    "or longer than %d bytes",
				    PST_STATE_DIR_MAX - 1);
	if (!stat(path, &st))
		return S_ISDIR(st.st_mode)
			       ? 0
			       : pst_diag_set_at(diag, -ENOTDIR, path,
						 UINT64_MAX, "not a directory");
	for (char *p = path + 1;; p++) {
		char kept = *p;

		if (kept && kept != '/')
			continue;
		*p = 0;
		if (mkdir(path, 0700) && errno != EEXIST)
			return pst_diag_set_at(
				diag, -errno, path, UINT64_MAX,
				"cannot make the state directory: %s",
				strerror(errno));
		*p = kept;
		if (!kept)
			return 0;
	}
}

static int join(const char *dir, const char *name, const char *suffix,
		char *out)
{
	int n;

	if (!*name || *name == '.' || strchr(name, '/') ||
	    strlen(name) >= PST_STATE_NAME_MAX)
		return -EINVAL;
	n = snprintf(out, PATH_BYTES, "%s/%s%s", dir, name, suffix);
	return n > 0 && n < PATH_BYTES ? 0 : -ENAMETOOLONG;
}

static int write_all(int fd, const char *data, uint64_t size_bytes)
{
	while (size_bytes) {
		size_t part = (size_t)PST_MIN(size_bytes, PST_GIB);
		ssize_t n = write(fd, data, part);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n ? -errno : -EIO;
		data += n;
		size_bytes -= (uint64_t)n;
	}
	/* Else a crash may leave the new name with none of the bytes. */
	return fsync(fd) ? -errno : 0;
}

/* The rename itself; a file system that cannot sync a directory may be. */
static void sync_dir(const char *dir)
{
	int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

	if (fd < 0)
		return;
	(void)!fsync(fd);
	close(fd);
}

int pst_state_write(const char *dir, const char *name, const void *data,
		    uint64_t size_bytes, struct pst_diag *diag)
{
	char path[PATH_BYTES], temp[PATH_BYTES];
	int fd, ret;

	ret = join(dir, name, "", path);
	if (!ret)
		ret = join(dir, name, ".XXXXXX", temp);
	if (ret)
		return pst_diag_set(diag, ret, "'%s' is no name of a state",
				    name);
	ret = make_dirs(dir, diag);
	if (ret)
		return ret;
	fd = mkostemp(temp, O_CLOEXEC);
	if (fd < 0)
		return pst_diag_set_at(diag, -errno, dir, UINT64_MAX,
				       "cannot make a file in the state "
				       "directory: %s",
				       strerror(errno));
	ret = write_all(fd, data, size_bytes);
	if (close(fd) && !ret)
		ret = -errno;
	if (!ret && rename(temp, path))
		ret = -errno;
	if (ret) {
		unlink(temp);
		return pst_diag_set_at(diag, ret, path, UINT64_MAX,
				       "cannot write %llu bytes: %s",
				       (unsigned long long)size_bytes,
				       strerror(-ret));
	}
	sync_dir(dir);
	return 0;
}

/* The size is a hint: the file may be replaced or grow while it is read. */
static int read_all(int fd, uint64_t room, char *buf, uint64_t *size_bytes)
{
	uint64_t got = 0;

	while (got < room) {
		ssize_t n = read(fd, buf + got, (size_t)(room - got));

		if (n < 0 && errno == EINTR)
			continue;
		if (n < 0)
			return -errno;
		if (!n)
			break;
		got += (uint64_t)n;
	}
	*size_bytes = got;
	return 0;
}

static int read_open(int fd, uint64_t max_bytes, char **out,
		     uint64_t *size_bytes)
{
	struct stat st;
	char *buf;
	int ret;

	if (fstat(fd, &st))
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EBADMSG;
	if ((uint64_t)st.st_size > max_bytes || st.st_size == INT64_MAX)
		return -EFBIG;
	buf = malloc((size_t)st.st_size + 1);
	if (!buf)
		return -ENOMEM;
	ret = read_all(fd, (uint64_t)st.st_size, buf, size_bytes);
	if (ret) {
		free(buf);
		return ret;
	}
	buf[*size_bytes] = 0;
	*out = buf;
	return 0;
}

static const char *why(int err)
{
	return err == -EBADMSG ? "not a regular file"
	       : err == -EFBIG ? "larger than such a file can be"
			       : strerror(-err);
}

int pst_state_read(const char *dir, const char *name, uint64_t max_bytes,
		   char **out, uint64_t *size_bytes, struct pst_diag *diag)
{
	char path[PATH_BYTES];
	uint64_t got = 0;
	int fd, ret;

	ret = join(dir, name, "", path);
	if (ret)
		return pst_diag_set(diag, ret, "'%s' is no name of a state",
				    name);
	/* O_NONBLOCK: a FIFO of that name must not hang us. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0 && (errno == ENOENT || errno == ENOTDIR))
		return -ENOENT;
	ret = fd < 0 ? -errno : read_open(fd, max_bytes, out, &got);
	if (fd >= 0)
		close(fd);
	if (ret)
		return pst_diag_set_at(diag, ret, path, UINT64_MAX,
				       "cannot read: %s", why(ret));
	*size_bytes = got;
	return 0;
}
