#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""The demo model's making, on a very small dense model: with all experts of a
group taken at weight one it computes the dense function; what training adds is in
the matrices; with a router that chooses, all ways of holding the experts give the
same bytes.  And what is shipped: the data
fits the model that it is for, the recorded routing is what a router chose."""
import glob
import json
import lzma
import os
import string
import subprocess
import sys
import tempfile
import unittest

sys.dont_write_bytecode = True
import pst_e2e as e2e  # noqa: E402

SCRIPTS = os.path.join(e2e.SRC, 'scripts')
sys.path.insert(0, SCRIPTS)
try:
    import gguf_io as gguf
    from gguf_io import np
except SystemExit as e:
    print(e)
    sys.exit(e2e.SKIP)

CASE = os.path.join(e2e.DATA, 'logits', 'llama')
DENSE = os.path.join(CASE, 'model.gguf')
TOKENS = os.path.join(CASE, 'tokens.json')
SHIPPED = os.path.join(e2e.SRC, 'share', 'smollm2-135m-experts.npz')
MAX_NMSE = 1e-9
WIDTH, RANK = 32, 2
ADDED = {'qkv': ('attn_q', 'attn_k', 'attn_v'), 'o': ('attn_output',),
         'gate': ('ffn_gate',), 'up': ('ffn_up',), 'down': ('ffn_down',)}


def floats(raw):
    return np.frombuffer(raw, np.float32).astype(np.float64)


class DemoModel(unittest.TestCase):
    def setUp(self):
        self.dir = tempfile.TemporaryDirectory()
        self.addCleanup(self.dir.cleanup)
        self.moe = os.path.join(self.dir.name, 'moe.gguf')
        self.dense = gguf.Reader(DENSE)
        self.layers, self.n, self.ff = (
            self.dense.get('llama.' + k) for k in (
                'block_count', 'embedding_length', 'feed_forward_length'))
        self.rng = np.random.default_rng(3)

    def make(self, used, groups, router, scale, added=None, of_neurons=False):
        """One shared part of WIDTH, the rest in experts once per group; factors
        of experts or of neurons."""
        data = os.path.join(self.dir.name, 'data.npz')
        rest = self.ff - WIDTH
        order = [np.concatenate([p[:WIDTH]] + [
            self.rng.permutation(p[WIDTH:]) for _ in range(groups)])
            for p in (self.rng.permutation(self.ff)
                      for _ in range(self.layers))]
        experts = groups * rest // WIDTH
        if of_neurons:
            factor = np.full((self.layers, WIDTH + experts * WIDTH), scale,
                             np.float32)
            factor[:, :WIDTH] = 1
        else:
            factor = np.full((self.layers, experts + 1), scale, np.float32)
            factor[:, 0] = 1
        np.savez(data, name=np.array('test'), order=np.stack(order),
                 geometry=np.array([WIDTH, experts, used, WIDTH, groups]),
                 scale=factor, router=self.rng.standard_normal(
                     (self.layers, self.n, experts)) * router, **added or {})
        done = subprocess.run(
            [os.path.join(SCRIPTS, 'make-demo-model'), DENSE, self.moe,
             '--data', data], text=True, capture_output=True, check=False)
        self.assertEqual(done.returncode, 0, done.stdout + done.stderr)

    def weights(self, model, name):
        t = next(t for t in model.tensors if t.name == name)
        return gguf.dequantise(model.data(t), t.type).reshape(t.dims[::-1])

    def added(self):
        """What training could add to every matrix, and norms."""
        out = {}
        for kind, names in ADDED.items():
            parts = [self.weights(self.dense, f'blk.0.{n}.weight')
                     for n in names]
            for f, shape in (('a', (self.layers, RANK, parts[0].shape[1])),
                             ('b', (self.layers, sum(map(len, parts)), RANK))):
                out[f'{kind}_{f}'] = self.rng.integers(-127, 128, shape,
                                                       np.int8)
                shape = [self.layers, RANK, 1] if f == 'a' else \
                    [self.layers, 1, RANK]
                out[f'{kind}_{f}_scale'] = self.rng.random(
                    shape, np.float32) / 1000
        for key in ('attn_norm', 'ffn_norm'):
            out[key] = self.rng.random((self.layers, self.n), np.float32)
        return {**out, 'out_norm': self.rng.random(self.n, np.float32)}

    def check_dense(self, groups, **options):
        # sigmoid(0) is a half, and the factor of down makes it one.
        self.make(self.ff // WIDTH - 1, groups, 0, 2, **options)
        want = floats(e2e.logits(DENSE, TOKENS))
        got = floats(e2e.logits(self.moe, TOKENS))
        self.assertEqual(len(got), len(want))
        self.assertGreater(np.sum(want ** 2), 0)
        self.assertLess(np.sum((want - got) ** 2) / np.sum(want ** 2),
                        MAX_NMSE)

    def test_all_experts_at_weight_one_are_the_dense_model(self):
        self.check_dense(1)

    def test_all_experts_of_either_group_are_the_dense_model(self):
        self.check_dense(2)

    def test_factors_can_be_of_neurons(self):
        self.check_dense(1, of_neurons=True)

    def test_what_training_adds_is_in_the_matrices(self):
        added, last = self.added(), self.layers - 1
        self.make(1, 1, 1, 1, added)
        with np.load(os.path.join(self.dir.name, 'data.npz')) as f:
            order = f['order'][last]
        made = gguf.Reader(self.moe)

        def check(kind, name, rows=slice(None), got=None, order=slice(None)):
            a, b = (added[f'{kind}_{f}'][last] * added[f'{kind}_{f}_scale'][last]
                    for f in 'ab')
            want = self.weights(self.dense, f'blk.{last}.{name}.weight')[order]
            got = np.concatenate([
                self.weights(made, f'blk.{last}.{n}.weight').reshape(
                    -1, self.n) for n in got or [name]])
            np.testing.assert_allclose(got, want + (b @ a)[rows], atol=1e-6)

        n_v = len(self.weights(self.dense, f'blk.{last}.attn_v.weight'))
        check('o', 'attn_output')
        check('qkv', 'attn_v', slice(-n_v, None))
        for kind in ('gate', 'up'):
            check(kind, f'ffn_{kind}', order=order, got=(
                f'ffn_{kind}_shexp', f'ffn_{kind}_exps'))
        for key, name in (('attn_norm', 'attn_norm'),
                          ('ffn_norm', 'post_attention_norm')):
            np.testing.assert_array_equal(
                self.weights(made, f'blk.{last}.{name}.weight'),
                added[key][last])

    def test_streamed_and_resident_give_the_same_bytes(self):
        self.make(1, 2, 1, 1)
        resident = e2e.logits(self.moe, TOKENS, '--resident')
        for options in (('--expert-cache', '3experts'),
                        ('--expert-cache', '3experts', '--io', 'pread'),
                        ('--expert-cache', '50%', '--batch-size', '3')):
            self.assertEqual(e2e.logits(self.moe, TOKENS, *options), resident,
                             options)
        self.make(2, 2, 1, 1)
        self.assertNotEqual(e2e.logits(self.moe, TOKENS), resident)


class Shipped(unittest.TestCase):
    """What can be said of the shipped data without the model it is for."""

    def setUp(self):
        with np.load(SHIPPED) as f:
            self.data = dict(f)

    def test_it_is_small(self):
        self.assertLess(os.path.getsize(SHIPPED), 25e6)

    def test_shared_expert_and_one_group_have_each_neuron_once(self):
        _, experts, _, shared, groups = self.data['geometry']
        order = self.data['order']
        per_group = (1536 - shared)
        self.assertEqual(order.shape, (30, shared + groups * per_group))
        for layer in order:
            for g in range(groups):
                first = shared + g * per_group
                neurons = np.concatenate([layer[:shared],
                                          layer[first:first + per_group]])
                self.assertEqual(sorted(neurons), list(range(1536)))

    def test_a_third_of_the_experts_and_three_fifths_of_the_weights(self):
        width, experts, used, shared, _ = self.data['geometry']
        self.assertGreaterEqual(experts, 16)
        self.assertLessEqual(used * 3, experts)
        self.assertLessEqual(shared + used * width,
                             0.6 * (shared + experts * width))
        # Of the dense model's, too: no neuron is told twice.
        self.assertLessEqual(shared + used * width, 0.6 * 1536)

    def test_routers_tell_experts_apart(self):
        router = self.data['router'].astype(np.float64)
        self.assertTrue(np.isfinite(router).all())
        for layer in router:
            unit = layer / np.linalg.norm(layer, axis=0)
            apart = unit.T @ unit - np.eye(unit.shape[1])
            self.assertLess(apart.max(), 0.99)


class Traces(unittest.TestCase):
    """Recorded routing of the demo model: prose, chat, code and a list."""

    LAYERS, EXPERTS, OF_GROUP, USED = 30, 58, 58, 19

    def traces(self):
        found = sorted(glob.glob(os.path.join(e2e.DATA, 'traces',
                                              'smol-*.csv.xz')))
        self.assertEqual(len(found), 4)
        for path in found:
            with lzma.open(path, 'rt') as f:
                yield os.path.basename(path), f.read()

    def test_they_are_replayed(self):
        tokens = 0
        for name, text in self.traces():
            phases = [line.split(',')[0] for line in text.splitlines()
                      if not line.startswith(('#', 'phase'))]
            rows = len(phases)
            self.assertEqual(rows % (self.LAYERS * self.USED), 0, name)
            tokens += rows // (self.LAYERS * self.USED)
            # Only the reply is counted; the prompt fills the cache.
            rows = phases.count('decode')
            with tempfile.NamedTemporaryFile('w') as f:
                f.write(text)
                f.flush()
                done = e2e.run('trace', 'replay', f.name, '--expert-cache',
                               '10%,50%', '--cache-policy', 'lru,default,min',
                               '-o', 'json')
            self.assertEqual(done.returncode, 0, done.stderr)
            for r in json.loads(done.stdout)['results']:
                self.assertEqual(r['hits'] + r['misses'], rows, name)
                # LRU hits nothing when it holds less than one token takes.
                if r['policy'] != 'lru' or \
                        r['capacity_experts'] > self.LAYERS * self.USED:
                    self.assertGreater(r['hits'], 0, (name, r['policy']))
                self.assertLessEqual(r['hit_rate'], r['min_hit_rate'], name)
        self.assertGreater(tokens, 2000)

    def test_the_chosen_are_the_most_probable_of_one_group(self):
        digits = {c: i for i, c in enumerate(
            string.ascii_uppercase + string.ascii_lowercase + string.digits +
            '+/')}
        for name, text in self.traces():
            chosen, checked = set(), 0
            for line in text.splitlines():
                if line.startswith('#p,'):
                    codes = line[3:]
                    p = [digits[a] * 64 + digits[b]
                         for a, b in zip(codes[::2], codes[1::2])]
                    self.assertEqual(len(p), self.EXPERTS, name)
                    # All of one group, and the most probable there.  A larger
                    # code is a smaller probability; equal ones may be either
                    # way after rounding.
                    group = min(chosen) // self.OF_GROUP
                    self.assertEqual(max(chosen) // self.OF_GROUP, group)
                    mine = p[group * self.OF_GROUP:][:self.OF_GROUP]
                    worst = max(p[e] for e in chosen)
                    self.assertEqual(len(chosen), self.USED)
                    self.assertLessEqual(sum(c < worst for c in mine),
                                         self.USED, name)
                    checked += 1
                    chosen = set()
                elif not line.startswith(('#', 'phase')):
                    chosen.add(int(line.split(',')[4]))
            self.assertGreater(checked, 0, name)


if __name__ == '__main__':
    if not os.access(e2e.PROGRAM, os.X_OK):
        e2e.skip(f'{e2e.PROGRAM} is not built')
    unittest.main()
