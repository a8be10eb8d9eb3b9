// SPDX-License-Identifier: MIT
/*
 * Typed reading of a family's keys: every value is judged before it is used,
 * and a refusal names the key.  Knows types and ranges, no meaning.
 */
#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "model_priv.h"

const char *pst_keys_name(struct pst_keys *r, const char *name)
{
	snprintf(r->key, sizeof(r->key), "%s.%s", r->arch->name, name);
	return r->key;
}

static void fail_as(struct pst_keys *r, int err, const char *what)
{
	if (!r->rc)
		r->rc = pst_diag_set_at(r->diag, err,
					pst_gguf_file(r->g, 0)->path,
					UINT64_MAX, "key %s %s", r->key, what);
}

void pst_keys_fail(struct pst_keys *r, const char *what)
{
	fail_as(r, -EBADMSG, what);
}

void pst_keys_unsupported(struct pst_keys *r, const char *what)
{
	fail_as(r, -ENOTSUP, what);
}

/* Element @i of an array with one per block, or the one value. */
static int read_elem(const struct pst_keys *r, const struct pst_gguf_kv *kv,
		     uint32_t i, uint64_t *out)
{
	if (kv->type != PST_GGUF_ARRAY)
		return kv->type == PST_GGUF_BOOL
			       ? -EINVAL
			       : pst_gguf_elem_u64(kv, 0, out);
	if (!r->n_blocks || kv->count != r->n_blocks ||
	    kv->elem_type == PST_GGUF_BOOL)
		return -EINVAL;
	return pst_gguf_elem_u64(kv, i, out);
}

static bool get_elem(struct pst_keys *r, const struct pst_gguf_kv *kv,
		     uint32_t i, const uint32_t range[2], uint32_t *out)
{
	uint64_t v;

	if (r->rc)
		return false;
	if (read_elem(r, kv, i, &v)) {
		pst_keys_fail(r, "is no unsigned integer (or no array of one "
				 "per block)");
		return false;
	}
	if (v < range[0] || v > range[1]) {
		char what[96];

		snprintf(what, sizeof(what), "= %" PRIu64 " is not in %u..%u",
			 v, range[0], range[1]);
		pst_keys_fail(r, what);
		return false;
	}
	*out = (uint32_t)v;
	return true;
}

bool pst_keys_u32(struct pst_keys *r, const char *name, uint32_t lo,
		  uint32_t hi, uint32_t *out)
{
	const struct pst_gguf_kv *kv;
	uint32_t v, other, range[2] = { lo, hi };

	kv = pst_gguf_find(r->g, pst_keys_name(r, name));
	if (r->rc || !kv || !get_elem(r, kv, 0, range, &v))
		return false;
	for (uint32_t i = 1; kv->type == PST_GGUF_ARRAY && i < kv->count; i++) {
		if (!get_elem(r, kv, i, range, &other))
			return false;
		if (v != other) {
			pst_keys_unsupported(
				r, "differs between blocks: not supported");
			return false;
		}
	}
	*out = v;
	return true;
}

void pst_keys_need_u32(struct pst_keys *r, const char *name, uint32_t lo,
		       uint32_t hi, uint32_t *out)
{
	if (!pst_keys_u32(r, name, lo, hi, out) && !r->rc)
		pst_keys_fail(r, "is missing");
}

bool pst_keys_u32s(struct pst_keys *r, const char *name, uint32_t lo,
		   uint32_t hi, uint32_t *out)
{
	uint32_t all[PST_MAX_LAYERS], range[2] = { lo, hi };
	const struct pst_gguf_kv *kv;

	kv = pst_gguf_find(r->g, pst_keys_name(r, name));
	if (r->rc || !kv)
		return false;
	for (uint32_t i = 0; i < r->n_blocks; i++)
		if (!get_elem(r, kv, i, range, &all[i]))
			return false;
	memcpy(out, all, r->n_blocks * sizeof(*out));
	return true;
}

bool pst_keys_f32(struct pst_keys *r, const char *name, float *out)
{
	float v;
	int rc;

	rc = pst_gguf_get_f32(r->g, pst_keys_name(r, name), &v);
	if (r->rc || rc == -ENOENT)
		return false;
	if (rc || !isfinite(v)) {
		pst_keys_fail(r, "is no finite float");
		return false;
	}
	*out = v;
	return true;
}

bool pst_keys_f32s(struct pst_keys *r, const char *name, float *out)
{
	const struct pst_gguf_kv *kv;

	kv = pst_gguf_find(r->g, pst_keys_name(r, name));
	if (r->rc || !kv)
		return false;
	for (uint32_t i = 0; i < r->n_blocks; i++) {
		bool array = kv->type == PST_GGUF_ARRAY;
		double v;

		if ((array && kv->count != r->n_blocks) ||
		    pst_gguf_elem_f64(kv, array ? i : 0, &v) ||
		    !isfinite((float)v)) {
			pst_keys_fail(r, "is no finite float (or no array of "
					 "one per block)");
			return false;
		}
		out[i] = (float)v;
	}
	return true;
}

bool pst_keys_str(struct pst_keys *r, const char *name, struct pst_str *out)
{
	int rc = pst_gguf_get_str(r->g, pst_keys_name(r, name), out);

	if (rc == -EINVAL)
		pst_keys_fail(r, "is no string");
	return !r->rc && !rc;
}

bool pst_keys_bool(struct pst_keys *r, const char *name, bool *out)
{
	int rc = pst_gguf_get_bool(r->g, pst_keys_name(r, name), out);

	if (rc == -EINVAL)
		pst_keys_fail(r, "is no bool");
	return !r->rc && !rc;
}

bool pst_keys_flags(struct pst_keys *r, const char *name, uint32_t *out)
{
	const struct pst_gguf_kv *kv;

	kv = pst_gguf_find(r->g, pst_keys_name(r, name));
	if (r->rc || !kv)
		return false;
	for (uint32_t i = 0; i < r->n_blocks; i++) {
		uint64_t v;

		if (kv->type != PST_GGUF_ARRAY || kv->count != r->n_blocks ||
		    pst_gguf_elem_u64(kv, i, &v)) {
			pst_keys_fail(r, "is no array of one flag per block");
			return false;
		}
		out[i] = v != 0;
	}
	return true;
}
