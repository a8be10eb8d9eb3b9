# SPDX-License-Identifier: MIT
"""Minimal GGUF reader and writer for the scripts: metadata as raw bytes, so
that a copy is exact, tensors as bytes, and the few quantised blocks that the
generators need.  Knows nothing of model families.

The files it reads are trusted (made by us or named by the user): a damaged one
raises an exception, no more.
"""
import mmap
import os
import struct
import sys

PYTHONS = ('/usr/bin/python3', 'python3')


def _import_numpy():
    """numpy, if need be by starting again under an interpreter that has it."""
    try:
        import numpy
        # A script that we start chooses for itself.
        os.environ.pop('PENSTOCK_PYTHON_TRIED', None)
        return numpy
    except ImportError:
        tried = int(os.environ.get('PENSTOCK_PYTHON_TRIED', '0'))
    os.environ['PENSTOCK_PYTHON_TRIED'] = str(tried + 1)
    if tried < len(PYTHONS) and sys.argv[0]:
        os.execvp(PYTHONS[tried], [PYTHONS[tried]] + sys.argv)
    sys.exit('penstock: missing python3-numpy; run scripts/setup')


np = _import_numpy()

U8, I8, U16, I16, U32, I32, F32, BOOL, STRING, ARRAY, U64, I64, F64 = range(13)
_SCALAR = {U8: 'B', I8: 'b', U16: 'H', I16: 'h', U32: 'I', I32: 'i', F32: 'f',
           BOOL: '?', U64: 'Q', I64: 'q', F64: 'd'}

# Tensor types of the format: name, weights in a block, bytes of a block.
TYPES = {
    0: ('F32', 1, 4), 1: ('F16', 1, 2), 30: ('BF16', 1, 2),
    2: ('Q4_0', 32, 18), 3: ('Q4_1', 32, 20), 6: ('Q5_0', 32, 22),
    7: ('Q5_1', 32, 24), 8: ('Q8_0', 32, 34),
    10: ('Q2_K', 256, 84), 11: ('Q3_K', 256, 110), 12: ('Q4_K', 256, 144),
    13: ('Q5_K', 256, 176), 14: ('Q6_K', 256, 210),
    16: ('IQ2_XXS', 256, 66), 17: ('IQ2_XS', 256, 74), 22: ('IQ2_S', 256, 82),
    18: ('IQ3_XXS', 256, 98), 21: ('IQ3_S', 256, 110), 19: ('IQ1_S', 256, 50),
    29: ('IQ1_M', 256, 56), 20: ('IQ4_NL', 32, 18), 23: ('IQ4_XS', 256, 136),
    34: ('TQ1_0', 256, 54), 35: ('TQ2_0', 256, 66), 39: ('MXFP4', 32, 17),
    40: ('NVFP4', 64, 36), 41: ('Q1_0', 128, 18), 42: ('Q2_0', 64, 18),
    24: ('I8', 1, 1), 25: ('I16', 1, 2), 26: ('I32', 1, 4), 27: ('I64', 1, 8),
    28: ('F64', 1, 8),
}
TYPE_ID = {name: number for number, (name, _, _) in TYPES.items()}

DEFAULT_ALIGNMENT = 32


def align_up(value, alignment):
    return (value + alignment - 1) // alignment * alignment


def tensor_bytes(dims, ttype):
    """Bytes of a tensor; a row must be a whole number of blocks."""
    name, elems, nbytes = TYPES[ttype]
    if dims[0] % elems:
        raise ValueError(f'rows of {dims[0]} are no whole {name} blocks')
    total = dims[0] // elems * nbytes
    for d in dims[1:]:
        total *= d
    return total


class Tensor:
    """One tensor: dims with the contiguous one first, offset in the file."""

    def __init__(self, name, dims, ttype, offset):
        self.name, self.dims, self.type = name, dims, ttype
        self.offset = offset
        self.nbytes = tensor_bytes(dims, ttype)

    @property
    def type_name(self):
        return TYPES[self.type][0]


