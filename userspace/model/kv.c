// SPDX-License-Identifier: MIT
/*
 * The memory of a sequence, laid out per block: all positions, or for a block
 * with a window the last ones in a buffer that holds a window and a batch.
 * When that is full, the positions that are still looked at move to its front:
 * they stay in order and in one piece, so that a pass reads the same numbers
 * in the same order whatever the buffer's size.
 *
 * A state, which every token changes as a whole, lies here in copies: a pass
 * reads one and writes another, so that it can fail; the third is where the
 * sequence can be taken back to.  Copies change roles, nothing is moved.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "forward.h"
#include "model_priv.h"

/* A block of the format: a half-precision scale and as many bytes. */
enum {
	Q8_0_NUMBERS = 32,
	Q8_0_BYTES = 34
};

/* Positions that a block must hold. */
static uint32_t positions(const struct pst_kv_shape *s,
			  const struct pst_kv_args *args)
{
	uint64_t n;

	if (!s->window)
		return args->n_ctx;
	/* A window's worth of free space: a move is paid by as many tokens. */
	n = (uint64_t)s->window - 1 + PST_MAX(args->n_batch, s->window);
	return (uint32_t)PST_MIN(n, (uint64_t)args->n_ctx);
}

size_t pst_kv_row_bytes(enum pst_kv_type type, uint32_t stream, uint32_t width)
{
	switch (pst_kv_stream_type(type, stream)) {
	case PST_KV_F32:
		return (size_t)width * 4;
	case PST_KV_F16:
		return (size_t)width * 2;
	case PST_KV_Q8_0:
		break;
	}
	return (size_t)width / Q8_0_NUMBERS * Q8_0_BYTES;
}

int pst_kv_check(const struct pst_hparams *hp, enum pst_kv_type type,
		 struct pst_diag *diag)
{
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		struct pst_kv_shape s = { 0 };

		hp->layer[i].mixer->shape(hp, i, &s);
		for (uint32_t j = 0; j < PST_KV_STREAMS; j++)
			if (pst_kv_stream_type(type, j) == PST_KV_Q8_0 &&
			    s.width[j] % Q8_0_NUMBERS)
				return pst_diag_set(
					diag, -EINVAL,
					"keys and values cannot be kept in "
					"Q8_0: a row of block %u has %u "
					"numbers, which is no multiple of "
					"%d: take --kv-type f16",
					i, s.width[j], Q8_0_NUMBERS);
	}
	return 0;
}

static bool has_steps(const struct pst_kv_shape *s, uint32_t stream)
{
	return s->step[stream] > 1;
}

/* Rows of a stream in @n positions; only whole runs of them have one. */
static uint32_t rows_in(const struct pst_kv_shape *s, uint32_t stream,
			uint32_t n)
{
	return has_steps(s, stream) ? n / s->step[stream] : n;
}

static uint64_t copy_bytes(const struct pst_kv_layer *l)
{
	return pst_align_up((uint64_t)l->shape.state * sizeof(float), 64);
}

/* Places a block's streams and state from *at on; false when that overflows. */
static bool place(const struct pst_kv_args *args, struct pst_kv_layer *l,
		  uint64_t *at)
{
	l->cap = positions(&l->shape, args);
	for (uint32_t i = 0; i < PST_KV_STREAMS; i++) {
		uint64_t v = pst_kv_row_bytes(args->type, i, l->shape.width[i]);
		uint64_t rows = has_steps(&l->shape, i)
					? rows_in(&l->shape, i, args->n_ctx)
					: l->cap;

		l->off_bytes[i] = *at;
		if (!pst_mul_u64(v, l->shape.heads[i] * rows, &v) ||
		    v > INT64_MAX / 8)
			return false;
		*at += pst_align_up(v, 64);
		if (*at > INT64_MAX / 4)
			return false;
	}
	l->state_off_bytes = *at;
	*at += PST_KV_COPIES * copy_bytes(l);
	return *at <= INT64_MAX / 4;
}

static bool place_layer(const struct pst_hparams *hp,
			const struct pst_kv_args *args, uint32_t layer,
			struct pst_kv_layer *l, uint64_t *at)
{
	hp->layer[layer].mixer->shape(hp, layer, &l->shape);
	return place(args, l, at);
}

uint64_t pst_kv_bytes(const struct pst_hparams *hp,
		      const struct pst_kv_args *args)
{
	uint64_t at = 0;

	for (uint32_t i = 0; i < hp->n_layers; i++) {
		struct pst_kv_layer l = { 0 };

		if (!place_layer(hp, args, i, &l, &at))
			return UINT64_MAX;
	}
	return at;
}

