// SPDX-License-Identifier: MIT
/*
 * Opening, mapping and closing of a model; the look-up tables of keys and
 * tensor names.  What the bytes mean is gguf_parse.c's business.
 */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include <xxhash.h>

#include "gguf_priv.h"

/* Seeded, so that a file cannot be made whose names all collide. */
static uint64_t hash_str(const struct gguf_hash *h, const char *s, uint64_t len)
{
	return XXH3_64bits_withSeed(s, len, h->seed) & h->mask;
}

static int hash_init(struct gguf_hash *h, uint64_t nr)
{
	uint64_t cap = 16;

	if (nr > UINT32_MAX / 4)
		return -ENOMEM;
	while (cap < nr * 2)
		cap *= 2;
	h->slots = calloc(cap, sizeof(*h->slots));
	if (!h->slots)
		return -ENOMEM;
	h->mask = cap - 1;
	if (getrandom(&h->seed, sizeof(h->seed), GRND_NONBLOCK) < 0)
		h->seed = pst_now_ns();
	return 0;
}

int pst_gguf_add_file(struct pst_gguf *g, char *path, const uint8_t *map,
		      uint64_t size_bytes)
{
	struct pst_gguf_file *f;

	f = reallocarray(g->files, g->nr_files + 1, sizeof(*f));
	if (!f)
		return -ENOMEM;
	g->files = f;
	f[g->nr_files++] = (struct pst_gguf_file){ .path = path,
						   .map = map,
						   .size_bytes = size_bytes,
						   .whole_bytes = size_bytes };
	return 0;
}

static int map_fd(int fd, const char *path, uint8_t **map, uint64_t *size,
		  struct pst_diag *diag)
{
	struct stat st;
	void *p;

	if (fstat(fd, &st))
		return pst_diag_set_at(diag, -errno, path, UINT64_MAX,
				       "cannot stat: %s", strerror(errno));
	if (S_ISDIR(st.st_mode))
		return pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				       "a folder: give the GGUF file, of a "
				       "split model the first");
	if (!S_ISREG(st.st_mode))
		return pst_diag_set_at(diag, -EBADMSG, path, UINT64_MAX,
				       "not a regular file");
	if (st.st_size < 24)
		return pst_diag_set_at(diag, -EBADMSG, path, 0,
				       "truncated: %lld bytes are too few for "
				       "a GGUF header",
				       (long long)st.st_size);
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_SHARED, fd, 0);
	if (p == MAP_FAILED)
		return pst_diag_set_at(diag, -errno, path, UINT64_MAX,
				       "cannot map: %s", strerror(errno));
	*map = p;
	*size = (uint64_t)st.st_size;
	return 0;
}

int pst_gguf_map_file(struct pst_gguf *g, const char *path,
		      struct pst_diag *diag)
{
	uint64_t size = 0;
	uint8_t *map = NULL;
	char *copy;
	int fd, rc;

	/* Non-blocking: a FIFO is refused below instead of waited for. */
	fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	if (fd < 0)
		return pst_diag_set_at(diag, -errno, path, UINT64_MAX,
				       "cannot open: %s", strerror(errno));
	rc = map_fd(fd, path, &map, &size, diag);
	close(fd);
	if (rc)
		return rc;
	copy = strdup(path);
	if (copy && !pst_gguf_add_file(g, copy, map, size))
		return 0;
	free(copy);
	munmap(map, (size_t)size);
	return pst_diag_set(diag, -ENOMEM, "out of memory");
}

static int index_keys(struct pst_gguf *g, struct pst_diag *diag)
{
	int rc = hash_init(&g->by_key, g->nr_kv);

	if (rc)
		return pst_diag_set(diag, rc, "out of memory");
	for (uint64_t i = 0; i < g->nr_kv; i++) {
		const struct pst_str *k = &g->kvs[i].key;
		uint64_t at = hash_str(&g->by_key, k->s, k->len);

		while (g->by_key.slots[at]) {
			const struct pst_str *o =
				&g->kvs[g->by_key.slots[at] - 1].key;

			if (o->len == k->len && !memcmp(o->s, k->s, k->len))
				return pst_diag_set_at(
					diag, -EBADMSG, g->files[0].path,
					UINT64_MAX, "key '%.*s' appears twice",
					(int)PST_MIN(k->len, 100), k->s);
			at = (at + 1) & g->by_key.mask;
		}
		g->by_key.slots[at] = (uint32_t)i + 1;
	}
	return 0;
}

