# SPDX-License-Identifier: MIT
"""Trains the cut model to say what the dense one says, end to end.

	distill.py DENSE.gguf CORPUS.npz EXPERTS.npz OUT.npz --aim AIM.npz
		[--resume LEARNED.npz] [--minutes M] [--workers N] [--pieces N]
		[--rate R] [--ranks FEED_FORWARD ATTENTION] [--hard SHARE]

Learned are norms, a factor for each neuron, and additions of low rank to the matrices
of attention and experts; of these the outer factors: the inner ones are fixed to the
directions in which the gradient of the whole matrices is largest, for whitened input
(aim.py).  The loss is the Kullback-Leibler divergence of the next token's distribution
from the dense model's at every position.  The additions of LEARNED.npz become part of
the matrices.  Routers stay as they are (routers.py).

A step learns from many pieces: its gradient is nearly all noise else.  Each worker
takes four of them at a time until all are done; one more process writes text of the
dense model's own meanwhile.  The rate rises for WARM steps, then falls in a straight
line with the time that is left.  OUT.npz is written every SAVE_EVERY steps with a mean
of the last steps' weights, which is what is measured, beside the weights.
"""
import argparse
import ctypes
import multiprocessing
import os
import time

os.environ.setdefault('OMP_NUM_THREADS', '1')
# A pool of compilers is slower on one core.
os.environ.setdefault('TORCHINDUCTOR_COMPILE_THREADS', '1')

import numpy as np  # noqa: E402
import torch  # noqa: E402

import net  # noqa: E402
import own_text  # noqa: E402
from shape import EXPERTS, GROUPS, SHARED, USED, WIDTH  # noqa: E402
from store import Store  # noqa: E402

# What four pieces are from, in turn.
MIX = (('own', 'own', 'stories', 'book'), ('own', 'own', 'stories', 'code'),
       ('own', 'own', 'stories', 'book'), ('own', 'stories', 'stories', 'book'))
KINDS = sorted({k for four in MIX for k in four})
HELD_OUT = 'held own', 'held book'
UNIT = 4
WARM, BETAS = 8, (0.9, 0.98)
# The weights' mean moves so much towards them at each step.
MEAN_MOVES = 0.05
# Four pieces' gradient is cut down to so many times its usual size.
CLIP = 1.5
# Of the mean.
LEAST, LEAST_ROW = 0.003, 0.03
SAVE_EVERY = 20
# Of malloc.h.
M_TRIM_THRESHOLD, M_MMAP_THRESHOLD, M_MMAP_MAX = -1, -3, -4
# Own text: so many pieces at a time, while no more than that wait to be
# learned from, up to ROOM.
WRITTEN_AT_ONCE, WAITING, ROOM = 64, 60, 6000


def part_of_rate(name):
    """Of vectors and of what is added."""
    return 1 if name.endswith('_b') else 0.5


def frequent_words(corpus):
    """Those that the divergence always sees, see Student.some_words()."""
    count = np.bincount(np.concatenate([corpus[k].reshape(-1) for k in KINDS]))
    return torch.tensor(np.argsort(-count)[:net.FREQUENT].copy())


def white(moments):
    """The matrix that makes rows with these second moments white; a bit less
    for the directions that have nearly none."""
    e, v = torch.linalg.eigh(torch.tensor(moments))
    e = e.clamp(min=0)
    return (v * (e + LEAST * e.mean()) ** -0.5) @ v.t()


def directions(aim, feed, attention):
    """For Student.add(): inner factors that see white rows, in the directions
    in which the gradient is largest."""
    inner = {}
    for kind in net.ADDED:
        rank = attention if kind in ('qkv', 'o') else feed
        inner[kind] = []
        for g, of_x, of_y in zip(aim[kind], aim[kind + '_x'], aim[kind + '_y']):
            w = white(of_x)
            g = torch.tensor(g) @ w
            g /= (g.square().mean(1, keepdim=True) +
                  LEAST_ROW * g.square().mean()).sqrt()
            v = torch.svd_lowrank(g, q=rank + 16, niter=4)[2][:, :rank]
            inner[kind].append(v.t() @ w * float(of_y))
        inner[kind] = torch.stack(inner[kind])
    return inner


class Shared:
    """What the processes share: weights, their gradients, the step's plan."""

    def __init__(self, model, workers, units):
        size = sum(w.numel() for w in model.learned.values())
        self.weights = torch.zeros(size).share_memory_()
        self.grads = torch.zeros(workers, size).share_memory_()
        self.plan = torch.zeros(max(units, 64), UNIT,
                                dtype=torch.int64).share_memory_()
        self.said = torch.zeros(max(units, 64), 2,
                                dtype=torch.float64).share_memory_()
        self.next, self.units = (multiprocessing.Value('i', 0)
                                 for _ in range(2))
        self.measuring = multiprocessing.Value('b', False)
        self.over = multiprocessing.Value('b', False)
        self.barrier = multiprocessing.Barrier(workers)
        for w, part in zip(model.learned.values(), self.split(self.weights)(
                model)):
            part.copy_(w)

    @staticmethod
    def split(flat):
        """A function that gives the parts of learned weights' shapes."""
        def parts(model):
            at = 0
            for w in model.learned.values():
                yield flat[at:at + w.numel()].view(w.shape)
                at += w.numel()
        return parts

    def take(self):
        """The number of a unit that nobody has taken, or None."""
        with self.next.get_lock():
            if self.next.value == self.units.value:
                return None
            self.next.value += 1
            return self.next.value - 1


