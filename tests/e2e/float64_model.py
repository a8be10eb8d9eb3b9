# SPDX-License-Identifier: MIT
"""The transformer block of the papers in float64, for families without a
recorded reference: weights of a golden model, another family's rules.  Written
from the publications, in the plainest form: all tokens at once, masked."""
import os
import struct
import sys

import pst_e2e as e2e

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(e2e.SRC, "scripts"))
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as err:
    e2e.skip(str(err))


def weights(model):
    """All tensors in float64, outermost dimension first."""
    return {t.name: gguf.dequantise(
        np.frombuffer(bytes(np.asarray(model.data(t))), np.uint8),
        t.type).astype(np.float64).reshape(list(reversed(t.dims)))
        for t in model.tensors}


def rewrite(source, path, arch, keys, tensors):
    """source's file under another architecture: keys {name: (type, value)} and
    F32 tensors {name: array} are added or take another's place; a tensor None
    is left out."""
    old = source.get("general.architecture")
    out = gguf.Writer(path, source.alignment)
    for key, (vtype, raw) in source.kv.items():
        if key == "general.architecture":
            raw = struct.pack("<Q", len(arch)) + arch.encode()
        key = key.replace(old + ".", arch + ".", 1)
        if key not in keys:
            out.add_raw(key, vtype, raw)
    for key, (vtype, value) in keys.items():
        if value is not None:
            out.add_raw(key, vtype, gguf.encode_value(vtype, value))
    for t in source.tensors:
        if t.name not in tensors:
            out.add_tensor(t.name, t.dims, t.type,
                           lambda t=t: [source.data(t)])
    for name, value in tensors.items():
        if value is not None:
            out.add_tensor(name, list(reversed(value.shape)), 0,
                           lambda value=value: [np.ascontiguousarray(
                               value, np.float32).reshape(-1)])
    out.write()


def softmax(x, axis=-1):
    p = np.exp(x - x.max(axis, keepdims=True))
    return p / p.sum(axis, keepdims=True)


def silu(x):
    return x / (1 + np.exp(-x))


class Model:
    """A family's rules; what differs is an attribute or a method."""
    halves = True  # rotated pairs are (i, i + n / 2), else (2 i, 2 i + 1)
    causal = True

    def __init__(self, w, heads, kv_heads, layers, eps, base):
        self.w = {k: np.asarray(v, np.float64) for k, v in w.items()}
        self.heads, self.kv_heads, self.layers = heads, kv_heads, layers
        self.eps, self.base = eps, base
        self.hd = self.w["blk.0.attn_q.weight"].shape[0] // heads

    def norm(self, x, name):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) \
            * self.w[name + ".weight"]

    def angles(self, n):
        """[n positions][hd / 2]."""
        return np.arange(n)[:, None] * self.base ** (
            -2.0 * np.arange(self.hd // 2) / self.hd)

    def magnitude(self):
        """What the rotated numbers are multiplied by."""
        return 1.0

    def rope(self, x):
        """x is [tokens, heads, hd]."""
        theta = self.angles(len(x))
        cos = (np.cos(theta) * self.magnitude())[:, None]
        sin = (np.sin(theta) * self.magnitude())[:, None]
        y = np.empty_like(x)
        half = self.hd // 2
        a, b = (slice(None, half), slice(half, None)) if self.halves else (
            slice(0, None, 2), slice(1, None, 2))
        y[..., a] = x[..., a] * cos - x[..., b] * sin
        y[..., b] = x[..., a] * sin + x[..., b] * cos
        return y

    def linear(self, x, name):
        return x @ self.w[name + ".weight"].T + self.w.get(name + ".bias", 0.0)

    def project(self, x, layer, which, heads):
        return self.linear(x, "blk.%d.attn_%s" % (layer, which)).reshape(
            len(x), heads, self.hd)

    def heat(self, q):
        return q

    def attention(self, x, layer):
        q = self.heat(self.rope(self.project(x, layer, "q", self.heads)))
        k = self.rope(self.project(x, layer, "k", self.kv_heads))
        v = self.project(x, layer, "v", self.kv_heads)
        group = self.heads // self.kv_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.hd)
        if self.causal:
            s[:, np.triu(np.ones(s.shape[1:], bool), 1)] = -np.inf
        out = np.einsum("hts,shd->thd", softmax(s), v).reshape(len(x), -1)
        return self.linear(out, "blk.%d.attn_output" % layer)

    def ffn(self, x, layer):
        blk = "blk.%d.ffn_" % layer
        return self.linear(silu(self.linear(x, blk + "gate")) *
                           self.linear(x, blk + "up"), blk + "down")

    def embed(self, tokens):
        return self.w["token_embd.weight"][tokens]

    def block(self, x, i):
        blk = "blk.%d." % i
        x = x + self.attention(self.norm(x, blk + "attn_norm"), i)
        return x + self.ffn(self.norm(x, blk + "ffn_norm"), i)

    def hidden(self, tokens):
        x = self.embed(tokens)
        for i in range(self.layers):
            x = self.block(x, i)
        return x

    def logits(self, tokens):
        return self.linear(self.norm(self.hidden(tokens), "output_norm"),
                           "output")


def nmse(want, got):
    return float(np.sum((got - want) ** 2) / np.sum(want ** 2))
