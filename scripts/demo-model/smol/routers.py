# SPDX-License-Identifier: MIT
"""Fits the routers of the cut model, each alone, to the energy of its experts on the
cut model's own streams: what it takes of a token's energy is to be as much as possible.

	routers.py DENSE.gguf CORPUS.npz EXPERTS.npz OUT.npz --resume LEARNED.npz
		[--pieces N] [--part X] [--seed S]

The energy of an expert is the squared length of what it gives.  The choice becomes a
sigmoid around the line between the last that is taken and the next.  OUT.npz is
LEARNED.npz with routers that went so much of the way to those that fit: half of it was
better than all of it.
"""
import argparse
import os
import tempfile
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np  # noqa: E402
import torch  # noqa: E402

import distill  # noqa: E402
import net  # noqa: E402
from shape import EXPERTS, L, N, SHARED, USED, WIDTH  # noqa: E402

HELD_OUT, UNIT = 16, 4
STEPS, ROWS, RATE, SOFTNESS, BETAS = 150, 4096, 1e-3, 0.4, (0.9, 0.99)


class Streams:
    """Routers' inputs and experts' energies of all layers, in files."""

    def __init__(self, folder, rows):
        self.x = np.memmap(f'{folder}/x', np.float16, 'w+', shape=(L, rows, N))
        self.e = np.memmap(f'{folder}/e', np.float32, 'w+',
                           shape=(L, rows, EXPERTS))
        self.at = [0] * L

    def __call__(self, layer, x, hidden, down):
        """x, hidden [..][in] and [..][slot]: of a few pieces."""
        x = x.reshape(-1, N)
        rows = slice(self.at[layer], self.at[layer] + len(x))
        self.at[layer] = rows.stop
        down = down.float()
        whole = (hidden.square() @ down.square().sum(0)).reshape(-1, 1)
        h = hidden[..., SHARED:].reshape(-1, EXPERTS, WIDTH).transpose(0, 1)
        d = down[:, SHARED:].reshape(N, EXPERTS, WIDTH).permute(1, 2, 0)
        energy = ((h @ (d @ d.transpose(1, 2))) * h).sum(-1).t()
        self.x[layer, rows] = x.numpy()
        self.e[layer, rows] = (energy / whole).numpy()


def kept(logits, e):
    """Of the energy of all tokens, by the experts that are taken."""
    taken = e.gather(1, logits.topk(USED, 1).indices)
    return float((taken.sum(1) - e.sum(1)).mean() + 1)


def fit(router, x, e):
    """The router [in][expert] that keeps most."""
    w = distill.white(x.t() @ x / len(x))
    x = x @ w
    v = torch.linalg.solve(w, router)
    mean, square = torch.zeros_like(v), torch.zeros_like(v)
    for n in range(STEPS):
        at = torch.randint(len(x), (ROWS,))
        logits = x[at] @ v
        line = logits.topk(USED + 1, 1).values[:, -2:].mean(1, keepdim=True)
        p = torch.sigmoid((logits - line) / SOFTNESS)
        near = p * (1 - p)
        # What lies around the line is what an expert competes with.
        other = (near * e[at]).sum(1, keepdim=True) / near.sum(1, keepdim=True)
        g = x[at].t() @ (near * (other - e[at])) / ROWS
        mean.lerp_(g, 1 - BETAS[0])
        square.lerp_(g.square(), 1 - BETAS[1])
        size = (square / (1 - BETAS[1] ** (n + 1))).mean().sqrt() + 1e-12
        v -= RATE * (1 - n / STEPS) / (1 - BETAS[0] ** (n + 1)) * mean / size
    return w @ v


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    for name in ('dense', 'corpus', 'experts', 'out'):
        parser.add_argument(name)
    parser.add_argument('--resume', required=True, metavar='LEARNED')
    parser.add_argument('--pieces', type=int, default=192)
    parser.add_argument('--part', type=float, default=0.5)
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    corpus, was = np.load(args.corpus), dict(np.load(args.resume))
    model = net.Student(net.load(args.dense), dict(np.load(args.experts)), was)
    rng, start = np.random.default_rng(args.seed), time.time()
    left = {k: list(rng.permutation(len(corpus[k]))) for k in distill.KINDS}
    length, units = corpus['own'].shape[1], args.pieces // UNIT
    with tempfile.TemporaryDirectory(dir=os.path.dirname(
            os.path.abspath(args.out))) as folder, torch.no_grad():
        model.streams = streams = Streams(folder, args.pieces * length)
        layers = list(model.layers())
        for i in range(units):
            net.run(layers, model.embd, torch.stack([
                torch.tensor(corpus[k][left[k].pop()].astype(np.int64))
                for k in distill.MIX[i % len(distill.MIX)]]))
        print(f'{args.pieces * length} tokens, {time.time() - start:.0f} s')
        for i in range(L):
            x, e = (torch.tensor(a[i]).float() for a in (streams.x, streams.e))
            held = len(x) - HELD_OUT * length
            old = torch.tensor(was['router'][i]).float()
            new = fit(old, x[:held], e[:held])
            of = [kept(x[held:] @ r, e[held:]) for r in (old, new)]
            print(f'layer {i:2}: kept {of[0]:.4f}, now {of[1]:.4f}, best '
                  f'possible {kept(e[held:], e[held:]):.4f}; '
                  f'{time.time() - start:.0f} s', flush=True)
            was['router'][i] = old + args.part * (new - old)
    np.savez(args.out, **was)


if __name__ == '__main__':
    main()
