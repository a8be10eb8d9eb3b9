// SPDX-License-Identifier: MIT
/*
 * The writer and the reader of traces: what one writes the other reads, and
 * what no writer writes is refused with its line.
 */
#include <errno.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "test_seed.h"
#include "trace.h"

#define LAYERS	3
#define EXPERTS 9
#define USED	2
#define TOKENS	4

/* A sink that keeps, and refuses what does not fit. */
struct memory {
	char *data;
	size_t len, cap;
};

static int keep(void *ctx, const void *data, size_t size_bytes)
{
	struct memory *m = ctx;

	if (size_bytes > m->cap - m->len)
		return -ENOSPC;
	memcpy(m->data + m->len, data, size_bytes);
	m->len += size_bytes;
	return 0;
}

static int load(const struct memory *m, struct pst_trace *t,
		struct pst_diag *diag)
{
	char path[] = "/tmp/penstock-format-XXXXXX";
	int fd = mkstemp(path), rc;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, m->data, m->len), m->len);
	close(fd);
	pst_diag_init(diag);
	rc = pst_trace_load(path, t, diag);
	unlink(path);
	return rc;
}

struct run {
	uint64_t expert_bytes[LAYERS];
	uint32_t ids[TOKENS][LAYERS][USED];
	float weights[TOKENS][LAYERS][USED];
	float probs[TOKENS][LAYERS][EXPERTS];
};

static float unit(uint64_t *rng)
{
	return (float)(pst_rng_next(rng) >> 40) * 0x1p-24f;
}

static void draw(struct run *r, uint64_t seed)
{
	for (uint32_t l = 0; l < LAYERS; l++)
		r->expert_bytes[l] = l == 1 ? 0 : 1000 + l;
	for (uint32_t t = 0; t < TOKENS; t++)
		for (uint32_t l = 0; l < LAYERS; l++) {
			r->ids[t][l][0] =
				(uint32_t)(pst_rng_next(&seed) % EXPERTS);
			r->ids[t][l][1] = (r->ids[t][l][0] + 1) % EXPERTS;
			for (int i = 0; i < USED; i++)
				r->weights[t][l][i] = unit(&seed);
			for (int e = 0; e < EXPERTS; e++)
				r->probs[t][l][e] = e ? powf(unit(&seed), 8.0f)
						      : 0.0f;
		}
}

/* Two tokens of prompt, token by token, then the others. */
static int write_run(const struct run *r, const struct pst_trace_sink *s,
		     bool probs, bool records)
{
	struct pst_trace_head h = { .model = "a b/c\n<x>",
				    .arch = "none",
				    .nr_layers = LAYERS,
				    .nr_experts = EXPERTS,
				    .nr_used = USED,
				    .expert_bytes = r->expert_bytes,
				    .probs = probs,
				    .records = records };
	int rc = pst_trace_write_head(s, &h);

	for (uint32_t t = 0; t < TOKENS && !rc; t++) {
		struct pst_trace_pass p = { t, 1, 900 + t, 9 };

		for (uint32_t l = 0; l < LAYERS && !rc; l += 2) {
			struct pst_trace_rows rows = {
				.decode = t >= 2,
				.layer = l,
				.first = t,
				.nr_tokens = 1,
				.nr_used = USED,
				.nr_experts = EXPERTS,
				.ids = r->ids[t][l],
				.weights = r->weights[t][l],
				.probs = probs ? r->probs[t][l] : NULL,
			};
			struct pst_trace_io io = { .token = t,
						   .nr_tokens = 1,
						   .layer = l,
						   .total_ns = 50 + l,
						   .idle_bytes = 1ULL << 40 };

			rc = pst_trace_write_rows(s, &rows);
			if (!rc && records)
				rc = pst_trace_write_io(s, &io);
		}
		if (!rc && records)
			rc = pst_trace_write_pass(s, &p);
	}
	return rc;
}

static void check_rows(const struct run *r, const struct pst_trace *t)
{
	uint32_t row = 0;

	assert_int_equal(t->nr_rows, TOKENS * 2 * USED);
	assert_int_equal(t->first_decode, 2 * 2 * USED);
	for (uint32_t k = 0; k < TOKENS; k++)
		for (uint32_t l = 0; l < LAYERS; l += 2)
			for (uint32_t i = 0; i < USED; i++, row++) {
				assert_int_equal(t->key[row],
						 l * EXPERTS + r->ids[k][l][i]);
				/* To the bit: a replay shall repeat a run. */
				assert_memory_equal(&t->weight[row],
						    &r->weights[k][l][i], 4);
			}
}

