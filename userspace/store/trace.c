// SPDX-License-Identifier: MIT
/*
 * The reader of routing traces.  Every number is checked before it is used as
 * an index or a size; must not know what a trace is played for.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "trace.h"
#include "trace_priv.h"

/* The longest line has the probabilities of all experts. */
#define LINE_BYTES (2 * PST_TRACE_MAX_EXPERTS + 64)

struct reader {
	FILE *f;
	const char *path;
	struct pst_diag *diag;
	struct pst_trace *t;
	char line[LINE_BYTES];
	uint64_t nr_lines;
	uint32_t cap_rows, cap_io, cap_passes;
	uint32_t cap_groups; /* of probabilities */
	uint32_t nr_probs; /* groups that have them */
	bool records; /* version 2 */
	bool probs; /* every group has them */
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
	if (!rc || (strcmp(r->line, PST_TRACE_MAGIC "1") &&
		    strcmp(r->line, PST_TRACE_MAGIC "2")))
		return bad(r, "not a routing trace: expected '" PST_TRACE_MAGIC
			      "1' or 2");
	r->records = strchr(r->line, '2') != NULL;
	while ((rc = next_line(r)) > 0 && r->line[0] == '#') {
		rc = 0;
		if (!strncmp(r->line, "# model=", 8))
			rc = read_geometry(r);
		else if (!strncmp(r->line, "# layer=", 8))
			rc = read_layer(r);
		else if (r->records && !strcmp(r->line, PST_TRACE_PROBS))
			r->probs = true;
		if (rc)
			return rc;
	}
	if (rc < 0)
		return rc;
	if (!rc || strcmp(r->line, PST_TRACE_COLUMNS))
		return bad(r, "expected the columns " PST_TRACE_COLUMNS);
	return r->t->nr_moe_layers ? 0 : bad(r, "no layer has expert_bytes");
}

/* Room for one more of @size_bytes in an array of @nr. */
static int make_room(void **array, uint32_t nr, uint32_t *cap,
		     uint64_t size_bytes)
{
	uint32_t more = *cap ? *cap * 2 : 1024;
	uint64_t all;
	void *p;

	if (nr < *cap)
		return 0;
	if (!pst_mul_u64(more, size_bytes, &all))
		return -ENOMEM;
	p = realloc(*array, all);
	if (!p)
		return -ENOMEM;
	*array = p;
	*cap = more;
	return 0;
}

static int keep_row(struct reader *r, uint32_t key, float weight)
{
	struct pst_trace *t = r->t;
	uint32_t cap = r->cap_rows;
	int rc;

	if (t->nr_rows == PST_TRACE_MAX_ROWS)
		return bad(r, "more rows than can be played");
	rc = make_room((void **)&t->key, t->nr_rows, &r->cap_rows,
		       sizeof(*t->key));
	if (!rc)
		rc = make_room((void **)&t->weight, t->nr_rows, &cap,
			       sizeof(*t->weight));
	if (rc)
		return rc;
	t->weight[t->nr_rows] = weight;
	t->key[t->nr_rows++] = key;
	return 0;
}

/* The rows of one token in one layer follow each other, rank 0 first. */
static int check_group(const struct reader *r, const uint64_t *v, bool decode,
		       uint32_t key)
{
	const struct pst_trace *t = r->t;
	uint32_t rank = t->nr_rows % t->nr_used;

	if (r->probs && !rank && r->nr_probs != t->nr_rows / t->nr_used)
		return bad(r, "the token before has no probabilities");
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
	float weight;
	uint32_t key;
	char *end;
	int rc;

	if (strncmp(r->line, phases[decode], strlen(phases[decode])))
		return bad(r, "the phase is neither prefill nor decode");
	for (int i = 0; i < 4; i++)
		if (!number(&p, ',', max[i], &v[i]))
			return bad(r, "token, layer, rank or expert is no "
				      "number or out of range");
	weight = strtof(p, &end);
	if (end == p || *end || !isfinite(weight))
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
	return keep_row(r, key, weight);
}

static int digit_value(char c)
{
	static const char digits[] = PST_TRACE_DIGITS;
	const char *p = c ? strchr(digits, c) : NULL;

	return p ? (int)(p - digits) : -1;
}

