// SPDX-License-Identifier: MIT
/*
 * What the values of tokenizer.ggml.pre mean.  A new pre-tokenizer is a row of
 * the table below and, where no listed one serves, a list of patterns above it.
 *
 * The patterns are those of the models' own tokenizers, in PCRE2's syntax.  WS
 * spells out Unicode's White_Space, for PCRE2's \s also takes U+180E.  No
 * pattern may repeat a group or rescan a run at each of its characters: time
 * must stay linear in the text.
 */
#include <string.h>

#include "text_priv.h"

#define WS                                                               \
	"\\x{9}-\\x{d}\\x{20}\\x{85}\\x{a0}\\x{1680}\\x{2000}-\\x{200a}" \
	"\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define S  "[" WS "]"
#define NS "[^" WS "]"

#define CONTRACTION "(?i:'s|'t|'re|'ve|'m|'ll|'d)"
#define NEWLINES    S "*[\\r\\n]+"
#define SPACES	    S "+(?!" NS ")|" S "+"
#define PUNCT	    " ?[^" WS "\\p{L}\\p{N}]+"
#define BEFORE	    "[^\\r\\n\\p{L}\\p{N}]?"

static const char *const llama3[] = { CONTRACTION
				      "|" BEFORE "\\p{L}+|\\p{N}{1,3}|" PUNCT
				      "[\\r\\n]*|" NEWLINES "|" SPACES,
				      NULL };

static const char *const qwen2[] = { CONTRACTION
				     "|" BEFORE "\\p{L}+|\\p{N}|" PUNCT
				     "[\\r\\n]*|" NEWLINES "|" SPACES,
				     NULL };

static const char *const qwen35[] = {
	CONTRACTION "|" BEFORE "[\\p{L}\\p{M}]+|\\p{N}| ?[^" WS
		    "\\p{L}\\p{M}\\p{N}]+[\\r\\n]*|" NEWLINES "|" SPACES,
	NULL
};

#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+|" PUNCT "|" SPACES

static const char *const gpt2[] = { GPT2, NULL };
static const char *const starcoder[] = { "\\p{N}", GPT2, NULL };

static const char *const fallback[] = { "[\\p{P}$+<=>^~|]+", GPT2, "\\p{N}+",
					"[0-9][0-9][0-9]", NULL };
static const char *const falcon[] = { "[\\p{P}$+<=>^~|`]+", GPT2,
				      "[0-9][0-9][0-9]", NULL };

/* Words split where lower case is followed by upper case. */
#define UPPER		  "[\\p{Lu}\\p{Lt}\\p{Lm}\\p{Lo}\\p{M}]"
#define LOWER		  "[\\p{Ll}\\p{Lm}\\p{Lo}\\p{M}]"
#define CASED(u, l, tail) BEFORE u "*" l "+" tail "|" BEFORE u "+" l "*" tail

static const char *const o200k[] = {
	CASED(UPPER, LOWER, CONTRACTION "?") "|\\p{N}{1,3}|" PUNCT
					     "[\\r\\n/]*|" NEWLINES "|" SPACES,
	NULL
};

static const char *const tekken[] = {
	CASED(UPPER, LOWER, "") "|\\p{N}|" PUNCT "[\\r\\n/]*|" NEWLINES
				"|" SPACES,
	NULL
};

/*
 * The same classes without Han, as complements: the general categories part
 * all code points, and PCRE2 cannot subtract classes.
 */
#define NOT_WORD "\\p{N}\\p{P}\\p{S}\\p{Z}\\p{C}\\p{sc:Han}"

static const char *const kimi[] = {
	"\\p{sc:Han}+|" CASED("[^\\p{Ll}" NOT_WORD "]",
			      "[^\\p{Lu}\\p{Lt}" NOT_WORD "]",
			      CONTRACTION "?") "|\\p{N}{1,3}|" PUNCT
					       "[\\r\\n]*|" NEWLINES "|" SPACES,
	NULL
};

static const char *const deepseek_v3[] = {
	"\\p{N}{1,3}",
	"[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
	"[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|"
	"[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
	" ?[\\p{P}\\p{S}]+[\\r\\n]*|" NEWLINES "|" SPACES,
	NULL
};

/* The letters with case of an older Unicode, as the model's tokenizer lists. */
#define DEEPSEEK_LETTERS                                                       \
	"A-Za-z\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}"          \
	"\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}\\x{370}-\\x{373}" \
	"\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}"   \
	"\\x{38c}\\x{38e}-\\x{3a1}\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}"          \
	"\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}"                \
	"\\x{13a0}-\\x{13f5}\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}"            \
	"\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}"            \
	"\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}"            \
	"\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}\\x{1f50}-\\x{1f57}\\x{1f59}"   \
	"\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}"             \
	"\\x{1fb6}-\\x{1fbc}\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}"   \
	"\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"            \
	"\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}"             \
	"\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}\\x{2124}\\x{2126}"    \
	"\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}"             \
	"\\x{213c}-\\x{213f}\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}"    \
	"\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}\\x{2cf2}"   \
	"\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}"   \
	"\\x{a771}-\\x{a787}\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}"            \
	"\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}"            \
	"\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}"        \
	"\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}\\x{10cc0}-\\x{10cf2}"      \
	"\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

