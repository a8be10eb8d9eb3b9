#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Families without a recorded reference, against the same arithmetic in
float64: a golden model's weights under the other family's rules."""
import json
import os
import tempfile

import float64_model as ref
import pst_e2e as e2e
from float64_model import gguf, np

MAX_NMSE = 1e-10
DATA = os.path.join(e2e.DATA, "logits")


def load(case):
    """A golden model and its tokens."""
    folder = os.path.join(DATA, case)
    with open(os.path.join(folder, "tokens.json")) as f:
        return gguf.Reader(os.path.join(folder, "model.gguf")), json.load(f)


def geometry(source):
    arch = source.get("general.architecture")

    def get(key):
        return source.get("%s.%s" % (arch, key))
    return {"heads": get("attention.head_count"),
            "kv_heads": get("attention.head_count_kv"),
            "layers": get("block_count"),
            "eps": get("attention.layer_norm_rms_epsilon"),
            "base": get("rope.freq_base")}


class Case:
    """One model file that is written, run and compared."""

    def __init__(self, source, tokens, arch):
        self.source, self.tokens, self.arch = source, tokens, arch
        self.keys, self.tensors = {}, {}
        self.rng = np.random.default_rng(7)

    def number(self, name, vtype, value):
        self.keys["%s.%s" % (self.arch, name)] = (vtype, value)

    def add(self, name, shape, spread=1.0, about=0.0):
        self.tensors[name] = (about + spread * self.rng.standard_normal(
            shape)).astype(np.float32)

    def add_biases(self, *suffixes):
        """A bias for each matrix or norm whose name ends so."""
        for t in self.source.tensors:
            if any(t.name.endswith(s + ".weight") for s in suffixes):
                self.add(t.name.replace("weight", "bias"),
                         t.dims[1] if len(t.dims) > 1 else t.dims[0], 0.3)

    def weights(self):
        w = ref.weights(self.source)
        w.update(self.tensors)
        return w

    def write(self, path):
        ref.rewrite(self.source, path, self.arch, self.keys, self.tensors)

    def run(self, *options):
        """Logits [tokens][vocabulary]; raises where it is refused."""
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "model.gguf")
            tokens = os.path.join(tmp, "tokens.json")
            self.write(path)
            with open(tokens, "w") as f:
                json.dump(self.tokens, f)
            out = e2e.logits(path, tokens, *options)
        return np.frombuffer(out, np.float32).reshape(len(self.tokens), -1)

    def refusal(self):
        with tempfile.TemporaryDirectory() as tmp:
            path = os.path.join(tmp, "model.gguf")
            self.write(path)
            return e2e.run("logits", path, "--tokens", "1")


def check(tap, name, case, model, *options):
    want = model.logits(case.tokens)
    err = ref.nmse(want, case.run(*options))
    tap.check(err < MAX_NMSE, name + " is the reference", "NMSE %g" % err)
    return want


def matters(tap, name, want, model, case):
    """The reference without something is another: the case can tell."""
    err = ref.nmse(want, model.logits(case.tokens))
    tap.check(err > 1e-6, name + " takes part", "NMSE %g" % err)


def test_qwen2(tap):
    source, tokens = load("llama")
    case = Case(source, tokens, "qwen2")
    case.add_biases("attn_q", "attn_k", "attn_v")
    want = check(tap, "qwen2", case, ref.Model(case.weights(),
                                               **geometry(source)))
    matters(tap, "qwen2: the bias", want,
            ref.Model(ref.weights(source), **geometry(source)), case)
    case.tensors = {}
    p = case.refusal()
    tap.check(p.returncode == 65 and b"attn_q.bias" in p.stderr,
              "qwen2 without biases is refused by name", p.stderr)


class Mistral3(ref.Model):
    """Pairs of neighbours, YaRN, q heated with the position."""
    halves = False
    factor, original, temp, mul = 4.0, 16, 0.3, 0.0

    def angles(self, n):
        i = np.arange(self.hd // 2)
        base = self.base ** (-2.0 * i / self.hd)

        def dim(turns):
            return self.hd * np.log(self.original / (turns * 2 * np.pi)) / (
                2 * np.log(self.base))
        lo = max(0.0, np.floor(dim(32.0)))
        hi = min(self.hd - 1.0, np.ceil(dim(1.0)))
        keep = 1 - np.clip((i - lo) / max(0.001, hi - lo), 0, 1)
        return np.arange(n)[:, None] * (
            base * keep + base / self.factor * (1 - keep))

    def magnitude(self):
        return (1 + 0.1 * np.log(self.factor)) / (
            1 + 0.1 * self.mul * np.log(self.factor))

    def heat(self, q):
        pos = np.arange(len(q))[:, None, None]
        return q * (1 + self.temp * np.log1p(np.floor(pos / self.original)))


def test_mistral3(tap):
    source, tokens = load("llama")
    for mul in (0.0, 1.0):
        case = Case(source, tokens, "mistral3")
        model = Mistral3(case.weights(), **geometry(source))
        model.mul = mul
        case.number("rope.scaling.type", gguf.STRING, "yarn")
        case.number("rope.scaling.factor", gguf.F32, model.factor)
        case.number("rope.scaling.original_context_length", gguf.U32,
                    model.original)
        case.number("rope.scaling.yarn_log_multiplier", gguf.F32, mul)
        case.number("attention.temperature_scale", gguf.F32, model.temp)
        want = check(tap, "mistral3, log multiplier %g" % mul, case, model)
    model.temp = 0.0
    matters(tap, "mistral3: the temperature", want, model, case)
    model.temp, model.mul = 0.3, 0.0
    matters(tap, "mistral3: the log multiplier", want, model, case)


class SmolLM3(ref.Model):
    """Pairs of neighbours; blocks that do not rotate."""
    halves = False
    period = 4

    def attention(self, x, layer):
        self.still = (layer + 1) % self.period == 0
        return super().attention(x, layer)

    def angles(self, n):
        return super().angles(n) * (not self.still)


def test_smollm3(tap):
    """Two blocks become four: without the fourth there is nothing to see."""
    source, tokens = load("llama")
    case = Case(source, tokens, "smollm3")
    layers = 2 * geometry(source)["layers"]
    w = ref.weights(source)
    for name, values in w.items():
        if name.startswith("blk."):
            _, i, rest = name.split(".", 2)
            case.tensors["blk.%d.%s" % (int(i) + layers // 2, rest)] = values
    case.number("block_count", gguf.U32, layers)
    model = SmolLM3(case.weights(), **dict(geometry(source), layers=layers))
    want = check(tap, "smollm3", case, model)
    model.period = layers + 1
    matters(tap, "smollm3: a block that does not rotate", want, model, case)


class Ernie(ref.Model):
    """Pairs of neighbours, and nothing else."""
    halves = False


def test_ernie(tap):
    source, tokens = load("llama")
    case = Case(source, tokens, "ernie4_5")
    model = Ernie(case.weights(), **geometry(source))
    want = check(tap, "ernie4_5", case, model)
    model.halves = True
    matters(tap, "ernie4_5: which numbers make a pair", want, model, case)


class Hunyuan(ref.Model):
    """Heads of q and k are normed after the rotation."""
    late = True

    def project(self, x, layer, which, heads):
        self.named = "blk.%d.attn_%s_norm" % (layer, which)
        y = super().project(x, layer, which, heads)
        return y if self.late or which == "v" else self.norm(y, self.named)

    def rope(self, x):
        y = super().rope(x)
        return self.norm(y, self.named) if self.late else y


def test_hunyuan(tap):
    source, tokens = load("llama")
    case = Case(source, tokens, "hunyuan-dense")
    g = geometry(source)
    hd = source.find("blk.0.attn_q.weight").dims[1] // g["heads"]
    for i in range(g["layers"]):
        for which in "qk":
            case.add("blk.%d.attn_%s_norm.weight" % (i, which), hd, 0.5, 1.0)
    model = Hunyuan(case.weights(), **g)
    want = check(tap, "hunyuan-dense", case, model)
    model.late = False
    matters(tap, "hunyuan-dense: norms behind the rotation", want, model, case)
    case.tensors = {}
    p = case.refusal()
    tap.check(p.returncode == 65 and b"attn_q_norm" in p.stderr,
              "hunyuan-dense without norms is refused by name", p.stderr)


class Llama4(ref.Model):
    """Three of four blocks see their own run of positions and rotate, the
    fourth sees all and heats q.  One expert, weighed before it is computed, and
    a shared one; or a dense block, where one in @step has experts."""
    halves = False
    period, run, heat_scale, rms, step = 4, 8192, 0.1, True, 1

    def unit(self, x):
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps)

    def angles(self, n):
        return super().angles(n) / self.w.get("rope_freqs.weight", 1.0)

    def heads_of(self, x, layer, which, heads, full):
        y = self.project(x, layer, which, heads)
        if full:
            return y
        y = self.rope(y)
        return self.unit(y) if self.rms else y

    def attention(self, x, layer):
        full = (layer + 1) % self.period == 0
        pos = np.arange(len(x))
        q = self.heads_of(x, layer, "q", self.heads, full)
        k = self.heads_of(x, layer, "k", self.kv_heads, full)
        v = self.project(x, layer, "v", self.kv_heads)
        if full:
            q = q * (1 + self.heat_scale * np.log1p(
                (pos + 1) // self.run))[:, None, None]
        k, v = (np.repeat(y, self.heads // self.kv_heads, 1) for y in (k, v))
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.hd)
        hidden = pos[None, :] > pos[:, None]
        if not full:
            hidden |= pos[None, :] // self.run != pos[:, None] // self.run
        s[:, hidden] = -np.inf
        out = np.einsum("hts,shd->thd", ref.softmax(s), v).reshape(len(x), -1)
        return self.linear(out, "blk.%d.attn_output" % layer)

    def ffn(self, x, layer):
        if (layer + 1) % self.step:
            return super().ffn(x, layer)
        blk = "blk.%d.ffn_" % layer
        gate, up, down = (self.w[blk + "%s_exps.weight" % part]
                          for part in ("gate", "up", "down"))
        scores = self.linear(x, blk + "gate_inp")
        y = self.linear(ref.silu(self.linear(x, blk + "gate_shexp")) *
                        self.linear(x, blk + "up_shexp"), blk + "down_shexp")
        for t, e in enumerate(scores.argmax(1)):
            z = x[t] / (1 + np.exp(-scores[t, e]))
            y[t] += down[e] @ (ref.silu(gate[e] @ z) * (up[e] @ z))
        return y


def llama4(experts, step, run):
    """(case, reference): 4 blocks of random weights in a golden model's frame."""
    source, tokens = load("llama")
    g = geometry(source)
    case = Case(source, tokens, "llama4")
    n = source.get("llama.embedding_length")
    ff, fe, layers = 96, 64, 4
    hd = source.find("blk.0.attn_q.weight").dims[1] // g["heads"]
    case.add("rope_freqs.weight", hd // 2, 0.3, 2.0)
    for i in range(layers):
        blk = "blk.%d." % i
        for name, rows, width in (("attn_q", g["heads"] * hd, n),
                                  ("attn_k", g["kv_heads"] * hd, n),
                                  ("attn_v", g["kv_heads"] * hd, n),
                                  ("attn_output", n, g["heads"] * hd)):
            case.add(blk + name + ".weight", (rows, width), 2 / width ** 0.5)
        for name in ("attn_norm", "ffn_norm"):
            case.add(blk + name + ".weight", n, 0.1, 1.0)
        for part, a, b in (("gate", ff, n), ("up", ff, n), ("down", n, ff)):
            name = blk + "ffn_" + part
            dense = (i + 1) % step
            case.tensors[name + ".weight"] = None
            if dense:
                case.add(name + ".weight", (a, b), 1 / b ** 0.5)
                continue
            a, b = (fe if x == ff else x for x in (a, b))
            case.add(name + "_exps.weight", (experts, a, b), 1 / b ** 0.5)
            case.add(name + "_shexp.weight", (a, b), 1 / b ** 0.5)
        if not (i + 1) % step:
            case.add(blk + "ffn_gate_inp.weight", (experts, n), 2 / n ** 0.5)
    for name, value in (("block_count", layers), ("expert_count", experts),
                        ("expert_used_count", 1), ("feed_forward_length", ff),
                        ("expert_feed_forward_length", fe),
                        ("interleave_moe_layer_step", step),
                        ("attention.sliding_window", run)):
        case.number(name, gguf.U32, value)
    w = {k: v for k, v in case.weights().items() if v is not None}
    model = Llama4(w, **dict(g, layers=layers))
    model.run, model.step, model.rms = run, step, experts != 128
    return case, model


def test_llama4(tap):
    """Past a run of positions, which the golden case does not reach; and with
    128 experts in every other block, as Maverick has them."""
    for experts, step in ((16, 1), (128, 2)):
        name = "llama4, %d experts" % experts
        case, model = llama4(experts, step, 9)
        want = check(tap, name, case, model)
        model.heat_scale = 0.0
        matters(tap, name + ": the heat", want, model, case)
        model.heat_scale, model.rms = 0.1, not model.rms
        matters(tap, name + ": the norm of q and k", want, model, case)
        model.rms, model.run = not model.rms, 10
        matters(tap, name + ": the run's length", want, model, case)


class PhiMoe(ref.Model):
    """Norms about the mean, biases everywhere, LongRoPE, SparseMixer."""
    factors = None
    mscale = 1.0
    mixer = True

    def norm(self, x, name):
        x = x - np.mean(x, -1, keepdims=True)
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) \
            * self.w[name + ".weight"] + self.w[name + ".bias"]

    def angles(self, n):
        return super().angles(n) / self.factors

    def magnitude(self):
        return self.mscale

    def choose(self, logits):
        """(expert, weight) of one token, as SparseMixer has it."""
        left = logits.copy()
        for _ in range(2):
            best = left.max()
            far = (best - logits) / np.maximum(np.abs(logits), best) > 0.02
            e = int(left.argmax())
            yield e, ref.softmax(np.where(far, -np.inf, left))[e]
            left[e] = -np.inf

    def ffn(self, x, layer):
        blk = "blk.%d.ffn_" % layer
        y = np.zeros_like(x)
        for t, logits in enumerate(self.linear(x, blk + "gate_inp")):
            chosen = list(self.choose(logits))
            if not self.mixer:
                all_w = ref.softmax(logits)
                s = sum(all_w[e] for e, _ in chosen)
                chosen = [(e, all_w[e] / s) for e, _ in chosen]
            for e, weight in chosen:
                gate, up, down = (self.w[blk + n + "_exps.weight"][e]
                                  for n in ("gate", "up", "down"))
                y[t] += weight * (down @ (ref.silu(gate @ x[t]) *
                                          (up @ x[t])))
        return y


