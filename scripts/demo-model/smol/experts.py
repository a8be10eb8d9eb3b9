# SPDX-License-Identifier: MIT
"""Cuts every feed-forward block into a shared expert and routed ones, and finds
the routers: no gradients, minutes of one core.

	experts.py DENSE.gguf CORPUS.npz OUT.npz [--seed S]

For each layer, with h the hidden activations of the dense block and d_i the
rows of its down matrix, neuron i gives token t the energy h_i(t)^2 |d_i|^2,
taken relative to the token's sum.  Neurons are dealt to the shared expert
(always there: it keeps all of a neuron's energy) and to the routed ones (which
keep what falls on tokens that choose them) so that as much as possible is
kept; routers are ridge regressions on the block's input that predict an
expert's energy; the two steps alternate.  What is not shared is dealt once for
each group of experts, for the tokens that are better served by it, which again
alternates.  Last, each expert's down matrix gets a factor, by least squares.
"""
import argparse
import time

import jax
import jax.numpy as jnp
import numpy as np

import lm
import shape

HELD = 4
ROUNDS, GROUP_ROUNDS, SINKHORN = 8, 5, 60
RIDGE_ROUTER, RIDGE_SCALE, PIECE = 3e-3, 1e-3, 1024
SLOPE, OFFSET, APART = 1.5, 1.5, 1.0


def activations(params, ids):
    """(xn [L][T][N], h [L][T][FF]) as float16."""
    layers, embd, _ = lm.split(params)
    one = jax.jit(lambda layers, i: lm.run(
        layers, embd, i, lambda p, xn: (
            xn.astype(jnp.float16),
            lm.hidden(p, xn).astype(jnp.float16))))
    xs, hs = zip(*[[np.asarray(a).reshape(shape.L, -1, a.shape[-1])
                    for a in one(layers, ids[i:i + 4])]
                   for i in range(0, len(ids), 4)])
    return np.concatenate(xs, 1), np.concatenate(hs, 1)


def deal(gain, sizes):
    """Rows to columns of given sizes, nearly maximising the sum of gains."""
    scale = gain.std() * 0.05
    k = (gain - gain.max(1, keepdims=True)) / scale
    price = np.zeros(len(sizes))
    for _ in range(SINKHORN):
        p = k - price
        p = np.exp(p - p.max(1, keepdims=True))
        p /= p.sum(1, keepdims=True)
        price += np.log((p.sum(0) + 1e-9) / sizes) * 0.7
    left, out = list(sizes), np.full(len(gain), -1)
    net = k - price
    two = np.sort(net, 1)[:, -2:]
    for i in np.argsort(two[:, 0] - two[:, 1]):
        for c in np.argsort(-net[i]):
            if left[c]:
                left[c] -= 1
                out[i] = c
                break
    return out


def top(scores):
    """0/1 of the USED largest of each row."""
    kth = np.partition(scores, -shape.USED, 1)[:, -shape.USED][:, None]
    return (scores >= kth).astype(np.float32)


def choose(p):
    """What the router takes by its probabilities: 0/1 [T][EXPERTS]."""
    s = p.reshape(len(p), shape.GROUPS, shape.OF_GROUP)
    best = np.sort(s, 2)[:, :, -2:].sum(2).argmax(1)
    out = np.zeros_like(s)
    for g in range(shape.GROUPS):
        mine = best == g
        if mine.any():
            out[mine, g] = top(s[mine, g])
    return out.reshape(p.shape)


def experts_of(energy, of):
    """[T][OF_GROUP] energy of a group's experts; -1 is in none of them."""
    one_hot = np.zeros((energy.shape[1], shape.OF_GROUP), np.float32)
    routed = np.flatnonzero(of >= 0)
    one_hot[routed, of[routed]] = 1
    return energy @ one_hot


class Ridge:
    def __init__(self, x):
        g = x.T @ x
        g += RIDGE_ROUTER * np.trace(g) / len(g) * np.eye(len(g),
                                                        dtype=np.float32)
        self.x, self.inverse = x, np.linalg.inv(g)

    def fit(self, y):
        return self.inverse @ (self.x.T @ y)