#define DEEPSEEK_CJK \
	"[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"

/*
 * The fourth pass is \s+$ in the model's tokenizer.  Matching only from the
 * start of a run gives the same and does not rescan the run.
 */
static const char *const deepseek_llm[] = {
	"[\\r\\n]",
	S "?[" DEEPSEEK_LETTERS "]+",
	S "?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}"
	  "\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+",
	"(?<!" S ")" S "+\\z",
	DEEPSEEK_CJK,
	"\\p{N}+",
	NULL
};

static const char *const deepseek_coder[] = { "[\\r\\n]",   S "?\\p{L}+",
					      S "?\\p{P}+", DEEPSEEK_CJK,
					      "\\p{N}",	    NULL };

static const char *const bailing[] = { CONTRACTION
				       "|" BEFORE "\\p{L}+|\\p{N}|" PUNCT
				       "[\\r\\n]*|" S "*[\\r\\n]|" SPACES,
				       NULL };

static const char *const seed_coder[] = { CONTRACTION
					  "|" BEFORE "\\p{L}+|\\p{N}| ?[^" WS
					  "\\p{L}\\p{N}\\r\\n]+|" NEWLINES
					  "|" SPACES,
					  NULL };

#define LLAMA3_FLAGS (TEXT_PRE_IGNORE_MERGES | TEXT_PRE_ADD_BOS)

static const struct text_pre_row rows[] = {
	{ "default", fallback, 0 },
	{ "llama-bpe", llama3, LLAMA3_FLAGS },
	{ "llama3", llama3, LLAMA3_FLAGS },
	{ "llama-v3", llama3, LLAMA3_FLAGS },
	{ "falcon3", llama3, LLAMA3_FLAGS },
	{ "falcon-h1", llama3, LLAMA3_FLAGS },
	{ "pixtral", llama3, LLAMA3_FLAGS },
	{ "midm-2.0", llama3, LLAMA3_FLAGS },
	{ "lfm2", llama3, LLAMA3_FLAGS },
	{ "jina-v5-nano", llama3, LLAMA3_FLAGS },
	{ "dbrx", llama3, 0 },
	{ "smaug-bpe", llama3, 0 },
	{ "glm4", llama3, 0 },
	{ "chatglm-bpe", llama3, 0 },
	{ "qwen2", qwen2, 0 },
	{ "deepseek-r1-qwen", qwen2, 0 },
	{ "stablelm2", qwen2, 0 },
	{ "hunyuan", qwen2, 0 },
	{ "megrez", qwen2, 0 },
	{ "kormo", qwen2, 0 },
	{ "solar-open", qwen2, 0 },
	{ "grok-2", qwen2, 0 },
	{ "f2llmv2", qwen2, 0 },
	{ "qwen35", qwen35, 0 },
	{ "gpt-2", gpt2, 0 },
	{ "phi-2", gpt2, 0 },
	{ "mpt", gpt2, 0 },
	{ "olmo", gpt2, 0 },
	{ "jais", gpt2, 0 },
	{ "trillion", gpt2, 0 },
	{ "granite-docling", gpt2, 0 },
	{ "exaone4", gpt2, 0 },
	{ "gigachat", gpt2, 0 },
	{ "modern-bert", gpt2, 0 },
	{ "roberta-bpe", gpt2, 0 },
	{ "starcoder", starcoder, 0 },
	{ "refact", starcoder, 0 },
	{ "command-r", starcoder, 0 },
	{ "smollm", starcoder, 0 },
	{ "codeshell", starcoder, 0 },
	{ "exaone", starcoder, 0 },
	{ "minerva-7b", starcoder, 0 },
	{ "mellum2", starcoder, 0 },
	{ "falcon", falcon, 0 },
	{ "gpt-4o", o200k, 0 },
	{ "llama4", o200k, 0 },
	{ "minimax-m2", o200k, 0 },
	{ "kanana2", o200k, 0 },
	{ "tekken", tekken, TEXT_PRE_IGNORE_MERGES | TEXT_PRE_ADD_BOS },
	{ "kimi-k2", kimi, 0 },
	{ "deepseek-v3", deepseek_v3, 0 },
	{ "hunyuan-dense", deepseek_v3, 0 },
	{ "joyai-llm", deepseek_v3, 0 },
	{ "deepseek-llm", deepseek_llm, 0 },
	{ "deepseek-coder", deepseek_coder, 0 },
	{ "bailingmoe", bailing, 0 },
	{ "bailingmoe2", bailing, 0 },
	{ "llada-moe", bailing, 0 },
	{ "seed-coder", seed_coder, 0 },
};

const struct text_pre_row *text_pre_find(const char *name, size_t len)
{
	for (size_t i = 0; i < PST_ARRAY_SIZE(rows); i++)
		if (strlen(rows[i].name) == len &&
		    !memcmp(rows[i].name, name, len))
			return &rows[i];
	return NULL;
}

const struct text_pre_row *text_pre_row_at(size_t i)
{
	return i < PST_ARRAY_SIZE(rows) ? &rows[i] : NULL;
}
