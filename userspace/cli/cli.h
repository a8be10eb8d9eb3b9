/* SPDX-License-Identifier: MIT */
/*
 * cli: what a person meets: verbs, options, messages, exit codes.
 *
 * stdout carries the answer or the table and nothing else; everything else
 * goes to stderr.  To add a verb: a file cmd_<verb>.c and a row in main.c.
 */
#ifndef PST_CLI_H
#define PST_CLI_H

#include <stdio.h>

#include <penstock/engine.h>

#include "base.h"
#include "state.h"

/* Exit codes: sysexits where they exist. */
enum {
	EXIT_OK = 0,
	EXIT_FAILED = 1,
	EXIT_USAGE = 2,
	EXIT_DATA = 65, /* corrupt model */
	EXIT_NO_MODEL = 66, /* no such file */
	EXIT_UNAVAIL = 69, /* not supported, not there */
	EXIT_BUG = 70,
	EXIT_OS = 71, /* memory, lock, map */
	EXIT_DRIVE = 74, /* the drive failed */
	EXIT_BUSY = 75,
	EXIT_PERM = 77,
	EXIT_CONFIG = 78
};

enum cli_output {
	OUT_TEXT,
	OUT_JSON,
	OUT_CSV,
	OUT_MD
};
enum cli_progress {
	PROGRESS_AUTO,
	PROGRESS_ALWAYS,
	PROGRESS_NEVER,
	PROGRESS_JSON
};

/* Which options a verb takes. */
#define OPT_ENGINE  (1u << 0) /* how to open a model */
#define OPT_SAMPLE  (1u << 1) /* how to draw tokens */
#define OPT_RUN	    (1u << 2) /* prompt and reply */
#define OPT_OUTPUT  (1u << 3) /* -o */
#define OPT_LOGITS  (1u << 4)
#define OPT_TOKENS  (1u << 5) /* tokenize */
#define OPT_SHOW    (1u << 6)
#define OPT_PLAN    (1u << 7)
#define OPT_FILE    (1u << 8) /* -f */
#define OPT_BENCH   (1u << 9)
#define OPT_OUTFILE (1u << 10) /* --out */
#define OPT_TABLE   (1u << 11) /* -o with md: a single table */
#define OPT_TRACE   (1u << 12) /* trace */
#define OPT_REPLY   (1u << 13) /* -o without csv */
#define OPT_IOBENCH (1u << 20) /* iobench */
#define OPT_RECORD  (1u << 24) /* trace record */
#define OPT_REPORT  (1u << 25) /* --report */
#define OPT_ROUTING (1u << 26) /* --routing */
#define OPT_HTML    (1u << 27) /* trace report */
#define OPT_EMBED   (1u << 28) /* embed */
#define OPT_HEADER  (1u << 29) /* --header-only */

/* --prompt-tokens and --gen-tokens when they are not given. */
#define CLI_DEFAULT UINT32_MAX

/* Progress: a bar on a terminal, lines of JSON, or nothing. */
struct cli_bar {
	enum cli_progress mode;
	bool active;
	uint64_t start_ns;
	uint64_t last_ns;
	char stage[32];
};

/**
 * struct cli_opts - everything that the command line said
 * @args: [nr_args] the operands after the verb
 * @bar, @log: sinks of the engine, which keeps pointers to them
 */
struct cli_opts {
	struct pst_engine_opts engine;
	struct pst_sampler_opts sample;
	bool seed_given;
	enum cli_output output;
	enum cli_progress progress;
	bool no_stats;
	bool raw;
	bool special; /* --special: show control tokens */
	bool no_special; /* --no-special: do not parse them */
	bool no_bos;
	bool decode;
	enum pst_states pooling; /* embed */
	bool no_normalize;
	bool check;
	bool tensors;
	bool full;
	bool help;
	const char *file;
	const char *system;
	const char *tokens;
	const char *tokens_file;
	const char *out;
	const char *tensor;
	const char *f32;
	const char *against;
	const char *caches; /* trace: a list */
	const char *policies; /* trace: a list */
	bool report; /* --report was given */
	enum cli_output report_form;
	const char *report_file;
	const char *routing; /* a trace to be played into the run */
	float recall; /* of the predictor that stands in there, 0 for none */
	const char *record; /* where the routing goes */
	bool probs;
	bool timing;
	const char *sizes; /* iobench: a list */
	const char *depths; /* iobench: a list */
	float seconds;
	bool print_fio;
	enum pst_tristate warm; /* PST_AUTO: the verb decides */
	char state_dir[PST_STATE_DIR_MAX];
	uint32_t max_tokens;
	uint32_t prompt_tokens;
	uint32_t gen_tokens;
	uint32_t repeat;
	char **args;
	int nr_args;
	struct cli_bar bar;
	struct pst_log log;
};

/**
 * struct cli_cmd - a verb
 * @options: OPT_* groups that it takes
 * @operands: usage text after the verb
 */
struct cli_cmd {
	const char *name;
	const char *operands;
	const char *summary;
	unsigned int options;
	int min_args;
	int max_args;
	int (*run)(struct cli_opts *o);
};

