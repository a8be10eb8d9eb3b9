// SPDX-License-Identifier: MIT
/*
 * Regions from the kernel module: a pool of the module for each of them, or
 * parts of one named pool that outlives this process.  The only file that knows
 * the module's interface.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/penstock.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <unistd.h>

#include "mem_priv.h"

/* For an owner that is on its way out; one that stays is not waited for. */
#define OWNER_WAIT_NS 5000000000ULL
#define CHUNK_ORDER   9
#define CHUNK_BYTES   PST_MEM_HUGE_2M_BYTES

static int call(int fd, unsigned long request, void *args)
{
	return ioctl(fd, request, args) ? -errno : 0;
}

static int say_no_device(int err, struct pst_diag *diag)
{
	if (err == EACCES || err == EPERM)
		return pst_diag_set(diag, -EACCES,
				    PENSTOCK_DEVICE
				    " is not for this user: join the group "
				    "render (kmod/70-penstock.rules), or use "
				    "--pool anon");
	return pst_diag_set(diag, -ENOSYS,
			    "the kernel module is not loaded (" PENSTOCK_DEVICE
			    ": %s): modprobe penstock (Documentation/kmod.rst "
			    "builds it), or use --pool anon",
			    strerror(err));
}

static int open_device(int *out, struct penstock_info *info,
		       struct pst_diag *diag)
{
	int fd = open(PENSTOCK_DEVICE, O_RDWR | O_CLOEXEC), rc;

	if (fd < 0)
		return say_no_device(errno, diag);
	*info = (struct penstock_info){ .size = sizeof(*info) };
	rc = call(fd, PENSTOCK_INFO, info);
	if (rc || info->abi != PENSTOCK_ABI) {
		close(fd);
		return pst_diag_set(diag, -ENOSYS,
				    PENSTOCK_DEVICE
				    " speaks version %u, this program %u: "
				    "install module and program together",
				    info->abi, PENSTOCK_ABI);
	}
	*out = fd;
	return 0;
}

/* What is in the pool of this name, without becoming its owner. */
static uint64_t held_bytes(const struct pst_mem_pool *p)
{
	struct penstock_open args = { .size = sizeof(args) };

	strcpy(args.name, p->name);
	if (call(p->device, PENSTOCK_OPEN, &args))
		return 0;
	close(args.fd);
	return args.bytes;
}

/* What this process may still have. */
static uint64_t room_of(const struct penstock_info *i, bool named)
{
	uint64_t left =
		i->ceiling_bytes - PST_MIN(i->total_bytes, i->ceiling_bytes);

	if (!named || i->quota_bytes == UINT64_MAX)
		return left;
	return PST_MIN(left, i->quota_bytes -
				     PST_MIN(i->named_bytes, i->quota_bytes));
}

static int kmod_open(struct pst_mem_pool *p, struct pst_diag *diag)
{
	struct penstock_info info;
	int rc = open_device(&p->device, &info, diag);

	if (rc)
		return rc;
	if (p->name[0])
		p->held_bytes = held_bytes(p);
	p->room_bytes = room_of(&info, p->name[0]) + p->held_bytes;
	return 0;
}

static void kmod_close(struct pst_mem_pool *p)
{
	if (p->fd >= 0)
		close(p->fd);
	close(p->device);
}

static int say_no_pool(int rc, const struct penstock_create *c, int node,
		       struct pst_diag *diag)
{
	unsigned long long mib = c->bytes / PST_MIB;
	unsigned long long got = c->got_bytes_by_order[CHUNK_ORDER] / PST_MIB;