/* Rows of a stream that a token after @depth others looks at. */
static uint32_t rows_looked_at(const struct pst_kv_shape *s, uint32_t stream,
			       uint32_t depth)
{
	uint32_t rows = rows_in(s, stream, depth);

	if (s->window && !has_steps(s, stream))
		rows = PST_MIN(rows, s->window);
	if (s->most[stream])
		rows = PST_MIN(rows, s->most[stream]);
	return rows;
}

uint64_t pst_kv_read_bytes(const struct pst_hparams *hp, enum pst_kv_type type,
			   uint32_t layer, uint32_t depth)
{
	struct pst_kv_shape s = { 0 };
	uint64_t n = 0;

	hp->layer[layer].mixer->shape(hp, layer, &s);
	for (uint32_t i = 0; i < PST_KV_STREAMS; i++)
		n += (uint64_t)s.heads[i] * rows_looked_at(&s, i, depth) *
		     pst_kv_row_bytes(type, i, s.width[i]);
	return n + 2 * (uint64_t)s.state * sizeof(float);
}

uint64_t pst_kv_read_macs(const struct pst_hparams *hp, uint32_t layer,
			  uint32_t depth)
{
	struct pst_kv_shape s = { 0 };
	uint64_t n = 0;

	hp->layer[layer].mixer->shape(hp, layer, &s);
	for (uint32_t i = 0; i < PST_KV_STREAMS; i++)
		if (s.heads[i])
			n += (uint64_t)rows_looked_at(&s, i, depth) *
			     s.width[i];
	return n * hp->layer[layer].n_head;
}

uint64_t pst_kv_position_bytes(const struct pst_hparams *hp,
			       enum pst_kv_type type, uint32_t layer)
{
	struct pst_kv_shape s = { 0 };
	uint64_t bytes = 0;

	hp->layer[layer].mixer->shape(hp, layer, &s);
	for (uint32_t i = 0; i < PST_KV_STREAMS; i++)
		bytes += (uint64_t)s.heads[i] *
			 pst_kv_row_bytes(type, i, s.width[i]) /
			 PST_MAX(s.step[i], 1);
	return bytes;
}

int pst_kv_init(struct pst_kv *kv, const struct pst_hparams *hp,
		const struct pst_kv_args *args, struct pst_diag *diag)
{
	struct pst_mem_args want = { .size_bytes = pst_kv_bytes(hp, args),
				     .want = args->huge,
				     .node = args->node };
	uint64_t at = 0;
	int rc;

	memset(kv, 0, sizeof(*kv));
	kv->type = args->type;
	kv->n_ctx = args->n_ctx;
	kv->nr_layers = hp->n_layers;
	kv->layers = pst_calloc(hp->n_layers, sizeof(*kv->layers));
	if (!kv->layers)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	rc = pst_mem_map(&want, &kv->mem, diag);
	if (rc) {
		pst_kv_fini(kv);
		return rc;
	}
	for (uint32_t i = 0; i < hp->n_layers; i++) {
		place_layer(hp, args, i, &kv->layers[i], &at);
		kv->has_state |= kv->layers[i].shape.state != 0;
	}
	/* New memory is zero: the first copy is the state before any token. */
	for (uint32_t c = 1; c < PST_KV_COPIES; c++)
		kv->copy_pos[c] = PST_KV_NOTHING;
	return 0;
}

void pst_kv_fini(struct pst_kv *kv)
{
	pst_mem_unmap(&kv->mem);
	free(kv->layers);
	kv->layers = NULL;
}

/* The oldest position that a token at @pos looks at. */
static uint32_t oldest(const struct pst_kv_layer *l, uint32_t pos)
{
	uint32_t back = l->shape.window - 1;

	return l->shape.window && pos > back ? pos - back : 0;
}

static float *copy_of(const struct pst_kv *kv, uint32_t layer, uint32_t copy)
{
	const struct pst_kv_layer *l = &kv->layers[layer];

	return (float *)(void *)((uint8_t *)kv->mem.addr + l->state_off_bytes +
				 copy * copy_bytes(l));
}

/* A copy with neither role; there is one, since there are three. */
static uint32_t spare_copy(uint32_t a, uint32_t b)
{
	uint32_t c = 0;

	while (c == a || c == b)
		c++;
	return c;
}

/* The state before any token. */
static uint32_t blank_copy(struct pst_kv *kv)
{
	uint32_t c = spare_copy(kv->now, kv->now);

	for (uint32_t i = 0; i < kv->nr_layers; i++)
		memset(copy_of(kv, i, c), 0, copy_bytes(&kv->layers[i]));
	kv->copy_pos[c] = 0;
	return c;
}

