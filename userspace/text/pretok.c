// SPDX-License-Identifier: MIT
/*
 * Pre-tokenization: the passes of a text_pre_row over a text.  Each pass cuts
 * the pieces of the one before into matches and the gaps between them; a piece
 * is a text of its own, so that "end of text" in a pattern is its end.
 *
 * PCRE2 does the matching.  The compiled patterns are shared by all calls, what
 * a match writes belongs to the call.
 */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <errno.h>
#include <pcre2.h>
#include <stdlib.h>
#include <string.h>

#include "text_priv.h"

#define MAX_PASSES 8

/* A match that hits a limit gives up; so much of the text is cut off then. */
#define CHUNK_BYTES 4096

/*
 * Backtracking over one run of characters is one step for each of them and
 * alternative, and takes no stack; more than this is no text of ours.
 */
#define MATCH_LIMIT_BASE 1000000u
#define HEAP_LIMIT_KIB	 (64 * 1024)

struct text_pretok {
	size_t nr_passes;
	pcre2_code *passes[MAX_PASSES];
};

struct pass_call {
	const pcre2_code *code;
	pcre2_match_data *data;
	pcre2_match_context *ctx;
	struct text_cuts *out;
};

static int compile(const char *pattern, pcre2_code **out, struct pst_diag *diag)
{
	PCRE2_SIZE off;
	int err;

	*out = pcre2_compile((PCRE2_SPTR)pattern, PCRE2_ZERO_TERMINATED,
			     PCRE2_UTF | PCRE2_UCP, &err, &off, NULL);
	if (!*out && err == PCRE2_ERROR_HEAP_FAILED)
		return -ENOMEM;
	if (!*out)
		return pst_diag_set(diag, -EINVAL,
				    "pre-tokenizer pattern: error %d at %zu",
				    err, (size_t)off);
	/* Without executable memory the interpreter does the same, slower. */
	(void)pcre2_jit_compile(*out, PCRE2_JIT_COMPLETE);
	return 0;
}

int text_pretok_create(const struct text_pre_row *row, struct text_pretok **out,
		       struct pst_diag *diag)
{
	struct text_pretok *p = calloc(1, sizeof(*p));
	int rc = 0;

	if (!p)
		return -ENOMEM;
	for (size_t i = 0; row->patterns[i]; i++) {
		if (i == MAX_PASSES) {
			rc = pst_diag_set(diag, -EINVAL,
					  "pre-tokenizer %s: over %d passes",
					  row->name, MAX_PASSES);
			break;
		}
		rc = compile(row->patterns[i], &p->passes[i], diag);
		if (rc)
			break;
		p->nr_passes++;
	}
	if (rc) {
		text_pretok_destroy(p);
		return rc;
	}
	*out = p;
	return 0;
}

void text_pretok_destroy(struct text_pretok *p)
{
	if (!p)
		return;
	for (size_t i = 0; i < p->nr_passes; i++)
		pcre2_code_free(p->passes[i]);
	free(p);
}

static int cut(struct text_cuts *c, size_t len)
{
	int rc;

	if (!len)
		return 0;
	rc = text_grow((void **)&c->lens, &c->cap, c->nr + 1, sizeof(*c->lens));
	if (rc)
		return rc;
	c->lens[c->nr++] = (uint32_t)len;
	return 0;
}

/* End of the piece that is cut off where matching gave up. */
static size_t chunk_end(const uint8_t *s, size_t len, size_t pos)
{
	if (len - pos <= CHUNK_BYTES)
		return len;
	pos += CHUNK_BYTES;
	while (pos < len && (s[pos] & 0xc0) == 0x80)
		pos++;
	return pos;
}

static int split_piece(const struct pass_call *c, const uint8_t *s, size_t len)
{
	const PCRE2_SIZE *match = pcre2_get_ovector_pointer(c->data);
	size_t pos = 0;
	int rc;

	while (pos < len) {
		size_t from, to;

		rc = pcre2_match(c->code, s, len, pos, PCRE2_NO_UTF_CHECK,
				 c->data, c->ctx);
		if (rc == PCRE2_ERROR_NOMATCH)
			break;
		if (rc == PCRE2_ERROR_NOMEMORY)
			return -ENOMEM;
		from = rc < 0 ? pos : match[0];
		to = rc < 0 ? chunk_end(s, len, pos) : match[1];
		if (to <= from)
			break;
		rc = cut(c->out, from - pos);
		if (!rc)
			rc = cut(c->out, to - from);
		if (rc)
			return rc;
		pos = to;
	}
	return cut(c->out, len - pos);
}

static int run_pass(const struct pass_call *c, const uint8_t *text,
		    const struct text_cuts *in)
{
	int rc = 0;

	c->out->nr = 0;
	for (size_t i = 0; i < in->nr && !rc; i++) {
		rc = split_piece(c, text, in->lens[i]);
		text += in->lens[i];
	}
	return rc;
}

static int run_passes(const struct text_pretok *p, const uint8_t *text,
		      struct pass_call *c, struct text_cuts *a,
		      struct text_cuts *b)
{
	for (size_t i = 0; i < p->nr_passes; i++) {
		struct text_cuts in = *a;
		int rc;

		c->code = p->passes[i];
		c->out = b;
		rc = run_pass(c, text, &in);
		if (rc)
			return rc;
		*a = *b;
		*b = in;
	}
	return 0;
}

int text_pretok_split(const struct text_pretok *p, const uint8_t *text,
		      size_t len, struct text_cuts *a, struct text_cuts *b)
{
	struct pass_call c = { 0 };
	int rc = -ENOMEM;

	c.data = pcre2_match_data_create(1, NULL);
	c.ctx = pcre2_match_context_create(NULL);
	if (!c.data || !c.ctx)
		goto out;
	pcre2_set_match_limit(c.ctx,
			      (uint32_t)PST_MIN(MATCH_LIMIT_BASE + 16ULL * len,
						UINT32_MAX));
	pcre2_set_heap_limit(c.ctx, HEAP_LIMIT_KIB);
	a->nr = 0;
	rc = cut(a, len);
	if (!rc)
		rc = run_passes(p, text, &c, a, b);
out:
	pcre2_match_context_free(c.ctx);
	pcre2_match_data_free(c.data);
	return rc;
}