static int index_names(struct pst_gguf *g, struct pst_diag *diag)
{
	int rc = hash_init(&g->by_name, g->nr_tensors);

	if (rc)
		return pst_diag_set(diag, rc, "out of memory");
	for (uint64_t i = 0; i < g->nr_tensors; i++) {
		const char *n = g->tensors[i].name;
		uint64_t at = hash_str(&g->by_name, n, strlen(n));

		while (g->by_name.slots[at]) {
			if (!strcmp(g->tensors[g->by_name.slots[at] - 1].name,
				    n))
				return pst_diag_set_at(
					diag, -EBADMSG,
					g->files[g->tensors[i].file].path,
					UINT64_MAX, "tensor '%s' appears twice",
					n);
			at = (at + 1) & g->by_name.mask;
		}
		g->by_name.slots[at] = (uint32_t)i + 1;
	}
	return 0;
}

static int by_place(const void *a, const void *b)
{
	const struct pst_gguf_tensor *x = *(struct pst_gguf_tensor *const *)a;
	const struct pst_gguf_tensor *y = *(struct pst_gguf_tensor *const *)b;

	if (x->file != y->file)
		return x->file < y->file ? -1 : 1;
	if (x->off_bytes != y->off_bytes)
		return x->off_bytes < y->off_bytes ? -1 : 1;
	return 0;
}

static int check_overlap(struct pst_gguf *g, struct pst_diag *diag)
{
	struct pst_gguf_tensor **order;
	int rc = 0;

	order = pst_calloc(g->nr_tensors, sizeof(*order));
	if (!order)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	for (uint64_t i = 0; i < g->nr_tensors; i++)
		order[i] = &g->tensors[i];
	qsort(order, g->nr_tensors, sizeof(*order), by_place);
	for (uint64_t i = 1; !rc && i < g->nr_tensors; i++) {
		const struct pst_gguf_tensor *a = order[i - 1], *b = order[i];

		if (a->file == b->file &&
		    a->off_bytes + a->size_bytes > b->off_bytes)
			rc = pst_diag_set_at(diag, -EBADMSG,
					     g->files[a->file].path,
					     b->off_bytes,
					     "tensors '%s' and '%s' overlap",
					     a->name, b->name);
	}
	free(order);
	return rc;
}

static int build(struct pst_gguf *g, struct pst_diag *diag)
{
	uint64_t split_no;
	int rc = pst_gguf_parse(g, 0, &split_no, diag);

	if (!rc)
		rc = index_keys(g, diag);
	if (!rc)
		rc = pst_gguf_open_parts(g, split_no, diag);
	if (!rc)
		rc = index_names(g, diag);
	return rc ? rc : check_overlap(g, diag);
}

static int open_path(const char *path, bool header_only, struct pst_gguf **out,
		     struct pst_diag *diag)
{
	struct pst_gguf *g = calloc(1, sizeof(*g));
	int rc;

	if (!g)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	g->owns_maps = true;
	g->header_only = header_only;
	rc = pst_gguf_map_file(g, path, diag);
	if (!rc)
		rc = build(g, diag);
	if (rc) {
		pst_gguf_close(g);
		return rc;
	}
	*out = g;
	return 0;
}

int pst_gguf_open(const char *path, struct pst_gguf **out,
		  struct pst_diag *diag)
{
	return open_path(path, false, out, diag);
}

int pst_gguf_open_header(const char *path, struct pst_gguf **out,
			 struct pst_diag *diag)
{
	return open_path(path, true, out, diag);
}

