// SPDX-License-Identifier: MIT
/*
 * Chat in its simplest form: a few prompt shapes, recognised by a marker in the
 * model's chat template or vocabulary.  A model with none of them completes
 * text.
 */
#include <stdlib.h>
#include <string.h>

#include "cli.h"
#include "gguf.h"
#include "tokenizer.h"

struct shape {
	const char *marker; /* text that gives the shape away */
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
	    .reply_close = "<|im_end|>\n" } },
	{ "<|start_header_id|>",
	  { .name = "llama3",
	    .sys_open = "<|start_header_id|>system<|end_header_id|>\n\n",
	    .sys_close = "<|eot_id|>",
	    .user_open = "<|start_header_id|>user<|end_header_id|>\n\n",
	    .user_close = "<|eot_id|>",
	    .reply_open = "<|start_header_id|>assistant<|end_header_id|>\n\n",
	    .reply_close = "<|eot_id|>" } },
	{ "<|user|>",
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

/* The template says it best; a vocabulary without one gives it away by the
 * control tokens that it has.
 */
static bool suggests(const struct pst_str *template, const struct pst_vocab *v,
		     const char *marker)
{
	size_t len = strlen(marker);

	if (template->len)
		return memmem(template->s, template->len, marker, len);
	return pst_vocab_find(v, marker, len) >= 0;
}

const struct cli_chat *cli_chat_find(const struct pst_engine *e)
{
	struct pst_str template = { 0 };

	pst_gguf_get_str(pst_engine_gguf(e), "tokenizer.chat_template",
			 &template);
	for (size_t i = 0; i < PST_ARRAY_SIZE(shapes); i++)
		if (suggests(&template, pst_engine_vocab(e), shapes[i].marker))
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