const struct cli_cmd *cli_cmd_at(uint32_t i);

/* A word that an option takes, and what it means. */
struct cli_choice {
	const char *name;
	int value;
};

/* Levels of instruction sets: PST_CPU_* masks, each with those below it. */
#ifdef __aarch64__
#define CLI_CPU_LEVELS "c|neon|dotprod"
#else
#define CLI_CPU_LEVELS "c|avx2|avxvnni|avx512|vnni"
#endif
extern const struct cli_choice cli_cpu_levels[];

/**
 * struct cli_cpu - what PENSTOCK_CPU asks for
 * @wanted: its value, NULL when it is not set
 * @known: it names a level that this processor has; true when it is not set
 * @mask: what kernels may use
 * @levels: those that this processor has, "c, avx2"
 */
struct cli_cpu {
	const char *wanted;
	bool known;
	uint32_t mask;
	char levels[64];
};

/** cli_cpu_env() - read PENSTOCK_CPU and the processor */
void cli_cpu_env(struct cli_cpu *out);

/**
 * cli_cpu_opts() - let PENSTOCK_CPU choose kernels where --cpu did not, and
 *	refuse what the processor does not have
 * @e: cpu_mask is set
 *
 * Return: 0, or EXIT_USAGE after a message on stderr.
 */
int cli_cpu_opts(struct pst_engine_opts *e);

/** cli_opts_parse() - 0, or EXIT_USAGE after a message on stderr */
int cli_opts_parse(const struct cli_cmd *cmd, int argc, char **argv,
		   struct cli_opts *out);

/** cli_opts_help() - the options of a verb, for --help */
void cli_opts_help(const struct cli_cmd *cmd, FILE *f);

/**
 * struct cli_opt_info - an option as a person sees it
 * @letter: short form, 0 for none
 * @arg: name of its argument, NULL for a flag
 * @choice: @arg lists the values, "a|b|c"
 */
struct cli_opt_info {
	const char *name;
	char letter;
	const char *arg;
	bool choice;
	const char *help;
};

/** cli_opts_names() - calls back for each option a verb takes */
void cli_opts_names(const struct cli_cmd *cmd,
		    void (*fn)(void *ctx, const struct cli_opt_info *o),
		    void *ctx);

/** cli_fail() - print a failure and give the exit code for it */
int cli_fail(int err, const struct pst_diag *d);

/** cli_error() - one line on stderr, "penstock: ..." */
void cli_error(const char *fmt, ...) PST_PRINTF(1, 2);

/** cli_log_init() - o->bar and o->log are ready to be written to */
void cli_log_init(struct cli_opts *o);

/** cli_open() - open a model with progress and notices; 0 or an exit code */
int cli_open(struct cli_opts *o, const char *path, struct pst_engine **out);

/** cli_stop_init() - from now on the first SIGINT or SIGTERM only asks to stop */
void cli_stop_init(void);

/** cli_stop_code() - exit code of the signal that asked to stop, 0 for none */
int cli_stop_code(void);

/** cli_guard_mappings() - a mapped file that shrinks ends in words, not SIGBUS */
void cli_guard_mappings(void);

/**
 * struct cli_out - a result file that is whole or not there
 * @path: "-" is stdout
 * @real, @part: its name in the end and until then; NULL when it is written in
 *	place
 * @named: @part is in its folder
 * @err: errno of the first failed write
 */
struct cli_out {
	FILE *f;
	const char *path;
	char *real, *part;
	bool named;
	int err;
};

/** cli_out_open() - 0, or an exit code after a message */
int cli_out_open(struct cli_out *out, const char *path);

/** cli_out_write() - 0, or -errno, kept for cli_out_close() */
int cli_out_write(struct cli_out *out, const void *data, size_t size_bytes);

/**
 * cli_out_close() - end it; after a failure, what was at @path is still there
 * @rc: exit code so far
 *
 * Return: @rc, or EXIT_DRIVE after a message when a write failed.
 */
int cli_out_close(struct cli_out *out, int rc);

/**
 * cli_state_dir() - the state directory of this user, by the environment
 * @out: [PST_STATE_DIR_MAX]
 *
 * Return: 0 or -ENAMETOOLONG.
 */
int cli_state_dir(char *out);

void cli_bar_init(struct cli_bar *b, enum cli_progress mode);
void cli_bar_update(struct cli_bar *b, const char *stage, uint64_t done,
		    uint64_t all, const char *unit);
void cli_bar_clear(struct cli_bar *b);

/** cli_expect() - say how long a prompt will take, where bars are shown */
void cli_expect(struct pst_engine *e, const struct cli_bar *b,
		uint32_t nr_tokens);

/* Memory that a byte of text takes: the text, a copy, its token ids while
 * their list grows.
 */
#define CLI_TEXT_BYTES 16

/** cli_read_all() - a whole file ("-" is stdin); heap, NUL-terminated */
int cli_read_all(const char *path, char **out, size_t *len);

/**
 * cli_read_input() - the text of -f, else of stdin, before a model is open
 *
 * Counts the text in o->engine.extra_bytes.  Return: 0, or an exit code after
 * a message; @text is heap.
 */
