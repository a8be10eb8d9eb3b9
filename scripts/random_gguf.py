# SPDX-License-Identifier: MIT
"""Parts of random models: weights of a given type and standard deviation, at the
speed of a copy, and a vocabulary.

The weights are centred: quantised blocks with a mean above zero would send every token
to the same few experts."""
import math
import sys
import zlib

import gguf_io as gguf
from gguf_io import np

POOL_BYTES = 8 << 20
CHUNK_BYTES = 4 << 20


def short_floats(values):
    """Rounded to seven bits, so that 7.5 times it is a float16 as well."""
    mantissa, exponent = np.frexp(values)
    return np.ldexp(np.round(mantissa * 128) / 128, exponent)


def q4_k_pool(rng, nr, std):
    """d, dmin, 8 scales and minima of six bits, 256 nibbles.  A nibble's mean
    is 7.5, so minimum = scale and dmin = 7.5 d give exactly centred weights;
    a nibble's standard deviation is sqrt(255 / 12)."""
    pool = rng.integers(0, 256, (nr, 144), np.uint8)
    scale = rng.integers(20, 45, (nr, 8), np.uint8)
    d = std / math.sqrt(255 / 12 * np.mean(np.square(np.arange(20., 45.))))
    d = short_floats(d * rng.uniform(0.9, 1.1, (nr, 1)))
    pool[:, 0:2] = d.astype(np.float16).view(np.uint8)
    pool[:, 2:4] = (7.5 * d).astype(np.float16).view(np.uint8)
    low, high = scale[:, :4], scale[:, 4:]
    pool[:, 4:8] = low | (high >> 4 << 6)
    pool[:, 8:12] = pool[:, 4:8]
    pool[:, 12:16] = (high & 15) | ((high & 15) << 4)
    return pool


def q6_k_pool(rng, nr, std):
    """Scales of both signs centre the weights; q - 32 has the mean square
    (64^2 - 1) / 12 + 1 / 4."""
    pool = rng.integers(0, 256, (nr, 210), np.uint8)
    scale = rng.integers(40, 81, (nr, 16)).astype(np.int8)
    scale *= rng.choice(np.array([-1, 1], np.int8), scale.shape)
    square = (64 * 64 - 1) / 12 + 0.25
    d = std / math.sqrt(square * np.mean(np.square(np.arange(40., 81.))))
    d = d * rng.uniform(0.9, 1.1, (nr, 1))
    pool[:, 192:208] = scale.view(np.uint8)
    pool[:, 208:210] = d.astype(np.float16).view(np.uint8)
    return pool


def q8_0_pool(rng, nr, std):
    """Bytes have the mean -1/2, which alternating signs of d take away."""
    pool = rng.integers(0, 256, (nr, 34), np.uint8)
    d = std / math.sqrt((256 * 256 - 1) / 12 + 0.25)
    d = d * rng.uniform(0.9, 1.1, (nr, 1))
    d *= rng.choice(np.array([-1., 1.]), d.shape)
    pool[:, 0:2] = d.astype(np.float16).view(np.uint8)
    return pool


def q5_0_pool(rng, nr, std):
    """As Q8_0: a quant's mean is 15.5 and 16 is taken off."""
    pool = rng.integers(0, 256, (nr, 22), np.uint8)
    d = std / math.sqrt((32 * 32 - 1) / 12 + 0.25)
    d = d * rng.uniform(0.9, 1.1, (nr, 1))
    d *= rng.choice(np.array([-1., 1.]), d.shape)
    pool[:, 0:2] = d.astype(np.float16).view(np.uint8)
    return pool


def mxfp4_pool(rng, nr, std):
    """Values of both signs with the mean square 137 / 16; of the two powers of
    two around the scale that would be right, the mix with the right square."""
    pool = rng.integers(0, 256, (nr, 17), np.uint8)
    d = std / math.sqrt(137 / 16)
    low = math.floor(math.log2(d))
    share = ((d / 2. ** low) ** 2 - 1) / 3
    pool[:, 0] = 127 + low + (rng.random(nr) < share)
    return pool


# Per type: maker of a pool, and the bytes of a block that hold nothing but
# uniformly random quants: xor with a constant gives others as good.
POOLS = {
    'Q4_K': (q4_k_pool, slice(16, 144)),
    'Q6_K': (q6_k_pool, slice(0, 192)),
    'Q8_0': (q8_0_pool, slice(2, 34)),
    'Q5_0': (q5_0_pool, slice(2, 22)),
    'MXFP4': (mxfp4_pool, slice(1, 17)),
}


