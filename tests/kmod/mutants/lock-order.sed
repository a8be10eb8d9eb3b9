# victim: lease.c
# expected: possible circular locking
# tests: owner
# The end of a lease takes two locks in the order that charging does not;
# lockdep must say so.
/^void pst_lease_release/,/^}/{
s/^\tmutex_lock(&pool->lock);$/\tmutex_lock(\&pool->lock);\n\tmutex_lock(\&pst_core.lock);\n\tmutex_unlock(\&pst_core.lock);/
s/^\tput_pid(owner);$/\tmutex_lock(\&pst_core.lock);\n\tmutex_lock(\&pool->lock);\n\tmutex_unlock(\&pool->lock);\n\tmutex_unlock(\&pst_core.lock);\n\tput_pid(owner);/
}