def margins(e):
    """What the router is to say: how far above the last that is taken."""
    y = np.log(e + 1e-4)
    s = np.sort(y, 1)
    line = s[:, -shape.USED - 1:-shape.USED + 1].mean(1, keepdims=True)
    return np.clip(SLOPE * (y - line), -4, 4) + OFFSET


def first_deal(gate, always, rng):
    """The shared expert by energy, the rest in even parts of like gates."""
    of = np.full(shape.FF, -1)
    rest = np.argsort(always)[:shape.FF - shape.SHARED]
    v = gate.T[rest] / np.linalg.norm(gate.T[rest], axis=1, keepdims=True)
    centres = v[rng.choice(len(rest), shape.OF_GROUP, replace=False)]
    for _ in range(8):
        part = deal(v @ centres.T, [shape.WIDTH] * shape.OF_GROUP)
        centres = np.stack([v[part == c].mean(0)
                            for c in range(shape.OF_GROUP)])
        centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    of[rest] = part
    return of


def with_shared(x, energy, gate, rng):
    """Expert of each neuron, -1 for the shared one, as if all tokens were of
    one group."""
    ridge = Ridge(x)
    always = energy.sum(0)
    of = first_deal(gate, always, rng)
    sizes = [shape.WIDTH] * shape.OF_GROUP + [shape.SHARED]
    for _ in range(ROUNDS):
        pick = top(x @ ridge.fit(margins(experts_of(energy, of))))
        gain = np.concatenate([energy.T @ pick, always[:, None]], 1)
        of = deal(gain / gain.mean(), sizes)
        of[of == shape.OF_GROUP] = -1
    return of