class Worker:
    def __init__(self, rank, model, shared, store, frozen):
        self.rank, self.model, self.shared, self.store = (
            rank, model, shared, store)
        model.learned = {k: part.requires_grad_(k not in frozen)
                         for k, part in zip(model.learned, shared.split(
                             shared.weights)(model))}
        self.frozen, self.usual = frozen, {}

    def cut_down(self, name, grad):
        """How much of four pieces' gradient is taken."""
        size = float(grad.norm())
        usual = self.usual.get(name, size)
        self.usual[name] = 0.95 * usual + 0.05 * min(size, CLIP * usual)
        return min(1.0, CLIP * usual / max(size, 1e-30))

    def learn(self, pieces):
        said = self.model.loss(pieces)
        said.backward()
        for (k, w), sum_ in zip(self.model.learned.items(), self.sums):
            if w.grad is not None:
                sum_.add_(w.grad, alpha=self.cut_down(k, w.grad))
                w.grad = None
        return 0.0, float(said.detach())

    def work(self):
        """This worker's part of a step or of a measurement."""
        shared = self.shared
        self.sums = list(shared.split(shared.grads[self.rank])(self.model))
        shared.grads[self.rank].zero_()
        while (unit := shared.take()) is not None:
            pieces = self.store.pieces(shared.plan[unit])
            do = self.model.measure if shared.measuring.value else self.learn
            shared.said[unit] = torch.tensor(do(pieces), dtype=torch.float64)

    def serve(self):
        """For those that are not the chief."""
        while True:
            self.shared.barrier.wait()
            if self.shared.over.value:
                return
            self.work()
            self.shared.barrier.wait()


