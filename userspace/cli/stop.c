// SPDX-License-Identifier: MIT
/*
 * Ctrl-C and SIGTERM end a run in order: what was said stays, the figures are
 * shown, and the next start is warm.  A second one ends it at once.
 */
#include <signal.h>

#include "cli.h"

/* A handler is given no context: this is the one place where state is not
 * passed in.
 */
static volatile sig_atomic_t stopped_by;

static void on_stop(int sig)
{
	stopped_by = sig;
}

void cli_stop_init(void)
{
	static const int signals[] = { SIGINT, SIGTERM };
	/* No SA_RESTART: waiting for a line of a chat ends, too. */
	struct sigaction sa = { .sa_handler = on_stop,
				.sa_flags = (int)SA_RESETHAND };
	struct sigaction old;

	for (size_t i = 0; i < PST_ARRAY_SIZE(signals); i++)
		/* Whoever started us may have had them ignored. */
		if (!sigaction(signals[i], NULL, &old) &&
		    old.sa_handler != SIG_IGN)
			sigaction(signals[i], &sa, NULL);
}

int cli_stop_code(void)
{
	return stopped_by ? 128 + stopped_by : 0;
}