def phimoe(source, tokens):
    case = Case(source, tokens, "phimoe")
    case.add_biases("attn_norm", "ffn_norm", "output_norm", "attn_q",
                    "attn_k", "attn_v", "attn_output", "output")
    # Near ties, or the mixer would give the best all the weight.
    for t in source.tensors:
        if t.name.endswith("ffn_gate_inp.weight"):
            case.add(t.name, (t.dims[1], t.dims[0]), 0.003)
            case.add(t.name.replace("weight", "bias"), t.dims[1], 0.01, 0.5)
    for which in ("short", "long"):
        case.tensors["rope_factors_%s.weight" % which] = case.rng.uniform(
            1.0, 4.0, 16).astype(np.float32)
    case.number("rope.scaling.original_context_length", gguf.U32, 256)
    case.number("rope.scaling.attn_factor", gguf.F32, 1.19)
    model = PhiMoe(case.weights(), **geometry(source))
    model.mscale = float(np.float32(1.19))
    return case, model


def test_phimoe(tap):
    source, tokens = load("llama-mixtral")
    case, model = phimoe(source, tokens)
    for which, ctx in (("short", 256), ("long", 512)):
        model.factors = case.tensors["rope_factors_%s.weight" % which].astype(
            np.float64)
        want = check(tap, "phimoe, %s factors" % which, case, model,
                     "--ctx-size", ctx)
    model.mixer = False
    matters(tap, "phimoe: the mixer", want, model, case)
    case.number("expert_gating_func", gguf.U32, 1)
    check(tap, "phimoe with softmax", case, model, "--ctx-size", 512)
    del case.keys["phimoe.expert_gating_func"]
    one, other = case.run("--resident"), case.run(
        "--expert-cache", "2experts", "--batch-size", "5")
    tap.check(one.tobytes() == other.tobytes(),
              "phimoe: streamed and resident are the same bytes")
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "model.gguf")
        case.write(path)
        p = e2e.run("trace", "record", path, "some words", "--raw", "-n", "2",
                    "--probs", "-o", os.path.join(tmp, "trace"))
        tap.check(not p.returncode, "phimoe: its probabilities are recorded",
                  p.stderr)


