// SPDX-License-Identifier: MIT
/*
 * The special ids of a vocabulary, the set of tokens that end a reply, and the
 * habits of single model families that no metadata tells.
 */
#include <errno.h>
#include <string.h>
#include <strings.h>

#include "text_priv.h"

/* <|end_of_sentence|>, with a full-width bar and U+2581. */
#define DEEPSEEK_END    \
	"<\xef\xbd\x9c" \
	"end" TEXT_SPACE "of" TEXT_SPACE "sentence\xef\xbd\x9c>"

/* Tokens with these texts end a reply, whatever the metadata says. */
static const char *const eog_texts[] = {
	"<|eot_id|>",
	"<|im_end|>",
	"<|end|>",
	"<|return|>",
	"<|call|>",
	"<|flush|>",
	"<|calls|>",
	"<end_of_turn>",
	"<|endoftext|>",
	"</s>",
	"<|eom_id|>",
	"<EOT>",
	"_<EOT>",
	"[EOT]",
	"[EOS]",
	"<|end_of_text|>",
	"<end_of_utterance>",
	"<eos>",
	"<turn|>",
	"<|tool_response>",
	DEEPSEEK_END,
	"[e~[",
	"<|fim_pad|>",
	"<|repo_name|>",
	"<|file_sep|>",
	"[PAD]",
};

static const char *const eog_keys[] = {
	"tokenizer.ggml.eot_token_id",	   "tokenizer.ggml.eom_token_id",
	"tokenizer.ggml.fim_pad_token_id", "tokenizer.ggml.fim_rep_token_id",
	"tokenizer.ggml.fim_sep_token_id",
};

/* What the harmony format of gpt-oss is written in: a parser has to see it. */
static const char *const harmony_texts[] = { "<|start|>", "<|channel|>",
					     "<|message|>", "<|constrain|>",
					     "<|end|>" };

static int32_t find(const struct pst_vocab *v, const char *text)
{
	return pst_vocab_find(v, text, strlen(text));
}

static bool is_integer(uint32_t type)
{
	return type <= PST_GGUF_I32 || type == PST_GGUF_U64 ||
	       type == PST_GGUF_I64;
}

/* @out stays as it is when there is no key, -1 when its id is no token. */
static int load_id(const struct pst_vocab *v, const struct pst_gguf *g,
		   const char *key, int32_t *out, const struct pst_log *log,
		   struct pst_diag *diag)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, key);
	uint64_t id;

	if (!kv)
		return 0;
	if (!is_integer(kv->type))
		return pst_diag_set(diag, -EBADMSG, "%s: not an integer", key);
	*out = -1;
	if (pst_gguf_get_u64(g, key, &id) || id >= v->nr)
		pst_log(log, PST_LOG_WARN, "%s: not the id of a token, ignored",
			key);
	else
		*out = (int32_t)id;
	return 0;
}

static int load_flag(const struct pst_gguf *g, const char *key, bool *out,
		     struct pst_diag *diag)
{
	int rc = pst_gguf_get_bool(g, key, out);

	if (!rc || rc == -ENOENT)
		return 0;
	return pst_diag_set(diag, -EBADMSG, "%s: not a boolean", key);
}

static void set_eog(struct pst_vocab *v, int32_t id)
{
	if (id >= 0)
		v->attrs[id] |= TEXT_ATTR_EOG;
}

/* Some files call the end of a turn an ordinary token: it is not. */
static void set_eog_text(struct pst_vocab *v, const char *text)
{
	int32_t id = find(v, text);

	if (id < 0)
		return;
	v->attrs[id] |= TEXT_ATTR_EOG;
	v->types[id] = PST_TOKEN_CONTROL;
}

static void unset_eog(struct pst_vocab *v, const char *text)
{
	int32_t id = find(v, text);

	if (id >= 0)
		v->attrs[id] &= (uint8_t)~TEXT_ATTR_EOG;
}

static int load_eog(struct pst_vocab *v, const struct pst_gguf *g,
		    const struct pst_log *log, struct pst_diag *diag)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(eog_texts); i++)
		set_eog_text(v, eog_texts[i]);
	/* gpt-oss: <|end|> closes a message, not the reply. */
	if (find(v, "<|return|>") >= 0 && find(v, "<|call|>") >= 0) {
		unset_eog(v, "<|end|>");
		for (size_t i = 0; i < PST_ARRAY_SIZE(harmony_texts); i++) {
			int32_t id = find(v, harmony_texts[i]);

			if (id >= 0)
				v->attrs[id] |= TEXT_ATTR_SHOWN;
		}
	}
	if (find(v, "<|tool_response>") >= 0)
		unset_eog(v, "</s>");
	for (size_t i = 0; i < PST_ARRAY_SIZE(eog_keys); i++) {
		int32_t id = -1;
		int rc = load_id(v, g, eog_keys[i], &id, log, diag);

		if (rc)
			return rc;
		set_eog(v, id);
	}
	set_eog(v, v->eos);
	return 0;
}

