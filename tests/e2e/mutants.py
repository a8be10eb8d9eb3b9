# SPDX-License-Identifier: MIT
"""Mutants: damaged copies of valid files, and what every verb may answer to one.

A mutant is a list of (offset, bytes), laid over a copy and taken back again.
Which one it is depends on its number alone, so that a number repeats it.
"""
import os
import random
import re
import resource
import signal
import struct
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

sys.path.insert(0, os.path.join(e2e.SRC, 'scripts'))
import gguf_io  # noqa: E402

MIB = 1 << 20
RAM_MIB = 96
TIMEOUT_S = 200 if os.environ.get('PENSTOCK_TOOL') else 20
TINY = os.path.join(e2e.SRC, 'share', 'tiny-stories.gguf')

# What may be answered: done, failed, usage, bad data, not there, unsupported,
# no memory for it.  Not: a bug, a failing drive, a signal.
DOCUMENTED = (0, 1, 2, 65, 66, 69, 71)
INTEGERS = (0, 1, 2, 3, 31, 32, 33, 255, 256, 0x7fff, 0xffff, 0x7fffffff,
            0x80000000, 0xffffffff, 1 << 32, 1 << 40, (1 << 63) - 1, 1 << 63,
            (1 << 64) - 1, (1 << 61) + 1)
FLOATS = (0.0, -0.0, 1.0, -1.0, 1e-45, 1e38, -1e38, float('inf'),
          float('-inf'), float('nan'))


class Map(gguf_io.Reader):
    """Where the header's values and tensor infos lie."""

    def __init__(self, path):
        self.values, self.infos = [], []
        super().__init__(path)
        self.header_end = self.pos

    def _skip(self, vtype):
        start = self.pos
        super()._skip(vtype)
        self.values.append((start, self.pos, vtype))

    def _info(self):
        start = self.pos
        got = super()._info()
        self.infos.append((start + 8 + len(got[0].encode()), self.pos,
                           len(got[1])))
        return got


def some_integer(rnd, nbytes):
    value = rnd.choice(INTEGERS) if rnd.random() < 0.7 else rnd.getrandbits(64)
    return (value & ((1 << 8 * nbytes) - 1)).to_bytes(nbytes, 'little')


def some_float(rnd, fmt):
    value = rnd.choice(FLOATS) if rnd.random() < 0.7 else rnd.uniform(-9, 9)
    return struct.pack('<' + fmt, value)


def flip_bits(rnd, m):
    at = rnd.randrange(m.header_end)
    return [(at, bytes([m.map[at] ^ 1 << rnd.randrange(8)]))]


def overwrite_header(rnd, m):
    nbytes = rnd.choice((1, 2, 4, 8))
    return [(rnd.randrange(m.header_end - nbytes), some_integer(rnd, nbytes))]


def change_value(rnd, m):
    """The value of a key, in its own type; or its type."""
    start, end, vtype = rnd.choice(m.values)
    if rnd.random() < 0.1:
        return [(start - 4, struct.pack('<I', rnd.randrange(14)))]
    if vtype == gguf_io.STRING:
        if end - start == 8 or rnd.random() < 0.3:
            return [(start, some_integer(rnd, 8))]
        at = rnd.randrange(start + 8, end)
        return [(at, rnd.randbytes(min(end - at, rnd.randrange(1, 9))))]
    if vtype == gguf_io.ARRAY:
        at = rnd.choice((start, start + 4, rnd.randrange(start + 12, end)
                         if end > start + 12 else start))
        return [(at, some_integer(rnd, min(8, end - at)))]
    if vtype in (gguf_io.F32, gguf_io.F64):
        return [(start, some_float(rnd, 'f' if vtype == gguf_io.F32 else 'd'))]
    return [(start, some_integer(rnd, end - start))]


def change_key(rnd, m):
    """One letter of a key or of a tensor's name: it is another, or missing."""
    start = rnd.choice(m.values)[0] - 5 if rnd.random() < 0.7 else \
        rnd.choice(m.infos)[0] - 1
    return [(start, bytes([rnd.choice(b'abz._0\x00\xff')]))]


def change_info(rnd, m):
    """A tensor's number of dimensions, one of them, its type, or its place."""
    start, end, nr_dims = rnd.choice(m.infos)
    what = rnd.randrange(4)
    if what == 0:
        return [(start, some_integer(rnd, 4))]
    if what == 1:
        return [(start + 4 + 8 * rnd.randrange(nr_dims), some_integer(rnd, 8))]
    if what == 2:
        return [(end - 12, struct.pack('<I', rnd.randrange(44)))]
    return [(end - 8, struct.pack('<Q', rnd.choice(
        (rnd.getrandbits(64), 32 * rnd.randrange(1000), 1))))]


