// SPDX-License-Identifier: MIT
/*
 * The reader of routing traces.  Every number is checked before it is used as
 * an index or a size; must not know what a trace is played for.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"

#define MAGIC	"# penstock-route-trace 1"
#define COLUMNS "phase,token,layer,rank,expert,weight"

struct reader {
	FILE *f;
	const char *path;
	struct pst_diag *diag;
	struct pst_trace *t;
	char line[512];
	uint64_t nr_lines;
	uint32_t cap_rows;
	/* Of the row before. */
	bool decode;
	uint32_t token, layer, rank;
};

static int bad(const struct reader *r, const char *why)
{
	return pst_diag_set_at(r->diag, -EBADMSG, r->path, UINT64_MAX,
			       "line %" PRIu64 ": %s", r->nr_lines, why);
}

/* 1 with a line, 0 at the end, or an error. */
static int next_line(struct reader *r)
{
	size_t len;

	errno = 0;
	if (!fgets(r->line, sizeof(r->line), r->f)) {
		if (!ferror(r->f))
			return 0;
		return pst_diag_set_at(r->diag, errno ? -errno : -EIO, r->path,
				       UINT64_MAX, "cannot read: %s",
				       strerror(errno));
	}
	r->nr_lines++;
	len = strlen(r->line);
	if (!len || (r->line[len - 1] != '\n' && !feof(r->f)))
		return bad(r, "longer than a trace's lines are, or binary");
	r->line[strcspn(r->line, "\r\n")] = 0;
	return 1;
}

/* Decimal digits up to @max, then @end. */
static bool number(const char **s, char end, uint64_t max, uint64_t *out)
{
	const char *p = *s;
	uint64_t v = 0;

	if (*p < '0' || *p > '9')
		return false;
	for (; *p >= '0' && *p <= '9'; p++) {
		v = v * 10 + (uint64_t)(*p - '0');
		if (v > max)
			return false;
	}
	if (*p != end)
		return false;
	*s = p + !!end;
	*out = v;
	return true;
}

/* "name=123" somewhere among words. */
static bool field(const char *line, const char *name, uint32_t max,
		  uint32_t *out)
{
	const char *p = strstr(line, name);
	uint64_t v;

	if (!p)
		return false;
	p += strlen(name);
	if (!number(&p, ' ', max, &v) && !number(&p, 0, max, &v))
		return false;
	*out = (uint32_t)v;
	return v > 0;
}

static int read_geometry(struct reader *r)
{
	struct pst_trace *t = r->t;

	if (t->nr_layers)
		return bad(r, "the geometry is given twice");
	if (sscanf(r->line, "# model=%127s", t->model) != 1 ||
	    !field(r->line, " experts=", PST_TRACE_MAX_EXPERTS,
		   &t->nr_experts) ||
	    !field(r->line, " used=", t->nr_experts, &t->nr_used) ||
	    !field(r->line, " layers=", PST_TRACE_MAX_LAYERS, &t->nr_layers))
		return bad(r, "no geometry: expected '# model=NAME ... "
			      "layers=N experts=N used=N'");
	t->expert_bytes = pst_calloc(t->nr_layers, sizeof(*t->expert_bytes));
	return t->expert_bytes ? 0 : -ENOMEM;
}

static int read_layer(struct reader *r)
{
	static const char head[] = "# layer=", mid[] = "expert_bytes=";
	const char *p = r->line + sizeof(head) - 1;
	struct pst_trace *t = r->t;
	uint64_t layer, size_bytes;

	if (!t->nr_layers)
		return bad(r, "a layer before the model's geometry");
	if (!number(&p, ' ', t->nr_layers - 1, &layer) ||
	    strncmp(p, mid, sizeof(mid) - 1))
		return bad(r, "expected '# layer=N expert_bytes=N'");
	p += sizeof(mid) - 1;
	if (!number(&p, 0, 1ULL << 40, &size_bytes) || !size_bytes)
		return bad(r, "expert_bytes is not a size");
	if (t->expert_bytes[layer])
		return bad(r, "a layer is given twice");
	t->expert_bytes[layer] = size_bytes;
	t->nr_moe_layers++;
	return 0;
}

static int read_head(struct reader *r)
{
	int rc = next_line(r);

	if (rc < 0)
		return rc;
	if (!rc || strcmp(r->line, MAGIC))
		return bad(r, "not a routing trace: expected '" MAGIC "'");
	while ((rc = next_line(r)) > 0 && r->line[0] == '#') {
		rc = 0;
		if (!strncmp(r->line, "# model=", 8))
			rc = read_geometry(r);
		else if (!strncmp(r->line, "# layer=", 8))
			rc = read_layer(r);
		if (rc)
			return rc;
	}
	if (rc < 0)
		return rc;
	if (!rc || strcmp(r->line, COLUMNS))
		return bad(r, "expected the columns " COLUMNS);
	return r->t->nr_moe_layers ? 0 : bad(r, "no layer has expert_bytes");
}

