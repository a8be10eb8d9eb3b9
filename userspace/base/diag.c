// SPDX-License-Identifier: MIT
/*
 * Error text: the first failure is kept, later ones are consequences.
 */
#include <stdio.h>
#include <string.h>

#include "base.h"

void pst_diag_init(struct pst_diag *d)
{
	memset(d, 0, sizeof(*d));
	d->off_bytes = UINT64_MAX;
}

/* A path or a metadata string may hold control bytes; a terminal must not. */
static void sanitise(char *s)
{
	for (; *s; s++)
		if ((unsigned char)*s < 0x20 || *s == 0x7f)
			*s = '?';
}

int pst_diag_set(struct pst_diag *d, int err, const char *fmt, ...)
{
	va_list ap;

	if (!d || d->err)
		return err;
	d->err = err;
	d->off_bytes = UINT64_MAX;
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	sanitise(d->text);
	return err;
}

int pst_diag_set_at(struct pst_diag *d, int err, const char *file,
		    uint64_t off_bytes, const char *fmt, ...)
{
	va_list ap;

	if (!d || d->err)
		return err;
	d->err = err;
	d->off_bytes = off_bytes;
	snprintf(d->file, sizeof(d->file), "%s", file ? file : "");
	va_start(ap, fmt);
	vsnprintf(d->text, sizeof(d->text), fmt, ap);
	va_end(ap);
	sanitise(d->text);
	sanitise(d->file);
	return err;
}
