// SPDX-License-Identifier: MIT
/*
 * The header parser.  Reads untrusted bytes through one cursor that knows what
 * is left; allocates in proportion to what was really read, never to a count
 * that the file claims; does not recurse.
 */
#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "gguf_priv.h"

/* The smallest pair and tensor record that the format can express. */
#define MIN_KV_BYTES	 13
#define MIN_TENSOR_BYTES 24

struct cursor {
	const uint8_t *base;
	uint64_t size;
	uint64_t pos;
	const char *path;
	struct pst_diag *diag;
};

#define BAD(c, at, ...) \
	pst_diag_set_at((c)->diag, -EBADMSG, (c)->path, (at), __VA_ARGS__)

static uint64_t left(const struct cursor *c)
{
	return c->size - c->pos;
}

static int take(struct cursor *c, uint64_t n, const uint8_t **out,
		const char *what)
{
	if (n > left(c)) {
		BAD(c, c->pos,
		    "truncated: %s needs %" PRIu64
		    " bytes, the file has %" PRIu64 " left",
		    what, n, left(c));
		return -EBADMSG;
	}
	*out = c->base + c->pos;
	c->pos += n;
	return 0;
}

static int take_u32(struct cursor *c, uint32_t *out, const char *what)
{
	const uint8_t *p;
	int rc = take(c, 4, &p, what);

	if (!rc)
		memcpy(out, p, 4);
	return rc;
}

static int take_u64(struct cursor *c, uint64_t *out, const char *what)
{
	const uint8_t *p;
	int rc = take(c, 8, &p, what);

	if (!rc)
		memcpy(out, p, 8);
	return rc;
}

static int take_str(struct cursor *c, struct pst_str *out, const char *what)
{
	const uint8_t *p;
	uint64_t len;
	int rc = take_u64(c, &len, what);

	if (!rc)
		rc = take(c, len, &p, what);
	if (rc)
		return rc;
	out->s = (const char *)p;
	out->len = len;
	return 0;
}

/* Strings are the only elements of variable length: walk them once. */
static int skip_strings(struct cursor *c, uint64_t count)
{
	struct pst_str s;

	if (count > left(c) / 8)
		return BAD(c, c->pos,
			   "an array claims %" PRIu64
			   " strings, the file has %" PRIu64 " bytes left",
			   count, left(c));
	for (uint64_t i = 0; i < count; i++) {
		int rc = take_str(c, &s, "a string of an array");

		if (rc)
			return rc;
	}
	return 0;
}

static int take_elems(struct cursor *c, struct pst_gguf_kv *kv)
{
	uint32_t width = pst_gguf_vtype_bytes(kv->elem_type);
	const uint8_t *p;
	uint64_t bytes;

	if (kv->elem_type == PST_GGUF_STRING)
		return skip_strings(c, kv->count);
	if (!width)
		return BAD(c, c->pos, "key '%.*s': value type %u %s",
			   (int)PST_MIN(kv->key.len, 64), kv->key.s,
			   kv->elem_type,
			   kv->elem_type == PST_GGUF_ARRAY
				   ? "(an array of arrays) is not accepted"
				   : "does not exist");
	if (!pst_mul_u64(kv->count, width, &bytes))
		return BAD(c, c->pos, "an array claims %" PRIu64 " elements",
			   kv->count);
	return take(c, bytes, &p, "a value");
}

static int take_value(struct cursor *c, struct pst_gguf_kv *kv)
{
	int rc = take_u32(c, &kv->type, "a value type");

	if (rc)
		return rc;
	kv->elem_type = kv->type;
	kv->count = 1;
	if (kv->type == PST_GGUF_ARRAY) {
		rc = take_u32(c, &kv->elem_type, "an element type");
		if (!rc)
			rc = take_u64(c, &kv->count, "an array length");
		if (rc)
			return rc;
	}
	kv->data = c->base + c->pos;
	rc = take_elems(c, kv);
	if (!rc)
		kv->size_bytes = (uint64_t)(c->base + c->pos - kv->data);
	return rc;
}

static int grow(void **arr, uint64_t *cap, uint64_t nr, size_t elem)
{
	uint64_t want = *cap ? *cap * 2 : 64;
	void *p;

	if (nr < *cap)
		return 0;
	p = reallocarray(*arr, want, elem);
	if (!p)
		return -ENOMEM;
	*arr = p;
	*cap = want;
	return 0;
}

static int parse_kv(struct cursor *c, struct pst_gguf *g)
{
	struct pst_gguf_kv kv;
	int rc = take_str(c, &kv.key, "a key");

	if (rc)
		return rc;
	if (!kv.key.len || kv.key.len > 65535 ||
	    memchr(kv.key.s, 0, kv.key.len))
		return BAD(c, c->pos,
			   "a key is empty, over 65535 bytes or "
			   "holds a NUL byte");
	rc = take_value(c, &kv);
	if (rc)
		return rc;
	rc = grow((void **)&g->kvs, &g->cap_kv, g->nr_kv, sizeof(*g->kvs));
	if (!rc)
		g->kvs[g->nr_kv++] = kv;
	return rc;
}

