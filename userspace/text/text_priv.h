/* SPDX-License-Identifier: MIT */
/*
 * What the files of the text module share: the vocabulary in memory, the index
 * of token texts, the merger, the pre-tokenizer and the cutting at special
 * tokens.  A vocabulary never changes after its creation; everything that a
 * call of the tokenizer writes lives in a struct text_scratch of that call.
 */
#ifndef PST_TEXT_PRIV_H
#define PST_TEXT_PRIV_H

#include "tokenizer.h"

#define TEXT_REPLACEMENT     "\xef\xbf\xbd" /* U+FFFD */
#define TEXT_REPLACEMENT_LEN 3
#define TEXT_SPACE	     "\xe2\x96\x81" /* U+2581, SentencePiece's space */
#define TEXT_SPACE_LEN	     3

/* Texts of special tokens past this are not searched for. */
#define TEXT_MAX_SPECIAL_BYTES 256

struct text_scratch;

/**
 * struct text_kind - an algorithm, a value of tokenizer.ggml.model
 * @spaces: tokens are written with U+2581 for a space and <0xXX> for a byte
 * @scores: tokens have scores
 * @merges: there are rules for merging
 * @pre: tokenizer.ggml.pre says how text is cut before
 * @add_bos, @add_sep, @add_space_prefix: when the file does not say
 * @bos, @eos, @unk, @sep: ids when the file does not say, -1 for none
 * @plain_words: the text is reduced to words without case and accents, unless
 *	the file says otherwise
 * @tokenize: one raw fragment of valid UTF-8; 0 or -errno
 */
struct text_kind {
	const char *model;
	bool spaces;
	bool scores;
	bool merges;
	bool pre;
	bool plain_words;
	bool add_bos;
	bool add_sep;
	bool add_space_prefix;
	int32_t bos;
	int32_t eos;
	int32_t unk;
	int32_t sep;
	int (*tokenize)(const struct pst_vocab *v, const uint8_t *text,
			size_t len, struct text_scratch *s,
			struct pst_tokens *out);
};

#define TEXT_ATTR_EOG	 1u /* ends a reply */
#define TEXT_ATTR_RSTRIP 2u /* takes the white space to its right along */
#define TEXT_ATTR_SHOWN	 4u /* control, but its text is always given */

/**
 * struct text_token - where the bytes of a token lie in the vocabulary's blob
 * @text_off: the text as the file stores it
 * @piece_off: the bytes it stands for, the same place when they are equal
 */
struct text_token {
	uint32_t text_off;
	uint32_t text_len;
	uint32_t piece_off;
	uint32_t piece_len;
};

/** struct text_slot - slot of the index; id_plus_1 is 0 in an empty one */
struct text_slot {
	uint32_t tag;
	uint32_t id_plus_1;
};

/** struct text_merge - a rule of BPE; its rank is its place in the array */
struct text_merge {
	int32_t left;
	int32_t right;
	int32_t result;
};

/**
 * struct text_merges - the rules and a hash table over their pairs
 * @rules: [nr], left is -1 in a rule that names unknown tokens
 * @slots: [mask + 1], rank + 1 or 0
 */
struct text_merges {
	struct text_merge *rules;
	uint32_t nr;
	uint32_t *slots;
	uint32_t mask;
};

/**
 * struct text_specials - the tokens that text is cut at
 * @by_text: [nr], ids in the order of their bytes
 * @first: by_text[first[b]] .. by_text[first[b + 1]] start with byte b
 * @by_len: [nr], indices into by_text: longest text first, then lowest id
 */
struct text_specials {
	int32_t *by_text;
	uint32_t *by_len;
	uint32_t nr;
	uint32_t first[257];
};

struct text_pretok;

struct pst_vocab {
	const struct text_kind *kind;
	uint32_t nr;
	uint32_t max_text_len;
	uint64_t seed;
	uint8_t *blob;
	uint64_t blob_bytes;
	struct text_token *tokens; /* [nr] */
	uint8_t *types; /* [nr], enum pst_token_type */
	uint8_t *attrs; /* [nr], TEXT_ATTR_* */
	float *scores; /* [nr], of a kind that has them */
	struct text_slot *slots; /* [slot_mask + 1] */
	uint32_t slot_mask;
	struct text_merges merges;
	struct text_specials specials;
	struct text_pretok *pretok;
	int32_t byte_ids[256];
	int32_t bos;
	int32_t eos;
	int32_t unk;
	int32_t sep;
	bool lower_case;
	bool strip_accents;
	bool add_bos;
	bool add_eos;
	bool add_sep;
	bool add_space_prefix;
	bool ignore_merges;
	bool words_apart; /* SPM: no token has a space behind another character */
};

static inline const uint8_t *text_of(const struct pst_vocab *v, int32_t id)
{
	return v->blob + v->tokens[id].text_off;
}

static inline uint64_t text_mix(uint64_t a, uint64_t b)
{
	__uint128_t p = (__uint128_t)a * b;

	return (uint64_t)p ^ (uint64_t)(p >> 64);
}

