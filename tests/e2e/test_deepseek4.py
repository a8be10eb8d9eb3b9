#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""deepseek4 against a reference in float64, over more positions than its
longest packed runs have: window, both kinds of packed rows, the choice among
them, parallel streams, experts by token.  What follows from the tokens alone
is read ahead, and an expert that does not exist is refused."""
import json
import os
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

MAX_NMSE = 1e-10
NR_TOKENS = 300
VOCAB, EMBD, HEADS, HD, ROT, Q_RANK = 50, 64, 4, 64, 16, 32
WINDOW, GROUPS, OUT_RANK, STREAMS, ROUNDS = 10, 2, 16, 4, 6
INDEX_HEADS, INDEX_HD, TOP_K = 8, 64, 6
EXPERTS, USED, FF, SCALE = 8, 3, 32, 1.5
RUNS = (4, 128, 0)
EPS, HC_EPS = 1e-6, 1e-6
BASE, FAR_BASE, FACTOR, CTX_ORIG = 10000.0, 160000.0, 16.0, 64
LIMIT, LIMIT_SHARED = 1.5, 1.0
SEED = int(os.environ.get("PENSTOCK_SEED", "11"))


def shapes(by_token):
    """Name and rows x columns of every tensor but the table of experts."""
    yield "token_embd", (VOCAB, EMBD)
    yield "output", (VOCAB, EMBD)
    yield "output_norm", (EMBD,)
    yield "output_hc_fn", (STREAMS, STREAMS * EMBD)
    yield "output_hc_base", (STREAMS,)
    yield "output_hc_scale", (1,)
    for i, run in enumerate(RUNS):
        blk = {"attn_norm": (EMBD,), "ffn_norm": (EMBD,),
               "attn_sinks": (HEADS,), "attn_q_a": (Q_RANK, EMBD),
               "attn_q_a_norm": (Q_RANK,),
               "attn_q_b": (HEADS * HD, Q_RANK), "attn_kv": (HD, EMBD),
               "attn_kv_a_norm": (HD,),
               "attn_output_a": (GROUPS * OUT_RANK, HEADS * HD // GROUPS),
               "attn_output_b": (EMBD, GROUPS * OUT_RANK),
               "ffn_gate_inp": (EXPERTS, EMBD),
               "ffn_gate_exps": (EXPERTS, FF, EMBD),
               "ffn_up_exps": (EXPERTS, FF, EMBD),
               "ffn_down_exps": (EXPERTS, EMBD, FF),
               "ffn_gate_shexp": (FF, EMBD), "ffn_up_shexp": (FF, EMBD),
               "ffn_down_shexp": (EMBD, FF)}
        for half in ("attn", "ffn"):
            mix = (2 + STREAMS) * STREAMS
            blk["hc_%s_fn" % half] = (mix, STREAMS * EMBD)
            blk["hc_%s_base" % half] = (mix,)
            blk["hc_%s_scale" % half] = (3,)
        packs = [("attn_compressor", HD)] if run else []
        if run == 4:
            packs.append(("indexer_compressor", INDEX_HD))
            blk["indexer.proj"] = (INDEX_HEADS, EMBD)
            blk["indexer.attn_q_b"] = (INDEX_HEADS * INDEX_HD, Q_RANK)
        for name, hd in packs:
            wide = 2 * hd if run == 4 else hd
            blk[name + "_kv"] = blk[name + "_gate"] = (wide, EMBD)
            blk[name + "_ape"] = (run, wide)
            blk[name + "_norm"] = (hd,)
        if i >= by_token:
            blk["exp_probs_b"] = (EXPERTS,)
        for name, shape in blk.items():
            yield "blk.%d.%s" % (i, name), shape


def make_weights(by_token, rng):
    w = {}
    for name, shape in shapes(by_token):
        x = rng.standard_normal(shape)
        if name.endswith("norm"):
            x = 1 + 0.1 * x
        elif len(shape) > 1 and not name.endswith(("ape", "token_embd")):
            x /= np.sqrt(shape[-1])
        w[name] = x.astype(np.float32)
    for i in range(by_token):
        w["blk.%d.ffn_gate_tid2eid" % i] = np.stack(
            [rng.permutation(EXPERTS)[:USED] for _ in range(VOCAB)]
        ).astype(np.int32)
    return w


def write(path, weights, by_token):
    out = gguf.Writer(path)
    out.add("general.architecture", gguf.STRING, "deepseek4")
    numbers = {"block_count": len(RUNS), "context_length": 4096,
               "embedding_length": EMBD, "attention.head_count": HEADS,
               "attention.head_count_kv": 1, "attention.key_length": HD,
               "attention.value_length": HD, "rope.dimension_count": ROT,
               "attention.q_lora_rank": Q_RANK,
               "attention.sliding_window": WINDOW,
               "attention.output_group_count": GROUPS,
               "attention.output_lora_rank": OUT_RANK,
               "attention.indexer.head_count": INDEX_HEADS,
               "attention.indexer.key_length": INDEX_HD,
               "attention.indexer.top_k": TOP_K, "expert_count": EXPERTS,
               "expert_used_count": USED, "expert_shared_count": 1,
               "expert_feed_forward_length": FF, "expert_gating_func": 4,
               "hyper_connection.count": STREAMS,
               "hyper_connection.sinkhorn_iterations": ROUNDS,
               "hash_layer_count": by_token,
               "rope.scaling.original_context_length": CTX_ORIG}
    for key, value in numbers.items():
        out.add("deepseek4." + key, gguf.U32, value)
    floats = {"attention.layer_norm_rms_epsilon": EPS,
              "rope.freq_base": BASE, "rope.scaling.factor": FACTOR,
              "attention.compress_rope_freq_base": FAR_BASE,
              "hyper_connection.epsilon": HC_EPS,
              "expert_weights_scale": SCALE, "swiglu_clamp_exp": LIMIT,
              "swiglu_clamp_shexp": LIMIT_SHARED}
    for key, value in floats.items():
        out.add("deepseek4." + key, gguf.F32, value)
    out.add("deepseek4.rope.scaling.type", gguf.STRING, "yarn")
    out.add("deepseek4.expert_weights_norm", gguf.BOOL, True)
    out.add("deepseek4.attention.compress_ratios", gguf.ARRAY,
            (gguf.U32, RUNS))
    out.add("tokenizer.ggml.model", gguf.STRING, "llama")
    out.add("tokenizer.ggml.tokens", gguf.ARRAY,
            (gguf.STRING, ["<unk>"] + ["t%02d" % i for i in range(1, VOCAB)]))
    out.add("tokenizer.ggml.scores", gguf.ARRAY, (gguf.F32, [0.0] * VOCAB))
    out.add("tokenizer.ggml.token_type", gguf.ARRAY,
            (gguf.I32, [2] + [1] * (VOCAB - 1)))
    for name, x in weights.items():
        out.add_tensor(name + (".bias" if name.endswith("probs_b") else
                               ".weight"), list(reversed(x.shape)),
                       gguf.TYPE_ID["I32" if x.dtype == np.int32 else "F32"],
                       lambda x=x: [np.ascontiguousarray(x)])
    out.write()


def softmax(x, axis):
    e = np.exp(x - x.max(axis, keepdims=True))
    return e / e.sum(axis, keepdims=True)


def rms(x, w=1.0):
    return x / np.sqrt(np.mean(x * x, -1, keepdims=True) + EPS) * w


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def glu(x, gate, up, down, limit):
    g, u = np.minimum(gate @ x, limit), np.clip(up @ x, -limit, limit)
    return down @ (g * sigmoid(g) * u)


def angles(pos, far):
    i = np.arange(ROT // 2)
    theta = np.outer(pos, (FAR_BASE if far else BASE) ** (-2.0 * i / ROT))
    if far:
        def dim(beta):
            return ROT * np.log(CTX_ORIG / (beta * 2 * np.pi)) / (
                2 * np.log(FAR_BASE))
        low = max(0.0, np.floor(dim(32)))
        high = min(ROT - 1.0, np.ceil(dim(1)))
        keep = 1 - np.clip((i - low) / max(0.001, high - low), 0, 1)
        theta = theta * keep + theta / FACTOR * (1 - keep)
    return theta


def rotate(x, theta):
    """The last ROT elements of [tokens, heads, hd], in pairs of neighbours."""
    out, cos, sin = x.copy(), np.cos(theta)[:, None], np.sin(theta)[:, None]
    a, b = x[..., -ROT::2], x[..., -ROT + 1::2]
    out[..., -ROT::2] = a * cos - b * sin
    out[..., -ROT + 1::2] = a * sin + b * cos
    return out


class Reference:
    """The report's formulas, in float64; what is masked is not computed."""

    def __init__(self, weights, tokens, by_token):
        self.w = {k: v if v.dtype == np.int32 else v.astype(np.float64)
                  for k, v in weights.items()}
        self.tokens, self.by_token = tokens, by_token
        self.n = len(tokens)
        self.margin = np.inf  # of the closest choice among packed rows

    def mix(self, x, name, out=False):
        """What a half reads, and with what its result is added."""
        m = rms(x.reshape(self.n, -1)) @ self.w[name + "_fn"].T
        base, scale, s = self.w[name + "_base"], self.w[name + "_scale"], \
            STREAMS
        pre = sigmoid(m[:, :s] * scale[0] + base[:s]) + HC_EPS
        z = np.einsum("ts,tsn->tn", pre, x)
        if out:
            return z
        post = 2 * sigmoid(m[:, s:2 * s] * scale[1] + base[s:2 * s])
        c = softmax((m[:, 2 * s:] * scale[2] + base[2 * s:]).reshape(
            self.n, s, s), 2) + HC_EPS
        c = c / (c.sum(1, keepdims=True) + HC_EPS)
        for _ in range(ROUNDS - 1):
            c = c / (c.sum(2, keepdims=True) + HC_EPS)
            c = c / (c.sum(1, keepdims=True) + HC_EPS)
        return z, post, c

    def pack(self, h, name, run, hd):
        part = h @ self.w[name + "_kv"].T
        gate = h @ self.w[name + "_gate"].T + self.w[name + "_ape"][
            np.arange(self.n) % run]
        rows = np.zeros((self.n // run, 1, hd))
        for j in range(len(rows)):
            own = slice(j * run, (j + 1) * run)
            p, g = part[own, -hd:], gate[own, -hd:]
            if run == 4 and j:
                old = slice((j - 1) * run, j * run)
                p = np.concatenate([part[old, :hd], p])
                g = np.concatenate([gate[old, :hd], g])
            rows[j] = (softmax(g, 0) * p).sum(0)
        return rotate(rms(rows, self.w[name + "_norm"]), angles(
            np.arange(len(rows)) * run, True))[:, 0]

    def choose(self, score):
        order = np.argsort(-score, kind="stable")
        self.margin = min(self.margin, score[order[TOP_K - 1]] -
                          score[order[TOP_K]])
        return order[:TOP_K]

    def attention(self, h, blk, run):
        w = {k[len(blk):]: v for k, v in self.w.items() if k.startswith(blk)}
        theta = angles(np.arange(self.n), run > 0)
        qa = rms(h @ w["attn_q_a"].T, w["attn_q_a_norm"])
        q = rotate(rms((qa @ w["attn_q_b"].T).reshape(-1, HEADS, HD)), theta)
        k = rotate(rms(h @ w["attn_kv"].T, w["attn_kv_a_norm"])[:, None],
                   theta)[:, 0]
        packed = self.pack(h, blk + "attn_compressor", run, HD) if run else []
        if run == 4:
            keys = self.pack(h, blk + "indexer_compressor", run, INDEX_HD)
            iq = rotate((qa @ w["indexer.attn_q_b"].T).reshape(
                -1, INDEX_HEADS, INDEX_HD), theta)
            iw = h @ w["indexer.proj"].T
        out = np.zeros_like(q)
        for t in range(self.n):
            rows, nr = k[max(0, t + 1 - WINDOW):t + 1], (t + 1) // run \
                if run else 0
            if nr:
                pick = np.arange(nr)
                if run == 4 and nr > TOP_K:
                    pick = self.choose(np.maximum(
                        iq[t] @ keys[:nr].T, 0).T @ iw[t])
                rows = np.concatenate([rows, packed[pick]])
            p = softmax(np.concatenate([q[t] @ rows.T / np.sqrt(HD),
                                        w["attn_sinks"][:, None]], 1), 1)
            out[t] = p[:, :-1] @ rows
        out = rotate(out, -theta).reshape(self.n, GROUPS, -1)
        a = w["attn_output_a"].reshape(GROUPS, OUT_RANK, -1)
        return np.einsum("tgi,gri->tgr", out, a).reshape(
            self.n, -1) @ w["attn_output_b"].T

    def ffn(self, h, blk, layer):
        w = {k[len(blk):]: v for k, v in self.w.items() if k.startswith(blk)}
        p = np.sqrt(np.logaddexp(0, h @ w["ffn_gate_inp"].T))
        out = np.zeros_like(h)
        for t in range(self.n):
            if layer < self.by_token:
                pick = w["ffn_gate_tid2eid"][self.tokens[t]]
            else:
                pick = np.argsort(-(p[t] + w["exp_probs_b"]))[:USED]
            out[t] = glu(h[t], w["ffn_gate_shexp"], w["ffn_up_shexp"],
                         w["ffn_down_shexp"], LIMIT_SHARED)
            for e in pick:
                out[t] += SCALE * p[t, e] / p[t, pick].sum() * glu(
                    h[t], w["ffn_gate_exps"][e], w["ffn_up_exps"][e],
                    w["ffn_down_exps"][e], LIMIT)
        return out

    def logits(self):
        x = np.repeat(self.w["token_embd"][self.tokens][:, None], STREAMS, 1)
        for i, run in enumerate(RUNS):
            blk = "blk.%d." % i
            for half in ("attn", "ffn"):
                z, post, c = self.mix(x, blk + "hc_" + half)
                h = rms(z, self.w[blk + half + "_norm"])
                y = self.attention(h, blk, run) if half == "attn" else \
                    self.ffn(h, blk, i)
                x = post[:, :, None] * y[:, None] + np.einsum(
                    "tsd,tsn->tdn", c, x)
        z = self.mix(x, "output_hc", True)
        return rms(z, self.w["output_norm"]) @ self.w["output"].T


def check_reference(tap, tmp, rng):
    weights = make_weights(1, rng)
    tokens = [int(t) for t in rng.integers(0, VOCAB, NR_TOKENS)]
    ref = Reference(weights, tokens, 1)
    want = ref.logits()
    print("# the closest choice among packed rows: %g" % ref.margin)
    path, ids = os.path.join(tmp, "model.gguf"), os.path.join(tmp, "ids.json")
    write(path, weights, 1)
    with open(ids, "w") as f:
        json.dump(tokens, f)
    first = e2e.logits(path, ids, "--kv-type", "f32", "--ctx-size", "512")
    got = np.frombuffer(first, np.float32).reshape(want.shape)
    nmse = np.sum((got - want) ** 2) / np.sum(want ** 2)
    print("# NMSE %.3g" % nmse)
    tap.check(nmse < MAX_NMSE, "deepseek4 is the reference", "%g" % nmse)
    for opts in (["--batch-size", "1"], ["--batch-size", "37"],
                 ["--batch-size", "5", "--expert-cache", "3experts"],
                 ["--batch-size", "130", "--threads", "1"]):
        tap.check(e2e.logits(path, ids, "--kv-type", "f32", "--ctx-size",
                             "512", *opts) == first, " ".join(opts))


def check_ahead(tap, tmp, rng):
    """Experts of all blocks by token: nothing is left to guess."""
    path = os.path.join(tmp, "ahead.gguf")
    write(path, make_weights(len(RUNS), rng), len(RUNS))
    p = e2e.run("bench", path, "--expert-cache", "12experts", "--output",
                "json", "--prefetch", "next", "--gen-tokens", "64",
                "--prompt-tokens", "8")
    found = []

    def walk(x):
        """Every object that counts guesses, wherever it stands."""
        if isinstance(x, dict) and "predict_said" in x:
            found.append(x)
        for v in x.values() if isinstance(x, dict) else \
                x if isinstance(x, list) else ():
            walk(v)

    if tap.check(p.returncode == 0, "bench runs", p.stderr):
        walk(json.loads(p.stdout))
    said = sum(x["predict_said"] for x in found)
    right = sum(x["predict_right"] for x in found)
    reads = sum(x["prefetch_reads"] for x in found)
    used = sum(x["prefetch_used"] for x in found)
    print("# said %d, right %d; read ahead %d, used %d" % (
        said, right, reads, used))
    tap.check(said and right == said, "what follows from the token is known",
              "%d of %d" % (right, said))
    tap.check(reads and used == reads, "nothing else is read ahead",
              "%d of %d" % (used, reads))


def check_refusal(tap, tmp, rng):
    weights = make_weights(1, rng)
    path = os.path.join(tmp, "bad.gguf")
    for value in (EXPERTS, -1):
        weights["blk.0.ffn_gate_tid2eid"][7, 1] = value
        write(path, weights, 1)
        p = e2e.run("logits", path, "--tokens", "1", "--out", "/dev/null")
        tap.check(p.returncode == 65 and b"ffn_gate_tid2eid" in p.stderr and
                  b" %d" % value in p.stderr,
                  "expert %d is refused by name" % value, p.stderr)


def main():
    print("# PENSTOCK_SEED=%d" % SEED)
    tap = e2e.Tap()
    rng = np.random.default_rng(SEED)
    with tempfile.TemporaryDirectory() as tmp:
        check_reference(tap, tmp, rng)
        check_ahead(tap, tmp, rng)
        check_refusal(tap, tmp, rng)
    tap.done()


if __name__ == "__main__":
    main()
