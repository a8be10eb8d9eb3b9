// SPDX-License-Identifier: MIT
/*
 * The writer of routing traces: formats lines and hands them to a sink; keeps
 * nothing, so that a trace of any length takes no memory.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "trace.h"
#include "trace_priv.h"

static int put_text(const struct pst_trace_sink *s, const char *text, int len)
{
	return s->put(s->ctx, text, (size_t)len);
}

/* A name that cannot end its line or its word. */
static void plain_name(const char *name, char *out, size_t size)
{
	size_t n = 0;

	for (; name[n] && n + 1 < size; n++) {
		char c = name[n];
		bool plain = (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') ||
			     (c >= '0' && c <= '9') || strchr("._+-", c);

		out[n] = plain ? c : '_';
	}
	if (!n)
		out[n++] = '_';
	out[n] = 0;
}

static bool geometry_ok(const struct pst_trace_head *h)
{
	return h->nr_layers && h->nr_layers <= PST_TRACE_MAX_LAYERS &&
	       h->nr_experts && h->nr_experts <= PST_TRACE_MAX_EXPERTS &&
	       h->nr_used && h->nr_used <= h->nr_experts;
}

static int put_notes(const struct pst_trace_sink *s,
		     const struct pst_trace_head *h)
{
	static const char probs[] = PST_TRACE_PROBS "\n";
	static const char io[] = "# #io,token,nr_tokens,layer,total_ns,wait_ns,"
				 "attention_ns,experts_ns,hits,misses,"
				 "demand_bytes,idle_bytes\n"
				 "# #pass,token,nr_tokens,total_ns,logits_ns\n";
	int rc = 0;

	if (h->probs)
		rc = put_text(s, probs, sizeof(probs) - 1);
	if (!rc && h->records)
		rc = put_text(s, io, sizeof(io) - 1);
	return rc;
}

int pst_trace_write_head(const struct pst_trace_sink *s,
			 const struct pst_trace_head *h)
{
	char line[512], model[128], arch[64];
	int n, rc;

	if (!geometry_ok(h))
		return -EINVAL;
	plain_name(h->model, model, sizeof(model));
	plain_name(h->arch, arch, sizeof(arch));
	n = snprintf(line, sizeof(line),
		     PST_TRACE_MAGIC "%d\n# model=%s arch=%s layers=%u "
				     "experts=%u used=%u\n",
		     h->probs || h->records ? 2 : 1, model, arch, h->nr_layers,
		     h->nr_experts, h->nr_used);
	rc = put_text(s, line, n);
	for (uint32_t l = 0; l < h->nr_layers && !rc; l++) {
		if (!h->expert_bytes[l])
			continue;
		n = snprintf(line, sizeof(line),
			     "# layer=%u expert_bytes=%" PRIu64 "\n", l,
			     h->expert_bytes[l]);
		rc = put_text(s, line, n);
	}
	if (!rc)
		rc = put_notes(s, h);
	if (!rc)
		rc = put_text(s, PST_TRACE_COLUMNS "\n",
			      sizeof(PST_TRACE_COLUMNS));
	return rc;
}

static uint32_t prob_code(float p)
{
	float v;

	/* NaN compares false. */
	if (!(p > 0.0f))
		return PST_TRACE_PROB_ZERO;
	v = -64.0f * log2f(p);
	if (v < 0.0f)
		return 0;
	return v < (float)PST_TRACE_PROB_ZERO ? (uint32_t)lrintf(v)
					      : PST_TRACE_PROB_ZERO;
}

static int put_probs(const struct pst_trace_sink *s, const float *p,
		     uint32_t nr)
{
	static const char digit[] = PST_TRACE_DIGITS;
	char line[3 + 2 * PST_TRACE_MAX_EXPERTS + 1];
	size_t n = 3;

	memcpy(line, "#p,", n);
	for (uint32_t e = 0; e < nr; e++) {
		uint32_t c = prob_code(p[e]);

		line[n++] = digit[c >> 6];
		line[n++] = digit[c & 63];
	}
	line[n++] = '\n';
	return s->put(s->ctx, line, n);
}

int pst_trace_write_rows(const struct pst_trace_sink *s,
			 const struct pst_trace_rows *r)
{
	uint32_t nr = r->nr_tokens * r->nr_used;
	char line[128];
	int rc = 0;

	if (r->nr_experts > PST_TRACE_MAX_EXPERTS)
		return -EINVAL;
	for (uint32_t i = 0; i < nr && !rc; i++) {
		uint32_t t = i / r->nr_used, rank = i % r->nr_used;

		if (!isfinite(r->weights[i]))
			return -EINVAL;
		rc = put_text(s, line,
			      snprintf(line, sizeof(line),
				       "%s,%u,%u,%u,%u,%.9g\n",
				       r->decode ? "decode" : "prefill",
				       r->first + t, r->layer, rank, r->ids[i],
				       (double)r->weights[i]));
		if (!rc && r->probs && rank + 1 == r->nr_used)
			rc = put_probs(s, r->probs + (size_t)t * r->nr_experts,
				       r->nr_experts);
	}
	return rc;
}

int pst_trace_write_io(const struct pst_trace_sink *s,
		       const struct pst_trace_io *io)
{
	const uint64_t v[] = { io->total_ns,	 io->wait_ns,
			       io->attention_ns, io->experts_ns,
			       io->hits,	 io->misses,
			       io->demand_bytes, io->idle_bytes };
	char line[320];
	int n = snprintf(line, sizeof(line), "#io,%u,%u,%u", io->token,
			 io->nr_tokens, io->layer);

	for (size_t i = 0; i < PST_ARRAY_SIZE(v); i++)
		n += snprintf(line + n, sizeof(line) - (size_t)n, ",%" PRIu64,
			      v[i]);
	line[n++] = '\n';
	return put_text(s, line, n);
}

int pst_trace_write_pass(const struct pst_trace_sink *s,
			 const struct pst_trace_pass *p)
{
	char line[128];

	return put_text(s, line,
			snprintf(line, sizeof(line),
				 "#pass,%u,%u,%" PRIu64 ",%" PRIu64 "\n",
				 p->token, p->nr_tokens, p->total_ns,
				 p->logits_ns));
}