/* vocab_index.c */

/**
 * text_index_build() - hash the texts of all tokens; the first id of a text
 * wins
 *
 * Return: 0 or -ENOMEM.
 */
int text_index_build(struct pst_vocab *v);

/** struct text_probe - a text on its way through the index */
struct text_probe {
	const void *text;
	size_t len;
	uint64_t hash;
};

/** text_index_probe() - hash a text, prefetch its slot; @text is not copied */
void text_index_probe(const struct pst_vocab *v, const void *text, size_t len,
		      struct text_probe *out);

/* Two more steps ahead of text_index_find(); leaving them out is right too. */
void text_index_prefetch_token(const struct pst_vocab *v,
			       const struct text_probe *p);
void text_index_prefetch_text(const struct pst_vocab *v,
			      const struct text_probe *p);

/** text_index_find() - id of a stored text, -1 when there is none */
int32_t text_index_find(const struct pst_vocab *v, const struct text_probe *p);

/**
 * text_index_find_plain() - the same, but never a token that ordinary text
 * must not become: control, unknown and byte tokens
 */
int32_t text_index_find_plain(const struct pst_vocab *v,
			      const struct text_probe *p);

/* vocab_load.c */

/**
 * text_load_tokens() - copy texts, types and scores out of the model
 * @v: zeroed but for kind and seed; filled, also in part on failure
 */
int text_load_tokens(struct pst_vocab *v, const struct pst_gguf *g,
		     const struct pst_log *log, struct pst_diag *diag);

/* vocab_special.c */

/**
 * text_load_specials() - special ids, what ends a reply, and what text is cut
 * at; needs the index
 */
int text_load_specials(struct pst_vocab *v, const struct pst_gguf *g,
		       const struct pst_log *log, struct pst_diag *diag);

/* bytemap.c: the printable characters that byte-level BPE writes bytes as */

/** text_bytemap_char() - code point that stands for a byte */
uint32_t text_bytemap_char(uint8_t byte);

/** text_bytemap_byte() - byte that a code point stands for, -1 for others */
int text_bytemap_byte(uint32_t cp);

/** text_bytemap_encode() - bytes to mapped UTF-8; @out has room for 2 * len */
size_t text_bytemap_encode(const uint8_t *s, size_t len, uint8_t *out);

/** text_bytemap_decode() - mapped UTF-8 to bytes, at most @len of them */
size_t text_bytemap_decode(const uint8_t *s, size_t len, uint8_t *out);

/* utf8.c */

/**
 * text_utf8_step() - look at the first character
 * @s: [len], len > 0
 * @valid: set unless the result is 0
 *
 * Return: bytes of the character, or of the maximal subpart that is to be
 * replaced as one when it is not @valid; 0 when all @len bytes are the start of
 * a character that is not complete.
 */
size_t text_utf8_step(const uint8_t *s, size_t len, bool *valid);

/** text_utf8_decode() - code point of a valid character of @len bytes */
uint32_t text_utf8_decode(const uint8_t *s, size_t len);

/** text_utf8_encode() - a code point as 1 to 4 bytes */
size_t text_utf8_encode(uint32_t cp, uint8_t *out);

/** text_utf8_valid() - whole characters only? */
bool text_utf8_valid(const uint8_t *s, size_t len);

/**
 * text_utf8_repair() - replace what is not valid by U+FFFD
 * @out: NULL when @s is valid as it is, else heap, owned by the caller
 *
 * Return: 0, -ENOMEM, -E2BIG when the result has more than 2^31 - 1 bytes.
 */
int text_utf8_repair(const uint8_t *s, size_t len, uint8_t **out,
		     size_t *out_len);

/* bpe_merges.c */

/** text_load_merges() - the rules of BPE, by ids; needs the index and types */
int text_load_merges(struct pst_vocab *v, const struct pst_gguf *g,
		     struct pst_diag *diag);

/** text_merges_find() - rank of the rule for two ids, -1 when there is none */
int64_t text_merges_find(const struct pst_vocab *v, int32_t l, int32_t r);

/* merge.c */

/**
 * struct text_sym - a run of bytes that is one symbol while merging
 * @id: token, -1 for none
 * @prio, @pair: priority and token of the merge with the next symbol; pair is
 *	-1 when there is none
 * @next, @prev: neighbours, -1 at the ends
 */
struct text_sym {
	uint32_t off;
	uint32_t len;
	int32_t id;
	int32_t prev;
	int32_t next;
	int32_t pair;
	uint32_t prio;
};

/**
 * struct text_merger - symbols of one word and the queue of possible merges
 * @heap: keys, priority << 32 | index of the left symbol
 */
struct text_merger {
	struct text_sym *syms;
	uint64_t *heap;
	size_t nr;
	size_t cap;
	size_t nr_heap;
};

/**
 * text_pair_fn - may two neighbours merge?
 *
 * Return: the token they become, its priority (lower is earlier) in @prio; -1
 * when they stay apart.
 */
