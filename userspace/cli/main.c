// SPDX-License-Identifier: MIT
/*
 * The verbs.  Parses the first word, hands the rest to its command.
 */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "cli.h"

static int cmd_help(struct cli_opts *o);
static int cmd_version(struct cli_opts *o);

static const struct cli_cmd cmds[] = {
	{ "run", "MODEL [PROMPT]", "answer a prompt, or chat on a terminal",
	  OPT_ENGINE | OPT_SAMPLE | OPT_RUN | OPT_REPLY | OPT_FILE | OPT_REPORT,
	  1, 2, cmd_run },
	{ "plan", "MODEL", "what fits and where it goes; loads nothing",
	  OPT_ENGINE | OPT_OUTPUT | OPT_PLAN | OPT_ROUTING | OPT_HEADER, 1, 1,
	  cmd_plan },
	{ "show", "MODEL", "metadata, tensors, types, experts",
	  OPT_OUTPUT | OPT_SHOW | OPT_HEADER, 1, 1, cmd_show },
	{ "doctor", "[PATH]",
	  "what this machine offers, and how to mend what it lacks", OPT_OUTPUT,
	  0, 1, cmd_doctor },
	{ "bench", "MODEL", "tokens per second, by I/O mode",
	  OPT_ENGINE | OPT_TABLE | OPT_BENCH | OPT_ROUTING | OPT_REPORT, 1, 1,
	  cmd_bench },
	{ "iobench", "PATH", "the drive, with our read sizes and depths",
	  OPT_OUTPUT | OPT_IOBENCH, 1, 1, cmd_iobench },
	{ "logits", "MODEL", "logits of a token sequence",
	  OPT_ENGINE | OPT_LOGITS | OPT_OUTFILE, 1, 1, cmd_logits },
	{ "embed", "MODEL [TEXT]", "a text to one vector",
	  OPT_ENGINE | OPT_OUTPUT | OPT_FILE | OPT_EMBED, 1, 2, cmd_embed },
	{ "perplexity", "MODEL -f TEXT", "perplexity of a text",
	  OPT_ENGINE | OPT_OUTPUT | OPT_FILE, 1, 1, cmd_perplexity },
	{ "tokenize", "MODEL", "text on stdin to a JSON array of token ids",
	  OPT_TOKENS | OPT_FILE, 1, 1, cmd_tokenize },
	{ "trace record", "MODEL [PROMPT]", "run, and write down the routing",
	  OPT_ENGINE | OPT_SAMPLE | OPT_RUN | OPT_FILE | OPT_RECORD |
		  OPT_REPORT,
	  1, 2, cmd_trace_record },
	{ "trace replay", "TRACE", "hit rates of policies on a routing trace",
	  OPT_OUTPUT | OPT_TRACE, 1, 1, cmd_trace_replay },
	{ "trace report", "FILE", "a page of HTML from a trace or a report",
	  OPT_HTML | OPT_OUTFILE, 1, 1, cmd_trace_report },
	{ "pool drop", "NAME", "free what --pool-name keeps in the kernel", 0,
	  1, 1, cmd_pool_drop },
	{ "completion", "SHELL", "completion script for bash, zsh or fish", 0,
	  1, 1, cmd_completion },
	{ "help", "[VERB]", "this text, or a verb's options", 0, 0, 2,
	  cmd_help },
	{ "version", "", "version and build", 0, 0, 0, cmd_version },
};

const struct cli_cmd *cli_cmd_at(uint32_t i)
{
	return i < PST_ARRAY_SIZE(cmds) ? &cmds[i] : NULL;
}

/* Does the first word of a verb's name read so? */
static bool first_word_is(const struct cli_cmd *cmd, const char *word)
{
	size_t len = strcspn(cmd->name, " ");

	return strlen(word) == len && !strncmp(cmd->name, word, len);
}

/* "replay" of "trace replay", NULL for a verb of one word. */
static const char *second_word(const struct cli_cmd *cmd)
{
	const char *space = strchr(cmd->name, ' ');

	return space ? space + 1 : NULL;
}

/* @word2 may be NULL: then no verb of two words fits. */
static const struct cli_cmd *find_cmd(const char *word, const char *word2)
{
	if (!strcmp(word, "--help") || !strcmp(word, "-h"))
		word = "help";
	if (!strcmp(word, "--version") || !strcmp(word, "-V"))
		word = "version";
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++) {
		const char *second = second_word(&cmds[i]);

		if (first_word_is(&cmds[i], word) &&
		    (!second || (word2 && !strcmp(second, word2))))
			return &cmds[i];
	}
	return NULL;
}

