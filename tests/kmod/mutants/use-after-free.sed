# victim: pool_file.c
# expected: KASAN: slab-use-after-free
# tests: fdinfo
# The pool's file is read after it has been freed; KASAN must say so.
s/^\tpst_pool_put(pf->pool);$/\tkfree(pf);\n\tpst_pool_put(pf->pool);/
/^\tkfree(pf);$/{
N
/return 0/s/^\tkfree(pf);\n//
}
