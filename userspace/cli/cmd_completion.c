// SPDX-License-Identifier: MIT
/*
 * penstock completion: scripts for bash, zsh and fish, made from the tables of
 * verbs and options, so that they never fall behind.
 */
#include <string.h>

#include "cli.h"

/* A value with choices is spelled "a|b|c" in the table. */
static void print_choices(const char *arg)
{
	for (; *arg; arg++)
		putchar(*arg == '|' ? ' ' : *arg);
}

/* In single quotes: fish knows \', the others must leave the quotes. */
static void print_quoted(const char *s, bool fish)
{
	putchar('\'');
	for (; *s; s++) {
		if (*s == '\'')
			fputs(fish ? "\\'" : "'\\''", stdout);
		else
			putchar(*s);
	}
	putchar('\'');
}

/* Verbs of two words stand next to each other in the table. */
static bool same_verb(const struct cli_cmd *a, const struct cli_cmd *b)
{
	size_t len = strcspn(a->name, " ");

	return a->name[len] && !strncmp(a->name, b->name, len + 1);
}

static void print_verbs(void)
{
	const struct cli_cmd *cmd, *before = NULL;

	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++) {
		if (!before || !same_verb(before, cmd))
			printf("%s%.*s", i ? " " : "",
			       (int)strcspn(cmd->name, " "), cmd->name);
		before = cmd;
	}
}

/* "record replay report" for the first of the verbs of two words. */
static void print_second_words(const char *first)
{
	const struct cli_cmd *cmd;
	size_t len = strlen(first);

	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++)
		if (!strncmp(cmd->name, first, len) && cmd->name[len] == ' ')
			printf("%s ", cmd->name + len + 1);
}

/* Verbs whose operand is one of a few words; elsewhere it is a file. */
static bool has_words(const struct cli_cmd *cmd)
{
	return !strcmp(cmd->name, "completion") || !strcmp(cmd->name, "help");
}

static void print_words(const struct cli_cmd *cmd)
{
	if (!strcmp(cmd->name, "help"))
		print_verbs();
	else
		printf("bash zsh fish");
}

static void sh_option(void *ctx, const struct cli_opt_info *o)
{
	printf(" --%s", o->name);
}

static void sh_choices(void *ctx, const struct cli_opt_info *o)
{
	const struct cli_cmd *cmd = ctx;

	if (!o->choice)
		return;
	printf("\t\"%s:--%s\"", cmd->name, o->name);
	if (o->letter)
		printf("|\"%s:-%c\"", cmd->name, o->letter);
	printf(") offer=\"");
	print_choices(o->arg);
	printf("\" ;;\n");
}

/* The tables of both shells: words to offer for a verb, and for a value. */
static void print_sh_tables(void)
{
	const struct cli_cmd *cmd;

	printf("\tcase \"$verb:$prev\" in\n");
	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++)
		cli_opts_names(cmd, sh_choices, (void *)cmd);
	printf("\t*) case \"$verb\" in\n");
	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++) {
		printf("\t\t\"%s\") flags=\"", cmd->name);
		cli_opts_names(cmd, sh_option, NULL);
		printf("\"");
		if (has_words(cmd)) {
			printf(" offer=\"");
			print_words(cmd);
			printf("\"");
		}
		printf(" ;;\n");
	}
	printf("\t\tesac ;;\n\tesac\n");
}

static void print_bash(void)
{
	printf("# bash completion of penstock; load it with\n"
	       "#   source <(penstock completion bash)\n"
	       "_penstock()\n{\n"
	       "\tlocal cur=${COMP_WORDS[COMP_CWORD]}\n"
	       "\tlocal prev=${COMP_WORDS[COMP_CWORD-1]}\n"
	       "\tlocal verb=${COMP_WORDS[1]} flags=\"\" offer=\"\"\n"
	       "\tif [ \"$COMP_CWORD\" -eq 1 ]; then\n"
	       "\t\tCOMPREPLY=( $(compgen -W \"");
	print_verbs();
	printf("\" -- \"$cur\") )\n\t\treturn\n\tfi\n"
	       "\tif [ \"$verb\" = trace ]; then\n"
	       "\t\tif [ \"$COMP_CWORD\" -eq 2 ]; then\n"
	       "\t\t\tCOMPREPLY=( $(compgen -W \"");
	print_second_words("trace");
	printf("\" -- \"$cur\") )\n\t\t\treturn\n\t\tfi\n"
	       "\t\tverb=\"trace ${COMP_WORDS[2]}\"\n\tfi\n");
	print_sh_tables();
	printf("\tcase \"$cur\" in\n"
	       "\t-*) offer=$flags ;;\n"
	       "\tesac\n"
	       "\tif [ -n \"$offer\" ]; then\n"
	       "\t\tCOMPREPLY=( $(compgen -W \"$offer\" -- \"$cur\") )\n"
	       "\telse\n"
	       "\t\tcompopt -o filenames 2>/dev/null\n"
	       "\t\tmapfile -t COMPREPLY < <(compgen -f -- \"$cur\")\n"
	       "\tfi\n}\n"
	       "complete -F _penstock penstock\n");
}