static int parse_kvs(struct cursor *c, struct pst_gguf *g, uint64_t nr)
{
	if (nr > left(c) / MIN_KV_BYTES)
		return BAD(c, 16,
			   "header claims %" PRIu64
			   " metadata pairs, the file has %" PRIu64 " bytes",
			   nr, c->size);
	for (uint64_t i = 0; i < nr; i++) {
		int rc = parse_kv(c, g);

		if (rc)
			return rc;
	}
	return 0;
}

static int take_dims(struct cursor *c, struct pst_gguf_tensor *t,
		     uint64_t *nr_elems)
{
	int rc = take_u32(c, &t->nr_dims, "a tensor's dimension count");

	if (rc)
		return rc;
	*nr_elems = 1;
	if (!t->nr_dims || t->nr_dims > PST_GGUF_MAX_DIMS)
		return BAD(c, c->pos, "tensor '%s' has %u dimensions (1 to %d)",
			   t->name, t->nr_dims, PST_GGUF_MAX_DIMS);
	for (uint32_t d = 0; d < PST_GGUF_MAX_DIMS; d++) {
		t->ne[d] = 1;
		if (d >= t->nr_dims)
			continue;
		rc = take_u64(c, &t->ne[d], "a tensor dimension");
		if (rc)
			return rc;
		if (!t->ne[d] || t->ne[d] > INT64_MAX ||
		    !pst_mul_u64(*nr_elems, t->ne[d], nr_elems) ||
		    *nr_elems > INT64_MAX)
			return BAD(c, c->pos,
				   "tensor '%s': dimension %u is %" PRIu64
				   ", zero or too large",
				   t->name, d, t->ne[d]);
	}
	return 0;
}

static int take_name(struct cursor *c, struct pst_gguf_tensor *t)
{
	struct pst_str s;
	int rc = take_str(c, &s, "a tensor name");

	if (rc)
		return rc;
	if (!s.len || s.len >= sizeof(t->name) || memchr(s.s, 0, s.len))
		return BAD(c, c->pos,
			   "a tensor name has %" PRIu64
			   " bytes (1 to 63, without NUL)",
			   s.len);
	memset(t->name, 0, sizeof(t->name));
	memcpy(t->name, s.s, s.len);
	return 0;
}

static int check_type(struct cursor *c, struct pst_gguf_tensor *t,
		      uint64_t nr_elems)
{
	const struct pst_gguf_type *ty = pst_gguf_type(t->type);

	if (!ty)
		return BAD(c, c->pos, "tensor '%s' has type %u, %s", t->name,
			   t->type,
			   t->type >= 96 && t->type < 512
				   ? "which only ik_llama.cpp writes"
				   : "which does not exist or was removed");
	if (t->ne[0] % ty->block_elems)
		return BAD(c, c->pos,
			   "tensor '%s': rows of %" PRIu64
			   " are no multiple of %s's block of %u",
			   t->name, t->ne[0], ty->name, ty->block_elems);
	if (!pst_mul_u64(nr_elems / ty->block_elems, ty->block_bytes,
			 &t->size_bytes))
		return BAD(c, c->pos, "tensor '%s' is too large", t->name);
	return 0;
}

static int parse_tensor(struct cursor *c, struct pst_gguf *g, uint32_t file)
{
	struct pst_gguf_tensor t;
	uint64_t nr_elems = 0;
	int rc = take_name(c, &t);

	if (!rc)
		rc = take_dims(c, &t, &nr_elems);
	if (!rc)
		rc = take_u32(c, &t.type, "a tensor type");
	if (!rc)
		rc = take_u64(c, &t.off_bytes, "a tensor offset");
	if (!rc)
		rc = check_type(c, &t, nr_elems);
	if (rc)
		return rc;
	t.file = file;
	rc = grow((void **)&g->tensors, &g->cap_tensors, g->nr_tensors,
		  sizeof(*g->tensors));
	if (!rc)
		g->tensors[g->nr_tensors++] = t;
	return rc;
}

static int read_alignment(struct cursor *c, const struct pst_gguf *g,
			  uint64_t first_kv, uint64_t *out)
{
	static const char key[] = "general.alignment";

	*out = PST_GGUF_DEFAULT_ALIGN;
	for (uint64_t i = first_kv; i < g->nr_kv; i++) {
		const struct pst_gguf_kv *kv = &g->kvs[i];

		if (kv->key.len != sizeof(key) - 1 ||
		    memcmp(kv->key.s, key, kv->key.len))
			continue;
		if (kv->type != PST_GGUF_U32)
			return BAD(c, UINT64_MAX, "%s is not a u32", key);
		pst_gguf_elem_u64(kv, 0, out);
		if (!pst_is_pow2(*out))
			return BAD(c, UINT64_MAX,
				   "%s = %" PRIu64 " is no power of two", key,
				   *out);
	}
	return 0;
}