static int keep_row(struct reader *r, uint32_t key)
{
	struct pst_trace *t = r->t;

	if (t->nr_rows == PST_TRACE_MAX_ROWS)
		return bad(r, "more rows than can be played");
	if (t->nr_rows == r->cap_rows) {
		uint32_t cap = r->cap_rows ? r->cap_rows * 2 : 4096;
		uint32_t *more = realloc(t->key, cap * sizeof(*more));

		if (!more)
			return -ENOMEM;
		t->key = more;
		r->cap_rows = cap;
	}
	t->key[t->nr_rows++] = key;
	return 0;
}

/* The rows of one token in one layer follow each other, rank 0 first. */
static int check_group(const struct reader *r, const uint64_t *v, bool decode,
		       uint32_t key)
{
	const struct pst_trace *t = r->t;
	uint32_t rank = t->nr_rows % t->nr_used;

	if (v[2] != rank)
		return bad(r, "a token has more or fewer experts than 'used'");
	if (rank &&
	    (v[0] != r->token || v[1] != r->layer || decode != r->decode))
		return bad(r, "token or layer changes between two ranks");
	for (uint32_t i = 1; i <= rank; i++)
		if (t->key[t->nr_rows - i] == key)
			return bad(r, "a token takes an expert twice");
	if (r->decode && !decode)
		return bad(r, "prefill after decode");
	return 0;
}

static int read_row(struct reader *r)
{
	static const char *const phases[] = { "prefill,", "decode," };
	struct pst_trace *t = r->t;
	uint64_t max[] = { UINT32_MAX, t->nr_layers - 1, t->nr_used - 1,
			   t->nr_experts - 1 };
	uint64_t v[4]; /* token, layer, rank, expert */
	bool decode = r->line[0] == 'd';
	const char *p = r->line + strlen(phases[decode]);
	uint32_t key;
	char *end;
	int rc;

	if (strncmp(r->line, phases[decode], strlen(phases[decode])))
		return bad(r, "the phase is neither prefill nor decode");
	for (int i = 0; i < 4; i++)
		if (!number(&p, ',', max[i], &v[i]))
			return bad(r, "token, layer, rank or expert is no "
				      "number or out of range");
	/* The weight is checked and not kept: no policy gained from it. */
	(void)strtof(p, &end);
	if (end == p || *end)
		return bad(r, "the weight is not a number");
	if (!t->expert_bytes[v[1]])
		return bad(r, "the layer has no expert_bytes");
	key = (uint32_t)v[1] * t->nr_experts + (uint32_t)v[3];
	rc = check_group(r, v, decode, key);
	if (rc)
		return rc;
	if (decode && !r->decode)
		t->first_decode = t->nr_rows;
	r->decode = decode;
	r->token = (uint32_t)v[0];
	r->layer = (uint32_t)v[1];
	return keep_row(r, key);
}

static int read_all(struct reader *r)
{
	struct pst_trace *t = r->t;
	int rc = read_head(r);

	t->first_decode = UINT32_MAX;
	while (!rc && (rc = next_line(r)) > 0)
		rc = read_row(r);
	if (rc)
		return rc;
	if (!t->nr_rows || t->nr_rows % t->nr_used)
		return bad(r, "the trace ends within a token");
	t->first_decode = PST_MIN(t->first_decode, t->nr_rows);
	return 0;
}

int pst_trace_load(const char *path, struct pst_trace *out,
		   struct pst_diag *diag)
{
	struct pst_trace t = { .nr_layers = 0 };
	struct reader r = { .path = path, .diag = diag, .t = &t };
	int rc;

	r.f = fopen(path, "re");
	if (!r.f)
		return pst_diag_set_at(diag, -errno, path, UINT64_MAX, "%s",
				       strerror(errno));
	rc = read_all(&r);
	fclose(r.f);
	if (rc) {
		pst_trace_fini(&t);
		return pst_diag_set_at(diag, rc, path, UINT64_MAX, "%s",
				       strerror(-rc));
	}
	*out = t;
	return 0;
}

void pst_trace_fini(struct pst_trace *t)
{
	free(t->expert_bytes);
	free(t->key);
	*t = (struct pst_trace){ .nr_layers = 0 };
}
