#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""qwen2 against a reference in float64: the golden dense Llama's weights under
the other architecture's rules (half-split rotation, biases on q, k and v)."""
import json
import os
import struct
import sys
import tempfile

import pst_e2e as e2e

sys.dont_write_bytecode = True
sys.path.insert(0, os.path.join(e2e.SRC, "scripts"))
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as err:
    e2e.skip(str(err))

CASE = os.path.join(e2e.DATA, "logits", "llama")
MAX_NMSE = 1e-10


def make_qwen2(source, path, biases):
    out = gguf.Writer(path, source.alignment)
    for key, (vtype, raw) in source.kv.items():
        if key == "general.architecture":
            raw = struct.pack("<Q", 5) + b"qwen2"
        out.add_raw(key.replace("llama.", "qwen2."), vtype, raw)
    for t in source.tensors:
        out.add_tensor(t.name, t.dims, t.type, lambda t=t: [source.data(t)])
    for name, value in biases.items():
        out.add_tensor(name, [len(value)], gguf.TYPE_ID["F32"],
                       lambda value=value: [value])
    out.write()


class Reference:
    """The transformer block of the papers, in float64, one token after the
    other being masked, not computed."""

    def __init__(self, model, biases):
        self.w = {t.name: np.asarray(model.data(t)).view(np.float32).astype(
            np.float64).reshape(list(reversed(t.dims)))
            for t in model.tensors}
        self.w.update({k: v.astype(np.float64) for k, v in biases.items()})
        self.get = lambda key: model.get("llama." + key)
        self.heads = self.get("attention.head_count")
        self.kv_heads = self.get("attention.head_count_kv")
        self.hd = self.w["blk.0.attn_q.weight"].shape[0] // self.heads

    def rms(self, x, name):
        eps = self.get("attention.layer_norm_rms_epsilon")
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + eps) \
            * self.w[name]

    def rope(self, x):
        """Pairs (i, i + hd / 2); x is [tokens, heads, hd]."""
        half = self.hd // 2
        base = self.get("rope.freq_base") or 10000.0
        theta = np.arange(len(x))[:, None] * base ** (
            -2.0 * np.arange(half) / self.hd)
        cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
        a, b = x[..., :half], x[..., half:]
        return np.concatenate([a * cos - b * sin, a * sin + b * cos], -1)

    def project(self, x, layer, which, heads):
        name = "blk.%d.attn_%s." % (layer, which)
        y = x @ self.w[name + "weight"].T + self.w[name + "bias"]
        return y.reshape(len(x), heads, self.hd)

    def attention(self, x, layer):
        q = self.rope(self.project(x, layer, "q", self.heads))
        k = self.rope(self.project(x, layer, "k", self.kv_heads))
        v = self.project(x, layer, "v", self.kv_heads)
        group = self.heads // self.kv_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.hd)
        s[:, np.triu(np.ones(s.shape[1:], bool), 1)] = -np.inf
        p = np.exp(s - s.max(-1, keepdims=True))
        p /= p.sum(-1, keepdims=True)
        out = np.einsum("hts,shd->thd", p, v).reshape(len(x), -1)
        return out @ self.w["blk.%d.attn_output.weight" % layer].T

    def ffn(self, x, layer):
        blk = "blk.%d.ffn_" % layer
        gate, up = (x @ self.w[blk + n + ".weight"].T for n in ("gate", "up"))
        return (gate / (1 + np.exp(-gate)) * up) @ self.w[
            blk + "down.weight"].T

    def logits(self, tokens):
        x = self.w["token_embd.weight"][tokens]
        for i in range(self.get("block_count")):
            blk = "blk.%d." % i
            x = x + self.attention(self.rms(x, blk + "attn_norm.weight"), i)
            x = x + self.ffn(self.rms(x, blk + "ffn_norm.weight"), i)
        return self.rms(x, "output_norm.weight") @ self.w["output.weight"].T


def main():
    tap = e2e.Tap()
    source = gguf.Reader(os.path.join(CASE, "model.gguf"))
    with open(os.path.join(CASE, "tokens.json")) as f:
        tokens = json.load(f)
    rng = np.random.default_rng(7)
    biases = {}
    for t in source.tensors:
        for which in "qkv":
            if t.name.endswith("attn_%s.weight" % which):
                biases[t.name.replace("weight", "bias")] = \
                    rng.standard_normal(t.dims[1]).astype(np.float32)
    want = Reference(source, biases).logits(tokens)
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "qwen2.gguf")
        make_qwen2(source, path, biases)
        got = np.frombuffer(e2e.logits(path, os.path.join(
            CASE, "tokens.json")), np.float32).reshape(want.shape)
        nmse = np.sum((got - want) ** 2) / np.sum(want ** 2)
        tap.check(nmse < MAX_NMSE, "qwen2 is the reference", "%g" % nmse)
        zero = {k: np.zeros_like(v) for k, v in biases.items()}
        make_qwen2(source, path, zero)
        other = e2e.logits(path, os.path.join(CASE, "tokens.json"))
        tap.check(other != got.tobytes(), "the biases take part")
        make_qwen2(source, path, {})
        p = e2e.run("logits", path, "--tokens", "1")
        tap.check(p.returncode == 65 and b"attn_q.bias" in p.stderr,
                  "without biases it is refused by name", p.stderr)
    tap.done()


if __name__ == "__main__":
    main()
