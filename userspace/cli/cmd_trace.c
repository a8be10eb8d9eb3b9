// SPDX-License-Identifier: MIT
/*
 * penstock trace record: a run that writes its routing down; and replay: what
 * hit rate each eviction policy would have had on a recorded routing, beside
 * LRU and the optimum.
 */
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"
#include "replay.h"

#define MAX_LIST 32

/* One line of the result: a policy at a capacity. */
struct row {
	const char *name; /* as asked for */
	const char *object; /* the policy that it stands for */
	uint32_t nr_slots;
	struct pst_replay_result r, lru, min;
};

struct asked {
	char *text; /* names point into it */
	const char *names[MAX_LIST];
	uint32_t slots[MAX_LIST];
	uint32_t nr_names, nr_slots;
};

static int too_many(const char *opt)
{
	cli_error("--%s: more than %d in the list", opt, MAX_LIST);
	return EXIT_USAGE;
}

static int parse_policies(struct asked *a, const char *list)
{
	char *save = NULL;

	a->text = strdup(list);
	if (!a->text)
		return cli_fail(-ENOMEM, NULL);
	for (char *n = strtok_r(a->text, ",", &save); n;
	     n = strtok_r(NULL, ",", &save)) {
		if (strcmp(n, "min") && !pst_policy_find(n)) {
			fputs("penstock: --cache-policy '", stderr);
			cli_print_text(stderr, n, strlen(n), 64);
			fputs("': unknown; there are default, min", stderr);
			for (uint32_t i = 0; pst_policy_name(i); i++)
				fprintf(stderr, ", %s", pst_policy_name(i));
			fputc('\n', stderr);
			return EXIT_USAGE;
		}
		if (a->nr_names == MAX_LIST)
			return too_many("cache-policy");
		a->names[a->nr_names++] = n;
	}
	if (a->nr_names)
		return EXIT_OK;
	cli_error("--cache-policy: an empty list");
	return EXIT_USAGE;
}

static uint64_t largest_expert(const struct pst_trace *t)
{
	uint64_t most = 1;

	for (uint32_t l = 0; l < t->nr_layers; l++)
		most = PST_MAX(most, t->expert_bytes[l]);
	return most;
}

/* "5%", "300experts" or "2G" in experts, at most all; 0 when malformed. */
static uint32_t parse_slots(const char *s, const struct pst_trace *t)
{
	uint32_t all = t->nr_moe_layers * t->nr_experts;
	uint64_t size_bytes;
	char *end;
	double v;

	if (*s < '0' || *s > '9')
		return 0;
	v = strtod(s, &end);
	if (!strcmp(end, "%") && v <= 100.0)
		/* 5 % of 6144 is 307.2: the rest of an expert is none. */
		return (uint32_t)(v * all / 100.0 + 1e-6);
	if (!strcmp(end, "experts"))
		return v < all ? (uint32_t)v : all;
	if (pst_parse_size(s, &size_bytes))
		return 0;
	return (uint32_t)PST_MIN(size_bytes / largest_expert(t), all);
}

/* Those of the default shares that differ, of at least one expert. */
static void default_caches(struct asked *a, const struct pst_trace *t)
{
	static const char *const shares[] = { "5%", "10%", "20%" };

	for (size_t i = 0; i < PST_ARRAY_SIZE(shares); i++) {
		uint32_t slots = PST_MAX(parse_slots(shares[i], t), 1u);

		if (!a->nr_slots || slots != a->slots[a->nr_slots - 1])
			a->slots[a->nr_slots++] = slots;
	}
}

static int parse_caches(struct asked *a, const char *list,
			const struct pst_trace *t)
{
	char *copy = strdup(list), *save = NULL;
	int rc = copy ? EXIT_OK : cli_fail(-ENOMEM, NULL);

	for (char *s = copy ? strtok_r(copy, ",", &save) : NULL; s && !rc;
	     s = strtok_r(NULL, ",", &save)) {
		uint32_t slots = parse_slots(s, t);

		if (!slots) {
			cli_error("--expert-cache '%s': not a share (5%%), "
				  "count (300experts) or size (2G) of at least "
				  "one expert",
				  s);
			rc = EXIT_USAGE;
		} else if (a->nr_slots == MAX_LIST) {
			rc = too_many("expert-cache");
		} else {
			a->slots[a->nr_slots++] = slots;
		}
	}
	free(copy);
	if (!rc && !a->nr_slots) {
		cli_error("--expert-cache: an empty list");
		rc = EXIT_USAGE;
	}
	return rc;
}

static double hit_rate(const struct pst_replay_result *r)
{
	uint64_t all = r->hits + r->misses;

	return all ? (double)r->hits / (double)all : 0.0;
}

/* Share of the way from LRU to the optimum; NAN where there is no way. */
static double gap_closed(const struct row *w)
{
	double gap = hit_rate(&w->min) - hit_rate(&w->lru);

	return gap > 0.0 ? (hit_rate(&w->r) - hit_rate(&w->lru)) / gap : NAN;
}

static int play_row(const struct pst_trace *t, struct row *w)
{
	const struct pst_policy_ops *ops = pst_policy_find(w->name);

	w->object = ops ? ops->name : w->name;
	if (!ops) {
		w->r = w->min;
		return 0;
	}
	return pst_replay_policy(t, ops, w->nr_slots, &w->r);
}

