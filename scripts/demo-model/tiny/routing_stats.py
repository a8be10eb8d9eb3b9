#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""How the tiny model uses its experts: reuse, skew, and how well a layer's router
foresees its choice from the state one layer before.

	routing_stats.py TRACE.csv.xz
	routing_stats.py --foresee CHECKPOINT HELD.u16 [TOKENS]

The first reads a recorded trace; the second runs the model in numpy on held-out text.
"""

import lzma
import pathlib
import sys
from collections import Counter, defaultdict

sys.dont_write_bytecode = True
sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent))
from export import CTX, EXPERTS, HEAD, HEADS, KV_HEADS, USED, np, read_weights

LAYERS, FF, VOCAB, EPS = 6, 64, 3072, 1e-6


def from_trace(path):
    chosen = defaultdict(dict)
    with lzma.open(path, "rt") as f:
        for line in f:
            if line[0] in "#" or line.startswith("phase"):
                continue
            _, token, layer, _, expert, _ = line.split(",")
            chosen[int(layer)].setdefault(int(token), set()).add(int(expert))
    for layer, by_token in sorted(chosen.items()):
        use = Counter(e for s in by_token.values() for e in s)
        total = sum(use.values())
        p = np.array([use[e] / total for e in range(EXPERTS)])
        best = np.sort(p)[::-1]
        reuse = [len(by_token[t] & by_token[t - 1]) / USED for t in by_token if t - 1 in by_token]
        entropy = -(p[p > 0] * np.log2(p[p > 0])).sum()
        print(f"layer {layer}: reused from the token before {np.mean(reuse):.3f} "
              f"(by chance {USED / EXPERTS:.3f}); busiest quarter takes "
              f"{best[:EXPERTS // 4].sum():.3f}; entropy {entropy:.2f} of "
              f"{np.log2(EXPERTS):.0f} bits")


def norm(x, w):
    return x / np.sqrt((x * x).mean(-1, keepdims=True) + EPS) * w


def rope(x):
    t = np.arange(x.shape[1])[:, None]
    a = t * 10000.0 ** (-2.0 * np.arange(HEAD // 2) / HEAD)
    u, v = x[..., :HEAD // 2], x[..., HEAD // 2:]
    return np.concatenate([u * np.cos(a) - v * np.sin(a), v * np.cos(a) + u * np.sin(a)], -1)


def attention(x, w, pre):
    h = norm(x, w[pre + "attn_norm"])
    n = len(x)

    def heads(name, nr):
        return (h @ w[pre + name].T).reshape(n, nr, HEAD).transpose(1, 0, 2)

    q = rope(norm(heads("attn_q", HEADS), w[pre + "attn_q_norm"]))
    k = rope(norm(heads("attn_k", KV_HEADS), w[pre + "attn_k_norm"]))
    v = heads("attn_v", KV_HEADS)
    k, v = (np.repeat(y, HEADS // KV_HEADS, 0) for y in (k, v))
    s = q @ k.transpose(0, 2, 1) / np.sqrt(HEAD)
    s = np.where(np.tri(n, dtype=bool), s, -np.inf)
    s = np.exp(s - s.max(-1, keepdims=True))
    o = (s / s.sum(-1, keepdims=True)) @ v
    return x + o.transpose(1, 0, 2).reshape(n, -1) @ w[pre + "attn_output"].T


def experts(x, w, pre):
    h = norm(x, w[pre + "ffn_norm"])
    z = h @ w[pre + "ffn_gate_inp"].T
    pick = np.argsort(-z, 1, kind="stable")[:, :USED]
    p = np.exp(np.take_along_axis(z, pick, 1) - z.max(1, keepdims=True))
    p /= p.sum(1, keepdims=True)
    out = x.copy()
    for e in range(EXPERTS):
        t, r = np.nonzero(pick == e)
        g, u = (h[t] @ w[f"{pre}ffn_{name}_exps"][e].T for name in ("gate", "up"))
        out[t] += p[t, r, None] * ((g / (1 + np.exp(-g)) * u) @ w[pre + "ffn_down_exps"][e].T)
    return out, pick


def foresee(checkpoint, held, tokens):
    w, _ = read_weights(pathlib.Path(checkpoint), LAYERS, FF, VOCAB)
    w = {name: a.astype(np.float32) for name, a in w.items()}
    ids = np.fromfile(held, "<u2")
    met, loss, seen = np.zeros((LAYERS, 2)), 0.0, 0
    for at in range(0, tokens, CTX):
        now = ids[at:at + CTX].astype(int)
        x = w["token_embd"][now]
        for i in range(LAYERS):
            pre = f"blk.{i}."
            guess = None
            if i:  # the state after the layer before, which lacks this one's attention
                z = norm(x, w[pre + "ffn_norm"]) @ w[pre + "ffn_gate_inp"].T
                guess = np.argsort(-z, 1, kind="stable")
            x, pick = experts(attention(x, w, pre), w, pre)
            if i:
                for j, k in enumerate((USED, 2 * USED)):
                    met[i, j] += np.mean([len(set(a) & set(b)) / USED for a, b in
                                          zip(pick, guess[:, :k])])
        z = norm(x, w["output_norm"]) @ w["token_embd"].T
        z -= z.max(1, keepdims=True)
        loss += (np.log(np.exp(z).sum(1)) - z[np.arange(len(z)), np.append(now[1:], 0)])[:-1].sum()
        seen += len(now) - 1
    windows = len(range(0, tokens, CTX))
    print(f"{seen} tokens, {loss / seen:.4f} nats each")
    for i in range(1, LAYERS):
        print(f"layer {i}: of its {USED} experts its router has {met[i, 0] / windows:.3f} among "
              f"its first {USED} one layer early, {met[i, 1] / windows:.3f} among {2 * USED}")


if __name__ == "__main__":
    if sys.argv[1] == "--foresee":
        foresee(sys.argv[2], sys.argv[3], int((sys.argv + ["4096"])[4]))
    else:
        from_trace(sys.argv[1])
