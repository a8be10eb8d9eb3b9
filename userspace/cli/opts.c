// SPDX-License-Identifier: MIT
/*
 * The command line: one table of options, each with the verbs it serves.
 */
#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "cli.h"

/* How an option's argument is read. */
enum kind {
	K_FLAG,
	K_STR,
	K_U32,
	K_SIZE,
	K_FLOAT,
	K_SHARE,
	K_SEED,
	K_CHOICE,
	K_CACHE,
	K_READ,
	K_MIRROR,
	K_REPORT,
	K_NUMA
};

struct opt {
	const char *name;
	char letter;
	enum kind kind;
	unsigned int groups;
	size_t off; /* of the field in struct cli_opts */
	const struct cli_choice *choices;
	const char *arg;
	const char *help;
};

#define OFF(f) offsetof(struct cli_opts, f)

static const struct cli_choice io_choices[] = {
	{ "auto", PST_ENGINE_IO_AUTO },
	{ "uring", PST_ENGINE_IO_URING },
	{ "pread", PST_ENGINE_IO_PREAD },
	{ "mmap", PST_ENGINE_IO_MMAP },
	{ NULL, 0 }
};
static const struct cli_choice drive_io_choices[] = {
	{ "auto", PST_ENGINE_IO_AUTO },
	{ "uring", PST_ENGINE_IO_URING },
	{ "pread", PST_ENGINE_IO_PREAD },
	{ NULL, 0 }
};
static const struct cli_choice io_mode_choices[] = {
	{ "auto", PST_ENGINE_MODE_AUTO },
	{ "irq", PST_ENGINE_MODE_IRQ },
	{ "sqpoll", PST_ENGINE_MODE_SQPOLL },
	{ "iopoll", PST_ENGINE_MODE_IOPOLL },
	{ NULL, 0 }
};
static const struct cli_choice tri_choices[] = {
	{ "auto", PST_AUTO }, { "on", PST_ON }, { "off", PST_OFF }, { NULL, 0 }
};
static const struct cli_choice huge_choices[] = {
	{ "auto", PST_HUGE_AUTO }, { "1G", PST_HUGE_1G },
	{ "2M", PST_HUGE_2M },	   { "thp", PST_HUGE_THP },
	{ "off", PST_HUGE_OFF },   { NULL, 0 }
};
static const struct cli_choice pool_choices[] = { { "auto", PST_POOL_AUTO },
						  { "anon", PST_POOL_ANON },
						  { "udmabuf",
						    PST_POOL_UDMABUF },
						  { "kmod", PST_POOL_KMOD },
						  { NULL, 0 } };
static const struct cli_choice prefetch_choices[] = {
	{ "auto", PST_PREFETCH_AUTO },
	{ "off", PST_PREFETCH_OFF },
	{ "next", PST_PREFETCH_NEXT },
	{ "next2", PST_PREFETCH_NEXT2 },
	{ NULL, 0 }
};
static const struct cli_choice prefill_choices[] = {
	{ "auto", PST_PREFILL_AUTO },
	{ "union", PST_PREFILL_UNION },
	{ "whole", PST_PREFILL_WHOLE },
	{ NULL, 0 }
};
static const struct cli_choice reply_choices[] = { { "text", OUT_TEXT },
						   { "json", OUT_JSON },
						   { NULL, 0 } };
static const struct cli_choice out_choices[] = { { "text", OUT_TEXT },
						 { "json", OUT_JSON },
						 { "csv", OUT_CSV },
						 { NULL, 0 } };
static const struct cli_choice table_choices[] = { { "text", OUT_TEXT },
						   { "json", OUT_JSON },
						   { "csv", OUT_CSV },
						   { "md", OUT_MD },
						   { NULL, 0 } };
static const struct cli_choice progress_choices[] = {
	{ "auto", PROGRESS_AUTO },
	{ "always", PROGRESS_ALWAYS },
	{ "never", PROGRESS_NEVER },
	{ "json", PROGRESS_JSON },
	{ NULL, 0 }
};
static const struct cli_choice pooling_choices[] = {
	{ "auto", PST_STATES_MODEL },
	{ "mean", PST_STATES_MEAN },
	{ "cls", PST_STATES_FIRST },
	{ "last", PST_STATES_LAST },
	{ NULL, 0 }
};
static const struct cli_choice kv_choices[] = { { "f32", PST_ENGINE_KV_F32 },
						{ "f16", PST_ENGINE_KV_F16 },
						{ "q8_0", PST_ENGINE_KV_Q8_0 },
						{ NULL, 0 } };
