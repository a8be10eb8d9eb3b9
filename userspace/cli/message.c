// SPDX-License-Identifier: MIT
/*
 * Errors in words, exit codes, notices, and the opening of a model with both.
 */
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <string.h>
#include <unistd.h>

#include <penstock/profile.h>

#include "cli.h"

void cli_error(const char *fmt, ...)
{
	va_list ap;

	fputs("penstock: ", stderr);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
}

static int exit_code(int err)
{
	switch (-err) {
	case ENOENT:
		return EXIT_NO_MODEL;
	case EBADMSG:
		return EXIT_DATA;
	case ENOTSUP:
	case ENOSYS:
		return EXIT_UNAVAIL;
	case EINVAL:
		return EXIT_USAGE;
	case EIO:
	case ENODEV:
	case ENXIO:
	case ENOSPC:
		return EXIT_DRIVE;
	case EBUSY:
		return EXIT_BUSY;
	case EACCES:
	case EPERM:
		return EXIT_PERM;
	case E2BIG:
		return EXIT_FAILED;
	default:
		return EXIT_OS;
	}
}

int cli_fail(int err, const struct pst_diag *d)
{
	if (!d || !d->err)
		cli_error("%s", strerror(-err));
	else if (d->file[0] && d->off_bytes != UINT64_MAX)
		cli_error("%s: %s (at byte %llu)", d->file, d->text,
			  (unsigned long long)d->off_bytes);
	else if (d->file[0])
		cli_error("%s: %s", d->file, d->text);
	else
		cli_error("%s", d->text);
	return exit_code(err);
}

/* Only async-signal-safe calls here: the process ends in it.  Several threads
 * may come at once: the first one speaks.
 */
static void on_bus(int sig)
{
	static const char text[] =
		"penstock: a mapped model file can no longer be read: it was "
		"truncated, or its drive failed\n";
	static atomic_flag entered = ATOMIC_FLAG_INIT;

	(void)sig;
	while (atomic_flag_test_and_set(&entered))
		pause();
	(void)!write(STDERR_FILENO, text, sizeof(text) - 1);
	_exit(EXIT_DRIVE);
}

void cli_guard_mappings(void)
{
	struct sigaction sa = { .sa_handler = on_bus };

	sigaction(SIGBUS, &sa, NULL);
}

static void on_log(void *ctx, enum pst_log_level level, const char *line)
{
	cli_bar_clear(ctx);
	fprintf(stderr, "penstock: %s%s\n",
		level == PST_LOG_WARN ? "warning: " : "", line);
}

static void on_progress(void *ctx, const char *stage, uint64_t done,
			uint64_t all)
{
	bool bytes = strcmp(stage, "loading experts") != 0;

	cli_bar_update(ctx, stage, done, all, bytes ? "B" : "experts");
}

void cli_log_init(struct cli_opts *o)
{
	cli_bar_init(&o->bar, o->progress);
	o->log = (struct pst_log){ .fn = on_log, .ctx = &o->bar };
}

/* What iobench found: the drive's rate, whether polling is worth its while, and
 * whether it needs more reads in flight than the default.
 */
static void use_profile(struct cli_opts *o, const char *path)
{
	struct pst_drive_profile p;
	struct pst_drive_line line;
	char dir[PST_STATE_DIR_MAX];

	if (cli_state_dir(dir) || pst_profile_find(dir, path, &p, NULL, NULL))
		return;
	pst_profile_line(&p, &line);
	o->engine.drive_bps = (uint64_t)line.bps;
	o->engine.drive_read_ns = (uint64_t)(line.read_s * 1e9);
	if (o->engine.io_mode == PST_ENGINE_MODE_AUTO &&
	    o->engine.io != PST_ENGINE_IO_PREAD)
		o->engine.io_mode = p.io_mode;
	/* Below the default nothing is gained; prefill wants more anyway. */
	if (!o->engine.queue_depth && p.depth > PST_ENGINE_QUEUE_DEPTH)
		o->engine.queue_depth = p.depth;
}

int cli_open(struct cli_opts *o, const char *path, struct pst_engine **out)
{
	struct pst_diag diag;
	int rc;

	cli_log_init(o);
	pst_diag_init(&diag);
	o->engine.log = &o->log;
	o->engine.progress = on_progress;
	o->engine.progress_ctx = &o->bar;
	use_profile(o, path);
	if (o->warm == PST_ON && !cli_state_dir(o->state_dir))
		o->engine.warm_dir = o->state_dir;
	rc = pst_engine_open(path, &o->engine, out, &diag);
	cli_bar_clear(&o->bar);
	return rc ? cli_fail(rc, &diag) : 0;
}
