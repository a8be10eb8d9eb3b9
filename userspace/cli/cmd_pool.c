// SPDX-License-Identifier: MIT
/*
 * penstock pool drop: the end of a named pool, which no process's end is.
 */
#include "cli.h"
#include "mem.h"

int cmd_pool_drop(struct cli_opts *o)
{
	struct pst_diag diag;
	int rc;

	pst_diag_init(&diag);
	rc = pst_mem_pool_drop(o->args[0], &diag);
	return rc ? cli_fail(rc, &diag) : EXIT_OK;
}