/* "#p," and two digits for each expert, after the rows of one token. */
static int read_probs(struct reader *r)
{
	struct pst_trace *t = r->t;
	const char *p = r->line + 3;
	uint16_t *out;
	int rc;

	if (!r->probs)
		return bad(r, "probabilities, but no line '" PST_TRACE_PROBS
			      "' in the head");
	if (t->nr_rows % t->nr_used ||
	    r->nr_probs + 1 != t->nr_rows / t->nr_used)
		return bad(r, "probabilities belong after the last rank of a "
			      "token, once");
	if (strlen(p) != 2 * (size_t)t->nr_experts)
		return bad(r, "not two characters for each expert");
	rc = make_room((void **)&t->prob, r->nr_probs, &r->cap_groups,
		       (uint64_t)t->nr_experts * sizeof(*t->prob));
	if (rc)
		return rc;
	out = t->prob + (size_t)r->nr_probs * t->nr_experts;
	for (uint32_t e = 0; e < t->nr_experts; e++) {
		int high = digit_value(p[2 * e]),
		    low = digit_value(p[2 * e + 1]);

		if (high < 0 || low < 0)
			return bad(r, "a probability is malformed");
		out[e] = (uint16_t)(high << 6 | low);
	}
	r->nr_probs++;
	return 0;
}

/* @nr numbers with commas after the record's name; each below 2^53, so that
 * sums of them are exact for every reader.
 */
static bool numbers(const char *p, uint64_t *v, int nr)
{
	for (int i = 0; i < nr; i++)
		if (!number(&p, i + 1 < nr ? ',' : 0, 1ULL << 53, &v[i]))
			return false;
	return true;
}

static int read_io(struct reader *r)
{
	struct pst_trace *t = r->t;
	uint64_t v[11];
	int rc;

	if (!numbers(r->line + 4, v, 11) || v[0] > UINT32_MAX || !v[1] ||
	    v[1] > UINT32_MAX || v[2] >= t->nr_layers)
		return bad(r, "expected '#io,' and 11 numbers in range");
	if (t->nr_io == PST_TRACE_MAX_RECORDS)
		return bad(r, "more records than can be kept");
	rc = make_room((void **)&t->io, t->nr_io, &r->cap_io, sizeof(*t->io));
	if (rc)
		return rc;
	t->io[t->nr_io++] = (struct pst_trace_io){
		.token = (uint32_t)v[0],
		.nr_tokens = (uint32_t)v[1],
		.layer = (uint32_t)v[2],
		.total_ns = v[3],
		.wait_ns = v[4],
		.attention_ns = v[5],
		.experts_ns = v[6],
		.hits = v[7],
		.misses = v[8],
		.demand_bytes = v[9],
		.idle_bytes = v[10],
	};
	return 0;
}

static int read_pass(struct reader *r)
{
	struct pst_trace *t = r->t;
	uint64_t v[4];
	int rc;

	if (!numbers(r->line + 6, v, 4) || v[0] > UINT32_MAX || !v[1] ||
	    v[1] > UINT32_MAX)
		return bad(r, "expected '#pass,' and 4 numbers in range");
	if (t->nr_passes == PST_TRACE_MAX_RECORDS)
		return bad(r, "more records than can be kept");
	rc = make_room((void **)&t->pass, t->nr_passes, &r->cap_passes,
		       sizeof(*t->pass));
	if (rc)
		return rc;
	t->pass[t->nr_passes++] = (struct pst_trace_pass){
		.token = (uint32_t)v[0],
		.nr_tokens = (uint32_t)v[1],
		.total_ns = v[2],
		.logits_ns = v[3],
	};
	return 0;
}

static int read_record(struct reader *r)
{
	if (!strncmp(r->line, "#p,", 3))
		return read_probs(r);
	if (!strncmp(r->line, "#io,", 4))
		return read_io(r);
	if (!strncmp(r->line, "#pass,", 6))
		return read_pass(r);
	return r->line[1] == ' ' ? 0 : bad(r, "an unknown record");
}

static int read_all(struct reader *r)
{
	struct pst_trace *t = r->t;
	int rc = read_head(r);

	t->first_decode = UINT32_MAX;
	while (!rc && (rc = next_line(r)) > 0)
		rc = r->records && r->line[0] == '#' ? read_record(r)
						     : read_row(r);
	if (rc)
		return rc;
	if (!t->nr_rows || t->nr_rows % t->nr_used)
		return bad(r, "the trace ends within a token");
	if (r->probs && r->nr_probs != t->nr_rows / t->nr_used)
		return bad(r, "the trace ends before the last token's "
			      "probabilities");
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
	free(t->weight);
	free(t->prob);
	free(t->io);
	free(t->pass);
	*t = (struct pst_trace){ .nr_layers = 0 };
}

float pst_trace_prob(uint16_t code)
{
	return code >= PST_TRACE_PROB_ZERO ? 0.0f
					   : exp2f((float)code * (-1.0f / 64));
}
