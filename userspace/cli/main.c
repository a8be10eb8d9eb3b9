// SPDX-License-Identifier: MIT
/*
 * The verbs.  Parses the first word, hands the rest to its command.
 */
#include <string.h>

#include "cli.h"

static int cmd_help(struct cli_opts *o);
static int cmd_version(struct cli_opts *o);

static const struct cli_cmd cmds[] = {
	{ "run", "MODEL [PROMPT]", "answer a prompt, or chat on a terminal",
	  OPT_ENGINE | OPT_SAMPLE | OPT_RUN | OPT_OUTPUT | OPT_FILE, 1, 2,
	  cmd_run },
	{ "plan", "MODEL", "what fits and where it goes; loads nothing",
	  OPT_ENGINE | OPT_OUTPUT | OPT_PLAN, 1, 1, cmd_plan },
	{ "show", "MODEL", "metadata, tensors, types, experts",
	  OPT_OUTPUT | OPT_SHOW, 1, 1, cmd_show },
	{ "doctor", "[PATH]", "what this machine offers, and the mend",
	  OPT_OUTPUT, 0, 1, cmd_doctor },
	{ "bench", "MODEL", "tokens per second, by I/O mode",
	  OPT_ENGINE | OPT_TABLE | OPT_BENCH, 1, 1, cmd_bench },
	{ "logits", "MODEL", "logits of a token sequence",
	  OPT_ENGINE | OPT_LOGITS | OPT_OUTFILE, 1, 1, cmd_logits },
	{ "perplexity", "MODEL -f TEXT", "perplexity of a text",
	  OPT_ENGINE | OPT_OUTPUT | OPT_FILE, 1, 1, cmd_perplexity },
	{ "tokenize", "MODEL", "text on stdin to a JSON array of token ids",
	  OPT_TOKENS | OPT_FILE, 1, 1, cmd_tokenize },
	{ "trace", "replay TRACE", "hit rates of policies on a routing trace",
	  OPT_OUTPUT | OPT_TRACE, 2, 2, cmd_trace },
	{ "completion", "SHELL", "completion script for bash, zsh or fish", 0,
	  1, 1, cmd_completion },
	{ "help", "[VERB]", "this text, or a verb's options", 0, 0, 1,
	  cmd_help },
	{ "version", "", "version and build", 0, 0, 0, cmd_version },
};

const struct cli_cmd *cli_cmd_at(uint32_t i)
{
	return i < PST_ARRAY_SIZE(cmds) ? &cmds[i] : NULL;
}

static const struct cli_cmd *find_cmd(const char *name)
{
	if (!strcmp(name, "--help") || !strcmp(name, "-h"))
		name = "help";
	if (!strcmp(name, "--version") || !strcmp(name, "-V"))
		name = "version";
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++)
		if (!strcmp(cmds[i].name, name))
			return &cmds[i];
	return NULL;
}

static void print_verbs(FILE *f)
{
	fprintf(f, "usage: penstock VERB [OPTIONS] ...\n\n"
		   "Runs Mixture-of-Experts models that are larger than "
		   "memory.\n\n");
	for (uint32_t i = 0; i < PST_ARRAY_SIZE(cmds); i++)
		fprintf(f, "  %-11s %-16s %s\n", cmds[i].name, cmds[i].operands,
			cmds[i].summary);
	fprintf(f, "\n'penstock help VERB' lists a verb's options.\n");
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
	const struct cli_cmd *cmd;

	if (!o->nr_args) {
		print_verbs(stdout);
		return EXIT_OK;
	}
	cmd = find_cmd(o->args[0]);
	if (!cmd) {
		cli_error("no verb is named '%s'", o->args[0]);
		return EXIT_USAGE;
	}
	return verb_help(cmd);
}

static int cmd_version(struct cli_opts *o)
{
	(void)o;
	printf("penstock %s\n", PST_VERSION);
	return EXIT_OK;
}

int main(int argc, char **argv)
{
	struct cli_opts o;
	const struct cli_cmd *cmd;
	int rc;

	if (argc < 2) {
		print_verbs(stderr);
		return EXIT_USAGE;
	}
	cmd = find_cmd(argv[1]);
	if (!cmd) {
		cli_error("no verb is named '%s'; 'penstock help' lists them",
			  argv[1]);
		return EXIT_USAGE;
	}
	rc = cli_opts_parse(cmd, argc - 1, argv + 1, &o);
	if (rc)
		return rc;
	if (o.help)
		return verb_help(cmd);
	if (o.nr_args < cmd->min_args || o.nr_args > cmd->max_args) {
		cli_error("usage: penstock %s [OPTIONS] %s", cmd->name,
			  cmd->operands);
		return EXIT_USAGE;
	}
	cli_guard_mappings();
	rc = cmd->run(&o);
	if (fflush(stdout) && !rc) {
		cli_error("cannot write to stdout");
		rc = EXIT_DRIVE;
	}
	return rc;
}
