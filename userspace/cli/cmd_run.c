// SPDX-License-Identifier: MIT
/*
 * penstock run: answer a prompt, or chat when stdin is a terminal.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "cli.h"
#include "tokenizer.h"
#include "watch.h"

/* Of a text in most languages and vocabularies, about. */
#define BYTES_PER_TOKEN 4
/* How often memory is looked at while nobody types. */
#define IDLE_MS 100

struct run {
	struct cli_opts *o;
	struct pst_engine *e;
	struct pst_session *s;
	struct pst_sampler *sampler;
	const struct cli_chat *chat;
	struct cli_run_stats stats;
	struct cli_watch watch;
	int32_t next;
	int32_t owed; /* shown but not yet in the sequence, -1 for none */
	char *reply; /* kept for -o json */
	size_t reply_len, reply_cap;
	char *text; /* the prompt, when it was read from a file */
	int write_err; /* errno of a failed write to stdout */
};

static int on_logits(void *ctx, uint32_t index, const float *logits)
{
	struct run *r = ctx;

	(void)index;
	if (r->watch.err)
		return -ECANCELED;
	r->next = pst_sampler_draw(r->sampler, logits);
	return r->next < 0 ? -ERANGE : 0;
}

static bool on_stop(void *ctx)
{
	(void)ctx;
	return cli_stop_code();
}

static void on_prefill(void *ctx, uint64_t done, uint64_t all)
{
	struct run *r = ctx;
	uint64_t layers = all / r->stats.prompt_tokens;

	cli_bar_update(&r->o->bar, "reading prompt", done / layers,
		       r->stats.prompt_tokens, "tok");
}

static int emit(struct run *r, const char *s, size_t len)
{
	char *p;

	/* The trace has standard output to itself. */
	if (r->o->record && !strcmp(r->o->record, "-"))
		return 0;
	if (r->o->output != OUT_JSON) {
		errno = 0;
		if (fwrite(s, 1, len, stdout) == len && !fflush(stdout))
			return 0;
		r->write_err = errno ? errno : EIO;
		return -r->write_err;
	}
	while (r->reply_len + len > r->reply_cap) {
		r->reply_cap = r->reply_cap ? r->reply_cap * 2 : 4096;
		p = realloc(r->reply, r->reply_cap);
		if (!p)
			return -ENOMEM;
		r->reply = p;
	}
	memcpy(r->reply + r->reply_len, s, len);
	r->reply_len += len;
	return 0;
}

static int emit_token(struct run *r, struct pst_detok *d, int32_t id)
{
	char small[512], *big = small;
	const char *piece;
	int len = pst_vocab_piece(pst_engine_vocab(r->e), id, true, &piece);
	size_t cap = sizeof(small);
	int n, rc;

	if (len > 0 && (size_t)len * 3 + 16 > cap) {
		cap = (size_t)len * 3 + 16;
		big = malloc(cap);
		if (!big)
			return -ENOMEM;
	}
	n = pst_detok_push(d, id, big, cap);
	rc = n > 0 ? emit(r, big, (size_t)n) : n;
	if (big != small)
		free(big);
	return rc;
}

/* A model that computes NaN or infinity is damaged or overflows. */
static int no_numbers(const struct run *r, int rc, struct pst_diag *diag)
{
	if (rc != -ERANGE)
		return rc;
	return pst_diag_set(diag, -EBADMSG,
			    "the model gave logits that are no numbers after "
			    "%u tokens",
			    pst_session_nr_tokens(r->s));
}

static int prefill(struct run *r, const struct pst_tokens *t,
		   struct pst_diag *diag)
{
	uint64_t start;
	struct pst_eval ev = { .tokens = t->ids,
			       .nr = (uint32_t)t->nr,
			       .first_logits = (uint32_t)t->nr - 1,
			       .logits = on_logits,
			       .progress = on_prefill,
			       .stop = on_stop,
			       .ctx = r };
	int rc;

	r->stats.prompt_tokens = (uint32_t)t->nr;
	cli_expect(r->e, &r->o->bar, (uint32_t)t->nr);
	start = pst_now_ns();
	rc = pst_session_eval(r->s, &ev, diag);
	cli_bar_clear(&r->o->bar);
	r->stats.prompt_ns = pst_now_ns() - start;
	return no_numbers(r, rc, diag);
}

