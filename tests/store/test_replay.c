// SPDX-License-Identifier: MIT
/*
 * The reader of traces and the replay: against definitions by search, and
 * against the published figures of two recorded traces.
 */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "replay.h"
#include "routing.h"
#include "test_seed.h"

static double rate(const struct pst_replay_result *r)
{
	return (double)r->hits / (double)(r->hits + r->misses);
}

static void small_path(char *out, size_t size)
{
	snprintf(out, size, "%s/tests/data/traces/small.csv",
		 getenv("PENSTOCK_SRC") ? getenv("PENSTOCK_SRC") : ".");
}

static void a_trace_says_what_it_holds(void **state)
{
	struct pst_trace t;
	char path[4096];

	small_path(path, sizeof(path));
	assert_int_equal(pst_trace_load(path, &t, NULL), 0);
	assert_string_equal(t.model, "small");
	assert_int_equal(t.nr_layers, 2);
	assert_int_equal(t.nr_moe_layers, 2);
	assert_int_equal(t.nr_experts, 4);
	assert_int_equal(t.nr_used, 2);
	assert_int_equal(t.nr_rows, 16);
	assert_int_equal(t.first_decode, 8);
	assert_int_equal(t.expert_bytes[1], 1000);
	assert_int_equal(t.key[4], 4 + 3);
	pst_trace_fini(&t);
}

/* Keys are written layer.expert, oldest first. */
static void lru_and_bytes_agree_with_a_count_by_hand(void **state)
{
	struct pst_replay_result r;
	struct pst_trace t;
	char path[4096];

	small_path(path, sizeof(path));
	assert_int_equal(pst_trace_load(path, &t, NULL), 0);
	/* Everything fits: only what never was there is missed, once each. */
	assert_int_equal(pst_replay_policy(&t, &pst_policy_lru, 8, &r), 0);
	assert_int_equal(r.misses, 1);
	assert_int_equal(r.bytes_read, 1000);
	/* One slot: no expert is wanted twice in a row. */
	assert_int_equal(pst_replay_policy(&t, &pst_policy_lru, 1, &r), 0);
	assert_int_equal(r.hits, 0);
	assert_int_equal(r.bytes_read, 4 * 100 + 4 * 1000);
	/* Three: {1.0 1.3 1.1} -> 0.2 0.0 miss, 1.1 hits, 1.2 misses, then
	 * {0.0 1.1 1.2}: 0.2, 0.1, 1.3, 1.1 miss.
	 */
	assert_int_equal(pst_replay_policy(&t, &pst_policy_lru, 3, &r), 0);
	assert_int_equal(r.hits, 1);
	assert_int_equal(r.bytes_read, 4 * 100 + 3 * 1000);
	pst_trace_fini(&t);
}

static void no_slots_are_refused(void **state)
{
	struct pst_replay_result r;
	struct pst_trace t;
	char path[4096];

	small_path(path, sizeof(path));
	assert_int_equal(pst_trace_load(path, &t, NULL), 0);
	assert_int_equal(pst_replay_policy(&t, &pst_policy_lru, 0, &r),
			 -EINVAL);
	assert_int_equal(pst_replay_min(&t, 0, &r), -EINVAL);
	pst_trace_fini(&t);
}

/* The definition of MIN: search all residents for the latest next use. */
static uint64_t min_by_search(const struct pst_trace *t, uint32_t nr_slots)
{
	bool there[256] = { false };
	uint32_t nr = 0;
	uint64_t misses = 0;

	for (uint32_t i = 0; i < t->nr_rows; i++) {
		uint32_t gone = 0, latest = 0;

		if (there[t->key[i]])
			continue;
		misses += i >= t->first_decode;
		for (uint32_t k = 0; k < 256 && nr == nr_slots; k++) {
			uint32_t next = i + 1;

			while (next < t->nr_rows && t->key[next] != k)
				next++;
			if (there[k] && next > latest) {
				latest = next;
				gone = k;
			}
		}
		if (nr == nr_slots) {
			there[gone] = false;
			nr--;
		}
		there[t->key[i]] = true;
		nr++;
	}
	return misses;
}

static void min_is_what_its_definition_says(void **state)
{
	struct routing r = { .nr_layers = 4,
			     .nr_experts = 16,
			     .nr_used = 3,
			     .nr_prefill = 5,
			     .nr_decode = 20,
			     .skew = 0.5,
			     .repeat = 0.3,
			     .seed = test_seed() };
	struct pst_replay_result res;
	struct pst_trace t;

	for (uint32_t slots = 1; slots <= 64; slots += 3) {
		r.seed++;
		routing_make(&r, &t);
		assert_int_equal(pst_replay_min(&t, slots, &res), 0);
		assert_int_equal(res.misses, min_by_search(&t, slots));
		assert_int_equal(res.hits + res.misses, 20 * 4 * 3);
		pst_trace_fini(&t);
	}
}

