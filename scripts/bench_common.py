# SPDX-License-Identifier: MIT
"""What the measuring scripts share: memory cgroups, cold files, what fio reads,
where the engines to compare with lie, and how figures are written down."""
import csv
import json
import os
import platform
import shutil
import signal
import statistics
import subprocess
import sys
import time

MIB = 1 << 20
SKIP = 77
FIO_HUGE_PAGES = 64

HOW_TO_BUILD = """\
llama.cpp is not in {peers} ($PENSTOCK_PEERS); to build it there:
  pip download --no-binary :all: --no-deps llama-cpp-python==0.3.36; tar xf \
llama_cpp_python-*.tar.gz; mv llama_cpp_python-*/vendor/llama.cpp {peers}/
  cd {peers}/llama.cpp; cmake -B build -DCMAKE_BUILD_TYPE=Release \
-DLLAMA_CURL=OFF -DLLAMA_BUILD_SERVER=OFF; cmake --build build --target \
llama-bench"""


def fail(text):
    name = os.path.basename(sys.argv[0])
    sys.exit(f'penstock: {name}: {text}')


def peers_dir():
    return os.environ.get('PENSTOCK_PEERS', '/var/tmp/peers')


def say_how_to_build():
    """The end of a script that cannot do without llama.cpp."""
    print(HOW_TO_BUILD.format(peers=peers_dir()), file=sys.stderr)
    sys.exit(SKIP)


class Cgroup:
    """A memory cgroup, version 1 or 2, for one run."""

    def __init__(self, limit_bytes):
        v1 = '/sys/fs/cgroup/memory'
        if os.path.exists(v1 + '/memory.limit_in_bytes'):
            top, limit, self.peak, self.now = (
                v1, 'memory.limit_in_bytes', 'memory.max_usage_in_bytes',
                'memory.usage_in_bytes')
        else:
            top, limit, self.peak, self.now = (
                '/sys/fs/cgroup', 'memory.max', 'memory.peak',
                'memory.current')
            self._enable_v2(top)
        self.path = f'{top}/penstock-bench-{os.getpid()}'
        os.mkdir(self.path)
        try:
            self._put(limit, limit_bytes)
        except OSError:
            self.remove()
            raise
        # Swap would let a run hide its anonymous memory.
        for name, value in (('memory.swap.max', 0), ('memory.swappiness', 0)):
            if os.path.exists(f'{self.path}/{name}'):
                self._put(name, value)

    @staticmethod
    def _enable_v2(top):
        with open(top + '/cgroup.controllers', encoding='ascii') as f:
            if 'memory' not in f.read().split():
                fail('no memory controller in /sys/fs/cgroup')
        with open(top + '/cgroup.subtree_control', 'w',
                  encoding='ascii') as f:
            f.write('+memory')

    def _put(self, name, value):
        with open(f'{self.path}/{name}', 'w', encoding='ascii') as f:
            f.write(str(value))

    def join(self):
        """Moves the calling process in; for preexec_fn."""
        self._put('cgroup.procs', 0)

    def _bytes(self, name):
        try:
            with open(f'{self.path}/{name}', encoding='ascii') as f:
                return int(f.read())
        except OSError:
            return None

    def peak_bytes(self):
        """None before Linux 5.19 under version 2."""
        return self._bytes(self.peak)

    def now_bytes(self):
        return self._bytes(self.now)

    def _kill_members(self):
        with open(f'{self.path}/cgroup.procs', encoding='ascii') as f:
            for pid in f.read().split():
                os.kill(int(pid), signal.SIGKILL)

    def remove(self):
        """Ends what a run may have left inside, then the group itself."""
        for attempt in range(50):
            try:
                self._kill_members()
                os.rmdir(self.path)
                return
            except ProcessLookupError:
                continue
            except OSError:
                if attempt == 49:
                    raise
                time.sleep(0.1)


def meminfo():
    """{key: number}, as /proc/meminfo has them."""
    with open('/proc/meminfo', encoding='ascii') as f:
        return {key: int(value.split()[0])
                for key, value in (line.split(':') for line in f)}


def free_hugetlb_bytes():
    """Huge pages that a run may take; no cgroup of this kind counts them."""
    values = meminfo()
    return (values.get('HugePages_Free', 0)
            * values.get('Hugepagesize', 0) * 1024)


def mem_available_bytes():
    return meminfo()['MemAvailable'] * 1024


def drop_file_cache(path):
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
    finally:
        os.close(fd)


class HugePages:
    """A few 2 MiB pages for fio's buffers, given back at the end: a drive may
    be several times faster into huge pages, and that is what we read into."""

    path = '/proc/sys/vm/nr_hugepages'

    def __enter__(self):
        with open(self.path, encoding='ascii') as f:
            self.before = int(f.read())
        self._put(self.before + FIO_HUGE_PAGES)
        return self

    def __exit__(self, *_):
        self._put(self.before)

    def _put(self, pages):
        with open(self.path, 'w', encoding='ascii') as f:
            f.write(str(pages))


def fio_bytes_per_s(path, seconds, memory, block_bytes, depth):
    """What fio reads at random with a block size and a depth, or None."""
    if not shutil.which('fio'):
        return None
    done = subprocess.run(
        ['fio', '--name=penstock', f'--filename={path}', '--readonly',
         '--rw=randread', '--direct=1', f'--bs={block_bytes}',
         f'--iodepth={depth}', '--ioengine=io_uring', '--fixedbufs',
         '--registerfiles', f'--mem={memory}', '--hugepage-size=2m',
         '--time_based', f'--runtime={seconds}', '--randrepeat=0',
         '--norandommap', '--output-format=json'],
        capture_output=True, text=True, check=False)
    if done.returncode:
        return None
    # fio may put notes in front of its JSON.
    report = json.loads(done.stdout[done.stdout.index('{'):])
    return report['jobs'][0]['read']['bw_bytes']


def median_of(runs, key):
    values = [r[key] for r in runs if r.get(key) is not None]
    return statistics.median(values) if values else None


def show(value, scale=1.0, text='{:.2f}'):
    return '-' if value is None else text.format(value * scale)


def machine_text():
    """One line on the processor, the kernel and the commit."""
    with open('/proc/cpuinfo', encoding='ascii', errors='replace') as f:
        cpu = next((x.split(': ')[1].strip() for x in f
                    if x.startswith('model name')), platform.machine())
    commit = subprocess.run(
        ['git', '-C', os.path.dirname(os.path.abspath(__file__)), 'rev-parse',
         '--short', 'HEAD'], capture_output=True, text=True,
        check=False).stdout.strip()
    return (f'{cpu}, {os.cpu_count()} CPUs, Linux {platform.release()}, '
            f'commit {commit or "unknown"}')


def append_rows(path, rows):
    """Appends to a file: JSON lines where its name ends in .json or .jsonl,
    CSV with a head otherwise.  All rows of a CSV file have the same keys."""
    if path.endswith(('.json', '.jsonl')):
        with open(path, 'a', encoding='utf-8') as f:
            f.writelines(json.dumps(row) + '\n' for row in rows)
        return
    fresh = not os.path.exists(path) or not os.path.getsize(path)
    with open(path, 'a', encoding='utf-8', newline='') as f:
        out = csv.DictWriter(f, list(rows[0]))
        if fresh:
            out.writeheader()
        out.writerows(rows)