class Weights:
    """Random tensors at the speed of a copy: slices of a pool of blocks, each
    at its own place and with its own xor mask."""

    def __init__(self, seed):
        self.seed = seed
        self.pools = {}

    def rng(self, name):
        return np.random.default_rng([self.seed, zlib.crc32(name.encode())])

    def pool(self, type_name, std):
        key = type_name, std
        if key not in self.pools:
            _, _, nbytes = gguf.TYPES[gguf.TYPE_ID[type_name]]
            make, _ = POOLS[type_name]
            self.pools[key] = make(self.rng(f'pool {type_name} {std}'),
                                   POOL_BYTES // nbytes, std)
        return self.pools[key]

    def blocks(self, rng, type_name, std, nbytes):
        """Pieces of @nbytes random blocks; one stack of experts is many
        calls, so no two experts are alike."""
        pool = self.pool(type_name, std)
        quants = POOLS[type_name][1]
        left = nbytes // pool.shape[1]
        most = CHUNK_BYTES // pool.shape[1]
        while left:
            count = min(left, most)
            first = rng.integers(0, len(pool) - count + 1)
            piece = pool[first:first + count].copy()
            mask = rng.integers(0, 256, quants.stop - quants.start, np.uint8)
            piece[:, quants] ^= mask
            yield piece
            left -= count

    def matrix(self, name, dims, type_name, std):
        """Pieces of a tensor {n_in, n_out[, nr_experts]}."""
        rng = self.rng(name)
        nr = dims[2] if len(dims) > 2 else 1
        nbytes = gguf.tensor_bytes(dims, gguf.TYPE_ID[type_name]) // nr
        for _ in range(nr):
            if type_name == 'F32':
                yield rng.standard_normal(nbytes // 4, np.float32) \
                    * np.float32(std)
            elif type_name == 'F16':
                yield (rng.standard_normal(nbytes // 2, np.float32)
                       * np.float32(std)).astype(np.float16)
            else:
                yield from self.blocks(rng, type_name, std, nbytes)

    def norm(self, name, dims):
        """Weights of a norm: near one."""
        return [self.rng(name).uniform(0.9, 1.1, dims).astype(np.float32)]

    def router(self, name, dims, gain, skew):
        """N(0, 1) rows scaled to the gain; @skew makes some experts more
        popular, as they are in trained models."""
        n, experts = dims
        rng = self.rng(name)
        w = rng.standard_normal((experts, n), np.float32) * gain / math.sqrt(n)
        popular = np.exp(skew * rng.standard_normal((experts, 1)))
        return [(w * popular).astype(np.float32)]


# Written for these files; the shape is ChatML's.
CHAT_TEMPLATE = (
    "{% for m in messages %}<|im_start|>{{ m['role'] }}\n"
    "{{ m['content'] }}<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}")


def byte_symbols():
    """The visible character that byte-level BPE writes for each byte."""
    plain = [*range(0x21, 0x7f), *range(0xa1, 0xad), *range(0xae, 0x100)]
    symbols, extra = {}, 0
    for b in range(256):
        if b in plain:
            symbols[b] = chr(b)
        else:
            symbols[b] = chr(256 + extra)
            extra += 1
    return [symbols[b] for b in range(256)]


def vocabulary(size):
    """(tokens, types, merges, id of the first special token): bytes, merges of
    letters as far as they fit, three special tokens, unused ones."""
    specials = ['<|endoftext|>', '<|im_start|>', '<|im_end|>']
    tokens = byte_symbols()
    room = size - len(tokens) - len(specials)
    if room < 0:
        sys.exit(f'penstock: a vocabulary needs {size - room} tokens or more')
    small = [chr(c) for c in range(ord('a'), ord('z') + 1)]
    space = byte_symbols()[32]
    firsts = small + [space] + [c.upper() for c in small]
    pairs = [(a, b) for a in firsts for b in small]
    triples = [(a + b, c) for a, b in pairs for c in small]
    merges = (pairs + triples)[:room]
    tokens = tokens + [a + b for a, b in merges]
    first_special = len(tokens)
    types = [1] * len(tokens) + [3] * len(specials)
    tokens += specials
    unused = size - len(tokens)
    tokens += [f'[PAD{len(tokens) + i}]' for i in range(unused)]
    types += [5] * unused
    return tokens, types, [f'{a} {b}' for a, b in merges], first_special


def add_tokenizer(out, size):
    """A byte-level vocabulary of @size tokens, with a chat template."""
    tokens, types, merges, special = vocabulary(size)
    out.add('tokenizer.ggml.model', gguf.STRING, 'gpt2')
    out.add('tokenizer.ggml.pre', gguf.STRING, 'qwen2')
    out.add('tokenizer.ggml.tokens', gguf.ARRAY, (gguf.STRING, tokens))
    out.add('tokenizer.ggml.token_type', gguf.ARRAY, (gguf.I32, types))
    out.add('tokenizer.ggml.merges', gguf.ARRAY, (gguf.STRING, merges))
    out.add('tokenizer.ggml.bos_token_id', gguf.U32, special)
    out.add('tokenizer.ggml.eos_token_id', gguf.U32, special + 2)
    out.add('tokenizer.ggml.padding_token_id', gguf.U32, special)
    out.add('tokenizer.ggml.add_bos_token', gguf.BOOL, False)
    out.add('tokenizer.chat_template', gguf.STRING, CHAT_TEMPLATE)