static void what_is_written_is_read(void **state)
{
	char text[1 << 16];
	struct memory m = { .data = text, .cap = sizeof(text) };
	struct pst_trace_sink s = { .put = keep, .ctx = &m };
	uint64_t seed = test_seed();
	struct pst_diag diag;

	for (int form = 0; form < 4; form++) {
		struct pst_trace t;
		struct run r;

		draw(&r, seed + (uint64_t)form);
		m.len = 0;
		assert_int_equal(write_run(&r, &s, form & 1, form & 2), 0);
		assert_int_equal(text[strlen("# penstock-route-trace ")],
				 form ? '2' : '1');
		assert_int_equal(load(&m, &t, &diag), 0);
		assert_string_equal(t.model, "a_b_c__x_");
		assert_int_equal(t.nr_moe_layers, 2);
		check_rows(&r, &t);
		assert_int_equal(!!t.prob, form & 1);
		assert_int_equal(t.nr_passes, form & 2 ? TOKENS : 0);
		assert_int_equal(t.nr_io, form & 2 ? 2 * TOKENS : 0);
		if (form & 2) {
			assert_int_equal(t.io[3].layer, 2);
			assert_int_equal(t.io[3].idle_bytes, 1ULL << 40);
			assert_int_equal(t.pass[1].total_ns, 901);
		}
		pst_trace_fini(&t);
	}
}

static void probabilities_keep_half_a_percent(void **state)
{
	char text[1 << 16];
	struct memory m = { .data = text, .cap = sizeof(text) };
	struct pst_trace_sink s = { .put = keep, .ctx = &m };
	struct pst_diag diag;
	struct pst_trace t;
	struct run r;
	uint32_t group = 0;

	draw(&r, test_seed());
	assert_int_equal(write_run(&r, &s, true, false), 0);
	assert_int_equal(load(&m, &t, &diag), 0);
	for (uint32_t k = 0; k < TOKENS; k++)
		for (uint32_t l = 0; l < LAYERS; l += 2, group++)
			for (uint32_t e = 0; e < EXPERTS; e++) {
				float p = r.probs[k][l][e];
				float q = pst_trace_prob(
					t.prob[group * EXPERTS + e]);

				if (p < 1e-19f)
					assert_true(q < 1e-18f);
				else
					assert_true(fabsf(q - p) < 0.0055f * p);
			}
	pst_trace_fini(&t);
}

static void a_full_sink_ends_the_writing(void **state)
{
	char text[1 << 16];
	struct memory m = { .data = text, .cap = sizeof(text) };
	struct pst_trace_sink s = { .put = keep, .ctx = &m };
	struct run r;
	size_t whole;

	draw(&r, test_seed());
	assert_int_equal(write_run(&r, &s, true, true), 0);
	whole = m.len;
	for (size_t cap = 0; cap < whole; cap += 1 + whole / 200) {
		m.len = 0;
		m.cap = cap;
		assert_int_equal(write_run(&r, &s, true, true), -ENOSPC);
	}
}

static void what_no_reader_takes_is_not_written(void **state)
{
	char text[1 << 12];
	struct memory m = { .data = text, .cap = sizeof(text) };
	struct pst_trace_sink s = { .put = keep, .ctx = &m };
	uint64_t bytes = 1;
	uint32_t id = 0;
	float w = NAN;
	struct pst_trace_head h = { "m", "a", 1, 4, 5, &bytes, false, false };
	struct pst_trace_rows r = { .nr_tokens = 1,
				    .nr_used = 1,
				    .nr_experts = 4,
				    .ids = &id,
				    .weights = &w };

	assert_int_equal(pst_trace_write_head(&s, &h), -EINVAL);
	h.nr_used = 2;
	h.nr_experts = PST_TRACE_MAX_EXPERTS + 1;
	assert_int_equal(pst_trace_write_head(&s, &h), -EINVAL);
	assert_int_equal(pst_trace_write_rows(&s, &r), -EINVAL);
}

#define HEAD2                                          \
	"# penstock-route-trace 2\n"                   \
	"# model=m arch=a layers=2 experts=4 used=1\n" \
	"# layer=0 expert_bytes=10\n"
#define COLS  "phase,token,layer,rank,expert,weight\n"
#define PROBS "# probs=log64\n"
#define ROW   "decode,0,0,0,1,0.5\n"
#define GOOD  "#p,AAABACAD\n"
#define NINE  "1,2,3,4,5,6,7,8,9"