typedef int32_t (*text_pair_fn)(const struct pst_vocab *v, const uint8_t *text,
				const struct text_sym *l,
				const struct text_sym *r, uint32_t *prio);

/** text_merger_reserve() - room for @nr symbols; 0, -ENOMEM or -E2BIG */
int text_merger_reserve(struct text_merger *m, size_t nr);

/**
 * text_merger_run() - merge until nothing merges
 * @m: off, len and id of syms[0 .. nr) set; the result is the list from
 *	syms[0] along next
 *
 * Time O(n log n).
 */
void text_merger_run(struct text_merger *m, const struct pst_vocab *v,
		     const uint8_t *text, text_pair_fn pair);

/* pretok_table.c, pretok.c */

#define TEXT_PRE_IGNORE_MERGES 1u
#define TEXT_PRE_ADD_BOS       2u

/**
 * struct text_pre_row - what a value of tokenizer.ggml.pre means
 * @patterns: applied one after the other, NULL-terminated
 */
struct text_pre_row {
	const char *name;
	const char *const *patterns;
	unsigned int flags;
};

/** text_pre_find() - row of a name, NULL for unknown ones */
const struct text_pre_row *text_pre_find(const char *name, size_t len);

/** text_pre_row_at() - row by number, NULL past the last: for tests */
const struct text_pre_row *text_pre_row_at(size_t i);

/** struct text_cuts - lengths of consecutive pieces, in bytes */
struct text_cuts {
	uint32_t *lens;
	size_t nr;
	size_t cap;
};

int text_pretok_create(const struct text_pre_row *row, struct text_pretok **out,
		       struct pst_diag *diag);
void text_pretok_destroy(struct text_pretok *p);

/**
 * text_pretok_split() - cut text into the pieces that BPE works on
 * @text: [len] valid UTF-8
 * @a, @b: reused memory; the result is in @a
 *
 * Return: 0 or -ENOMEM.
 */
int text_pretok_split(const struct text_pretok *p, const uint8_t *text,
		      size_t len, struct text_cuts *a, struct text_cuts *b);

/* partition.c */

/** struct text_frag - a part of the text: a special token, or raw if id < 0 */
struct text_frag {
	uint32_t off;
	uint32_t len;
	int32_t id;
};

struct text_frags {
	struct text_frag *v;
	size_t nr;
	size_t cap;
};

/** text_specials_build() - choose and order the tokens to cut at */
int text_specials_build(struct pst_vocab *v, const struct pst_log *log);
void text_specials_fini(struct text_specials *s);

/**
 * text_partition() - cut at special tokens
 * @special: control tokens too, otherwise only user-defined ones
 * @out: empty on entry; the caller frees v
 *
 * Return: 0 or -ENOMEM.
 */
int text_partition(const struct pst_vocab *v, const uint8_t *text, size_t len,
		   bool special, struct text_frags *out);

/** struct text_scratch - what one call of the tokenizer works in */
struct text_scratch {
	struct text_merger merger;
	struct text_cuts cuts[2];
	uint8_t *buf;
	size_t buf_cap;
};

/* One file each: what text_kind.tokenize may be. */
int text_bpe_tokenize(const struct pst_vocab *v, const uint8_t *text,
		      size_t len, struct text_scratch *s,
		      struct pst_tokens *out);
int text_spm_tokenize(const struct pst_vocab *v, const uint8_t *text,
		      size_t len, struct text_scratch *s,
		      struct pst_tokens *out);
int text_wordpiece_tokenize(const struct pst_vocab *v, const uint8_t *text,
			    size_t len, struct text_scratch *s,
			    struct pst_tokens *out);
int text_char_bpe_tokenize(const struct pst_vocab *v, const uint8_t *text,
			   size_t len, struct text_scratch *s,
			   struct pst_tokens *out);

/** text_bpe_pair() - a text_pair_fn: neighbours merge by the rules */
int32_t text_bpe_pair(const struct pst_vocab *v, const uint8_t *text,
		      const struct text_sym *l, const struct text_sym *r,
		      uint32_t *prio);

/**
 * text_escape_spaces() - the text in s->buf, with U+2581 for spaces and one
 * more in front where the vocabulary asks for it
 *
 * Return: 0, -ENOMEM, -E2BIG.
 */
int text_escape_spaces(const struct pst_vocab *v, const uint8_t *text,
		       size_t len, struct text_scratch *s, size_t *out_len);

/**
 * text_merge_chars() - characters merge as @pair says; those that are no token
 * in the end become byte tokens
 */
int text_merge_chars(const struct pst_vocab *v, const uint8_t *s, size_t len,
		     struct text_merger *m, text_pair_fn pair,
		     struct pst_tokens *out);

/** text_grow() - realloc to hold @need elements, doubling; 0 or -ENOMEM */
int text_grow(void **p, size_t *cap, size_t need, size_t elem_bytes);

#endif
