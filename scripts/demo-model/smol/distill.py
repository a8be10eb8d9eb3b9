# SPDX-License-Identifier: MIT
"""Trains the cut model to say what the dense one says, end to end, on one core.

	distill.py DENSE.gguf CORPUS.npz EXPERTS.npz OUT.npz --minutes M
		[--resume LEARNED.npz] [--device cuda] [--turns N] [--rate R]

Learned are the routers, the norms and additions of low rank to the matrices of
attention and experts.  The loss is the Kullback-Leibler divergence of the next
token's distribution from the dense model's at every position.  The additions start
in the directions in which the gradient of the whole matrices is largest.  The rate
rises for WARM steps, then falls as a cosine of the time.  What comes out is a mean
of the last steps' weights.

Every SAVE_EVERY steps OUT.npz is written with all that --resume needs to go on.
"""
import argparse
import math
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')
# A pool of compilers is slower on one core.
os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '1')

import numpy as np  # noqa: E402
import torch  # noqa: E402

import net  # noqa: E402
from shape import EXPERTS, GROUPS, L, SHARED, USED, WIDTH  # noqa: E402

# What four pieces are from, in turn.
MIX = (('own', 'own', 'stories', 'book'), ('own', 'stories', 'stories', 'book'),
       ('own', 'own', 'book', 'code'), ('own', 'stories', 'stories', 'book'))
WARM, BETAS = 10, (0.9, 0.99)
MOMENTS = 'exp_avg', 'exp_avg_sq'
# The weights' mean moves so much towards them every so many steps.
MEAN_MOVES, MEAN_EVERY = 0.05, 2
# A gradient is cut down to so many times its usual size.
CLIP = 2.0
FIRST_BATCHES, SAVE_EVERY = 3, 40
HELD_OUT = {'book': 'held_out_book', 'own': 'held_out_own'}


def part_of_rate(name):
    """Routers' gradients have much less noise than those of what is added."""
    if name == 'router':
        return 4
    return 0.4 if name.endswith('_a') else 1


class Corpus:
    def __init__(self, parts, rng):
        self.parts, self.rng, self.left, self.turn = parts, rng, {}, 0

    def piece(self, name):
        """(what it is called, its ids)"""
        if not self.left.get(name):
            self.left[name] = list(self.rng.permutation(len(self.parts[name])))
        at = self.left[name].pop()
        return (name, at), torch.tensor(self.parts[name][at].astype(np.int64))

    def batch(self, turns=1):
        out = []
        for _ in range(turns):
            self.turn += 1
            out += [self.piece(k) for k in MIX[self.turn % len(MIX)]]
        return out