static const struct cli_choice act_choices[] = { { "q8", PST_ENGINE_ACT_Q8 },
						 { "q16", PST_ENGINE_ACT_Q16 },
						 { NULL, 0 } };
static const struct cli_choice mla_choices[] = {
	{ "absorbed", PST_ENGINE_MLA_ABSORBED },
	{ "decompressed", PST_ENGINE_MLA_DECOMPRESSED },
	{ NULL, 0 }
};
static const struct cli_choice governor_choices[] = { { "auto", 0 },
						      { "off", 1 },
						      { NULL, 0 } };
static const struct opt options[] = {
	{ "ram", 0, K_SIZE, OPT_ENGINE, OFF(engine.ram_bytes), NULL, "SIZE",
	  "ceiling of all memory of this process (8G, 512MiB)" },
	{ "expert-cache", 0, K_CACHE, OPT_ENGINE, 0, NULL, "SIZE|N%|Nexperts",
	  "size of the expert cache; default: what --ram leaves" },
	{ "ctx-size", 'c', K_U32, OPT_ENGINE, OFF(engine.ctx_size), NULL, "N",
	  "tokens of context; default: the model's, at most 4096" },
	{ "threads", 't', K_U32, OPT_ENGINE, OFF(engine.threads), NULL, "N",
	  "compute threads; default: one per physical core" },
	{ "batch-size", 'b', K_U32, OPT_ENGINE, OFF(engine.batch_size), NULL,
	  "N", "prompt tokens per chunk; default: up to 512" },
	{ "io", 0, K_CHOICE, OPT_ENGINE, OFF(engine.io), io_choices,
	  "auto|uring|pread|mmap", "how experts are read" },
	{ "io", 0, K_CHOICE, OPT_IOBENCH, OFF(engine.io), drive_io_choices,
	  "auto|uring|pread", "how the file is read" },
	{ "io-mode", 0, K_CHOICE, OPT_ENGINE | OPT_IOBENCH, OFF(engine.io_mode),
	  io_mode_choices, "auto|irq|sqpoll|iopoll",
	  "io_uring with interrupts, or polling; auto is what iobench found" },
	{ "direct", 0, K_CHOICE, OPT_ENGINE | OPT_IOBENCH, OFF(engine.direct),
	  tri_choices, "auto|on|off", "O_DIRECT: past the page cache" },
	{ "mirror", 0, K_MIRROR, OPT_ENGINE, 0, NULL, "PATH",
	  "a copy of the model on another drive, read too; repeatable" },
	{ "resident", 0, K_FLAG, OPT_ENGINE, OFF(engine.resident), NULL, NULL,
	  "load every expert and table, stream nothing" },
	{ "queue-depth", 0, K_U32, OPT_ENGINE, OFF(engine.queue_depth), NULL,
	  "N", "reads in flight; default 16, or what iobench found" },
	{ "read-size", 0, K_READ, OPT_ENGINE, OFF(engine.split_bytes), NULL,
	  "SIZE", "longer reads are split; default 1MiB" },
	{ "huge-pages", 0, K_CHOICE, OPT_ENGINE, OFF(engine.huge), huge_choices,
	  "auto|1G|2M|thp|off", "page kind of weights and KV" },
	{ "pool", 0, K_CHOICE, OPT_ENGINE, OFF(engine.pool), pool_choices,
	  "auto|anon|udmabuf|kmod", "where the expert cache's memory is from" },
	{ "pool-name", 0, K_STR, OPT_ENGINE, OFF(engine.pool_name), NULL,
	  "NAME",
	  "keep the expert cache in the kernel module for the next run" },
	{ "huge-pages", 0, K_CHOICE, OPT_IOBENCH, OFF(engine.huge),
	  huge_choices, "auto|1G|2M|thp|off", "page kind of what is read to" },
	{ "size", 0, K_STR, OPT_IOBENCH, OFF(sizes), NULL, "LIST",
	  "only these read sizes (64K,1M)" },
	{ "depth", 0, K_STR, OPT_IOBENCH, OFF(depths), NULL, "LIST",
	  "only these numbers of reads in flight (1,16)" },
	{ "seconds", 0, K_FLOAT, OPT_IOBENCH, OFF(seconds), NULL, "N",
	  "time to measure, all points together; default 20" },
	{ "print-fio", 0, K_FLAG, OPT_IOBENCH, OFF(print_fio), NULL, NULL,
	  "measure nothing, print the job for fio" },
	{ "numa", 0, K_NUMA, OPT_ENGINE, 0, NULL, "auto|off|NODE",
	  "NUMA node of weights and KV; auto is the drive's" },
	{ "cache-policy", 0, K_STR, OPT_ENGINE, OFF(engine.policy), NULL,
	  "NAME",
	  "which expert goes first: adaptive (default), cycle, lru, lfu, "
	  "s3fifo" },
	{ "prefetch", 0, K_CHOICE, OPT_ENGINE, OFF(engine.prefetch),
	  prefetch_choices, "auto|off|next|next2",
	  "read the next layers' likely experts while the drive is idle" },
	{ "governor", 0, K_CHOICE, OPT_ENGINE, OFF(engine.no_governor),
	  governor_choices, "auto|off",
	  "shrink the expert cache while memory is short" },
	{ "warm", 0, K_CHOICE, OPT_ENGINE, OFF(warm), tri_choices,
	  "auto|on|off",
	  "begin with the experts of the last run; auto is on for run" },
	{ "expert-cache", 0, K_STR, OPT_TRACE, OFF(caches), NULL, "LIST",
	  "capacities: N%, Nexperts or SIZE; default 5%,10%,20%" },
	{ "cache-policy", 0, K_STR, OPT_TRACE, OFF(policies), NULL, "LIST",
	  "policies and min, the optimum; default lru,default,min" },
	{ "kv-type", 0, K_CHOICE, OPT_ENGINE, OFF(engine.kv_type), kv_choices,
	  "f32|f16|q8_0",
	  "keys and values; f16 halves them, q8_0 once more; default f32" },
	{ "activations", 0, K_CHOICE, OPT_ENGINE, OFF(engine.activations),
	  act_choices, "q8|q16",
	  "rounding of what is multiplied by quantised weights; default q8" },
	{ "mla", 0, K_CHOICE, OPT_ENGINE, OFF(engine.mla), mla_choices,
	  "absorbed|decompressed",
	  "latent attention in long prompts; decompressed is faster, its bits "
	  "depend on --batch-size; default absorbed" },
	{ "no-pin", 0, K_FLAG, OPT_ENGINE, OFF(engine.no_pin), NULL, NULL,
	  "do not pin threads to cores" },
	{ "cpu", 0, K_CHOICE, OPT_ENGINE, OFF(engine.cpu_mask), cli_cpu_levels,
	  CLI_CPU_LEVELS, "highest instruction set to use" },
	{ "io-fault", 0, K_STR, OPT_ENGINE | OPT_IOBENCH, OFF(engine.fault),
	  NULL, "SPEC",
	  "inject faults into reads, for tests (seed=1,eio=0.01,...)" },
	{ "progress", 0, K_CHOICE,
	  OPT_ENGINE | OPT_TRACE | OPT_IOBENCH | OPT_HTML, OFF(progress),
	  progress_choices, "auto|always|never|json", "progress bars" },
	{ "temp", 0, K_FLOAT, OPT_SAMPLE, OFF(sample.temp), NULL, "X",
	  "temperature, 0 is greedy; default 0.8" },
	{ "top-k", 0, K_U32, OPT_SAMPLE, OFF(sample.top_k), NULL, "N",
	  "keep the N most probable tokens; default 40, 0 is off" },
	{ "top-p", 0, K_SHARE, OPT_SAMPLE, OFF(sample.top_p), NULL, "X",
	  "keep this probability mass; default 0.95, 1 is off" },
	{ "min-p", 0, K_SHARE, OPT_SAMPLE, OFF(sample.min_p), NULL, "X",
	  "drop below this share of the best; default 0.05, 0 is off" },
	{ "seed", 's', K_SEED, OPT_SAMPLE, OFF(sample.seed), NULL, "N",
	  "of the sampler; default: random" },
	{ "seed", 's', K_SEED, OPT_BENCH, OFF(sample.seed), NULL, "N",
	  "of the tokens that are run; default 1" },
	{ "seed", 's', K_SEED, OPT_IOBENCH, OFF(sample.seed), NULL, "N",
	  "of the places that are read; default: random" },
	{ "predict", 'n', K_U32, OPT_RUN, OFF(max_tokens), NULL, "N",
	  "tokens of reply at most; default, and 0: what the context leaves" },
	{ "raw", 0, K_FLAG, OPT_RUN, OFF(raw), NULL, NULL,
	  "plain completion: no chat form around the prompt" },
	{ "system", 0, K_STR, OPT_RUN, OFF(system), NULL, "TEXT",
	  "system message of a chat" },
	{ "special", 0, K_FLAG, OPT_RUN, OFF(special), NULL, NULL,
	  "show control tokens" },
	{ "no-stats", 0, K_FLAG, OPT_RUN, OFF(no_stats), NULL, NULL,
	  "no closing line" },
	{ "file", 'f', K_STR, OPT_FILE, OFF(file), NULL, "FILE",
	  "read the text from a file" },
	{ "output", 'o', K_CHOICE, OPT_OUTPUT, OFF(output), out_choices,
	  "text|json|csv", "form of the result" },
	{ "output", 'o', K_CHOICE, OPT_REPLY, OFF(output), reply_choices,
	  "text|json", "form of the result" },
	{ "output", 'o', K_CHOICE, OPT_TABLE, OFF(output), table_choices,
	  "text|json|csv|md", "form of the result" },
	{ "tokens", 0, K_STR, OPT_LOGITS, OFF(tokens), NULL, "1,2,3",
	  "token ids" },
	{ "tokens-file", 0, K_STR, OPT_LOGITS | OPT_BENCH, OFF(tokens_file),
	  NULL, "FILE", "JSON array of token ids" },
	{ "record", 0, K_STR, OPT_LOGITS, OFF(record), NULL, "TRACE",
	  "write the routing down" },
	{ "out", 0, K_STR, OPT_OUTFILE, OFF(out), NULL, "FILE",
	  "where the result goes" },
	{ "no-special", 0, K_FLAG, OPT_TOKENS, OFF(no_special), NULL, NULL,
	  "do not parse special tokens in the text" },
	{ "no-bos", 0, K_FLAG, OPT_TOKENS, OFF(no_bos), NULL, NULL,
	  "do not add BOS or EOS" },
	{ "pooling", 0, K_CHOICE, OPT_EMBED, OFF(pooling), pooling_choices,
	  "auto|mean|cls|last",
	  "how the tokens' states become one vector; default: the model's" },
	{ "no-normalize", 0, K_FLAG, OPT_EMBED, OFF(no_normalize), NULL, NULL,
	  "leave the vector as long as it is" },
	{ "decode", 0, K_FLAG, OPT_TOKENS, OFF(decode), NULL, NULL,
	  "JSON array of ids on stdin to text" },
	{ "header-only", 0, K_FLAG, OPT_HEADER, OFF(engine.header_only), NULL,
	  NULL, "the file may end behind its header: nothing else is read" },
	{ "tensors", 0, K_FLAG, OPT_SHOW, OFF(tensors), NULL, NULL,
	  "list every tensor" },
	{ "full", 0, K_FLAG, OPT_SHOW, OFF(full), NULL, NULL,
	  "metadata values in full, not abbreviated" },
	{ "tensor", 0, K_STR, OPT_SHOW, OFF(tensor), NULL, "NAME",
	  "one tensor; with --f32 FILE its values" },
	{ "f32", 0, K_STR, OPT_SHOW, OFF(f32), NULL, "FILE",
	  "write the tensor as little-endian float32" },
	{ "check", 0, K_FLAG, OPT_PLAN, OFF(check), NULL, NULL,
	  "exit 1 when the model does not fit" },
	{ "prompt-tokens", 'p', K_U32, OPT_BENCH, OFF(prompt_tokens), NULL, "N",
	  "tokens of prefill; default 64, with --routing the trace's" },
	{ "gen-tokens", 'g', K_U32, OPT_BENCH, OFF(gen_tokens), NULL, "N",
	  "tokens of decode; default 32, with --routing the trace's" },
	{ "prefill", 0, K_CHOICE, OPT_BENCH, OFF(engine.prefill),
	  prefill_choices, "auto|union|whole",
	  "what is read ahead in prefill: what the next router would take, or "
	  "the whole next block" },
	{ "repeat", 'r', K_U32, OPT_BENCH, OFF(repeat), NULL, "N",
	  "runs per mode, the median is shown; default 1" },
	{ "against", 0, K_STR, OPT_BENCH, OFF(against), NULL, "MODES",
	  "also run these: resident,mmap,pread,uring" },
	{ "routing", 0, K_STR, OPT_ROUTING | OPT_LOGITS, OFF(routing), NULL,
	  "TRACE", "take the experts that this trace took, not the router's" },
	{ "routing-recall", 0, K_SHARE, OPT_ROUTING, OFF(recall), NULL, "X",
	  "foresee this share of the trace's experts; default 0: only by past tokens" },
	{ "report", 0, K_REPORT, OPT_REPORT, 0, NULL, "[=text|json]",
	  "where time and bytes went, what bound, what would help" },
	{ "report-file", 0, K_STR, OPT_REPORT, OFF(report_file), NULL, "FILE",
	  "where the report goes; default: standard error" },
	{ "out", 'o', K_STR, OPT_RECORD, OFF(record), NULL, "FILE",
	  "where the trace goes, - for standard output" },
	{ "probs", 0, K_FLAG, OPT_RECORD, OFF(probs), NULL, NULL,
	  "also the router's probabilities of all experts" },
	{ "timing", 0, K_FLAG, OPT_RECORD, OFF(timing), NULL, NULL,
	  "also times and bytes of every layer" },
	{ "help", 'h', K_FLAG, ~0u, OFF(help), NULL, NULL, "this list" },
};

