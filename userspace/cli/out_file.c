// SPDX-License-Identifier: MIT
/*
 * Result files: whole or not there, so that no one takes half a result for one.
 * What is written gets its name at the end, also when the process is killed
 * before.  Devices, pipes and files in folders that take no new file are written
 * in place; of these, a file that could not be written whole is removed.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"
#include "gguf.h"

static int open_failed(const char *path, int err)
{
	cli_error("%s: %s", path, strerror(err));
	return err == EACCES || err == EPERM || err == EROFS ? EXIT_PERM
							     : EXIT_DRIVE;
}

/* The file that @path leads to, if the result can take its place; heap. */
static char *final_path(const char *path, struct stat *st)
{
	char *real = realpath(path, NULL);

	if (!real && errno == ENOENT && lstat(path, st) && errno == ENOENT) {
		st->st_mode = 0;
		return strdup(path);
	}
	if (real && !stat(real, st) && S_ISREG(st->st_mode) &&
	    !access(real, W_OK))
		return real;
	free(real);
	return NULL;
}

/*
 * A file without a name where @path will be: it goes with the process.  Where
 * the file system has none, one that is called @part.
 */
static int open_beside(const char *path, const char *part, bool *named)
{
	const char *slash = strrchr(path, '/');
	char *dir = slash ? strndup(path, (size_t)(slash - path) + 1)
			  : strdup(".");
	int fd = dir ? open(dir, O_TMPFILE | O_WRONLY | O_CLOEXEC, 0666) : -1;

	free(dir);
	*named = fd < 0;
	if (fd < 0)
		fd = open(part, O_CREAT | O_EXCL | O_WRONLY | O_CLOEXEC, 0666);
	return fd;
}

/* What takes the place of a file is for the same people, if that can be. */
static void take_owner(int fd, const struct stat *st)
{
	(void)!fchown(fd, st->st_uid, st->st_gid);
	(void)!fchmod(fd, st->st_mode & 0777);
}

static void forget(struct cli_out *out)
{
	free(out->part);
	free(out->real);
	out->part = out->real = NULL;
}

static bool begin_beside(struct cli_out *out)
{
	struct stat st;
	int fd = -1;

	out->real = final_path(out->path, &st);
	if (out->real &&
	    asprintf(&out->part, "%s.part-%d", out->real, (int)getpid()) < 0)
		out->part = NULL;
	if (out->part)
		fd = open_beside(out->real, out->part, &out->named);
	if (fd >= 0)
		out->f = fdopen(fd, "w");
	if (fd >= 0 && out->f) {
		if (st.st_mode)
			take_owner(fd, &st);
		return true;
	}
	if (fd >= 0)
		close(fd);
	if (fd >= 0 && out->named)
		unlink(out->part);
	forget(out);
	return false;
}

/* "--out model.gguf" is a slip that would cost a download of many hours. */
static bool is_model(const char *path)
{
	struct stat st;

	return !stat(path, &st) && S_ISREG(st.st_mode) && pst_gguf_begins(path);
}

/* What leads to where we write anyway goes there, behind what is there. */
static FILE *own_stream(const char *path)
{
	FILE *own[] = { stdout, stderr };
	struct stat st, at;

	if (!strcmp(path, "-"))
		return stdout;
	for (size_t i = 0; i < PST_ARRAY_SIZE(own); i++)
		if (!stat(path, &st) && !fstat(fileno(own[i]), &at) &&
		    st.st_dev == at.st_dev && st.st_ino == at.st_ino)
			return own[i];
	return NULL;
}

int cli_out_open(struct cli_out *out, const char *path)
{
	*out = (struct cli_out){ .f = own_stream(path), .path = path };
	/* A file size limit shall be an error of write(), not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	if (out->f)
		return EXIT_OK;
	if (is_model(path)) {
		cli_error("%s: a model, which no result takes the place of: "
			  "give another name, or remove it first",
			  path);
		return EXIT_USAGE;
	}
	if (begin_beside(out))
		return EXIT_OK;
	out->f = fopen(path, "we");
	return out->f ? EXIT_OK : open_failed(path, errno);
}

int cli_out_write(struct cli_out *out, const void *data, size_t size_bytes)
{
	errno = 0;
	if (fwrite(data, 1, size_bytes, out->f) == size_bytes)
		return 0;
	out->err = errno ? errno : EIO;
	return -out->err;
}

static void note_failure(struct cli_out *out, bool failed)
{
	if (failed && !out->err)
		out->err = errno ? errno : EIO;
}

/* A file without a name takes one; only rename() may take one that is there. */
static void name_part(struct cli_out *out)
{
	char self[40];

	snprintf(self, sizeof(self), "/proc/self/fd/%d", fileno(out->f));
	if (linkat(AT_FDCWD, self, AT_FDCWD, out->part, AT_SYMLINK_FOLLOW))
		note_failure(out, true);
	else
		out->named = true;
}

static void close_beside(struct cli_out *out, bool keep)
{
	note_failure(out, fflush(out->f));
	if (keep && !out->err && !out->named)
		name_part(out);
	note_failure(out, fclose(out->f));
	if (keep && !out->err)
		note_failure(out, rename(out->part, out->real));
	if ((!keep || out->err) && out->named)
		unlink(out->part);
}

static void close_in_place(struct cli_out *out, bool keep)
{
	bool file = out->f != stdout && out->f != stderr;
	struct stat st = { 0 };

	/* A device or a pipe is somebody else's: only files are removed. */
	if (file)
		(void)!fstat(fileno(out->f), &st);
	note_failure(out, file ? fclose(out->f) : fflush(out->f));
	if ((!keep || out->err) && S_ISREG(st.st_mode))
		unlink(out->path);
}

int cli_out_close(struct cli_out *out, int rc)
{
	errno = 0;
	if (out->part)
		close_beside(out, !rc);
	else
		close_in_place(out, !rc);
	forget(out);
	if (!out->err)
		return rc;
	cli_error("%s: cannot write: %s", out->path, strerror(out->err));
	return EXIT_DRIVE;
}