static bool names_phi3(const struct pst_str *s)
{
	for (uint64_t i = 0; i < s->len; i++) {
		if (s->len - i >= 5 && !strncasecmp(s->s + i, "phi-3", 5))
			return true;
		if (s->len - i >= 4 && !strncasecmp(s->s + i, "phi3", 4))
			return true;
	}
	return false;
}

/* Phi-3 drops the white space behind its added tokens. */
static void set_phi3_habits(struct pst_vocab *v, const struct pst_gguf *g)
{
	static const char *const plain[] = { "<unk>", "<s>", "<|endoftext|>" };
	struct pst_str name;

	if (pst_gguf_get_str(g, "general.name", &name) || !names_phi3(&name))
		return;
	for (uint32_t i = 0; i < v->specials.nr; i++)
		v->attrs[v->specials.by_text[i]] |= TEXT_ATTR_RSTRIP;
	for (size_t i = 0; i < PST_ARRAY_SIZE(plain); i++) {
		int32_t id = find(v, plain[i]);

		if (id >= 0)
			v->attrs[id] &= (uint8_t)~TEXT_ATTR_RSTRIP;
	}
}

static int32_t default_id(const struct pst_vocab *v, int32_t id)
{
	return id < (int64_t)v->nr ? id : -1;
}

static int load_ids(struct pst_vocab *v, const struct pst_gguf *g,
		    const struct pst_log *log, struct pst_diag *diag)
{
	const struct {
		const char *key;
		int32_t *dst;
	} ids[] = {
		{ "tokenizer.ggml.bos_token_id", &v->bos },
		{ "tokenizer.ggml.eos_token_id", &v->eos },
		{ "tokenizer.ggml.unknown_token_id", &v->unk },
		/* The format's spelling. */
		{ "tokenizer.ggml.seperator_token_id", &v->sep },
	};
	int rc = 0;

	v->bos = default_id(v, v->kind->bos);
	v->eos = default_id(v, v->kind->eos);
	v->unk = default_id(v, v->kind->unk);
	v->sep = default_id(v, v->kind->sep);
	for (size_t i = 0; i < PST_ARRAY_SIZE(ids) && !rc; i++)
		rc = load_id(v, g, ids[i].key, ids[i].dst, log, diag);
	/* What BERT begins with has a name of its own. */
	if (!rc && v->kind->plain_words)
		rc = load_id(v, g, "tokenizer.ggml.cls_token_id", &v->bos, log,
			     diag);
	return rc;
}

static int load_flags(struct pst_vocab *v, const struct pst_gguf *g,
		      struct pst_diag *diag)
{
	const struct {
		const char *key;
		bool *dst;
	} flags[] = {
		{ "tokenizer.ggml.add_bos_token", &v->add_bos },
		{ "tokenizer.ggml.add_eos_token", &v->add_eos },
		{ "tokenizer.ggml.add_sep_token", &v->add_sep },
		{ "tokenizer.ggml.add_space_prefix", &v->add_space_prefix },
		{ "tokenizer.ggml.normalizer.strip_accents",
		  &v->strip_accents },
	};
	int rc;

	v->add_sep = v->kind->add_sep;
	v->add_space_prefix = v->kind->add_space_prefix;
	v->lower_case = v->kind->plain_words;
	rc = load_flag(g, "tokenizer.ggml.normalizer.lowercase", &v->lower_case,
		       diag);
	v->strip_accents = v->lower_case;
	for (size_t i = 0; i < PST_ARRAY_SIZE(flags) && !rc; i++)
		rc = load_flag(g, flags[i].key, flags[i].dst, diag);
	return rc;
}

int text_load_specials(struct pst_vocab *v, const struct pst_gguf *g,
		       const struct pst_log *log, struct pst_diag *diag)
{
	int rc = load_ids(v, g, log, diag);

	if (!rc)
		rc = load_flags(v, g, diag);
	if (!rc)
		rc = load_eog(v, g, log, diag);
	if (!rc)
		rc = text_specials_build(v, log);
	if (!rc)
		set_phi3_habits(v, g);
	return rc;
}