#define NR_OPTIONS PST_ARRAY_SIZE(options)

static bool takes(const struct cli_cmd *cmd, const struct opt *o)
{
	return o->groups == ~0u || (o->groups & cmd->options);
}

static int bad(const struct opt *o, const char *arg, const char *why)
{
	cli_error("--%s '%s': %s", o->name, arg, why);
	return EXIT_USAGE;
}

static int set_u32(const struct opt *o, const char *arg, uint32_t *dst)
{
	unsigned long long v;
	char *end;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*arg < '0' || *arg > '9' || *end || errno || v > 1u << 30)
		return bad(o, arg, "not a number from 0 to 2^30");
	*dst = (uint32_t)v;
	return 0;
}

static int set_choice(const struct opt *o, const char *arg, void *dst)
{
	for (const struct cli_choice *c = o->choices; c->name; c++) {
		if (strcmp(c->name, arg))
			continue;
		if (o->choices == governor_choices)
			*(bool *)dst = c->value;
		else
			*(unsigned int *)dst = (unsigned int)c->value;
		return 0;
	}
	return bad(o, arg, o->arg);
}

/* "4G", "10%", "500experts" */
static int set_cache(const struct opt *o, const char *arg,
		     struct pst_engine_opts *e)
{
	char *end;
	unsigned long long v;

