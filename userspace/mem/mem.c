// SPDX-License-Identifier: MIT
/*
 * Regions and the pools that they come from: checks what is asked for and hands
 * it to the source.  Knows no source by more than its row here.
 */
#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "mem_priv.h"

static const struct {
	const char *name;
	const struct pst_mem_ops *ops;
} sources[PST_MEM_NR_SOURCES] = {
	[PST_MEM_SOURCE_AUTO] = { "auto", &pst_mem_anon_ops },
	[PST_MEM_SOURCE_ANON] = { "anon", &pst_mem_anon_ops },
	[PST_MEM_SOURCE_UDMABUF] = { "udmabuf", &pst_mem_udmabuf_ops },
	[PST_MEM_SOURCE_KMOD] = { "kmod", &pst_mem_kmod_ops },
};

static const struct pst_mem_ops *ops_of(const struct pst_mem *m)
{
	return m->pool ? m->pool->ops : &pst_mem_anon_ops;
}

const char *pst_mem_source_name(enum pst_mem_source source)
{
	return source < PST_MEM_NR_SOURCES ? sources[source].name : NULL;
}

void pst_mem_offer_read(enum pst_mem_source source, struct pst_mem_offer *out)
{
	memset(out, 0, sizeof(*out));
	sources[source].ops->offer(out);
}

static int check_name(enum pst_mem_source source, const char *name,
		      struct pst_diag *diag)
{
	static const char letters[] = "abcdefghijklmnopqrstuvwxyz"
				      "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
				      "0123456789._-";

	if (!name)
		return 0;
	if (!sources[source].ops->take)
		return pst_diag_set(diag, -EINVAL,
				    "a pool with a name outlives the process, "
				    "which only the kernel module's can: use "
				    "--pool kmod");
	if (!*name || name[strspn(name, letters)] ||
	    strlen(name) >= sizeof(((struct pst_mem_pool *)0)->name))
		return pst_diag_set(diag, -EINVAL,
				    "the name of a pool is made of 1 to 63 "
				    "letters, digits, '.', '_' and '-'");
	return 0;
}

int pst_mem_pool_open(enum pst_mem_source source, const char *name,
		      struct pst_mem_pool **out, struct pst_diag *diag)
{
	struct pst_mem_pool *p;
	int ret;

	if (source == PST_MEM_SOURCE_AUTO)
		source = name ? PST_MEM_SOURCE_KMOD : PST_MEM_SOURCE_ANON;
	ret = check_name(source, name, diag);
	if (ret)
		return ret;
	p = calloc(1, sizeof(*p));
	if (!p)
		return pst_diag_set(diag, -ENOMEM, "out of memory");
	p->source = source;
	p->ops = sources[source].ops;
	p->device = -1;
	p->room_bytes = UINT64_MAX;
	p->fd = -1;
	if (name)
		strcpy(p->name, name);
	ret = p->ops->open ? p->ops->open(p, diag) : 0;
	if (ret) {
		free(p);
		return ret;
	}
	*out = p;
	return 0;
}

void pst_mem_pool_close(struct pst_mem_pool *p)
{
	if (!p)
		return;
	if (p->ops->close)
		p->ops->close(p);
	free(p);
}

enum pst_mem_source pst_mem_pool_source(const struct pst_mem_pool *p)
{
	return p ? p->source : PST_MEM_SOURCE_ANON;
}

bool pst_mem_pool_named(const struct pst_mem_pool *p)
{
	return p && p->name[0];
}

uint64_t pst_mem_pool_held(const struct pst_mem_pool *p)
{
	return p ? p->held_bytes : 0;
}

uint64_t pst_mem_pool_room(const struct pst_mem_pool *p)
{
	return p ? p->room_bytes : UINT64_MAX;
}

int pst_mem_pool_take(struct pst_mem_pool *p, struct pst_mem_take *take,
		      struct pst_diag *diag)
{
	return p->ops->take(p, take, diag);
}

int pst_mem_pool_drop(const char *name, struct pst_diag *diag)
{
	struct pst_mem_pool *p;
	int ret = pst_mem_pool_open(PST_MEM_SOURCE_KMOD, name, &p, diag);

	if (ret)
		return ret;
	ret = p->ops->drop(p);
	pst_mem_pool_close(p);
	return ret ? pst_diag_set(diag, ret, "pool %s: %s", name,
				  ret == -ENOENT ? "there is none of this user"
						 : strerror(-ret))
		   : 0;
}

int pst_mem_map(const struct pst_mem_args *args, struct pst_mem *out,
		struct pst_diag *diag)
{
	struct pst_mem m = { .size_bytes = args->size_bytes,
			     .node = args->node < 0 ? -1 : args->node,
			     .pool = args->pool,
			     .fd = -1 };
	int ret;

	/* Half the address space: rounding up to pages cannot overflow. */
	if (!args->size_bytes || args->size_bytes > INT64_MAX / 2)
		return pst_diag_set(diag, -EINVAL,
				    "cannot map a region of %llu bytes",
				    (unsigned long long)args->size_bytes);
	if (args->node >= PST_MEM_NODES_MAX)
		return pst_diag_set(diag, -EINVAL, "there is no NUMA node %d",
				    args->node);
	ret = ops_of(&m)->map(&m, args->want, diag);
	if (!ret)
		*out = m;
	return ret;
}

void pst_mem_unmap(struct pst_mem *m)
{
	if (m->addr)
		ops_of(m)->unmap(m);
	memset(m, 0, sizeof(*m));
	m->node = -1;
	m->fd = -1;
}

int pst_mem_discard(struct pst_mem *m)
{
	return ops_of(m)->discard(m);
}

int pst_mem_refill(struct pst_mem *m, struct pst_diag *diag)
{
	return ops_of(m)->refill(m, diag);
}

/*
 * Pages of a hugetlb pool go back to the pool, where nobody else finds them;
 * those of a named pool are kept for the next process.
 */
bool pst_mem_can_give(const struct pst_mem *m)
{
	return m->kind != PST_MEM_KIND_HUGETLB && !pst_mem_pool_named(m->pool);
}

int pst_mem_export(const struct pst_mem *m, uint64_t off_bytes,
		   uint64_t size_bytes, struct pst_diag *diag)
{
	if (!size_bytes || (off_bytes | size_bytes) % PST_MEM_SMALL_BYTES ||
	    size_bytes > m->size_bytes ||
	    off_bytes > m->size_bytes - size_bytes)
		return pst_diag_set(diag, -EINVAL,
				    "cannot export %llu bytes at %llu of %llu",
				    (unsigned long long)size_bytes,
				    (unsigned long long)off_bytes,
				    (unsigned long long)m->size_bytes);
	return ops_of(m)->export(m, off_bytes, size_bytes, diag);
}

const char *pst_mem_kind_name(const struct pst_mem *m)
{
	return ops_of(m)->kind_name(m);
}
