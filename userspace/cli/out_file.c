// SPDX-License-Identifier: MIT
/*
 * Result files: what could not be written whole is removed again, so that no
 * one takes half a result for one.
 */
#include <errno.h>
#include <signal.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli.h"

static int open_failed(const char *path, int err)
{
	cli_error("%s: %s", path, strerror(err));
	return err == EACCES || err == EPERM || err == EROFS ? EXIT_PERM
							     : EXIT_DRIVE;
}

int cli_out_open(struct cli_out *out, const char *path)
{
	*out = (struct cli_out){ .f = stdout, .path = path };
	/* A file size limit shall be an error of write(), not a signal. */
	signal(SIGXFSZ, SIG_IGN);
	if (!strcmp(path, "-"))
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

int cli_out_close(struct cli_out *out, int rc)
{
	bool file = out->f != stdout;
	struct stat st = { 0 };

	/* A device or a pipe is somebody else's: only files are removed. */
	if (file)
		(void)!fstat(fileno(out->f), &st);
	if ((file ? fclose(out->f) : fflush(out->f)) && !out->err)
		out->err = errno ? errno : EIO;
	if (out->err) {
		cli_error("%s: cannot write: %s", out->path,
			  strerror(out->err));
		rc = EXIT_DRIVE;
	}
	if (rc && S_ISREG(st.st_mode))
		unlink(out->path);
	return rc;
}
