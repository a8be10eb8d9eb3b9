# SPDX-License-Identifier: MIT
"""One run of an engine, measured from outside, the same way for all: counters of
the drive, the process and the machine, sampled and cut to the decode phase."""
import os
import re
import subprocess
import sys
import threading
import time

import bench_common as common

SECTOR_BYTES = 512
SAMPLE_S = 0.02
TICK_S = 1 / os.sysconf('SC_CLK_TCK')
# A run is marked when others took more than this many CPUs meanwhile.
OTHER_CPUS = 0.1


class Drive:
    """Sectors read and time busy of the drive below a file."""

    def __init__(self, path):
        dev = os.stat(path).st_dev
        self.number = f'{os.major(dev)}', f'{os.minor(dev)}'

    def counters(self):
        """(bytes read, seconds busy), or zeros for what is no block device."""
        with open('/proc/diskstats', encoding='ascii') as f:
            for line in f:
                words = line.split()
                if tuple(words[0:2]) == self.number:
                    return int(words[5]) * SECTOR_BYTES, int(words[12]) / 1000
        return 0, 0.0


def busy_s():
    """Seconds that all processors have worked, stolen time included."""
    with open('/proc/stat', encoding='ascii') as f:
        ticks = [int(x) for x in f.readline().split()[1:9]]
    return (sum(ticks) - ticks[3] - ticks[4]) * TICK_S


class Sampler(threading.Thread):
    """Counters over time of one process, its cgroup and the drive."""

    def __init__(self, pid, drive, group):
        super().__init__(daemon=True)
        self.pid, self.drive, self.group = pid, drive, group
        self.ended = threading.Event()
        self.samples = []
        self.hugetlb_bytes = self.group_peak = 0

    def _cpu_s(self):
        with open(f'/proc/{self.pid}/stat', encoding='ascii') as f:
            words = f.read().rsplit(')', 1)[1].split()
        return (int(words[11]) + int(words[12])) * TICK_S

    def _hugetlb(self):
        with open(f'/proc/{self.pid}/status', encoding='ascii') as f:
            found = re.search(r'^HugetlbPages:\s+(\d+)', f.read(), re.M)
        return int(found.group(1)) << 10 if found else 0

    def sample(self):
        try:
            cpu = self._cpu_s()
            self.hugetlb_bytes = max(self.hugetlb_bytes, self._hugetlb())
        except (OSError, IndexError):
            return
        self.samples.append((time.monotonic(), *self.drive.counters(), cpu,
                             busy_s()))
        if self.group:
            self.group_peak = max(self.group_peak,
                                  self.group.now_bytes() or 0)

    def run(self):
        while not self.ended.wait(SAMPLE_S):
            self.sample()

    def at(self, moment):
        """Counters at a moment, by interpolation."""
        before = after = self.samples[0]
        for after in self.samples:
            if after[0] >= moment:
                break
            before = after
        span = after[0] - before[0]
        part = (moment - before[0]) / span if span > 0 else 0
        part = min(max(part, 0), 1)
        return [a + (b - a) * part for a, b in zip(before[1:], after[1:])]


def follow(child, start):
    """All that a child writes: (stdout, stderr, time of its last sign of life).
    An engine writes to stderr when it has decoded, before it frees; of
    BigMoeOnEdge it is the last token that counts."""
    last, notes, lines = [start], [], []

    def follow_notes():
        for line in child.stderr:
            notes.append(line)
            last[0] = time.monotonic()

    reader = threading.Thread(target=follow_notes, daemon=True)
    reader.start()
    tokens_end = None
    for line in child.stdout:
        lines.append(line)
        if line.startswith('BMOE_PROGRESS'):
            tokens_end = time.monotonic()
    reader.join()
    return ''.join(lines), ''.join(notes), tokens_end or last[0]


def run_cold(engine, model, group, timeout_s):
    """Runs an engine on a file that is out of the page cache: (stdout, time of
    its last output, sampler, seconds)."""
    common.drop_file_cache(model)
    start = time.monotonic()
    child = subprocess.Popen(engine.command, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, text=True,
                             env={**os.environ, **engine.env},
                             preexec_fn=group.join if group else None)
    watch = Sampler(child.pid, Drive(model), group)
    watch.sample()
    watch.start()
    alarm = threading.Timer(timeout_s, child.kill)
    # Ended by a signal, the script must not wait for the alarm.
    alarm.daemon = True
    alarm.start()
    try:
        text, notes, end = follow(child, start)
        child.wait()
    finally:
        alarm.cancel()
        child.kill()
        watch.ended.set()
    watch.join()
    if child.returncode:
        note = (notes.strip().splitlines() or ['no message'])[-1]
        raise RuntimeError(f'exit status {child.returncode}: {note}')
    return text, end, watch, time.monotonic() - start


def figures_of(result, end, watch, total_s):
    """Decode speed and, from the samples, what decode took of the machine."""
    tokens, seconds = result['decode_tokens'], result['decode_s']
    begin = end - seconds
    nbytes, drive_s, cpu, all_cpus = (
        z - a for a, z in zip(watch.at(begin), watch.at(end)))
    return {
        'prefill_tokens': result['prefill_tokens'],
        'prefill_tok_s': result['prefill_tok_s'],
        'decode_tokens': tokens,
        'decode_tok_s': result['decode_tok_s'],
        'bytes_per_token': nbytes / tokens,
        'drive_bytes_s': nbytes / seconds,
        'drive_busy': drive_s / seconds,
        'cpu_s_per_token': cpu / tokens,
        'cpu_s_per_gb': cpu / (nbytes / 1e9) if nbytes > 1e6 else None,
        'other_cpus': max(0.0, all_cpus - cpu) / seconds,
        'hit_rate': result.get('decode_hit_rate'),
        'hugetlb_bytes': watch.hugetlb_bytes,
        'total_s': total_s,
    }


def run_engine(engine, model, limit_bytes, timeout_s):
    """One row of figures, or None when the engine failed; @limit_bytes of a
    memory cgroup, 0 for none."""
    group = common.Cgroup(limit_bytes) if limit_bytes else None
    try:
        text, end, watch, total = run_cold(engine, model, group, timeout_s)
        result = engine.parse(text)
        row = figures_of(result, end, watch, total)
        row['result'] = result
        if group:
            row['cgroup_peak_bytes'] = group.peak_bytes() or watch.group_peak
        return row
    except (RuntimeError, ValueError, KeyError) as e:
        print(f'{engine.name}: {e}', file=sys.stderr)
        return None
    finally:
        if group:
            group.remove()


def disturbed(row):
    """What a line on a run that was disturbed ends with."""
    others = row['other_cpus']
    return (f'  DISTURBED: others took {others:.2f} CPUs'
            if others > OTHER_CPUS else '')


def calm(rows):
    """The runs that nothing disturbed, if there are any."""
    rows = list(rows)
    return [r for r in rows if r['other_cpus'] <= OTHER_CPUS] or rows