class Reader:
    """One GGUF file; kv maps a key to (type, raw value bytes), in order.

    @header_only: it may end anywhere behind its tensor table."""

    def __init__(self, path, header_only=False):
        with open(path, 'rb') as f:
            self.map = mmap.mmap(f.fileno(), 0, access=mmap.ACCESS_READ)
        self.pos = 0
        magic, version, nr_tensors, nr_kv = self._unpack('<4sIqq')
        if magic != b'GGUF' or version not in (2, 3):
            raise ValueError(f'{path}: not a GGUF file of version 2 or 3')
        self.version = version
        self.kv = {}
        for _ in range(nr_kv):
            key = self._string().decode()
            vtype, = self._unpack('<i')
            start = self.pos
            self._skip(vtype)
            self.kv[key] = (vtype, self.map[start:self.pos])
        infos = [self._info() for _ in range(nr_tensors)]
        self.alignment = self.get('general.alignment', DEFAULT_ALIGNMENT)
        data = align_up(self.pos, self.alignment)
        self.tensors = [Tensor(name, dims, ttype, data + offset)
                        for name, dims, ttype, offset in infos]
        for t in self.tensors:
            if not header_only and t.offset + t.nbytes > len(self.map):
                raise ValueError(f'{path}: {t.name} lies beyond the file')

    def _unpack(self, fmt):
        values = struct.unpack_from(fmt, self.map, self.pos)
        self.pos += struct.calcsize(fmt)
        return values

    def _string(self):
        length, = self._unpack('<Q')
        start = self.pos
        self.pos += length
        return self.map[start:self.pos]

    def _skip(self, vtype):
        if vtype == STRING:
            self._string()
        elif vtype == ARRAY:
            elem, count = self._unpack('<iQ')
            if elem == STRING:
                for _ in range(count):
                    self._string()
            else:
                self.pos += count * struct.calcsize(_SCALAR[elem])
        else:
            self.pos += struct.calcsize(_SCALAR[vtype])

    def _info(self):
        name = self._string().decode()
        nr_dims, = self._unpack('<I')
        dims = list(self._unpack(f'<{nr_dims}q'))
        ttype, offset = self._unpack('<iQ')
        return name, dims, ttype, offset

    def get(self, key, default=None):
        """The value of a scalar or string key."""
        if key not in self.kv:
            return default
        vtype, raw = self.kv[key]
        if vtype == STRING:
            return raw[8:].decode()
        return struct.unpack('<' + _SCALAR[vtype], raw)[0]

    def find(self, name):
        return next((t for t in self.tensors if t.name == name), None)

    def data(self, tensor):
        """The tensor's bytes as uint8, inside the mapping."""
        return np.frombuffer(self.map, np.uint8, tensor.nbytes, tensor.offset)


def encode_value(vtype, value):
    """Raw bytes of a scalar, a string or (elem type, list)."""
    if vtype == STRING:
        text = value if isinstance(value, bytes) else value.encode()
        return struct.pack('<Q', len(text)) + text
    if vtype == ARRAY:
        elem, values = value
        head = struct.pack('<iQ', elem, len(values))
        if elem == STRING:
            return head + b''.join(encode_value(STRING, v) for v in values)
        return head + struct.pack(f'<{len(values)}{_SCALAR[elem]}', *values)
    return struct.pack('<' + _SCALAR[vtype], value)


class Writer:
    """Collects keys and tensors, then streams the file in one pass."""

    def __init__(self, path, alignment=DEFAULT_ALIGNMENT):
        self.path, self.alignment = path, alignment
        self.kv, self.tensors = [], []

    def add_raw(self, key, vtype, raw):
        self.kv.append((key, vtype, raw))

    def add(self, key, vtype, value):
        self.add_raw(key, vtype, encode_value(vtype, value))

    def add_tensor(self, name, dims, ttype, produce):
        """@produce: called without arguments when its turn to be written has
        come, returns an iterable of pieces of bytes."""
        self.tensors.append((name, list(dims), ttype, produce))

    def _header(self):
        out = [struct.pack('<4sIqq', b'GGUF', 3, len(self.tensors),
                           len(self.kv))]
        for key, vtype, raw in self.kv:
            out += [encode_value(STRING, key), struct.pack('<i', vtype), raw]
        offset = 0
        for name, dims, ttype, _ in self.tensors:
            out += [encode_value(STRING, name),
                    struct.pack(f'<I{len(dims)}qiQ', len(dims), *dims, ttype,
                                offset)]
            offset += align_up(tensor_bytes(dims, ttype), self.alignment)
        head = b''.join(out)
        return head + bytes(-len(head) % self.alignment)

    def write(self, progress=None):
        """Writes to a temporary name beside the file and renames it.

        @progress: called with the bytes written so far, after each tensor.
        Returns the size of the file.
        """
        temporary = f'{self.path}.tmp{os.getpid()}'
        try:
            with open(temporary, 'wb') as f:
                f.write(self._header())
                for name, dims, ttype, produce in self.tensors:
                    self._write_tensor(f, name, dims, ttype, produce)
                    if progress:
                        progress(f.tell())
                f.flush()
                os.fsync(f.fileno())
                size = f.tell()
            os.replace(temporary, self.path)
        finally:
            if os.path.exists(temporary):
                os.unlink(temporary)
        return size

    def _write_tensor(self, f, name, dims, ttype, produce):
        start = f.tell()
        for piece in produce():
            f.write(memoryview(piece).cast('B'))
        nbytes = f.tell() - start
        if nbytes != tensor_bytes(dims, ttype):
            raise ValueError(f'{name}: {nbytes} bytes written, '
                             f'{tensor_bytes(dims, ttype)} announced')
        f.write(bytes(-nbytes % self.alignment))