/* MIN minimises the misses of both phases together; with nothing to warm,
 * these are the misses that count.
 */
static void no_policy_is_better_than_min(void **state)
{
	struct routing r = { .nr_layers = 6,
			     .nr_experts = 32,
			     .nr_used = 4,
			     .nr_decode = 60,
			     .skew = 0.8,
			     .repeat = 0.2,
			     .seed = test_seed() };
	struct pst_replay_result best, got;
	struct pst_trace t;

	routing_make(&r, &t);
	for (uint32_t slots = 1; slots <= 192; slots += 13) {
		assert_int_equal(pst_replay_min(&t, slots, &best), 0);
		for (uint32_t i = 0; pst_policy_name(i); i++) {
			assert_int_equal(
				pst_replay_policy(
					&t, pst_policy_find(pst_policy_name(i)),
					slots, &got),
				0);
			assert_true(got.misses >= best.misses);
			assert_int_equal(got.hits + got.misses,
					 best.hits + best.misses);
		}
	}
	pst_trace_fini(&t);
}

static int load_text(const char *text, size_t len, struct pst_diag *diag)
{
	char path[] = "/tmp/penstock-trace-XXXXXX";
	int fd = mkstemp(path), rc;
	struct pst_trace t;

	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, len), len);
	close(fd);
	pst_diag_init(diag);
	rc = pst_trace_load(path, &t, diag);
	unlink(path);
	if (!rc)
		pst_trace_fini(&t);
	return rc;
}

#define MAGIC "# penstock-route-trace 1\n"
#define MODEL "# model=m arch=a layers=2 experts=4 used=2\n"
#define LAYER "# layer=0 expert_bytes=10\n"
#define COLS  "phase,token,layer,rank,expert,weight\n"
#define HEAD  MAGIC MODEL LAYER COLS
#define PAIR  "decode,0,0,0,1,0.5\ndecode,0,0,1,2,0.5\n"

static void malformed_traces_are_refused_with_the_line(void **state)
{
	static const struct {
		const char *text, *line;
	} bad[] = {
		{ "", "line 0" },
		{ "hello\n", "line 1" },
		{ MAGIC, "line 1" },
		{ MAGIC COLS, "line 2" },
		{ MAGIC MODEL COLS, "line 3" },
		{ MAGIC LAYER, "line 2" },
		{ MAGIC MODEL MODEL, "line 3" },
		{ MAGIC MODEL LAYER LAYER, "line 4" },
		{ MAGIC "# model=m layers=2 experts=4\n", "line 2" },
		{ MAGIC "# model=m layers=0 experts=4 used=2\n", "line 2" },
		{ MAGIC "# model=m layers=2 experts=4 used=5\n", "line 2" },
		{ MAGIC "# model=m layers=99999 experts=4 used=2\n", "line 2" },
		{ MAGIC "# model=m layers=2 experts=99999999999 used=2\n",
		  "line 2" },
		{ MAGIC MODEL "# layer=2 expert_bytes=10\n", "line 3" },
		{ MAGIC MODEL "# layer=0 expert_bytes=0\n", "line 3" },
		{ MAGIC MODEL "# layer=0 expert_bytes=-1\n", "line 3" },
		{ MAGIC MODEL "# layer=0 expert_bytes=99999999999999999999\n",
		  "line 3" },
		{ HEAD, "line 4" },
		{ HEAD "other,0,0,0,1,0.5\n", "line 5" },
		{ HEAD "decode,0,0,0,4,0.5\n", "line 5" },
		{ HEAD "decode,0,2,0,1,0.5\n", "line 5" },
		{ HEAD "decode,0,1,0,1,0.5\n", "line 5" },
		{ HEAD "decode,0,0,1,1,0.5\n", "line 5" },
		{ HEAD "decode,0,0,0,1\n", "line 5" },
		{ HEAD "decode,0,0,0,1,\n", "line 5" },
		{ HEAD "decode,0,0,0,1,0.5,7\n", "line 5" },
		{ HEAD "decode,0,0,0,-1,0.5\n", "line 5" },
		{ HEAD "decode,99999999999,0,0,1,0.5\n", "line 5" },
		{ HEAD "decode,0,0,0,1,0.5\n", "line 5" },
		{ HEAD "decode,0,0,0,1,0.5\ndecode,1,0,1,2,0.5\n", "line 6" },
		{ HEAD "decode,0,0,0,1,0.5\ndecode,0,0,1,1,0.5\n", "line 6" },
		{ HEAD PAIR "prefill,1,0,0,1,0.5\n", "line 7" },
		{ HEAD PAIR "\n", "line 7" },
	};
	struct pst_diag diag;

	assert_int_equal(load_text(HEAD PAIR, strlen(HEAD PAIR), &diag), 0);
	for (size_t i = 0; i < PST_ARRAY_SIZE(bad); i++) {
		print_message("case %zu\n", i);
		assert_int_equal(load_text(bad[i].text, strlen(bad[i].text),
					   &diag),
				 -EBADMSG);
		assert_non_null(strstr(diag.text, bad[i].line));
	}
}