/* Turn section-relative offsets into file offsets and check each range. */
static int place_tensors(struct cursor *c, struct pst_gguf *g, uint64_t first,
			 uint64_t align)
{
	struct pst_gguf_file *f = &g->files[g->nr_files - 1];
	const struct pst_gguf_tensor *beyond = NULL;
	uint64_t data;

	if (!pst_add_u64(c->pos, align - 1, &data))
		return BAD(c, c->pos, "the data section's offset overflows");
	data &= ~(align - 1);
	f->data_off_bytes = data;
	f->alignment = align;
	for (uint64_t i = first; i < g->nr_tensors; i++) {
		struct pst_gguf_tensor *t = &g->tensors[i];
		uint64_t end;

		if (t->off_bytes & (align - 1))
			return BAD(c, t->off_bytes,
				   "tensor '%s': offset %" PRIu64
				   " is no multiple of the alignment %" PRIu64,
				   t->name, t->off_bytes, align);
		if (!pst_add_u64(t->off_bytes, data, &t->off_bytes) ||
		    !pst_add_u64(t->off_bytes, t->size_bytes, &end))
			return BAD(c, t->off_bytes,
				   "tensor '%s' (%" PRIu64
				   " bytes) lies beyond any file's end",
				   t->name, t->size_bytes);
		f->whole_bytes = PST_MAX(f->whole_bytes, end);
		if (end > c->size && !beyond)
			beyond = t;
	}
	if (!beyond || g->header_only)
		return 0;
	return BAD(
		c, beyond->off_bytes,
		"tensor '%s' lies beyond the end of the file: it has %" PRIu64
		" bytes of the %" PRIu64
		" that its header tells of; download or copy it again",
		beyond->name, c->size, f->whole_bytes);
}

static int parse_head(struct cursor *c, struct pst_gguf *g, uint64_t *nr_t,
		      uint64_t *nr_kv)
{
	const uint8_t *magic;
	uint32_t version;
	int rc = take(c, 4, &magic, "the magic");

	if (rc)
		return rc;
	if (memcmp(magic, PST_GGUF_MAGIC, 4))
		return BAD(c, 0, "not a GGUF file (magic %02x %02x %02x %02x)",
			   magic[0], magic[1], magic[2], magic[3]);
	rc = take_u32(c, &version, "the version");
	if (rc)
		return rc;
	if (version && !(version & 0xffff))
		return BAD(c, 4, "a big-endian GGUF file: not supported");
	if (version != 2 && version != 3)
		return BAD(c, 4, "GGUF version %u: only 2 and 3 are supported",
			   version);
	g->version = version;
	rc = take_u64(c, nr_t, "the tensor count");
	return rc ? rc : take_u64(c, nr_kv, "the metadata count");
}

static uint64_t find_split_no(const struct pst_gguf *g, uint64_t first_kv)
{
	static const char key[] = "split.no";
	uint64_t no = UINT64_MAX;

	for (uint64_t i = first_kv; i < g->nr_kv; i++)
		if (g->kvs[i].key.len == sizeof(key) - 1 &&
		    !memcmp(g->kvs[i].key.s, key, sizeof(key) - 1))
			pst_gguf_elem_u64(&g->kvs[i], 0, &no);
	return no;
}

int pst_gguf_parse(struct pst_gguf *g, uint32_t file, uint64_t *split_no,
		   struct pst_diag *diag)
{
	struct cursor c = { .base = g->files[file].map,
			    .size = g->files[file].size_bytes,
			    .path = g->files[file].path,
			    .diag = diag };
	uint64_t first_kv = g->nr_kv, first_t = g->nr_tensors;
	uint64_t nr_t, nr_kv, align;
	int rc = parse_head(&c, g, &nr_t, &nr_kv);

	if (!rc)
		rc = parse_kvs(&c, g, nr_kv);
	if (!rc && nr_t > left(&c) / MIN_TENSOR_BYTES)
		rc = BAD(&c, 8,
			 "header claims %" PRIu64
			 " tensors, the file has %" PRIu64 " bytes",
			 nr_t, c.size);
	for (uint64_t i = 0; !rc && i < nr_t; i++)
		rc = parse_tensor(&c, g, file);
	if (!rc)
		rc = read_alignment(&c, g, first_kv, &align);
	if (!rc)
		rc = place_tensors(&c, g, first_t, align);
	if (!rc)
		*split_no = find_split_no(g, first_kv);
	/* Parts after the first carry only their own split keys. */
	if (file)
		g->nr_kv = first_kv;
	return rc == -ENOMEM ? pst_diag_set(diag, rc, "out of memory") : rc;
}