	errno = 0;
	v = strtoull(arg, &end, 10);
	if (*arg >= '0' && *arg <= '9' && !errno && !strcmp(end, "%") &&
	    v <= 100) {
		e->cache_unit = PST_CACHE_PERCENT;
		e->cache_value = v;
		return 0;
	}
	if (*arg >= '0' && *arg <= '9' && !errno && !strcmp(end, "experts")) {
		e->cache_unit = PST_CACHE_EXPERTS;
		e->cache_value = v;
		return 0;
	}
	if (pst_parse_size(arg, &e->cache_value))
		return bad(o, arg,
			   "not a size (4G), share (10%) or count "
			   "(500experts)");
	e->cache_unit = PST_CACHE_BYTES;
	return 0;
}

static int set_numa(const struct opt *o, const char *arg,
		    struct pst_engine_opts *e)
{
	if (!strcmp(arg, "auto") || !strcmp(arg, "off")) {
		e->numa = *arg == 'a' ? PST_NUMA_AUTO : PST_NUMA_OFF;
		return 0;
	}
	e->numa = PST_NUMA_NODE;
	return set_u32(o, arg, &e->numa_node);
}

static int set_read_size(const struct opt *o, const char *arg, uint32_t *dst)
{
	uint64_t v;

	if (pst_parse_size(arg, &v) || v < 4096 || v > PST_GIB / 4 || v % 4096)
		return bad(o, arg, "not a multiple of 4096 up to 256 MiB");
	*dst = (uint32_t)v;
	return 0;
}

