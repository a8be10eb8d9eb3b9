// SPDX-License-Identifier: MIT
/*
 * Chat in its simplest form: a few prompt shapes, recognised by the control
 * tokens that a vocabulary has.  A model with none of them completes text.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "tokenizer.h"

struct shape {
	const char *marker; /* token that gives the shape away */
	struct cli_chat chat;
};

static const struct shape shapes[] = {
	{ "<|im_start|>",
	  { .name = "chatml",
	    .sys_open = "<|im_start|>system\n",
	    .sys_close = "<|im_end|>\n",
	    .user_open = "<|im_start|>user\n",
	    .user_close = "<|im_end|>\n",
	    .reply_open = "<|im_start|>assistant\n",
	    .reply_close = "\n" } },
	{ "<|start_header_id|>",
	  { .name = "llama3",
	    .sys_open = "<|start_header_id|>system<|end_header_id|>\n\n",
	    .sys_close = "<|eot_id|>",
	    .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
	    .user_close = "<|eot_id|>",
	    .reply_open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
	    .reply_close = "" } },
	{ "<|endofprompt|>",
	  { .name = "user/assistant",
	    .sys_open = "<|system|>\n",
	    .sys_close = "\n",
	    .user_open = "<|user|>\n",
	    .user_close = "\n",
	    .reply_open = "<|assistant|>\n",
	    .reply_close = "\n" } },
	{ "[INST]",
	  { .name = "mistral",
	    .sys_open = "[INST] ",
	    .sys_close = "\n\n",
	    .user_open = "[INST] ",
	    .user_close = " [/INST]",
	    .reply_open = "",
	    .reply_close = "</s>" } },
};

static const struct cli_chat no_shape;

const struct cli_chat *cli_chat_find(const struct pst_engine *e)
{
	const struct pst_vocab *v = pst_engine_vocab(e);

	for (size_t i = 0; i < PST_ARRAY_SIZE(shapes); i++)
		if (pst_vocab_find(v, shapes[i].marker,
				   strlen(shapes[i].marker)) >= 0)
			return &shapes[i].chat;
	return &no_shape;
}

char *cli_chat_turn(const struct cli_chat *c, const char *system,
		    const char *user, bool first)
{
	bool sys = first && system && *system;
	const char *open = c->user_open;
	char *out = NULL;

	if (!c->name)
		return strdup(user);
	/* Mistral's system text stands inside the first user turn. */
	if (sys && !strcmp(c->sys_open, c->user_open))
		open = "";
	if (asprintf(&out, "%s%s%s%s%s%s%s%s", first ? "" : c->reply_close,
		     sys ? c->sys_open : "", sys ? system : "",
		     sys ? c->sys_close : "", open, user, c->user_close,
		     c->reply_open) < 0)
		return NULL;
	return out;
}