int cli_read_input(struct cli_opts *o, char **text, size_t *len);

/** cli_json_string() - a JSON string literal, bytes outside UTF-8 replaced */
void cli_json_string(FILE *f, const char *s, size_t len);

/**
 * cli_print_text() - untrusted text for a terminal
 * @max_chars: what is longer ends in "...", SIZE_MAX for all
 *
 * Controls and what changes the direction of text are spelled out ("\\n",
 * "\\u001b"), bytes outside UTF-8 become U+FFFD.
 */
void cli_print_text(FILE *f, const char *s, size_t len, size_t max_chars);

/** cli_csv_string() - a quoted CSV field, made safe by cli_print_text() */
void cli_csv_string(FILE *f, const char *s, size_t len);

/**
 * struct cli_report - named figures in sections: text, JSON or CSV
 *
 * A name is spelled once, as in JSON: "trunk_bytes".  Text shows it as "trunk"
 * with a unit; CSV has the columns section, name, value.
 */
struct cli_report {
	enum cli_output form;
	const char *section;
	bool open; /* a section's brace */
	bool comma; /* before the next field */
};

void cli_report_begin(struct cli_report *r, enum cli_output form,
		      const char *schema);
void cli_report_section(struct cli_report *r, const char *name);

/**
 * cli_report_key() - JSON only: what the caller prints next is this member
 *
 * Ends the section.  Return: whether the form is JSON.
 */
bool cli_report_key(struct cli_report *r, const char *name);
void cli_report_str(struct cli_report *r, const char *name, const char *s,
		    size_t len);
void cli_report_u64(struct cli_report *r, const char *name, uint64_t v);
void cli_report_f64(struct cli_report *r, const char *name, double v);
void cli_report_bool(struct cli_report *r, const char *name, bool v);

/** cli_report_bytes() - @name ends in "_bytes"; text in GiB or MiB */
void cli_report_bytes(struct cli_report *r, const char *name, uint64_t v);
void cli_report_end(struct cli_report *r);

/** cli_bytes_text() - "1.25 GiB", "3.4 MiB", "512 B" */
const char *cli_bytes_text(uint64_t v, char *buf, size_t size);

/** cli_tokens_parse() - "1,2,3" or a JSON array; heap; 0 or -EINVAL, -ENOMEM */
int cli_tokens_parse(const char *text, int32_t **out, uint32_t *nr);

/**
 * cli_read_tokens() - the same from a file, of which at least one id is wanted
 *
 * Return: 0, or an exit code after a message; @out is heap.
 */
int cli_read_tokens(const char *path, int32_t **out, uint32_t *nr);

/* The figures of a run, for the closing line and for -o json. */
struct cli_run_stats {
	uint32_t prompt_tokens;
	uint64_t prompt_ns;
	uint32_t reply_tokens;
	uint64_t reply_ns;
	struct pst_counters before;
	struct pst_counters after;
};

void cli_stats_line(const struct pst_engine *e, const struct cli_run_stats *s);
void cli_stats_json(const struct pst_engine *e, const struct cli_run_stats *s,
		    FILE *f);

/** cli_limit_name() - "drive" or "cores": what bound the time */
const char *cli_limit_name(const struct pst_engine *e,
			   const struct cli_run_stats *s);

/* Chat in its simplest form. */
struct cli_chat {
	const char *name; /* NULL: no known shape, plain completion */
	const char *sys_open, *sys_close;
	const char *user_open, *user_close;
	const char *reply_open, *reply_close;
	const char *sys_default;
};

/** cli_chat_find() - the prompt shape that a vocabulary's tokens suggest */
const struct cli_chat *cli_chat_find(const struct pst_engine *e);

/** cli_chat_turn() - text of one user turn up to the reply; heap or NULL */
char *cli_chat_turn(const struct cli_chat *c, const char *system,
		    const char *user, bool first);

struct pst_gguf;
struct pst_gguf_tensor;

/** cli_show_meta() - all metadata pairs; long values only when @full */
void cli_show_meta(const struct pst_gguf *g, struct cli_report *r, bool full);

/** cli_show_types() - tensors and bytes per tensor type */
void cli_show_types(const struct pst_gguf *g, struct cli_report *r);

/** cli_show_tensors() - a line per tensor; only @one unless it is NULL */
void cli_show_tensors(const struct pst_gguf *g, struct cli_report *r,
		      const struct pst_gguf_tensor *one);

int cmd_run(struct cli_opts *o);
int cmd_logits(struct cli_opts *o);
int cmd_embed(struct cli_opts *o);
int cmd_tokenize(struct cli_opts *o);
int cmd_show(struct cli_opts *o);
int cmd_plan(struct cli_opts *o);
int cmd_doctor(struct cli_opts *o);
int cmd_perplexity(struct cli_opts *o);
int cmd_bench(struct cli_opts *o);
int cmd_trace_record(struct cli_opts *o);
int cmd_trace_replay(struct cli_opts *o);
int cmd_trace_report(struct cli_opts *o);
int cmd_iobench(struct cli_opts *o);
int cmd_pool_drop(struct cli_opts *o);
int cmd_completion(struct cli_opts *o);

#endif