int pst_gguf_open_mem(const uint8_t *bytes, uint64_t size_bytes,
		      struct pst_gguf **out, struct pst_diag *diag)
{
	struct pst_gguf *g = calloc(1, sizeof(*g));
	char *path = strdup("(memory)");
	int rc = -ENOMEM;

	if (g && path)
		rc = pst_gguf_add_file(g, path, bytes, size_bytes);
	if (rc) {
		free(path);
		free(g);
		return pst_diag_set(diag, rc, "out of memory");
	}
	rc = build(g, diag);
	if (rc) {
		pst_gguf_close(g);
		return rc;
	}
	*out = g;
	return 0;
}

void pst_gguf_close(struct pst_gguf *g)
{
	if (!g)
		return;
	for (uint32_t i = 0; i < g->nr_files; i++) {
		if (g->owns_maps)
			munmap((void *)(uintptr_t)g->files[i].map,
			       (size_t)g->files[i].size_bytes);
		free(g->files[i].path);
	}
	free(g->files);
	free(g->kvs);
	free(g->tensors);
	free(g->by_key.slots);
	free(g->by_name.slots);
	free(g);
}

void pst_gguf_drop_pages(const struct pst_gguf *g)
{
	for (uint32_t i = 0; g->owns_maps && i < g->nr_files; i++)
		madvise((void *)(uintptr_t)g->files[i].map,
			(size_t)g->files[i].size_bytes, MADV_DONTNEED);
}

bool pst_gguf_begins(const char *path)
{
	char magic[4] = "";
	/* To open a pipe would be to wait for its other end. */
	int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
	bool yes = fd >= 0 &&
		   pread(fd, magic, sizeof(magic), 0) == sizeof(magic) &&
		   !memcmp(magic, PST_GGUF_MAGIC, sizeof(magic));

	if (fd >= 0)
		close(fd);
	return yes;
}

uint32_t pst_gguf_version(const struct pst_gguf *g)
{
	return g->version;
}

uint32_t pst_gguf_nr_files(const struct pst_gguf *g)
{
	return g->nr_files;
}

uint64_t pst_gguf_files_bytes(const struct pst_gguf *g)
{
	uint64_t sum = 0;

	for (uint32_t i = 0; i < g->nr_files; i++)
		sum += g->files[i].size_bytes;
	return sum;
}

const struct pst_gguf_file *pst_gguf_file(const struct pst_gguf *g, uint32_t i)
{
	return &g->files[i];
}

uint64_t pst_gguf_nr_kv(const struct pst_gguf *g)
{
	return g->nr_kv;
}

const struct pst_gguf_kv *pst_gguf_kv(const struct pst_gguf *g, uint64_t i)
{
	return &g->kvs[i];
}

uint64_t pst_gguf_nr_tensors(const struct pst_gguf *g)
{
	return g->nr_tensors;
}

const struct pst_gguf_tensor *pst_gguf_tensor(const struct pst_gguf *g,
					      uint64_t i)
{
	return &g->tensors[i];
}

const struct pst_gguf_kv *pst_gguf_find(const struct pst_gguf *g,
					const char *key)
{
	uint64_t len = strlen(key);
	uint64_t at = hash_str(&g->by_key, key, len);

	for (; g->by_key.slots[at]; at = (at + 1) & g->by_key.mask) {
		const struct pst_gguf_kv *kv = &g->kvs[g->by_key.slots[at] - 1];

		if (kv->key.len == len && !memcmp(kv->key.s, key, len))
			return kv;
	}
	return NULL;
}

const struct pst_gguf_tensor *pst_gguf_find_tensor(const struct pst_gguf *g,
						   const char *name)
{
	uint64_t at = hash_str(&g->by_name, name, strlen(name));

	for (; g->by_name.slots[at]; at = (at + 1) & g->by_name.mask) {
		const struct pst_gguf_tensor *t =
			&g->tensors[g->by_name.slots[at] - 1];

		if (!strcmp(t->name, name))
			return t;
	}
	return NULL;
}

const uint8_t *pst_gguf_tensor_data(const struct pst_gguf *g,
				    const struct pst_gguf_tensor *t)
{
	return g->files[t->file].map + t->off_bytes;
}
