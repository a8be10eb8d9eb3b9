// SPDX-License-Identifier: MIT
/*
 * The doctor's check of the model itself: is it whole, and is it one that would
 * run, given memory?  By its header alone; what fits is plan's to say.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli.h"
#include "doctor.h"
#include "gguf.h"

static void say_model(struct doctor_finding *f, const struct pst_gguf *g)
{
	uint32_t nr = pst_gguf_nr_files(g);
	struct pst_str arch = { "unknown", 7 };
	char size[32];

	pst_gguf_get_str(g, "general.architecture", &arch);
	cli_bytes_text(pst_gguf_files_bytes(g), size, sizeof(size));
	doctor_say(f, DOCTOR_OK, "%.*s, %s in %" PRIu32 " file%s, whole",
		   (int)PST_MIN(arch.len, (uint64_t)64), arch.s, size, nr,
		   nr == 1 ? "" : "s");
}

void doctor_model(const char *path, struct doctor_finding *f)
{
	struct pst_gguf *g = NULL;
	struct pst_diag diag;
	struct stat st;
	int rc;

	if (stat(path, &st) || !S_ISREG(st.st_mode)) {
		doctor_say(f, DOCTOR_OK, "none given, the path is no file");
		return;
	}
	if (!pst_gguf_begins(path)) {
		doctor_say(f, DOCTOR_WARN, "not a GGUF file");
		return;
	}
	pst_diag_init(&diag);
	rc = pst_gguf_open(path, &g, &diag);
	if (!rc)
		rc = pst_engine_supports(g, &diag);
	if (rc)
		doctor_say(f, DOCTOR_FAIL, "%s",
			   diag.text[0] ? diag.text : strerror(-rc));
	else
		say_model(f, g);
	pst_gguf_close(g);
}