def _dequant_q4_k(blocks):
    d = blocks[:, 0:2].copy().view(np.float16).astype(np.float32)
    dmin = blocks[:, 2:4].copy().view(np.float16).astype(np.float32)
    s = blocks[:, 4:16]
    scale = np.concatenate([s[:, 0:4] & 63,
                            (s[:, 8:12] & 15) | (s[:, 0:4] >> 6 << 4)], 1)
    minimum = np.concatenate([s[:, 4:8] & 63,
                              (s[:, 8:12] >> 4) | (s[:, 4:8] >> 6 << 4)], 1)
    qs = blocks[:, 16:144].reshape(-1, 4, 1, 32)
    q = np.concatenate([qs & 15, qs >> 4], 2).reshape(-1, 8, 32)
    y = ((d * scale)[:, :, None] * q - (dmin * minimum)[:, :, None])
    return y.reshape(-1, 256)


def _dequant_q6_k(blocks):
    ql = blocks[:, 0:128].reshape(-1, 2, 2, 32)
    qh = blocks[:, 128:192].reshape(-1, 2, 1, 32)
    scale = blocks[:, 192:208].copy().view(np.int8).astype(np.float32)
    d = blocks[:, 208:210].copy().view(np.float16).astype(np.float32)
    low = np.concatenate([ql & 15, ql >> 4], 2)
    shift = np.array([0, 2, 4, 6], np.uint8).reshape(1, 1, 4, 1)
    q = (low | ((qh >> shift & 3) << 4)).astype(np.float32) - 32
    return ((d * scale)[:, :, None] * q.reshape(-1, 16, 16)).reshape(-1, 256)


def _dequant_q8_0(blocks):
    d = blocks[:, 0:2].copy().view(np.float16).astype(np.float32)
    return d * blocks[:, 2:34].copy().view(np.int8)


def _dequant_q4_1(blocks):
    d = blocks[:, 0:4].copy().view(np.float16).astype(np.float32)
    q = np.concatenate([blocks[:, 4:20] & 15, blocks[:, 4:20] >> 4], 1)
    return d[:, :1] * q + d[:, 1:]


def _dequant_q5_0(blocks):
    d = blocks[:, 0:2].copy().view(np.float16).astype(np.float32)
    high = np.unpackbits(blocks[:, 2:6], axis=1, bitorder='little')
    q = np.concatenate([blocks[:, 6:22] & 15, blocks[:, 6:22] >> 4], 1)
    return d * ((q | high << 4).astype(np.float32) - 16)


def _dequant_mxfp4(blocks):
    values = np.array([0, .5, 1, 1.5, 2, 3, 4, 6], np.float32)
    q = np.concatenate([blocks[:, 1:17] & 15, blocks[:, 1:17] >> 4], 1)
    return np.ldexp(np.concatenate([values, -values])[q],
                    blocks[:, :1].astype(np.int32) - 127)


_DEQUANT = {'Q4_1': _dequant_q4_1, 'Q4_K': _dequant_q4_k,
            'Q5_0': _dequant_q5_0, 'Q6_K': _dequant_q6_k,
            'Q8_0': _dequant_q8_0, 'MXFP4': _dequant_mxfp4}


def dequantise(raw, ttype):
    """float32 values of whole blocks (F32, F16 and those of _DEQUANT)."""
    name, _, nbytes = TYPES[ttype]
    raw = np.ascontiguousarray(raw)
    if name in ('F32', 'F16'):
        return raw.view({'F32': np.float32, 'F16': np.float16}[name]).astype(
            np.float32)
    return _DEQUANT[name](raw.reshape(-1, nbytes)).reshape(-1)