/* The longest beginning of at most @n tokens that a copy has seen. */
static uint32_t known_before(const struct pst_kv *kv, uint32_t n)
{
	uint32_t most = 0;

	if (!kv->has_state)
		return n;
	for (uint32_t c = 0; c < PST_KV_COPIES; c++)
		if (kv->copy_pos[c] <= n)
			most = PST_MAX(most, kv->copy_pos[c]);
	return most;
}

/* The state is that after @n tokens: known_before() gave them. */
static void state_back(struct pst_kv *kv, uint32_t n)
{
	uint32_t c = 0;

	while (c < PST_KV_COPIES && kv->copy_pos[c] != n)
		c++;
	kv->now = c < PST_KV_COPIES ? c : blank_copy(kv);
	for (c = 0; c < PST_KV_COPIES; c++)
		if (kv->copy_pos[c] > n)
			kv->copy_pos[c] = PST_KV_NOTHING;
	if (kv->copy_pos[kv->kept] == PST_KV_NOTHING)
		kv->kept = kv->now;
}

uint32_t pst_kv_truncate(struct pst_kv *kv, uint32_t n)
{
	if (n >= kv->n_used)
		return kv->n_used;
	n = known_before(kv, n);
	for (uint32_t i = 0; i < kv->nr_layers; i++)
		if (kv->layers[i].base > oldest(&kv->layers[i], n))
			n = 0;
	for (uint32_t i = 0; !n && i < kv->nr_layers; i++)
		kv->layers[i].base = 0;
	if (kv->has_state)
		state_back(kv, n);
	kv->n_used = n;
	return n;
}

void pst_kv_keep(struct pst_kv *kv)
{
	kv->kept = kv->now;
}

float *pst_kv_state(const struct pst_kv *kv, uint32_t layer,
		    enum pst_kv_copy copy)
{
	switch (copy) {
	case PST_KV_BEFORE:
		return copy_of(kv, layer, kv->now);
	case PST_KV_AFTER:
		return copy_of(kv, layer, kv->next);
	case PST_KV_MIDDLE:
		break;
	}
	return kv->keep ? copy_of(kv, layer, kv->middle) : NULL;
}

uint8_t *pst_kv_at(const struct pst_kv *kv, uint32_t layer, uint32_t stream,
		   uint32_t head, uint32_t pos)
{
	const struct pst_kv_layer *l = &kv->layers[layer];
	uint64_t row = (uint64_t)head * l->cap + (pos - l->base);

	if (has_steps(&l->shape, stream))
		row = (uint64_t)head * rows_in(&l->shape, stream, kv->n_ctx) +
		      rows_in(&l->shape, stream, pos);

	return (uint8_t *)kv->mem.addr + l->off_bytes[stream] +
	       row * pst_kv_row_bytes(kv->type, stream, l->shape.width[stream]);
}

/* Drops the positions before @base. */
static void move_layer(struct pst_kv *kv, uint32_t layer, uint32_t base)
{
	struct pst_kv_layer *l = &kv->layers[layer];
	uint64_t rows = kv->n_used - base;

	for (uint32_t s = 0; s < PST_KV_STREAMS; s++) {
		uint64_t bytes =
			rows * pst_kv_row_bytes(kv->type, s, l->shape.width[s]);
		uint32_t heads = has_steps(&l->shape, s) ? 0
							 : l->shape.heads[s];

		for (uint32_t h = 0; h < heads; h++)
			memmove(pst_kv_at(kv, layer, s, h, l->base),
				pst_kv_at(kv, layer, s, h, base), bytes);
	}
	l->base = base;
}

static void make_room(struct pst_kv *kv, uint32_t n)
{
	for (uint32_t i = 0; i < kv->nr_layers; i++) {
		struct pst_kv_layer *l = &kv->layers[i];

		if (kv->n_used + n - l->base > l->cap)
			move_layer(kv, i, oldest(l, kv->n_used));
	}
}

void pst_kv_begin(struct pst_kv *kv, uint32_t n, uint32_t keep)
{
	make_room(kv, n);
	kv->keep = 0;
	if (!kv->has_state)
		return;
	kv->next = spare_copy(kv->now, keep ? kv->now : kv->kept);
	kv->copy_pos[kv->next] = PST_KV_NOTHING;
	if (keep)
		kv->kept = kv->next;
	if (!keep || keep == n)
		return;
	kv->keep = keep;
	kv->middle = spare_copy(kv->now, kv->next);
	kv->copy_pos[kv->middle] = PST_KV_NOTHING;
	kv->kept = kv->middle;
}

void pst_kv_commit(struct pst_kv *kv, uint32_t n)
{
	if (kv->has_state) {
		if (kv->keep)
			kv->copy_pos[kv->middle] = kv->n_used + kv->keep;
		kv->copy_pos[kv->next] = kv->n_used + n;
		kv->now = kv->next;
	}
	kv->n_used += n;
}
