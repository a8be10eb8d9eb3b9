# SPDX-License-Identifier: MIT
"""Where distill.py is to begin: the gradient of the cut model's whole matrices over
many pieces, and the second moments of what each matrix multiplies.

	aim.py DENSE.gguf CORPUS.npz EXPERTS.npz OUT.npz [--resume LEARNED.npz]
		[--pieces N] [--hard SHARE] [--seed S]

The gradient of thirty pieces points the way of that of thirty others (cosines of 0.4
to 0.9 for the kinds of matrices); that of four hardly does.  Nine tenths of what the
two have in common lie in four directions of a matrix's input, which are also those
where the input is largest: a step that suits them is nothing for the others.
Therefore the moments.
"""
import argparse
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')
os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '1')

import numpy as np  # noqa: E402
import torch  # noqa: E402

import distill  # noqa: E402
import net  # noqa: E402
from shape import L  # noqa: E402


class Seen:
    """Means over rows: of a matrix's input, x x', and of its output, y^2."""

    def __init__(self):
        self.rows = {}
        self.of_x, self.of_y = ({k: [0.0] * L for k in net.ADDED}
                                for _ in range(2))

    def __call__(self, layer, kind, x, y):
        x = x.detach().reshape(-1, x.shape[-1]).float()
        self.rows[kind, layer] = self.rows.get((kind, layer), 0) + len(x)
        self.of_y[kind][layer] += float(
            y.detach().float().square().mean()) * len(x)
        # `up` has the input of `gate`.
        if kind != 'up':
            self.of_x[kind][layer] += x.t() @ x

    def result(self):
        out = {}
        for k in net.ADDED:
            n = [self.rows[k, i] for i in range(L)]
            out[k + '_y'] = np.sqrt(np.array(self.of_y[k]) / n)
            if k != 'up':
                out[k + '_x'] = np.stack(
                    [m.numpy() / r for m, r in zip(self.of_x[k], n)])
        out['up_x'] = out['gate_x']
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    for name in ('dense', 'corpus', 'experts', 'out'):
        parser.add_argument(name)
    parser.add_argument('--resume', metavar='LEARNED')
    parser.add_argument('--pieces', type=int, default=64)
    parser.add_argument('--hard', type=float, default=0, metavar='SHARE')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    cut, corpus = dict(np.load(args.experts)), dict(np.load(args.corpus))
    model = net.Student(net.load(args.dense), cut,
                        dict(np.load(args.resume)) if args.resume else None)
    model.hard, model.seen = args.hard, Seen()
    model.frequent[distill.frequent_words(corpus)] = True
    for p in model.base:
        for k in net.ADDED:
            p[k].requires_grad_()
    rng, start, said = np.random.default_rng(args.seed), time.time(), []
    left = {k: list(rng.permutation(len(corpus[k]))) for k in distill.KINDS}
    units = args.pieces // distill.UNIT
    for i in range(units):
        pieces = []
        for k in distill.MIX[i % len(distill.MIX)]:
            n = left[k].pop()
            pieces.append(((k, n), torch.tensor(corpus[k][n].astype(np.int64))))
        model.known = {}
        loss = model.loss(pieces)
        loss.backward()
        said.append(float(loss.detach()))
    print(f'{units} times {distill.UNIT} pieces: divergence {np.mean(said):.4f}; '
          f'{time.time() - start:.0f} s')
    np.savez(args.out, **model.seen.result(), **{
        k: torch.stack([p[k].grad for p in model.base]).numpy() / units
        for k in net.ADDED})


if __name__ == '__main__':
    main()
