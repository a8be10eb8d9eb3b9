# victim: lease.c
# A module that grants a pool while the last owner's reads still land in it:
# what happens then is what the wait is for.
s/^\t} else if (\*busy_chunks) {$/\t} else if (false) {/
