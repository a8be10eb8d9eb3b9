/* SPDX-License-Identifier: MIT */
/*
 * watch: what a verb lets look at its run: the writer of a trace, the
 * collector of the report, and a recorded routing that steers it.  One
 * observer for the engine serves all three.
 */
#ifndef PST_CLI_WATCH_H
#define PST_CLI_WATCH_H

#include <penstock/observe.h>

#include "cli.h"
#include "forced.h"
#include "report.h"
#include "trace.h"

/**
 * struct cli_watch - zeroed, then cli_watch_open()
 * @first_pos: of the pass that runs
 * @err: first error of a hook, ends the run
 */
struct cli_watch {
	struct cli_opts *o;
	struct pst_observer hooks;
	uint64_t extra_bytes; /* of the options, to be restored */
	bool decode;
	int err;

	struct cli_out out;
	struct pst_trace_sink sink;
	bool recording;
	uint32_t first_pos, nr_tokens;

	struct pst_report *report;
	struct pst_report_env env;
	struct cli_out report_out; /* --report-file, while @reporting */
	bool reporting;

	struct pst_trace trace;
	struct pst_forced *forced;
	struct pst_forced_shape shape;
};

/**
 * cli_watch_open() - before the model is opened: files, hooks, the drive
 * @path: of the model
 *
 * Sets the engine's observer where o asks for anything.  Return: 0, or an exit
 * code after a message; cli_watch_close() in both cases.
 */
int cli_watch_open(struct cli_watch *w, struct cli_opts *o, const char *path);

/** cli_watch_start() - the model is open: heads and memory; 0 or an exit code */
int cli_watch_start(struct cli_watch *w, const struct pst_engine *e);

/** cli_watch_phase() - what comes now is decode, or prefill again */
void cli_watch_phase(struct cli_watch *w, bool decode);

/**
 * cli_watch_finish() - after the last token, the model still open: the report
 * @rc: exit code so far; a run that failed has no report
 */
int cli_watch_finish(struct cli_watch *w, const struct pst_engine *e, int rc);

/**
 * cli_watch_close() - close the trace; one that is not whole is removed
 * @rc: exit code so far
 *
 * Return: @rc, or EXIT_DRIVE after a message when a write failed.
 */
int cli_watch_close(struct cli_watch *w, int rc);

/** cli_drive_rate() - of the drive below a path: the profile, else a probe */
int cli_drive_rate(const char *path, struct pst_report_env *out);

/** cli_print_run_report() - text or JSON of a finished report */
int cli_print_run_report(FILE *f, enum cli_output form,
			 const struct pst_report_result *r,
			 const struct pst_engine *e);

#endif