static int add_mirror(const struct opt *o, const char *arg,
		      struct pst_engine_opts *e)
{
	if (e->nr_mirrors == PST_ENGINE_MIRRORS_MAX)
		return bad(o, arg, "more than 7 mirrors");
	e->mirrors[e->nr_mirrors++] = arg;
	return 0;
}

static int set_number(const struct opt *o, const char *arg, void *dst,
		      struct cli_opts *out)
{
	char *end;

	errno = 0;
	if (o->kind != K_SEED) {
		float v = strtof(arg, &end);

		if (end == arg || *end || errno || v != v || v < 0.0f)
			return bad(o, arg, "not a number of 0 or more");
		if (o->kind == K_SHARE && v > 1.0f)
			return bad(o, arg, "not a share from 0 to 1");
		*(float *)dst = v;
		return 0;
	}
	*(uint64_t *)dst = strtoull(arg, &end, 0);
	if (*arg == '-' || end == arg || *end || errno)
		return bad(o, arg, "not a number");
	out->seed_given = true;
	return 0;
}

/* The argument is optional: NULL is text. */
static int set_report(const struct opt *o, const char *arg,
		      struct cli_opts *out)
{
	out->report = true;
	if (arg && strcmp(arg, "text") && strcmp(arg, "json"))
		return bad(o, arg, "text|json");
	out->report_form = arg && !strcmp(arg, "json") ? OUT_JSON : OUT_TEXT;
	return 0;
}