class MinimaxM3(ref.Model):
    """Norms of heads, runs of positions of which each KV head takes the best,
    a shared expert, SwiGLU with limits."""
    run, top_k, local, scale = 3, 4, 2, 2.0

    def rope(self, x):
        """The heads that choose are longer than what is rotated."""
        return np.concatenate([super().rope(x[..., :self.hd]),
                               x[..., self.hd:]], -1)

    def seen(self, q, k):
        """[kv_heads][tokens][positions] that are attended to."""
        mask = np.zeros((self.kv_heads, len(k), len(k)), bool)
        for t in range(len(k)):
            runs = [slice(at, min(at + self.run, t + 1))
                    for at in range(0, t + 1, self.run)]
            for h in range(self.kv_heads):
                score = k @ q[t, h]
                worth = np.array([score[r].max() for r in runs])
                worth[-self.local:] = np.inf
                for r in np.argsort(-worth, kind="stable")[:self.top_k]:
                    mask[h, t, runs[r]] = True
        return mask

    def attention(self, x, layer):
        blk = "blk.%d." % layer
        q, k, iq, ik = (self.rope(self.norm(self.linear(
            x, blk + name).reshape(len(x), heads, -1), blk + norm))
            for name, heads, norm in (
                ("attn_q", self.heads, "attn_q_norm"),
                ("attn_k", self.kv_heads, "attn_k_norm"),
                ("indexer.q_proj", self.kv_heads, "indexer.q_norm"),
                ("indexer.k_proj", 1, "indexer.k_norm")))
        v = self.project(x, layer, "v", self.kv_heads)
        group = self.heads // self.kv_heads
        k, v = np.repeat(k, group, 1), np.repeat(v, group, 1)
        s = np.einsum("thd,shd->hts", q, k) / np.sqrt(self.hd)
        s[~np.repeat(self.seen(iq, ik[:, 0]), group, 0)] = -np.inf
        out = np.einsum("hts,shd->thd", ref.softmax(s), v)
        return self.linear(out.reshape(len(x), -1), blk + "attn_output")

    def expert(self, x, gate, up, down):
        g, u = np.minimum(gate @ x, 7.0), np.clip(up @ x, -7.0, 7.0)
        return down @ (g / (1 + np.exp(-1.702 * g)) * (u + 1))

    def ffn(self, x, layer):
        blk = "blk.%d.ffn_" % layer
        y = np.zeros_like(x)
        p = 1 / (1 + np.exp(-self.linear(x, blk + "gate_inp")))
        for t in range(len(x)):
            best = np.argsort(-(p[t] + self.w[
                "blk.%d.exp_probs_b.bias" % layer]), kind="stable")[:2]
            y[t] = self.expert(x[t], *(self.w["%s%s_shexp.weight" % (blk, n)]
                                       for n in ("gate", "up", "down")))
            for e in best:
                y[t] += self.scale * p[t, e] / p[t, best].sum() * self.expert(
                    x[t], *(self.w["%s%s_exps.weight" % (blk, n)][e]
                            for n in ("gate", "up", "down")))
        return y