class Chief(Worker):
    """The worker that plans the steps and takes them."""

    def __init__(self, model, shared, store, frozen, args, used):
        super().__init__(0, model, shared, store, frozen)
        self.args, self.rng = args, np.random.default_rng(args.seed)
        self.adam = torch.optim.AdamW(
            [{'params': [w], 'name': k} for k, w in model.learned.items()
             if k not in frozen], betas=BETAS, weight_decay=0, eps=1e-12,
            fused=True)
        self.mean = shared.weights.clone()
        self.left, self.turn, self.number = {}, 0, 0
        self.used = used

    def draw(self, name):
        """A piece's number: of own text what nobody has seen, if there is."""
        if name == 'own' and self.used.value < self.store.count.value:
            self.used.value += 1
            return self.used.value - 1
        if not self.left.get(name):
            all_ = list(self.store.at[name])
            if name == 'own':
                all_ += range(self.store.first, self.used.value)
            self.left[name] = list(self.rng.permutation(all_))
        return self.left[name].pop()

    def do(self, plan, measuring):
        """All workers' work; means of what they found."""
        shared, units = self.shared, len(plan)
        shared.plan[:units] = torch.tensor(np.array(plan, np.int64))
        shared.units.value, shared.next.value = units, 0
        shared.measuring.value = measuring
        shared.barrier.wait()
        self.work()
        shared.barrier.wait()
        return shared.said[:units].clone()

    def step(self, progress):
        self.number += 1
        plan = []
        for _ in range(self.args.pieces // UNIT):
            self.turn += 1
            plan.append([self.draw(k) for k in MIX[self.turn % len(MIX)]])
        said = self.do(plan, False)
        scale = self.args.rate * min(1, self.number / WARM) * (1 - progress)
        self.shared.grads[0] += self.shared.grads[1:].sum(0)
        self.shared.grads[0] /= len(plan)
        for k, w, g in zip(self.model.learned, self.model.learned.values(),
                           self.sums):
            w.grad = None if k in self.frozen else g
        for g in self.adam.param_groups:
            g['lr'] = part_of_rate(g['name']) * scale
        self.adam.step()
        for w in self.model.learned.values():
            w.grad = None
        self.mean.lerp_(self.shared.weights, max(
            MEAN_MOVES, 1 / (1 + self.number)))
        return float(said[:, 1].mean())

    def swap(self):
        """The weights for their mean, or back."""
        now = self.shared.weights.clone()
        self.shared.weights.copy_(self.mean)
        self.mean = now

    def measure(self):
        """Of the mean."""
        self.swap()
        out = []
        for name in HELD_OUT:
            plan = np.array(self.store.at[name]).reshape(-1, UNIT)
            ratio, said = self.do(plan, True).T
            out.append(f'{name[5:]} {ratio.log().mean().exp():.3f} times, '
                       f'divergence {said.mean():.4f}')
        self.swap()
        return '; '.join(out)

    def save(self, path, was):
        """The weights' mean; additions behind those that were there before."""
        self.swap()
        out = {k: w.clone().numpy() for k, w in self.model.result().items()}
        self.swap()
        for k in net.ADDED:
            if k + '_a' in was:
                out[k + '_a'] = np.concatenate([was[k + '_a'], out[k + '_a']], 1)
                out[k + '_b'] = np.concatenate([was[k + '_b'], out[k + '_b']], 2)
        np.savez(path + '.part.npz', order=was['order'], scale=was['scale'],
                 geometry=np.array(
                     [WIDTH, EXPERTS, USED, SHARED, GROUPS], np.int32), **out)
        os.replace(path + '.part.npz', path)

    def train(self, was):
        args, seen = self.args, []
        print('before:', self.measure(), flush=True)
        begun = time.time()
        while (progress := (time.time() - begun) / (args.minutes * 60)) < 1:
            seen.append(self.step(progress))
            if self.number % 5 == 0:
                print('step {}: divergence {:.4f}; {:.0f} s; {} own pieces '
                      'new'.format(self.number, np.mean(seen[-5:]),
                                   time.time() - begun,
                                   self.used.value - self.store.first), flush=True)
            if self.number % SAVE_EVERY == 0:
                print('  held out:', self.measure(), flush=True)
                self.save(args.out, was)
        print(f'after {self.number} steps:', self.measure(), flush=True)
        self.save(args.out, was)
        self.shared.over.value = True
        self.shared.barrier.wait()


def write(dense, store, used, args):
    """Own text until the training ends; `used` is how far it is learned from."""
    known = ''
    if args.not_in:
        with open(args.not_in, encoding='utf-8') as f:
            known = f.read()
    # Caches that grow with the text make holes in a heap that gives nothing back.
    ctypes.CDLL(None).mallopt(M_MMAP_MAX, 1 << 16)
    ctypes.CDLL(None).mallopt(M_TRIM_THRESHOLD, 1 << 20)
    ctypes.CDLL(None).mallopt(M_MMAP_THRESHOLD, 1 << 20)
    seed = args.seed * 1000
    while True:
        if store.count.value - used.value > WAITING:
            time.sleep(1)
            continue
        seed += 1
        if not store.add(*own_text.write(
                dense, args.dense, WRITTEN_AT_ONCE, seed, known)):
            return


def arguments():
    parser = argparse.ArgumentParser(description=__doc__.split('\n\n')[0])
    for name in ('dense', 'corpus', 'experts', 'out'):
        parser.add_argument(name)
    parser.add_argument('--minutes', type=float, default=60)
    parser.add_argument('--resume', metavar='LEARNED',
                        help='go on from what an earlier run wrote')
    parser.add_argument('--aim', required=True, metavar='GRADIENT',
                        help='what aim.py wrote')
    parser.add_argument('--ranks', type=int, nargs=2, default=(16, 8),
                        metavar=('FEED_FORWARD', 'ATTENTION'))
    parser.add_argument('--workers', type=int, default=1)
    parser.add_argument('--pieces', type=int, default=16,
                        help='that a step learns from')
    parser.add_argument('--rate', type=float, default=2e-5)
    parser.add_argument('--hard', type=float, default=0, metavar='SHARE',
                        help='in text that people wrote, so much of what is '
                        'wanted is the word that they wrote')
    parser.add_argument('--not-in', metavar='TEXT',
                        help='own text has no question of ours that is there')
    parser.add_argument('--own', metavar='TEXT', nargs='*', default=[],
                        help='own text to begin with')
    parser.add_argument('--seed', type=int, default=1)
    return parser.parse_args()


def main():
    args = arguments()
    torch.set_num_threads(1)
    torch.manual_seed(args.seed)
    cut, corpus = dict(np.load(args.experts)), dict(np.load(args.corpus))
    was = dict(np.load(args.resume)) if args.resume else cut
    dense = net.load(args.dense)
    model = net.Student(dense, cut, was if args.resume else None)
    feed, attention = args.ranks
    model.add(directions(dict(np.load(args.aim)), feed, attention))
    model.hard = args.hard
    model.frequent[frequent_words(corpus)] = True
    store = Store(args.out + '.rows', corpus, ROOM)
    model.known = store
    for path in args.own:
        with np.load(path) as f:
            store.add(torch.tensor(f['ids'].astype(np.int64)),
                      torch.tensor(f['rows']).view(net.BF16))
    frozen = {k for k in model.learned if k.endswith('_a')}
    shared = Shared(model, args.workers, args.pieces // UNIT)
    used = multiprocessing.Value('i', store.first)

    others = [multiprocessing.Process(target=write, daemon=True, args=(
        dense, store, used, args))]
    others += [multiprocessing.Process(
        target=lambda rank=i: Worker(
            rank, model, shared, store, frozen).serve(), daemon=True)
        for i in range(1, args.workers)]
    for p in others:
        p.start()
    Chief(model, shared, store, frozen, args, used).train(was)


if __name__ == '__main__':
    multiprocessing.set_start_method('fork')
    main()