/* "--ram 8" is meant to be more than eight bytes. */
static int set_size(const struct opt *o, const char *arg, uint64_t *dst)
{
	uint64_t v;

	if (pst_parse_size(arg, &v) || !v)
		return bad(o, arg, "not a size (8G, 512MiB, 10GB)");
	if (v < PST_MIB)
		return bad(o, arg,
			   "less than 1 MiB: is a unit missing (8G, 512MiB)?");
	*dst = v;
	return 0;
}

static int set_option(const struct opt *o, const char *arg,
		      struct cli_opts *out)
{
	void *dst = (char *)out + o->off;

	switch (o->kind) {
	case K_FLAG:
		*(bool *)dst = true;
		return 0;
	case K_STR:
		*(const char **)dst = arg;
		return 0;
	case K_U32:
		return set_u32(o, arg, dst);
	case K_SIZE:
		return set_size(o, arg, dst);
	case K_NUMA:
		return set_numa(o, arg, &out->engine);
	case K_REPORT:
		return set_report(o, arg, out);
	case K_MIRROR:
		return add_mirror(o, arg, &out->engine);
	case K_READ:
		return set_read_size(o, arg, dst);
	case K_CHOICE:
		if (dst == (void *)&out->engine.cpu_mask)
			out->engine.cpu_mask_set = true;
		return set_choice(o, arg, dst);
	case K_CACHE:
		return set_cache(o, arg, &out->engine);
	case K_FLOAT:
	case K_SHARE:
	case K_SEED:
		return set_number(o, arg, dst, out);
	}
	return EXIT_BUG;
}

static void defaults(struct cli_opts *o)
{
	memset(o, 0, sizeof(*o));
	o->sample = (struct pst_sampler_opts){
		.temp = 0.8f, .top_k = 40, .top_p = 0.95f, .min_p = 0.05f
	};
	o->prompt_tokens = CLI_DEFAULT;
	o->gen_tokens = CLI_DEFAULT;
	o->repeat = 1;
	o->seconds = 20.0f;
}

/* getopt's tables for one verb; an option of another verb is unknown. */
static int build(const struct cli_cmd *cmd, struct option *lo, char *so)
{
	int n = 0;

	/* First, so that a missing value is told from an unknown option. */
	*so++ = ':';
	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const struct opt *o = &options[i];

		if (!takes(cmd, o))
			continue;
		lo[n++] = (struct option){
			.name = o->name,
			.has_arg = o->kind == K_FLAG	 ? no_argument
				   : o->kind == K_REPORT ? optional_argument
							 : required_argument,
			.val = 256 + (int)i,
		};
		if (o->letter) {
			*so++ = o->letter;
			if (o->kind != K_FLAG)
				*so++ = ':';
		}
	}
	lo[n] = (struct option){ 0 };
	*so = 0;
	return n;
}