def test_minimax_m3(tap):
    source, tokens = load("llama-mixtral")
    case = Case(source, tokens, "minimax-m3")
    shape = geometry(source)
    n, hd = source.find("token_embd.weight").dims[0], 64
    rows = source.find("blk.0.attn_q.weight").dims[1] // shape["heads"]
    ff, experts = source.find("blk.0.ffn_up_exps.weight").dims[1:]
    for i in range(shape["layers"]):
        for name, length in (("attn_q_norm", rows), ("attn_k_norm", rows),
                             ("indexer.q_norm", hd), ("indexer.k_norm", hd)):
            case.add("blk.%d.%s.weight" % (i, name), length, 0.2, 1.0)
        for name, out in (("q_proj", shape["kv_heads"] * hd), ("k_proj", hd)):
            case.add("blk.%d.indexer.%s.weight" % (i, name), (out, n),
                     n ** -0.5)
        for name, dims in (("gate", (ff, n)), ("up", (ff, n)),
                           ("down", (n, ff))):
            case.add("blk.%d.ffn_%s_shexp.weight" % (i, name), dims,
                     dims[1] ** -0.5)
        case.add("blk.%d.exp_probs_b.bias" % i, experts, 0.1)
    model = MinimaxM3(case.weights(), **shape)
    numbers = {"expert_feed_forward_length": ff, "expert_shared_count": 1,
               "attention.indexer.head_count": shape["kv_heads"],
               "attention.indexer.key_length": hd,
               "attention.indexer.block_size": model.run,
               "attention.indexer.top_k": model.top_k,
               "attention.indexer.local_blocks": model.local}
    for name, value in numbers.items():
        case.number(name, gguf.U32, value)
    case.number("expert_weights_scale", gguf.F32, model.scale)
    want = check(tap, "minimax-m3", case, model)
    model.local = 1
    matters(tap, "minimax-m3: what is always taken", want, model, case)
    model.top_k = len(tokens)
    matters(tap, "minimax-m3: what is left out", want, model, case)


