# SPDX-License-Identifier: MIT
"""Trains the cut model to say what the dense one says, end to end, on one core.

	distill.py DENSE.gguf CORPUS.npz EXPERTS.npz OUT.npz --minutes M
		[--resume LEARNED.npz] [--device cuda] [--turns N]

Learned are the routers, the norms and additions of low rank to the matrices of
attention and experts.  The loss is the Kullback-Leibler divergence of the next
token's distribution from the dense model's at every second position, plus the
distance of the residual streams behind some layers, whose share falls to nothing.
The additions start in the directions in which the gradient of the whole matrices
is largest.  The rate rises for WARM steps, then falls as a cosine of the time.
"""
import argparse
import math
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')

import numpy as np  # noqa: E402
import torch  # noqa: E402

import net  # noqa: E402
from shape import EXPERTS, GROUPS, L, SHARED, USED, WIDTH  # noqa: E402

LENGTH, EVERY = 256, 2
KEEP, STREAMS = (4, 9, 14, 19, 24, 29), 0.3
# What the four pieces of a batch are from, in turn.
MIX = (('own', 'own', 'stories', 'book'), ('own', 'own', 'stories', 'stories'),
       ('own', 'own', 'book', 'code'), ('own', 'own', 'stories', 'own'))
RATE, WARM, BETAS = 1e-3, 10, (0.9, 0.97)
# A gradient is cut down to so many times its usual size.
CLIP = 2.0
FIRST_BATCHES = 3
HELD_OUT = {'book': 'held_out_book', 'own': 'held_out_own'}


def rate_of(name):
    if name == 'router':
        return 2 * RATE
    if name.endswith('norm'):
        return 0.5 * RATE
    return 0.4 * RATE if name.endswith('_a') else RATE


class Corpus:
    def __init__(self, parts, rng):
        self.parts, self.rng, self.left, self.turn = parts, rng, {}, 0

    def piece(self, name):
        if not self.left.get(name):
            self.left[name] = list(self.rng.permutation(len(self.parts[name])))
        ids = self.parts[name][self.left[name].pop()]
        first = self.rng.integers(len(ids) - LENGTH + 1)
        return ids[first:first + LENGTH]

    def batch(self, turns=1):
        out = []
        for _ in range(turns):
            self.turn += 1
            out += [self.piece(k) for k in MIX[self.turn % len(MIX)]]
        return torch.tensor(np.stack(out).astype(np.int64))


def point_at_gradient(model, corpus):
    """Sets the inner factors of what is added to the directions of the input
    along which the whole matrices' gradients are largest."""
    sums = {k: [torch.zeros_like(p[k]) for p in model.base] for k in net.RANKS}
    frozen = model.base
    for _ in range(FIRST_BATCHES):
        model.base = [{k: w.clone().requires_grad_() if k in net.RANKS else w
                       for k, w in p.items()} for p in frozen]
        said, apart = model.loss(corpus.batch(), slice(1, None, EVERY), KEEP)
        (said + 0.1 * apart).backward()
        for k, of_layer in sums.items():
            for i, s in enumerate(of_layer):
                s += model.base[i][k].grad
    model.base = frozen
    for w in model.learned.values():
        w.grad = None
    for k, r in net.RANKS.items():
        share = 0
        for i, g in enumerate(sums[k]):
            _, s, v = torch.svd_lowrank(g, q=r + 8, niter=2)
            share += float(s[:r].square().sum() / g.square().sum()) / L
            with torch.no_grad():
                model.learned[k + '_a'][i] = v[:, :r].t()
        print(f'first directions of {k}: {share:.1%} of the gradient',
              flush=True)


class Run:
    def __init__(self, args):
        torch.set_num_threads(1)
        torch.set_default_device(args.device)
        torch.manual_seed(args.seed)
        self.cut, corpus = np.load(args.experts), np.load(args.corpus)
        self.model = net.Student(net.load(args.dense), self.cut)
        self.corpus = Corpus(corpus, np.random.default_rng(args.seed))
        self.held_out = {k: torch.tensor(corpus[name].astype(np.int64)[:8])
                         for k, name in HELD_OUT.items()}
        self.usual, self.turns = {}, args.turns

    def start(self, resume):
        if resume:
            self.model.resume(np.load(resume))
        else:
            point_at_gradient(self.model, self.corpus)
        self.adam = torch.optim.AdamW(
            [{'params': [w], 'name': k} for k, w in
             self.model.learned.items()], betas=BETAS, weight_decay=0,
            eps=1e-12)

    def clip(self, name, grad):
        size = float(grad.norm())
        usual = self.usual.get(name, size)
        if size > CLIP * usual:
            grad.mul_(CLIP * usual / size)
        self.usual[name] = 0.95 * usual + 0.05 * min(size, CLIP * usual)

    def step(self, number, progress):
        said, apart = self.model.loss(self.corpus.batch(self.turns),
                                      slice(number % EVERY, None, EVERY), KEEP)
        (said + STREAMS * (1 - progress) * apart).backward()
        scale = min(1, number / WARM) * (0.5 + 0.5 * math.cos(
            math.pi * progress))
        for g in self.adam.param_groups:
            g['lr'] = rate_of(g['name']) * scale
            self.clip(g['name'], g['params'][0].grad)
        self.adam.step()
        self.adam.zero_grad()
        return float(said), float(apart)

    def save(self, path):
        out = {k: w.cpu().numpy() for k, w in self.model.result().items()}
        np.savez(path, order=self.cut['order'], scale=self.cut['scale'],
                 geometry=np.array([WIDTH, EXPERTS, USED, SHARED, GROUPS],
                                   np.int32), **out)

    def measure(self, pieces):
        return '; '.join('{} {:.3f} times, divergence {:.4f}'.format(
            k, *self.model.measure(ids[-pieces:]))
            for k, ids in self.held_out.items())


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    for name in ('dense', 'corpus', 'experts', 'out'):
        parser.add_argument(name)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--resume', metavar='LEARNED',
                        help='go on from what an earlier run wrote')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--turns', type=int, default=1,
                        help='a step learns from so many times four pieces')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    run, number, seen = Run(args), 0, []
    run.start(args.resume)
    print('before:', run.measure(8), flush=True)
    begun = time.process_time()
    while (progress := (time.process_time() - begun) /
            (args.minutes * 60)) < 1:
        number += 1
        seen.append(run.step(number, progress))
        if number % 5 == 0:
            print('step {}: divergence {:.4f}, streams {:.4f}; {:.0f} s'.format(
                number, *np.mean(seen[-5:], 0), time.process_time() - begun),
                flush=True)
        if number % 25 == 0:
            print('  held out:', run.measure(3), flush=True)
            run.save(args.out)
    run.save(args.out)
    print(f'after {number} steps:', run.measure(8))


if __name__ == '__main__':
    main()