def several(rnd, m):
    kinds = (flip_bits, overwrite_header, change_value, change_key,
             change_info)
    return [c for _ in range(rnd.randrange(2, 6))
            for c in rnd.choice(kinds)(rnd, m)]


def spoil_weights(rnd, m):
    """Part of a tensor: all bits set (NaN in every float type), infinities,
    noise, or nothing."""
    t = rnd.choice(m.tensors)
    nbytes = min(t.nbytes, rnd.choice((2, 64, 4096, t.nbytes)))
    at = t.offset + rnd.randrange(0, t.nbytes - nbytes + 1, 2)
    unit = rnd.choice((b'\xff\xff\xff\xff', b'\x00\x7c\x00\x7c',
                       b'\x00\x00\x80\x7f', b'\x00\x00\x80\xff',
                       b'\xff\xff\x7f\x7f', b'\x00\x00\x00\x00', None))
    data = rnd.randbytes(nbytes) if unit is None else \
        (unit * (nbytes // 4 + 1))[:nbytes]
    return [(at, data)]


def absurd_router(rnd, m):
    """All scores alike, endless, no number, or huge and of either sign."""
    routers = [t for t in m.tensors if 'gate_inp' in t.name]
    if not routers:
        return spoil_weights(rnd, m)
    changes = []
    for t in routers if rnd.random() < 0.5 else [rnd.choice(routers)]:
        values = [some_float(rnd, 'f') for _ in range(rnd.choice((1, 2, 7)))]
        data = b''.join(values) * (t.nbytes // 4)
        changes.append((t.offset, data[:t.nbytes]))
    return changes


MODEL_KINDS = (flip_bits, overwrite_header, change_value, change_value,
               change_key, change_info, several, spoil_weights, spoil_weights,
               absurd_router)


def engine_options(rnd):
    """A way to open a model, some of the time not the usual one."""
    out = ['--ram', f'{RAM_MIB}MiB', '-c', str(rnd.choice((32, 128)))]
    for chance, words in (
            (0.5, ('--expert-cache', rnd.choice(('4experts', '20experts', '30%',
                                                 '100%')))),
            (0.3, ('--io', rnd.choice(('pread', 'mmap', 'uring')))),
            (0.3, ('--prefetch', rnd.choice(('off', 'next', 'next2')))),
            (0.2, ('--kv-type', rnd.choice(('f16', 'q8_0')))),
            (0.2, ('--activations', 'q16')), (0.2, ('--resident',)),
            (0.2, ('-b', rnd.choice('137'))), (0.2, ('-t', '1')),
            (0.2, ('--cpu', 'c')), (0.1, ('--cache-policy', 's3fifo'))):
        if rnd.random() < chance:
            out += words
    return out


def model_verb(rnd, model):
    """A verb and its options; stdin comes second."""
    what = rnd.randrange(20)
    form = ('-o', rnd.choice(('text', 'json', 'csv')))
    if what < 10:
        temp = ('--temp', rnd.choice(('0', '0.8')), '-s', '1')
        return ['run', model, '-n', '8', *temp, *engine_options(rnd),
                'Once upon a time'], b''
    if what < 13:
        return ['logits', model, '--tokens', '1,2,3,4,5', '--out', '/dev/null',
                *engine_options(rnd)], b''
    if what < 15:
        return ['plan', model, *engine_options(rnd), *form], b''
    if what < 17:
        more = rnd.choice(((), ('--full',), ('--tensors',), ('--header-only',)))
        return ['show', model, *form, *more], b''
    if what == 17:
        return ['tokenize', model], b'Once upon a time, caf\xc3\xa9 <s> \xff 12\n'
    if what == 18:
        return ['tokenize', model, '--decode'], b'[1,2,3,99,3000]'
    return ['embed', model, *engine_options(rnd), 'a text'], b''


class Bed:
    """Runs verbs and judges how they end."""

    def __init__(self):
        self.nr_runs = 0
        self.codes = {}

    def limit(self):
        # A core of an address space like a sanitizer's takes its time.
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))

    def run(self, args, stdin=b''):
        """(exit code, stdout, stderr, peak bytes); code None after a hang."""
        with tempfile.TemporaryFile() as inp, tempfile.TemporaryFile() as out, \
                tempfile.TemporaryFile() as err:
            inp.write(stdin)
            inp.seek(0)
            p = subprocess.Popen([e2e.PROGRAM, *args], stdin=inp, stdout=out,
                                 stderr=err, preexec_fn=self.limit)
            signal.signal(signal.SIGALRM, lambda *_: p.kill())
            signal.alarm(TIMEOUT_S)
            _, status, usage = os.wait4(p.pid, 0)
            hung = not signal.alarm(0)
            p.returncode = os.waitstatus_to_exitcode(status)
            out.seek(0)
            err.seek(0)
            return (None if hung else p.returncode, out.read(), err.read(),
                    usage.ru_maxrss * 1024)

    def judge(self, args, stdin=b''):
        """None when it ended as it may, else what was wrong."""
        code, out, err, peak = self.run(args, stdin)
        said = err.decode(errors='replace')
        self.nr_runs += 1
        self.codes[code] = self.codes.get(code, 0) + 1
        if code is None:
            return f'still running after {TIMEOUT_S} s'
        if code not in DOCUMENTED or 'Sanitizer' in said or \
                'runtime error' in said:
            return f'exit {code}: {said[-3000:]}'
        if code and not re.search(r'(^|\n)penstock: [^\n]+\n$', said):
            return f'exit {code} without a message at the end: {said!r}'
        if not all(c.isprintable() or c == '\n' for c in said):
            return f'what it said is not printable: {said!r}'
        if len(said) > 4000:
            return f'it said too much: {said[:4000]}'
        if not os.environ.get('PENSTOCK_TOOL') and '--ram' in args and \
                peak > RAM_MIB * MIB:
            return f'took {peak // MIB} MiB of {RAM_MIB}'
        return None


class Overlay:
    """A copy of a file that mutants are laid over, one after another."""

    def __init__(self, source, path):
        with open(source, 'rb') as f:
            self.data = f.read()
        self.path = path
        with open(path, 'wb') as f:
            f.write(self.data)

    def _write(self, pieces):
        with open(self.path, 'r+b') as f:
            for at, data in pieces:
                f.seek(at)
                f.write(data[:max(len(self.data) - at, 0)])

    def lay(self, changes):
        self._write(changes)

    def take_back(self, changes):
        self._write([(at, self.data[at:at + len(data)])
                     for at, data in changes])


class Models:
    """Mutants of models: tiny-stories half of the time, else another."""

    def __init__(self, folder, others=()):
        self.beds = []
        for i, source in enumerate([TINY, *others]):
            path = os.path.join(folder, f'mutant-{i}.gguf')
            self.beds.append((Map(source), Overlay(source, path)))

    def attempt(self, number, bed):
        """None, or what was wrong with mutant @number."""
        rnd = random.Random(f'model {number}')
        m, overlay = self.beds[0]
        if rnd.random() < 0.5:
            m, overlay = rnd.choice(self.beds)
        kind = rnd.choice(MODEL_KINDS)
        changes = kind(rnd, m)
        args, stdin = model_verb(rnd, overlay.path)
        overlay.lay(changes)
        why = bed.judge(args, stdin)
        overlay.take_back(changes)
        return why and f'{kind.__name__} {args}: {why}'


def replace_number(rnd, data):
    numbers = list(re.finditer(rb'-?\d+(\.\d+)?', data[:1 << 16]))
    n = rnd.choice(numbers)
    new = rnd.choice((b'0', b'1', b'-1', b'4294967295', b'4294967296', b'nan',
                      b'inf', b'1e999', b'18446744073709551616', b'', b'00007',
                      str(rnd.randrange(300)).encode(), b'9' * 400))
    return data[:n.start()] + new + data[n.end():]


def rearrange_lines(rnd, data):
    lines = data.splitlines(keepends=True)
    a, b = rnd.randrange(len(lines)), rnd.randrange(len(lines))
    what = rnd.randrange(4)
    if what == 0:
        del lines[a]
    elif what == 1:
        lines.insert(a, lines[b])
    elif what == 2:
        lines[a], lines[b] = lines[b], lines[a]
    else:
        lines = lines[:a + 1]
    return b''.join(lines)


def change_choice(rnd, data):
    """Another expert, another weight, or no more of a token: still a trace."""
    lines = data.splitlines(keepends=True)
    rows = [i for i, line in enumerate(lines) if line[:1] in b'pd' and
            line.count(b',') == 5 and line[-2:-1].isdigit()]
    if not rows:
        return data
    for _ in range(rnd.randrange(1, 20)):
        cells = lines[i := rnd.choice(rows)].rstrip(b'\n').split(b',')
        if rnd.random() < 0.5:
            cells[4] = str(rnd.randrange(rnd.choice((4, 32)))).encode()
        else:
            cells[5] = rnd.choice((b'0', b'-3', b'1e30', b'0.5', b'1e-40'))
        lines[i] = b','.join(cells) + b'\n'
    return b''.join(lines)


def spoil_bytes(rnd, data):
    at = rnd.randrange(len(data))
    if rnd.random() < 0.2:
        return data[:at]
    return data[:at] + rnd.randbytes(rnd.randrange(1, 5)) + data[at + 1:]


TEXT_KINDS = (replace_number, rearrange_lines, spoil_bytes)


def trace_verb(rnd, trace):
    what = rnd.randrange(10)
    form = ('-o', rnd.choice(('text', 'json', 'csv')))
    if what < 4:
        caches = rnd.choice(((), ('--expert-cache', '1experts,50%,100%')))
        names = rnd.choice(((), ('--cache-policy', 'adaptive,cycle,s3fifo,min')))
        return ['trace', 'replay', trace, *form, *caches, *names]
    if what < 6:
        return ['trace', 'report', trace, '--out', '/dev/null']
    recall = rnd.choice(((), ('--routing-recall', '0.7')))
    routing = ('--routing', trace)
    if what < 8:
        return ['bench', TINY, '-p', '3', '-g', '4', *routing, *recall,
                *engine_options(rnd)]
    if what < 9:
        return ['plan', TINY, *routing, *recall, *engine_options(rnd), *form]
    return ['logits', TINY, '--tokens', '1,2,3', '--out', '/dev/null', *routing,
            *engine_options(rnd)]


class Traces:
    """Mutants of routing traces: plain, and with all records."""

    def __init__(self, folder):
        self.path = os.path.join(folder, 'mutant.csv')
        with open(os.path.join(e2e.DATA, 'traces', 'small.csv'), 'rb') as f:
            self.sources = [f.read()]
        for more in ((), ('--probs', '--timing')):
            p = e2e.run('trace', 'record', TINY, 'Once', '-n', '3', '--temp',
                        '0', '-o', self.path, *more)
            if p.returncode:
                raise RuntimeError(p.stderr.decode())
            with open(self.path, 'rb') as f:
                self.sources.append(f.read())

    def attempt(self, number, bed):
        rnd = random.Random(f'trace {number}')
        data = rnd.choice(self.sources)
        kind = rnd.choice((*TEXT_KINDS, change_choice, change_choice))
        for _ in range(rnd.choice((1, 1, 3))):
            data = kind(rnd, data) or b'\n'
        with open(self.path, 'wb') as f:
            f.write(data)
        args = trace_verb(rnd, self.path)
        why = bed.judge(args)
        return why and f'{kind.__name__} {args}: {why}'


class States:
    """Mutants of what is kept between runs, and of lists of tokens."""

    def __init__(self, folder):
        self.folder = os.path.join(folder, 'state')
        self.env = dict(os.environ, PENSTOCK_STATE=self.folder)
        self.ids = os.path.join(folder, 'ids.json')
        e2e.run('run', TINY, 'Once', '-n', '4', '-s', '1', env=self.env)
        self.files = {}
        for name in os.listdir(self.folder):
            with open(os.path.join(self.folder, name), 'rb') as f:
                self.files[name] = f.read()

    def _state(self, rnd, bed):
        name = rnd.choice(sorted(self.files))
        data = self.files[name]
        for _ in range(rnd.choice((1, 3))):
            if rnd.random() < 0.5:
                at = rnd.randrange(0, len(data) - 8, 4)
                new = some_integer(rnd, rnd.choice((4, 8)))
                data = data[:at] + new + data[at + len(new):]
            else:
                data = spoil_bytes(rnd, data)
            data = data.ljust(16, b'\x00')
        with open(os.path.join(self.folder, name), 'wb') as f:
            f.write(data)
        args = ['run', TINY, '-n', '4', *engine_options(rnd), 'Once']
        os.environ['PENSTOCK_STATE'], old = self.folder, \
            os.environ['PENSTOCK_STATE']
        why = bed.judge(args)
        os.environ['PENSTOCK_STATE'] = old
        return why and f'{name} {args}: {why}'

    def _ids(self, rnd, bed):
        data = b'[' + b','.join(str(rnd.randrange(3000)).encode()
                                for _ in range(20)) + b']\n'
        for _ in range(rnd.choice((1, 3))):
            data = rnd.choice((replace_number, spoil_bytes))(rnd, data) or b'1'
            if not re.search(rb'\d', data):
                data += b'7'
        with open(self.ids, 'wb') as f:
            f.write(data)
        if rnd.random() < 0.5:
            args = ['tokenize', TINY, '--decode', '-f', self.ids]
        else:
            args = ['logits', TINY, '--tokens-file', self.ids, '--out',
                    '/dev/null', '--ram', f'{RAM_MIB}MiB']
        why = bed.judge(args)
        return why and f'{args} with {data!r}: {why}'

    def attempt(self, number, bed):
        rnd = random.Random(f'state {number}')
        return (self._state if rnd.random() < 0.6 else self._ids)(rnd, bed)