static const struct opt *by_code(const struct cli_cmd *cmd, int c)
{
	if (c >= 256)
		return &options[c - 256];
	for (size_t i = 0; i < NR_OPTIONS; i++)
		if (options[i].letter == c && takes(cmd, &options[i]))
			return &options[i];
	return NULL;
}

/* @c is what getopt gave instead of an option. */
static const char *what_is_wrong(int c)
{
	if (c == ':')
		return "an option without its value";
	return optopt >= 256 ? "an option that takes no value"
			     : "unknown option";
}

int cli_opts_parse(const struct cli_cmd *cmd, int argc, char **argv,
		   struct cli_opts *out)
{
	struct option lo[NR_OPTIONS + 1];
	char so[2 * NR_OPTIONS + 2];
	int c, rc;

	defaults(out);
	build(cmd, lo, so);
	opterr = 0;
	while ((c = getopt_long(argc, argv, so, lo, NULL)) != -1) {
		const struct opt *o = by_code(cmd, c);

		if (!o) {
			cli_error("%s: %s: '%s'; 'penstock help %s' lists "
				  "the options",
				  cmd->name, what_is_wrong(c), argv[optind - 1],
				  cmd->name);
			return EXIT_USAGE;
		}
		rc = set_option(o, optarg, out);
		if (rc)
			return rc;
	}
	if (out->recall > 0.0f && !out->routing) {
		cli_error("%s: --routing-recall is of a trace: give it with "
			  "--routing",
			  cmd->name);
		return EXIT_USAGE;
	}
	out->args = argv + optind;
	out->nr_args = argc - optind;
	if ((cmd->options & OPT_ENGINE) && !out->help)
		return cli_cpu_opts(&out->engine);
	return 0;
}

/* The sections of the manual; what is in none is the verb's own. */
static const struct section {
	const char *title;
	unsigned int groups;
} sections[] = {
	{ "How to open a model", OPT_ENGINE },
	{ "How tokens are drawn", OPT_SAMPLE },
	{ "Prompt and reply", OPT_RUN },
	{ "What is read and written",
	  OPT_FILE | OPT_OUTPUT | OPT_REPLY | OPT_TABLE | OPT_OUTFILE },
	{ "The report", OPT_REPORT },
	{ "Other", 0 },
};

static const struct section *section_of(const struct cli_cmd *cmd,
					const struct opt *o)
{
	unsigned int groups = o->groups == ~0u ? 0 : o->groups & cmd->options;
	const struct section *s = sections;

	while (s->groups && !(s->groups & groups))
		s++;
	return s;
}

static void print_option(const struct opt *o, FILE *f)
{
	char left[64], letter[8] = "    ";

	if (o->letter)
		snprintf(letter, sizeof(letter), "-%c, ", o->letter);
	snprintf(left, sizeof(left), "%s--%s%s%s", letter, o->name,
		 o->kind == K_REPORT ? "" : " ", o->arg ? o->arg : "");
	fprintf(f, "  %-40s %s\n", left, o->help);
}

void cli_opts_help(const struct cli_cmd *cmd, FILE *f)
{
	/* A verb with its own options alone needs no titles. */
	bool titles = cmd->options & (OPT_ENGINE | OPT_SAMPLE);
	const struct section *s = sections;

	for (size_t n = 0; n < PST_ARRAY_SIZE(sections); n++, s++) {
		bool first = true;

		for (size_t i = 0; i < NR_OPTIONS; i++) {
			const struct opt *o = &options[i];

			if (!takes(cmd, o) || section_of(cmd, o) != s)
				continue;
			if (first && titles)
				fprintf(f, "%s%s:\n", n ? "\n" : "", s->title);
			first = false;
			print_option(o, f);
		}
	}
}

void cli_opts_names(const struct cli_cmd *cmd,
		    void (*fn)(void *ctx, const struct cli_opt_info *o),
		    void *ctx)
{
	for (size_t i = 0; i < NR_OPTIONS; i++) {
		const struct opt *o = &options[i];
		struct cli_opt_info info = { .name = o->name,
					     .letter = o->letter,
					     .arg = o->arg,
					     .choice = o->kind == K_CHOICE,
					     .help = o->help };

		if (takes(cmd, o))
			fn(ctx, &info);
	}
}