static void print_zsh(void)
{
	const struct cli_cmd *cmd;

	printf("#compdef penstock\n"
	       "# zsh completion of penstock; put it into a folder of $fpath "
	       "as _penstock\n"
	       "_penstock()\n{\n"
	       "\tlocal cur=$words[CURRENT] prev=$words[CURRENT-1]\n"
	       "\tlocal verb=$words[2] flags=\"\"\n"
	       "\tlocal -a verbs\n"
	       "\tverbs=(\n");
	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++) {
		char line[160];

		snprintf(line, sizeof(line), "%.*s:%s",
			 (int)strcspn(cmd->name, " "), cmd->name, cmd->summary);
		printf("\t\t");
		print_quoted(line, false);
		putchar('\n');
	}
	printf("\t)\n"
	       "\tif (( CURRENT == 2 )); then\n"
	       "\t\t_describe verb verbs\n"
	       "\t\treturn\n"
	       "\tfi\n"
	       "\tlocal offer=\"\"\n"
	       "\tif [[ $verb == trace ]]; then\n"
	       "\t\tif (( CURRENT == 3 )); then\n"
	       "\t\t\tcompadd -- ");
	print_second_words("trace");
	printf("\n\t\t\treturn\n\t\tfi\n"
	       "\t\tverb=\"trace $words[3]\"\n\tfi\n");
	print_sh_tables();
	printf("\tcase \"$cur\" in\n"
	       "\t-*) offer=$flags ;;\n"
	       "\tesac\n"
	       "\tif [[ -n \"$offer\" ]]; then\n"
	       "\t\tcompadd -- ${=offer}\n"
	       "\telse\n"
	       "\t\t_files\n"
	       "\tfi\n}\n"
	       "if [[ \"$funcstack[1]\" == _penstock ]]; then\n"
	       "\t_penstock \"$@\"\n"
	       "else\n"
	       "\tcompdef _penstock penstock\n"
	       "fi\n");
}

/* The words of the verb have been typed. */
static void fish_condition(const struct cli_cmd *cmd)
{
	const char *space = strchr(cmd->name, ' ');

	printf("complete -c penstock -n '__fish_seen_subcommand_from %.*s",
	       (int)strcspn(cmd->name, " "), cmd->name);
	if (space)
		printf("; and __fish_seen_subcommand_from %s", space + 1);
	printf("'");
}

static void fish_option(void *ctx, const struct cli_opt_info *o)
{
	const struct cli_cmd *cmd = ctx;

	fish_condition(cmd);
	printf(" -l %s", o->name);
	if (o->letter)
		printf(" -s %c", o->letter);
	if (o->arg)
		printf(" -r");
	if (o->choice) {
		printf(" -f -a '");
		print_choices(o->arg);
		printf("'");
	}
	printf(" -d ");
	print_quoted(o->help, true);
	putchar('\n');
}

static void fish_operands(const struct cli_cmd *cmd)
{
	if (!has_words(cmd))
		return;
	fish_condition(cmd);
	printf(" -f -a '");
	print_words(cmd);
	printf("'\n");
}

static void print_fish(void)
{
	const struct cli_cmd *cmd;

	printf("# fish completion of penstock; load it with\n"
	       "#   penstock completion fish | source\n");
	for (uint32_t i = 0; (cmd = cli_cmd_at(i)); i++) {
		printf("complete -c penstock -f -n __fish_use_subcommand "
		       "-a %.*s -d ",
		       (int)strcspn(cmd->name, " "), cmd->name);
		print_quoted(cmd->summary, true);
		putchar('\n');
		cli_opts_names(cmd, fish_option, (void *)cmd);
		fish_operands(cmd);
	}
	printf("complete -c penstock -f -n '__fish_seen_subcommand_from trace' "
	       "-a '");
	print_second_words("trace");
	printf("'\n");
}

int cmd_completion(struct cli_opts *o)
{
	static const struct {
		const char *name;
		void (*print)(void);
	} shells[] = { { "bash", print_bash },
		       { "zsh", print_zsh },
		       { "fish", print_fish } };

	for (size_t i = 0; i < PST_ARRAY_SIZE(shells); i++) {
		if (strcmp(shells[i].name, o->args[0]))
			continue;
		shells[i].print();
		return EXIT_OK;
	}
	cli_error("completion '%s': bash, zsh or fish", o->args[0]);
	return EXIT_USAGE;
}
