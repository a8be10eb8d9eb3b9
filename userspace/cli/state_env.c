// SPDX-License-Identifier: MIT
/*
 * Where this user's state is: the one place that reads these variables.
 */
#include <stdlib.h>

#include "cli.h"
#include "state.h"

int cli_state_dir(char *out)
{
	struct pst_state_env env = {
		.override = getenv("PENSTOCK_STATE"),
		.xdg_state_home = getenv("XDG_STATE_HOME"),
		.home = getenv("HOME"),
	};

	return pst_state_dir(&env, out);
}
