// SPDX-License-Identifier: MIT
/*
 * Typed access to metadata: integers of any width, floats, bools, strings.
 * The pairs have been validated; only types and ranges are judged here.
 */
#include <errno.h>
#include <string.h>

#include "gguf_priv.h"

struct number {
	enum {
		NUM_UNSIGNED,
		NUM_SIGNED,
		NUM_FLOAT
	} kind;
	uint64_t u;
	int64_t i;
	double f;
};

#define LOAD(kind_, field, ctype)           \
	do {                                \
		ctype v_;                   \
		memcpy(&v_, p, sizeof(v_)); \
		out->kind = kind_;          \
		out->field = v_;            \
	} while (0)

static int load(const struct pst_gguf_kv *kv, uint64_t i, struct number *out)
{
	uint32_t width = pst_gguf_vtype_bytes(kv->elem_type);
	const uint8_t *p = kv->data + i * width;

	if (i >= kv->count)
		return -ERANGE;
	switch (kv->elem_type) {
	case PST_GGUF_U8:
	case PST_GGUF_BOOL:
		LOAD(NUM_UNSIGNED, u, uint8_t);
		return 0;
	case PST_GGUF_U16:
		LOAD(NUM_UNSIGNED, u, uint16_t);
		return 0;
	case PST_GGUF_U32:
		LOAD(NUM_UNSIGNED, u, uint32_t);
		return 0;
	case PST_GGUF_U64:
		LOAD(NUM_UNSIGNED, u, uint64_t);
		return 0;
	case PST_GGUF_I8:
		LOAD(NUM_SIGNED, i, int8_t);
		return 0;
	case PST_GGUF_I16:
		LOAD(NUM_SIGNED, i, int16_t);
		return 0;
	case PST_GGUF_I32:
		LOAD(NUM_SIGNED, i, int32_t);
		return 0;
	case PST_GGUF_I64:
		LOAD(NUM_SIGNED, i, int64_t);
		return 0;
	case PST_GGUF_F32:
		LOAD(NUM_FLOAT, f, float);
		return 0;
	case PST_GGUF_F64:
		LOAD(NUM_FLOAT, f, double);
		return 0;
	default:
		return -EINVAL;
	}
}

int pst_gguf_elem_u64(const struct pst_gguf_kv *kv, uint64_t i, uint64_t *out)
{
	struct number n;
	int rc = load(kv, i, &n);

	if (rc)
		return rc;
	if (n.kind == NUM_FLOAT || (n.kind == NUM_SIGNED && n.i < 0))
		return -EINVAL;
	*out = n.kind == NUM_SIGNED ? (uint64_t)n.i : n.u;
	return 0;
}

int pst_gguf_elem_i64(const struct pst_gguf_kv *kv, uint64_t i, int64_t *out)
{
	struct number n;
	int rc = load(kv, i, &n);

	if (rc)
		return rc;
	if (n.kind == NUM_FLOAT || (n.kind == NUM_UNSIGNED && n.u > INT64_MAX))
		return -EINVAL;
	*out = n.kind == NUM_SIGNED ? n.i : (int64_t)n.u;
	return 0;
}

int pst_gguf_elem_f64(const struct pst_gguf_kv *kv, uint64_t i, double *out)
{
	struct number n;
	int rc = load(kv, i, &n);

	if (rc)
		return rc;
	if (n.kind != NUM_FLOAT)
		return -EINVAL;
	*out = n.f;
	return 0;
}

static const struct pst_gguf_kv *find_scalar(const struct pst_gguf *g,
					     const char *key, int *rc)
{
	const struct pst_gguf_kv *kv = pst_gguf_find(g, key);

	*rc = !kv ? -ENOENT : kv->type == PST_GGUF_ARRAY ? -EINVAL : 0;
	return kv;
}

int pst_gguf_get_u64(const struct pst_gguf *g, const char *key, uint64_t *out)
{
	int rc;
	const struct pst_gguf_kv *kv = find_scalar(g, key, &rc);

	if (!rc && kv->type == PST_GGUF_BOOL)
		return -EINVAL;
	return rc ? rc : pst_gguf_elem_u64(kv, 0, out);
}

int pst_gguf_get_f32(const struct pst_gguf *g, const char *key, float *out)
{
	double v;
	int rc;
	const struct pst_gguf_kv *kv = find_scalar(g, key, &rc);

	if (!rc)
		rc = pst_gguf_elem_f64(kv, 0, &v);
	if (!rc)
		*out = (float)v;
	return rc;
}

int pst_gguf_get_bool(const struct pst_gguf *g, const char *key, bool *out)
{
	int rc;
	const struct pst_gguf_kv *kv = find_scalar(g, key, &rc);

	if (rc)
		return rc;
	if (kv->type != PST_GGUF_BOOL)
		return -EINVAL;
	*out = *kv->data != 0;
	return 0;
}

int pst_gguf_get_str(const struct pst_gguf *g, const char *key,
		     struct pst_str *out)
{
	int rc;
	const struct pst_gguf_kv *kv = find_scalar(g, key, &rc);

	if (rc)
		return rc;
	if (kv->type != PST_GGUF_STRING)
		return -EINVAL;
	memcpy(&out->len, kv->data, 8);
	out->s = (const char *)kv->data + 8;
	return 0;
}

int pst_gguf_strings_init(struct pst_gguf_strings *it,
			  const struct pst_gguf_kv *kv)
{
	if (kv->type != PST_GGUF_ARRAY || kv->elem_type != PST_GGUF_STRING)
		return -EINVAL;
	it->pos = kv->data;
	it->left = kv->count;
	return 0;
}

bool pst_gguf_strings_next(struct pst_gguf_strings *it, struct pst_str *out)
{
	if (!it->left)
		return false;
	memcpy(&out->len, it->pos, 8);
	out->s = (const char *)it->pos + 8;
	it->pos += 8 + out->len;
	it->left--;
	return true;
}