static void cut_short(struct run *r, uint32_t ctx)
{
	cli_error("the context of %u tokens is full after %u of this reply: "
		  "raise --ctx-size",
		  ctx, r->stats.reply_tokens);
}

/* Tokens until the model ends, the count is reached or the context is full. */
static int decode(struct run *r, struct pst_diag *diag)
{
	const struct pst_vocab *v = pst_engine_vocab(r->e);
	uint32_t ctx = pst_engine_plan(r->e)->ctx_size;
	uint32_t max = r->o->max_tokens ? r->o->max_tokens : UINT32_MAX;
	uint64_t start = pst_now_ns();
	struct pst_detok d;
	char tail[16];
	int rc = 0, n;

	pst_detok_init(&d, v, r->o->special, false);
	r->stats.reply_tokens = 0;
	while (!pst_vocab_is_eog(v, r->next)) {
		int32_t id = r->next;
		struct pst_eval ev = { .tokens = &id,
				       .nr = 1,
				       .logits = on_logits,
				       .stop = on_stop,
				       .ctx = r };

		rc = emit_token(r, &d, id);
		r->owed = id;
		if (rc || ++r->stats.reply_tokens >= max)
			break;
		if (pst_session_nr_tokens(r->s) >= ctx) {
			cut_short(r, ctx);
			break;
		}
		rc = no_numbers(r, pst_session_eval(r->s, &ev, diag), diag);
		if (rc)
			break;
		r->owed = -1;
	}
	/* What there is of the reply counts. */
	if (rc == -ECANCELED && cli_stop_code())
		rc = 0;
	n = pst_detok_flush(&d, tail, sizeof(tail));
	if (!rc && n > 0)
		rc = emit(r, tail, (size_t)n);
	r->stats.reply_ns = pst_now_ns() - start;
	return rc;
}

/* Ends the line of the reply, where there is one on standard output. */
static void end_reply(const struct run *r)
{
	if (r->o->output != OUT_JSON &&
	    (!r->o->record || strcmp(r->o->record, "-")))
		fputc('\n', stdout);
	fflush(stdout);
}

static void report(struct run *r)
{
	if (r->o->output == OUT_JSON) {
		printf("{\"schema\":\"penstock.run.1\",\"reply\":");
		cli_json_string(stdout, r->reply ? r->reply : "", r->reply_len);
		printf(",\"stats\":");
		cli_stats_json(r->e, &r->stats, stdout);
		printf("}\n");
		return;
	}
	end_reply(r);
	if (!r->o->no_stats)
		cli_stats_line(r->e, &r->stats);
}

static int answer(struct run *r, const char *user, bool first)
{
	const struct pst_vocab *v = pst_engine_vocab(r->e);
	bool raw = r->o->raw || !r->chat->name;
	char *text = raw ? strdup(user)
			 : cli_chat_turn(r->chat, r->o->system, user, first);
	struct pst_tokens t = { 0 };
	struct pst_diag diag;
	int rc = 0;

	pst_diag_init(&diag);
	r->reply_len = 0;
	r->stats.reply_tokens = 0;
	if (r->owed >= 0)
		rc = pst_tokens_push(&t, r->owed);
	r->owed = -1;
	if (!text)
		rc = -ENOMEM;
	if (!rc)
		rc = pst_vocab_tokenize(v, text, strlen(text),
					PST_TOKENIZE_SPECIAL |
						(first ? PST_TOKENIZE_BOS : 0),
					&t);
	if (!rc && !t.nr)
		rc = pst_diag_set(&diag, -EINVAL, "the prompt is empty");
	pst_engine_counters(r->e, &r->stats.before);
	cli_watch_phase(&r->watch, false);
	if (!rc)
		rc = prefill(r, &t, &diag);
	cli_watch_phase(&r->watch, true);
	if (!rc)
		rc = decode(r, &diag);
	pst_engine_counters(r->e, &r->stats.after);
	if (!rc)
		report(r);
	else if (r->stats.reply_tokens && !r->write_err)
		end_reply(r);
	free(text);
	pst_tokens_fini(&t);
	if (cli_stop_code() && (!rc || rc == -ECANCELED))
		return cli_stop_code();
	if (rc == -ECANCELED)
		return EXIT_DRIVE;
	if (rc && r->write_err) {
		cli_error("cannot write the reply to stdout: %s",
			  strerror(r->write_err));
		return EXIT_DRIVE;
	}
	return rc ? cli_fail(rc, &diag) : EXIT_OK;
}

