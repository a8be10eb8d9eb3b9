/* SPDX-License-Identifier: MIT */
/*
 * Opens what a builder made and says what the parser thought of it.
 */
#ifndef PST_GGUF_CHECK_H
#define PST_GGUF_CHECK_H

#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "gguf_builder.h"

/* A file that was accepted, and its bytes. */
struct opened {
	struct pst_gguf *g;
	uint8_t *file;
	size_t size;
};

static inline void opened_close(struct opened *o)
{
	pst_gguf_close(o->g);
	free(o->file);
}

/* The builder's file must be accepted. */
static inline void open_ok(struct gguf_builder *b, struct opened *o)
{
	struct pst_diag d;

	pst_diag_init(&d);
	o->file = gb_finish(b, &o->size);
	if (pst_gguf_open_mem(o->file, o->size, &o->g, &d))
		fail_msg("refused: %s", d.text);
}

/* It must be refused with @err and a message that holds @word. */
static inline void open_refused(struct gguf_builder *b, int err,
				const char *word)
{
	struct pst_gguf *g = (struct pst_gguf *)&err;
	struct pst_diag d;
	size_t size;
	uint8_t *file = gb_finish(b, &size);
	int rc;

	pst_diag_init(&d);
	rc = pst_gguf_open_mem(file, size, &g, &d);
	if (rc == 0)
		pst_gguf_close(g);
	free(file);
	assert_int_equal(rc, err);
	/* Untouched on failure. */
	assert_ptr_equal(g, &err);
	assert_int_equal(d.err, err);
	if (!strstr(d.text, word))
		fail_msg("'%s' does not say '%s'", d.text, word);
}

#endif