static int play(const struct pst_trace *t, const struct asked *a,
		struct row *rows, struct cli_bar *bar)
{
	uint32_t nr = 0;
	int rc = 0;

	for (uint32_t c = 0; c < a->nr_slots && !rc; c++) {
		struct row w = { .nr_slots = a->slots[c] };

		rc = pst_replay_policy(t, &pst_policy_lru, w.nr_slots, &w.lru);
		if (!rc)
			rc = pst_replay_min(t, w.nr_slots, &w.min);
		for (uint32_t i = 0; i < a->nr_names && !rc; i++) {
			w.name = a->names[i];
			rc = play_row(t, &w);
			rows[nr++] = w;
			cli_bar_update(bar, "replaying", nr,
				       a->nr_slots * a->nr_names, "replays");
		}
	}
	return rc;
}

static void print_json(const struct pst_trace *t, const struct row *w,
		       uint32_t nr)
{
	printf("{\"schema\":\"penstock.trace.replay.1\",\"model\":");
	cli_json_string(stdout, t->model, strlen(t->model));
	printf(",\"experts\":%u,\"wanted\":%u,\"results\":[",
	       t->nr_moe_layers * t->nr_experts, t->nr_rows - t->first_decode);
	for (uint32_t i = 0; i < nr; i++, w++) {
		printf("%s{\"policy\":\"%s\",\"object\":\"%s\","
		       "\"capacity_experts\":%u,\"hit_rate\":%.6f,"
		       "\"hits\":%llu,\"misses\":%llu,\"bytes_read\":%llu,"
		       "\"lru_hit_rate\":%.6f,\"min_hit_rate\":%.6f,"
		       "\"gap_closed\":",
		       i ? "," : "", w->name, w->object, w->nr_slots,
		       hit_rate(&w->r), (unsigned long long)w->r.hits,
		       (unsigned long long)w->r.misses,
		       (unsigned long long)w->r.bytes_read, hit_rate(&w->lru),
		       hit_rate(&w->min));
		if (isnan(gap_closed(w)))
			printf("null}");
		else
			printf("%.4f}", gap_closed(w));
	}
	puts("]}");
}

static void print_rows(const struct row *w, uint32_t nr, bool csv)
{
	if (csv)
		puts("policy,object,capacity_experts,hit_rate,hits,misses,"
		     "bytes_read,lru_hit_rate,min_hit_rate");
	else
		puts("policy      experts  hit %  LRU %  MIN %  GB read  "
		     "gap closed");
	for (uint32_t i = 0; i < nr; i++, w++) {
		double gap = gap_closed(w);
		char share[16] = "-";

		if (!isnan(gap))
			snprintf(share, sizeof(share), "%.0f %%", gap * 100.0);
		if (csv)
			printf("%s,%s,%u,%.6f,%llu,%llu,%llu,%.6f,%.6f\n",
			       w->name, w->object, w->nr_slots, hit_rate(&w->r),
			       (unsigned long long)w->r.hits,
			       (unsigned long long)w->r.misses,
			       (unsigned long long)w->r.bytes_read,
			       hit_rate(&w->lru), hit_rate(&w->min));
		else
			printf("%-10s %8u %6.1f %6.1f %6.1f %8.2f %11s\n",
			       w->name, w->nr_slots, hit_rate(&w->r) * 100.0,
			       hit_rate(&w->lru) * 100.0,
			       hit_rate(&w->min) * 100.0,
			       (double)w->r.bytes_read * 1e-9, share);
	}
}

static int replay(struct cli_opts *o, const struct pst_trace *t,
		  struct asked *a)
{
	struct row *rows;
	uint32_t nr;
	int rc = 0;

	if (o->caches)
		rc = parse_caches(a, o->caches, t);
	else
		default_caches(a, t);
	if (rc)
		return rc;
	nr = a->nr_slots * a->nr_names;
	rows = pst_calloc(nr, sizeof(*rows));
	if (!rows)
		return cli_fail(-ENOMEM, NULL);
	cli_bar_init(&o->bar, o->progress);
	rc = play(t, a, rows, &o->bar);
	cli_bar_clear(&o->bar);
	if (rc)
		rc = cli_fail(rc, NULL);
	else if (o->output == OUT_JSON)
		print_json(t, rows, nr);
	else
		print_rows(rows, nr, o->output == OUT_CSV);
	free(rows);
	return rc;
}

int cmd_trace_record(struct cli_opts *o)
{
	if (!o->record) {
		cli_error("trace record: where to? --out FILE, - is standard "
			  "output");
		return EXIT_USAGE;
	}
	/* A chat's later prompts would come after decode. */
	if (o->nr_args < 2 && !o->file && isatty(STDIN_FILENO)) {
		cli_error("trace record: no prompt");
		return EXIT_USAGE;
	}
	return cmd_run(o);
}

int cmd_trace_replay(struct cli_opts *o)
{
	struct pst_trace t = { .nr_layers = 0 };
	struct asked a = { .nr_names = 0 };
	struct pst_diag diag;
	int rc;

	rc = parse_policies(&a, o->policies ? o->policies : "lru,default,min");
	if (rc)
		goto out;
	pst_diag_init(&diag);
	rc = pst_trace_load(o->args[0], &t, &diag);
	rc = rc ? cli_fail(rc, &diag) : replay(o, &t, &a);
	pst_trace_fini(&t);
out:
	free(a.text);
	return rc;
}