static void malformed_records_are_refused_with_the_line(void **state)
{
	static const struct {
		const char *text, *line;
	} bad[] = {
		/* Records are of version 2, probabilities are announced. */
		{ "# penstock-route-trace 3\n", "line 1" },
		{ HEAD2 COLS ROW GOOD, "line 6" },
		{ HEAD2 PROBS COLS ROW, "line 6" },
		{ HEAD2 PROBS COLS ROW ROW, "line 7" },
		{ HEAD2 PROBS COLS GOOD, "line 6" },
		{ HEAD2 PROBS COLS ROW GOOD GOOD, "line 8" },
		{ HEAD2 PROBS COLS ROW "#p,AAABAC\n", "line 7" },
		{ HEAD2 PROBS COLS ROW "#p,AAABACADAE\n", "line 7" },
		{ HEAD2 PROBS COLS ROW "#p,AAAB*CAD\n", "line 7" },
		{ HEAD2 COLS ROW "#q\n", "line 6" },
		{ HEAD2 COLS ROW "#io\n", "line 6" },
		{ HEAD2 COLS ROW "#io,0,1,0," NINE "\n", "line 6" },
		{ HEAD2 COLS ROW "#io,0,1,2,1,2,3,4,5,6,7,8\n", "line 6" },
		{ HEAD2 COLS ROW "#io,0,0,0,1,2,3,4,5,6,7,8\n", "line 6" },
		{ HEAD2 COLS ROW "#io,0,1,0,1,2,3,4,5,6,7,-8\n", "line 6" },
		{ HEAD2 COLS ROW
		  "#io,0,1,0,1,2,3,4,5,6,7,99999999999999999999\n",
		  "line 6" },
		{ HEAD2 COLS ROW "#pass,0,1,2\n", "line 6" },
		{ HEAD2 COLS ROW "#pass,0,0,2,3\n", "line 6" },
		{ HEAD2 COLS ROW "#pass,0,1,nan,3\n", "line 6" },
		{ HEAD2 COLS "decode,0,0,0,1,nan\n", "line 5" },
		{ HEAD2 COLS "decode,0,0,0,1,inf\n", "line 5" },
		{ HEAD2 COLS "decode,0,0,0,1,1e99\n", "line 5" },
	};
	static const char good[] = HEAD2 PROBS COLS ROW GOOD
		"#io,0,1,0,1,2,3,4,5,6,7,8\n# a comment\n#pass,0,1,2,3\n";
	struct pst_trace t;
	struct pst_diag diag;
	struct memory m = { .data = (char *)good, .len = strlen(good) };

	assert_int_equal(load(&m, &t, &diag), 0);
	pst_trace_fini(&t);
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		print_message("case %zu\n", i);
		m.data = (char *)bad[i].text;
		m.len = strlen(bad[i].text);
		assert_int_equal(load(&m, &t, &diag), -EBADMSG);
		assert_non_null(strstr(diag.text, bad[i].line));
	}
}

static void damaged_records_are_read_or_refused(void **state)
{
	char text[1 << 16], hurt[1 << 16];
	struct memory m = { .data = text, .cap = sizeof(text) }, h;
	struct pst_trace_sink s = { .put = keep, .ctx = &m };
	uint64_t rng = test_seed();
	struct pst_diag diag;
	struct pst_trace t;
	struct run r;

	draw(&r, rng);
	assert_int_equal(write_run(&r, &s, true, true), 0);
	for (int i = 0; i < 1000; i++) {
		int rc;

		memcpy(hurt, text, m.len);
		h = (struct memory){ .data = hurt, .len = m.len };
		for (uint64_t n = pst_rng_next(&rng) % 3; n; n--)
			hurt[pst_rng_next(&rng) % m.len] =
				(char)pst_rng_next(&rng);
		if (pst_rng_next(&rng) % 2)
			h.len = pst_rng_next(&rng) % m.len;
		rc = load(&h, &t, &diag);
		assert_true(!rc || rc == -EBADMSG);
		if (!rc)
			pst_trace_fini(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(what_is_written_is_read),
		cmocka_unit_test(probabilities_keep_half_a_percent),
		cmocka_unit_test(a_full_sink_ends_the_writing),
		cmocka_unit_test(what_no_reader_takes_is_not_written),
		cmocka_unit_test(malformed_records_are_refused_with_the_line),
		cmocka_unit_test(damaged_records_are_read_or_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
