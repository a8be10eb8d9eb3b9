// SPDX-License-Identifier: MIT
/*
 * See gguf_builder.h.  Knows the byte layout of GGUF versions 2 and 3, not
 * what is allowed in it.
 */
#include <stdlib.h>
#include <string.h>

#include "gguf_builder.h"

#define GGUF_VERSION 3u
#define GGUF_ALIGN   32u

static void put(struct gb_buf *b, const void *p, size_t n)
{
	if (b->nr + n > b->cap) {
		b->cap = 2 * (b->nr + n) + 256;
		b->bytes = realloc(b->bytes, b->cap);
		if (!b->bytes)
			abort();
	}
	if (n && p)
		memcpy(b->bytes + b->nr, p, n);
	else if (n)
		memset(b->bytes + b->nr, 0, n);
	b->nr += n;
}

static void put_u32(struct gb_buf *b, uint32_t v)
{
	put(b, &v, sizeof(v));
}

static void put_u64(struct gb_buf *b, uint64_t v)
{
	put(b, &v, sizeof(v));
}

static void put_str(struct gb_buf *b, const char *s)
{
	put_u64(b, strlen(s));
	put(b, s, strlen(s));
}

static void pad(struct gb_buf *b, size_t align)
{
	put(b, NULL, (align - b->nr % align) % align);
}

void gb_init(struct gguf_builder *b)
{
	memset(b, 0, sizeof(*b));
}

void gb_fini(struct gguf_builder *b)
{
	free(b->kv.bytes);
	free(b->infos.bytes);
	free(b->data.bytes);
	gb_init(b);
}

void gb_value(struct gguf_builder *b, const char *key, uint32_t type,
	      const void *bytes, size_t size)
{
	put_str(&b->kv, key);
	put_u32(&b->kv, type);
	put(&b->kv, bytes, size);
	b->nr_kv++;
}

void gb_array(struct gguf_builder *b, const char *key, uint32_t elem_type,
	      uint64_t nr, const void *bytes, size_t size)
{
	gb_value(b, key, PST_GGUF_ARRAY, &elem_type, sizeof(elem_type));
	put_u64(&b->kv, nr);
	put(&b->kv, bytes, size);
}

void gb_str(struct gguf_builder *b, const char *key, const char *value)
{
	gb_value(b, key, PST_GGUF_STRING, NULL, 0);
	put_str(&b->kv, value);
}

void gb_u32(struct gguf_builder *b, const char *key, uint32_t value)
{
	gb_value(b, key, PST_GGUF_U32, &value, sizeof(value));
}

void gb_i32(struct gguf_builder *b, const char *key, int32_t value)
{
	gb_value(b, key, PST_GGUF_I32, &value, sizeof(value));
}

void gb_bool(struct gguf_builder *b, const char *key, bool value)
{
	uint8_t byte = value;

	gb_value(b, key, PST_GGUF_BOOL, &byte, 1);
}

void gb_f32(struct gguf_builder *b, const char *key, float value)
{
	gb_value(b, key, PST_GGUF_F32, &value, sizeof(value));
}

void gb_strs(struct gguf_builder *b, const char *key, const char *const *values,
	     size_t nr)
{
	gb_array(b, key, PST_GGUF_STRING, nr, NULL, 0);
	for (size_t i = 0; i < nr; i++)
		put_str(&b->kv, values[i]);
}

void gb_i32s(struct gguf_builder *b, const char *key, const int32_t *values,
	     size_t nr)
{
	gb_array(b, key, PST_GGUF_I32, nr, values, nr * sizeof(*values));
}

void gb_f32s(struct gguf_builder *b, const char *key, const float *values,
	     size_t nr)
{
	gb_array(b, key, PST_GGUF_F32, nr, values, nr * sizeof(*values));
}

void gb_raw_kv(struct gguf_builder *b, const void *bytes, size_t size)
{
	put(&b->kv, bytes, size);
}

void gb_raw_info(struct gguf_builder *b, const void *bytes, size_t size)
{
	put(&b->infos, bytes, size);
}

void gb_tensor_info(struct gguf_builder *b, const struct gb_tensor *t)
{
	put_str(&b->infos, t->name);
	put_u32(&b->infos, t->nr_dims);
	for (uint32_t d = 0; d < t->nr_dims && d < PST_ARRAY_SIZE(t->ne); d++)
		put_u64(&b->infos, t->ne[d]);
	put_u32(&b->infos, t->type);
	put_u64(&b->infos, t->off_bytes);
	b->nr_tensors++;
}

void gb_tensor(struct gguf_builder *b, const struct gb_tensor *t,
	       const void *bytes, size_t size)
{
	struct gb_tensor placed = *t;

	pad(&b->data, b->align ? b->align : GGUF_ALIGN);
	placed.off_bytes = b->data.nr;
	gb_tensor_info(b, &placed);
	put(&b->data, bytes, size);
}

uint8_t *gb_finish(struct gguf_builder *b, size_t *size)
{
	struct gb_buf file = { 0 };
	uint8_t *exact;

	put(&file, "GGUF", 4);
	put_u32(&file, b->version ? b->version : GGUF_VERSION);
	put_u64(&file, b->nr_tensors);
	put_u64(&file, b->nr_kv);
	put(&file, b->kv.bytes, b->kv.nr);
	put(&file, b->infos.bytes, b->infos.nr);
	if (b->nr_tensors)
		pad(&file, b->align ? b->align : GGUF_ALIGN);
	put(&file, b->data.bytes, b->data.nr);
	gb_fini(b);
	*size = file.nr;
	exact = malloc(file.nr);
	if (!exact)
		abort();
	memcpy(exact, file.bytes, file.nr);
	free(file.bytes);
	return exact;
}