class Encoder(ref.Model):
    """Both ways, norms about the mean behind the sums."""
    causal = False

    def norm(self, x, name):
        x = x - np.mean(x, -1, keepdims=True)
        return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + self.eps) \
            * self.w[name + ".weight"] + self.w[name + ".bias"]

    def embed(self, tokens):
        x = self.w["token_embd.weight"][tokens] + self.w[
            "token_types.weight"][0]
        return self.norm(x, "token_embd_norm")

    def block(self, x, i):
        blk = "blk.%d." % i
        x = self.norm(x + self.attention(x, i), blk + "attn_output_norm")
        return self.norm(x + self.ffn(x, i), blk + "layer_output_norm")

    logits = ref.Model.hidden


def nomic_bert(source, tokens):
    """The fused matrix is the golden model's three."""
    case = Case(source, tokens, "nomic-bert")
    shape = geometry(source)
    n = source.find("token_embd.weight").dims[0]
    norms = ["token_embd_norm"]
    for i in range(shape["layers"]):
        norms += ["blk.%d.attn_output_norm" % i, "blk.%d.layer_output_norm" % i]
    for name in norms:
        case.add(name + ".weight", n, 0.2, 1.0)
        case.add(name + ".bias", n, 0.2)
    case.add("token_types.weight", (2, n), 0.5)
    model = Encoder(case.weights(), **shape)
    for i in range(shape["layers"]):
        parts = ["blk.%d.attn_%s.weight" % (i, x) for x in "qkv"]
        case.tensors["blk.%d.attn_qkv.weight" % i] = np.concatenate(
            [model.w[p] for p in parts])
        case.tensors.update(dict.fromkeys(parts))
        case.tensors.update(dict.fromkeys(
            "blk.%d.%s.weight" % (i, x) for x in ("attn_norm", "ffn_norm")))
    case.tensors.update({"output.weight": None, "output_norm.weight": None})
    case.number("attention.layer_norm_rms_epsilon", gguf.F32, None)
    case.number("attention.layer_norm_epsilon", gguf.F32, shape["eps"])
    case.number("attention.causal", gguf.BOOL, False)
    case.keys["tokenizer.ggml.token_type_count"] = (gguf.U32, 2)
    return case, model