	switch (rc) {
	case -ENOMEM:
		return pst_diag_set(
			diag, rc,
			"the kernel module found %llu of %llu MiB in chunks of "
			"2 MiB: end other programs, write 1 to "
			"/proc/sys/vm/compact_memory, or use --pool anon",
			got, mib);
	case -EDQUOT:
		return pst_diag_set(
			diag, -ENOMEM,
			"%llu MiB are more than the kernel module allows: "
			"raise %s in /sys/module/penstock/parameters, or use "
			"--pool anon",
			mib,
			c->flags & PENSTOCK_C_NAMED
				? "uid_quota_mb (named pools of a user) or "
				  "ceiling_mb"
				: "ceiling_mb");
	case -EAGAIN:
		return pst_diag_set(diag, -ENOMEM,
				    "%llu MiB are more than RLIMIT_MEMLOCK "
				    "allows: ulimit -l unlimited",
				    mib);
	case -EEXIST:
		return pst_diag_set(diag, -EBUSY,
				    "another process has just made the pool "
				    "%s: use another --pool-name",
				    c->name);
	case -ENODEV:
		return pst_diag_set(diag, -EINVAL,
				    "NUMA node %d is not there or has no "
				    "memory",
				    node);
	default:
		return pst_diag_set(diag, rc,
				    "the kernel module cannot make a pool of "
				    "%llu MiB: %s",
				    mib, strerror(-rc));
	}
}

/* Whole chunks, or as near as the kernel can where @min_order allows. */
static int create(const struct pst_mem_pool *p, struct penstock_create *c,
		  int node, struct pst_diag *diag)
{
	int rc;

	c->size = sizeof(*c);
	if (node >= PENSTOCK_MAX_NODES)
		return pst_diag_set(diag, -EINVAL,
				    "the kernel module knows NUMA nodes up to "
				    "%d, not %d",
				    PENSTOCK_MAX_NODES - 1, node);
	if (node >= 0) {
		c->nodes = 1ULL << node;
		c->flags |= PENSTOCK_C_STRICT_NODES;
	}
	rc = call(p->device, PENSTOCK_CREATE, c);
	return rc ? say_no_pool(rc, c, node, diag) : c->fd;
}

/* An anonymous pool for a region, mapped at its place. */
static int fill_place(struct pst_mem *m, struct pst_diag *diag)
{
	bool strict = m->page_bytes == CHUNK_BYTES;
	struct penstock_create c = {
		.bytes = m->size_bytes,
		.order = strict ? CHUNK_ORDER : 0,
		.min_order = strict ? CHUNK_ORDER : 0,
	};
	int rc;

	m->fd = create(m->pool, &c, m->node, diag);
	if (m->fd < 0)
		return m->fd;
	if (mmap(m->addr, m->size_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, m->fd, 0) == MAP_FAILED) {
		rc = pst_mem_say_no_mapping(m->size_bytes,
					    "the kernel module's pool", diag);
		goto close_fd;
	}
	rc = pst_mem_touch(m, diag);
	if (rc)
		goto close_fd;
	m->thp_bytes = c.got_bytes_by_order[CHUNK_ORDER];
	return 0;

close_fd:
	close(m->fd);
	m->fd = -1;
	return rc;
}

/* The next part of a named pool that was taken; it is the pool's file. */
static int map_part(struct pst_mem *m, struct pst_diag *diag)
{
	struct pst_mem_pool *p = m->pool;

	if (p->fd < 0 || m->size_bytes > p->size_bytes - p->used_bytes)
		return pst_diag_set(
			diag, -ENOMEM, "the pool %s of %llu MiB is used up",
			p->name, (unsigned long long)(p->size_bytes / PST_MIB));
	if (mmap(m->addr, m->size_bytes, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_FIXED, p->fd,
		 (off_t)p->used_bytes) == MAP_FAILED)
		return pst_mem_say_no_mapping(m->size_bytes, "the named pool",
					      diag);
	m->fd = p->fd;
	m->fd_off_bytes = p->used_bytes;
	m->thp_bytes = m->size_bytes;
	p->used_bytes += m->size_bytes;
	return pst_mem_touch(m, diag);
}

static int kmod_map(struct pst_mem *m, enum pst_mem_want want,
		    struct pst_diag *diag)
{
	bool named = pst_mem_pool_named(m->pool);
	int rc;