/* No such verb, or one that lacks its second word. */
static int unknown_verb(const char *word)
{
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++)
		if (first_word_is(&cmds[i], word)) {
			cli_error("usage: penstock %s ...; 'penstock help %s' "
				  "lists what there is",
				  cmds[i].name, word);
			return EXIT_USAGE;
		}
	cli_error("no verb is named '%s'; 'penstock help' lists them", word);
	return EXIT_USAGE;
}

static void print_verbs(FILE *f)
{
	fprintf(f, "usage: penstock VERB [OPTIONS] ...\n\n"
		   "Runs Mixture-of-Experts models that are larger than "
		   "memory.\n\n");
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++)
		fprintf(f, "  %-12s %-15s %s\n", cmds[i].name, cmds[i].operands,
			cmds[i].summary);
	fprintf(f, "\n'penstock help VERB' lists a verb's options.  To begin: "
		   "'penstock plan MODEL\n--ram 8G' says what fits and how "
		   "fast it will be, 'penstock run MODEL --ram 8G'\nanswers; "
		   "without --ram a run takes what memory is free.\n");
}

static int verb_help(const struct cli_cmd *cmd)
{
	printf("usage: penstock %s [OPTIONS] %s\n\n%s\n\n", cmd->name,
	       cmd->operands, cmd->summary);
	cli_opts_help(cmd, stdout);
	return EXIT_OK;
}

static int cmd_help(struct cli_opts *o)
{
	uint32_t nr = 0;

	if (!o->nr_args) {
		print_verbs(stdout);
		return EXIT_OK;
	}
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++) {
		const char *second = second_word(&cmds[i]);

		if (!first_word_is(&cmds[i], o->args[0]) ||
		    (o->nr_args > 1 && (!second || strcmp(second, o->args[1]))))
			continue;
		if (nr++)
			putchar('\n');
		verb_help(&cmds[i]);
	}
	if (nr)
		return EXIT_OK;
	if (o->nr_args > 1) {
		cli_error("no verb is named '%s %s'; 'penstock help' lists "
			  "them",
			  o->args[0], o->args[1]);
		return EXIT_USAGE;
	}
	return unknown_verb(o->args[0]);
}

static int cmd_version(struct cli_opts *o)
{
	(void)o;
	printf("penstock %s\n", PST_VERSION);
	return EXIT_OK;
}

/* A file that is opened while one of the three is closed gets its number: our
 * messages would be written into it.  Opened the wrong way round, so that a use
 * of it still fails.
 */
static void hold_standard_files(void)
{
	for (int fd = 0; fd < 3; fd++)
		if (fcntl(fd, F_GETFD) < 0)
			(void)!open("/dev/null",
				    fd == STDIN_FILENO ? O_WRONLY : O_RDONLY);
}

static int check_operands(const struct cli_cmd *cmd, const struct cli_opts *o)
{
	if (o->nr_args < cmd->min_args)
		cli_error("%s: no %.*s is given; usage: penstock %s [OPTIONS] "
			  "%s",
			  cmd->name, (int)strcspn(cmd->operands, " "),
			  cmd->operands, cmd->name, cmd->operands);
	else if (o->nr_args > cmd->max_args)
		cli_error("%s: '%s' is one too many (quote a text of several "
			  "words); usage: penstock %s [OPTIONS] %s",
			  cmd->name, o->args[cmd->max_args], cmd->name,
			  cmd->operands);
	else if (o->file && o->nr_args > 1)
		cli_error("%s: the text is given twice, as an operand and by "
			  "--file %s: leave one out",
			  cmd->name, o->file);
	else
		return EXIT_OK;
	return EXIT_USAGE;
}

/* A verb may have flushed before: the stream remembers a failure. */
static int check_stdout(int rc)
{
	errno = 0;
	if ((!fflush(stdout) && !ferror(stdout)) || rc)
		return rc;
	cli_error("cannot write to stdout%s%s", errno ? ": " : "",
		  errno ? strerror(errno) : "");
	return EXIT_DRIVE;
}

int main(int argc, char **argv)
{
	struct cli_opts o;
	const struct cli_cmd *cmd;
	int rc, words;

	hold_standard_files();
	if (argc < 2) {
		print_verbs(stderr);
		return EXIT_USAGE;
	}
	cmd = find_cmd(argv[1], argv[2]);
	if (!cmd)
		return unknown_verb(argv[1]);
	words = second_word(cmd) ? 2 : 1;
	rc = cli_opts_parse(cmd, argc - words, argv + words, &o);
	if (rc)
		return rc;
	if (o.help)
		return check_stdout(verb_help(cmd));
	rc = check_operands(cmd, &o);
	if (rc)
		return rc;
	cli_guard_mappings();
	return check_stdout(cmd->run(&o));
}