def groups(x, energy, of):
    """(expert of each neuron, one row for each group; router)"""
    ridge, routed = Ridge(x), np.flatnonzero(of >= 0)
    e = np.sqrt(energy[:, routed])
    side = (e - e.mean(0)) @ np.linalg.eigh(np.cov(e.T))[1][:, -1]
    token_of = (np.argsort(np.argsort(side)) * shape.GROUPS // len(x))
    ofs = np.stack([of] * shape.GROUPS)
    for i in range(GROUP_ROUNDS):
        wanted, kept = [], []
        for g in range(shape.GROUPS):
            mine = token_of == g
            parts = experts_of(energy, ofs[g])
            pick = top(x @ ridge.fit(margins(parts)))
            gain = energy[mine][:, routed].T @ pick[mine]
            if i < GROUP_ROUNDS - 1:
                ofs[g][routed] = deal(gain / gain.mean(),
                                      [shape.WIDTH] * shape.OF_GROUP)
                parts = experts_of(energy, ofs[g])
            m = margins(parts)
            kept.append((parts * top(x @ ridge.fit(m))).sum(1))
            wanted.append(m)
        # Even halves: those that gain most by a group are its own.
        side = kept[-1] - kept[0]
        token_of = (np.argsort(np.argsort(side)) * shape.GROUPS // len(x))
    y = np.concatenate([m + APART * np.where(token_of == g, 1, -1)[:, None]
                        for g, m in enumerate(wanted)], 1)
    return ofs, ridge.fit(y)


def scales(h, w, down):
    """Factor of each expert's down matrix, the shared one's first, so that what
    is kept comes nearest to what all neurons give: least squares.
    h, w [T][SLOTS]; down [SLOTS]; the first group's slots are all neurons."""
    nr = shape.EXPERTS + 1
    g, c = np.zeros((nr, nr)), np.zeros(nr)
    first = down[shape.SHARED:].reshape(shape.EXPERTS, shape.WIDTH, -1)
    for i in range(0, len(h), PIECE):
        want = h[i:i + PIECE, :shape.FF] @ down[:shape.FF]
        cut = h[i:i + PIECE] * w[i:i + PIECE]
        routed = cut[:, shape.SHARED:].reshape(-1, shape.EXPERTS, shape.WIDTH)
        f = np.concatenate([(cut[:, :shape.SHARED] @ down[:shape.SHARED])[None],
                            routed.transpose(1, 0, 2) @ first])
        size = np.linalg.norm(want, axis=1, keepdims=True)
        f, want = (f / size).reshape(nr, -1), (want / size).reshape(-1)
        g += f @ f.T
        c += f @ want
    g += RIDGE_SCALE * np.trace(g) / nr * np.eye(nr)
    return np.linalg.solve(g, c + RIDGE_SCALE * np.trace(g) / nr)


def weights(x, router):
    p = 1 / (1 + np.exp(-(x @ router)))
    return np.concatenate([np.ones((len(x), shape.SHARED), np.float32),
                           np.repeat(p * choose(p), shape.WIDTH, 1)], 1)


def layer(p, x, h, held, rng):
    """One layer's order of neurons, router and scales, with figures."""
    x, h = x.astype(np.float32), h.astype(np.float32)
    energy = (h * np.linalg.norm(p['down'], axis=1)) ** 2
    energy /= energy.sum(1, keepdims=True)
    fit, test = slice(0, len(x) - held), slice(len(x) - held, None)
    of = with_shared(x[fit], energy[fit], p['gate'], rng)
    ofs, router = groups(x[fit], energy[fit], of)
    order = np.concatenate([np.flatnonzero(of < 0)] + [
        np.argsort(o, kind='stable')[shape.SHARED:] for o in ofs])
    h, down = h[:, order], p['down'][order]
    w = weights(x, router)
    scale = scales(h[fit], w[fit], down)
    want = h[test, :shape.FF] @ down[:shape.FF]
    size = (want ** 2).sum(1)

    def error(got):
        return float(np.mean(((want - got) ** 2).sum(1) / size))
    cut = h[test] * w[test]
    factor = np.repeat(scale, [shape.SHARED] + [shape.WIDTH] * shape.EXPERTS)
    return (order, router, scale), {
        'shared': energy[test][:, of < 0].sum(1).mean(),
        'kept': (energy[test][:, order] * (w[test] > 0)).sum(1).mean(),
        'second group': (w[test][:, shape.FF:] > 0).any(1).mean(),
        'error': error(cut @ down),
        'scaled': error(cut * factor @ down)}


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    parser.add_argument('dense')
    parser.add_argument('corpus')
    parser.add_argument('out')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    start, rng = time.time(), np.random.default_rng(args.seed)
    dense = lm.load_dense(args.dense)
    corpus = np.load(args.corpus)
    ids = np.concatenate([corpus['own'][:shape.SEQUENCES // 2],
                          corpus['book'][::len(corpus['book']) * 3 //
                                         shape.SEQUENCES][:shape.SEQUENCES // 3],
                          corpus['code'][::8]])
    ids = rng.permutation(ids)[:shape.SEQUENCES]
    xs, hs = activations(lm.bf16(dense), ids)
    print(f'{xs.shape[1]} tokens, {time.time() - start:.0f} s', flush=True)
    parts = []
    for i in range(shape.L):
        p = {k: dense[k][i] for k in ('gate', 'down')}
        part, said = layer(p, xs[i], hs[i], HELD * ids.shape[1], rng)
        parts.append(part)
        print(f'layer {i:2}: ' + ', '.join(
            f'{k} {v:.3f}' for k, v in said.items()) +
            f', {time.time() - start:.0f} s', flush=True)
    order, router, scale = (np.stack(p) for p in zip(*parts))
    np.savez_compressed(
        args.out, order=order.astype(np.int16),
        router=router.astype(np.float16), scale=scale.astype(np.float32),
        name=np.array('SmolLM2 135M Instruct, cut into experts'),
        geometry=np.array([shape.WIDTH, shape.EXPERTS, shape.USED, shape.SHARED,
                           shape.GROUPS], np.int32))


if __name__ == '__main__':
    main()