	if (want == PST_MEM_HUGE_1G)
		return pst_diag_set(diag, -EINVAL,
				    "the kernel module has no pages of 1 GiB: "
				    "use --huge-pages auto");
	m->kind = PST_MEM_KIND_CHUNKS;
	m->page_bytes = want == PST_MEM_SMALL && !named ? PST_MEM_SMALL_BYTES
							: CHUNK_BYTES;
	m->size_bytes = pst_align_up(m->size_bytes, m->page_bytes);
	m->addr = pst_mem_place(m->size_bytes, CHUNK_BYTES);
	if (!m->addr)
		return pst_mem_say_no_mapping(m->size_bytes,
					      "the kernel module's pool", diag);
	rc = named ? map_part(m, diag) : fill_place(m, diag);
	if (rc)
		munmap(m->addr, m->size_bytes);
	return rc;
}

static void kmod_unmap(struct pst_mem *m)
{
	munmap(m->addr, m->size_bytes);
	if (m->fd >= 0 && !pst_mem_pool_named(m->pool))
		close(m->fd);
}

/* The pool ends when nothing refers to it: its place stays reserved. */
static int kmod_discard(struct pst_mem *m)
{
	if (pst_mem_pool_named(m->pool))
		return -EOPNOTSUPP;
	if (mmap(m->addr, m->size_bytes, PROT_NONE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED, -1,
		 0) == MAP_FAILED)
		return -errno;
	close(m->fd);
	m->fd = -1;
	return 0;
}

static int kmod_refill(struct pst_mem *m, struct pst_diag *diag)
{
	int rc = fill_place(m, diag);

	/* Also over a pool that was mapped and could not be touched. */
	if (rc)
		mmap(m->addr, m->size_bytes, PROT_NONE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE | MAP_FIXED,
		     -1, 0);
	return rc;
}

static int kmod_export(const struct pst_mem *m, uint64_t off_bytes,
		       uint64_t size_bytes, struct pst_diag *diag)
{
	struct penstock_export args = { .size = sizeof(args),
					.offset = m->fd_off_bytes + off_bytes,
					.bytes = size_bytes };
	int rc = call(m->fd, PENSTOCK_EXPORT, &args);

	return rc ? pst_diag_set(diag, rc,
				 "the kernel module cannot export %llu KiB: %s",
				 (unsigned long long)(size_bytes / PST_KIB),
				 strerror(-rc))
		  : args.fd;
}

/* The process that owns the pool, 0 when it has none (to be seen from here). */
static int owner_of(const struct pst_mem_pool *p)
{
	struct penstock_open args = { .size = sizeof(args) };
	struct penstock_stat stat = { .size = sizeof(stat) };

	strcpy(args.name, p->name);
	if (call(p->device, PENSTOCK_OPEN, &args))
		return 0;
	call(args.fd, PENSTOCK_STAT, &stat);
	close(args.fd);
	return stat.flags & PENSTOCK_S_OWNED ? stat.owner_pid : 0;
}

static int say_not_taken(int rc, const struct pst_mem_pool *p,
			 const struct penstock_open *args,
			 struct pst_diag *diag)
{
	unsigned long long busy = args->busy_chunks;

	if (rc == -EBUSY)
		return pst_diag_set(diag, rc,
				    "process %d owns the pool %s: end it, or "
				    "use another --pool-name",
				    owner_of(p), p->name);
	if (rc == -ETIMEDOUT)
		return pst_diag_set(
			diag, rc,
			"%llu chunks of the pool %s are still written by reads "
			"or devices of its last owner after %.0f s: try again, "
			"or use another --pool-name",
			busy, p->name, (double)args->timeout_ns * 1e-9);
	return pst_diag_set(diag, rc, "cannot take over the pool %s: %s",
			    p->name, strerror(-rc));
}

static int open_owner(const struct pst_mem_pool *p, uint64_t wait_ns,
		      struct penstock_open *args)
{
	*args = (struct penstock_open){
		.size = sizeof(*args),
		.flags = PENSTOCK_O_OWNER |
			 (wait_ns ? PENSTOCK_O_WAIT_IDLE : 0),
		.timeout_ns = wait_ns,
	};
	strcpy(args->name, p->name);
	return call(p->device, PENSTOCK_OPEN, args);
}

/* An owner is given the time to end; then what it has left is waited for. */
static int adopt(struct pst_mem_pool *p, struct pst_mem_take *take,
		 struct pst_diag *diag)
{
	uint64_t start_ns = pst_now_ns();
	struct penstock_open args;
	int rc = open_owner(p, 0, &args);