def embedding(case, *options):
    """What the verb prints for a text, and its tokens."""
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "model.gguf")
        case.write(path)
        p = e2e.run("tokenize", path, "--no-special", input=TEXT.encode())
        out = e2e.run("embed", path, TEXT, "-o", "json", *options)
    if out.returncode:
        raise RuntimeError(out.stderr.decode(errors="replace"))
    return json.loads(p.stdout), json.loads(out.stdout)


TEXT = "a text becomes a vector"


def test_nomic_bert(tap):
    source, tokens = load("llama")
    case, model = nomic_bert(source, tokens)
    want = check(tap, "nomic-bert", case, model)
    model.causal = True
    matters(tap, "nomic-bert: what comes after a token", want, model, case)
    model.causal = False
    pools = {"mean": lambda x: x.mean(0), "cls": lambda x: x[0],
             "last": lambda x: x[-1]}
    for number, (name, pool) in enumerate(pools.items(), 1):
        case.number("pooling_type", gguf.U32, number)
        ids, got = embedding(case)
        v = pool(model.hidden(ids))
        err = ref.nmse(v / np.linalg.norm(v), np.array(got["embedding"]))
        tap.check(err < MAX_NMSE and got["pooling"] == name and
                  got["tokens"] == len(ids) and got["normalized"],
                  "embed, %s of the states" % name, "NMSE %g" % err)
        raw = np.array(embedding(case, "--no-normalize")[1]["embedding"])
        tap.check(ref.nmse(v, raw) < MAX_NMSE,
                  "embed, %s as long as it is" % name)
    other = np.array(embedding(case, "--pooling", "mean",
                               "--no-normalize")[1]["embedding"])
    tap.check(ref.nmse(model.hidden(ids).mean(0), other) < MAX_NMSE,
              "embed, another pooling than the model's")


def test_encoders_write_no_text(tap):
    case, _ = nomic_bert(*load("llama"))
    with tempfile.TemporaryDirectory() as tmp:
        path = os.path.join(tmp, "model.gguf")
        case.write(path)
        for verb in (["run", path, "x"], ["bench", path],
                     ["perplexity", path, "-f", __file__]):
            p = e2e.run(*verb)
            tap.check(p.returncode == 69 and b"is an encoder" in p.stderr and
                      p.stderr.count(b"\n") == 1,
                      "%s refuses an encoder" % verb[0], p.stderr)
        p = e2e.run("embed", path, "x")
        tap.check(p.returncode == 69 and b"--pooling" in p.stderr,
                  "embed without a pooling says what to give", p.stderr)


def main():
    tap = e2e.Tap()
    test_qwen2(tap)
    test_mistral3(tap)
    test_smollm3(tap)
    test_ernie(tap)
    test_hunyuan(tap)
    test_llama4(tap)
    test_phimoe(tap)
    test_minimax_m3(tap)
    test_nomic_bert(tap)
    test_encoders_write_no_text(tap)
    tap.done()


if __name__ == "__main__":
    main()