static void a_line_without_end_is_refused(void **state)
{
	struct pst_diag diag;
	char *text = malloc(1 << 20);

	assert_non_null(text);
	memset(text, '#', 1 << 20);
	assert_int_equal(load_text(text, 1 << 20, &diag), -EBADMSG);
	memset(text, 0, 1 << 20);
	assert_int_equal(load_text(text, 1 << 20, &diag), -EBADMSG);
	free(text);
}

static void damaged_traces_are_read_or_refused(void **state)
{
	static const char good[] = HEAD PAIR "decode,1,0,0,3,1\n"
					     "decode,1,0,1,0,0\n";
	uint64_t rng = test_seed();
	struct pst_diag diag;

	for (int i = 0; i < 2000; i++) {
		char text[sizeof(good)];
		size_t len = sizeof(good) - 1;
		int rc;

		memcpy(text, good, sizeof(good));
		for (uint64_t n = pst_rng_next(&rng) % 4; n; n--)
			text[pst_rng_next(&rng) % len] =
				(char)pst_rng_next(&rng);
		if (pst_rng_next(&rng) % 2)
			len = pst_rng_next(&rng) % len;
		rc = load_text(text, len, &diag);
		assert_true(!rc || rc == -EBADMSG);
	}
}

/* Shares resident and hit rates as published with the traces. */
static const struct {
	const char *file;
	double lru[5], min[5];
} published[] = {
	{ "qwen3-30b-a3b.csv",
	  { 0.377, 0.499, 0.741, 0.880, 0.963 },
	  { 0.584, 0.756, 0.900, 0.955, 0.971 } },
	{ "gemma-4-26b-a4b.csv",
	  { 0.354, 0.489, 0.721, 0.847, 0.957 },
	  { 0.576, 0.743, 0.880, 0.940, 0.964 } },
};

static void recorded_traces_give_the_published_rates(void **state)
{
	static const uint32_t percent[] = { 5, 10, 20, 30, 50 };
	const char *src = getenv("PENSTOCK_SRC");

	for (size_t f = 0; f < PST_ARRAY_SIZE(published); f++) {
		struct pst_replay_result r;
		struct pst_trace t;
		char path[4096];

		snprintf(path, sizeof(path), "%s/../shared/traces/%s",
			 src ? src : ".", published[f].file);
		if (access(path, R_OK)) {
			print_message("skipped: no %s\n", path);
			skip();
		}
		assert_int_equal(pst_trace_load(path, &t, NULL), 0);
		for (size_t i = 0; i < PST_ARRAY_SIZE(percent); i++) {
			uint32_t slots = t.nr_moe_layers * t.nr_experts *
					 percent[i] / 100;

			pst_replay_policy(&t, &pst_policy_lru, slots, &r);
			assert_true(rate(&r) - published[f].lru[i] < 0.0005 &&
				    published[f].lru[i] - rate(&r) < 0.0005);
			pst_replay_min(&t, slots, &r);
			/* 0.9005 and the like round either way. */
			assert_true(rate(&r) - published[f].min[i] < 0.0006 &&
				    published[f].min[i] - rate(&r) < 0.0006);
		}
		pst_trace_fini(&t);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(a_trace_says_what_it_holds),
		cmocka_unit_test(lru_and_bytes_agree_with_a_count_by_hand),
		cmocka_unit_test(no_slots_are_refused),
		cmocka_unit_test(min_is_what_its_definition_says),
		cmocka_unit_test(no_policy_is_better_than_min),
		cmocka_unit_test(malformed_traces_are_refused_with_the_line),
		cmocka_unit_test(a_line_without_end_is_refused),
		cmocka_unit_test(damaged_traces_are_read_or_refused),
		cmocka_unit_test(recorded_traces_give_the_published_rates),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