	if (rc == -EBUSY && owner_of(p))
		rc = open_owner(p, PST_MIN(take->wait_ns, OWNER_WAIT_NS),
				&args);
	if ((rc == -EBUSY && !owner_of(p)) || rc == -ETIMEDOUT) {
		pst_log(take->log, PST_LOG_INFO,
			"pool %s: reads or devices of its last owner still use "
			"%llu chunks: waiting, %.0f s at most",
			p->name, (unsigned long long)args.busy_chunks,
			(double)take->wait_ns * 1e-9);
		rc = open_owner(p, take->wait_ns, &args);
	}
	if (rc)
		return rc == -ENOENT ? rc : say_not_taken(rc, p, &args, diag);
	take->waited_ns = pst_now_ns() - start_ns;
	p->fd = args.fd;
	p->size_bytes = args.bytes;
	return 0;
}

static int kmod_drop(struct pst_mem_pool *p)
{
	struct penstock_unlink args = { .size = sizeof(args) };

	strcpy(args.name, p->name);
	return call(p->device, PENSTOCK_UNLINK, &args);
}

static int kmod_take(struct pst_mem_pool *p, struct pst_mem_take *take,
		     struct pst_diag *diag)
{
	struct penstock_info info = { .size = sizeof(info) };
	struct penstock_create c = { .flags = PENSTOCK_C_NAMED,
				     .bytes = take->size_bytes,
				     .order = CHUNK_ORDER,
				     .min_order = CHUNK_ORDER };
	int rc = adopt(p, take, diag);

	take->adopted = !rc && p->size_bytes == take->size_bytes;
	if (take->adopted || (rc && rc != -ENOENT))
		return rc;
	/* One of another size is of no use: its memory is needed. */
	if (!rc) {
		close(p->fd);
		p->fd = -1;
		kmod_drop(p);
		/* Asked for its sums the module frees what can be freed. */
		call(p->device, PENSTOCK_INFO, &info);
	}
	strcpy(c.name, p->name);
	rc = create(p, &c, take->node, diag);
	if (rc < 0)
		return rc;
	p->fd = rc;
	p->size_bytes = c.bytes;
	return 0;
}

static const char *kmod_kind_name(const struct pst_mem *m)
{
	if (m->thp_bytes == m->size_bytes)
		return pst_mem_pool_named(m->pool)
			       ? "penstock.ko, named pool, 2 MiB chunks"
			       : "penstock.ko, 2 MiB chunks";
	return "penstock.ko, 4 KiB chunks";
}

static void kmod_offer(struct pst_mem_offer *out)
{
	struct penstock_info info;
	uint64_t left, named;
	int fd;

	if (open_device(&fd, &info, NULL)) {
		bool there = !access(PENSTOCK_DEVICE, F_OK);

		snprintf(out->text, sizeof(out->text),
			 there ? PENSTOCK_DEVICE " is not for this user, or "
						 "of another version"
			       : "the kernel module is not loaded; the runtime "
				 "works without it");
		snprintf(out->mend, sizeof(out->mend), "%s",
			 there ? "join the group render "
				 "(kmod/70-penstock.rules)"
			       : "");
		return;
	}
	close(fd);
	out->there = true;
	out->exports = true;
	left = room_of(&info, false);
	named = room_of(&info, true);
	snprintf(out->text, sizeof(out->text),
		 PENSTOCK_DEVICE ": chunks of 2 MiB that devices can import; "
				 "%llu MiB left, named pools: %llu MiB",
		 (unsigned long long)(left / PST_MIB),
		 (unsigned long long)(named / PST_MIB));
}

const struct pst_mem_ops pst_mem_kmod_ops = {
	.offer = kmod_offer,
	.open = kmod_open,
	.close = kmod_close,
	.take = kmod_take,
	.drop = kmod_drop,
	.map = kmod_map,
	.unmap = kmod_unmap,
	.discard = kmod_discard,
	.refill = kmod_refill,
	.export = kmod_export,
	.kind_name = kmod_kind_name,
};
