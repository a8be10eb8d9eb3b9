# victim: dmabuf.c
# expected: unreferenced object
# tests: many
# The end of a dma-buf forgets its memory; kmemleak must say so.
/^static void export_release/,/^}/s/^\tkfree(export);$/\texport = NULL;/