/* Until somebody has typed a line, or a signal came.  A terminal gives whole
 * lines, so none is left in a buffer that poll() does not see.
 */
static void wait_for_line(struct run *r)
{
	struct pollfd in = { .fd = STDIN_FILENO, .events = POLLIN };
	bool busy = true;

	while (!cli_stop_code() && !poll(&in, 1, busy ? 0 : IDLE_MS))
		busy = pst_engine_idle(r->e);
}

static int chat_loop(struct run *r)
{
	char *line = NULL;
	size_t cap = 0;
	bool first = true;
	int rc = EXIT_OK;

	fprintf(stderr, "chat: an empty line or Ctrl-D ends it\n");
	while (!rc) {
		ssize_t n;

		fputs("> ", stderr);
		wait_for_line(r);
		rc = cli_stop_code();
		if (rc)
			break;
		n = getline(&line, &cap, stdin);
		if (n <= 0)
			fputc('\n', stderr);
		rc = cli_stop_code();
		if (rc || n <= 0 || line[0] == '\n')
			break;
		if (line[n - 1] == '\n')
			line[n - 1] = 0;
		rc = answer(r, line, first);
		first = false;
	}
	free(line);
	return rc;
}

/* The prompt of a file or a pipe, read before the model takes the memory. */
static int load_prompt(struct run *r)
{
	struct cli_opts *o = r->o;
	size_t len;
	int rc;

	if (o->nr_args == 2 || (!o->file && isatty(STDIN_FILENO)))
		return EXIT_OK;
	rc = cli_read_input(o, &r->text, &len);
	if (rc)
		return rc;
	if (!len && !o->file) {
		cli_error("run: no prompt: standard input is empty; give it as "
			  "an operand, or with --file");
		return EXIT_USAGE;
	}
	if (strlen(r->text) != len) {
		cli_error("%s: the prompt holds a NUL byte",
			  o->file ? o->file : "stdin");
		return EXIT_DATA;
	}
	return EXIT_OK;
}

/* About: the vocabulary is not open yet. */
static uint32_t tokens_of(const char *text)
{
	size_t n = strlen(text) / BYTES_PER_TOKEN;

	return n < UINT32_MAX ? (uint32_t)n + 1 : UINT32_MAX;
}

static int converse(struct run *r)
{
	if (r->o->nr_args == 2)
		return answer(r, r->o->args[1], true);
	return r->text ? answer(r, r->text, true) : chat_loop(r);
}

int cmd_run(struct cli_opts *o)
{
	struct run r = { .o = o, .owed = -1 };
	int rc;

	if (o->raw && o->system) {
		cli_error("run: --system is part of the chat form, which --raw "
			  "leaves out: leave one of them out");
		return EXIT_USAGE;
	}
	if (!o->seed_given && getrandom(&o->sample.seed, 8, 0) != 8)
		o->sample.seed = pst_now_ns();
	o->report |= o->report_file != NULL;
	/* A trace is to be the same whatever ran before. */
	if (o->warm == PST_AUTO && !o->record)
		o->warm = PST_ON;
	rc = load_prompt(&r);
	if (!rc && (r.text || o->nr_args == 2))
		o->engine.prompt_tokens =
			tokens_of(r.text ? r.text : o->args[1]);
	if (!rc)
		rc = cli_watch_open(&r.watch, o, o->args[0]);
	if (!rc)
		rc = cli_open(o, o->args[0], &r.e);
	if (!rc)
		rc = cli_watch_start(&r.watch, r.e);
	if (rc)
		goto out;
	cli_stop_init();
	r.chat = cli_chat_find(r.e);
	if (!o->raw && !r.chat->name)
		cli_error("this model's chat form is not known: plain "
			  "completion");
	rc = pst_sampler_create(&o->sample, pst_engine_nr_vocab(r.e),
				&r.sampler);
	if (!rc)
		rc = pst_session_create(r.e, &r.s);
	rc = rc ? cli_fail(rc, NULL) : converse(&r);
	rc = cli_watch_finish(&r.watch, r.e, rc);
	pst_session_destroy(r.s);
	pst_sampler_destroy(r.sampler);
out:
	pst_engine_close(r.e);
	free(r.reply);
	free(r.text);
	return cli_watch_close(&r.watch, rc);
}
