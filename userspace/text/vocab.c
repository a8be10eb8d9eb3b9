// SPDX-License-Identifier: MIT
/*
 * The life of a vocabulary and the questions that are answered from it without
 * tokenizing.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>

#include "text_priv.h"

static const struct text_kind kinds[] = {
	{
		.model = "gpt2",
		.merges = true,
		.pre = true,
		.bos = -1,
		.eos = -1,
		.unk = -1,
		.sep = -1,
		.tokenize = text_bpe_tokenize,
	},
	{
		.model = "llama",
		.spaces = true,
		.scores = true,
		.add_bos = true,
		.add_space_prefix = true,
		.bos = 1,
		.eos = 2,
		.unk = 0,
		.sep = -1,
		.tokenize = text_spm_tokenize,
	},
	{
		.model = "gemma4",
		.spaces = true,
		.merges = true,
		.add_bos = true,
		.bos = -1,
		.eos = -1,
		.unk = -1,
		.sep = -1,
		.tokenize = text_char_bpe_tokenize,
	},
	{
		.model = "bert",
		.spaces = true,
		.plain_words = true,
		.add_bos = true,
		.add_sep = true,
		.bos = 101,
		.eos = -1,
		.unk = 100,
		.sep = 102,
		.tokenize = text_wordpiece_tokenize,
	},
};

static bool str_is(const struct pst_str *s, const char *lit)
{
	return s->len == strlen(lit) && !memcmp(s->s, lit, s->len);
}

static int load_kind(struct pst_vocab *v, const struct pst_gguf *g,
		     struct pst_diag *diag)
{
	struct pst_str name;
	int rc = pst_gguf_get_str(g, "tokenizer.ggml.model", &name);

	if (rc)
		return pst_diag_set(diag, -EBADMSG, "tokenizer.ggml.model: %s",
				    rc == -ENOENT ? "missing" : "not a string");
	for (size_t i = 0; i < PST_ARRAY_SIZE(kinds); i++)
		if (str_is(&name, kinds[i].model))
			v->kind = &kinds[i];
	if (v->kind)
		return 0;
	return pst_diag_set(diag, -ENOTSUP,
			    "tokenizer.ggml.model: \"%.*s\" is not supported",
			    (int)PST_MIN(name.len, 64), name.s);
}

static int load_pretok(struct pst_vocab *v, const struct pst_gguf *g,
		       const struct pst_log *log, struct pst_diag *diag)
{
	struct pst_str name = { "default", 7 };
	const struct text_pre_row *row;
	int rc = pst_gguf_get_str(g, "tokenizer.ggml.pre", &name);

	if (rc == -ENOENT)
		pst_log(log, PST_LOG_WARN,
			"tokenizer.ggml.pre: missing, \"default\" is assumed");
	else if (rc)
		return pst_diag_set(diag, -EBADMSG,
				    "tokenizer.ggml.pre: not a string");
	row = text_pre_find(name.s, name.len);
	if (!row)
		return pst_diag_set(diag, -ENOTSUP,
				    "tokenizer.ggml.pre: \"%.*s\" is not "
				    "supported",
				    (int)PST_MIN(name.len, 64), name.s);
	v->ignore_merges = row->flags & TEXT_PRE_IGNORE_MERGES;
	v->add_bos = row->flags & TEXT_PRE_ADD_BOS;
	return text_pretok_create(row, &v->pretok, diag);
}

static int load(struct pst_vocab *v, const struct pst_gguf *g,
		const struct pst_log *log, struct pst_diag *diag)
{
	int rc = load_kind(v, g, diag);

	if (rc)
		return rc;
	v->add_bos = v->kind->add_bos;
	if (v->kind->pre)
		rc = load_pretok(v, g, log, diag);
	if (!rc)
		rc = text_load_tokens(v, g, log, diag);
	if (!rc)
		rc = text_index_build(v);
	if (!rc)
		rc = text_load_specials(v, g, log, diag);
	if (!rc && v->kind->merges)
		rc = text_load_merges(v, g, diag);
	return rc;
}

int pst_vocab_create(const struct pst_gguf *g, struct pst_vocab **out,
		     const struct pst_log *log, struct pst_diag *diag)
{
	struct pst_vocab *v = calloc(1, sizeof(*v));
	int rc;

	if (!v)
		return -ENOMEM;
	if (getrandom(&v->seed, sizeof(v->seed), GRND_NONBLOCK) < 0)
		v->seed = pst_now_ns() ^ (uint64_t)(uintptr_t)v;
	rc = load(v, g, log, diag);
	if (rc) {
		pst_vocab_destroy(v);
		return rc;
	}
	*out = v;
	return 0;
}

void pst_vocab_destroy(struct pst_vocab *v)
{
	if (!v)
		return;
	text_pretok_destroy(v->pretok);
	text_specials_fini(&v->specials);
	free(v->merges.rules);
	free(v->merges.slots);
	free(v->slots);
	free(v->scores);
	free(v->attrs);
	free(v->types);
	free(v->tokens);
	free(v->blob);
	free(v);
}

uint32_t pst_vocab_nr_tokens(const struct pst_vocab *v)
{
	return v->nr;
}

int32_t pst_vocab_bos(const struct pst_vocab *v)
{
	return v->bos;
}

int32_t pst_vocab_eos(const struct pst_vocab *v)
{
	return v->eos;
}

static bool in_range(const struct pst_vocab *v, int32_t id)
{
	return id >= 0 && (uint32_t)id < v->nr;
}

bool pst_vocab_is_eog(const struct pst_vocab *v, int32_t id)
{
	return in_range(v, id) && v->attrs[id] & TEXT_ATTR_EOG;
}

int32_t pst_vocab_find(const struct pst_vocab *v, const char *text, size_t len)
{
	struct text_probe p;

	text_index_probe(v, text, len, &p);
	return text_index_find(v, &p);
}

int pst_vocab_type(const struct pst_vocab *v, int32_t id)
{
	return in_range(v, id) ? v->types[id] : -EINVAL;
}

static bool is_hidden(const struct pst_vocab *v, int32_t id)
{
	if (v->attrs[id] & TEXT_ATTR_SHOWN)
		return false;
	switch (v->types[id]) {
	case PST_TOKEN_CONTROL:
	case PST_TOKEN_UNKNOWN:
	case PST_TOKEN_UNUSED:
		return true;
	default:
		return false;
	}
}

int pst_vocab_piece(const struct pst_vocab *v, int32_t id, bool special,
		    const char **out)
{
	if (!in_range(v, id))
		return -EINVAL;
	*out = (const char *)v->blob + v->tokens[id].piece_off;
	if (!special && is_hidden(v, id))
		return 0;
	return (int)v->tokens[id].piece_len;
}