def point_at_gradient(model, corpus):
    """Sets the inner factors of what is added to the directions of the input
    along which the whole matrices' gradients are largest."""
    sums = {k: [torch.zeros_like(p[k]) for p in model.base] for k in net.RANKS}
    frozen = model.base
    for _ in range(FIRST_BATCHES):
        model.base = [{k: w.clone().requires_grad_() if k in net.RANKS else w
                       for k, w in p.items()} for p in frozen]
        model.loss(corpus.batch()).backward()
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
        if args.device != 'cpu':
            torch.set_default_device(args.device)
        torch.manual_seed(args.seed)
        self.cut, corpus = np.load(args.experts), dict(np.load(args.corpus))
        self.model = net.Student(net.load(args.dense), self.cut)
        self.model.hard = args.hard
        self.corpus = Corpus(corpus, np.random.default_rng(args.seed))
        counts = np.bincount(np.concatenate(
            [corpus[k].reshape(-1) for k in {k for m in MIX for k in m}]))
        self.model.frequent[torch.tensor(
            np.argsort(-counts)[:net.FREQUENT])] = True
        self.held_out = {
            k: [((name, i), torch.tensor(ids.astype(np.int64)))
                for i, ids in enumerate(corpus[name][8:16])]
            for k, name in HELD_OUT.items()}
        self.turns, self.rate = args.turns, args.rate
        self.usual, self.number, self.spent = {}, 0, 0

    def start(self, resume):
        """From nothing, from what was learned, or from a run that was stopped,
        whose file has moments and time."""
        state = dict(np.load(resume)) if resume else {}
        if state:
            self.model.resume(state)
        else:
            point_at_gradient(self.model, self.corpus)
        self.adam = torch.optim.AdamW(
            [{'params': [w], 'name': k} for k, w in
             self.model.learned.items()], betas=BETAS, weight_decay=0,
            eps=1e-12, fused=True)
        self.mean = {k: torch.tensor(state[f'{k}.mean'])
                     if f'{k}.mean' in state else w.detach().clone()
                     for k, w in self.model.learned.items()}
        if 'number' not in state:
            return
        self.number, self.spent = int(state['number']), float(state['spent'])
        for k, w in self.model.learned.items():
            self.adam.state[w] = {
                'step': torch.tensor(float(self.number)),
                **{m: torch.tensor(state[f'{k}.{m}']) for m in MOMENTS}}

    def clip(self, name, grad):
        size = float(grad.norm())
        usual = self.usual.get(name, size)
        if size > CLIP * usual:
            grad.mul_(CLIP * usual / size)
        self.usual[name] = 0.95 * usual + 0.05 * min(size, CLIP * usual)

    def step(self, progress):
        self.number += 1
        said = self.model.loss(self.corpus.batch(self.turns))
        said.backward()
        scale = self.rate * min(1, self.number / WARM) * (
            0.5 + 0.5 * math.cos(math.pi * progress))
        for g in self.adam.param_groups:
            g['lr'] = part_of_rate(g['name']) * scale
            self.clip(g['name'], g['params'][0].grad)
        self.adam.step()
        self.adam.zero_grad()
        if self.number % MEAN_EVERY == 0:
            for k, w in self.model.learned.items():
                self.mean[k].lerp_(w.detach(), MEAN_MOVES)
        return float(said.detach())

    def swap(self):
        """The weights for their mean, or back."""
        for k, w in self.model.learned.items():
            w.data, self.mean[k] = self.mean[k], w.data

    def save(self, path, spent, moments=True):
        out = {k: w.cpu().numpy() for k, w in self.model.result().items()}
        if moments:
            out.update(number=self.number, spent=spent)
            for k, w in self.model.learned.items():
                out[k + '.mean'] = self.mean[k].cpu().numpy()
                for m in MOMENTS:
                    out[f'{k}.{m}'] = self.adam.state[w][m].cpu().numpy()
        np.savez(path + '.part.npz', order=self.cut['order'],
                 scale=self.cut['scale'], geometry=np.array(
                     [WIDTH, EXPERTS, USED, SHARED, GROUPS], np.int32), **out)
        os.replace(path + '.part.npz', path)

    def measure(self, pieces):
        """Of the mean."""
        self.swap()
        out = '; '.join('{} {:.3f} times, divergence {:.4f}'.format(
            k, *self.model.measure(ids[-pieces:]))
            for k, ids in self.held_out.items())
        self.swap()
        return out


def main():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    for name in ('dense', 'corpus', 'experts', 'out'):
        parser.add_argument(name)
    parser.add_argument('--minutes', type=float, default=60,
                        help='of processor time, with those of a run that is '
                        'gone on with')
    parser.add_argument('--resume', metavar='LEARNED',
                        help='go on from what an earlier run wrote')
    parser.add_argument('--device', default='cpu')
    parser.add_argument('--turns', type=int, default=2,
                        help='a step learns from so many times four pieces')
    parser.add_argument('--rate', type=float, default=1.2e-4)
    parser.add_argument('--hard', type=float, default=0, metavar='SHARE',
                        help='in text that people wrote, so much of what is '
                        'wanted is the word that they wrote')
    parser.add_argument('--seed', type=int, default=1)
    args = parser.parse_args()

    run, seen = Run(args), []
    run.start(args.resume)
    print('before:', run.measure(8), flush=True)
    begun = time.process_time() - run.spent
    while (progress := (time.process_time() - begun) /
            (args.minutes * 60)) < 1:
        seen.append(run.step(progress))
        spent = time.process_time() - begun
        if run.number % 10 == 0:
            print('step {}: divergence {:.4f}; {:.0f} s'.format(
                run.number, np.mean(seen[-10:]), spent), flush=True)
        if run.number % SAVE_EVERY == 0:
            print('  held out:', run.measure(8), flush=True)
            run.save(args.out, spent)
    print(f'after {run.number} steps:', run.measure(8), flush=True)
    run.swap()
    run.save(args.out, args.minutes * 60, False)


if __name__ == '__main__':
    main()
