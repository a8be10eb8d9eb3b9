#!/bin/sh
# SPDX-License-Identifier: GPL-2.0
# Compiles a line of C per difference between kernels and writes a header of
# PST_HAVE_* for what compiled.
#
#	probe.sh HEADER CC FLAGS...
set -u
out=$1
shift
work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT

compiles() {
	code=$1
	shift
	printf '#include <linux/mm.h>\n%s\n' "$code" >"$work/probe.c"
	"$@" -Werror -c -o "$work/probe.o" "$work/probe.c" 2>"$work/log"
}

probe() {
	name=$1
	shift
	if compiles "$@"; then
		echo "#define PST_HAVE_$name 1"
	else
		echo "/* no $name */"
	fi
}

# Otherwise every answer would be no.
compiles 'struct page *pst_probe(struct page *p);' "$@" || {
	cat "$work/log" >&2
	echo "probe.sh: cannot compile for this kernel" >&2
	exit 1
}

{
	echo '/* SPDX-License-Identifier: GPL-2.0 */'
	# 6.3: flags of a mapping are changed by functions.
	probe VM_FLAGS_MOD 'void pst_probe(struct vm_area_struct *v);
		void pst_probe(struct vm_area_struct *v)
		{ vm_flags_mod(v, 1UL, 0UL); }' "$@"
	# 6.9: a large folio counts its mappings in one place.
	probe LARGE_MAPCOUNT 'int pst_probe(struct folio *f);
		int pst_probe(struct folio *f)
		{ return atomic_read(&f->_large_mapcount); }' "$@"
} >"$out"
